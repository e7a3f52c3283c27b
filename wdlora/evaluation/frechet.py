"""Fréchet distance between two sets of feature vectors: the paper's Eq. 7, which is FID when Inception made them."""

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError


def frechet_distance(a: NDArray, b: NDArray) -> float:
    """‖μₐ − μ_b‖² + tr(Σₐ + Σ_b − 2(ΣₐΣ_b)^½) of vectors [n, d] and [m, d]; covariances with n − 1.

    The trace of the root is the sum of the singular values of A·Bᵀ, where Σₐ = AᵀA and Σ_b = BᵀB: no matrix root, and
    exact also where n < d. Mostly bias where n is not much larger than d, so it is read beside the same distance
    between two real sets of the same n. Source: Heusel et al. 2017; Dowson & Landau 1982. Raises InputError below two
    vectors a set.
    """
    if min(len(a), len(b)) < 2:
        raise InputError(f"a Fréchet distance needs at least 2 images in each set, not {len(a)} and {len(b)}")
    roots: list[NDArray] = []
    for values in (a, b):
        centred = (values - values.mean(0)) / np.sqrt(len(values) - 1)
        # Few vectors are their own root; of many, R of A = QR is one of d × d.
        few = len(values) <= values.shape[1]
        roots.append(centred if few else np.asarray(np.linalg.qr(centred, mode="r")))
    apart = a.mean(0) - b.mean(0)
    common = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    spreads = (roots[0] ** 2).sum() + (roots[1] ** 2).sum()
    return float(apart @ apart + spreads - 2 * common)
