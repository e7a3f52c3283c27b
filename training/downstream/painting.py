"""Synthetic sets from adapters: the masks of training patients, painted."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.cases import best_corner
from training.downstream.images import LabelledImage, RealSet, SyntheticSet, read_synthetic, trained_on
from training.held_out import PAINTED, DataCase, HeldOut, paint_held_out
from wdlora.adapter import Adapter
from wdlora.adapter.file import file_to_read
from wdlora.dataset.split import TABLE as SPLIT
from wdlora.dataset.split import TRAIN
from wdlora.errors import InputError
from wdlora.files import sha256
from wdlora.qwen import apply_adapter
from wdlora.qwen.sampling import Sampling


@dataclass(frozen=True)
class AdapterOrigin:
    """An adapter, its file, and the patients that it was trained on."""

    adapter: Adapter
    file: Path
    learned: frozenset[str]

    @property
    def method(self) -> str:
        """ "wdlora" where it has magnitudes, else "lora"."""
        magnitudes = any(layer.magnitude is not None for layer in self.adapter.layers.values())
        return "wdlora" if magnitudes else "lora"

    @property
    def name(self) -> str:
        """Such as "wdlora-r16"."""
        return f"{self.method}-r{self.adapter.rank}"


def open_adapters(paths: Sequence[Path], split: Path | None) -> list[AdapterOrigin]:
    """The adapters with who they were trained on, by split.csv beside each or the `split` of all.

    Raises InputError where neither is there, for two of one method and rank, and for what is no adapter.
    """
    found = []
    for path in paths:
        adapter, file = Adapter.load(path), file_to_read(path)
        table = file.parent / SPLIT if (file.parent / SPLIT).is_file() else split
        if table is None:
            raise InputError(
                f"nothing says which patients {file} was trained on: keep the run's {SPLIT} beside it, or give --split"
            )
        found.append(AdapterOrigin(adapter, file, trained_on(table)))
    names = [one.name for one in found]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{names.count(double[0])} adapters are {double[0]}: give one of each method and rank")
    return found


def paint_sets(
    origins: Sequence[AdapterOrigin],
    base: Any,
    real: RealSet,
    sampling: Sampling,
    size: int | None,
    out: Path,
) -> list[SyntheticSet]:
    """One picture of every training patient's mask by each adapter, kept in OUT/NAME/painted as a data set.

    `size`: side of the crops that are painted, None for whole masks. Pictures that are there are not painted again.
    Raises InputError where nothing says who is held out.
    """
    if not real.parts:
        raise InputError("adapters paint the masks of training patients: say with --split who is held out")
    cases = [_case(image, size) for image in real.images if real.parts[image.patient] == TRAIN]
    for one in origins:
        if (study := one.adapter.metadata.study) is not None and study != real.study.label:
            raise InputError(f"{one.file} was trained on the study {study}, the data are of {real.study.label}")
    if not cases:
        raise InputError("the split has no patients to train on, whose masks could be painted")
    found = []
    for one in origins:
        wanted = HeldOut(cases, None, real.pixel_size_um, "", real.study)
        origin = {"adapter_sha256": sha256(one.file), "base_sha256": base.hashes.get("transformer"), "size": size}
        with _applied(base, one.adapter):
            paint_held_out(base, wanted, sampling, 0, out / one.name, origin | {"sampling": asdict(sampling)})
        painted = read_synthetic(out / one.name / PAINTED, real, one.name)
        found.append(SyntheticSet(one.name, painted.images, one.learned, one.method, one.adapter.rank))
    return found


def _case(image: LabelledImage, size: int | None) -> DataCase:
    window = slice(None), slice(None)
    if size is not None:
        if min(image.mask.shape) < size:
            raise InputError(f"{image.identity} is smaller than --paint-size {size}: give a smaller size")
        row, column = best_corner(image.mask, size, np.random.default_rng(0))
        window = slice(row, row + size), slice(column, column + size)
    return DataCase(
        image.identity, image.cohort, image.patient, image.mask[window], image.caption, image=image.image[window]
    )


@contextmanager
def _applied(base: Any, adapter: Adapter) -> Iterator[None]:
    applied = apply_adapter(base.transformer, adapter)
    try:
        yield
    finally:
        applied.detach()
