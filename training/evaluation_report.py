"""What an evaluation has found: the results, as JSON, as Markdown tables, and a sheet of the pictures."""

import dataclasses
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from training.appearance import PROPERTIES
from training.cases import Case
from training.examples import PhantomAppearance
from wdlora.anatomy.phantoms.versions import version_name
from wdlora.evaluation.estimate import Estimate
from wdlora.evaluation.interval import mean_interval
from wdlora.files import atomic_write
from wdlora.qwen.sampling import Sampling

Interval = tuple[float, float, float]
"""Mean and the ends of its 95 % interval."""


class PictureSet(StrEnum):
    """Pictures of the same masks from different sources; the values are what tables and JSON call them."""

    PHANTOMS = "phantoms"
    REDRAWN = "phantoms, another draw"
    DECODED = "phantoms through the VAE"
    REDRAWN_DECODED = "phantoms, another draw, through the VAE"
    BASE = "base model"
    MATCHED = "base model, matched"
    ADAPTER = "adapter"


@dataclass(frozen=True)
class Fidelity:
    """How far a set of pictures is from the reference: kernel distance, and the AUC of a classifier."""

    kid: Estimate
    auc: Estimate


@dataclass(frozen=True)
class MaskAgreement:
    """How traced pictures agree with the masks that they were made from.

    `dice`: mean overlap, with the ends of an interval where it is over training runs; `cnfl`: slope, bias (mm/mm²) and
    bias_percent, each an `Interval`, and what else `wdlora.evaluation.agreement` tells of one run.
    """

    dice: float
    cnfl: dict[str, Any]
    dice_interval: tuple[float, float] | None = None

    @classmethod
    def over_runs(cls, runs: Sequence["MaskAgreement"]) -> "MaskAgreement":
        """Of several training runs: means, with intervals over the runs instead of over the masks."""
        mean, *ends = mean_interval([run.dice for run in runs])
        keys = ("slope", "bias", "bias_percent")
        cnfl = {key: mean_interval([run.cnfl[key][0] for run in runs]) for key in keys}
        return cls(mean, cnfl, (ends[0], ends[1]))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        interval = {} if self.dice_interval is None else {"dice_interval": list(self.dice_interval)}
        return {"dice": self.dice, **interval, "cnfl": _plain(self.cnfl)}


@dataclass(frozen=True)
class PromptEffect:
    """What T1DPN's prompt in the place of Control's changes in the appearance of `masks` pictures.

    `of_sets`: the `PROPERTIES`' mean changes, with intervals over `seeds` or, for the adapter, over training runs;
    `of_replicates`: the adapter's changes one by one.
    """

    masks: int
    seeds: int
    of_sets: dict[PictureSet, dict[str, Interval]]
    of_replicates: list[dict[str, float]]


@dataclass(frozen=True)
class PromptLoss:
    """Mean loss on held-out phantoms under their own prompt and under the others', and the difference."""

    own: float
    others: float
    difference: Interval


@dataclass(frozen=True)
class Evaluation:
    """All that is measured on `cases` pictures of `size`², painted by the adapters of `runs` training runs.

    `fidelity` by reference (phantoms, and phantoms through the VAE) and by set; `mask_agreement` by set, or by the name
    of several runs together, and by cohort, "all" among them.
    """

    cases: int
    runs: int
    size: int
    appearance: PhantomAppearance
    phantom: int
    extractor: str
    sampling: Sampling
    fidelity: dict[PictureSet, dict[PictureSet, Fidelity]]
    mask_agreement: dict[str, dict[str, MaskAgreement]]
    prompt_effect: PromptEffect
    prompt_loss: PromptLoss

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, under the keys of `training evaluate --json`."""
        sampling, effect, loss = self.sampling, self.prompt_effect, self.prompt_loss
        agreements = {
            name: {cohort: one.to_dict() for cohort, one in groups.items()}
            for name, groups in self.mask_agreement.items()
        }
        return {
            "n": self.cases,
            "runs": self.runs,
            "size": self.size,
            "appearance": self.appearance,
            "phantom": version_name(self.phantom),
            "extractor": self.extractor,
            "sampling": {key: getattr(sampling, key) for key in ("steps", "cfg", "shift", "sampler")},
            "fidelity": _plain(self.fidelity),
            "follows": _plain(agreements),
            "prompt_masks": effect.masks,
            "prompt_seeds": effect.seeds,
            "prompt_effect": _plain(effect.of_sets),
            "prompt_effect_of_replicates": _plain(effect.of_replicates),
            "prompt_loss": {
                "own prompt": loss.own,
                "another cohort's": loss.others,
                "difference": list(loss.difference),
            },
        }

    def tables(self) -> str:
        """As Markdown."""
        sampling = self.sampling
        head = (
            f"n = {self.cases} pictures of {self.size}² pixels, phantoms of {self.appearance} appearance "
            f"({version_name(self.phantom)}), painted in {sampling.steps} steps of {sampling.sampler} at guidance "
            f"{sampling.cfg:g}, features {self.extractor}. KID with 95 % interval; AUC of a linear classifier on "
            "unseen pictures (0.5: cannot tell)."
        )
        lines = [head, *_fidelity_tables(self.fidelity), *_agreement_table(self.mask_agreement)]
        lines += _effect_table(self.prompt_effect, self.runs)
        loss = self.prompt_loss
        over = f"{self.runs} training runs" if self.runs > 1 else "pictures"
        lines += [
            "",
            f"Loss on held-out phantoms with their own prompt {loss.own:.4f}, with another cohort's {loss.others:.4f}; "
            f"difference {_signed(loss.difference, 4)}, interval over {over}.",
        ]
        return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:
    """`value` as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value.item() if isinstance(value, np.generic) else value


