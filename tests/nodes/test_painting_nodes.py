"""Loader, conditioning and adapters around the host's sampler, on a random small Qwen-Image-Edit."""

import json
import shutil

import pytest
import torch

from wdlora.adapter import Adapter
from wdlora.adapter.layer import AdapterLayer
from wdlora.cohorts import COHORTS
from wdlora.files import sha256

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
        "variant": "edit",
        "text": "",
        "negative_text": "",
        "allow_empty": False,
    }
    return node("CCMConditioning", **(values | changes))


def graph(model=("load", 0), seed=5, steps=2, cfg=2.5, **changes):
    return {
        "load": node("WDLoRALoadQwenImageEdit", **FILES),
        "m": node("Give", key="mask"),
        "c": conditioning(**changes),
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


# --- loader


def test_the_loader_gives_what_the_single_loaders_give(painter, strokes):
    ours = paint(painter, strokes)
    assert ours.values["load"][3] == "edit"
    single = {
        "load": node("Keep", value=["u", 0]),
        "u": node("UNETLoader", unet_name=FILES["diffusion_model"], weight_dtype="default"),
        "t": node("CLIPLoader", clip_name=FILES["text_encoder"], type="qwen_image"),
        "v": node("VAELoader", vae_name=FILES["vae"]),
    }
    changed = graph(model=("u", 0), clip=["t", 0], vae=["v", 0])
    changed["d"]["inputs"]["vae"] = ["v", 0]
    painter.given["mask"] = strokes
    _, result = painter.run({**changed, **single})
    assert torch.equal(result.values["crop"][0], ours.values["crop"][0])


def test_a_diffusers_folder_gives_the_same_picture(painter, strokes, small_model):
    """The same weights as a diffusers folder; its pipeline says that it is the first Qwen-Image-Edit."""
    from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel

    result = paint(painter, strokes)
    model, clip, vae = result.values["load"][:3]
    folder = painter.folders.base / "models" / "diffusers" / "small"
    assert isinstance(model.transformer, QwenImageTransformer2DModel) and isinstance(vae.vae, AutoencoderKLQwenImage)
    painter.engine.transformer_of(model).save_pretrained(folder / "transformer")
    vae.vae.save_pretrained(folder / "vae")
    clip.text_encoder.save_pretrained(folder / "text_encoder")
    clip.tokenizer.save_pretrained(folder / "tokenizer")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "QwenImageEditPipeline"}))
    load = node("WDLoRALoadQwenImageEdit", **(FILES | {"source": "diffusers folder", "folder": "small"}))
    again = paint(painter, strokes, {"load": load})
    assert again.values["load"][3] == "edit"
    assert torch.equal(again.values["crop"][0], result.values["crop"][0])
    shutil.rmtree(folder)
    said = sentence(painter, strokes, {"load": load})
    assert "there is no diffusers folder" in said and "small" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"diffusion_model": "none"}, "no diffusion model is chosen"),
        ({"diffusion_model": "qwen_image_edit_2511_bf16.safetensors"}, "is missing: put the file into"),
        ({"vae": "../vae/small_vae.safetensors"}, "is missing: put the file into"),
        ({"source": "diffusers folder", "folder": "../.."}, "must lie below"),
        ({"source": "elsewhere"}, "the source 'elsewhere' is not known"),
        ({"diffusion_model": "renamed.safetensors"}, "give variant as 'edit', '2509' or '2511'"),
        ({"text_encoder": "small_edit.safetensors"}, "is missing"),
    ],
)
def test_what_cannot_be_loaded_gets_a_sentence(painter, strokes, small_model, changes, said):
    own = painter.folders.base / "models" / "diffusion_models"
    own.mkdir(parents=True, exist_ok=True)
    if not (own / "renamed.safetensors").exists():
        shutil.copy(small_model / "diffusion_models" / "small_edit.safetensors", own / "renamed.safetensors")
    load = node("WDLoRALoadQwenImageEdit", **(FILES | changes))
    assert said in sentence(painter, strokes, {"load": load})


# --- conditioning


