"""Fine-tunes of the miniature that take seconds."""

from pathlib import Path

from training.config import load_preset
from training.job import TrainingJob
from training.models import ModelSource

SMALL = {
    "size": 64,
    "views": 1,
    "steps": 6,
    "batch_size": 2,
    "warmup_steps": 2,
    "sample_every": 0,
    "sample_steps": 2,
    "sample_cfg": 1,
    "save_every": 2,
    "log_every": 1,
    "rank": 2,
    "ema_decay": 0.9,
}


def job(out: Path, cache: Path, resume: bool = False, **changes) -> TrainingJob:
    config = load_preset("miniature", SMALL | changes)
    return TrainingJob(
        config, "miniature", ModelSource("miniature"), out, "phantoms:2", cache=cache, device="cpu", resume=resume
    )
