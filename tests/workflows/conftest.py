"""The shipped workflows, what nodes take, and a host that paints with the miniature."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "workflows"
NAMES = (
    "ccm_synthesis",
    "cohort_dataset",
    "disease_progression",
    "evaluate_cohort",
    "lora_vs_wdlora",
    "quickstart_cpu",
    "train_adapter",
)
SIDE = 128


def ui(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def api(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / "api" / f"{name}.json").read_text(encoding="utf-8"))


def write_adapter(path: Path, decomposed: bool, size: float = 0.3) -> None:
    """An adapter of random factors for the miniature's attention; `size` is ‖BA‖ relative to ‖W‖."""
    from wdlora.adapter import Adapter
    from wdlora.adapter.layer import AdapterLayer
    from wdlora.qwen.miniature_files import miniature_files

    generator = torch.Generator().manual_seed(5)
    layers = {}
    for name, weight in load_file(miniature_files().transformer).items():
        if not name.endswith(("attn.to_q.weight", "attn.to_v.weight")):
            continue
        w = weight.float()
        a, b = (torch.randn(shape, generator=generator) for shape in ((4, w.shape[1]), (w.shape[0], 4)))
        b *= size * w.norm() / (b @ a).norm()
        magnitude = (w + b @ a).norm(dim=1) * (0.9 + 0.2 * torch.rand(w.shape[0], generator=generator))
        layers[name.removesuffix(".weight")] = AdapterLayer(a, b, magnitude if decomposed else None)
    assert layers
    Adapter(layers).save(path, dialect="peft" if decomposed else "diffusers")


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An embedded host with the two adapters that the workflows name, made for the miniature."""
    from wdlora.host import Host

    torch.set_num_threads(1)
    made = Host(tmp_path_factory.mktemp("workflows") / "data", device="cpu")
    loras = Path(made.folders.get_folder_paths("loras")[0])
    loras.mkdir(parents=True, exist_ok=True)
    write_adapter(loras / "ccm.safetensors", decomposed=True)
    write_adapter(loras / "ccm_lora.safetensors", decomposed=False)
    return made


@pytest.fixture(scope="session")
def info(host: Any) -> dict[str, Any]:
    return host.object_info()


class Ran:
    """What came of a workflow: values and tables by the node's title."""

    def __init__(self, host: Any, graph: dict[str, Any], result: Any):
        from wdlora.graph.places import title_of

        self.titles = {title_of(id, node): id for id, node in graph.items()}
        self.host, self.result = host, result

    def values(self, title: str) -> tuple:
        return self.result.values[self.titles[title]]

    def shown(self, title: str) -> dict[str, Any]:
        return self.result.outputs[self.titles[title]]

    def files(self, title: str) -> list[Path]:
        return [
            Path(self.host.folders.get_directory_by_type(one["type"])) / one["subfolder"] / one["filename"]
            for one in self.shown(title)["images"]
        ]

    def measured(self, title: str) -> list[dict[str, Any]]:
        return json.loads(self.values(title)[0])


def run(host: Any, name: str, **changes: Any) -> Ran:
    """Run a shipped workflow on the miniature. `changes`: "Title.input" → value, after the miniature took its place."""
    from wdlora.graph.miniature import use_miniature
    from wdlora.graph.places import set_value

    graph = api(name)
    use_miniature(graph, host.object_info())
    for node in graph.values():
        if node["class_type"] == "CCMSampleMasks":
            node["inputs"]["size"] = min(node["inputs"]["size"], SIDE)
        if node["class_type"] == "KSampler":
            node["inputs"] |= {"steps": 4, "cfg": 1.0}
    for place, value in changes.items():
        set_value(graph, f"{place}={json.dumps(value)}")
    verdict, result = host.run(graph)
    assert result is not None and not verdict.node_errors, (verdict.error, verdict.node_errors)
    assert result.status == "success", result.failure
    return Ran(host, graph, result)
