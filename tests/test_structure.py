"""The house as a whole: imports go one way and in no circle, functions are short, and a name means one thing."""

import ast
import functools
import graphlib
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
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


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(name: str, path: Path) -> Iterator[tuple[str, ast.alias, int]]:
    """(dotted name of what it is taken from, alias, level) of every `from … import`, also in functions."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((base, alias, node.level) for alias in node.names)


def imports(name: str, path: Path) -> list[tuple[str, int]]:
    """(dotted name, level) of everything that a module imports, also in functions and for types alone."""
    plain = [node.names for node in ast.walk(tree_of(path)) if isinstance(node, ast.Import)]
    found = [(alias.name, 0) for names in plain for alias in names]
    return found + [(f"{base}.{alias.name}", level) for base, alias, level in imported(name, path)]


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


@pytest.mark.parametrize(
    "work",
    [
        "import wdlora.anatomy",
        "import numpy; from wdlora.anatomy import measure; measure(numpy.eye(64, dtype=bool))",
        "from wdlora.anatomy import phantom, sample_mask; phantom(sample_mask('Control', 1, 192), 1)",
        "import numpy; from wdlora.anatomy import trace; trace(numpy.eye(128), segmenter='lines')",
    ],
    ids=["import", "measure", "phantom", "trace"],
)
def test_anatomy_loads_neither_torch_nor_matplotlib(work):
    """In a process of its own, in which nothing else was imported."""
    loaded = "import sys; print(*sorted({'torch', 'matplotlib'} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", f"{work}; {loaded}"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


# The size of functions

MOST_LINES, MOST_PARAMETERS = 60, 8
PRESCRIBING = {"torch", "comfy", "comfy_api"}
"""Packages whose classes prescribe signatures: autograd's functions, ComfyUI's nodes and weight adapters."""

_Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def prescribed(tree: ast.Module) -> set[ast.AST]:
    """Functions whose parameters another package prescribes.

    Those are methods of classes with a base from `PRESCRIBING`, and the method that runs a node of ComfyUI's first
    interface, which its attribute FUNCTION names.
    """
    origin: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0):
            module = getattr(node, "module", None)
            origin |= {(one.asname or one.name).partition(".")[0]: (module or one.name) for one in node.names}
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            bases = [origin.get(ast.unparse(base).partition(".")[0], "") for base in node.bases]
            outside = any(base.partition(".")[0] in PRESCRIBING for base in bases)
            values = [part.value for part in node.body if isinstance(part, ast.Assign) and "FUNCTION" in names_of(part)]
            run = {value.value for value in values if isinstance(value, ast.Constant)}
            found |= {part for part in node.body if isinstance(part, _Function) and (outside or part.name in run)}
    return found


def names_of(assignment: ast.Assign) -> set[str]:
    return {target.id for target in assignment.targets if isinstance(target, ast.Name)}


def too_big(name: str, tree: ast.Module) -> list[str]:
    """A sentence for every function that is too long or takes too many parameters, `self` and `cls` apart."""
    exempt, found = prescribed(tree), []
    for node in ast.walk(tree):
        if not isinstance(node, _Function):
            continue
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > MOST_LINES:
            found.append(f"{name}: {node.name} has {lines} lines")
        given = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        count = len(given) - (given[:1] in (["self"], ["cls"])) + bool(node.args.vararg) + bool(node.args.kwarg)
        if count > MOST_PARAMETERS and node not in exempt:
            found.append(f"{name}: {node.name} has {count} parameters")
    return found


def test_functions_are_short_and_take_few_parameters():
    found = [problem for name, path in HOUSE.items() for problem in too_big(name, tree_of(path))]
    assert not found, "\n".join(found)


def test_a_long_function_and_many_parameters_are_seen():
    """Also of an asynchronous function and a method; what another package prescribes is none of ours."""
    body = "    x = 1\n" * 60
    many = ", ".join(f"p{index}" for index in range(9))
    source = (
        f"import torch\nfrom comfy_api.latest import io\nasync def long():\n{body}"
        f"class Ours:\n    def wide(self, {many}): ...\n    def narrow(self, {many[4:]}): ...\n"
        f"class Node(io.ComfyNode):\n    def execute(cls, {many}): ...\n"
        f"class Loss(torch.autograd.Function):\n    def forward(ctx, {many}): ...\n"
        f"class First:\n    FUNCTION = 'go'\n    def go(self, {many}): ...\n    def other(self, {many}): ...\n"
    )
    assert sorted(too_big("m", ast.parse(source))) == [
        "m: long has 61 lines",
        "m: other has 9 parameters",
        "m: wide has 9 parameters",
    ]


# One name, one meaning

COMFYUI_NAMES = ("wdlora.host.api", "wdlora.host.core_nodes")
"""Where the embedded host calls things as ComfyUI does, which has some names twice (`PreviewImage`)."""

COMMAND = {"add_arguments", "run", "main"}
"""What every command has."""


def definitions(kinds: tuple[type, ...], modules: dict[str, Path]) -> dict[str, set[str]]:
    """The modules that define each public name at their top level; ComfyUI's names are left out."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, path in modules.items():
        for node in tree_of(path).body if not name.startswith(COMFYUI_NAMES) else ():
            if isinstance(node, kinds) and not node.name.startswith("_"):
                found[node.name].add(name)
    return found


