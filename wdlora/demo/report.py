"""The demonstration's report: one HTML page that needs no network, and a contact sheet."""

import base64
import html
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..anatomy.biomarkers.overlay import COLOURS, ELSEWHERE, ON_TRUNK
from ..anatomy.biomarkers.units import UNITS
from ..cohorts import COHORTS
from ..files import atomic_write, write_text
from .pictures import Painted

SHOWN = {
    "cnfl": ("CNFL", 2),
    "cnfd": ("CNFD", 1),
    "cnbd": ("CNBD", 1),
    "cnfw": ("CNFW", 2),
}
COLUMNS = ("mask", "painted from the mask", "traced and measured", "phantom of the same mask")
LEGEND = {
    "trunk": COLOURS["trunk"],
    "branch": COLOURS["branch"],
    "free fibre": COLOURS["free"],
    "branch point on a trunk": ON_TRUNK,
    "branch point elsewhere": ELSEWHERE,
}

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6776; --line: #d8dee6; --paper: #fff; --mark: #eef3f8 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf2; --soft: #9aa7b6; --line: #333d49; --paper: #12171d;
  --mark: #1b232c } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 1180px; padding: 2rem 1.2rem 4rem }
h1 { font-size: 1.7rem; margin: 0 0 .3rem } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem }
p.lead { color: var(--soft); margin-top: 0 } .warn { border-left: 4px solid #d08700; padding: .5rem 1rem;
  background: var(--mark) }
