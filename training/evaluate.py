"""What an adapter has learned, on phantoms that nobody trained on.

Its pictures are always judged beside their baselines (`PictureSet`): another draw of phantoms from the same masks, the
real picture through the VAE, the base model without the adapter, and one that repaints nothing (the base's
picture with its radial spectrum and histogram matched to the phantoms').
"""

import dataclasses
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.exposure import match_histograms
from tqdm import tqdm

from training.appearance import PROPERTIES
from training.cases import Case, painted_picture, real_picture, through_vae
from training.evaluation_report import (
    Evaluation,
    Fidelity,
    Interval,
    MaskAgreement,
    PictureSet,
    PromptEffect,
    PromptLoss,
    write_picture_sheet,
)
from training.examples import PhantomAppearance
from training.prompt_effect import appearance_change, prompt_losses
from training.validation import evenly
from wdlora.adapter import Adapter
from wdlora.anatomy import measure, trace
from wdlora.anatomy.overlap import dice
from wdlora.anatomy.scale import PIXEL_SIZE_UM
from wdlora.cohorts import COHORTS
from wdlora.errors import InputError
from wdlora.evaluation.agreement import agreement
from wdlora.evaluation.distance import kid_estimate, standardised
from wdlora.evaluation.features import EXTRACTOR, features_of
from wdlora.evaluation.interval import mean_interval
from wdlora.evaluation.two_sample import two_sample_auc
from wdlora.qwen import apply_adapter
from wdlora.qwen.sampling import Sampling

RULES = "none"
"""Rule set of the measurements: no piece is dropped, so that small fields can be compared."""

Pictures = dict[PictureSet, list[NDArray]]
"""Sets of pictures uint8 [H, W] of the same masks in the same order."""


@dataclasses.dataclass
class AdapterRuns:
    """What adapters painted and lost, one of `painted` and `losses` each; `changes` [4] under swapped prompts."""

    painted: list[list[NDArray]] = dataclasses.field(default_factory=list)
    changes: list[NDArray] = dataclasses.field(default_factory=list)
    losses: list[NDArray] = dataclasses.field(default_factory=list)


def evaluate_adapters(
    base: Any,
    adapters: Sequence[Adapter],
    cases: list[Case],
    sampling: Sampling,
    appearance: PhantomAppearance,
    out: Path,
    prompt_cases: int = 12,
    seeds: range = range(5),
) -> Evaluation:
    """Measure everything; writes a contact sheet into `out`.

    The adapters take turns on the base, which is left as it was. With several of them, which should differ by their
    training seed alone, intervals of the effect of prompts and of the agreement with masks are over them; with one,
    over sampler `seeds` and over masks. Fidelity and the sheet are the first one's. The yardstick of the effect of
    prompts is what the cohort's appearance changes in phantoms, also where `appearance` is "common" and prompts should
    do nothing.
    """
    if len(cases) < 12:
        raise InputError(f"An evaluation needs at least 4 masks of each cohort, not {len(cases) // 3}.")
    few = evenly(cases, prompt_cases)
    of_base = _paint_all(base, cases, sampling, "base model")
    base_changes = [_swap_prompts(base, few, sampling, seed) for seed in seeds]
    runs = AdapterRuns()
    for number, adapter in enumerate(adapters):
        applied = apply_adapter(base.transformer, adapter)
        try:
            runs.painted.append(_paint_all(base, cases, sampling, f"adapter {number + 1} of {len(adapters)}"))
            replicates = list(seeds) if len(adapters) == 1 else [number]
            runs.changes += [_swap_prompts(base, few, sampling, seed) for seed in replicates]
            runs.losses.append(prompt_losses(base, _watched(cases, "loss under each prompt"), appearance))
        finally:
            applied.detach()
    sets = _picture_sets(base, cases, appearance, of_base, runs.painted[0])
    write_picture_sheet(cases, sets, out / "pictures.png")
    changes = {
        PictureSet.PHANTOMS: [appearance_change(few, partial(_drawn_as, seed)) for seed in seeds],
        PictureSet.DECODED: [appearance_change(few, partial(_decoded_as, base, seed)) for seed in seeds],
        PictureSet.BASE: base_changes,
        PictureSet.ADAPTER: runs.changes,
    }
    return Evaluation(
        cases=len(cases),
        runs=len(adapters),
        size=cases[0].mask.shape[0],
        appearance=appearance,
        phantom=cases[0].phantom,
        extractor=EXTRACTOR,
        sampling=sampling,
        fidelity=_fidelities(sets),
        mask_agreement=_mask_agreements(cases, sets, runs.painted),
        prompt_effect=_prompt_effect(changes, len(few), len(seeds)),
        prompt_loss=_prompt_loss(runs.losses),
    )


def _picture_sets(
    base: Any, cases: list[Case], appearance: PhantomAppearance, of_base: list[NDArray], of_adapter: list[NDArray]
) -> Pictures:
    real = [real_picture(case, 0, appearance) for case in cases]
    redrawn = [real_picture(case, 1, appearance) for case in cases]
    return {
        PictureSet.PHANTOMS: real,
        PictureSet.REDRAWN: redrawn,
        PictureSet.DECODED: [through_vae(base, image) for image in real],
        PictureSet.REDRAWN_DECODED: [through_vae(base, image) for image in redrawn],
        PictureSet.BASE: of_base,
        PictureSet.MATCHED: matched_baseline(of_base, real),
        PictureSet.ADAPTER: of_adapter,
    }


