"""In Qwen-Image's transformer: peft's training trajectory, adapter files both ways."""

import peft
import pytest
import torch
from diffusers import QwenImageEditPipeline, QwenImageTransformer2DModel
from safetensors.torch import load_file, save_file

from wdlora.layer import inject

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


def transformer(seed: int = 0) -> QwenImageTransformer2DModel:
    """Two blocks of width 32."""
    torch.manual_seed(seed)
    model = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        axes_dims_rope=(4, 6, 6),
    )
    return model.requires_grad_(False)


def config(rank: int = 4, use_dora: bool = True) -> peft.LoraConfig:
    return peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS), use_dora=use_dora)


def batch(seed: int) -> dict:
    """A 4 × 4 target and a reference of the same size, five text tokens."""
    rng = torch.Generator().manual_seed(seed)
    return {
        "hidden_states": torch.randn(2, 32, 16, generator=rng),
        "encoder_hidden_states": torch.randn(2, 5, 24, generator=rng),
        "encoder_hidden_states_mask": torch.ones(2, 5, dtype=torch.long),
        "timestep": torch.rand(2, generator=rng),
        "img_shapes": [[(1, 4, 4), (1, 4, 4)]] * 2,
    }


def adapter_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p for name, p in model.named_parameters() if "lora_" in name}


def trained(model: torch.nn.Module, steps: int) -> list[float]:
    """Losses of Adam steps towards fixed targets, one seeded batch a step."""
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for step in range(steps):
        target = torch.randn(2, 32, 16, generator=torch.Generator().manual_seed(1000 + step % 4))
        loss = (model(**batch(step % 4)).sample - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def by_peft(seed: int = 0, use_dora: bool = True) -> QwenImageTransformer2DModel:
    model = transformer(seed)
    model.add_adapter(config(use_dora=use_dora))
    return model


@pytest.mark.parametrize("use_dora", [True, False])
def test_the_loss_follows_pefts_over_60_adam_steps(use_dora):
    """1e-5 in float32: rounding differs, Adam's normalisation amplifies it, the curves stay together."""
    theirs, ours = by_peft(use_dora=use_dora), inject(transformer(), config(use_dora=use_dora))
    ours.load_state_dict(theirs.state_dict())
    assert adapter_state(ours).keys() == adapter_state(theirs).keys()
    losses = trained(ours, 60)
    assert losses[-1] < 0.99 * losses[0]
    expected = torch.tensor(trained(theirs, 60))
    assert (torch.tensor(losses) - expected).abs().max() <= 1e-5 * expected[0]


def test_files_go_both_ways(tmp_path):
    """peft → here, here → peft, here → diffusers' load_lora_weights: equal keys, equal outputs to 1e-6."""
    theirs = by_peft()
    trained(theirs, 3)
    expected = theirs(**batch(9)).sample
    save_file(peft.get_peft_model_state_dict(theirs), tmp_path / "peft.safetensors")

    ours = inject(transformer(), config())
    peft.set_peft_model_state_dict(ours, load_file(tmp_path / "peft.safetensors"))
    torch.testing.assert_close(ours(**batch(9)).sample, expected, rtol=1e-5, atol=1e-6)

    trained(ours, 2)
    expected = ours(**batch(9)).sample
    saved = peft.get_peft_model_state_dict(ours)
    assert saved.keys() == load_file(tmp_path / "peft.safetensors").keys()
    assert sum(name.endswith("lora_magnitude_vector") for name in saved) == 2 * len(TARGETS)
    save_file(saved, tmp_path / "ours.safetensors")
    fresh = by_peft()
    peft.set_peft_model_state_dict(fresh, load_file(tmp_path / "ours.safetensors"))
    torch.testing.assert_close(fresh(**batch(9)).sample, expected, rtol=1e-5, atol=1e-6)

    ours.save_lora_adapter(tmp_path / "folder")
    fresh = transformer()
    fresh.load_lora_adapter(str(tmp_path / "folder"), prefix=None, weight_name="pytorch_lora_weights.safetensors")
    torch.testing.assert_close(fresh(**batch(9)).sample, expected, rtol=1e-5, atol=1e-6)

    pipeline = QwenImageEditPipeline(None, None, None, None, None, transformer())
    pipeline.load_lora_weights({f"transformer.{name}": value for name, value in saved.items()})
    torch.testing.assert_close(pipeline.transformer(**batch(9)).sample, expected, rtol=1e-5, atol=1e-6)


def test_adapters_switch_through_diffusers(tmp_path):
    """set_adapters with weights, disable and enable, delete: diffusers' calls on a model adapted here."""
    model = inject(inject(transformer(), config(), "one"), config(2), "two")
    plain = transformer()(**batch(1)).sample
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1 if ".one." in name else 0.3)
    outputs = {}
    for name in ("one", "two"):
        model.set_adapter(name)
        outputs[name] = model(**batch(1)).sample
    assert not torch.allclose(outputs["one"], outputs["two"])
    model.set_adapters(["one", "two"], [1.0, 0.0])
    model.set_adapter("one")
    assert torch.equal(model(**batch(1)).sample, outputs["one"])
    model.disable_adapters()
    assert torch.equal(model(**batch(1)).sample, plain)
    model.enable_adapters()
    model.delete_adapters("two")
    assert torch.equal(model(**batch(1)).sample, outputs["one"])
