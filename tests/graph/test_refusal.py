"""ComfyUI's validation errors as sentences, and the hint to the miniature where a model's file is not there."""

import json

from wdlora.errors import ErrorSentence, InputError
from wdlora.graph.refusal import miniature_hint, refusal

MISSING = {
    "1": {
        "class_type": "WDLoRALoadQwenImageEdit",
        "inputs": {"source": "single files", "diffusion_model": "big.safetensors", "text_encoder": "none"},
        "_meta": {"title": "The model"},
    }
}


def custom(details, **extra):
    return {"type": "custom_validation_failed", "message": "Custom", "details": details, "extra_info": extra}


def test_a_nodes_own_sentence_stands_alone_and_once():
    errors = {"1": {"errors": [custom("source - no file"), custom("vae - no file"), custom("x - other")]}}
    assert refusal(None, errors, MISSING) == "The model: no file, other"
    assert refusal({"message": "Prompt has no outputs"}, {}, {}) == "Prompt has no outputs"


def test_the_hint_follows_the_kind_of_the_error_and_not_its_words():
    words = "the file is missing: put the file into models"
    assert miniature_hint({"1": {"errors": [custom(f"x - {words}")]}}, "M") == ""
    assert miniature_hint({"1": {"errors": [custom("x - not here", missing_file=True)]}}, "M").startswith(
        " (M); or add --m"
    )
    assert miniature_hint({"1": {"errors": [{"type": "other", "extra_info": None}, {}]}}, "M") == ""


def test_a_missing_file_is_known_by_its_kind_through_the_host(host):
    """The kind goes from the node's check through validation, and the answer is JSON as before."""
    graph = {**MISSING, "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 3]}}}
    graph["1"]["inputs"] |= {"vae": "none", "folder": "none", "variant": "edit", "dtype": "default"}
    verdict = host.validate(graph)
    assert miniature_hint(verdict.node_errors, "M")
    errors = json.loads(json.dumps(verdict.node_errors))["1"]["errors"]
    assert [error["extra_info"] for error in errors] == [
        {"input_name": "diffusion_model", "missing_file": True},
        {"input_name": "text_encoder"},
        {"input_name": "vae"},
    ]
    assert errors[0]["details"].endswith("'big.safetensors' is missing: put the file into models/diffusion_models")
    graph["1"]["inputs"]["diffusion_model"] = "none"
    assert not miniature_hint(host.validate(graph).node_errors, "M")  # none is chosen, so none is missing


def test_a_sentence_carries_its_error():
    error = InputError("no", missing_file=True)
    sentence = ErrorSentence(error)
    assert sentence == "no" and f"x - {sentence}" == "x - no" and sentence.error is error
    assert json.dumps(sentence) == '"no"'
