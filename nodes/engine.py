"""The narrow seam between the nodes and the host that runs them.

Nodes speak to `current()` alone. In ComfyUI it is the engine of `comfyui/`, on ComfyUI's own MODEL, CLIP
and VAE; the embedded host registers its twin on diffusers before it asks for the nodes. Nothing is guessed from
what can be imported.

Shapes are ComfyUI's: IMAGE float [B, H, W, 3] and MASK float [B, H, W] in [0, 1], latents [B, 16, 1, h, w],
CONDITIONING [[embeddings [1, tokens, hidden], {"attention_mask": …, "reference_latents": […], …}]].
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..wdlora.adapter.fit import PatchReport
    from ..wdlora.qwen.variant import Known


class Progress(Protocol):
    """The progress bar of the running node."""

    def update(self, value: float, total: float | None = None, preview: Any = None) -> None:
        """Say that `value` of `total` is done; `preview` is a PIL image. Raises the host's interruption."""

    def advance(self, step: float = 1) -> None:
        """Say that `step` more is done. Raises the host's interruption."""

    def text(self, text: str) -> None:
        """Show a line of text on the node. Raises the host's interruption."""


class Engine(Protocol):
    """What a host must do for the nodes."""

    name: str

    def load_model(self, path: str, dtype: str = "default", variant: str | None = None) -> Any:
        """MODEL of a single file or of a diffusers folder (the one with model_index.json, or `transformer`).

        variant: "edit", "2509" or "2511"; None: as the file and its name tell.
        dtype: "default" keeps what the file holds, or "bfloat16", "float16", "float32", "fp8_e4m3fn".
        """

    def load_clip(self, path: str, variant: str | None = None) -> Any:
        """CLIP of a single file or a diffusers folder; `variant`: of the transformer loaded with it, if known."""

    def load_vae(self, path: str) -> Any:
        """VAE of a single file or a diffusers folder."""

    def variant_of(self, part: Any) -> "Known":
        """Which Qwen-Image-Edit a MODEL or CLIP belongs to, whatever loaded it and whatever was applied to it since."""

    def encode(self, clip: Any, prompt: str, images: Sequence[Any], variant: str) -> list:
        """CONDITIONING of a prompt and one to three IMAGEs [1, H, W, 3], each through the one VL view.

        variant: "edit", "2509" or "2511": which template of Qwen-Image-Edit the text takes.
        """

    def deferred(self, make: Callable[[], list]) -> Sequence[Any]:
        """The CONDITIONING that `make` gives, at once or when it is first looked at, as the host likes."""

    def vae_encode(self, vae: Any, image: Any) -> Any:
        """IMAGE [B, H, W, 3], sides multiples of 16 → latents [B, 16, 1, H/8, W/8], unscaled."""

    def vae_decode(self, vae: Any, latents: Any) -> Any:
        """Latents [B, 16, 1, h, w] or [B, 16, h, w] → IMAGE [B, 8h, 8w, 3]."""

    def patch(
        self, model: Any, adapter: Any, direction_strength: float, magnitude_strength: float
    ) -> tuple[Any, "PatchReport"]:
        """MODEL with an `Adapter` applied (docs/reference/dora-in-comfyui.md); the given MODEL is unchanged."""

    def progress(self, total: float) -> Progress:
        """Progress bar of the running node."""

    def check_interrupted(self) -> None:
        """Raise the host's own interruption if the user asked to stop; call it in loops."""

    def unload(self) -> None:
        """Free the memory that models hold, for a process that is about to start."""


_registered: list[Engine] = []


def register(engine: Engine) -> None:
    """Make `engine` the one that nodes use; the embedded host calls this."""
    _registered[:] = [engine]


def note_studies() -> None:
    """Have ComfyUI write the hashes of a graph's studies into its pictures; the embedded host does so unasked."""
    if not _registered:
        from .comfyui.queueing import note_studies as noted

        noted()


def current() -> Engine:
    """The engine of the host that runs the nodes; ComfyUI's where no other was registered."""
    if not _registered:
        from .comfyui.engine import ComfyEngine

        register(ComfyEngine())
    return _registered[0]
