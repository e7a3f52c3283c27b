"""From which probability on a nerve is drawn: chosen on phantoms that were not learned from, or on annotated images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdlora.anatomy import measure
from wdlora.anatomy.overlap import line_overlap
from wdlora.anatomy.scale import PIXEL_SIZE_UM
from wdlora.anatomy.tracing.choices import ANNOTATED, VISIBLE
from wdlora.anatomy.tracing.following import nerves_of
from wdlora.anatomy.tracing.learned import Rules
from wdlora.anatomy.tracing.pixel_grid import pixel_grid
from wdlora.anatomy.tracing.ridges import Cleaning, Evidence

LEVELS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


@dataclass(frozen=True)
class Judged:
    """The `probability` float32 [H, W] of one detail of an image, and the `truth` bool [H, W]."""

    probability: NDArray
    truth: NDArray


def visible_rules(level: float) -> Rules:
    """Everything from a probability on: short pieces stay, since the fine network is made of them."""
    cleaning = Cleaning(spur_um=7.0, piece_um=20.0, border_piece_um=12.0, gap_um=8.0)
    return Rules(Evidence(level, piece=2.0, segment=0.7, mean=0.04), cleaning, level)


def annotated_rules(level: float) -> Rules:
    """What an annotator draws: no short pieces, small gaps bridged."""
    cleaning = Cleaning(spur_um=12.0, piece_um=40.0, border_piece_um=20.0)
    return Rules(Evidence(level, piece=4.0, segment=1.5, mean=0.08), cleaning, level)


RULES: dict[str, Callable[[float], Rules]] = {ANNOTATED: annotated_rules, VISIBLE: visible_rules}


def drawn_by(rules: Rules, probability: NDArray) -> NDArray:
    """The mask bool [H, W] of a frame's probability."""
    sides = (PIXEL_SIZE_UM, PIXEL_SIZE_UM)
    return nerves_of(probability, pixel_grid(probability.shape, sides, PIXEL_SIZE_UM), sides, rules)


def best_overlap(detail: str, judged: Sequence[Judged]) -> float:
    """The level of the largest mean clDice (3 µm)."""

    def score(level: float) -> float:
        rules = RULES[detail](level)
        return float(np.mean([line_overlap(drawn_by(rules, one.probability), one.truth).cl_dice for one in judged]))

    return max(LEVELS, key=score)


def least_error(detail: str, judged: Sequence[Judged]) -> float:
    """The level of the smallest mean absolute error of CNFL."""
    truths = [measure(one.truth).cnfl for one in judged]

    def error(level: float) -> float:
        rules = RULES[detail](level)
        found = [measure(drawn_by(rules, one.probability)).cnfl for one in judged]
        return float(np.mean(np.abs(np.subtract(found, truths))))

    return min(LEVELS, key=error)
