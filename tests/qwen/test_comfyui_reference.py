"""Equal to what ComfyUI 0.33.0 computed for the same small model (recorded by `comfyui_reference.py`).

Tolerances are relative to the largest number of each result and allow for float32 sums in another order.
"""

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from wdlora.qwen import sampling
from wdlora.qwen.denoiser import denoiser, velocity
from wdlora.qwen.encode import Conditioning, encode
from wdlora.qwen.latents import decode_latents, encode_image


@pytest.fixture(scope="module")
def recorder():
    path = Path(__file__).with_name("comfyui_reference.py")
    spec = importlib.util.spec_from_file_location("comfyui_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def theirs(recorder):
    return load_file(recorder.RECORD)


@pytest.fixture(scope="module")
def given(recorder):
    return recorder.inputs()


@pytest.fixture(scope="module")
def transformers(recorder, build_transformer):
    return {"edit": recorder.fill(build_transformer()), "2511": recorder.fill(build_transformer(zero_cond_t=True))}


def close(ours, theirs, tolerance):
    assert ours.shape == theirs.shape
    assert float(theirs.abs().max()) > 0.1
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < tolerance


@pytest.mark.parametrize(("name", "variant"), [("edit", "edit"), ("plus", "2511")])
def test_text_encoder(recorder, theirs, given, build_text_encoder, parts, name, variant):
    pictures = [given["mask"]] if variant == "edit" else [given["mask"], given["reference"]]
    encoder = recorder.fill(build_text_encoder(parts.tokenizer))
    ours = encode(encoder, parts.tokenizer, recorder.PROMPT, [pictures], variant)
    close(ours.embeds, theirs[f"hidden_{name}"], 2e-6)


def test_vae(recorder, theirs, given, build_vae):
    vae = recorder.fill(build_vae())
    close(encode_image(vae, given["mask"]), theirs["encoded"], 2e-6)
    close(decode_latents(vae, given["latents"])[..., ::4, ::4], theirs["decoded"], 2e-6)


@pytest.mark.parametrize(("variant", "references"), [("edit", ["latents"]), ("2511", ["latents", "more_latents"])])
def test_transformer(theirs, given, transformers, variant, references):
    latents = [given[name] for name in references]
    ours = velocity(transformers[variant], given["x"], given["sigma"], Conditioning(given["positive"]), latents)
    close(ours, theirs[f"velocity_{variant}"], 3e-6)


def test_schedules_are_the_same_numbers(recorder, theirs):
    assert torch.equal(sampling.sigmas(20, recorder.SHIFT), theirs["schedule"])
    assert torch.equal(sampling.sigmas(recorder.STEPS, recorder.SHIFT, denoise=0.37), theirs["partial_schedule"])
    assert torch.equal(sampling.simple_schedule(sampling.flux_table(), 20), theirs["flux_schedule"])


@pytest.mark.parametrize(
    ("name", "sampler", "norm"), [("euler", "euler", None), ("euler_norm", "euler", 1.0), ("heun", "heun", None)]
)
def test_ksampler(recorder, theirs, given, transformers, name, sampler, norm):
    """Noise from the seed, schedule, guidance, CFGNorm and sampler: the latents of ComfyUI's KSampler."""
    model = transformers["edit"]
    positive, negative = (denoiser(model, Conditioning(given[n]), [given["latents"]]) for n in ("positive", "negative"))
    ours = sampling.sample(
        sampling.guided(positive, negative, recorder.CFG, norm),
        sampling.initial_noise((1, 16, 1, 8, 12), recorder.SEED),
        sampling.sigmas(recorder.STEPS, recorder.SHIFT),
        sampler=sampler,
    )
    close(ours, theirs[f"sampled_{name}"], 1e-5)
