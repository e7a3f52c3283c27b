"""Angles and magnitude changes on constructed rows; differences between bases in closed form."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from wdlora.adapter import Adapter, AdapterLayer, Metadata
from wdlora.adapter.difference import same_storage
from wdlora.adapter.movement import by_block, movement, movements, summary
from wdlora.adapter.plot import plot
from wdlora.errors import InputError
from wdlora.weights.base import Weights

Q = "transformer_blocks.0.attn.to_q"


def turned_by(degrees):
    """A base with rows 2·e1 and an adapter that turns row i by degrees[i] in the plane (e1, e2)."""
    out = len(degrees)
    w = torch.zeros(out, 3)
    w[:, 0] = 2
    a = torch.tensor([[0.0, 1.0, 0.0]])
    b = torch.tensor([[2 * math.tan(math.radians(d))] for d in degrees])
    return w, a, b


def test_angles_and_magnitudes_of_known_rows():
    degrees = [0.0, 1e-3, 1.0, 30.0, 60.0, 89.0]
    w, a, b = turned_by(degrees)
    magnitude = 2 * torch.tensor([1.0, 1.5, 0.5, 1.0, 2.0, 0.0])
    moved = movement(Q, AdapterLayer(a, b, magnitude), Weights({f"{Q}.weight": w}))
    # fp32 factors; an arccosine would lose 1e-3 degrees altogether
    np.testing.assert_allclose(moved.degrees, degrees, rtol=2e-6)
    np.testing.assert_allclose(moved.magnitude_percent, [0, 50, -50, 0, 100, -100], atol=1e-5)


def test_a_row_turned_back_on_itself():
    w = torch.tensor([[2.0, 0.0]])
    moved = movement(Q, AdapterLayer(torch.tensor([[1.0, 0.0]]), torch.tensor([[-3.0]])), Weights({f"{Q}.weight": w}))
    assert moved.degrees == pytest.approx([180])
    assert moved.magnitude_percent == pytest.approx([-50])


def test_plain_lora_changes_the_magnitude_by_its_norm():
    w, a, b = turned_by([60.0])
    moved = movement(Q, AdapterLayer(a, b / 4, None, 4.0), Weights({f"{Q}.weight": w}))
    assert moved.degrees == pytest.approx([60], rel=1e-6)
    assert moved.magnitude_percent == pytest.approx([100], rel=1e-6)  # 1/cos 60° = 2


def test_random_rows_against_the_arccosine_in_float64(truth):
    name, s = Q, 0.5
    w, a, b = truth.base[name].double(), truth.a[name].double(), truth.b[name].double()
    merged = w + s * b @ a
    for axis, dim in (("output", 1), ("input", 0)):
        cosine = (w * merged).sum(dim) / (w.norm(dim=dim) * merged.norm(dim=dim))
        m = truth.m[name] if axis == "output" else truth.m_columns[name]
        moved = movement(name, AdapterLayer(a.float(), b.float(), m, s, axis), Weights({f"{name}.weight": w.float()}))
        # fp32 base products, angles of tens of degrees
        np.testing.assert_allclose(moved.degrees, torch.rad2deg(cosine.acos()).numpy(), rtol=1e-5)
        np.testing.assert_allclose(moved.magnitude_percent, (100 * (m / w.norm(dim=dim) - 1)).numpy(), rtol=1e-4)


def test_rows_of_zeros_are_left_out():
    w, a, b = turned_by([10.0, 20.0])
    w[1] = 0
    moved = movement(Q, AdapterLayer(a, b), Weights({f"{Q}.weight": w}))
    assert np.isnan(moved.degrees[1])
    assert summary([moved])["rows"] == 1
    assert summary([moved])["direction_degrees_median"] == pytest.approx(10, rel=1e-5)
    assert summary([movement(Q, AdapterLayer(a, b), Weights({f"{Q}.weight": 0 * w}))]) == {"rows": 0}


def adapter_of(blocks, modules=("attn.to_q", "attn.to_v"), outer=()):
    generator = torch.Generator().manual_seed(5)
    base, layers = {}, {}
    for name in [f"transformer_blocks.{i}.{m}" for i in range(blocks) for m in modules] + list(outer):
        w = torch.randn(16, 12, generator=generator)
        base[f"{name}.weight"] = w
        a, b = torch.randn(2, 12, generator=generator), 0.1 * torch.randn(16, 2, generator=generator)
        layers[name] = AdapterLayer(a, b, w.norm(dim=1) * 1.01)
    return Adapter(layers), base


def test_summaries_by_block():
    adapter, base = adapter_of(12, outer=("proj_out",))
    moved = movements(adapter, base)
    groups = by_block(moved)
    assert list(groups) == [*range(12), None]
    assert [m.module for m in groups[11]] == ["transformer_blocks.11.attn.to_q", "transformer_blocks.11.attn.to_v"]
    total = summary(moved)
    assert total["rows"] == 25 * 16
    assert total["magnitude_percent_median"] == pytest.approx(1, rel=1e-4)
    every = np.concatenate([m.degrees for m in moved])
    assert total["direction_degrees_p95"] == pytest.approx(np.percentile(every, 95))


@pytest.mark.parametrize("blocks,outer", [(1, ()), (3, ("proj_out",)), (60, ())])
def test_the_picture(tmp_path, blocks, outer):
    from PIL import Image

    adapter, base = adapter_of(blocks, outer=outer)
    plot(movements(adapter, base), tmp_path / "p.png", "What a.safetensors changes")
    with Image.open(tmp_path / "p.png") as image:
        assert image.width > image.height
        assert len(image.convert("RGB").getcolors(1 << 24)) > 50
    with pytest.raises(InputError, match="must end in"):
        plot(movements(adapter, base), tmp_path / "p.gif", "")


def with_base(tmp_path, change):
    adapter, base = adapter_of(2)
    save_file(base, tmp_path / "trained.safetensors")
    save_file({k: change(v) for k, v in base.items()}, tmp_path / "other.safetensors")
    path = adapter.save(tmp_path / "a.safetensors", base=tmp_path / "trained.safetensors")
    return Adapter.load(path), tmp_path


def test_the_base_of_training_is_recognised(tmp_path):
    adapter, folder = with_base(tmp_path, lambda w: w)
    same = adapter.difference(folder / "trained.safetensors")
    assert same.same_base
    assert same.same_quantisation
    assert same.max_percent == 0
    assert same.sentence == "the base is the file that the adapter was trained on"
    assert adapter.metadata.base_model == "trained.safetensors"
    assert adapter.metadata.base_quantisation == "float32"


def test_another_base_is_measured(tmp_path):
    def change(w):
        w = 1.01 * w
        w[0] *= 1.02 / 1.01
        return w

    adapter, folder = with_base(tmp_path, change)
    other = adapter.difference(folder / "other.safetensors")
    assert other.same_base is False
    assert other.same_quantisation
    assert other.median_percent == pytest.approx(1, rel=1e-4)
    assert other.max_percent == pytest.approx(2, rel=1e-4)
    assert "row norms differ by 1 % (median), at most 2 %" in other.sentence
    # and it works there: the gain is taken from the weights that it meets
    layer, weight = adapter.layers[Q], Weights(folder / "other.safetensors").module(Q)
    torch.testing.assert_close(layer.compose(weight).norm(dim=1), layer.magnitude, rtol=1e-5, atol=0)


def test_another_storage_is_measured(tmp_path):
    adapter, folder = with_base(tmp_path, lambda w: w.to(torch.float8_e4m3fn))
    other = adapter.difference(folder / "other.safetensors")
    assert other.same_quantisation is False
    assert 0.05 < other.median_percent < 3  # e4m3 keeps 4 binary digits, rows have 12 numbers
    assert "float8_e4m3fn" in other.sentence


def test_a_foreign_file_has_nothing_to_compare_with(tmp_path):
    adapter, base = adapter_of(2)
    assert adapter.difference(base).median_percent is None
    adapter.metadata = Metadata(base_model="x", base_sha256="00" * 32)
    adapter.record_base(base)  # in memory, without a hash: not the base that the file names
    assert adapter.row_norms is None


def test_row_norms_of_the_training_storage_are_kept(tmp_path):
    """A base quantised while loading has norms of its own, which the trainer records and saving must not replace."""
    adapter, base = adapter_of(1)
    adapter.row_norms = {name: torch.full((16,), 3.0) for name in adapter.layers}
    adapter.metadata = Metadata(base_quantisation="nf4")
    loaded = Adapter.load(adapter.save(tmp_path / "a.safetensors", base=base))
    assert all(torch.equal(norm, torch.full((16,), 3.0)) for norm in loaded.row_norms.values())
    assert loaded.metadata.base_quantisation == "nf4"


@pytest.mark.parametrize(
    "one,other,same",
    [
        ("bf16", "bfloat16", True),
        ("fp8", "float8_e4m3fn, scaled", True),
        ("nf4", "bfloat16", False),
        ("float16", "float16", True),
        ("fp32", "float16", False),
    ],
)
def test_names_of_storage(one, other, same):
    assert same_storage(one, other) == same
