"""One plexus through the disease: nothing grows, populations become the cohorts, refusals."""

import itertools

import numpy as np
import pytest

from wdlora.anatomy import sample_mask
from wdlora.anatomy.masks.degeneration import degenerate
from wdlora.cohorts import COHORTS
from wdlora.errors import InputError

KEYS = ("cnfl", "cnfd", "cnbd")


def test_severity_zero_is_the_original():
    mask = sample_mask("Control", 21)
    assert degenerate(mask, 0) is mask
    assert degenerate(degenerate(mask, 2), 0) is mask
    back = degenerate(degenerate(mask, 1.5), 0.5)
    np.testing.assert_array_equal(back.mask, degenerate(mask, 0.5).mask)


@pytest.mark.parametrize("seed", [3, 14, 25, 36])
def test_only_loss(seed):
    """CNFL and vectors fall with severity, nothing is more than a pixel from where it was, width falls ≤ 3 %."""
    from scipy.ndimage import distance_transform_edt

    mask = sample_mask("Control", seed)
    away = distance_transform_edt(~mask.mask)
    states = [degenerate(mask, severity) for severity in np.linspace(0, 2, 9)]
    cnfl = [state.biomarkers.cnfl for state in states]
    assert all(later <= earlier for earlier, later in itertools.pairwise(cnfl))
    trunks = [state.biomarkers.trunks for state in states]
    assert trunks == sorted(trunks, reverse=True)
    for state in states:
        assert away[state.mask].max() <= 1.0
        if state.biomarkers.length_mm:
            assert state.biomarkers.mean_width_um >= 0.97 * mask.biomarkers.mean_width_um
    assert [state.cohort for state in states[::4]] == ["Control", "T1NoDPN", "T1DPN"]
    assert states[-1].origin is mask


@pytest.mark.slow
def test_populations():
    """96 plexuses from Control become the cohorts: mean CNFL, CNFD, CNBD against what the same ranks draw there.

    The tolerance is 1.5 standard errors of a sample of 96 plus 4 %: whole branches and trunks are lost.
    """
    found = {1: [], 2: []}
    start = []
    for seed in range(96):
        mask = sample_mask("Control", seed)
        start.append([mask.target[key] for key in KEYS])
        for severity, rows in found.items():
            state = degenerate(mask, severity).biomarkers
            rows.append([state.cnfl, state.cnfd, state.cnbd])
    for severity, name in ((1, "T1NoDPN"), (2, "T1DPN")):
        for column, key in enumerate(KEYS):
            healthy_mean, healthy_sd = COHORTS["Control"].distributions[key]
            mean, sd = COHORTS[name].distributions[key]
            # This sample's own deviation from Control carries over with its ranks.
            offset = (np.mean(start, axis=0)[column] - healthy_mean) * sd / healthy_sd
            expected = mean + offset
            assert np.mean(found[severity], axis=0)[column] == pytest.approx(
                expected, abs=0.04 * mean + 1.5 * sd / np.sqrt(96)
            ), (name, key)


def test_degeneration_refuses():
    mask = sample_mask("T1NoDPN", 1)
    with pytest.raises(InputError, match=r"severity 0\.5 is below 1"):
        degenerate(mask, 0.5)
    with pytest.raises(InputError, match=r"severity 2\.5"):
        degenerate(mask, 2.5)


def test_a_large_field_loses_trunks():
    """The four trunks of 800 µm that are ordered, eight windows crossed, become two."""
    mask = sample_mask("T1NoDPN", 0, 768)
    later = degenerate(mask, 2.0)
    assert (mask.target["cnfd"], later.target["cnfd"]) == (pytest.approx(8 / 0.64), pytest.approx(4 / 0.64))
    assert later.biomarkers.trunks <= mask.biomarkers.trunks - 2
