"""report.html: one page that opens without a network, under the seven headings of FDA's synthetic-data scorecard.

Congruence, coverage, constraint, completeness, compliance, comprehension, consistency: Zamzmi et al. 2024, arXiv
2406.11143. The page holds plots and tables of figures; no image of a patient and no name of a file.
"""

from collections.abc import Iterable

from ... import __version__
from ..biomarkers import Comparison
from ..copies.findings import Read
from ..equivalence import MARGIN
from ..pairs import PHANTOM
from ..pillars import SetComparison
from . import sentences, tables
from .parts import as_table, as_text, bullets, document, section, themed_plot
from .plots import PLOTS
from .sheet import FOLDER, PICTURE
from .tables import Table


def page(found: SetComparison) -> str:
    """The report as HTML."""
    parts = (_head, _congruence, _coverage, _constraint, _completeness, _compliance, _comprehension, _consistency)
    return document("Evaluation of synthetic images", "".join(part(found) for part in parts))


def _head(found: SetComparison) -> str:
    real, synthetic = len(found.real.images), len(found.synthetic.images)
    patients = f" of {found.patients} patients" if found.patients else ""
    trained = f", {len(found.training.images)} training images" if found.training else ""
    cards = "".join(
        f'<div class="card {one.tone}"><h3>{as_text(one.question)}</h3><p class="short">{as_text(one.short)}</p>'
        f"<p>{as_text(one.sentence)}</p></div>"
        for one in sentences.answers(found)
    )
    made = (
        f"{real} real images{patients}, {synthetic} synthetic images{trained}. Features {found.reader.extractor.name}, "
        f"nerves traced by {found.reader.tracer}, measured by {found.reader.rules}, wdlora {__version__}."
    )
    return (
        f'<h1>Synthetic images beside real ones</h1><p class="lead">{as_text(made)}</p><div class="cards">{cards}</div>'
        '<p class="warn"><b>Research software, not a medical device.</b> These figures describe two sets of '
        "images. They validate nothing for diagnosis, and a set that passes here can still mislead a model trained on "
        "it.</p>"
    )


def _congruence(found: SetComparison) -> str:
    intro = (
        f"Every figure is the mean over random halves of the sets, {found.overall.figures['kid'].n} images on each "
        f"side. "
        "Beside it is the same figure for real images against other real images, of other patients. No generator "
        "can be expected to do better."
    )
    body = _plot(found, "distances", "Dots: synthetic against real, with 95 % interval. Bands: real against real.")
    body += _plot(found, "map", sentences.map_note(found))
    body += as_table(tables.distances(found, sentences.distance_notes(found)), "words last")
    if found.options.pairs:
        body += f"<p>{as_text(sentences.pair_note(found.similarity, found.fresh))}</p>" + as_table(
            tables.similarity(found)
        )
    return section("Congruence", "Do the synthetic images look like real ones?", intro, body)


def _coverage(found: SetComparison) -> str:
    intro = (
        "A generator can paint a few convincing pictures again and again. Diversity is the mean distance between "
        "images of one cohort, separability how far the cohorts lie apart; both should be near the real set's."
    )
    body = as_table(tables.variety(found)) + as_table(tables.sets(found))
    body += f"<p>{as_text(sentences.repeats_note(found.copies))}</p>"
    return section("Coverage", "Do they show the whole variety of the real ones?", intro, body)


def _constraint(found: SetComparison) -> str:
    question = "Do they obey anatomy: are the nerves those of the cohort?"
    if not found.biomarkers:
        return section("Constraint", question, "", "<p>No cohort is in both sets, so nothing was compared.</p>")
    known = found.real.images.patients_known
    unit = found.real.images.unit + ("" if known else ", because patients are not known")
    design = "The images are compared in pairs of one mask. " if found.options.pairs else ""
    intro = (
        f"Nerves of both sets were traced and measured in the same way. {design}Two means are equivalent if the 90 % "
        f"interval of their difference lies within ±{100 * MARGIN:.0f} % of the real mean (two one-sided tests); a "
        f"large p does not show equivalence. Intervals count {unit}; p is adjusted for {len(found.biomarkers)} "
        "comparisons (Holm)."
    )
    body = _plot(
        found,
        "biomarkers",
        "A comparison is equivalent if its thick line lies within the band. If the line leaves the band, the "
        "comparison "
        "is undecided, or different if p is below 0.05.",
    )
    body += as_table(tables.difference_table(found), "names2 words wide")
    if any(one.pairs for one in found.biomarkers):
        body += (
            "<p>Image by image (Bland–Altman): 95 % of the pairs differ within the limits, and a slope of 1 follows "
            f"the real values.</p>{as_table(_agreement(found.biomarkers), 'names2')}"
        )
    body += (
        "<p>Means ± SD of images, as Table V of the WDLoRA paper prints them; differences are of patients' means. "
        "“Decides at” is the number of patients in each group with which 80 % of such studies would show "
        "equivalence, if "
        f"difference and spread stay the same; no number is enough if the difference exceeds ±{100 * MARGIN:.0f} %.</p>"
        f"<details><summary>Other tests</summary>{as_table(tables.other_tests(found), 'names2 wide')}</details>"
    )
    return section("Constraint", question, intro, body)


