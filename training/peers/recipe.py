"""What a peer is and how it is trained: one dataclass a peer, filled by presets in the form of those of a fine-tune."""

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from training.config import made_of, sourced
from wdlora.errors import InputError
from wdlora.temporaries import visible

PRESETS = Path(__file__).parent / "presets"

PEERS = (SPADE,) = ("spade",)

PUBLISHED_MILLIONS = {SPADE: 34.15}
"""Trainable parameters in the paper's Table IX, whose heading says MB."""

_SHOWN = ("save_every", "sample_every", "log_every")
"""Fields that change what is kept on the way, and not what is learned."""


@dataclass(frozen=True)
class PeerRecipe:
    """What all peers share. `size` is the side of the crops in pixels; `epochs`, where it is not 0, stands in the place
    of the steps: so many times each image. `schedule`: the rate stays, or rises for a tenth of the steps and falls by a
    cosine. `test_share` of each cohort's patients is held out where nothing says who is.
    """

    size: int
    steps: int
    batch: int
    learning_rate: float
    epochs: int = 0
    beta1: float = 0.9
    beta2: float = 0.999
    schedule: Literal["constant", "cosine"] = "constant"
    ema_decay: float = 0.0
    augment: bool = True
    test_share: float = 0.2
    seed: int = 0
    save_every: int = 250
    sample_every: int = 1000
    log_every: int = 20

    def __post_init__(self) -> None:
        for name in ("batch", "save_every", "log_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("steps", "epochs", "sample_every", "seed"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if self.learning_rate <= 0:
            raise InputError(f"learning_rate must be positive, not {self.learning_rate}")
        for name in ("beta1", "beta2", "ema_decay", "test_share"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must lie in [0, 1), not {getattr(self, name)}")
        if bool(self.steps) == bool(self.epochs):
            raise InputError("a recipe needs steps or epochs, one of them: the other is 0")
        if self.size < self.multiple or self.size % self.multiple:
            raise InputError(f"size must be a multiple of {self.multiple}, not {self.size}")

    @property
    def multiple(self) -> int:
        """What the sides of its images must be a multiple of."""
        raise NotImplementedError

    def stepped(self, images: int) -> "PeerRecipe":
        """The same with `epochs` turned into steps for a set of so many images."""
        return replace(self, steps=max(1, self.epochs * images // self.batch), epochs=0) if self.epochs else self

    def fingerprint(self) -> str:
        """SHA-256 of everything that decides what is learned."""
        decides = {name: value for name, value in asdict(self).items() if name not in _SHOWN}
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class SpadeRecipe(PeerRecipe):
    """SPADE as a VAE-GAN (Park et al. 2019, arXiv 1903.07291). `channels` from the finest level down; `hidden` channels
    of the layers that read the mask; `style` numbers of the latent vector. Weights are those of the losses.
    """

    channels: tuple[int, ...] = (64, 128, 256, 512)
    hidden: int = 128
    style: int = 256
    discriminators: int = 2
    discriminator_layers: int = 2
    discriminator_channels: int = 64
    discriminator_rate: float = 2e-4
    adversarial_weight: float = 1.0
    feature_weight: float = 10.0
    pixel_weight: float = 10.0
    kl_weight: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(self, ("hidden", "style", "discriminators", "discriminator_layers", "discriminator_channels"))
        _check_weights(self, ("adversarial_weight", "feature_weight", "pixel_weight", "kl_weight"))

    @property
    def multiple(self) -> int:
        """One halving a level."""
        return 2 ** len(self.channels)


KINDS: dict[str, type[PeerRecipe]] = {SPADE: SpadeRecipe}


def recipe_names(peer: str) -> list[str]:
    """The presets of a peer."""
    return [path.stem.removeprefix(f"{peer}_") for path in visible(PRESETS, f"{peer}_*.toml")]


def load_recipe(peer: str, name: str, overrides: dict[str, Any] | None = None) -> PeerRecipe:
    """A peer's preset by name, or a TOML file by path, with overrides; as `training.config.load_preset`."""
    path = Path(name) if name.endswith(".toml") else PRESETS / f"{peer}_{name}.toml"
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"there is no preset {name!r} of {peer}; there are {', '.join(recipe_names(peer))}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"the preset {path.name} is not valid TOML: {error}") from None
    return recipe_of(peer, sourced(entries, path.name) | (overrides or {}), f"the preset {path.name}")


def recipe_of(peer: str, values: dict[str, Any], origin: str) -> PeerRecipe:
    """A recipe from plain values. Raises InputError for an unknown peer or key and for a wrong value."""
    if peer not in KINDS:
        raise InputError(f"there is no peer {peer!r}; there are {', '.join(KINDS)}")
    try:
        return made_of(KINDS[peer], values, origin)
    except TypeError as error:  # a field without a default is missing
        raise InputError(f"{origin} is not whole: {error}") from None


def _check_positive(recipe: PeerRecipe, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(recipe, name) < 1:
            raise InputError(f"{name} must be at least 1, not {getattr(recipe, name)}")


def _check_weights(recipe: PeerRecipe, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(recipe, name) < 0:
            raise InputError(f"{name} must be 0 or more, not {getattr(recipe, name)}")
