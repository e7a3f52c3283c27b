"""Schedules in closed form, samplers on equations whose solution is known."""

import math

import pytest
import torch

from wdlora.errors import InputError
from wdlora.qwen import sampling


def test_auraflow_table_in_closed_form():
    table = sampling.auraflow_table(3.0)
    assert len(table) == 1000
    assert table[-1] == 1.0
    assert table[499] == pytest.approx(3 * 0.5 / (1 + 2 * 0.5), rel=1e-6)  # fp32
    assert torch.equal(sampling.auraflow_table(1.0), torch.arange(1, 1001) / 1000)


def test_flux_table_in_closed_form():
    table = sampling.flux_table(1.15)
    assert len(table) == 10000
    assert table[4999] == pytest.approx(math.exp(1.15) / (math.exp(1.15) + 1), rel=1e-6)  # fp32


def test_simple_schedule_counts_from_the_noisiest():
    # 1000 levels, 3 steps: entries 1000, 667 and 334 of the unshifted table
    assert sampling.sigmas(3, 1.0).tolist() == pytest.approx([1.0, 0.667, 0.334, 0.0], rel=1e-6)


def test_denoise_keeps_the_tail_of_a_longer_schedule():
    assert torch.equal(sampling.sigmas(4, 3.0, denoise=0.5), sampling.sigmas(8, 3.0)[-5:])
    assert len(sampling.sigmas(10, 3.0, denoise=0.3)) == 11


@pytest.mark.parametrize("arguments", [(0, 3.0), (5, 0.0), (5, float("nan")), (5, 3.0, 0.0), (5, 3.0, 1.5)])
def test_impossible_schedules_are_refused(arguments):
    with pytest.raises(InputError):
        sampling.sigmas(*arguments)


def test_noise_is_a_function_of_the_seed_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    noise = sampling.initial_noise((2, 16, 1, 4, 6), seed=7)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(7)  # how ComfyUI draws it
    assert torch.equal(noise, torch.randn(2, 16, 1, 4, 6))
    with pytest.raises(InputError, match="seed"):
        sampling.initial_noise((1,), -1)


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_straight_paths_are_walked_exactly(sampler):
    """With a constant clean estimate the path is a straight line, so any method ends on it exactly."""
    target = torch.full((1, 16, 1, 2, 2), 0.3)
    noise = sampling.initial_noise(target.shape, 0)
    end = sampling.sample(lambda x, s: target, noise, sampling.sigmas(5, 3.0), sampler=sampler)
    assert torch.allclose(end, target, atol=1e-6)  # fp32


def _gaussian(x, sigma):
    """Exact denoiser of data ~ N(0, ½²): E[z | x] for x = (1−σ)z + σn."""
    s = sigma.view(-1, 1, 1, 1, 1)
    return x * 0.25 * (1 - s) / (0.25 * (1 - s) ** 2 + s**2)


@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("heun", 2)])
def test_order_of_convergence(sampler, order):
    """The exact flow of Gaussian data maps noise n to n/2; halving the steps divides the error by 2^order."""
    noise = sampling.initial_noise((1, 16, 1, 4, 4), 1).double()
    errors = []
    for steps in (40, 80):
        levels = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
        end = sampling.sample(_gaussian, noise, levels, sampler=sampler)
        errors.append(float((end - noise / 2).abs().max()))
    # Heun's last step is Euler's, so its order shows less cleanly than Euler's
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


def test_guidance_and_its_norm():
    positive = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1, 1)
    negative = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1, 1)
    calls = []

    def unconditional(x, sigma):
        calls.append(sigma)
        return negative

    x, sigma = torch.zeros_like(positive), torch.ones(1)
    plain = sampling.guided(lambda x, s: positive, unconditional, 2.0)(x, sigma)
    assert plain.flatten().tolist() == [5.0, 8.0]  # 1 + 2·(3 − 1), 0 + 2·(4 − 0)
    normed = sampling.guided(lambda x, s: positive, unconditional, 2.0, norm=1.0)(x, sigma)
    assert float(normed.norm()) == pytest.approx(5.0, rel=1e-6)  # back to ‖(3, 4)‖
    damped = sampling.guided(lambda x, s: positive, unconditional, 0.5, norm=1.0)(x, sigma)
    assert damped.flatten().tolist() == [2.0, 2.0]  # smaller already: left alone
    calls.clear()
    assert torch.equal(sampling.guided(lambda x, s: positive, unconditional, 1.0)(x, sigma), positive)
    assert not calls


def test_callback_reports_and_interrupts():
    seen = []

    class Stop(Exception):
        pass

    def callback(i, steps, denoised, x):
        seen.append((i, steps))
        if i == 2:
            raise Stop

    noise = torch.zeros(1, 16, 1, 2, 2)
    with pytest.raises(Stop):
        sampling.sample(lambda x, s: x * 0, noise, sampling.sigmas(5, 3.0), callback)
    assert seen == [(0, 5), (1, 5), (2, 5)]


def test_unknown_sampler_is_named():
    with pytest.raises(InputError, match="dpm_fast"):
        sampling.sample(lambda x, s: x, torch.zeros(1), sampling.sigmas(2, 1.0), sampler="dpm_fast")
