"""No mask crashes the panel, breaks its invariants or takes long."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from wdlora.anatomy import measure
from wdlora.anatomy.biomarkers.rules import RULE_SETS
from wdlora.anatomy.biomarkers.units import UNITS


def check(mask, rules="acc_like", **options):
    start = time.process_time()
    result = measure(mask, rules=rules, **options)
    assert time.process_time() - start < 2
    for name in UNITS:
        value = getattr(result, name)
        assert value >= 0 if math.isfinite(value) else name in result.reasons
    assert result.branch_points_on_trunks <= result.branch_points == len(result.branch_xy)
    assert sum(n.length_um for n in result.nerves) == pytest.approx(result.length_mm * 1e3)
    return result


@settings(max_examples=60, deadline=None)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40)), st.sampled_from(sorted(RULE_SETS)))
def test_small_masks(mask, rules):
    check(mask, rules)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 1), st.tuples(st.integers(1, 200), st.integers(1, 200)), st.booleans())
def test_noise_of_any_density(seed, share, shape, with_valid):
    rng = np.random.default_rng(seed)
    valid = np.pad(rng.random(shape) < 0.9, ((0, 1), (0, 0)), constant_values=True)[1:] if with_valid else None
    check(rng.random(shape) < share, valid=valid)


SQUARES = np.indices((384, 384))


@pytest.mark.parametrize(
    "mask",
    [
        np.ones((384, 384), bool),
        np.ones((1, 1), bool),
        np.ones((1, 500), bool),
        np.ones((500, 1), bool),
        SQUARES.sum(0) % 2 == 0,
        (SQUARES // 3).sum(0) % 2 == 0,
        (SQUARES // 5).sum(0) % 2 == 0,
        (SQUARES % 4 == 0).any(0),
        (SQUARES % 9 == 0).any(0),
        SQUARES[0] % 3 == 0,
        np.random.default_rng(0).random((384, 384)) < 0.3,
        np.random.default_rng(0).random((384, 384)) < 0.6,
        np.random.default_rng(0).random((384, 384)) < 0.9,
    ],
    ids="full pixel row column checks checks3 checks5 grid4 grid9 stripes noise30 noise60 noise90".split(),  # noqa: SIM905
)
def test_full_size(mask):
    check(mask, "keep_all")
