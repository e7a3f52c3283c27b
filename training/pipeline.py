"""A fine-tune from its arguments to its files: load, prepare, train, write."""

import dataclasses
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.cache import Cache
from training.checkpoint import list_checkpoints
from training.config import TrainingConfig
from training.examples import (
    Appearance,
    Example,
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
from training.prepare import Preparer
from training.processes import accelerator_for
from training.split import split_by_patient
from wdlora.anatomy.scale import PIXEL_SIZE_UM
from wdlora.errors import InputError
from wdlora.files import write_json
from wdlora.qwen.memory import pick_device

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What to train on what."""

    config: TrainingConfig
    preset: str
    model: ModelSource
    out: Path
    data: str = "phantoms:64"
    appearance: Appearance | None = None
    pixel_size_um: float | None = None
    cache: Path | None = None
    device: str | None = None
    resume: bool = False

    @property
    def of_phantoms(self) -> bool:
        """Whether `data` is `phantoms:N`, and not a folder."""
        return self.data.partition(":")[0] == "phantoms"


def finetune(job: Job) -> dict[str, Any]:
    """Train an adapter; returns `finished`, `step` and, in the main process, `adapter` (once finished) and `judgement`.

    `adapter` is a path, `judgement` the last line of the log with a validation loss; `main` tells whether this is the
    main one of several processes, which alone writes.

    Raises InputError, before the first step, for data, models and settings that cannot be used.
    """
    config, out = job.config, Path(job.out)
    if (out / "checkpoints").exists() and not job.resume:
        raise InputError(f"{out} already holds a run; go on with --resume, or name another folder.")
    resumable = list_checkpoints(out / "checkpoints") or (out / "config.json").exists()
    if job.resume and not resumable:
        raise InputError(f"{out} holds no run to resume; leave out --resume to start one.")
    examples, source, pixel_size = _examples(job)
    chosen = pick_device(job.device) if job.device else None
    accelerator = accelerator_for(chosen)
    device = chosen or accelerator.device
    job.model.check(config.precision)
    if not job.of_phantoms:
        examples = check_pictures(examples, config.size)
    learned, held = map(pair_references, split_by_patient(examples, config.validation_share, config.seed))
    if not held and config.validation_share and accelerator.is_main_process:
        log.warning("No cohort has two patients, so none is kept for validation: this fine-tune will not be judged.")

    if config.warmup_steps >= config.steps and accelerator.is_main_process:
        log.warning(
            "The warm-up of %d steps is not over when the run ends after %d: the learning rate stays below its peak.",
            config.warmup_steps,
            config.steps,
        )

    cache = Cache(job.cache or out / "cache")
    model = job.model.load(config.precision, device, ("text_encoder", "vae"))
    preparer = Preparer(model, cache, config, learned + held)
    with accelerator.main_process_first():
        views = preparer.prepare(learned, config.views, "encoding")
        held_views = preparer.prepare(held, 1, "encoding validation", judging=True)
    vae = model.vae.to("cpu")
    del preparer, model
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)  # the log shows the training's, not the encoding's

    model = job.model.load(config.precision, device, ("transformer",))
    out.mkdir(parents=True, exist_ok=True)
    monitor = None
    if accelerator.is_main_process:
        _, cfg, shift = model.defaults
        painting = dataclasses.replace(
            config,
            sample_cfg=cfg if config.sample_cfg is None else config.sample_cfg,
            sample_shift=shift if config.sample_shift is None else config.sample_shift,
        )
        monitor = Monitor(painting, vae, held_views, cache, out, pixel_size, device=device)
    run = FineTune(config, model, views, cache, out, monitor, accelerator)
    if job.resume:
        run.resume()
    if accelerator.is_main_process:
        write_json(out / "config.json", {"preset": job.preset, "data": source} | config.to_dict())
    finished = run.run()
    result: dict[str, Any] = {"finished": finished, "step": run.step, "main": accelerator.is_main_process}
    if finished and accelerator.is_main_process:
        name = job.model.label
        adapter = make_adapter(run.transformer, run.trained, origins(model, job.model, config, job.preset))
        adapter.save(out / ADAPTER)
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        patients = f"{_patients(learned)} patients for training, {_patients(held)} for validation, nobody on both sides"
        write_model_card(out, name, job.preset, config, source, patients, lines)
        judged = [line for line in lines if "validation_loss" in line]
        result |= {"adapter": str(out / ADAPTER), "judgement": judged[-1] if judged else None}
    return result


def _examples(job: Job) -> tuple[list[Example], str, float]:
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
