"""What a peer is and how it is trained: one dataclass a peer, filled by presets in the form of those of a fine-tune."""

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from training.config import check_finite, made_of, preset_entries, sourced
from wdlora.errors import InputError
from wdlora.temporaries import visible

PRESETS = Path(__file__).parent / "presets"

SPADE, MAISI = PEERS = ("spade", "maisi")

PUBLISHED_MILLIONS = {SPADE: 34.15, MAISI: 99.34}
"""Trainable parameters in the paper's Table IX, whose heading says MB."""

ENCODER_PATCHES = (1, 2)
"""Discriminators of the autoencoder of MAISI, and the layers of the first."""

_SHOWN = ("save_every", "sample_every", "log_every")
"""Fields that change what is kept on the way, and not what is learned."""


@dataclass(frozen=True)
class PeerRecipe(ABC):
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
        check_finite(asdict(self))
        _check_positive(self, ("batch", "save_every", "log_every"))
        _check_not_negative(self, ("steps", "epochs", "sample_every", "seed"))
        _check_rates(self, ("learning_rate",))
        if self.seed >= 2**31:
            raise InputError(f"seed must be below 2^31, not {self.seed}")
        for name, value in asdict(self).items():
            if isinstance(value, tuple) and (not value or min(value) < 1):
                raise InputError(f"{name} must be numbers of at least 1, one or more of them, not {list(value)}")
        for name in ("beta1", "beta2", "ema_decay", "test_share"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must lie in [0, 1), not {getattr(self, name)}")
        if bool(self.steps) == bool(self.epochs):
            raise InputError("a recipe needs steps or epochs, one of them: the other is 0")
        if self.size < self.multiple or self.size % self.multiple:
            raise InputError(f"size must be a multiple of {self.multiple}, not {self.size}")

    @property
    @abstractmethod
    def multiple(self) -> int:
        """What the sides of its images must be a multiple of."""

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
        _check_not_negative(self, ("adversarial_weight", "feature_weight", "pixel_weight", "kl_weight"))
        _check_rates(self, ("discriminator_rate",))
        if self.size < (least := 2 ** (len(self.channels) + 1)):
            raise InputError(f"size must be at least {least} for so many channels, not {self.size}")
        _check_patches(self.size, self.discriminators, self.discriminator_layers)

    @property
    def multiple(self) -> int:
        """One halving a level."""
        return 2 ** len(self.channels)


@dataclass(frozen=True)
class MaisiRecipe(PeerRecipe):
    """An autoencoder, a diffusion U-Net on its latents and a ControlNet that reads the mask (MAISI, Guo et al. 2025,
    arXiv 2409.11169, in two dimensions).

    The autoencoder makes `encoder_steps` at `encoder_rate` first. `control`: the ControlNet learns with the U-Net, or
    `after` it, for `control_steps` on the frozen U-Net, as MAISI has it. Noise levels are `timesteps`; pictures are
    painted in `sampler_steps` of the `sampler`.
    """

    encoder_channels: tuple[int, ...] = (64, 128, 256)
    latent: int = 4
    encoder_steps: int = 0
    encoder_rate: float = 1e-4
    adversarial_weight: float = 0.1
    feature_weight: float = 1.0
    kl_weight: float = 1e-6
    channels: tuple[int, ...] = (64, 128, 256)
    blocks: int = 2
    attention: int = 1
    control: Literal["together", "after"] = "after"
    control_steps: int = 0
    timesteps: int = 1000
    sampler: Literal["ddpm", "ddim"] = "ddpm"
    sampler_steps: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(self, ("latent", "encoder_steps", "blocks", "timesteps", "sampler_steps"))
        _check_not_negative(self, ("control_steps", "adversarial_weight", "feature_weight", "kl_weight"))
        _check_rates(self, ("encoder_rate",))
        _check_patches(self.size, *ENCODER_PATCHES)
        if (self.control == "after") != bool(self.control_steps):
            raise InputError('control = "after" needs control_steps, and "together" has none')
        if self.sampler == "ddpm" and self.sampler_steps != self.timesteps:
            raise InputError(f"ddpm makes all {self.timesteps} steps: set sampler_steps to it, or the sampler to ddim")
        if self.sampler_steps > self.timesteps:
            raise InputError(f"sampler_steps must be at most timesteps, {self.timesteps}, not {self.sampler_steps}")
        if not 0 <= self.attention <= len(self.channels):
            raise InputError(f"attention must be 0 to {len(self.channels)} levels, not {self.attention}")
        if odd := [n for n in (*self.channels, *self.encoder_channels) if n % 8]:
            raise InputError(f"channels must be multiples of 8, not {odd[0]}")
        if odd := [n for n in self.channels[len(self.channels) - max(self.attention, 1) :] if n % 32]:
            raise InputError(f"channels of levels with attention must be multiples of 32, not {odd[0]}")

    @property
    def shrink(self) -> int:
        """How many pixels a latent pixel is wide."""
        return 2 ** (len(self.encoder_channels) - 1)

    @property
    def multiple(self) -> int:
        """The halvings of the autoencoder and of the U-Net."""
        return self.shrink * 2 ** (len(self.channels) - 1)


KINDS: dict[str, type[PeerRecipe]] = {SPADE: SpadeRecipe, MAISI: MaisiRecipe}


def recipe_names(peer: str) -> list[str]:
    """The presets of a peer."""
    return [path.stem.removeprefix(f"{peer}_") for path in visible(PRESETS, f"{peer}_*.toml")]


def load_recipe(peer: str, name: str, overrides: dict[str, Any] | None = None) -> PeerRecipe:
    """A peer's preset by name, or a TOML file by path, with overrides; as `training.config.load_preset`."""
    path = Path(name) if name.endswith(".toml") else PRESETS / f"{peer}_{name}.toml"
    unknown = f"there is no preset {name!r} of {peer}; there are {', '.join(recipe_names(peer))}"
    entries = preset_entries(name, path, unknown)
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


def _check_not_negative(recipe: PeerRecipe, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(recipe, name) < 0:
            raise InputError(f"{name} must be 0 or more, not {getattr(recipe, name)}")


def _check_rates(recipe: PeerRecipe, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(recipe, name) <= 0:
            raise InputError(f"{name} must be positive, not {getattr(recipe, name)}")


def _check_patches(size: int, discriminators: int, layers: int) -> None:
    """The deepest discriminator halves a crop once for each of its layers; its norms need three pixels then."""
    most = (size // 3).bit_length() - 1
    if discriminators * layers > most:
        raise InputError(
            f"discriminators × discriminator_layers is {discriminators * layers}, and crops of {size} pixels allow "
            f"{max(most, 0)} at most: give larger crops or fewer layers"
        )
