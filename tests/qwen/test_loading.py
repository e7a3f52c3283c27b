"""Every layout gives the same model."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.qwen.reading import CPU, rewritten, same, single
from wdlora.errors import InputError
from wdlora.qwen.checkpoint import Checkpoint, rope_axes, transformer_config
from wdlora.qwen.files import ModelFiles
from wdlora.qwen.loading import load
from wdlora.qwen.plans import plan_text_encoder, plan_transformer
from wdlora.qwen.sampling import Sampling
from wdlora.qwen.tokenizer import load_tokenizer


def test_diffusers_folder_with_shards(files, parts):
    assert len(list((files.diffusers / "transformer").glob("*.safetensors"))) > 1
    model = load(files.diffusers)
    assert (model.variant, model.dtype, model.device.type) == ("edit", torch.float32, "cpu")
    assert same(model.transformer, parts.transformer)
    assert same(model.text_encoder, parts.text_encoder.model)
    assert same(model.vae, parts.vae)
    assert model.transformer.config.axes_dims_rope == [4, 14, 14]
    assert not any(p.requires_grad for p in model.transformer.parameters())
    assert model.defaults == Sampling(steps=20, cfg=2.5, shift=3.0, norm=1.0, sampler="euler")


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
    with pytest.raises(InputError, match="is Qwen-Image-Edit-2509, but edit was asked for"):
        load(ModelFiles(folder, variant="edit"))
    # The class of the pipeline does not tell them apart.
    assert load(ModelFiles(folder, variant="2511")).variant == "2511"
    config = json.loads((folder / "transformer/config.json").read_text())
    (folder / "transformer/config.json").write_text(json.dumps(config | {"zero_cond_t": True}))
    assert load(folder).variant == "2511"
    for wrong in ("2509", "edit"):
        with pytest.raises(InputError, match=f"is Qwen-Image-Edit-2511, but {wrong} was asked for"):
            load(ModelFiles(folder, variant=wrong))


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
    second = load(ModelFiles(transformer=files.transformer), parts=("transformer",))
    assert (second.text_encoder, second.vae, second.tokenizer) == (None, None, None)
    assert second.variant == "edit"
    with pytest.raises(InputError, match="give variant"):
        load(ModelFiles(vae=files.vae), parts=("vae",))
    assert load(ModelFiles(vae=files.vae, variant="2509"), parts=("vae",)).vae is not None
    with pytest.raises(InputError, match="no part 'clip'"):
        load(files.diffusers, parts=("clip",))


def test_marked_checkpoint_modulates_references_at_zero(files, tmp_path):
    path = rewritten(files.transformer, tmp_path / "x.safetensors", marked)
    assert plan_transformer(Checkpoint(path)).model.config.zero_cond_t is True
    assert plan_transformer(Checkpoint(files.transformer)).model.config.zero_cond_t is False
