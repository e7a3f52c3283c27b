"""What a mask should measure: the joint distribution of a cohort's biomarkers.

Marginals have exactly the published mean and SD of `wdlora.cohorts`. Nothing was published about how the
biomarkers go together; the correlations of the Gaussian copula below are our assumption. A copula alone would
also ask for what cannot be drawn, such as four trunks in the length of one or branch points without a trunk.
Dropping such draws would shift the marginals, so the joint distribution is tabulated on (trunks, branch points,
CNFL), the impossible cells are emptied, and iterative proportional fitting (Deming and Stephan 1940) restores
the marginals.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import root
from scipy.special import gammaln, ndtr, ndtri
from scipy.stats import gamma as gamma_distribution

from ...cohorts import COHORTS, FIELD_MM2
from ...errors import InputError

CORRELATION = {"cnfl_cnfd": 0.80, "cnfl_cnbd": 0.75, "cnfd_cnbd": 0.60, "cnfl_cnfw": 0.20}
"""Correlations of the Gaussian copula: assumed, not published."""

KEYS = ("cnfl", "cnfd", "cnbd", "cnfw")

CNFL_EDGES = np.linspace(0.6, 38.0, 151)
MAX_TRUNKS = 11
MAX_BRANCH_POINTS = 44
BRANCH_POINTS_PER_TRUNK = 10
WIDTH_SDS = 3.5


def drawable(trunks: np.ndarray, branch_points: np.ndarray, cnfl: np.ndarray) -> np.ndarray:
    """Whether a 400 µm field can hold these counts in this length.

    A trunk crosses the field (2.5 mm/mm² when straight), a branch needs 22 µm to be seen, and what is left
    over must find room. Both bounds are linear, so a mean of drawable targets is drawable.
    """
    least = np.maximum(2.62 * trunks + 0.16 * branch_points, CNFL_EDGES[0])
    most = 13.0 + 3.4 * trunks + 0.15 * branch_points
    enough_trunks = branch_points <= BRANCH_POINTS_PER_TRUNK * trunks
    return (cnfl >= least) & (cnfl <= most) & enough_trunks


def tilted(log_weight: np.ndarray, values: np.ndarray, mean: float, sd: float) -> np.ndarray:
    """Probabilities ∝ exp(log_weight + a·value + b·value²) that have exactly this mean and SD."""
    x = (values - mean) / sd

    def probabilities(ab: np.ndarray) -> np.ndarray:
        logits = log_weight + ab[0] * x + ab[1] * x * x
        weights = np.exp(logits - logits.max())
        return weights / weights.sum()

    def residual(ab: np.ndarray) -> list[float]:
        p = probabilities(ab)
        return [float(p @ x), float(p @ (x * x)) - 1.0]

    solution = root(residual, [0.0, 0.0], tol=1e-13)
    if max(map(abs, residual(solution.x))) > 1e-8:
        raise InputError(f"no distribution from {values[0]:g} to {values[-1]:g} has mean {mean:g} and SD {sd:g}")
    return probabilities(solution.x)


def count_distribution(mean: float, sd: float, most: int) -> np.ndarray:
    """Probabilities of the counts 0 … most: a negative binomial, or a Poisson where the variance is below the
    mean, tilted so that the moments are exact after truncation."""
    n = np.arange(most + 1.0)
    if sd * sd > 1.05 * mean:
        r = mean * mean / (sd * sd - mean)
        log_weight = gammaln(n + r) - gammaln(n + 1) + n * math.log(mean / (r + mean))
    else:
        log_weight = n * math.log(mean) - gammaln(n + 1)
    return tilted(log_weight, n, mean, sd)


def length_distribution(mean: float, sd: float) -> np.ndarray:
    """Probabilities of the CNFL bins: a gamma, tilted; CNFL is uniform within a bin."""
    width = CNFL_EDGES[1] - CNFL_EDGES[0]
    centres = (CNFL_EDGES[1:] + CNFL_EDGES[:-1]) / 2
    log_weight = gamma_distribution.logpdf(centres, (mean / sd) ** 2, scale=sd * sd / mean)
    return tilted(log_weight, centres, mean, math.sqrt(sd * sd - width * width / 12))


@dataclass(frozen=True)
class TargetTable:
    """Joint probabilities [CNFL bin, trunks, branch points] of one cohort, and its width distribution."""

    probability: np.ndarray
    cnfw: tuple[float, float]

    def draw(self, uniform: np.ndarray, fixed: Mapping[str, float] | None = None) -> np.ndarray:
        """Targets float64 [n, 4] (CNFL, trunks, branch points, CNFW) from uniform numbers [n, 4].

        `fixed` holds values of `cnfl`, `trunks`, `branch_points` or `cnfw` to condition on. Raises InputError
        if these cannot be drawn together.
        """
        fixed = dict(fixed or {})
        table, bins = self._conditioned(fixed)
        by_length = np.cumsum(table.sum(axis=(1, 2)))
        row = _pick(by_length[None] / by_length[-1], uniform[:, 0])
        low = np.r_[0.0, by_length][row] / by_length[-1]
        high = by_length[row] / by_length[-1]
        within = np.clip((uniform[:, 0] - low) / np.maximum(high - low, 1e-300), 0, 1)
        cnfl = CNFL_EDGES[bins[row]] + within * (CNFL_EDGES[1] - CNFL_EDGES[0])
        if "cnfl" in fixed:
            cnfl = np.full(len(uniform), float(fixed["cnfl"]))
        by_trunks = np.cumsum(table.sum(axis=2), axis=1)
        trunks = _pick(by_trunks[row] / by_trunks[row, -1:], uniform[:, 1])
        by_branches = np.cumsum(table, axis=2)[row, trunks]
        branch_points = _pick(by_branches / by_branches[:, -1:], uniform[:, 2])
        return np.stack([cnfl, trunks, branch_points, self._width(cnfl, uniform[:, 3], fixed)], axis=1)

    def quantile(self, cnfl: np.ndarray) -> np.ndarray:
        """The quantile of a CNFL in this cohort."""
        return np.interp(cnfl, CNFL_EDGES, np.r_[0.0, np.cumsum(self.probability.sum(axis=(1, 2)))])

    def marginals(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Probabilities of the CNFL bins, the trunk counts and the branch point counts."""
        p = self.probability
        return p.sum(axis=(1, 2)), p.sum(axis=(0, 2)), p.sum(axis=(0, 1))

    def _width(self, cnfl: np.ndarray, uniform: np.ndarray, fixed: Mapping[str, float]) -> np.ndarray:
        if "cnfw" in fixed:
            return np.full(len(uniform), float(fixed["cnfw"]))
        rho = CORRELATION["cnfl_cnfw"]
        ends = ndtr(-WIDTH_SDS)
        own = ndtri(ends + (1 - 2 * ends) * uniform)
        length = ndtri(np.clip(self.quantile(cnfl), 1e-4, 1 - 1e-4))
        mean, sd = self.cnfw
        return mean + sd * (rho * length + math.sqrt(1 - rho * rho) * own)

    def _conditioned(self, fixed: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
        """The part of the table that agrees with `fixed`, and the CNFL bins that it covers."""
        # What can be drawn but never happens in the cohort may still be asked for.
        table = self.probability + 1e-15 * _drawable_cells()
        bins = np.arange(len(CNFL_EDGES) - 1)
        if "cnfl" in fixed:
            place = int(np.searchsorted(CNFL_EDGES, fixed["cnfl"], side="right")) - 1
            if not 0 <= place < len(bins):
                raise InputError(
                    f"a CNFL of {fixed['cnfl']:g} mm/mm² cannot be drawn; "
                    f"ask for {CNFL_EDGES[0]:g} to {CNFL_EDGES[-1]:g}"
                )
            table, bins = table[place : place + 1], bins[place : place + 1]
        for axis, name in ((1, "trunks"), (2, "branch_points")):
            if name in fixed:
                keep = np.zeros(table.shape[axis], bool)
                if 0 <= fixed[name] < len(keep):
                    keep[int(fixed[name])] = True
                table = table * keep.reshape([-1 if a == axis else 1 for a in range(3)])
        if table.sum() <= 0:
            asked = ", ".join(f"{name} {value:g}" for name, value in fixed.items())
            raise InputError(
                f"no 400 µm field can hold {asked}: a trunk needs 2.6 mm/mm², a branch point a trunk; "
                f"at most {MAX_TRUNKS} trunks, {BRANCH_POINTS_PER_TRUNK} branch points on each"
            )
        return table, bins


def _pick(cumulative: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Index of the first entry of each row of `cumulative` that exceeds `uniform`."""
    return np.minimum((cumulative <= uniform[:, None]).sum(axis=1), cumulative.shape[1] - 1)


@lru_cache(maxsize=1)
def _drawable_cells() -> np.ndarray:
    low, high = CNFL_EDGES[:-1, None, None], CNFL_EDGES[1:, None, None]
    trunks = np.arange(MAX_TRUNKS + 1.0)[None, :, None]
    branch_points = np.arange(MAX_BRANCH_POINTS + 1.0)[None, None, :]
    return drawable(trunks, branch_points, low) & drawable(trunks, branch_points, high)


def _scores(probabilities: np.ndarray) -> np.ndarray:
    """Normal scores of the middle of each cell."""
    return ndtri(np.clip(np.cumsum(probabilities) - probabilities / 2, 1e-12, 1 - 1e-12))


def _copula(lengths: np.ndarray, trunks: np.ndarray, branch_points: np.ndarray) -> np.ndarray:
    """Gaussian copula over the three marginals, as cell probabilities (not yet with exact marginals)."""
    c = CORRELATION
    matrix = np.array(
        [
            [1, c["cnfl_cnfd"], c["cnfl_cnbd"]],
            [c["cnfl_cnfd"], 1, c["cnfd_cnbd"]],
            [c["cnfl_cnbd"], c["cnfd_cnbd"], 1],
        ]
    )
    precision = np.linalg.inv(matrix) - np.eye(3)
    z = np.meshgrid(_scores(lengths), _scores(trunks), _scores(branch_points), indexing="ij")
    form = sum(precision[i, j] * z[i] * z[j] for i in range(3) for j in range(3))
    mass = lengths[:, None, None] * trunks[None, :, None] * branch_points[None, None, :]
    return mass * np.exp(np.clip(-form / 2, -600, 600))


def _fit(table: np.ndarray, marginals: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """Iterative proportional fitting of `table` to its three marginals."""
    axes = ((1, 2), (0, 2), (0, 1))
    for _ in range(2000):
        error = 0.0
        for axis, (others, wanted) in enumerate(zip(axes, marginals, strict=True)):
            have = table.sum(axis=others)
            error = max(error, float(np.abs(have - wanted).max()))
            factor = np.divide(wanted, have, out=np.zeros_like(have), where=have > 0)
            table = table * factor.reshape([-1 if a == axis else 1 for a in range(3)])
        if error < 1e-9:
            return table
    raise InputError(
        "the biomarkers asked for do not fit together: too little nerve length for so many trunks and branches, "
        "or too much for so few; make the shifts smaller"
    )


@lru_cache(maxsize=32)
def _table(name: str, shifts: tuple[tuple[str, float], ...]) -> TargetTable:
    shift = dict(shifts)
    moments = {key: (mean + shift.get(key, 0.0), sd) for key, (mean, sd) in COHORTS[name].distributions.items()}
    for key, (mean, _) in moments.items():
        if mean <= 0:
            raise InputError(f"a shift of {shift[key]:g} takes the mean {key.upper()} of {name} to {mean:g}")
    lengths = length_distribution(*moments["cnfl"])
    mean, sd = (FIELD_MM2 * value for value in moments["cnfd"])
    trunks = count_distribution(mean, sd, MAX_TRUNKS)
    # Without a trunk there is no branch point, so the published moments belong to a mixture with that zero.
    mean, sd = (FIELD_MM2 * value for value in moments["cnbd"])
    with_trunk = 1 - trunks[0]
    mean_with = mean / with_trunk
    variance_with = (sd * sd + mean * mean) / with_trunk - mean_with * mean_with
    if variance_with < 0.1 * mean_with:
        raise InputError(
            f"a mean CNBD of {moments['cnbd'][0]:g} is out of reach where {trunks[0]:.0%} of the images have no trunk; "
            "shift CNFD upwards too, or CNBD by less"
        )
    sd_with = math.sqrt(variance_with)
    branch_points = with_trunk * count_distribution(mean_with, sd_with, MAX_BRANCH_POINTS)
    branch_points[0] += trunks[0]
    table = _copula(lengths, trunks, branch_points) * _drawable_cells()
    return TargetTable(_fit(table, (lengths, trunks, branch_points)), moments["cnfw"])


def target_table(cohort: str, shifts: Mapping[str, float] | None = None) -> TargetTable:
    """The joint distribution of a cohort, with its means moved by `shifts` and its SDs kept.

    `shifts` maps `cnfl`, `cnfd`, `cnbd`, `cnfw` to a number in the biomarker's unit. Raises InputError if no
    such distribution can be drawn.
    """
    return _table(cohort, tuple(sorted((key, float(value)) for key, value in (shifts or {}).items() if value)))


def draw_targets(
    severity: float,
    uniform: np.ndarray,
    fixed: Mapping[str, float] | None = None,
    shifts: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Targets float64 [n, 4] at a severity from 0 to 2, for the 400 µm field, from uniform numbers [n, 4].

    Columns are CNFL, trunks, branch points, CNFW; see `TargetTable.draw`. Between two cohorts the quantiles
    are interpolated: the same uniform numbers are drawn in both and averaged, so counts may have a fraction.
    """
    cohorts = list(COHORTS.values())
    below = min(math.floor(severity), len(cohorts) - 1)
    share = severity - below
    targets = target_table(cohorts[below].name, shifts).draw(uniform, fixed)
    if share > 0:
        above = target_table(cohorts[below + 1].name, shifts).draw(uniform, fixed)
        targets = (1 - share) * targets + share * above
    return targets
