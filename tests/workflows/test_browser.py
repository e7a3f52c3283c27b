"""The shipped workflows in the real front end, classic and Nodes 2.0: dropped, converted, run, and still there after a
switch of tabs. Screenshots are kept in build/screenshots."""

import json

import pytest

from tests.host.test_browser import DROP, TO_PROMPT, browser, page, server  # noqa: F401

from .conftest import NAMES, ROOT, api, ui

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TABLES = "[...document.querySelectorAll('.ccm-table td')].filter((cell) => cell.innerText.startsWith('CNFL')).length"
PICTURES = "Object.values(window.app.nodeOutputs).filter((output) => output.images?.length).length"
LISTEN = """() => {
  window.seen = {};
  for (const kind of ['progress', 'progress_state', 'executed', 'b_preview', 'execution_error'])
    window.app.api.addEventListener(kind, () => { window.seen[kind] = (window.seen[kind] ?? 0) + 1; });
}"""
FIT = "window.app.extensionManager.command.execute('Comfy.Canvas.FitView')"


def keep(page, name):  # noqa: F811
    folder = ROOT / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(folder / f"{name}.png"))


def drop(page, flow):  # noqa: F811
    page.evaluate(DROP, json.dumps(flow))
    page.wait_for_function(f"window.app.graph.id == '{flow['id']}'", timeout=30_000)
    page.wait_for_function(f"window.app.graph._nodes.length == {len(flow['nodes'])}", timeout=30_000)
    page.wait_for_timeout(500)


def test_every_workflow_is_dropped_and_converted(page, request):  # noqa: F811
    renderer = request.node.callspec.params["page"]
    for name in NAMES:
        drop(page, ui(name))
        unknown = "window.app.graph._nodes.filter((n) => !window.LiteGraph.registered_node_types[n.type]).length"
        assert page.evaluate(unknown) == 0
        assert page.get_by_text("Missing Node").count() == 0
        assert json.loads(page.evaluate(TO_PROMPT)) == api(name), name
        if name == "ccm_synthesis":  # what is missing is named, with where it belongs
            page.get_by_text("View details").first.click()
            for text in ("qwen_image_edit_2511_bf16.safetensors", "qwen_image_vae.safetensors", "diffusion_models"):
                page.get_by_text(text).first.wait_for(timeout=10_000)
        keep(page, f"{name}-{'nodes2' if renderer else 'classic'}")


def test_quickstart_runs_and_stays(page, request):  # noqa: F811
    renderer = "nodes2" if request.node.callspec.params["page"] else "classic"
    flow = ui("quickstart_cpu")
    for node in flow["nodes"]:
        if node["type"] == "CCMSampleMasks":
            node["widgets_values"][2] = 128
            node["widgets_values"][3] = 11 if renderer == "classic" else 12  # nothing is cached for the second one
        if node["type"] == "KSampler":
            node["widgets_values"][2] = 4
    drop(page, flow)
    page.evaluate(LISTEN)
    page.get_by_test_id("queue-button").first.click()
    page.wait_for_function(f"{PICTURES} >= 2", timeout=240_000)
    page.wait_for_function(f"{TABLES} >= 2", timeout=30_000)
    seen = page.evaluate("window.seen")
    assert seen.get("execution_error") is None
    assert seen["progress"] >= 4 and seen["progress_state"] >= 4 and seen["b_preview"] >= 1 and seen["executed"] >= 4
    page.evaluate(FIT)
    page.wait_for_timeout(1500)
    keep(page, f"quickstart-done-{renderer}")

    page.evaluate("window.app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    page.wait_for_function("window.app.graph._nodes.length == 0")
    page.wait_for_timeout(300)
    page.evaluate("window.app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    page.wait_for_function(f"window.app.graph._nodes.length == {len(flow['nodes'])}", timeout=20_000)
    page.wait_for_function(f"{TABLES} >= 2", timeout=20_000)
    page.wait_for_function(f"{PICTURES} >= 2", timeout=20_000)
    page.wait_for_timeout(1000)
    keep(page, f"quickstart-switched-{renderer}")
