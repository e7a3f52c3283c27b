"""The rows of Table IX by name, and what is trained for them; imported without PyTorch."""

from dataclasses import dataclass

from training.config import TrainingConfig
from training.models import ModelSource
from training.peers.recipe import PEERS, PeerRecipe
from wdlora.study import Study

ADAPTERS = ("lora", "wdlora")
BASE, PHANTOM = "base", "phantom"
NAMES = (*PEERS, *ADAPTERS, BASE, PHANTOM)
TITLES = {
    "spade": "SPADE",
    "maisi": "MAISI-2D",
    "lora": "LoRA",
    "wdlora": "WDLoRA",
    BASE: "base, not adapted (limit)",
    PHANTOM: "phantom of the same mask (limit)",
}


@dataclass(frozen=True)
class Table9Settings:
    """What is trained for the rows, and how it paints. `recipes` by peer, of the preset `peer_preset`; `finetune` of
    both adapters, of `preset`, whose method is set and whose sheets say how pictures are painted; `model` is their
    base, and `study` the one that `preset` is for, None where it does not say.
    """

    recipes: dict[str, PeerRecipe]
    finetune: TrainingConfig
    model: ModelSource
    preset: str = ""
    peer_preset: str = ""
    study: Study | None = None
