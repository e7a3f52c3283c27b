"""Nodes that measure corneal nerves."""

import json
from functools import partial
from typing import Any

from comfy_api.latest import io

from ..wdlora.anatomy.biomarkers.units import UNITS
from ..wdlora.errors import InputError
from . import engine, tensors
from .outlines import outline_note
from .watching import watched

CATEGORY = "CCM/biomarkers"

# Rows of the table under the node: key of Biomarkers.to_dict(), label, decimals.
PANEL_ROWS = (
    ("cnfl", "CNFL  nerve fibre length", 2),
    ("cnfd", "CNFD  nerve fibre density", 2),
    ("cnbd", "CNBD  branch density", 2),
    ("ctbd", "CTBD  total branch density", 2),
    ("cnfa", "CNFA  nerve fibre area", 4),
    ("cnfw", "CNFW  nerve fibre width", 2),
)


class CCMBiomarkers(io.ComfyNode):
    """Measures the corneal nerve biomarkers of masks and shows them as a table."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CCMBiomarkers",
            display_name="CCM Biomarkers",
            category=CATEGORY,
            description="Measures corneal nerve fibre length, density, branching, area and width of nerve masks, "
            "and shows them in a table under the node. For images, trace them first (CCM Trace).",
            search_aliases=["CNFL", "CNFD", "CNBD", "measure nerves", "nerve fibre length", "ACCMetrics"],
            is_output_node=True,
            inputs=[
                io.Mask.Input("masks", tooltip="Nerve masks, 1 on nerve; a batch is measured one by one."),
                pixel_size_input(),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="What the overlay is drawn on: one image for each mask, of its size. Without it, the "
                    "masks.",
                ),
                io.Mask.Input(
                    "valid",
                    optional=True,
                    tooltip="1 where there is image (from CCM Trace or CCM Load Image): lengths and numbers are per "
                    "area that was seen. One, or one for each mask. Without it, the whole mask.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="json",
                    tooltip="Every biomarker of every mask, with units in docs/reference/biomarkers.md, as JSON.",
                ),
                io.String.Output(display_name="csv", tooltip="The same as CSV, one line for each mask."),
                io.Image.Output(
                    display_name="overlay",
                    tooltip="What was measured: trunks red, branches amber, free fibres blue, branch points ringed.",
                ),
            ],
        )

    @classmethod
    def execute(cls, masks: Any, pixel_size_um: float, images: Any = None, valid: Any = None) -> Any:
        from ..wdlora.anatomy import measure
        from ..wdlora.anatomy.biomarkers.overlay import overlay

        arrays = tensors.mask_arrays(masks, "masks")
        if images is None:
            grounds = [array.astype("uint8") * 110 for array in arrays]
        else:
            grounds = tensors.grey_arrays(images, "images")
            tensors.same_size(arrays, grounds, ("masks", "images"))
        areas = seen_areas(valid, arrays, "masks")
        progress = engine.current().progress(len(arrays))
        measured, drawn = [], []
        for array, ground, area in zip(arrays, grounds, areas, strict=True):
            found = watched(partial(measure, array, pixel_size_um, valid=area))
            measured.append(found.to_dict())
            drawn.append(overlay(ground, found))
            progress.advance()
        text = json.dumps(measured, indent=1)
        table = biomarker_table(measured)
        if note := outline_note(arrays, pixel_size_um):
            table["caption"] += f"; {note}"
        under_node = {"ccm_table": [table], "text": [text]}
        return io.NodeOutput(text, as_csv(measured), tensors.as_image(drawn), ui=under_node)


def seen_areas(valid: Any, pictures: list[Any], name: str) -> list[Any]:
    """The valid area bool [H, W] of each picture from one, or one each; None where all was seen.

    Raises InputError for another number of areas.
    """
    if valid is None:
        return [None] * len(pictures)
    areas = tensors.mask_arrays(valid, "valid")
    if len(areas) not in (1, len(pictures)):
        raise InputError(f"valid is a batch of {len(areas)} for {len(pictures)} {name}: link one, or one each")
    each = [areas[index % len(areas)] for index in range(len(pictures))]
    # An area of another size is no whole one: whoever takes it says so.
    return [None if a.shape == p.shape and a.all() else a for a, p in zip(each, pictures, strict=True)]


def pixel_size_input(more: str = "") -> Any:
    """The input for the side of a pixel; `more` is what else its tooltip says."""
    return io.Float.Input(
        "pixel_size_um",
        default=round(400 / 384, 4),
        min=0.01,
        max=100.0,
        step=0.0001,
        round=0.0001,
        tooltip="Side of one pixel in µm. 1.0417 for the Heidelberg Rostock Cornea Module (400 µm in 384 pixels)."
        + (more and f" {more}"),
    )


def biomarker_table(measured: list[dict[str, Any]]) -> dict[str, Any]:
    """Table of the biomarkers of one mask, or their mean and SD over a batch."""
    columns = ["biomarker", "value", "unit"] if len(measured) == 1 else ["biomarker", "mean", "SD", "unit"]
    rows = []
    for key, label, digits in PANEL_ROWS:
        values = [float(one[key]) for one in measured if one.get(key) is not None]
        if not values:
            continue
        mean = sum(values) / len(values)
        numbers = [f"{mean:.{digits}f}"]
        if len(measured) > 1:
            spread = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5 if len(values) > 1 else None
            numbers.append("–" if spread is None else f"{spread:.{digits}f}")
        rows.append([label, *numbers, UNITS[key]])
    caption = "one mask" if len(measured) == 1 else f"{len(measured)} masks, mean and sample SD"
    empty = sum(not one["length_mm"] for one in measured)
    if empty:
        caption += "; it holds no nerve" if len(measured) == 1 else f"; {empty} hold no nerve"
    return tensors.table(columns, rows, caption)


def as_csv(measured: list[dict[str, Any]]) -> str:
    """One line a mask, after a line of names; only what is a number or a text."""
    from ..wdlora.csv_table import csv_text

    names = [key for key, value in measured[0].items() if isinstance(value, (int, float, str, type(None)))]
    return csv_text([{"mask": index, **one} for index, one in enumerate(measured)], ["mask", *names])


NODES = [CCMBiomarkers]
