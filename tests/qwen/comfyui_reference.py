"""What a real ComfyUI computes for a small model, recorded so that it can be compared wherever ComfyUI is not.

    python -m tests.qwen.comfyui_reference write FOLDER              # with this project's Python
    python tests/qwen/comfyui_reference.py record COMFYUI FOLDER     # with ComfyUI's Python

The first writes the model's files and inputs, the second runs ComfyUI's own text encoder, VAE, transformer and
KSampler on them and writes `comfyui_reference.safetensors` beside this file. The numbers of model and inputs come
from a formula, not from a random generator, so that they are the same with every release of PyTorch.
"""

import json
import sys
import zlib
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
RECORD = HERE / "comfyui_reference.safetensors"
PROMPT = "corneal nerves {T1DPN}"
SEED, STEPS, CFG, SHIFT = 7, 4, 2.5, 3.1


def numbers(*shape: int, name: str) -> torch.Tensor:
    """Numbers between −½ and ½ that look random: Knuth's multiplicative hash of a counter, mixed twice."""
    total = 1
    for side in shape:
        total *= side
    x = torch.arange(total, dtype=torch.int64) + zlib.crc32(name.encode())
    for factor in (2654435761, 2246822519):
        x = x * factor % 2**32
        x = x ^ (x >> 15)
    return (x.double() / 2**32 - 0.5).float().reshape(shape)


def fill(model: Any) -> Any:
    """Give every parameter its numbers: norms around 1, biases small, matrices so that signals keep their size."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = numbers(*parameter.shape, name=name)
            if parameter.ndim == 1 or name.endswith("gamma"):
                norm = "norm" in name and name.endswith(("weight", "gamma")) and "linear" not in name
                values = 1 + 0.4 * values if norm or "ln_q" in name else 0.2 * values
            else:
                values = values * (12 / parameter[0].numel()) ** 0.5
            parameter.copy_(values)
    return model


def inputs() -> dict[str, torch.Tensor]:
    """A mask of 64 × 96 pixels, a reference image, noisy latents with noise levels, and conditioning."""
    return {
        "mask": (numbers(64, 96, name="mask") > 0.4).float(),
        "reference": numbers(1, 3, 64, 96, name="reference") + 0.5,
        "x": 3 * numbers(2, 16, 1, 8, 12, name="x"),
        "sigma": torch.tensor([0.903, 0.31]),
        "positive": 3 * numbers(1, 9, 128, name="positive"),
        "negative": 3 * numbers(1, 7, 128, name="negative"),
        "latents": 2 * numbers(1, 16, 1, 8, 12, name="latents"),
        "more_latents": 2 * numbers(1, 16, 1, 8, 12, name="more"),
    }


def write(folder: Path) -> None:
    """Write weights in ComfyUI's layouts, inputs and tokens."""
    from safetensors.torch import save_file

    from tests import small_model as small
    from wdlora.qwen.encode import prompt_text, token_ids
    from wdlora.qwen.vl_view import MERGE, PATCH, vl_view
    from wdlora.qwen.wan_names import wan_name

    tokenizer = small.byte_tokenizer()
    text_encoder = fill(small.small_text_encoder(tokenizer)).model.state_dict()
    vae = fill(small.small_vae()).state_dict()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(fill(small.small_transformer()).state_dict(), folder / "transformer.safetensors")
    save_file(
        {n.replace("language_model.", "model."): t.contiguous() for n, t in text_encoder.items()},
        folder / "text_encoder.safetensors",
    )
    save_file({wan_name(name): tensor for name, tensor in vae.items()}, folder / "vae.safetensors")
    given = inputs()
    given |= {"view": vl_view(given["mask"]), "reference_view": vl_view(given["reference"])}
    save_file(given, folder / "inputs.safetensors")
    size = given["view"].shape[-2] * given["view"].shape[-1] // (PATCH * MERGE) ** 2
    tokens = {}
    for name, pictures, variant in (("edit", 1, "edit"), ("plus", 2, "2511")):
        ids, types, prefix = token_ids(tokenizer, prompt_text(PROMPT, pictures, variant), [size] * pictures)
        tokens[name] = {"ids": ids, "types": types, "prefix": prefix}
    (folder / "tokens.json").write_text(json.dumps(tokens | {"vocabulary": len(tokenizer)}))


