"""Image features without learned weights, for comparing sets of images offline.

They describe a greyscale texture; they know nothing of anatomy. Every figure made of them names `EXTRACTOR`.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

EXTRACTOR = "texture-1"
"""Name and version of the features below."""

SCALES = (1.0, 2.0, 4.0, 8.0)
"""Standard deviations, in pixels, of the Gaussian scale space."""


def texture_features(image: NDArray) -> NDArray:
    """Features of an image uint8 [H, W] or float [H, W] in [0, 1]: float64 [60].

    Nine intensity quantiles; for each of four band-passes between Gaussian scales its log energy, skewness, excess
    kurtosis and five quantiles; for each scale the log eigenvalues of the mean structure tensor; and the log
    radial power spectrum in eleven octave-spaced rings. Invariant to rotation by 90° and mirrors.
    """
    values = np.asarray(image, dtype=np.float64) / (255.0 if np.asarray(image).dtype == np.uint8 else 1.0)
    parts: list[NDArray] = [np.quantile(values, np.linspace(0.02, 0.98, 9))]
    previous = values
    for scale in SCALES:
        smooth = ndimage.gaussian_filter(values, scale, mode="reflect")
        band = previous - smooth
        spread = band.std() + 1e-6
        z = (band - band.mean()) / spread
        parts.append(np.array([np.log(spread), (z**3).mean(), (z**4).mean() - 3]))
        parts.append(np.quantile(z, (0.01, 0.1, 0.5, 0.9, 0.99)))
        previous = smooth
        rows, columns = np.gradient(smooth)
        tensor = np.array(
            [[(rows * rows).mean(), (rows * columns).mean()], [(rows * columns).mean(), (columns * columns).mean()]]
        )
        parts.append(np.log(np.linalg.eigvalsh(tensor) + 1e-9))
    parts.append(_radial_spectrum(values, 11))
    return np.concatenate(parts)


def _radial_spectrum(values: NDArray, rings: int) -> NDArray:
    """Log mean power in rings of the Fourier plane, spaced by equal factors from 1/64 to 1/2 cycle a pixel."""
    height, width = values.shape
    window = np.hanning(height)[:, None] * np.hanning(width)[None]
    power = np.abs(np.fft.fft2((values - values.mean()) * window)) ** 2 / (window**2).sum()
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    edges = np.geomspace(1 / 64, 0.5, rings + 1)
    ring = np.digitize(frequency, edges)
    total = np.bincount(ring.ravel(), power.ravel(), rings + 2)[1 : rings + 1]
    count = np.bincount(ring.ravel(), minlength=rings + 2)[1 : rings + 1]
    return np.log(total / np.maximum(count, 1) + 1e-9)


def features_of(images: list[NDArray]) -> NDArray:
    """`texture_features` of every image: float64 [n, d]."""
    return np.stack([texture_features(image) for image in images])
