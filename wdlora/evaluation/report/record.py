"""report.json: every figure of an evaluation as plain values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ... import __version__
from ..biomarkers import Comparison
from ..copies.audit import Copies
from ..copies.findings import Findings
from ..equivalence import MARGIN, MARGIN_SD
from ..estimate import Estimate
from ..pairs import PHANTOM
from ..pillars import SetComparison

VERSION = 1
"""Of the file's layout."""


def record(found: SetComparison) -> dict[str, Any]:
    """The evaluation as JSON values. A figure is {"value", "low", "high", "n"}; where it is not defined its value is
    None and "reason" says why.
    """
    grid = found.reader.grid
    values: dict[str, Any] = {
        "report": VERSION,
        "wdlora": __version__,
        "extractor": found.reader.extractor.name,
        "tracer": found.reader.tracer,
        "rules": found.reader.rules,
        "n": {"real": len(found.real.images), "synthetic": len(found.synthetic.images), "patients": found.patients},
        "training": len(found.training.images) if found.training else None,
        "paired": found.options.pairs,
        "image": {"height": grid.shape[0], "width": grid.shape[1], "pixel_size_um": grid.pixel_size_um},
        "cohorts": counts(found),
        "notes": list(found.notes),
        "fidelity": _all(found.overall.figures) | _all(found.similarity),
        "floor": _all(found.overall.floor) | _all(found.unrelated),
    }
    if found.options.pairs:
        values["fresh_texture"] = _all(found.fresh) | {"images": PHANTOM}
    values["by_cohort"] = {
        name: _all(beside.figures) | {"floor": _all(beside.floor)} | _all(found.similarity_by_cohort.get(name, {}))
        for name, beside in found.by_cohort.items()
    }
    values["diversity"] = {name: _both(one) for name, one in found.diversity.items()}
    values |= {name: _both(one) for name, one in found.between.items()}
    values["margin"] = {"of_real_mean": MARGIN, "in_sd": MARGIN_SD}
    values["biomarkers"] = _biomarkers(found.biomarkers)
    values["copies"] = _copies(found.copies)
    return values


def counts(found: SetComparison) -> dict[str, dict[str, int]]:
    """Images of every cohort in every set; "unknown" where the cohort is not known."""
    result: dict[str, dict[str, int]] = {}
    for part in (found.real, found.synthetic, found.training):
        if part is None:
            continue
        for name in part.images.cohorts.tolist():
            row = result.setdefault(name or "unknown", {})
            row[part.images.role] = row.get(part.images.role, 0) + 1
    return result


def _all(figures: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: one.to_dict() for name, one in figures.items()}


def _both(one: Any) -> dict[str, Any]:
    return {"real": one.real.to_dict(), "synthetic": one.synthetic.to_dict()}


def _biomarkers(comparisons: Sequence[Comparison]) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = {}
    for one in comparisons:
        values: dict[str, Any] = {
            "real": one.real.to_dict(),
            "synthetic": one.synthetic.to_dict(),
            "difference": one.difference.to_dict(),
            "margin": number(one.margin),
            "p": number(one.adjusted),
            "verdict": one.verdict,
            "needed": one.needed,
            "images": list(one.images),
            "sd": [number(sd) for sd in one.sd],
            "difference_90": [number(end) for end in one.inner],
            "p_unadjusted": number(one.p),
            "tost": number(one.tost),
            "tost_0.2_sd": number(one.tost_sd),
            "cliffs_delta": one.delta.to_dict(),
            "p_ranks": number(one.ranks),
            "kolmogorov_smirnov": {"distance": number(one.shape[0]), "p": number(one.shape[1])},
            "difference_bootstrap": [number(end) for end in one.bootstrap],
            "difference_mixed_model": one.mixed.to_dict(),
        }
        if one.pairs:
            values["bland_altman"] = {"bias": one.pairs.bias[0], "limits": list(one.pairs.limits)}
            values["slope"] = dict(zip(("value", "low", "high"), one.pairs.slope, strict=True))
        if one.reason:
            values["reason"] = one.reason
        result.setdefault(one.cohort, {})[one.metric] = values
    return result


def _copies(found: Findings) -> dict[str, Any]:
    members = found.membership
    return {
        **_audit(found.images),
        "selftest": list(found.selftest),
        "against": "training" if found.trained else "real",
        "identical": found.identical,
        "as_planted": found.as_planted,
        "repeats": found.repeats,
        "masks": _audit(found.masks),
        "membership": {"auc": members.auc.to_dict(), "control": members.control.to_dict()} if members else None,
        "cannot": list(found.cannot),
    }


def _audit(one: Copies) -> dict[str, Any]:
    return {
        "count": one.count,
        "n": one.n,
        "low": one.low,
        "high": one.high,
        "p": number(one.p),
        "threshold": number(one.threshold),
        "holdout_rate": number(one.holdout_rate),
        "distance_ratio": one.ratio.to_dict(),
        "c_t": number(one.c_t),
    }


def number(value: float) -> float | None:
    """A number for JSON: None where it is not finite."""
    return float(value) if math.isfinite(value) else None
