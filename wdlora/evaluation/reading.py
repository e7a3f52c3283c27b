"""What is computed of one image: features, traced nerves and their panel, and small versions to search copies with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..anatomy.biomarkers.panel import measure
from ..anatomy.biomarkers.rules import rule_set
from ..anatomy.tracing.choices import DEFAULT
from ..anatomy.tracing.segmenters import find_segmenter, tracer_name
from ..anatomy.tracing.tracer import trace
from ..errors import InputError
from .cache import ContentCache, content_key
from .copies.search import coarse, coarse_mask
from .extractors import Extractor, extractor
from .grid import CommonGrid, Seen, Size, look, place
from .sets import Item, Role
from .similarity import SHORTEST_SIDE, ms_ssim, psnr, ssim


@dataclass(frozen=True)
class Reading:
    """One image's `features` float64 [d], `panel` (`Biomarkers.to_dict()`), and `image` float32 and `mask` bool
    [48, 48] for the search of copies. `key` is the hash of its content, `grey` its mean grey value.
    """

    key: str
    features: NDArray
    panel: dict[str, Any]
    image: NDArray
    mask: NDArray
    grey: float


@dataclass(frozen=True)
class ImageReader:
    """How images are read: the choice of `features` (see `extractors.extractor`), the pixel size given for all, the
    `grid`, and the folder of the `cache`. Travels to worker processes.
    """

    features: str
    size: Size | None
    grid: CommonGrid
    cache_folder: Path | None = field(default=None, repr=False)

    @property
    def extractor(self) -> Extractor:
        """What computes the features."""
        return extractor(self.features)

    @property
    def cache(self) -> ContentCache:
        """The cache in its folder."""
        return ContentCache(self.cache_folder)

    @property
    def tracer(self) -> str:
        """The tracer that measures both sets, as figures name it: `trace`'s default."""
        return tracer_name()

    @property
    def rules(self) -> str:
        """Name and version of the rules that panels are measured by."""
        return rule_set("acc_like").label

    def pixels(self, item: Item, role: Role) -> tuple[NDArray, NDArray]:
        """An image on the grid, uint8 [H, W], and where there is image."""
        return place(item, self.size, self.grid, role)

    def read(self, item: Item, role: Role) -> Reading:
        """Everything of one image, from the cache what is there."""
        pixels, valid = self.pixels(item, role)
        key = content_key(pixels, valid, self.grid.pixel_size_um)
        features = self.cache.array(self.extractor.name, key)
        if features is None:
            features = self.extractor.features(pixels)
            self.cache.keep_array(self.extractor.name, key, features)
        mask, panel = self._traced(pixels, valid, key)
        return Reading(key, features, panel, coarse(pixels), coarse_mask(mask), float(pixels.mean()))

    def _traced(self, pixels: NDArray, valid: NDArray, key: str) -> tuple[NDArray, dict[str, Any]]:
        """Traced nerves bool [H, W] and their panel."""
        # A network that was trained anew may bear the same name.
        traced_by = f"{self.tracer} {getattr(find_segmenter(DEFAULT), 'digest', '')[:12]}".rstrip()
        packed = self.cache.array(traced_by, key)
        if packed is not None and packed.size == -(-pixels.size // 8):
            mask = np.unpackbits(packed, count=pixels.size).reshape(pixels.shape).astype(bool)
        else:
            mask = trace(pixels, self.grid.pixel_size_um, valid=valid)
            self.cache.keep_array(traced_by, key, np.packbits(mask))
        kind = f"{traced_by} {self.rules}"
        panel = self.cache.value(kind, key)
        if panel is None:
            seen = None if valid.all() else valid
            panel = measure(mask, self.grid.pixel_size_um, valid=seen, image=pixels).to_dict()
            self.cache.keep_value(kind, key, panel)
        return mask, panel


def look_at(item: Item, size: Size | None) -> Seen:
    """A first look at an image; see `grid.look`."""
    with _named(item):
        return look(item, size)


def read(reader: ImageReader, item: Item, role: Role) -> Reading:
    """Everything of one image."""
    with _named(item):
        return reader.read(item, role)


def alike(reader: ImageReader, one: tuple[Item, Role], other: tuple[Item, Role]) -> tuple[float, float, float]:
    """`similarities` of two images on the grid."""
    return similarities(reader.pixels(*one)[0], reader.pixels(*other)[0])


def similarities(a: NDArray, b: NDArray) -> tuple[float, float, float]:
    """PSNR, SSIM and MS-SSIM of two uint8 images; the last is NaN where they are too small for it."""
    return psnr(a, b), ssim(a, b), ms_ssim(a, b) if min(a.shape) >= SHORTEST_SIDE else float("nan")


@contextmanager
def _named(item: Item) -> Iterator[None]:
    """Say which file an error is about."""
    try:
        yield
    except InputError as error:
        if not isinstance(item.source, Path) or str(item.source) in str(error):
            raise
        raise InputError(f"{item.source}: {error}") from None
