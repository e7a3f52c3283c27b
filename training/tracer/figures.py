"""What a network reaches on phantoms that it has not seen, beside the line filters on the same ones."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdlora.anatomy import NerveMask, measure, sample_mask, trace
from wdlora.anatomy.overlap import dice, line_overlap
from wdlora.anatomy.phantoms.cornea.model import CorneaModel
from wdlora.anatomy.phantoms.phantom import frame
from wdlora.anatomy.phantoms.versions import version_name
from wdlora.anatomy.tracing.choices import ANNOTATED, LINES, VISIBLE, Choice
from wdlora.cohorts import COHORTS

PHANTOM = version_name(2)
EMPTY = {
    "epithelium in focus": CorneaModel(nerve_amplitude=0.0, epithelium=1.0, k_structures=0.0),
    "K-structures": CorneaModel(nerve_amplitude=0.0, epithelium=0.0, k_structures=1.0),
}
"""Frames without a nerve."""


def phantom_figures(network: Path, first: int, count: int) -> dict[str, Any]:
    """Means over `count` phantoms of the seeds from `first` on, and the length drawn where there is no nerve."""
    drawn = [_drawn(first + k) for k in range(count)]
    found: dict[str, Any] = {"phantom": PHANTOM, "seeds": [first, first + count - 1]}
    for name, choice in (("network", network), ("lines", LINES)):
        found[name] = {
            "visible against all fibres": _overlaps(drawn, choice, VISIBLE),
            "annotated against mask": _overlaps(drawn, choice, ANNOTATED) | _biases(drawn, choice),
            "length without nerves, mm/mm2": {
                what: _length_of_nothing(choice, model, first, max(count // 3, 1)) for what, model in EMPTY.items()
            },
        }
    return found


def _drawn(seed: int) -> tuple[NerveMask, NDArray]:
    nerves = sample_mask(list(COHORTS)[seed % len(COHORTS)], seed)
    return nerves, frame(nerves, seed).image


def _overlaps(drawn: list[tuple[NerveMask, NDArray]], choice: Choice, detail: str) -> dict[str, float]:
    rows = []
    for nerves, image in drawn:
        truth = nerves.all_fibres if detail == VISIBLE else nerves.mask
        mask = trace(image, segmenter=choice, detail=detail)
        lines = line_overlap(mask, truth)
        rows.append((lines.precision, lines.recall, lines.cl_dice, dice(mask, truth)))
    names = ("precision", "recall", "clDice", "Dice")
    return dict(zip(names, np.mean(rows, axis=0).round(4).tolist(), strict=True))


def _biases(drawn: list[tuple[NerveMask, NDArray]], choice: Choice) -> dict[str, float]:
    rows = []
    for nerves, image in drawn:
        found, wanted = measure(trace(image, segmenter=choice)), measure(nerves.mask)
        rows.append((found.cnfl - wanted.cnfl, found.cnfd - wanted.cnfd, found.cnbd - wanted.cnbd))
    values = np.array(rows)
    return {
        f"{name} {kind}": round(float(column.mean()), 3)
        for name, errors in zip(("CNFL", "CNFD", "CNBD"), values.T, strict=True)
        for kind, column in (("bias", errors), ("MAE", np.abs(errors)))
    }


def _length_of_nothing(choice: Choice, model: CorneaModel, first: int, count: int) -> float:
    """Mean CNFL that is traced in frames without a nerve."""
    lengths = []
    for seed in range(first, first + count):
        nerves = replace(sample_mask("T1DPN", seed), fine_share=0.0)
        lengths.append(measure(trace(frame(nerves, seed, model=model).image, segmenter=choice)).cnfl)
    return round(float(np.mean(lengths)), 3)