.row { display: grid; grid-template-columns: repeat(4, 1fr); gap: .6rem; margin-bottom: .6rem }
.key { display: inline-block; width: .75em; height: .75em; box-sizing: border-box; border: 1px solid var(--soft) }
.key.ring { border-radius: 50%; background: none !important; border-width: 2px; outline: 1px solid var(--soft) }
figure { margin: 0 } figure img { width: 100%; display: block; border-radius: 4px }
figcaption { font-size: .82rem; color: var(--soft); padding-top: .25rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .93rem }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left }
code { background: var(--mark); padding: .1rem .35rem; border-radius: 4px }
.scroll { overflow-x: auto } @media screen and (max-width: 700px) { .row { grid-template-columns: repeat(2, 1fr) } }
@media print { @page { size: A4; margin: 9mm } :root { color-scheme: light; --ink: #000; --soft: #333; --line: #bbb;
  --paper: #fff; --mark: #f2f2f2 } body { font-size: 8.5pt; line-height: 1.3; padding: 0; max-width: none }
  h1 { font-size: 14pt } h2 { font-size: 10.5pt; margin: .7rem 0 .3rem } p { margin: .3rem 0 }
  .warn { padding: .2rem .6rem }
  .pairs { display: grid; grid-template-columns: 1fr 1fr; gap: .6rem } .row { gap: .2rem; margin: 0 }
  figcaption { font-size: 6pt; padding: 0 } table { font-size: 8pt } th, td { padding: .08rem .4rem } }
"""


def write_report(painted: list[Painted], out: Path, training: dict[str, Any], seconds: float) -> Path:
    """Write index.html and contact-sheet.png into `out`; returns the page.

    `training` holds the fine-tune's last `judgement`, its number of `steps`, its `folder`'s name and whether an
    earlier run had `begun` it; `data` is the embedded host's folder.
    """
    with atomic_write(out / "contact-sheet.png") as temporary:
        contact_sheet(painted).save(temporary, format="PNG")
    blocks = []
    for name, cohort in COHORTS.items():
        rows = "".join(_row(one) for one in painted if one.cohort == name)
        blocks.append(f'<h2>{html.escape(cohort.label)}</h2><div class="pairs">{rows}</div>')
    earlier = ", besides what an earlier run did of the fine-tune" if training["begun"] else ""
    judged = training.get("judgement") or {}
    page = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>WDLoRA-CCM demonstration</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>
<h1>From mask to measured picture</h1>
<p class="lead">Nerve masks drawn to match three cohorts; pictures painted from them by a miniature of Qwen-Image-Edit
with a weight-decomposed adapter that was fine-tuned on phantoms; each picture traced and measured.
{seconds / 60:.1f} minutes on this machine{earlier}.</p>
<p class="warn"><b>Research software, not a medical device.</b> The miniature shows that the parts work together; it
paints phantoms, not real corneas. It learned on small crops, so on pictures of this size the cohorts differ more in
contrast than phantoms do. For real pictures fine-tune Qwen-Image-Edit on real images.</p>
{"".join(blocks)}
<p class="lead">Traced: {_legend()}.</p>
<h2>Biomarkers</h2><div class="scroll">{_table(painted)}</div>
<p class="lead">Mask: what the picture was painted from. Picture: the same measured on the traced picture. Published:
mean ± SD of real images (WDLoRA paper, Table V). The masks were chosen
near their cohort's mean CNFL; others scatter. {_one_more(painted)}</p>
<h2>The fine-tune</h2>
<p>{training["steps"]} steps; validation loss {judged.get("validation_loss", float("nan")):.4f}, Dice of traced pictures
and masks {judged.get("traced_dice", float("nan")):.2f}. Sample sheets and log:
<code>{html.escape(training["folder"])}</code></p>
<h2>Go on</h2>
<p>The same graph in a browser: <code>python -m wdlora serve --data {html.escape(training["data"])}</code>, then
open <i>workflows/ccm_synthesis.json</i> there. Many pictures: <code>python -m wdlora batch --help</code>.</p>
</body></html>
"""
    write_text(out / "index.html", page)
    return out / "index.html"


def _row(one: Painted) -> str:
    captions = (f"mask {one.seed}", f"picture {one.seed}", f"picture {one.seed}, traced", f"phantom of mask {one.seed}")
    figures = zip((one.mask, one.picture, one.overlay, one.phantom), captions, strict=True)
    cells = "".join(
        f'<figure><img alt="{caption}" src="{_data(image)}"><figcaption>{caption}</figcaption></figure>'
        for image, caption in figures
    )
    return f'<div class="row">{cells}</div>'


def _one_more(painted: list[Painted]) -> str:
    step = 1 / painted[0].of_mask["area_mm2"]
    return f"One trunk or branch more in this field is {step:.2f} {UNITS['cnfd']}, so counts of single pictures jump."


def _legend() -> str:
    entries = []
    for name, colour in LEGEND.items():
        kind = "key ring" if "point" in name else "key"
        entries.append(f'<span class="{kind}" style="background:{colour}; border-color:{colour}"></span> {name}')
    return ", ".join(entries)


def _data(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _table(painted: list[Painted]) -> str:
    head = "".join(f"<th>{label}, {UNITS[key]}</th>" for key, (label, _) in SHOWN.items())
    lines = [f"<tr><th>cohort</th><th>what</th>{head}</tr>"]
    for name, cohort in COHORTS.items():
        for one in (one for one in painted if one.cohort == name):
            for kind, values in ((f"mask {one.seed}", one.of_mask), (f"picture {one.seed}", one.of_picture)):
                cells = "".join(f"<td>{_number(values.get(key), digits)}</td>" for key, (_, digits) in SHOWN.items())
                lines.append(f"<tr><td>{html.escape(cohort.label)}</td><td>{kind}</td>{cells}</tr>")
        published = "".join(
            f"<td>{cohort.distributions[key][0]:.{digits}f} ± {cohort.distributions[key][1]:.{digits}f}</td>"
            for key, (_, digits) in SHOWN.items()
        )
        lines.append(f"<tr><td>{html.escape(cohort.label)}</td><td>published</td>{published}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def table_text(painted: list[Painted]) -> str:
    """The table for a terminal."""
    lines = ["cohort     what         " + "  ".join(f"{label:>7}" for label, _ in SHOWN.values())]
    for one in painted:
        for kind, values in (("mask", one.of_mask), ("picture", one.of_picture)):
            cells = "  ".join(f"{_number(values.get(key), digits):>7}" for key, (_, digits) in SHOWN.items())
            lines.append(f"{one.cohort:<10} {kind:<8} {one.seed:<3} {cells}")
    return "\n".join(lines)


def contact_sheet(painted: list[Painted]) -> Image.Image:
    """The first picture of every cohort in a row: mask, painted, measured, phantom; what the colours mean below."""
    chosen = [next(one for one in painted if one.cohort == name) for name in COHORTS]
    side, gap, margin, head, foot = 300, 8, 150, 34, 56
    page = Image.new("RGB", (margin + 4 * (side + gap), head + len(chosen) * (side + gap) + foot), (16, 20, 26))
    draw = ImageDraw.Draw(page)
    from matplotlib import get_data_path

    font = f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf"  # Pillow's own lacks ² and →
    large, small = ImageFont.truetype(font, 15), ImageFont.truetype(font, 11)
    for column, title in enumerate(COLUMNS):
        draw.text((margin + column * (side + gap), 8), title, fill=(190, 200, 212), font=large)
    for row, one in enumerate(chosen):
        top = head + row * (side + gap)
        draw.text((12, top + 6), one.cohort, fill=(236, 240, 246), font=large)
        for number, (key, (label, digits)) in enumerate(SHOWN.items()):
            text = f"{label} {_number(one.of_mask.get(key), digits)} → {_number(one.of_picture.get(key), digits)}"
            draw.text((12, top + 40 + 38 * number), text, fill=(190, 200, 212), font=small)
            draw.text((12, top + 55 + 38 * number), UNITS[key], fill=(120, 132, 146), font=small)
        for column, image in enumerate((one.mask, one.picture, one.overlay, one.phantom)):
            tile = Image.fromarray(image).convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
            page.paste(tile, (margin + column * (side + gap), top))
    x, y = margin, page.height - foot + 6
    for name, colour in LEGEND.items():
        shape = draw.ellipse if "point" in name else draw.rectangle
        shape((x, y + 3, x + 10, y + 13), fill=None if "point" in name else colour, outline=colour, width=2)
        draw.text((x + 18, y), name, fill=(190, 200, 212), font=large)
        x += 18 + int(large.getlength(name)) + 28
    caption = f"Left: of the mask → of the traced picture. {_one_more(painted)}"
    draw.text((margin, y + 25), caption, fill=(120, 132, 146), font=small)
    return page
