"""What differs between devices and persons, drawn once a frame.

The ranges were chosen so that means and spreads of grain, width, contrast and light are those of ten groups of real
frames (HRT3-RCM, several persons, clinics and exports); docs/guides/phantoms.md has the table.
"""

from dataclasses import dataclass

import numpy as np

from .model import CorneaModel, part

MEDIAN_GRAIN = 0.106


@dataclass(frozen=True)
class Person:
    """One eye in front of one device."""

    contrast: float
    """Factor of all nerves' brightness."""
    width: float
    """Factor of all nerves' widths."""
    level: float
    """Grey of the background in the bright part of the frame."""
    knee: float
    """Grey above which the detector saturates softly."""
    offset: float
    """Grey that is added everywhere."""
    grain: float
    """SD of the grain over the local mean."""
    grain_shape: float
    """Shape of its gamma distribution: small is skewed."""
    grain_um: float
    """SD of the point spread that correlates it, µm."""
    grain_coarse: float
    """Share of grain of 1.5 µm."""
    read_noise: float
    """SD of the noise that does not depend on the signal, grey."""


def draw_person(seed: int, model: CorneaModel) -> Person:
    """The person and the device of a frame."""
    rng = part(seed, "person")
    grain = float(np.clip(np.exp(rng.normal(np.log(MEDIAN_GRAIN), 0.22)), 0.055, 0.20))
    return Person(
        # Where grain is strong nerves are brighter too: what can be seen of them varies less than either.
        contrast=1.22 * float(np.exp(rng.normal(0.0, 0.18))) * (grain / MEDIAN_GRAIN) ** 0.6,
        width=float(rng.uniform(0.90, 1.10)),
        level=92 * float(np.exp(rng.normal(0, 0.25))) ** model.gain,
        knee=float(rng.uniform(150, 235)),
        offset=float(rng.normal(0, 3.0)) * model.gain,
        grain=grain * model.grain,
        grain_shape=float(rng.uniform(1.2, 2.2)),
        grain_um=float(rng.uniform(0.585, 0.70)),
        grain_coarse=float(rng.uniform(0.1, 0.4)),
        read_noise=float(rng.uniform(0.0, 0.5)) * model.read_noise,
    )
