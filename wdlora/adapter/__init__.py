"""The adapter file: every dialect read, peft's, diffusers' and ComfyUI's written.

from wdlora.adapter import Adapter
adapter = Adapter.load("adapter.safetensors")
weight = adapter.layers["transformer_blocks.0.attn.to_q"].compose(base_weight)
adapter.save("for_comfyui.safetensors", dialect="comfyui", base="qwen_image_edit_bf16.safetensors")
"""

from .file import DIALECTS, Adapter
from .layer import AdapterLayer
from .metadata import Metadata

__all__ = ["DIALECTS", "Adapter", "AdapterLayer", "Metadata"]
