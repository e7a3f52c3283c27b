"""The node that fine-tunes an adapter."""

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ..wdlora.errors import InputError
from ..wdlora.temporaries import visible
from . import engine, files, models, studies, tensors
from .biomarkers import pixel_size_input
from .dataset_folders import PHANTOMS, dataset_folder, datasets
from .training_process import TrainingProcess, presets, require_packages

CATEGORY = "CCM/model"
NAMED = files.Named()
REDRAWN_S = 2.0
"""How often a running training draws its curve or its newest sheet, at the most."""
_SETTING = re.compile(r"[a-z][a-z0-9_]*=[^\s]+")


def _inputs() -> list[Any]:
    given = {one.id: one for one in models.model_inputs()}
    return [
        io.String.Input("name", default="ccm", tooltip="Name of the run and of the adapter's file."),
        io.Combo.Input(
            "preset",
            options=presets(),
            default="consumer_24gb",
            tooltip="Settings of the run. paper_*: as published; consumer_24gb: one card of 24 GB; miniature "
            "and miniature_192: minutes on a CPU.",
        ),
        *(given[name] for name in ("source", "diffusion_model", "text_encoder", "vae", "folder", "variant")),
        io.Combo.Input(
            "data",
            options=[PHANTOMS, *datasets()],
            default=PHANTOMS,
            tooltip="The training data: phantoms, which are drawn for the run, or a data set folder (images, masks, "
            "dataset.csv) below the input or output folder.",
        ),
        io.Int.Input("phantoms_per_cohort", default=64, min=1, max=100000, tooltip="Phantoms: number for each cohort."),
        io.Combo.Input(
            "appearance",
            options=["cohort", "common"],
            default="cohort",
            tooltip="Phantoms: whether contrast, beading, haze and cells follow the cohort or are the same.",
        ),
        pixel_size_input(),
        io.Int.Input("steps", default=0, min=0, max=10**7, tooltip="Optimiser steps; 0 takes them from the preset."),
        io.String.Input(
            "settings",
            advanced=True,
            default="",
            multiline=True,
            tooltip="Changes to the preset, one KEY=VALUE per line, such as learning_rate=5e-5 or rank=32.",
        ),
        io.Combo.Input(
            "device", options=["auto", "cpu", "cuda"], default="auto", advanced=True, tooltip="Where to compute."
        ),
        io.Boolean.Input(
            "resume",
            advanced=True,
            default=True,
            tooltip="Continue where a run of this name stopped. Off: refuse a name that is taken.",
        ),
        io.Combo.Input(
            "study",
            options=[files.NONE, *studies.names()],
            default=files.NONE,
            optional=True,
            advanced=True,
            tooltip="Phantoms: cohorts of another disease, from a study in models/ccm_studies. A data set has its own.",
        ),
    ]


