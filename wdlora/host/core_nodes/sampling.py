"""ModelSamplingAuraFlow, CFGNorm, both KSamplers, VAEDecode, VAEEncode, RepeatLatentBatch, EmptySD3LatentImage."""

from typing import Any

from ...errors import InputError
from ..api import io
from ..engine import HostModel
from ..pack import engine_module
from .painting import Painting, latents_of, part_of_schedule
from .scaling import LARGEST_SIDE

_SCHEDULERS = ["simple"]
_SEED_TIP = "Seed of the noise: the same seed paints the same picture."
_CFG_TIP = "Strength of classifier-free guidance: 1 is none and twice as fast; the official workflows use 2.5 to 4."
_SHARED = ("steps", "cfg", "sampler_name", "scheduler", "positive", "negative", "latent_image")


class ModelSamplingAuraFlow:
    """Sets the shift of the schedule."""

    CATEGORY = "model/patch"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch_aura"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        shift = {"default": 1.73, "min": 0.0, "max": 100.0, "step": 0.01}
        return {"required": {"model": ("MODEL",), "shift": ("FLOAT", shift)}}

    def patch_aura(self, model: HostModel, shift: float) -> tuple:
        if shift <= 0:
            raise InputError(f"the shift must be above 0, but is {shift:g}; the official workflows use 3 or 3.1")
        return (model.having(shift=shift),)


