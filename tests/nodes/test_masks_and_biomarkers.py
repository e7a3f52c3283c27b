"""The first nodes, run in the embedded host: seeds, shapes, the table, and bad input in a sentence."""

import json

import numpy as np
import pytest
import torch

from wdlora.anatomy import measure, sample_mask
from wdlora.host.api import io


@pytest.fixture
def host(tmp_path):
    from wdlora.host import Host

    made = Host(tmp_path / "data", device="cpu")

    class Give(io.ComfyNode):
        """Gives any value that a test put there."""

        value: object = None

        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="Give", outputs=[io.Mask.Output()])

        @classmethod
        def fingerprint_inputs(cls):
            return float("nan")

        @classmethod
        def execute(cls):
            return io.NodeOutput(cls.value)

    made.registry.add(Give, "tests")
    made.give = Give
    return made


def sampling(**values):
    inputs = {"cohort": "Control", "count": 2, "size": 192, "seed": 4, **values}
    return {
        "1": {"class_type": "CCMSampleMasks", "inputs": inputs},
        "2": {"class_type": "CCMBiomarkers", "inputs": {"masks": ["1", 0], "pixel_size_um": 400 / 384}},
    }


def test_mask_i_is_the_librarys_mask_of_seed_plus_i(host):
    _, result = host.run(sampling())
    masks, cohort = result.values["1"][:2]
    assert masks.shape == (2, 192, 192) and masks.dtype == torch.float32 and cohort == "Control"
    for index in range(2):
        expected = sample_mask("Control", seed=4 + index, size=192).mask
        assert np.array_equal(masks[index].numpy() > 0, expected)
    assert set(masks.unique().tolist()) == {0.0, 1.0}


def test_a_small_mask_is_the_middle_of_a_field_that_can_be_drawn(host):
    _, result = host.run(sampling(size=96, count=1))
    whole = sample_mask("Control", seed=4, size=160).mask
    assert np.array_equal(result.values["1"][0][0].numpy() > 0, whole[32:128, 32:128])


def test_the_table_is_what_the_library_measures(host):
    _, result = host.run(sampling())
    table = result.outputs["2"]["ccm_table"][0]
    measured = [measure(mask.numpy() > 0.5) for mask in result.values["1"][0]]
    mean = np.mean([m.cnfl for m in measured])
    assert table["columns"] == ["biomarker", "mean", "SD", "unit"]
    assert table["rows"][0] == [
        "CNFL  nerve fibre length",
        f"{mean:.2f}",
        f"{np.std([m.cnfl for m in measured], ddof=1):.2f}",
        "mm/mm²",
    ]
    text, csv = result.values["2"][:2]
    assert json.loads(text)[1]["cnfl"] == measured[1].cnfl
    lines = csv.splitlines()
    assert len(lines) == 3 and lines[0].startswith("mask,cnfl,") and lines[2].startswith(f"1,{measured[1].cnfl},")


def test_one_mask_has_no_spread(host):
    _, result = host.run(sampling(count=1))
    assert result.outputs["2"]["ccm_table"][0]["columns"] == ["biomarker", "value", "unit"]


def test_an_empty_mask_is_measured_as_no_nerves(host):
    host.give.value = torch.zeros(1, 192, 192)
    graph = sampling()
    graph["1"] = {"class_type": "Give", "inputs": {}}
    _, result = host.run(graph)
    assert result.failure is None
    assert json.loads(result.values["2"][0])[0]["cnfl"] == 0


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (torch.full((1, 64, 64), float("nan")), "masks holds values that are not numbers"),
        (torch.zeros(0, 64, 64), "masks has the shape [0, 64, 64], which is not a mask"),
        (torch.zeros(1, 64, 64, 3), "masks has the shape [1, 64, 64, 3], which is not a mask"),
        (torch.zeros(1, 1, 1).expand(1, 10_000, 10_000), "masks is 10000 × 10000 pixels"),
    ],
)
def test_bad_masks_get_a_sentence(host, value, sentence):
    host.give.value = value
    graph = sampling()
    graph["1"] = {"class_type": "Give", "inputs": {}}
    _, result = host.run(graph)
    assert result.failure["node_id"] == "2" and sentence in result.failure["exception_message"]
    assert result.failure["exception_type"] == "wdlora.errors.InputError"


def test_progress_is_told_for_each_mask(host):
    class Ears:
        heard: list = []

        def send(self, event, data, client_id):
            if event == "progress":
                self.heard.append((data["node"], data["value"], data["max"]))

        def send_preview(self, *_):
            pass

        send_text = send_preview

    host.executor.sink = Ears()
    host.run(sampling())
    assert Ears.heard[-1] == ("2", 2, 2) and ("1", 2, 2) in Ears.heard
