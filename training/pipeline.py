"""A fine-tune from its arguments to its files: load, encode, train, write."""

import contextlib
import dataclasses
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from training.adaptation import parameters_of
from training.cache import Cache
from training.card import Account, write_model_card
from training.checkpoint import list_checkpoints
from training.config import TrainingConfig
from training.examples import (
    Example,
    check_pictures,
    folder_examples,
    phantom_examples,
    shared_pixel_size,
)
from training.job import TrainingJob
from training.loop import FineTune
from training.monitor import Monitor
from training.output import ADAPTER, origins
from training.prepare import EncodedView, Preparer
from training.processes import accelerator_for
from training.progress import say
from training.record import check_start, record
from training.sides import Sides, described, parts_of, patients_of, sides_of, warn, write_parts
from training.starting import read_start, split_beside, starting_values
from wdlora.adapter import Adapter
from wdlora.anatomy.phantoms.versions import VERSION, version_name
from wdlora.anatomy.scale import PIXEL_SIZE_UM
from wdlora.dataset.split import TABLE as SPLIT
from wdlora.errors import InputError
from wdlora.files import write_json
from wdlora.locks import at_work
from wdlora.qwen.memory import pick_device
from wdlora.study import FILE as STUDY
from wdlora.study import Study, read_study, shipped_study, study_of

log = logging.getLogger(__name__)


def _study(job: TrainingJob) -> Study:
    """The study whose cohorts the data have. Raises InputError where the job names another one than the data set's."""
    given = read_study(job.study) if job.study else None
    held = given or shipped_study() if job.of_phantoms else study_of(job.data)
    if given is not None and given != held:
        raise InputError(
            f"{job.data} is a data set of the study {held.label}, not of {given.label}: put the right one into it as "
            f"{STUDY}, as import-dataset --study does."
        )
    return held


def finetune(job: TrainingJob) -> dict[str, Any]:
    """Train an adapter; returns `finished`, `step`, `main` and, of a finished run, what `_written` returns.

    `main` tells whether this is the main one of several processes, which alone writes.

    Raises InputError, before the first step, for data, models and settings that cannot be used.
    """
    config, out = job.config, Path(job.out)
    job.check_places()
    study = _study(job)
    examples, source, pixel_size = _examples(job, study)
    chosen = pick_device(job.device) if job.device else None
    accelerator = accelerator_for(chosen)
    job.model.check(config.precision)
    if not job.of_phantoms:
        examples = check_pictures(examples, config.size)
    parts = parts_of(examples, config, job.of_phantoms, _splits(job))
    if job.resume:
        check_start(out, job.init_adapter)
    start = None
    if job.resume and list_checkpoints(out / "checkpoints"):
        _check_settings(job, source)
    elif job.init_adapter:
        start = read_start(job.init_adapter, study, config)
    data = _Data(sides_of(examples, parts), parts, source, pixel_size, study, start)
    main = accelerator.is_main_process
    with at_work(out) if main else contextlib.nullcontext():
        job.check_places()  # what ran here a moment ago may have left a run
        return _trained(job, data, accelerator, chosen or accelerator.device)


@dataclass(frozen=True)
class _Data:
    """What is trained on: the examples by their part of the split, the parts by patient, a sentence, µm a pixel; and
    the adapter to start from.
    """

    sides: Sides[Example]
    parts: Any
    sentence: str
    pixel_size_um: float
    study: Study
    start: Adapter | None


def _trained(job: TrainingJob, data: _Data, accelerator: Accelerator, device: torch.device) -> dict[str, Any]:
    """Encode, train and write; see `finetune`."""
    config, out, main, sides = job.config, Path(job.out), accelerator.is_main_process, data.sides
    if main:
        _warn(config, sides)
        say(f"{data.sentence}: {described(sides)}. They are encoded first.")
    cache = Cache(job.cache or out / "cache")
    views, vae = _encoded(job, sides, cache, device, accelerator, data.study)
    model = dataclasses.replace(job.model.load(config.precision, device, ("transformer",)), vae=vae)
    out.mkdir(parents=True, exist_ok=True)
    monitor = Monitor(model, config, views.validation, cache, out, data.pixel_size_um) if main else None
    made_of = origins(model, job.model, config, job.preset, data.study)
    run = FineTune(config, model, views.learned, cache, out, monitor, accelerator, made_of)
    resumed = job.resume and run.resume()
    if job.init_adapter and data.start and not resumed:
        run.start_from(starting_values(run.transformer, data.start, job.init_adapter.name))
    if main:
        write_parts(out / SPLIT, data.parts)
        record(
            out,
            config,
            {"preset": job.preset, "data": data.sentence, "processes": accelerator.num_processes},
            job.init_adapter,
            run.step,
        )
    finished = run.run()
    result: dict[str, Any] = {"finished": finished, "step": run.step, "main": main}
    if finished and main:
        result |= _written(job, run, views.test, data.study, (data.sentence, described(sides)))
    return result


