"""A real ComfyUI's own page in Chromium, classic and Nodes 2.0: tables in subgraphs and of lists, search, templates."""

import json
import os
import shutil
import urllib.request
from pathlib import Path

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
READY = "window.LiteGraph?.registered_node_types['CCMBiomarkers'] && window.app?.extensionManager"
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Notification.ShowVersionUpdates": False}
GRAPH = {
    "1": {"class_type": "CCMSampleMasks", "inputs": {"cohort": "Control", "count": 4, "size": 192, "seed": 3}},
    "2": {"class_type": "MaskToImage", "inputs": {"mask": ["1", 0]}},
    "3": {"class_type": "RebatchImages", "inputs": {"images": ["2", 0], "batch_size": 1}},
    "4": {"class_type": "ImageToMask", "inputs": {"image": ["3", 0], "channel": "red"}},
    "5": {"class_type": "CCMBiomarkers", "inputs": {"masks": ["4", 0], "pixel_size_um": 1.0417}},
}
MEASURING = """(() => { let graph = window.app.rootGraph ?? window.app.graph, next;
  while ((next = graph.nodes.find((node) => node.isSubgraphNode?.()))) graph = next.subgraph;
  return graph.nodes.find((node) => node.type === 'CCMBiomarkers'); })()"""


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(params=[False, True], ids=["classic", "nodes2"])
def page(browser, server, request):
    """The page with its graph cleared."""
    for name, value in (SETTINGS | {"Comfy.VueNodes.Enabled": request.param}).items():
        server.post(f"/settings/{name}", value)
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    opened = context.new_page()
    opened.goto(f"http://127.0.0.1:{server.port}", wait_until="domcontentloaded")
    opened.wait_for_function(READY, timeout=120_000)
    opened.wait_for_timeout(3000)
    opened.keyboard.press("Escape")
    yield opened
    context.close()


def shot(page, name):
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"comfyui-{name}.png"))


def test_a_list_of_four_tables_in_a_subgraph_stays_after_a_switch_of_tabs(page, request):
    """Four masks by a list: the node in the subgraph runs four times; its four tables are there, and still after."""
    graph = json.loads(json.dumps(GRAPH))
    graph["1"]["inputs"]["seed"] = 100 + request.node.callspec.params["page"]
    page.evaluate("(graph) => window.app.loadApiJson(graph, 'four')", graph)
    page.wait_for_function("window.app.graph._nodes.length == 5", timeout=30_000)
    page.evaluate(
        "() => { const graph = window.app.graph;"
        " graph.convertToSubgraph(new Set(graph.nodes.filter((n) => ['4', '5'].includes(String(n.id))))); }"
    )
    page.evaluate("window.app.queuePrompt(0)")
    pages = f"({MEASURING}?.ccmPanel?.parentElement?.textContent ?? '')"
    page.wait_for_function(f"{pages}.includes('1 of 4') && {pages}.includes('CNFL')", timeout=120_000)
    before = page.evaluate(pages)

    page.evaluate("window.app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    page.wait_for_function("window.app.graph._nodes.length == 0", timeout=30_000)
    page.wait_for_timeout(500)
    page.evaluate("window.app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    page.wait_for_function(f"{pages}.includes('1 of 4')", timeout=30_000)
    assert page.evaluate(pages) == before
    page.evaluate(f"window.app.canvas.setGraph({MEASURING}.graph)")
    page.wait_for_timeout(1500)
    page.locator(".ccm-table-pages").get_by_role("button", name="next").click()
    page.locator(".ccm-table-pages").get_by_text("2 of 4").wait_for(timeout=10_000)
    shot(page, f"list-in-subgraph-{request.node.callspec.id}")


def test_load_lora_finds_the_node_that_applies_adapters(page, request):
    """Among all of ComfyUI's own nodes it is in the part of the list that is seen without scrolling."""
    page.evaluate("window.app.graph.clear()")
    for _ in range(10):  # a page that is still busy with its start does not hear the first ones
        page.mouse.dblclick(1000, 700)
        page.wait_for_timeout(2000)
        if page.evaluate("document.activeElement.tagName") == "INPUT":
            break
    page.keyboard.type("load lora")
    named = "[...document.querySelectorAll('*')].filter((one) => one.textContent.trim() === 'WDLoRA Apply (Load LoRA)')"
    page.wait_for_function(f"{named}.length", timeout=60_000)
    page.wait_for_timeout(1000)
    shot(page, f"search-{request.node.callspec.id}")
    assert page.evaluate(f"Math.min(...{named}.map((one) => one.getBoundingClientRect().y))") < 700


def test_every_template_is_served(server):
    names = server.get("/workflow_templates")["wdlora-ccm"]
    for name in names:
        for suffix in ("json", "jpg"):
            url = f"http://127.0.0.1:{server.port}/api/workflow_templates/wdlora-ccm/{name}.{suffix}"
            with urllib.request.urlopen(url, timeout=30) as answer:
                assert answer.status == 200
