"""Curves from which fibres are made: random waves, the spacing of points, arc lengths. Lengths in µm."""

import math

import numpy as np

STEP_UM = 2.0
"""Spacing of the points along every path."""


def waves(
    rng: np.random.Generator, slope: float, wavelengths: tuple[float, float], count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random smooth function as cosines: amplitudes, angular frequencies (1/µm) and phases, each [count].

    `slope` is the root mean square of its derivative; wavelengths (µm) are drawn log-uniformly.
    """
    low, high = wavelengths
    omega = 2 * math.pi / (low * (high / low) ** rng.random(count))
    amplitude = slope * math.sqrt(2 / count) / omega
    return amplitude, omega, 2 * math.pi * rng.random(count)


def evaluate(wave: tuple[np.ndarray, np.ndarray, np.ndarray], at: np.ndarray) -> np.ndarray:
    """Sum of the cosines at `at` (any shape)."""
    amplitude, omega, phase = wave
    return np.cos(at[..., None] * omega + phase) @ amplitude


def arc_lengths(path: np.ndarray) -> np.ndarray:
    """Distance along `path` [n, 2] at every point."""
    return np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
