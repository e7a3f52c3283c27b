"""Pictures painted from the masks of real images, beside those images: PSNR, SSIM and MS-SSIM with two baselines.

They reward a blurred average over a sharp picture with other, equally plausible texture, so they do not measure
realism. What a perfect painter would reach is the similarity of two phantoms of one mask with fresh texture; what no
following at all reaches is that of two real images of different patients.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..anatomy.phantoms.versions import version_name
from ..cohorts import COHORTS
from ..errors import InputError
from .cache import ContentCache
from .distance import Subjects
from .estimate import Estimate, undefined
from .interval import mean_interval
from .patients import patient_means
from .reading import ImageReader, alike, similarities
from .sets import ImageSet, Item, Role
from .workers import Crew

KEYS = ("psnr", "ssim", "ms_ssim")
PHANTOM = version_name()
"""The version of the phantoms, as figures name it."""

MASKS = 8
"""Masks of each cohort behind the fresh texture's baseline."""

UNRELATED = 200
"""Pairs of real images at most behind the other one."""


def pair_similarity(reader: ImageReader, real: ImageSet, synthetic: ImageSet, crew: Crew) -> NDArray:
    """PSNR, SSIM and MS-SSIM of the images of one place: [n, 3]."""
    tasks = [(reader, (a, real.role), (b, synthetic.role)) for a, b in zip(real.items, synthetic.items, strict=True)]
    return np.array(crew.run(alike, tasks, "comparing pairs"))


def unrelated_similarity(reader: ImageReader, real: ImageSet, crew: Crew) -> dict[str, Estimate]:
    """The same of real images of different patients, of one cohort where cohorts are known."""
    generator = np.random.default_rng(0)
    subjects, cohorts = real.subjects, real.cohorts
    tasks: list[tuple[ImageReader, tuple[Item, Role], tuple[Item, Role]]] = []
    for first in generator.permutation(len(real))[:UNRELATED].tolist():
        others = np.flatnonzero((subjects != subjects[first]) & (cohorts == cohorts[first]))
        if len(others):
            second = int(generator.choice(others))
            tasks.append((reader, (real.items[first], real.role), (real.items[second], real.role)))
    if len(tasks) < 2:
        return dict.fromkeys(KEYS, undefined("it takes real images of at least 2 patients of one cohort"))
    return summary(np.array(crew.run(alike, tasks, "comparing unrelated images")), np.arange(len(tasks)))


def fresh_texture(shape: tuple[int, int], pixel_size_um: float, cache: ContentCache, crew: Crew) -> dict[str, Estimate]:
    """The same of two phantoms of one mask, which differ in everything but their nerves; not defined for a field that
    is smaller or larger than those of phantoms.
    """
    kind, key = f"fresh texture {PHANTOM}", f"{shape[0]}x{shape[1]}-{pixel_size_um:.4f}"
    values = cache.value(kind, key)
    if values is None:
        tasks = [(shape, pixel_size_um, cohort, seed) for cohort in COHORTS for seed in range(MASKS)]
        try:
            values = crew.run(_two_phantoms, tasks, "fresh texture on phantoms")
        except InputError as error:  # a field that no phantom has
            return dict.fromkeys(KEYS, undefined(f"there are no phantoms to compare with: {error}"))
        cache.keep_value(kind, key, values)
    return summary(np.array(values), np.arange(len(values)))


def _two_phantoms(shape: tuple[int, int], pixel_size_um: float, cohort: str, seed: int) -> list[float]:
    from ..anatomy import phantom
    from ..anatomy.masks.sampler import sample_mask

    plexus = sample_mask(cohort, 7_000_000 + seed, size=shape, pixel_size_um=pixel_size_um)
    return list(similarities(*(phantom(plexus, 2 * seed + number) for number in (0, 1))))


def summary(values: Sequence[Sequence[float]] | NDArray, subjects: NDArray) -> dict[str, Estimate]:
    """Means of similarities [n, 3] over patients with 95 % intervals."""
    found = {}
    for key, column in zip(KEYS, np.asarray(values, float).T, strict=True):
        means = patient_means(column, subjects)
        if np.isinf(column).any():
            reason = f"{int(np.isinf(column).sum())} pairs are the same image, pixel by pixel"
            found[key] = undefined(reason, len(column))
        elif len(means) < 2:
            found[key] = undefined(
                "MS-SSIM needs larger images" if key == "ms_ssim" else "it takes pairs of 2 patients"
            )
        else:
            found[key] = Estimate(*mean_interval(means), len(means))
    return found


def without_pairs() -> dict[str, Estimate]:
    """What stands in the place of the similarities where images are not paired."""
    return dict.fromkeys(KEYS, undefined("images are not paired: give --pairs where both sets have the same masks"))


def by_cohort(values: NDArray, subjects: Subjects, cohorts: NDArray) -> dict[str, dict[str, Estimate]]:
    """`summary` of every cohort's pairs."""
    return {
        name: summary(values[cohorts == name], subjects[0][cohorts == name])
        for name in np.unique(cohorts).tolist()
        if name
    }
