"""Splits: whole patients, by hash, the same ones again, and what a table says is obeyed."""

import hashlib
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wdlora.dataset.split import (
    TEST,
    TRAIN,
    VALIDATION,
    Shares,
    merged,
    part_named,
    parted,
    read_split,
    split_patients,
    write_split,
)
from wdlora.errors import InputError


@dataclass(frozen=True)
class Item:
    patient: str
    cohort: str = "Control"


SHARES = Shares(0.2, 0.2)


def items(count, cohort="Control"):
    return [Item(f"{cohort}-{number}", cohort) for number in range(count) for _ in range(2)]


def counted(parts, cohort):
    return tuple(
        sum(part == of for patient, part in parts.items() if patient.startswith(f"{cohort}-"))
        for of in (TRAIN, VALIDATION, TEST)
    )


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from("ABC")), min_size=1, max_size=60),
    st.floats(0, 0.5),
    st.floats(0, 0.45),
    st.integers(0, 99),
    st.dictionaries(st.integers(0, 12), st.sampled_from([TRAIN, VALIDATION, TEST])),
)
def test_every_patient_is_in_one_part_and_keeps_a_known_one(rows, validation, test, seed, known):
    every = [Item(f"p{patient}", cohort) for patient, cohort in rows]
    stated = {f"p{patient}": part for patient, part in known.items()}
    parts = split_patients(every, Shares(validation, test), seed, stated)
    sides = parted(every, parts)
    assert sum(map(len, sides)) == len(every)
    assert sum(len({item.patient for item in side}) for side in sides) == len({item.patient for item in every})
    assert all(parts[patient] == part for patient, part in stated.items() if patient in parts)
    if not stated:
        assert sides[0]


def test_the_lowest_hashes_of_seed_and_patient_are_held_out():
    """Ten patients and shares of 0.2: the two lowest SHA-256 of "7/NAME" are for the test, the next for validation."""
    order = sorted(range(10), key=lambda n: hashlib.sha256(f"7/Control-{n}".encode()).hexdigest())
    parts = split_patients(items(10), SHARES, 7)
    assert [parts[f"Control-{number}"] for number in order] == [TEST] * 2 + [VALIDATION] * 2 + [TRAIN] * 6
    assert parts != split_patients(items(10), SHARES, 8)


@pytest.mark.parametrize(
    ("patients", "expected"), [(1, (1, 0, 0)), (2, (1, 1, 0)), (3, (1, 1, 1)), (4, (2, 1, 1)), (5, (3, 1, 1))]
)
def test_of_few_patients_each_part_has_one_where_there_are_enough(patients, expected):
    parts = split_patients([*items(patients), *items(20, "T1DPN")], SHARES, 0)
    assert counted(parts, "Control") == expected and counted(parts, "T1DPN") == (12, 4, 4)


def test_a_share_of_nothing_holds_nobody_out():
    assert counted(split_patients(items(5), Shares(0, 0), 0), "Control") == (5, 0, 0)
    assert counted(split_patients(items(5), Shares(0, 0.2), 0), "Control") == (4, 0, 1)
    assert counted(split_patients(items(3), Shares(0.6, 0.2), 0), "Control") == (1, 1, 1)


@pytest.mark.parametrize("seed", range(30))
def test_with_two_patients_more_nobody_who_was_held_out_is_learned_from(seed):
    before = split_patients(items(11), SHARES, seed)
    after = split_patients(items(13), SHARES, seed, before)
    assert all(after[patient] == part for patient, part in before.items())
    assert counted(after, "Control") == (7, 3, 3)


def test_a_patient_of_two_cohorts_counts_to_the_first():
    parts = split_patients([*items(4, "A"), Item("A-0", "B"), *items(2, "B")], SHARES, 0)
    assert counted(parts, "A") == (2, 1, 1) and counted(parts, "B") == (1, 1, 0)


def test_a_table_comes_back_as_it_was_written(tmp_path):
    parts = {"P2": TEST, "P1": TRAIN, "=P3": VALIDATION}
    write_split(tmp_path / "split.csv", parts)
    assert read_split(tmp_path / "split.csv") == parts
    assert (tmp_path / "split.csv").read_text().splitlines() == [
        "patient,part",
        "'=P3,validation",
        "P1,train",
        "P2,test",
    ]


def test_parts_are_known_by_their_usual_names():
    assert [part_named(word) for word in ("Training", " val ", "TEST")] == [TRAIN, VALIDATION, TEST]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("patient,group\nP1,test\n", "lacks the column part"),
        ("patient,part\nP1,holdout\n", r"line 2: there is no part 'holdout' of a split; write train, validation, test"),
        ("patient,part\nP1,test\nP1,train\n", "line 3: P1 is in test and in train; keep one"),
        ("patient,part\n,test\n", "line 2: there is no patient"),
    ],
)
def test_a_table_that_is_no_split_is_refused(tmp_path, text, sentence):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_split(tmp_path / "split.csv")


def test_a_missing_table_and_two_that_disagree_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent\.csv cannot be read"):
        read_split(tmp_path / "absent.csv")
    with pytest.raises(InputError, match=r"P1 is in test by dataset\.csv and in train by old\.csv: correct one"):
        merged(("dataset.csv", {"P1": TEST}), ("old.csv", {"P1": TRAIN, "P2": TRAIN}))
    assert merged(("a", {"P1": TEST}), ("b", {"P1": TEST, "P2": TRAIN})) == {"P1": TEST, "P2": TRAIN}
