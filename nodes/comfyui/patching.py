"""An adapter on a MODEL: which weights it fits, and in which of ComfyUI's two forms each of them takes it."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import comfy.model_patcher
import torch
from comfy.quant_ops import QuantizedTensor
from comfy.weight_adapter.base import WeightAdapterBase

from ...wdlora.adapter.fit import PatchReport, base_sentence, fitting
from ...wdlora.errors import InputError
from .weight_patch import Gain, Wrapper, adapt

if TYPE_CHECKING:
    from ...wdlora.adapter import Adapter


class Pristine(WeightAdapterBase):
    """Stands before all patches of a weight, shows it to the gain, and leaves it as it is."""

    name = "wdlora_base"

    def __init__(self, loaded_keys: set[str], weights: tuple[Gain]):
        self.loaded_keys = loaded_keys
        self.weights = weights

    def calculate_weight(self, weight: Any, key: str, *_: Any, **__: Any) -> Any:
        """The weight itself."""
        self.weights[0].of(weight)
        return weight


class WDLoRA(WeightAdapterBase):
    """An adapter layer as a weight patch: W ← g ∘ (W + d·s·BA).

    All state is in `weights` (A, B, gain, scaling, direction strength, axis): ComfyUI copies the tensors in it to
    the accelerator and builds the adapter anew from them, where it streams weights.
    """

    name = "wdlora"

    def __init__(self, loaded_keys: set[str], weights: tuple):
        self.loaded_keys = loaded_keys
        self.weights = weights

    def calculate_weight(
        self,
        weight: Any,
        key: str,
        strength: float,
        strength_model: float,
        offset: Any,
        function: Any,
        intermediate_dtype: Any = torch.float32,
        original_weight: Any = None,
    ) -> Any:
        """The adapted weight, computed in float32 whatever `intermediate_dtype` is.

        `strength` is 1 as this pack applies it; where a node that merges models gives another, it is the share of
        the way from the weight to the adapted one.
        """
        a, b, gain, scaling, direction, axis = self.weights
        before = weight.clone() if strength != 1 else None
        adapt(weight, a, b, gain.of(weight), scaling, direction, axis)
        return weight if before is None else weight.copy_(torch.lerp(before, weight, strength))


def patch(
    model: Any, adapter: "Adapter", direction_strength: float, magnitude_strength: float
) -> tuple[Any, PatchReport]:
    """A clone of MODEL with an adapter applied after what it carries, as docs/reference/dora-in-comfyui.md says.

    Layers that the model lacks are left out and reported. Raises InputError where none fits, or where one has
    another shape.
    """
    fitted, unmatched = fitting(adapter, partial(_shape, model), _label(model))
    patched = model.clone()
    direction, magnitude = float(direction_strength), float(magnitude_strength)
    for name, layer in fitted.layers.items():
        if direction == 0 and (magnitude == 0 or layer.magnitude is None):
            continue
        gain = Gain(layer, direction, magnitude)
        key = f"diffusion_model.{name}.weight"
        if _applied_on_the_fly(_weight(model, name), kept_as(patched.model, key), name):
            base = partial(pristine, patched.model, patched.backup, key)
            patched.add_weight_wrapper(key, Wrapper(layer, gain, direction, base))
            continue
        state = (layer.lora_a, layer.lora_b, gain, layer.scaling, direction, layer.axis)
        patched.add_patches({key: WDLoRA(set(), state)})
        patched.add_patches({key: Pristine(set(), (gain,))})
        patched.patches[key].insert(0, patched.patches[key].pop())
    return patched, PatchReport(tuple(fitted.layers), unmatched, base_sentence(fitted, file_of(model)))


def pristine(model: Any, backup: Any, key: str, device: Any) -> Any:
    """The base weight behind `key` on a device, dequantised to float32, whether or not patches are written into it."""
    weight, _, convert = comfy.model_patcher.get_key_weight(model, key)
    if key in backup:
        weight = backup[key].weight
    weight = weight.to(device)
    if isinstance(weight, QuantizedTensor):
        weight = weight.dequantize()
    elif convert is not None:
        weight = convert(weight.float(), inplace=False)
    elif (kept := kept_as(model, key)) is not None:
        weight = weight.to(kept)
    return weight.float()


def kept_as(model: Any, key: str) -> torch.dtype | None:
    """The type in which the accelerator keeps the weight behind `key`, where ComfyUI leaves another in main memory.

    With dynamic VRAM a layer holds the file's tensor and is cast on its way to the accelerator.
    """
    return getattr(model.get_submodule(key.removesuffix(".weight")), "weight_comfy_model_dtype", None)


def file_of(model: Any) -> str | None:
    """The safetensors file or folder from which a MODEL was loaded, where ComfyUI knows it."""
    made = model.cached_patcher_init
    path = made[1][0] if made is not None and made[1] else None
    if not isinstance(path, str) or not Path(path).exists():
        return None
    return path if Path(path).is_dir() or path.endswith(".safetensors") else None


def _label(model: Any) -> str:
    path = file_of(model)
    return "this model" if path is None else Path(path).name


def _shape(model: Any, name: str) -> Any:
    weight = _weight(model, name)
    return None if weight is None else tuple(weight.shape)


def _weight(model: Any, name: str) -> Any:
    """The weight of the module `name` of a MODEL's transformer, or None."""
    try:
        weight = getattr(model.model.diffusion_model.get_submodule(name), "weight", None)
    except AttributeError:
        return None
    return weight if weight is not None and len(weight.shape) == 2 else None


def _applied_on_the_fly(weight: Any, kept: torch.dtype | None, name: str) -> bool:
    """Whether a patch written into this weight's storage would be rounded away. Raises InputError if it is unknown.

    GGUF keeps patches beside the weight and applies them after dequantising, so there a patch is exact.
    """
    if hasattr(weight, "tensor_type"):
        return False
    kinds = [weight.dtype] if kept is None else [weight.dtype, kept]
    if isinstance(weight, QuantizedTensor) or any(k.is_floating_point and k.itemsize == 1 for k in kinds):
        return True
    if not weight.dtype.is_floating_point:
        kind = str(weight.dtype).removeprefix("torch.")
        raise InputError(
            f"the model's layer {name} is stored as {kind} in a way that ComfyUI does not know, so an adapter cannot "
            "be applied to it: load the bf16, fp8 or GGUF file of the same model"
        )
    return False
