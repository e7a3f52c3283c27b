"""Which Qwen-Image-Edit a conditioning is for: what was chosen, and what the linked parts know of themselves."""

from typing import Any

from ..wdlora.errors import InputError
from . import engine

AUTO = "auto"
KNOWN = ("edit", "2509", "2511")
CHOICES = (AUTO, *KNOWN)


def agreed_variant(chosen: str, linked: str | None, model: Any, clip: Any) -> str:
    """The one variant that choice, link, MODEL and CLIP agree on: "edit", "2509" or "2511".

    `linked` takes the place of `chosen`; "auto" leaves it to MODEL and CLIP; the name of a file counts where nothing
    else tells. Raises InputError where two differ, where nothing tells, and for another value.
    """
    from ..wdlora.qwen.variant import Known

    host = engine.current()
    said = {"linked_variant" if linked else "variant": linked or chosen}
    (given,) = said.values()
    if given not in CHOICES:
        raise InputError(f"the variant {given!r} is not known: choose one of {', '.join(CHOICES)}")
    if given == AUTO:
        said = {}
    guess = None
    for name, part in (("model", model), ("clip", clip)):
        found = Known() if part is None else host.variant_of(part)
        if found.sure:
            said[name] = found.variant
        else:
            guess = guess or found.variant
    if len(set(said.values())) > 1:
        listed = " and ".join(f"{name} is {value}" for name, value in said.items())
        raise InputError(
            f"{listed}: the picture would be painted by one model from what another was told; link parts of one model, "
            "and leave variant on auto"
        )
    if variant := next(iter(said.values()), guess):
        return variant
    where = "the linked model and clip do not tell" if model is not None else "without a linked model nothing tells"
    raise InputError(f"{where} which Qwen-Image-Edit it is: choose {', '.join(KNOWN[:-1])} or {KNOWN[-1]} in variant")
