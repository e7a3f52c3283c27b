"""Kernel inception distance between two sets of feature vectors [n, d] and [m, d]."""

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .estimate import Estimate

LIMIT = 4.0
"""Features are kept within so many SDs."""

Subjects = tuple[NDArray, NDArray]
"""Whose image each vector of the two sets is: [n] and [m], comparable values such as patients' numbers."""


def standardised(reference: NDArray, *others: NDArray) -> list[NDArray]:
    """All sets centred and scaled by the mean and SD of the first, and kept within ±4 of them.

    Without a limit the cubic kernel of sets that lie many SDs apart in a few features is nothing but these.
    """
    mean, spread = reference.mean(0), reference.std(0) + 1e-9
    return [np.clip((values - mean) / spread, -LIMIT, LIMIT) for values in (reference, *others)]


def kid(a: NDArray, b: NDArray, paired: bool = False, subjects: Subjects | None = None) -> float:
    """Kernel inception distance: the unbiased squared maximum mean discrepancy with k(x, y) = (xᵀy/d + 1)³.

    0 in expectation for two samples of one distribution, whatever the sizes; it may come out negative. Images of one
    of the `subjects` are not independent, so their pairs are left out of all three means, as an image's pair with
    itself is: else patients with several images would make a set look more alike than it is. `paired` says the same of
    vectors of one index, such as two pictures of one mask. Source: Bińkowski et al. 2018, section 4; Gretton et al.
    2012, Eq. 3 and, for pairs, Eq. 4. Raises InputError below two vectors or subjects a set, and for pairs of unequal
    number.
    """
    d = a.shape[1]
    if min(len(a), len(b)) < 2:
        raise InputError(f"a kernel distance needs at least 2 images in each set, not {len(a)} and {len(b)}")
    of_a, of_b = subjects_of(a, b, paired, subjects)
    means = []
    for x, y, one, other in ((a, a, of_a, of_a), (b, b, of_b, of_b), (a, b, of_a, of_b)):
        independent = one[:, None] != other[None]
        if not independent.any():
            raise InputError("a kernel distance needs images of at least 2 patients in each set")
        means.append(((x @ y.T / d + 1) ** 3)[independent].mean())
    return float(means[0] + means[1] - 2 * means[2])


def subjects_of(a: NDArray, b: NDArray, paired: bool, subjects: Subjects | None) -> Subjects:
    """Whose image each vector is: as given, one a pair, or each its own. Raises InputError for unequal pairs."""
    if paired and len(a) != len(b):
        raise InputError(f"{len(a)} and {len(b)} images are not pairs")
    if subjects is not None:
        return np.asarray(subjects[0]), np.asarray(subjects[1])
    return np.arange(len(a)), np.arange(len(b)) + (0 if paired else len(a))


def kid_estimate(a: NDArray, b: NDArray, seed: int = 0, resamples: int = 200, paired: bool = False) -> Estimate:
    """`kid` with a 95 % interval from half-samples drawn without replacement (Politis & Romano 1994).

    A half-sample without replacement varies about the full sample's value as much as that does about the truth:
    σ²/(n/2) · (1 − ½) = σ²/n. Near 0, where `kid` is degenerate, the interval is too wide rather than too
    narrow. A bootstrap with replacement would bias the statistic by its repeated vectors. With `paired`, pairs are
    drawn. Raises InputError below four vectors a set.
    """
    if min(len(a), len(b)) < 4:
        raise InputError(f"the interval of a distance needs at least 4 images in each set, not {len(a)} and {len(b)}")
    generator = np.random.default_rng(seed)
    value = kid(a, b, paired)
    halves = []
    for _ in range(resamples):
        one = generator.permutation(len(a))[: len(a) // 2]
        other = one if paired else generator.permutation(len(b))[: len(b) // 2]
        halves.append(kid(a[one], b[other], paired))
    half_width = 1.96 * float(np.std(halves))
    return Estimate(value, value - half_width, value + half_width, min(len(a), len(b)))
