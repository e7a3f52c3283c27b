"""The first page of docs/guides/training.md on a hospital's export: from 220 files to a painted picture."""

import csv
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.hospital_export import NAMES, export, export_next_year
from tests.small_model import one_thread as one_thread
from tests.training.runs import SMALL
from training.__main__ import main as training
from wdlora.cli import main as wdlora
from wdlora.dataset.folder import read_folder

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guides" / "training.md").read_text(encoding="utf-8")
FEW = SMALL | {"steps": 2, "validation_share": 0.05, "test_share": 0.05}
QUICK = {
    "finetune": ["--device", "cpu", "--set", *(f"{key}={value}" for key, value in FEW.items())],
    "run": ["--device", "cpu", "--set", "CCM Sample Masks.size=96", "--set", "KSampler.steps=2"],
}
"""What is added to the page's commands, so that they take seconds."""


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def commands():
    """The lines of the page's first block of commands."""
    return [line for line in blocks("sh")[0].splitlines() if not line.startswith("#")]


def execute(line):
    """One line of the page: this project's commands in this process, others in a shell; returns the status."""
    words = shlex.split(line)
    if words[:2] == ["python", "-m"]:
        command = {"wdlora": wdlora, "training": training}[words[2]]
        return command([*words[3:], *QUICK.get(words[3], [])])
    return subprocess.run(line.replace("python", shlex.quote(sys.executable), 1), shell=True).returncode


def corrected(guessed):
    """A settings file with what the page says in the place of each ?; the pictures here are no 384 × 384."""
    (said,) = blocks("toml")
    for line in said.replace('"hrt"', "1.0417").splitlines():
        name = line.partition(" = ")[0]
        guessed = re.sub(rf"^{re.escape(name)} = \"\?\".*", line, guessed, count=1, flags=re.MULTILINE)
    return guessed


@pytest.fixture
def hospital(tmp_path, monkeypatch):
    export(tmp_path / "export")
    export_next_year(tmp_path / "export-2")
    (tmp_path / "workflows").symlink_to(ROOT / "workflows")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parts(run):
    """Part by patient."""
    with open(Path("runs") / run / "split.csv", encoding="utf-8") as file:
        return {row["patient"]: row["part"] for row in csv.DictReader(file)}


@pytest.mark.slow
def test_the_first_page_from_files_to_a_picture(hospital, capsys):
    before = {path: path.stat().st_mtime_ns for path in hospital.rglob("export*/**/*")}
    lines = commands()
    assert [line.split()[2:4] for line in lines if line.startswith("python -m")] == [
        *[["wdlora", "import-dataset"]] * 3,
        *[["training", "finetune"], ["wdlora", "run"], ["wdlora", "import-dataset"], ["training", "finetune"]],
    ]
    for line in lines:
        assert execute(line) == 0, line
        if "--write-settings" in line:
            guessed = Path("export.toml").read_text(encoding="utf-8")
            open_ones = re.findall(r"^(\S+) = \"\?\"", guessed, re.MULTILINE)
            assert open_ones == ["pixel_size_um", '"DM+"', '"DM−"', '"HC"']
            Path("export.toml").write_text(corrected(guessed), encoding="utf-8")
    out, err = capsys.readouterr()
    assert "110 images would be taken, 0 files left out; nothing was written" in out
    assert "110 images written of 55 patients: my-data (layout own)" in out
    assert (
        "49 patients for training, 3 for validation, 3 for the test; each in one part. They are encoded first." in err
    )
    assert re.search(r"On the test: Dice 0\.\d{3} of traced pictures and masks, CNFL error [+-][\d.]+ mm/mm²", out)
    assert "Every figure: runs/first/README.md, pictures: runs/first/sheets" in out

    first, second = parts("first"), parts("second")
    assert Counter(first.values()) == {"train": 49, "validation": 3, "test": 3}
    people = {record.patient for record in read_folder("more-data")}
    assert len(people) == 21 and len(people & first.keys()) == 15 and len(second) == 61
    assert all(second[one] == part for one, part in first.items())
    sizes = {path.name: Image.open(path).size for path in Path("pictures").rglob("*.png")}
    assert sizes and set(sizes.values()) == {(96, 96)}
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for place in ("my-data", "more-data", "runs", "pictures", "wdlora-data"):
        for path in (path for path in Path(place).rglob("*") if path.is_file()):
            told = path.read_bytes() + path.as_posix().encode()
            assert not any(name.encode() in told for name in NAMES), path
