"""The V3 interface that the host supplies: what nodes declare comes out as ComfyUI's /object_info has it."""

import subprocess
import sys

import pytest

import wdlora.errors
from wdlora.host import install_api
from wdlora.host.api import io
from wdlora.host.registry import Registry


def test_object_info_has_the_fields_of_comfyui():
    """Expected value: ComfyUI 0.33's own entry for its core node CFGNorm, written down by hand."""

    class Norm(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(
                node_id="CFGNorm",
                category="advanced/guidance",
                inputs=[
                    io.Model.Input("model"),
                    io.Float.Input("strength", default=1.0, min=0.0, max=100.0, step=0.01),
                    io.Boolean.Input("pre_cfg", default=False, optional=True, tooltip="tip"),
                ],
                outputs=[io.Model.Output(display_name="patched_model")],
                is_experimental=True,
            )

        @classmethod
        def execute(cls, model, strength, pre_cfg=False):
            return io.NodeOutput(model)

    registry = Registry()
    registry.add(Norm, "comfy_extras.nodes_cfg")
    assert registry.info()["CFGNorm"] == {
        "input": {
            "required": {
                "model": ("MODEL", {}),
                "strength": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 100.0, "step": 0.01}),
            },
            "optional": {"pre_cfg": ("BOOLEAN", {"tooltip": "tip", "default": False})},
        },
        "input_order": {"required": ["model", "strength"], "optional": ["pre_cfg"]},
        "is_input_list": False,
        "output": ["MODEL"],
        "output_is_list": [False],
        "output_name": ["patched_model"],
        "output_tooltips": [None],
        "output_matchtypes": None,
        "name": "CFGNorm",
        "display_name": None,
        "description": "",
        "python_module": "comfy_extras.nodes_cfg",
        "category": "advanced/guidance",
        "output_node": False,
        "deprecated": False,
        "experimental": True,
        "dev_only": False,
        "api_node": False,
        "price_badge": None,
        "search_aliases": None,
        "essentials_category": None,
        "has_intermediate_output": False,
    }


def test_widget_options_are_serialised_as_comfyui_does():
    combo = io.Combo.Input("file", options=["a", "b"], upload=io.UploadType.image, image_folder=io.FolderType.output)
    assert combo.as_dict() == {
        "multiselect": False,
        "options": ["a", "b"],
        "image_upload": True,
        "image_folder": "output",
    }
    text = io.String.Input("prompt", multiline=True, dynamic_prompts=True, force_input=True)
    assert text.as_dict() == {"multiline": True, "dynamicPrompts": True, "forceInput": True}
    number = io.Int.Input("n", default=1, min=0, max=9, step=1, display_mode=io.NumberDisplay.slider)
    assert number.as_dict() == {"default": 1, "min": 0, "max": 9, "step": 1, "display": "slider"}
    assert io.Custom("MINE").Output().io_type == "MINE"


def test_an_output_node_sees_the_prompt():
    schema = io.Schema(node_id="N", is_output_node=True, hidden=[io.Hidden.unique_id])
    schema.finalize()
    assert schema.input_types()["hidden"] == {
        "unique_id": ("UNIQUE_ID",),
        "prompt": ("PROMPT",),
        "extra_pnginfo": ("EXTRA_PNGINFO",),
    }


def test_what_is_not_offered_is_refused_by_name():
    with pytest.raises(AttributeError, match="Audio"):
        io.Audio  # noqa: B018
    with pytest.raises(TypeError, match="'minimum'"):
        io.Int.Input("n", minimum=3)
    with pytest.raises(ValueError, match="is_input_list"):
        io.Schema(node_id="N", is_input_list=True).validate()
    with pytest.raises(ValueError, match="used twice: a"):
        io.Schema(node_id="N", inputs=[io.Int.Input("a"), io.Mask.Input("a")]).validate()


def test_installing_twice_changes_nothing_and_serves_both_names():
    install_api()
    first = sys.modules["comfy_api.latest"]
    install_api()
    assert sys.modules["comfy_api.latest"] is first
    from comfy_api.latest import ComfyExtension, io, ui  # noqa: F401

    assert io is sys.modules["wdlora.host.api.io"]


def test_it_is_not_installed_inside_comfyui():
    """In a process of its own: a loaded `comfy_api` that is not ours stops the host with one sentence."""
    script = (
        "import sys, types; sys.modules['comfy_api'] = types.ModuleType('comfy_api')\n"
        "from wdlora.host import install_api\n"
        "from wdlora.errors import InputError\n"
        "try: install_api()\n"
        "except InputError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "the embedded host cannot start: ComfyUI's own 'comfy_api' is loaded here"


def test_the_pack_shares_the_library_with_the_host(host):
    """One copy of the library in the process, submodules included: an InputError is an InputError."""
    import importlib

    aliased = importlib.import_module("wdlora_pack.wdlora.errors")
    assert aliased is wdlora.errors
    assert wdlora.errors.__spec__.name == "wdlora.errors"
    assert sys.modules["wdlora_pack.nodes.engine"].current() is host.engine


def test_the_package_is_cheap_to_import():
    script = "import sys, wdlora.host; print([m for m in ('torch', 'numpy', 'aiohttp', 'PIL') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
