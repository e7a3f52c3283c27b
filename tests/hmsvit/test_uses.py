"""A segmenter's file where nerves are traced: `trace` on the file's own pixels and others, and `measure`."""

import csv

import numpy as np
import pytest
from PIL import Image

from tests.hmsvit.threshold import save_threshold
from wdlora.anatomy import trace
from wdlora.anatomy.overlap import line_overlap
from wdlora.cli import main


def lined(scale: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A bright line three pixels wide in grain, and the line; every pixel `scale` times as wide."""
    image = np.random.default_rng(0).integers(30, 60, (160, 200)).astype(np.uint8)
    line = np.zeros(image.shape, bool)
    line[:, 99:102] = True
    image[line] = 200
    return tuple(np.kron(part, np.ones((scale, scale), part.dtype)) for part in (image, line))


@pytest.mark.parametrize("scale", [1, 2])
def test_trace_finds_what_the_network_sees(tmp_path, scale):
    """Tiles of 64 px over 160 × 200; pixels half as wide are brought to the network's own."""
    image, line = lined(scale)
    found = trace(image, 1.0 / scale, segmenter=save_threshold(tmp_path / "t.safetensors"))
    assert line_overlap(found, line, pixel_um=(1 / scale, 1 / scale)).cl_dice > 0.98
    assert not trace(image, 1.0 / scale, segmenter=save_threshold(tmp_path / "u.safetensors", 1e3)).any()


def test_measure_takes_the_file_and_names_it(tmp_path, capsys):
    image, line = lined()
    Image.fromarray(image).save(tmp_path / "a.png")
    segmenter = save_threshold(tmp_path / "t.safetensors")
    argv = ["measure", str(tmp_path / "a.png"), "--image", "--pixel-size-um", "1.0", "--csv", str(tmp_path / "o.csv")]
    assert main([*argv, "--segmenter", str(segmenter)]) == 0
    (row,) = csv.DictReader((tmp_path / "o.csv").read_text().splitlines())
    assert float(row["length_mm"]) == pytest.approx(line.sum() / 3 / 1000, rel=0.03)
    assert any(value.startswith("hmsvit-like-1 segmentation (") for value in row.values())
