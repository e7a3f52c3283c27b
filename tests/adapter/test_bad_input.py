"""Everything that cannot be used is answered with one sentence that says what, which value and where."""

import io
import json
import pickle
import re

import pytest
import torch
from safetensors.torch import save, save_file

from wdlora.adapter import Adapter
from wdlora.errors import InputError

Q = "transformer_blocks.0.attn.to_q"


def good():
    key = f"base_model.model.{Q}"
    return {
        f"{key}.lora_A.weight": torch.ones(2, 6),
        f"{key}.lora_B.weight": torch.ones(4, 2),
        f"{key}.lora_magnitude_vector": torch.ones(4),
    }


def refused(source, sentence, **kwargs):
    with pytest.raises(InputError) as caught:
        Adapter.load(source, **kwargs)
    message = str(caught.value)
    assert re.search(sentence, message), message
    assert "\n" not in message
    return message


def with_changes(tmp_path, *without, **tensors):
    content = {key: value for key, value in good().items() if not any(part in key for part in without)}
    for part, tensor in tensors.items():
        content[f"base_model.model.{Q}.{part.replace('__', '.')}"] = tensor
    save_file(content, tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


def test_absent(tmp_path):
    refused(tmp_path / "no.safetensors", "no.safetensors does not exist$")


def test_empty(tmp_path):
    (tmp_path / "a.safetensors").touch()
    refused(tmp_path / "a.safetensors", r"is empty \(0 bytes\)$")


def test_folders(tmp_path):
    refused(tmp_path, "is a folder with 0 .safetensors files")
    (tmp_path / "a.safetensors").mkdir()
    refused(tmp_path / "a.safetensors", "is a folder with 0")
    save_file(good(), tmp_path / "b.safetensors")
    refused(tmp_path, "is a folder|cannot be read")


@pytest.mark.parametrize("keep", [3, 8, 40, -1, -30])
def test_truncated_anywhere(tmp_path, keep):
    path = tmp_path / "a.safetensors"
    path.write_bytes(save(good())[:keep])
    refused(path, r"is truncated|truncated within its header")


def test_longer_than_it_says(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(save(good()) + b"123")
    refused(path, "3 bytes follow its last tensor")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_by_the_name_of_safetensors(tmp_path, legacy):
    path = tmp_path / "a.safetensors"
    torch.save(good(), path, _use_new_zipfile_serialization=not legacy)
    refused(path, "is a PyTorch pickle, not safetensors; pickles can run code and are never loaded")


def test_a_pickle_is_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    stream = io.BytesIO()
    pickle.dump(Bomb(), stream)
    (tmp_path / "a.safetensors").write_bytes(stream.getvalue())
    refused(tmp_path / "a.safetensors", "pickle")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content,sentence",
    [(b"GGUF" + bytes(40), "GGUF"), (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"), (b"<html>", "not a")],
)
def test_other_files(tmp_path, content, sentence):
    (tmp_path / "a.safetensors").write_bytes(content)
    refused(tmp_path / "a.safetensors", sentence)


@pytest.mark.parametrize(
    "header",
    [
        "{",
        "{}}",
        '{"a": 1}',
        '{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}',
        '{"a": {"dtype": "Q9", "shape": [1], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 4]}}',
        '{"__metadata__": {"a": 1}, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
        '{"\\ud800": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
)
def test_damaged_headers(tmp_path, header):
    text = header.encode()
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    refused(tmp_path / "a.safetensors", "damaged header|cannot be read as safetensors|not a safetensors file")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("part", ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"])
def test_nan_and_infinity(tmp_path, value, part):
    tensors = good()
    key = f"base_model.model.{Q}.{part}"
    tensors[key].view(-1)[1] = value
    save_file(tensors, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", rf"has 1 NaN or infinite values in '{re.escape(key)}'")


def test_nan_in_float8(tmp_path):
    path = with_changes(tmp_path, "lora_A", lora_A__weight=torch.full((2, 6), float("nan")).to(torch.float8_e4m3fn))
    refused(path, "has 12 NaN")


def test_shapes_that_do_not_fit_together(tmp_path):
    path = with_changes(tmp_path, "lora_B", lora_B__weight=torch.ones(4, 3))
    refused(path, rf"layer '{Q}' does not fit together: A is \[2, 6\], B is \[4, 3\]")
    path = with_changes(tmp_path, "lora_A", lora_A__weight=torch.ones(2, 3, 2, 1))
    refused(path, rf"layer '{Q}' has A of shape \[2, 3, 2, 1\] and B of shape \[4, 2\]")
    path = with_changes(tmp_path, "magnitude", lora_magnitude_vector=torch.ones(5))
    refused(path, rf"layer '{Q}' has a magnitude of shape \[5\], but B is \[4, 2\]: 4 numbers are needed")
    path = with_changes(tmp_path, "magnitude", dora_scale=torch.ones(6))
    refused(path, r"a dora_scale of shape \[6\].*\[4, 1\] \(output axis\) or \[1, 6\] \(input axis\)")
    path = with_changes(tmp_path, alpha=torch.ones(2))
    refused(path, r"an alpha of shape \[2\]")


def test_shapes_that_do_not_fit_the_base(tmp_path):
    base = {f"{Q}.weight": torch.ones(8, 6)}
    refused(with_changes(tmp_path), rf"layer '{Q}' fits a weight of shape \[4, 6\].*has \[8, 6\] there", base=base)


def test_integers(tmp_path):
    path = with_changes(tmp_path, "lora_A", lora_A__weight=torch.ones(2, 6, dtype=torch.int8))
    refused(path, "is stored as 'I8', not as floating numbers")


def test_rank_zero(tmp_path):
    path = with_changes(tmp_path, "lora_A", "lora_B", lora_A__weight=torch.ones(0, 6), lora_B__weight=torch.ones(4, 0))
    refused(path, rf"layer '{Q}' has rank 0 \(A is \[0, 6\], B is \[4, 0\]\)")


@pytest.mark.parametrize("part,spelled", [("lora_A", "A (lora_A or lora_down)"), ("lora_B", "B (lora_B or lora_up)")])
def test_missing_factors(tmp_path, part, spelled):
    refused(with_changes(tmp_path, part), re.escape(f"layer '{Q}' has no {spelled}; the file is incomplete"))


def test_magnitudes_for_some_where_the_configuration_wants_all(tmp_path):
    tensors = good() | {k.replace("to_q", "to_k"): v for k, v in good().items() if "magnitude" not in k}
    said = {"lora_adapter_metadata": json.dumps({"use_dora": True})}
    save_file({k: v.clone() for k, v in tensors.items()}, tmp_path / "a.safetensors", said)
    refused(tmp_path / "a.safetensors", r"magnitudes for 1 of 2 layers; they are missing for '.*attn.to_k'")


def test_magnitudes_for_none_where_the_configuration_wants_them(tmp_path):
    tensors = {k: v for k, v in good().items() if "magnitude" not in k}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"use_dora": true}')
    refused(tmp_path, "use_dora but holds no magnitude")


def test_unknown_keys_are_named_and_counted(tmp_path):
    path = with_changes(tmp_path, **{f"mystery{i}": torch.ones(1) for i in range(5)})
    message = refused(path, r"holds 5 unknown keys among 8: ")
    assert "mystery0" in message
    assert "mystery2" in message
    assert "and 2 more" in message


def test_a_file_of_something_else(tmp_path):
    save_file({f"layer.{i}.weight": torch.ones(1) for i in range(4)}, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", r"holds no LoRA layer: none of its 4 keys is known \('layer.0.weight'")
    save_file({}, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", "no LoRA layer; it has no tensors")


@pytest.mark.parametrize(
    "key,name",
    [
        ("lycoris_transformer_blocks_0_attn_to_q.hada_w1_a", "LoHa"),
        ("lycoris_transformer_blocks_0_attn_to_q.lokr_w1", "LoKr"),
        ("lora_unet_transformer_blocks_0_attn_to_q.lora_mid.weight", "LoCon with a Tucker core"),
        ("lora_unet_transformer_blocks_0_attn_to_q.oft_blocks", "OFT"),
        ("diffusion_model.transformer_blocks.0.attn.to_q.diff", "whole weight differences"),
    ],
)
def test_other_methods_are_refused_by_name(tmp_path, key, name):
    save_file({key: torch.ones(2, 2)}, tmp_path / "a.safetensors")
    message = refused(tmp_path / "a.safetensors", rf"is not a LoRA: 1 of its 1 keys belong to {name}")
    assert message.endswith("load it with ComfyUI's own LoRA loader (LoraLoaderModelOnly), before WDLoRA Apply")


@pytest.mark.parametrize(
    "key,words",
    [
        ("base_model.model.proj_out.weight", "whole weights or biases of layers"),
        (f"base_model.model.{Q}.bias", "whole weights or biases of layers"),
        ("base_model.model.proj_out.modules_to_save.default.weight", r"whole layers \(peft's modules_to_save\)"),
        ("state.0.exp_avg", "an optimiser's state"),
        ("emb_params", "an embedding"),
        ("transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight", "of Flux or HunyuanVideo"),
        ("diffusion_model.blocks.0.self_attn.q.lora_A.weight", "of Wan"),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "of a text encoder; load it with ComfyUI's"),
    ],
)
def test_a_refusal_says_what_the_keys_are(tmp_path, key, words):
    save_file(good() | {key: torch.ones(2, 6)}, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", words)


@pytest.mark.parametrize(
    "key",
    [
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
        "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight",
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight",
        "transformer.transformer_blocks.0.attn.to_qq.lora_A.weight",
    ],
)
def test_an_adapter_for_another_model(tmp_path, key):
    save_file(good() | {key: torch.ones(2, 6)}, tmp_path / "a.safetensors")
    message = refused(tmp_path / "a.safetensors", "was made for another model: 1 of its 4 keys name layers")
    assert key in message


def test_an_adapter_for_another_base(tmp_path):
    base = {"transformer_blocks.7.attn.to_q.weight": torch.ones(4, 6)}
    refused(with_changes(tmp_path), "another model: 3 of its 3 keys .* tensors in memory does not have", base=base)


def test_the_same_part_twice(tmp_path):
    save_file(good() | {f"transformer.{Q}.lora_A.weight": torch.ones(2, 6)}, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", "holds the same part of a layer twice")
    path = with_changes(tmp_path, dora_scale=torch.ones(4))
    refused(path, "holds the same part of a layer twice")


@pytest.mark.parametrize(
    "config,sentence",
    [
        ("{", "not valid JSON"),
        ("[]", "not a table"),
        ('{"lora_alpha": "8"}', "the alpha '8'"),
        ('{"lora_alpha": 1e999}', "the alpha 'inf'"),
        ('{"lora_alpha": 1' + "0" * 400 + "}", "the alpha '1000"),
        ('{"lora_alpha": NaN}', "the alpha 'nan'"),
        ('{"peft_type": "LOHA"}', "'LOHA' adapter"),
        ('{"alpha_pattern": []}', None),
        ('{"alpha_pattern": [1]}', "alpha_pattern"),
        ('{"alpha_pattern": {"(a+)+b": 1}}', "regular expression"),
        ('{"alpha_pattern": {"to_q(": 1}}', "regular expression"),
        ('{"alpha_pattern": {".*.*.*.*": 1}}', "regular expression"),
        ('{"rank_pattern": {"to_q": "two"}}', "the rank 'two'"),
        ('{"r": 2.5}', "the rank '2.5' in its configuration is not a whole number"),
        ('{"r": 8}', "says rank 8 for layer '.*to_q', whose tensors have rank 2"),
        ('{"r": 2, "rank_pattern": {"attn.to_q": 4}}', "says rank 4 for layer"),
        ('{"bias": "lora_only"}', "sets bias to 'lora_only'"),
        ('{"lora_bias": true}', "configured with lora_bias but holds no bias"),
        ('{"modules_to_save": ["proj_out"]}', "sets modules_to_save: whole layers"),
        ('{"layer_replication": [[0, 4], [2, 5]]}', "sets layer_replication"),
        ('{"kasa_config": {"a": 1}}', "KaSA"),
        ('{"init_lora_weights": "newest"}', "'newest', which is not known and may change the base"),
        ('{"init_lora_weights": 1}', "'1', which is not known"),
    ],
)
def test_configurations(tmp_path, config, sentence):
    save_file(good(), tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(config)
    if sentence is None:
        Adapter.load(tmp_path)
    else:
        refused(tmp_path, sentence)


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_16", "olora", "OLoRA", "corda", "loftq", "lora_ga"])
@pytest.mark.parametrize("where", ["beside", "inside"])
def test_an_adapter_that_belongs_to_a_changed_base(tmp_path, start, where):
    config = json.dumps({"r": 2, "lora_alpha": 2, "init_lora_weights": start})
    inside = {"lora_adapter_metadata": config} if where == "inside" else None
    save_file(good(), tmp_path / "adapter_model.safetensors", inside)
    if where == "beside":
        (tmp_path / "adapter_config.json").write_text(config)
    refused(tmp_path, r"was started by (PiSSA|OLoRA|CorDA|LoftQ|LoRA-GA) .*, which changes the base")


@pytest.mark.parametrize("start", [True, False, None, "gaussian", "eva", "orthogonal", "mica"])
def test_initialisations_that_keep_the_base(start):
    """peft leaves the base's weights as they are."""
    assert Adapter.from_tensors(good(), {"lora_alpha": 4, "init_lora_weights": start}).layers[Q].scaling == 2


@pytest.mark.parametrize(
    "metadata,sentence",
    [
        ({"lora_alpha": "two"}, "the metadata 'lora_alpha' is 'two', not a number"),
        ({"alpha": "nan"}, "the metadata 'alpha' is 'nan', not a number"),
        ({"ss_network_alpha": "1e999"}, "not a number"),
        ({"lora_alpha": "2", "network_alpha": "4"}, "contradict one another: lora_alpha 2, network_alpha 4"),
        (
            {"alpha": "2", "lora_adapter_metadata": '{"lora_alpha": 4}'},
            "its metadata state alpha 2, its configuration 4",
        ),
    ],
)
def test_an_alpha_in_the_metadata_that_cannot_be_taken(tmp_path, metadata, sentence):
    save_file(good(), tmp_path / "a.safetensors", metadata)
    refused(tmp_path / "a.safetensors", sentence)


def test_one_part_of_several(tmp_path):
    name = "adapter_model-00001-of-00003.safetensors"
    save_file(good(), tmp_path / name)
    refused(tmp_path / name, "is one of 3 parts of an adapter")
    refused(tmp_path, "is one of 3 parts of an adapter")
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    save_file(good(), tmp_path / "one.safetensors")
    (tmp_path / "adapter_model.safetensors.index.json").write_text(json.dumps(index))
    refused(tmp_path / "one.safetensors", "is one of 2 parts of an adapter")


@pytest.mark.parametrize(
    "key,tensor,sentence",
    [
        (f"diffusion_model.{Q}.diff_b", torch.tensor([0.0, 1e-9]), "belong to whole weight differences"),
        (f"base_model.model.{Q}.lora_B.bias", torch.tensor([0.0, 1e-9]), "belong to a LoRA with biases"),
        ("diffusion_model.txt_norm.w_norm", torch.tensor([1.0]), "belong to whole weight differences"),
        ("lora_te_model_layers_0_mlp_up_proj.lora_up.weight", torch.ones(2, 2), "of a text encoder"),
        ("lora_te_model_layers_0_mlp_up_proj.lora_up.weight", torch.tensor([[float("nan")]]), "of a text encoder"),
        ("lora_te_model_layers_0_mlp_up_proj.dora_scale", torch.zeros(2), "of a text encoder"),
    ],
)
def test_what_changes_something_is_not_left_out(tmp_path, key, tensor, sentence):
    save_file(good() | {key: tensor}, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", sentence)


def test_a_scaling_beyond_float32(tmp_path):
    path = with_changes(tmp_path, alpha=torch.tensor(1e300, dtype=torch.float64))
    refused(path, r"has the scaling 5e\+299, too large for float32")


def test_a_bound_export_that_lost_a_layer(tmp_path):
    tensors = good() | {"wdlora.magnitudes": torch.ones(9)}
    save_file(tensors, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", r"'wdlora.magnitudes' has shape \[9\], but its layers need \[4\]")


def test_hostile_names_stay_on_one_short_line(tmp_path):
    key = "a\n\x1b[31m" + "x" * 5000
    save_file(good() | {key: torch.ones(1)}, tmp_path / "a.safetensors")
    message = refused(tmp_path / "a.safetensors", "1 unknown key among 4")
    assert "\x1b" not in message
    assert len(message) < 400


def test_metadata_that_is_not_a_number(tmp_path):
    save_file(good(), tmp_path / "a.safetensors", {"wdlora.rank": "many"})
    refused(tmp_path / "a.safetensors", "'wdlora.rank' is 'many', not a number")
    save_file(good(), tmp_path / "a.safetensors", {"lora_adapter_metadata": json.dumps({"r": 1})[:-1]})
    refused(tmp_path / "a.safetensors", "lora_adapter_metadata is not valid JSON")


def test_saving(tmp_path):
    adapter = Adapter.from_tensors(good())
    with pytest.raises(InputError, match=r"must end in \.safetensors"):
        adapter.save(tmp_path / "out.pt", "diffusers")
    with pytest.raises(InputError, match="or name a folder"):
        adapter.save(tmp_path / "out.bin", "peft")
    with pytest.raises(InputError, match="'webui' is not one of peft, diffusers, comfyui"):
        adapter.save(tmp_path / "out.safetensors", "webui")
    assert not list(tmp_path.iterdir())
