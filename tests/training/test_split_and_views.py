"""Patients stay whole; views keep image and mask registered and depend on nothing but their arguments."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.split import split_by_patient
from training.views import View, draw_view
from wdlora.errors import InputError


@dataclass(frozen=True)
class Item:
    patient: str
    cohort: str


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from("ABC")), min_size=1, max_size=60),
    st.floats(0, 0.9),
    st.integers(0, 99),
)
def test_no_patient_is_on_both_sides(rows, share, seed):
    items = [Item(f"p{patient}", cohort) for patient, cohort in rows]
    training, validation = split_by_patient(items, share, seed)
    assert not {i.patient for i in training} & {i.patient for i in validation}
    assert len(training) + len(validation) == len(items)


def test_each_cohort_is_split_by_the_share():
    items = [Item(f"{cohort}{n}", cohort) for cohort in "AB" for n in range(10) for _ in range(3)]
    training, validation = split_by_patient(items, 0.2, 0)
    for cohort in "AB":
        assert len({i.patient for i in validation if i.cohort == cohort}) == 2
        assert sum(i.cohort == cohort for i in training) == 24


def test_views_keep_image_and_mask_registered_and_are_reproducible():
    image = np.arange(100 * 120).reshape(100, 120)
    for index in range(16):
        view = draw_view(image.shape, 64, True, 1, "a", index)
        assert view == draw_view(image.shape, 64, True, 1, "a", index)
        assert np.array_equal(view.of(image) % 7 == 0, view.of(image % 7 == 0))
        assert view.of(image).shape == (64, 64)
    assert len({draw_view(image.shape, 64, True, 1, "a", index) for index in range(16)}) > 12
    assert draw_view(image.shape, 64, True, 1, "b", 0) != draw_view(image.shape, 64, True, 1, "a", 0)


def test_a_view_by_hand():
    array = np.array([[1, 2], [3, 4]])
    assert View(0, 0, 2, 2, quarter_turns=1).of(array).tolist() == [[2, 4], [1, 3]]
    assert View(0, 0, 2, 2, quarter_turns=1, mirror=True).of(array).tolist() == [[4, 2], [3, 1]]


def test_whole_images_are_cut_to_multiples_of_32():
    view = draw_view((100, 70), None, False, 0, "a", 0)
    assert (view.row, view.column, view.height, view.width) == (2, 3, 96, 64)
    with pytest.raises(InputError, match="smaller than the crop"):
        draw_view((20, 70), None, False, 0, "small", 0)
