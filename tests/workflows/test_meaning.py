"""Every shipped workflow runs in the embedded host on the miniature, and what comes of it means something."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from wdlora.anatomy import phantom, trace
from wdlora.anatomy.overlap import dice

from .conftest import SIDE, run

pytestmark = pytest.mark.slow


def arrays(masks):
    return list((masks > 0.5).numpy())


def test_quickstart_paints_the_nerves_of_the_mask(host):
    """Dice of the traced picture against its mask, within .05 of a phantom's, which was drawn from the very nerves."""
    painted, reference = [], []
    for seed in (1, 2, 3):
        ran = run(host, "quickstart_cpu", **{"CCM Sample Masks.seed": seed, "KSampler.seed": seed, "KSampler.steps": 8})
        (mask,) = arrays(ran.values("CCM Sample Masks")[0])
        (found,) = arrays(ran.values("CCM Trace")[0])
        assert mask.shape == found.shape == (SIDE, SIDE)
        painted.append(dice(found, mask))
        (plexus,) = ran.values("CCM Sample Masks")[2].members
        shown = ran.values("CCM Sample Masks")[2].middle(phantom(plexus, seed, version=1))
        reference.append(dice(trace(shown, segmenter="lines"), mask))
        (own,), (of_picture,) = ran.measured("Biomarkers Of The Mask"), ran.measured("Biomarkers Of The Picture")
        assert own["cnfl"] > 5 and abs(of_picture["cnfl"] - own["cnfl"]) < 0.35 * own["cnfl"]
    assert np.mean(painted) > np.mean(reference) - 0.05, (painted, reference)
    (file,) = ran.files("Save The Picture")
    with Image.open(file) as picture:
        assert picture.size == (SIDE, SIDE)
        graph = json.loads(picture.text["prompt"])
    assert graph[ran.titles["KSampler"]]["inputs"]["seed"] == 3


def test_synthesis_is_reproducible_and_strengths_of_zero_are_no_adapter(host):
    """Same seed, same picture, bit for bit; another seed, another; strengths 0 and 0 equal no adapter bit for bit."""

    def picture(**changes):
        host.executor.clear_cache()
        return run(host, "ccm_synthesis", **{"CCM Sample Masks.size": 96, **changes}).values("CCM Crop To Mask")[0]

    adapted = picture()
    assert torch.equal(picture(), adapted)
    assert not torch.equal(picture(**{"KSampler.seed": 2}), adapted)
    without = picture(**{"WDLoRA Apply.adapter": "none"})
    off = {"WDLoRA Apply.direction_strength": 0.0, "WDLoRA Apply.magnitude_strength": 0.0}
    assert torch.equal(picture(**off), without)
    assert (adapted - without).abs().mean() > 0.001  # the adapter does something


def test_masks_of_the_cohorts_are_ordered_as_published(host):
    """Mean CNFL of 16 masks, at the same quantiles of each cohort: Control > T1NoDPN > T1DPN."""
    from wdlora.graph.places import set_value, title_of

    from .conftest import api

    graph = api("cohort_dataset")
    keep = [id for id, node in graph.items() if title_of(id, node) in ("CCM Sample Masks", "Biomarkers Of The Masks")]
    means = []
    for cohort in ("Control", "T1NoDPN", "T1DPN"):
        part = {id: json.loads(json.dumps(graph[id])) for id in keep}
        set_value(part, f"CCM Sample Masks.cohort={cohort}")
        set_value(part, "CCM Sample Masks.count=16")
        verdict, result = host.run(part)
        assert result.status == "success", verdict
        (text,) = result.outputs.popitem()[1]["text"]
        measured = json.loads(text)
        assert len(measured) == 16
        means.append(np.mean([one["cnfl"] for one in measured]))
    assert means[0] > means[1] > means[2], means


def test_cohort_dataset_writes_what_it_painted(host):
    shutil.rmtree(host.folders.output / "ccm_dataset", ignore_errors=True)
    small = {"CCM Sample Masks.count": 2, "CCM Sample Masks.size": 64, "CCM Save Data Set.hash_models": False}
    ran = run(host, "cohort_dataset", **small)
    folder = host.folders.output / "ccm_dataset"
    masks = arrays(ran.values("CCM Sample Masks")[0])
    pictures = ran.values("CCM Crop To Mask")[0]
    lines = (folder / "dataset.csv").read_text().splitlines()
    assert len(lines) == 3 and all("T1DPN" in line for line in lines[1:])
    files = ran.files("CCM Save Data Set")
    assert len(files) == 2
    for file, mask, picture in zip(files, masks, pictures, strict=True):
        with Image.open(file) as image:
            assert np.abs(np.asarray(image.convert("L")) / 255.0 - picture.mean(-1).numpy()).max() < 0.01
        with Image.open(folder / "masks" / file.name) as image:
            assert np.array_equal(np.asarray(image.convert("L")) > 127, mask)
    compared = json.loads(ran.values("Masks Against Pictures")[1])
    assert list(compared["names"]) == ["masks", "pictures"]


