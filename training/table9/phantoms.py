"""A data set of phantoms for those who have no images: a patient an image, with a split."""

import json
from pathlib import Path

from training.examples import PhantomAppearance
from wdlora.anatomy import phantom, sample_mask
from wdlora.anatomy.nerve_mask import NerveMask
from wdlora.anatomy.phantoms.versions import version_name
from wdlora.anatomy.scale import PIXEL_SIZE_UM
from wdlora.cohorts import COHORTS
from wdlora.dataset.folder import TABLE, Record, read_folder
from wdlora.dataset.split import TEST, TRAIN
from wdlora.dataset.writer import Entry, append
from wdlora.errors import InputError

FIRST_SEED, FIRST_FRESH = 9_000_000, 9_100_000
"""Seeds of the data set's masks and phantoms, and of the fresh texture that stands beside the generators."""

SIDE = 160
"""Of the images in pixels: 167 µm."""

APPEARANCE: PhantomAppearance = "common"
"""Cohorts differ by their nerves alone: a renderer that gave each its own look would be what a diagnosis reads."""


def drawn_mask(number: int) -> NerveMask:
    """The mask of a patient by number; the cohorts take turns."""
    return sample_mask(list(COHORTS)[number % len(COHORTS)], FIRST_SEED + number, size=SIDE)


def write_phantoms(folder: Path, learned: int, held: int) -> Path:
    """A data set of `learned` + `held` patients a cohort, one image each, the latter of the test; kept if there.

    Raises InputError where the folder holds another number of them, or phantoms of another version.
    """
    if (folder / TABLE).is_file():
        records = read_folder(folder)
        parts = [one.split for one in records]
        if (parts.count(TRAIN), parts.count(TEST)) != (learned * len(COHORTS), held * len(COHORTS)):
            raise InputError(
                f"{folder} holds {parts.count(TRAIN)} phantoms to learn from and {parts.count(TEST)} held out: give "
                "the same numbers, or another --out"
            )
        if others := sorted({_version(folder, one) for one in records} - {version_name()}):
            raise InputError(
                f"{folder} holds images of {', '.join(others)}, and now {version_name()} is drawn: name another --out"
            )
        return folder
    entries = []
    for number in range((learned + held) * len(COHORTS)):
        plexus = drawn_mask(number)
        entries.append(
            Entry(
                image=phantom(plexus, FIRST_SEED + number, appearance=APPEARANCE),
                mask=plexus.mask,
                cohort=plexus.cohort,
                patient=f"phantom-{number:04d}",
                split=TRAIN if number < learned * len(COHORTS) else TEST,
                pixel_size_um=PIXEL_SIZE_UM,
                synthetic=False,
                provenance={"phantom": version_name(), "seed": FIRST_SEED + number, "appearance": APPEARANCE},
            )
        )
    append(folder, entries)
    return folder


def _version(folder: Path, record: Record) -> str:
    """What the provenance of an image says that drew it."""
    try:
        told = json.loads((folder / "provenance" / f"{record.image.stem}.json").read_text(encoding="utf-8"))
        return str(told["phantom"])
    except (OSError, ValueError, KeyError, TypeError):
        return "an unknown version"
