"""Files written here load in peft and diffusers and paint the same; files of theirs load here."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from wdlora.adapter import Adapter, AdapterLayer, Metadata
from wdlora.errors import InputError

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


def tiny_transformer():
    from diffusers import QwenImageTransformer2DModel

    torch.manual_seed(1)
    return QwenImageTransformer2DModel(
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        axes_dims_rope=(4, 6, 6),
        in_channels=16,
        out_channels=4,
    ).eval()


@torch.no_grad()
def output(model):
    generator = torch.Generator().manual_seed(2)
    return model(
        hidden_states=torch.randn(1, 16, 16, generator=generator),
        encoder_hidden_states=torch.randn(1, 5, 24, generator=generator),
        encoder_hidden_states_mask=torch.ones(1, 5, dtype=torch.long),
        timestep=torch.tensor([0.5]),
        img_shapes=[[(1, 4, 4)]],
        return_dict=False,
    )[0]


def merged(model, adapter):
    """A model whose weights are replaced by the adapter's composed ones."""
    for name, layer in adapter.layers.items():
        linear = model.get_submodule(name)
        linear.weight.data = layer.compose(linear.weight.data).contiguous()
    return model


@pytest.fixture
def adapter():
    """Random layers of two ranks, one with another alpha, fitting the tiny transformer."""
    model = tiny_transformer()
    generator = torch.Generator().manual_seed(7)
    layers = {}
    for block in range(2):
        for target in TARGETS:
            name = f"transformer_blocks.{block}.attn.{target}"
            weight = model.get_submodule(name).weight.data
            rank = 3 if (block, target) == (1, "to_v") else 4
            a = torch.randn(rank, 32, generator=generator) / 4
            b = torch.randn(32, rank, generator=generator) / 4
            m = weight.norm(dim=1) * (1 + 0.3 * torch.rand(32, generator=generator))
            layers[name] = AdapterLayer(a, b, m, 1.5 if (block, target) == (0, "to_q") else 0.5)
    return Adapter(layers)


def assert_same(one, other):
    assert set(one.layers) == set(other.layers)
    for name, layer in one.layers.items():
        twin = other.layers[name]
        assert torch.equal(layer.lora_a, twin.lora_a)
        assert torch.equal(layer.lora_b, twin.lora_b)
        assert torch.equal(layer.magnitude, twin.magnitude)
        assert layer.scaling == twin.scaling


def test_what_is_compared_moves_the_output(adapter):
    assert (output(merged(tiny_transformer(), adapter)) - output(tiny_transformer())).abs().max() > 0.01


def test_round_trip_of_a_file_and_of_a_folder(tmp_path, adapter):
    assert_same(Adapter.load(adapter.save(tmp_path / "one.safetensors")), adapter)
    assert adapter.save(tmp_path / "folder") == tmp_path / "folder" / "adapter_model.safetensors"
    assert_same(Adapter.load(tmp_path / "folder"), adapter)


def test_a_save_that_was_killed_between_its_two_files_is_noticed(tmp_path, adapter, monkeypatch):
    """New tensors beside the old configuration would be scaled as the old ones were."""
    from wdlora.adapter import file

    adapter.save(tmp_path / "folder")
    changed = Adapter.from_tensors(adapter.state_dict("peft"), adapter.peft_config() | {"lora_alpha": 99})

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(file, "write_json", kill)
        changed.save(tmp_path / "folder")
    with pytest.raises(InputError, match=r"adapter_config\.json does not belong to the adapter_model\.safetensors"):
        Adapter.load(tmp_path / "folder")
    (tmp_path / "folder" / "adapter_config.json").unlink()
    assert_same(Adapter.load(tmp_path / "folder"), changed)


def test_peft_model_loads_the_folder(tmp_path, adapter, recwarn):
    from peft import PeftModel

    adapter.save(tmp_path / "folder", base=tiny_transformer().state_dict())
    model = PeftModel.from_pretrained(tiny_transformer(), tmp_path / "folder").eval()
    # two orders of fp32 operations through two blocks
    torch.testing.assert_close(output(model), output(merged(tiny_transformer(), adapter)), rtol=0, atol=2e-6)
    assert not [w for w in recwarn if "adapter" in str(w.message).lower()]


def test_set_peft_model_state_dict_loads_the_file(tmp_path, adapter):
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    path = adapter.save(tmp_path / "one.safetensors")
    model = inject_adapter_in_model(LoraConfig(**Adapter.load(path).peft_config()), tiny_transformer())
    result = set_peft_model_state_dict(model, load_file(path))
    assert not result.unexpected_keys
    assert not [key for key in result.missing_keys if "lora" in key]
    torch.testing.assert_close(output(model), output(merged(tiny_transformer(), adapter)), rtol=0, atol=2e-6)


def pipeline():
    from diffusers import FlowMatchEulerDiscreteScheduler, QwenImagePipeline

    return QwenImagePipeline(FlowMatchEulerDiscreteScheduler(), None, None, None, tiny_transformer())