def _splits(job: TrainingJob) -> list[Path]:
    """The tables that say who is held out: the one given, the run's own, and that of the run it starts from."""
    own = Path(job.out) / SPLIT if job.resume else None
    earlier = split_beside(job.init_adapter) if job.init_adapter else None
    if earlier is not None and job.split is None:
        log.warning("Who is held out follows %s, beside the adapter to start from.", earlier)
    return [path for path in (job.split, own, earlier) if path is not None and (path == job.split or path.is_file())]


def _check_settings(job: TrainingJob, sentence: str) -> None:
    """Raise InputError, which names the fields, where a run was begun with others that decide what is learned."""
    path = Path(job.out) / "config.json"
    now = {"data": sentence} | job.config.learned_fields()
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        changed = [f"{name} ({held[name]} then, {now[name]} now)" for name in now if held[name] != now[name]]
    except (OSError, ValueError, KeyError, TypeError):
        return  # an unreadable note: the checkpoint's own hashes tell
    if changed:
        raise InputError(
            f"the run in {path.parent} was begun with another {', '.join(changed)}: resume it with the same, or "
            f"start again in another folder"
        )


def _warn(config: TrainingConfig, sides: Sides[Example]) -> None:
    """Say what the settings let happen that hardly anybody wants."""
    warn(config, sides)
    if config.warmup_steps >= config.steps:
        log.warning(
            "The warm-up of %d steps is not over when the run ends after %d: the learning rate stays below its peak.",
            config.warmup_steps,
            config.steps,
        )


def _encoded(
    job: TrainingJob,
    sides: Sides[Example],
    cache: Cache,
    device: torch.device,
    accelerator: Accelerator,
    study: Study,
) -> tuple[Sides[EncodedView], Any]:
    """The encoded views of all parts of the split, and the VAE in main memory; the text encoder is let go."""
    model = job.model.load(job.config.precision, device, ("text_encoder", "vae"))
    preparer = Preparer(model, cache, job.config, [*sides.learned, *sides.validation, *sides.test], study)
    with accelerator.main_process_first():
        views = Sides(
            preparer.prepare(sides.learned, job.config.views, "encoding"),
            preparer.prepare(sides.validation, 1, "encoding validation", judging=True),
            preparer.prepare(sides.test, 1, "encoding test", judging=True),
        )
    vae = model.vae.to("cpu")
    del preparer, model
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)  # the log shows the training's, not the encoding's
    return views, vae


def _written(
    job: TrainingJob, run: FineTune, views: list[EncodedView], study: Study, sentences: tuple[str, str]
) -> dict[str, Any]:
    """Write the adapter and the model card of a finished run, and judge the best adapter on the `views` of the test.

    `sentences` are those of the card about data and split.
    Returns the paths `adapter` (of the last step) and `best` (of the lowest validation loss; None without validation),
    `judgement`, the last line of the log with a validation loss, and `test`, the figures of the test or None.
    """
    run.write_adapter(run.out / ADAPTER)
    best = run.best.path if run.best.path.exists() else None
    judged = Adapter.load(best or run.out / ADAPTER)
    test: dict[str, Any] | None = None
    if views and run.monitor:
        say("The last step is made. The best adapter is judged on the test.")
        with run.carrying(parameters_of(judged)):
            figures = run.monitor.test(views)
        test = {"adapter": (best or run.out / ADAPTER).name, "step": judged.metadata.step} | figures
        write_json(run.out / "test.json", test)
    lines = run.log.lines()
    told = [line for line in lines if "validation_loss" in line]
    write_model_card(run.out, Account(job.model.label, job.preset, job.config, study, *sentences, lines, test))
    paths = {"adapter": str(run.out / ADAPTER), "best": str(best) if best else None}
    return paths | {"judgement": told[-1] if told else None, "test": test}


def _examples(job: TrainingJob, study: Study) -> tuple[list[Example], str, float]:
    """The examples, a sentence about them and their pixel size."""
    if job.of_phantoms:
        number = job.data.partition(":")[2]
        try:
            count = int(number or 64)
        except ValueError:
            raise InputError(f"--data phantoms:N takes a number, not {number!r}.") from None
        if job.pixel_size_um is not None:
            raise InputError(f"Phantoms have {PIXEL_SIZE_UM:.4f} µm per pixel: leave out --pixel-size-um.")
        if study.pixel_size_um is not None and abs(study.pixel_size_um - PIXEL_SIZE_UM) > 0.01 * PIXEL_SIZE_UM:
            raise InputError(
                f"The study {study.name} has pixels of {study.pixel_size_um:g} µm and phantoms of {PIXEL_SIZE_UM:.4f}: "
                "train on a folder."
            )
        appearance = job.appearance or "cohort"
        version = job.phantom or VERSION
        drawn = f"{count} phantoms a cohort ({version_name(version)})"
        sentence = f"{drawn}, appearance {appearance}, seed {job.config.seed}"
        return phantom_examples(count, job.config.seed, appearance, version, study), sentence, PIXEL_SIZE_UM
    for name, given in (("appearance", job.appearance), ("phantom", job.phantom)):
        if given is not None:
            raise InputError(f"--{name} belongs to phantoms, and {job.data} is a folder: leave it out.")
    examples = folder_examples(job.data)
    sentence = f"{len(examples)} images of {patients_of(examples)} patients"
    return examples, sentence, shared_pixel_size(examples, job.pixel_size_um, study)
