"""Imports go one way: nodes → wdlora ← training, ComfyUI's modules in one room, and never in a circle."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def modules_of(root: Path, *folders: str) -> dict[str, Path]:
    """Every module below the folders by its dotted name."""
    found = {}
    for path in sorted(path for folder in folders for path in (root / folder).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path) -> list[tuple[str, int]]:
    """(dotted name, level) of everything that a module imports, also in functions and for types alone."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found += [(f"{base}.{alias.name}", node.level) for alias in node.names]
    return found


def graph_of(modules: dict[str, Path]) -> dict[str, set[str]]:
    """Which of the modules each imports; a name that is no module stands for the module that holds it."""
    edges = {}
    for name, path in modules.items():
        asked = {target if target in modules else target.rpartition(".")[0] for target, _ in imports(name, path)}
        edges[name] = (asked & modules.keys()) - {name}
    return edges


HOUSE = modules_of(ROOT, "nodes", "wdlora", "training", "tools", "benchmarks")


def test_no_import_goes_in_a_circle():
    assert len(HOUSE) > 150
    graphlib.TopologicalSorter(graph_of(HOUSE)).prepare()  # raises CycleError, which names the circle


def test_a_circle_is_seen(tmp_path):
    """Also one that is hidden in a function, and goes through a package's front."""
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "__init__.py").write_text("from .one import a\n")
    (tmp_path / "room" / "one.py").write_text("def f():\n    from . import two\n")
    (tmp_path / "room" / "two.py").write_text("from . import a\n")
    with pytest.raises(graphlib.CycleError) as told:
        graphlib.TopologicalSorter(graph_of(modules_of(tmp_path, "room"))).prepare()
    assert set(told.value.args[1]) == {"room", "room.one", "room.two"}


def test_rooms_know_only_what_is_below_them():
    barred = {"wdlora": {"nodes", "training", "comfy", "benchmarks"}, "nodes": {"training"}, "training": {"nodes"}}
    for name, path in HOUSE.items():
        tops = {target.partition(".")[0] for target, _ in imports(name, path)}
        assert not tops & barred.get(name.partition(".")[0], set()), name
        assert "comfy" not in tops or name.startswith("nodes.comfyui."), name


def test_the_library_works_under_any_parent():
    """ComfyUI imports the pack under the name of its folder, so `wdlora` speaks of itself by relative imports alone."""
    for name, path in HOUSE.items():
        if name.startswith(("wdlora", "nodes")) and name != "wdlora.__main__":
            absolute = [target for target, level in imports(name, path) if not level]
            assert not any(target.partition(".")[0] in ("wdlora", "nodes") for target in absolute), name
