"""How well the line filters find nerves whose truth is known: two independent image models, three nerve amplitudes.

Seeds from 1100000 on were used for no filter or threshold (a change of the thinning was looked at on them). Those were
chosen on seeds 10000–10035 (own) and 20000–20035 (foreign), and looks at 500000–500023, 700000–700059, 800000–800059,
900000–900059 and 1000000–1000059 led to the last changes.
"""

from collections.abc import Callable

import numpy as np

from benchmarks.timing import table
from tests.anatomy import foreign_phantom
from wdlora.anatomy import measure, phantom, sample_mask, trace
from wdlora.anatomy.overlap import cl_dice, dice
from wdlora.anatomy.phantoms.imaging import ImageModel
from wdlora.anatomy.tracing.choices import LINES
from wdlora.cohorts import COHORTS

TITLE = "Tracing accuracy on phantoms"

FIGURES = ("Dice", "clDice", "CNFL bias", "CNFL MAE", "CNBD bias", "CNBD MAE", "CNFD bias")
AMPLITUDES = (1.0, 0.6, 0.4)
EVALUATION = (1_100_000, 60)
"""First seed and number of phantoms of each generator."""


def own_phantoms(seed: int) -> tuple[np.ndarray, Callable[[float], np.ndarray]]:
    """A sampled mask, the cohorts in turn, and a function from nerve amplitude to its image."""
    nerve_mask = sample_mask(list(COHORTS)[seed % len(COHORTS)], seed)
    return nerve_mask.mask, lambda amplitude: phantom(nerve_mask, seed, model=ImageModel(nerve_amplitude=amplitude))


def foreign_phantoms(seed: int) -> tuple[np.ndarray, Callable[[float], np.ndarray]]:
    """The same from the independent generator."""
    plexus = foreign_phantom.spline_plexus(seed)
    return plexus.mask, lambda amplitude: foreign_phantom.foreign_image(plexus, seed, amplitude)


GENERATORS = {"own image model": own_phantoms, "foreign image model": foreign_phantoms}


def compare(image: np.ndarray, truth: np.ndarray) -> tuple[float, ...]:
    """`FIGURES` of one image; biases and errors are against the same measurement on the drawn mask."""
    traced = trace(image, segmenter=LINES)
    found, drawn = measure(traced), measure(truth)
    cnfl, cnbd = found.cnfl - drawn.cnfl, found.cnbd - drawn.cnbd
    return dice(traced, truth), cl_dice(traced, truth), cnfl, abs(cnfl), cnbd, abs(cnbd), found.cnfd - drawn.cnfd


def evaluate(generator: str, first: int, count: int, amplitudes: tuple[float, ...] = AMPLITUDES) -> np.ndarray:
    """`FIGURES` of every phantom: float [amplitudes, count, figures]."""
    result = np.empty((len(amplitudes), count, len(FIGURES)))
    for i in range(count):
        truth, image = GENERATORS[generator](first + i)
        for j, amplitude in enumerate(amplitudes):
            result[j, i] = compare(image(amplitude), truth)
    return result


def run(first: int = EVALUATION[0], count: int = EVALUATION[1]) -> str:
    """Means with standard errors, the two generators apart, and the worst image of each."""
    rows = []
    for name in GENERATORS:
        for amplitude, values in zip(AMPLITUDES, evaluate(name, first, count), strict=True):
            mean, error = values.mean(0), values.std(0, ddof=1) / np.sqrt(count)
            digits = (3, 3, 2, 2, 1, 1, 1)
            cells = [f"{m:.{d}f} ± {e:.{d}f}" for m, e, d in zip(mean, error, digits, strict=True)]
            rows.append([name, f"{amplitude:g}", *cells, f"{values[:, 1].min():.2f}"])
    head = ["images", "nerve amplitude", *FIGURES, "worst clDice"]
    return (
        f"Line filters. {count} phantoms of each image model (own: phantom 1), seeds {first}–{first + count - 1}, "
        "used for no filter or threshold. Mean ± standard error; CNFL in mm/mm², CNBD and CNFD in 1/mm², "
        "traced minus drawn, both measured by the same rules. "
        "The nerve amplitude scales the nerves before any noise is added. Phantoms, not real images."
        "\n\n" + table(head, rows)
    )