def _agreement(comparisons: Iterable[Comparison]) -> Table:
    """Bland–Altman's bias and limits, and the slope of synthetic on real values."""
    rows = []
    for one in comparisons:
        if one.pairs:
            label, digits = tables.named(one.metric)
            limits = " to ".join(tables.number_text(end, digits) for end in one.pairs.limits)
            slope, low, high = (tables.number_text(end, 2) for end in one.pairs.slope)
            bias = tables.number_text(one.pairs.bias[0], digits)
            rows.append([label, one.cohort, bias, limits, f"{slope} ({low} to {high})"])
    return Table(("biomarker", "cohort", "bias", "limits of agreement", "slope (95 %)"), rows)


def _completeness(found: SetComparison) -> str:
    grid = found.reader.grid
    rows = [
        ("images", f"{len(found.real.images)} real, {len(found.synthetic.images)} synthetic"),
        ("training images", str(len(found.training.images)) if found.training else "not given"),
        ("real patients", str(found.patients) if found.patients else "not known"),
        ("field", f"{grid.shape[1]} × {grid.shape[0]} pixels of {grid.pixel_size_um:.4g} µm"),
        ("mean grey value", f"real {_grey(found.real)}, synthetic {_grey(found.synthetic)}"),
        ("pairs of one mask", "yes" if found.options.pairs else "no"),
    ]
    notes = bullets(found.notes) if found.notes else "<p>Nothing was changed or left out.</p>"
    body = as_table(Table(("what", "this report"), rows), "words") + notes
    return section("Completeness", "What went into this report?", "", body)


def _compliance(found: SetComparison) -> str:
    copies = found.copies
    name, other = ("training", "held-out real images") if copies.trained else ("real", "other patients' images")
    intro = (
        f"A generator can repeat a patient's image. The search compares every synthetic image with every {name} one, "
        f"turned and flipped in eight ways; its yardstick is how near {other} come."
    )
    body = f"<p>{as_text(sentences.copying(copies).sentence)}</p>"
    body += _plot(found, "copies", "Copies lie to the right of the dashed line, where hardly any real image is.")
    body += bullets(sentences.copies_notes(copies))
    if copies.cannot:
        body += "<h3>What cannot be concluded</h3>" + bullets(copies.cannot)
    body += (
        f'<p class="warn">The nearest pairs are drawn in <a href="{FOLDER}/{PICTURE}">{FOLDER}/{PICTURE}</a>, beside '
        "this page. <b>That file shows real patients' images</b>, and the cache holds traces of them: keep both where "
        "the images may be kept. This page, report.json, plots and tables hold figures only.</p>"
    )
    return section("Compliance", "Do they keep patients' images private?", intro, body)


def _comprehension(found: SetComparison) -> str:
    said = [
        "An interval says how far a figure could move with other images of the same kind. If it is wide, the sets "
        "are too small.",
        "“Undecided” means that these sets show neither equality nor difference. With few patients that is the usual "
        "result.",
        f"Distances are seen through {found.reader.extractor.name}; other features give other numbers, so compare "
        "figures of one extractor only. Texture features know nothing of anatomy.",
        f"Both sets were traced by one program ({found.reader.tracer}). What it misses in both is missing in both; "
        "where synthetic nerves are clearer than real ones it misses fewer of them.",
        "Whether a model trained on the synthetic images works on patients is shown by testing it on patients, not "
        "here.",
    ]
    if found.options.pairs:
        said.append(f"The baseline of fresh texture is of phantoms ({PHANTOM}), which are not real images.")
    return section("Comprehension", "How is this to be read?", "", bullets(said))


def _consistency(found: SetComparison) -> str:
    question = "Does it hold for every cohort?"
    if not found.by_cohort:
        body = "<p>Cohorts are not known in both sets, so nothing can be said of single ones.</p>"
        return section("Consistency", question, "", body)
    intro = "The same distances for every cohort alone. Smaller sets have wider baselines and, for FID, larger values."
    return section("Consistency", question, intro, as_table(tables.cohort_table(found), "wide"))


def _plot(found: SetComparison, name: str, caption: str) -> str:
    return themed_plot(lambda palette: PLOTS[name](found, palette), caption)


def _grey(part: Read) -> str:
    values = [one.grey for one in part.readings]
    return f"{sum(values) / len(values):.0f}"
