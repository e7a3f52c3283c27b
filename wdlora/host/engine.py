"""The seam of `nodes/engine.py` on diffusers: MODEL, CLIP and VAE of the embedded host.

The objects keep ComfyUI's conventions, so that a graph means the same in both hosts: latents outside the sampler
are the VAE's own (not normalised), and CONDITIONING and LATENT have ComfyUI's shapes.
"""

import gc
import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..weights.dtypes import torch_type
from .context import HostProgress, check_interrupted, running_graph
from .deferred import Deferred
from .hearing import interruptible
from .residency import Residents, T

if TYPE_CHECKING:
    import torch

    from ..adapter import Adapter
    from ..adapter.fit import PatchReport
    from ..qwen.plans import Plan
    from ..qwen.variant import Known


@dataclass(frozen=True)
class Patch:
    """An adapter at its strengths."""

    adapter: "Adapter"
    direction_strength: float
    magnitude_strength: float


@dataclass(frozen=True, eq=False)
class HostModel:
    """MODEL: a transformer, shared by all that derive from it, and what this one adds.

    shift: of ModelSamplingAuraFlow, None for the model's own schedule. cfg_norm: strength of CFGNorm, or None.
    patches: adapters in the order in which they were applied. path: the file, for hashes. variant: as its loader or the
    marker of 2511 says.
    """

    transformer: Any
    path: str
    shift: float | None = None
    cfg_norm: float | None = None
    patches: tuple[Patch, ...] = ()
    variant: str | None = None

    def having(self, **changes: Any) -> "HostModel":
        """This MODEL with some things changed."""
        return replace(self, **changes)


@dataclass(frozen=True, eq=False)
class HostClip:
    """CLIP: the vision–language encoder and its tokenizer."""

    text_encoder: Any
    tokenizer: Any
    path: str
    variant: str | None = None


@dataclass(frozen=True, eq=False)
class HostVae:
    """VAE: diffusers' AutoencoderKLQwenImage."""

    vae: Any
    path: str


def guides(node: Any) -> bool:
    """Whether a node of a graph is a sampler that reads its negative conditioning, or may be one."""
    cfg = node["inputs"].get("cfg")
    return cfg is not None and (not isinstance(cfg, int | float) or not math.isclose(cfg, 1))


