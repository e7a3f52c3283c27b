"""The trainable layer: weight-decomposed and plain low-rank adapters as peft LoRA variants.

`inject` puts them into a model. peft still injects, names, saves, loads, merges and switches the adapters; this
package replaces the norm and the forward, so that nothing of the weight's size is made while training.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig

    Model = TypeVar("Model", bound=torch.nn.Module)


def inject(model: "Model", config: "LoraConfig", adapter_name: str = "default", norm_gradient: bool = False) -> "Model":
    """Add an adapter to the linear layers of `model` that `config` targets, in place, and activate it.

    `config.use_dora` True gives WDLoRA (paper Eq. 6), False plain LoRA through the same code. Plain and
    bitsandbytes 4- and 8-bit linears are adapted, in any torch module; several adapters live side by side. A, B
    and the magnitude are float32 (float64 on a float64 base) whatever the base is, and the model's output does
    not change by a bit until they are trained. The norm is a constant to the gradient, as in DoRA section 4.3;
    `norm_gradient` lets its gradient through. Gradients are first-order only. Dropout acts as in peft: on the
    input of everything that the adapter adds.

    Returns `model`. Raises InputError for a target that is no linear layer, for a layer that peft has adapted
    by itself, and for settings that belong to other LoRA variants.
    """
    from .injection import inject_adapter

    return inject_adapter(model, config, adapter_name, norm_gradient)


@contextmanager
def norms_kept(model: "torch.nn.Module") -> Iterator[None]:
    """Compute the norm of every adapted layer of `model` once while its A and B rest.

    For the forward passes between two optimiser steps (accumulation, recomputed activations) and for judging. It
    changes no result as long as A, B and the base do rest: a change within is not seen. Magnitudes may change, and
    norms through which a gradient goes are computed anew.
    """
    from .adapted import Adapted

    layers = [module for module in model.modules() if isinstance(module, Adapted)]
    for layer in layers:
        layer._norms = {}
    try:
        yield
    finally:
        for layer in layers:
            layer._norms = None
