"""LoadImage, LoadImageMask, SaveImage, PreviewImage, ImageBatch."""

import os
import secrets
from typing import Any

from ...errors import InputError
from ...files import sha256
from ..api.inputs import FolderType
from ..api.ui import save_png
from ..folders import active
from ..pictures import check_pixels, opened


def read_picture(path: str) -> tuple[Any, Any]:
    """Read a picture file: IMAGE [B, H, W, 3] and MASK [B, H, W] (1 where transparent; 64 × 64 zeros without alpha).

    The frames of an animation that have the first one's size become the batch. Raises InputError for a file
    that is no picture, or whose frames have more than 64 million pixels together.
    """
    import numpy as np
    import torch
    from PIL import ImageOps, ImageSequence

    from ...clinic.pictures import deep_grey, misread, turn_left, turned_array

    images: list[Any] = []
    masks: list[Any] = []
    name = os.path.basename(path)
    with opened(path, name) as file:
        if misread(file):
            raise InputError(f"{name} is a TIFF on its side: save it upright, or as PNG")
        for frame in ImageSequence.Iterator(file):
            check_pixels(frame, name, len(images) + 1)
            frame.load()
            deep = deep_grey(frame, name)
            turn = turn_left(frame)
            upright = ImageOps.exif_transpose(frame)
            if deep is not None:  # more than 8 bits of grey
                grey = turned_array(_from_0_to_1(deep, name), turn)
                pixels = np.stack([grey] * 3, axis=-1)
            else:
                pixels = np.asarray(upright.convert("RGB")).astype(np.float32) / 255
            if images and pixels.shape != tuple(images[0].shape):
                continue
            images.append(torch.from_numpy(pixels))
            alpha = upright.convert("RGBA").getchannel("A") if upright.has_transparency_data else None
            masks.append(None if alpha is None else 1 - torch.from_numpy(np.asarray(alpha).astype(np.float32) / 255))
    opaque = torch.zeros(images[0].shape[:2] if any(mask is not None for mask in masks) else (64, 64))
    return torch.stack(images), torch.stack([opaque if mask is None else mask for mask in masks])


def _from_0_to_1(grey: Any, name: str) -> Any:
    """Grey of any type as float32 in [0, 1]; floats beyond it do not say what is white."""
    import numpy as np

    if grey.dtype != np.float32:
        return grey.astype(np.float32) / np.iinfo(grey.dtype).max
    if not (grey.min() >= 0 and grey.max() <= 1):
        raise InputError(
            f"{name} holds values from {grey.min():g} to {grey.max():g} and does not say what is white: "
            "save it in 8 or 16 bits"
        )
    return grey


class LoadImage:
    """A picture of the input folder."""

    CATEGORY = "image"
    ESSENTIALS_CATEGORY = "Basics"
    SEARCH_ALIASES = ["open picture", "image input", "upload"]
    RETURN_TYPES: tuple[str, ...] = ("IMAGE", "MASK")
    FUNCTION = "load_image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        folders = active()
        names = [
            entry.name for entry in os.scandir(folders.input) if entry.is_file() and not entry.name.startswith(".")
        ]
        pictures = sorted(folders.filter_files_content_types(names, ["image"]))
        return {"required": {"image": (pictures, {"image_upload": True})}}

    def load_image(self, image: str) -> tuple:
        return read_picture(active().get_annotated_filepath(image))

    @classmethod
    def IS_CHANGED(cls, image: str) -> str:
        return sha256(active().get_annotated_filepath(image))

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> bool | str:
        if image is not None and not active().exists_annotated_filepath(image):
            return f"Invalid image file: {image}"
        return True


class LoadImageMask:
    """One channel of a picture of the input folder as a mask."""

    CATEGORY = "image"
    ESSENTIALS_CATEGORY = "Image Tools"
    SEARCH_ALIASES = ["mask from a channel", "alpha"]
    RETURN_TYPES = ("MASK",)
    FUNCTION = "load_image_mask"
    CHANNELS = ("alpha", "red", "green", "blue")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        image = LoadImage.INPUT_TYPES()["required"]
        return {"required": {**image, "channel": (list(cls.CHANNELS),)}}

    def load_image_mask(self, image: str, channel: str) -> tuple:
        picture, mask = read_picture(active().get_annotated_filepath(image))
        if channel == "alpha":
            return (mask,)
        return (picture[..., self.CHANNELS.index(channel) - 1].clone(),)

    @classmethod
    def IS_CHANGED(cls, image: str, channel: str) -> str:
        return LoadImage.IS_CHANGED(image)

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> bool | str:
        return LoadImage.VALIDATE_INPUTS(image)


class SaveImage:
    """Numbered PNG files in the output folder, with the graph in them."""

    CATEGORY = "image"
    ESSENTIALS_CATEGORY = "Basics"
    DESCRIPTION = "Writes pictures as PNG to the output folder, with the graph in them."
    SEARCH_ALIASES = ["write picture", "export", "png"]
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    FUNCTION = "save_images"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "Pictures to write, one file each."}),
                "filename_prefix": (
                    "STRING",
                    {
                        "default": "ComfyUI",
                        "tooltip": "Start of the file names, with folders if wanted; %year%, %width% … are filled in.",
                    },
                ),
            },
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save_images(
        self, images: Any, filename_prefix: str = "ComfyUI", prompt: Any = None, extra_pnginfo: Any = None
    ) -> dict[str, Any]:
        saved = save_png(images, filename_prefix, FolderType.output, prompt=prompt, extra_pnginfo=extra_pnginfo)
        return {"ui": {"images": saved}, "result": (images,)}


class PreviewImage:
    """Pictures shown under the node."""

    CATEGORY = "image"
    ESSENTIALS_CATEGORY = "Basics"
    DESCRIPTION = "Shows pictures under the node; they are gone after a restart."
    SEARCH_ALIASES = ["show picture", "image viewer"]
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    FUNCTION = "save_images"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"images": ("IMAGE",)},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save_images(self, images: Any, prompt: Any = None, extra_pnginfo: Any = None) -> dict[str, Any]:
        prefix = f"ComfyUI_temp_{secrets.token_hex(3)}"
        saved = save_png(images, prefix, FolderType.temp, prompt=prompt, extra_pnginfo=extra_pnginfo, compress_level=1)
        return {"ui": {"images": saved}, "result": (images,)}


class ImageBatch:
    """Two batches of pictures of one size as one batch."""

    CATEGORY = "image/batch"
    DEPRECATED = True
    SEARCH_ALIASES = ["join pictures"]
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "batch"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"image1": ("IMAGE",), "image2": ("IMAGE",)}}

    def batch(self, image1: Any, image2: Any) -> tuple:
        import torch

        if image1.shape[1:] != image2.shape[1:]:
            sizes = f"{tuple(image1.shape[1:])} and {tuple(image2.shape[1:])}"
            raise InputError(f"the pictures differ in size, {sizes}; the embedded host batches equal sizes only")
        return (torch.cat((image1, image2)),)


NODES = [
    (LoadImage, "Load Image", "nodes"),
    (LoadImageMask, "Load Image (as Mask)", "nodes"),
    (SaveImage, "Save Image", "nodes"),
    (PreviewImage, "Preview Image", "nodes"),
    (ImageBatch, "Batch Images (DEPRECATED)", "nodes"),
]