def room(module: str) -> str:
    """What a module lies in: the folder or file just below `wdlora`, else its outermost package."""
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "wdlora" else 1])


def crossing(modules: dict[str, Path]) -> set[tuple[str, str]]:
    """(module, name) of what one room takes from another: imported by name, or asked of an imported module."""
    taken = set()
    for into, path in modules.items():
        held = {}
        for base, alias, _ in imported(into, path):
            if f"{base}.{alias.name}" in modules:
                held[alias.asname or alias.name] = f"{base}.{alias.name}"
            else:
                taken.add((base, alias.name, into))
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in held:
                taken.add((held[node.value.id], node.attr, into))
    return {(base, name) for base, name, into in taken if base in modules and room(base) != room(into)}


def twins(modules: dict[str, Path]) -> dict[str, set[str]]:
    """Functions that one room takes from another under a name that a second public function bears."""
    borne = definitions(_Function, modules)
    names = {name for base, name in crossing(modules) if base in borne[name] and len(borne[name]) > 1}
    return {name: borne[name] for name in names - COMMAND}


def listed(homes: dict[str, set[str]]) -> str:
    return "\n".join(f"{name}: {', '.join(sorted(modules))}" for name, modules in sorted(homes.items()))


def test_a_public_class_name_means_one_class():
    classes = definitions((ast.ClassDef,), HOUSE)
    double = {name: homes for name, homes in classes.items() if len(homes) > 1}
    assert len(classes) > 150
    assert not double, listed(double)


def test_a_function_that_other_rooms_take_has_a_name_of_its_own():
    assert len(crossing(HOUSE)) > 200
    double = twins(HOUSE)
    assert not double, listed(double)


def test_a_name_with_two_meanings_is_seen(tmp_path):
    """By name and through its module; what stays in its room may be called as it likes."""
    for place, content in {
        "wdlora/a/one.py": "def check(): ...\ndef load(): ...\ndef inner(): ...\ndef _own(): ...\n",
        "wdlora/a/two.py": "from .one import inner\ndef inner(): ...\n",
        "wdlora/b/one.py": "from ..a.one import check\ndef load(): ...\ndef _own(): ...\n",
        "training/use.py": "from wdlora.a import one\none.load()\ndef check(): ...\n",
    }.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(content)
    assert twins(modules_of(tmp_path, "wdlora", "training")) == {
        "check": {"wdlora.a.one", "training.use"},
        "load": {"wdlora.a.one", "wdlora.b.one"},
    }
