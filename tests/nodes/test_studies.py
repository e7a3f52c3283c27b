"""Cohorts of a study in the models folder: listed, painted, kept; an unknown one is refused with the way to it."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.nodes.painting import node, paint, sentence
from tests.test_study import SMALL_FIBRE
from wdlora.dataset.folder import read_folder
from wdlora.dataset.writer import Entry, append
from wdlora.errors import InputError
from wdlora.host.folders import using
from wdlora.study import read_study, study_of


def put_study(host, text=SMALL_FIBRE, name="x.toml"):
    with using(host.folders):
        import folder_paths
    place = Path(folder_paths.models_dir) / "ccm_studies"
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_text(text, encoding="utf-8")
    return place / name


def offered(host, node_name, input_name):
    required = host.object_info()[node_name]["input"]["required"]
    return required[input_name][1]["options"] if "options" in required[input_name][1] else required[input_name][0]


def test_they_appear_in_the_lists_and_are_painted_by_their_words(painter, strokes):
    file = put_study(painter)
    try:
        for name, key in (("CCMConditioning", "cohort"), ("CCMSampleMasks", "cohort"), ("CCMSaveDataset", "cohort")):
            assert "small_fibre: SFN" in offered(painter, name, key), name
        group = read_study(file).cohort("SFN")
        by_study = paint(painter, strokes, cohort="small_fibre: SFN").values
        assert by_study["c"][3] == group.prompt
        words = {"cohort": "text only", "text": group.prompt, "negative_text": group.negative_prompt}
        assert torch.equal(by_study["crop"][0], paint(painter, strokes, **words).values["crop"][0])
        put_study(painter, SMALL_FIBRE.replace("few thin", "fewer"))
        assert "fewer" in paint(painter, strokes, cohort="small_fibre: SFN").values["c"][3]
    finally:
        file.unlink()


def written(host, name):
    """Texts in a picture of the output folder."""
    with Image.open(Path(host.folders.output) / name) as picture:
        return {key: json.loads(value) for key, value in picture.text.items()}


def test_core_save_image_writes_the_hash_of_the_study_that_painted(painter, strokes, monkeypatch):
    """Also where nothing is painted again; a changed study paints anew."""
    monkeypatch.setattr(painter.registry.get("Give").cls, "fingerprint_inputs", classmethod(lambda cls, key: key))
    file = put_study(painter)
    save = {"s": node("SaveImage", images=["crop", 0], filename_prefix="a")}
    try:
        executed = []
        for text, number in ((SMALL_FIBRE, 1), (SMALL_FIBRE, 2), (SMALL_FIBRE.replace("few thin", "fewer"), 3)):
            put_study(painter, text)
            again = {"s": node("SaveImage", images=["crop", 0], filename_prefix="abc"[number - 1])}
            executed.append("c" in paint(painter, strokes, again, cohort="small_fibre: SFN").executed)
            assert written(painter, f"{'abc'[number - 1]}_00001_.png")["ccm_studies"] == {
                "small_fibre/2": read_study(file).sha256
            }
        assert executed == [True, False, True]
        paint(painter, strokes, save | {"s": node("SaveImage", images=["crop", 0], filename_prefix="d")})
        assert "ccm_studies" not in written(painter, "d_00001_.png")
    finally:
        file.unlink()


def test_in_comfyui_it_is_noted_in_the_queue_and_a_study_changed_since_is_refused(painter, strokes):
    queueing = importlib.import_module("wdlora_pack.nodes.comfyui.queueing")
    file = put_study(painter)
    try:
        with using(painter.folders):
            graph = {"1": node("CCMSampleMasks", cohort="small_fibre: sfn", seed=1)}
            stamp = {"ccm_studies": {"small_fibre/2": read_study(file).sha256}}
            asked = {"prompt": graph, "client_id": "x", "extra_data": {"extra_pnginfo": {"workflow": {"id": 1}}}}
            noted = queueing.noted(asked)
            assert (
                noted["extra_data"] == {"extra_pnginfo": {"workflow": {"id": 1}} | stamp} and noted["client_id"] == "x"
            )
            assert asked["extra_data"] == {"extra_pnginfo": {"workflow": {"id": 1}}}
            assert queueing.noted({"prompt": graph})["extra_data"] == {"extra_pnginfo": stamp}
            plain = {"1": node("CCMSampleMasks", cohort="T1DPN", text="a ratio of 1: 2")}
            for odd in (
                {},
                {"prompt": 1},
                {"prompt": {"1": 2}},
                {"prompt": plain},
                {"prompt": graph, "extra_data": [1]},
            ):
                assert queueing.noted(odd) == odd
            studies = importlib.import_module("wdlora_pack.nodes.studies")
            for changed in (SMALL_FIBRE.replace("few thin", "fewer"), SMALL_FIBRE.replace('"2"', '"3"')):
                put_study(painter, changed)
                with pytest.raises(InputError, match="small_fibre/2 was changed since this was put into the queue"):
                    studies.check_stamp(noted["extra_data"]["extra_pnginfo"], read_study(file))
                with pytest.raises(InputError, match="was changed since"):
                    inputs = {"cohort": "small_fibre: SFN", "count": 1, "size": 160, "seed": 1}
                    painter.registry.get("CCMSampleMasks").run(inputs, {"extra_pnginfo": stamp})
            for odd in (None, {}, {"ccm_studies": [1]}, {"ccm_studies": {"small/2": "0", "small_fibres/1": "0"}}):
                studies.check_stamp(odd, read_study(file))
    finally:
        file.unlink()


def test_no_prompt_is_the_empty_one_that_dropout_trains(painter, strokes):
    result = paint(painter, strokes, cohort="no prompt").values
    assert result["c"][3] == ""
    assert "leave the text empty" in sentence(painter, strokes, cohort="no prompt", text="x")


def test_masks_and_data_sets_of_a_study(run):
    file = put_study(run.host)
    masks, cohort, _ = run.values("CCMSampleMasks", cohort="small_fibre: SFN", count=1, size=160, seed=3)
    assert cohort == "small_fibre: SFN"
    published, _, _ = run.values("CCMSampleMasks", cohort="T1DPN", count=1, size=160, seed=3)
    assert torch.equal(masks, published)
    settings = {"folder": "set", "patient": "", "eye": "unknown", "visit": "", "pixel_size_um": 1.0}
    settings |= {"synthetic": True, "hash_models": False, "cohort": cohort}
    run.values("CCMSaveDataset", images=torch.rand(1, 160, 160, 3), masks=masks, **settings)
    place = Path(run.host.folders.output) / "set"
    assert study_of(place) == read_study(file) and [record.cohort for record in read_folder(place)] == ["SFN"]
    origin = json.loads(next((place / "provenance").iterdir()).read_text())
    assert origin["study"]["sha256"] == read_study(file).sha256
    loaded = run.values("CCMLoadDataset", dataset="set [output]", cohort=cohort, start=0, count=1)
    assert loaded[3] == cohort and torch.equal(loaded[1], masks)
    graph = {"1": node("CCMLoadDataset", dataset="set [output]", cohort="all", start=0, count=1)}
    with using(run.host.folders):
        used = importlib.import_module("wdlora_pack.nodes.studies").used_in
        assert used(graph) == {"small_fibre/2": read_study(file).sha256}
        put_study(run.host, SMALL_FIBRE.replace("few thin", "fewer"))
        assert used(graph) == {}
    other = run.values("CCMLoadDataset", dataset="set [output]", cohort="all", start=0, count=1)
    assert other[3] == f"small_fibre/2 with SHA-256 {study_of(place).sha256[:8]}: SFN"
    assert "there is no study 'small_fibre/2 with SHA-256" in refusal_to_save(run, other[3])


def test_a_data_set_that_is_trained_on_is_noted_with_its_own_study(run):
    """Also where the models folder has no such study, or another of its name."""
    study = read_study(put_study(run.host))
    place = run.host.folders.input / "set"
    append(place, [Entry(np.zeros((8, 8), np.uint8), np.ones((8, 8), bool), "SFN")], study)
    put_study(run.host, SMALL_FIBRE.replace('"2"', '"3"'))
    with using(run.host.folders):
        used = importlib.import_module("wdlora_pack.nodes.studies").used_in
        assert used({"1": node("WDLoRATrain", data="set [input]", study="none")}) == {"small_fibre/2": study.sha256}
        assert list(used({"1": node("WDLoRATrain", data="phantoms", study="small_fibre")})) == ["small_fibre/3"]
        assert used({"1": node("WDLoRATrain", data="phantoms", study="none")}) == {}


def refusal_to_save(run, cohort):
    """What CCM Save Data Set says of a cohort that is linked to it."""
    masks, images = torch.ones(1, 32, 32), torch.rand(1, 32, 32, 3)
    settings = {"folder": "set", "patient": "", "eye": "unknown", "visit": "", "pixel_size_um": 1.0}
    settings |= {"cohort": "Control", "synthetic": True, "hash_models": False}
    say = {"say": node("Say", text=cohort)}
    return run.sentence("CCMSaveDataset", say, images=images, masks=masks, linked_cohort=["say", 0], **settings)


@pytest.mark.parametrize(
    ("cohort", "expected"),
    [
        ("T2DM", "there is no cohort 'T2DM'"),
        ("T2DM", "declared in a study"),
        ("small: SFN", "there is no study 'small': put its file into"),
        ("small_fibre: T1DPN", "has no cohort 'T1DPN'; choose one of Healthy, SFN"),
    ],
)
def test_an_unknown_one_is_refused_with_the_way_to_declare_it(run, cohort, expected):
    """By a link: a name in a list is refused by the host."""
    put_study(run.host)
    said = refusal_to_save(run, cohort)
    assert expected in said and str(run.host.folders.base) not in said


def test_a_broken_study_is_named_where_one_is_used(run):
    put_study(run.host, "name = 1", "broken.toml")
    assert "small_fibre: SFN" not in offered(run.host, "CCMSampleMasks", "cohort")
    put_study(run.host)
    said = refusal_to_save(run, "small_fibre: SFN")
    assert "broken.toml" in said
