"""Every layout gives the same model; everything else is named before a tensor is read."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from wdlora.errors import InputError
from wdlora.qwen.checkpoint import Checkpoint, rope_axes, transformer_config
from wdlora.qwen.loading import load
from wdlora.qwen.plans import plan_text_encoder, plan_transformer, plan_vae
from wdlora.qwen.storage import Float8Linear, dequantised
from wdlora.qwen.tokenizer import load_tokenizer

CPU = torch.device("cpu")


def same(model, reference):
    ours, theirs = model.state_dict(), reference.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def single(files, **changes):
    given = {"transformer": files.transformer, "text_encoder": files.text_encoder, "vae": files.vae}
    return load(**(given | {"tokenizer": files.tokenizer} | changes))


def rewritten(path, target, change):
    """A copy of a safetensors file with its tensors changed by `change(tensors)`."""
    tensors = load_file(path)
    result = change(tensors)
    save_file(tensors if result is None else result, target)
    return target


def test_diffusers_folder_with_shards(files, parts):
    assert len(list((files.diffusers / "transformer").glob("*.safetensors"))) > 1
    model = load(files.diffusers)
    assert (model.variant, model.dtype, model.device.type) == ("edit", torch.float32, "cpu")
    assert same(model.transformer, parts.transformer)
    assert same(model.text_encoder, parts.text_encoder.model)
    assert same(model.vae, parts.vae)
    assert model.transformer.config.axes_dims_rope == [4, 14, 14]
    assert not any(p.requires_grad for p in model.transformer.parameters())
    assert model.defaults == (20, 2.5, 3.0)


def test_single_files_of_comfyui(files, parts):
    model = single(files)
    assert model.variant == "edit"
    assert same(model.transformer, parts.transformer)
    assert same(model.text_encoder, parts.text_encoder.model)
    assert same(model.vae, parts.vae)
    assert set(model.hashes) == {"transformer", "text_encoder", "vae"}
    assert len(model.hashes["vae"]) == 64


def test_sizes_come_from_the_tensors(tmp_path, build_transformer):
    model = build_transformer(joint=96, num_layers=3, attention_head_dim=64, num_attention_heads=2)
    save_file(model.state_dict(), tmp_path / "qwen-image-edit-2509.safetensors")
    config = transformer_config(Checkpoint(tmp_path / "qwen-image-edit-2509.safetensors"))
    assert config["num_layers"] == 3
    assert (config["attention_head_dim"], config["num_attention_heads"]) == (64, 2)
    assert (config["joint_attention_dim"], config["out_channels"]) == (96, 16)


@pytest.mark.parametrize(
    ("head", "axes"), [(128, (16, 56, 56)), (64, (8, 28, 28)), (32, (4, 14, 14)), (24, (4, 10, 10)), (16, (4, 6, 6))]
)
def test_rope_axes(head, axes):
    assert rope_axes(head) == axes


def on_meta(model):
    return {name: torch.empty(p.shape, device="meta", dtype=torch.bfloat16) for name, p in model.named_parameters()}


def test_full_size_transformer_without_its_weights():
    """The published model's shapes give diffusers' defaults, which are its configuration: 20.4 thousand million."""
    from accelerate import init_empty_weights
    from diffusers import QwenImageTransformer2DModel

    with init_empty_weights():
        published = QwenImageTransformer2DModel()
    planned = plan_transformer(Checkpoint(on_meta(published))).model
    assert sum(p.numel() for p in planned.parameters()) == 20_430_401_088
    for name in ("num_layers", "num_attention_heads", "attention_head_dim", "joint_attention_dim", "zero_cond_t"):
        assert planned.config[name] == published.config[name]
    assert tuple(planned.config.axes_dims_rope) == (16, 56, 56)


def test_full_size_text_encoder_without_its_weights():
    """Qwen2.5-VL-7B as published (its config.json, abridged) comes back from its tensors' shapes."""
    from accelerate import init_empty_weights
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

    published = Qwen2_5_VLConfig.from_dict(
        {
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_attention_heads": 28,
            "num_hidden_layers": 28,
            "num_key_value_heads": 4,
            "rms_norm_eps": 1e-06,
            "rope_theta": 1000000.0,
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
            "vocab_size": 152064,
            "vision_config": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16},
        }
    )

    class Tokenizer:
        def convert_tokens_to_ids(self, token):
            return {"<|image_pad|>": 151655, "<|im_end|>": 151645}.get(token, 151643)

    with init_empty_weights():
        model = Qwen2_5_VLModel(published)
    tensors = {name.replace("language_model.", "model."): tensor for name, tensor in on_meta(model).items()}
    planned = plan_text_encoder(Checkpoint(tensors), Tokenizer()).model.config
    for name in ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "vocab_size"):
        assert getattr(planned.text_config, name) == getattr(published.text_config, name)
    for name in ("num_key_value_heads", "rms_norm_eps"):
        assert getattr(planned.text_config, name) == getattr(published.text_config, name)
    for name in ("mrope_section", "rope_theta", "rope_type"):
        assert planned.text_config.rope_parameters[name] == published.text_config.rope_parameters[name]
    for name in ("depth", "hidden_size", "num_heads", "window_size", "patch_size", "fullatt_block_indexes"):
        ours, theirs = getattr(planned.vision_config, name), getattr(published.vision_config, name)
        assert list(ours) == list(theirs) if name.startswith("full") else ours == theirs
    assert planned.image_token_id == published.image_token_id == 151655


