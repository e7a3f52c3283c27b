"""The node that compares the biomarkers of two groups of images."""

import json
import math
from typing import Any

from comfy_api.latest import io

from ..wdlora.anatomy.biomarkers.units import UNITS
from ..wdlora.errors import InputError
from . import tensors
from .biomarkers import PANEL_ROWS

CATEGORY = "CCM/biomarkers"


class CCMCompareBiomarkers(io.ComfyNode):
    """Compares two groups of measured images."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CCMCompareBiomarkers",
            display_name="CCM Compare Biomarkers",
            category=CATEGORY,
            description="Two groups of measured images side by side: mean and SD, difference with its 95 % interval "
            "(Welch's, or Student's of pairs), standardised difference (Hedges' g), and a plot.",
            search_aliases=[
                "statistics",
                "group difference",
                "t-test",
                "plot biomarkers",
                "effect size",
                "real vs fake",
            ],
            is_output_node=True,
            inputs=[
                io.String.Input("group_a", force_input=True, tooltip="json of CCM Biomarkers for the first group."),
                io.String.Input("group_b", force_input=True, tooltip="json of CCM Biomarkers for the second group."),
                io.String.Input("name_a", default="A", tooltip="Name of the first group, such as masks."),
                io.String.Input("name_b", default="B", tooltip="Name of the second group, such as painted."),
                io.Boolean.Input(
                    "paired",
                    default=False,
                    optional=True,
                    tooltip="On if image i of both groups belongs together, such as a mask and its picture. Off for "
                    "independent images.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="plot", tooltip="Every image as a dot, beside its group's mean and SD."),
                io.String.Output(display_name="json", tooltip="The comparison as JSON."),
                io.String.Output(display_name="csv", tooltip="The same as CSV, one line for each biomarker."),
            ],
        )

    @classmethod
    def execute(cls, group_a: str, group_b: str, name_a: str, name_b: str, paired: bool = False) -> Any:
        from ..wdlora.evaluation.groups import contrasts, group_picture

        groups = parsed(group_a, "group_a"), parsed(group_b, "group_b")
        names = (name_a.strip() or "A")[:24], (name_b.strip() or "B")[:24]
        found = contrasts(*groups, paired)
        digits = {key: decimals for key, _, decimals in PANEL_ROWS}
        labels = {key: f"{label.split('  ')[0]}, {UNITS[key]}" for key, label, _ in PANEL_ROWS}
        rows = [
            [
                labels[one.key],
                *(_spread(mean, sd, digits[one.key]) for mean, sd in zip(one.mean, one.sd, strict=True)),
                _interval(one.difference, one.low, one.high, digits[one.key]),
                _number(one.effect, 2),
            ]
            for one in found
        ]
        columns = ["biomarker", f"{names[0]}  mean ± SD", f"{names[1]}  mean ± SD", "difference [95 %]", "g"]
        counted = (
            f"{len(groups[0])} pairs"
            if paired
            else f"{names[0]}: {len(groups[0])} images, {names[1]}: {len(groups[1])}"
        )
        caption = f"{counted}; difference {names[1]} − {names[0]}"
        values = {"names": names, "paired": paired, "biomarkers": [one.to_dict() for one in found]}
        image = tensors.as_image([group_picture(*groups, names, labels)])
        under_node = {"ccm_table": [tensors.table(columns, rows, caption)]}
        return io.NodeOutput(image, json.dumps(values, indent=1), _csv(found), ui=under_node)


def parsed(text: str, name: str) -> list[dict[str, Any]]:
    """The measurements in a JSON text, rule sets by their present names.

    Raises InputError where it is not CCM Biomarkers' own.
    """
    from ..wdlora.anatomy.biomarkers.rules import present_label

    try:
        group = json.loads(text)
    except ValueError:
        group = None
    if not isinstance(group, list) or not group or not all(isinstance(one, dict) and "cnfl" in one for one in group):
        raise InputError(f"{name} holds no measured images: link the json output of CCM Biomarkers")
    for one in group:
        for key, *_ in PANEL_ROWS:
            if not isinstance(one.get(key), (int, float, type(None))):
                raise InputError(
                    f"{name} holds {key} = {str(one[key])[:40]!r}, which is not a number: link CCM Biomarkers"
                )
    return [one | {"rules": present_label(str(one.get("rules")))} for one in group]


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def _spread(mean: float, sd: float, digits: int) -> str:
    return f"{_number(mean, digits)} ± {_number(sd, digits)}"


def _interval(value: float, low: float, high: float, digits: int) -> str:
    return f"{_number(value, digits)} [{_number(low, digits)}, {_number(high, digits)}]"


def _csv(found: Any) -> str:
    from ..wdlora.csv_table import csv_text

    names = ["biomarker", "n_a", "n_b", "mean_a", "mean_b", "sd_a", "sd_b", "difference", "low", "high", "hedges_g"]
    lines = [(one.key, *one.n, *one.mean, *one.sd, one.difference, one.low, one.high, one.effect) for one in found]
    return csv_text([dict(zip(names, line, strict=True)) for line in lines], names)


NODES = [CCMCompareBiomarkers]
