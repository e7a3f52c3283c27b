"""What a batch consists of: seeds, masks, values by title, and ids that stay the same."""

import copy
import uuid

import pytest

from wdlora.batch import jobs
from wdlora.batch.jobs import Axis, Design
from wdlora.batch.masks import find_masks, mask_place
from wdlora.cohorts import COHORTS
from wdlora.errors import InputError
from wdlora.graph.places import Place
from wdlora.privacy.names import Names
from wdlora.privacy.pseudonym import Pseudonyms

from .conftest import GRAPH, write_masks

NOBODY = Names(Pseudonyms())


def painted(**conditioning):
    """Sampler → conditioning → sampler, as far as jobs look at it."""
    return {
        "a": {"class_type": "CCMSampleMasks", "inputs": {"cohort": "Control", "count": 1, "size": 64, "seed": 0}},
        "b": {
            "class_type": "CCMConditioning",
            "inputs": {"mask": ["a", 0], "cohort": "Control", **conditioning},
            "_meta": {"title": "Condition"},
        },
        "c": {"class_type": "KSampler", "inputs": {"seed": 5, "positive": ["b", 0]}, "_meta": {"title": "Paint"}},
        "d": {"class_type": "SaveImage", "inputs": {"images": ["c", 0], "filename_prefix": "ccm/picture"}},
    }


@pytest.mark.parametrize(
    ("text", "seeds"), [("0:3", [0, 1, 2]), ("7", [7]), ("1, 5,10:12", [1, 5, 10, 11]), ("2:4,3", [2, 3])]
)
def test_seeds(text, seeds):
    assert jobs.parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "3:3", "5:2", "-1", "0:", "1.5", "0:99999999999", "9007199254740992"])
def test_bad_seeds_are_a_sentence(text):
    with pytest.raises(InputError, match="seeds"):
        jobs.parse_seeds(text)


def test_cohorts():
    assert jobs.parse_cohorts(["Control,T1DPN", "Control"]) == ["Control", "T1DPN"]
    assert jobs.parse_cohorts(["all"]) == list(COHORTS)
    with pytest.raises(InputError, match="no cohort 'control'; the cohorts are Control"):
        jobs.parse_cohorts(["control"])


def test_every_combination_is_a_job_of_its_own():
    graph = painted()
    axes = [
        Axis("cohort", jobs.places_of(graph, "cohort"), ("Control", "T1DPN")),
        Axis("seed", jobs.places_of(graph, "seed", ["Paint.seed"]), (0, 1, 2)),
    ]
    planned = jobs.plan(graph, Design(axes=axes), NOBODY)
    assert len(planned) == 6 and len({job.id for job in planned}) == 6
    assert planned[4].values == {
        "CCMSampleMasks.cohort": "T1DPN",
        "Condition.cohort": "T1DPN",
        "Paint.seed": 1,
    }
    assert planned[4].graph["c"]["inputs"]["seed"] == 1 and planned[4].graph["a"]["inputs"]["seed"] == 0
    assert planned[4].name == f"T1DPN-1-{planned[4].id[:8]}"
    assert all(str(uuid.UUID(job.id)) == job.id and uuid.UUID(job.id).version == 5 for job in planned)
    assert graph == painted()  # planning changes nothing
    again = jobs.plan(painted(), Design(axes=axes), NOBODY)
    assert [job.id for job in again] == [job.id for job in planned]


def test_values_that_together_look_like_a_link_are_hidden():
    graph = {"a": {"class_type": "LoadImage", "inputs": {"image": "x.png"}, "_meta": {"title": "Load"}}}
    names = Names(Pseudonyms(key=lambda: b"0123456789abcdef"))
    planned = jobs.plan(graph, Design(axes=[Axis("image", (Place("a", "image"),), ("Smith.png", 3))]), names)
    assert [job.values for job in planned] == [{"Load.image": names.files["Smith.png"]}, {"Load.image": 3}]
    assert [job.graph["a"]["inputs"]["image"] for job in planned] == ["Smith.png", 3]


def test_a_node_called_by_a_file_takes_its_values_under_its_pseudonym():
    graph = {"Smith.png": {"class_type": "CCMLoadImage", "inputs": {"image": "Smith.png", "seed": 0}}}
    names = Names(Pseudonyms(key=lambda: b"0123456789abcdef"))
    planned = jobs.plan(graph, Design(axes=[Axis("seed", (Place("Smith.png", "seed"),), (1, 2))]), names)
    assert [job.graph["Smith.png"]["inputs"]["seed"] for job in planned] == [1, 2]
    assert len({job.id for job in planned}) == 2
    assert [job.values for job in planned] == [{"CCMLoadImage.seed": 1}, {"CCMLoadImage.seed": 2}]


