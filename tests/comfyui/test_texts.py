"""What ComfyUI itself says for this pack: the texts of its nodes, and where a missing file belongs."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_english_texts_are_served(server):
    """ComfyUI finds the locale file of the pack and hands it to the front end."""
    said = server.get("/i18n")["en"]["nodeDefs"]
    shipped = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    assert {name: said[name] for name in shipped} == shipped


def test_missing_files_are_said_with_the_folder_of_today(server):
    """Not with models/unet and models/clip, the old names that ComfyUI still searches."""
    graph = json.loads((ROOT / "workflows" / "api" / "ccm_synthesis.json").read_text(encoding="utf-8"))
    models = server.base / "models"
    for kind, name in (
        ("diffusion_models", "qwen_image_edit_2511_bf16.safetensors"),
        ("text_encoders", "qwen_2.5_vl_7b_fp8_scaled.safetensors"),
        ("vae", "qwen_image_vae.safetensors"),
    ):
        said = json.dumps(server.post("/prompt", {"prompt": graph, "client_id": server.client})["node_errors"])
        assert f"{name}' is missing: put the file into {models / kind}" in said
        (models / kind).mkdir(exist_ok=True)
        (models / kind / name).touch()
    for file in models.rglob("qwen_*.safetensors"):
        file.unlink()
