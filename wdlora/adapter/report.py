"""What an adapter file holds, and against its base how far it moves every layer: as JSON values and as text."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .file import Adapter

if TYPE_CHECKING:
    from ..weights.base import Base, Weights
    from .movement import Movement


def adapter_report(
    adapter: Adapter, base: "Base | None", progress: Callable[[Iterable[str]], Iterable[str]]
) -> "tuple[dict[str, Any], list[Movement] | None]":
    """The whole report and, against a base, the movements behind it. `progress` wraps the layers to measure."""
    report = describe(adapter)
    if base is None:
        return report, None
    from ..weights.base import Weights
    from .movement import by_block, movements, summary

    weights = Weights(base)
    report["base"] = compared(adapter, weights)
    moved = movements(adapter, weights, progress)
    report["total"] = summary(moved)
    report["blocks"] = [{"block": block, **summary(group)} for block, group in by_block(moved).items()]
    report["modules"] = [{"module": m.module, **summary([m])} for m in moved]
    return report, moved


def describe(adapter: Adapter) -> dict[str, Any]:
    """What can be said of an adapter without its base."""
    from .names import block_and_target

    layers = adapter.layers.values()
    ranks = Counter(layer.rank for layer in layers)
    kinds = Counter(block_and_target(name)[1] for name in adapter.layers)
    axes = {layer.axis for layer in layers if layer.magnitude is not None}
    return {
        "dialect": adapter.dialect,
        "method": "LoRA" if not axes else "WDLoRA",
        "axis": " + ".join(sorted(axes)) or None,
        "rank": adapter.rank,
        "ranks": {str(rank): n for rank, n in sorted(ranks.items())},
        "scaling": sorted({layer.scaling for layer in layers}),
        "layers": len(adapter.layers),
        "targets": dict(sorted(kinds.items())),
        "parameters": adapter.parameters,
        "magnitudes": sum(layer.magnitude.numel() for layer in layers if layer.magnitude is not None),
        "notes": list(adapter.notes),
        "storage": sorted({str(layer.lora_a.dtype).removeprefix("torch.") for layer in layers}),
        "metadata": adapter.metadata.to_dict(),
        "stock_comfyui": in_stock_comfyui(adapter),
    }


def in_stock_comfyui(adapter: Adapter) -> str:
    """What ComfyUI's own LoRA loader (0.33) makes of the file; our WDLoRA Apply node applies all of them exactly."""
    if "peft" in adapter.dialect:
        return "not loaded by ComfyUI's own LoRA loader; the WDLoRA Apply node applies it exactly"
    if not adapter.weight_decomposed:
        return "a plain LoRA, which ComfyUI's own LoRA loader applies as it should"
    if "bound" in adapter.dialect:
        name = adapter.metadata.dora_scale_base or "the base it was exported for"
        return f"exact in ComfyUI 0.33 on {name} alone; wrong once ComfyUI evaluates DoRA as published"
    if all(layer.axis == "input" for layer in adapter.layers.values()):
        return "decomposed over the input axis, which ComfyUI's own LoRA loader evaluates as published"
    if "diffusers" in adapter.dialect or "without prefix" in adapter.dialect:
        return "ComfyUI's own LoRA loader drops the magnitudes, a wrong picture; use the WDLoRA Apply node"
    return "ComfyUI's own LoRA loader takes the wrong norm, a wrong picture; use the WDLoRA Apply node"


def compared(adapter: Adapter, base: "Weights") -> dict[str, Any]:
    """The base, and how it differs from the one of training."""
    result: dict[str, Any] = {"name": base.label, "quantisation": base.quantisation}
    if adapter.metadata.base_sha256 or adapter.row_norms:
        change = adapter.difference(base)
        result |= {
            "same_file": change.same_base,
            "same_quantisation": change.same_quantisation,
            "row_norms_median_percent": change.median_percent,
            "row_norms_max_percent": change.max_percent,
            "sentence": change.sentence,
        }
    else:
        result["sentence"] = "the adapter does not record the base that it was trained on"
    bound_to = adapter.metadata.dora_scale_base_sha256
    if "bound" in adapter.dialect and bound_to is not None:
        result["dora_scale_is_for_this_base"] = bound_to == base.sha256
        result["sentence"] += f"; its dora_scale is {'' if bound_to == base.sha256 else 'not '}bound to this file"
    return result


def report_text(report: dict[str, Any]) -> str:
    """The report for a terminal."""
    method = {"LoRA": "LoRA", "WDLoRA": f"WDLoRA (weight-decomposed, {report['axis']} axis)"}[report["method"]]
    ranks = report["ranks"]
    rank = str(report["rank"]) if len(ranks) == 1 else ", ".join(f"{r} ({n} layers)" for r, n in ranks.items())
    scalings = report["scaling"]
    scaling = f"{scalings[0]:g}" if len(scalings) == 1 else f"{scalings[0]:g} to {scalings[-1]:g}"
    kinds = ", ".join(f"{kind} ×{n}" for kind, n in report["targets"].items())
    rows = [
        ("dialect", report["dialect"]),
        ("method", method),
        ("rank", rank),
        ("scaling", scaling),
        ("layers", f"{report['layers']}: {kinds}"),
        ("parameters", f"{report['parameters']:,}, of them {report['magnitudes']:,} magnitudes"),
        ("storage", ", ".join(report["storage"])),
        ("in ComfyUI", report["stock_comfyui"]),
        *(("note", printable(note)) for note in report["notes"]),
    ]
    metadata = dict(report["metadata"])
    other = metadata.pop("other", {})
    for name in ("rank", "alpha", "targets"):
        metadata.pop(name, None)
    rows += [(name.replace("_", " "), printable(value)) for name, value in metadata.items()]
    if other:
        rows.append(("other metadata", ", ".join(printable(name) for name in sorted(other))))
    lines = [f"{name:<22} {value}" for name, value in rows]
    if "base" in report:
        lines += ["", f"Against {printable(report['base']['name'])} ({report['base']['quantisation']})"]
        lines += [report["base"]["sentence"], ""]
        lines.append(f"{'block':<8}{'rows turned by':>22}{'magnitudes changed by':>30}")
        lines.append(f"{'':<8}{'median':>12}{'95 %':>10}{'median':>18}{'95 %':>12}")
        lines += [_row("outer" if b["block"] is None else str(b["block"]), b) for b in report["blocks"]]
        lines.append(_row("all", report["total"]))
    return "\n".join(lines)


def _row(name: str, s: dict[str, Any]) -> str:
    if not s["rows"]:
        return f"{name:<8}{'only rows of zeros':>22}"
    turned = f"{s['direction_degrees_median']:>11.3f}°{s['direction_degrees_p95']:>9.3f}°"
    return f"{name:<8}{turned}{s['magnitude_percent_median']:>16.3f} %{s['magnitude_percent_p95']:>10.3f} %"


def printable(value: object) -> str:
    """A value as a line of text for a terminal, at most 300 characters."""
    text = "".join(c if c.isprintable() else "?" for c in str(value))
    return text if len(text) <= 300 else text[:299] + "…"