@pytest.mark.parametrize("how", ["file", "tensors"])
def test_a_diffusers_pipeline_loads_its_dialect(tmp_path, adapter, how):
    pipe = pipeline()
    if how == "file":
        path = adapter.save(tmp_path / "one.safetensors", "diffusers", tiny_transformer().state_dict())
        pipe.load_lora_weights(path)
    else:
        pipe.load_lora_weights(adapter.state_dict("diffusers"))
    torch.testing.assert_close(output(pipe.transformer), output(merged(tiny_transformer(), adapter)), rtol=0, atol=2e-6)


def test_diffusers_loads_the_peft_file_when_told_its_prefix(tmp_path, adapter):
    path = adapter.save(tmp_path / "one.safetensors")
    model = tiny_transformer()
    model.load_lora_adapter(tmp_path, weight_name=path.name, prefix="base_model.model")
    torch.testing.assert_close(output(model), output(merged(tiny_transformer(), adapter)), rtol=0, atol=2e-6)


@pytest.mark.parametrize("use_dora", [True, False])
@pytest.mark.parametrize("way", ["save_pretrained", "state dict", "save_lora_weights", "wdlora.layer"])
def test_what_peft_diffusers_and_our_layer_save_loads_here(tmp_path, way, use_dora):
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, inject_adapter_in_model

    from wdlora.layer import inject

    config = LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS, use_dora=use_dora, init_lora_weights=False)
    if way == "save_pretrained":
        model = get_peft_model(tiny_transformer(), config).eval()
        model.save_pretrained(tmp_path)
        adapter = Adapter.load(tmp_path)
    else:
        model = tiny_transformer()
        model = (inject(model, config) if way == "wdlora.layer" else inject_adapter_in_model(config, model)).eval()
        for name, parameter in model.named_parameters():
            if "lora_magnitude_vector" in name:
                parameter.data *= 1.2
        state = get_peft_model_state_dict(model)
        if way != "save_lora_weights":
            adapter = Adapter.from_tensors(state, config.to_dict())
        else:
            serialisable = config.to_dict() | {"target_modules": TARGETS}
            pipeline().save_lora_weights(tmp_path, state, transformer_lora_adapter_metadata=serialisable)
            adapter = Adapter.load(tmp_path)
            assert adapter.dialect == "diffusers"
    assert adapter.weight_decomposed == use_dora
    assert {layer.scaling for layer in adapter.layers.values()} == {1.5}
    torch.testing.assert_close(output(model), output(merged(tiny_transformer(), adapter)), rtol=0, atol=5e-6)


def stock_comfyui(tensors, base):
    """The weights that ComfyUI 0.33's loader paints, as its evaluation was measured: fp32, the output axis divided
    by the norm of the *base* plus fp32's epsilon, the input axis by the norm of the merged columns."""
    weights = {}
    for key in [k.removesuffix(".lora_down.weight") for k in tensors if k.endswith(".lora_down.weight")]:
        w = base[key.removeprefix("diffusion_model.") + ".weight"].float()
        down, up = tensors[f"{key}.lora_down.weight"], tensors[f"{key}.lora_up.weight"]
        calc = w + tensors[f"{key}.alpha"].item() / down.shape[0] * (up @ down)
        scale = tensors.get(f"{key}.dora_scale")
        if scale is not None:
            norm = w.norm(dim=1, keepdim=True) if scale.shape[0] == w.shape[0] else calc.norm(dim=0, keepdim=True)
            calc = calc * (scale / (norm + torch.finfo(torch.float32).eps))
        weights[key.removeprefix("diffusion_model.")] = calc
    return weights


def test_comfyui_export_is_exact_there_and_comes_back_bit_for_bit(tmp_path, adapter):
    model = tiny_transformer()
    save_file(model.state_dict(), tmp_path / "base.safetensors")
    path = adapter.save(tmp_path / "c.safetensors", "comfyui", tmp_path / "base.safetensors")
    tensors = load_file(path)
    base = model.state_dict()
    painted = stock_comfyui(tensors, base)
    assert set(painted) == set(adapter.layers)
    for name, layer in adapter.layers.items():
        weight = base[f"{name}.weight"]
        exact = layer.compose(weight.double())
        # fp32 rounding of a few operations on numbers below 1, against an update of order .3
        torch.testing.assert_close(painted[name].double(), exact, rtol=0, atol=5e-7)
        naive = weight + layer.scaling * layer.lora_b @ layer.lora_a
        naive = naive * (layer.magnitude / weight.norm(dim=1))[:, None]
        assert (naive - exact).norm() > 0.03 * (exact - weight).norm()  # what an unbound export would paint
    assert all(tensors[k].shape == (32, 1) for k in tensors if k.endswith("dora_scale"))

    again = Adapter.load(path)
    assert again.dialect == "comfyui, bound to one base"
    assert_same(again, adapter)
    assert again.metadata.dora_scale_base == "base.safetensors"
    assert len(again.metadata.dora_scale_base_sha256) == 64
    assert "bound to the base" in again.metadata.note
    back = Adapter.load(again.save(tmp_path / "back.safetensors"))
    assert back.metadata.note is None
    assert back.metadata.dora_scale_base_sha256 is None
    assert_same(back, adapter)


