"""What a network reaches on phantoms that it has not seen, beside the line filters on the same ones."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdlora.anatomy import measure, sample_mask, trace
from wdlora.anatomy.overlap import dice, line_overlap
from wdlora.anatomy.phantoms.cornea.model import CorneaModel
from wdlora.anatomy.phantoms.phantom import frame
from wdlora.anatomy.phantoms.versions import version_name
from wdlora.anatomy.tracing.choices import ANNOTATED, DETAILS, LINES, VISIBLE
from wdlora.cohorts import COHORTS
from wdlora.evaluation.workers import Crew

PHANTOM = version_name(2)
EMPTY = {
    "epithelium in focus": CorneaModel(nerve_amplitude=0.0, epithelium=1.0, k_structures=0.0),
    "K-structures": CorneaModel(nerve_amplitude=0.0, epithelium=0.0, k_structures=1.0),
}
"""Frames without a nerve."""

Row = dict[str, float]


def phantom_figures(network: Path, first: int, count: int, crew: Crew) -> dict[str, Any]:
    """Means over `count` phantoms of the seeds from `first` on, and the length drawn where there is no nerve."""
    rows = crew.run(_figures_of, [(network, first + k) for k in range(count)], "figures on phantoms")
    bare = max(count // 3, 1)
    empty = crew.run(_lengths_of_nothing, [(network, first + k) for k in range(bare)], "frames without a nerve")
    found: dict[str, Any] = {"phantom": PHANTOM, "seeds": [first, first + count - 1], "without_nerves": bare}
    for name in ("network", "lines"):
        found[name] = {part: _mean([row[name][part] for row in rows]) for part in rows[0][name]}
        found[name]["length without nerves, mm/mm2"] = _mean([row[name] for row in empty])
    return found


def _figures_of(network: Path, seed: int) -> dict[str, dict[str, Row]]:
    """Of one phantom, for each tracer, overlap with all fibres and with the mask, and errors of the biomarkers."""
    nerves = sample_mask(list(COHORTS)[seed % len(COHORTS)], seed)
    image = frame(nerves, seed).image
    lines = trace(image, segmenter=LINES)  # which knows no details
    drawn = {detail: trace(image, segmenter=network, detail=detail) for detail in DETAILS}
    masks = {"network": drawn, "lines": dict.fromkeys(DETAILS, lines)}
    return {
        name: {
            "visible against all fibres": _overlap(one[VISIBLE], nerves.all_fibres),
            "annotated against mask": _overlap(one[ANNOTATED], nerves.mask) | _errors(one[ANNOTATED], nerves.mask),
        }
        for name, one in masks.items()
    }


def _overlap(found: NDArray, truth: NDArray) -> Row:
    lines = line_overlap(found, truth)
    overlap = {"precision": lines.precision, "recall": lines.recall, "clDice": lines.cl_dice}
    return overlap | {"Dice": dice(found, truth)}


def _errors(found: NDArray, truth: NDArray) -> Row:
    traced, wanted = measure(found), measure(truth)
    errors = {key: getattr(traced, key.lower()) - getattr(wanted, key.lower()) for key in ("CNFL", "CNFD", "CNBD")}
    return {f"{key} bias": error for key, error in errors.items()} | {
        f"{key} MAE": abs(error) for key, error in errors.items()
    }


def _lengths_of_nothing(network: Path, seed: int) -> dict[str, Row]:
    """CNFL that each tracer draws in frames without a nerve."""
    nerves = replace(sample_mask("T1DPN", seed), fine_share=0.0)
    found: dict[str, Row] = {"network": {}, "lines": {}}
    for what, model in EMPTY.items():
        image = frame(nerves, seed, model=model).image
        for name, choice in (("network", network), ("lines", LINES)):
            found[name][what] = measure(trace(image, segmenter=choice)).cnfl
    return found


def _mean(rows: list[Mapping[str, float]]) -> Row:
    return {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}