def test_ids_follow_the_content_of_a_mask_and_not_its_place(tmp_path):
    write_masks(tmp_path / "one", 2)
    write_masks(tmp_path / "two" / "deep", 2)
    ids = []
    for folder in ("one", "two"):
        graph = copy.deepcopy(GRAPH)
        masks = find_masks(tmp_path / folder)
        ids.append([job.id for job in jobs.plan(graph, Design(masks, mask_place(graph)), NOBODY)])
    assert ids[0] == ids[1] and len(set(ids[0])) == 2
    (tmp_path / "one" / "mask00.png").write_bytes((tmp_path / "one" / "mask01.png").read_bytes())
    graph = copy.deepcopy(GRAPH)
    changed = jobs.plan(graph, Design(find_masks(tmp_path / "one"), mask_place(graph)), NOBODY)
    assert changed[0].id != ids[0][0]


def test_what_a_job_saves_goes_to_a_folder_of_its_own():
    (job,) = jobs.plan(painted(), Design(), NOBODY)
    assert job.prompt()["d"]["inputs"]["filename_prefix"] == f"wdlora-batch/{job.id}/ccm/picture"
    assert job.prompt(2)["d"]["inputs"]["filename_prefix"] == f"wdlora-batch/{job.id}-2/ccm/picture"
    assert job.graph["d"]["inputs"]["filename_prefix"] == "ccm/picture"


def test_mask_files_take_the_place_of_the_sampler():
    graph = painted(linked_cohort=["a", 1])
    assert mask_place(graph) == Place("a", "image")
    assert graph["a"]["class_type"] == "LoadImageMask" and graph["b"]["inputs"]["mask"] == ["a", 0]
    assert "linked_cohort" not in graph["b"]["inputs"]  # the conditioning's own cohort counts now
    assert jobs.places_of(graph, "cohort") == (Place("b", "cohort"),)


def test_a_value_for_a_node_whose_place_masks_take_is_refused():
    graph = painted(linked_cohort=["a", 1])
    at = mask_place(graph)
    jobs.check_places(graph, [Place("b", "cohort"), Place("gone", "unet_name")], Design(mask_place=at))
    with pytest.raises(InputError, match="--set gives a cohort to a node whose place the masks take"):
        jobs.check_places(graph, [Place("a", "cohort")], Design(mask_place=at))


def test_a_value_that_another_option_would_replace_is_refused():
    graph = painted()
    axes = [Axis("seed", jobs.places_of(graph, "seed"), (0, 1))]
    with pytest.raises(InputError, match=r"'Paint.seed' is given values by two options.*--seed-input"):
        jobs.check_places(graph, [Place("c", "seed")], Design(axes=axes))
    only_masks = [Axis("seed", jobs.places_of(graph, "seed", ["CCMSampleMasks.seed"]), (0, 1))]
    jobs.check_places(graph, [Place("c", "seed")], Design(axes=only_masks))


def test_a_graph_that_needs_the_nerves_as_lines_takes_no_mask_files():
    graph = painted()
    graph["e"] = {"class_type": "CCMDegenerate", "inputs": {"plexus": ["a", 2], "severity": 1.0}}
    with pytest.raises(InputError, match="nerves as lines"):
        mask_place(graph)


def test_a_mask_that_could_go_to_two_places_is_asked_for():
    graph = copy.deepcopy(GRAPH)
    graph["9"] = {"class_type": "LoadImage", "inputs": {"image": "b.png"}, "_meta": {"title": "Other"}}
    with pytest.raises(InputError, match=r"it has 'The mask', 'Other'.*--mask-input"):
        mask_place(graph)
    assert mask_place(graph, "Other.image") == Place("9", "image")
    with pytest.raises(InputError, match="it has none"):
        mask_place({"1": {"class_type": "KSampler", "inputs": {}}})


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("Paint.seed=1,2", (1, 2)),
        ('Paint.seed=["x", 3]', ("x", 3)),
        ("Condition.cohort=Control,T1DPN", ("Control", "T1DPN")),
    ],
)
def test_variations(text, values):
    assert jobs.parse_variation(painted(), text).values == values


@pytest.mark.parametrize("text", ["Paint.seed", "Paint.seed=", "Paint.nothing=1", "Nobody.seed=1", "Paint.positive=1"])
def test_bad_variations_are_a_sentence(text):
    with pytest.raises(InputError):
        jobs.parse_variation(painted(), text)


def test_nothing_to_set_is_a_sentence():
    with pytest.raises(InputError, match="no node of the graph has a cohort"):
        jobs.places_of(GRAPH, "cohort")


def test_masks_are_looked_for(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        find_masks(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(InputError, match="holds no masks"):
        find_masks(tmp_path)
