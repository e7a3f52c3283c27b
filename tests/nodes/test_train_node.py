"""WDLoRA Train: a real fine-tune of the miniature in its own process, interrupted, resumed, applied."""

import json
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from tests.nodes.painting import node
from tests.nodes.test_studies import put_study, written
from wdlora.adapter import Adapter
from wdlora.files import sha256
from wdlora.study import read_study

SMALL = (
    "batch_size=1\nviews=1\nsize=64\nsample_steps=1\nsample_cfg=1\nlog_every=1\nsave_every=10\nrank=2\nwarmup_steps=0"
)
VALUES = {
    "name": "first",
    "preset": "miniature",
    "source": "miniature",
    "diffusion_model": "none",
    "text_encoder": "none",
    "vae": "none",
    "folder": "none",
    "variant": "auto",
    "data": "phantoms",
    "phantoms_per_cohort": 2,
    "appearance": "cohort",
    "pixel_size_um": 400 / 384,
    "steps": 40,
    "settings": SMALL,
    "device": "cpu",
    "resume": True,
}


class Stopper:
    """A sink that keeps texts and previews, and asks a job to stop once a step of training was reported."""

    def __init__(self):
        self.stop = threading.Event()
        self.texts, self.previews = [], []

    def send(self, event, data, client_id):
        pass

    def send_preview(self, image, metadata, client_id):
        self.previews.append(image.size)

    def send_text(self, node_id, text, client_id):
        self.texts.append(text)
        if text.startswith("step ") and not text.startswith("step 0 "):
            self.stop.set()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_is_stopped_resumed_and_its_adapter_applied(run, strokes):
    from wdlora.host.executor import PromptJob

    host = run.host
    graph = {"node": {"class_type": "WDLoRATrain", "inputs": dict(VALUES)}}
    verdict = host.validate(graph)
    assert verdict.outputs == ["node"], verdict
    ears = host.executor.sink = Stopper()
    interrupted = host.executor.execute(PromptJob("j", graph, verdict.outputs, stop=ears.stop))
    assert interrupted.messages[-1][0] == "execution_interrupted"
    out = host.folders.output / "training" / "first"
    assert not (out / "stop").exists() and not (out / "adapter.safetensors").exists()
    held = json.loads((out / "log.jsonl").read_text().splitlines()[-1])["step"]
    assert 1 <= held < 40 and any((out / "checkpoints").iterdir())
    assert ears.previews and "s a step" in ears.texts[-1] and "of 40, loss" in ears.texts[-1]

    other = VALUES | {"resume": False}
    assert "there is a run called 'first' already" in run.sentence("WDLoRATrain", **other)

    name, curve, report = run.values("WDLoRATrain", **VALUES)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert sorted({line["step"] for line in log}) == list(range(41))  # nothing twice, nothing left out
    assert name == "first.safetensors" and json.loads(report)["steps"] == 40
    assert curve.shape[-1] == 3 and curve.std() > 0.05
    under_node = run.result.outputs["node"]
    assert under_node["ccm_curve"][0]["loss"][-1][0] == 40 and under_node["ccm_curve"][0]["validation_loss"]
    assert under_node["images"][-1]["filename"] == "step-000040.png"
    path = host.folders.base / "models" / "loras" / name
    assert sha256(path) == sha256(out / "adapter.safetensors") and Adapter.load(path).rank == 2

    load = {key: VALUES[key] for key in ("source", "diffusion_model", "text_encoder", "vae", "folder", "variant")}
    extra = {"load": {"class_type": "WDLoRALoadQwenImageEdit", "inputs": {**load, "dtype": "default"}}}
    strengths = {"direction_strength": 1.0, "magnitude_strength": 1.0}
    patched, text = run.values("WDLoRAApply", extra, model=["load", 0], adapter=name, **strengths)
    assert "layers changed" in text and "not in this model" not in text
    assert "Base:" not in text, "trained on the very file that it is applied to"
    layer = next(iter(Adapter.load(path).layers))
    with torch.inference_mode():
        plain = host.engine.transformer_of(run.result.values["load"][0]).get_submodule(layer).weight.clone()
        moved = host.engine.transformer_of(patched).get_submodule(layer).weight
        assert not torch.equal(plain, moved)


WRITES = """
import json, time
lines = [{"step": 1, "loss": 0.5, "seconds_a_step": 0.1, "eta_seconds": 0.0}, {"step": 1, "validation_loss": 0.4}]
for line in lines:
    time.sleep(1)
    open("log.jsonl", "a").write(json.dumps(line) + "\\n")
time.sleep(%s)
"""


