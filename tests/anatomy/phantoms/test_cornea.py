"""Phantom 2: what it promises about grain, widths, truths and switches."""

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import ndimage

from wdlora.anatomy.fibre import Fibre
from wdlora.anatomy.nerve_mask import NerveMask
from wdlora.anatomy.phantoms.cornea.frame import Frame
from wdlora.anatomy.phantoms.cornea.grain import grain_field
from wdlora.anatomy.phantoms.cornea.model import CHANCES, CorneaModel
from wdlora.anatomy.phantoms.cornea.person import draw_person
from wdlora.anatomy.phantoms.phantom import frame

STRENGTHS = [one.name for one in fields(CorneaModel) if one.name not in CHANCES]
OFF = CorneaModel(**dict.fromkeys((*STRENGTHS, *CHANCES), 0.0))
NERVES = replace(OFF, nerve_amplitude=1.0, fine_network=1.0)


def straight(size: tuple[int, int] = (256, 256), kind: str = "trunk", severity: float = 1.0) -> NerveMask:
    """Five vertical fibres, 48 px apart, pixels of 1 µm."""
    y = np.arange(-20.0, size[0] + 20)
    columns = [32.0 + 48 * k for k in range(5)]
    fibres = tuple(Fibre(np.stack([np.full_like(y, x), y], 1), np.full(len(y), 5.0), kind) for x in columns)  # type: ignore[arg-type]
    mask = np.zeros(size, bool)
    for x in columns:
        mask[:, int(x) - 2 : int(x) + 3] = True
    return NerveMask(mask, fibres, 1.0, "Control", 0, severity)


def empty(size: tuple[int, int] = (256, 256), pixel_size_um: float = 1.0) -> NerveMask:
    return NerveMask(np.zeros(size, bool), (), pixel_size_um, "Control", 0, 1.0)


def changed(nerves: NerveMask, seed: int, **model: float) -> tuple[Frame, np.ndarray]:
    """A frame with one part on, and the pixels in which it differs from a frame without."""
    with_it = frame(nerves, seed, model=replace(NERVES, **model))
    return with_it, with_it.image != frame(nerves, seed, model=NERVES).image


def test_same_seed_same_bytes():
    first, second, other = (frame(straight(), seed) for seed in (7, 7, 8))
    assert first.image.dtype == np.uint8 and first.image.shape == (256, 256)
    assert (first.image == second.image).all() and (first.visibility == second.visibility).all()
    assert (first.image != other.image).mean() > 0.5


def test_everything_off_is_flat():
    image = frame(empty(), 3, model=OFF).image
    assert np.ptp(image) == 0 and image[0, 0] == 92


@pytest.mark.parametrize("seed", range(4))
def test_grain_is_skewed_correlated_and_of_the_persons_strength(seed):
    """Closed forms: white noise behind a Gaussian of SD s has the correlation exp(−1/4s²) one pixel on, a little more
    for the coarse share; a sum of gammas is skewed by 2/√shape times ∑w³/(∑w²)^1.5 of its weights.
    """
    person = replace(draw_person(seed, CorneaModel()), grain_coarse=0.0)
    grain = grain_field((512, 512), 1.0, person, seed)
    assert grain.mean() == pytest.approx(0, abs=0.02) and grain.std() == pytest.approx(1, abs=0.01)
    for axis, factor in ((0, 1.06), (1, 0.97)):
        taps = np.exp(-0.5 * (np.arange(-9, 10) / (factor * person.grain_um)) ** 2)
        expected = (taps[1:] * taps[:-1]).sum() / (taps**2).sum()
        pair = np.moveaxis(grain, axis, 0)
        assert np.corrcoef(pair[1:].ravel(), pair[:-1].ravel())[0, 1] == pytest.approx(expected, abs=0.02)
    weights = [np.exp(-0.5 * (np.arange(-9, 10) / (f * person.grain_um)) ** 2) for f in (1.06, 0.97)]
    skew = 2 / np.sqrt(person.grain_shape) * np.prod([(w**3).sum() / (w**2).sum() ** 1.5 for w in weights])
    assert (grain**3).mean() == pytest.approx(skew, rel=0.08)


