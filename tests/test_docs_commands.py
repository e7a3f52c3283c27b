"""Every command that the documentation prints exists with all its options; the cheap ones run as they are printed."""

import importlib
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from tests.small_model import one_thread as one_thread
from training.__main__ import main as training
from wdlora.adapter import Adapter, AdapterLayer, Metadata
from wdlora.anatomy import phantom, sample_mask
from wdlora.cli import main as wdlora

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "web" / "docs").glob("*.md")])
MAINS = {"wdlora": wdlora, "training": training}
PRINTED = re.compile(r"python -m (wdlora|training) ([a-z][a-z0-9-]*)\b([^`\n|]*)")

ADAPTER, BASE = "ccm.safetensors", "qwen_image_edit_bf16.safetensors"
CHEAP = [
    "measure image.png --image --pixel-size-um 1.0417 --overlay out",
    "measure images/* --image --pixel-size-um hrt --roster roster.csv --patients table.csv",
    "validate-tracing annotated --pixel-size-um 1.0417",
    "evaluate --real held_out --synthetic painted --pixel-size-um 1.0417 --out report",
    "sample-masks --cohort T1DPN --count 100 --seed 1 --out masks --phantoms",
    "import-dataset export --write-settings export.toml",
    "import-dataset DIR --write-settings settings.toml",
    "accept-masks my-data",
    "pseudonymise ComfyUI/output/study --names patients.txt",
    "pseudonymise ComfyUI/output/study --check",
    "pseudonymise --list ComfyUI/input",
    f"inspect {ADAPTER} --base {BASE} --plot ccm.png",
    f"convert {ADAPTER} ccm_comfyui.safetensors --to comfyui --base {BASE}",
    "doctor",
]
"""Commands of `wdlora` as the documentation prints them, in an order in which each finds what it needs."""

SHORTER = {"--count 100": "--count 2"}
"""What a test makes less of."""

WRITES = {
    "measure image.png": "out",
    "measure images/*": "table.csv",
    "evaluate": "report/report.html",
    "sample-masks": "masks/dataset.csv",
    "import-dataset export": "export.toml",
    "import-dataset DIR": "settings.toml",
    "inspect": "ccm.png",
    "convert": "ccm_comfyui.safetensors",
}
"""What is there after a command that begins so."""


def printed() -> list[tuple[str, str, str, str]]:
    """Page, program, command and arguments of every command in the documentation, without comments."""
    found = []
    for page in PAGES:
        for program, command, rest in PRINTED.findall(page.read_text(encoding="utf-8")):
            arguments = re.split(r"\s#|\s>|\.\s|[.,;:)]$", rest)[0]
            found.append((page.relative_to(ROOT).as_posix(), program, command, arguments.strip()))
    return found


