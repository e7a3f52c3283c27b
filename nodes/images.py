"""The node that loads images as clinics have them."""

from typing import Any

from comfy_api.latest import io

from ..wdlora.errors import InputError
from . import files, tensors

CATEGORY = "CCM/images"
NAMED = files.Named()


class CCMLoadImage(io.ComfyNode):
    """Loads a confocal image with its pixel size."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CCMLoadImage",
            display_name="CCM Load Image",
            category=CATEGORY,
            description="Loads a corneal confocal image as clinics have it (BMP, TIFF, PNG, JPEG, DICOM, 8 or 16 "
            "bits) together with its pixel size. Names, dates and other tags of the file are not read.",
            search_aliases=["DICOM", "TIFF", "load image", "HRT", "Heidelberg", "open image", "pixel size"],
            inputs=[
                io.Combo.Input(
                    "image",
                    options=pictures(),
                    upload=io.UploadType.image,
                    image_folder=io.FolderType.input,
                    tooltip="A file in ComfyUI's input folder.",
                ),
                io.Float.Input(
                    "pixel_size_um",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.0001,
                    round=0.0001,
                    tooltip="Side of one pixel in µm; 0 takes it from the file. 1.0417 for the Heidelberg Rostock "
                    "Cornea Module (400 µm in 384 pixels).",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The image [1, H, W, 3], grey."),
                io.Mask.Output(
                    display_name="valid", tooltip="1 where there is image, 0 in the black surroundings of a mosaic."
                ),
                io.Float.Output(display_name="pixel_size_um", tooltip="Side of one pixel in µm."),
                io.String.Output(display_name="report", tooltip="Size, bits, and what was cut off."),
            ],
        )

    @classmethod
    def validate_inputs(cls, image: Any) -> Any:
        return files.sentence(picture_path, image)

    @classmethod
    def fingerprint_inputs(cls, image: Any, **_: Any) -> Any:
        from ..wdlora.files import sha256

        return NAMED.changes() if image is None else sha256(picture_path(image))

    @classmethod
    @files.without_paths
    def execute(cls, image: str, pixel_size_um: float) -> Any:
        import numpy as np
        import torch

        from ..wdlora.clinic.images import read_image

        path = picture_path(image)
        NAMED.note(path)
        check_header(path, image)
        try:
            read = read_image(path, pixel_size_um or None)
        except InputError as problem:
            raise InputError(str(problem).replace(path, image)) from None
        check_sides(*read.pixels.shape, image)
        if read.pixel_size_um is None:
            raise InputError(f"{image} does not say its pixel size: set pixel_size_um (1.0417 for an HRT III image)")
        row, column = read.pixel_size_um
        if abs(row / column - 1) > 0.01:
            raise InputError(
                f"the pixels of {image} are {row:g} × {column:g} µm, not square: resample it to square pixels first"
            )
        grey, scale = scaled(read.pixels)
        pixels = torch.from_numpy(np.ascontiguousarray(grey))
        size = float((row * column) ** 0.5)
        lines = [f"{grey.shape[1]} × {grey.shape[0]} pixels of {size:.4f} µm, {scale}"]
        if not read.valid.all():
            lines.append(f"{100 * read.valid.mean():.0f} % of the area hold image")
        if read.cropped:
            lines.append(read.cropped)
        return io.NodeOutput(
            pixels[None, ..., None].expand(-1, -1, -1, 3), tensors.as_mask([read.valid]), size, "\n".join(lines)
        )


def pictures() -> list[str]:
    """Names of the image files in the input folder, DICOM included, and in its subfolders."""
    import os

    import folder_paths

    from ..wdlora.dataset.folder import IMAGE_SUFFIXES

    root = folder_paths.get_input_directory()
    found = [
        os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")
        for folder, _, names in os.walk(root)
        for name in names
        if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")
    ]
    return sorted(found)


def picture_path(name: str) -> str:
    """The path of an image of the input folder, also by its pseudonym.

    Raises InputError where it is missing or lies elsewhere.
    """
    import os

    import folder_paths

    from ..wdlora.dataset.folder import IMAGE_SUFFIXES
    from ..wdlora.privacy.pseudonym import find_by_content

    kinds = {"[output]": "output", "[input]": "input", "[temp]": "temp"}
    note = next((note for note in kinds if str(name).endswith(note)), "[input]")
    root = folder_paths.get_directory_by_type(kinds[note])
    path = files.confined(root, str(name).removesuffix(note).rstrip(), "image")
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"{name!r} is not an image file: give one of {', '.join(IMAGE_SUFFIXES)}")
    if not os.path.isfile(path) and (found := find_by_content(root, path.name)) is not None:
        return str(found)
    if not os.path.isfile(path):
        raise InputError(f"there is no image {name!r}: put it into the {kinds[note]} folder", input="image")
    return str(path)


def check_header(path: str, name: str) -> None:
    """`check_sides` by the file's header alone, where it is a picture."""
    import warnings
    from contextlib import suppress

    from PIL import Image

    from ..wdlora.clinic.pictures import DAMAGED

    size = (0, 0)
    with warnings.catch_warnings(), suppress(*DAMAGED, Image.DecompressionBombError):
        warnings.simplefilter("ignore")  # the limit below is the stricter one
        with Image.open(path) as picture:
            size = picture.size
    check_sides(*reversed(size), name)


def check_sides(height: int, width: int, name: str) -> None:
    """Raise InputError for a picture too large for a graph."""
    if max(height, width) > tensors.LARGEST_SIDE:
        raise InputError(
            f"{name} is {width} × {height} pixels; the largest side allowed is {tensors.LARGEST_SIDE}: "
            "give a part of it"
        )


def scaled(pixels: Any) -> tuple[Any, str]:
    """Pixels as float32 in [0, 1], and a word on how: by the range of the type, floats beyond [0, 1] by their own."""
    import numpy as np

    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32) / 255, "8 bits"
    if pixels.dtype == np.uint16:
        return pixels.astype(np.float32) / 65535, "16 bits"
    low, high = float(pixels.min()), float(pixels.max())
    if low >= 0 and high <= 1:
        return pixels.astype(np.float32), "floating point"
    return ((pixels - low) / max(high - low, 1e-12)).astype(np.float32), f"floating point, scaled from {low:g}–{high:g}"


NODES = [CCMLoadImage]