def test_it_is_the_librarys_main_job(painter, strokes):
    """The graph's conditioning equals `generate.prepare`'s: same prompts, same views, same latents."""
    from wdlora.host.core_nodes.sampling import latent_statistics
    from wdlora.qwen import QwenImageEdit
    from wdlora.qwen.generate import prepare

    mask = strokes[:, :50, :61]  # padded to 64 × 64
    result = paint(painter, mask)
    model, clip, vae = result.values["load"][:3]
    parts = QwenImageEdit(
        model.transformer, clip.text_encoder, clip.tokenizer, vae.vae, "edit", torch.float32, torch.device("cpu")
    )
    known = COHORTS["T1DPN"]
    with torch.inference_mode():
        expected = prepare(parts, mask[0], known.prompt, negative=known.negative_prompt)
    positive, negative, latent, prompt = result.values["c"]
    assert prompt == known.prompt
    assert torch.equal(positive[0][0], expected.positive.embeds)
    assert torch.equal(negative[0][0], expected.negative.embeds)
    mean, std = latent_statistics()
    reference = (positive[0][1]["reference_latents"][0] - mean) / std
    assert torch.allclose(reference, expected.references[0], atol=1e-5)
    assert latent["samples"].shape == (1, 16, 1, 8, 8) and not latent["samples"].any()
    assert result.values["d"][0].shape == (1, 64, 64, 3) and result.values["crop"][0].shape == (1, 50, 61, 3)
    assert torch.equal(result.values["crop"][0], result.values["d"][0][:, :50, :61])


def test_same_seed_same_picture_another_seed_another(painter, strokes):
    first = paint(painter, strokes).values["crop"][0]
    painter.executor.clear_cache()
    assert torch.equal(paint(painter, strokes).values["crop"][0], first)
    assert not torch.equal(paint(painter, strokes, seed=6).values["crop"][0], first)


def test_each_mask_of_a_batch_is_painted_as_if_alone(painter, strokes):
    """With the noise of a batch: the first picture has the first noise, so it equals the picture painted alone."""
    batch = torch.cat([strokes, strokes.flip(2)])
    both = paint(painter, batch)
    assert both.values["c"][2]["samples"].shape[0] == 2
    alone = paint(painter, strokes).values["crop"][0]
    pictures = both.values["crop"][0]
    assert torch.allclose(pictures[0], alone[0], atol=1e-4)  # sums in another order
    assert not torch.allclose(pictures[1], pictures[0], atol=1e-2)


def test_prompt_cohort_and_links(painter, strokes):
    linked = {"w": node("Give", key="cohort"), "n": node("Give", key="variant")}
    painter.given |= {"cohort": "Control", "variant": "edit"}
    result = paint(
        painter, strokes, linked, variant="2511", linked_cohort=["w", 0], linked_variant=["n", 0], text=" Right eye. "
    )
    assert result.values["c"][3] == COHORTS["Control"].prompt + " Right eye."
    assert result.values["c"][0][0][1]["reference_latents_method"] == "index"
    only = paint(painter, strokes, cohort="text only", text="nerves")
    assert only.values["c"][3] == "nerves"


def test_a_reference_is_a_second_picture(painter, strokes):
    """2509 takes one more picture, on the mask's grid; the first model takes none."""
    given = {"r": node("Give", key="reference")}
    painter.given["reference"] = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    result = paint(painter, strokes, given, variant="2509", reference=["r", 0])
    extra = result.values["c"][0][0][1]
    assert [tuple(one.shape) for one in extra["reference_latents"]] == [(1, 16, 1, 8, 8)] * 2
    plain = paint(painter, strokes, variant="2509").values["crop"][0]
    assert not torch.equal(result.values["crop"][0], plain)
    assert "takes one picture" in sentence(painter, strokes, given, variant="edit", reference=["r", 0])
    painter.given["reference"] = torch.rand(1, 64, 96, 3)
    assert "the reference is 96 × 64" in sentence(painter, strokes, given, variant="2509", reference=["r", 0])
    painter.given["reference"] = torch.rand(3, 64, 64, 3)
    assert "a batch of 3 for 1 masks" in sentence(painter, strokes, given, variant="2509", reference=["r", 0])


@pytest.mark.parametrize(
    ("mask", "changes", "said"),
    [
        (torch.zeros(1, 64, 64), {}, "mask 1 of 1 holds no nerve"),
        (torch.ones(1, 64, 64), {}, "nerve on 100 % of its area: it is probably inverted"),
        (torch.full((1, 64, 64), float("nan")), {}, "mask holds values that are not numbers"),
        (torch.zeros(1, 1, 1).expand(1, 10_000, 10_000), {}, "mask is 10000 × 10000 pixels"),
        (torch.zeros(1, 1, 1).expand(1, 4000, 4000), {}, "at most 2048 × 2048"),
        (None, {"cohort": "text only"}, "the text is empty"),
        (None, {"cohort": "T2"}, "T2"),
        (None, {"text": "<|im_end|>"}, "control token"),
    ],
)
def test_bad_conditioning_gets_a_sentence(painter, strokes, mask, changes, said):
    assert said in sentence(painter, strokes if mask is None else mask, **changes)


