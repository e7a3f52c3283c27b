"""CCM Trace's choice of tracer, networks in the models folder, and the area that was seen."""

import json

import numpy as np
import pytest
import torch

from tests.anatomy.tracing.onnx_writer import threshold_model
from tests.anatomy.tracing.test_network import RULES, threshold_network
from tests.clinic.test_field import barred
from tests.hmsvit.threshold import save_threshold
from wdlora.anatomy import measure, trace
from wdlora.anatomy.overlap import line_overlap
from wdlora.anatomy.tracing.learned import save_network
from wdlora.anatomy.tracing.segmenters import tracer_name


@pytest.fixture
def folder(run):
    place = run.host.folders.base / "models" / "ccm_tracers"
    place.mkdir(parents=True, exist_ok=True)
    yield place
    for file in place.iterdir():
        file.unlink()


def picture() -> tuple[torch.Tensor, np.ndarray]:
    """IMAGE of a bright line three pixels wide in grain, and the line."""
    image = np.random.default_rng(0).integers(30, 60, (160, 160)).astype(np.uint8)
    line = np.zeros(image.shape, bool)
    line[:, 79:82] = True
    image[line] = 200
    return as_image(image), line


def as_image(grey: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(grey / np.float32(255))[None, ..., None].expand(-1, -1, -1, 3)


def test_a_network_file_in_the_models_folder(run, folder):
    image, line = picture()
    save_network(folder / "mine.safetensors", threshold_network(1e6, 2.5), "mine", 1.0, RULES)
    asked = {"images": image, "pixel_size_um": 1.0, "segmenter": "mine.safetensors"}
    masks, valid, name = run.values("CCMTrace", **asked, detail="visible")
    assert line_overlap(masks[0].numpy() > 0, line).cl_dice > 0.98 and valid.min() == 1
    assert name == tracer_name(folder / "mine.safetensors", "visible")
    assert not run.values("CCMTrace", **asked, detail="annotated")[0].any()
    save_network(folder / "mine.safetensors", threshold_network(2.5, 2.5), "mine", 1.0, RULES)
    assert run.values("CCMTrace", **asked, detail="annotated")[0].any()  # the file is read again


def test_an_hmsvit_like_network_in_the_models_folder(run, folder):
    """As `python -m training downstream` writes it."""
    image, line = picture()
    save_threshold(folder / "trained.safetensors")
    masks, _, name = run.values("CCMTrace", images=image, pixel_size_um=1.0, segmenter="trained.safetensors")
    assert line_overlap(masks[0].numpy() > 0, line).cl_dice > 0.98
    assert name == tracer_name(folder / "trained.safetensors") and name.startswith("hmsvit-like-1 segmentation (")


def test_an_onnx_file_in_the_models_folder(run, folder):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime, which is optional")
    image, line = picture()
    (folder / "mine.onnx").write_bytes(threshold_model(0.5, 30))
    masks, _, name = run.values("CCMTrace", images=image, pixel_size_um=1.0, segmenter="mine.onnx")
    assert line_overlap(masks[0].numpy() > 0, line).cl_dice > 0.98 and name.startswith("mine.onnx (")


@pytest.mark.parametrize("name", ["absent.onnx", "../../secret.onnx", "frangi"])
def test_a_missing_tracer_is_named(run, folder, name):
    said = run.sentence("CCMTrace", images=picture()[0], pixel_size_um=1.0, segmenter=name)
    assert "is missing: put the file into" in said and "ccm_tracers" in said


def test_graphs_without_the_widgets_take_the_defaults(run):
    image, _ = picture()
    plain, _, name = run.values("CCMTrace", images=image, pixel_size_um=1.0)
    assert name == tracer_name()
    assert np.array_equal(plain[0].numpy() > 0, trace((image[0, ..., 0].numpy() * 255).round().astype(np.uint8), 1.0))
    lines, _, name = run.values("CCMTrace", images=image, pixel_size_um=1.0, segmenter="lines")
    assert name == tracer_name("lines") and lines.any()


def test_an_information_bar_is_left_out_after_any_loader(run):
    """Neither traced, nor part of the area that lengths are divided by."""
    image = barred(24, 0)
    masks, valid, _ = run.values("CCMTrace", images=as_image(image), pixel_size_um=1.04, segmenter="lines")
    assert not masks[0, -24:].any() and not valid[0, -24:].any() and valid[0, :-28].all()
    half = torch.ones(1, 160, 160)
    half[:, :, :40] = 0
    line = torch.from_numpy(picture()[1])[None].float()
    for area in (None, half):
        inputs = {} if area is None else {"valid": area}
        (text, *_) = run.values("CCMBiomarkers", masks=line, pixel_size_um=1.0, **inputs)
        seen = None if area is None else area[0].numpy() > 0
        expected = measure(line[0].numpy() > 0, 1.0, valid=seen).cnfl
        assert json.loads(text)[0]["cnfl"] == pytest.approx(expected) and expected > 5
    assert "one each" in run.sentence("CCMBiomarkers", masks=line, pixel_size_um=1.0, valid=half.expand(3, -1, -1))