def test_bfloat16_file_is_the_rounded_model(files, parts, tmp_path):
    path = rewritten(
        files.transformer, tmp_path / "edit_bf16.safetensors", lambda t: {n: v.bfloat16() for n, v in t.items()}
    )
    model = plan_transformer(Checkpoint(path)).fill(CPU, torch.float32)
    for name, tensor in parts.transformer.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor.bfloat16().float())


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


def test_transformers_own_names_of_the_text_encoder(files, parts, tmp_path):
    state = {name: tensor.contiguous() for name, tensor in parts.text_encoder.state_dict().items()}
    assert any(name.startswith("model.language_model.") for name in state)
    save_file(state, tmp_path / "te.safetensors")
    assert same(single(files, text_encoder=tmp_path / "te.safetensors").text_encoder, parts.text_encoder.model)


def test_vision_heads_from_the_metadata(files, parts, tmp_path):
    tensors = load_file(files.text_encoder)
    save_file(tensors, tmp_path / "te.safetensors", metadata={"vision_config": json.dumps({"num_heads": 4})})
    model = single(files, text_encoder=tmp_path / "te.safetensors")
    assert model.text_encoder.config.vision_config.num_heads == 4


def marked(tensors):
    tensors["model.diffusion_model.__index_timestep_zero__"] = torch.zeros(0)


def test_2511_by_its_marker_its_name_or_its_config(files, tmp_path):
    path = rewritten(files.transformer, tmp_path / "x.safetensors", marked)
    model = single(files, transformer=path)
    assert model.variant == "2511"
    assert model.transformer.config.zero_cond_t is True
    with pytest.raises(InputError, match="is Qwen-Image-Edit-2511, but edit"):
        single(files, transformer=path, variant="edit")
    named = shutil.copy(files.transformer, tmp_path / "Qwen_Image_Edit_2511.safetensors")
    assert single(files, transformer=named).transformer.config.zero_cond_t is True

    folder = tmp_path / "plus"
    shutil.copytree(files.diffusers, folder)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "QwenImageEditPlusPipeline"}))
    assert load(folder).variant == "2509"
    config = json.loads((folder / "transformer/config.json").read_text())
    (folder / "transformer/config.json").write_text(json.dumps(config | {"zero_cond_t": True}))
    assert load(folder).variant == "2511"


def test_variant_is_asked_for_where_nothing_tells(files, tmp_path):
    path = shutil.copy(files.transformer, tmp_path / "qwen_image_fp8.safetensors")
    with pytest.raises(InputError, match="text-to-image"):
        single(files, transformer=path)
    assert single(files, transformer=path, variant="2509").variant == "2509"


def test_tokenizer_from_a_comfyui_checkout(files, tmp_path):
    home = tmp_path / "ComfyUI"
    shutil.copytree(files.tokenizer, home / "comfy/text_encoders/qwen25_tokenizer")
    (home / "models/text_encoders").mkdir(parents=True)
    encoder = shutil.copy(files.text_encoder, home / "models/text_encoders/qwen.safetensors")
    assert load_tokenizer(home)("X")["input_ids"] == load_tokenizer(files.diffusers)("X")["input_ids"]
    assert single(files, text_encoder=encoder, tokenizer=None).tokenizer is not None
    with pytest.raises(InputError, match="was not found"):
        single(files, tokenizer=None)


def test_parts_can_be_read_one_at_a_time(files):
    first = load(files.diffusers, parts=("text_encoder", "vae"))
    assert first.transformer is None
    assert first.tokenizer is not None
    assert first.hashes["transformer"] is not None
    second = load(transformer=files.transformer, parts=("transformer",))
    assert (second.text_encoder, second.vae, second.tokenizer) == (None, None, None)
    assert second.variant == "edit"
    with pytest.raises(InputError, match="give variant"):
        load(vae=files.vae, parts=("vae",))
    assert load(vae=files.vae, parts=("vae",), variant="2509").vae is not None
    with pytest.raises(InputError, match="no part 'clip'"):
        load(files.diffusers, parts=("clip",))


def test_marked_checkpoint_modulates_references_at_zero(files, tmp_path):
    path = rewritten(files.transformer, tmp_path / "x.safetensors", marked)
    assert plan_transformer(Checkpoint(path)).model.config.zero_cond_t is True
    assert plan_transformer(Checkpoint(files.transformer)).model.config.zero_cond_t is False


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
    with pytest.raises(InputError, match=f"quantised as {message}"):
        single(files, transformer=path)


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
    with pytest.raises(InputError, match="no text encoder was given"):
        load(transformer=files.transformer, vae=files.vae)


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
