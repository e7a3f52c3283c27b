"""What is not Qwen-Image-Edit, or cannot be met, is named before a tensor is read."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.qwen.reading import rewritten, single
from wdlora.errors import InputError
from wdlora.qwen.checkpoint import Checkpoint
from wdlora.qwen.files import ModelFiles
from wdlora.qwen.loading import load
from wdlora.qwen.plans import plan_vae
from wdlora.qwen.tokenizer import load_tokenizer
from wdlora.weights.linear import Float8Linear, dequantised


def test_settings_that_cannot_be_met(files):
    for setting, message in [
        ({"storage": "int8"}, "storage 'int8'"),
        ({"variant": "2512"}, "variant '2512'"),
        ({"offload": "disk"}, "offload mode 'disk'"),
    ]:
        with pytest.raises(InputError, match=message):
            single(files, **setting)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no CUDA device"):
            single(files, device="cuda")


def quantised(kind):
    def change(tensors):
        name = "model.diffusion_model.transformer_blocks.0.attn.to_q"
        weight = tensors[f"{name}.weight"]
        if kind == "nf4":
            tensors[f"{name}.weight"] = torch.zeros(weight.numel() // 2, 1, dtype=torch.uint8)
            tensors[f"{name}.weight.quant_state.bitsandbytes__nf4"] = torch.zeros(4, dtype=torch.uint8)
        else:
            note = {"format": kind, "convrot": True} if kind == "int8_tensorwise" else {"format": kind}
            tensors[f"{name}.weight"] = torch.zeros(weight.shape, dtype=torch.int8)
            tensors[f"{name}.comfy_quant"] = torch.tensor(list(json.dumps(note).encode()), dtype=torch.uint8)
            tensors[f"{name}.weight_scale"] = torch.ones(1)

    return change


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("int8_tensorwise", "int8_tensorwise with rotation"),
        ("nvfp4", "nvfp4"),
        ("mxfp8", "mxfp8"),
        ("nf4", "bitsandbytes nf4"),
    ],
)
def test_other_quantisation_is_refused_by_name(files, tmp_path, kind, message):
    path = rewritten(files.transformer, tmp_path / "edit.safetensors", quantised(kind))
    with pytest.raises(InputError, match=f"quantised as '{message}"):
        single(files, transformer=path)


def float8(companions, note=None):
    """One layer as fp8 codes, tensors of the names and shapes that `companions` gives and a note of ComfyUI's."""

    def change(tensors):
        name = next(n for n in tensors if n.endswith((".0.attn.to_q.weight", ".0.self_attn.q_proj.weight")))
        layer = name.removesuffix(".weight")
        tensors[f"{layer}.weight"] = tensors[f"{layer}.weight"].to(torch.float8_e4m3fn)
        for name, shape in companions(*tensors[f"{layer}.weight"].shape).items():
            tensors[f"{layer}.{name}"] = torch.full(shape, 0.5)
        if note is not None:
            tensors[f"{layer}.comfy_quant"] = torch.tensor(list(json.dumps(note).encode()), dtype=torch.uint8)

    return change


ROTATED = {"format": "float8_e4m3fn", "convrot": True, "convrot_groupsize": 16}


