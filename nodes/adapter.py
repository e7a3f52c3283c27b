"""Nodes that apply and inspect adapters."""

import json
from functools import partial
from typing import Any

from comfy_api.latest import io

from ..wdlora.errors import InputError
from . import engine, files, tensors
from .watching import watched

CATEGORY = "CCM/model"
NAMED = files.Named()
STRENGTH = {"min": -10.0, "max": 10.0, "step": 0.05, "round": 0.001}


class WDLoRAApply(io.ComfyNode):
    """Applies an adapter to a model, direction and magnitude apart."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WDLoRAApply",
            display_name="WDLoRA Apply (Load LoRA)",
            category=CATEGORY,
            description="Applies a weight-decomposed (WDLoRA, DoRA) or plain low-rank adapter of any dialect exactly, "
            "alone or after other LoRAs, which it scales and does not erase. Strengths 1 and 1 are the adapter as "
            "trained, 0 and 0 the model without it.",
            search_aliases=["lora", "dora", "load lora", "apply lora", "adapter", "peft", "wdlora", "LoraLoader"],
            inputs=[
                io.Model.Input("model", tooltip="The transformer of Qwen-Image-Edit; it may carry other LoRAs."),
                io.Combo.Input(
                    "adapter",
                    options=files.names("loras"),
                    default=files.NONE,
                    tooltip="The adapter, a .safetensors file in models/loras, written by peft, diffusers or "
                    "ComfyUI. None: the model is passed on unchanged.",
                ),
                io.Float.Input(
                    "direction_strength",
                    default=1.0,
                    **STRENGTH,
                    tooltip="How far the rows of the weights turn: 1 as trained, 0 not at all (no unit).",
                ),
                io.Float.Input(
                    "magnitude_strength",
                    default=1.0,
                    **STRENGTH,
                    tooltip="How far the lengths of the rows change: 1 as trained, 0 not at all (no unit). Without "
                    "effect on plain LoRA.",
                ),
                io.String.Input(
                    "sha256",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="SHA-256 of the adapter's file, 64 hex digits. If given, another file of the same name "
                    "is refused, and the message about a missing file contains it.",
                ),
                io.String.Input(
                    "linked_adapter",
                    optional=True,
                    force_input=True,
                    tooltip="Name of a file in models/loras from another node, such as WDLoRA Train; it replaces "
                    "the adapter chosen above.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model with the adapter."),
                io.String.Output(
                    display_name="report",
                    tooltip="What was applied: file, hash, layers, keys that do not fit, and whether the base differs.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, adapter: Any, linked_adapter: Any = "") -> Any:
        """A missing file; ComfyUI repeats a refusal at every input named here, so `execute` checks `sha256`."""
        if linked_adapter is None or adapter == files.NONE:  # None: linked, so not known yet
            return True
        return files.sentence(_adapter_file, adapter, "")

    @classmethod
    def check_inputs(cls, adapter: Any, sha256: Any = "", linked_adapter: Any = "") -> Any:
        """What is wrong, at its own input: for the embedded host."""
        if linked_adapter is None or adapter == files.NONE:
            return []
        return files.problems(_adapter_file, adapter, sha256)

    @classmethod
    def fingerprint_inputs(cls, adapter: Any, linked_adapter: Any = "", **_: Any) -> Any:
        from ..wdlora.files import sha256

        if adapter is None or linked_adapter is None:
            return NAMED.changes()
        if adapter == files.NONE:
            return None
        return [sha256(path) if path.is_file() else "" for path in _with_settings(_adapter_file(adapter, ""))]

    @classmethod
    @files.without_paths
    def execute(
        cls,
        model: Any,
        adapter: str,
        direction_strength: float,
        magnitude_strength: float,
        sha256: str = "",
        linked_adapter: str | None = None,
    ) -> Any:
        from ..wdlora.adapter import Adapter
        from ..wdlora.files import sha256 as hash_of

        name = linked_adapter or adapter
        if name == files.NONE:
            return io.NodeOutput(model, "No adapter: the model is passed on as it is.")
        path = watched(partial(_adapter_file, name, sha256))
        NAMED.note(*_with_settings(path))
        loaded = Adapter.load(path)
        host = engine.current()
        patched, found = host.patch(model, loaded, direction_strength, magnitude_strength)
        kind = "WDLoRA" if loaded.weight_decomposed else "plain LoRA"
        lines = [
            f"{name}: {kind}, rank {loaded.rank}, {loaded.dialect} dialect",
            f"SHA-256 {watched(partial(hash_of, path))}",
            f"direction strength {direction_strength:g}, magnitude strength {magnitude_strength:g}",
            f"{len(found.matched)} layers changed",
        ]
        if found.unmatched:
            left_out = f"{len(found.unmatched)} layers of the adapter are not in this model and were left out"
            host.progress(1).text(left_out)
            lines.append(f"{left_out}:")
            lines += [f"  {layer}" for layer in found.unmatched]
        lines += [f"Note: {note}" for note in loaded.notes]
        if found.base:
            lines.append(f"Base: {found.base}")
        return io.NodeOutput(patched, "\n".join(lines))


class WDLoRAInspect(io.ComfyNode):
    """Shows what an adapter holds and how far it moves its base."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WDLoRAInspect",
            display_name="WDLoRA Inspect",
            category=CATEGORY,
            description="Shows the contents of an adapter file and, compared with its base model, how far the rows "
            "of every layer turned (degrees) and how much their lengths changed (%).",
            search_aliases=["lora info", "dora", "adapter info", "metadata", "rank", "plot lora"],
            is_output_node=True,
            inputs=[
                io.Combo.Input(
                    "adapter",
                    options=files.names("loras"),
                    default=files.NONE,
                    tooltip="The adapter, a .safetensors file in models/loras.",
                ),
                io.Combo.Input(
                    "base",
                    options=[files.NONE, *_bases()],
                    default=files.NONE,
                    tooltip="The base model, a file in models/diffusion_models or 'miniature'. None: the plot shows "
                    "only the size of the updates. A full-size base takes minutes.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="plot",
                    tooltip="Two maps, layer × block: turn of the rows in degrees, change of their lengths in %.",
                ),
                io.String.Output(display_name="report", tooltip="The report as text."),
                io.String.Output(display_name="json", tooltip="The same as JSON, with every layer."),
            ],
        )

    @classmethod
    def validate_inputs(cls, adapter: Any) -> Any:
        return files.sentence(_adapter_file, adapter, "")

    @classmethod
    def fingerprint_inputs(cls, adapter: Any, base: Any) -> Any:
        if None in (adapter, base):
            return NAMED.changes()
        path, other = _inspected(adapter, base)
        return [files.stamp(one) for one in (*_with_settings(path), *([] if other is None else [other]))]

    @classmethod
    @files.without_paths
    def execute(cls, adapter: str, base: str) -> Any:
        from ..wdlora.adapter import Adapter
        from ..wdlora.adapter.plot import moved_picture, size_picture
        from ..wdlora.adapter.report import adapter_report, report_text

        path, other = _inspected(adapter, base)
        NAMED.note(*_with_settings(path), *([] if other is None else [other]))
        loaded = Adapter.load(path, other)
        host = engine.current()

        def watched(layers: Any) -> Any:
            listed = list(layers)
            progress = host.progress(len(listed))
            for layer in listed:
                yield layer
                progress.advance()

        report, moved = adapter_report(loaded, other, watched)
        title = f"What {adapter} changes"
        picture = size_picture(loaded, title) if moved is None else moved_picture(moved, title)
        image = tensors.as_image([picture])
        text = report_text(report)
        return io.NodeOutput(image, text, json.dumps(report, indent=1), ui={**_preview(image), "text": [text]})


