"""Figures of predictions by hand and against scikit-learn; intervals, sign flips and power against closed forms."""

import numpy as np
import pytest

from training.downstream.record import MAIN
from training.downstream.scores import (
    DIAGNOSIS_FIGURES,
    Predictions,
    accuracy,
    area_under_curve,
    balanced_accuracy,
    confusion,
    overlap_figure,
    overlaps,
)
from training.downstream.statistics import by_seed, estimate, mean_difference, pairs_needed, sign_flip


def predictions(truth, values, patients=None) -> Predictions:
    names = np.array([f"P{n}" for n in range(len(truth))] if patients is None else patients)
    return Predictions(names, np.array(truth), np.array(values, float))


def test_accuracies_by_hand():
    """Cohorts 0, 0, 0, 1: right, right, wrong, right. Accuracy 3/4; balanced (2/3 + 1)/2."""
    found = predictions([0, 0, 0, 1], [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
    ones = np.ones((1, 4))
    assert accuracy(found, ones)[0] == pytest.approx(0.75)
    assert balanced_accuracy(found, ones)[0] == pytest.approx(5 / 6)
    assert confusion(found, 2).tolist() == [[2, 1], [0, 1]]
    twice = np.array([[1.0, 1, 0, 2]])  # without the wrong one, the last one twice
    assert accuracy(found, twice)[0] == 1


def test_figures_equal_scikit_learns():
    """Also under weights that count images as often as they were drawn."""
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    truth, values = generator.integers(0, 3, 60), generator.dirichlet(np.ones(3), 60).round(2)
    counts = generator.integers(0, 4, 60)
    for weights in (np.ones(60, int), counts):
        repeated = np.repeat(np.arange(60), weights)
        t, v = truth[repeated], values[repeated]
        found = {
            name: float(figure(predictions(truth, values), weights[None].astype(float))[0])
            for name, figure in DIAGNOSIS_FIGURES.items()
        }
        assert found["accuracy"] == pytest.approx(metrics.accuracy_score(t, v.argmax(1)))
        assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(t, v.argmax(1)))
        areas = [metrics.roc_auc_score(t == cohort, v[:, cohort]) for cohort in range(3)]
        assert found["auc"] == pytest.approx(np.mean(areas))


def test_overlaps_by_hand():
    """Two of four true pixels found, one beside them: nerve 2/5, background 11/14; Dice 4/7."""
    truth, found = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    truth[1] = True
    found[1, :2] = found[3, 3] = True
    miou, dice, cldice = overlaps(found, truth)
    assert miou == pytest.approx((2 / 5 + 11 / 14) / 2) and dice == pytest.approx(4 / 7)
    assert cldice == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))
    nothing = np.zeros((4, 4), bool)
    assert overlaps(nothing, nothing) == (1, 1, 1)


def test_one_patient_counts_with_all_images():
    """Two patients, one always right with three images, the other always wrong with one: .75, and from 0 to 1 when
    patients of one cohort are drawn anew.
    """
    found = predictions([0] * 4, [[1, 0]] * 3 + [[0, 1]], ["P1", "P1", "P1", "P2"])
    one = estimate([found], accuracy)
    assert (one.value, one.low, one.high, one.n) == (0.75, 0, 1, 2)


def test_interval_of_independent_images_is_the_binomials():
    """400 images of as many patients, 70 % right, one seed: ±1.96 √(.7 · .3 / 400); the bootstrap of 1,000 draws knows
    its ends with a standard error of 4 %, and steps of 1/400.
    """
    right = np.arange(400) < 280
    found = predictions(np.zeros(400, int), np.stack([right, ~right], 1))
    one = estimate([found], accuracy)
    half = 1.96 * np.sqrt(0.7 * 0.3 / 400)
    assert (one.low, one.high) == pytest.approx((0.7 - half, 0.7 + half), abs=0.15 * half)


def test_seeds_widen_the_interval():
    """Ten seeds that are all right or all wrong on the same patients: the interval is that of seeds, about ±.31."""
    runs = [predictions([0] * 40, [[1, 0] if seed % 2 else [0, 1]] * 40) for seed in range(10)]
    one = estimate(runs, accuracy)
    assert one.value == 0.5 and one.high - one.low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(10), rel=0.15)


def test_differences_are_paired():
    """The same mistakes on both sides: no difference, and no width, whatever patients are drawn."""
    generator = np.random.default_rng(1)
    runs = [predictions(np.zeros(30, int), generator.dirichlet(np.ones(2), 30)) for _ in range(4)]
    one = mean_difference(runs, runs, accuracy)
    assert (one.value, one.low, one.high) == (0, 0, 0)
    assert by_seed(runs, accuracy).shape == (4,)


def test_a_figure_that_no_image_defines_is_undefined():
    found = predictions([0, 0], [[1, 0], [1, 0]])
    assert not estimate([found], area_under_curve).defined
    assert MAIN["segmentation"] == "miou"
    assert overlap_figure("miou")(predictions([0, 0], [[0.5, 0, 0], [0.7, 0, 0]]), np.ones((1, 2)))[0] == 0.6


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1.0] * 6, 2 / 64),
        ([1.0] * 7, 2 / 128),
        ([1.0] * 5 + [-1.0], 14 / 64),  # of 64 patterns 2 are more extreme and 12 as extreme
        ([0.0] * 6, 1.0),
        ([1.0] * 5, None),
    ],
)
def test_sign_flips_by_hand(differences, p):
    assert sign_flip(np.array(differences)) == (p if p is None else pytest.approx(p))


def test_sign_flips_of_many_pairs_are_drawn():
    """30 pairs with z = 2: the normal's p, .0455, within the error of 20,000 draws and of the approximation."""
    values = np.random.default_rng(3).normal(0, 1, 30)
    values = (values - values.mean()) / np.sqrt((values**2).mean()) + 0.0
    values = values - values.mean()
    shift = 2 / np.sqrt(30)
    values = values / np.sqrt((values**2).mean()) * np.sqrt(1 - shift**2) + shift  # mean square 1, so z = 2
    assert sign_flip(values) == pytest.approx(0.0455, abs=0.01)


def test_pairs_needed_equal_the_tables():
    """d = .5 and .8, two-sided 5 %, power 80 %: 34 and 15 pairs (Cohen 1988; statsmodels' TTestPower)."""
    for effect, pairs in ((0.5, 34), (0.8, 15)):
        values = np.array([-1.0, 1.0]) / np.sqrt(2) + effect  # SD 1
        assert pairs_needed(values) == pairs
    assert pairs_needed(np.array([1.0, -1.0])) is None and pairs_needed(np.array([0.2])) is None
    assert pairs_needed(np.array([0.5, 0.5])) == 6