def test_comfyui_export_of_tiny_and_zero_rows():
    """ComfyUI adds fp32's epsilon to the norm: on a row of 1e-6 that is a tenth, on a row of zeros everything."""
    name = "transformer_blocks.0.attn.to_q"
    generator = torch.Generator().manual_seed(4)
    w, a, b = (torch.randn(*shape, generator=generator) for shape in ((3, 6), (2, 6), (3, 2)))
    w[0], w[1] = 0, 1e-6 * w[1] / w[1].norm()
    layer = AdapterLayer(a, b, torch.tensor([0.5, 2.0, 3.0]))
    tensors = Adapter({name: layer}).state_dict("comfyui", {f"{name}.weight": w})
    painted = stock_comfyui(tensors, {f"{name}.weight": w})[name]
    torch.testing.assert_close(painted, layer.compose(w), rtol=2e-6, atol=0)  # a few fp32 roundings


def test_comfyui_export_keeps_input_axis_and_plain_layers_as_they_are(tmp_path):
    name = "transformer_blocks.0.attn.to_q"
    w, a, b = torch.randn(5, 6), torch.randn(2, 6), torch.randn(5, 2)
    by_columns = AdapterLayer(a, b, torch.rand(6) + 1, 0.5, "input")
    tensors = Adapter({name: by_columns}).state_dict("comfyui")
    painted = stock_comfyui(tensors, {f"{name}.weight": w})[name]
    torch.testing.assert_close(painted, by_columns.compose(w), rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="input axis"):
        Adapter({name: by_columns}).save(tmp_path / "p.safetensors")
    plain = AdapterLayer(a, b, None, 0.5)
    painted = stock_comfyui(Adapter({name: plain}).state_dict("comfyui"), {f"{name}.weight": w})[name]
    torch.testing.assert_close(painted, plain.compose(w), rtol=1e-5, atol=1e-6)


def test_comfyui_export_asks_for_the_base_and_for_one_that_fits(adapter):
    with pytest.raises(InputError, match="--base"):
        adapter.state_dict("comfyui")
    wrong = {key: value for key, value in tiny_transformer().state_dict().items() if ".1.attn" not in key}
    with pytest.raises(InputError, match=r"another model.*no such layer"):
        adapter.state_dict("comfyui", wrong)


def test_stock_comfyui_finds_no_key_in_the_peft_dialect(adapter):
    """ComfyUI maps module names bare and after these prefixes; a match would paint a plain LoRA."""
    modules = set(adapter.layers)
    known = {p + m for m in modules for p in ("", "transformer.", "diffusion_model.", "lycoris_", "lora_unet_")}
    for key in adapter.state_dict("peft"):
        assert not any(key.startswith(f"{name}.") for name in known)


def test_metadata_survives(tmp_path, adapter):
    adapter.metadata = Metadata(
        base_model="Qwen-Image-Edit-2509",
        base_sha256="ab" * 32,
        base_quantisation="nf4",
        prompt_version="3",
        preset="paper-r8",
        preset_sha256="cd" * 32,
        other={"ss_training_comment": "é, ünïcode"},
    )
    path = adapter.save(tmp_path / "one.safetensors")
    with safe_open(path, "pt") as file:
        strings = file.metadata()
    assert strings["wdlora.format_version"] == "1"
    assert strings["wdlora.targets"] == "attn.to_k, attn.to_out.0, attn.to_q, attn.to_v"
    loaded = Adapter.load(path).metadata
    assert loaded == adapter.metadata.replace(rank=4, targets=loaded.targets)


def test_a_newer_format_is_refused(tmp_path, peft_tensors):
    save_file(peft_tensors, tmp_path / "a.safetensors", {"wdlora.format_version": "2"})
    with pytest.raises(InputError, match="format version 2"):
        Adapter.load(tmp_path / "a.safetensors")


def test_configuration_speaks_pefts_language(adapter):
    from peft import LoraConfig

    config = LoraConfig(**adapter.peft_config())
    assert config.use_dora
    assert config.r == 4
    assert config.rank_pattern == {"transformer_blocks.1.attn.to_v": 3}
    assert config.lora_alpha == 2
    assert config.alpha_pattern == {"transformer_blocks.0.attn.to_q": 6, "transformer_blocks.1.attn.to_v": 1.5}
    json.dumps(adapter.peft_config())


def test_a_failed_write_leaves_the_old_file(tmp_path, adapter, monkeypatch):
    import safetensors.torch

    path = adapter.save(tmp_path / "one.safetensors")
    before = path.read_bytes()

    def out_of_space(tensors, filename, metadata=None):
        filename.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", out_of_space)
    with pytest.raises(InputError, match="No space left"):
        adapter.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["one.safetensors"]
