"""CCM Save Data Set and CCM Load Data Set."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from training.examples import folder_examples
from wdlora.anatomy import measure
from wdlora.dataset.writer import Entry, append
from wdlora.errors import InputError
from wdlora.files import sha256
from wdlora.host.folders import using
from wdlora.study import shipped_study, write_study

from .conftest import write_grey

SETTINGS = {
    "folder": "set",
    "cohort": "T1DPN",
    "patient": "",
    "eye": "unknown",
    "visit": "",
    "pixel_size_um": 1.0,
    "synthetic": True,
    "hash_models": True,
}


def batch(count=2, size=96):
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(count, size, size)
    for index in range(count):
        masks[index, :, 20 + 10 * index] = 1
    return torch.rand(count, size, size, 3, generator=generator), masks


def table(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_saved_and_loaded_again(run):
    images, masks = batch()
    grey = images.mean(-1, keepdim=True).expand(-1, -1, -1, 3)
    (report,) = run.values("CCMSaveDataset", images=grey, masks=masks, **SETTINGS)
    assert json.loads(report)["written"] == ["T1DPN-000001.png", "T1DPN-000002.png"]
    assert run.result.outputs["node"]["images"][1] == {
        "filename": "T1DPN-000002.png",
        "subfolder": "set/images",
        "type": "output",
    }
    load = {"dataset": "set [output]", "cohort": "all", "start": 0, "count": 5}
    loaded, found, records, cohort, total = run.values("CCMLoadDataset", **load)
    assert torch.allclose(loaded, grey, atol=0.51 / 255) and torch.equal(found, masks)
    assert cohort == "T1DPN" and total == 2 and json.loads(records)[1]["file"] == "T1DPN-000002.png"
    one = run.values("CCMLoadDataset", **(load | {"start": 1, "count": 1}))
    assert torch.equal(one[1], masks[1:])
    rows = table(run.host.folders.output / "set" / "dataset.csv")
    assert float(rows[0]["cnfl"]) == pytest.approx(measure(masks[0].numpy() > 0, 1.0).cnfl, rel=1e-5)


def test_a_mask_is_cut_at_half_its_brightness(run):
    """As training cuts it, so that grey rims of JPEG are no nerve: what is read is what was drawn. Grey is refused."""
    folder = run.host.folders.input / "rims"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    drawn = np.zeros((96, 96), np.uint8)
    drawn[:, 40:43] = 255
    drawn[30:33] = 255
    Image.fromarray(drawn // 2).save(folder / "images" / "1.png")
    Image.fromarray(drawn).save(folder / "masks" / "1.jpg", quality=60)
    (folder / "dataset.csv").write_text("file,cohort,patient\n1.png,Control,P1\n", encoding="utf-8")
    with Image.open(folder / "masks" / "1.jpg") as stored:
        assert (np.asarray(stored) > 0).sum() > 1.2 * (drawn > 0).sum()  # rims are there
    load = {"dataset": "rims [input]", "cohort": "all", "start": 0, "count": 1}
    found = run.values("CCMLoadDataset", **load)[1]
    assert torch.equal(found[0], torch.from_numpy(drawn > 0).float())
    (example,) = folder_examples(folder)
    assert (found[0].numpy() == example.load()[1]).all()
    write_grey(folder / "masks" / "1.jpg", np.linspace(0, 255, 96 * 96).reshape(96, 96).astype(np.uint8))
    assert "the mask of 1.png: this is a grey image" in run.sentence("CCMLoadDataset", **load)


def test_a_pixel_size_that_the_study_alone_tells_is_that_of_its_images(run):
    folder = run.host.folders.input / "told"
    append(folder, [Entry(np.full((96, 96), 50, np.uint8), batch()[1][0] > 0, "Control")])
    write_study(folder / "study.toml", replace(shipped_study(), pixel_size_um=2.0))
    records = run.values("CCMLoadDataset", dataset="told [input]", cohort="all", start=0, count=1)[2]
    assert json.loads(records)[0]["pixel_size_um"] == 2.0


def test_a_batch_of_several_cohorts_gets_no_prompt_and_no_label(run):
    """It can be looked at and evaluated; whoever takes one cohort for it hears which ones it has."""
    images, masks = batch(3)
    for index, cohort in enumerate(("Control", "T1DPN", "T1DPN")):
        append(run.host.folders.input / "two", [Entry(np.full((96, 96), 50 + index, np.uint8), masks[0] > 0, cohort)])
    load = {"dataset": "two [input]", "cohort": "all", "start": 0, "count": 3}
    assert run.values("CCMLoadDataset", **load)[3] == "several cohorts: Control, T1DPN"
    assert run.values("CCMLoadDataset", **(load | {"start": 1}))[3] == "T1DPN"
    linked = {"load": {"class_type": "CCMLoadDataset", "inputs": load}}
    said = run.sentence("CCMSaveDataset", linked, images=images, masks=masks, linked_cohort=["load", 3], **SETTINGS)
    assert said.strip() == (
        "the images are of several cohorts (Control, T1DPN), but get one prompt or label: choose one of these cohorts "
        "in CCM Load Data Set"
    )


def test_an_image_that_is_there_is_not_written_again(run):
    images, masks = batch()
    run.values("CCMSaveDataset", images=images[:1], masks=masks[:1], **SETTINGS)
    report = json.loads(run.values("CCMSaveDataset", images=images, masks=masks, **SETTINGS)[0])
    assert report["written"] == ["T1DPN-000002.png"] and report["already_there"] == ["T1DPN-000001.png"]


def test_provenance_has_graph_and_hashes_but_no_names(run):
    """The picture's name might be a patient's: its hash stands in the graph. Nodes elsewhere in the graph do not."""
    masks = batch(1)[1]
    write_grey(run.host.folders.input / "Meier_1950.png", np.zeros((96, 96), np.uint8))
    lora = run.host.folders.base / "models" / "loras" / "some.safetensors"
    lora.parent.mkdir(parents=True)
    lora.write_bytes(b"weights")
    extra = {
        "p": {"class_type": "LoadImage", "inputs": {"image": "Meier_1950.png"}, "_meta": {"title": "Frau Meier"}},
        "a": {"class_type": "Give", "inputs": {"key": "cohort"}},
        "elsewhere": {"class_type": "Give", "inputs": {"key": "masks"}},
    }
    run.host.given["cohort"] = "Control"
    settings = SETTINGS | {"linked_cohort": ["a", 0]}
    report = run.values("CCMSaveDataset", extra, images=["p", 0], masks=masks, **settings)[0]
    assert json.loads(report)["written"] == ["Control-000001.png"]
    folder = run.host.folders.output / "set"
    told = (folder / "provenance" / "Control-000001.json").read_text(encoding="utf-8")
    assert "Meier" not in told and "elsewhere" not in told
    graph = json.loads(told)["graph"]
    hashed = sha256(run.host.folders.input / "Meier_1950.png")
    assert graph["p"]["inputs"]["image"] == f"image-{hashed[:16]}.png"
    assert json.loads(told)["inputs"] == {f"image-{hashed[:16]}.png": hashed}
    assert graph["node"]["class_type"] == "CCMSaveDataset"
    assert "Meier" not in (folder / "dataset.csv").read_text()


def test_hashes_of_model_files(run):
    from wdlora.host import pack

    pack.load_pack()
    from wdlora_pack.nodes.provenance import provenance

    lora = run.host.folders.base / "models" / "loras" / "some.safetensors"
    lora.parent.mkdir(parents=True)
    lora.write_bytes(b"weights")
    graph = {
        "a": {"class_type": "LoraLoaderModelOnly", "inputs": {"lora_name": "some.safetensors", "model": ["b", 0]}},
        "b": {"class_type": "Give", "inputs": {"key": "x"}},
    }
    said: list[str] = []
    found = provenance(graph, "a", True, said.append)
    assert found["files"] == {"some.safetensors": sha256(lora)} and said == ["hashing some.safetensors"]
    assert "files" not in provenance(graph, "a", False, said.append)

    # A widget that a link overrules is not what was applied, and a linked loader does not name its files.
    linked = {
        "a": {
            "class_type": "WDLoRAApply",
            "inputs": {"adapter": "some.safetensors", "linked_adapter": ["b", 0], "model": ["c", 0]},
        },
        "b": {"class_type": "Give", "inputs": {"key": "x"}},
        "c": {
            "class_type": "WDLoRALoadQwenImageEdit",
            "inputs": {"source": "single files", "diffusion_model": ["b", 0], "text_encoder": "t", "vae": "v"},
        },
    }
    assert provenance(linked, "a", True, said.append)["files"] == {}


def test_measured_biomarkers_are_kept(run):
    images, masks = batch(1)
    panel = json.dumps([{"cnfl": 7.0, "rules": "acc_like/1"}])
    run.values("CCMSaveDataset", images=images, masks=masks, biomarkers=panel, **SETTINGS)
    rows = table(run.host.folders.output / "set" / "dataset.csv")
    assert rows[0]["cnfl"] == "7"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"folder": "../elsewhere"}, "must lie below"),
        ({"folder": "/etc"}, "must lie below"),
        ({"folder": ""}, "must lie below"),
        ({"patient": "Anna Meier"}, "is not a pseudonym"),
        ({"patient": "19500131"}, "is not a pseudonym"),
        ({"visit": "V-1"}, "the visit 'V-1' cannot be kept"),
        ({"visit": "20230501"}, "the visit '20230501' cannot be kept"),
        ({"visit": "2. Januar"}, "the visit '2. Januar' cannot be kept"),
        ({"masks": torch.zeros(3, 96, 96)}, "images is a batch of 2 and masks one of 3"),
        ({"masks": torch.zeros(2, 96, 64)}, "images is 96 × 96 pixels and masks 64 × 96"),
        ({"images": torch.full((2, 96, 96, 3), float("nan"))}, "images holds values that are not numbers"),
        ({"images": torch.zeros(1, 1, 1, 3).expand(1, 10_000, 10_000, 3)}, "images is 10000 × 10000 pixels"),
        ({"biomarkers": '[{"cnfl": 1.0}]'}, "biomarkers holds 1 measurements for 2 images"),
    ],
)
def test_what_cannot_be_saved_gets_a_sentence(run, changes, sentence):
    images, masks = batch()
    values = {"images": images, "masks": masks, **SETTINGS, **changes}
    assert sentence in run.sentence("CCMSaveDataset", **values)


@pytest.mark.parametrize("visit", ["baseline", "V1", "V-1", "May 2023", "20230501", "month6month12", ""])
def test_a_visit_is_judged_before_the_work_as_the_writer_judges_it(run, visit):
    """Validation lets through what the data set takes and nothing else, so no painting is lost to a code."""
    from wdlora.host import pack

    pack.load_pack()
    from wdlora_pack.nodes.dataset import CCMSaveDataset

    image = np.zeros((8, 8), np.uint8)
    try:
        append(run.host.folders.base / "other", [Entry(image, image > 0, "Control", visit=visit)])
        taken = True
    except InputError:
        taken = False
    with using(run.host.folders):
        said = CCMSaveDataset.check_inputs(folder="set", patient="", visit=visit)
    assert (said == []) == taken == (visit in ("baseline", "V1", ""))


def test_what_cannot_be_loaded_gets_a_sentence(run):
    load = {"cohort": "all", "start": 0, "count": 1}
    assert "no data set is chosen" in run.sentence("CCMLoadDataset", dataset="none", **load)
    assert "there is no data set 'lost [input]'" in run.sentence("CCMLoadDataset", dataset="lost [input]", **load)
    assert "must lie below" in run.sentence("CCMLoadDataset", dataset="../../x [input]", **load)
    images, masks = batch()
    run.values("CCMSaveDataset", images=images, masks=masks, **SETTINGS)
    said = run.sentence("CCMLoadDataset", dataset="set [output]", **(load | {"start": 9}))
    assert "holds 2 such images, so there is none from number 9 on" in said
    other = batch(1, size=64)
    run.values("CCMSaveDataset", images=other[0], masks=other[1], **SETTINGS)
    said = run.sentence("CCMLoadDataset", dataset="set [output]", **(load | {"count": 3}))
    assert "T1DPN-000003.png has another size than T1DPN-000001.png" in said
    said = run.sentence("CCMLoadDataset", dataset="set [output]", **(load | {"cohort": "Control"}))
    assert "holds 0 such images" in said
