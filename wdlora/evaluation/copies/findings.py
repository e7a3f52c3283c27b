"""What an evaluation finds out about copies: images, nerves, repeats, membership, and a test of the search."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..reading import ImageReader, Reading
from ..sets import ImageSet
from .audit import Copies, Searched, audit
from .membership import Membership, membership
from .planted import COUNT, planted
from .search import Nearest, coarse, nearest_images, paired_repeats


@dataclass(frozen=True)
class Read:
    """A set, and what was read of each of its images."""

    images: ImageSet
    readings: Sequence[Reading]

    def searched(self, part: str, subjects: NDArray | None = None) -> Searched:
        """Its `image`s or `mask`s for the search."""
        values = np.stack([getattr(one, part) for one in self.readings])
        return Searched(values, self.images.subjects if subjects is None else subjects, self.images.cohorts)


@dataclass(frozen=True)
class Findings:
    """`images` and `masks` compare the synthetic set with the originals: the training set, or the real one.

    `trained`: the originals are a training set, so the real images are a hold-out. `identical` synthetic images equal
    an original pixel by pixel. `repeats`: synthetic images as near to another synthetic one as to be its copy, each
    with a partner of its own. `selftest`: planted copies found and planted. `as_planted`: synthetic images at least as
    similar to an original as the least similar planted copy. `cannot`: what cannot be concluded.
    """

    images: Copies
    masks: Copies
    trained: bool
    identical: int
    repeats: int
    selftest: tuple[int, int]
    as_planted: int
    membership: Membership | None
    cannot: tuple[str, ...]


def find_copies(
    real: Read,
    synthetic: Read,
    training: Read | None,
    reader: ImageReader,
    features: tuple[NDArray, NDArray] | None,
    paired: bool,
) -> Findings:
    """Search the synthetic set for copies; `features` are the training's and the real set's, if known."""
    originals = training or real
    holdout = None  # subjects of the hold-out
    if training is None and len(np.unique(real.images.subjects)) < 2:
        holdout = np.arange(len(real.readings)).astype(str)  # other images of the one patient have to do
    same_masks = paired and training is None
    own = holdout if same_masks else None  # a picture and the image of its mask have one number
    parts = {
        part: audit(
            synthetic.searched(part, own),
            originals.searched(part, holdout),
            real.searched(part, holdout),
            same_masks,
        )
        for part in ("image", "mask")
    }
    images = parts["image"]
    selftest, least = _selftest(originals, reader, images.threshold)
    known = {one.key for one in originals.readings}
    members = None
    if training is not None and features is not None:
        thumbnails = [one.searched("image").images for one in (training, real, synthetic)]
        owners = training.images.subjects, real.images.subjects
        members = membership((thumbnails[0], thumbnails[1], thumbnails[2]), features, owners)
    return Findings(
        images=images,
        masks=parts["mask"],
        trained=training is not None,
        identical=sum(one.key in known for one in synthetic.readings),
        repeats=paired_repeats(synthetic.searched("image").images, images.threshold),
        selftest=selftest,
        as_planted=int((images.found.similarity >= max(least, images.threshold)).sum()),
        membership=members,
        cannot=_cannot(real, synthetic, training, paired),
    )


def _selftest(originals: Read, reader: ImageReader, level: float) -> tuple[tuple[int, int], float]:
    """How many planted copies are found, of how many; and the least similarity of those found."""
    generator = np.random.default_rng(0)
    chosen = generator.permutation(len(originals.readings))[:COUNT]
    pictures = [reader.pixels(originals.images.items[place], originals.images.role)[0] for place in chosen]
    copies = np.stack([coarse(one) for one in planted(pictures)])
    found: Nearest = nearest_images(copies, originals.searched("image").images)
    keys = np.array([one.key for one in originals.readings])  # the same picture may be there twice
    seen = (found.similarity > level) & (keys[found.place] == keys[chosen])
    return (int(seen.sum()), len(chosen)), float(found.similarity[seen].min()) if seen.any() else np.inf


def _cannot(real: Read, synthetic: Read, training: Read | None, paired: bool) -> tuple[str, ...]:
    """What these sets do not allow to conclude."""
    found = []
    if training is None:
        found.append(
            "Without the training images (--train) it cannot be concluded that the generator copied nothing: the "
            "synthetic images were only compared with the real ones given."
        )
        if paired:
            found.append(
                "Pictures painted from a real image's mask share its nerves, so they were not compared with the "
                "images of that patient."
            )
    elif set(synthetic.images.subjects.tolist()) & set(training.images.subjects.tolist()):
        found.append(
            "Some synthetic images name a training patient: pictures painted from training masks repeat those nerves, "
            "and count as copies here."
        )
    if len(real.readings) < 100:
        found.append(
            f"With {len(real.readings)} real images as the yardstick the 99th percentile is the largest value or near "
            "it, so the threshold is rough."
        )
    return tuple(found)
