"""The core nodes on a random small Qwen-Image-Edit, with ComfyUI's conventions."""

import inspect

import pytest
import torch

from tests.small_model import one_thread as one_thread
from wdlora.adapter import Adapter
from wdlora.adapter.layer import AdapterLayer
from wdlora.errors import InputError


@pytest.fixture(scope="module")
def shared(tmp_path_factory, small_model):
    """A host with the small model in its model folders, and a node that makes conditioning of a mask."""
    from wdlora.host import Host
    from wdlora.host.api import io

    host = Host(tmp_path_factory.mktemp("painter") / "data", models=[small_model], device="cpu")

    class Condition(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(
                node_id="Condition",
                inputs=[
                    io.Clip.Input("clip"),
                    io.Vae.Input("vae"),
                    io.Mask.Input("mask"),
                    io.String.Input("prompt", default=""),
                ],
                outputs=[io.Conditioning.Output(), io.Latent.Output()],
            )

        @classmethod
        def execute(cls, clip, vae, mask, prompt):
            image = mask[..., None].expand(-1, -1, -1, 3)
            conditioning = host.engine.encode(clip, prompt, [image], "edit")
            latents = host.engine.vae_encode(vae, image)
            conditioning[0][1]["reference_latents"] = [latents]
            return io.NodeOutput(conditioning, {"samples": torch.zeros_like(latents)})

    host.registry.add(Condition, "tests")
    from .conftest import write_mask

    write_mask(host.folders.input / "mask.png")
    return host


@pytest.fixture
def painter(shared, sink):
    """The shared host, telling this test's sink; the models stay loaded from test to test."""
    shared.executor.sink = sink
    return shared


@pytest.fixture
def painting():
    def link(node, output=0):
        return [node, output]

    sampler = {"sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    return {
        "m": {"class_type": "LoadImageMask", "inputs": {"image": "mask.png", "channel": "red"}},
        "u": {
            "class_type": "UNETLoader",
            "inputs": {"unet_name": "small_edit.safetensors", "weight_dtype": "default"},
        },
        "c": {"class_type": "CLIPLoader", "inputs": {"clip_name": "small_vl.safetensors", "type": "qwen_image"}},
        "v": {"class_type": "VAELoader", "inputs": {"vae_name": "small_vae.safetensors"}},
        "p": {
            "class_type": "Condition",
            "inputs": {"clip": link("c"), "vae": link("v"), "mask": link("m"), "prompt": "dense nerves"},
        },
        "n": {
            "class_type": "Condition",
            "inputs": {"clip": link("c"), "vae": link("v"), "mask": link("m"), "prompt": "text"},
        },
        "s": {"class_type": "ModelSamplingAuraFlow", "inputs": {"model": link("u"), "shift": 3.0}},
        "g": {"class_type": "CFGNorm", "inputs": {"model": link("s"), "strength": 1.0}},
        "k": {
            "class_type": "KSampler",
            "inputs": {
                "model": link("g"),
                "seed": 5,
                "steps": 3,
                "cfg": 2.5,
                "positive": link("p"),
                "negative": link("n"),
                "latent_image": link("p", 1),
                **sampler,
            },
        },
        "d": {"class_type": "VAEDecode", "inputs": {"samples": link("k"), "vae": link("v")}},
        "w": {"class_type": "SaveImage", "inputs": {"images": link("d"), "filename_prefix": "painted"}},
    }


def paint(host, graph):
    verdict, result = host.run(graph)
    assert not verdict.node_errors, verdict.node_errors
    assert result.failure is None, result.failure["exception_message"]
    return result


def test_a_picture_on_the_masks_own_grid_by_seed(painter, painting, sink):
    first = paint(painter, painting)
    image, latents = first.values["d"][0], first.values["k"][0]["samples"]
    assert image.shape == (1, 64, 64, 3) and latents.shape == (1, 16, 1, 8, 8)
    assert float(image.min()) >= 0 and float(image.max()) <= 1 and torch.isfinite(image).all()
    assert [data["value"] for event, data, _ in sink.events if event == "progress"] == [1, 2, 3]
    assert len(sink.previews) == 3 and sink.previews[0][0].size == (64, 64)
    painter.executor.clear_cache()
    again = paint(painter, painting)
    assert torch.equal(again.values["d"][0], image)  # bit for bit
    painting["k"]["inputs"]["seed"] = 6
    assert not torch.equal(paint(painter, painting).values["d"][0], image)


def test_it_is_the_librarys_own_picture(painter, painting, small_model):
    """`wdlora.qwen.generate` on the same files and seed: the graph computes what the library computes.

    Tolerance 1e-5: latents leave and enter the normalised scale once more in the graph."""
    from wdlora.qwen import ModelFiles, Sampling, load
    from wdlora.qwen.generate import paint as paint_directly
    from wdlora.qwen.generate import prepare

    from_graph = paint(painter, painting).values["d"][0][0]
    model = load(
        ModelFiles(
            transformer=small_model / "diffusion_models" / "small_edit.safetensors",
            text_encoder=small_model / "text_encoders" / "small_vl.safetensors",
            vae=small_model / "vae" / "small_vae.safetensors",
            tokenizer=small_model / "text_encoders" / "tokenizer",
            variant="edit",
        ),
        device="cpu",
    )
    mask = paint(painter, painting).values["m"][0][0] > 0.5
    prepared = prepare(model, mask, "dense nerves", negative="text")
    direct = paint_directly(model, prepared, 5, Sampling(steps=3, cfg=2.5, shift=3.0))[0].movedim(0, -1)
    assert (from_graph - direct).abs().max() < 1e-5


def test_latents_outside_the_sampler_are_the_vaes_own(painter, painting):
    """ComfyUI's VAE Encode gives the posterior's mode without the latent statistics."""
    result = paint(painter, painting)
    vae, mask = result.values["v"][0], result.values["m"][0]
    with torch.inference_mode():
        pixels = mask[:, None, None].expand(-1, 3, -1, -1, -1) * 2 - 1
        expected = vae.vae.encode(pixels).latent_dist.mode()
    assert torch.equal(result.values["p"][0][0][1]["reference_latents"][0], expected)


def adapter_on(transformer, names, magnitude=True, seed=1, rank=2):
    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for name in names:
        weight = transformer.get_submodule(name).weight
        a = torch.randn(rank, weight.shape[1], generator=generator) / weight.shape[1] ** 0.5
        b = torch.randn(weight.shape[0], rank, generator=generator)
        m = weight.float().norm(dim=1).cpu().clone() * 1.1 if magnitude else None
        parameters = inspect.signature(AdapterLayer).parameters
        layers[name] = AdapterLayer(**{k: v for k, v in _layer(a, b, m).items() if k in parameters})
    return Adapter(layers)


def _layer(a, b, m):
    return {"lora_a": a, "lora_b": b, "magnitude": m, "scaling": 0.5}


NAMES = ("transformer_blocks.0.attn.to_q", "transformer_blocks.1.attn.to_out.0")


def test_an_adapter_changes_its_model_and_no_other(painter, painting):
    result = paint(painter, painting)
    model = result.values["u"][0]
    base = {name: model.transformer.get_submodule(name).weight.clone() for name in NAMES}
    adapter = adapter_on(model.transformer, NAMES)
    with torch.inference_mode():
        patched, report = painter.engine.patch(model, adapter, 1.0, 1.0)
        assert report.matched == NAMES and report.unmatched == ()
        for name in NAMES:  # nothing is touched before it is painted with
            assert torch.equal(model.transformer.get_submodule(name).weight, base[name])
        transformer = painter.engine.transformer_of(patched)
        for name in NAMES:
            expected = adapter.layers[name].compose(base[name])
            assert torch.allclose(transformer.get_submodule(name).weight, expected, atol=1e-6)
        painter.engine.transformer_of(model)
        for name in NAMES:
            assert torch.equal(model.transformer.get_submodule(name).weight, base[name])  # bit for bit
        nothing, _ = painter.engine.patch(model, adapter, 0.0, 0.0)
        transformer = painter.engine.transformer_of(nothing)
        for name in NAMES:
            assert torch.equal(transformer.get_submodule(name).weight, base[name])


def test_an_adapter_for_another_model(painter, painting):
    model = paint(painter, painting).values["u"][0]
    adapter = adapter_on(model.transformer, NAMES)
    layer = adapter.layers[NAMES[0]]
    other = Adapter({"transformer_blocks.77.attn.to_q": layer})
    with pytest.raises(InputError, match="fits another model"):
        painter.engine.patch(model, other, 1.0, 1.0)
    partly = Adapter({**adapter.layers, "transformer_blocks.77.attn.to_q": layer})
    _, report = painter.engine.patch(model, partly, 1.0, 1.0)
    assert report.unmatched == ("transformer_blocks.77.attn.to_q",)
    wrong = Adapter({"transformer_blocks.0.img_mlp.net.0.proj": layer})
    with pytest.raises(InputError, match="fits another model"):
        painter.engine.patch(model, wrong, 1.0, 1.0)


def with_lora(graph, name):
    lora = {"model": ["u", 0], "lora_name": name, "strength_model": 1.0}
    graph["l"] = {"class_type": "LoraLoaderModelOnly", "inputs": lora}
    graph["s"]["inputs"]["model"] = ["l", 0]


def test_a_plain_lora_is_added(painter, painting):
    result = paint(painter, painting)
    model, image = result.values["u"][0], result.values["d"][0]
    adapter = adapter_on(model.transformer, NAMES, magnitude=False)
    folder = painter.folders.base / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    adapter.save(folder / "plain.safetensors", dialect="diffusers")
    with_lora(painting, "plain.safetensors")
    changed = paint(painter, painting)
    assert not torch.equal(changed.values["d"][0], image)
    weight = changed.values["u"][0].transformer.get_submodule(NAMES[0]).weight
    layer = adapter.layers[NAMES[0]]
    with torch.inference_mode():
        painter.engine.transformer_of(model)
        base = model.transformer.get_submodule(NAMES[0]).weight.clone()
        painter.engine.transformer_of(changed.values["l"][0])
        weight = model.transformer.get_submodule(NAMES[0]).weight
        assert torch.allclose(weight, base + 0.5 * layer.lora_b @ layer.lora_a, atol=1e-6)


def test_the_lora_loader_refuses_weight_decomposed_files(painter, painting):
    model = paint(painter, painting).values["u"][0]
    folder = painter.folders.base / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    adapter_on(model.transformer, NAMES).save(folder / "wd.safetensors")
    with_lora(painting, "wd.safetensors")
    _, result = painter.run(painting)
    assert "use the node WDLoRA Apply" in result.failure["exception_message"]


@pytest.mark.parametrize(
    ("node", "name", "value", "sentence"),
    [
        ("s", "shift", 0.0, "the shift must be above 0"),
        ("g", "pre_cfg", True, "does not offer CFGNorm with pre_cfg"),
        ("u", "weight_dtype", "fp8_e5m2", "does not offer the weight type fp8_e5m2"),
    ],
)
def test_what_the_host_does_not_do_is_refused_by_name(painter, painting, node, name, value, sentence):
    painting[node]["inputs"][name] = value
    _, result = painter.run(painting)
    assert result.failure["node_id"] == node and sentence in result.failure["exception_message"]


def test_the_text_encoder_is_on_the_cpu_only_where_everything_is(painter, monkeypatch):
    """PyTorch's device `meta` stands for an accelerator: the sentence comes before anything is loaded."""
    from wdlora.host.core_nodes.loaders import CLIPLoader

    (clip,) = CLIPLoader().load_clip("small_vl.safetensors", "qwen_image", "cpu")
    assert clip.path.endswith("small_vl.safetensors")
    monkeypatch.setattr(type(painter.engine), "device", property(lambda engine: torch.device("meta")))
    with pytest.raises(InputError, match="on meta: choose default"):
        CLIPLoader().load_clip("small_vl.safetensors", "qwen_image", "cpu")


def test_the_sampler_node_offers_what_the_library_samples_with(monkeypatch):
    from wdlora.host.core_nodes.sampling import KSampler
    from wdlora.qwen.sampling import SAMPLERS, euler

    monkeypatch.setitem(SAMPLERS, "another", euler)
    assert KSampler.INPUT_TYPES()["required"]["sampler_name"][0] == ["euler", "heun", "another"]


def test_strange_latents_and_conditioning_are_refused(painter):
    from wdlora.host.core_nodes.painting import denoiser_of, latents_of

    with pytest.raises(InputError, match="noise_mask"):
        latents_of({"samples": torch.zeros(1, 16, 1, 8, 8), "noise_mask": 1})
    with pytest.raises(InputError, match=r"\[1, 4, 8, 8\]"):
        latents_of({"samples": torch.zeros(1, 4, 8, 8)})
    with pytest.raises(InputError, match="2 parts"):
        denoiser_of(None, [[None, {}], [None, {}]], "positive", 1)
    with pytest.raises(InputError, match="area"):
        denoiser_of(None, [[None, {"area": (1, 2)}]], "positive", 1)


def test_fp8_storage_keeps_the_picture_close(painter, painting):
    """e4m3 keeps 3 bits of mantissa: weights are off by at most 6.25 %, so the picture is near, not equal."""
    full = paint(painter, painting).values["d"][0]
    painting["u"]["inputs"]["weight_dtype"] = "fp8_e4m3fn"
    result = paint(painter, painting)
    eight = result.values["d"][0]
    assert not torch.equal(eight, full)
    assert (eight - full).abs().mean() < 0.05


def test_a_file_that_is_another_model_is_named(painter, painting, small_model):
    folder = painter.folders.base / "models" / "diffusion_models"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vae_by_mistake.safetensors").write_bytes((small_model / "vae" / "small_vae.safetensors").read_bytes())
    painting["u"]["inputs"]["unet_name"] = "vae_by_mistake.safetensors"
    _, result = painter.run(painting)
    assert "vae_by_mistake.safetensors" in result.failure["exception_message"]
    assert result.failure["exception_type"] == "wdlora.errors.InputError"


def test_denoise_below_one_starts_from_the_latents(painter, painting):
    """At denoise 0 the result is the input; at .01 (σ = .029 after the shift) it is a twentieth as far as at 1."""
    painting["e"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["i", 0], "vae": ["v", 0]}}
    painting["i"] = {"class_type": "LoadImage", "inputs": {"image": "mask.png"}}
    painting["k"]["inputs"]["latent_image"] = ["e", 0]
    painting["k"]["inputs"]["denoise"] = 0.0
    result = paint(painter, painting)
    assert torch.equal(result.values["k"][0]["samples"], result.values["e"][0]["samples"])
    painting["k"]["inputs"] |= {"denoise": 0.01, "steps": 1}
    near = paint(painter, painting)
    painting["k"]["inputs"] |= {"denoise": 1.0}
    far = paint(painter, painting)
    given = near.values["e"][0]["samples"]
    distance = [(one.values["k"][0]["samples"] - given).abs().mean() for one in (near, far)]
    assert 0 < distance[0] < 0.1 * distance[1]


def test_the_transformer_keeps_the_device_while_it_samples(painter, painting, monkeypatch):
    """Whatever takes the device, previews among it, takes it before the first step or after the last."""
    from wdlora.host.engine import HostEngine

    transformer = paint(painter, painting).values["u"][0].transformer
    there: list = []
    calls: list = []
    monkeypatch.setattr(HostEngine, "ready", lambda self, part: there.append(part))
    hook = transformer.register_forward_pre_hook(lambda *_: calls.append(there[-1] is transformer))
    try:
        painting["k"]["inputs"] |= {"seed": 77, "steps": 3}
        paint(painter, painting)
    finally:
        hook.remove()
    assert len(calls) >= 3 and all(calls)


def test_previews_are_pictures_of_the_latents_size(painter, painting):
    from wdlora.host.preview import Previewer

    vae = paint(painter, painting).values["v"][0]
    previewer = Previewer(painter.engine)
    ramp = torch.linspace(0, 1, 64)[None, None, :, None].expand(1, 64, 64, 3)
    with torch.inference_mode():
        picture = previewer(painter.engine.vae_encode(vae, ramp.contiguous()))
    assert picture.size == (64, 64) and picture.mode == "RGB"
