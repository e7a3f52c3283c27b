"""What ComfyUI itself says for this pack: the texts of its nodes, and where a missing file belongs."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_registry_metadata_as_comfyui_reads_it(comfyui):
    """ComfyUI's own parser of pyproject.toml, whose types are those of the registry's publishing tool."""
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from comfy_config import config_parser\n"
        "print(config_parser.extract_node_configuration(sys.argv[2]).model_dump_json())"
    )
    command = [comfyui.python, "-s", "-c", code, str(comfyui.folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, env=comfyui.environment, timeout=120, check=True)
    read = json.loads(done.stdout.splitlines()[-1])
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, comfy = table["project"], table["tool"]["comfy"]
    for key in ("name", "description", "version", "dependencies"):
        assert read["project"][key] == project[key]
    assert read["project"]["license"] == {"file": "", "text": project["license"]}
    assert read["project"]["urls"]["repository"] == project["urls"]["Repository"]
    assert read["project"]["supported_comfyui_version"] == comfy["requires-comfyui"]
    told = {"publisher_id": "PublisherId", "display_name": "DisplayName", "icon": "Icon"}
    assert {key: read["tool_comfy"][key] for key in told} == {key: comfy[name] for key, name in told.items()}


def test_requirements_name_nothing_that_comfyui_brings(comfyui):
    def names(file):
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        return {re.split(r"[<>=!~ ]", line)[0].lower() for line in lines if line and not line.startswith("#")}

    core = names(comfyui.folder / "requirements.txt")
    assert {"torch", "numpy", "transformers", "pillow"} <= core
    assert not core & names(ROOT / "requirements.txt")


def test_english_texts_are_served(server):
    """ComfyUI finds the locale file of the pack and hands it to the front end."""
    said = server.get("/i18n")["en"]["nodeDefs"]
    shipped = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    assert {name: said[name] for name in shipped} == shipped


def test_missing_files_are_said_with_the_folder_of_today(server, history_message):
    """Once, not with models/unet and models/clip, the old names that ComfyUI still searches, nor with a path."""
    graph = json.loads((ROOT / "workflows" / "api" / "ccm_synthesis.json").read_text(encoding="utf-8"))
    next(node for node in graph.values() if node["class_type"] == "WDLoRAApply")["inputs"]["adapter"] = "none"
    models = server.base / "models"
    for kind, what, name in (
        ("diffusion_models", "diffusion model", "qwen_image_edit_2511_bf16.safetensors"),
        ("text_encoders", "text encoder", "qwen_2.5_vl_7b_fp8_scaled.safetensors"),
        ("vae", "VAE", "qwen_image_vae.safetensors"),
    ):
        failure = history_message(server.run(graph), "execution_error")
        assert failure["node_type"] == "WDLoRALoadQwenImageEdit"
        said = failure["exception_message"]
        assert said.startswith("the ") and str(server.base) not in said
        assert said.count(f"the {what} {name!r} is missing: put the file into models/{kind}") == 1
        (models / kind).mkdir(exist_ok=True)
        (models / kind / name).touch()
    for file in models.rglob("qwen_*.safetensors"):
        file.unlink()
