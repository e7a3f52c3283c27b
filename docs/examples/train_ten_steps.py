"""Train an adapter of the miniature on phantoms for ten steps: `python docs/examples/train_ten_steps.py OUT`.

Ten steps show how a run goes and what it writes; they teach the model nothing that one would see.
"""

import sys
from pathlib import Path

from training.config import load_preset
from training.job import TrainingJob
from training.models import ModelSource
from training.pipeline import finetune

if __name__ == "__main__":
    small = {"steps": 10, "size": 64, "batch_size": 2, "views": 1, "sample_steps": 2, "save_every": 10}
    job = TrainingJob(
        config=load_preset("miniature", small),
        preset="miniature",
        model=ModelSource("miniature"),
        out=Path(sys.argv[1]),
        data="phantoms:8",
        device="cpu",
    )
    print(finetune(job)["adapter"])
