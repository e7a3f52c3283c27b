"""What an adapter has learned, on phantoms that nobody trained on.

The figures are always printed beside their floors: another draw of phantoms from the same masks, the real
picture through the VAE, the base model without the adapter, and a baseline that repaints nothing (the base's
picture with its radial spectrum and histogram matched to the phantoms').
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.exposure import match_histograms
from tqdm import tqdm

from training.examples import Appearance
from wdlora.anatomy import measure, phantom, sample_mask, trace
from wdlora.anatomy.overlap import dice
from wdlora.anatomy.plexus import PIXEL_SIZE_UM, NerveMask
from wdlora.cohorts import COHORTS
from wdlora.errors import InputError
from wdlora.evaluation.agreement import agreement
from wdlora.evaluation.distance import Estimate, kid_estimate, standardised, two_sample_auc
from wdlora.evaluation.features import EXTRACTOR, features_of
from wdlora.files import whole
from wdlora.qwen.generate import paint, prepare
from wdlora.qwen.latents import decode_latents, encode_image

RULES = "none"
"""Rule set of the measurements: no piece is dropped, so that small fields can be compared."""


@dataclass(frozen=True)
class Case:
    """A held-out plexus of one cohort, cut to the size of the pictures, with its phantom."""

    cohort: str
    seed: int
    mask: NDArray[np.bool_]
    plexus: NerveMask
    row: int
    column: int


@dataclass(frozen=True)
class Sampling:
    """How pictures are painted."""

    steps: int = 12
    cfg: float = 2.5
    shift: float = 3.0


def draw_cases(count: int, size: int, first_seed: int) -> list[Case]:
    """`count` plexuses a cohort, each with the crop of `size` pixels that holds the most nerve of four."""
    cases = []
    for name in COHORTS:
        for index in range(count):
            plexus = sample_mask(name, seed=first_seed + index)
            generator = np.random.default_rng([first_seed, index])
            corners = generator.integers(0, np.array(plexus.mask.shape) - size + 1, (4, 2))
            row, column = max(corners, key=lambda c: plexus.mask[c[0] : c[0] + size, c[1] : c[1] + size].sum())
            mask = plexus.mask[row : row + size, column : column + size]
            cases.append(Case(name, first_seed + index, mask, plexus, int(row), int(column)))
    return cases


def real_picture(case: Case, draw: int, appearance: Appearance, cohort: str | None = None) -> NDArray[np.uint8]:
    """A phantom of the case; `draw` numbers independent ones, `cohort` lends another cohort's appearance."""
    plexus = case.plexus
    if cohort is not None:
        plexus = dataclasses.replace(plexus, cohort=cohort, severity=float(COHORTS[cohort].severity))
    image = phantom(plexus, seed=case.seed + 10_000_019 * (draw + 1), appearance=appearance)
    size = case.mask.shape
    return image[case.row : case.row + size[0], case.column : case.column + size[1]]


def painted_picture(
    model: Any, case: Case, sampling: Sampling, seed: int, cohort: str | None = None
) -> NDArray[np.uint8]:
    """The model's picture of the case's mask under its own cohort's prompt, or another's."""
    chosen = COHORTS[cohort or case.cohort]
    ready = prepare(model, case.mask, chosen.prompt)
    image = paint(model, ready, seed, steps=sampling.steps, cfg=sampling.cfg, shift=sampling.shift, norm=None)
    return np.round(image[0].mean(0).numpy() * 255).astype(np.uint8)


