"""What nodes say while they run and leave standing afterwards: outlines of nerves, and what was done at the end."""

import json

import numpy as np
import pytest
import torch

from tests.nodes.conftest import Runner, with_giver
from wdlora.clinic.masks import OUTLINED
from wdlora.dataset.writer import Entry, append
from wdlora.host.executor import Silence


class Listener(Silence):
    """Keeps the lines that nodes say, by node."""

    def __init__(self):
        self.lines: dict[str, list[str]] = {}

    def send_text(self, node_id, text, client_id):
        self.lines.setdefault(node_id, []).append(text)


@pytest.fixture
def run(tmp_path):
    from wdlora.host import Host

    made = Runner(with_giver(Host(tmp_path / "data", sink=Listener(), device="cpu")))
    made.said = lambda: made.host.executor.sink.lines.get("node", [""])[-1]
    return made


def drawn(hollow: bool) -> np.ndarray:
    """bool [96, 96]: three nerves of 8 pixels, or their outlines of one pixel."""
    mask = np.zeros((96, 96), bool)
    for left in (10, 40, 70):
        mask[6:90, left : left + 8] = True
        if hollow:
            mask[7:89, left + 1 : left + 7] = False
    return mask


def masks(*hollow: bool) -> torch.Tensor:
    return torch.from_numpy(np.stack([drawn(one) for one in hollow]).astype(np.float32))


def images(count: int) -> torch.Tensor:
    return torch.rand((count, 96, 96, 1), generator=torch.Generator().manual_seed(count)).expand(-1, -1, -1, 3)


def test_measured_outlines_are_said_in_the_table(run):
    """Half of the length that is measured is not there, so the table says it, and of which mask."""
    run.values("CCMBiomarkers", masks=masks(False, True, True), pixel_size_um=1.0417)
    (table,) = run.result.outputs["node"]["ccm_table"]
    assert table["caption"].endswith(f"; mask 2 of 3 and 1 more: {OUTLINED}")
    run.values("CCMBiomarkers", masks=masks(False), pixel_size_um=1.0417)
    assert run.result.outputs["node"]["ccm_table"][0]["caption"] == "one mask"
    run.values("CCMBiomarkers", masks=masks(True), pixel_size_um=5.0)  # 5 µm wide lines are no pen's
    assert run.result.outputs["node"]["ccm_table"][0]["caption"] == "one mask"


SAVED = {
    "folder": "set",
    "cohort": "Control",
    "patient": "",
    "eye": "unknown",
    "visit": "",
    "pixel_size_um": 1.0417,
    "synthetic": True,
    "hash_models": False,
}


def test_saved_and_loaded_outlines_are_said(run):
    (report,) = run.values("CCMSaveDataset", images=images(2), masks=masks(False, True), **SAVED)
    assert json.loads(report)["note"] == f"mask 2 of 2: {OUTLINED}"
    assert run.said() == f"2 written, 0 there already; mask 2 of 2: {OUTLINED}"
    loaded = {"dataset": "set [output]", "cohort": "all", "start": 0, "count": 2}
    values = json.loads(run.values("CCMLoadDataset", **loaded)[2])
    assert [one.get("note") for one in values] == [None, OUTLINED]
    assert run.said() == f"mask of {values[1]['file']}: {OUTLINED}"


def test_filled_nerves_are_saved_and_loaded_without_a_note(run):
    (report,) = run.values("CCMSaveDataset", images=images(1), masks=masks(False), **SAVED)
    assert "note" not in json.loads(report) and run.said() == "1 written, 0 there already"
    values = json.loads(run.values("CCMLoadDataset", dataset="set [output]", cohort="all", start=0, count=1)[2])
    assert "note" not in values[0]


def test_what_stands_on_evaluate_in_the_end_is_no_count_of_images(run):
    """Else "features and nerves: 18 of 18" would stay on the node as if it were still going on."""
    picture = (images(1)[0, ..., 0].numpy() * 250).astype(np.uint8)
    entries = [Entry(picture + index, drawn(False), "Control", pixel_size_um=1.0417) for index in range(9)]
    append(run.host.folders.input / "real", entries)
    append(run.host.folders.input / "painted", entries)
    choices = {"real_set": "real [input]", "synthetic_set": "painted [input]", "training_set": "none"}
    run.values("CCMEvaluate", pairs=False, pixel_size_um=1.0417, report_folder="", **choices)
    lines = run.host.executor.sink.lines["node"]
    assert lines[-2:] == ["comparing the sets", "9 real and 9 synthetic images compared"]
    assert "features and nerves: 18 of 18" in lines


def test_what_stands_on_the_loader_in_the_end_is_that_the_model_is_loaded(run):
    given = dict.fromkeys(("diffusion_model", "text_encoder", "vae", "folder"), "none")
    run("WDLoRALoadQwenImageEdit", source="miniature", variant="auto", dtype="default", **given)
    assert run.said() == "Qwen-Image-Edit (edit) is loaded"


def test_outlines_are_said_where_they_are_to_be_painted(run):
    given = dict.fromkeys(("diffusion_model", "text_encoder", "vae", "folder"), "none")
    inputs = {"source": "miniature", "variant": "auto", "dtype": "default", **given}
    load = {"load": {"class_type": "WDLoRALoadQwenImageEdit", "inputs": inputs}}
    texts = {"cohort": "Control", "variant": "auto", "text": "", "negative_text": "", "allow_empty": False}
    run("CCMConditioning", load, clip=["load", 1], vae=["load", 2], mask=masks(True), **texts)
    assert run.said() == f"mask 1 of 1: {OUTLINED}"
    odd = masks(True)[:, :90]
    run("CCMConditioning", load, clip=["load", 1], vae=["load", 2], mask=odd, **texts)
    assert run.said().startswith(f"mask 1 of 1: {OUTLINED}; mask of 96 × 90 extended to 96 × 96")
