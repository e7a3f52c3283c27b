"""report.html and report.json of a downstream study."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from training.downstream.config import REGIMES
from training.downstream.plots import rank_plot, regime_plot
from training.downstream.record import MAIN, study_record
from training.downstream.statistics import LEAST_PAIRS
from training.downstream.study import DownstreamStudy, TaskRuns
from wdlora.evaluation.report.parts import as_table, as_text, bullets, document, section, themed_plot
from wdlora.evaluation.report.tables import Table
from wdlora.files import write_json, write_text

COLUMNS = {
    "diagnosis": {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "auc": "AUC"},
    "segmentation": {"miou": "mIoU", "dice": "Dice", "cldice": "clDice"},
}


def write_downstream(study: DownstreamStudy, runs: Mapping[str, TaskRuns]) -> dict[str, Any]:
    """Write OUT/report.html and, last, OUT/report.json; returns what the latter holds."""
    values = study_record(study, runs)
    write_text(study.out / "report.html", downstream_page(values))
    write_json(study.out / "report.json", values)
    return values


def downstream_page(values: Mapping[str, Any]) -> str:
    """The report as HTML."""
    tasks = [task for task in MAIN if task in values]
    counts = values["n"]
    made = (
        f"{counts['real']} real images of {counts['patients']} patients, "
        f"{', '.join(f'{n} synthetic images of {name}' for name, n in counts['synthetic'].items())}; "
        f"{values['seeds']} pairs of seed and split, tested on {_span(counts['held_out'])} images of "
        f"{_span(counts['held_out_patients'])} held-out patients. {values['network']}, wdlora {values['wdlora']}."
    )
    body = (
        f'<h1>Synthetic images downstream</h1><p class="lead">{as_text(made)}</p>'
        '<p class="warn"><b>Research software, not a medical device.</b> These figures compare trainings on one data '
        "set. They validate nothing for diagnosis.</p>"
    )
    body += "".join(_task(values, task) for task in tasks)
    if "by_rank" in values:
        body += _by_rank(values, tasks)
    body += section("Completeness", "What must be known before reading a figure?", "", bullets(values["notes"]))
    regimes = Table(("regime", "trained on"), [[one.name, one.title] for one in REGIMES.values()])
    settings = Table(("setting", "value"), [[name, str(one)] for name, one in values["settings"].items()])
    body += section("Comprehension", "How were they trained?", "", as_table(regimes, "words") + as_table(settings))
    return document("Synthetic images downstream", body)


def _task(values: Mapping[str, Any], task: str) -> str:
    claim = values[task]["claim"]
    intro = claim or f"Nothing is claimed: that takes at least {LEAST_PAIRS} pairs, and there are {values['seeds']}."
    if task == "diagnosis":
        caption = "Dots: the network. Squares: logistic regression on the image's appearance. Lines: 95 % intervals."
    else:
        caption = "Dots: the network, with 95 % intervals. Dashed: the shipped tracer."
    body = themed_plot(partial(regime_plot, values, task), caption)
    for name, found in values["generators"].items():
        title = f"<h3>{as_text(name)}</h3>" if len(values["generators"]) > 1 else ""
        body += title + as_table(regime_table(found[task], task)) + as_table(contrast_table(found[task], task))
    if task == "diagnosis":
        body += "<h3>Confusion of regime A, all seeds</h3>" + as_table(_confusion(values))
    return section(task.capitalize(), "Do synthetic images help?", intro, body)


def regime_table(found: Mapping[str, Any], task: str) -> Table:
    """Table VII's layout, with what stands beside the networks."""
    columns = COLUMNS[task]
    rows = [[name, *(cell(found[name][key]) for key in columns)] for name in REGIMES if name in found]
    if task == "diagnosis":
        rows += [[f"probe {name}", cell(found["probe"][name]), "", ""] for name in ("A", "B", "C", "S")]
        rows.append(["chance", f"{found['chance']:.3f}", "", ""])
        rows.append(["ceiling: true biomarkers", cell(found["ceiling_interval"]), "", ""])
    else:
        rows.append(["shipped tracer", *(cell(found["tracer"][key]) for key in columns)])
    return Table(("regime", *columns.values()), rows)


def contrast_table(found: Mapping[str, Any], task: str) -> Table:
    """Differences from A by seed, with their tests."""
    rows = []
    for name in ("B-A", "C-A"):
        one = found[name]
        rows.append([f"network {name}", cell(one), _p(one["p"]), _needed(one)])
        if task == "diagnosis":
            one = found["probe"][name]
            rows.append([f"probe {name}", cell(one), f"{_p(one['p_unadjusted'])} (unadjusted)", _needed(one)])
    return Table(
        (f"difference in {COLUMNS[task][MAIN[task]]}", "mean (95 %)", "p (Holm)", "seeds for 80 % power"), rows
    )


def _by_rank(values: Mapping[str, Any], tasks: list[str]) -> str:
    body = ""
    for task in tasks:
        rows = [
            [row["method"], str(row["rank"]), *(cell(row[task][regime]) for regime in ("B", "C"))]
            for row in values["by_rank"]
        ]
        body += as_table(Table(("method", "rank", f"{task}: B", "C"), rows))
        caption = "Regime B by rank, with 95 % intervals over seeds and patients of one training run of each adapter."
        body += themed_plot(partial(rank_plot, values["by_rank"], task), caption)
    intro = (
        "One adapter of each method and rank: a difference between two bars may be that of two training runs, so "
        "methods are not ranked by it."
    )
    return section("Consistency", "Does it depend on method and rank?", intro, body)


def _confusion(values: Mapping[str, Any]) -> Table:
    cohorts = values["cohorts"]
    rows = zip(cohorts, values["diagnosis"]["A"]["confusion"], strict=True)
    return Table(("true, then predicted", *cohorts), [[name, *map(str, row)] for name, row in rows])


def cell(one: Mapping[str, Any]) -> str:
    """A figure with its interval."""
    if one["value"] is None:
        return "–"
    return f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"


def _p(p: float | None) -> str:
    return "–" if p is None else f"{p:.3f}"


def _needed(one: Mapping[str, Any]) -> str:
    return "–" if one["needed"] is None else str(one["needed"])


def _span(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def summary(values: Mapping[str, Any], out: Path) -> str:
    """What a terminal shows."""
    lines = []
    for task in (task for task in MAIN if task in values):
        for name, found in values["generators"].items():
            lines.append(f"{task}, {name}: {MAIN[task]}")
            rows = (*regime_table(found[task], task).rows, *contrast_table(found[task], task).rows)
            lines += [f"  {row[0]:<28}{row[1]}" + (f"   p {row[2]}" if row[0].endswith("-A") else "") for row in rows]
            lines.append(f"  {found[task]['claim'] or 'nothing is claimed: fewer than six pairs'}")
    lines += [f"note: {note}" for note in values["notes"]]
    return "\n".join([*lines, f"report: {out / 'report.html'}"])