class CFGNorm(io.ComfyNode):
    """Keeps the guided estimate's norm at most at the conditional one's."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CFGNorm",
            category="advanced/guidance",
            inputs=[
                io.Model.Input("model"),
                io.Float.Input("strength", default=1.0, min=0.0, max=100.0, step=0.01),
                io.Boolean.Input(
                    "pre_cfg",
                    default=False,
                    optional=True,
                    tooltip="Rescale the noise before guidance instead of the estimate after it. The embedded host "
                    "does the latter only.",
                ),
            ],
            outputs=[io.Model.Output(display_name="patched_model")],
            is_experimental=True,
        )

    @classmethod
    def execute(cls, model: HostModel, strength: float, pre_cfg: bool = False) -> io.NodeOutput:
        if pre_cfg:
            raise InputError("the embedded host does not offer CFGNorm with pre_cfg: switch it off")
        return io.NodeOutput(model.having(cfg_norm=strength))


def _sampler_inputs() -> dict[str, tuple]:
    """What KSampler takes."""
    from ...qwen.sampling import SAMPLERS

    def number(tooltip: str, **options: Any) -> dict[str, Any]:
        return {**options, "tooltip": tooltip}

    seed = {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}
    cfg = {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}
    denoise_tip = "Share of the way that is painted: 1 starts from noise alone, less keeps the given latents' forms."
    return {
        "model": ("MODEL", {"tooltip": "The transformer that paints."}),
        "seed": ("INT", number(_SEED_TIP, **seed)),
        "steps": (
            "INT",
            number(
                "Steps from noise to picture: 20 to 40, or 4 with a Lightning LoRA.",
                default=20,
                min=1,
                max=10000,
            ),
        ),
        "cfg": ("FLOAT", number(_CFG_TIP, **cfg)),
        "sampler_name": (list(SAMPLERS), {"tooltip": "How the steps are taken."}),
        "scheduler": (
            _SCHEDULERS,
            {"tooltip": "How the noise levels of the steps are chosen."},
        ),
        "positive": ("CONDITIONING", {"tooltip": "What the picture shall show."}),
        "negative": ("CONDITIONING", {"tooltip": "What it shall not show."}),
        "latent_image": ("LATENT", {"tooltip": "Empty latents of the wanted size, or those to start from."}),
        "denoise": (
            "FLOAT",
            number(denoise_tip, default=1.0, min=0.0, max=1.0, step=0.01),
        ),
    }


class KSampler:
    """Paints latents: noise, schedule and guidance as in ComfyUI."""

    CATEGORY = "model/sampling"
    DESCRIPTION = ("Uses the provided model, positive and negative conditioning to denoise the latent image. ").strip()
    SEARCH_ALIASES = ["paint", "denoise", "euler"]
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The painted latents.",)
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": _sampler_inputs()}

    def sample(
        self,
        model: HostModel,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: list,
        negative: list,
        latent_image: dict[str, Any],
        denoise: float = 1.0,
    ) -> tuple:
        painting = Painting(model, positive, negative, latent_image, cfg, sampler_name, seed)
        return (painting.unchanged if denoise == 0 else painting.along(painting.schedule(steps, denoise)),)


class KSamplerAdvanced:
    """Paints a part of the steps: what a first sampler leaves, a second one goes on with."""

    CATEGORY = "model/sampling"
    DESCRIPTION = "Paints from one step of the schedule to another, with or without noise of its own."
    SEARCH_ALIASES = ["two samplers", "start at step", "refine"]
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        shared = _sampler_inputs()
        step = {"min": 0, "max": 10000, "advanced": True}
        return {
            "required": {
                "model": shared["model"],
                "add_noise": (["enable", "disable"], {"advanced": True}),
                "noise_seed": shared["seed"],
                **{name: shared[name] for name in _SHARED},
                "start_at_step": ("INT", {"default": 0, **step}),
                "end_at_step": ("INT", {"default": 10000, **step}),
                "return_with_leftover_noise": (["disable", "enable"], {"advanced": True}),
            }
        }

    def sample(
        self,
        model: HostModel,
        add_noise: str,
        noise_seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: list,
        negative: list,
        latent_image: dict[str, Any],
        start_at_step: int,
        end_at_step: int,
        return_with_leftover_noise: str,
    ) -> tuple:
        seed = noise_seed if add_noise == "enable" else None
        painting = Painting(model, positive, negative, latent_image, cfg, sampler_name, seed)
        levels = part_of_schedule(
            painting.schedule(steps), start_at_step, end_at_step, return_with_leftover_noise == "enable"
        )
        return (painting.unchanged if levels is None else painting.along(levels),)


class VAEDecode:
    """Latents to pictures."""

    CATEGORY = "model/latent"
    DESCRIPTION = "Turns latents into pictures."
    SEARCH_ALIASES = ["latents to picture"]
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("The pictures.",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "samples": ("LATENT", {"tooltip": "Latents to turn into pictures."}),
                "vae": ("VAE", {"tooltip": "The VAE of Qwen-Image."}),
            }
        }

    def decode(self, vae: Any, samples: dict[str, Any]) -> tuple:
        return (engine_module().current().vae_decode(vae, samples["samples"]),)


class VAEEncode:
    """A picture to latents."""

    CATEGORY = "model/latent"
    SEARCH_ALIASES = ["picture to latents"]
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"pixels": ("IMAGE",), "vae": ("VAE",)}}

    def encode(self, vae: Any, pixels: Any) -> tuple:
        if pixels.shape[0] != 1:
            raise InputError(
                f"VAE Encode was given {pixels.shape[0]} pictures; ComfyUI reads a batch as the frames of a video "
                "with this VAE, so the embedded host takes one picture at a time"
            )
        return ({"samples": engine_module().current().vae_encode(vae, pixels)},)


class RepeatLatentBatch:
    """Latents several times over, to paint as many pictures of each."""

    CATEGORY = "model/latent/batch"
    SEARCH_ALIASES = ["several pictures of a mask", "duplicate latents"]
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "repeat"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        amount = {"default": 1, "min": 1, "max": 64, "tooltip": "Pictures of each of the latents."}
        return {"required": {"samples": ("LATENT",), "amount": ("INT", amount)}}

    def repeat(self, samples: dict[str, Any], amount: int) -> tuple:
        cells = latents_of(samples)
        return ({**samples, "samples": cells.repeat(amount, *[1] * (cells.ndim - 1))},)


class EmptySD3LatentImage:
    """Empty latents of a size."""

    CATEGORY = "model/latent"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        side = {"default": 1024, "min": 16, "max": LARGEST_SIDE, "step": 16}
        return {
            "required": {
                "width": ("INT", side),
                "height": ("INT", side),
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096}),
            }
        }

    def generate(self, width: int, height: int, batch_size: int = 1) -> tuple:
        import torch

        from ...qwen.latents import latent_shape

        return ({"samples": torch.zeros(latent_shape(height, width, batch_size))},)


NODES = [
    (ModelSamplingAuraFlow, "ModelSamplingAuraFlow", "comfy_extras.nodes_model_advanced"),
    (CFGNorm, None, "comfy_extras.nodes_cfg"),
    (KSampler, "KSampler", "nodes"),
    (KSamplerAdvanced, "KSampler (Advanced)", "nodes"),
    (VAEDecode, "VAE Decode", "nodes"),
    (VAEEncode, "VAE Encode", "nodes"),
    (RepeatLatentBatch, "Repeat Latent Batch", "nodes"),
    (EmptySD3LatentImage, "EmptySD3LatentImage", "comfy_extras.nodes_sd3"),
]
