"""A network of the tracer in its file: how it is read and written, and the probabilities it gives.

The file is safetensors with one line of JSON in its metadata (`KEY`): format, name, channels, pixel size, and for each
detail the rules by which probabilities become nerves. Nothing in it is code.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InputError
from ...files import sha256
from .choices import DETAILS
from .levels import in_grains
from .ridges import Cleaning, Evidence
from .tiles import tiled

if TYPE_CHECKING:
    from .network import NerveNetwork

FOLDER = Path(__file__).parent / "shipped"
SHIPPED = FOLDER / "network.safetensors"
"""The network that ships; `recipe.json` and `metrics.json` beside it say how it was trained and what it reaches."""

KEY = "ccm_tracer"
FORMAT = 1


@dataclass(frozen=True)
class Rules:
    """How a probability becomes nerves: `evidence` in probability, `cleaning` in µm, and from which `level` on a pixel
    beside a centreline belongs to the nerve.
    """

    evidence: Evidence
    cleaning: Cleaning
    level: float = 0.5


@dataclass(frozen=True)
class LearnedTracer:
    """A network and what its file says; `pixel_size_um` is the pixel it was trained on, `digest` the file's SHA-256."""

    name: str
    pixel_size_um: float
    rules: Mapping[str, Rules]
    network: "NerveNetwork"
    digest: str

    def probabilities(self, image: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """Probability of nerve for each of `network.DETAILS`, float32 [2, H, W].

        `image` [H, W] is grey of any range in pixels of `pixel_size_um`; `valid` bool [H, W] where there is image.
        """
        import torch

        def answer(part: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                logits = self.network(torch.from_numpy(np.ascontiguousarray(part))[None, None])
                return torch.sigmoid(logits)[0].numpy()

        levels = in_grains(image, self.pixel_size_um, valid)
        return tiled(answer, levels, len(DETAILS), self.network.multiple, valid)


def save_network(
    path: str | os.PathLike, network: "NerveNetwork", name: str, pixel_size_um: float, rules: Mapping[str, Rules]
) -> None:
    """Write a network without batch norms and its rules, whole or not at all."""
    from ...files import write_tensors

    facts = {
        "format": FORMAT,
        "name": name,
        "channels": list(network.channels),
        "pixel_size_um": pixel_size_um,
        "rules": {detail: asdict(one) for detail, one in rules.items()},
    }
    write_tensors(path, network.state_dict(), {KEY: json.dumps(facts)})


def load_network(path: str | os.PathLike) -> LearnedTracer:
    """The network in a file; kept in memory until the file changes.

    Raises InputError for a file that is absent, damaged, no network of this tracer, or of another format.
    """
    try:
        stat = os.stat(path)
    except OSError as error:
        raise InputError(f"the tracer's network {path} cannot be read ({error.strerror}): check the path") from None
    return _load(os.path.abspath(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4)
def _load(path: str, size: int, changed: int) -> LearnedTracer:
    import torch

    from ...weights.header import open_safetensors, read_header, several
    from .network import NerveNetwork

    facts = _facts(path, read_header(path)[1])
    network = NerveNetwork(facts["channels"])
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    with open_safetensors(path) as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if shapes != wanted:
        odd = sorted(name for name in {*shapes, *wanted} if shapes.get(name) != wanted.get(name))
        raise InputError(f"{path} holds other tensors than a tracer's network has: {several(odd, 1)}")
    if not all(bool(torch.isfinite(tensor.float()).all()) for tensor in found.values()):
        raise InputError(f"{path} holds weights that are not finite: copy or train it again")
    network.load_state_dict({name: tensor.float() for name, tensor in found.items()})
    network = network.eval().requires_grad_(False)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return LearnedTracer(facts["name"], facts["pixel_size_um"], facts["rules"], network, sha256(path))


def _facts(path: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What the metadata says, checked."""
    if KEY not in metadata:
        raise InputError(f"{path} is not a network of this tracer: such a file says so under {KEY!r} in its metadata")
    try:
        facts = json.loads(metadata[KEY])
        if facts["format"] != FORMAT:
            raise InputError(f"{path} has format {facts['format']!r}, and this version reads {FORMAT}: update the pack")
        channels = facts["channels"]
        if not (1 <= len(channels) <= 8 and all(type(n) is int and 1 <= n <= 4096 for n in channels)):
            raise ValueError(channels)
        size = float(facts["pixel_size_um"])
        rules = {detail: _rules(facts["rules"][detail]) for detail in DETAILS}
        if not 0.05 <= size <= 10:
            raise ValueError(size)
        return {"name": str(facts["name"]), "channels": channels, "pixel_size_um": size, "rules": rules}
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} does not say what its network is ({type(error).__name__}: {error})") from None


def _rules(stored: Any) -> Rules:
    numbers = [*stored["evidence"].values(), *stored["cleaning"].values(), stored["level"]]
    if not all(isinstance(number, int | float) and np.isfinite(number) and number >= 0 for number in numbers):
        raise ValueError("rules")
    return Rules(Evidence(**stored["evidence"]), Cleaning(**stored["cleaning"]), float(stored["level"]))
