"""Weight decomposition (paper Eq. 5 and 6; DoRA, Liu et al. 2024, arXiv 2402.09353): norms, gains, weights.

An adapted linear layer has the weight W' = g ∘ (W + d·s·BA), one gain a row of W [out, in], with

    g = (‖W‖ + k·(m − ‖W‖)) / ‖W + d·s·BA‖

A [r, in] and B [out, r] are the low-rank factors, s their scaling, m [out] the learned magnitude; d and k are
the strengths of the direction and of the magnitude. d = k = 1 is Eq. 6, d = k = 0 the base weight. Norms are
taken over a row's inputs. The gain belongs to the pristine base weight: where other adapters have already
changed W, it is computed from the base and then applied to what is there (`apply_gain`).

Everything is computed in float32 (float64 for float64 weights), whatever the storage, and by rows: nothing of
the weight's size is made beside a result of that size. No function here takes part in autograd.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from .errors import InputError

# A squared norm below this part of ‖W‖² + ‖sBA‖² has lost digits to cancellation: its row is taken in float64.
CANCELLED = 0.25
# Below this part of ‖W‖ + ‖sBA‖ a row's direction is rounding noise, even in float64.
NO_DIRECTION = 1e-13
# A gain above this multiplies the rounding errors of a nearly cancelled row: that row is composed in float64.
LARGE_GAIN = 2.0
CHUNK_ELEMENTS = 1 << 20
ACCELERATOR_CHUNKS = 16
"""On an accelerator pieces are so many times larger, for every operation on one is a launch."""


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which a weight stored in `dtype` is worked on: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def row_chunks(shape: Sequence[int], device: torch.device) -> Iterator[slice]:
    """Slices that cover the rows of a matrix of `shape` in pieces of about a million elements, 16 million off a CPU."""
    out_features, in_features = shape
    elements = CHUNK_ELEMENTS * (1 if device.type == "cpu" else ACCELERATOR_CHUNKS)
    step = max(1, elements // max(1, in_features))
    for start in range(0, out_features, step):
        yield slice(start, min(start + step, out_features))


def row_sq(weight: Tensor) -> Tensor:
    """Squared norm of every row of `weight` [out, in]: [out] in the compute dtype."""
    dtype = compute_dtype(weight.dtype)
    total = torch.empty(weight.shape[0], dtype=dtype, device=weight.device)
    for rows in row_chunks(weight.shape, weight.device):
        total[rows] = weight[rows].to(dtype).square().sum(1)
    return total


def factored_sq(
    weight_sq: Tensor, weight_a: Tensor, lora_a: Tensor, lora_b: Tensor, scaling: float
) -> tuple[Tensor, Tensor]:
    """‖W + sBA‖² of every row without BA, and ‖W‖² + ‖sBA‖², against which its lost digits are judged.

    ‖W + sBA‖² = ‖W‖² + 2s·Σᵣ B∘(WAᵀ) + s²·Σᵣ (B·AAᵀ)∘B. `weight_sq` [out] is ‖W‖², `weight_a` [out, r] is WAᵀ,
    all of one dtype; differentiable in A and B. Returns two tensors [out].
    """
    update_sq = scaling * scaling * ((lora_b @ (lora_a @ lora_a.T)) * lora_b).sum(1)
    cross = 2 * scaling * (lora_b * weight_a).sum(1)
    return weight_sq + (cross + update_sq), (weight_sq + update_sq).detach()


def settle_norm(
    norm_sq: Tensor,
    parts_sq: Tensor,
    weight_rows: Callable[[Tensor], Tensor],
    lora_a: Tensor,
    lora_b: Tensor,
    scaling: float,
) -> Tensor:
    """The row norm from `factored_sq`'s two results, nearly cancelled rows computed anew in float64.

    `weight_rows(index)` gives the weight's rows [n, in] of an index tensor [n]. A row without a direction
    (all zero, or cancelled down to rounding noise) gets the norm 0.
    """
    norm = norm_sq.clamp_min(0).sqrt()
    cancelled = torch.nonzero(norm_sq < CANCELLED * parts_sq).flatten()
    for rows in row_chunks((len(cancelled), lora_a.shape[1]), lora_a.device):
        index = cancelled[rows]
        direction = weight_rows(index).double()
        direction.addmm_(lora_b[index].double(), lora_a.double(), alpha=scaling)
        exact = torch.linalg.vector_norm(direction, dim=1)
        noise = NO_DIRECTION * parts_sq[index].double().sqrt()
        norm[index] = torch.where(exact > noise, exact, 0.0).to(norm.dtype)
    return norm


@torch.no_grad()
def row_norm(weight: Tensor, lora_a: Tensor, lora_b: Tensor, scaling: float, weight_sq: Tensor | None = None) -> Tensor:
    """‖W + sBA‖ of every row, without BA.

    `weight` [out, in] in any floating storage, `lora_a` [r, in], `lora_b` [out, r]; `weight_sq` [out] is
    `row_sq(weight)` where it is at hand. Returns [out] in float32 (float64 for a float64 weight), accurate to
    1e-6 also on rows in which W and sBA cancel; 0 for a row without a direction. Raises InputError on shapes
    that do not fit.
    """
    a, b = _factors(weight, lora_a, lora_b)
    return _norm(weight, a, b, float(scaling), row_sq(weight) if weight_sq is None else weight_sq.to(a))


@torch.no_grad()
def gain(
    weight: Tensor,
    lora_a: Tensor,
    lora_b: Tensor,
    magnitude: Tensor | None,
    scaling: float,
    direction_strength: float = 1.0,
    magnitude_strength: float = 1.0,
    weight_sq: Tensor | None = None,
) -> Tensor:
    """The gain g of every row, from the pristine base `weight` (module docstring; paper Eq. 6).

    Shapes as in `row_norm`, `magnitude` [out] or None for plain LoRA, whose gain is 1. Returns [out] in float32
    (float64 for a float64 weight): exactly 1 at strengths 0/0, and 1 for a row without a direction, which has
    nothing to scale. Raises InputError on shapes that do not fit.
    """
    a, b = _factors(weight, lora_a, lora_b)
    if magnitude is None or (direction_strength == 0 and magnitude_strength == 0):
        return torch.ones(weight.shape[0], dtype=a.dtype, device=a.device)
    if magnitude.shape != weight.shape[:1]:
        raise InputError(
            f"the magnitude has shape {list(magnitude.shape)}, but the weight {list(weight.shape)} needs one number "
            f"per row, [{weight.shape[0]}]; is the adapter for another model?"
        )
    weight_sq = row_sq(weight) if weight_sq is None else weight_sq.to(a)
    target = torch.lerp(weight_sq.sqrt(), magnitude.to(a), float(magnitude_strength))
    norm = _norm(weight, a, b, float(scaling) * float(direction_strength), weight_sq)
    return gain_of(target, norm)


def gain_of(target: Tensor, norm: Tensor) -> Tensor:
    """target / norm [out], and 1 where the norm is 0; differentiable, without NaN in either direction."""
    directed = norm > 0
    return torch.where(directed, target / torch.where(directed, norm, 1.0), 1.0)


@torch.no_grad()
def apply_gain(
    weight: Tensor,
    lora_a: Tensor,
    lora_b: Tensor,
    gain: Tensor,
    scaling: float,
    direction_strength: float = 1.0,
    out: Tensor | None = None,
) -> Tensor:
    """W' = g ∘ (W + d·s·BA) for a given gain, by rows, in `weight`'s storage dtype.

    `weight` [out, in] may already carry other adapters. `out` receives the result where given (`weight` itself
    for a merge in place). Storage of 8 bits rounds away most of a small update: keep it for the side path.
    Raises InputError on shapes that do not fit.
    """
    a, b = _factors(weight, lora_a, lora_b)
    result = torch.empty_like(weight) if out is None else out
    g = gain.to(a)
    alpha = float(scaling) * float(direction_strength)
    delicate = torch.nonzero((g.abs() > LARGE_GAIN) & (alpha != 0.0)).flatten()
    exact = _in_float64(weight, a, b, g, alpha, delicate) if len(delicate) else None
    for rows in row_chunks(weight.shape, weight.device):
        if weight.dtype == a.dtype:
            piece = result[rows]
            if out is not weight:
                piece.copy_(weight[rows])
        else:
            piece = weight[rows].to(a.dtype)
        if alpha:
            piece.addmm_(b[rows], a, alpha=alpha)
        piece.mul_(g[rows, None])
        if weight.dtype != a.dtype:
            result[rows] = piece
    if exact is not None:
        set_rows(result, delicate, exact)
    return result


def compose(
    weight: Tensor,
    lora_a: Tensor,
    lora_b: Tensor,
    magnitude: Tensor | None,
    scaling: float,
    direction_strength: float = 1.0,
    magnitude_strength: float = 1.0,
) -> Tensor:
    """The adapted weight W' = g ∘ (W + d·s·BA) of a pristine base `weight` [out, in], in its storage dtype.

    >>> weight, a, b = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0]])
    >>> compose(weight, a, b, None, scaling=1.0)  # plain LoRA: [3, 4] + [2, 0]
    tensor([[5., 4.]])
    >>> compose(weight, a, b, torch.tensor([10.0]), scaling=1.0)  # the same direction, of length 10
    tensor([[7.8087, 6.2470]])

    Strengths 0/0 give the base bit for bit, 1/1 gives Eq. 6; `magnitude` None gives plain LoRA, W + d·s·BA. A row
    in which W and sBA cancel entirely has no direction to scale: it stays (nearly) zero. Raises InputError on
    shapes that do not fit.
    """
    g = gain(weight, lora_a, lora_b, magnitude, scaling, direction_strength, magnitude_strength)
    return apply_gain(weight, lora_a, lora_b, g, scaling, direction_strength)


def _factors(weight: Tensor, lora_a: Tensor, lora_b: Tensor) -> tuple[Tensor, Tensor]:
    """A and B on the weight's device in its compute dtype, their shapes checked."""
    if weight.ndim != 2 or not weight.dtype.is_floating_point:
        raise InputError(
            f"a weight [out, in] of floating numbers is needed, not {weight.dtype} of shape {list(weight.shape)}"
        )
    rank = lora_a.shape[0] if lora_a.ndim else 0
    if lora_a.shape != (rank, weight.shape[1]) or lora_b.shape != (weight.shape[0], rank):
        raise InputError(
            f"the factors A {list(lora_a.shape)} and B {list(lora_b.shape)} do not fit the weight "
            f"{list(weight.shape)}: A must be [rank, {weight.shape[1]}] and B [{weight.shape[0]}, rank]; "
            "is the adapter for another model?"
        )
    dtype = compute_dtype(weight.dtype)
    return lora_a.to(weight.device, dtype), lora_b.to(weight.device, dtype)


