"""What the pack adds to ComfyUI's start: its door, every node file, every schema; each time in a fresh process.

The host's own modules and PyTorch are imported before the clock starts, as ComfyUI has done by then. No ComfyUI is
needed: the embedded host's interface stands in for it. `tests/comfyui/test_server.py` times the same in a real one.
"""

import statistics
import subprocess
import sys

from benchmarks.timing import table

TITLE = "What the pack adds to ComfyUI's start"
ROUNDS = 7
LIMIT_MS = 150
HEAVY = ("torch", "scipy", "skimage", "matplotlib", "transformers", "diffusers", "peft")
CODE = """
import sys, tempfile, time
import aiohttp, numpy, PIL.Image, torch
import asyncio
import wdlora.host
from wdlora.host import folders, pack
wdlora.host.install_api()
folders.open_folders(folders.Folders(tempfile.mkdtemp()))
before = set(sys.modules)
start = time.perf_counter()
entry = pack.load_pack().comfy_entrypoint
door = time.perf_counter()
classes = asyncio.run(asyncio.run(entry()).get_node_list())
nodes = time.perf_counter()
for one in classes:
    one.GET_SCHEMA()
schemas = time.perf_counter()
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(door - start, nodes - door, schemas - nodes, len(classes), ",".join(sorted(new & set(HEAVY))) or "none")
"""


def run() -> str:
    """Medians over fresh processes as a Markdown table."""
    rows: list[list[float]] = []
    heavy, count = "none", "0"
    for _ in range(ROUNDS):
        code = f"HEAVY = {HEAVY!r}\n{CODE}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        door, nodes, schemas, count, heavy = done.stdout.split()
        rows.append([float(door), float(nodes), float(schemas)])
    steps = [*zip(*rows, strict=True), [sum(row) for row in rows]]
    names = ["the door (`__init__.py`)", f"{count} node classes", "their schemas", "together"]
    body = [
        [name, f"{1000 * statistics.median(step):.1f}", f"{1000 * min(step):.1f}"]
        for name, step in zip(names, steps, strict=True)
    ]
    return (
        table(["step", "median, ms", "fastest, ms"], body)
        + f"\n\n{ROUNDS} fresh processes; at most {LIMIT_MS} ms are allowed. Heavy packages imported by it: {heavy}."
    )