def test_lora_and_wdlora_stand_side_by_side(host):
    ran = run(host, "lora_vs_wdlora", **{"CCM Sample Masks.size": 64})
    mask, strip = ran.values("CCM Sample Masks")[0], ran.values("And WDLoRA")[0]
    assert strip.shape == (1, 64, 3 * 64 + 2 * 8, 3)
    parts = [strip[0, :, start : start + 64] for start in (0, 72, 144)]
    assert torch.equal(parts[0][..., 0], mask[0])
    assert torch.equal(parts[1], ran.values("Crop LoRA")[0][0])
    assert torch.equal(parts[2], ran.values("Crop WDLoRA")[0][0])
    assert not torch.equal(parts[1], parts[2])
    assert "WDLoRA, rank 4" in ran.values("WDLoRA")[1] and "plain LoRA, rank 4" in ran.values("Plain LoRA")[1]

    same = {"Plain LoRA.adapter": "none", "WDLoRA.adapter": "none", "CCM Sample Masks.size": 64}
    strip = run(host, "lora_vs_wdlora", **same).values("And WDLoRA")[0]
    assert torch.equal(strip[0, :, 72:136], strip[0, :, 144:208])  # the same noise in both


def test_progression_takes_the_same_nerves_away(host):
    ran = run(host, "disease_progression")  # smaller, nothing is left at severity 2
    masks = [arrays(ran.values(f"Severity {severity}")[0])[0] for severity in (0, 1, 2)]
    lengths = [mask.sum() for mask in masks]
    assert lengths[0] > lengths[1] > lengths[2], lengths
    assert [ran.values(f"Severity {severity}")[1] for severity in (0, 1, 2)] == ["Control", "T1NoDPN", "T1DPN"]
    strip = ran.values("Masks Above Pictures")[0]
    assert strip.shape == (1, 2 * SIDE + 8, 3 * SIDE + 2 * 8, 3)
    for column, mask in enumerate(masks):
        left = column * (SIDE + 8)
        assert np.array_equal(strip[0, :SIDE, left : left + SIDE, 0].numpy() > 0.5, mask)
        assert torch.equal(strip[0, SIDE + 8 :, left : left + SIDE], ran.values(f"Crop {column}")[0][0])


def test_training_hands_its_adapter_on(host):
    """Two steps of a real fine-tune of the miniature in a process of its own; the new adapter paints."""
    ran = run(
        host,
        "train_adapter",
        **{
            "WDLoRA Train.name": "tried",
            "WDLoRA Train.phantoms_per_cohort": 1,
            "WDLoRA Train.steps": 2,
            "WDLoRA Train.settings": "size=64\nsample_steps=1\nbatch_size=1",
            "CCM Sample Masks.size": 64,
        },
    )
    (adapter, curve, report) = ran.values("WDLoRA Train")
    assert adapter == "tried.safetensors"
    assert json.loads(report)["steps"] == 2 and curve.shape[-1] == 3
    assert ran.values("WDLoRA Apply")[1].startswith("tried.safetensors: WDLoRA")
    assert ran.values("CCM Crop To Mask")[0].shape == (1, 64, 64, 3)


def test_evaluate_cohort_compares_pictures_with_images_of_the_same_masks(host):
    shutil.rmtree(host.folders.output / "ccm_evaluation", ignore_errors=True)
    ran = run(host, "evaluate_cohort", **{"CCM Sample Masks.count": 8, "CCM Sample Masks.size": 64})
    values = json.loads(ran.values("CCM Evaluate")[1])
    assert values["n"] == {"real": 8, "synthetic": 8, "patients": None} and values["paired"]
    assert values["fidelity"]["ssim"]["n"] == 8
    (table,) = ran.shown("CCM Evaluate")["ccm_table"]
    assert table["rows"][0][0] == "Do they look alike?" and len(table["rows"]) == 4
    assert json.loads((host.folders.output / "ccm_evaluation" / "report.json").read_text("utf-8")) == values
