"""The search for copies: by hand, on planted ones, and where nothing can be concluded."""

import numpy as np
import pytest
from scipy import ndimage, stats

from wdlora.evaluation.copies.audit import Searched, audit, binomial_limits, c_t, exceedance, threshold
from wdlora.evaluation.copies.membership import membership
from wdlora.evaluation.copies.planted import COUNT, planted
from wdlora.evaluation.copies.search import SIDE, coarse, coarse_mask, nearest_images, paired_repeats, turned


def pictures(count: int, seed: int, side: int = 96) -> np.ndarray:
    """Random dark fields with bright curved lines, uint8 [count, side, side], no two alike."""
    generator = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(generator.standard_normal((count, side, side)), (0, 8, 8))
    lines = np.exp(-((noise / noise.std() / 0.12) ** 2))
    grain = 1 + 0.2 * generator.standard_normal(noise.shape)
    return np.clip(np.round((40 + 120 * lines) * grain), 0, 255).astype(np.uint8)


def searched(images, subjects=None, cohort="") -> Searched:
    values = np.stack([coarse(one) for one in images])
    owners = np.arange(len(images)).astype(str) if subjects is None else subjects
    return Searched(values, owners, np.full(len(images), cohort))


def test_the_coarse_image_has_no_level_and_no_contrast():
    image = pictures(1, 0)[0]
    one = coarse(image)
    assert one.shape == (SIDE, SIDE) and abs(one.mean()) < 1e-6 and np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
    darker = (image // 2 + 30).astype(np.uint8)
    assert (one * coarse(darker)).sum() > 0.99
    shaded = np.clip(image * np.linspace(0.6, 1.4, 96)[None], 0, 255).astype(np.uint8)
    assert (one * coarse(shaded)).sum() > 0.9
    assert not coarse(np.full((96, 96), 7, np.uint8)).any()


def test_eight_turns_of_an_image_are_eight_and_found():
    image = np.arange(9).reshape(3, 3)
    assert len({turned(image, turn).tobytes() for turn in range(8)}) == 8
    originals = pictures(5, 1)
    for turn in range(8):
        copy = coarse(np.ascontiguousarray(turned(originals[3], turn)))[None]
        found = nearest_images(copy, np.stack([coarse(one) for one in originals]))
        assert found.place[0] == 3 and found.similarity[0] == pytest.approx(1, abs=1e-4)
        assert np.allclose(turned(coarse(originals[3]), int(found.turn[0])), copy[0], atol=1e-5)
        assert found.second[0] < 0.6


def test_images_that_may_not_be_compared_are_passed_over():
    values = np.stack([coarse(one) for one in pictures(4, 2)])
    found = nearest_images(values, values, ~np.eye(4, dtype=bool))
    assert (found.place != np.arange(4)).all() and (found.similarity < 0.6).all()
    nobody = nearest_images(values, values, np.zeros((4, 4), bool))
    assert (nobody.place == -1).all() and np.isneginf(nobody.similarity).all()


def test_masks_are_compared_by_dice():
    a, b = np.zeros((1, SIDE, SIDE), bool), np.zeros((1, SIDE, SIDE), bool)
    a[0, 10, :30], b[0, :, 5] = True, True
    # b turned is a row of 48, in row 5 or 42; no turn of it meets row 10.
    assert nearest_images(a, b).similarity[0] == pytest.approx(2 * 1 / (30 + 48))
    b[0] = False
    b[0, 20:40, 37] = True  # turned by a quarter: row 10, columns 20 to 39
    assert nearest_images(a, b).similarity[0] == pytest.approx(2 * 20 / (30 + 20))
    assert nearest_images(np.zeros_like(a), np.zeros_like(b)).similarity[0] == 0
    line = np.zeros((384, 384), bool)
    line[100:103] = True
    assert coarse_mask(line).sum() == SIDE


def test_repeats_are_counted_in_pairs():
    """A hub that resembles four others makes two repeats; five copies of an image make four, two of another two."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(SIDE * SIDE, 8)))[0].T.reshape(8, SIDE, SIDE)  # turns of noise are unlike
    hub = basis[:4].sum(0) / 2  # correlation .5 with each of four, which have 0 with one another
    star = np.stack([hub, *basis[:4]])
    assert paired_repeats(star, 0.4) == 2 and paired_repeats(star, 0.6) == 0
    copies = np.stack([basis[5]] * 5 + [turned(basis[6], 3), basis[6], basis[7]])
    assert paired_repeats(copies, 0.9) == 4 + 2


def test_planted_copies_are_found_and_few_others():
    """Five times 180 originals, 120 held out, 200 others, 24 copies: all copies, at most 25 of 1,000 others."""
    false = 0
    for seed in range(5):
        images = pictures(500, 10 + seed)
        originals, holdout, synthetic = images[:180], images[180:300], images[300:]
        found = audit(searched(synthetic), searched(originals), searched(holdout, 500 + np.arange(120)))
        assert found.p > 0.05
        false += found.count
        copies = np.stack([coarse(one) for one in planted(list(originals), seed)])
        assert len(copies) == COUNT
        near = nearest_images(copies, searched(originals).images)
        assert (near.place == np.arange(COUNT)).all() and (near.similarity > found.threshold).all()
    assert false <= 25


def test_an_audit_of_copies():
    """Half of the synthetic images are noisy copies: the rate, the ratio of distances and C_T say so."""
    images = pictures(220, 3)
    originals, holdout = images[:80], images[80:160]
    noise = np.random.default_rng(0).normal(0, 8, (30, 96, 96))
    copies = np.clip(originals[:30] + noise, 0, 255).astype(np.uint8)
    found = audit(
        searched(np.concatenate([copies, images[160:190]])),
        searched(originals),
        searched(holdout, 100 + np.arange(80)),
    )
    assert 30 <= found.count <= 33 and found.low > 0.35 and found.high > found.count / 60
    assert found.ratio.value < 0.65 and found.ratio.high < 1
    assert found.c_t < -2
    assert found.holdout_rate < 0.08
    clean = audit(searched(images[160:]), searched(originals), searched(holdout, 100 + np.arange(80)))
    assert clean.count <= 3 and clean.ratio.low < 1 < clean.ratio.high and abs(clean.c_t) < 3


def test_pictures_of_an_originals_mask_are_not_compared_with_it():
    images = pictures(40, 4)
    owners = np.array([f"P{number}" for number in range(40)])
    copies = searched(images, owners)
    alone = audit(copies, copies, copies, same_masks=True)
    assert alone.count <= 3
    assert audit(copies, copies, copies).count == 40  # a set against itself


def test_exact_limits_of_a_rate():
    """0 of n: 1 − .05^(1/n), the rule of three; 3 of 20 by the binomial distribution itself."""
    assert binomial_limits(0, 200) == (0.0, pytest.approx(1 - 0.05 ** (1 / 200)))
    assert binomial_limits(0, 200)[1] == pytest.approx(0.0149, abs=1e-4)
    assert binomial_limits(5, 5) == (pytest.approx(0.05**0.2), 1.0)
    low, high = binomial_limits(3, 20)
    assert stats.binom.cdf(3, 20, high) == pytest.approx(0.05)
    assert stats.binom.sf(2, 20, low) == pytest.approx(0.05)


def test_the_threshold_is_a_value_that_occurs():
    assert threshold(np.arange(50.0)) == 49
    assert threshold(np.arange(201.0)) == 198
    assert np.isnan(threshold(np.full(3, -np.inf)))


def test_the_chance_of_so_many_is_exact():
    """Above the largest of h values: one of n at least with n / (n + h); simulated for the second largest."""
    holdout = np.arange(20.0)
    assert exceedance(1, 30, holdout, 19.0) == pytest.approx(30 / 50)
    assert exceedance(0, 30, holdout, 19.0) == 1.0
    generator = np.random.default_rng(0)
    drawn = generator.random((20_000, 50))
    above = (drawn[:, 20:] > np.sort(drawn[:, :20])[:, -2:-1]).sum(1)
    assert exceedance(5, 30, holdout, 18.0) == pytest.approx((above >= 5).mean(), abs=0.012)
    assert np.isnan(exceedance(0, 3, np.full(3, -np.inf), np.nan))


def test_c_t_by_hand():
    """Five of each, all synthetic distances smaller: Z = −12.5 / √(25 · 11 / 12)."""
    near, far = np.arange(5.0), 10 + np.arange(5.0)
    cells = np.full(5, "a")
    assert c_t(near, far, cells, cells) == pytest.approx(-12.5 / np.sqrt(25 * 11 / 12))
    assert c_t(far, near, cells, cells) == pytest.approx(12.5 / np.sqrt(25 * 11 / 12))
    assert np.isnan(c_t(near, far, cells, np.full(5, "b")))
    both = np.concatenate([near, far]), np.concatenate([far, near])
    two = np.repeat(["a", "b"], 5)
    assert c_t(*both, two, two) == pytest.approx(0)


def test_membership_is_read_beside_its_control():
    images = pictures(160, 5)
    values = np.stack([coarse(one) for one in images])
    generator = np.random.default_rng(6)
    features = generator.standard_normal((60, 4)), generator.standard_normal((60, 4))
    owners = np.arange(60), 100 + np.arange(60)
    copied = membership((values[:60], values[60:120], np.concatenate([values[:40], values[120:]])), features, owners)
    assert copied.auc.low > 0.6 and copied.tells
    clean = membership((values[:60], values[60:120], values[120:]), features, owners)
    assert clean.auc.low < 0.5 < clean.auc.high
    other = membership((values[:60], values[60:120], values[120:]), (features[0] + 3, features[1]), owners)
    assert not other.tells
    few = membership(
        (values[:4], values[60:120], values[120:]), (features[0][:4], features[1]), (owners[0][:4], owners[1])
    )
    assert not few.tells and "5 images" in few.control.reason
