"""The clinical cohorts of the study that ships: what was published about their nerves. Prompts stand in `ccm.toml`.

Distributions are the "Real" rows of Table V of the WDLoRA paper (mean and SD over images of healthy
volunteers and of people with type 1 diabetes without and with diabetic peripheral neuropathy); ages are
Table II's. They are written nowhere else. What to keep in mind when using them:

- The data are cross-sectional. Nothing here describes one person's course.
- The neuropathy group is about twenty years older and has had diabetes twice as long as the other diabetic
  group, so part of the difference between cohorts is age. Norms fall by 0.05–0.06 mm/mm² CNFL and
  0.16 no./mm² CNFD a year (Tavakoli 2015).
- CNFW of 31.58 µm/mm² times the field of 0.16 mm² is a mean width of 5.05 µm, 45 % wider than automated
  readings of the same nerves and nearly the same in all cohorts: it probably shows the annotator's pen.
- Some SDs exceed their means (CNFD and CNBD with neuropathy), so the biomarkers cannot be normal.
"""

import math
from dataclasses import dataclass

from .errors import InputError
from .study import Study, StudyCohort, shipped_study

TEXT_ONLY, NO_PROMPT = "text only", "no prompt"
"""What stands in the place of a cohort where a picture is painted by a text alone, or without words."""

PROMPT_VERSION = shipped_study().version
"""Version of all prompts; it changes with any of their letters."""

FIELD_MM2 = 0.16
"""Field in which the biomarkers of Table V were counted, 400 × 400 µm."""

NEGATIVE_PROMPT = next(iter(shipped_study().cohorts.values())).negative_prompt
"""Of all cohorts below."""


@dataclass(frozen=True)
class Cohort:
    """One clinical group.

    `distributions` maps `cnfl` (mm/mm²), `cnfd` and `cnbd` (no./mm²) and `cnfw` (µm/mm², mean width over
    the field of 0.16 mm²) to (mean, SD); `age_years` likewise. `severity` is the place on the axis from 0,
    Control, to 2, neuropathy. Source: WDLoRA paper, rows *Real* of Table V, ages Table II.
    """

    name: str
    severity: int
    distributions: dict[str, tuple[float, float]]
    age_years: tuple[float, float]

    @property
    def label(self) -> str:
        """What people call it."""
        return shipped_study().cohorts[self.name].label

    @property
    def prompt(self) -> str:
        """The words that it is painted by."""
        return shipped_study().cohorts[self.name].prompt

    @property
    def negative_prompt(self) -> str:
        """The words against which it is painted."""
        return shipped_study().cohorts[self.name].negative_prompt


COHORTS: dict[str, Cohort] = {
    cohort.name: cohort
    for cohort in (
        Cohort(
            name="Control",
            severity=0,
            distributions={
                "cnfl": (19.40, 5.14),
                "cnfd": (21.36, 9.45),
                "cnbd": (62.35, 37.69),
                "cnfw": (31.58, 1.30),
            },
            age_years=(39.64, 14.15),
        ),
        Cohort(
            name="T1NoDPN",
            severity=1,
            distributions={
                "cnfl": (14.60, 5.60),
                "cnfd": (16.17, 10.12),
                "cnbd": (42.09, 34.71),
                "cnfw": (31.15, 1.34),
            },
            age_years=(41.85, 14.46),
        ),
        Cohort(
            name="T1DPN",
            severity=2,
            distributions={
                "cnfl": (9.76, 5.86),
                "cnfd": (8.73, 8.62),
                "cnbd": (24.50, 27.35),
                "cnfw": (30.74, 1.60),
            },
            age_years=(60.79, 11.40),
        ),
    )
}

_ALIASES = {"healthy": "Control", "controls": "Control"}

_OPEN = {
    "pn-": "T1NoDPN",
    "nodpn": "T1NoDPN",
    "pn+": "T1DPN",
    "dpn": "T1DPN",
    "t1dm": "T1NoDPN or T1DPN",
}
"""Labels that leave open which diabetes, or whether there is neuropathy; what they stand for in the paper's data."""


def cohort(name: str) -> Cohort:
    """The cohort called `name`; case does not matter.

    Raises InputError naming the choices, also for labels such as DPN, which do not say of which disease.
    """
    key = str(name).strip().lower().replace("−", "-").replace("–", "-")
    key = _ALIASES.get(key, key).lower()
    for known in COHORTS.values():
        if known.name.lower() == key:
            return known
    if key in _OPEN:
        raise InputError(
            f"{str(name).strip()!r} names no cohort by itself, since it leaves disease or neuropathy open; write "
            f"{_OPEN[key]} if that is meant"
        )
    raise InputError(f"there is no cohort {name!r}; choose one of {', '.join(COHORTS)}")


def nearest(severity: float) -> Cohort:
    """The cohort whose place on the axis 0 to 2 is nearest to `severity`; halves go to the milder one.

    Raises InputError outside 0 to 2.
    """
    if not (isinstance(severity, int | float) and math.isfinite(severity) and 0 <= severity <= 2):
        raise InputError(f"severity {severity!r} is not a number from 0 (Control) to 2 (T1DPN)")
    return min(COHORTS.values(), key=lambda known: (abs(known.severity - severity), known.severity))


def cohort_in(study: Study, name: str) -> StudyCohort:
    """The cohort of a study; of the one that ships also by the other names that `cohort` knows. Raises InputError."""
    return study.cohorts[cohort(name).name] if study.ships else study.cohort(name)
