"""The seam of `nodes/engine.py` on ComfyUI's own MODEL, CLIP and VAE; the twin of `wdlora/host/engine.py`.

Everything goes through ComfyUI's loaders and its ModelPatcher, so that samplers, offloading, previews and other
LoRAs work as ever.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import comfy.model_management
import comfy.sd
import comfy.utils
import torch

from ...wdlora.errors import InputError
from ...wdlora.qwen.checkpoint import Checkpoint, part_of, text_encoder_names, vae_config
from ...wdlora.qwen.variant import Known
from ...wdlora.weights.dtypes import torch_type
from .loading import load_transformer, text_encoder_tensors
from .marks import known_variant, mark
from .patching import patch
from .registered import keep_registered
from .text_encoder import load_text_encoder

if TYPE_CHECKING:
    from ...wdlora.adapter import Adapter
    from ...wdlora.adapter.fit import PatchReport

PREVIEW_SIDE = 512
OFFICIAL_TEXT_WIDTH = 3584
"""What ComfyUI's detection takes for granted of the text encoder of Qwen-Image."""


class ComfyProgress:
    """ComfyUI's progress bar on the running node."""

    def __init__(self, total: float):
        self._bar = comfy.utils.ProgressBar(total)
        self._value = 0.0

    def update(self, value: float, total: float | None = None, preview: Any = None) -> None:
        """Say that `value` of `total` is done; `preview` is a PIL image. Raises ComfyUI's interruption."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._value = value
        picture = None if preview is None else ("JPEG", preview.convert("RGB"), PREVIEW_SIDE)
        self._bar.update_absolute(value, total, picture)

    def advance(self, step: float = 1) -> None:
        """Say that `step` more is done."""
        self.update(self._value + step)

    def text(self, text: str) -> None:
        """Show a line of text on the running node. Raises ComfyUI's interruption."""
        from comfy_execution.utils import get_executing_context
        from server import PromptServer

        comfy.model_management.throw_exception_if_processing_interrupted()
        context = get_executing_context()
        server = getattr(PromptServer, "instance", None)
        if context is not None and server is not None:
            server.send_progress_text(text, context.node_id, server.client_id)


class ComfyEngine:
    """Does what the nodes ask with ComfyUI's own objects."""

    name = "ComfyUI"

    def load_model(self, path: str, dtype: str = "default", variant: str | None = None) -> Any:
        """MODEL of a single file or of a diffusers folder; a 2511 sees its references at timestep zero."""
        model = load_transformer(str(part_of(path, "transformer")), torch_type(dtype), variant == "2511")
        mark(model, variant)
        keep_registered(model)
        return model

    def load_clip(self, path: str, variant: str | None = None) -> Any:
        """CLIP of a single file or a diffusers folder; see `_load_clip`."""
        clip = self._load_clip(path)
        mark(clip.patcher, variant)
        return clip

    def variant_of(self, part: Any) -> Known:
        """Which Qwen-Image-Edit a MODEL or CLIP belongs to, by whatever loader; see `marks.py`."""
        return known_variant(part)

    def _load_clip(self, path: str) -> Any:
        """CLIP of a single file or a diffusers folder.

        ComfyUI brings the tokenizer of Qwen2.5-VL-7B. An encoder of another width has one of its own, which is
        looked for beside the file and in the folders above it.
        """
        import folder_paths

        place = part_of(path, "text_encoder")
        weights = Checkpoint(place)
        names = text_encoder_names(weights)
        width = names.get("language_model.norm.weight")
        if width is None or weights.shape(width) != (OFFICIAL_TEXT_WIDTH,):
            return load_text_encoder(str(place))
        embeddings = folder_paths.get_folder_paths("embeddings")
        kind = comfy.sd.CLIPType.QWEN_IMAGE
        if place.is_file() and "model.norm.weight" in weights and "visual.patch_embed.proj.weight" in weights:
            return comfy.sd.load_clip([str(place)], embedding_directory=embeddings, clip_type=kind)
        tensors = text_encoder_tensors(weights, names)
        return comfy.sd.load_text_encoder_state_dicts([tensors], embedding_directory=embeddings, clip_type=kind)

    def load_vae(self, path: str) -> Any:
        """VAE of a single file or a diffusers folder, in ComfyUI's (Wan's) layout or in diffusers'."""
        weights = Checkpoint(part_of(path, "vae"))
        _, wan = vae_config(weights)
        if wan and len(weights.files) == 1:
            file = str(weights.files[0])
            tensors, metadata = comfy.utils.load_torch_file(file, return_metadata=True)
            vae = comfy.sd.VAE(sd=tensors, metadata=metadata)
            vae.throw_exception_if_invalid()
            vae.patcher.cached_patcher_init = (comfy.sd.load_vae_patcher, (file, metadata, None))
            return vae
        from ...wdlora.qwen.wan_names import wan_name

        vae = comfy.sd.VAE(sd={name if wan else wan_name(name): weights.read(name) for name in weights})
        vae.throw_exception_if_invalid()
        return vae

    def encode(self, clip: Any, prompt: str, images: Sequence[Any], variant: str) -> list:
        """CONDITIONING of a prompt and IMAGEs [1, H, W, 3], each in the one VL view, which ComfyUI leaves as it is."""
        from ...wdlora.qwen.encode import check_tokens, prompt_text
        from ...wdlora.qwen.vl_view import vl_view

        views = [vl_view(image[..., :3].movedim(-1, 1)).movedim(1, -1) for image in images]
        tokens = clip.tokenize(prompt_text(prompt, len(views), variant), images=views)
        conditioning = clip.encode_from_tokens_scheduled(tokens)
        check_tokens(conditioning[0][0].shape[1])
        return conditioning

    def deferred(self, make: Callable[[], list]) -> list:
        """The CONDITIONING that `make` gives, at once: ComfyUI's samplers take lists."""
        return make()

    def vae_encode(self, vae: Any, image: Any) -> Any:
        """IMAGE [B, H, W, 3] → latents [B, 16, 1, H/8, W/8]; one at a time, because a batch is a video to this VAE."""
        from ...wdlora.qwen.latents import check_size

        check_size(*image.shape[1:3])
        return torch.cat([vae.encode(one[None, ..., :3]) for one in image])

    def vae_decode(self, vae: Any, latents: Any) -> Any:
        """Latents [B, 16, 1, h, w] or [B, 16, h, w] → IMAGE [B, 8h, 8w, 3]."""
        cells = latents if latents.ndim == 5 else latents.unsqueeze(2)
        if cells.ndim != 5 or cells.shape[2] != 1:
            raise InputError(f"latents of shape {list(latents.shape)} are not those of pictures [B, 16, 1, h, w]")
        return vae.decode(cells).flatten(0, 1)

    def patch(
        self, model: Any, adapter: "Adapter", direction_strength: float, magnitude_strength: float
    ) -> tuple[Any, "PatchReport"]:
        """A clone of MODEL with an adapter applied after what it carries; see `patching.py`."""
        patched, report = patch(model, adapter, direction_strength, magnitude_strength)
        keep_registered(patched)
        return patched, report

    def progress(self, total: float) -> ComfyProgress:
        """Progress bar of the running node."""
        return ComfyProgress(total)

    def check_interrupted(self) -> None:
        """Raise ComfyUI's interruption if the user asked to stop."""
        comfy.model_management.throw_exception_if_processing_interrupted()

    def unload(self) -> None:
        """Bring all models to main memory and give the accelerator's memory back."""
        comfy.model_management.unload_all_models()
        comfy.model_management.soft_empty_cache(True)
