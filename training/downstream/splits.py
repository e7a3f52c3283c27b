"""Who is trained on and who is held out, seed by seed; what would let a held-out patient leak is refused."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.downstream.images import LabelledImage, RealSet, SyntheticSet
from wdlora.dataset.split import TEST, TRAIN, VALIDATION, Shares, split_patients
from wdlora.errors import InputError
from wdlora.evaluation.sets import in_order
from wdlora.hmsvit.file import DIAGNOSIS

LEAST_TEST = 2
"""Held-out patients of a cohort, at least."""


@dataclass(frozen=True)
class Fold:
    """One pairing: the seed of its trainings, and the real images on either side."""

    seed: int
    train: list[LabelledImage]
    test: list[LabelledImage]

    @property
    def held(self) -> frozenset[str]:
        """The held-out patients."""
        return frozenset(image.patient for image in self.test)


def folds_of(real: RealSet, seeds: int, test_share: float, folds: int | None = None) -> list[Fold]:
    """The pairings of a study.

    Where the data set says who is held out, all seeds have that split: patients of the test, or of the validation
    where there is no test, are tested on, and those of train are trained on. Else every seed draws its own by
    `test_share` of each cohort's patients; or each of `folds` folds of the patients is held out once. Raises InputError
    for numbers that cannot be, and where a cohort is not on both sides.
    """
    if folds is not None:
        if real.parts:
            raise InputError("the data set says who is held out, so there are no folds: give --seeds")
        assigned = _folds(real.images, folds)
        held = [frozenset(one for one, fold in assigned.items() if fold == number) for number in range(folds)]
        return [_fold(real, number, one) for number, one in enumerate(held)]
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: a study needs at least 1")
    if real.parts:
        part = TEST if TEST in real.parts.values() else VALIDATION
        tested = frozenset(patient for patient, of in real.parts.items() if of == part)
        learned = frozenset(patient for patient, of in real.parts.items() if of == TRAIN)
        return [_fold(real, seed, tested, learned) for seed in range(seeds)]
    found = []
    for seed in range(seeds):
        parts = split_patients(real.images, Shares(0.0, test_share), seed)
        found.append(_fold(real, seed, frozenset(one for one, part in parts.items() if part == TEST)))
    return found


def _folds(images: Sequence[LabelledImage], folds: int) -> dict[str, int]:
    """The fold of every patient, each cohort spread evenly."""
    cohorts: dict[str, list[str]] = {}
    for image in images:
        of = cohorts.setdefault(image.cohort, [])
        if image.patient not in of:
            of.append(image.patient)
    fewest = min(len(patients) for patients in cohorts.values())
    if not 2 <= folds <= fewest:
        raise InputError(f"--folds {folds}: give a number from 2 to {fewest}, the patients of the smallest cohort")
    generator = np.random.default_rng(0)
    found: dict[str, int] = {}
    for cohort in in_order(cohorts):
        for number, index in enumerate(generator.permutation(len(cohorts[cohort])).tolist()):
            found.setdefault(cohorts[cohort][index], number % folds)
    return found


def _fold(real: RealSet, seed: int, held: frozenset[str], learned: frozenset[str] | None = None) -> Fold:
    train = [one for one in real.images if one.patient not in held and (learned is None or one.patient in learned)]
    test = [one for one in real.images if one.patient in held]
    if not train or not test:
        raise InputError(
            f"the split leaves {len(train)} images to train on and {len(test)} to test on: hold out some patients"
        )
    return Fold(seed, train, test)


def check_cohorts(fold: Fold, synthetic: Sequence[SyntheticSet], tasks: Sequence[str]) -> list[str]:
    """The cohorts of a study in their order. Raises InputError where a diagnosis lacks one of them in a regime."""
    cohorts = in_order({image.cohort for image in (*fold.train, *fold.test)})
    if DIAGNOSIS not in tasks:
        return cohorts
    if len(cohorts) < 2:
        raise InputError(f"all images are of {cohorts[0]}, so there is nothing to diagnose: give --task segmentation")
    sides = [("the real images to train on", fold.train), ("the held-out patients", fold.test)]
    sides += [(f"the synthetic set {one.name}", one.images) for one in synthetic]
    for what, images in sides:
        if missing := [cohort for cohort in cohorts if cohort not in {image.cohort for image in images}]:
            raise InputError(f"{what} hold no image of {' and '.join(missing)}: every regime needs all cohorts")
        if other := in_order({image.cohort for image in images} - set(cohorts)):
            raise InputError(f"{what} hold images of {' and '.join(other)}, which the real images lack: leave them out")
    return cohorts


def refuse_leaks(fold: Fold, synthetic: SyntheticSet) -> None:
    """Raise InputError where a held-out patient is in the synthetic images: by the patient whose mask was painted, by
    the mask itself in any orientation, or by the patients that the generator was trained on.
    """
    held = fold.held
    if leaked := [one for one in synthetic.images if one.patient in held]:
        raise InputError(
            f"{len(leaked)} images of {synthetic.name} were painted from masks of held-out patients (first "
            f"{leaked[0].identity}, {leaked[0].patient}): paint the masks of training patients, and say with --split "
            "who is held out"
        )
    masks = frozenset[str]().union(*(image.mask_digests for image in fold.test))
    if leaked := [one for one in synthetic.images if not masks.isdisjoint(one.mask_digests)]:
        raise InputError(
            f"{len(leaked)} images of {synthetic.name} have the mask of a held-out patient (first "
            f"{leaked[0].identity}): paint the masks of training patients"
        )
    if synthetic.learned is not None and (both := sorted(synthetic.learned & held)):
        raise InputError(
            f"{synthetic.name} was trained on {len(both)} held-out patients (first {both[0]}): train it again with the "
            "same split, or give the split of its training with --split"
        )
