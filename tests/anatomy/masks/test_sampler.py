"""Masks to order: exact counts, length and width as drawn; determinism; any field; refusals."""

import numpy as np
import pytest

from wdlora.anatomy import measure, sample_mask
from wdlora.anatomy.masks.degeneration import degenerate
from wdlora.cohorts import COHORTS
from wdlora.errors import InputError

KEYS = ("cnfl", "cnfd", "cnbd", "cnfw")


def errors(masks):
    drawn = np.array([[mask.target[key] for key in KEYS] for mask in masks])
    measured = np.array([[getattr(mask.biomarkers, key) for key in KEYS] for mask in masks])
    return np.nan_to_num(measured) - drawn


@pytest.mark.slow
@pytest.mark.parametrize("name", list(COHORTS))
def test_realised_as_drawn(name):
    """48 masks: means within 1.5 % of the cohort's mean, SDs of the error within 15 % of its SD."""
    error = errors([sample_mask(name, seed) for seed in range(48)])
    for column, key in enumerate(KEYS):
        mean, sd = COHORTS[name].distributions[key]
        assert abs(error[:, column].mean()) <= 0.015 * mean, key
        assert error[:, column].std() <= 0.15 * sd, key


def test_same_seed_same_mask():
    first, again, other = sample_mask("Control", 5), sample_mask("control", 5), sample_mask("Control", 6)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert first.target == again.target
    assert (first.mask != other.mask).any()
    assert (first.mask != sample_mask("T1NoDPN", 5).mask).any()
    assert (first.cohort, first.seed, first.severity) == ("Control", 5, 0.0)


def test_mask_is_what_its_vectors_say():
    """The biomarkers are the mask's own, and the vectors are as long as what is measured within 3 %."""
    mask = sample_mask("Control", 11)
    assert measure(mask.mask, mask.pixel_size_um).to_dict() == mask.biomarkers.to_dict()
    length = 0.0
    for fibre in mask.centrelines:
        middle = (fibre.points[1:] + fibre.points[:-1]) / 2
        inside = ((middle >= -0.5) & (middle <= 383.5)).all(axis=1)
        length += np.hypot(*np.diff(fibre.points, axis=0).T)[inside].sum() * mask.pixel_size_um / 1000
    assert length == pytest.approx(mask.biomarkers.length_mm, rel=0.03)
    assert sum(fibre.kind == "trunk" for fibre in mask.centrelines) == mask.biomarkers.trunks
    for fibre in mask.centrelines:
        if fibre.kind == "branch":
            assert mask.centrelines[fibre.parent].kind == "trunk"
            parent = mask.centrelines[fibre.parent].points
            assert np.hypot(*(parent - fibre.points[0]).T).min() < 0.01


@pytest.mark.parametrize(
    "size, pixel_size_um",
    [((256, 384), 400 / 384), ((384, 256), 400 / 384), (192, 400 / 192), (600, 400 / 600), (480, 1.0)],
)
def test_any_field(size, pixel_size_um):
    """CNFL within 3 %, width within 3 %, counts within one trunk and one branch point."""
    for name in ("Control", "T1DPN"):
        mask = sample_mask(name, 3, size, pixel_size_um)
        assert mask.mask.shape == (size if isinstance(size, tuple) else (size, size))
        drawn, found = mask.target, mask.biomarkers
        assert found.cnfl == pytest.approx(drawn["cnfl"], rel=0.03)
        assert found.mean_width_um == pytest.approx(drawn["width_um"], rel=0.03)
        assert abs(found.trunks - drawn["cnfd"] * found.area_mm2) < 0.5
        assert abs(found.branch_points_on_trunks - drawn["cnbd"] * found.area_mm2) < 1.5


@pytest.mark.parametrize("name", ["Control", "T1DPN"])
def test_a_large_field_measures_as_drawn(name):
    """800 µm are two windows on the way of a trunk, so CNFD is near the cohort's and not half of it."""
    mask = sample_mask(name, 0, 768)
    crossing = sum(fibre.kind == "trunk" for fibre in mask.centrelines)
    assert 2 * crossing == round(mask.target["cnfd"] * mask.biomarkers.area_mm2)
    assert abs(mask.biomarkers.trunks - 2 * crossing) <= 1
    assert abs(mask.biomarkers.branch_points_on_trunks - mask.target["cnbd"] * mask.biomarkers.area_mm2) < 1.5
    ordered = sample_mask(name, 0, 768, targets={"cnfd": 12.5})
    assert ordered.target["cnfd"] == pytest.approx(12.5)
    later = degenerate(mask, 2.0)
    assert abs(later.biomarkers.trunks - later.target["cnfd"] * later.biomarkers.area_mm2) <= 4


def test_targets_are_met():
    mask = sample_mask("Control", 1, targets={"cnfl": 22.0, "cnfd": 25.0, "cnbd": 62.5, "width_um": 4.5})
    assert mask.target["cnfl"] == 22.0
    assert (mask.biomarkers.trunks, mask.biomarkers.branch_points_on_trunks) == (4, 10)
    assert mask.biomarkers.cnfl == pytest.approx(22.0, rel=0.02)
    assert mask.biomarkers.mean_width_um == pytest.approx(4.5, rel=0.02)


def test_no_trunk_no_branch_point():
    mask = sample_mask("T1DPN", 2, targets={"cnfd": 0.0})
    assert mask.biomarkers.trunks == mask.biomarkers.branch_points_on_trunks == 0
    assert mask.biomarkers.cnfl > 0.5


def test_severity_takes_the_place_of_the_cohorts_own():
    mask = sample_mask("Control", 4, severity=1.6)
    assert (mask.cohort, mask.severity) == ("T1DPN", 1.6)
    lengths = [sample_mask("Control", 4, severity=s).target["cnfl"] for s in (0.0, 0.5, 1.0, 1.5, 2.0)]
    assert lengths == sorted(lengths, reverse=True)


def test_whorl_keeps_the_counts():
    mask = sample_mask("Control", 8, whorl=True)
    assert abs(mask.biomarkers.trunks - mask.target["cnfd"] * 0.16) < 0.5
    assert mask.biomarkers.tortuosity > 1.08


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"cohort": "T2DM"}, "T2DM"),
        ({"seed": -1}, "seed -1"),
        ({"seed": 1.5}, r"seed 1\.5"),
        ({"size": 0}, "size 0"),
        ({"size": 64}, "64 .*out of range|67 × 67 µm"),
        ({"size": (200, 900)}, "too long"),
        ({"pixel_size_um": 9.0}, r"pixel size 9\.0"),
        ({"severity": 3.0}, r"severity 3\.0"),
        ({"targets": {"cnfq": 3.0}}, "cnfq=3"),
        ({"targets": {"cnfl": 4.0, "cnfd": 40.0}}, "no 400 µm field"),
        ({"targets": {"width_um": 40.0}}, "width_um=40"),
        ({"shifts": {"cnfl": float("nan")}}, "cnfl=nan"),
        ({"shifts": {"cnfl": -30.0}}, "takes the mean CNFL"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        sample_mask(**{"cohort": "Control", "seed": 1, **arguments})
