"""Grey levels as the network sees them: brightness over the surroundings, in units of the grain.

What can be seen in a confocal image is a matter of its grain, so gain, offset and bit depth fall out.
"""

import numpy as np
from scipy import ndimage

AROUND_UM = 20.0
"""Standard deviation of the mean that is taken off."""

TEXTURE_UM = (0.7, 3.0)
"""Standard deviations of the two blurs between which texture is grain: single pixels are left out, which a change of
resolution, a camera or JPEG make what they like."""

SPREAD = 2.2
"""Standard deviation of a frame's grain over the mean size of this texture, on the phantoms."""

SOFT = 6.0
"""Grains beyond which brightness counts less and less: a saturated trunk and a dim one look alike."""


def in_grains(image: np.ndarray, pixel_size_um: float, valid: np.ndarray | None = None) -> np.ndarray:
    """float32 [H, W], 0 for the background and about 1 for one standard deviation of the grain.

    Where `valid` bool [H, W] is false the image counts for nothing and comes back as 0.
    """
    image = np.asarray(image, np.float32)
    weight = np.ones_like(image) if valid is None else valid.astype(np.float32)
    span = float(np.ptp(image))
    if span <= 1e-6 * float(np.abs(image).max()):
        return np.zeros_like(image)

    def local(field: np.ndarray, mass: np.ndarray) -> np.ndarray:
        sigma = AROUND_UM / pixel_size_um
        if valid is None:
            return _blurred(field, sigma)
        return _blurred(field * mass, sigma) / np.maximum(_blurred(mass, sigma), 1e-3)

    residual = image - local(image, weight)
    fine, coarse = (_plain_blur(image, sigma / pixel_size_um) for sigma in TEXTURE_UM)
    texture = np.abs(fine - coarse)
    reach = 2 * round(2 * TEXTURE_UM[1] / pixel_size_um) + 1
    inner = weight if valid is None else ndimage.minimum_filter(weight, reach)  # no edge between data and no data
    usable = texture[inner > 0]
    most = 4 * float(np.median(usable)) if usable.size else 0.0
    grain = SPREAD * local(np.minimum(texture, most), inner)
    grain = np.maximum(grain, max(0.25 * float(grain.mean()), 1e-3 * span))
    ratio = residual / grain
    return (SOFT * np.arcsinh(ratio / SOFT) * weight).astype(np.float32)


def _plain_blur(field: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(field, sigma, mode="nearest", truncate=3)


def _blurred(field: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian mean over means of blocks, interpolated: what wide blurs of a large image cost little by."""
    block = max(int(sigma / 4), 1)
    if block == 1:
        return _plain_blur(field, sigma)
    height, width = field.shape
    padded = np.pad(field, [(0, -height % block), (0, -width % block)], mode="edge")
    rows = padded.reshape(-1, block, padded.shape[1]).mean(1)
    means = rows.reshape(rows.shape[0], -1, block).mean(2)
    smooth = _plain_blur(means, sigma / block)
    down, right = (np.clip((np.arange(n) + 0.5) / block - 0.5, 0, None) for n in (height, width))
    return _spread(smooth.shape[0], down) @ smooth @ _spread(smooth.shape[1], right).T


def _spread(knots: int, places: np.ndarray) -> np.ndarray:
    """Weights float32 [places, knots] of linear interpolation."""
    at = np.minimum(places, knots - 1)
    return np.clip(1 - np.abs(at[:, None] - np.arange(knots)[None]), 0, None).astype(np.float32)
