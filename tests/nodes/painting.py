"""Graphs that paint with a random small Qwen-Image-Edit, and adapters for it."""

import json

import torch

from wdlora.adapter import Adapter
from wdlora.adapter.layer import AdapterLayer

FILES = {
    "source": "single files",
    "diffusion_model": "small_edit.safetensors",
    "text_encoder": "small_vl.safetensors",
    "vae": "small_vae.safetensors",
    "folder": "none",
    "variant": "auto",
    "dtype": "default",
}


NAMES = tuple(f"transformer_blocks.{block}.attn.{name}" for block in (0, 1) for name in ("to_q", "to_k", "to_v"))


def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}


def conditioning(mask=("m", 0), **changes):
    values = {
        "clip": ["load", 1],
        "vae": ["load", 2],
        "mask": list(mask),
        "cohort": "T1DPN",
        "variant": "auto",
        "text": "",
        "negative_text": "",
        "allow_empty": False,
    }
    return node("CCMConditioning", **(values | changes))


def graph(model=("load", 0), seed=5, steps=2, cfg=2.5, loaded="auto", known=None, **changes):
    """`loaded`: the variant that the loader is told; `known`: the MODEL that the conditioning is shown."""
    shown = {} if known is None else {"model": known}
    return {
        "load": node("WDLoRALoadQwenImageEdit", **(FILES | {"variant": loaded})),
        "m": node("Give", key="mask"),
        "c": conditioning(**changes, **shown),
        "k": node(
            "KSampler",
            model=list(model),
            seed=seed,
            steps=steps,
            cfg=cfg,
            sampler_name="euler",
            scheduler="simple",
            positive=["c", 0],
            negative=["c", 1],
            latent_image=["c", 2],
            denoise=1.0,
        ),
        "d": node("VAEDecode", samples=["k", 0], vae=["load", 2]),
        "crop": node("CCMCropToMask", image=["d", 0], mask=["m", 0]),
        "keep": node("Keep", value=["crop", 0]),
    }


def paint(host, mask, extra=None, **changes):
    host.given["mask"] = mask
    _, result = host.run({**graph(**changes), **(extra or {})})
    assert result.status == "success", result.failure
    return result


def sentence(host, mask, extra=None, **changes):
    host.given["mask"] = mask
    verdict, result = host.run({**graph(**changes), **(extra or {})})
    if result is None or result.failure is None:
        return json.dumps(verdict.node_errors, ensure_ascii=False)
    assert result.failure["exception_type"] == "wdlora.errors.InputError", result.failure
    return result.failure["exception_message"]


def make_adapter(host, name, magnitude=1.1, scale=0.3, seed=1, names=NAMES, rank=2):
    """A random adapter of the small model; `scale` is about ‖sBA‖/‖W‖. Returns the model that it fits."""
    _, result = host.run({"load": node("WDLoRALoadQwenImageEdit", **FILES), "keep": node("Keep", value=["load", 0])})
    model = result.values["load"][0]
    with torch.inference_mode():
        host.engine.transformer_of(model)  # no adapter of an earlier test on it
    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for layer in names:
        weight = model.transformer.get_submodule(layer).weight.detach()
        a = torch.randn(rank, weight.shape[1], generator=generator)
        b = torch.randn(weight.shape[0], rank, generator=generator)
        b *= scale * weight.norm() / (b @ a).norm()
        m = None
        if magnitude is not None:
            m = weight.float().norm(dim=1) * (1 + (magnitude - 1) * torch.rand(weight.shape[0], generator=generator))
        layers[layer] = AdapterLayer(a, b, m)
    folder = host.folders.base / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    Adapter(layers).save(folder / name, dialect="peft" if magnitude is not None else "diffusers")
    return model


def apply(adapter, model=("load", 0), direction=1.0, magnitude=1.0, **more):
    return node(
        "WDLoRAApply",
        model=list(model),
        adapter=adapter,
        direction_strength=direction,
        magnitude_strength=magnitude,
        **more,
    )
