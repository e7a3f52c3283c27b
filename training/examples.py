"""What is trained on: image, mask, cohort and patient, from a folder or from phantoms."""

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from training.views import draw_view
from wdlora.anatomy import phantom, sample_mask
from wdlora.anatomy.phantoms.versions import VERSION
from wdlora.anatomy.scale import pixel_sides
from wdlora.clinic.images import as_uint8, read_image, read_mask
from wdlora.clinic.masks import OUTLINED, drawn_as_outlines
from wdlora.cohorts import COHORTS
from wdlora.dataset.folder import TABLE, Record, read_folder
from wdlora.errors import InputError
from wdlora.study import Study, shipped_study

log = logging.getLogger(__name__)

DARK = 32
"""An image of more than 8 bits whose brightest pixel is below this, of 255, shows nothing."""

Pictures = tuple[np.ndarray, np.ndarray]
PhantomAppearance = Literal["cohort", "common"]


@dataclass(frozen=True)
class Example:
    """One image to learn from. `load` returns (image uint8 [H, W], mask bool [H, W]).

    `reference` is the identity of another example of the same patient or cohort, or empty (see `pair_references`).
    `pixel_size_um` is None where the data set does not tell, `split` empty where it does not say which part the
    patient is in. `caption` follows the cohort's prompt. `pixels` is a hash of the image, empty until `check_pictures`
    has seen it.
    """

    identity: str
    cohort: str
    patient: str
    reference: str
    load: Callable[[], Pictures]
    pixel_size_um: float | None = None
    pixels: str = ""
    split: str = ""
    caption: str = ""


def folder_examples(folder: str | Path) -> list[Example]:
    """The examples of a data set folder (see `wdlora.dataset.folder`), in the table's order.

    Raises InputError for what `read_folder` refuses; sizes are checked on loading.
    """
    return [
        Example(
            record.file,
            record.cohort,
            record.patient,
            record.reference,
            _reader(record),
            pixel_size_um=record.pixel_size_um,
            split=record.split,
            caption=record.caption,
        )
        for record in read_folder(folder)
    ]


def check_pictures(examples: Sequence[Example], size: int | None) -> list[Example]:
    """Load every picture and mask once, with a progress bar, before a model is; returns the examples with `pixels`.

    Masks that seem to hold the outlines of nerves are told in the log. Raises InputError as `load`, for images smaller
    than a crop of `size` pixels, for the same pixels under two patients and for a named reference of the same pixels.
    """
    checked: list[Example] = []
    first: dict[str, Example] = {}
    hollow: list[str] = []
    for example in tqdm(examples, "checking pictures", unit="picture", disable=None):
        image, mask = example.load()
        size_um = example.pixel_size_um
        if drawn_as_outlines(mask, None if size_um is None else (size_um, size_um)):
            hollow.append(example.identity)
        draw_view(image.shape, size, False, 0, example.identity, 0)
        pixels = hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()
        other = first.setdefault(pixels, example)
        if other.patient != example.patient:
            raise InputError(
                f"The images {other.identity} and {example.identity} have the same pixels but two patients, so no "
                f"split could keep the patients apart: remove one, or correct {TABLE}."
            )
        checked.append(dataclasses.replace(example, pixels=pixels))
    if hollow:
        log.warning("The masks of %d of %d images, first %s: %s.", len(hollow), len(checked), hollow[0], OUTLINED)
    pixels_of = {example.identity: example.pixels for example in checked}
    for example in checked:
        if pixels_of.get(example.reference) == example.pixels:
            raise InputError(
                f"{TABLE}: the reference {example.reference} of {example.identity} has the same pixels, so it would "
                "show what is to be learned: name another image."
            )
    return checked


def shared_pixel_size(examples: list[Example], given: float | None = None, study: Study | None = None) -> float:
    """The side of a pixel in µm that all examples share: `given`, else the study's, else what their data set tells of
    every one.

    Raises InputError where it is told of some and not given, where what is told differs by more than 1 %, from image
    to image or from `given`, and for a size that no pixel has.
    """
    stated = sorted(example.pixel_size_um for example in examples if example.pixel_size_um is not None)
    if stated and stated[-1] > 1.01 * stated[0]:
        raise InputError(
            f"{TABLE} tells pixel sizes from {stated[0]:g} to {stated[-1]:g} µm, but a training takes one: "
            "correct them, or train on the images of one size."
        )
    named = f"--pixel-size-um {given:g}" if given is not None else ""
    if given is None and study is not None and study.pixel_size_um is not None:
        given = study.pixel_size_um
        named = f"pixel_size_um {given:g} of the study {study.name}"
    if given is None and len(stated) < len(examples):
        raise InputError(
            f"{TABLE} has no pixel_size_um of {len(examples) - len(stated)} of {len(examples)} images: "
            "give the pixel size of all with --pixel-size-um (HRT III: 1.0417)."
        )
    if stated and given is not None and abs(given - stated[0]) > 0.01 * stated[0]:
        raise InputError(f"{named} contradicts {TABLE}, which tells {stated[0]:g}: correct the wrong one.")
    shared, _ = pixel_sides(stated[0] if given is None else given)
    return shared


