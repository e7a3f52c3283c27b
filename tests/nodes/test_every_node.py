"""What holds for every node of the pack: help, tooltips, search words, categories, a page of help."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IDS = (
    "WDLoRALoadQwenImageEdit",
    "WDLoRAApply",
    "WDLoRAInspect",
    "WDLoRATrain",
    "CCMConditioning",
    "CCMCropToMask",
    "CCMLoadImage",
    "CCMSampleMasks",
    "CCMDegenerate",
    "CCMPhantom",
    "CCMTrace",
    "CCMBiomarkers",
    "CCMCompareBiomarkers",
    "CCMEvaluate",
    "CCMSaveDataset",
    "CCMLoadDataset",
)


@pytest.fixture(scope="module")
def infos(tmp_path_factory):
    from wdlora.host import Host

    listed = Host(tmp_path_factory.mktemp("host") / "data", device="cpu").object_info()
    return {name: info for name, info in listed.items() if info["python_module"].endswith("wdlora-ccm")}


def test_the_pack_has_these_nodes_and_no_others(infos):
    assert sorted(infos) == sorted(IDS)


@pytest.mark.parametrize("name", IDS)
def test_it_explains_itself(infos, name):
    info = infos[name]
    assert re.fullmatch(r"CCM/[a-z]+", info["category"])
    assert info["display_name"].startswith(("CCM ", "WDLoRA "))
    assert len(info["description"]) > 60 and info["search_aliases"]
    for group in ("required", "optional"):
        for input_name, (_, options) in info["input"].get(group, {}).items():
            assert len(options.get("tooltip", "")) > 10, f"{name}.{input_name} has no tooltip"
    assert all(info["output_tooltips"]) and len(info["output"]) == len(info["output_tooltips"])
    seeds = [o for n, (_, o) in info["input"]["required"].items() if n == "seed"]
    assert all(o["max"] == 2**53 - 1 and o["control_after_generate"] for o in seeds)


@pytest.mark.parametrize("name", IDS)
def test_its_help_page_names_every_input(infos, name):
    page = (ROOT / "web" / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith("# " + infos[name]["display_name"])
    if name == "WDLoRATrain":
        page = page.replace("source … variant", "source diffusion_model text_encoder vae folder variant")
    for group in ("required", "optional"):
        for input_name in infos[name]["input"].get(group, {}):
            assert re.search(rf"\b{input_name}\b", page), f"{name}.md does not name {input_name}"


def test_names_of_other_folders_are_refused_everywhere(infos):
    """No combo of files offers anything outside its folder: on an empty host there is nothing but 'none'."""
    for name, combo in {"WDLoRAApply": "adapter", "CCMLoadDataset": "dataset"}.items():
        assert infos[name]["input"]["required"][combo][1]["options"] == ["none"]
