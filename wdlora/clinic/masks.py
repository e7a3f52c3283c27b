"""What of a picture is nerve: masks in grey and in colour, and what is told apart from them."""

import numpy as np
from scipy import ndimage

from ..anatomy.scale import PIXEL_SIZE_UM
from ..errors import InputError

LABELS = 16
"""Whole numbers below this, if there are more than two, are labels and not brightness."""

RIM_PIXELS = 2
"""How far grey rims of nerves reach: those of smoothed, threefold enlarged and JPEG masks stay within."""

COLOURED = 40
"""A pixel whose channels differ by more is coloured; JPEG leaves less on grey."""

FEW = 4
"""Values of a picture that is drawn in classes; JPEG and smoothing leave more."""

EVEN = 8 / 255
"""Greys of one class differ by no more inside it, after JPEG."""

_HUES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
"""By which channels are bright: 1 for red, 2 for green, 4 for blue."""

_TRACING = {"red", "green", "blue"}
"""Main nerves, branch points and branches, as CCMetrics draws them: all are nerve."""

OUTLINE_UM = 3.3
"""Outlines are drawn with a pen no wider than this …"""

INTERIOR_UM = 12.5
"""… round an interior no wider than this, as wide as nerves are."""

OUTLINED = "its lines run in pairs round narrow gaps, as outlines of nerves do: CNFL counts each twice; fill them"


def binary_mask(pixels: np.ndarray) -> np.ndarray:
    """bool [H, W] from a mask read as an image: above half of its largest value.

    Grey rims of nerves, as smoothing, scaling and JPEG leave them, are cut there. Raises InputError where that is no
    mask: for small whole numbers (labels), for a second class of one grey, where more than a tenth of the pixels are
    neither dark nor bright, and where whole nerves are so grey that the cut would take them away.
    """
    largest = float(pixels.max())
    if largest <= 0:
        return np.zeros(pixels.shape, bool)
    if largest < LABELS and pixels.dtype.kind in "iu" and len(levels := np.unique(pixels)) > 2:
        named = ", ".join(str(level) for level in levels)
        raise InputError(f"its values {named} are labels, not a mask of nerves: make nerves 255 and all else 0")
    share = pixels / largest
    _refuse_second_class(share, largest)
    _refuse_class_beside_white(share, largest)
    if np.mean((share > 0.2) & (share < 0.8)) > 0.1:
        raise InputError("this is a grey image, not a mask of nerves: trace it first, as measure --image does")
    nerve = share > 0.5
    drawn = nerve | (share > 0.2)
    if (lost := (drawn & ~_with_rims(nerve)).sum() / drawn.sum()) > 0.05:
        raise InputError(f"{lost:.0%} of what is drawn is grey and would not count as nerve: draw all nerves white")
    return nerve


def grey_of_mask(rgb: np.ndarray) -> tuple[np.ndarray, str]:
    """Grey [H, W] of a mask in colour [H, W, 3], every line as bright as its brightest channel; and what to say of it.

    Of two colours the brighter one is nerve. Lines of one colour on a dark ground are nerve, and so are red, green and
    blue ones together, as CCMetrics draws main nerves, branch points and branches. Raises InputError for other colours
    side by side, of which nobody knows which are nerve, and for a ground that is not dark.
    """
    rgb = rgb.astype(np.int16)
    value = rgb.max(2)
    saturation = value - rgb.min(2)
    if not (saturation > COLOURED).any():
        return np.rint(rgb @ np.array([0.299, 0.587, 0.114])).astype(np.uint8), ""
    packed = np.unique(rgb[..., 0].astype(np.int32) << 16 | rgb[..., 1] << 8 | rgb[..., 2])
    if len(packed) == 2:
        total = rgb.sum(2)
        return np.where(total == total.max(), 255, 0).astype(np.uint8), ""
    drawn = value > 0.2 * value.max()
    if drawn.mean() > 0.5:
        raise InputError("it is coloured on more than half of its area: draw all nerves white on black")
    bright = drawn & (value > 0.5 * value.max())
    pure = np.where(saturation[bright] > COLOURED, 0.5 * value[bright], -1)  # grey is white
    code = ((rgb[bright] > pure[:, None]) @ np.array([1, 2, 4])).astype(int)
    counts = np.bincount(code, minlength=8)
    hues = [_HUES[k] for k in np.flatnonzero(counts > 0.02 * counts.sum())]
    if len(hues) > 1 and not set(hues) <= _TRACING:
        raise InputError(
            f"it is drawn in {', '.join(hues[:-1])} and {hues[-1]}, of which it does not say what is nerve: "
            "draw all nerves white on black"
        )
    said = f"lines in {', '.join(hues[:-1])} and {hues[-1]} all count as nerve" if len(hues) > 1 else ""
    return value.astype(np.uint8), said