def test_an_empty_mask_is_painted_where_it_is_allowed(painter):
    result = paint(painter, torch.zeros(1, 64, 64), allow_empty=True)
    assert result.values["crop"][0].shape == (1, 64, 64, 3)


def test_the_padding_is_said(painter, strokes):
    texts = []

    class Ears:
        def send(self, *_):
            pass

        def send_preview(self, *_):
            pass

        def send_text(self, node_id, text, client_id):
            texts.append((node_id, text))

    before, painter.executor.sink = painter.executor.sink, Ears()
    paint(painter, strokes[:, :40, :60])
    painter.executor.sink = before
    assert ("c", "mask of 60 × 40 extended to 64 × 64: link CCM Crop To Mask after VAE Decode") in texts


def test_a_crop_of_another_picture_is_refused(run, strokes):
    said = run.sentence("CCMCropToMask", image=torch.zeros(1, 96, 64, 3), mask=strokes[:, :40, :60])
    assert "for a mask of 60 × 40 it must have that size or 64 × 64" in said


# --- adapters


def test_strengths_zero_are_no_adapter_bit_for_bit(painter, strokes):
    make_adapter(painter, "wd.safetensors")
    plain = paint(painter, strokes).values["crop"][0]
    zero = paint(painter, strokes, {"a": apply("wd.safetensors", direction=0.0, magnitude=0.0)}, model=("a", 0))
    assert torch.equal(zero.values["crop"][0], plain)
    full = paint(painter, strokes, {"a": apply("wd.safetensors")}, model=("a", 0))
    assert not torch.equal(full.values["crop"][0], plain)
    none = paint(painter, strokes, {"a": apply("none")}, model=("a", 0))
    assert torch.equal(none.values["crop"][0], plain)


def test_direction_and_magnitude_act_apart(painter, strokes):
    """The weights are those of the decomposition at each pair of strengths."""
    model = make_adapter(painter, "wd.safetensors")
    adapter = Adapter.load(painter.folders.base / "models" / "loras" / "wd.safetensors")
    painter.engine.transformer_of(model)
    base = model.transformer.get_submodule(NAMES[0]).weight.detach().clone()
    for direction, magnitude in ((1.0, 0.0), (0.0, 1.0), (0.5, 1.0)):
        extra = {"a": apply("wd.safetensors", direction=direction, magnitude=magnitude)}
        result = paint(painter, strokes, extra, model=("a", 0))
        with torch.inference_mode():
            transformer = painter.engine.transformer_of(result.values["a"][0])
            expected = adapter.layers[NAMES[0]].compose(base, direction, magnitude)
            assert torch.allclose(transformer.get_submodule(NAMES[0]).weight, expected, atol=1e-6)


def test_the_report_names_file_hash_and_what_does_not_fit(painter, strokes):
    make_adapter(painter, "wd.safetensors")
    path = painter.folders.base / "models" / "loras" / "wd.safetensors"
    adapter = Adapter.load(path)
    layer = adapter.layers[NAMES[0]]
    other = AdapterLayer(layer.lora_a.clone(), layer.lora_b.clone(), layer.magnitude.clone())
    partly = Adapter({**adapter.layers, "transformer_blocks.77.attn.to_q": other})
    partly.metadata = partly.metadata.replace(base_model="another", base_sha256="0" * 64, base_quantisation="bfloat16")
    partly.save(path.with_name("partly.safetensors"))
    result = paint(painter, strokes, {"a": apply("partly.safetensors")}, model=("a", 0))
    report = result.values["a"][1]
    assert f"SHA-256 {sha256(path.with_name('partly.safetensors'))}" in report
    assert f"{len(NAMES)} layers changed" in report
    assert "1 layers of the adapter are not in this model" in report and "transformer_blocks.77.attn.to_q" in report
    assert "Base: the adapter was trained on another" in report


def test_a_file_that_changes_on_disk_is_read_again(painter, strokes):
    make_adapter(painter, "changing.safetensors", seed=1)
    extra = {"a": apply("changing.safetensors")}
    first = paint(painter, strokes, extra, model=("a", 0))
    again = paint(painter, strokes, extra, model=("a", 0))
    assert "a" not in again.executed
    make_adapter(painter, "changing.safetensors", seed=2)
    changed = paint(painter, strokes, extra, model=("a", 0))
    assert "a" in changed.executed
    assert not torch.equal(changed.values["crop"][0], first.values["crop"][0])


def stacked(host, mask, order):
    """Our adapter and another LoRA on one model, in the order given."""
    lora = node("LoraLoaderModelOnly", lora_name="plain.safetensors", strength_model=1.0)
    extra = {"a": apply("wd.safetensors"), "l": lora}
    source = ["load", 0]
    for name in order:
        extra[name]["inputs"]["model"] = source
        source = [name, 0]
    return paint(host, mask, extra, model=source).values[order[-1]][0]


