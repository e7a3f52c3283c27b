"""Splitting by patient: nobody is on both sides."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np


class _Belongs(Protocol):
    @property
    def patient(self) -> str: ...
    @property
    def cohort(self) -> str: ...


Item = TypeVar("Item", bound=_Belongs)


def split_by_patient(items: Sequence[Item], share: float, seed: int) -> tuple[list[Item], list[Item]]:
    """Split into training and validation, whole patients at a time, each cohort by `share` of its patients.

    A patient listed in several cohorts counts to the first of them. Where share > 0, every cohort of two or
    more patients has at least one on either side; a cohort's only patient is trained on.
    """
    cohort_of: dict[str, str] = {}
    for item in sorted(items, key=lambda each: (each.patient, each.cohort)):
        cohort_of.setdefault(item.patient, item.cohort)
    held: set[str] = set()
    for cohort in sorted(set(cohort_of.values())):
        patients = sorted(patient for patient, of in cohort_of.items() if of == cohort)
        np.random.default_rng([seed, *cohort.encode()]).shuffle(patients)
        count = min(max(round(share * len(patients)), int(share > 0)), len(patients) - 1)
        held.update(patients[:count])
    return (
        [item for item in items if item.patient not in held],
        [item for item in items if item.patient in held],
    )
