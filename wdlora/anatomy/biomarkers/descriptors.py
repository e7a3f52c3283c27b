"""What is read off the mask itself: the area that belongs to each nerve, and the fractal dimension."""

import math

import numpy as np

WIDEST = 24
"""Pixels from the skeleton up to which a mask pixel belongs to a nerve; what is further is a blob."""


def nerve_areas(mask: np.ndarray, points: np.ndarray, nerve: np.ndarray, nerves: int) -> np.ndarray:
    """float64 [nerves]: pixels of the mask that lie nearest to each nerve.

    `points` float64 [n, 2] are skeleton pixels, `nerve` int [n] their nerves, −1 for none. The labels grow
    inside the mask, one pixel a round.
    """
    width = mask.shape[1] + 2
    open_mask = np.pad(mask, 1).ravel()
    label = np.full(open_mask.size, -1, np.int32)
    cell = np.rint(points).astype(int) + 1
    inside = ((cell >= 1) & (cell <= mask.shape)).all(1) & (nerve >= 0)
    seed = cell[inside, 0] * width + cell[inside, 1]
    label[seed] = nerve[inside]
    waiting = np.flatnonzero(open_mask & (label < 0))
    steps = (-1, 1, -width, width, -width - 1, 1 - width, width - 1, width + 1)
    for _ in range(WIDEST):
        reached = np.full(len(waiting), -1, np.int32)
        for step in steps:
            np.maximum(reached, label[waiting + step], out=reached)
        new = reached >= 0
        if not new.any():
            break
        label[waiting[new]] = reached[new]
        waiting = waiting[~new]
    return np.bincount(label[open_mask & (label >= 0)], minlength=nerves).astype(float)


def box_counting_dimension(mask: np.ndarray) -> float:
    """Box-counting dimension of a bool [H, W] mask, boxes of 2, 4 … 2^⌊log2(min(H, W)/2)⌋ pixels.

    Slope of log N against log 1/size by least squares; NaN for an empty mask or fewer than two box sizes.
    """
    sizes = int(math.log2(max(min(mask.shape) / 2, 1)))
    if sizes < 2 or not mask.any():
        return math.nan
    boxes, counts = mask, []
    for _ in range(sizes):
        height, width = boxes.shape
        if height % 2 or width % 2:
            boxes = np.pad(boxes, ((0, height % 2), (0, width % 2)))
        boxes = boxes[::2] | boxes[1::2]
        boxes = boxes[:, ::2] | boxes[:, 1::2]
        counts.append(np.count_nonzero(boxes))
    x = np.arange(sizes) - (sizes - 1) / 2
    return max(0.0, float(-(x @ np.log(counts)) / (x @ x) / math.log(2)))  # rounding may leave −1e−17
