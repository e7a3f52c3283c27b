"""Applying and inspecting adapters around the host's sampler."""

import json

import pytest
import torch

from tests.nodes.painting import FILES, NAMES, apply, make_adapter, node, paint, sentence
from wdlora.adapter import Adapter
from wdlora.adapter.layer import AdapterLayer
from wdlora.files import sha256


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