def _preview(image: Any) -> dict[str, Any]:
    """The picture under the node, without the graph, which holds names of files."""
    from comfy_api.latest import ui

    return dict(ui.PreviewImage(image).as_dict())


def _adapter_file(name: str, sha256: str) -> Any:
    from ..wdlora.files import sha256 as hash_of

    wanted = sha256.strip().lower()
    path = files.model_file("loras", name, "adapter", wanted, input="adapter")
    if wanted and hash_of(path) != wanted:
        raise InputError(
            f"the adapter {name!r} is another file than the workflow asks for: its SHA-256 is {hash_of(path)}, not "
            f"{wanted}; put the right file into models/loras, or clear sha256",
            input="sha256",
        )
    return path


def _with_settings(adapter: Any) -> list[Any]:
    """An adapter's file, and the settings beside it, which peft reads with it."""
    from ..wdlora.adapter.configuration import PEFT_CONFIG

    return [adapter, adapter.with_name(PEFT_CONFIG)]


def _bases() -> list[str]:
    import folder_paths

    return ["miniature", *folder_paths.get_filename_list("diffusion_models")]


def _inspected(adapter: str, base: str) -> tuple[Any, Any]:
    path = _adapter_file(adapter, "")
    if base == files.NONE:
        return path, None
    if base == "miniature":
        from ..wdlora.qwen.miniature_files import miniature_files

        return path, miniature_files().transformer
    return path, files.model_file("diffusion_models", base, "base model")


NODES = [WDLoRAApply, WDLoRAInspect]
