"""What a file says beside its tensors is obeyed: configurations, alpha in the metadata, prefixes, layers of zeros."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import nn

from wdlora.adapter import Adapter
from wdlora.adapter.report import adapter_report, report_text
from wdlora.errors import InputError

Q, K = "transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_k"
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, "target_modules": ["to_q", "to_k"]}


def pair(module=Q, prefix="base_model.model.", rank=2, **parts):
    factors = {f"{module}.lora_A.weight": torch.ones(rank, 6), f"{module}.lora_B.weight": torch.ones(4, rank)}
    return {prefix + key: tensor for key, tensor in (factors | parts).items()}


def scalings(path):
    return {layer.scaling for layer in Adapter.load(path).layers.values()}


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.to_q, self.to_k = nn.Linear(6, 4), nn.Linear(6, 4)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer_blocks = nn.ModuleList(nn.ModuleDict({"attn": Attention()}) for _ in range(12))

    def forward(self, x):
        return x


@pytest.mark.parametrize(
    "pattern",
    [
        "^to_q",
        "to_q",
        "^transformer_blocks.1.attn.to_q",
        "blocks.1.attn.to_q",
        "attn.to_(q|k)",
        r"transformer_blocks\.[0-3]\..*",
        r".*\.1\d\..*",
        "transformer_blocks.1.attn",
        "attn.to_.",
    ],
)
@pytest.mark.parametrize("kind", ["alpha_pattern", "rank_pattern"])
def test_patterns_mean_what_they_mean_in_peft(tmp_path, pattern, kind):
    """Against the scalings and weights of peft itself, on a model of twelve blocks."""
    torch.manual_seed(0)
    model = Model()
    base = {name: value.clone() for name, value in model.state_dict().items()}
    model = get_peft_model(
        model, LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_k"], **{kind: {pattern: 3}})
    )
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter)
    model.save_pretrained(tmp_path)
    adapter = Adapter.load(tmp_path)
    merged = model.merge_and_unload().state_dict()
    for name, layer in adapter.layers.items():
        torch.testing.assert_close(layer.compose(base[f"{name}.weight"]), merged[f"{name}.weight"])


def test_a_renamed_file_keeps_its_configuration(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    save_file(pair(), tmp_path / "ccm.safetensors")
    assert scalings(tmp_path / "ccm.safetensors") == {4.0}
    assert scalings(tmp_path) == {4.0}


def test_beside_several_files_a_configuration_belongs_to_the_one_it_describes(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    save_file(pair(), tmp_path / "ccm.safetensors")
    save_file(pair(rank=3), tmp_path / "other_rank.safetensors")
    save_file(pair("proj_out"), tmp_path / "other_layer.safetensors")
    save_file(pair(rank=3), tmp_path / "says.safetensors", {"lora_adapter_metadata": '{"r": 3, "lora_alpha": 6}'})
    assert scalings(tmp_path / "ccm.safetensors") == {4.0}
    for name in ("other_rank", "other_layer"):
        adapter = Adapter.load(tmp_path / f"{name}.safetensors")
        assert [layer.scaling for layer in adapter.layers.values()] == [1.0]
        assert "describes another adapter" in adapter.notes[0]
        assert "describes another adapter" in report_text(adapter_report(adapter, None, iter)[0])
    assert scalings(tmp_path / "says.safetensors") == {2.0}


def test_alone_beside_a_configuration_of_another_rank(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    save_file(pair(rank=3), tmp_path / "ccm.safetensors")
    with pytest.raises(InputError, match=r"says rank 2 for layer .* whose tensors have rank 3"):
        Adapter.load(tmp_path / "ccm.safetensors")


def test_an_alpha_tensor_wins_over_all(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    own = {f"{Q}.alpha": torch.tensor(1.0)}
    save_file(pair(**own) | pair(K), tmp_path / "ccm.safetensors", {"lora_alpha": "8"})
    layers = Adapter.load(tmp_path / "ccm.safetensors").layers
    assert (layers[Q].scaling, layers[K].scaling) == (0.5, 4.0)


@pytest.mark.parametrize("name", ["lora_alpha", "network_alpha", "alpha", "ss_network_alpha"])
def test_alpha_in_the_metadata(tmp_path, name):
    save_file(pair(), tmp_path / "a.safetensors", {name: "1.0", "ss_network_dim": "2"})
    adapter = Adapter.load(tmp_path / "a.safetensors")
    assert adapter.layers[Q].scaling == 0.5
    adapter.save(tmp_path / "b.safetensors", "diffusers")  # 0.5 is multiplied into B there: not a second time
    again = Adapter.load(tmp_path / "b.safetensors").layers[Q]
    assert again.scaling == 1
    assert torch.equal(again.lora_b, torch.full((4, 2), 0.5))


def test_no_alpha_stated_is_none(tmp_path):
    save_file(pair(), tmp_path / "a.safetensors", {"ss_network_alpha": "None", "alpha": ""})
    assert scalings(tmp_path / "a.safetensors") == {1.0}


@pytest.mark.parametrize(
    "prefix,module",
    [
        ("_orig_mod.", Q),
        ("base_model.model._orig_mod.", Q),
        ("transformer._orig_mod.module.", Q),
        ("module.", Q),
        ("module.diffusion_model.", Q),
        ("pipe.dit.", Q),
        ("pipe.transformer.", Q),
        ("dit.", Q),
        ("_fsdp_wrapped_module.", "transformer_blocks.0._fsdp_wrapped_module._checkpoint_wrapped_module.attn.to_q"),
        ("transformer.", "transformer_blocks.0._orig_mod.attn.to_q._orig_mod"),
        ("lora_unet__orig_mod_", Q.replace(".", "_")),
        ("lora_unet_", "transformer_blocks_0__orig_mod_attn_to_q"),
    ],
)
def test_prefixes_of_what_was_wrapped_around_the_model(tmp_path, prefix, module):
    save_file(pair(module, prefix), tmp_path / "a.safetensors")
    assert list(Adapter.load(tmp_path / "a.safetensors").layers) == [Q]


def test_linear_layers_stored_as_convolutions(tmp_path):
    tensors = pair(**{f"{Q}.dora_scale": torch.arange(1.0, 5.0)[:, None, None, None]})
    tensors = {key: value if value.ndim == 4 else value[..., None, None] for key, value in tensors.items()}
    save_file(tensors, tmp_path / "a.safetensors")
    layer = Adapter.load(tmp_path / "a.safetensors").layers[Q]
    assert layer.shape == (4, 6) and layer.axis == "output"
    rows = layer.compose(torch.ones(4, 6)).norm(dim=1)
    torch.testing.assert_close(rows, torch.arange(1.0, 5.0))  # a magnitude is the norm of its row


def test_what_is_exactly_zero_is_left_out_and_told(tmp_path):
    te = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    idle = {
        f"{te}.lora_down.weight": torch.ones(2, 6),
        f"{te}.lora_up.weight": torch.zeros(4, 2),
        f"{te}.alpha": torch.tensor(1.0),
        "text_encoder.model.layers.1.self_attn.q_proj.lora_A.weight": torch.zeros(2, 6),
        f"diffusion_model.{Q}.diff_b": torch.zeros(4),
        "diffusion_model.proj_out.diff": torch.zeros(4, 6).half(),
        f"base_model.model.{Q}.lora_B.bias": -torch.zeros(4),
    }
    save_file(pair() | idle, tmp_path / "a.safetensors", {"lora_alpha": "1"})
    adapter = Adapter.load(tmp_path / "a.safetensors")
    assert list(adapter.layers) == [Q]
    assert adapter.notes[0].startswith("4 keys of a text encoder were left out")
    assert adapter.notes[1].startswith("3 keys of differences ")
    report, _ = adapter_report(adapter, None, iter)
    assert report["notes"] == list(adapter.notes)


def test_magnitudes_on_some_layers(tmp_path):
    """Layers without one are plain LoRA; peft's dialect gets them the magnitude with which they stay so."""
    tensors = pair(**{f"{Q}.lora_magnitude_vector": torch.full((4,), 7.0)}) | pair(K)
    save_file(tensors, tmp_path / "a.safetensors", {"lora_alpha": "2"})
    adapter = Adapter.load(tmp_path / "a.safetensors")
    assert adapter.notes == ("1 of 2 layers have magnitudes; the others are plain LoRA",)
    generator = torch.Generator().manual_seed(1)
    base = {f"{name}.weight": torch.randn(4, 6, generator=generator) for name in (Q, K)}
    torch.testing.assert_close(adapter.layers[Q].compose(base[f"{Q}.weight"]).norm(dim=1), torch.full((4,), 7.0))
    plain = base[f"{K}.weight"] + 2.0  # ones[4, 2] @ ones[2, 6], s = 1
    torch.testing.assert_close(adapter.layers[K].compose(base[f"{K}.weight"]), plain)
    for dialect in ("peft", "diffusers"):
        with pytest.raises(InputError, match=r"1 of 2 layers have no magnitude.*give the base \(--base\)"):
            adapter.save(tmp_path / "no.safetensors", dialect)
        again = Adapter.load(adapter.save(tmp_path / f"{dialect}.safetensors", dialect, base))
        assert not again.notes
        torch.testing.assert_close(again.layers[K].compose(base[f"{K}.weight"]), plain)


def test_a_hidden_file_is_no_adapter(tmp_path):
    save_file(pair(), tmp_path / "ccm.safetensors")
    (tmp_path / ".ccm.k1lled0_.safetensors").write_bytes(b"\x10\0\0")
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    assert scalings(tmp_path) == {4.0}
