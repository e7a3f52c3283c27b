"""A map of images: their feature vectors in two dimensions (the paper's Fig. 7)."""

import importlib.util

import numpy as np
from numpy.typing import NDArray

MOST = 2000
"""Points of a map; more are drawn from."""

COMPONENTS = 50
PERPLEXITY = 30.0


def embed(values: NDArray) -> tuple[NDArray, str]:
    """Vectors [n, d] → places [n, 2] and the method: t-SNE (van der Maaten & Hinton 2008) where scikit-learn is
    installed, else the first two principal components. Distances on a t-SNE map mean little; neighbours do.
    """
    centred = values - values.mean(0)
    left, strength, _ = np.linalg.svd(centred, full_matrices=False)
    components = (left * strength)[:, :COMPONENTS]
    if len(values) < 20 or importlib.util.find_spec("sklearn") is None:
        explained = float((strength[:2] ** 2).sum() / max((strength**2).sum(), 1e-12))
        return components[:, :2], f"principal components, {100 * explained:.0f} % of the variance"
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(components), "t-SNE"
