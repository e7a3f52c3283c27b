"""What an adapter has learned, on phantoms that nobody trained on.

The figures are always printed beside their floors: another draw of phantoms from the same masks, the real
picture through the VAE, the base model without the adapter, and a baseline that repaints nothing (the base's
picture with its radial spectrum and histogram matched to the phantoms').
"""

import dataclasses
import sys
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage.exposure import match_histograms
from tqdm import tqdm

from training.cases import Case, Sampling, painted_picture, real_picture, through_vae
from training.examples import Appearance
from training.monitor import evenly
from training.prompt_effect import PROPERTIES, appearance_change, prompt_losses
from wdlora.adapter import Adapter
from wdlora.anatomy import measure, trace
from wdlora.anatomy.overlap import dice
from wdlora.anatomy.scale import PIXEL_SIZE_UM
from wdlora.cohorts import COHORTS
from wdlora.errors import InputError
from wdlora.evaluation.agreement import agreement
from wdlora.evaluation.distance import Estimate, kid_estimate, standardised, two_sample_auc
from wdlora.evaluation.features import EXTRACTOR, features_of
from wdlora.evaluation.interval import mean_interval
from wdlora.files import atomic_write
from wdlora.qwen import apply_adapter

PHANTOMS, DECODED = "phantoms", "phantoms through the VAE"
"""The two references of fidelity: what was imaged, and the best that anything can be that leaves through the VAE."""

OTHERS = "another cohort's"

RULES = "none"
"""Rule set of the measurements: no piece is dropped, so that small fields can be compared."""


def fidelity(pictures: dict[str, list[NDArray]], reference: list[NDArray]) -> dict[str, dict[str, Estimate]]:
    """KID and classifier AUC of every set against the reference pictures, features scaled by the reference.

    All sets hold pictures of the same masks in the same order.
    """
    base = features_of(reference)
    result = {}
    for name, images in pictures.items():
        one, other = standardised(base, features_of(images))
        result[name] = {"kid": kid_estimate(one, other, paired=True), "auc": two_sample_auc(one, other, paired=True)}
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


