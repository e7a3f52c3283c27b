"""Files in 8-bit floating point, scaled in every spelling, or plain."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.qwen.reading import CPU, rewritten, single
from wdlora.qwen.checkpoint import Checkpoint
from wdlora.qwen.plans import plan_transformer
from wdlora.weights.linear import Float8Linear, dequantised


def scaled_fp8(tensors, layout):
    """Block weights as ComfyUI stores them in scaled fp8; returns the tensors and the metadata."""
    result, metadata, layers = {}, {}, {}
    for name, tensor in tensors.items():
        if not (".transformer_blocks." in name and name.endswith(".weight") and tensor.ndim == 2):
            result[name] = tensor.bfloat16()
            continue
        layer = name.removesuffix(".weight")
        scale = tensor.abs().amax() / 448
        result[name] = (tensor / scale).to(torch.float8_e4m3fn)
        if layout == "old":
            result[f"{layer}.scale_weight"] = scale.reshape(1)
            result[f"{layer}.scale_input"] = torch.ones(1)
            continue
        result[f"{layer}.weight_scale"] = scale
        note = {"format": "float8_e4m3fn"}
        layers[layer] = note
        if layout == "tensor":
            result[f"{layer}.comfy_quant"] = torch.tensor(list(json.dumps(note).encode()), dtype=torch.uint8)
    if layout == "old":
        result["model.diffusion_model.scaled_fp8"] = torch.zeros(0, dtype=torch.float8_e4m3fn)
    if layout == "metadata":
        metadata["_quantization_metadata"] = json.dumps({"layers": layers})
    return result, metadata


@pytest.mark.parametrize("layout", ["old", "tensor", "metadata"])
@pytest.mark.parametrize("storage", ["auto", "full"])
def test_scaled_fp8_in_all_its_spellings(files, tmp_path, layout, storage):
    tensors, metadata = scaled_fp8(load_file(files.transformer), layout)
    path = tmp_path / "qwen_image_edit_fp8.safetensors"
    save_file(tensors, path, metadata=metadata)
    model = plan_transformer(Checkpoint(path), storage=storage).fill(CPU, torch.float32)
    layer = model.transformer_blocks[1].attn.to_q
    assert isinstance(layer, Float8Linear) == (storage == "auto")
    stored = "model.diffusion_model.transformer_blocks.1.attn.to_q"
    scale = tensors.get(f"{stored}.weight_scale", tensors.get(f"{stored}.scale_weight"))
    assert torch.equal(dequantised(layer), tensors[f"{stored}.weight"].float() * scale)
    assert torch.equal(model.proj_out.weight, tensors["model.diffusion_model.proj_out.weight"].float())
    assert type(model.img_in) is torch.nn.Linear


def test_plain_fp8_has_no_scale(files, tmp_path):
    """The official Edit and 2509 files: every tensor a bare e4m3, norms and biases too."""
    path = rewritten(
        files.transformer,
        tmp_path / "qwen_image_edit_2509_fp8_e4m3fn.safetensors",
        lambda t: {n: v.to(torch.float8_e4m3fn) for n, v in t.items()},
    )
    model = single(files, transformer=path)
    assert model.variant == "2509"
    block = model.transformer.transformer_blocks[0]
    assert isinstance(block.img_mlp.net[2], Float8Linear)
    assert block.attn.norm_q.weight.dtype == torch.float32
    x, embeds = torch.randn(1, 4, 64), torch.randn(1, 3, 128)
    out = model.transformer(x, embeds, timestep=torch.ones(1), img_shapes=[[(1, 2, 2)]], return_dict=False)[0]
    full = plan_transformer(Checkpoint(path), storage="full").fill(CPU, torch.float32)
    wanted = full(x, embeds, timestep=torch.ones(1), img_shapes=[[(1, 2, 2)]], return_dict=False)[0]
    assert torch.allclose(out, wanted, atol=1e-6)  # the same numbers, multiplied in the same order


def test_fp8_text_encoder(files, tmp_path, parts, mask):
    from wdlora.qwen.encode import encode

    def change(tensors):
        for name in list(tensors):
            if ".layers." in name and name.endswith("_proj.weight"):
                scale = tensors[name].abs().amax() / 448
                tensors[f"{name.removesuffix('.weight')}.scale_weight"] = scale.reshape(1)
                tensors[name] = (tensors[name] / scale).to(torch.float8_e4m3fn)
        tensors["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)

    path = rewritten(files.text_encoder, tmp_path / "qwen_2.5_vl_7b_fp8_scaled.safetensors", change)
    model = single(files, text_encoder=path)
    ours = encode(model.text_encoder, model.tokenizer, "X", [mask], "edit").embeds
    exact = encode(parts.text_encoder, parts.tokenizer, "X", [mask], "edit").embeds
    error = float((ours - exact).norm() / exact.norm())
    assert 0 < error < 0.1  # e4m3 rounds to 3 bits: 3 % a weight
