"""A trained peer as a file: safetensors with one line of JSON in its metadata. Nothing in it is code."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.peers.data import as_levels
from training.peers.lesson import Peer
from training.peers.recipe import MaisiRecipe, PeerRecipe, SpadeRecipe, recipe_of
from wdlora.errors import InputError
from wdlora.files import sha256, write_tensors
from wdlora.qwen.memory import pick_device

FILE = "peer.safetensors"
KEY = "ccm_peer"
FORMAT = 1
NOTE = "research software, not a medical device: pictures painted with it are synthetic"


@dataclass(frozen=True)
class PeerFacts:
    """What the metadata says: the peer's name and recipe, its cohorts in the order of their labels, µm a pixel, the
    study's label and SHA-256; `trained` are JSON values on the training.
    """

    peer: str
    recipe: PeerRecipe
    cohorts: tuple[str, ...]
    pixel_size_um: float
    study: str
    study_sha256: str
    trained: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedPeer:
    """A peer ready to paint, with what its file says and the file's SHA-256 (`digest`)."""

    facts: PeerFacts
    network: Peer
    digest: str

    def paint(self, mask: NDArray[np.bool_], cohort: str, seed: int) -> NDArray[np.uint8]:
        """A picture uint8 [H, W] of a mask bool [H, W]. Raises InputError for a cohort that was not learned."""
        if cohort not in self.facts.cohorts:
            raise InputError(f"this {self.facts.peer} was not trained on {cohort}: it knows {self.facts.cohorts}")
        generator = torch.Generator().manual_seed(seed % 2**63)
        return as_levels(self.network.paint(mask, self.facts.cohorts.index(cohort), generator))


def built_peer(recipe: PeerRecipe, cohorts: int) -> Peer:
    """The peer of a recipe, with new weights. Raises InputError where its packages are missing."""
    from training.peers.maisi import Maisi
    from training.peers.spade import Spade

    if isinstance(recipe, SpadeRecipe):
        return Spade(recipe, cohorts)
    assert isinstance(recipe, MaisiRecipe)
    return Maisi(recipe, cohorts)


def save_peer(path: Path, network: Peer, facts: PeerFacts) -> None:
    """Write what painting needs, whole or not at all."""
    stored = {"format": FORMAT, "note": NOTE} | asdict(facts)
    write_tensors(path, network.parts(), {KEY: json.dumps(stored)})


def load_peer(folder: Path, device: torch.device | str = "cpu") -> TrainedPeer:
    """The peer that a finished training left in its folder, or in a file.

    Raises InputError where there is none, for a damaged file or one of another format, for a device that is not there,
    and without MONAI.
    """
    device = pick_device(device)
    from wdlora.weights.header import open_safetensors, read_header

    path = folder / FILE if folder.is_dir() else folder
    if not path.is_file():
        raise InputError(f"{folder} holds no trained peer ({FILE}): train one with `python -m training peers train`")
    facts = _facts(path, read_header(path)[1])
    network = built_peer(facts.recipe, len(facts.cohorts))
    wanted = {name: tuple(value.shape) for name, value in network.parts().items()}
    with open_safetensors(path) as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if {name: tuple(value.shape) for name, value in found.items()} != wanted:
        raise InputError(f"{path} holds other tensors than its recipe has: copy or train it again")
    if not all(bool(torch.isfinite(value).all()) for value in found.values()):
        raise InputError(f"{path} holds weights that are not finite: copy or train it again")
    network.load_state_dict(network.state_dict() | found)
    return TrainedPeer(facts, network.to(device).eval().requires_grad_(False), sha256(path))


def _facts(path: Path, metadata: Mapping[str, str]) -> PeerFacts:
    if KEY not in metadata:
        raise InputError(f"{path} is not a trained peer: such a file says so under {KEY!r} in its metadata")
    try:
        stored = json.loads(metadata[KEY])
        if stored["format"] != FORMAT:
            raise InputError(
                f"{path} has format {stored['format']!r}, and this version reads {FORMAT}: update the pack"
            )
        recipe = recipe_of(stored["peer"], stored["recipe"], path.name)
        pixel, cohorts = float(stored["pixel_size_um"]), tuple(str(name) for name in stored["cohorts"])
        study, digest = str(stored["study"]), str(stored["study_sha256"])
        return PeerFacts(stored["peer"], recipe, cohorts, pixel, study, digest, dict(stored["trained"]))
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} does not say what it is ({type(error).__name__}: {error})") from None
