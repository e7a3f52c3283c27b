"""Every dialect gives the weights of Eq. 6, computed independently in float64 (conftest)."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from wdlora.adapter import Adapter

NAMES = {
    "dotted": lambda prefix: lambda name: prefix + name,
    "flat": lambda prefix: lambda name: prefix + name.replace(".", "_"),
}

# prefix, dotted or flat, suffix of A, suffix of B, suffix and shape of the magnitude, dialect as reported
DIALECTS = [
    ("base_model.model.", "dotted", ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector", (-1,), "peft"),
    (
        "base_model.model.",
        "dotted",
        ".lora_A.default.weight",
        ".lora_B.default.weight",
        ".lora_magnitude_vector.default.weight",
        (-1,),
        "peft",
    ),
    ("transformer.", "dotted", ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector.weight", (-1,), "diffusers"),
    ("transformer.", "dotted", ".lora.down.weight", ".lora.up.weight", ".lora_magnitude_vector", (-1,), "diffusers"),
    ("", "dotted", "_lora.down.weight", "_lora.up.weight", ".lora_magnitude_vector", (-1,), "diffusers"),
    ("", "dotted", ".lora_A.default.weight", ".lora_B.default.weight", ".dora_scale", (-1,), "without prefix"),
    ("lora_unet_", "flat", ".lora_down.weight", ".lora_up.weight", ".dora_scale", (-1, 1), "kohya"),
    ("lora_transformer_", "flat", ".lora_down.weight", ".lora_up.weight", ".dora_scale", (-1, 1), "kohya"),
    ("lycoris_", "flat", ".lora_down.weight", ".lora_up.weight", ".dora_scale", (-1, 1), "lycoris"),
    ("diffusion_model.", "dotted", ".lora_down.weight", ".lora_up.weight", ".dora_scale", (-1, 1), "comfyui"),
    ("model.diffusion_model.", "dotted", ".lora_A.weight", ".lora_B.weight", ".dora_scale", (-1,), "comfyui"),
    ("transformer.", "dotted", ".lora_A.weight", ".lora_B.weight", ".magnitude", (-1,), "diffusers"),
]


def write(path, truth, prefix, style, a, b, magnitude=None, shape=(-1,), alpha=1.5, axis="output"):
    key = NAMES[style](prefix)
    tensors = {}
    for name in truth.base:
        tensors[key(name) + a] = truth.a[name]
        tensors[key(name) + b] = truth.b[name]
        if alpha is not None:
            tensors[key(name) + ".alpha"] = torch.tensor(alpha)
        if magnitude:
            m = truth.m[name] if axis == "output" else truth.m_columns[name]
            tensors[key(name) + magnitude] = m.reshape(shape).contiguous()
    save_file(tensors, path)
    return path


def assert_weights(adapter, truth, **kwargs):
    assert set(adapter.layers) == set(truth.base)
    for name, layer in adapter.layers.items():
        exact = truth.weight(name, **kwargs)
        # fp32 arithmetic on numbers of order 1 against float64
        torch.testing.assert_close(layer.compose(truth.base[name]).double(), exact, rtol=0, atol=3e-6)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: f"{d[0]}*{d[2]}{d[4]}")
def test_every_dialect(tmp_path, truth, dialect):
    *how, name = dialect
    adapter = Adapter.load(write(tmp_path / "a.safetensors", truth, *how))
    assert adapter.dialect == name
    assert adapter.rank == 3
    assert {layer.scaling for layer in adapter.layers.values()} == {0.5}
    assert_weights(adapter, truth)


@pytest.mark.parametrize("style,prefix", [("flat", "lora_unet_"), ("dotted", "transformer.")])
def test_plain_lora_without_alpha_scales_by_one(tmp_path, truth, style, prefix):
    path = write(tmp_path / "a.safetensors", truth, prefix, style, ".lora_down.weight", ".lora_up.weight", alpha=None)
    adapter = Adapter.load(path)
    assert not adapter.weight_decomposed
    assert all(layer.magnitude is None for layer in adapter.layers.values())
    assert_weights(adapter, truth, scaling=1.0, decomposed=False)


def test_input_axis_is_the_norm_of_columns(tmp_path, truth):
    path = write(
        tmp_path / "a.safetensors",
        truth,
        "lora_unet_",
        "flat",
        ".lora_down.weight",
        ".lora_up.weight",
        ".dora_scale",
        (1, -1),
        axis="input",
    )
    adapter = Adapter.load(path)
    assert {layer.axis for layer in adapter.layers.values()} == {"input"}
    assert_weights(adapter, truth, axis="input")
    layer = adapter.layers["transformer_blocks.0.attn.to_q"]
    base = truth.base["transformer_blocks.0.attn.to_q"]
    assert layer.gain(base).shape == (1, 10)
    assert torch.equal(layer.compose(base, 0, 0), base)


@pytest.mark.parametrize("where", ["beside", "metadata", "pipeline metadata"])
def test_alpha_from_pefts_configuration(tmp_path, truth, peft_tensors, where):
    config = {"peft_type": "LORA", "lora_alpha": 1.5, "use_dora": True}
    metadata = None
    if where == "metadata":
        metadata = {"lora_adapter_metadata": json.dumps(config)}
    if where == "pipeline metadata":
        metadata = {"lora_adapter_metadata": json.dumps({f"transformer.{k}": v for k, v in config.items()})}
    save_file(peft_tensors, tmp_path / "adapter_model.safetensors", metadata)
    if where == "beside":
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    assert_weights(Adapter.load(tmp_path), truth)


def test_alpha_pattern_and_rank_stabilised_scaling(truth, peft_tensors):
    config = {
        "peft_type": "PeftType.LORA",
        "lora_alpha": 6,
        "use_rslora": True,
        "alpha_pattern": {"^transformer_blocks.0.attn.to_q": 12, r"linear_1": 3},
    }
    scalings = {name: layer.scaling for name, layer in Adapter.from_tensors(peft_tensors, config).layers.items()}
    assert scalings["transformer_blocks.0.attn.to_q"] == pytest.approx(12 / 3**0.5)
    assert scalings["time_text_embed.timestep_embedder.linear_1"] == pytest.approx(3 / 3**0.5)
    assert scalings["transformer_blocks.0.attn.to_out.0"] == pytest.approx(6 / 3**0.5)


def test_alpha_tensor_wins_over_the_configuration(peft_tensors):
    peft_tensors["base_model.model.transformer_blocks.0.attn.to_q.alpha"] = torch.tensor([6])
    layers = Adapter.from_tensors(peft_tensors, {"lora_alpha": 3}).layers
    assert layers["transformer_blocks.0.attn.to_q"].scaling == 2
    assert layers["transformer_blocks.0.attn.to_out.0"].scaling == 1


def test_underscores_of_any_model_are_resolved_by_its_base(tmp_path):
    a, b = torch.ones(2, 4), torch.ones(3, 2)
    save_file(
        {"lora_unet_double_blocks_0_q_k.lora_down.weight": a, "lora_unet_double_blocks_0_q_k.lora_up.weight": b},
        tmp_path / "a.safetensors",
    )
    base = {"diffusion_model.double_blocks.0.q_k.weight": torch.ones(3, 4)}
    assert list(Adapter.load(tmp_path / "a.safetensors", base=base).layers) == ["double_blocks.0.q_k"]


def test_layers_come_in_the_models_order(tmp_path, truth):
    path = write(tmp_path / "a.safetensors", truth, "", "dotted", ".lora_A.weight", ".lora_B.weight", alpha=None)
    assert list(Adapter.load(path).layers) == [
        "time_text_embed.timestep_embedder.linear_1",
        "transformer_blocks.0.attn.to_out.0",
        "transformer_blocks.0.attn.to_q",
        "transformer_blocks.10.img_mlp.net.0.proj",
    ]


def test_storage_is_kept(tmp_path, peft_tensors):
    save_file({k: v.bfloat16() for k, v in peft_tensors.items()}, tmp_path / "a.safetensors")
    for layer in Adapter.load(tmp_path / "a.safetensors").layers.values():
        assert layer.lora_a.dtype == layer.lora_b.dtype == layer.magnitude.dtype == torch.bfloat16


def test_every_linear_of_the_model_is_known_by_name():
    """The table of names against the real class, flattened names included: none is ambiguous."""
    from diffusers import QwenImageTransformer2DModel

    from wdlora.adapter.names import is_qwen_image, unflattened

    with torch.device("meta"):
        model = QwenImageTransformer2DModel(
            num_layers=12, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=24
        )
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    assert len(linear) == 12 * 14 + 6
    assert all(is_qwen_image(name) for name in linear)
    assert [unflattened(name.replace(".", "_")) for name in linear] == linear


def test_importing_the_package_imports_no_torch():
    code = "import sys; from wdlora.adapter import Adapter; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
