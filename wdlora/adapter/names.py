"""The names of an adapter's tensors in every dialect, and of the modules they belong to.

A module's name is the one of diffusers' QwenImageTransformer2DModel, `transformer_blocks.0.attn.to_q`; ComfyUI
uses the same. Dialects differ in the prefix, in the suffix, and in whether dots were flattened to underscores.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

# Every linear module of the MMDiT: within block N, and outside the blocks (its width does not matter).
BLOCK_MODULES = (
    "attn.to_q",
    "attn.to_k",
    "attn.to_v",
    "attn.to_out.0",
    "attn.add_q_proj",
    "attn.add_k_proj",
    "attn.add_v_proj",
    "attn.to_add_out",
    "img_mod.1",
    "img_mlp.net.0.proj",
    "img_mlp.net.2",
    "txt_mod.1",
    "txt_mlp.net.0.proj",
    "txt_mlp.net.2",
)
OUTER_MODULES = (
    "img_in",
    "txt_in",
    "time_text_embed.timestep_embedder.linear_1",
    "time_text_embed.timestep_embedder.linear_2",
    "norm_out.linear",
    "proj_out",
)
BLOCK = re.compile(r"transformer_blocks\.(\d{1,4})\.(.+)")

# Prefixes and the dialect that they betray; the longer before the shorter that it contains.
DOTTED_PREFIXES = {
    "base_model.model.": "peft",
    "model.diffusion_model.": "comfyui",
    "diffusion_model.": "comfyui",
    "transformer.": "diffusers",
    "pipe.": "",
    "dit.": "DiffSynth",
    "module.": "",  # torch's DistributedDataParallel
}
FLAT_PREFIXES = {"lora_unet_": "kohya", "lora_transformer_": "kohya", "lycoris_": "lycoris"}

# What torch.compile, FSDP and activation checkpointing put around modules, at any depth.
WRAPPERS = re.compile(r"(?<![A-Za-z0-9])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)[._]")

_NAME = r"(?:\.[\w-]+)?"  # the adapter's name, which peft leaves in when a raw state dict is saved
SUFFIXES = {
    "lora_a": re.compile(
        rf"\.lora_A(?:{_NAME}\.weight)?|\.lora_down\.weight|[._]lora\.down\.weight|\.lora_linear_layer\.down\.weight"
    ),
    "lora_b": re.compile(
        rf"\.lora_B(?:{_NAME}\.weight)?|\.lora_up\.weight|[._]lora\.up\.weight|\.lora_linear_layer\.up\.weight"
    ),
    "magnitude": re.compile(rf"\.lora_magnitude_vector{_NAME}(?:\.weight)?|\.magnitude"),
    "dora_scale": re.compile(r"\.dora_scale"),
    "alpha": re.compile(r"\.alpha"),
}
SPLIT = re.compile("(?P<module>.+?)(?:" + "|".join(f"(?P<{part}>{s.pattern})" for part, s in SUFFIXES.items()) + ")")

# Ways to adapt a weight that are not low-rank factors, by a piece of their keys.
OTHER_METHODS = {
    r"\.hada_[wt]\d": "LoHa (LyCORIS, a Hadamard product)",
    r"\.lokr_[wt]\d": "LoKr (LyCORIS, a Kronecker product)",
    r"\.lora_mid\.": "LoCon with a Tucker core (lora_mid)",
    r"\.oft_(blocks|diag)|\.oft_R\b": "OFT (orthogonal fine-tuning)",
    r"\.boft_|\.diag_b": "BOFT or diagonal OFT (orthogonal fine-tuning)",
    r"\.(a1|a2|b1|b2|bm)\.weight": "GLoRA (LyCORIS)",
    r"\.on_input": "IA3 (LyCORIS)",
    r"\.ia3_l\b": "IA3",
    r"\.vera_lambda|\bvera_[AB]\b": "VeRA",
    r"\.lora_E\b": "AdaLoRA",
    r"\.(diff|diff_b|set_weight|w_norm|b_norm)\b": "whole weight differences (diff)",
    r"\.reshape_weight": "a LoRA that enlarges its base (reshape_weight)",
    r"\.lora_[AB]\b.*\.bias$": "a LoRA with biases",
}
# What ComfyUI's own loader applies as published, before WDLoRA Apply.
IN_CORE = re.compile(r"^(LoHa|LoKr|LoCon|OFT|BOFT|GLoRA|whole weight)")

# Differences, which change nothing where they are 0 (LyCORIS, kohya, peft with lora_bias).
DIFFERENCES = re.compile(r".*(?:\.diff|\.diff_b|\.w_norm|\.b_norm|\.lora_B(?:\.[\w-]+)?\.bias)")

_TEXT_ENCODER = (
    r"lora_te\d*_|text_encoders?[._\d]|\bte\d?\.|text_model[._]|language_model[._]|cond_stage_model|conditioner\b|"
    r"(?:^|[._])model[._]layers[._]\d+[._](?:self_attn|mlp)"
)
# Whose layers are named so, first match first.
OTHER_MODELS = {
    _TEXT_ENCODER: "a text encoder",
    r"visual[._]blocks": "a vision tower",
    r"double_blocks|single_blocks|single_transformer_blocks": "Flux or HunyuanVideo",
    r"(?:down|up|input|output)_blocks|mid_block|middle_block": "a U-Net such as Stable Diffusion's",
    r"joint_blocks": "Stable Diffusion 3",
    r"(?:^|[._])blocks[._]\d+[._](?:self|cross)_attn": "Wan",
    r"first_stage_model|(?:^|[._])vae[._]|(?:encoder|decoder)[._](?:conv|up|down)": "a VAE",
    r"control(?:net|_model)": "a ControlNet",
}
# What keys are that belong to no way of adapting.
OTHER_KEYS = {
    r"\.base_layer\.": "weights of the base itself",
    r"(?:modules_to_save|original_module)\.": "whole layers (peft's modules_to_save)",
    r"\.(?:exp_avg|exp_avg_sq|step)$|optimizer|optimiser": "an optimiser's state",
    r"\bema_|\.ema\b|shadow": "running means of a training",
    r"emb_params|string_to_param|clip_[lg]$|token_adapter|embed_tokens": "an embedding",
    r"\.(?:weight|bias)$": "whole weights or biases of layers",
    r"\.(?:scale|norm|gate|router)\b": "numbers of another method",
}


@dataclass(frozen=True)
class Key:
    """A tensor's key, understood: which part of which module, and in whose dialect."""

    module: str
    part: str
    dialect: str
    flat: bool


