"""What a node says when it refuses: once, at its own input, without a path of the server; and that it hears a stop."""

import json
import threading
import time

import pytest
import torch

from tests.nodes.painting import FILES, make_adapter, node, sentence
from wdlora.anatomy import phantom, sample_mask
from wdlora.host.executor import PromptJob

LOADER = {"source": "single files", "folder": "none", "variant": "auto", "dtype": "default"}
NOTHING = dict.fromkeys(("diffusion_model", "text_encoder", "vae"), "none")
SAVE = {"folder": "set", "cohort": "Control", "patient": "", "eye": "unknown", "visit": ""}
SAVE |= {"pixel_size_um": 1.0, "synthetic": True, "hash_models": False}


def refused(host, class_type, extra=None, **inputs):
    """The node's errors as (input, sentence)."""
    graph = {**(extra or {}), "it": node(class_type, **inputs), "keep": node("Keep", value=["it", 0])}
    errors = host.validate(graph).node_errors["it"]["errors"]
    assert all(error["details"].startswith(error["extra_info"]["input_name"] + " - ") for error in errors)
    return {error["extra_info"]["input_name"]: error["details"].partition(" - ")[2] for error in errors}, len(errors)


def test_one_problem_is_one_error_at_its_own_input(painter):
    """Two files that are there and one that was not chosen, another adapter than asked for, a name and a date."""
    given = LOADER | {name: FILES[name] for name in NOTHING}
    for name in NOTHING:
        said, count = refused(painter, "WDLoRALoadQwenImageEdit", **(given | {name: "none"}))
        assert count == 1 and set(said) == {name} and "is chosen: choose a file" in said[name]
    said, count = refused(painter, "WDLoRALoadQwenImageEdit", **(LOADER | NOTHING))
    assert count == 3 and set(said) == set(NOTHING)
    said, count = refused(painter, "WDLoRALoadQwenImageEdit", **(given | {"source": "diffusers folder"}))
    assert count == 1 and set(said) == {"folder"}

    make_adapter(painter, "ours.safetensors")
    apply = {"adapter": "ours.safetensors", "direction_strength": 1.0, "magnitude_strength": 1.0}
    said, count = refused(painter, "WDLoRAApply", painter_model(), model=["load", 0], **apply, sha256="a" * 64)
    assert count == 1 and "is another file than the workflow asks for" in said["sha256"]
    said, count = refused(painter, "WDLoRAApply", painter_model(), model=["load", 0], **(apply | {"adapter": "lost"}))
    assert count == 1 and "put the file into models/loras" in said["adapter"]

    pair = {"m": node("Give", key="mask"), "i": node("Give", key="image")}
    linked = {"images": ["i", 0], "masks": ["m", 0]}
    for name, wrong in {"folder": "../out", "patient": "John Smith", "visit": "May 2023"}.items():
        said, count = refused(painter, "CCMSaveDataset", pair, **linked, **(SAVE | {name: wrong}))
        assert count == 1 and set(said) == {name}


def painter_model():
    return {"load": node("WDLoRALoadQwenImageEdit", **FILES)}


def test_no_sentence_says_where_the_server_keeps_its_files(painter, strokes):
    """A broken file is called by its folder's name, as the workflow's reader knows it."""
    loras = painter.folders.base / "models" / "loras"
    loras.mkdir(parents=True, exist_ok=True)
    (loras / "broken.safetensors").write_bytes(b"nothing")
    broken = {"apply": node("WDLoRAApply", model=["load", 0], adapter="broken.safetensors", direction_strength=1.0)}
    broken["apply"]["inputs"]["magnitude_strength"] = 1.0
    said = sentence(painter, strokes, broken, model=("apply", 0))
    assert "models/loras/broken.safetensors" in said and str(painter.folders.base) not in said
    (painter.folders.input / "dark.png").write_bytes(b"nothing")
    shown = {"i": node("CCMLoadImage", image="dark.png", pixel_size_um=1.0), "keep": node("Keep", value=["i", 0])}
    _, result = painter.run(shown)
    assert "dark.png" in result.failure["exception_message"]
    assert str(painter.folders.base) not in result.failure["exception_message"]


@pytest.mark.parametrize("allow_empty", [False, True])
def test_a_dim_mask_is_called_dim(painter, run, strokes, allow_empty):
    """Drawn at a third of white it is no mask without nerves, whatever takes it; noise of JPEG is black."""
    said = sentence(painter, strokes * 0.3, allow_empty=allow_empty)
    assert said.startswith("mask 1 of 1 at mask is dim: its brightest value is 0.30, and only what is above 0.5 counts")
    assert "mask 2 of 2 at masks is dim" in run.sentence(
        "CCMBiomarkers", masks=torch.cat([strokes, strokes * 0.5]), pixel_size_um=1.0
    )
    assert run.values("CCMBiomarkers", masks=strokes * 0.04, pixel_size_um=1.0)


def test_a_grey_picture_is_no_mask_and_a_soft_rim_is_no_grey_picture(painter, run, strokes):
    """A phantom through Load Image (as Mask) had been cut at half white, and its speckle was painted as nerves."""
    picture = torch.from_numpy(phantom(sample_mask("Control", 1, 192), 1)).float()[None] / 255
    for said in (sentence(painter, picture), run.sentence("CCMBiomarkers", masks=picture, pixel_size_um=1.0)):
        assert "is a grey picture" in said and "trace it first (CCM Trace)" in said
    soft = torch.nn.functional.avg_pool2d(strokes[None], 5, 1, 2)[0]
    assert ((soft > 0.2) & (soft < 0.8)).float().mean() > 0.05
    assert run.values("CCMBiomarkers", masks=soft / soft.max(), pixel_size_um=1.0)


def test_a_text_that_is_too_long_is_refused_with_the_limit(painter, strokes):
    said = sentence(painter, strokes, cohort="text only", text="nerve " * 5000)
    assert said.startswith("the text has 29999 characters, and at most 20000 can be read")
    said = sentence(painter, strokes, cohort="text only", text="nerve " * 1000)  # a token a byte in the small model
    assert "tokens long together with its pictures, and the model reads at most 4032: shorten it" in said


def test_long_work_hears_the_wish_to_stop(run, monkeypatch):
    """A trace that would take a minute ends within a second of the wish, and what it finds is dropped."""
    import wdlora.anatomy

    begun = threading.Event()

    def slow(*_, **__):
        begun.set()
        time.sleep(60)

    monkeypatch.setattr(wdlora.anatomy, "trace", slow)
    run.host.given["images"] = torch.zeros(1, 64, 64, 3)
    graph = {
        "i": node("Give", key="images"),
        "t": node("CCMTrace", images=["i", 0], pixel_size_um=1.0),
        "keep": node("Keep", value=["t", 0]),
    }
    job, ended = PromptJob("a trace", graph, ["keep"]), {}
    worker = threading.Thread(target=lambda: ended.update(result=run.host.executor.execute(job)))
    worker.start()
    assert begun.wait(30)
    asked = time.monotonic()
    job.stop.set()
    worker.join(10)
    assert time.monotonic() - asked < 3
    assert json.dumps([kind for kind, _ in ended["result"].messages]).count("execution_interrupted") == 1
