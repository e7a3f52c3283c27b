"""Base models: files, shards, prefixes, and quantised storage against the numbers that it was made from."""

import json

import pytest
import torch
from safetensors.torch import save_file

from wdlora.errors import InputError
from wdlora.weights.base import Weights
from wdlora.weights.header import read_header

Q = "transformer_blocks.0.attn.to_q"


def weight(seed=0, out=6, width=16):
    return torch.randn(out, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prefix", ["", "diffusion_model.", "model.diffusion_model."])
def test_prefixes(tmp_path, prefix):
    tensors = {f"{prefix}{Q}.weight": weight(), f"{prefix}{Q}.bias": torch.ones(6)}
    if prefix:
        tensors["vae.decoder.weight"] = torch.ones(1)
    save_file(tensors, tmp_path / "m.safetensors")
    for source in (tmp_path / "m.safetensors", tmp_path, tensors):
        weights = Weights(source)
        assert set(weights) == {f"{Q}.weight", f"{Q}.bias"}
        assert weights.shape(f"{Q}.weight") == (6, 16)
        assert torch.equal(weights.module(Q), weight())


def test_a_model_that_peft_has_wrapped():
    assert torch.equal(Weights({f"{Q}.base_layer.weight": weight()}).module(Q), weight())


def sharded(folder, names=("a-00001-of-00002.safetensors", "b-00002-of-00002.safetensors")):
    folder.mkdir(exist_ok=True)
    save_file({f"{Q}.weight": weight()}, folder / names[0])
    save_file({"img_in.weight": weight(1)}, folder / names[1])
    index = {"weight_map": {f"{Q}.weight": names[0], "img_in.weight": names[1]}}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("inner", ["", "transformer"])
def test_shards(tmp_path, inner):
    sharded(tmp_path / inner)
    weights = Weights(tmp_path)
    assert len(weights) == 2
    assert torch.equal(weights.module("img_in"), weight(1))
    assert len(weights.sha256) == 64
    assert weights.quantisation == "float32"


def test_shards_that_are_missing_or_elsewhere(tmp_path):
    sharded(tmp_path)
    (tmp_path / "b-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match="lacks 1 of 2 shards: 'b-00002"):
        Weights(tmp_path)
    index = tmp_path / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "../secret.safetensors"}}')
    with pytest.raises(InputError, match="plain file names"):
        Weights(tmp_path)
    index.write_text("[1]")
    with pytest.raises(InputError, match="not an index"):
        Weights(tmp_path)


def test_folders_without_a_choice(tmp_path):
    with pytest.raises(InputError, match="neither"):
        Weights(tmp_path)
    save_file({"a": weight()}, tmp_path / "a.safetensors")
    save_file({"a": weight()}, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match=r"2 \.safetensors files and no index"):
        Weights(tmp_path)


def test_the_hash_is_the_files_own(tmp_path):
    import hashlib

    save_file({"a": weight()}, tmp_path / "a.safetensors")
    assert Weights(tmp_path).sha256 == hashlib.sha256((tmp_path / "a.safetensors").read_bytes()).hexdigest()
    assert Weights({"a": weight()}).sha256 is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_plain_storage_is_given_as_it_is(dtype):
    weights = Weights({f"{Q}.weight": weight().to(dtype)})
    assert weights.module(Q).dtype == dtype
    assert weights.quantisation == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("layout", ["scaled_fp8", "comfy_quant", "metadata", "rows"])
