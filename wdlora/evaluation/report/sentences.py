"""What the figures say, one sentence each, for a reader who treats patients and computes no distances."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..copies.findings import Findings
from ..estimate import Estimate
from ..fidelity import Beside
from ..pairs import PHANTOM
from ..pillars import SetComparison
from .tables import REACHABLE, beyond_reach, number_text, whole_number

Tone = Literal["good", "bad", "open"]

BETTER_HIGH = ("precision", "recall", "density", "coverage")
"""Figures that are worse where they are smaller; of the others larger is worse."""

MEANING = {
    "kid": "How far the textures of both sets lie apart, 0 if they are the same",
    "fid": "The distance that papers print; it grows as sets get smaller, so read it beside its baseline only",
    "auc": "How well a classifier tells the sets apart: 0.5 is guessing, 1 is certain",
    "precision": "Share of synthetic images that look like some real one",
    "recall": "Share of real images that look like some synthetic one",
    "density": "How closely synthetic images crowd around real ones, 1 if as real ones do",
    "coverage": "Share of real images with a synthetic one in their neighbourhood",
}
NEARER_THAN_CHANCE = 0.05
"""More images above the threshold than chance gives, at this level, count as copies; so does a larger share of
repeats.
"""


@dataclass(frozen=True)
class Answer:
    """One of the report's questions, its answer in a few words, and a sentence; `tone` colours it."""

    question: str
    short: str
    sentence: str
    tone: Tone


def answers(found: SetComparison) -> list[Answer]:
    """The four answers that stand on top; the last is that on copies."""
    return [_appearance(found), _variety(found), _nerves(found), copying(found.copies)]


def beyond(key: str, beside: Beside) -> bool | None:
    """Whether a figure is worse than the range of real against real; None where it is not defined."""
    one, floor = beside.figures[key], beside.floor[key]
    if not (one.defined and floor.defined):
        return None
    return one.value < floor.low if key in BETTER_HIGH else one.value > floor.high


def _appearance(found: SetComparison) -> Answer:
    question = "Do they look alike?"
    kid, auc = (beyond(key, found.overall) for key in ("kid", "auc"))
    one, floor = found.overall.figures["auc"], found.overall.floor["auc"]
    if kid is None:
        return Answer(question, "not known", _sentence(found.overall.figures["kid"].reason), "open")
    if auc is None:
        seen = f"The distance of textures (KID) is {number_text(found.overall.figures['kid'].value, 3)}"
    else:
        seen = (
            f"A classifier tells synthetic from real images with an AUC of {number_text(one.value, 2)} (0.5 is "
            f"guessing, "
            f"1 is certain), and real from other real images with up to {number_text(floor.high, 2)}"
        )
    if kid or auc:
        return Answer(question, "different texture", f"{seen}.", "bad")
    return Answer(
        question,
        "no difference seen",
        f"{seen}. With {one.n} images on each side this does not prove that there is none.",
        "good",
    )


def _variety(found: SetComparison) -> Answer:
    question = "Do they vary as much?"
    recall, coverage = found.overall.figures["recall"], found.overall.figures["coverage"]
    if not recall.defined:
        return Answer(question, "not known", _sentence(recall.reason), "open")
    images, repeats = found.synthetic.images, found.copies.repeats
    cohorts = set(images.cohorts.tolist()) - {""}
    missing = sorted(set(found.real.images.cohorts.tolist()) - cohorts - {""})
    said = (
        f"{percent(coverage.value)} of the real images have a synthetic one near them (real against real at least "
        f"{percent(found.overall.floor['coverage'].low)})"
    )
    repeated = repeats > NEARER_THAN_CHANCE * len(images)
    if repeated:
        said += f", and {repeats} synthetic images repeat the nerves of another one"
    if missing and cohorts:
        return Answer(question, "cohorts missing", f"{said}. There is no synthetic {', '.join(missing)}.", "bad")
    if any(beyond(key, found.overall) for key in ("recall", "coverage")):
        return Answer(question, "less variety", f"{said}.", "bad")
    if repeated:
        return Answer(question, "images repeat", f"{said}.", "bad")
    return Answer(question, "as varied", f"{said}.", "good")


def _nerves(found: SetComparison) -> Answer:
    question = "Are the nerves the same?"
    verdicts, total = Counter(one.verdict for one in found.biomarkers), len(found.biomarkers)
    if not total:
        return Answer(question, "not known", "No cohort is in both sets, so no biomarkers were compared.", "open")
    said = (
        f"{total} comparisons of biomarkers: {verdicts['equivalent']} equivalent within ±10 %, "
        f"{verdicts['different']} different, {verdicts['undecided']} undecided"
    )
    if wanted := [one.needed for one in found.biomarkers if one.needed]:
        said += f" ({decided_by(wanted)})"
    if verdicts["different"]:
        return Answer(question, "some differ", f"{said}.", "bad")
    if verdicts["undecided"]:
        return Answer(question, "not shown", f"{said}. Undecided means too few patients, not equality.", "open")
    return Answer(question, "equivalent", f"{said}.", "good")


