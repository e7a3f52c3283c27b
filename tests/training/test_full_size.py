"""The presets on the full-size transformer without its weights, and the GPU benchmark's model in small."""

import pytest
import torch
from diffusers import QwenImageTransformer2DModel

from benchmarks import gpu
from training.adaptation import prepare_transformer
from training.config import load_preset
from training.objective import batch_loss
from training.optimiser import build_optimiser

WIDTH, MLP, BLOCKS = 3072, 12288, 60


def trained(preset: str) -> int:
    """How many numbers a preset trains in the transformer of 60 blocks."""
    with torch.device("meta"):
        model = QwenImageTransformer2DModel()
    prepare_transformer(model, load_preset(preset))
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("lora_r8", 11_796_480),
        ("lora_r16", 23_592_960),
        ("lora_r32", 47_185_920),
        ("paper_r8", 12_533_760),
        ("paper_r16", 24_330_240),
        ("paper_r32", 47_923_200),
        ("consumer_24gb", 24_330_240),
    ],
)
def test_table_iii_counts_the_attention_of_the_image_stream(preset, expected):
    """Table III of the paper: 240 layers of 3072², r · 6144 each; WDLoRA adds a magnitude for each of 737,280 rows."""
    assert trained(preset) == expected


def test_the_papers_text_counts_attention_mlp_and_mapping_of_both_streams():
    rank = 32
    shapes = BLOCKS * (8 * [(WIDTH, WIDTH)] + 2 * [(WIDTH, MLP), (MLP, WIDTH)])
    shapes += [(64, WIDTH), (3584, WIDTH), (WIDTH, 64)]  # latents in, text in, latents out
    assert trained("paper_text") == sum(rank * (inner + outer) + outer for inner, outer in shapes)


@pytest.mark.parametrize("precision", ["bf16", "fp8", "nf4"])
@pytest.mark.parametrize("method", ["lora", "wdlora"])
def test_the_gpu_benchmarks_step_trains(precision, method):
    """What `make bench-gpu` times, on a transformer of one block and 128 channels."""
    torch.manual_seed(0)
    device = torch.device("cpu")
    shape = {"num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 64, "axes_dims_rope": (16, 24, 24)}
    model = gpu.random_transformer(precision, device, joint_attention_dim=96, **shape)
    assert sum(type(layer) is torch.nn.Linear for layer in model.transformer_blocks.modules()) == (
        14 if precision == "bf16" else 0
    )
    config = load_preset("paper_r16", {"method": method, "rank": 4, "precision": precision, "optimiser": "adamw"})
    prepare_transformer(model, config).train()
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimiser = build_optimiser(parameters, config)
    before = {name: p.detach().clone() for name, p in parameters.items()}
    loss = batch_loss(model, gpu.random_batch(64, device, 96), config, torch.Generator().manual_seed(0))
    loss.backward()
    optimiser.step()
    assert torch.isfinite(loss)
    assert all(not torch.equal(p, before[name]) for name, p in parameters.items() if "lora_B" in name)


def test_what_does_not_fit_on_a_card_is_said_in_its_row():
    both = gpu.row("bf16", 384, (2.0, 30.0), (2.05, 31.0))
    assert both == ["bf16", "384²", "2.000", "2.050", "1.025", "30.0", "31.0"]
    one = gpu.row("bf16", 512, (2.0, 30.0), None)
    assert one == ["bf16", "512²", "2.000", "does not fit", "–", "30.0", "–"]
