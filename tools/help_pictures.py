"""Draws the pictures of the help pages: `python -m tools.help_pictures [NodeId …]`; needs Playwright and Chromium.

Every node is placed in the real front end, run on the miniature where it runs, and kept as it looks there, beside a
preview of what it gives where it shows nothing itself.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from wdlora.files import atomic_write

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "web" / "docs" / "images"
LARGEST, MARGIN, TITLE, GAP = 25_000, 10, 30, 20  # bytes; pixels
READY = "window.LiteGraph?.registered_node_types['CCMBiomarkers'] && window.app?.extensionManager"
BUILD = """(nodes) => {
  const app = window.app, graph = app.graph, made = {};
  graph.clear();
  app.canvas.links_render_mode = window.LiteGraph.HIDDEN_LINK;
  for (const [key, one] of Object.entries(nodes)) {
    const node = made[key] = window.LiteGraph.createNode(one.type);
    graph.add(node);
    node.pos = one.pos;
    for (const [name, value] of Object.entries(one.values)) {
      const widget = node.widgets.find((widget) => widget.name === name);
      widget.value = value;
      widget.callback?.(value);
    }
    const least = node.computeSize();
    node.setSize([Math.max(one.least[0], least[0]), Math.max(one.least[1], least[1])]);
  }
  for (const [key, one] of Object.entries(nodes))
    for (const [name, [from, slot]] of Object.entries(one.links))
      made[from].connect(slot, made[key], made[key].inputs.findIndex((input) => input.name === name));
  window.made = made;
  window.ended = null;
  for (const kind of ['execution_success', 'execution_error'])
    app.api.addEventListener(kind, (event) => { window.ended = [kind, JSON.stringify(event.detail)]; });
}"""
SHOW = """([keys, gap]) => {
  const nodes = keys.map((key) => window.made[key]), [first, ...rest] = nodes, canvas = window.app.canvas;
  let right = first.pos[0] + first.size[0] + gap;
  for (const node of rest) { node.pos = [right, first.pos[1]]; right += node.size[0] + gap; }
  canvas.deselectAll?.();
  canvas.ds.scale = 1;
  canvas.ds.offset = [420 - first.pos[0], 160 - first.pos[1]];
  canvas.setDirty(true, true);
  return [right - gap - first.pos[0], Math.max(...nodes.map((node) => node.size[1]))];
}"""
MINIATURE = {"source": "miniature"}
FIXED = {"control_after_generate": "fixed"}
SETTINGS = "size=64\nbatch_size=2\nviews=1\nsample_steps=2\nsave_every=40"
PREVIEW = (270, 290)

Nodes = dict[str, dict[str, Any]]


def node(
    kind: str, least: tuple[int, int] = (320, 0), links: dict[str, Any] | None = None, /, **values: Any
) -> dict[str, Any]:
    """A node for BUILD, at least so wide and high; links are {input: (key of a node, its output)}."""
    return {"type": kind, "least": least, "links": links or {}, "values": values}


def preview(nodes: Nodes, key: str, slot: int = 0, mask: bool = False) -> None:
    """Add a preview of an output of the node called `key`."""
    source = (key, slot)
    if mask:
        nodes[f"{key} as image"] = node("MaskToImage", (320, 0), {"mask": source})
        source = (f"{key} as image", 0)
    nodes[f"{key} shown"] = node("PreviewImage", PREVIEW, {"images": source})


def first() -> Nodes:
    """A fine-tuning and a data set, for the nodes that load them."""
    nodes = {
        "WDLoRATrain": node(
            "WDLoRATrain",
            (400, 800),
            **MINIATURE,
            preset="miniature",
            phantoms_per_cohort=4,
            steps=40,
            settings=SETTINGS,
            device="cpu",
        ),
        "masks": node("CCMSampleMasks", cohort="T1NoDPN", count=2, size=192, seed=4, **FIXED),
        "phantoms": node("CCMPhantom", (320, 0), {"plexus": ("masks", 2)}, seed=1, **FIXED),
        "CCMSaveDataset": node(
            "CCMSaveDataset",
            (360, 500),
            {"images": ("phantoms", 0), "masks": ("phantoms", 1)},
            cohort="T1NoDPN",
        ),
    }
    return nodes


def second(picture: str) -> Nodes:
    """All other nodes."""
    nodes = {
        "CCMSampleMasks": node("CCMSampleMasks", cohort="Control", count=1, size=192, seed=1, **FIXED),
        "four": node("CCMSampleMasks", cohort="Control", count=4, size=384, seed=1, **FIXED),
        "WDLoRALoadQwenImageEdit": node("WDLoRALoadQwenImageEdit", (400, 0), **MINIATURE),
        "WDLoRAApply": node(
            "WDLoRAApply", (360, 0), {"model": ("WDLoRALoadQwenImageEdit", 0)}, adapter="ccm.safetensors"
        ),
        "CCMConditioning": node(
            "CCMConditioning",
            (400, 0),
            {
                "clip": ("WDLoRALoadQwenImageEdit", 1),
                "vae": ("WDLoRALoadQwenImageEdit", 2),
                "mask": ("CCMSampleMasks", 0),
                "linked_cohort": ("CCMSampleMasks", 1),
            },
        ),
        "sampler": node(
            "KSampler",
            (320, 0),
            {
                "model": ("WDLoRAApply", 0),
                "positive": ("CCMConditioning", 0),
                "negative": ("CCMConditioning", 1),
                "latent_image": ("CCMConditioning", 2),
            },
            seed=1,
            **FIXED,
            steps=8,
            cfg=1.0,
        ),
        "decoded": node("VAEDecode", (320, 0), {"samples": ("sampler", 0), "vae": ("WDLoRALoadQwenImageEdit", 2)}),
        "CCMCropToMask": node("CCMCropToMask", (220, 0), {"image": ("decoded", 0), "mask": ("CCMSampleMasks", 0)}),
        "CCMLoadImage": node("CCMLoadImage", (320, 390), image=picture, pixel_size_um=1.0417),
        "CCMLoadDataset": node("CCMLoadDataset", dataset="ccm_dataset [output]", count=2),
        "CCMPhantom": node("CCMPhantom", (320, 0), {"plexus": ("four", 2)}, seed=1, **FIXED),
        "CCMDegenerate": node("CCMDegenerate", (320, 0), {"plexus": ("four", 2)}, severity=1.5),
        "CCMTrace": node("CCMTrace", (260, 0), {"images": ("CCMPhantom", 0)}),
        "CCMBiomarkers": node("CCMBiomarkers", (420, 300), {"masks": ("CCMPhantom", 1), "images": ("CCMPhantom", 0)}),
        "declined": node("CCMBiomarkers", (400, 300), {"masks": ("CCMDegenerate", 0)}),
        "CCMCompareBiomarkers": node(
            "CCMCompareBiomarkers",
            (560, 400),
            {"group_a": ("CCMBiomarkers", 0), "group_b": ("declined", 0)},
            name_a="Control",
            name_b="severity 1.5",
        ),
        "WDLoRAInspect": node("WDLoRAInspect", (480, 500), adapter="ccm.safetensors", base="miniature"),
    }
    nodes |= evaluated()
    for key in ("CCMSampleMasks", "CCMDegenerate", "CCMTrace"):
        preview(nodes, key, mask=True)
    for key in ("CCMCropToMask", "CCMPhantom", "CCMLoadDataset"):
        preview(nodes, key)
    preview(nodes, "CCMBiomarkers", 2)
    preview(nodes, "CCMEvaluate")
    return nodes


def evaluated() -> Nodes:
    """Two sets of phantoms of the same masks, compared."""
    return {
        "many": node("CCMSampleMasks", cohort="T1NoDPN", count=40, size=192, seed=2, **FIXED),
        "real": node("CCMPhantom", (320, 0), {"plexus": ("many", 2)}, seed=1, **FIXED),
        "synthetic": node("CCMPhantom", (320, 0), {"plexus": ("many", 2)}, seed=2, **FIXED),
        "CCMEvaluate": node(
            "CCMEvaluate",
            (460, 440),
            {"real_images": ("real", 0), "synthetic_images": ("synthetic", 0)},
            pairs=True,
        ),
    }


def kept(shot: bytes, path: Path) -> None:
    """Write a screenshot as JPEG of at most LARGEST bytes, as good as that allows."""
    drawn = Image.open(io.BytesIO(shot)).convert("RGB")
    for quality in range(90, 20, -5):
        buffer = io.BytesIO()
        drawn.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= LARGEST:
            break
    with atomic_write(path) as file:
        file.write_bytes(buffer.getvalue())
    print(f"{path.name} {drawn.width} × {drawn.height}, quality {quality}, {buffer.tell()} bytes", flush=True)


def draw(page: Any, nodes: Nodes, names: list[str]) -> None:
    """Build the graph in the page, run it, keep the nodes whose key is their kind."""
    for place, one in enumerate(nodes.values()):
        one["pos"] = [(place % 5) * 1500, (place // 5) * 2000]
    page.evaluate(BUILD, nodes)
    page.wait_for_timeout(500)
    page.get_by_test_id("queue-button").first.click()
    page.wait_for_function("window.ended", timeout=300_000)
    ended = page.evaluate("window.ended")
    assert ended[0] == "execution_success", ended[1]
    assert not (refused := page.evaluate("window.app.lastNodeErrors")), refused
    page.wait_for_timeout(1500)
    for key, one in nodes.items():
        if key != one["type"] or (names and key not in names):
            continue
        keys = [key, f"{key} shown"] if f"{key} shown" in nodes else [key]
        page.evaluate(SHOW, [keys, GAP])
        page.wait_for_timeout(700)
        width, height = page.evaluate(SHOW, [keys, GAP])
        page.wait_for_timeout(300)
        left, top = page.evaluate("(({left, top}) => [left, top])(window.app.canvas.canvas.getBoundingClientRect())")
        assert 0 < width < 1200 and 0 < height < 1200, f"{key}: {width} × {height}"
        clip = {
            "x": left + 420 - MARGIN,
            "y": top + 160 - TITLE - MARGIN,
            "width": width + 2 * MARGIN,
            "height": height + TITLE + 2 * MARGIN,
        }
        kept(page.screenshot(clip=clip), FOLDER / f"{key}.jpg")


def main(names: list[str]) -> None:
    """Draw the pictures of the nodes called `names`, or of all."""
    from playwright.sync_api import sync_playwright

    FOLDER.mkdir(exist_ok=True)
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = [sys.executable, "-m", "wdlora", "serve", "--port", "0", "--data", folder, "--device", "cpu"]
        server = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        try:
            assert server.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:\d+/", line := server.stdout.readline())
            assert found, line
            browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1600, "height": 1400})

            def opened() -> None:
                page.goto(found.group(), wait_until="domcontentloaded")
                page.wait_for_function(READY, timeout=90_000)
                page.wait_for_function("document.documentElement.dataset.graph == 'loaded'", timeout=60_000)
                for setting, value in (
                    ("Comfy.Minimap.Visible", False),
                    ("Comfy.NodeBadge.NodeSourceBadgeMode", "None"),
                ):
                    page.evaluate("([name, on]) => window.app.extensionManager.setting.set(name, on)", [setting, value])
                page.wait_for_timeout(300)

            opened()
            draw(page, first(), names)
            saved = sorted((Path(folder) / "output" / "ccm_dataset" / "images").iterdir())[0]
            shutil.copy(saved, Path(folder) / "input" / "confocal.png")
            opened()  # lists the new files
            draw(page, second("confocal.png"), names)
            browser.close()
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main(sys.argv[1:])