@dataclass
class HostEngine:
    """Does what the nodes ask on diffusers. requested: "cpu", "cuda", …, or None for the best device there is.

    On an accelerator the parts of models stay while they fit; see `residency`.
    """

    requested: str | None = None
    name: str = "embedded"
    residents: Residents = field(default_factory=Residents)
    preview_maps: "weakref.WeakKeyDictionary[HostVae, Any]" = field(default_factory=weakref.WeakKeyDictionary)
    """What `preview.Previewer` fitted to each VAE."""
    _last_vae: "weakref.ref[HostVae] | None" = None

    @property
    def device(self) -> "torch.device":
        """Where models compute. Raises InputError for CUDA where there is none."""
        from ..qwen.memory import pick_device

        return pick_device(self.requested)

    def load_model(self, path: str, dtype: str = "default", variant: str | None = None) -> HostModel:
        """MODEL of a single file or of a diffusers folder; 2511 sees its references at timestep zero."""
        from ..qwen.checkpoint import MARKER_2511, Checkpoint, part_of, variant_of
        from ..qwen.plans import plan_transformer

        full = None if dtype == "fp8_e4m3fn" else torch_type(dtype)
        weights = Checkpoint(part_of(path, "transformer"))
        storage = {"default": "auto", "fp8_e4m3fn": "fp8"}.get(dtype, "full")
        at_zero = None if variant is None else variant == "2511"  # None: as the checkpoint says
        if variant_of(Path(path), weights) == "2511":
            at_zero = True
        known = "2511" if MARKER_2511 in weights else variant
        return HostModel(self._fill(plan_transformer(weights, at_zero, storage), full), str(path), variant=known)

    def load_clip(self, path: str, variant: str | None = None) -> HostClip:
        """CLIP of a single file or a diffusers folder.

        The tokenizer is looked for beside the file, in the folders above it, and in their subfolders `tokenizer`
        and `comfy/text_encoders`.
        """
        from ..qwen.checkpoint import Checkpoint, part_of
        from ..qwen.plans import plan_text_encoder
        from ..qwen.tokenizer import load_tokenizer, tokenizer_places

        place = part_of(path, "text_encoder")
        words = load_tokenizer(*tokenizer_places(place))
        return HostClip(self._fill(plan_text_encoder(Checkpoint(place), words)), words, str(path), variant)

    def variant_of(self, part: HostModel | HostClip) -> "Known":
        """Which Qwen-Image-Edit a MODEL or CLIP is of, by its loader, the marker of 2511, or its file's name."""
        from ..qwen.checkpoint import named_variant
        from ..qwen.variant import Known

        if part.variant is not None:
            return Known(part.variant, sure=True)
        return Known(named_variant(Path(part.path)) if isinstance(part, HostModel) else None)

    def load_vae(self, path: str) -> HostVae:
        """VAE of a single file or a diffusers folder."""
        from ..qwen.checkpoint import Checkpoint, part_of
        from ..qwen.plans import plan_vae

        loaded = HostVae(self._fill(plan_vae(Checkpoint(part_of(path, "vae")))), str(path))
        self._last_vae = weakref.ref(loaded)
        return loaded

    def _fill(self, plan: "Plan", dtype: "torch.dtype | None" = None) -> Any:
        """Read a planned part into main memory."""
        import torch

        from ..qwen.memory import pick_dtype

        part = plan.fill(torch.device("cpu"), pick_dtype(dtype, self.device), self.device)
        plan.weights.close()
        return part

    def encode(self, clip: HostClip, prompt: str, images: Sequence[Any], variant: str) -> list:
        """CONDITIONING of a prompt and IMAGEs [1, H, W, 3]."""
        from ..qwen.encode import encode

        pictures = tuple(image[..., :3].movedim(-1, 1) for image in images)
        conditioning = self.work(
            clip.text_encoder,
            lambda: encode(clip.text_encoder, clip.tokenizer, prompt, [pictures], variant),
        )
        extra: dict[str, Any] = {"pooled_output": None}
        if conditioning.mask is not None:
            extra["attention_mask"] = conditioning.mask.cpu()
        return [[conditioning.embeds.float().cpu(), extra]]

    def deferred(self, make: Callable[[], list]) -> Deferred:
        """A CONDITIONING that is encoded when it is first looked at, or now where a sampler of the job guides by it.

        Encoded now, it takes the device together with the others.
        """
        later = Deferred(make)
        if any(guides(node) for node in running_graph().values()):
            later.made()
        return later

    def vae_encode(self, vae: HostVae, image: Any) -> Any:
        """IMAGE [B, H, W, 3] → latents [B, 16, 1, H/8, W/8], unscaled: the mode of the posterior."""
        import torch

        from ..qwen.latents import check_size

        check_size(*image.shape[1:3])
        dtype = next(vae.vae.parameters()).dtype

        def encoded(one: Any) -> Any:
            with torch.no_grad():
                return vae.vae.encode(one[None].to(self.device, dtype)).latent_dist.mode().float().cpu()

        pixels = image[..., :3].movedim(-1, 1)[:, :, None] * 2 - 1
        return torch.cat([self.work(vae.vae, partial(encoded, one)) for one in pixels])

    def vae_decode(self, vae: HostVae, latents: Any) -> Any:
        """Latents [B, 16, 1, h, w] or [B, 16, h, w] → IMAGE [B, 8h, 8w, 3]."""
        import torch

        cells = latents if latents.ndim == 5 else latents.unsqueeze(2)
        if cells.ndim != 5 or cells.shape[2] != 1:
            raise InputError(f"latents of shape {list(latents.shape)} are not those of pictures [B, 16, 1, h, w]")
        dtype = next(vae.vae.parameters()).dtype

        def decoded(one: Any) -> Any:
            with torch.no_grad():
                pixels = vae.vae.decode(one[None].to(self.device, dtype), return_dict=False)[0][0, :, 0].float()
                return ((pixels + 1) / 2).clamp(0, 1).movedim(0, -1).cpu()

        return torch.stack([self.work(vae.vae, partial(decoded, one)) for one in cells])

    def patch(
        self, model: HostModel, adapter: "Adapter", direction_strength: float, magnitude_strength: float
    ) -> tuple[HostModel, "PatchReport"]:
        """MODEL with an adapter applied after those that it carries.

        Layers that the model lacks are left out and reported. Raises InputError where none fits, or where one has
        another shape.
        """
        from ..adapter.fit import PatchReport, base_sentence, fitting

        modules = dict(model.transformer.named_modules())

        def shape_of(name: str) -> tuple[int, int] | None:
            module = modules.get(name)
            return None if module is None else (getattr(module, "out_features", 0), getattr(module, "in_features", 0))

        fitted, unmatched = fitting(adapter, shape_of, Path(model.path).name)
        patched = model.having(
            patches=(*model.patches, Patch(fitted, float(direction_strength), float(magnitude_strength)))
        )
        return patched, PatchReport(tuple(fitted.layers), unmatched, base_sentence(fitted, model.path))

    def progress(self, total: float) -> HostProgress:
        """Progress bar of the running node."""
        return HostProgress(total)

    def check_interrupted(self) -> None:
        """Raise the host's interruption if the user asked to stop."""
        check_interrupted()

    def unload(self) -> None:
        """Bring every part of every model to main memory and give the accelerator's memory back."""
        import torch

        self.residents.leave()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def ready(self, part: Any) -> None:
        """Bring one part of a model to the device."""
        if self.device.type != "cpu":
            self.residents.bring(part, self.device)

    def work(self, part: Any, compute: Callable[[], T]) -> T:
        """What `compute` gives with one part of a model on the device. Raises Interrupted between its blocks."""
        with interruptible(part):
            return compute() if self.device.type == "cpu" else self.residents.work(part, self.device, compute)

    def transformer_of(self, model: HostModel) -> Any:
        """The transformer in the state that this MODEL asks for: its adapters on, no others, on the device."""
        from ..qwen.patch import AdapterStack

        stack = AdapterStack.of(model.transformer)
        wanted = [(patch.adapter, patch.direction_strength, patch.magnitude_strength) for patch in model.patches]
        carried = [(e.adapter, e.direction_strength, e.magnitude_strength) for e in stack.applied]
        same = len(wanted) == len(carried) and all(
            one[0] is other[0] and one[1:] == other[1:] for one, other in zip(wanted, carried, strict=True)
        )
        if not same:
            stack.clear()
        self.ready(model.transformer)
        if not same:
            for adapter, direction, magnitude in wanted:
                stack.add(adapter, direction, magnitude)
        return model.transformer

    def last_vae(self) -> HostVae | None:
        """The VAE that was loaded last, for previews."""
        return self._last_vae() if self._last_vae is not None else None