def drawn_as_outlines(mask: np.ndarray, pixel_size_um: tuple[float, float] | None = None) -> bool:
    """Whether a mask bool [H, W] seems to hold the outlines of nerves: thin lines round gaps as wide as nerves.

    What lies between a line and the edge of the image, along it, is not such a gap.
    """
    side = PIXEL_SIZE_UM if pixel_size_um is None else (pixel_size_um[0] * pixel_size_um[1]) ** 0.5
    total = int(mask.sum())
    if not 0 < total < mask.size or _width(mask) * side > OUTLINE_UM:
        return False
    gap, count = ndimage.label(~mask)
    widest = 2 * ndimage.maximum(ndimage.distance_transform_edt(~mask), gap, np.arange(1, count + 1))
    area = np.bincount(gap.ravel(), minlength=count + 1)[1:]
    edge = np.ones(mask.shape, bool)
    edge[1:-1, 1:-1] = False
    at_edge = np.bincount(gap[edge], minlength=count + 1)[1:]
    narrow = (widest * side <= INTERIOR_UM) & (at_edge * widest < 0.5 * area)
    return bool(area[narrow].sum() > 0.25 * total)


def _width(mask: np.ndarray) -> float:
    """Mean width in pixels of the strips of a mask: the area over half the length of the edge."""
    steps = sum(int((mask[a] != mask[b]).sum()) for a, b in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])))
    return 2 * float(mask.sum()) / max(steps * np.pi / 4, 1)  # an oblique edge has 4/π as many steps as length


def _with_rims(nerve: np.ndarray) -> np.ndarray:
    return ndimage.binary_dilation(nerve, np.ones((2 * RIM_PIXELS + 1,) * 2))


def _refuse_second_class(share: np.ndarray, largest: float) -> None:
    """Raise InputError where what is not white, and no rim of it, has mostly one grey: another class of pixels."""
    bright, drawn = share > 0.9, share > 0.2
    values, counts = np.unique(share[(share > 0.08) & ~drawn & ~_with_rims(drawn)], return_counts=True)
    if 0.02 * drawn.sum() < (total := counts.sum()) < 0.2 * share.size and counts.max() > 0.8 * total:
        raise _second_class(total / drawn.sum(), values[counts.argmax()] * largest, largest)
    between = share[drawn & ~_with_rims(bright)]
    if len(between) <= 0.02 * drawn.sum():
        return
    counts = np.bincount(np.rint(255 * between).astype(int), minlength=256)
    near = np.convolve(counts, np.ones(9, int), "same")
    peak = int(near.argmax())
    if near[peak] > 0.35 * len(between):
        grey = float(np.median(between[np.abs(255 * between - peak) < 5]))
        raise _second_class(len(between) / drawn.sum(), grey * largest, largest)


def _refuse_class_beside_white(share: np.ndarray, largest: float) -> None:
    """Raise InputError where areas of one grey, almost white, lie beside white ones: two classes, and no rims.

    In a picture of few values the pixels of a class have nothing but themselves, black and white around them, whereas
    a rim has other greys beside it. In others, as JPEG leaves them, a class is told where 5 × 5 pixels are even.
    """
    nearly = (share > 0.9) & (share < 1)
    if not nearly.any():
        return
    if len(np.unique(share)) <= FEW:
        grey = (share > share.min()) & (share < 1)
        highest = ndimage.maximum_filter(np.where(grey, share, 0), 3)
        lowest = ndimage.minimum_filter(np.where(grey, share, 1), 3)
        pure = highest <= lowest  # one grey around; where there is none, 0 and 1
        second, white = nearly & pure, (share == 1) & pure
    else:
        even = ndimage.maximum_filter(share, 5) - ndimage.minimum_filter(share, 5) <= EVEN
        second, white = nearly & even & (share < 0.955), even & (share > 0.98)
    drawn = int((share > 0.2).sum())
    if min(second.sum(), white.sum()) <= 0.02 * drawn:
        return
    values = share[second]
    grey_level = float(np.median(values))
    if np.mean(np.abs(values - grey_level) < 5 / 255) > 0.8:
        raise _second_class(second.sum() / drawn, grey_level * largest, largest)


def _second_class(part: float, grey: float, largest: float) -> InputError:
    return InputError(
        f"{part:.0%} of what is drawn is grey (about {grey:.0f} of {largest:.0f}), as a second class is: "
        "draw all nerves white, and leave out what is none"
    )
