"""Figures of two sets of features or pictures: by hand, in closed form, and against independent implementations."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from wdlora.errors import InputError
from wdlora.evaluation.distance import kid
from wdlora.evaluation.diversity import fisher_ratio, intra_class_diversity, separability
from wdlora.evaluation.draws import draws
from wdlora.evaluation.embedding import embed
from wdlora.evaluation.estimate import from_halves, undefined
from wdlora.evaluation.fidelity import fidelity
from wdlora.evaluation.frechet import frechet_distance
from wdlora.evaluation.neighbours import neighbours
from wdlora.evaluation.similarity import ms_ssim, psnr, ssim
from wdlora.evaluation.two_sample import _discriminant, two_sample_auc
from wdlora.evaluation.variety import between_cohorts, diversity


def two_sets() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.standard_normal((60, 5)), 1.2 * generator.standard_normal((50, 5)) + 0.3


def two_pictures() -> list[np.ndarray]:
    generator = np.random.default_rng(1)
    y, x = np.mgrid[:200, :231]
    one = 128 + 60 * np.sin(x / 7 + np.sin(y / 11)) + 20 * generator.standard_normal((200, 231))
    other = 0.8 * one + 20 * np.cos(y / 5) + 10 * generator.standard_normal((200, 231))
    return [np.clip(np.round(picture), 0, 255).astype(np.uint8) for picture in (one, other)]


def test_frechet_distance_in_one_dimension_is_closed():
    """(μ₁ − μ₂)² + (σ₁ − σ₂)²."""
    a, b = np.array([[0.0], [2.0], [4.0]]), np.array([[1.0], [2.0], [3.0], [10.0]])
    assert frechet_distance(a, b) == pytest.approx((2 - 4) ** 2 + (2 - b.std(ddof=1)) ** 2)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)
    with pytest.raises(InputError, match="at least 2 images"):
        frechet_distance(a[:1], b)


def test_frechet_distance_equals_torch_fidelitys():
    """`fid_statistics_to_metric` of torch-fidelity 0.4.0 on these sets, n > d."""
    assert frechet_distance(*two_sets()) == pytest.approx(1.3827831161169204, rel=1e-6)


def test_frechet_distance_with_fewer_images_than_features():
    """The trace of the root by the eigenvalues of ΣₐΣ_b, which is what n < d leaves of the formula."""
    generator = np.random.default_rng(2)
    a, b = generator.standard_normal((8, 30)), generator.standard_normal((11, 30)) + 0.2
    product = np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(product).astype(complex)).real.sum()
    apart = a.mean(0) - b.mean(0)
    spreads = a.var(0, ddof=1).sum() + b.var(0, ddof=1).sum()
    assert frechet_distance(a, b) == pytest.approx(apart @ apart + spreads - 2 * root, rel=1e-6)


def test_neighbours_by_hand():
    real, synthetic = np.array([[0.0], [1.0], [3.0]]), np.array([[0.5], [3.5], [9.0]])
    # k = 1: real balls reach 1, 1, 2; synthetic ones 3, 3, 5.5.
    found = neighbours(real, synthetic, k=1)
    assert found.precision == pytest.approx(2 / 3)  # .5 lies in two balls, 3.5 in one, 9 in none
    assert found.density == pytest.approx(3 / 3)
    assert found.coverage == pytest.approx(1.0)  # nearest synthetic at .5, .5, .5, inside 1, 1, 2
    assert found.recall == pytest.approx(1.0)
    assert neighbours(real, synthetic + 2.5, k=1).coverage == pytest.approx(1 / 3)  # only 3 has 3 in its ball
    with pytest.raises(InputError, match="more than 3 images"):
        neighbours(real, synthetic, k=3)


def test_neighbours_equal_prdcs():
    """`compute_prdc` of prdc 0.2 on these sets, 5 neighbours."""
    found = neighbours(*two_sets(), k=5)
    expected = (0.82, 0.9833333333333333, 0.756, 0.8833333333333333)
    assert (found.precision, found.recall, found.density, found.coverage) == pytest.approx(expected, abs=1e-12)


def test_a_patients_other_images_are_no_neighbours():
    """Every image twice: without patients the nearest is the twin, and balls have no extent."""
    one, other = two_sets()
    twice = np.repeat(one, 2, axis=0)
    patients = np.repeat(np.arange(60), 2)
    found = neighbours(twice, other, k=1, subjects=(patients, 100 + np.arange(50)))
    once = neighbours(one, other, k=1)
    assert (found.precision, found.recall, found.coverage) == (once.precision, once.recall, once.coverage)
    assert neighbours(twice, other, k=1).coverage == 0


def test_kid_leaves_out_pairs_of_one_patient():
    """Every image twice, by patient: the twins' pairs are left out, and the others stand four times."""
    one, other = two_sets()
    patients = np.repeat(np.arange(60), 2), 100 + np.arange(50)
    assert kid(np.repeat(one, 2, axis=0), other, subjects=patients) == pytest.approx(kid(one, other))
    with pytest.raises(InputError, match="at least 2 patients"):
        kid(one[:3], other, subjects=(np.zeros(3), patients[1]))


