"""A fine-tune from its arguments to its files: load, encode, train, write."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from training.cache import Cache
from training.checkpoint import list_checkpoints
from training.config import TrainingConfig
from training.examples import (
    Example,
    PhantomAppearance,
    check_pictures,
    folder_examples,
    pair_references,
    phantom_examples,
    shared_pixel_size,
)
from training.loop import FineTune
from training.models import ModelSource
from training.monitor import Monitor
from training.output import ADAPTER, make_adapter, origins, write_model_card
from training.prepare import EncodedView, Preparer
from training.processes import accelerator_for
from training.split import split_by_patient
from wdlora.anatomy.scale import PIXEL_SIZE_UM
from wdlora.errors import InputError
from wdlora.files import write_json
from wdlora.qwen.memory import pick_device

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingJob:
    """What to train on what."""

    config: TrainingConfig
    preset: str
    model: ModelSource
    out: Path
    data: str = "phantoms:64"
    appearance: PhantomAppearance | None = None
    pixel_size_um: float | None = None
    cache: Path | None = None
    device: str | None = None
    resume: bool = False

    @property
    def of_phantoms(self) -> bool:
        """Whether `data` is `phantoms:N`, and not a folder."""
        return self.data.partition(":")[0] == "phantoms"


def finetune(job: TrainingJob) -> dict[str, Any]:
    """Train an adapter; returns `finished`, `step` and, in the main process, `adapter` (once finished) and `judgement`.

    `adapter` is a path, `judgement` the last line of the log with a validation loss; `main` tells whether this is the
    main one of several processes, which alone writes.

    Raises InputError, before the first step, for data, models and settings that cannot be used.
    """
    config, out = job.config, Path(job.out)
    _check_folder(out, job.resume)
    examples, source, pixel_size = _examples(job)
    chosen = pick_device(job.device) if job.device else None
    accelerator = accelerator_for(chosen)
    device, main = chosen or accelerator.device, accelerator.is_main_process
    job.model.check(config.precision)
    if not job.of_phantoms:
        examples = check_pictures(examples, config.size)
    learned, held = map(pair_references, split_by_patient(examples, config.validation_share, config.seed))
    if main:
        _warn(config, held)
    cache = Cache(job.cache or out / "cache")
    views, held_views, vae = _encoded(job, learned, held, cache, device, accelerator)
    model = dataclasses.replace(job.model.load(config.precision, device, ("transformer",)), vae=vae)
    out.mkdir(parents=True, exist_ok=True)
    monitor = Monitor(model, config, held_views, cache, out, pixel_size) if main else None
    run = FineTune(config, model, views, cache, out, monitor, accelerator)
    if job.resume:
        run.resume()
    if main:
        write_json(out / "config.json", {"preset": job.preset, "data": source} | config.to_dict())
    finished = run.run()
    result: dict[str, Any] = {"finished": finished, "step": run.step, "main": main}
    if finished and main:
        patients = f"{_patients(learned)} patients for training, {_patients(held)} for validation, nobody on both sides"
        result |= _written(job, run, model, source, patients)
    return result


def _check_folder(out: Path, resume: bool) -> None:
    """Raise InputError for a new run where there is one, and for none to go on with."""
    if (out / "checkpoints").exists() and not resume:
        raise InputError(f"{out} already holds a run; go on with --resume, or name another folder.")
    resumable = list_checkpoints(out / "checkpoints") or (out / "config.json").exists()
    if resume and not resumable:
        raise InputError(f"{out} holds no run to resume; leave out --resume to start one.")


def _warn(config: TrainingConfig, held: list[Example]) -> None:
    """Say what the settings let happen that hardly anybody wants."""
    if not held and config.validation_share:
        log.warning("No cohort has two patients, so none is kept for validation: this fine-tune will not be judged.")
    if config.warmup_steps >= config.steps:
        log.warning(
            "The warm-up of %d steps is not over when the run ends after %d: the learning rate stays below its peak.",
            config.warmup_steps,
            config.steps,
        )


def _encoded(
    job: TrainingJob,
    learned: list[Example],
    held: list[Example],
    cache: Cache,
    device: torch.device,
    accelerator: Accelerator,
) -> tuple[list[EncodedView], list[EncodedView], Any]:
    """The encoded views of both sides of the split, and the VAE in main memory; the text encoder is let go."""
    model = job.model.load(job.config.precision, device, ("text_encoder", "vae"))
    preparer = Preparer(model, cache, job.config, learned + held)
    with accelerator.main_process_first():
        views = preparer.prepare(learned, job.config.views, "encoding")
        held_views = preparer.prepare(held, 1, "encoding validation", judging=True)
    vae = model.vae.to("cpu")
    del preparer, model
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)  # the log shows the training's, not the encoding's
    return views, held_views, vae


def _written(job: TrainingJob, run: FineTune, model: Any, source: str, patients: str) -> dict[str, Any]:
    """Write the adapter and the model card of a finished run; the adapter's path and the last judgement."""
    adapter = make_adapter(run.transformer, run.trained, origins(model, job.model, job.config, job.preset))
    adapter.save(run.out / ADAPTER)
    lines = run.log.lines()
    write_model_card(run.out, job.model.label, job.preset, job.config, source, patients, lines)
    judged = [line for line in lines if "validation_loss" in line]
    return {"adapter": str(run.out / ADAPTER), "judgement": judged[-1] if judged else None}


def _examples(job: TrainingJob) -> tuple[list[Example], str, float]:
    """The examples, a sentence about them and their pixel size."""
    if job.of_phantoms:
        number = job.data.partition(":")[2]
        try:
            count = int(number or 64)
        except ValueError:
            raise InputError(f"--data phantoms:N takes a number, not {number!r}.") from None
        if job.pixel_size_um is not None:
            raise InputError(f"Phantoms have {PIXEL_SIZE_UM:.4f} µm a pixel: leave out --pixel-size-um.")
        appearance = job.appearance or "cohort"
        sentence = f"{count} phantoms a cohort, appearance {appearance}, seed {job.config.seed}"
        return phantom_examples(count, job.config.seed, appearance=appearance), sentence, PIXEL_SIZE_UM
    if job.appearance is not None:
        raise InputError(f"--appearance is of phantoms, and {job.data} is a folder: leave it out.")
    examples = folder_examples(job.data)
    sentence = f"{len(examples)} images of {_patients(examples)} patients"
    return examples, sentence, shared_pixel_size(examples, job.pixel_size_um)


def _patients(examples: list[Example]) -> int:
    return len({example.patient for example in examples})
