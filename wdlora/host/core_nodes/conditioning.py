"""ConditioningZeroOut: a prompt that says nothing."""

from typing import Any


class ConditioningZeroOut:
    """A CONDITIONING whose words are zeros; its pictures stay."""

    CATEGORY = "model/conditioning/transform"
    SEARCH_ALIASES = ["empty negative prompt", "null conditioning"]
    DESCRIPTION = "Puts zeros in the place of the words; the mask and a reference stay."
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "zero_out"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"conditioning": ("CONDITIONING",)}}

    def zero_out(self, conditioning: list) -> tuple:
        return ([[embeds.new_zeros(embeds.shape), dict(extra)] for embeds, extra in conditioning],)


NODES = [(ConditioningZeroOut, "Conditioning Zero Out", "nodes")]