@pytest.mark.parametrize("part", ["transformer", "text_encoder"])
@pytest.mark.parametrize(
    ("companions", "note", "message"),
    [
        (lambda out, wide: {"weight_scale_inv": (out // 16, wide // 16)}, None, "fp8 with weight_scale_inv"),
        (lambda out, wide: {"weight_scale": (), "weight_scale_2": ()}, None, "fp8 with weight_scale_2"),
        (lambda out, wide: {"weight_scale": (out, wide // 16)}, None, r"scales of shape \(\d+, \d+\)"),
        (lambda out, wide: {"scale_weight": (1, out)}, None, r"scales of shape \(1, \d+\)"),
        (lambda out, wide: {"weight_scale": ()}, ROTATED, r"float8_e4m3fn with rotation \(convrot\)"),
    ],
)
def test_fp8_whose_scale_or_rotation_would_be_lost_is_refused(files, tmp_path, part, companions, note, message):
    path = rewritten(getattr(files, part), tmp_path / "edit.safetensors", float8(companions, note))
    with pytest.raises(
        InputError, match=f"(to_q|q_proj).weight' quantised as '{message}', which cannot .* bf16 or fp8"
    ):
        single(files, **{part: path})


@pytest.mark.parametrize("part", ["transformer", "text_encoder"])
@pytest.mark.parametrize(
    "companions",
    [
        lambda out, wide: {},
        lambda out, wide: {"weight_scale": (), "input_scale": ()},
        lambda out, wide: {"weight_scale": (1, 1)},
        lambda out, wide: {"weight_scale": (out,)},
        lambda out, wide: {"scale_weight": (out, 1), "scale_input": (1,)},
    ],
)
def test_fp8_plain_or_scaled_by_tensor_or_row_is_taken(files, tmp_path, part, companions):
    path = rewritten(getattr(files, part), tmp_path / "edit.safetensors", float8(companions))
    codes = next(t for t in load_file(path).values() if t.dtype == torch.float8_e4m3fn).float()
    model = getattr(single(files, **{part: path}), part)
    (layer,) = (module for module in model.modules() if isinstance(module, Float8Linear))
    assert torch.equal(dequantised(layer), codes * (0.5 if companions(1, 1) else 1))


def test_rotated_fp8_is_taken_where_it_does_not_stay_fp8(files, tmp_path):
    path = rewritten(
        files.transformer, tmp_path / "edit.safetensors", float8(lambda out, wide: {"weight_scale": ()}, ROTATED)
    )
    checkpoint = Checkpoint(path)
    name = next(n for n in checkpoint if n.endswith(".0.attn.to_q.weight"))
    layer = single(files, transformer=path, storage="full").transformer.get_submodule(name.removesuffix(".weight"))
    assert torch.equal(layer.weight, checkpoint.read(name))
    assert not torch.allclose(layer.weight, checkpoint.stored(name)[0].float() * checkpoint.stored(name)[1])


def tensors(*names):
    return {name: torch.zeros(4, 4) for name in names}


OTHERS = {
    "Flux": tensors("double_blocks.0.img_attn.qkv.weight", "img_in.weight"),
    "Stable Diffusion UNet": tensors("model.diffusion_model.input_blocks.0.0.weight"),
    "Stable Diffusion 3": tensors("joint_blocks.0.x_block.attn.qkv.weight"),
    "Wan model": tensors("blocks.0.cross_attn.k.weight"),
    "VAE": tensors("decoder.middle.0.residual.0.gamma"),
    "Qwen-VL text encoder": tensors("visual.patch_embed.proj.weight"),
    "adapter": tensors("transformer_blocks.0.attn.to_q.lora_A.weight"),
    "SVDQuant": tensors("transformer_blocks.0.attn.to_qkv.qweight"),
    "unknown model": tensors("some.weight"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_models_are_named(files, tmp_path, kind):
    save_file(OTHERS[kind], tmp_path / "edit.safetensors")
    with pytest.raises(InputError, match=f"is not a Qwen-Image-Edit transformer: it holds an? .*{kind}|{kind}"):
        single(files, transformer=tmp_path / "edit.safetensors")


def test_layered_is_not_edit(files, tmp_path):
    def change(tensors):
        tensors["model.diffusion_model.time_text_embed.addition_t_embedding.weight"] = torch.zeros(2, 96)

    path = rewritten(files.transformer, tmp_path / "edit.safetensors", change)
    with pytest.raises(InputError, match="Qwen-Image-Layered"):
        single(files, transformer=path)


def test_text_to_image_folder_is_refused(files, tmp_path):
    folder = tmp_path / "Qwen-Image"
    shutil.copytree(files.diffusers, folder)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "QwenImagePipeline"}))
    with pytest.raises(InputError, match="QwenImagePipeline, not Qwen-Image-Edit"):
        load(folder)


def test_incomplete_and_strange_transformers(files, tmp_path):
    def less(tensors):
        del tensors["model.diffusion_model.transformer_blocks.1.attn.to_k.bias"]

    def more(tensors):
        tensors["model.diffusion_model.extra.weight"] = torch.zeros(1)

    def hole(tensors):
        return {n: t for n, t in tensors.items() if "transformer_blocks.0." not in n or "norm_q" in n}

    def other_shape(tensors):
        tensors["model.diffusion_model.transformer_blocks.1.attn.to_k.bias"] = torch.zeros(5)

    for change, message in [
        (less, "lacks .*to_k.bias"),
        (more, "also holds 'extra.weight'"),
        (hole, "lacks"),
        (other_shape, r"shape \[5\] where \[96\]"),
    ]:
        path = rewritten(files.transformer, tmp_path / "edit.safetensors", change)
        with pytest.raises(InputError, match=message):
            single(files, transformer=path)


def test_damaged_files(files, tmp_path):
    path = shutil.copy(files.transformer, tmp_path / "edit.safetensors")
    with open(path, "r+b") as file:
        file.truncate(100_000)
    with pytest.raises(InputError, match="truncated"):
        single(files, transformer=path)
    with pytest.raises(InputError, match="does not exist"):
        single(files, transformer=tmp_path / "absent-edit.safetensors")
    folder = tmp_path / "Qwen-Image-Edit"
    shutil.copytree(files.diffusers, folder)
    next((folder / "transformer").glob("*-00002-of-*.safetensors")).unlink()
    with pytest.raises(InputError, match="shards"):
        load(folder)
    shutil.rmtree(folder / "vae")
    with pytest.raises(InputError, match="no subfolder vae"):
        load(folder)
    with pytest.raises(InputError, match=r"no folder Qwen/Qwen-Image-Edit: .*nothing is downloaded"):
        load("Qwen/Qwen-Image-Edit")
    with pytest.raises(InputError, match="no text encoder was given"):
        load(ModelFiles(transformer=files.transformer, vae=files.vae))


def test_wrong_vae(files, tmp_path):
    def layered(tensors):
        tensors["encoder.conv1.weight"] = torch.zeros(8, 4, 3, 3, 3)

    save_file(tensors("decoder.mid.block_1.conv1.weight"), tmp_path / "sd.safetensors")
    with pytest.raises(InputError, match="not the VAE of Qwen-Image: it holds a VAE"):
        single(files, vae=tmp_path / "sd.safetensors")
    with pytest.raises(InputError, match="holds a Qwen-Image model"):
        single(files, vae=files.transformer)
    path = rewritten(files.vae, tmp_path / "layered.safetensors", layered)
    with pytest.raises(InputError, match="4 channels into 16"):
        plan_vae(Checkpoint(path))


def test_wrong_text_encoder(files, tmp_path, parts):
    def blind(tensors):
        return {name: tensor for name, tensor in tensors.items() if not name.startswith("visual.")}

    with pytest.raises(InputError, match="is not a Qwen"):
        single(files, text_encoder=files.vae)
    path = rewritten(files.text_encoder, tmp_path / "te.safetensors", blind)
    with pytest.raises(InputError, match="no vision tower"):
        single(files, text_encoder=path)


def test_parts_of_different_models(files, tmp_path, build_transformer):
    save_file(build_transformer(joint=256).state_dict(), tmp_path / "edit.safetensors")
    with pytest.raises(InputError, match="128 wide but the transformer reads 256"):
        single(files, transformer=tmp_path / "edit.safetensors")


def test_a_foreign_tokenizer(files, tmp_path):
    from transformers import Qwen2Tokenizer

    Qwen2Tokenizer(vocab={"a": 0}, merges=[], unk_token="a").save_pretrained(tmp_path)
    with pytest.raises(InputError, match="no token"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        load_tokenizer(tmp_path)
