"""Which Qwen-Image-Edit a conditioning is for: it follows the loaded parts, and what contradicts them is refused."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.nodes.painting import FILES, node, paint, sentence
from wdlora.qwen.checkpoint import MARKER_2511

METHOD = {"edit": "index", "2509": "index", "2511": "index_timestep_zero"}


def conditioned(result):
    """The method by which references are seen, and the text's embeddings."""
    embeddings, extra = result.values["c"][0][0]
    return extra["reference_latents_method"], embeddings


@pytest.mark.parametrize("variant", METHOD)
def test_auto_paints_what_the_model_is(painter, strokes, variant):
    """As if it had been chosen by hand: the same method, text and picture."""
    auto = paint(painter, strokes, loaded=variant)
    chosen = paint(painter, strokes, loaded=variant, variant=variant)
    assert conditioned(auto)[0] == METHOD[variant]
    assert conditioned(auto)[1].equal(conditioned(chosen)[1])
    assert auto.values["crop"][0].equal(chosen.values["crop"][0])


@pytest.mark.parametrize(("loaded", "chosen"), [("edit", "2511"), ("edit", "2509"), ("2509", "2511"), ("2511", "edit")])
def test_another_choice_than_the_model_is_refused(painter, strokes, loaded, chosen):
    said = sentence(painter, strokes, loaded=loaded, variant=chosen)
    assert said.startswith(f"variant is {chosen} and clip is {loaded}: ") and "leave variant on auto" in said


def test_a_link_takes_the_place_of_the_choice_and_must_agree(painter, strokes):
    given = {"v": node("Give", key="variant")}
    painter.given["variant"] = "2509"
    assert (
        conditioned(paint(painter, strokes, given, loaded="2509", variant="2511", linked_variant=["v", 0]))[0]
        == "index"
    )
    refused = sentence(painter, strokes, given, loaded="edit", linked_variant=["v", 0])
    assert refused.startswith("linked_variant is 2509 and clip is edit: ")
    painter.given["variant"] = "auto"
    assert conditioned(paint(painter, strokes, given, loaded="2511", linked_variant=["v", 0]))[0] == METHOD["2511"]
    painter.given["variant"] = "2512"
    assert "variant '2512' is not known" in sentence(painter, strokes, given, linked_variant=["v", 0])


def test_parts_of_two_models_are_refused(painter, strokes):
    other = {"other": node("WDLoRALoadQwenImageEdit", **(FILES | {"variant": "2511"}))}
    said = sentence(painter, strokes, other, loaded="edit", known=["other", 0])
    assert said.startswith("model is 2511 and clip is edit: ")


@pytest.fixture
def unnamed(painter):
    """The small transformer under names that say nothing, without and with the marker of 2511."""
    folder = painter.folders.base / "models" / "diffusion_models"
    folder.mkdir(parents=True, exist_ok=True)
    tensors = load_file(painter.folders.get_full_path("diffusion_models", FILES["diffusion_model"]))
    save_file(tensors, folder / "silent.safetensors")
    save_file({**tensors, MARKER_2511: torch.zeros(0)}, folder / "marked.safetensors")


def core(file):
    return {
        "unet": node("UNETLoader", unet_name=file, weight_dtype="default"),
        "text": node("CLIPLoader", clip_name=FILES["text_encoder"], type="qwen_image", device="default"),
    }


def test_behind_core_loaders_the_marker_tells_or_the_name_and_else_the_choice(painter, strokes, unnamed):
    """Such a loader says nothing of itself; a choice takes the place of what a name suggests, not of the marker's."""
    linked = {"clip": ["text", 0], "known": ["unet", 0], "model": ("unet", 0)}
    assert conditioned(paint(painter, strokes, core("marked.safetensors"), **linked))[0] == METHOD["2511"]
    said = sentence(painter, strokes, core("marked.safetensors"), **linked, variant="edit")
    assert said.startswith("variant is edit and model is 2511: ")

    assert conditioned(paint(painter, strokes, core(FILES["diffusion_model"]), **linked))[0] == METHOD["edit"]
    named = conditioned(paint(painter, strokes, core(FILES["diffusion_model"]), **linked))[1]
    chosen = conditioned(paint(painter, strokes, core(FILES["diffusion_model"]), **linked, variant="2509"))[1]
    assert named.shape != chosen.shape  # another template

    said = sentence(painter, strokes, core("silent.safetensors"), **linked)
    assert said.startswith("the linked model and clip do not tell which Qwen-Image-Edit it is: choose edit, 2509")
    assert (
        conditioned(paint(painter, strokes, core("silent.safetensors"), **linked, variant="2509"))[0] == METHOD["2509"]
    )
    said = sentence(painter, strokes, core("silent.safetensors"), clip=["text", 0])
    assert said.startswith("without a linked model nothing tells which Qwen-Image-Edit it is")


def test_what_is_applied_to_a_model_leaves_its_mark(painter, strokes):
    after = {
        "shift": node("ModelSamplingAuraFlow", model=["load", 0], shift=3.0),
        "norm": node("CFGNorm", model=["shift", 0], strength=1.0),
    }
    after |= {key: one for key, one in core(FILES["diffusion_model"]).items() if key == "text"}
    result = paint(painter, strokes, after, loaded="2511", clip=["text", 0], known=["norm", 0], model=("norm", 0))
    assert conditioned(result)[0] == METHOD["2511"]
