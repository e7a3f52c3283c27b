"""The images of a study: pixels, masks, cohorts and patients, from data sets or from memory."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.examples import Example, check_pictures, folder_examples, shared_pixel_size
from training.sides import PublicNames, read_parts
from wdlora.anatomy.tracing.levels import in_grains
from wdlora.dataset.folder import TABLE
from wdlora.dataset.split import TABLE as SPLIT
from wdlora.dataset.split import TRAIN, merged
from wdlora.errors import InputError
from wdlora.study import Study, shipped_study, study_of


@dataclass(frozen=True)
class LabelledImage:
    """An image uint8 [H, W] with its mask bool [H, W]. `patient` is the public name of whose image it is, or from whose
    mask it was painted.
    """

    identity: str
    cohort: str
    patient: str
    image: NDArray[np.uint8] = field(repr=False)
    mask: NDArray[np.bool_] = field(repr=False)
    pixel_size_um: float
    caption: str = ""

    @cached_property
    def levels(self) -> NDArray[np.float32]:
        """The image as networks see it, in grains: float32 [H, W]."""
        return in_grains(self.image, self.pixel_size_um)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that a training sees of it."""
        found = hashlib.sha256(f"{self.image.shape} {self.cohort} {self.patient} {self.pixel_size_um:.6g}".encode())
        found.update(np.ascontiguousarray(self.image).tobytes() + np.packbits(self.mask).tobytes())
        return found.hexdigest()

    @cached_property
    def mask_digests(self) -> frozenset[str]:
        """SHA-256 of the mask and of its seven turned and mirrored forms; empty for an empty mask, which all share."""
        if not self.mask.any():
            return frozenset()
        forms = [np.rot90(mask, turns) for mask in (self.mask, self.mask[:, ::-1]) for turns in range(4)]
        return frozenset(
            hashlib.sha256(f"{form.shape}".encode() + np.packbits(form).tobytes()).hexdigest() for form in forms
        )


@dataclass(frozen=True)
class RealSet:
    """Real images of a study, and the part (`wdlora.dataset.split.PARTS`) of every patient, empty where nothing says
    it.
    """

    images: list[LabelledImage]
    parts: Mapping[str, str] = field(default_factory=dict)
    study: Study = field(default_factory=shipped_study)

    @property
    def pixel_size_um(self) -> float:
        """Of all images."""
        return self.images[0].pixel_size_um


@dataclass(frozen=True)
class SyntheticSet:
    """Images of one generator. `learned` are the patients that it was trained on, None where that is not known.

    `method` and `rank` place adapters in Table VIII; other generators have none.
    """

    name: str
    images: list[LabelledImage]
    learned: frozenset[str] | None = None
    method: str = ""
    rank: int = 0


def read_real(folder: Path, split: Path | None = None, pixel_size_um: float | None = None) -> RealSet:
    """The images of a data set. Who is held out stands in `split`, else in split.csv in the folder, and in the column
    `split` of its table.

    Raises InputError as `folder_examples` and `check_pictures` do, for pixel sizes that differ, and where two tables
    put a patient into different parts.
    """
    examples = check_pictures(folder_examples(folder), None)
    names = PublicNames()
    tables = [split] if split is not None else [folder / SPLIT] if (folder / SPLIT).is_file() else []
    stated = {one.patient: one.split for one in examples if one.split}
    known = merged((TABLE, stated), *((str(table), read_parts(table, examples, names)) for table in tables))
    study = study_of(folder)
    size = shared_pixel_size(examples, pixel_size_um, study)
    images = [_labelled(one, names, size) for one in examples]
    patients = {one.patient for one in examples}
    if known and (new := sorted(patients - known.keys())):
        raise InputError(
            f"the split says nothing of {len(new)} of {len(patients)} patients in {folder}: complete {SPLIT}, or leave "
            "it out so that patients are drawn"
        )
    return RealSet(images, {names.of(patient): part for patient, part in known.items()}, study)


def read_synthetic(folder: Path, real: RealSet, name: str = "", split: Path | None = None) -> SyntheticSet:
    """The images of a generator's data set; their patients are those whose masks were painted.

    The patients that the generator was trained on are those of the part train in split.csv in the folder, else in
    `split`; without either it is not known. Raises InputError as `folder_examples` does, and for another study or
    pixels of another size than the real images'.
    """
    pixel_size_um = real.pixel_size_um
    if (study := study_of(folder)).sha256 != real.study.sha256:
        raise InputError(
            f"{folder} is of the study {study.label}, the real images of {real.study.label}: give one study"
        )
    examples = folder_examples(folder)
    names = PublicNames()
    size = shared_pixel_size(examples, None if all(one.pixel_size_um for one in examples) else pixel_size_um)
    if abs(size / pixel_size_um - 1) > 0.01:
        raise InputError(
            f"{folder} has pixels of {size:.4g} µm and the real images of {pixel_size_um:.4g}: give images of one size"
        )
    table = folder / SPLIT if (folder / SPLIT).is_file() else split
    learned = None if table is None else trained_on(table)
    images = [_labelled(one, names, pixel_size_um) for one in examples]
    return SyntheticSet(name or folder.name, images, learned)


def _labelled(example: Example, names: PublicNames, pixel_size_um: float) -> LabelledImage:
    patient = names.of(example.patient)
    return LabelledImage(
        example.identity, example.cohort, patient, *example.load(), pixel_size_um, caption=example.caption
    )


def trained_on(table: Path) -> frozenset[str]:
    """The patients of the part train in a run's split, by their public names."""
    names = PublicNames()
    return frozenset(names.of(patient) for patient, part in read_parts(table, [], names).items() if part == TRAIN)


def digest_of(images: Sequence[LabelledImage]) -> str:
    """SHA-256 of images in their order."""
    return hashlib.sha256("".join(image.digest for image in images).encode()).hexdigest()
