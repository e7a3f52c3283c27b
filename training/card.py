"""The model card of a run: what was trained on what, how it did, and what it must not be used for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.best import BEST
from training.config import TrainingConfig
from training.output import ADAPTER
from training.record import plans_of, processes_of, start_of
from wdlora.evaluation.report.sentences import Answer
from wdlora.files import sha256, write_text
from wdlora.study import Study

CARD = "README.md"


@dataclass(frozen=True)
class Account:
    """What a card tells: names of base and preset, a sentence each about data and split, the log, the test."""

    base: str
    preset: str
    config: TrainingConfig
    study: Study
    data: str
    split: str
    log: list[dict[str, Any]]
    test: dict[str, Any] | None = None


def write_model_card(out: Path, told: Account) -> None:
    """Write README.md into the folder of a finished run."""
    fields = "\n".join(f"| {key} | {value} |" for key, value in told.config.to_dict().items())
    write_text(
        out / CARD,
        f"""# A {told.config.method} adapter of {told.base}

For synthesising corneal confocal microscopy images from a nerve mask and a clinical cohort.
**Research software, not a medical device: pictures painted with it are synthetic, and no clinical validity is
claimed.** Whoever trains a diagnostic model on them has to validate it on real, independent patients.

- Base: {told.base}
- Preset: {told.preset}
- Data: {told.data}
- Split: {told.split}{start_of(out)}{plans_of(out)}{processes_of(out)}
- Study: {told.study.label}, cohorts {", ".join(told.study.cohorts)}, SHA-256 {told.study.sha256}
{_files(out)}
- Load them with the WDLoRAApply node or with peft; ComfyUI's own LoRA loader does not evaluate weight-decomposed
  adapters rightly.

## How it went

{_judgements(told.log)} Every logged step: `log.jsonl`.

{_test(told.test)}

## Configuration

| field | value |
|---|---|
{fields}
""",
    )


HELD_OUT = "## Held-out patients"


def link_evaluation(run: Path, report: Path, answers: Sequence[Answer]) -> None:
    """Put the answers of an evaluation on held-out patients, and a link to its report, into the card of a run.

    A later evaluation takes the place of an earlier one. Nothing is done where the folder holds no card, or the report
    lies outside it, where no link would hold.
    """
    card = run / CARD
    if not card.is_file() or not report.resolve().is_relative_to(run.resolve()):
        return
    before, _, rest = card.read_text(encoding="utf-8").partition(f"\n{HELD_OUT}\n")
    _, mark, after = rest.partition("\n## ")
    said = "\n".join(f"- {one.question} **{one.short}.** {one.sentence}" for one in answers)
    place = report.resolve().relative_to(run.resolve()).as_posix()
    section = f"\n{HELD_OUT}\n\n[The report]({place}/report.html), in short:\n\n{said}\n"
    write_text(card, f"{before}{section}{mark}{after}" if mark else f"{before.rstrip()}\n{section}")


def _files(out: Path) -> str:
    of = {ADAPTER: "after the last step", BEST: "of the lowest validation loss"}
    there = [(name, what) for name, what in of.items() if (out / name).exists()]
    return "\n".join(f"- `{name}`, {what}, SHA-256 {sha256(out / name)}, in peft's keys" for name, what in there)


def _judgements(log: list[dict[str, Any]]) -> str:
    judged = [line for line in log if "validation_loss" in line]
    if not judged:
        return "No patients were kept for validation."
    rows = "\n".join(
        f"| {line['step']} | {line['validation_loss']:.4f} | {line['traced_dice']:.3f} | "
        f"{line['traced_cnfl_error']:.3f} |"
        for line in judged
    )
    return f"""On {judged[-1]["traced_pictures"]} held-out masks; `python -m training evaluate` takes more.

| step | validation loss | Dice of traced pictures and masks | CNFL error, mm/mm² |
|---|---|---|---|
{rows}

Samples: `sheets/`."""


def _test(test: dict[str, Any] | None) -> str:
    if test is None:
        return "No patients were kept for a test at the end."
    return (
        f"On patients of the test, whom neither training nor the choice of the adapter saw, `{test['adapter']}` (step "
        f"{test['step']}): loss {test['test_loss']:.4f}, Dice {test['traced_dice']:.3f}, CNFL error "
        f"{test['traced_cnfl_error']:.3f} mm/mm² on {test['traced_pictures']} painted masks."
    )
