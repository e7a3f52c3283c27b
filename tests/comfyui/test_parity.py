"""One graph, two hosts: latents and pictures of a real ComfyUI and of the embedded host, on the miniature.

Both compute in float32 on a CPU with sums in different orders: latents agree to 1e-4 (they are of order 1), pictures
to one grey level of 255.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.test_study import SMALL_FIBRE
from wdlora.study import read_study

pytestmark = pytest.mark.slow

HEIGHT, WIDTH = 64, 96
STRENGTHS = [(d, k) for d in (0.0, 0.5, 1.0) for k in (0.0, 0.5, 1.0)]
CASES: dict[str, dict[str, Any]] = {
    "Edit, no adapter": {},
    "Edit, two masks in a batch": {"mask": "masks"},
    "2511, no reference": {"variant": "2511"},
    "2511, with reference": {"variant": "2511", "reference": True},
    "2509, with reference and WDLoRA": {"variant": "2509", "reference": True, "adapter": (1.0, 1.0)},
    "2511, with reference and WDLoRA": {"variant": "2511", "reference": True, "adapter": (1.0, 1.0)},
    "2511, grey reference by CCM Load Image": {"variant": "2511", "reference": True, "reader": "CCMLoadImage"},
    **{f"Edit, WDLoRA, direction {d:g}, magnitude {k:g}": {"adapter": (d, k)} for d, k in STRENGTHS},
    "Edit, a core LoRA before WDLoRA": {"adapter": (1.0, 1.0), "core": "before"},
    "Edit, WDLoRA before a core LoRA": {"adapter": (1.0, 1.0), "core": "after"},
    "Edit, without CFG Norm, half denoised": {"adapter": (1.0, 1.0), "plain": True},
}


def write_adapters(folder: Path) -> None:
    """A WDLoRA in peft's dialect and a plain LoRA in diffusers', of random factors: updates of 20 % of the weights."""
    from wdlora.adapter import Adapter, AdapterLayer
    from wdlora.qwen.miniature_files import miniature_files

    for name, decomposed, seed in (("wdlora", True, 5), ("plain", False, 6), ("other", True, 7)):
        generator = torch.Generator().manual_seed(seed)
        layers = {}
        for key, weight in load_file(miniature_files().transformer).items():
            if not key.endswith(("attn.to_q.weight", "attn.to_v.weight", "img_mlp.net.2.weight")):
                continue
            w = weight.float()
            a, b = (torch.randn(shape, generator=generator) for shape in ((4, w.shape[1]), (w.shape[0], 4)))
            b *= 0.2 * w.norm() / (b @ a).norm()
            m = w.norm(dim=1) * (0.9 + 0.2 * torch.rand(w.shape[0], generator=generator))
            layers[key.removesuffix(".weight")] = AdapterLayer(a, b, m if decomposed else None)
        Adapter(layers).save(folder / f"{name}.safetensors", dialect="peft" if decomposed else "diffusers")


def write_models(folder: Path) -> None:
    """The miniature as single files under other names: there a loader node may call it a 2509 or a 2511."""
    from wdlora.qwen.miniature_files import miniature_files

    mini = miniature_files()
    for kind, file in (("diffusion_models", mini.transformer), ("text_encoders", mini.text_encoder), ("vae", mini.vae)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / kind / "small.safetensors")
    shutil.copytree(mini.tokenizer, folder / "text_encoders" / "tokenizer", dirs_exist_ok=True)


def write_inputs(folder: Path) -> None:
    """Masks with strokes, and a reference as RGB and in grey.

    ComfyUI 0.33's own Load Image reads a grey PNG as v/256 instead of v/255, so only RGB files go through it here.
    """
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[20:23, 8:90] = 255
    mask[:, 50:52] = 255
    Image.fromarray(mask).convert("RGB").save(folder / "mask.png")
    frames = [Image.fromarray(mask), Image.fromarray(np.ascontiguousarray(mask[::-1]))]
    frames[0].save(folder / "masks.gif", save_all=True, append_images=frames[1:])
    grey = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH), dtype=np.uint8)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(grey).convert("RGB").save(folder / "reference.png")


def graph(
    adapter: tuple[float, float] | None = None,
    variant: str = "edit",
    reference: bool = False,
    core: str | None = None,
    plain: bool = False,
    mask: str = "mask",
    reader: str = "LoadImage",
) -> dict[str, Any]:
    """The graph of a case, without the node that keeps its latents."""
    nodes: dict[str, Any] = {}

    def add(name: str, class_type: str, **inputs: Any) -> list[Any]:
        nodes[name] = {"class_type": class_type, "inputs": inputs}
        return [name, 0]

    name = "none" if variant == "edit" else "small.safetensors"
    given = dict.fromkeys(("diffusion_model", "text_encoder", "vae"), name) | {"folder": "none", "dtype": "default"}
    source = "miniature" if variant == "edit" else "single files"
    model = add("load", "WDLoRALoadQwenImageEdit", source=source, variant=variant, **given)
    loras = [core == "before", adapter is not None, core == "after"]
    for place, wanted in enumerate(loras):
        if wanted and place == 1:
            d, k = adapter or (0.0, 0.0)
            strengths = {"direction_strength": d, "magnitude_strength": k}
            model = add("apply", "WDLoRAApply", model=model, adapter="wdlora.safetensors", **strengths)
        elif wanted:
            model = add("lora", "LoraLoaderModelOnly", model=model, lora_name="plain.safetensors", strength_model=0.8)
    model = add("shift", "ModelSamplingAuraFlow", model=model, shift=3.1)
    if not plain:
        model = add("norm", "CFGNorm", model=model, strength=1.0)
    if mask == "mask":
        masks = add("mask", "LoadImageMask", image="mask.png", channel="red")
    else:
        frames = add("frames", "LoadImage", image="masks.gif")
        masks = add("mask", "ImageToMask", image=frames, channel="red")
    shown = {}
    if reference:
        file = {"image": "reference.png"} if reader == "LoadImage" else {"image": "grey.png", "pixel_size_um": 1.0}
        shown = {"reference": add("reference", reader, **file)}
    add(
        "condition",
        "CCMConditioning",
        clip=["load", 1],
        vae=["load", 2],
        mask=masks,
        cohort="T1DPN",
        variant="auto",
        text="",
        negative_text="",
        allow_empty=False,
        **shown,
    )
    latents = ["condition", 2]
    if plain:
        ones = add("ones", "MaskToImage", mask=masks)
        latents = add("start", "VAEEncode", pixels=ones, vae=["load", 2])
    painted = add(
        "sample",
        "KSampler",
        model=model,
        seed=11,
        steps=4,
        cfg=2.5,
        sampler_name="euler",
        scheduler="simple",
        positive=["condition", 0],
        negative=["condition", 1],
        latent_image=latents,
        denoise=0.5 if plain else 1.0,
    )
    pictures = add("decode", "VAEDecode", samples=painted, vae=["load", 2])
    add("save", "SaveImage", images=pictures, filename_prefix="parity")
    return nodes


@pytest.fixture(scope="module")
def comfy(server):
    write_inputs(server.base / "input")
    write_adapters(server.base / "models" / "loras")
    write_models(server.base / "models")
    return server


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    from wdlora.host import Host

    torch.set_num_threads(1)
    made = Host(tmp_path_factory.mktemp("parity") / "data", device="cpu")
    loras = Path(made.folders.get_folder_paths("loras")[0])
    loras.mkdir(parents=True, exist_ok=True)
    write_adapters(loras)
    write_models(loras.parent)
    write_inputs(Path(made.folders.input))
    return made


def pictures(paths: list[Path]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path).convert("RGB")).astype(int) for path in paths])


def in_comfyui(server: Any, case: dict[str, Any]) -> tuple[torch.Tensor, np.ndarray]:
    """Latents and pictures of a case."""
    nodes = graph(**case)
    nodes["keep"] = {"class_type": "SaveLatent", "inputs": {"samples": ["sample", 0], "filename_prefix": "parity"}}
    shown = server.succeed(nodes)
    latents = load_file(server.path(shown["keep"]["latents"][0]))["latent_tensor"]
    return latents.float(), pictures([server.path(one) for one in shown["save"]["images"]])


def in_comfyui_graph(server: Any, nodes: dict[str, Any]) -> dict[str, np.ndarray]:
    """Pictures of every node that saves some."""
    shown = server.succeed(nodes)
    return {name: pictures([server.path(one) for one in output["images"]]) for name, output in shown.items()}


def in_embedded_host(host: Any, case: dict[str, Any]) -> tuple[torch.Tensor, np.ndarray]:
    """Latents and pictures of a case."""
    result = succeeded(host, graph(**case))
    return result.values["sample"][0]["samples"].float(), in_embedded_outputs(host, result)["save"]


def in_embedded_graph(host: Any, nodes: dict[str, Any]) -> dict[str, np.ndarray]:
    """Pictures of every node that saves some."""
    return in_embedded_outputs(host, succeeded(host, nodes))


def succeeded(host: Any, nodes: dict[str, Any]) -> Any:
    verdict, result = host.run(nodes)
    assert result is not None and result.status == "success", (
        json.dumps(verdict.node_errors),
        result and result.failure,
    )
    return result


def in_embedded_outputs(host: Any, result: Any) -> dict[str, np.ndarray]:
    def place(one: dict[str, str]) -> Path:
        return Path(host.folders.get_directory_by_type(one["type"])) / one["subfolder"] / one["filename"]

    outputs = {name: shown["images"] for name, shown in result.outputs.items() if "images" in shown}
    return {name: pictures([place(one) for one in images]) for name, images in outputs.items()}


@pytest.mark.parametrize("name", CASES)
def test_same_latents_and_pictures(comfy, host, figures, name):
    theirs, their_pictures = in_comfyui(comfy, CASES[name])
    ours, our_pictures = in_embedded_host(host, CASES[name])
    assert theirs.shape == ours.shape and float(theirs.abs().max()) > 0.1
    latents = float((theirs - ours).abs().max())
    greys = int(np.abs(their_pictures - our_pictures).max())
    figures(f"{name} | {latents:.1e}", greys)
    assert latents <= 1e-4
    assert greys <= 1


def test_a_studys_cohort_is_in_the_list_and_paints_as_the_same_words(comfy, host):
    places = comfy.base / "models" / "ccm_studies", Path(host.folders.models_dir) / "ccm_studies"
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        (place / "sfn.toml").write_text(SMALL_FIBRE, encoding="utf-8")
    try:
        listed = comfy.get("/object_info/CCMConditioning")["CCMConditioning"]["input"]["required"]["cohort"]
        assert "small_fibre: SFN" in listed[1]["options"]
        group = read_study(places[0] / "sfn.toml").cohort("SFN")
        by_study, by_words = graph(), graph()
        by_study["condition"]["inputs"]["cohort"] = "small_fibre: SFN"
        words = {"cohort": "text only", "text": group.prompt, "negative_text": group.negative_prompt}
        by_words["condition"]["inputs"] |= words
        painted = in_comfyui_graph(comfy, by_study)["save"]
        assert np.array_equal(painted, in_comfyui_graph(comfy, by_words)["save"])
        assert not np.array_equal(painted, in_comfyui_graph(comfy, graph())["save"])
        assert np.abs(painted - in_embedded_graph(host, by_study)["save"]).max() <= 1
    finally:
        for place in places:
            (place / "sfn.toml").unlink()


def test_strengths_of_zero_are_no_adapter_bit_for_bit_and_others_are_not(comfy):
    plain, _ = in_comfyui(comfy, {})
    assert torch.equal(in_comfyui(comfy, {"adapter": (0.0, 0.0)})[0], plain)
    for strengths in ((1.0, 0.0), (0.0, 1.0)):
        moved, _ = in_comfyui(comfy, {"adapter": strengths})
        assert float((moved - plain).abs().max()) > 0.01
    assert torch.equal(in_comfyui(comfy, {"adapter": (0.0, 0.0), "variant": "edit"})[0], plain)  # the base came back


def test_the_hash_of_the_study_stands_in_both_hosts_pictures_and_a_changed_study_is_painted_anew(comfy, host):
    places = comfy.base / "models" / "ccm_studies", Path(host.folders.models_dir) / "ccm_studies"
    nodes = graph()
    nodes["condition"]["inputs"]["cohort"] = "small_fibre: SFN"
    try:
        found = []
        for text in (SMALL_FIBRE, SMALL_FIBRE.replace("few thin nerves", "one thick nerve")):
            for place in places:
                place.mkdir(parents=True, exist_ok=True)
                (place / "sfn.toml").write_text(text, encoding="utf-8")
            stamp = {"small_fibre/2": read_study(places[0] / "sfn.toml").sha256}
            painted = comfy.path(comfy.succeed(nodes)["save"]["images"][0])
            ours = Path(host.folders.output) / succeeded(host, nodes).outputs["save"]["images"][0]["filename"]
            for path in (painted, ours):
                with Image.open(path) as picture:
                    assert json.loads(picture.text["ccm_studies"]) == stamp
            found.append(pictures([painted]))
        assert not np.array_equal(*found)
    finally:
        for place in places:
            (place / "sfn.toml").unlink(missing_ok=True)
