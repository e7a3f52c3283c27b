"""The miniature through the pack's loaders: every token kept, built anew from its factory, in diffusers' layout."""

import importlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import DIFFUSERS, ENGINE, digest, fresh, loading, miniature, patching, relative, velocity


def check_tokens() -> dict[str, Any]:
    """The miniature's CLIP keeps every token of a prompt after the template, with one picture and with two."""
    encode = importlib.import_module("pack.wdlora.qwen.encode")
    view = importlib.import_module("pack.wdlora.qwen.vl_view")
    clip = ENGINE.load_clip(str(miniature.text_encoder))
    words = importlib.import_module("pack.wdlora.qwen.tokenizer").load_tokenizer(miniature.tokenizer)
    found = {}
    image = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(0))
    side = view.view_size(64, 96)
    count = side[0] * side[1] // 28**2
    for variant, images in (("edit", [image]), ("2511", [image, image])):
        text = encode.prompt_text("thin (curved:1.2) nerves", len(images), variant)
        ids, _, prefix = encode.token_ids(words, text, [count] * len(images))
        conditioning = ENGINE.encode(clip, "thin (curved:1.2) nerves", images, variant)
        found[variant] = {"kept": conditioning[0][0].shape[1], "expected": len(ids) - prefix}
    core = clip.encode_from_tokens_scheduled(clip.tokenize("thin nerves", images=[image]))
    ids, _, prefix = encode.token_ids(words, encode.prompt_text("thin nerves", 1, "edit"), [count])
    found["core node"] = {"kept": core[0][0].shape[1], "expected": len(ids) - prefix}
    return found


def check_cloned() -> dict[str, Any]:
    """Nodes that build a MODEL anew from its factory get the same weights."""
    model = fresh()
    factory, arguments = model.cached_patcher_init[:2]
    again = factory(*arguments, disable_dynamic=True)
    clip = ENGINE.load_clip(str(miniature.text_encoder))
    factory, arguments = clip.patcher.cached_patcher_init[:2]
    twin = factory(*arguments, disable_dynamic=True)
    one, other = clip.patcher.model.state_dict(), twin.model.state_dict()
    return {
        "model": digest(again) == digest(model),
        "clip": all(torch.equal(one[name], other[name]) for name in one),
        "file": Path(patching.file_of(model)).name,
    }


def check_diffusers_folder() -> dict[str, Any]:
    """The same model from shards in diffusers' layout: transformer, text encoder with its tokenizer, VAE."""
    image = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(0))
    found: dict[str, Any] = {}
    models, clips, latents, pictures = [], [], [], []
    for place in (None, str(DIFFUSERS)):
        models.append(velocity(ENGINE.load_model(place or str(miniature.transformer), "float32", "edit")))
        clips.append(ENGINE.encode(ENGINE.load_clip(place or str(miniature.text_encoder)), "nerves", [image], "edit"))
        vae = ENGINE.load_vae(place or str(miniature.vae))
        latents.append(ENGINE.vae_encode(vae, image))
        pictures.append(ENGINE.vae_decode(vae, latents[0]))
    found["model"], found["latents"] = relative(models[1], models[0]), relative(latents[1], latents[0])
    found["clip"], found["picture"] = relative(clips[1][0][0], clips[0][0][0]), relative(pictures[1], pictures[0])
    marked = ENGINE.load_model(str(DIFFUSERS), "float32", "2511").model.diffusion_model
    found["2511 sees references at"] = marked.default_ref_method
    return found


def check_variants() -> dict[str, Any]:
    """What MODEL and CLIP say of their variant: marked by the loader, cloned, patched; unmarked; with 2511's marker."""
    model = ENGINE.load_model(str(miniature.transformer), "float32", "2509")
    clip = ENGINE.load_clip(str(miniature.text_encoder), "2509")
    marked = loading.load_transformer(str(miniature.transformer), None, True)
    with tempfile.TemporaryDirectory() as folder:
        named = [Path(folder) / f"{name}.safetensors" for name in ("qwen_image_edit_2509_small", "small")]
        for file in named:
            shutil.copy(miniature.transformer, file)
        by_name, silent = (ENGINE.variant_of(ENGINE.load_model(str(file), "float32")) for file in named)
    return {
        "loader": ENGINE.variant_of(model),
        "clone": ENGINE.variant_of(model.clone()),
        "clone without dynamic VRAM": ENGINE.variant_of(model.clone(disable_dynamic=True)),
        "clip": ENGINE.variant_of(clip),
        "clip's clone": ENGINE.variant_of(clip.clone()),
        "2511's marker": ENGINE.variant_of(marked.clone()),
        "name": by_name,
        "nothing": silent,
        "clip of another loader": ENGINE.variant_of(ENGINE.load_clip(str(miniature.text_encoder))),
    }