def test_the_order_of_a_stack_hardly_matters(painter, strokes):
    """Against the update of both: ≤ 3 %. At ‖BA‖/‖W‖ = .05 each and magnitudes up to 2 % the terms that differ are
    products of two small ones."""
    model = make_adapter(painter, "wd.safetensors", magnitude=1.02, scale=0.05)
    make_adapter(painter, "plain.safetensors", magnitude=None, scale=0.05, seed=9)
    weights = {}
    with torch.inference_mode():
        for order in ("al", "la"):
            transformer = painter.engine.transformer_of(stacked(painter, strokes, order))
            weights[order] = [transformer.get_submodule(name).weight.clone() for name in NAMES]
        transformer = painter.engine.transformer_of(model)
        base = [transformer.get_submodule(name).weight.clone() for name in NAMES]
    update = sum(float((w - b).square().sum()) for w, b in zip(weights["al"], base, strict=True)) ** 0.5
    apart = sum(float((w - v).square().sum()) for w, v in zip(*weights.values(), strict=True)) ** 0.5
    print(f"order of the stack: {100 * apart / update:.2f} % of the update")
    assert 0 < apart <= 0.03 * update


@pytest.mark.parametrize(
    ("adapter", "more", "said"),
    [
        ("lost.safetensors", {}, "the adapter 'lost.safetensors' is missing: put the file into"),
        ("lost.safetensors", {"sha256": "AB" * 32}, f"(SHA-256 {'ab' * 32}) is missing"),
        ("../wd.safetensors", {}, "is missing"),
        ("wd.safetensors", {"sha256": "0" * 64}, "is another file than the workflow asks for"),
        ("foreign.safetensors", {}, "fits another model"),
        ("broken.safetensors", {}, "broken.safetensors"),
    ],
)
def test_an_adapter_that_cannot_be_used_gets_a_sentence(painter, strokes, adapter, more, said):
    make_adapter(painter, "wd.safetensors")
    folder = painter.folders.base / "models" / "loras"
    wide = AdapterLayer(torch.randn(2, 3072), torch.randn(3072, 2), torch.rand(3072))
    Adapter({"transformer_blocks.0.attn.to_q": wide}).save(folder / "foreign.safetensors")
    (folder / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    assert said in sentence(painter, strokes, {"a": apply(adapter, **more)}, model=("a", 0))


def test_a_linked_adapter_takes_the_place_of_the_chosen_one(painter, strokes):
    make_adapter(painter, "wd.safetensors")
    painter.given["name"] = "wd.safetensors"
    linked = {"n": node("Give", key="name"), "a": apply("none", linked_adapter=["n", 0])}
    result = paint(painter, strokes, linked, model=("a", 0))
    assert result.values["a"][1].startswith("wd.safetensors: WDLoRA")
    painter.given["name"] = "lost.safetensors"
    assert "is missing: put the file into" in sentence(painter, strokes, linked, model=("a", 0))


def test_inspecting_against_its_base(painter):
    model = make_adapter(painter, "wd.safetensors")
    inspect = node("WDLoRAInspect", adapter="wd.safetensors", base=FILES["diffusion_model"])
    _, result = painter.run({"i": inspect})
    assert result.status == "success", result.failure
    plot, text, described = result.values["i"]
    assert plot.shape[0] == 1 and plot.shape[-1] == 3 and plot.std() > 0.05
    report = json.loads(described)
    painter.engine.transformer_of(model)
    layer = Adapter.load(painter.folders.base / "models" / "loras" / "wd.safetensors").layers[NAMES[0]]
    base = model.transformer.get_submodule(NAMES[0]).weight.detach().double()
    moved = base + (layer.lora_b @ layer.lora_a).double()
    degrees = torch.rad2deg(torch.arccos(torch.cosine_similarity(base, moved, dim=1)))
    found = next(one for one in report["modules"] if one["module"] == NAMES[0])
    assert found["direction_degrees_median"] == pytest.approx(float(degrees.quantile(0.5)), rel=1e-3)
    assert "rank" in text and result.outputs["i"]["images"]
    _, alone = painter.run({"i": node("WDLoRAInspect", adapter="wd.safetensors", base="none")})
    assert alone.status == "success" and "blocks" not in json.loads(alone.values["i"][2])
    verdict, _ = painter.run({"i": node("WDLoRAInspect", adapter="none", base="none")})
    assert "no adapter is chosen" in verdict.node_errors["i"]["errors"][0]["details"]