def test_patients_do_not_betray_their_set_to_the_classifier():
    """Two sets of one population, ten images a patient: by image it knows them again, by patient not."""
    generator = np.random.default_rng(3)
    by_image, by_patient = [], []
    for _ in range(12):
        sets = [np.repeat(generator.standard_normal((12, 20)), 10, axis=0) for _ in range(2)]
        a, b = (values + 0.3 * generator.standard_normal(values.shape) for values in sets)
        patients = np.repeat(np.arange(12), 10)
        by_image.append(two_sample_auc(a, b).value)
        by_patient.append(two_sample_auc(a, b, subjects=(patients, 100 + patients)).value)
    assert np.mean(by_image) > 0.95
    assert abs(np.mean(by_patient) - 0.5) < 4 * np.std(by_patient) / np.sqrt(12)
    with pytest.raises(InputError, match="5 patients"):
        two_sample_auc(a, b, subjects=(patients // 3, 100 + patients))


def test_the_classifier_is_the_same_by_either_way_of_solving():
    """More features than images: Woodbury's identity gives the scores of the large system."""
    generator = np.random.default_rng(4)
    train, test = generator.standard_normal((30, 31)), generator.standard_normal((8, 31))
    labels = np.repeat([0, 1], 15)
    x = (train - train.mean(0)) / (train.std(0) + 1e-9)
    means = np.stack([x[labels == label].mean(0) for label in (0, 1)])
    covariance = (x - means[labels]).T @ (x - means[labels]) / 30
    mixed = 30 / 61 * covariance + 31 / 61 * np.eye(31) * np.trace(covariance) / 31
    scores = (test - train.mean(0)) / (train.std(0) + 1e-9) @ np.linalg.solve(mixed, means[1] - means[0])
    assert _discriminant(train, labels, test) == pytest.approx(scores, rel=1e-9)


def test_psnr_by_hand():
    flat = np.full((16, 16), 100, np.uint8)
    assert psnr(flat, flat + 5) == pytest.approx(10 * math.log10(255**2 / 25))
    assert psnr(flat, flat) == math.inf
    with pytest.raises(InputError, match="of one size"):
        psnr(flat, flat[:8])


def test_ssim_of_two_flat_pictures_is_its_luminance():
    """No contrast: (2ab + c₁)/(a² + b² + c₁)."""
    a, b, c = 100.0, 150.0, (0.01 * 255) ** 2
    found = ssim(np.full((20, 20), 100, np.uint8), np.full((20, 20), 150, np.uint8))
    assert found == pytest.approx((2 * a * b + c) / (a * a + b * b + c))


def test_ssim_and_psnr_equal_scikit_images():
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    one, other = two_pictures()
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    assert ssim(one, other) == pytest.approx(structural_similarity(one, other, **options), abs=1e-9)
    assert psnr(one, other) == pytest.approx(peak_signal_noise_ratio(one, other, data_range=255), abs=1e-9)


def test_ms_ssim_equals_monais():
    """`compute_ms_ssim` of MONAI 1.6.1 (float32) on these pictures."""
    one, other = two_pictures()
    assert ms_ssim(one, other) == pytest.approx(0.895586848259, abs=1e-6)
    assert ms_ssim(one, one) == pytest.approx(1.0)
    assert ms_ssim(one[:176, :176], other[:176, :176]) > 0
    with pytest.raises(InputError, match="at least 176 pixels"):
        ms_ssim(one[:175], other[:175])


def test_diversity_and_separability_by_hand():
    values = np.array([[0.0, 0], [3, 4], [0, 0], [10, 0], [13, 4], [10, 0]])
    cohorts = np.array(["a"] * 3 + ["b"] * 3)
    assert intra_class_diversity(values[:3]) == pytest.approx((5 + 0 + 5) / 3)
    assert intra_class_diversity(values[:3], np.array([1, 2, 1])) == pytest.approx(5)  # the first and third are one's
    assert separability(values, cohorts) == pytest.approx(10)
    # Scatter between: 6 · 5² = 150; within each: 2·(1 + 16/9) + (4 + 64/9) = 50/3.
    assert fisher_ratio(values, cohorts) == pytest.approx(150 / (100 / 3))
    with pytest.raises(InputError, match="at least 2 patients"):
        intra_class_diversity(values[:3], np.ones(3))
    for measure in (separability, fisher_ratio):
        with pytest.raises(InputError, match="at least 2 cohorts"):
            measure(values, np.array(["a"] * 6))


def test_draws_keep_patients_apart():
    real, synthetic = np.repeat(np.arange(20), 5), np.concatenate([np.repeat(np.arange(20), 2), 100 + np.arange(60)])
    for draw in draws(real, synthetic, least=4):
        assert len(draw.real) == len(draw.other) == len(draw.synthetic)
        assert not set(real[draw.real]) & set(real[draw.other])
        assert not set(real[draw.real]) & set(synthetic[draw.synthetic])
        assert 40 <= len(draw.real) <= 50
    with pytest.raises(InputError, match="at least 4 are needed"):
        draws(np.zeros(30), 1 + np.arange(30), least=4)  # one patient has no other half


def test_figures_lie_within_their_baselines_where_nothing_differs():
    """12 pairs of sets of one population: figures are worse than their baseline's 95 % range in 2 of them at most."""
    generator, worse = np.random.default_rng(5), {"kid": 0, "fid": 0, "auc": 0, "recall": 0, "coverage": 0}
    for _ in range(12):
        real, synthetic = generator.standard_normal((2, 60, 6))
        found = fidelity(real, synthetic, (np.arange(60), 100 + np.arange(60)), tuple(worse))
        for key in worse:
            one, floor = found.figures[key], found.floor[key]
            assert one.n == floor.n == 30
            worse[key] += one.value < floor.low if key in ("recall", "coverage") else one.value > floor.high
    assert max(worse.values()) <= 2


def test_figures_see_what_differs():
    generator = np.random.default_rng(6)
    real, owners = generator.standard_normal((80, 6)), (np.arange(80), 100 + np.arange(80))
    shifted = fidelity(real, generator.standard_normal((80, 6)) + 1, owners)
    assert all(shifted.figures[key].low > shifted.floor[key].high for key in ("kid", "fid", "auc"))
    collapsed = fidelity(real, np.repeat(generator.standard_normal((5, 6)), 16, axis=0), owners)
    assert collapsed.figures["recall"].value < collapsed.floor["recall"].low
    assert collapsed.figures["coverage"].high < collapsed.floor["coverage"].low


def test_what_is_not_defined_says_why():
    values, owners = np.zeros((12, 3)), (np.repeat(np.arange(4), 3), 100 + np.arange(12))
    found = fidelity(values, values, owners)
    assert not found.figures["auc"].defined and "5 patients" in found.figures["auc"].reason
    three = fidelity(values, values, (np.repeat(np.arange(3), 4), 100 + np.arange(12)))
    assert "2 patients in each set; each set here is half of the patients" in three.floor["kid"].reason
    nothing = fidelity(values, values, (np.zeros(12), 100 + np.arange(12)))
    assert "at least 4 are needed" in nothing.figures["kid"].reason
    assert undefined("too few", 3).to_dict() == {"value": None, "low": None, "high": None, "n": 3, "reason": "too few"}


def test_halves_give_the_interval_of_the_whole():
    """A mean of 100 values over halves: its interval is ±1.96 σ/√n, within a sixth (40 draws)."""
    generator, widths = np.random.default_rng(7), []
    for _ in range(40):
        values = generator.standard_normal(100)
        found = from_halves([generator.permutation(values)[:50].mean() for _ in range(40)], 50)
        widths.append((found.high - found.low) / 2)
    assert np.mean(widths) == pytest.approx(1.96 / 10, rel=0.06)
    assert from_halves([0.9, 1.1], 5, (0.0, 1.0)).high == 1.0


def test_variety_of_both_sets_at_one_size():
    generator = np.random.default_rng(8)
    real, synthetic = generator.standard_normal((80, 4)), generator.standard_normal((120, 4))
    cohorts = np.repeat(["Control", "T1DPN"], 40), np.repeat(["Control", "T1DPN"], 60)
    real[40:] += 3
    owners = np.arange(80), 200 + np.arange(120)
    found = between_cohorts(real, synthetic, owners, cohorts, ["Control", "T1DPN"])
    assert found["separability"].real.n == found["separability"].synthetic.n == 40
    assert found["separability"].real.value == pytest.approx(6, abs=0.6)
    assert found["separability"].synthetic.high < found["separability"].real.low
    one = diversity(real[:40], 2 * synthetic[:60], (owners[0][:40], owners[1][:60]))
    assert one.synthetic.value / one.real.value == pytest.approx(2, rel=0.15)
    alone = between_cohorts(real, synthetic, owners, cohorts, ["Control"])["fisher"]
    assert "2 cohorts" in alone.real.reason


def test_the_map_keeps_neighbours_and_is_the_same_each_time():
    generator = np.random.default_rng(9)
    values = np.concatenate([generator.standard_normal((20, 6)), generator.standard_normal((20, 6)) + 8])
    xy, method = embed(values)
    assert xy.shape == (40, 2) and method
    near = ((xy[:, None] - xy[None]) ** 2).sum(2) + np.diag(np.full(40, np.inf))
    assert ((near.argmin(1) < 20) == (np.arange(40) < 20)).all()
    assert np.array_equal(embed(values)[0], xy)


def test_the_map_without_scikit_learn_is_of_principal_components():
    code = """
import sys
sys.modules["sklearn"] = None
import numpy as np
from wdlora.evaluation import embedding
embedding.importlib.util.find_spec = lambda name: None
values = np.zeros((30, 3)); values[:, 1] = np.arange(30); values[:, 2] = np.arange(30) % 2
xy, method = embedding.embed(values)
assert method == "principal components, 100 % of the variance", method
assert np.allclose(np.abs(np.diff(np.sort(xy[:, 0]))), 1, atol=.05)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_blur_lowers_ssim_less_than_other_texture():
    """Why SSIM is no realism: a blurred picture scores above one with fresh noise of the same strength."""
    generator = np.random.default_rng(10)
    nerves = 120 + 60 * np.sin(np.mgrid[:128, :128][1] / 9)
    one, other = (np.clip(nerves + 20 * generator.standard_normal((128, 128)), 0, 255) for _ in range(2))
    blurred = ndimage.gaussian_filter(one, 1.5)
    score = {name: ssim(one.astype(np.uint8), x.astype(np.uint8)) for name, x in (("fresh", other), ("blur", blurred))}
    assert score["blur"] > score["fresh"]
