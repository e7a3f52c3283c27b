"""The real front end in Debian's Chromium, classic and Nodes 2.0: drop a workflow, run it, see what came of it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
READY = "window.LiteGraph?.registered_node_types['CCMBiomarkers'] && window.app?.extensionManager"
DROP = """(text) => {
  const data = new DataTransfer();
  data.items.add(new File([text], 'workflow.json', {type: 'application/json'}));
  const canvas = document.querySelector('canvas#graph-canvas');
  for (const name of ['dragenter', 'dragover', 'drop'])
    canvas.dispatchEvent(new DragEvent(name,
      {bubbles: true, cancelable: true, dataTransfer: data, clientX: 800, clientY: 700}));
}"""
TO_PROMPT = "async () => JSON.stringify((await window.app.graphToPrompt()).output)"
TABLE = "document.querySelector('.ccm-table td')?.innerText ?? ''"


def node(id, kind, pos, size, inputs=(), outputs=(), values=()):
    return {
        "id": id,
        "type": kind,
        "pos": pos,
        "size": size,
        "flags": {},
        "order": id,
        "mode": 0,
        "inputs": [{"name": name, "type": type_, "link": link} for name, type_, link in inputs],
        "outputs": [{"name": name, "type": type_, "links": links} for name, type_, links in outputs],
        "properties": {"Node name for S&R": kind},
        "widgets_values": list(values),
    }


WORKFLOW = {
    "id": "6f0b8f5a-3f0e-4c53-9a57-0d6f6a4f2b99",
    "revision": 0,
    "last_node_id": 4,
    "last_link_id": 3,
    "nodes": [
        node(
            1,
            "CCMSampleMasks",
            [40, 120],
            [300, 200],
            outputs=[("masks", "MASK", [1, 2]), ("cohort", "STRING", None)],
            values=["T1NoDPN", 2, 192, 3, "fixed"],
        ),
        node(
            2,
            "CCMBiomarkers",
            [400, 120],
            [380, 340],
            [("masks", "MASK", 1)],
            [("json", "STRING", None), ("csv", "STRING", None)],
            [1.0417],
        ),
        node(3, "MaskToImage", [400, 520], [220, 60], [("mask", "MASK", 2)], [("IMAGE", "IMAGE", [3])]),
        node(
            4,
            "SaveImage",
            [840, 120],
            [320, 380],
            [("images", "IMAGE", 3)],
            [("images", "IMAGE", None)],
            ["masks"],
        ),
    ],
    "links": [[1, 1, 0, 2, 0, "MASK"], [2, 1, 0, 3, 0, "MASK"], [3, 3, 0, 4, 0, "IMAGE"]],
    "groups": [],
    "config": {},
    "extra": {},
    "version": 0.4,
}
PROMPT = {
    "1": {"class_type": "CCMSampleMasks", "inputs": {"cohort": "T1NoDPN", "count": 2, "size": 192, "seed": 3}},
    "2": {"class_type": "CCMBiomarkers", "inputs": {"masks": ["1", 0], "pixel_size_um": 1.0417}},
    "3": {"class_type": "MaskToImage", "inputs": {"mask": ["1", 0]}},
    "4": {"class_type": "SaveImage", "inputs": {"filename_prefix": "masks", "images": ["3", 0]}},
}


def chromium() -> str:
    """Debian's Chromium. CI installs it and never skips this; elsewhere the test needs it too."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None and not os.environ.get("CI"):
        pytest.skip("no Chromium on this machine; CI has one")
    assert found is not None, "install chromium"
    return found


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """`python -m wdlora serve` on a free port; gives (url, data folder)."""
    data = tmp_path_factory.mktemp("served") / "data"
    command = [sys.executable, "-m", "wdlora", "serve", "--port", "0", "--data", str(data), "--device", "cpu"]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, line
        yield found.group(), data
    finally:
        process.terminate()
        assert process.wait(30) == 0


@pytest.fixture(params=[False, True], ids=["classic", "nodes2"])
def page(browser, server, request):
    """The page, booted; afterwards there were no errors and no request left this machine."""
    url, data = server
    settings_file = data / "user" / "default" / "comfy.settings.json"
    settings = json.loads(settings_file.read_text())
    settings |= {"Comfy.VueNodes.Enabled": request.param, "Comfy.Validation.Workflows": True}
    settings_file.write_text(json.dumps(settings))
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    opened = context.new_page()
    errors, outside, missing = [], [], []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: message.type == "error" and errors.append(message.text))
    opened.on("request", lambda asked: asked.url.startswith((url, "blob:", "data:")) or outside.append(asked.url))
    opened.on("response", lambda answer: answer.status >= 400 and missing.append(f"{answer.status} {answer.url}"))
    opened.goto(url, wait_until="domcontentloaded")
    opened.wait_for_function(READY, timeout=90_000)
    opened.wait_for_function("document.documentElement.dataset.graph == 'loaded'", timeout=60_000)
    opened.wait_for_timeout(300)
    opened.errors, opened.missing = errors, missing
    yield opened
    context.close()
    assert outside == []
    assert "\n".join(missing) == ""
    assert errors == []


