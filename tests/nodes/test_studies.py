"""Cohorts of a study in the models folder: listed, painted, kept; an unknown one is refused with the way to it."""

import json

import pytest
import torch

from tests.nodes.painting import node, paint, sentence
from tests.test_study import SMALL_FIBRE
from wdlora.dataset.folder import read_folder
from wdlora.host.folders import using
from wdlora.study import read_study, study_of


def put_study(host, text=SMALL_FIBRE, name="x.toml"):
    with using(host.folders):
        import folder_paths
    from pathlib import Path

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
    from pathlib import Path

    place = Path(run.host.folders.output) / "set"
    assert study_of(place) == read_study(file) and [record.cohort for record in read_folder(place)] == ["SFN"]
    told = json.loads(next((place / "provenance").iterdir()).read_text())
    assert told["study"]["sha256"] == read_study(file).sha256
    loaded = run.values("CCMLoadDataset", dataset="set [output]", cohort=cohort, start=0, count=1)
    assert loaded[3] == cohort and torch.equal(loaded[1], masks)


def refusal_to_save(run, cohort):
    """What CCM Save Data Set says of a cohort that is linked to it."""
    masks, images = torch.ones(1, 32, 32), torch.rand(1, 32, 32, 3)
    settings = {"folder": "set", "patient": "", "eye": "unknown", "visit": "", "pixel_size_um": 1.0}
    settings |= {"cohort": "Control", "synthetic": True, "hash_models": False}
    say = {"say": node("Say", text=cohort)}
    return run.sentence("CCMSaveDataset", say, images=images, masks=masks, linked_cohort=["say", 0], **settings)


@pytest.mark.parametrize(
    ("cohort", "told"),
    [
        ("T2DM", "there is no cohort 'T2DM'"),
        ("T2DM", "declared in a study"),
        ("small: SFN", "there is no study 'small': put its file into"),
        ("small_fibre: T1DPN", "has no cohort 'T1DPN'; choose one of Healthy, SFN"),
    ],
)
def test_an_unknown_one_is_refused_with_the_way_to_declare_it(run, cohort, told):
    """By a link: a name in a list is refused by the host."""
    put_study(run.host)
    said = refusal_to_save(run, cohort)
    assert told in said


def test_a_broken_study_is_named_where_one_is_used(run):
    put_study(run.host, "name = 1", "broken.toml")
    assert "small_fibre: SFN" not in offered(run.host, "CCMSampleMasks", "cohort")
    put_study(run.host)
    said = refusal_to_save(run, "small_fibre: SFN")
    assert "broken.toml" in said
