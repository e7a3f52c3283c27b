"""Units of the biomarkers stand in one place, which costs nothing to import."""

import ast
import subprocess
import sys
from pathlib import Path

from wdlora.anatomy.biomarkers.units import UNITS

ROOT = Path(__file__).parents[3]
HOME = "wdlora/anatomy/biomarkers/units.py"


def labelled_units(path):
    """Texts of a program that are a unit of area, or a label of a word before one."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        words = node.value.split() if isinstance(node, ast.Constant) and isinstance(node.value, str) else []
        if 1 <= len(words) <= 2 and words[-1].endswith("/mm²"):
            found.append(node.value)
    return found


def test_no_table_writes_the_units_again():
    assert labelled_units(ROOT / HOME) == [unit for unit in UNITS.values() if unit.endswith("/mm²")]
    files = [path for folder in ("nodes", "wdlora") for path in (ROOT / folder).rglob("*.py")]
    again = {path.relative_to(ROOT).as_posix(): labelled_units(path) for path in files}
    assert {path: found for path, found in again.items() if found and path != HOME} == {}


def test_units_come_without_what_measures():
    code = "import sys, wdlora.anatomy.biomarkers.units; sys.exit(bool({'numpy', 'scipy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