class Watching:
    """An engine's progress that keeps what it is told."""

    def __init__(self):
        self.previews, self.texts = [], []

    def progress(self, total):
        return self

    def check_interrupted(self):
        pass

    def text(self, text):
        self.texts.append(text)

    def update(self, value, total=None, preview=None):
        self.previews += [] if preview is None else [np.asarray(preview)]


@pytest.mark.parametrize("afterwards", [0, 3])
def test_the_last_validation_is_in_the_last_curve(run, tmp_path, afterwards):
    """Logged a second after the curve was drawn, whether the run ends then or goes on for a while."""
    from wdlora_pack.nodes.train import watch
    from wdlora_pack.nodes.training_process import TrainingProcess

    from wdlora.curve import curve_picture

    class Written(TrainingProcess):
        def __init__(self):
            self.out, self._before = tmp_path, None
            self._process = subprocess.Popen([sys.executable, "-c", WRITES % afterwards], cwd=tmp_path)

    engine = Watching()
    log = watch(Written(), engine, "ccm")
    assert [line.get("validation_loss") for line in log] == [None, 0.4]
    first, last = (curve_picture(log[:lines], "Training of ccm") for lines in (1, 2))
    assert len(engine.previews) == 2
    assert np.array_equal(engine.previews[0], first) and np.array_equal(engine.previews[1], last)
    assert engine.texts[-1] == "step 1 of 1, loss 0.5000, 0.1 s a step, 0 s left"


def test_an_adapter_of_the_same_name_is_left_alone(run, tmp_path):
    from wdlora_pack.nodes.train import published

    loras = run.host.folders.base / "models" / "loras"
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    assert published(first, "ccm") == "ccm.safetensors" == published(first, "ccm")
    name = published(second, "ccm")
    assert name == f"ccm-{sha256(second)[:8]}.safetensors"
    assert (loras / "ccm.safetensors").read_bytes() == b"one" and (loras / name).read_bytes() == b"two"


def test_a_missing_package_is_one_sentence_with_the_line(run):
    from wdlora_pack.nodes.training_process import ROOT, require_packages

    require_packages()
    with pytest.raises(ValueError) as raised:
        require_packages(("peft", "a_package_that_is_not_there"))
    assert str(raised.value) == (
        "training needs a_package_that_is_not_there, which is not installed: run "
        f'"{sys.executable}" -m pip install -r "{ROOT / "requirements-train.txt"}"'
    )
    assert (ROOT / "requirements-train.txt").is_file()


@pytest.mark.slow
def test_a_study_of_the_models_folder_is_trained(run):
    file = put_study(run.host)
    try:
        small = SMALL + "\nsample_every=0"
        given = VALUES | {"name": "fibres", "study": "small_fibre", "steps": 2, "settings": small}
        shown = {"s": node("SaveImage", images=["node", 1], filename_prefix="curve")}
        name, _, report = run.values("WDLoRATrain", shown, **given)
        facts = Adapter.load(run.host.folders.base / "models" / "loras" / name).metadata
        assert (facts.study, facts.study_sha256) == ("small_fibre/2", read_study(file).sha256)
        assert [json.loads(report)[key] for key in ("study", "study_sha256")] == [facts.study, facts.study_sha256]
        assert written(run.host, "curve_00001_.png")["ccm_studies"] == {facts.study: facts.study_sha256}
        split = (run.host.folders.output / "training" / "fibres" / "split.csv").read_text()
        assert "phantom-SFN" in split and "phantom-T1DPN" not in split
    finally:
        file.unlink()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "../x"}, "cannot be a file's name"),
        ({"name": ""}, "cannot be a file's name"),
        ({"settings": "rank"}, "the setting 'rank' is not KEY=VALUE"),
        ({"settings": "--device=cuda"}, "is not KEY=VALUE"),
        ({"source": "single files"}, "no diffusion model is chosen"),
        ({"data": "lost [input]"}, "there is no data set 'lost [input]'"),
        ({"data": "../../etc [input]"}, "must lie below"),
        ({"preset": "none"}, "Value not in list"),
        ({"study": "lost"}, "there is no study 'lost': put its file into"),
    ],
)
def test_what_cannot_be_trained_gets_a_sentence(run, changes, sentence):
    said = run.sentence("WDLoRATrain", **(VALUES | changes))
    assert sentence in said and str(run.host.folders.base) not in said


@pytest.mark.slow
def test_what_the_training_refuses_is_said_in_its_own_words(run):
    refusal = run.sentence("WDLoRATrain", **(VALUES | {"settings": "no_such_key=1"}))
    assert "has the unknown key no_such_key" in refusal
