"""Batch norms folded into the convolutions before them, which makes the network that ships."""

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from wdlora.anatomy.tracing.network import NerveNetwork


def folded(network: NerveNetwork) -> NerveNetwork:
    """The same function without batch norms, in fp32. `network` is one with batch norms whose statistics are final."""
    plain = NerveNetwork(network.channels).eval()
    network = network.eval()
    with torch.no_grad():
        for source, target in zip([*network.down, *network.up], [*plain.down, *plain.up], strict=True):
            pairs = [source[k : k + 2] for k in range(0, len(source), 3)]
            convolutions = [layer for layer in target if isinstance(layer, nn.Conv2d)]
            for (convolution, norm), empty in zip(pairs, convolutions, strict=True):
                fused = fuse_conv_bn_eval(convolution, norm)
                empty.load_state_dict(fused.state_dict())
        plain.out.load_state_dict(network.out.state_dict())
    return plain
