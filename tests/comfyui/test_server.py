"""The pack in a running ComfyUI: loading, the shipped workflows, caches, progress, previews, interruption."""

import asyncio
import importlib.util
import json
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted(path.stem for path in (ROOT / "workflows" / "api").glob("*.json"))
TRAINING = ("diffusers", "peft", "accelerate")
pytestmark = pytest.mark.slow


def parity() -> Any:
    """The graphs of `test_parity.py`."""
    spec = importlib.util.spec_from_file_location("comfyui_parity", Path(__file__).with_name("test_parity.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def comfy(server):
    given = parity()
    given.write_inputs(server.base / "input")
    given.write_adapters(server.base / "models" / "loras")
    given.write_models(server.base / "models")
    return server


def test_every_node_is_there(comfyui, server):
    """All nodes of the pack, no failed import, and nothing in the log but ComfyUI's own line on import times."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "nodes").glob("*.py"))
    ids = set(re.findall(r'node_id="([^"]+)"', source))
    info = server.get("/object_info")
    assert ids and ids <= set(info)
    for node in ids:
        assert info[node]["python_module"] == "custom_nodes.wdlora-ccm"
        assert info[node]["description"] and info[node]["search_aliases"]
    log = server.log.read_text()
    assert "IMPORT FAILED" not in log
    said = [line for line in log.split("Starting server")[0].splitlines() if "wdlora" in line.lower()]
    assert [line for line in said if "seconds" not in line and "base-directory" not in line] == []


def test_front_end_finds_scripts_help_and_templates(server):
    """The extension's scripts, a help page for every node, and every shipped workflow among the templates."""
    scripts = set(server.get("/extensions"))
    for script in (ROOT / "web").glob("*.js"):
        assert f"/extensions/wdlora-ccm/{script.name}" in scripts
    for page in (ROOT / "web" / "docs").glob("*.md"):
        url = f"http://127.0.0.1:{server.port}/extensions/wdlora-ccm/docs/{page.name}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert answer.read() == page.read_bytes()
    assert set(server.get("/workflow_templates")["wdlora-ccm"]) == {
        path.stem for path in (ROOT / "workflows").glob("*.json")
    }
    shown = server.get("/api/workflow_templates/wdlora-ccm/quickstart_cpu.json")
    assert shown == json.loads((ROOT / "workflows" / "quickstart_cpu.json").read_text(encoding="utf-8"))


def test_nothing_heavy_is_imported_at_the_start(comfyui, figures):
    """Loading the pack where ComfyUI is loaded already; the time is noted, not judged (benchmarks/startup.py)."""
    code = (
        "import sys, time; root, pack = sys.argv[1:]; sys.path.insert(0, root); sys.argv[1:] = ['--cpu']\n"
        "import comfy.options; comfy.options.enable_args_parsing()\n"
        "import asyncio, logging, nodes, server; logging.disable()\n"
        "before = set(sys.modules); start = time.perf_counter()\n"
        "done = asyncio.run(nodes.load_custom_node(pack)); seconds = time.perf_counter() - start\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "heavy = new & {'scipy', 'skimage', 'matplotlib', 'diffusers', 'peft', 'torch', 'transformers'}\n"
        "print('\\n', seconds, done, ','.join(sorted(heavy)) or 'none')"
    )
    command = [comfyui.python, "-s", "-c", code, str(comfyui.folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, env=comfyui.environment, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
    seconds, loaded, heavy = done.stdout.splitlines()[-1].split()
    assert (loaded, heavy) == ("True", "none")
    figures("seconds that the pack took of ComfyUI's start", float(seconds))


def prepared(server: Any, name: str, **changes: Any) -> dict[str, Any]:
    """A shipped workflow on the miniature, small; `changes`: "Title.input" → value."""
    from wdlora.graph.miniature import use_miniature
    from wdlora.graph.places import set_value

    graph = json.loads((ROOT / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    use_miniature(graph, server.get("/object_info"))
    for node in graph.values():
        if node["class_type"] == "CCMSampleMasks":
            size = 128 if name == "disease_progression" else 64  # smaller, nothing is left at severity 2
            most = 8 if name == "evaluate_cohort" else 2  # eight pictures a set are the least
            node["inputs"] |= {"size": size, "count": min(node["inputs"]["count"], most)}
        if node["class_type"] == "KSampler":
            node["inputs"] |= {"steps": 2, "cfg": 1.0}
    for place, value in changes.items():
        set_value(graph, f"{place}={json.dumps(value)}")
    return graph


@pytest.mark.parametrize("name", [name for name in WORKFLOWS if name != "train_adapter"])
def test_shipped_workflow(comfy, name):
    """Every shipped workflow runs to its end on the miniature, and every picture it names is there."""
    loras = comfy.base / "models" / "loras"
    shutil.copy(loras / "wdlora.safetensors", loras / "ccm.safetensors")
    shutil.copy(loras / "plain.safetensors", loras / "ccm_lora.safetensors")
    outputs = comfy.succeed(prepared(comfy, name), timeout=300)
    shown = [one for output in outputs.values() for one in output.get("images", [])]
    assert shown
    for one in shown:
        assert comfy.path(one).stat().st_size > 100
    tables = [table for output in outputs.values() for table in output.get("ccm_table", [])]
    assert all(table["rows"] for table in tables)
    assert tables or name in ("disease_progression", "lora_vs_wdlora")


def has_training(comfyui: Any) -> bool:
    code = f"import importlib.util as u, sys; sys.exit(not all(u.find_spec(n) for n in {TRAINING!r}))"
    return subprocess.run([comfyui.python, "-s", "-c", code], env=comfyui.environment).returncode == 0


TINY = {
    "WDLoRA Train.name": "tried",
    "WDLoRA Train.phantoms_per_cohort": 1,
    "WDLoRA Train.settings": "size=64\nsample_steps=1\nbatch_size=1",
}


def test_training(comfyui, comfy, history_message):
    """Without the packages for training one sentence with the line that installs them; with them, an adapter."""
    entry = comfy.run(prepared(comfy, "train_adapter", **TINY, **{"WDLoRA Train.steps": 2}), timeout=400)
    if has_training(comfyui):
        assert entry["status"]["status_str"] == "success", history_message(entry, "execution_error")
        assert (comfy.base / "models" / "loras" / "tried.safetensors").is_file()
        return
    said = history_message(entry, "execution_error")["exception_message"]
    assert "pip install -r" in said and "\n" not in said.strip()


class Watched:
    """A prompt's messages: JSON ones as dictionaries, binary ones as bytes."""

    def __init__(self, server: Any, graph: dict[str, Any], stop_at: Any = None, timeout: float = 200):
        self.messages: list[Any] = []
        self.stopped = 0.0
        asyncio.run(asyncio.wait_for(self._watch(server, graph, stop_at), timeout))

    async def _watch(self, server: Any, graph: dict[str, Any], stop_at: Any) -> None:
        import aiohttp

        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{server.port}/ws?clientId={server.client}"
            async with session.ws_connect(url, max_msg_size=0) as socket:
                wish = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
                await socket.send_str(json.dumps(wish))
                answer = await asyncio.to_thread(server.post, "/prompt", {"prompt": graph, "client_id": server.client})
                mine = answer["prompt_id"]
                async for message in socket:
                    if message.type == aiohttp.WSMsgType.BINARY:
                        self.messages.append(message.data)
                        continue
                    said = json.loads(message.data)
                    self.messages.append(said)
                    if stop_at is not None and not self.stopped and stop_at(said):
                        self.stopped = time.monotonic()
                        await asyncio.to_thread(server.post, "/interrupt", {})
                    ends = ("execution_success", "execution_error", "execution_interrupted")
                    if said["type"] in ends and said["data"].get("prompt_id") == mine:
                        self.end, self.ended = said["type"], time.monotonic()
                        return

    def of(self, kind: str) -> list[Any]:
        return [one["data"] for one in self.messages if isinstance(one, dict) and one["type"] == kind]


def test_progress_and_previews(comfy):
    """The sampler's steps are counted and shown as pictures, and our nodes say what they do."""
    case = parity().graph(adapter=(1.0, 1.0))
    case["sample"]["inputs"] |= {"seed": 77, "steps": 6}
    watched = Watched(comfy, case)
    assert watched.end == "execution_success"
    steps = [one["value"] for one in watched.of("progress") if one["node"] == "sample"]
    assert steps[-1] == 6 and steps == sorted(steps)
    assert any(isinstance(one, bytes) and b"\xff\xd8\xff" in one for one in watched.messages)  # a JPEG
    encoding = [one for one in watched.of("progress") if one["node"] == "condition"]
    assert encoding and encoding[-1]["value"] == encoding[-1]["max"]


def test_text_on_a_node_and_nothing_done_twice(comfy):
    """A second run of the same graph does nothing; a loader says which part it reads."""
    case = parity().graph(variant="2511")
    case["load"]["inputs"]["dtype"] = "bfloat16"
    first = Watched(comfy, case)
    assert any(isinstance(one, bytes) and b"transformer" in one for one in first.messages)
    second = Watched(comfy, case)
    assert set(second.of("execution_cached")[0]["nodes"]) == set(case)
    assert not second.of("executed") or all(one["node"] == "save" for one in second.of("executed"))


def test_interruption_while_sampling(comfy):
    """Stopped within seconds, as ComfyUI stops; the next run is as if nothing had happened."""
    case = parity().graph(adapter=(1.0, 1.0))
    case["sample"]["inputs"] |= {"seed": 5, "steps": 400}
    sampling = lambda said: said["type"] == "progress" and said["data"]["node"] == "sample"  # noqa: E731
    watched = Watched(comfy, case, stop_at=sampling)
    assert watched.end == "execution_interrupted"
    assert watched.ended - watched.stopped < 10
    case["sample"]["inputs"] |= {"steps": 2}
    assert Watched(comfy, case).end == "execution_success"


def test_interruption_while_training(comfyui, comfy):
    """The process of the fine-tune ends with its node; its checkpoint stays."""
    if not has_training(comfyui):
        pytest.skip(f"ComfyUI's Python has not all of {', '.join(TRAINING)}: install requirements-train.txt there")
    graph = prepared(comfy, "train_adapter", **TINY, **{"WDLoRA Train.steps": 5000})
    graph[next(id for id, node in graph.items() if node["class_type"] == "WDLoRATrain")]["inputs"]["name"] = "stopped"
    train = next(id for id, node in graph.items() if node["class_type"] == "WDLoRATrain")
    begun = lambda said: said["type"] == "progress" and said["data"]["node"] == train  # noqa: E731
    watched = Watched(comfy, graph, stop_at=begun, timeout=400)
    assert watched.end == "execution_interrupted"
    assert watched.ended - watched.stopped < 60
    assert list((comfy.base / "output" / "training" / "stopped" / "checkpoints").iterdir())


@pytest.mark.parametrize("linked", [False, True])
def test_adapter_changed_on_disk_is_read_again(comfy, linked):
    """The file's content counts: another adapter under the same name paints another picture, the loader stays."""
    loras = comfy.base / "models" / "loras"
    changing = loras / f"changing{linked:d}.safetensors"
    shutil.copy(loras / "wdlora.safetensors", changing)
    case = parity().graph(adapter=(1.0, 1.0))
    case["apply"]["inputs"]["adapter"] = "none" if linked else changing.name
    if linked:
        case["name"] = {"class_type": "PrimitiveString", "inputs": {"value": changing.name}}
        case["apply"]["inputs"]["linked_adapter"] = ["name", 0]
    first = comfy.succeed(case)["save"]["images"][0]
    before = comfy.path(first).read_bytes()
    assert set(Watched(comfy, case).of("execution_cached")[0]["nodes"]) == set(case)
    shutil.copy(loras / "other.safetensors", changing)
    watched = Watched(comfy, case)
    cached = set(watched.of("execution_cached")[0]["nodes"])
    assert "load" in cached and "condition" in cached
    assert not {"apply", "sample", "decode", "save"} & cached
    second = watched.of("executed")[-1]["output"]["images"][0]
    assert comfy.path(second).read_bytes() != before


@pytest.mark.parametrize("loaded", ["edit", "2509", "2511"])
def test_another_variant_than_the_model_is_refused(comfy, history_message, loaded):
    """Through ComfyUI's own nodes the marks of MODEL and CLIP stay; auto paints, another choice is a sentence."""
    case = parity().graph(variant=loaded, adapter=(1.0, 1.0))
    case["condition"]["inputs"] |= {"model": ["norm", 0]}
    case["sample"]["inputs"]["steps"] = 1
    comfy.succeed(case)
    for chosen in {"edit", "2509", "2511"} - {loaded}:
        case["condition"]["inputs"]["variant"] = chosen
        failure = history_message(comfy.run(case), "execution_error")
        assert failure["node_id"] == "condition"
        assert failure["exception_message"].startswith(
            f"variant is {chosen} and model is {loaded} and clip is {loaded}"
        )


def test_mistakes_are_sentences_in_the_node(comfy, history_message):
    """An adapter for another model, and one that is missing."""
    import torch

    from wdlora.adapter import Adapter, AdapterLayer

    layers = {"transformer_blocks.0.attn.to_q": AdapterLayer(torch.ones(4, 33), torch.ones(44, 4), torch.ones(44))}
    Adapter(layers).save(comfy.base / "models" / "loras" / "foreign.safetensors")
    case = parity().graph(adapter=(1.0, 1.0))
    case["apply"]["inputs"]["adapter"] = "foreign.safetensors"
    failure = history_message(comfy.run(case), "execution_error")
    assert failure["node_id"] == "apply"
    assert failure["exception_message"].startswith("the adapter fits another model: its layer transformer_blocks.0")
    case["apply"]["inputs"]["adapter"] = "lost.safetensors"
    answer = comfy.post("/prompt", {"prompt": case, "client_id": comfy.client})
    assert "lost.safetensors" in json.dumps(answer["node_errors"])
