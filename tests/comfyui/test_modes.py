"""Nodes bypassed, muted and in subgraphs, set on the page of a real ComfyUI: what the page sends is painted the same by
both hosts."""

import json
from typing import Any

import numpy as np
import pytest

from .test_front_end import FLAGS, READY, SETTINGS
from .test_parity import comfy as comfy
from .test_parity import graph, in_comfyui_graph, in_embedded_graph
from .test_parity import host as host

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BYPASS, MUTE = 4, 2
NODES = "window.app.graph.nodes"
TO_PROMPT = "async () => JSON.stringify((await window.app.graphToPrompt()).output)"
OF_KIND = f"(kind) => {NODES}.find((node) => node.type === kind)"
CHANGES: dict[str, str] = {
    "adapter bypassed": f"({OF_KIND})('WDLoRAApply').mode = {BYPASS}",
    "CFG Norm and a grown mask bypassed": f"for (const k of ['CFGNorm', 'GrowMask']) ({OF_KIND})(k).mode = {BYPASS}",
    "measuring muted": f"for (const k of ['CCMTrace', 'CCMBiomarkers']) ({OF_KIND})(k).mode = {MUTE}",
    "mask in a subgraph": "fold(['LoadImageMask', 'GrowMask'])",
    "model in a subgraph, its adapter bypassed": f"({OF_KIND})('WDLoRAApply').mode = {BYPASS};"
    " fold(['WDLoRAApply', 'ModelSamplingAuraFlow', 'CFGNorm'])",
    "a subgraph in a subgraph": "fold(['LoadImageMask', 'GrowMask']);"
    f" {NODES}.find((node) => node.isSubgraphNode?.()).selected = true;"
    f" window.app.graph.convertToSubgraph(new Set({NODES}.filter((n) => n.isSubgraphNode?.()"
    " || n.type === 'CCMConditioning')))",
}
FOLD = (
    "const fold = (kinds) => window.app.graph.convertToSubgraph("
    f"new Set({NODES}.filter((node) => kinds.includes(node.type))));"
)


def measured() -> dict[str, Any]:
    """A painting with an adapter and a grown mask, traced and measured."""
    nodes = graph(adapter=(1.0, 1.0))
    grown = {"mask": ["mask", 0], "expand": 1, "tapered_corners": True}
    nodes["grow"] = {"class_type": "GrowMask", "inputs": grown}
    nodes["condition"]["inputs"]["mask"] = ["grow", 0]
    traced = {"images": ["decode", 0], "pixel_size_um": 1.0417, "segmenter": "lines", "detail": "annotated"}
    nodes["trace"] = {"class_type": "CCMTrace", "inputs": traced}
    nodes["measure"] = {"class_type": "CCMBiomarkers", "inputs": {"masks": ["trace", 0], "pixel_size_um": 1.0417}}
    numbers = {name: str(number) for number, name in enumerate(nodes, 1)}  # the page wants numbers

    def renamed(value: Any) -> Any:
        return [numbers[value[0]], value[1]] if isinstance(value, list) else value

    return {
        numbers[name]: {**node, "inputs": {key: renamed(value) for key, value in node["inputs"].items()}}
        for name, node in nodes.items()
    }


@pytest.fixture(scope="module")
def page(comfy):
    import shutil

    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine")
    for name, value in SETTINGS.items():
        comfy.post(f"/settings/{name}", value)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=FLAGS)
        opened = started.new_page()
        opened.goto(f"http://127.0.0.1:{comfy.port}", wait_until="domcontentloaded")
        opened.wait_for_function(READY, timeout=240_000)
        opened.wait_for_timeout(3000)
        yield opened
        started.close()


def sent(page: Any, change: str) -> dict[str, Any]:
    """What the page sends of `measured` after a change."""
    page.evaluate("window.app.graph.clear()")
    page.evaluate("(graph) => window.app.loadApiJson(graph, 'measured')", measured())
    page.wait_for_function(f"{NODES}.length == {len(measured())}", timeout=60_000)
    page.evaluate(f"() => {{ {FOLD} {change}; }}")
    return json.loads(page.evaluate(TO_PROMPT))


def picture(shown: dict[str, np.ndarray]) -> np.ndarray:
    """The one that was saved."""
    (found,) = [value for value in shown.values() if value.shape[1:3] == (64, 96)]
    return found


@pytest.mark.parametrize("name", CHANGES)
def test_what_the_page_sends_is_painted_by_both_hosts(page, comfy, host, figures, name):
    prompt = sent(page, CHANGES[name])
    kinds = [node["class_type"] for node in prompt.values()]
    assert ("WDLoRAApply" in kinds) == ("adapter bypassed" not in name)
    assert ("GrowMask" in kinds) == ("grown mask bypassed" not in name)
    assert ("CCMBiomarkers" in kinds) == ("muted" not in name)
    assert any(":" in id for id in prompt) == ("subgraph" in name)
    assert sum(id.count(":") == 2 for id in prompt) == (2 if name == "a subgraph in a subgraph" else 0)
    greys = int(np.abs(only(comfy, prompt) - picture(in_embedded_graph(host, saving(prompt)))).max())
    figures(f"page: {name}", greys)
    assert greys <= 1


def saving(prompt: dict[str, Any]) -> dict[str, Any]:
    """Without the nodes that measure, whose outputs hold tables and no picture."""
    return {id: node for id, node in prompt.items() if node["class_type"] not in ("CCMBiomarkers", "CCMTrace")}


def only(comfy: Any, prompt: dict[str, Any]) -> np.ndarray:
    """What ComfyUI paints of it."""
    return picture(in_comfyui_graph(comfy, saving(prompt)))
