"""The loader: single files and folders give one model, what cannot be loaded gets a sentence."""

import json
import shutil

import pytest
import torch

from tests.nodes.painting import FILES, graph, node, paint, sentence


def test_the_loader_gives_what_the_single_loaders_give(painter, strokes):
    ours = paint(painter, strokes)
    assert ours.values["load"][3] == "edit"
    single = {
        "load": node("Keep", value=["u", 0]),
        "u": node("UNETLoader", unet_name=FILES["diffusion_model"], weight_dtype="default"),
        "t": node("CLIPLoader", clip_name=FILES["text_encoder"], type="qwen_image"),
        "v": node("VAELoader", vae_name=FILES["vae"]),
    }
    changed = graph(model=("u", 0), known=["u", 0], clip=["t", 0], vae=["v", 0])
    changed["d"]["inputs"]["vae"] = ["v", 0]
    painter.given["mask"] = strokes
    _, result = painter.run({**changed, **single})
    assert torch.equal(result.values["crop"][0], ours.values["crop"][0])


def test_a_diffusers_folder_gives_the_same_picture(painter, strokes, small_model):
    """The same weights as a diffusers folder; its pipeline says that it is the first Qwen-Image-Edit."""
    from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel

    result = paint(painter, strokes)
    model, clip, vae = result.values["load"][:3]
    folder = painter.folders.base / "models" / "diffusers" / "small"
    assert isinstance(model.transformer, QwenImageTransformer2DModel) and isinstance(vae.vae, AutoencoderKLQwenImage)
    painter.engine.transformer_of(model).save_pretrained(folder / "transformer")
    vae.vae.save_pretrained(folder / "vae")
    clip.text_encoder.save_pretrained(folder / "text_encoder")
    clip.tokenizer.save_pretrained(folder / "tokenizer")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "QwenImageEditPipeline"}))
    load = node("WDLoRALoadQwenImageEdit", **(FILES | {"source": "diffusers folder", "folder": "small"}))
    again = paint(painter, strokes, {"load": load})
    assert again.values["load"][3] == "edit"
    assert torch.equal(again.values["crop"][0], result.values["crop"][0])
    shutil.rmtree(folder)
    refusal = sentence(painter, strokes, {"load": load})
    assert "there is no diffusers folder" in refusal and "small" in refusal


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"diffusion_model": "none"}, "no diffusion model is chosen"),
        ({"diffusion_model": "qwen_image_edit_2511_bf16.safetensors"}, "is missing: put the file into"),
        ({"vae": "../vae/small_vae.safetensors"}, "is missing: put the file into"),
        ({"source": "diffusers folder", "folder": "../.."}, "must lie below"),
        ({"source": "elsewhere"}, "the source 'elsewhere' is not known"),
        ({"diffusion_model": "renamed.safetensors"}, "give variant as 'edit', '2509' or '2511'"),
        ({"text_encoder": "small_edit.safetensors"}, "is missing"),
    ],
)
def test_what_cannot_be_loaded_gets_a_sentence(painter, strokes, small_model, changes, refusal):
    own = painter.folders.base / "models" / "diffusion_models"
    own.mkdir(parents=True, exist_ok=True)
    if not (own / "renamed.safetensors").exists():
        shutil.copy(small_model / "diffusion_models" / "small_edit.safetensors", own / "renamed.safetensors")
    load = node("WDLoRALoadQwenImageEdit", **(FILES | changes))
    assert refusal in sentence(painter, strokes, {"load": load})