def pair_references(examples: list[Example]) -> list[Example]:
    """Give every example a reference among `examples`, which should be one side of a split.

    The one it names stays if it is among them; else the next image, cyclically, of the same patient serves, else
    of the same cohort. An example is never its own reference, nor is an image of the same `pixels`; without a
    candidate it has none.
    """
    known = {example.identity for example in examples}
    paired = []
    for index, example in enumerate(examples):
        reference = example.reference if example.reference in known else ""
        others = [] if reference else examples[index + 1 :] + examples[:index]
        others = [other for other in others if not example.pixels or other.pixels != example.pixels]
        for attribute in ("patient", "cohort"):
            same = (other for other in others if getattr(other, attribute) == getattr(example, attribute))
            reference = reference or next((other.identity for other in same), "")
        paired.append(dataclasses.replace(example, reference=reference))
    return paired


def _reader(record: Record) -> Callable[[], Pictures]:
    def load() -> Pictures:
        try:
            pixels = read_image(record.image).pixels
            image = as_uint8(pixels)
        except InputError as error:
            raise InputError(f"The image {record.file}: {error}.") from None
        if pixels.dtype != np.uint8 and image.max() < DARK:
            raise InputError(f"The image {record.file} is nearly black: stretch its 12 bits to the 16 of its file.")
        try:
            mask = read_mask(record.mask).mask
        except InputError as error:
            raise InputError(f"The mask of {record.file}: {error}.") from None
        if mask.mean() > 0.5:
            raise InputError(
                f"The mask of {record.file} has nerve on more than half its area; it is probably inverted."
            )
        if image.shape != mask.shape:
            raise InputError(
                f"The image {record.file} is {image.shape[0]}×{image.shape[1]} pixels and its mask "
                f"{mask.shape[0]}×{mask.shape[1]}; they must lie on the same grid."
            )
        return image, mask

    return load


def phantom_examples(
    count: int,
    seed: int,
    appearance: PhantomAppearance = "cohort",
    version: int = VERSION,
    study: Study | None = None,
) -> list[Example]:
    """`count` phantoms of every cohort of a study (the one that ships), each its own patient, drawn when loaded.

    No two share a seed, in any cohort: phantoms of one seed have one background and one noise. `appearance` is that of
    `wdlora.anatomy.phantom`: whether the cohort also changes contrast, beading and dendritic cells; `version` is that
    of the phantoms.
    """
    if count < 1:
        raise InputError(f"The number of phantoms of each cohort must be at least 1, not {count}.")
    draw = partial(phantom, appearance=appearance, version=version)
    study, examples = study or shipped_study(), []
    for number, group in enumerate(study.cohorts.values()):
        if not group.anatomy:
            raise InputError(
                f"The cohort {group.name} of the study {study.name} names no anatomy, so no phantoms of it can be "
                f"drawn: add anatomy = one of {', '.join(COHORTS)}, or train on a folder."
            )
        for index in range(count):
            identity, own = f"phantom-{group.name}-{seed}-{index:05d}", training_phantom_seed(number, seed, index)
            examples.append(Example(identity, group.name, identity, "", _drawer(group.anatomy, own, draw)))
    return examples


def training_phantom_seed(number: int, seed: int, index: int) -> int:
    """Seed of a training phantom of a study's cohort by its number: 62 bits, far from those by which people ask for
    masks.
    """
    words = np.random.SeedSequence([seed, number, index]).generate_state(2, np.uint32)
    return (1 << 62) | (int(words[0]) << 30) | (int(words[1]) >> 2)


def _drawer(cohort: str, own: int, draw: Callable[..., np.ndarray]) -> Callable[[], Pictures]:
    def load() -> Pictures:
        plexus = sample_mask(cohort, seed=own)
        return draw(plexus, seed=own), plexus.mask

    return load
