"""A trained network in its file, and what it says of an image.

The file is safetensors with one line of JSON in its metadata (`KEY`): format, task, size, side of the tiles, pixel
size, cohorts, and what it was trained on. Nothing in it is code.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..files import sha256
from .frames import on_own_grid, tiles_of
from .sizes import NetworkSize, check_side

if TYPE_CHECKING:
    from ..anatomy.tracing.pixel_grid import PixelGrid
    from .network import Network

KEY = "ccm_hmsvit"
FORMAT = 1
NAME = "hmsvit-like-1"
DIAGNOSIS, SEGMENTATION, ENCODER = TASKS = ("diagnosis", "segmentation", "encoder")
RESEARCH = "research software, not a medical device: these probabilities are not a diagnosis"

MOST_PARAMETERS = 500_000_000
"""A header that asks for more is damage, and would fill the memory before any tensor is compared."""

AT_ONCE = 8
"""Tiles a pass."""


@dataclass(frozen=True)
class Facts:
    """What the metadata of a file says. `classes` are the cohorts of a diagnosis, in the order of its logits; `trained`
    are JSON values on the training, such as the regime and the number of patients.
    """

    task: str
    size: NetworkSize
    side: int
    pixel_size_um: float
    classes: tuple[str, ...] = ()
    trained: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedHmsvit:
    """A network in evaluation mode with the `facts` and the SHA-256 (`digest`) of its file."""

    facts: Facts
    network: "Network"
    digest: str

    @property
    def name(self) -> str:
        """As tables and figures name it, such as "hmsvit-like-1 segmentation (1a2b3c4d)"."""
        return f"{NAME} {self.facts.task} ({self.digest[:8]})"

    def features(self, image: NDArray) -> NDArray:
        """The encoder's vector of an image uint8 [H, W], whose pixels are taken for the network's own: float64 [d]."""
        import torch

        encoder: Any = getattr(self.network, "encoder", self.network)
        levels, _ = on_own_grid(image, self.facts.pixel_size_um, self.facts.pixel_size_um)
        with torch.inference_mode():
            tiles = torch.from_numpy(tiles_of(levels, self.facts.side))
            return torch.cat([encoder.pooled(part) for part in tiles.split(AT_ONCE)]).mean(0).double().numpy()

    def cohort_probabilities(
        self, image: NDArray, pixel_size_um: float | tuple[float, float], valid: NDArray | None = None
    ) -> NDArray:
        """Probability of each of `facts.classes` for an image [H, W] of any size, float64 [classes]; logits of tiles
        are averaged. Raises InputError where the network is none for diagnosis.
        """
        import torch

        self._need(DIAGNOSIS)
        levels, _ = on_own_grid(image, pixel_size_um, self.facts.pixel_size_um, valid)
        with torch.inference_mode():
            tiles = torch.from_numpy(tiles_of(levels, self.facts.side))
            logits = torch.cat([self.network(part) for part in tiles.split(AT_ONCE)]).mean(0)
            return torch.softmax(logits.double(), 0).numpy()

    def nerve_probability(self, levels: NDArray, valid: NDArray | None = None) -> NDArray:
        """Probability of nerve of an image that is on the network's own grid (`on_own_grid`): float32 [h, w].

        Raises InputError where the network is none for segmentation.
        """
        import torch

        from ..anatomy.tracing.tiles import tiled

        self._need(SEGMENTATION)

        def answer(part: NDArray) -> NDArray:
            with torch.inference_mode():
                logits = self.network(torch.from_numpy(np.ascontiguousarray(part))[None, None])
                return torch.sigmoid(logits)[0].numpy()

        side = self.facts.side
        return tiled(answer, levels, 1, side, valid, (side, side))[0]

    def nerves(self, image: NDArray, pixels: tuple[float, float], valid: NDArray | None) -> "tuple[NDArray, PixelGrid]":
        """Probability of nerve of an image [H, W] with pixels of `pixels` µm (row, column), and the grid it is on."""
        levels, grid = on_own_grid(image, pixels, self.facts.pixel_size_um, valid)
        return self.nerve_probability(levels, grid.area(valid)), grid

    def _need(self, task: str) -> None:
        if self.facts.task != task:
            raise InputError(f"this network was trained for {self.facts.task}, not for {task}: give another file")


def built_network(facts: Facts) -> "Network":
    """The network that `facts` describe, with new weights. Raises InputError without transformers."""
    from .network import DiagnosisNetwork, HmsvitEncoder, SegmentationNetwork

    if facts.task == DIAGNOSIS:
        return DiagnosisNetwork(facts.size, facts.side, len(facts.classes))
    if facts.task == SEGMENTATION:
        return SegmentationNetwork(facts.size, facts.side)
    return HmsvitEncoder(facts.size, facts.side)


def save_hmsvit(path: str | os.PathLike, network: "Network", facts: Facts) -> None:
    """Write a network and its facts, whole or not at all."""
    from ..files import write_tensors

    stored = {"format": FORMAT, "name": NAME, "note": RESEARCH} | asdict(facts)
    write_tensors(path, network.state_dict(), {KEY: json.dumps(stored)})


def load_hmsvit(path: str | os.PathLike) -> TrainedHmsvit:
    """The network in a file; kept in memory until the file changes.

    Raises InputError for a file that is absent, damaged, no such network, or of another format, and without
    transformers.
    """
    try:
        stat = os.stat(path)
    except OSError as error:
        raise InputError(f"the network {path} cannot be read ({error.strerror}): check the path") from None
    return _load(os.path.abspath(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4)
def _load(path: str, size: int, changed: int) -> TrainedHmsvit:
    import torch

    from ..weights.header import open_safetensors, read_header, several

    facts = _facts(path, read_header(path)[1])
    with torch.device("meta"):
        network = built_network(facts)
    if sum(tensor.numel() for tensor in network.parameters()) > MOST_PARAMETERS:
        raise InputError(f"{path} describes a network of more than {MOST_PARAMETERS} parameters: it is damaged")
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    with open_safetensors(path) as file:
        found = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if shapes != wanted:
        odd = sorted(name for name in {*shapes, *wanted} if shapes.get(name) != wanted.get(name))
        raise InputError(f"{path} holds other tensors than its network has: {several(odd, 1)}")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in found.values()):
        raise InputError(f"{path} holds weights that are not finite: copy or train it again")
    network = built_network(facts)
    network.load_state_dict(found)
    return TrainedHmsvit(facts, network.eval().requires_grad_(False), sha256(path))


def _facts(path: str, metadata: Mapping[str, str]) -> Facts:
    """What the metadata says, checked."""
    if KEY not in metadata:
        raise InputError(f"{path} is not an HMSViT-like network: such a file says so under {KEY!r} in its metadata")
    try:
        stored = json.loads(metadata[KEY])
        if stored["format"] != FORMAT:
            raise InputError(
                f"{path} has format {stored['format']!r}, and this version reads {FORMAT}: update the pack"
            )
        size, side, pixel = stored["size"], stored["side"], float(stored["pixel_size_um"])
        four = [tuple(int(n) for n in size[name]) for name in ("depths", "heads")]
        numbers = [size["width"], size["decoder"], *four[0], *four[1]]
        if any(len(part) != 4 for part in four) or not all(type(n) is int and 1 <= n <= 4096 for n in numbers):
            raise ValueError(size)
        if stored["task"] not in TASKS or not 0.05 <= pixel <= 10:
            raise ValueError(stored["task"], pixel)
        classes = tuple(str(name) for name in stored["classes"])
        if stored["task"] == DIAGNOSIS and (len(classes) < 2 or len(set(classes)) < len(classes)):
            raise ValueError(classes)
        network = NetworkSize(size["width"], four[0], four[1], size["decoder"])  # type: ignore[arg-type]
        return Facts(stored["task"], network, check_side(side), pixel, classes, dict(stored["trained"]))
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} does not say what its network is ({type(error).__name__}: {error})") from None
