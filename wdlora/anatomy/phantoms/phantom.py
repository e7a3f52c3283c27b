"""The one door to phantoms of either version."""

from typing import Literal

import numpy as np

from ...errors import InputError
from ..nerve_mask import NerveMask
from .cornea.frame import Frame, draw_frame
from .cornea.model import CorneaModel
from .imaging import ImageModel, appearance_at, phantom_1
from .versions import VERSION, VERSIONS

APPEARANCES = ("cohort", "common")


def phantom(
    nerve_mask: NerveMask,
    seed: int,
    appearance: Literal["cohort", "common"] = "cohort",
    model: ImageModel | CorneaModel | None = None,
    version: int | None = None,
) -> np.ndarray:
    """Image a nerve mask as a confocal microscope would: uint8 [H, W], deterministic by `seed`.

    >>> from wdlora.anatomy import sample_mask
    >>> picture = phantom(sample_mask("Control", seed=1), seed=7)
    >>> picture.shape, picture.dtype.name
    ((384, 384), 'uint8')

    `version` 2 (the default) has the grain, light, widths, contrast, fine network and distractors of real frames; 1 is
    what figures labelled "phantom 1" were taken on, bit for bit. A `model` says the version too: `ImageModel` is of 1,
    `CorneaModel` of 2. `appearance="cohort"` lets contrast, beading, haze and dendritic cells follow the mask's
    severity (an assumption, see `imaging.APPEARANCES`); `"common"` gives every mask the middle one, so
    that an image tells nothing about its cohort beyond its mask. Raises InputError on another value.
    """
    if appearance not in APPEARANCES:
        raise InputError(f'appearance is {appearance!r}; give "cohort" or "common"')
    if version is None:
        version = VERSION if model is None else 1 if isinstance(model, ImageModel) else 2
    if version == 1 and not isinstance(model, CorneaModel):
        return phantom_1(nerve_mask, seed, appearance, model)
    return frame(nerve_mask, seed, appearance, _cornea(model, version)).image


def frame(
    nerve_mask: NerveMask,
    seed: int,
    appearance: Literal["cohort", "common"] = "cohort",
    model: CorneaModel | None = None,
) -> Frame:
    """Phantom 2 with the truth about it: the image, how visible each nerve is, and where structures that are none lie.

    Arguments as of `phantom`. Raises InputError on another value.
    """
    if appearance not in APPEARANCES:
        raise InputError(f'appearance is {appearance!r}; give "cohort" or "common"')
    look = appearance_at(nerve_mask.severity if appearance == "cohort" else 1.0)
    return draw_frame(nerve_mask, seed, look, model or CorneaModel())


def _cornea(model: ImageModel | CorneaModel | None, version: int) -> CorneaModel | None:
    """The model of version 2, if `version` and the model's own agree."""
    if version not in VERSIONS:
        raise InputError(f"there is no phantom {version!r}; versions are {' and '.join(map(str, VERSIONS))}")
    if isinstance(model, ImageModel) or version == 1:
        raise InputError(f"{type(model).__name__} is not the model of phantom {version}; leave one of them out")
    return model