def test_scaled_fp8(tmp_path, layout):
    w = weight() * 1e-3
    scale = w.abs().amax(1, keepdim=True) / 448 if layout == "rows" else (w.abs().max() / 448)
    stored = (w / scale).to(torch.float8_e4m3fn)
    prefix = "model.diffusion_model."
    tensors, metadata = {f"{prefix}{Q}.weight": stored}, None
    conf = {"format": "float8_e4m3fn"}
    if layout == "scaled_fp8":
        tensors[f"{prefix}scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
        tensors[f"{prefix}{Q}.scale_weight"] = scale
    else:
        tensors[f"{prefix}{Q}.weight_scale"] = scale
    if layout in ("comfy_quant", "rows"):
        tensors[f"{prefix}{Q}.comfy_quant"] = torch.tensor(list(json.dumps(conf).encode()), dtype=torch.uint8)
    if layout == "metadata":
        metadata = {"_quantization_metadata": json.dumps({"layers": {prefix + Q: conf}})}
    save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "m.safetensors", metadata)
    weights = Weights(tmp_path)
    assert torch.equal(weights.module(Q), stored.float() * scale)
    torch.testing.assert_close(weights.module(Q), w, rtol=2**-4, atol=1e-6)  # e4m3: 3 bits after the leading one
    assert weights.quantisation == "float8_e4m3fn, scaled"


@pytest.mark.parametrize("rotated", [False, True])
def test_int8(rotated):
    """Rotated storage is W·Hᵀ in groups, H orthogonal; H is written out here for groups of 16."""
    w = weight()
    four = torch.tensor([[1, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]]) / 2
    h = torch.einsum("ij,kl->ikjl", four, four).reshape(16, 16)
    turned = w @ h.T if rotated else w
    scale = turned.abs().amax(1, keepdim=True) / 127
    conf = {"format": "int8_tensorwise", "params": {"convrot": rotated, "convrot_groupsize": 16}}
    weights = Weights(
        {
            f"{Q}.weight": (turned / scale).round().to(torch.int8),
            f"{Q}.weight_scale": scale,
            f"{Q}.comfy_quant": torch.tensor(list(json.dumps(conf).encode()), dtype=torch.uint8),
        }
    )
    # half a step of the coarsest row, √16 of them through the rotation
    torch.testing.assert_close(weights.module(Q), w, rtol=0, atol=4 * 0.5 * scale.max().item())
    assert (weights.module(Q) - w).norm() < 0.01 * w.norm()
    assert weights.quantisation == "int8_tensorwise"


@pytest.mark.parametrize(
    "extra,name",
    [
        ({f"{Q}.comfy_quant": {"format": "nvfp4"}}, "nvfp4"),
        ({f"{Q}.weight.absmax": torch.ones(1)}, "bitsandbytes"),
        ({}, "uint8"),
    ],
)
def test_storage_that_is_not_understood_is_refused_by_name(extra, name):
    extra = {
        k: torch.tensor(list(json.dumps(v).encode()), dtype=torch.uint8) if isinstance(v, dict) else v
        for k, v in extra.items()
    }
    weights = Weights({f"{Q}.weight": torch.ones(6, 8, dtype=torch.uint8)} | extra)
    with pytest.raises(InputError, match=f"quantised as '{name}', which cannot be dequantised"):
        weights.module(Q)


def test_fp8_with_a_scale_of_another_name_is_refused():
    """Read without it, the weight would be off by the scale."""
    stored = {f"{Q}.weight": torch.ones(6, 8).to(torch.float8_e4m3fn), f"{Q}.weight_scale_inv": torch.tensor(99.0)}
    with pytest.raises(InputError, match="quantised as 'fp8 with weight_scale_inv', which cannot be dequantised"):
        Weights(stored).module(Q)


def test_a_tensor_that_is_not_there():
    with pytest.raises(InputError, match=r"tensors in memory has no tensor 'x\.weight'"):
        Weights({"y.weight": weight()}).module("x")


def test_a_header_tells_names_types_and_shapes(tmp_path):
    save_file({"a": weight().bfloat16()}, tmp_path / "a.safetensors", {"who": "me"})
    tensors, metadata = read_header(tmp_path / "a.safetensors")
    assert (tensors["a"].dtype, tensors["a"].shape, metadata) == ("BF16", (6, 16), {"who": "me"})
