"""Phantoms: every step of the image formation, alone and switched off."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from wdlora.anatomy.fibre import Fibre
from wdlora.anatomy.nerve_mask import NerveMask
from wdlora.anatomy.phantoms.imaging import ImageModel, appearance_at
from wdlora.anatomy.phantoms.imaging import phantom_1 as phantom
from wdlora.anatomy.phantoms.optics import Splats, cell_mosaic, smooth_field
from wdlora.errors import InputError

OFF = ImageModel(
    beading=0, focus=0, cells=0, haze=0, dendritic_cells=0, illumination=0, speckle=0, read_noise=0, gain=0
)


def straight(width_um: float = 5.0, size=(200, 240), pixel_size_um: float = 1.0, severity: float = 0.0) -> NerveMask:
    """One vertical trunk in the middle of the field."""
    height, width = size
    y = np.arange(-20.0, height + 20)
    points = np.stack([np.full_like(y, width / 2), y], 1)
    fibre = Fibre(points, np.full(len(y), width_um), "trunk")
    columns = np.abs(np.arange(width) - width / 2) * pixel_size_um <= width_um / 2
    mask = np.broadcast_to(columns, size).copy()
    return NerveMask(mask, (fibre,), pixel_size_um, "Control", 0, severity)


def half_height_width(profile: np.ndarray) -> float:
    """Full width at half height of a peak on a flat background, in samples."""
    profile = profile - np.median(profile)
    fine = np.interp(np.arange(0, len(profile) - 1, 0.01), np.arange(len(profile)), profile)
    return float((fine > fine.max() / 2).sum() * 0.01)


def test_deterministic_and_eight_bit():
    nerve = straight()
    first, second = phantom(nerve, 7), phantom(nerve, 7)
    assert first.dtype == np.uint8 and first.shape == (200, 240)
    assert (first == second).all()
    assert (first != phantom(nerve, 8)).mean() > 0.5


@pytest.mark.parametrize("width_um", [3.0, 5.0, 7.0])
@pytest.mark.parametrize("pixel_size_um", [0.5, 1.0])
def test_half_height_width_is_the_drawn_one_with_the_point_spread(width_um, pixel_size_um):
    image = phantom(straight(width_um, pixel_size_um=pixel_size_um), 3, model=OFF)
    # Widths add in quadrature with 1 µm of optics. 0.35 µm: 8-bit steps, and soft saturation flattens the peak.
    assert half_height_width(image.mean(0)) * pixel_size_um == pytest.approx(np.hypot(width_um, 1.0), abs=0.35)


def test_amplitude_scales_the_nerve_before_noise():
    nerve = straight()
    peak = [np.ptp(phantom(nerve, 3, model=replace(OFF, nerve_amplitude=a)).mean(0)) for a in (1.0, 0.4)]
    assert peak[1] / peak[0] == pytest.approx(0.4, abs=0.03)  # saturation takes a little from the stronger one
    noisy = [phantom(nerve, 3, model=ImageModel(nerve_amplitude=a)) for a in (1.0, 0.4)]
    away = ndimage.distance_transform_edt(~nerve.mask) > 25
    assert (noisy[0][away] == noisy[1][away]).all()  # the noise is the same


@pytest.mark.parametrize("component", ["beading", "dendritic_cells", "nerve_amplitude"])
def test_switching_a_nerve_component_off_leaves_the_rest_bit_for_bit(component):
    nerve = straight(severity=2.0)
    full, without = phantom(nerve, 5), phantom(nerve, 5, model=replace(ImageModel(), **{component: 0}))
    changed = full != without
    assert changed.any()
    if component == "dendritic_cells":
        assert changed.mean() < 0.15
    else:
        assert not changed[ndimage.distance_transform_edt(~nerve.mask) > 25].any()


@pytest.mark.parametrize("component", ["haze", "cells", "illumination", "speckle", "read_noise", "gain", "focus"])
def test_every_other_component_does_something(component):
    nerve = straight()
    alone = phantom(nerve, 5, model=replace(OFF, **{component: 1.0}))
    assert (alone != phantom(nerve, 5, model=OFF)).any()
    assert (phantom(nerve, 5) != phantom(nerve, 5, model=replace(ImageModel(), **{component: 0}))).any()


def test_noise_draws_do_not_depend_on_other_components():
    nerve = straight()
    base = replace(OFF, read_noise=1.0)
    noise = phantom(nerve, 5, model=base).astype(int) - phantom(nerve, 5, model=OFF)
    hazy = replace(OFF, haze=1.0)
    with_haze = phantom(nerve, 5, model=replace(hazy, read_noise=1.0)).astype(int) - phantom(nerve, 5, model=hazy)
    inner = np.s_[:, :100]  # the flat part; rounding to 8 bits twice moves a difference by at most one
    assert np.abs(noise[inner] - with_haze[inner]).max() <= 1


def test_common_appearance_hides_the_cohort():
    images = [phantom(straight(severity=s), 5, appearance="common") for s in (0.0, 1.0, 2.0)]
    assert (images[0] == images[1]).all() and (images[1] == images[2]).all()
    assert (phantom(straight(severity=1.0), 5) == images[1]).all()  # the common one is the middle one


def test_cohort_appearance_follows_the_severity():
    assert appearance_at(0.5).contrast == pytest.approx((appearance_at(0).contrast + appearance_at(1).contrast) / 2)
    quiet = replace(OFF, beading=1.0)
    control, severe = (phantom(straight(severity=s), 11, model=quiet) for s in (0.0, 2.0))
    ridge = np.s_[:, 118:123]
    height = [float(i[ridge].mean() - i[:, :60].mean()) for i in (control, severe)]
    assert height[1] < 0.9 * height[0]
    unevenness = [i[ridge].mean(1).std() / h for i, h in zip((control, severe), height, strict=True)]
    assert unevenness[1] > 1.5 * unevenness[0]
    cells = replace(OFF, dendritic_cells=1.0)
    area = []
    for severity in (0.0, 2.0):
        nerve = straight(severity=severity)
        area.append(
            np.mean([(phantom(nerve, s, model=cells) > phantom(nerve, s, model=OFF) + 60).mean() for s in range(20)])
        )
    assert area[1] > 2 * area[0]


def test_unknown_appearance_is_refused():
    with pytest.raises(InputError, match="common"):
        phantom(straight(), 0, appearance="other")  # type: ignore[arg-type]


def test_a_plexus_without_fibres_is_background():
    empty = NerveMask(np.zeros((64, 100), bool), (), 1.0, "T1DPN", 0, 2.0)
    assert phantom(empty, 1).shape == (64, 100)
    assert phantom(empty, 1).std() > 2


def test_splats_draw_the_gaussian_they_promise():
    canvas = Splats((80, 80), 1.0)
    x = np.arange(-30, 110, 0.5)
    canvas.lines(x, np.full_like(x, 40.3), np.full_like(x, 1.7), np.full_like(x, 0.8), 0.5)
    expected = 0.8 * np.exp(-0.5 * ((np.arange(80) - 40.3) / 1.7) ** 2)
    # 4 %: bilinear splats widen σ² by up to a quarter pixel², and two ladder widths stand in for one.
    np.testing.assert_allclose(canvas.render()[:, 40], expected, atol=0.04 * 0.8)


def test_fields_have_the_scale_and_variance_they_promise():
    rng = np.random.default_rng(2)
    field = np.stack([smooth_field((200, 200), 8.0, rng) for _ in range(6)])
    assert field.std() == pytest.approx(1.0, abs=0.2)
    shifted = (field[:, 8:] * field[:, :-8]).mean() / (field**2).mean()
    # Gaussian smoothing over σ has autocorrelation exp(−d²/4σ²), .78 at d = σ; the cubic knots widen it slightly.
    assert shifted == pytest.approx(np.exp(-0.25), abs=0.08)


def test_cells_have_the_size_they_promise():
    mosaic = cell_mosaic((300, 300), 10.0, np.random.default_rng(0))
    nuclei = ndimage.label(mosaic < np.quantile(mosaic, 0.35))[1]
    assert nuclei == pytest.approx(30 * 30, rel=0.35)  # one dark body a cell; some touch, some are grey
