"""Socket types of ComfyUI's V3 node interface, and the inputs and outputs that nodes declare with them.

Written from the documented interface of `comfy_api.latest.io`; what it serialises is compared with ComfyUI's
own `/object_info` in the tests. Options are a table, so that an option that ComfyUI does not know is an error
here too.
"""

from collections.abc import Iterable
from enum import Enum, StrEnum
from typing import Any, ClassVar

# Python name of an option -> its key in /object_info
_EVERY_INPUT = {
    "display_name": "display_name",
    "tooltip": "tooltip",
    "lazy": "lazy",
    "raw_link": "rawLink",
    "advanced": "advanced",
}
_WIDGET = {
    **_EVERY_INPUT,
    "default": "default",
    "socketless": "socketless",
    "force_input": "forceInput",
}
_RANGE = {"min": "min", "max": "max", "step": "step", "display_mode": "display"}


class FolderType(StrEnum):
    """Where a file lives: ComfyUI's three folders."""

    input = "input"
    output = "output"
    temp = "temp"


class UploadType(StrEnum):
    """What a combo's upload button accepts."""

    image = "image_upload"
    audio = "audio_upload"
    video = "video_upload"
    model = "file_upload"


class NumberDisplay(StrEnum):
    """How a number's widget looks."""

    number = "number"
    slider = "slider"
    gradient_slider = "gradientslider"


class Hidden(StrEnum):
    """Values that a node may ask for without a socket."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"
    dynprompt = "DYNPROMPT"


class Input:
    """One input of a node: its id and the options that its type knows."""

    io_type: ClassVar[str] = "*"
    known: ClassVar[dict[str, str]] = _EVERY_INPUT

    def __init__(self, id: str, *, optional: bool = False, extra_dict: dict | None = None, **options: Any):
        unknown = sorted(set(options) - set(self.known))
        if unknown:
            raise TypeError(f"{self.io_type} input {id!r} has no option {', '.join(map(repr, unknown))}")
        self.id = id
        self.optional = optional
        self.options = {**self.defaults(), **options}
        self.extra_dict = extra_dict or {}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Options that ComfyUI writes even when the node does not name them."""
        return {}

    def as_dict(self) -> dict[str, Any]:
        """The options as /object_info writes them; those left at None are left out."""
        named = {self.known[name]: _plain(value) for name, value in self.options.items() if value is not None}
        return named | {key: value for key, value in self.extra_dict.items() if value is not None}


class WidgetInput(Input):
    """An input that also has a widget."""

    known = _WIDGET


class Output:
    """One output of a node."""

    io_type: ClassVar[str] = "*"

    def __init__(
        self,
        id: str | None = None,
        display_name: str | None = None,
        tooltip: str | None = None,
        is_output_list: bool = False,
    ):
        self.id = id
        self.display_name = display_name or id
        self.tooltip = tooltip
        self.is_output_list = is_output_list


class _BooleanInput(WidgetInput):
    known = {**_WIDGET, "label_on": "label_on", "label_off": "label_off"}


class _IntInput(WidgetInput):
    known = {**_WIDGET, **_RANGE, "control_after_generate": "control_after_generate"}


class _FloatInput(WidgetInput):
    known = {**_WIDGET, **_RANGE, "round": "round"}


class _StringInput(WidgetInput):
    known = {
        **_WIDGET,
        "multiline": "multiline",
        "placeholder": "placeholder",
        "dynamic_prompts": "dynamicPrompts",
    }

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        return {"multiline": False}


class _ComboInput(WidgetInput):
    known = {
        **{name: key for name, key in _WIDGET.items() if name != "force_input"},
        "multiselect": "multiselect",
        "options": "options",
        "control_after_generate": "control_after_generate",
        "image_folder": "image_folder",
        "upload": "upload",
    }

    def __init__(self, id: str, options: Iterable[Any] | type[Enum] | None = None, **rest: Any):
        if isinstance(options, type) and issubclass(options, Enum):
            options = [member.value for member in options]
        super().__init__(id, options=None if options is None else list(options), **rest)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        return {"multiselect": False}

    def as_dict(self) -> dict[str, Any]:
        serialised = super().as_dict()
        upload = serialised.pop("upload", None)
        return serialised if upload is None else {**serialised, upload: True}


class ComfyType:
    """A socket type: `Int.Input(…)`, `Int.Output(…)`, `Int.io_type`."""

    io_type: ClassVar[str]
    Input: ClassVar[type]
    Output: ClassVar[type]


def socket_type(name: str, io_type: str, input_class: type[Input] = Input) -> Any:
    """Make the class `name` whose inputs and outputs carry `io_type`."""
    return type(
        name,
        (ComfyType,),
        {
            "io_type": io_type,
            "Input": type("Input", (input_class,), {"io_type": io_type}),
            "Output": type("Output", (Output,), {"io_type": io_type}),
            "__doc__": f"Sockets of type {io_type}.",
        },
    )


def Custom(io_type: str) -> Any:
    """A socket type of a node pack's own."""
    return socket_type("CustomType", io_type)


Boolean = socket_type("Boolean", "BOOLEAN", _BooleanInput)
Int = socket_type("Int", "INT", _IntInput)
Float = socket_type("Float", "FLOAT", _FloatInput)
String = socket_type("String", "STRING", _StringInput)
Combo = socket_type("Combo", "COMBO", _ComboInput)
Image = socket_type("Image", "IMAGE")
Mask = socket_type("Mask", "MASK")
Latent = socket_type("Latent", "LATENT")
Conditioning = socket_type("Conditioning", "CONDITIONING")
Clip = socket_type("Clip", "CLIP")
Vae = socket_type("Vae", "VAE")
Model = socket_type("Model", "MODEL")
AnyType = socket_type("AnyType", "*")


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
