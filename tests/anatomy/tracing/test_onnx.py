"""A user's network as ONNX: what is refused before it runs, what its options mean, and what it traces."""

import json

import numpy as np
import pytest

from tests.anatomy.tracing.onnx_writer import model, node, number, part, tensor, threshold_model
from wdlora.anatomy import trace
from wdlora.anatomy.overlap import line_overlap
from wdlora.anatomy.tracing.onnx_file import read_onnx
from wdlora.anatomy.tracing.onnx_segmenter import OnnxOptions, as_bytes, load_onnx, read_options
from wdlora.anatomy.tracing.segmenters import tracer_name
from wdlora.errors import InputError


def lines(shape=(256, 256), level=180) -> tuple[np.ndarray, np.ndarray]:
    """A dark image with two bright lines three pixels wide, and the lines."""
    truth = np.zeros(shape, bool)
    truth[shape[0] // 3 + np.arange(-1, 2)] = True
    truth[:, shape[1] // 2 + np.arange(-1, 2)] = True
    image = np.random.default_rng(0).integers(20, 60, shape).astype(np.uint8)
    image[truth] = level
    return image, truth


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an ONNX file"),
        (b"PK\x03\x04 a zip", "not an ONNX file"),
        (threshold_model(0.5, 20)[:-40], "not an ONNX file"),
        (model([node("Add", ["x", "w"], "y")], [tensor("w", [1.0], external="../secret.bin")]), "in other files"),
        (model([node("Mine", ["x"], "y", domain="my.domain")]), "'my.domain'"),
        (model([node("Neg", ["x"], "y")], more=part(25, part(1, "f"))), "functions of its own"),
    ],
)
def test_what_is_refused_unread(tmp_path, data, message):
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_onnx(path)
    with pytest.raises(InputError, match=message):
        trace(lines()[0], segmenter=path)


def test_what_hides_in_inner_graphs_is_found(tmp_path):
    """External data and foreign operators inside the branch of an If, and inside a sparse tensor."""
    outside = tensor("w", [1.0], external="a.bin")
    for inner in (part(5, outside), part(15, part(1, outside)), part(1, node("Mine", ["a"], "b", domain="other"))):
        attribute = part(5, part(1, "then_branch") + part(6, inner) + number(20, 5))
        path = tmp_path / "net.onnx"
        path.write_bytes(model([node("If", ["x"], "y", attributes=attribute)]))
        with pytest.raises(InputError, match=r"in other files|'other'"):
            read_onnx(path)


def test_a_sound_file_is_read_whole(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(threshold_model(0.5, 20))
    assert read_onnx(path) == threshold_model(0.5, 20)
    with pytest.raises(InputError, match="cannot be read"):
        read_onnx(tmp_path / "absent.onnx")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("{", "not readable as JSON"),
        ("[1]", "a list"),
        ('{"pixel_size": 1}', "'pixel_size'"),
        ('{"pixel_size_um": 0}', "pixel_size_um"),
        ('{"grey": "white"}', "grey"),
        ('{"grey": [10, 0]}', "grey"),
        ('{"size": [3, 3]}', "size"),
        ('{"output": "mask"}', "output"),
    ],
)
def test_options_that_are_not_understood(tmp_path, said, message):
    path = tmp_path / "net.json"
    path.write_text(said)
    with pytest.raises(InputError, match=message):
        read_options(path)


def test_options(tmp_path):
    assert read_options(tmp_path / "absent.json") == OnnxOptions()
    path = tmp_path / "net.json"
    path.write_text('{"pixel_size_um": 2, "grey": [100, 50.5], "size": [64, 96], "output": "logit"}')
    assert read_options(path) == OnnxOptions(2.0, (100.0, 50.5), (64, 96), "logit")


def test_grey_levels_of_every_type():
    ramp = np.array([[0, 51, 255]], np.uint8)
    assert as_bytes(ramp).tolist() == [[0, 51, 255]]
    assert as_bytes(ramp.astype(np.uint16) * 257) == pytest.approx(ramp, abs=1e-3)
    assert as_bytes(ramp / 255) == pytest.approx(ramp, abs=1e-3)
    assert as_bytes(ramp.astype(float)) == pytest.approx(ramp, abs=1e-3)
    assert as_bytes(ramp * 3.0 - 10) == pytest.approx(ramp, abs=1e-3)


