"""Versioned rule sets: what counts as a nerve, a trunk and a branch point, and how length is read from pixels.

Figures measured under different rules are not comparable, so every result carries its rule set's name and
version. Lengths are in µm; the pixel counts that the field quotes are at 400/384 µm a pixel.
"""

from dataclasses import dataclass, replace
from typing import Literal

from ...errors import InputError
from ..scale import PIXEL_SIZE_UM


@dataclass(frozen=True)
class RuleSet:
    """How a skeleton is cleaned, measured and counted. Change a value: change the version."""

    name: str
    version: int

    isolated_um: float
    """Isolated pieces shorter than this are dropped …"""
    isolated_border_um: float
    """… or shorter than this where they reach into the border zone: the rest may lie outside the field."""
    spur_um: float
    """Dead ends shorter than this are artefacts of thinning; so are loops round holes of this size."""

    length: Literal["smoothed", "chain_code"]
    """Length of the smoothed path, or 1 and √2 a step along the skeleton's pixels."""
    extend_to_border: bool
    """Thin the mask with its edge continued, so that nerves that leave the field keep their last pixels."""

    border_fraction: float
    """Depth of the border zone, as a fraction of the window's side (mean of height and width)."""
    chord_fraction: float
    """Least distance between a trunk's ends, as a fraction of the same side."""
    turn_weight: float
    """Price of a turn at a junction, in sides for each (1 − cos angle), where paths compete for a segment."""

    crossings: Literal["pass", "branch"]
    """Two fibres that pass straight over each other are two fibres (`pass`) or a branch point (`branch`)."""

    @property
    def label(self) -> str:
        """Name and version, as results carry them."""
        return f"{self.name}/{self.version}"


ACC_LIKE = RuleSet(
    name="acc_like",
    version=2,
    isolated_um=75 * PIXEL_SIZE_UM,
    isolated_border_um=15 * PIXEL_SIZE_UM,
    spur_um=5 * PIXEL_SIZE_UM,
    length="smoothed",
    extend_to_border=True,
    border_fraction=0.05,
    chord_fraction=0.5,
    turn_weight=1.0,
    crossings="pass",
)
"""After the rules published for ACCMetrics (Dabbah et al. 2011; Chen et al. 2017) and its tutorial.

Version 2: a way round between two near junctions, or one side of a hole between nerves, is no longer taken for the
place where two fibres cross, which left its length out.
"""

KEEP_ALL = replace(ACC_LIKE, name="keep_all", isolated_um=0.0, isolated_border_um=0.0)
"""The same with no piece dropped: for comparison with a known truth."""

CHAIN_CODE = replace(
    ACC_LIKE, name="chain_code", version=1, length="chain_code", extend_to_border=False, crossings="branch"
)
"""Pixel steps of 1 and √2, no continuation at the edge, every junction a branch point: others' figures."""

RULE_SETS = {rules.name: rules for rules in (ACC_LIKE, KEEP_ALL, CHAIN_CODE)}

FORMER_NAMES = {"none": "keep_all"}
"""Names that rule sets had before, in commands and in results written so far; the rules are the same."""


def rule_set(rules: str | RuleSet) -> RuleSet:
    """The rule set of that name, also a former one, or the one given. Raises InputError on an unknown name."""
    if isinstance(rules, RuleSet):
        return rules
    name = FORMER_NAMES.get(rules, rules)
    if name not in RULE_SETS:
        raise InputError(f"there is no rule set {rules!r}; choose one of {', '.join(RULE_SETS)}")
    return RULE_SETS[name]


def present_label(label: str) -> str:
    """The label that a result measured under `label` (name/version) would carry today: `none/1` → `keep_all/1`."""
    name, slash, version = label.partition("/")
    return FORMER_NAMES.get(name, name) + slash + version
