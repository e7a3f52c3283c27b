"""What the graph of a job painted: its files, its cohort, the size of a pixel."""

import pytest

from wdlora.batch.painted import cohort_of, painted_files, pixel_size_of
from wdlora.errors import InputError


def nodes(*given):
    return {str(number): {"class_type": kind, "inputs": inputs} for number, (kind, inputs) in enumerate(given)}


@pytest.mark.parametrize(
    ("given", "cohort"),
    [
        ([], ""),
        ([("CCMConditioning", {"cohort": "Control"}), ("CCMConditioning", {"cohort": "control "})], "Control"),
        ([("CCMConditioning", {"cohort": "Control", "linked_cohort": "T1DPN"})], "T1DPN"),
    ],
)
def test_the_cohort_of_a_graph(given, cohort):
    assert cohort_of(nodes(*given)) == cohort


@pytest.mark.parametrize(
    ("kind", "inputs", "sentence"),
    [
        ("CCMConditioning", {"cohort": "Control", "linked_cohort": ["5", 1]}, "a link brings the cohort of 'CCMCond"),
        ("CCMConditioning", {"cohort": "text only"}, r"without a cohort \('text only' in 'CCMConditioning'\): choose"),
        ("CCMConditioning", {"cohort": "no prompt"}, r"without a cohort \('no prompt' in 'CCMConditioning'\): choose"),
        ("CCMConditioning", {"cohort": ["5", 1]}, "a link brings the cohort of 'CCMConditioning': remove the link"),
        ("CCMDegenerate", {"severity": 1}, "'CCMDegenerate' draws masks of its own"),
    ],
)
def test_a_graph_whose_cohort_or_masks_are_not_those_of_the_files_is_refused(kind, inputs, sentence):
    with pytest.raises(InputError, match=sentence):
        cohort_of(nodes((kind, inputs)))


@pytest.mark.parametrize(
    ("sizes", "found"),
    [
        ([], ""),
        ([1.04], "1.04"),
        ([1.04, 1.04], "1.04"),
        ([1, 2], ""),
        ([["5", 0]], ""),
        ([1.04, ["5", 0]], ""),
        ([0], ""),
    ],
)
def test_the_pixel_size_of_a_graph(sizes, found):
    assert pixel_size_of(nodes(*(("CCMBiomarkers", {"pixel_size_um": size}) for size in sizes))) == found


def test_what_was_painted_is_told_from_what_was_drawn_of_it():
    nodes = {
        "1": ("VAEDecode", {}),
        "2": ("CCMCropToMask", {"image": ["1", 0]}),
        "3": ("SaveImage", {"images": ["2", 0]}),
        "4": ("CCMTrace", {"images": ["2", 0]}),
        "5": ("MaskToImage", {"mask": ["4", 0]}),
        "6": ("SaveImage", {"images": ["5", 0]}),
        "7": ("LoadImage", {}),
        "8": ("SaveImage", {"images": ["7", 0]}),
    }
    graph = {id: {"class_type": kind, "inputs": inputs} for id, (kind, inputs) in nodes.items()}
    record = {"outputs": [{"node": id, "files": [{"file": f"{id}.png"}]} for id in "368"]}
    assert list(painted_files(graph, record)) == ["3.png"]
    del graph["1"]
    assert list(painted_files(graph, record)) == ["3.png", "6.png", "8.png"]
