"""The adapter's effect on one weight as ComfyUI asks for it, without ComfyUI: `tests/comfyui` has the real one."""

import pytest
import torch

from wdlora.adapter import AdapterLayer


@pytest.fixture
def patch(run):  # a host, so that the pack is loaded
    import wdlora_pack.nodes.comfyui.weight_patch as module

    return module


def layer(axis="output", seed=0):
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(3, 20, generator=generator) * 0.1, torch.randn(12, 3, generator=generator) * 0.1
    m = 1 + torch.rand(12 if axis == "output" else 20, generator=generator)
    return AdapterLayer(a, b, m, 2.0, axis)


@pytest.fixture
def weight():
    return torch.randn(12, 20, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("axis", ["output", "input"])
@pytest.mark.parametrize(("d", "k"), [(1.0, 1.0), (0.5, 0.0), (0.0, 1.0), (-1.0, 2.0)])
def test_patch_is_compose(patch, weight, axis, d, k):
    """Equal to the library's `compose` up to float32 sums in another order."""
    one = layer(axis)
    adapted = weight.clone()
    gain = patch.Gain(one, d, k)
    patch.adapt(adapted, one.lora_a, one.lora_b, gain.of(weight), one.scaling, d, axis)
    torch.testing.assert_close(adapted, one.compose(weight, d, k), rtol=1e-6, atol=1e-6)


def test_gain_is_that_of_the_first_weight(patch, weight):
    """The pristine base decides; what is shown later, already changed by others, does not."""
    one = layer()
    gain = patch.Gain(one, 1.0, 1.0)
    first = gain.of(weight)
    torch.testing.assert_close(first, one.gain(weight).flatten())
    assert gain.of(weight * 7) is first
    asked = []
    assert gain.of(lambda: asked.append(1)) is first and not asked


def test_patch_in_place_also_of_a_part(patch, weight):
    """ComfyUI keeps the weight that it handed out where a patch changes only a part of it."""
    one = layer()
    whole = torch.cat([weight, weight])
    part = whole[12:]
    patch.adapt(part, one.lora_a, one.lora_b, one.gain(weight).flatten(), one.scaling, 1.0, "output")
    assert torch.equal(whole[:12], weight)
    torch.testing.assert_close(whole[12:], one.compose(weight), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_are_rounded_once(patch, weight, dtype):
    """Computed in float32: at most half a unit in the last place from the exact weight, as rounding it once is."""
    one = layer()
    stored = weight.to(dtype)
    adapted = stored.clone()
    patch.adapt(adapted, one.lora_a, one.lora_b, one.gain(stored).flatten(), one.scaling, 1.0, "output")
    exact = one.compose(stored.double())
    error = (adapted.double() - exact).norm()
    assert error <= 1.01 * (exact.to(dtype).double() - exact).norm()


def test_wrapper_leaves_the_weight_alone_and_asks_for_the_base_once(patch, weight):
    one = layer()
    asked = []

    def pristine(device):
        asked.append(device)
        return weight

    wrapper = patch.Wrapper(one, patch.Gain(one, 1.0, 1.0), 1.0, pristine)
    other = weight + 0.1  # already changed by another adapter
    kept = other.clone()
    results = [wrapper(other) for _ in range(10)]
    assert torch.equal(other, kept) and len(asked) == 1
    assert all(torch.equal(results[0], one) for one in results)
    expected = one.gain(weight) * (other + one.scaling * one.lora_b @ one.lora_a)
    torch.testing.assert_close(results[0], expected, rtol=1e-6, atol=1e-6)