def test_grain_follows_the_signal():
    """Twice the light has twice the grain."""
    image = frame(empty((256, 256)), 5, model=replace(OFF, grain=1.0, vignette=1.0)).image.astype(float)
    light = ndimage.gaussian_filter(image, 12)
    rough = np.sqrt(ndimage.gaussian_filter((image - ndimage.gaussian_filter(image, 3)) ** 2, 12))
    share = (rough / light)[20:-20, 20:-20]
    assert light[20:-20, 20:-20].max() > 1.2 * light[20:-20, 20:-20].min()
    assert share.std() < 0.12 * share.mean()


def half_height_width(profile: np.ndarray) -> float:
    fine = np.interp(np.arange(0, len(profile) - 1, 0.01), np.arange(len(profile)), profile - np.median(profile))
    return float((fine > fine.max() / 2).sum() * 0.01)


def test_nerves_are_as_wide_as_real_ones_and_have_no_tails():
    """Means of 20 frames; without jitter, which would widen the mean of the rows."""
    widths, tails = [], []
    for seed in range(20):
        image = frame(straight(), seed, model=NERVES).image.astype(float)
        mean = image.mean(0)
        for x in range(32, 256, 48):
            around = mean[x - 20 : x + 21]
            widths.append(half_height_width(around))
            tails.append((around[[14, 26]].mean() - np.median(around)) / (around.max() - np.median(around)))
    assert 2.1 < np.median(widths) < 3.3
    assert np.quantile(widths, 0.9) < 4.5
    assert np.median(tails) < 0.03


def test_trunks_outshine_branches_and_branches_the_fine_network():
    light = {
        kind: np.mean([frame(straight(kind=kind), s, model=NERVES).image.mean() for s in range(12)])
        for kind in ("trunk", "branch", "fine")
    }
    assert light["trunk"] - 92 > 1.3 * (light["branch"] - 92) > 1.6 * (light["fine"] - 92) > 0


def test_the_fine_network_can_be_left_out():
    nerves = straight()
    fine = replace(straight(kind="fine"), fine_share=0.0)
    assert (
        frame(fine, 1, model=replace(NERVES, fine_network=0.0)).image == frame(empty(), 1, model=NERVES).image
    ).all()
    without = replace(NERVES, fine_network=0.0)
    assert (frame(nerves, 1, model=without).image == frame(nerves, 1, model=NERVES).image).all()


def test_jitter_stays_within_the_annotated_width():
    """Nerves wind about their vectors, and stay on the mask that is drawn from them."""
    inside = []
    for seed in range(6):
        plain, rough = (
            frame(straight(), seed, model=replace(NERVES, jitter=j)).image.astype(float) for j in (0.0, 1.0)
        )
        assert (plain != rough).any()
        for x in range(32, 256, 48):
            ridge = rough[:, x - 6 : x + 7].argmax(1) - 6
            inside.append(np.abs(ridge) <= 2)
    assert np.mean(inside) > 0.97


def test_visibility_is_brightness_over_grain_on_the_centrelines():
    seen = frame(straight(), 2, model=replace(NERVES, grain=1.0)).visibility
    assert set(np.flatnonzero(seen.any(0))) <= {x + d for x in range(32, 256, 48) for d in (-1, 0, 1)}
    stronger = frame(straight(), 2, model=replace(NERVES, grain=2.0)).visibility
    assert stronger[seen > 0] == pytest.approx(seen[seen > 0] / 2, rel=1e-3)
    fainter = frame(straight(), 2, model=replace(NERVES, grain=1.0, nerve_amplitude=0.5)).visibility
    assert fainter[seen > 0] == pytest.approx(seen[seen > 0] / 2, rel=1e-3)


