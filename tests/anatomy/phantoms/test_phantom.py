"""The door to phantoms of either version."""

import numpy as np
import pytest

from wdlora.anatomy import NerveMask, phantom, sample_mask
from wdlora.anatomy.phantoms.cornea.model import CorneaModel
from wdlora.anatomy.phantoms.imaging import ImageModel, phantom_1
from wdlora.errors import InputError


@pytest.fixture(scope="module")
def nerves() -> NerveMask:
    return sample_mask("T1NoDPN", 5, 192)


def test_version_1_is_what_it_was_whatever_the_fine_network(nerves):
    expected = phantom_1(nerves, 9, "common")
    assert (phantom(nerves, 9, "common", version=1) == expected).all()
    without = sample_mask("T1NoDPN", 5, 192, targets={"fine_share": 0})
    assert (phantom(without, 9, "common", version=1) == expected).all()


def test_the_model_says_the_version(nerves):
    assert (phantom(nerves, 9, model=ImageModel()) == phantom(nerves, 9, version=1)).all()
    assert (phantom(nerves, 9, model=CorneaModel()) == phantom(nerves, 9, version=2)).all()
    assert (phantom(nerves, 9, version=1) != phantom(nerves, 9, version=2)).mean() > 0.5


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"version": 3}, "no phantom 3"),
        ({"version": 2, "model": ImageModel()}, "ImageModel is not the model of phantom 2"),
        ({"version": 1, "model": CorneaModel()}, "CorneaModel is not the model of phantom 1"),
        ({"appearance": "other"}, "common"),
    ],
)
def test_what_does_not_go_together_is_refused(nerves, given, said):
    with pytest.raises(InputError, match=said):
        phantom(nerves, 0, **given)


@pytest.mark.parametrize(("name", "value"), [("grain", -1.0), ("jpeg", 1.5), ("clouds", np.nan), ("bodies", np.inf)])
def test_a_strength_or_a_chance_out_of_range_is_refused(name, value):
    with pytest.raises(InputError, match=f"{name} is .*; give a"):
        CorneaModel(**{name: value})