def test_a_missing_runtime_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    path = tmp_path / "net.onnx"
    path.write_bytes(threshold_model(0.5, 20))
    with pytest.raises(InputError, match="pip install onnxruntime"):
        load_onnx(path)


@pytest.fixture
def runtime():
    return pytest.importorskip("onnxruntime", reason="needs onnxruntime, which is optional")


@pytest.mark.usefixtures("runtime")
class TestRunning:
    def test_a_threshold_traces_bright_lines(self, tmp_path):
        image, truth = lines()
        path = tmp_path / "net.onnx"
        path.write_bytes(threshold_model(0.5, 20))
        assert line_overlap(trace(image, segmenter=path), truth).cl_dice > 0.98
        assert tracer_name(path).startswith("net.onnx (")

    def test_grey_and_output_follow_the_options(self, tmp_path):
        image, truth = lines()
        for grey, at in (("unit", 100 / 255), ("bytes", 100.0), ("signed", 100 / 127.5 - 1), ([80.0, 40.0], 0.5)):
            path = tmp_path / f"{grey if isinstance(grey, str) else 'mean'}.onnx"
            path.write_bytes(threshold_model(at, 50))
            path.with_suffix(".json").write_text(json.dumps({"grey": grey}))
            assert line_overlap(trace(image, segmenter=path), truth).cl_dice > 0.98, grey
        path = tmp_path / "logit.onnx"
        path.write_bytes(model([node("Sub", ["x", "at"], "y")], [tensor("at", [100.0])]))
        path.with_suffix(".json").write_text('{"grey": "bytes"}')
        with pytest.raises(InputError, match='"output": "logit"'):
            trace(image, segmenter=path)
        path.with_suffix(".json").write_text('{"grey": "bytes", "output": "logit"}')
        assert line_overlap(trace(image, segmenter=path), truth).cl_dice > 0.98

    def test_fixed_sizes_come_in_tiles(self, tmp_path):
        image, truth = lines((300, 420))
        path = tmp_path / "net.onnx"
        path.write_bytes(threshold_model(0.5, 20, (1, 1, 96, 128)))
        assert load_onnx(path).size == (96, 128)
        assert line_overlap(trace(image, segmenter=path), truth).cl_dice > 0.98
        path.with_suffix(".json").write_text('{"size": [64, 64]}')
        with pytest.raises(InputError, match="correct them"):
            load_onnx(path)

    def test_images_come_in_the_pixels_that_it_wants(self, tmp_path):
        """Lines of 6 px of 0.5 µm are 3 px of 1 µm; a network for pixels of 1 µm sees an image of half the side."""
        image, truth = lines((128, 128))
        fine = np.kron(image, np.ones((2, 2), np.uint8))
        path = tmp_path / "net.onnx"
        path.write_bytes(threshold_model(0.5, 20, (1, 1, 128, 128)))
        path.with_suffix(".json").write_text('{"pixel_size_um": 1.0}')
        found = trace(fine, 0.5, segmenter=path)
        assert found.shape == (256, 256)
        assert line_overlap(found[::2, ::2], truth).cl_dice > 0.98

    def test_what_is_no_segmenter(self, tmp_path):
        path = tmp_path / "net.onnx"
        path.write_bytes(threshold_model(0.5, 20, ("n", 3, "h", "w")))
        with pytest.raises(InputError, match=r"one input \[n, 1, rows, columns\]"):
            load_onnx(path)
        path.write_bytes(model([node("GlobalMaxPool", ["x"], "y")]))
        with pytest.raises(InputError, match="one probability per pixel"):
            trace(lines()[0], segmenter=path)
        path.write_bytes(model([node("NoSuchOperator", ["x"], "y")]))
        with pytest.raises(InputError, match="cannot be loaded"):
            load_onnx(path)

    def test_a_changed_file_is_read_again(self, tmp_path):
        image, _ = lines()
        path = tmp_path / "net.onnx"
        path.write_bytes(threshold_model(0.5, 20))
        assert trace(image, segmenter=path).any()
        path.write_bytes(threshold_model(2.5, 20))
        assert not trace(image, segmenter=path).any()