def through_vae(model: Any, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture encoded and decoded."""
    decoded = decode_latents(model.vae, encode_image(model.vae, image))[0].mean(0).cpu().numpy()
    return np.round(decoded * 255).astype(np.uint8)


def fidelity(pictures: dict[str, list[NDArray]], reference: list[NDArray]) -> dict[str, dict[str, Estimate]]:
    """KID and classifier AUC of every set against the reference pictures, features scaled by the reference."""
    base = features_of(reference)
    result = {}
    for name, images in pictures.items():
        one, other = standardised(base, features_of(images))
        result[name] = {"kid": kid_estimate(one, other), "auc": two_sample_auc(one, other)}
    return result


def matched_baseline(images: list[NDArray], reference: list[NDArray]) -> list[NDArray]:
    """Pictures with the mean radial spectrum and the pooled histogram of the reference: what needs no training."""
    target, source = _radial_power(reference), _radial_power(images)
    pooled = np.stack(reference)
    result = []
    for image in images:
        spectrum = np.fft.fft2(image.astype(float))
        ring = _rings(image.shape)
        gain = np.sqrt(target / np.maximum(source, 1e-9))[ring]
        gain[0, 0] = 1.0
        filtered = np.fft.ifft2(spectrum * gain).real
        result.append(np.clip(match_histograms(filtered[None], pooled)[0], 0, 255).astype(np.uint8))
    return result


def _rings(shape: tuple[int, ...]) -> NDArray:
    radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None])
    return np.round(radius * max(shape)).astype(int)


def _radial_power(images: list[NDArray]) -> NDArray:
    ring = _rings(images[0].shape)
    power = np.mean([np.abs(np.fft.fft2(image.astype(float))) ** 2 for image in images], axis=0)
    return np.bincount(ring.ravel(), power.ravel()) / np.maximum(np.bincount(ring.ravel()), 1)


def follows(cases: list[Case], pictures: list[NDArray]) -> dict[str, Any]:
    """Overlap of the traced pictures with the masks, and agreement of their CNFL, in all and by cohort."""
    traced = [trace(picture, PIXEL_SIZE_UM) for picture in pictures]
    overlaps = np.array([dice(found, case.mask) for found, case in zip(traced, cases, strict=True)])
    true = np.array([measure(case.mask, PIXEL_SIZE_UM, rules=RULES).cnfl for case in cases])
    found = np.array([measure(mask, PIXEL_SIZE_UM, rules=RULES).cnfl for mask in traced])
    groups = {"all": np.ones(len(cases), bool)} | {
        name: np.array([case.cohort == name for case in cases]) for name in COHORTS
    }
    result: dict[str, Any] = {}
    for name, members in groups.items():
        if members.sum() >= 3:
            agrees = dataclasses.asdict(agreement(true[members], found[members]))
            result[name] = {"dice": float(overlaps[members].mean()), "cnfl": agrees}
    return result


def appearance_of(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> dict[str, float]:
    """What the cohort's appearance changes, read off a picture and its mask.

    `contrast`: nerve minus surroundings over surroundings; `beading`: coefficient of variation of the
    brightness along the nerves after removing what varies slower than 8 pixels; `haze`: SD of the background
    smoothed over 8 pixels, over its mean; `cells`: share of the background brighter than the nerves' mean.
    """
    values = image.astype(float) + 1.0
    near = ndimage.binary_dilation(mask, iterations=7) & ~ndimage.binary_dilation(mask, iterations=3)
    far = ~ndimage.binary_dilation(mask, iterations=4)
    if mask.sum() < 30 or near.sum() < 30 or far.sum() < 30:
        return {"contrast": np.nan, "beading": np.nan, "haze": np.nan, "cells": np.nan}
    nerve, surroundings = values[mask].mean(), values[near].mean()
    core = ndimage.distance_transform_edt(mask) >= 1.5
    along = ndimage.gaussian_filter(values, 1.0)
    weight = ndimage.gaussian_filter(core.astype(float), 8.0) + 1e-9
    slow = ndimage.gaussian_filter(along * core, 8.0) / weight
    ratio = (along / np.maximum(slow, 1e-9))[core]
    background = ndimage.gaussian_filter(values * far, 8.0) / (ndimage.gaussian_filter(far.astype(float), 8.0) + 1e-9)
    return {
        "contrast": float((nerve - surroundings) / surroundings),
        "beading": float(ratio.std()) if core.sum() > 30 else float("nan"),
        "haze": float(background[far].std() / background[far].mean()),
        "cells": float((values[far] > nerve).mean()),
    }


def prompt_effect(
    cases: list[Case], picture: Callable[[Case, str, int], NDArray[np.uint8]], seeds: range
) -> dict[str, tuple[float, float, float]]:
    """T1DPN's minus Control's appearance on the same mask and seed: mean and 95 % interval over seeds.

    The mean over cases is taken for each seed; the interval is Student's over the seeds.
    """
    from scipy import stats

    names = ("contrast", "beading", "haze", "cells")
    means = []
    for seed in seeds:
        differences = []
        for case in cases:
            high = appearance_of(picture(case, "T1DPN", seed), case.mask)
            low = appearance_of(picture(case, "Control", seed), case.mask)
            differences.append([high[name] - low[name] for name in names])
        means.append(np.nanmean(np.array(differences), axis=0))
    values = np.array(means)
    centre = values.mean(0)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(0, ddof=1) / np.sqrt(len(values))
    return {n: (float(c), float(c - h), float(c + h)) for n, c, h in zip(names, centre, half, strict=True)}


def evaluate(
    base: Any,
    tuned: Any,
    cases: list[Case],
    sampling: Sampling,
    appearance: Appearance,
    out: Path,
    prompt_cases: int = 12,
    prompt_seeds: range = range(5),
) -> dict[str, Any]:
    """All figures as a dictionary of plain values; writes a contact sheet into `out`."""
    if len(cases) < 12:
        raise InputError(f"An evaluation needs at least 4 masks a cohort, not {len(cases) // 3}.")
    real = [real_picture(case, 0, appearance) for case in cases]
    again = [real_picture(case, 1, appearance) for case in cases]
    sets: dict[str, list[NDArray]] = {"phantoms, another draw": again}
    sets["phantoms through the VAE"] = [through_vae(base, image) for image in real]
    sets["base model"] = [
        painted_picture(base, case, sampling, seed) for seed, case in enumerate(tqdm(cases, desc="base", disable=None))
    ]
    sets["base model, matched"] = matched_baseline(sets["base model"], real)
    sets["adapter"] = [
        painted_picture(tuned, case, sampling, seed)
        for seed, case in enumerate(tqdm(cases, desc="adapter", disable=None))
    ]
    _sheet(cases, {"real": real} | sets, out / "pictures.png")
    few = cases[:: max(1, len(cases) // prompt_cases)][:prompt_cases]
    result = {
        "n": len(cases),
        "size": cases[0].mask.shape[0],
        "extractor": EXTRACTOR,
        "sampling": dataclasses.asdict(sampling),
        "fidelity": fidelity(sets, real),
        "follows": {"real": follows(cases, real)} | {name: follows(cases, images) for name, images in sets.items()},
        "prompt_effect": {
            "phantoms": prompt_effect(few, lambda c, name, s: real_picture(c, s, appearance, name), prompt_seeds),
            "adapter": prompt_effect(
                few, lambda c, name, s: painted_picture(tuned, c, sampling, s, name), prompt_seeds
            ),
        },
    }
    return _plain(result)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value.item() if isinstance(value, np.generic) else value


def tables(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"n = {result['n']} pictures of {result['size']}² pixels, features {result['extractor']}, against phantoms of "
        "the same masks. KID with 95 % interval; AUC of a linear classifier on unseen pictures (0.5: cannot tell).",
        "",
        "| pictures | KID | AUC |",
        "|---|---|---|",
    ]
    for name, figures in result["fidelity"].items():
        kid, auc = figures["kid"], figures["auc"]
        lines.append(
            f"| {name} | {kid['value']:.4f} ({kid['low']:.4f} to {kid['high']:.4f}) | "
            f"{auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f}) |"
        )
    lines += [
        "",
        "Traced with the same tracer; CNFL of the traced picture against the mask's.",
        "",
        "| pictures | cohort | Dice | slope | bias, mm/mm² | bias, % |",
        "|---|---|---|---|---|---|",
    ]
    for name, groups in result["follows"].items():
        for cohort, figures in groups.items():
            cells = [f"{v:.3f} ({low:.3f} to {high:.3f})" for v, low, high in (figures["cnfl"]["slope"],)]
            cells += ["{:+.2f} ({:+.2f} to {:+.2f})".format(*figures["cnfl"]["bias"])]
            cells += ["{:+.1f} ({:+.1f} to {:+.1f})".format(*figures["cnfl"]["bias_percent"])]
            lines.append(f"| {name} | {cohort} | {figures['dice']:.3f} | " + " | ".join(cells) + " |")
    lines += ["", "T1DPN's minus Control's appearance on the same masks and seeds, 95 % interval over seeds.", ""]
    lines += ["| pictures | contrast | beading | haze | cells |", "|---|---|---|---|---|"]
    for name, figures in result["prompt_effect"].items():
        shown = ["{:+.4f} ({:+.4f} to {:+.4f})".format(*value) for value in figures.values()]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


def _sheet(cases: list[Case], sets: dict[str, list[NDArray]], path: Path, rows: int = 9) -> None:
    """A row a case: its mask, then one picture of every set."""
    chosen = np.linspace(0, len(cases) - 1, min(rows, len(cases))).astype(int)
    size, gap = cases[0].mask.shape[0], 4
    columns = 1 + len(sets)
    page = Image.new("L", (columns * (size + gap) + gap, len(chosen) * (size + gap) + gap), 24)
    for row, index in enumerate(chosen):
        pictures = [cases[index].mask.astype(np.uint8) * 255, *(images[index] for images in sets.values())]
        for column, picture in enumerate(pictures):
            page.paste(Image.fromarray(picture), (gap + column * (size + gap), gap + row * (size + gap)))
    with whole(path) as temporary:
        page.save(temporary, format="PNG")
