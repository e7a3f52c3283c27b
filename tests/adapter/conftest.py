"""A small adapter, its base and the weights it should give, computed in float64 straight from Eq. 6."""

from dataclasses import dataclass

import pytest
import torch

MODULES = (
    "transformer_blocks.0.attn.to_q",
    "transformer_blocks.0.attn.to_out.0",
    "transformer_blocks.10.img_mlp.net.0.proj",
    "time_text_embed.timestep_embedder.linear_1",
)
OUT, IN, RANK, ALPHA = 7, 10, 3, 1.5


@dataclass
class Truth:
    base: dict[str, torch.Tensor]
    a: dict[str, torch.Tensor]
    b: dict[str, torch.Tensor]
    m: dict[str, torch.Tensor]
    m_columns: dict[str, torch.Tensor]

    def weight(self, name, scaling=ALPHA / RANK, axis="output", decomposed=True):
        """Eq. 6 in float64 over rows, or over columns for the input axis."""
        merged = self.base[name].double() + scaling * self.b[name].double() @ self.a[name].double()
        if not decomposed:
            return merged
        if axis == "output":
            return merged * (self.m[name].double() / merged.norm(dim=1))[:, None]
        return merged * (self.m_columns[name].double() / merged.norm(dim=0))[None, :]


@pytest.fixture
def truth():
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return {name: torch.randn(*shape, generator=generator) for name in MODULES}

    base = draw(OUT, IN)
    m = {n: w.norm(dim=1) * (1 + 0.2 * torch.rand(OUT, generator=generator)) for n, w in base.items()}
    m_columns = {n: w.norm(dim=0) * (1 + 0.2 * torch.rand(IN, generator=generator)) for n, w in base.items()}
    return Truth(base, draw(RANK, IN), draw(OUT, RANK), m, m_columns)


@pytest.fixture
def peft_tensors(truth):
    """The truth under peft's own keys."""
    tensors = {}
    for name in MODULES:
        key = f"base_model.model.{name}"
        tensors[f"{key}.lora_A.weight"] = truth.a[name]
        tensors[f"{key}.lora_B.weight"] = truth.b[name]
        tensors[f"{key}.lora_magnitude_vector"] = truth.m[name]
    return tensors