def parse(key: str) -> Key | None:
    """Take a key apart; None if it is not one of a low-rank adapter. The module is not yet checked or unflattened."""
    match = SPLIT.fullmatch(WRAPPERS.sub("", key))
    if match is None:
        return None
    part = str(match.lastgroup)
    suffix = match[part]
    module, dialect = match["module"], ""
    for prefix, name in FLAT_PREFIXES.items():
        if module.startswith(prefix):
            return Key(module.removeprefix(prefix), part, name, True)
    while prefix := next((p for p in DOTTED_PREFIXES if module.startswith(p)), ""):
        module = module.removeprefix(prefix)
        dialect = dialect or DOTTED_PREFIXES[prefix]
    if ".processor." in module or suffix.startswith("_lora"):  # diffusers' attention processors of 2023
        module = re.sub(r"\.to_out$", ".to_out.0", module.replace(".processor.", "."))
    if not dialect and "lora" in suffix and (".down." in suffix or ".up." in suffix):
        dialect = "diffusers"
    return Key(module, part, dialect or "without prefix", False)


def other_method(keys: Iterable[str]) -> tuple[str, list[str]] | None:
    """The name of an adaptation other than LoRA that some of `keys` belong to, and these keys."""
    keys = list(keys)
    for pattern, name in OTHER_METHODS.items():
        found = [key for key in keys if re.search(pattern, key)]
        if found:
            return name, found
    return None


def of_text_encoder(key: str) -> bool:
    """Whether a key names a layer of a text encoder."""
    return re.search(_TEXT_ENCODER, key) is not None


def whose(key: str) -> str:
    """In words whose layer a key of a low-rank adapter names; empty where the name does not tell."""
    return next((owner for pattern, owner in OTHER_MODELS.items() if re.search(pattern, key)), "")


def what(key: str) -> str:
    """In words what a key is that belongs to no low-rank adapter; empty where it does not tell."""
    return next((kind for pattern, kind in OTHER_KEYS.items() if re.search(pattern, key)), "") or whose(key)


def is_qwen_image(module: str) -> bool:
    """Whether a Qwen-Image MMDiT (of any size) has a linear module of this name."""
    match = BLOCK.fullmatch(module)
    return match[2] in BLOCK_MODULES if match else module in OUTER_MODULES


def unflattened(flat: str, modules: Iterable[str] | None = None) -> str | None:
    """The module whose dots became underscores: among `modules`, else among Qwen-Image's. None if there is none."""
    if modules is not None:
        return next((name for name in modules if name.replace(".", "_") == flat), None)
    match = re.fullmatch(r"transformer_blocks_(\d{1,4})_(.+)", flat)
    if match:
        inner = _flat_modules().get(match[2])
        return inner and f"transformer_blocks.{match[1]}.{inner}"
    return next((name for name in OUTER_MODULES if name.replace(".", "_") == flat), None)


@cache
def _flat_modules() -> dict[str, str]:
    return {name.replace(".", "_"): name for name in BLOCK_MODULES}


def block_and_target(module: str) -> tuple[int | None, str]:
    """`transformer_blocks.3.attn.to_q` → (3, "attn.to_q"); a module outside the blocks → (None, its name)."""
    match = BLOCK.fullmatch(module)
    return (int(match[1]), match[2]) if match else (None, module)


def natural(module: str) -> tuple:
    """A sort key that puts block 2 before block 10."""
    return tuple((0, int(piece), "") if piece.isdigit() else (1, 0, piece) for piece in module.split("."))
