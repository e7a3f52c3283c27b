"""`wdlora doctor`: what it finds, what it misses, and that it names no user."""

import json
import shutil
from pathlib import Path

import pytest

from wdlora import installation
from wdlora.cli import main
from wdlora.qwen import miniature_files

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder with a ComfyUI 0.33.0 where comfy-cli puts it, which has the pack and one model file."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delenv("COMFYUI_DIR", raising=False)
    comfyui = tmp_path / "comfy" / "ComfyUI"
    (comfyui / "custom_nodes").mkdir(parents=True)
    (comfyui / "main.py").touch()
    (comfyui / "comfyui_version.py").write_text('__version__ = "0.33.0"\n', encoding="utf-8")
    (comfyui / "custom_nodes" / "wdlora-ccm").symlink_to(ROOT, target_is_directory=True)
    vae = comfyui / "models" / "vae" / "sub" / "qwen_image_vae.safetensors"
    vae.parent.mkdir(parents=True)
    vae.write_bytes(b"x" * 1000)
    return tmp_path


def printed(capsys, *arguments):
    status = main(["doctor", *arguments])
    return status, capsys.readouterr().out


def test_as_json(home, capsys):
    status, out = printed(capsys, "--json")
    values = json.loads(out)
    assert status == 0 and values["miniature"] and values["missing"]["nodes"] == []
    assert values["comfyui"] == {
        "folder": "~/comfy/ComfyUI",
        "version": "0.33.0",
        "needed": "0.33.0",
        "new_enough": True,
        "has_pack": True,
    }
    assert values["models"]["found"] == {"qwen_image_vae.safetensors": 1000}
    assert values["models"]["missing"]["qwen_image_edit_2511_bf16.safetensors"] == "diffusion_models"
    assert values["models"]["missing"]["ccm.safetensors"] == "loras"
    assert str(home) not in out


def test_ten_lines(home, capsys):
    status, out = printed(capsys)
    assert status == 0 and out.count("\n") == 10
    assert "0.33.0 in ~/comfy/ComfyUI" in out and "complete for nodes and commands" in out


def test_an_older_comfyui_and_none(home, capsys):
    (home / "comfy" / "ComfyUI" / "comfyui_version.py").write_text('__version__ = "0.3.64"\n', encoding="utf-8")
    assert "0.3.64 in ~/comfy/ComfyUI: too old, 0.33.0 or newer is needed" in printed(capsys)[1]
    shutil.rmtree(home / "comfy")
    assert "not found in the usual places" in printed(capsys)[1]
    assert main(["doctor", "--comfyui", str(home)]) == 2
    assert "there is no ComfyUI in" in capsys.readouterr().err
    assert main(["doctor", "--models", str(home / "nowhere")]) == 2


def test_a_missing_package_is_named_with_its_extra(home, capsys, monkeypatch):
    version = installation._version
    monkeypatch.setattr(installation, "_version", lambda name: None if name == "pydicom" else version(name))
    status, out = printed(capsys)
    assert status == 0 and "DICOM lacks pydicom (pip install pydicom)" in out
    monkeypatch.setattr(installation, "_version", lambda name: None if name == "peft" else version(name))
    status, out = printed(capsys)
    assert status == 1 and "nodes and commands lacks peft (install requirements.txt)" in out


def test_a_damaged_miniature(home, capsys, monkeypatch, tmp_path):
    copy = tmp_path / "miniature"
    shutil.copytree(miniature_files.FOLDER, copy)
    monkeypatch.setattr(miniature_files, "FOLDER", copy)
    assert printed(capsys)[0] == 0
    with open(copy / "qwen_image_miniature_vae.safetensors", "r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))
    status, out = printed(capsys)
    assert status == 1 and "damaged or missing" in out


@pytest.mark.parametrize(
    ("version", "enough"),
    [("0.33.0", True), ("0.33.1+cpu", True), ("0.4.0", False), ("1.0", True), ("", None), ("unknown", None)],
)
def test_versions_are_compared_as_numbers(version, enough):
    assert installation.at_least(version, "0.33.0") is enough
