"""What ComfyUI's own Python found (`inside/`): ModelPatcher, loaders and LoRAs of a real ComfyUI, on a CPU."""

import json
import subprocess
from pathlib import Path

import pytest

PACK = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def diffusers_folder(tmp_path_factory):
    """The miniature as diffusers keeps a model: folders of shards."""
    import torch

    from wdlora.qwen.miniature_files import load_miniature, miniature_files
    from wdlora.qwen.tokenizer import load_tokenizer

    folder = tmp_path_factory.mktemp("diffusers") / "Qwen-Image-Edit-small"
    model = load_miniature(dtype=torch.float32)
    model.transformer.save_pretrained(folder / "transformer", max_shard_size="3MB")
    model.text_encoder.save_pretrained(folder / "text_encoder")
    model.vae.save_pretrained(folder / "vae")
    load_tokenizer(miniature_files().tokenizer).save_pretrained(folder / "tokenizer")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "QwenImageEditPipeline"}))
    assert len(list((folder / "transformer").glob("*.safetensors"))) > 1
    return folder


@pytest.fixture(scope="module")
def found(comfyui, diffusers_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("inside") / "found.json"
    script = Path(__file__).with_name("inside")
    folders = [comfyui.folder, PACK, diffusers_folder, out, *([] if comfyui.gguf is None else [comfyui.gguf])]
    command = [comfyui.python, "-s", str(script), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=540, env=comfyui.environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(out.read_text())


def test_weights_are_eq_6_and_the_base_comes_back(found, figures):
    """At every strength, over both axes: float32 sums in another order (2e-6 of the update), the base bit for bit."""
    patch = found["patch"]
    for strengths, result in patch["strengths"].items():
        assert result["matched"] == patch["layers"] > 0
        assert result["error_of_update"] < 2e-6, strengths
        moved = result["moves"]
        assert moved == 0 if strengths.endswith(" 0/0") else moved > 1e-3, strengths
    assert all(patch["restored"]) and patch["again"] == 0
    worst = max(result["error_of_update"] for result in patch["strengths"].values())
    figures("weight patch, float32, six strengths, both axes: error of the update", worst)


def test_low_vram(found, figures):
    """A streamed weight is patched in its own type: the same bits in float32; in bfloat16 two roundings apart."""
    for dtype, tolerance in (("float32", 0.0), ("bfloat16", 0.05)):
        low = found["low_vram"][dtype]
        assert low["lowvram_patches"] == found["patch"]["layers"]
        assert low["difference_of_update"] <= tolerance
        assert low["steps_alike"] and low["restored"]
        figures(f"low-VRAM path, {dtype}: difference from a full load, of the update", low["difference_of_update"])


def test_adapters_rebuilt_for_streaming(found):
    assert found["rebuilt"]["same"] and found["rebuilt"]["bytes"] > 0


@pytest.mark.parametrize("kind", ["fp8", "scaled fp8", "int8"])
def test_quantised_storage_is_wrapped(found, figures, kind):
    """At most twice what rounding W' once to bfloat16 costs, the same at the first and the tenth use."""
    result = found["quantised"][kind]
    assert result["wrapped"] == result["layers"] > 0 and result["patched"] == 0
    assert result["worst_ratio_to_rounding"] <= 2
    assert result["ten_alike"] and result["restored"]
    assert result["a_patch_would_lose"] > 0.1  # why it is wrapped
    figures(f"{kind} wrapper, bfloat16 compute: worst error against rounding once", result["worst_ratio_to_rounding"])
    figures(f"{kind}: part of the update that a patch rounded to the storage loses", result["a_patch_would_lose"])


def test_what_the_accelerator_keeps_in_fp8_is_wrapped_though_main_memory_holds_more(found):
    kept = found["kept_in_fp8"]
    assert kept["wrapped"] == kept["layers"] > 0 and kept["patched"] == 0
    assert kept["gain_is_of_what_is_kept"]


def test_stacked_with_a_core_lora(found, figures):
    """Either order is what docs/reference/dora-in-comfyui.md says, and matters little (3 % with an equal LoRA)."""
    stacking = found["stacking"]
    assert stacking["error_of_update"] < 2e-6
    assert stacking["order_changes_of_update"] < 0.03
    assert stacking["restored"]
    figures("stacked with a core LoRA of equal size: order changes, of the update", stacking["order_changes_of_update"])


def test_stock_comfyui_and_this_pack_on_one_layer(found, figures):
    """What docs/reference/dora-in-comfyui.md says, at ‖sBA‖/‖W‖ of .05, .3 and 1."""
    for ratio, result in found["stock"].items():
        assert result["this pack"] < 2e-6
        assert result["stock, bound export"] < 1e-5
        for name, value in result.items():
            figures(f"one layer, ‖sBA‖/‖W‖ = {ratio}, {name}: error of the update", value)


def test_exports(found, figures):
    """The bound export is the same picture in stock ComfyUI; peft's keys are not loaded by it, so nobody is misled."""
    export = found["export"]
    assert export["bound export"] < 1e-4
    assert export["peft's own keys loaded"] == 0
    figures("miniature's velocity, stock ComfyUI with the bound export: error of the update", export["bound export"])
    figures(
        "miniature's velocity, stock ComfyUI with magnitudes as they are: error of the update",
        export["magnitudes as they are"],
    )


def test_no_token_is_lost(found):
    for variant, counted in found["tokens"].items():
        assert counted["kept"] == counted["expected"] > 10, variant


def test_factories_give_the_same_model(found):
    assert found["cloned"] == {"model": True, "clip": True, "file": "qwen_image_edit_miniature.safetensors"}


def test_diffusers_folder(found):
    """The same numbers from another layout, read in shards and under other names."""
    folder = found["diffusers_folder"]
    assert folder.pop("2511 sees references at") == "index_timestep_zero"
    assert all(value < 1e-6 for value in folder.values()), folder


def test_another_base_is_said(found):
    assert found["base"]["own"] == ""
    assert "row norms differ by 9.1 %" in found["base"]["other"]


def test_gguf(found, comfyui, figures):
    """ComfyUI-GGUF dequantises to float16 by default: 2⁻¹¹ of W, up to 1 % of an update of a tenth of it."""
    if comfyui.gguf is None:
        pytest.skip("ComfyUI-GGUF is not among the custom nodes of the checkout; name its folder in COMFYUI_GGUF")
    gguf = found["gguf"]
    assert gguf["layers"] == found["patch"]["layers"]
    assert gguf["error_of_update"] < 0.01 and gguf["moves"] > 1e-3 and gguf["restored"] == 0
    figures("GGUF Q8_0: error of the update", gguf["error_of_update"])


def test_the_reproduction_in_the_docs_prints_what_they_say(comfyui, tmp_path):
    """docs/reference/dora-in-comfyui.md: the script and its output on the ComfyUI that it names."""
    page = (PACK / "docs" / "reference" / "dora-in-comfyui.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    wanted = page.split("On 0.33.0 it prints\n\n```\n")[1].split("```")[0]
    script = tmp_path / "dora_norm.py"
    script.write_text(code)
    environment = comfyui.environment | {"PYTHONPATH": str(comfyui.folder)}
    done = subprocess.run([comfyui.python, str(script)], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    if comfyui.version == "0.33.0":
        assert done.stdout == wanted


def test_model_and_clip_know_their_variant(found):
    """Sure by mark and marker, also after ComfyUI's own copies; a guess by the file's name; or not at all."""
    said = {name: tuple(value) for name, value in found["variants"].items()}
    marked = ("loader", "clone", "clone without dynamic VRAM", "clip", "clip's clone")
    assert {name: said[name] for name in marked} == dict.fromkeys(marked, ("2509", True))
    assert said["2511's marker"] == ("2511", True)
    assert said["name"] == ("2509", False)
    assert said["nothing"] == said["clip of another loader"] == (None, False)