class WDLoRATrain(io.ComfyNode):
    """Fine-tunes an adapter in a process of its own."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WDLoRATrain",
            display_name="WDLoRA Train",
            category=CATEGORY,
            description="Fine-tunes Qwen-Image-Edit on corneal confocal images in a process of its own, shows its loss "
            "curve and sample sheets, and puts the adapter into models/loras. Stopping the run keeps a checkpoint, "
            "and the same settings continue from it. Models that ComfyUI holds are unloaded first.",
            search_aliases=["train", "fine-tune", "finetune", "lora training", "dora", "learn", "fit"],
            is_output_node=True,
            inputs=_inputs(),
            outputs=[
                io.String.Output(
                    display_name="adapter", tooltip="File name in models/loras, for WDLoRA Apply's linked_adapter."
                ),
                io.Image.Output(display_name="curve", tooltip="Loss by step."),
                io.String.Output(
                    display_name="report", tooltip="Adapter, study, steps, last losses and measures, as JSON."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, diffusion_model: Any, text_encoder: Any, vae: Any, folder: Any) -> Any:
        """Keep ComfyUI from refusing files that `source` does not ask for; `execute` says what is wrong, once."""
        return True

    @classmethod
    def check_inputs(
        cls,
        name: Any,
        source: Any,
        diffusion_model: Any,
        text_encoder: Any,
        vae: Any,
        folder: Any,
        data: Any,
        settings: Any,
        study: Any = files.NONE,
    ) -> Any:
        """What is wrong, at its own input: for the embedded host."""
        wrong = files.problems(_wrong, name, source, diffusion_model, text_encoder, vae, folder, data, settings)
        return wrong if study in (None, files.NONE) else wrong + files.problems(studies.study_file, study)

    @classmethod
    def fingerprint_inputs(
        cls,
        source: Any,
        diffusion_model: Any,
        text_encoder: Any,
        vae: Any,
        folder: Any,
        data: Any,
        study: Any = files.NONE,
        **_: Any,
    ) -> Any:
        given = (source, diffusion_model, text_encoder, vae, folder)
        if None in (*given, data):
            return NAMED.changes()
        of_study = "" if study in (None, files.NONE) else files.stamp(studies.study_file(study))
        of_data = "" if data == PHANTOMS else files.stamp(dataset_folder(data))
        return [*models.stamps(*given), of_data, of_study]

    @classmethod
    @files.without_paths
    def execute(
        cls,
        name: str,
        preset: str,
        source: str,
        diffusion_model: str,
        text_encoder: str,
        vae: str,
        folder: str,
        variant: str,
        data: str,
        phantoms_per_cohort: int,
        appearance: str,
        pixel_size_um: float,
        steps: int,
        settings: str,
        device: str,
        resume: bool,
        study: str = files.NONE,
    ) -> Any:
        import folder_paths

        given = (source, diffusion_model, text_encoder, vae, folder)
        _check(name, *given, data, settings)
        NAMED.note(*models.read_files(*models.places(*given)))
        NAMED.note(*([] if data == PHANTOMS else [dataset_folder(data)]))
        require_packages()
        out = files.confined(folder_paths.get_output_directory(), f"training/{name}", "run")
        taken = (out / "checkpoints").exists()
        if taken and not resume:
            raise InputError(f"there is a run called {name!r} already: switch resume on, or choose another name")
        changes = [line.strip() for line in settings.splitlines() if line.strip()]
        changes += [f"steps={steps}"] if steps else []
        arguments = ["--preset", preset, *model_arguments(given, variant)]
        if data == PHANTOMS:
            arguments += ["--data", f"phantoms:{phantoms_per_cohort}", "--appearance", appearance]
        else:
            arguments += ["--data", str(dataset_folder(data)), "--pixel-size-um", repr(pixel_size_um)]
        arguments += [] if study == files.NONE else ["--study", str(studies.study_file(study))]
        arguments += [] if device == "auto" else ["--device", device]
        arguments += ["--resume"] if taken else []
        arguments += ["--set", *changes] if changes else []
        host = engine.current()
        host.unload()
        process = TrainingProcess(arguments, out)
        log = watch(process, host, name)
        result = process.result()
        host.progress(1).text(f"training ended after step {result['step']}")
        return _output(result, log, out, name)


def _output(result: dict[str, Any], log: list[dict[str, Any]], out: Path, name: str) -> Any:
    """What the node gives for a finished run. Raises InputError for one that was stopped."""
    from ..wdlora.adapter.metadata import Metadata
    from ..wdlora.curve import curve, curve_picture
    from ..wdlora.weights.header import read_header

    if not result["finished"]:
        raise InputError(f"training stopped after step {result['step']}: run it again to continue")
    facts = Metadata.from_strings(read_header(result["adapter"])[1])
    adapter = published(Path(result["adapter"]), name)
    report = {
        "adapter": adapter,
        "study": facts.study,
        "study_sha256": facts.study_sha256,
        "steps": result["step"],
        "judgement": result.get("judgement"),
        "test": result.get("test"),
        "folder": str(out.name),
    }
    sheets = [
        {"filename": sheet.name, "subfolder": f"training/{name}/sheets", "type": "output"}
        for sheet in visible(out / "sheets", "*.png")
    ]
    ui = {"ccm_curve": [{**curve(log), "title": name}], "images": sheets[-4:], "text": [json.dumps(report)]}
    image = tensors.as_image([curve_picture(log, f"Training of {name}")])
    return io.NodeOutput(adapter, image, json.dumps(report, indent=1), ui=ui)


def model_arguments(given: tuple[str, str, str, str, str], variant: str) -> list[str]:
    """The arguments of `finetune` that name the model."""
    transformer, encoder, autoencoder = models.places(*given)
    if given[0] == models.MINIATURE:
        return ["--model", "miniature"]
    which = ["--variant", models.chosen_variant(given[0], transformer, variant)]
    if given[0] == models.FOLDER:
        return ["--model", str(transformer), *which]
    named = ["--transformer", str(transformer), "--text-encoder", str(encoder), "--vae", str(autoencoder)]
    words = tokenizer_place(Path(encoder))
    return [*named, *which, *([] if words is None else ["--tokenizer", str(words)])]


def tokenizer_place(text_encoder: Path) -> Path | None:
    """The folder with the tokenizer: beside the text encoder, above it, or in ComfyUI; None where it is not there."""
    import folder_paths

    from ..wdlora.qwen.tokenizer import find_tokenizer, tokenizer_places

    comfyui = getattr(folder_paths, "base_path", None)
    return find_tokenizer(*tokenizer_places(text_encoder), *([] if comfyui is None else [Path(comfyui)]))


def watch(process: TrainingProcess, host: Any, name: str) -> list[dict[str, Any]]:
    """Show a run's progress until it ends; returns its log. An interruption stops the run and is passed on."""
    from ..wdlora.curve import curve_picture

    log: list[dict[str, Any]] = []
    began, undrawn, running, drawn, last_sheet = False, False, True, 0.0, ""
    progress = host.progress(1)
    try:
        progress.text("loading the model and encoding the data")
        while running:
            running = process.running()  # asked before the log is read, so that the last look sees its end
            host.check_interrupted()
            changed, preview = process.changed(), None
            if changed:
                began, undrawn, log = True, True, process.log()
            if undrawn and (not running or time.monotonic() - drawn > REDRAWN_S):
                undrawn, drawn = False, time.monotonic()
                sheet = _newest(process.out / "sheets")
                if running and sheet is not None and sheet.name != last_sheet:
                    preview, last_sheet = _opened(sheet), sheet.name
                else:
                    preview = _picture(curve_picture(log, f"Training of {name}"))
            if changed or preview is not None:
                _report(progress, log, preview)
            time.sleep(0.2 if running else 0)
    except BaseException:
        process.stop(began)
        raise
    return process.log()


