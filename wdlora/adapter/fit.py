"""Which layers of an adapter a model has, and whether it is the model that the adapter was trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..errors import InputError
from .file import Adapter

BASE_SAMPLE = 6
"""Layers whose row norms tell whether a base is the adapter's own."""


@dataclass(frozen=True)
class PatchReport:
    """What became of an adapter on a model.

    `matched`: layers of the model that the adapter changes; `unmatched`: layers of the adapter that the model lacks;
    `base`: one sentence on the base that the adapter was trained on, empty where it is this one or not recorded.
    """

    matched: tuple[str, ...]
    unmatched: tuple[str, ...]
    base: str


def fitting(
    adapter: Adapter, shape_of: Callable[[str], Sequence[int] | None], label: str
) -> tuple[Adapter, tuple[str, ...]]:
    """The adapter with the layers that a model has, and the names of those that it lacks.

    `shape_of` gives the shape [out, in] of the model's layer of that name, None where it has none; `label` names the
    model to the user. Raises InputError where no layer fits, or where one has another shape.
    """
    shapes = {name: shape_of(name) for name in adapter.layers}
    matched = {name: layer for name, layer in adapter.layers.items() if shapes[name] is not None}
    if not matched:
        example = next(iter(adapter.layers), "none at all")
        raise InputError(f"the adapter fits another model: {label} has none of its layers (such as {example})")
    for name, layer in matched.items():
        shape = list(shapes[name] or ())
        if list(layer.shape) != shape:
            raise InputError(
                f"the adapter fits another model: its layer {name} is {list(layer.shape)}, that of {label} is {shape}"
            )
    norms = adapter.row_norms
    if norms is not None:
        norms = {name: norm for name, norm in norms.items() if name in matched} or None
    unmatched = tuple(name for name in adapter.layers if name not in matched)
    return replace(adapter, layers=matched, row_norms=norms), unmatched


def base_sentence(adapter: Adapter, path: str | None) -> str:
    """One sentence on another base than the adapter's own; empty where it is the same or nothing is known.

    Where the adapter records row norms, those of a few layers spread over the model tell; only without them the
    file's hash is needed, for which all of it is read once.
    """
    known = adapter.metadata
    if path is None or (known.base_sha256 is None and known.base_model is None and adapter.row_norms is None):
        return ""
    names = [name for name in adapter.layers if adapter.row_norms is None or name in adapter.row_norms]
    names = names[:: max(1, len(names) // BASE_SAMPLE)]
    sample = replace(adapter, layers={name: adapter.layers[name] for name in names})
    if adapter.row_norms is None:
        found = sample.difference(path)
        return "" if found.same_base and found.same_quantisation is not False else found.sentence
    sample.row_norms = {name: adapter.row_norms[name] for name in names}
    sample.metadata = known.replace(base_sha256=None)
    found = sample.difference(path)
    return "" if found.max_percent == 0 and found.same_quantisation is not False else found.sentence
