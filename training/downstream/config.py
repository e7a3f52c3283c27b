"""What a downstream study is: tasks, regimes and the settings of every training in it."""

import hashlib
import json
from dataclasses import asdict, dataclass

from wdlora.errors import InputError
from wdlora.hmsvit.file import DIAGNOSIS, SEGMENTATION
from wdlora.hmsvit.sizes import SIZES, check_side

TASKS = (DIAGNOSIS, SEGMENTATION)


@dataclass(frozen=True)
class Regime:
    """What a network is trained on. `synthetic` is the share of its draws that are synthetic: 0, 1, or None for that of
    the configuration. `shuffled` gives every real patient the cohort of another.
    """

    name: str
    title: str
    synthetic: float | None
    augmented: bool = True
    shuffled: bool = False

    @property
    def of_real(self) -> bool:
        """Whether it needs no synthetic images, so that its runs serve every generator."""
        return self.synthetic == 0


REGIMES = {
    regime.name: regime
    for regime in (
        Regime("A", "real images alone", 0.0),
        Regime("B", "real and synthetic images", None),
        Regime("C", "synthetic images alone", 1.0),
        Regime("A0", "real images alone, not turned or mirrored", 0.0, augmented=False),
        Regime("S", "real images under shuffled labels", 0.0, shuffled=True),
    )
}
"""The paper's groups A, B and C (Table VII), and two controls."""

COMPARED = ("B", "C")
"""What is compared with A."""


@dataclass(frozen=True)
class DownstreamConfig:
    """Settings that all trainings of a study share; every regime makes the same number of steps.

    `network` is a name of `wdlora.hmsvit.sizes.SIZES`, `side` the side of its tiles in pixels. `synthetic_share` is the
    share of synthetic images among the draws of regime B, `test_share` that of the patients who are held out where
    nothing says who is. `shuffled` adds the control of shuffled labels. Learning rates were set by early trials on
    small sets of phantoms and are not tuned to a data set.
    """

    network: str = "tiny"
    side: int = 96
    steps: int = 400
    pretrain_steps: int = 200
    batch: int = 8
    synthetic_share: float = 0.5
    test_share: float = 0.3
    shuffled: bool = False
    pretrain_rate: float = 1e-3
    diagnosis_rate: float = 4e-4
    segmentation_rate: float = 2e-3
    weight_decay: float = 0.05
    save_every: int = 200

    def __post_init__(self) -> None:
        check_side(self.side)
        if self.network not in SIZES:
            raise InputError(f"there is no network {self.network!r}; choose one of {', '.join(SIZES)}")
        for name in ("steps", "batch", "save_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name.replace('_', ' ')} must be 1 or more, not {getattr(self, name)}")
        if self.pretrain_steps < 0:
            raise InputError(f"steps of pre-training must be 0 or more, not {self.pretrain_steps}")
        for name in ("synthetic_share", "test_share"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"the {name.replace('_', ' ')} must lie between 0 and 1, not {getattr(self, name)}")

    def rate(self, task: str) -> float:
        """Peak learning rate of a task."""
        return self.diagnosis_rate if task == DIAGNOSIS else self.segmentation_rate

    def regimes(self, task: str) -> list[Regime]:
        """The regimes of a task; shuffled labels say nothing about segmentation."""
        names = ["A", "B", "C", "A0"] + (["S"] if self.shuffled and task == DIAGNOSIS else [])
        return [REGIMES[name] for name in names]

    def share(self, regime: Regime) -> float:
        """The share of synthetic images among a regime's draws."""
        return self.synthetic_share if regime.synthetic is None else regime.synthetic

    def fingerprint(self) -> str:
        """SHA-256 of everything that decides a run."""
        decides = {key: value for key, value in asdict(self).items() if key not in ("save_every", "shuffled")}
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
