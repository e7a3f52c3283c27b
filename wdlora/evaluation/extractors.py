"""Feature extractors by name: what the distances of a set are measured with.

A figure means nothing without its extractor, so every extractor has a name that is printed beside the figures; that of
a network carries the beginning of its weights' hash.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..files import sha256
from .features import EXTRACTOR, texture_features


@dataclass(frozen=True)
class Extractor:
    """`features` maps an image uint8 [H, W] to float64 [d].

    `standardise`: its features have different units, so they are scaled by the real set's SDs before they are
    compared (`distance.standardised`); those of networks are compared as they are, as published figures are.
    """

    name: str
    features: Callable[[NDArray], NDArray]
    standardise: bool


def _network(name: str, path: str, digest: str) -> Extractor:
    """A network of `networks.convert` with the weights of a file, whose SHA-256 is `digest`."""
    import torch

    from .networks.convert import NETWORKS, load_network

    network = NETWORKS[name]
    weights = load_network(network, path)

    def features(image: NDArray) -> NDArray:
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(image))[None]
            return network.module.features(weights, batch)[0].double().numpy()

    return Extractor(f"{name} (weights {digest[:8]})", features, standardise=False)


def _hmsvit(name: str, path: str, digest: str) -> Extractor:
    """The encoder of an HMSViT-like network; images are taken for ones of its own pixel size."""
    from ..hmsvit.file import load_hmsvit

    return Extractor(f"{name} (weights {digest[:8]})", load_hmsvit(path).features, standardise=False)


OPENERS: dict[str, Callable[[str, str, str], Extractor]] = {
    "lite0": _network,
    "inception": _network,
    "hmsvit": _hmsvit,
}
"""Extractors that need a file, by the word before the colon: what opens it, given that word, path and SHA-256."""

CONVERTED = ("lite0", "inception")
"""Those whose file a command converts from published weights."""


@lru_cache(maxsize=2)
def _opened(name: str, path: str, digest: str) -> Extractor:
    """An extractor, opened once a process for as long as its file stays the same."""
    return OPENERS[name](name, path, digest)


def extractor(choice: str = EXTRACTOR) -> Extractor:
    """The extractor that `choice` names: "texture-1", or NAME:FILE with a name of `OPENERS`.

    Raises InputError, naming the choices, for anything else and for a file that is none of its kind.
    """
    if choice == EXTRACTOR:
        return Extractor(EXTRACTOR, texture_features, standardise=True)
    name, colon, path = choice.partition(":")
    if name not in OPENERS or not colon or not path:
        choices = ", ".join([EXTRACTOR, *(f"{known}:FILE" for known in OPENERS)])
        raise InputError(f"there are no features {choice!r}; choose one of {choices}")
    if not Path(path).is_file():
        origin = f": write it with convert-{name}" if name in CONVERTED else ": give a network of wdlora.hmsvit"
        raise InputError(f"there is no file {path}{origin}")
    return _opened(name, path, sha256(path))
