"""What a fine-tune is given, and what can be said of it before PyTorch is imported."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from training.config import TrainingConfig
from training.models import ModelSource
from wdlora.dataset.folder import check_folder
from wdlora.errors import InputError
from wdlora.files import check_writable

if TYPE_CHECKING:
    from training.examples import PhantomAppearance


@dataclass(frozen=True)
class TrainingJob:
    """What to train on what."""

    config: TrainingConfig
    preset: str
    model: ModelSource
    out: Path
    data: str = "phantoms:64"
    appearance: "PhantomAppearance | None" = None
    phantom: int | None = None
    pixel_size_um: float | None = None
    cache: Path | None = None
    device: str | None = None
    resume: bool = False
    split: Path | None = None
    init_adapter: Path | None = None
    study: Path | None = None

    @property
    def of_phantoms(self) -> bool:
        """Whether `data` is `phantoms:N`, and not a folder."""
        return self.data.partition(":")[0] == "phantoms"

    def check_places(self) -> None:
        """Raise InputError where data or model are not there, where the folder of the run cannot be written, for a new
        run in a folder that holds one, and for none to go on with.
        """
        check_writable(self.out / "config.json")
        checkpoints = self.out / "checkpoints"
        if checkpoints.exists() and not self.resume:
            raise InputError(f"{self.out} already holds a run; continue with --resume, or name another folder.")
        if self.resume and not any(checkpoints.glob("step-*")) and not (self.out / "config.json").exists():
            raise InputError(f"{self.out} holds no run to resume; leave out --resume to start one.")
        if not self.of_phantoms:
            check_folder(self.data)
        self.model.check_places()
