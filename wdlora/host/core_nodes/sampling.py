"""ModelSamplingAuraFlow, CFGNorm, KSampler, VAEDecode, VAEEncode, EmptySD3LatentImage: what paints."""

from typing import Any

from ...errors import InputError
from ..api import io
from ..engine import HostModel
from ..pack import engine_module
from ..preview import Previewer

LARGEST_SIDE = 16384
_SCHEDULERS = ["simple"]
_SEED_TIP = "Seed of the noise: the same seed paints the same picture."
_CFG_TIP = "Strength of classifier-free guidance: 1 is none and twice as fast; the official workflows use 2.5 to 4."
_KNOWN_CONDITIONS = {"attention_mask", "pooled_output", "reference_latents", "reference_latents_method"}


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
        from ...qwen.sampling import SAMPLERS

        def number(tooltip: str, **options: Any) -> dict[str, Any]:
            return {**options, "tooltip": tooltip}

        seed = {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}
        cfg = {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}
        denoise_tip = (
            "Share of the way that is painted: 1 starts from noise alone, less keeps the given latents' forms."
        )
        return {
            "required": {
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
        }

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
        import torch

        from ...qwen.latents import latent_statistics
        from ...qwen.sampling import auraflow_table, flux_table, guided, initial_noise, sample, simple_schedule

        latents = _latents(latent_image)
        if denoise == 0:
            return ({**latent_image, "samples": latents},)
        engine = engine_module().current()
        previewer = Previewer(engine)
        transformer = engine.transformer_of(model)
        mean, std = latent_statistics()
        start = None if torch.count_nonzero(latents) == 0 else (latents.float() - mean) / std
        table = flux_table() if model.shift is None else auraflow_table(model.shift)
        schedule = simple_schedule(table, steps, denoise)
        noise = initial_noise(latents.shape, seed).to(engine.device)
        denoiser = guided(
            _denoiser(transformer, positive, "positive"),
            _denoiser(transformer, negative, "negative"),
            cfg,
            model.cfg_norm,
        )
        progress = engine.progress(steps)

        def tell(step: int, total: int, estimate: Any, _: Any) -> None:
            progress.update(step + 1, total, previewer(estimate.cpu() * std + mean))

        start = None if start is None else start.to(engine.device)
        painted = sample(denoiser, noise, schedule, tell, latents=start, sampler=sampler_name)
        return ({**latent_image, "samples": painted.float().cpu() * std + mean},)


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


def _latents(latent_image: dict[str, Any]) -> Any:
    """The latents [B, 16, 1, h, w] of a LATENT. Raises InputError for what this host cannot do with one."""
    strange = sorted({"noise_mask", "batch_index"} & set(latent_image))
    if strange:
        raise InputError(f"the embedded host's KSampler does not offer latents with {', '.join(strange)}")
    samples = latent_image["samples"]
    cells = samples if samples.ndim == 5 else samples.unsqueeze(2)
    if cells.ndim != 5 or cells.shape[1] != 16 or cells.shape[2] != 1:
        raise InputError(
            f"latents of shape {list(samples.shape)} are not those of Qwen-Image, [B, 16, 1, h, w]: link the LATENT "
            "of CCM Conditioning"
        )
    return cells


def _denoiser(transformer: Any, conditioning: list, name: str) -> Any:
    """The transformer under one CONDITIONING. Raises InputError for what this host cannot do with one."""
    from ...qwen.denoiser import denoiser
    from ...qwen.encode import Conditioning
    from ...qwen.latents import latent_statistics

    if len(conditioning) != 1:
        raise InputError(f"the {name} conditioning has {len(conditioning)} parts; the embedded host takes one")
    embeds, extra = conditioning[0]
    strange = sorted(key for key, value in extra.items() if key not in _KNOWN_CONDITIONS and value is not None)
    if strange:
        raise InputError(f"the embedded host's KSampler does not offer conditioning with {', '.join(strange)}")
    method = extra.get("reference_latents_method")
    own = "index_timestep_zero" if transformer.config.zero_cond_t else "index"
    if method not in (None, own):
        raise InputError(f"this model sees references by {own!r}, but the {name} conditioning asks for {method!r}")
    mean, std = latent_statistics()
    references = [(latent.float() - mean) / std for latent in extra.get("reference_latents") or []]
    return denoiser(transformer, Conditioning(embeds, extra.get("attention_mask")), references)


NODES = [
    (ModelSamplingAuraFlow, "ModelSamplingAuraFlow", "comfy_extras.nodes_model_advanced"),
    (CFGNorm, None, "comfy_extras.nodes_cfg"),
    (KSampler, "KSampler", "nodes"),
    (VAEDecode, "VAE Decode", "nodes"),
    (VAEEncode, "VAE Encode", "nodes"),
    (EmptySD3LatentImage, "EmptySD3LatentImage", "comfy_extras.nodes_sd3"),
]
