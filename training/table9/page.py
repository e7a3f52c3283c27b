"""Table IX as Markdown and JSON, and the pictures side by side as in the paper's Fig. 9."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from training.clock import TOLD, Clock
from training.downstream.record import MAIN
from training.downstream.statistics import LEAST_PAIRS
from training.table9.run import Row, Table9
from training.table9.settings import NAMES, TITLES
from wdlora import __version__
from wdlora.anatomy.phantoms.versions import version_name
from wdlora.evaluation.sets import in_order
from wdlora.files import atomic_write, write_json, write_text

NOT_RUN = "not run"
GAP, TOP, SIDE = 4, 16, 160


def write_table9(found: Table9) -> dict[str, Any]:
    """Write OUT/figure9.png, OUT/table9.md and, last, OUT/table9.json; returns what the latter holds."""
    out = found.job.out
    write_figure9(found, out / "figure9.png")
    values = {
        "wdlora": __version__,
        "data": f"{version_name()}, drawn" if found.job.drawn else found.job.data.name,
        "n": {"test": len(found.cases.cases)},
        "seeds": found.job.seeds,
        "clock": Clock(found.job.device).name,
        "rows": {row.name: {key: value for key, value in asdict(row).items() if key != "name"} for row in found.rows},
        "not_run": [name for name in NAMES if name not in found.job.rows],
        "downstream": found.downstream,
    }
    write_text(out / "table9.md", table9_page(found))
    write_json(out / "table9.json", values)
    return values


def table9_page(found: Table9) -> str:
    """The tables with what must be known before reading them."""
    parts = [_account(found), _pictures(found.rows, TOLD[Clock(found.job.device).name])]
    if found.downstream is not None:
        parts.append(_use(found.downstream, [row.name for row in found.rows]))
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in _notes(found))]) + "\n"


def _account(found: Table9) -> str:
    job, n = found.job, len(found.cases.cases)
    data = f"{version_name()} of common appearance, not patients" if job.drawn else "the user's own data"
    report = found.rows[0].report
    return (
        f"Data: {data}; {n} held-out images, whose masks every row painted; all rows were trained on the same other "
        f"patients. One training run a row. Extractor {report['extractor']}, tracer {report['tracer']}."
    )


def _pictures(rows: Sequence[Row], clock: str) -> str:
    columns = (
        *("row", "trained parameters, million", f"minutes of training ({clock})", f"seconds a picture ({clock})"),
        *(
            "KID",
            "FID",
            "PSNR, dB",
            "SSIM",
            "Dice of its mask",
            "of another's",
            "CNFL, picture − mask",
            "biomarkers: equivalent, different, undecided",
        ),
    )
    lines = []
    for name in NAMES:
        row = next((one for one in rows if one.name == name), None)
        lines.append([TITLES[name], *(_figures(row) if row else [NOT_RUN, *["–"] * (len(columns) - 2)])])
    floor = rows[0].report["floor"]
    measured = [_cell(floor[key], digits) if key in floor else "–" for key, digits in _FIDELITY]
    lines.append(["real against real", "–", "–", "–", *measured, "–", "–", "–", "–"])
    return _markdown(columns, lines)


_FIDELITY = (("kid", 3), ("fid", 2), ("psnr", 1), ("ssim", 3))


def _figures(row: Row) -> list[str]:
    fidelity = row.report["fidelity"]
    verdicts = Counter(one["verdict"] for some in row.report["biomarkers"].values() for one in some.values())
    return [
        f"{row.parameters / 1e6:.3g}" if row.parameters else "0",
        "–" if row.minutes is None else f"{row.minutes:.1f}",
        f"{row.seconds:.2f}",
        *(_cell(fidelity[key], digits) for key, digits in _FIDELITY),
        f"{row.followed['traced_dice']:.3f}",
        f"{row.followed['wrong_dice']:.3f}" if "wrong_dice" in row.followed else "–",
        f"{row.followed['traced_cnfl_error']:+.2f}",
        ", ".join(str(verdicts[name]) for name in ("equivalent", "different", "undecided")),
    ]


def _use(values: Mapping[str, Any], names: Sequence[str]) -> str:
    """Regimes C and B with the pictures of every row, beside A."""
    first = values["generators"][names[0]]
    columns = ("row", "accuracy C", "accuracy B", "probe C", "mIoU C", "mIoU B")
    lines = []
    for name in names:
        diagnosis, segmentation = (values["generators"][name][task] for task in MAIN)
        lines.append(
            [
                TITLES[name],
                *(_cell(diagnosis[regime]["accuracy"], 3) for regime in ("C", "B")),
                _cell(diagnosis["probe"]["C"], 3),
                *(_cell(segmentation[regime]["miou"], 3) for regime in ("C", "B")),
            ]
        )
    diagnosis, segmentation = (first[task] for task in MAIN)
    real, tracer = _cell(segmentation["A"]["miou"], 3), _cell(segmentation["tracer"]["miou"], 3)
    accuracy, probe = _cell(diagnosis["A"]["accuracy"], 3), _cell(diagnosis["probe"]["A"], 3)
    lines.append(["real images (A)", accuracy, "–", probe, real, "–"])
    lines.append(["true biomarkers; shipped tracer", f"{diagnosis['ceiling']:.3f}", "–", "–", tracer, "–"])
    lines.append(["chance", f"{diagnosis['chance']:.3f}", *["–"] * 4])
    return _markdown(columns, lines)


def _notes(found: Table9) -> list[str]:
    notes = [
        "One training run a row: a difference between LoRA and WDLoRA may be that of two runs, so they are not ranked.",
        "PSNR and SSIM do not measure realism: fresh texture on the same nerves, which is perfect, has "
        f"{_fresh_texture(found.rows[0].report)}.",
    ]
    if found.downstream is not None and found.job.seeds < LEAST_PAIRS:
        notes.append(f"{found.job.seeds} seeds downstream: below {LEAST_PAIRS} pairs nothing is claimed.")
    if missing := [TITLES[name] for name in NAMES if name not in found.job.rows]:
        notes.append(f"Not run: {', '.join(missing)}.")
    if {"lora", "wdlora", "base"} & set(found.job.rows):
        notes.append("LoRA, WDLoRA and the base stand on a model that was trained before; its training is not counted.")
    return notes


def _fresh_texture(report: Mapping[str, Any]) -> str:
    fresh = report["fresh_texture"]
    values = [fresh[key]["value"] for key in ("psnr", "ssim")]
    return "lower ones than a blurred picture" if None in values else f"{values[0]:.1f} dB and {values[1]:.2f}"


def _cell(one: Mapping[str, Any], digits: int) -> str:
    if one["value"] is None:
        return "–"
    return f"{one['value']:.{digits}f} ({one['low']:.{digits}f} to {one['high']:.{digits}f})"


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def write_figure9(found: Table9, path: Path) -> None:
    """A row a cohort: mask, real image, and the picture of every row that was run; the case with the most nerve."""
    cases = found.cases.cases
    chosen = [
        max((number for number, case in enumerate(cases) if case.cohort == cohort), key=lambda n: cases[n].mask.mean())
        for cohort in in_order({case.cohort for case in cases})
    ]
    titles = ["mask", "real", *found.pictures]
    page = Image.new("L", (len(titles) * (SIDE + GAP) + GAP, TOP + len(chosen) * (SIDE + TOP) + GAP), 24)
    draw = ImageDraw.Draw(page)
    for column, title in enumerate(titles):
        draw.text((GAP + column * (SIDE + GAP), 2), title, fill=220)
    for row, number in enumerate(chosen):
        top = TOP + row * (SIDE + TOP)
        draw.text((GAP, top), cases[number].cohort, fill=160)
        shown = [cases[number].mask.astype(np.uint8) * 255, cases[number].image]
        shown += [pictures[number] for pictures in found.pictures.values()]
        for column, pixels in enumerate(shown):
            image = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            page.paste(image, (GAP + column * (SIDE + GAP), top + TOP - 2))
    with atomic_write(path) as temporary:
        page.save(temporary, format="PNG")
