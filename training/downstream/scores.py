"""Figures of predictions, weighted by image so that patients can be drawn anew."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdlora.anatomy.overlap import cl_dice, dice


@dataclass(frozen=True)
class Predictions:
    """What one arm says of the held-out images: `patients` str [n], `cohorts` int [n] (the true ones), and `values`
    float [n, k]: probabilities of the cohorts, or the overlaps `SEGMENTATION_FIGURES` of an image.
    """

    patients: NDArray
    cohorts: NDArray
    values: NDArray


Figure = Callable[[Predictions, NDArray], NDArray]
"""Weights of the images [r, n] → the figure under each [r], NaN where it is not defined."""


def accuracy(found: Predictions, weights: NDArray) -> NDArray:
    """Share of images whose most probable cohort is theirs."""
    right = found.values.argmax(1) == found.cohorts
    return _mean(right.astype(float), weights)


def balanced_accuracy(found: Predictions, weights: NDArray) -> NDArray:
    """Mean over cohorts of the share of their images that are recognised."""
    right = (found.values.argmax(1) == found.cohorts).astype(float)
    parts = [_mean(right[of], weights[:, of]) for of in _cohorts(found)]
    return np.mean(parts, axis=0)


def area_under_curve(found: Predictions, weights: NDArray) -> NDArray:
    """Mean over cohorts of the area under the ROC curve of each against the others, ties half (Hand & Till 2001's
    one-against-rest form).
    """
    parts = []
    for number, of in zip(np.unique(found.cohorts), _cohorts(found), strict=True):
        score = found.values[:, number]
        above = (score[of][:, None] > score[~of][None]) + 0.5 * (score[of][:, None] == score[~of][None])
        total = weights[:, of].sum(1) * weights[:, ~of].sum(1)
        ordered = ((weights[:, of] @ above) * weights[:, ~of]).sum(1)
        parts.append(np.divide(ordered, total, where=total > 0, out=np.full(len(weights), np.nan)))
    return np.mean(parts, axis=0)


def confusion(found: Predictions, classes: int) -> NDArray:
    """Images by true (row) and most probable (column) cohort: int [classes, classes]."""
    return np.bincount(found.cohorts * classes + found.values.argmax(1), minlength=classes**2).reshape(classes, classes)


SEGMENTATION_FIGURES = ("miou", "dice", "cldice")
DIAGNOSIS_FIGURES: dict[str, Figure] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "auc": area_under_curve,
}


def overlaps(found: NDArray, truth: NDArray) -> tuple[float, float, float]:
    """`SEGMENTATION_FIGURES` of a mask bool [H, W]: mean of the intersections over unions of nerve and background,
    Dice, and clDice. A class that is in neither mask has 1.
    """
    ious = []
    for a, b in ((found, truth), (~found, ~truth)):
        union = int((a | b).sum())
        ious.append(int((a & b).sum()) / union if union else 1.0)
    return float(np.mean(ious)), dice(found, truth), cl_dice(found, truth)


def overlap_figure(name: str) -> Figure:
    """The mean over images of one of `SEGMENTATION_FIGURES`."""
    column = SEGMENTATION_FIGURES.index(name)
    return lambda found, weights: _mean(found.values[:, column], weights)


def figures_of(kinds: Sequence[str]) -> dict[str, Figure]:
    """Figures by name."""
    known = DIAGNOSIS_FIGURES | {name: overlap_figure(name) for name in SEGMENTATION_FIGURES}
    return {name: known[name] for name in kinds}


def _cohorts(found: Predictions) -> list[NDArray]:
    return [found.cohorts == number for number in np.unique(found.cohorts)]


def _mean(values: NDArray, weights: NDArray) -> NDArray:
    total = weights.sum(1)
    return np.divide(weights @ values, total, where=total > 0, out=np.full(len(weights), np.nan))
