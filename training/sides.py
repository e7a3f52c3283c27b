"""Which examples a run learns from, chooses its best adapter by, and judges it by at the end."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from training.config import TrainingConfig
from training.examples import Example, pair_references
from wdlora.dataset.folder import TABLE
from wdlora.dataset.split import TABLE as SPLIT
from wdlora.dataset.split import Shares, merged, parted, read_split, split_patients, write_split
from wdlora.dataset.writer import check_pseudonym
from wdlora.errors import InputError
from wdlora.privacy.pseudonym import Pseudonyms, is_pseudonym, read_or_make_key

log = logging.getLogger(__name__)

TEST_SHARE = 0.2
"""Of the patients of a folder, where the configuration does not say."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Sides(Generic[Item]):
    """The parts of a split."""

    learned: list[Item]
    validation: list[Item]
    test: list[Item]


def patients_of(examples: list[Example]) -> int:
    """How many patients there are."""
    return len({example.patient for example in examples})


def parts_of(examples: list[Example], config: TrainingConfig, drawn: bool, tables: list[Path]) -> dict[str, str]:
    """The part of every patient, and of those that the tables name beside them, who stay in it.

    `tables` are files as `wdlora.dataset.split.read_split` takes them, with patients under their own or their public
    names (`PublicNames`); what the data set itself says counts too. `drawn`: the examples are phantoms. Raises
    InputError where two of them contradict each other, where a table names patients under another key, and where
    nobody is left to learn from.
    """
    stated = {example.patient: example.split for example in examples if example.split}
    names = PublicNames()
    known = merged((TABLE, stated), *((str(path), read_parts(path, examples, names)) for path in tables))
    test = config.test_share if config.test_share is not None else 0.0 if drawn else TEST_SHARE
    parts = known | split_patients(examples, Shares(config.validation_share, test), config.seed, known)
    if not parted(examples, parts)[0]:
        raise InputError(
            f"The split holds out all {patients_of(examples)} patients, so there is nobody to train on: see {SPLIT} "
            f"or the column split of {TABLE}."
        )
    return parts


class PublicNames:
    """What patients are called in `split.csv`: by their pseudonyms; those who have none by a keyed hash of the name."""

    def __init__(self) -> None:
        self._keyed = Pseudonyms(key=read_or_make_key)

    def of(self, patient: str) -> str:
        """The patient's public name. Raises InputError where the user's key cannot be read."""
        if is_pseudonym(patient):
            return patient
        try:
            return check_pseudonym(patient)
        except InputError:
            return self._keyed.of_name(patient)


def write_parts(path: Path, parts: dict[str, str]) -> None:
    """Write the split of a run, which others may see."""
    names = PublicNames()
    write_split(path, {names.of(patient): part for patient, part in parts.items()})


def read_parts(path: Path, examples: list[Example], names: PublicNames) -> dict[str, str]:
    """The parts in a table, with the examples' patients under their own names. Raises InputError as `parts_of`."""
    parts = read_split(path)
    own = {public: patient for patient in {one.patient for one in examples} if (public := names.of(patient)) != patient}
    keyed = [name for name in parts if is_pseudonym(name)]
    if keyed and own and not own.keys() & parts.keys():
        raise InputError(
            f"{path} names {len(keyed)} patients by keyed hashes, and none of them by the key of this user: bring the "
            "key along (.wdlora/pseudonym.key in the home folder), or use pseudonyms in the data set"
        )
    return {own.get(name, name): part for name, part in parts.items()}


def sides_of(examples: list[Example], parts: dict[str, str]) -> Sides[Example]:
    """The examples of each part, with references among themselves."""
    return Sides(*map(pair_references, parted(examples, parts)))


def described(sides: Sides[Example]) -> str:
    """A sentence for the model card."""
    counts = [patients_of(side) for side in (sides.learned, sides.validation, sides.test)]
    return f"{counts[0]} patients for training, {counts[1]} for validation, {counts[2]} for the test; each in one part"


def warn(config: TrainingConfig, sides: Sides[Example]) -> None:
    """Say what the split lets happen that hardly anybody wants."""
    if not sides.validation and config.validation_share:
        log.warning(
            "Nobody is kept for validation, by the split or for want of patients: this fine-tune will not be judged."
        )
    learned = {example.cohort for example in sides.learned}
    if alone := sorted({example.cohort for example in (*sides.validation, *sides.test)} - learned):
        log.warning("All patients of %s are held out, so its prompt is not learned.", " and ".join(alone))
