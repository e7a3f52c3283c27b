"""Load an adapter and compose a weight with it: `python docs/examples/compose_weight.py ADAPTER BASE`.

BASE is the safetensors file that the adapter was trained on. Prints how far each layer moves its weight.
"""

import sys

from wdlora.adapter import Adapter
from wdlora.decomposition import compose
from wdlora.weights import Weights

adapter = Adapter.load(sys.argv[1])
base = Weights(sys.argv[2])
for name, layer in adapter.layers.items():
    weight = base.module(name).float()
    if layer.magnitude is None:  # plain LoRA moves direction and magnitude together
        moved = weight + layer.scaling * layer.lora_b.float() @ layer.lora_a.float()
    else:
        moved = compose(weight, layer.lora_a, layer.lora_b, layer.magnitude, layer.scaling)
    change = (moved - weight).norm() / weight.norm()
    print(f"{name}: rank {layer.lora_a.shape[0]}, moved by {100 * change:.2f} % of its norm")
