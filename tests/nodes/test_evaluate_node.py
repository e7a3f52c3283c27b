"""CCM Evaluate: batches and data sets, the answers under the node, the report."""

import dataclasses
import json
import threading

import numpy as np
import pytest
import torch

from wdlora.anatomy import phantom, sample_mask
from wdlora.dataset.writer import Entry, append
from wdlora.host.executor import PromptJob, Silence
from wdlora.study import shipped_study

COUNT = 9
CHOICES = {
    "real_set": "none",
    "synthetic_set": "none",
    "training_set": "none",
    "pairs": False,
    "pixel_size_um": 400 / 384,
    "report_folder": "",
}


@pytest.fixture(scope="module")
def drawn():
    """Pictures and masks of `COUNT` phantoms, and other pictures of the same masks."""
    masks = [sample_mask("T1NoDPN", seed, size=160) for seed in range(COUNT)]
    return masks, *([phantom(one, seed + start) for seed, one in enumerate(masks)] for start in (0, 500))


def as_batch(pictures):
    return torch.from_numpy(np.stack(pictures).astype(np.float32) / 255)[..., None].expand(-1, -1, -1, 3).contiguous()


def records(prefix):
    return json.dumps([{"cohort": "T1NoDPN", "patient": f"{prefix}{number}"} for number in range(COUNT)])


def test_a_set_against_itself_is_found_by_its_copies(run, drawn):
    _, real, _ = drawn
    images = as_batch(real)
    plot, text, answers = run.values("CCMEvaluate", real_images=images, synthetic_images=images, **CHOICES)
    values = json.loads(text)
    assert values["n"] == {"real": COUNT, "synthetic": COUNT, "patients": None}
    assert "pixel by pixel" in answers and "copies found" in answers
    assert plot.shape[0] == 1 and plot.shape[-1] == 3 and plot.shape[1] > plot.shape[2]
    (table,) = run.result.outputs["node"]["ccm_table"]
    assert [row[0] for row in table["rows"]][-1] == "Do they copy patients?" and table["rows"][-1][1] == "copies found"


def test_pairs_by_place_with_records(run, drawn):
    _, real, other = drawn
    settings = CHOICES | {"pairs": True, "report_folder": "judged/one"}
    linked = {"real_images": as_batch(real), "synthetic_images": as_batch(other), "real_records": records("P")}
    _, text, _ = run.values("CCMEvaluate", **linked, **settings)
    values = json.loads(text)
    assert values["n"]["patients"] == COUNT and values["paired"] and list(values["biomarkers"]) == ["T1NoDPN"]
    assert values["fidelity"]["ssim"]["n"] == COUNT
    place = run.host.folders.output / "judged" / "one"
    assert json.loads((place / "report.json").read_text(encoding="utf-8")) == values
    assert (place / "report.html").is_file()


def test_data_sets(run, drawn):
    masks, real, other = drawn
    for name, pictures, synthetic in (("held_out", real, False), ("painted", other, True)):
        entries = [
            Entry(
                image=picture,
                mask=one.mask,
                cohort="T1NoDPN",
                patient=f"P{number:03d}",
                pixel_size_um=400 / 384,
                synthetic=synthetic,
            )
            for number, (picture, one) in enumerate(zip(pictures, masks, strict=True))
        ]
        append(run.host.folders.input / name, entries)
    chosen = CHOICES | {"real_set": "held_out [input]", "synthetic_set": "painted [input]"}
    _, text, answers = run.values("CCMEvaluate", **chosen)
    assert json.loads(text)["n"] == {"real": COUNT, "synthetic": COUNT, "patients": COUNT}
    assert "are named in both the real and the synthetic set" in answers


def test_the_size_given_is_that_of_images_that_tell_none(run, drawn):
    """A set with and one without sizes in its table lie on one grid, so nothing is brought to another."""
    masks, real, other = drawn
    for name, pictures, size in (("silent", real, None), ("stated", other, 1.5)):
        entries = [
            Entry(picture, one.mask, "T1NoDPN", pixel_size_um=size)
            for picture, one in zip(pictures, masks, strict=True)
        ]
        append(run.host.folders.input / name, entries)
    chosen = {"pixel_size_um": 1.5, "real_set": "silent [input]", "synthetic_set": "stated [input]"}
    _, text, answers = run.values("CCMEvaluate", **(CHOICES | chosen))
    assert json.loads(text)["n"]["real"] == COUNT and "µm a pixel" not in answers


def test_the_size_of_the_study_goes_before_the_one_given(run, drawn):
    masks, real, other = drawn
    study = dataclasses.replace(shipped_study(), pixel_size_um=1.5)
    for name, pictures in (("one", real), ("two", other)):
        entries = [Entry(picture, one.mask, "T1NoDPN") for picture, one in zip(pictures, masks, strict=True)]
        append(run.host.folders.input / name, entries, study)
    chosen = CHOICES | {"real_set": "one [input]", "synthetic_set": "two [input]"}
    _, text, _ = run.values("CCMEvaluate", **chosen)
    assert json.loads(text)["image"]["pixel_size_um"] == 1.5


class Forgotten(threading.Event):
    """A wish to stop that the node hears, and its work does not: ComfyUI has forgotten it by then."""

    def is_set(self):
        return super().is_set() and threading.current_thread() is threading.main_thread()


class Stopper(Silence):
    """Asks to stop at the first text, and keeps the work there until the node was left."""

    def __init__(self):
        self.stop, self.left, self.texts = Forgotten(), threading.Event(), []

    def send_text(self, node_id, text, client_id):
        self.texts.append(text)
        self.stop.set()
        self.left.wait(60)


def test_its_work_ends_at_the_next_image_after_the_node_was_stopped(run, drawn):
    host = run.host
    host.given = {"real": as_batch(drawn[1]), "synthetic": as_batch(drawn[2])}
    graph = {name: {"class_type": "Give", "inputs": {"key": name}} for name in host.given}
    linked = {f"{name}_images": [name, 0] for name in host.given}
    graph["node"] = {"class_type": "CCMEvaluate", "inputs": {**CHOICES, **linked}}
    sink = host.executor.sink = Stopper()
    before = set(threading.enumerate())
    result = host.executor.execute(PromptJob("j", graph, ["node"], stop=sink.stop))
    assert result.messages[-1][0] == "execution_interrupted"
    (work,) = set(threading.enumerate()) - before
    sink.left.set()
    work.join(60)
    assert not work.is_alive() and len(sink.texts) == 1, sink.texts


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "the real set is missing: choose a data set in real_set, or link real_images"),
        ({"real_images": COUNT}, "the synthetic set is missing"),
        ({"real_images": 3, "synthetic_images": COUNT}, "the real set has 3 images: an evaluation needs at least 8"),
        ({"real_images": COUNT, "synthetic_images": COUNT, "real_records": "[]"}, "describes 0 images, but 9"),
        ({"real_images": COUNT, "synthetic_images": COUNT, "real_records": "no"}, "is not a list of records"),
        ({"report_folder": "../outside"}, "must lie below"),
        ({"real_set": "nowhere [input]"}, "there is no data set 'nowhere [input]'"),
    ],
)
def test_what_cannot_be_evaluated_is_said(run, drawn, given, words):
    inputs = {key: as_batch(drawn[1][:value]) if isinstance(value, int) else value for key, value in given.items()}
    assert words in run.sentence("CCMEvaluate", **(CHOICES | inputs))