def _report(progress: Any, log: list[dict[str, Any]], preview: Any) -> None:
    """Step, loss and time left from the last lines of a log."""
    step = max((line["step"] for line in log), default=0)
    last = next((line for line in reversed(log) if "eta_seconds" in line), {})
    left = last.get("eta_seconds", 0.0)
    total = step + round(left / last["seconds_a_step"]) if last.get("seconds_a_step") else step + 1
    progress.update(step, max(total, step, 1), preview)
    if last:
        progress.text(
            f"step {step} of {total}, loss {last['loss']:.4f}, {last['seconds_a_step']:.2g} s a step, "
            f"{_duration(left)} left"
        )


def published(adapter: Path, name: str) -> str:
    """Copy a trained adapter into models/loras; its name there. Another file of that name is left alone."""
    import folder_paths

    from ..wdlora.files import atomic_write, sha256

    folder = Path(folder_paths.get_folder_paths("loras")[0])
    own = sha256(adapter)
    target = folder / f"{name}.safetensors"
    if target.is_file() and sha256(target) != own:
        target = folder / f"{name}-{own[:8]}.safetensors"
    if not target.is_file():
        with atomic_write(target) as temporary:
            shutil.copyfile(adapter, temporary)
    return target.name


def _check(
    name: str, source: str, diffusion_model: str, text_encoder: str, vae: str, folder: str, data: str, settings: str
) -> None:
    """Raise InputError for a name, a model, data or settings that cannot be used."""
    if wrong := _wrong(name, source, diffusion_model, text_encoder, vae, folder, data, settings):
        raise wrong[0]


def _wrong(
    name: str, source: str, diffusion_model: str, text_encoder: str, vae: str, folder: str, data: str, settings: str
) -> list[InputError]:
    """What cannot be used of a name, a model, data and settings."""
    wrong = []
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        sentence = f"the name {name!r} cannot be a file's name: use letters, digits, '.', '_' and '-'"
        wrong.append(InputError(sentence, input="name"))
    for line in filter(None, map(str.strip, settings.splitlines())):
        if not _SETTING.fullmatch(line):
            sentence = f"the setting {line!r} is not KEY=VALUE: write one per line, such as rank=32"
            wrong.append(InputError(sentence, input="settings"))
    wrong += models.lacking(source, diffusion_model, text_encoder, vae, folder)
    return wrong + ([] if data == PHANTOMS else files.problems(dataset_folder, data))


def _newest(folder: Path) -> Path | None:
    return max(visible(folder, "*.png"), default=None)


def _opened(path: Path) -> Any:
    from PIL import Image

    with Image.open(path) as picture:
        return picture.convert("RGB")


def _picture(pixels: Any) -> Any:
    from PIL import Image

    return Image.fromarray(pixels)


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


NODES = [WDLoRATrain]
