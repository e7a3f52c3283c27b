"""Every example runs as its first line says, is short, and prints what it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wdlora.adapter import Adapter
from wdlora.anatomy import measure, phantom, sample_mask, trace
from wdlora.qwen.miniature_files import miniature_files

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))


def run(name, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "docs" / "examples" / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What ten steps print and write."""
    out = tmp_path_factory.mktemp("trained") / "run"
    return run("train_ten_steps", out).splitlines()[-1]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_is_short_and_says_how_it_is_called(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 40
    assert f"`python docs/examples/{path.name}" in text.splitlines()[0]
    assert f'run("{path.stem}"' in Path(__file__).read_text(encoding="utf-8")


def test_measure_picture(tmp_path):
    picture = phantom(sample_mask("T1NoDPN", seed=5), seed=2)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    out = run("measure_picture", tmp_path / "picture.png", tmp_path / "overlay.png")
    expected = measure(trace(picture, 400 / 384), 400 / 384)
    assert f"CNFL  {expected.cnfl:.4g}" in out and f"CNBD  {expected.cnbd:.4g}" in out
    assert np.asarray(Image.open(tmp_path / "overlay.png")).shape[:2] == picture.shape
    assert "CNFL" in run("measure_picture")


def test_masks_and_phantoms(tmp_path):
    out = run("masks_and_phantoms", tmp_path / "out")
    assert out.count("\n") == 6 and len(list((tmp_path / "out").iterdir())) == 12
    stored = np.asarray(Image.open(tmp_path / "out" / "Control-1-mask.png"))
    assert (stored == 255 * sample_mask("Control", 1).mask).all()


def test_train_ten_steps_and_compose_weight(trained):
    adapter = Adapter.load(trained)
    lines = run("compose_weight", trained, miniature_files().transformer).splitlines()
    assert len(lines) == len(adapter.layers)
    moved = [float(re.search(r"moved by ([\d.]+) %", line).group(1)) for line in lines]
    assert 0 < max(moved) < 20


def test_paint_in_process(tmp_path, trained):
    out = run("paint_in_process", tmp_path / "painted.png", trained)
    picture = np.asarray(Image.open(tmp_path / "painted.png"))
    mask = sample_mask("T1DPN", seed=3, size=192).mask
    assert f"192 × 192 pixels, {mask.mean():.1%} of them nerve" in out
    assert picture.shape == (192, 192, 3) and picture.std() > 5


def test_evaluate_folders(tmp_path):
    for folder, start in (("real", 0), ("synthetic", 100)):
        (tmp_path / folder).mkdir()
        for seed in range(8):
            drawn = phantom(sample_mask("Control", start + seed, size=160), start + seed)
            Image.fromarray(drawn).save(tmp_path / folder / f"{seed}.png")
    out = run("evaluate_folders", tmp_path / "real", tmp_path / "synthetic", tmp_path / "report")
    assert "Do they copy patients?" in out and (tmp_path / "report" / "report.html").is_file()
