"""Nearest images by normalised correlation over the eight flips and turns, on a coarse grid without slow shades.

48 pixels a side blur away noise and shifts of a pixel or two, and the high-pass takes out illumination, so a copy that
was turned, restyled or made noisy still correlates with its original, while two eyes' nerves do not. Crops and larger
shifts are not found.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

SIDE = 48
SMOOTHING = 6.0
"""SD in coarse pixels of what counts as slow shades."""

COVERED = 0.08
"""Share of a coarse pixel that nerve must cover to count in a mask; a line of 3 pixels through 8 covers .37."""

BLOCK = 256
"""Synthetic images compared at once."""


@dataclass(frozen=True)
class Nearest:
    """For each image [n] the nearest of others: its `place`, its `similarity`, the `turn` (0–7, see `turned`) and the
    `second` best similarity, of another image.
    """

    place: NDArray
    similarity: NDArray
    turn: NDArray
    second: NDArray


def coarse(image: NDArray) -> NDArray:
    """The central square of a grey image [H, W], float32 [48, 48]: area means, slow shades removed, mean 0, norm 1.

    All 0 for an image without any detail.
    """
    small = _shrunk(_square(image).astype(np.float32))
    fast = small - ndimage.gaussian_filter(small, SMOOTHING, mode="reflect")
    fast -= fast.mean()
    norm = float(np.linalg.norm(fast))
    return fast / norm if norm > 1e-3 else np.zeros_like(fast)


def coarse_mask(mask: NDArray) -> NDArray:
    """The central square of a nerve mask bool [H, W] as bool [48, 48]: where nerve covers `COVERED` of a pixel."""
    return _shrunk(_square(mask).astype(np.float32)) > COVERED


def turned(image: NDArray, turn: int) -> NDArray:
    """An image [S, S] turned by `turn` % 4 quarters, after a flip left to right for turns from 4."""
    return np.rot90(image[:, ::-1] if turn >= 4 else image, turn % 4)


def nearest_images(images: NDArray, others: NDArray, different: NDArray | None = None) -> Nearest:
    """The nearest of `others` [m, 48, 48] to each of `images` [n, 48, 48], by correlation, or by Dice for bool ones.

    `different` bool [n, m] says which of them may be compared; an image with none gets the place −1 and −inf.
    """
    found: list[tuple[NDArray, ...]] = []
    for start, by_turn in _likeness(images, others):
        turn, best = by_turn.argmax(1), by_turn.max(1)
        if different is not None:
            best = np.where(different[start : start + BLOCK], best, -np.inf)
        rows = np.arange(len(best))
        place = best.argmax(1)
        similarity = best[rows, place]
        best[rows, place] = -np.inf
        found.append((np.where(np.isfinite(similarity), place, -1), similarity, turn[rows, place], best.max(1)))
    return Nearest(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def paired_repeats(images: NDArray, level: float) -> int:
    """How many of `images` [n, 48, 48] have a partner among them that is nearer than `level`, each partner used once.

    The nearest pairs are taken first. So twelve copies of one image are twelve repeats, while one plain image that
    resembles eleven others makes two.
    """
    pairs: list[tuple[NDArray, NDArray, NDArray]] = []
    for start, by_turn in _likeness(images, images):
        best = by_turn.max(1)
        first, second = np.nonzero(best > level)
        once = first + start < second
        pairs.append((best[first[once], second[once]], first[once] + start, second[once]))
    similarity, first, second = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    taken = np.zeros(len(images), bool)
    for place in np.argsort(-similarity, kind="stable"):
        if not (taken[first[place]] or taken[second[place]]):
            taken[first[place]] = taken[second[place]] = True
    return int(taken.sum())


def _likeness(images: NDArray, others: NDArray) -> Iterator[tuple[int, NDArray]]:
    """For every `BLOCK` of images its start, and the likeness [b, 8, m] to the turns of the others."""
    mask = images.dtype == bool
    variants = np.stack([np.stack([turned(one, turn) for one in others]) for turn in range(8)])
    flat = variants.reshape(8 * len(others), -1).astype(np.float32)
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK].reshape(-1, flat.shape[1]).astype(np.float32)
        likeness = block @ flat.T
        if mask:
            total = block.sum(1)[:, None] + flat.sum(1)[None]
            likeness = np.divide(2 * likeness, total, out=np.zeros_like(likeness), where=total > 0)
        yield start, likeness.reshape(len(block), 8, len(others))


def _square(image: NDArray) -> NDArray:
    side = min(image.shape)
    top, left = ((length - side) // 2 for length in image.shape)
    return image[top : top + side, left : left + side]


def _shrunk(image: NDArray) -> NDArray:
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX))
