"""`python -m training COMMAND …`, also by file: an isolated Python, like that of a portable ComfyUI, knows no
folder but its own, so the parent of this one is put on the path first."""

import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
if not __package__:
    sys.path[:] = [str(HERE.parent), *(entry for entry in sys.path if Path(entry or ".").resolve() != HERE)]

from wdlora.cli import dispatch  # noqa: E402

COMMANDS = {
    "finetune": "adapt Qwen-Image-Edit, or the miniature, to corneal confocal microscopy",
    "evaluate": "measure what an adapter has learned, beside every baseline",
    "compare": "LoRA against WDLoRA, the learning rate tuned for each",
    "peers": "train SPADE or MAISI-2D on the same data, and paint masks with them",
    "table9": "SPADE, MAISI-2D, LoRA and WDLoRA on the same masks and split",
    "downstream": "whether synthetic images help a network on held-out real patients",
    "miniature": "train the miniature from nothing",
    "tracer": "train the tracer's network on phantoms",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m training`; returns the exit status."""
    return dispatch("python -m training", COMMANDS, "training.cli", argv)


if __name__ == "__main__":
    sys.exit(main())
