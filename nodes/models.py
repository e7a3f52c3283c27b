"""The node that loads Qwen-Image-Edit."""

from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ..wdlora.errors import InputError
from ..wdlora.weights.dtypes import WEIGHT_TYPES
from . import engine, files

CATEGORY = "CCM/model"
SINGLE, FOLDER, MINIATURE = "single files", "diffusers folder", "miniature"
SOURCES = (SINGLE, FOLDER, MINIATURE)
AUTO = "auto"
NAMED = files.Named()
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json")
VARIANTS = (AUTO, "edit", "2509", "2511")


class WDLoRALoadQwenImageEdit(io.ComfyNode):
    """Loads the three parts of Qwen-Image-Edit."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WDLoRALoadQwenImageEdit",
            display_name="WDLoRA Load Qwen-Image-Edit",
            category=CATEGORY,
            description="Loads Qwen-Image-Edit, -2509 or -2511 from single files, from a diffusers folder, or the "
            "miniature that comes with this pack and runs on any CPU. Other loaders of the same types (GGUF, Load "
            "Diffusion Model) can replace it.",
            search_aliases=["Qwen", "load model", "checkpoint", "UNETLoader", "miniature", "diffusers", "unet", "clip"],
            inputs=model_inputs(),
            outputs=[
                io.Model.Output(display_name="model", tooltip="The transformer; link it to WDLoRA Apply."),
                io.Clip.Output(display_name="clip", tooltip="Qwen2.5-VL, which reads prompt and mask."),
                io.Vae.Output(display_name="vae", tooltip="The VAE, which converts between pixels and latents."),
                io.String.Output(
                    display_name="variant",
                    tooltip="edit, 2509 or 2511. CCM Conditioning gets it from model and clip without this link.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, diffusion_model: Any, text_encoder: Any, vae: Any, folder: Any) -> Any:
        """Keep ComfyUI from refusing files that `source` does not ask for.

        It would repeat a refusal from here at each of the four inputs, so `execute` says it, once.
        """
        return True

    @classmethod
    def check_inputs(cls, source: Any, diffusion_model: Any, text_encoder: Any, vae: Any, folder: Any) -> Any:
        """What is wrong, at its own input: for the embedded host."""
        return files.problems(lacking, source, diffusion_model, text_encoder, vae, folder)

    @classmethod
    def fingerprint_inputs(
        cls, source: Any, diffusion_model: Any, text_encoder: Any, vae: Any, folder: Any, **_: Any
    ) -> Any:
        given = (source, diffusion_model, text_encoder, vae, folder)
        return NAMED.changes() if None in given else stamps(*given)

    @classmethod
    @files.without_paths
    def execute(
        cls, source: str, diffusion_model: str, text_encoder: str, vae: str, folder: str, variant: str, dtype: str
    ) -> Any:
        transformer, encoder, autoencoder = places(source, diffusion_model, text_encoder, vae, folder)
        NAMED.note(*read_files(transformer, encoder, autoencoder))
        which = chosen_variant(source, transformer, variant)
        host = engine.current()
        progress = host.progress(3)
        progress.text(f"Qwen-Image-Edit ({which}): transformer")
        model = host.load_model(str(transformer), dtype, which)
        progress.advance()
        progress.text("text encoder")
        clip = host.load_clip(str(encoder), which)
        progress.advance()
        progress.text("VAE")
        decoder = host.load_vae(str(autoencoder))
        progress.advance()
        progress.text(f"Qwen-Image-Edit ({which}) is loaded")
        return io.NodeOutput(model, clip, decoder, which)


def model_inputs() -> list[Any]:
    """The inputs that say which Qwen-Image-Edit is meant."""
    return [
        io.Combo.Input(
            "source",
            options=list(SOURCES),
            default=SINGLE,
            tooltip="Where the weights come from. Single files: the three files chosen below. Diffusers folder: "
            "the folder chosen below. Miniature: the small model that comes with this pack; nothing else is read.",
        ),
        io.Combo.Input(
            "diffusion_model",
            options=files.names("diffusion_models"),
            default=files.NONE,
            tooltip="Single files: the transformer, a file in models/diffusion_models.",
        ),
        io.Combo.Input(
            "text_encoder",
            options=files.names("text_encoders"),
            default=files.NONE,
            tooltip="Single files: Qwen2.5-VL with its vision tower, a file in models/text_encoders.",
        ),
        io.Combo.Input(
            "vae",
            options=files.names("vae"),
            default=files.NONE,
            tooltip="Single files: the VAE of Qwen-Image, a file in models/vae.",
        ),
        io.Combo.Input(
            "folder",
            options=[files.NONE, *diffusers_folders()],
            default=files.NONE,
            tooltip="Diffusers folder: one with model_index.json, transformer, text_encoder, tokenizer and vae, "
            "below models/diffusers.",
        ),
        io.Combo.Input(
            "variant",
            options=list(VARIANTS),
            default=AUTO,
            tooltip="Which of the three models it is. Auto reads it from the folder or file name; choose it if they "
            "do not tell.",
        ),
        io.Combo.Input(
            "dtype",
            options=list(WEIGHT_TYPES),
            default="default",
            tooltip="How the transformer's weights are kept in memory. Default: as in the file. fp8 takes half the "
            "memory of bfloat16, and adapters stay exact.",
        ),
    ]


def diffusers_folders() -> list[str]:
    """Names of the folders with a model_index.json below models/diffusers, at most two levels down."""
    import folder_paths

    from ..wdlora.temporaries import visible

    found = set()
    for root in map(Path, folder_paths.get_folder_paths("diffusers")):
        for pattern in ("*/model_index.json", "*/*/model_index.json"):
            found.update(index.parent.relative_to(root).as_posix() for index in visible(root, pattern))
    return sorted(found)


def diffusers_folder(name: str) -> Path:
    """The diffusers folder of that name. Raises InputError where there is none, or where the name climbs out."""
    import folder_paths

    roots = folder_paths.get_folder_paths("diffusers")
    if not name or name == files.NONE:
        raise InputError("no diffusers folder is chosen: choose one; they belong into models/diffusers", input="folder")
    for root in roots:
        place = files.confined(root, name, "diffusers folder")
        if (place / "model_index.json").is_file():
            return place
    raise InputError(
        f"there is no diffusers folder {name!r} with a model_index.json in models/diffusers: put it there",
        input="folder",
    )


def places(
    source: str, diffusion_model: str, text_encoder: str, vae: str, folder: str
) -> tuple[Path | str, Path | str, Path | str]:
    """Where transformer, text encoder and VAE are. Raises InputError for what is missing, with its place."""
    if source == MINIATURE:
        from ..wdlora.qwen.miniature_files import miniature_files

        mini = miniature_files()
        return mini.transformer, mini.text_encoder, mini.vae
    if source == FOLDER:
        whole = diffusers_folder(folder)
        return whole, whole, whole
    if source != SINGLE:
        raise InputError(f"the source {source!r} is not known: choose one of {', '.join(SOURCES)}", input="source")
    found, missing = _single_files(diffusion_model, text_encoder, vae)
    if missing:
        raise InputError("; ".join(map(str, missing)), missing_file=any(error.missing_file for error in missing))
    return found[0], found[1], found[2]


def lacking(source: str, diffusion_model: str, text_encoder: str, vae: str, folder: str) -> list[InputError]:
    """What `places` would raise, one error an input."""
    if source == SINGLE:
        return _single_files(diffusion_model, text_encoder, vae)[1]
    places(source, diffusion_model, text_encoder, vae, folder)
    return []


def _single_files(diffusion_model: str, text_encoder: str, vae: str) -> tuple[list[Path], list[InputError]]:
    """The three files, and what is wrong with those that cannot be had."""
    found: list[Path] = []
    missing: list[InputError] = []
    for input, kind, name, what in (
        ("diffusion_model", "diffusion_models", diffusion_model, "diffusion model"),
        ("text_encoder", "text_encoders", text_encoder, "text encoder"),
        ("vae", "vae", vae, "VAE"),
    ):
        try:
            found.append(files.model_file(kind, name, what, input=input))
        except InputError as error:
            missing.append(error)
    return found, missing


def read_files(transformer: Path | str, encoder: Path | str, autoencoder: Path | str) -> list[Path]:
    """All that is read for the three parts: their files or folders, and those of the tokenizer."""
    from ..wdlora.qwen.tokenizer import find_tokenizer, tokenizer_places

    home = find_tokenizer(*tokenizer_places(Path(encoder)))
    words = [] if home is None else [home / name for name in TOKENIZER]
    return list(dict.fromkeys([Path(transformer), Path(encoder), Path(autoencoder), *words]))


def stamps(source: str, diffusion_model: str, text_encoder: str, vae: str, folder: str) -> list[str]:
    """What changes with the model's files. Raises InputError as `places` does."""
    return [files.stamp(path) for path in read_files(*places(source, diffusion_model, text_encoder, vae, folder))]


def chosen_variant(source: str, transformer: Path | str, given: str) -> str:
    """Which of the three models it is: "edit", "2509" or "2511"."""
    if source == MINIATURE:
        return "edit"
    from ..wdlora.qwen.variant import variant_at

    return variant_at(transformer, None if given == AUTO else given)


NODES = [WDLoRALoadQwenImageEdit]