def over_runs(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """`follows` of several training runs as one: means, with intervals over the runs instead of over the masks."""
    result: dict[str, Any] = {}
    for group in runs[0]:
        agreements = [run[group]["cnfl"] for run in runs]
        cnfl = {key: mean_interval([one[key][0] for one in agreements]) for key in ("slope", "bias", "bias_percent")}
        dices = mean_interval([run[group]["dice"] for run in runs])
        result[group] = {"dice": dices[0], "dice_interval": dices[1:], "cnfl": cnfl}
    return result


def evaluate(
    base: Any,
    adapters: Sequence[Adapter],
    cases: list[Case],
    sampling: Sampling,
    appearance: Appearance,
    out: Path,
    prompt_cases: int = 12,
    seeds: range = range(5),
) -> dict[str, Any]:
    """All figures as a dictionary of plain values; writes a contact sheet into `out`.

    The adapters take turns on the base, which is left as it was. With several of them, which should differ by their
    training seed alone, intervals of the effect of prompts and of following are over them; with one, over sampler
    `seeds` and over masks. Fidelity and the sheet are the first one's. The yardstick of the effect of prompts is what
    the cohort's appearance changes in phantoms, also where `appearance` is "common" and prompts should do nothing.
    """
    if len(cases) < 12:
        raise InputError(f"An evaluation needs at least 4 masks a cohort, not {len(cases) // 3}.")
    real = [real_picture(case, 0, appearance) for case in cases]
    again = [real_picture(case, 1, appearance) for case in cases]
    decoded = [through_vae(base, image) for image in real]
    few = evenly(cases, prompt_cases)
    of_base = _paint_all(base, cases, sampling, "base model")
    of_base_change = [_swap_prompts(base, few, sampling, seed) for seed in seeds]
    painted, changes, losses = [], [], []
    for number, adapter in enumerate(adapters):
        applied = apply_adapter(base.transformer, adapter)
        try:
            painted.append(_paint_all(base, cases, sampling, f"adapter {number + 1} of {len(adapters)}"))
            replicates = list(seeds) if len(adapters) == 1 else [number]
            changes += [_swap_prompts(base, few, sampling, seed) for seed in replicates]
            losses.append(prompt_losses(base, _watched(cases, "loss under each prompt"), appearance))
        finally:
            applied.detach()
    sets = {
        PHANTOMS: real,
        "phantoms, another draw": again,
        DECODED: decoded,
        "phantoms, another draw, through the VAE": [through_vae(base, image) for image in again],
        "base model": of_base,
        "base model, matched": matched_baseline(of_base, real),
        "adapter": painted[0],
    }
    _sheet(cases, sets, out / "pictures.png")
    following = {name: follows(cases, images) for name, images in sets.items()}
    if len(painted) > 1:
        runs = [following["adapter"], *(follows(cases, images) for images in painted[1:])]
        following[f"adapter, {len(runs)} training runs"] = over_runs(runs)
    gaps = [rows[:, 1] - rows[:, 0] for rows in losses]
    return _plain(
        {
            "n": len(cases),
            "runs": len(adapters),
            "size": cases[0].mask.shape[0],
            "appearance": appearance,
            "extractor": EXTRACTOR,
            "sampling": dataclasses.asdict(sampling),
            "fidelity": {
                PHANTOMS: fidelity({k: v for k, v in sets.items() if k != PHANTOMS}, real),
                DECODED: fidelity(
                    {
                        **{k: v for k, v in sets.items() if k not in (PHANTOMS, DECODED, "phantoms, another draw")},
                        "base model, matched": matched_baseline(of_base, decoded),
                    },
                    decoded,
                ),
            },
            "follows": following,
            "prompt_masks": len(few),
            "prompt_seeds": len(seeds),
            "prompt_effect": {
                PHANTOMS: _interval([appearance_change(few, partial(_drawn_as, s)) for s in seeds]),
                DECODED: _interval([appearance_change(few, partial(_decoded_as, base, s)) for s in seeds]),
                "base model": _interval(of_base_change),
                "adapter": _interval(changes),
            },
            "prompt_effect_of_replicates": [dict(zip(PROPERTIES, change, strict=True)) for change in changes],
            "prompt_loss": {
                "own prompt": float(np.mean([rows[:, 0].mean() for rows in losses])),
                OTHERS: float(np.mean([rows[:, 1].mean() for rows in losses])),
                "difference": mean_interval(gaps[0] if len(gaps) == 1 else [gap.mean() for gap in gaps]),
            },
        }
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


def _interval(changes: list[NDArray]) -> dict[str, tuple[float, float, float]]:
    """Each property's mean and 95 % interval over replicates [k, 4]."""
    return {name: mean_interval(values) for name, values in zip(PROPERTIES, np.array(changes).T, strict=True)}


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
    runs = f"{result['runs']} training runs" if result["runs"] > 1 else "sampler seeds"
    sampling = result["sampling"]
    lines = [
        f"n = {result['n']} pictures of {result['size']}² pixels, phantoms of {result['appearance']} appearance, "
        f"painted in {sampling['steps']} steps of {sampling['sampler']} at guidance {sampling['cfg']:g}, "
        f"features {result['extractor']}. KID with 95 % interval; AUC of a linear classifier on unseen pictures "
        "(0.5: cannot tell)."
    ]
    for reference, sets in result["fidelity"].items():
        lines += ["", f"| against {reference} | KID | AUC |", "|---|---|---|"]
        for name, figures in sets.items():
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
    over = f"{runs}, each with a sampler seed of its own" if result["runs"] > 1 else f"{result['prompt_seeds']} {runs}"
    title = f"T1DPN's minus Control's appearance on the same {result['prompt_masks']} masks. 95 % interval over"
    lines += ["", f"{title} {result['prompt_seeds']} draws, or sampler seeds of the base; adapter: over {over}."]
    lines += ["Phantoms: of cohort appearance, whatever appearance the others are judged by.", ""]
    lines += ["| pictures | contrast | beading | haze | cells |", "|---|---|---|---|---|"]
    for name, figures in result["prompt_effect"].items():
        shown = [
            _shown(key, value[0]) + f" ({_shown(key, value[1])} to {_shown(key, value[2])})"
            for key, value in figures.items()
        ]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    effect = result["prompt_effect"]
    shares = [_share(effect["adapter"][key], effect[DECODED][key][0]) for key in PROPERTIES]
    lines.append(f"| adapter, % of {DECODED} | " + " | ".join(shares) + " |")
    if result["runs"] > 1:
        for number, figures in enumerate(result["prompt_effect_of_replicates"], 1):
            lines.append(f"| training run {number} | " + " | ".join(_shown(*one) for one in figures.items()) + " |")
    loss = result["prompt_loss"]
    lines += [
        "",
        f"Loss on held-out phantoms with their own prompt {loss['own prompt']:.4f}, with another cohort's "
        f"{loss[OTHERS]:.4f}; difference "
        + "{:+.4f} ({:+.4f} to {:+.4f})".format(*loss["difference"])
        + f", interval over {runs if result['runs'] > 1 else 'pictures'}.",
    ]
    return "\n".join(lines) + "\n"


def _shown(key: str, value: float) -> str:
    """A change of one of the `PROPERTIES`; the share of cells is a hundredth of the others."""
    return f"{value:+.{5 if key == 'cells' else 4}f}"


def _share(change: Sequence[float], whole_change: float) -> str:
    """A change with its interval in per cent of another, e.g. "+86.2 (+73.5 to +98.6)"."""
    mean, *ends = (100 * value / whole_change for value in change)
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(mean, *sorted(ends))


def _sheet(cases: list[Case], sets: dict[str, list[NDArray]], path: Path, rows: int = 9) -> None:
    """A row a case: its mask, then one picture of every set, under their names."""
    chosen = np.linspace(0, len(cases) - 1, min(rows, len(cases))).astype(int)
    size, gap = cases[0].mask.shape[0], 4
    titles = [textwrap.fill(name, max(8, size // 7)) for name in ("mask", *sets)]
    head = 12 * max(title.count("\n") + 1 for title in titles) + 6
    page = Image.new("L", (len(titles) * (size + gap) + gap, head + len(chosen) * (size + gap)), 24)
    pen = ImageDraw.Draw(page)
    for column, title in enumerate(titles):
        pen.multiline_text(
            (gap + column * (size + gap), 3), title, fill=220, font=ImageFont.load_default(10), spacing=1
        )
    for row, index in enumerate(chosen):
        pictures = [cases[index].mask.astype(np.uint8) * 255, *(images[index] for images in sets.values())]
        for column, picture in enumerate(pictures):
            page.paste(Image.fromarray(picture), (gap + column * (size + gap), head + row * (size + gap)))
    with atomic_write(path) as temporary:
        page.save(temporary, format="PNG")