def weight_times(weight: Tensor, lora_a: Tensor) -> Tensor:
    """WAᵀ [out, r] in A's dtype, the weight [out, in] converted by rows where it is stored in another."""
    if weight.dtype == lora_a.dtype:
        return (lora_a @ weight.T).T.contiguous()  # faster than W @ Aᵀ at small ranks
    product = lora_a.new_empty(weight.shape[0], lora_a.shape[0])
    for rows in row_chunks(weight.shape, weight.device):
        torch.mm(weight[rows].to(lora_a.dtype), lora_a.T, out=product[rows])
    return product


def _norm(weight: Tensor, a: Tensor, b: Tensor, scaling: float, weight_sq: Tensor) -> Tensor:
    if scaling == 0:
        return weight_sq.sqrt()
    sums = factored_sq(weight_sq, weight_times(weight, a), a, b, scaling)
    return settle_norm(*sums, lambda index: rows_at(weight, index), a, b, scaling)


def rows_at(weight: Tensor, index: Tensor) -> Tensor:
    """The rows of `weight` at `index` [n], in 8-bit storage too, which torch does not index."""
    if weight.element_size() == 1:
        return weight.view(torch.uint8)[index].view(weight.dtype)
    return weight[index]


def set_rows(weight: Tensor, index: Tensor, rows: Tensor) -> None:
    """Write `rows` into `weight` at `index` [n], in 8-bit storage too."""
    if weight.element_size() == 1:
        weight, rows = weight.view(torch.uint8), rows.view(torch.uint8)
    weight[index] = rows


def _in_float64(weight: Tensor, a: Tensor, b: Tensor, g: Tensor, alpha: float, index: Tensor) -> Tensor:
    """The composed rows at `index` in the weight's dtype, computed in float64 a chunk at a time."""
    result = torch.empty(len(index), weight.shape[1], dtype=weight.dtype, device=weight.device)
    for rows in row_chunks((len(index), weight.shape[1]), weight.device):
        piece = rows_at(weight, index[rows]).double()
        piece.addmm_(b[index[rows]].double(), a.double(), alpha=alpha).mul_(g[index[rows], None].double())
        result[rows] = piece.to(weight.dtype)
    return result