def shot(page, name):
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def test_drop_convert_run_and_switch_tabs(page, server, request):
    _, data = server
    before = set((data / "output").glob("masks_*.png"))
    page.evaluate(DROP, json.dumps(WORKFLOW))
    page.wait_for_function("window.app.graph._nodes.length == 4")
    assert not page.evaluate("window.app.graph._nodes.some((node) => node.has_errors)")

    prompt = json.loads(page.evaluate(TO_PROMPT))
    assert {id: {k: v for k, v in node.items() if k != "_meta"} for id, node in prompt.items()} == PROMPT

    page.get_by_test_id("queue-button").first.click()
    page.wait_for_function(
        "Object.values(window.app.nodeOutputs).some((output) => output.images?.[0].type == 'output')", timeout=60_000
    )
    page.wait_for_function(f"{TABLE}.startsWith('CNFL')", timeout=20_000)
    new = set((data / "output").glob("masks_*.png")) - before
    assert len(new) in (0, 2)  # 0: the second renderer is shown the first one's cached result
    shot(page, f"table-{request.node.callspec.id}")

    page.evaluate("window.app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    page.wait_for_function("window.app.graph._nodes.length == 0")
    page.wait_for_timeout(300)
    page.evaluate("window.app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    page.wait_for_function("window.app.graph._nodes.length == 4", timeout=20_000)
    page.wait_for_function(f"{TABLE}.startsWith('CNFL')", timeout=20_000)
    shot(page, f"switched-{request.node.callspec.id}")


def test_an_error_is_a_sentence_on_the_page(page):
    broken = json.loads(json.dumps(WORKFLOW))
    broken["nodes"][1]["inputs"][0]["link"] = None
    broken["links"] = [link for link in broken["links"] if link[3] != 2]
    broken["nodes"][0]["outputs"][0]["links"] = [2]
    page.evaluate(DROP, json.dumps(broken))
    page.wait_for_function("window.app.graph._nodes.length == 4")
    answer = page.evaluate(
        """async () => { const prompt = await window.app.graphToPrompt();
             delete prompt.output['4']; const r = await window.app.api.fetchApi('/prompt', {method: 'POST',
             body: JSON.stringify({prompt: prompt.output})}); return [r.status, await r.json()]; }"""
    )
    assert answer[0] == 400
    assert answer[1]["node_errors"]["2"]["errors"][0]["type"] == "required_input_missing"
    page.missing.clear()  # the refusal that was asked for
    page.errors.clear()


def test_a_table_fits_its_node_or_scrolls(page, request):
    """Figures as large as they come: a new node and one of 560 pixels show all of it, in a narrow one it scrolls."""
    table = {
        "columns": ["biomarker", "Control  mean ± SD", "severity 1.5  mean ± SD", "difference [95 %]", "g"],
        "rows": [
            ["CNFD, no./mm²", "122.1 ± 15.2", "13.4 ± 6.1", "-118.75 [-123.66, -113.81]", "-12.46"],
            ["CNFA, mm²/mm²", "0.0798 ± 0.0206", "0.0417 ± 0.0202", "-0.0380 [-0.0733, -0.0027]", "-1.63"],
        ],
        "caption": "Control: 12 images, severity 1.5: 12; difference severity 1.5 − Control",
    }
    made = """([width, table]) => { window.app.graph.clear(); window.app.canvas.ds.scale = 1;
         window.app.canvas.ds.offset = [0, 0]; const node = window.LiteGraph.createNode('CCMCompareBiomarkers');
         node.pos = [120, 80]; window.app.graph.add(node); node.setSize([width || node.size[0], 420]);
         node.onExecuted({ccm_table: [table]}); }"""
    hidden = """() => { const box = document.querySelector('.ccm-table');
         box.scrollLeft = 9999; return [box.scrollWidth - box.clientWidth, box.scrollLeft]; }"""
    for width in (0, 560, 300):
        page.evaluate(made, [width, table])
        page.wait_for_timeout(800)
        beyond, scrolled = page.evaluate(hidden)
        values = page.evaluate("[...document.querySelectorAll('.ccm-table td')].map((cell) => cell.innerText)")
        assert [value.replace("\u00a0", " ") for value in values] == [value for row in table["rows"] for value in row]
        shot(page, f"table-{width}-{request.node.callspec.id}")
        assert beyond > 50 if width == 300 else beyond <= 1, width
        assert abs(scrolled - beyond) <= 1, "the right edge can be scrolled to"


def test_the_loss_curve_is_drawn(page, request):
    """As after a run: a line of the losses, a dot for each validation, the last values in words."""
    drawn = page.evaluate(
        """() => { window.app.graph.clear(); window.app.canvas.ds.scale = 1; window.app.canvas.ds.offset = [0, 0];
             const node = window.LiteGraph.createNode('WDLoRATrain'); node.pos = [120, 80]; window.app.graph.add(node);
             const hint = node.ccmPanel.textContent;
             node.onExecuted({ccm_curve: [{title: 'ccm', loss: [[10, 0.4], [20, 0.2], [30, 0.125]],
               validation_loss: [[0, 0.5], [30, 0.25]]}]});
             return [hint, node.ccmPanel.querySelectorAll('polyline').length,
               node.ccmPanel.querySelectorAll('circle').length, node.ccmPanel.textContent]; }"""
    )
    assert drawn[0] == "Run the workflow to see the loss curve." and drawn[1:3] == [2, 2]
    assert "validation loss 0.25" in drawn[3] and "loss 0.125" in drawn[3]
    page.wait_for_function("document.querySelector('.ccm-curve polyline')", timeout=20_000)
    shot(page, f"curve-{request.node.callspec.id}")


def test_a_table_in_a_subgraph_stays_after_a_switch_of_tabs(page, request):
    """The measuring node in a subgraph, and that in another one: outputs are kept by the subgraph's id."""
    flow = json.loads(json.dumps(WORKFLOW))
    flow["nodes"][0]["widgets_values"][3] = 5 if request.node.callspec.params["page"] else 6
    page.evaluate(DROP, json.dumps(flow))
    page.wait_for_function("window.app.graph._nodes.length == 4")
    page.evaluate(
        """() => { const wrap = (graph, type) => graph.convertToSubgraph(new Set([graph.nodes.find(
             (node) => node.type === type || node.isSubgraphNode?.())]));
             wrap(window.app.graph, 'CCMBiomarkers'); wrap(window.app.graph, null); }"""
    )
    deepest = """() => { let graph = window.app.rootGraph ?? window.app.graph, next;
      while ((next = graph.nodes.find((node) => node.isSubgraphNode?.()))) graph = next.subgraph;
      return graph; }"""
    shown = f"(({deepest})().nodes.find((node) => node.type === 'CCMBiomarkers')?.ccmPanel?.textContent ?? '')"
    assert page.evaluate(shown) == "Run the workflow to see the table."
    page.get_by_test_id("queue-button").first.click()
    page.wait_for_function(f"{shown}.includes('CNFL')", timeout=60_000)
    before = page.evaluate(shown)

    page.evaluate("window.app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    page.wait_for_function("window.app.graph._nodes.length == 0")
    page.wait_for_timeout(300)
    page.evaluate("window.app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    page.wait_for_function("window.app.graph._nodes.length == 4", timeout=20_000)
    page.wait_for_function(f"{shown}.includes('CNFL')", timeout=20_000)
    assert page.evaluate(shown) == before
    page.evaluate(f"window.app.canvas.setGraph(({deepest})())")
    page.wait_for_function(f"{TABLE}.startsWith('CNFL')", timeout=20_000)
    page.wait_for_timeout(500)
    shot(page, f"subgraph-{request.node.callspec.id}")


def test_a_list_of_results_has_pages(page, request):
    """A node that runs once an item sends a table for each: one at a time, counted, with buttons to turn."""
    tables = [{"columns": ["biomarker", "value"], "rows": [["CNFL", f"{n}.00"]], "caption": ""} for n in (1, 2, 3, 4)]
    page.evaluate(
        """(tables) => { window.app.graph.clear(); window.app.canvas.ds.scale = 1; window.app.canvas.ds.offset = [0, 0];
             const node = window.LiteGraph.createNode('CCMBiomarkers'); node.pos = [120, 80];
             window.app.graph.add(node); node.setSize([400, 320]); node.onExecuted({ccm_table: tables}); }""",
        tables,
    )
    pages = page.locator(".ccm-table-pages")
    pages.get_by_text("1 of 4").wait_for(timeout=10_000)
    value = "[...document.querySelectorAll('.ccm-table td')].map((cell) => cell.innerText).join()"
    assert page.evaluate(value) == "CNFL,1.00"
    for turns, name in enumerate(("next", "next", "previous")):
        pages.get_by_role("button", name=name).click()
        assert page.evaluate(value) == ("CNFL,2.00", "CNFL,3.00", "CNFL,2.00")[turns]
    pages.get_by_text("2 of 4").wait_for(timeout=10_000)
    shot(page, f"pages-{request.node.callspec.id}")
    page.evaluate("(table) => window.app.graph._nodes[0].onExecuted({ccm_table: [table]})", tables[0])
    assert page.evaluate(value) == "CNFL,1.00" and not pages.is_visible()