def record(comfyui: Path, folder: Path) -> None:
    """Run ComfyUI on the files of `write`."""
    sys.path.insert(0, str(comfyui))
    sys.argv = [sys.argv[0], "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.ldm.qwen_image.model
    import comfy.model_detection
    import comfy.model_management
    import comfy.model_patcher
    import comfy.sample
    import comfy.samplers
    import comfy.sd
    import comfy.supported_models
    from comfy_extras.nodes_cfg import CFGNorm
    from comfy_extras.nodes_model_advanced import ModelSamplingAuraFlow
    from comfyui_version import __version__
    from safetensors.torch import load_file, save_file

    given = load_file(folder / "inputs.safetensors")
    tokens = json.loads((folder / "tokens.json").read_text())
    result = {}

    # text encoder, fed with tokens of the byte-level tokenizer
    encoder = _text_encoder(tokens["vocabulary"])
    encoder.transformer.load_state_dict(load_file(folder / "text_encoder.safetensors"))
    views = [given["view"].movedim(1, -1), given["reference_view"].movedim(1, -1)]
    for name in ("edit", "plus"):
        waiting, sequence, before = iter(views), [], 0
        for token, kind in zip(tokens[name]["ids"], tokens[name]["types"], strict=True):
            if kind == 0:
                sequence.append(token)
            elif before == 0:
                sequence.append({"type": "image", "data": next(waiting), "original_type": "image"})
            before = kind
        hidden = encoder([sequence])[0]
        result[f"hidden_{name}"] = hidden[:, tokens[name]["prefix"] :].float()

    # VAE
    vae = comfy.sd.VAE(sd=load_file(folder / "vae.safetensors"))
    weights = load_file(folder / "transformer.safetensors")
    patcher = _model(comfy, weights)
    image = given["mask"][None, ..., None].expand(-1, -1, -1, 3)
    result["encoded"] = patcher.model.process_latent_in(vae.encode(image))
    result["decoded"] = vae.decode(patcher.model.process_latent_out(given["latents"]))[0].movedim(-1, 1)[..., ::4, ::4]

    # transformer: one reference by index, two with timestep zero (2511)
    marked = weights | {"__index_timestep_zero__": torch.zeros(0)}
    for name, model, pictures in (
        ("edit", patcher, ["latents"]),
        ("2511", _model(comfy, marked), ["latents", "more_latents"]),
    ):
        with torch.no_grad():
            result[f"velocity_{name}"] = model.model.diffusion_model(
                given["x"],
                given["sigma"],
                context=given["positive"].expand(2, -1, -1),
                ref_latents=[given[key].expand(2, -1, -1, -1, -1) for key in pictures],
            )

    # schedules and KSampler
    result["flux_schedule"] = comfy.samplers.calculate_sigmas(patcher.model.model_sampling, "simple", 20)
    shifted = ModelSamplingAuraFlow().patch_aura(patcher, SHIFT)[0]
    sampling = shifted.get_model_object("model_sampling")
    result["schedule"] = comfy.samplers.calculate_sigmas(sampling, "simple", 20)
    result["partial_schedule"] = comfy.samplers.KSampler(
        shifted, STEPS, torch.device("cpu"), "euler", "simple", 0.37
    ).sigmas
    references = {"reference_latents": [patcher.model.process_latent_out(given["latents"])]}
    positive, negative = ([[given[key], dict(references)]] for key in ("positive", "negative"))
    empty = torch.zeros(1, 16, 1, 8, 12)
    for name, sampler, model in (
        ("euler", "euler", shifted),
        ("euler_norm", "euler", CFGNorm.execute(shifted, 1.0)[0]),
        ("heun", "heun", shifted),
    ):
        noise = comfy.sample.prepare_noise(empty, SEED)
        samples = comfy.sample.sample(
            model, noise, STEPS, CFG, sampler, "simple", positive, negative, empty, disable_pbar=True, seed=SEED
        )
        result[f"sampled_{name}"] = patcher.model.process_latent_in(samples)
    contiguous = {name: tensor.float().contiguous().clone() for name, tensor in result.items()}
    save_file(contiguous, RECORD, metadata={"comfyui": __version__})


def _model(comfy: Any, weights: dict[str, torch.Tensor]) -> Any:
    config = comfy.model_detection.detect_unet_config(weights, "")
    config |= {"attention_head_dim": 32, "num_attention_heads": 3, "joint_attention_dim": 128}
    config |= {"out_channels": 16, "axes_dims_rope": (4, 14, 14)}
    supported = comfy.supported_models.QwenImage(config)
    supported.set_inference_dtype(torch.float32, None)
    model = supported.get_model(weights, "")
    model.load_model_weights(dict(weights), "")
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=device)


def _text_encoder(vocabulary: int) -> Any:
    from comfy import sd1_clip
    from comfy.text_encoders import llama, qwen_vl

    class SmallVL(llama.Qwen25_7BVLI):
        def __init__(self, config_dict: Any, dtype: Any, device: Any, operations: Any) -> None:
            torch.nn.Module.__init__(self)
            config = llama.Qwen25_7BVLI_Config(
                vocab_size=vocabulary,
                hidden_size=128,
                intermediate_size=192,
                num_hidden_layers=2,
                num_attention_heads=1,
                num_key_value_heads=1,
            )
            self.num_layers = config.num_hidden_layers
            self.model = llama.Llama2_(config, device=device, dtype=dtype, ops=operations)
            self.visual = qwen_vl.Qwen2VLVisionTransformer(
                hidden_size=64,
                output_hidden_size=128,
                intermediate_size=96,
                num_heads=16,
                num_layers=2,
                device=device,
                dtype=dtype,
                ops=operations,
            )
            self.dtype = dtype

    return sd1_clip.SDClipModel(
        device="cpu",
        dtype=torch.float32,
        textmodel_json_config={},
        special_tokens={"pad": 0},
        layer="last",
        layer_norm_hidden_state=False,
        model_class=SmallVL,
        enable_attention_masks=True,
        return_attention_masks=True,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["write"]:
        write(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["record"]:
        record(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        sys.exit(__doc__)