def _fidelity_tables(fidelity: dict[PictureSet, dict[PictureSet, Fidelity]]) -> list[str]:
    lines = []
    for reference, sets in fidelity.items():
        lines += ["", f"| against {reference} | KID | AUC |", "|---|---|---|"]
        for name, one in sets.items():
            kid, auc = one.kid, one.auc
            lines.append(
                f"| {name} | {kid.value:.4f} ({kid.low:.4f} to {kid.high:.4f}) | "
                f"{auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f}) |"
            )
    return lines


def _agreement_table(agreements: dict[str, dict[str, MaskAgreement]]) -> list[str]:
    lines = [
        "",
        "Traced with the same tracer; CNFL of the traced picture against the mask's.",
        "",
        "| pictures | cohort | Dice | slope | bias, mm/mm² | bias, % |",
        "|---|---|---|---|---|---|",
    ]
    for name, groups in agreements.items():
        for cohort, one in groups.items():
            slope = "{:.3f} ({:.3f} to {:.3f})".format(*one.cnfl["slope"])
            bias, percent = _signed(one.cnfl["bias"], 2), _signed(one.cnfl["bias_percent"], 1)
            lines.append(f"| {name} | {cohort} | {one.dice:.3f} | {slope} | {bias} | {percent} |")
    return lines


def _effect_table(effect: PromptEffect, runs: int) -> list[str]:
    several = runs > 1
    over = f"{runs} training runs, each with a sampler seed of its own" if several else f"{effect.seeds} sampler seeds"
    title = f"T1DPN's minus Control's appearance on the same {effect.masks} masks. 95 % interval over"
    lines = ["", f"{title} {effect.seeds} draws, or sampler seeds of the base; adapter: over {over}."]
    lines += ["Phantoms: of cohort appearance, whatever appearance the others are judged by.", ""]
    lines += ["| pictures | contrast | beading | haze | cells |", "|---|---|---|---|---|"]
    for name, changes in effect.of_sets.items():
        lines.append(f"| {name} | " + " | ".join(_signed(one, _digits(key)) for key, one in changes.items()) + " |")
    of_adapter, of_decoded = effect.of_sets[PictureSet.ADAPTER], effect.of_sets[PictureSet.DECODED]
    shares = [_share(of_adapter[key], of_decoded[key][0]) for key in PROPERTIES]
    lines.append(f"| adapter, % of {PictureSet.DECODED} | " + " | ".join(shares) + " |")
    if several:
        for number, changed in enumerate(effect.of_replicates, 1):
            cells = [f"{value:+.{_digits(key)}f}" for key, value in changed.items()]
            lines.append(f"| training run {number} | " + " | ".join(cells) + " |")
    return lines


def _signed(interval: Sequence[float], digits: int) -> str:
    """E.g. "+0.12 (-0.03 to +0.27)"."""
    mean, low, high = (f"{value:+.{digits}f}" for value in interval)
    return f"{mean} ({low} to {high})"


def _digits(key: str) -> int:
    """Digits for a change of one of the `PROPERTIES`; the share of cells is a hundredth of the others."""
    return 5 if key == "cells" else 4


def _share(change: Sequence[float], whole_change: float) -> str:
    """A change with its interval in per cent of another, e.g. "+86.2 (+73.5 to +98.6)"."""
    mean, *ends = (100 * value / whole_change for value in change)
    return _signed((mean, *sorted(ends)), 1)


def write_picture_sheet(cases: list[Case], sets: dict[PictureSet, list[NDArray]], path: Path, rows: int = 9) -> None:
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