@pytest.mark.parametrize("name", ["k_structures", "epithelium", "pressure_lines", "motion_stripes", "information_bar"])
def test_a_structure_changes_its_own_place_and_tells_where(name):
    """Over several seeds: where the truth says so, and hardly elsewhere."""
    for seed in range(5):
        found, differs = changed(straight(), seed, **{name: 1.0, "grain": 0.0})
        truth = found.structures.pop(name)
        assert not any(other.any() for other in found.structures.values())
        if name in ("motion_stripes", "information_bar"):
            assert truth.any() and not differs[~truth].any()
            assert not found.visibility[truth].any()
        elif truth.any():
            assert differs[truth].mean() > 0.5
        # A structure at a lower chance is the same one, or none.
        maybe = frame(straight(), seed, model=replace(NERVES, **{name: 0.4, "grain": 0.0})).structures[name]
        assert not maybe.any() or (maybe == truth).all()


def test_bodies_are_marked():
    for seed in range(4):
        found, differs = changed(empty(), seed, dendritic_cells=4.0)
        truth = found.structures["bodies"]
        assert truth.any() and differs[truth].mean() > 0.8
        assert differs[ndimage.distance_transform_edt(~truth) > 8].mean() < 1e-3  # a last digit at a rounding


def test_k_structures_and_epithelium_hide_nerves():
    for name in ("k_structures", "epithelium"):
        hidden = []
        for seed in range(8):
            clear = frame(straight(), seed, model=replace(NERVES, grain=1.0)).visibility
            behind = frame(straight(), seed, model=replace(NERVES, grain=1.0, **{name: 1.0}))
            on = behind.structures[name] & (clear > 0)
            hidden += (behind.visibility[on] / clear[on]).tolist()
        assert np.mean(hidden) < 0.8 and np.max(hidden) < 1.35  # a dark band's own grain is weaker


def test_cells_of_the_epithelium_have_the_size_of_basal_cells():
    """The honeycomb's spectrum peaks between 1/14 and 1/6 µm."""
    for seed in range(4):
        found, _ = changed(empty((384, 384)), seed, epithelium=1.0)
        where = ndimage.binary_erosion(found.structures["epithelium"], iterations=12)
        if where.sum() < 20_000:
            continue
        flat = np.where(where, found.image - found.image[where].mean(), 0)
        power = np.abs(np.fft.fft2(flat)) ** 2
        radius = np.hypot(np.fft.fftfreq(384)[:, None], np.fft.fftfreq(384))
        bands = [power[(radius > low) & (radius <= low + 0.02)].sum() for low in np.arange(0.03, 0.3, 0.02)]
        assert 1 / 15 < 0.04 + 0.02 * int(np.argmax(bands)) < 1 / 5
        return
    pytest.fail("no seed had a field of epithelium")


def test_fields_follow_the_pixel_size():
    """Half the pixel size: the same µm take twice the pixels, so the grain's correlation reaches twice as far."""
    model = replace(OFF, grain=1.0)
    fine = frame(empty((300, 300), 0.5), 4, model=model).image.astype(float)
    usual = frame(empty((300, 300), 1.0), 4, model=model).image.astype(float)

    def correlation(image: np.ndarray, lag: int) -> float:
        return float(np.corrcoef(image[:, lag:].ravel(), image[:, :-lag].ravel())[0, 1])

    assert correlation(fine, 2) == pytest.approx(correlation(usual, 1), abs=0.08)


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (384, 384)])
def test_any_size(size):
    everything = CorneaModel(**dict.fromkeys(CHANCES, 1.0))
    found = frame(empty(size), 1, model=everything)
    assert found.image.shape == found.visibility.shape == size
    assert all(truth.shape == size for truth in found.structures.values())


def test_a_jpeg_is_a_jpeg():
    """JPEG leaves the picture nearly as it was, and not quite."""
    whole, exported = (frame(straight(), 3, model=replace(CorneaModel(), jpeg=j)).image.astype(int) for j in (0.0, 1.0))
    assert 0 < np.abs(whole - exported).mean() < 4


def test_common_appearance_hides_the_cohort():
    images = [frame(straight(severity=s), 5, "common").image for s in (0.0, 1.0, 2.0)]
    assert (images[0] == images[1]).all() and (images[1] == images[2]).all()
    assert (frame(straight(severity=0.0), 5).image != images[0]).any()
