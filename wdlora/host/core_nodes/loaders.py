"""UNETLoader, CLIPLoader, VAELoader, LoraLoaderModelOnly: single files from the model folders."""

from typing import Any

from ...errors import InputError
from ..folders import active
from ..pack import engine_module

_WEIGHT_DTYPES = ["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"]


class UNETLoader:
    """A transformer from the folder diffusion_models."""

    CATEGORY = "model/loaders"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "load_unet"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "unet_name": (active().get_filename_list("diffusion_models"),),
                "weight_dtype": (_WEIGHT_DTYPES, {"advanced": True}),
            }
        }

    def load_unet(self, unet_name: str, weight_dtype: str) -> tuple:
        if weight_dtype not in ("default", "fp8_e4m3fn"):
            raise InputError(
                f"the embedded host does not offer the weight type {weight_dtype}: choose default or fp8_e4m3fn"
            )
        path = active().get_full_path_or_raise("diffusion_models", unet_name)
        return (engine_module().current().load_model(path, weight_dtype),)


class CLIPLoader:
    """A vision–language encoder from the folder text_encoders."""

    CATEGORY = "model/loaders"
    DESCRIPTION = "Qwen2.5-VL, the text encoder of Qwen-Image-Edit; its tokenizer lies beside the file."
    RETURN_TYPES = ("CLIP",)
    FUNCTION = "load_clip"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "clip_name": (active().get_filename_list("text_encoders"),),
                "type": (["qwen_image"],),
            },
            "optional": {"device": (["default", "cpu"], {"advanced": True})},
        }

    def load_clip(self, clip_name: str, type: str, device: str = "default") -> tuple:
        engine = engine_module().current()
        if device == "cpu" and engine.device.type != "cpu":
            raise InputError(
                f"the embedded host encodes where it paints, on {engine.device}: choose default, or start it with "
                "--device cpu"
            )
        return (engine.load_clip(active().get_full_path_or_raise("text_encoders", clip_name)),)


class VAELoader:
    """A VAE from the folder vae."""

    CATEGORY = "model/loaders"
    RETURN_TYPES = ("VAE",)
    FUNCTION = "load_vae"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"vae_name": (active().get_filename_list("vae"),)}}

    def load_vae(self, vae_name: str) -> tuple:
        return (engine_module().current().load_vae(active().get_full_path_or_raise("vae", vae_name)),)


class LoraLoaderModelOnly:
    """A plain LoRA from the folder loras, added to the model: W + strength · scaling · BA."""

    ESSENTIALS_CATEGORY = "Image Generation"
    CATEGORY = "model/loaders"
    DESCRIPTION = "Adds a plain LoRA to a model; several can follow each other."
    SEARCH_ALIASES = ["lora", "adapter"]
    RETURN_TYPES = ("MODEL",)
    OUTPUT_TOOLTIPS = ("The model with the LoRA.",)
    FUNCTION = "load_lora_model_only"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL",),
                "lora_name": (active().get_filename_list("loras"),),
                "strength_model": ("FLOAT", {"default": 1.0, "min": -100.0, "max": 100.0, "step": 0.01}),
            }
        }

    def load_lora_model_only(self, model: Any, lora_name: str, strength_model: float) -> tuple:
        from ...adapter import Adapter

        if strength_model == 0:
            return (model,)
        adapter = Adapter.load(active().get_full_path_or_raise("loras", lora_name))
        if adapter.weight_decomposed:
            raise InputError(
                f"{lora_name} is weight-decomposed; ComfyUI's LoRA loader computes such adapters wrongly, so this "
                "host does not load them that way: use the node WDLoRA Apply"
            )
        return (engine_module().current().patch(model, adapter, strength_model, 0.0)[0],)


NODES = [
    (UNETLoader, "Load Diffusion Model", "nodes"),
    (CLIPLoader, "Load CLIP", "nodes"),
    (VAELoader, "Load VAE", "nodes"),
    (LoraLoaderModelOnly, "Load LoRA", "nodes"),
]
