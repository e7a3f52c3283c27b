"""The maths of Eq. 6 against a dense float64 evaluation, at hand-computable points and where rows cancel."""

import pytest
import torch

from wdlora.decomposition import apply_gain, compose, gain, row_norm, row_sq
from wdlora.errors import InputError

OUT, IN, RANK = 96, 160, 8
RATIOS = [1e-3, 0.05, 1.0, 10.0]
STRENGTHS = [(1.0, 1.0), (0.5, 1.0), (1.0, 0.0), (0.0, 1.0), (1.3, 0.7)]
# Half a unit in the last place, relative to the number: what storing a correctly computed one can cost.
ROUNDING = {torch.bfloat16: 2**-8, torch.float16: 2**-11, torch.float8_e4m3fn: 2**-4}


def case(ratio: float, dtype: torch.dtype, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """A weight in `dtype`, factors with ‖sBA‖/‖W‖ = `ratio` for s = 2, and a magnitude 10 % around ‖W‖."""
    rng = torch.Generator().manual_seed(seed)
    weight = torch.randn(OUT, IN, generator=rng, dtype=torch.float64).to(dtype)
    a = torch.randn(RANK, IN, generator=rng, dtype=torch.float64)
    b = torch.randn(OUT, RANK, generator=rng, dtype=torch.float64)
    b *= ratio * weight.double().norm() / (2 * b @ a).norm()
    magnitude = weight.double().norm(dim=1) * (1 + 0.1 * torch.randn(OUT, generator=rng, dtype=torch.float64))
    kept = torch.float64 if dtype == torch.float64 else torch.float32
    return weight, a.to(kept), b.to(kept), magnitude.to(kept), 2.0


def dense(weight, a, b, magnitude, scaling, d=1.0, k=1.0) -> torch.Tensor:
    """DESIGN's formula written out with BA in float64, independent of the factored code."""
    weight, a, b, magnitude = (t.double() for t in (weight, a, b, magnitude))
    direction = weight + d * scaling * (b @ a)
    base = weight.norm(dim=1)
    return (base + k * (magnitude - base))[:, None] * direction / direction.norm(dim=1)[:, None]


def cancelling(residue: float, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    """Half of the rows are −sBA plus `residue` of their norm, so that ‖W + sBA‖ ≈ residue · ‖W‖."""
    weight, a, b, magnitude, scaling = case(1.0, torch.float64, seed=1)
    rest = torch.randn(OUT, IN, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    update = scaling * b @ a
    rest *= residue * update.norm(dim=1, keepdim=True) / rest.norm(dim=1, keepdim=True)
    weight[::2] = (rest - update)[::2]
    return weight.to(dtype), a.to(dtype), b.to(dtype), magnitude.to(dtype), scaling


def test_a_row_by_hand():
    """W = [3, 0], s·BA = [0, 4]: the norm is 5; m = 10 gives [6, 8]; k = 1/2 aims at 6.5."""
    weight, a, b = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0]])
    magnitude = torch.tensor([10.0])
    assert row_norm(weight, a, b, 2.0).tolist() == [5.0]
    assert gain(weight, a, b, magnitude, 2.0).tolist() == [2.0]
    torch.testing.assert_close(compose(weight, a, b, magnitude, 2.0), torch.tensor([[6.0, 8.0]]))
    torch.testing.assert_close(compose(weight, a, b, magnitude, 2.0, 1.0, 0.5), torch.tensor([[3.9, 5.2]]))
    # d = 1/2: direction [3, 2]; the magnitude stays 10
    torch.testing.assert_close(compose(weight, a, b, magnitude, 2.0, 0.5, 1.0), torch.tensor([[30.0, 20.0]]) / 13**0.5)


@pytest.mark.parametrize("d, k", STRENGTHS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_float64_is_exact(ratio, d, k):
    tensors = case(ratio, torch.float64)
    expected = dense(*tensors, d, k)
    error = (compose(*tensors, d, k) - expected).norm()
    assert error <= 1e-12 * expected.norm()
    update = (expected - tensors[0]).norm()
    assert error <= 1e-12 * update


@pytest.mark.parametrize("d, k", STRENGTHS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_float32_keeps_its_digits(ratio, d, k):
    """3e-7 of the weight: five roundings of 6e-8. Of the update that is 3e-7 over its relative size."""
    tensors = case(ratio, torch.float32)
    expected = dense(*tensors, d, k)
    error = (compose(*tensors, d, k).double() - expected).norm()
    scale = max(expected.norm(), tensors[0].norm())
    assert error <= 3e-7 * scale
    update = (expected - tensors[0]).norm()
    assert error / update <= 3e-7 * scale / update


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_narrow_storage_costs_one_rounding(dtype, ratio):
    """No element is further from the float64 result than its own rounding, plus float32's errors."""
    tensors = case(ratio, dtype)
    expected = dense(*tensors)
    result = compose(*tensors)
    assert result.dtype == dtype
    smallest = torch.finfo(dtype).smallest_normal
    bound = ROUNDING[dtype] * expected.abs().clamp_min(smallest) * 1.001 + 1e-6 * expected.abs().amax(1, keepdim=True)
    assert ((result.double() - expected).abs() <= bound).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *ROUNDING], ids=str)