def decided_by(needed: list[int]) -> str:
    """How many patients would decide the undecided comparisons."""
    near = sorted(n for n in needed if n <= REACHABLE)
    far = len(needed) - len(near)
    if not near:
        return f"{far} of these would be decided only by {beyond_reach()} patients in each group"
    least, most = whole_number(near[0]), whole_number(near[-1])
    said = (
        f"{len(near)} of these would be decided by {least if least == most else f'{least} to {most}'} patients in "
        f"each group"
    )
    return said + (f", {far} only by {beyond_reach()}" if far else "")


def copying(found: Findings) -> Answer:
    """Whether patients' images are copied."""
    question, images = "Do they copy patients?", found.images
    name, other = ("training", "held-out real images") if found.trained else ("real", "real images of other patients")
    expected = images.holdout_rate if math.isfinite(images.holdout_rate) else 0.01
    said = (
        f"{images.count} of {images.n} synthetic images are nearer to a {name} image than 99 % of {other} are "
        f"(chance gives about {percent(expected)}); with 95 % confidence at most {percent(images.high)} are"
    )
    if found.identical:
        return Answer(
            question,
            "copies found",
            f"{found.identical} synthetic images are {name} images, pixel by pixel. {said}.",
            "bad",
        )
    if images.p <= NEARER_THAN_CHANCE or found.as_planted:
        return Answer(question, "copies found", f"{said}. As near as the planted copies: {found.as_planted}.", "bad")
    if found.selftest[0] < found.selftest[1]:
        missed = f"The search found only {found.selftest[0]} of {found.selftest[1]} planted copies and may miss others"
        return Answer(question, "search unsure", f"{said}. {missed}.", "open")
    if not found.trained:
        return Answer(
            question, "not known", f"{said}. Without the training images copying cannot be ruled out.", "open"
        )
    return Answer(question, "none beyond chance", f"{said}, and none is as near as a planted copy.", "good")


def distance_notes(found: SetComparison) -> dict[str, str]:
    """One sentence a figure of pillar 1."""
    return {key: f"{said}; {_placed(key, found.overall)}." for key, said in MEANING.items()}


def _placed(key: str, beside: Beside) -> str:
    off = beyond(key, beside)
    if off is None:
        return f"not defined here: {beside.figures[key].reason or beside.floor[key].reason}"
    return "here worse than between real images" if off else "here as good as between real images"


def pair_note(similarity: Mapping[str, Estimate], fresh: Mapping[str, Estimate]) -> str:
    """What PSNR and SSIM say."""
    one, limit = similarity["ssim"], fresh["ssim"]
    if not one.defined:
        return f"PSNR and SSIM are not defined: {one.reason}."
    return (
        f"SSIM {number_text(one.value, 2)} compares a painted picture with the one real image of its mask. Two "
        f"pictures with the same nerves and other texture reach {number_text(limit.value, 2)} ({PHANTOM}), so a "
        "higher value rewards smoothness or copying, not realism."
    )


def map_note(found: SetComparison) -> str:
    """What the map shows."""
    method = "t-SNE: only neighbourhoods mean something" if found.map.method == "t-SNE" else found.map.method
    return (
        "Every dot is an image, and near dots have similar texture. Coloured dots belong to the set named above, "
        "grey dots "
        f"to the other. Both sets should fill the same places ({method})."
    )


def repeats_note(found: Findings) -> str:
    """Whether the synthetic set repeats itself."""
    return (
        f"{found.repeats} of {found.images.n} synthetic images are as near to another synthetic image as copies would "
        "be, each counted with one partner; chance gives about 1 in 100."
    )


def copies_notes(found: Findings) -> list[str]:
    """One sentence a figure of the copies."""
    images, masks = found.images, found.masks
    name, other = ("training", "held-out images") if found.trained else ("real", "images of other patients")
    notes = [
        f"Search tested on this data: {found.selftest[0]} of {found.selftest[1]} planted copies (noisy, restyled, "
        "shifted by up to 2 pixels; turned and flipped) were found. Crops and larger shifts are not detected.",
        f"Distance: synthetic images lie {number_text(images.ratio.value, 2)} times as far from the nearest {name} "
        f"image as {other} do (1: as far; 0: all are copies).",
        f"Nerves alone: {masks.count} of {masks.n} traced nerve patterns are nearer to a {name} image's than 99 % of "
        f"{other} are.",
    ]
    if math.isfinite(images.c_t):
        notes.append(
            f"C_T asks whether synthetic images lie nearer to the {name} images than {other} do: it is 0 where both "
            f"lie alike and below about −2 where synthetic ones lie nearer, as copies do; here it is "
            f"{number_text(images.c_t, 1)}."
        )
    if found.membership:
        auc, control = found.membership.auc, found.membership.control
        if found.membership.tells:
            notes.append(
                "Membership: from the synthetic images one can guess who was in the training set with a score of "
                f"{number_text(auc.value, 2)} ({number_text(auc.low, 2)} to {number_text(auc.high, 2)}; 0.5 is "
                f"guessing); the control, without them, scores {number_text(control.value, 2)}."
            )
        else:
            why = f"the control scores {number_text(control.value, 2)}, not 0.5" if control.defined else control.reason
            notes.append(
                f"Membership cannot be judged, because training and held-out images differ by themselves ({why})."
            )
    return notes


def percent(share: float) -> str:
    """A share for reading: "1.5 %", "97 %"."""
    return f"{100 * share:.0f} %" if 100 * share >= 9.95 or not share else f"{100 * share:.1f} %"


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}."