def help_of(program: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> str | None:
    """What `--help` prints; None where there is no such command."""
    commands = importlib.import_module("wdlora.cli" if program == "wdlora" else "training.__main__").COMMANDS
    if words[0] not in commands:
        return None
    with pytest.raises(SystemExit):
        MAINS[program]([*words, "--help"])
    return capsys.readouterr().out


def test_every_printed_command_and_option_exists(capsys):
    texts: dict[tuple[str, ...], str | None] = {}
    unknown = []
    for page, program, command, arguments in printed():
        parts = [word for word in arguments.split()[:1] if command == "peers"]  # it has commands of its own
        key = (program, command, *parts)
        if key not in texts:
            texts[key] = help_of(program, [command, *parts], capsys)
        text = texts[key]
        options = re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", arguments)
        lost = [option for option in options if text and not re.search(re.escape(option) + r"(?![\w-])", text)]
        if text is None or lost:
            unknown.append((page, program, command, lost))
    assert unknown == [] and len(printed()) > 60


def test_the_cheap_commands_are_printed():
    lines = {f"{command} {arguments}".strip() for _, program, command, arguments in printed() if program == "wdlora"}
    assert [line for line in CHEAP if line not in lines] == []


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what the pages' commands read, by the pages' names."""
    place = tmp_path_factory.mktemp("docs")
    sets = {"held_out": (0, 160), "painted": (20, 160), "annotated/images": (40, 160), "images": (60, 384)}
    for folder, (seed, size) in sets.items():
        (place / folder).mkdir(parents=True)
        for number in range(8 if size == 160 else 2):
            drawn = sample_mask("Control", seed + number, size=size)
            Image.fromarray(phantom(drawn, number)).save(place / folder / f"{number}.png")
            if folder.startswith("annotated"):
                (place / "annotated" / "masks").mkdir(exist_ok=True)
                Image.fromarray(drawn.mask.astype(np.uint8) * 255).save(place / "annotated/masks" / f"{number}.png")
    Image.open(place / "images" / "0.png").save(place / "image.png")
    (place / "roster.csv").write_text("file,patient\n0.png,Meier\n1.png,Meier\n")
    an_export(place / "export")
    an_export(place / "DIR")
    imported(place / "export", place / "my-data")
    a_picture(place / "ComfyUI")
    (place / "patients.txt").write_text("Meier\n")
    an_adapter(place)
    return place


def an_export(root: Path) -> None:
    """Three patients' images with masks beside them, and a list with its own columns and labels."""
    root.mkdir()
    lines = ["Datei;Pat-ID;Auge;Datum;Gruppe"]
    for number, (label, cohort) in enumerate((("HC", "Control"), ("DM-", "T1NoDPN"), ("DM+", "T1DPN"))):
        drawn = sample_mask(cohort, number)
        Image.fromarray(phantom(drawn, 1)).save(root / f"Meier{number}.bmp")
        Image.fromarray(drawn.mask.astype(np.uint8) * 255).save(root / f"Meier{number}_nervemask.bmp")
        lines.append(f"Meier{number}.bmp;Meier {number};OD;03.02.2024;{label}")
    (root / "list.csv").write_text("\n".join(lines) + "\n")


def imported(export: Path, out: Path) -> None:
    """The export as a data set."""
    told = ["--pixel-size-um", "hrt", "--mask-suffix", "_nervemask", "--roster", str(export / "list.csv")]
    told += ["--columns", "file=Datei,patient=Pat-ID,eye=Auge,visit=Datum,cohort=Gruppe"]
    told += ["--labels", "HC=Control,DM-=T1NoDPN,DM+=T1DPN", "--out", str(out)]
    assert wdlora(["import-dataset", str(export), *told]) == 0


def a_picture(comfyui: Path) -> None:
    """A picture that ComfyUI saved of an input file with a telltale name."""
    (comfyui / "input").mkdir(parents=True)
    (comfyui / "output" / "study").mkdir(parents=True)
    Image.new("L", (8, 8)).save(comfyui / "input" / "Meier_OD.png")
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "Meier_OD.png"}}}
    text = PngInfo()
    text.add_text("prompt", json.dumps(graph))
    Image.new("L", (8, 8)).save(comfyui / "output" / "study" / "a.png", pnginfo=text)


def an_adapter(place: Path) -> None:
    """An adapter of two layers and its base."""
    generator = torch.Generator().manual_seed(1)
    base, layers = {}, {}
    for target in ("to_q", "to_v"):
        name = f"transformer_blocks.0.attn.{target}"
        weight = torch.randn(12, 8, generator=generator)
        base[f"{name}.weight"] = weight
        low, high = torch.randn(2, 8, generator=generator), 0.2 * torch.randn(12, 2, generator=generator)
        layers[name] = AdapterLayer(low, high, 1.02 * weight.norm(dim=1), 2.0)
    save_file(base, place / BASE)
    Adapter(layers, Metadata(preset="paper-r8", prompt_version="1")).save(place / ADAPTER, base=place / BASE)


@pytest.mark.parametrize("line", CHEAP, ids=lambda line: " ".join(line.split()[:3]))
def test_a_cheap_command_runs_as_it_is_printed(line, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(place))  # where pseudonymise makes its key
    given = [argument for text in shlex.split(shortened(line)) for argument in globbed(text)]
    assert wdlora(given) == 0, capsys.readouterr().err
    written = [path for start, path in WRITES.items() if line.startswith(start)]
    assert all((place / path).exists() for path in written)


def shortened(line: str) -> str:
    """With less work in it."""
    for long, short in SHORTER.items():
        line = line.replace(long, short)
    return line


def globbed(text: str) -> list[str]:
    """What a shell makes of an argument, in the current folder."""
    return sorted(str(path) for path in Path().glob(text)) if "*" in text else [text]