def test_strengths_zero_give_the_base_bit_for_bit(dtype):
    weight, a, b, magnitude, scaling = case(1.0, dtype)
    weight[0, :3] = torch.tensor([-0.0, 0.0, 1.5]).to(dtype)
    result = compose(weight, a, b, magnitude, scaling, 0.0, 0.0)
    as_bytes = torch.uint8
    assert torch.equal(result.view(as_bytes), weight.view(as_bytes))
    assert result.data_ptr() != weight.data_ptr()


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 5e-7)], ids=str)
@pytest.mark.parametrize("ratio", RATIOS)
def test_row_norm_of_ordinary_rows(ratio, dtype, tolerance):
    weight, a, b, _, scaling = case(ratio, dtype)
    expected = (weight.double() + scaling * b.double() @ a.double()).norm(dim=1)
    for norm in (row_norm(weight, a, b, scaling), row_norm(weight, a, b, scaling, row_sq(weight))):
        assert ((norm.double() - expected) / expected).abs().max() <= tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("residue", [0.5, 0.3, 0.1, 1e-2, 1e-3, 1e-5])
def test_rows_that_nearly_cancel(residue, dtype):
    """1e-6 of the norm itself, where the factored sum alone has lost up to all of its digits."""
    weight, a, b, magnitude, scaling = cancelling(residue, dtype)
    expected = (weight.double() + scaling * b.double() @ a.double()).norm(dim=1)
    assert expected[0] < 1.1 * residue * weight[0].double().norm()
    norm = row_norm(weight, a, b, scaling).double()
    assert ((norm - expected) / expected).abs().max() <= 1e-6
    composed = compose(weight, a, b, magnitude, scaling).double()
    reference = dense(weight, a, b, magnitude, scaling)
    assert (composed - reference).norm() <= 3e-7 * reference.norm()


def test_rows_without_a_direction_stay_finite():
    """A zero row, a row that cancels exactly, and their gains: 1, so the rows stay zero."""
    weight, a, b, magnitude, scaling = case(0.05, torch.float32)
    a, b = torch.eye(RANK, IN), b.clone()
    weight[0], b[0] = 0.0, 0.0
    weight[1] = -scaling * b[1] @ a
    assert row_norm(weight, a, b, scaling)[:2].tolist() == [0.0, 0.0]
    assert gain(weight, a, b, magnitude, scaling)[:2].tolist() == [1.0, 1.0]
    composed = compose(weight, a, b, magnitude, scaling)
    assert composed[:2].abs().max() == 0.0
    assert composed.isfinite().all()
    # a zero row that B has begun to move has a direction, and the magnitude decides its length
    b[0], magnitude[0] = torch.randn(RANK), 3.0
    assert compose(weight, a, b, magnitude, scaling)[0].norm().item() == pytest.approx(3.0, rel=1e-6)


@pytest.mark.parametrize("ratio", RATIOS)
def test_plain_lora_has_gain_one(ratio):
    weight, a, b, _, scaling = case(ratio, torch.float64)
    assert (gain(weight, a, b, None, scaling, 0.5, 0.3) == 1).all()
    torch.testing.assert_close(compose(weight, a, b, None, scaling, 0.5), weight + b @ a, rtol=1e-12, atol=1e-12)


def test_a_stacked_adapter_is_scaled_not_erased():
    """The gain of the pristine base on a patched weight: g ∘ (W + patch + sBA), whatever the patch."""
    weight, a, b, magnitude, scaling = case(0.3, torch.float64)
    patch = 0.2 * torch.randn(OUT, IN, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    g = gain(weight, a, b, magnitude, scaling)
    stacked = apply_gain(weight + patch, a, b, g, scaling)
    torch.testing.assert_close(
        stacked, dense(weight, a, b, magnitude, scaling) + g[:, None] * patch, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *ROUNDING], ids=str)
def test_in_place_equals_out_of_place(dtype):
    weight, a, b, magnitude, scaling = cancelling(1e-2)
    weight = weight.to(dtype)
    g = gain(weight, a, b, magnitude, scaling)
    expected = apply_gain(weight, a, b, g, scaling)
    assert apply_gain(weight, a, b, g, scaling, out=weight) is weight
    assert torch.equal(weight.view(torch.uint8), expected.view(torch.uint8))


def test_chunks_do_not_show(monkeypatch):
    tensors = cancelling(1e-2)
    whole = compose(*tensors)
    monkeypatch.setattr("wdlora.decomposition.CHUNK_ELEMENTS", 7 * IN)
    torch.testing.assert_close(
        compose(*tensors), whole, rtol=1e-6, atol=1e-6
    )  # matrix products of other shapes round differently


def test_shapes_that_do_not_fit_are_named():
    weight, a, b, magnitude, scaling = case(0.1, torch.float32)
    with pytest.raises(InputError, match=r"A \[8, 159\].*\[96, 160\]"):
        row_norm(weight, a[:, 1:], b, scaling)
    with pytest.raises(InputError, match=r"B \[96, 7\]"):
        compose(weight, a, b[:, 1:], magnitude, scaling)
    with pytest.raises(InputError, match=r"magnitude has shape \[160\]"):
        compose(weight, a, b, torch.ones(IN), scaling)
    with pytest.raises(InputError, match="floating"):
        row_norm(weight.to(torch.int8), a, b, scaling)
