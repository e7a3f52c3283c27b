"""A segmenter that can be foretold: nerve is what is brighter than `level` grains, whatever the encoder says."""

from pathlib import Path

import torch

from wdlora.hmsvit.file import Facts, built_network, save_hmsvit
from wdlora.hmsvit.network import FINE
from wdlora.hmsvit.sizes import SIZES


def save_threshold(path: Path, level: float = 2.5, side: int = 64) -> Path:
    """The decoder hands on the tile's own channel, through GELUs that change nothing much above 2, and takes `level`
    off it.
    """
    facts = Facts("segmentation", SIZES["tiny"], side, 1.0)
    torch.manual_seed(0)
    network = built_network(facts)
    decoder = network.decoder
    with torch.no_grad():
        for layer in (decoder.rise, decoder.fine[0], decoder.fine[2], decoder.out[0], decoder.out[2]):
            layer.weight.zero_()
            layer.bias.zero_()
        decoder.fine[0].weight[0, 0, 1, 1] = 1
        decoder.fine[2].weight[0, 0, 1, 1] = 1
        decoder.out[0].weight[0, FINE, 1, 1] = 1
        decoder.out[2].weight[0, 0, 0, 0] = 20
        decoder.out[2].bias[0] = -20 * level
    save_hmsvit(path, network, facts)
    return path
