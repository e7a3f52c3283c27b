"""The cohorts: published figures, prompts and look-up."""

import math

import pytest

from wdlora.cohorts import COHORTS, PROMPT_VERSION, cohort, nearest
from wdlora.errors import InputError


def test_order_and_severity():
    assert list(COHORTS) == ["Control", "T1NoDPN", "T1DPN"]
    assert [known.severity for known in COHORTS.values()] == [0, 1, 2]


def test_published_figures():
    # Table V of the paper, row by row.
    assert COHORTS["Control"].distributions["cnfl"] == (19.40, 5.14)
    assert COHORTS["T1NoDPN"].distributions["cnbd"] == (42.09, 34.71)
    assert COHORTS["T1DPN"].distributions["cnfd"] == (8.73, 8.62)
    assert COHORTS["T1DPN"].age_years == (60.79, 11.40)
    for known in COHORTS.values():
        assert set(known.distributions) == {"cnfl", "cnfd", "cnbd", "cnfw"}


def test_width_is_five_micrometres():
    # 31.58 µm/mm² over 0.16 mm² is 5.05 µm.
    assert COHORTS["Control"].distributions["cnfw"][0] * 0.16 == pytest.approx(5.05, abs=0.005)


def test_prompts_differ_and_share_the_negative():
    prompts = {known.prompt for known in COHORTS.values()}
    assert len(prompts) == 3
    assert all(prompt.isascii() and "corneal confocal microscopy" in prompt for prompt in prompts)
    assert len({known.negative_prompt for known in COHORTS.values()}) == 1
    assert PROMPT_VERSION


@pytest.mark.parametrize(
    "name, expected",
    [
        ("Control", "Control"),
        ("t1nodpn", "T1NoDPN"),
        (" T1DPN ", "T1DPN"),
        ("healthy", "Control"),
    ],
)
def test_look_up(name, expected):
    assert cohort(name).name == expected


@pytest.mark.parametrize(
    "name, meant",
    [("PN+", "T1DPN"), ("PN−", "T1NoDPN"), ("pn-", "T1NoDPN"), ("DPN", "T1DPN"), ("noDPN", "T1NoDPN")],
)
def test_labels_that_leave_the_disease_open_name_no_cohort(name, meant):
    with pytest.raises(InputError, match=f"names no cohort by itself.*write {meant} if that is meant"):
        cohort(name)


def test_unknown_cohort_names_the_choices():
    with pytest.raises(InputError, match=r"'T2DM'.*Control, T1NoDPN, T1DPN"):
        cohort("T2DM")


@pytest.mark.parametrize("severity, expected", [(0, "Control"), (0.5, "Control"), (0.51, "T1NoDPN"), (2, "T1DPN")])
def test_nearest(severity, expected):
    assert nearest(severity).name == expected


@pytest.mark.parametrize("severity", [-0.1, 2.1, math.nan, "1"])
def test_nearest_refuses(severity):
    with pytest.raises(InputError, match="0 \\(Control\\) to 2"):
        nearest(severity)