def _fidelities(sets: Pictures) -> dict[PictureSet, dict[PictureSet, Fidelity]]:
    """Against what was imaged, and against the best that anything can be that leaves through the VAE."""
    real, decoded = sets[PictureSet.PHANTOMS], sets[PictureSet.DECODED]
    through = (PictureSet.REDRAWN_DECODED, PictureSet.BASE, PictureSet.MATCHED, PictureSet.ADAPTER)
    matched = {PictureSet.MATCHED: matched_baseline(sets[PictureSet.BASE], decoded)}
    return {
        PictureSet.PHANTOMS: fidelity({k: v for k, v in sets.items() if k != PictureSet.PHANTOMS}, real),
        PictureSet.DECODED: fidelity({name: sets[name] for name in through} | matched, decoded),
    }


def fidelity(pictures: Pictures, reference: list[NDArray]) -> dict[PictureSet, Fidelity]:
    """KID and classifier AUC of every set against the reference pictures, features scaled by the reference.

    All sets hold pictures of the same masks in the same order.
    """
    base = features_of(reference)
    result = {}
    for name, images in pictures.items():
        one, other = standardised(base, features_of(images))
        result[name] = Fidelity(kid_estimate(one, other, paired=True), two_sample_auc(one, other, paired=True))
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
        result.append(np.round(np.clip(match_histograms(filtered[None], pooled)[0], 0, 255)).astype(np.uint8))
    return result


def _rings(shape: tuple[int, ...]) -> NDArray:
    radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None])
    return np.round(radius * max(shape)).astype(int)


def _radial_power(images: list[NDArray]) -> NDArray:
    ring = _rings(images[0].shape)
    power = np.mean([np.abs(np.fft.fft2(image.astype(float))) ** 2 for image in images], axis=0)
    return np.bincount(ring.ravel(), power.ravel()) / np.maximum(np.bincount(ring.ravel()), 1)


def _mask_agreements(
    cases: list[Case], sets: Pictures, painted: list[list[NDArray]]
) -> dict[str, dict[str, MaskAgreement]]:
    found: dict[str, dict[str, MaskAgreement]] = {name: mask_agreement(cases, images) for name, images in sets.items()}
    if len(painted) > 1:
        runs = [found[PictureSet.ADAPTER], *(mask_agreement(cases, images) for images in painted[1:])]
        over_runs = {group: MaskAgreement.over_runs([run[group] for run in runs]) for group in runs[0]}
        found[f"{PictureSet.ADAPTER}, {len(runs)} training runs"] = over_runs
    return found


def mask_agreement(cases: list[Case], pictures: list[NDArray]) -> dict[str, MaskAgreement]:
    """Overlap of the traced pictures with the masks, and agreement of their CNFL, in all and by cohort."""
    traced = [trace(picture, PIXEL_SIZE_UM) for picture in pictures]
    overlaps = np.array([dice(found, case.mask) for found, case in zip(traced, cases, strict=True)])
    true = np.array([measure(case.mask, PIXEL_SIZE_UM, rules=RULES).cnfl for case in cases])
    found = np.array([measure(mask, PIXEL_SIZE_UM, rules=RULES).cnfl for mask in traced])
    groups = {"all": np.ones(len(cases), bool)} | {
        name: np.array([case.cohort == name for case in cases]) for name in COHORTS
    }
    result = {}
    for name, members in groups.items():
        if members.sum() >= 3:
            agrees = dataclasses.asdict(agreement(true[members], found[members]))
            result[name] = MaskAgreement(float(overlaps[members].mean()), agrees)
    return result


def _prompt_effect(changes: dict[PictureSet, list[NDArray]], masks: int, seeds: int) -> PromptEffect:
    of_replicates = [dict(zip(PROPERTIES, map(float, one), strict=True)) for one in changes[PictureSet.ADAPTER]]
    return PromptEffect(masks, seeds, {name: _intervals(found) for name, found in changes.items()}, of_replicates)


def _intervals(changes: list[NDArray]) -> dict[str, Interval]:
    """Each property's mean and 95 % interval over replicates [k, 4]."""
    return {name: mean_interval(values) for name, values in zip(PROPERTIES, np.array(changes).T, strict=True)}


def _prompt_loss(losses: list[NDArray]) -> PromptLoss:
    gaps = [rows[:, 1] - rows[:, 0] for rows in losses]
    return PromptLoss(
        own=float(np.mean([rows[:, 0].mean() for rows in losses])),
        others=float(np.mean([rows[:, 1].mean() for rows in losses])),
        difference=mean_interval(gaps[0] if len(gaps) == 1 else [gap.mean() for gap in gaps]),
    )


def _paint_all(model: Any, cases: list[Case], sampling: Sampling, title: str) -> list[NDArray]:
    return [painted_picture(model, case, sampling, seed) for seed, case in enumerate(_watched(cases, title))]


def _watched(cases: list[Case], title: str) -> "tqdm[Case]":
    """The cases with a progress bar, which speaks twice a minute where nobody watches a terminal."""
    return tqdm(cases, title, unit="mask", mininterval=0.1 if sys.stderr.isatty() else 30)


def _swap_prompts(model: Any, cases: list[Case], sampling: Sampling, seed: int) -> NDArray:
    """What T1DPN's prompt in the place of Control's changes in painted pictures of the cases."""
    watched = _watched(cases, f"prompts swapped, sampler seed {seed}")
    return appearance_change(watched, partial(_under_prompt, model, sampling, seed))


def _under_prompt(model: Any, sampling: Sampling, seed: int, case: Case, cohort: str) -> NDArray[np.uint8]:
    return painted_picture(model, case, sampling, seed, cohort)


def _drawn_as(seed: int, case: Case, cohort: str) -> NDArray[np.uint8]:
    return real_picture(case, seed, "cohort", cohort)


def _decoded_as(model: Any, seed: int, case: Case, cohort: str) -> NDArray[np.uint8]:
    return through_vae(model, _drawn_as(seed, case, cohort))
