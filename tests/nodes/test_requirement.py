"""The pack on a ComfyUI that is too old, and what it tells the registry about itself."""

import re
import sys
import tomllib
import types
from pathlib import Path
from xml.etree import ElementTree

import pytest

from wdlora.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def requirement(run):  # a host, so that the pack is loaded
    import wdlora_pack.nodes.requirement as module

    return module


@pytest.mark.parametrize(
    ("version", "fits"),
    [("0.3.64", False), ("0.32.9", False), ("0.33.0", True), ("0.33.0+cpu", True), ("0.100.0", True), ("1.0.0", True)],
)
def test_versions(requirement, monkeypatch, version, fits):
    """Numbers are compared as numbers: 0.100 is newer than 0.33."""
    module = types.ModuleType("comfyui_version")
    module.__version__ = version
    monkeypatch.setitem(sys.modules, "comfyui_version", module)
    if fits:
        requirement.check_comfyui()
        return
    with pytest.raises(InputError, match=rf"needs ComfyUI 0\.33\.0 or newer, this is {re.escape(version)}"):
        requirement.check_comfyui()


def test_the_door_refuses_before_a_node_is_imported(requirement, monkeypatch):
    import wdlora_pack.nodes

    module = types.ModuleType("comfyui_version")
    module.__version__ = "0.3.64"
    monkeypatch.setitem(sys.modules, "comfyui_version", module)
    with pytest.raises(InputError, match="update ComfyUI"):
        wdlora_pack.nodes.extension()


def test_without_comfyui_nothing_is_checked(requirement, monkeypatch):
    monkeypatch.setitem(sys.modules, "comfyui_version", None)
    requirement.check_comfyui()


def test_registry_metadata(requirement):
    """What the Comfy registry asks of pyproject.toml, and that every place names the same oldest ComfyUI."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, comfy = table["project"], table["tool"]["comfy"]
    assert re.fullmatch(r"[a-z](?:[._-]?[a-z0-9]){0,98}", project["name"]) and "comfyui" not in project["name"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert project["license"] == "Apache-2.0" and project["description"]
    assert re.fullmatch(r">=3\.\d+", project["requires-python"]) and "dependencies" in project
    assert re.fullmatch(r"https://[\w.-]+/[\w.-]+/[\w.-]+", project["urls"]["Repository"])
    assert set(comfy) == {"PublisherId", "DisplayName", "Icon", "requires-comfyui"}
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", comfy["PublisherId"]) and comfy["DisplayName"]
    icon = comfy["Icon"]
    assert icon.startswith(project["urls"]["Repository"]) and icon.endswith((".svg", ".png", ".jpg", ".gif"))
    drawing = ElementTree.parse(ROOT / icon.split("/raw/main/")[1]).getroot()
    assert drawing.tag.endswith("svg") and int(drawing.get("width")) <= 800 and int(drawing.get("height")) <= 400
    oldest = ".".join(map(str, requirement.OLDEST))
    assert comfy["requires-comfyui"] == f">={oldest}"
    assert f"ComfyUI {oldest}" in (ROOT / "docs" / "reference" / "compatibility.md").read_text(encoding="utf-8")


def test_what_comfyui_installs_is_what_its_nodes_need():
    """requirements.txt, which ComfyUI's manager installs, names packages that are dependencies of the project."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    assert wanted and wanted <= set(table["project"]["dependencies"])
    assert {re.split(r"[<>=!~ ]", line)[0] for line in wanted} == {
        "lazy-loader",
        "scikit-image",
        "tifffile",
        "matplotlib",
    }  # none that ComfyUI has
