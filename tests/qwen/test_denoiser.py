"""The transformer's forward for training and sampling."""

import pytest
import torch

from wdlora.errors import InputError
from wdlora.qwen.denoiser import denoiser, exact_timesteps, velocity
from wdlora.qwen.encode import Conditioning
from wdlora.qwen.latents import pack, unpack


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    return draw(2, 16, 1, 8, 12), torch.tensor([0.9, 0.3]), Conditioning(draw(2, 7, 128)), draw(2, 16, 1, 8, 12)


@pytest.mark.parametrize("zero_cond_t", [False, True])
def test_equal_to_the_pipelines_call(build_transformer, inputs, zero_cond_t):
    x, sigma, conditioning, reference = inputs
    model = build_transformer(zero_cond_t=zero_cond_t)
    ours = velocity(model, x, sigma, conditioning, [reference])
    theirs = model(
        hidden_states=torch.cat([pack(x), pack(reference)], 1),
        timestep=sigma,
        encoder_hidden_states=conditioning.embeds,
        img_shapes=[[(1, 4, 6), (1, 4, 6)]] * 2,
        return_dict=False,
    )[0][:, :24]
    assert torch.allclose(ours, unpack(theirs, 8, 12), atol=1e-6)  # fp32
    estimate = denoiser(model, conditioning, [reference])(x, sigma)
    assert torch.allclose(estimate, x - sigma.view(2, 1, 1, 1, 1) * ours, atol=1e-6)


def test_one_reference_and_prompt_serve_a_batch(parts, inputs):
    x, sigma, conditioning, reference = inputs
    single = Conditioning(conditioning.embeds[:1])
    both = velocity(parts.transformer, x, sigma, single, [reference[:1]])
    for i in range(2):
        one = velocity(parts.transformer, x[i : i + 1], sigma[i : i + 1], single, [reference[:1]])
        assert torch.allclose(both[i], one[0], atol=2e-6)  # fp32, other batch shape


def test_padding_changes_nothing_under_its_mask(parts, inputs):
    x, sigma, conditioning, reference = inputs
    plain = velocity(parts.transformer, x, sigma, conditioning, [reference])
    padded = torch.nn.functional.pad(conditioning.embeds, (0, 0, 0, 5), value=3.0)
    mask = torch.arange(12).expand(2, -1) < 7
    masked = velocity(parts.transformer, x, sigma, Conditioning(padded, mask), [reference])
    assert torch.allclose(masked, plain, atol=2e-6)  # fp32, masked attention sums in another order
    unmasked = velocity(parts.transformer, x, sigma, Conditioning(padded), [reference])
    assert float((unmasked - plain).abs().max()) > 1e-3


def test_bfloat16_embeds_the_exact_timestep(build_transformer):
    """diffusers rounds σ and the frequencies to bfloat16, which turns the embedding's fast half into noise."""
    model = build_transformer().to(torch.bfloat16)
    time = model.time_text_embed.time_proj
    sigma = torch.tensor([0.903])
    wanted = time(sigma)
    seen = []
    handle = time.register_forward_hook(lambda m, a, out: seen.append(out))
    x, embeds = torch.zeros(1, 16, 1, 4, 4), torch.zeros(1, 3, 128)
    try:
        velocity(model, x, sigma, Conditioning(embeds), [x])
        model(pack(x).bfloat16(), embeds.bfloat16(), timestep=sigma, img_shapes=[[(1, 2, 2)]])
    finally:
        handle.remove()
    ours, theirs = seen
    assert torch.equal(ours, wanted)
    assert float((theirs.float() - wanted).abs().max()) > 0.5


def test_exact_timesteps_leave_no_hook(parts):
    time = parts.transformer.time_text_embed.time_proj
    with pytest.raises(RuntimeError), exact_timesteps(parts.transformer, torch.ones(1)):
        assert len(time._forward_pre_hooks) == 1
        raise RuntimeError
    assert not time._forward_pre_hooks


def test_gradients_reach_parameters_and_input(build_transformer, inputs):
    x, sigma, conditioning, reference = inputs
    model = build_transformer()
    weight = model.transformer_blocks[0].attn.to_q.weight.requires_grad_()
    velocity(model, x.requires_grad_(), sigma, conditioning, [reference]).square().mean().backward()
    assert float(weight.grad.abs().sum()) > 0
    assert float(x.grad.abs().sum()) > 0


def test_a_reference_on_another_grid_is_refused(parts, inputs):
    x, sigma, conditioning, _ = inputs
    with pytest.raises(InputError, match="grid"):
        velocity(parts.transformer, x, sigma, conditioning, [torch.zeros(1, 16, 1, 16, 16)])
