"""Workflows that travel: an adapter that is missing or another is named, and a batch paints mask files with one."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wdlora.anatomy import sample_mask
from wdlora.cli import main
from wdlora.files import sha256
from wdlora.graph.miniature import use_miniature
from wdlora.graph.places import set_value, title_of

from .conftest import FOLDER, api

HASH = "a" * 64


def refusal(host, graph):
    verdict = host.validate(graph)
    (id,) = [id for id, node in graph.items() if node["class_type"] == "WDLoRAApply"]
    return " ".join(error["details"] + error["message"] for error in verdict.node_errors[id]["errors"])


def test_a_missing_adapter_is_named_with_its_hash_and_its_folder(host):
    graph = api("ccm_synthesis")
    set_value(graph, "WDLoRA Apply.adapter=from_a_colleague.safetensors")
    set_value(graph, f"WDLoRA Apply.sha256={HASH}")
    said = refusal(host, graph)
    for part in ("from_a_colleague.safetensors", HASH, "put the file into models/loras"):
        assert part in said, said


def test_another_adapter_of_the_same_name_is_refused(host):
    graph = api("ccm_synthesis")
    set_value(graph, f"WDLoRA Apply.sha256={HASH}")
    own = sha256(Path(host.folders.get_folder_paths("loras")[0]) / "ccm.safetensors")
    said = refusal(host, graph)
    assert own in said and HASH in said and "another file" in said
    set_value(graph, f"WDLoRA Apply.sha256={own}")
    verdict = host.validate(graph)
    assert not [id for id in verdict.node_errors if graph[id]["class_type"] == "WDLoRAApply"]


def test_with_the_miniature_an_adapter_of_the_big_model_is_left_out_and_one_that_is_there_stays(host, info):
    graph = api("lora_vs_wdlora")
    set_value(graph, "Plain LoRA.adapter=of_the_big_model.safetensors")
    set_value(graph, f"Plain LoRA.sha256={HASH}")
    use_miniature(graph, info)
    plain, decomposed = (
        next(node["inputs"] for id, node in graph.items() if title_of(id, node) == title)
        for title in ("Plain LoRA", "WDLoRA")
    )
    assert plain["adapter"] == "none" and plain["sha256"] == ""
    assert decomposed["adapter"] == "ccm.safetensors"
    assert host.validate(graph).error is None


@pytest.mark.parametrize(("direction", "order"), [("right", "ab"), ("left", "ba"), ("down", "ab"), ("up", "ba")])
def test_stitching_in_every_direction(host, direction, order):
    """Two masks of 64 pixels with a red gap of 4 between them."""

    def drawn(seed):
        return {"class_type": "CCMSampleMasks", "inputs": {"cohort": "Control", "count": 1, "size": 64, "seed": seed}}

    stitch = {"direction": direction, "match_image_size": False, "spacing_width": 3, "spacing_color": "red"}
    graph = {
        "a": drawn(1),
        "b": drawn(2),
        "one": {"class_type": "MaskToImage", "inputs": {"mask": ["a", 0]}},
        "two": {"class_type": "MaskToImage", "inputs": {"mask": ["b", 0]}},
        "both": {"class_type": "ImageStitch", "inputs": {"image1": ["one", 0], "image2": ["two", 0], **stitch}},
        "shown": {"class_type": "PreviewImage", "inputs": {"images": ["both", 0]}},
    }
    _, result = host.run(graph)
    picture = result.values["both"][0][0].numpy()
    if direction in ("down", "up"):
        picture = picture.swapaxes(0, 1)
    assert picture.shape == (64, 132, 3)
    parts = {"ab"[index]: result.values["ab"[index]][0][0].numpy() for index in (0, 1)}
    parts = {name: part.T if direction in ("down", "up") else part for name, part in parts.items()}
    assert np.array_equal(picture[:, :64, 0], parts[order[0]])
    assert np.array_equal(picture[:, 68:, 0], parts[order[1]])
    assert (picture[:, 64:68] == (1, 0, 0)).all()


@pytest.mark.slow
def test_a_batch_paints_mask_files_for_two_cohorts(host, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "masks").mkdir()
    mask = sample_mask("Control", seed=4, size=160).mask[:96, :96]
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "masks" / "one.png")
    command = ["batch", str(FOLDER / "ccm_synthesis.json"), "--miniature", "--masks", "masks", "--out", "out"]
    command += ["--cohort", "Control", "--cohort", "T1DPN", "--seeds", "5"]
    command += ["--set", "KSampler.steps=4", "--set", "KSampler.cfg=1"]
    assert main([*command, "--data", str(host.folders.base), "--device", "cpu"]) == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["count"] == {"done": 2, "failed": 0, "open": 0}
    (adapter,) = [model for model in manifest["models"] if model["folder"] == "loras"]
    assert adapter["name"] == "ccm.safetensors" and re.fullmatch("[0-9a-f]{64}", adapter["sha256"])
    pictures = []
    for job, cohort in zip(manifest["jobs"], ("Control", "T1DPN"), strict=True):
        assert job["values"] == {"CCM Conditioning.cohort": cohort, "KSampler.seed": 5}
        (file,) = job["files"]
        with Image.open(tmp_path / "out" / file["file"]) as picture:
            pictures.append(np.asarray(picture))
            graph = json.loads(picture.text["prompt"])
        assert sorted(node["class_type"] for node in graph.values()).count("LoadImageMask") == 1
        assert pictures[-1].shape == (96, 96, 3)
    assert not np.array_equal(*pictures)  # the cohorts' prompts differ
    table = (tmp_path / "out" / "biomarkers_of_the_mask.csv").read_text().splitlines()
    assert len(table) == 3 and "cnfl" in table[0]
