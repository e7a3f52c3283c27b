"""The node that evaluates synthetic images against real ones."""

import json
import threading
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ..wdlora.errors import InputError
from . import engine, files, tensors
from .biomarkers import pixel_size_input
from .dataset_folders import dataset_folder, datasets
from .watching import watched

CATEGORY = "CCM/evaluation"
CACHE = "ccm_evaluation"
"""Folder below ComfyUI's temporary one, which it empties at its start, for features and traces of images."""


class CCMEvaluate(io.ComfyNode):
    """Compares a synthetic set of images with a real one: appearance, variety, nerves, copies."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CCMEvaluate",
            display_name="CCM Evaluate",
            category=CATEGORY,
            description="Can synthetic images be trusted? Compares fidelity and diversity with those of real "
            "against real images, tests biomarkers for equivalence, and searches for copies of patients. Each set "
            "is a batch of images or a data set of at least 8 images; an answer takes 100 or more. Writes the same "
            "report as the command.",
            search_aliases=["FID", "KID", "equivalence", "TOST", "memorisation", "quality report", "real vs synthetic"],
            is_output_node=True,
            inputs=[
                _choice("real_set", "Real images that the generator never saw, as a data set; or link real_images."),
                _choice("synthetic_set", "Synthetic images as a data set; or link synthetic_images."),
                _choice(
                    "training_set",
                    "The images that the generator was trained on. Without them copying cannot be ruled out.",
                ),
                io.Boolean.Input(
                    "pairs",
                    default=False,
                    tooltip="On if each synthetic image was painted from the mask of a real one: image i of both "
                    "batches, or images with the same file name.",
                ),
                pixel_size_input("For linked images, and for images of data sets that do not state theirs."),
                io.String.Input(
                    "report_folder",
                    default="ccm_evaluation",
                    tooltip="Where report.html and its tables go, below the output folder. Empty: no report is "
                    "written.",
                ),
                io.Image.Input("real_images", optional=True, tooltip="Real images, instead of real_set."),
                io.Image.Input(
                    "synthetic_images", optional=True, tooltip="Synthetic images, instead of synthetic_set."
                ),
                io.String.Input(
                    "real_records",
                    optional=True,
                    force_input=True,
                    tooltip="records of CCM Load Data Set: cohort and patient of each of real_images.",
                ),
                io.String.Input(
                    "synthetic_records",
                    optional=True,
                    force_input=True,
                    tooltip="Cohort and patient of each of synthetic_images, in the same form.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="plot", tooltip="Fidelity beside its baseline, biomarkers, map and copies."
                ),
                io.String.Output(display_name="json", tooltip="Every figure with its interval, as in report.json."),
                io.String.Output(display_name="answers", tooltip="The four answers in words."),
            ],
        )

    @classmethod
    def validate_inputs(cls, real_set: Any, synthetic_set: Any, training_set: Any, report_folder: Any) -> Any:
        return files.sentence(_check_choices, real_set, synthetic_set, training_set, report_folder)

    @classmethod
    def fingerprint_inputs(cls, real_set: Any, synthetic_set: Any, training_set: Any, **_: Any) -> Any:
        return [_stamp(one) for one in (real_set, synthetic_set, training_set)]

    @classmethod
    def execute(
        cls,
        real_set: str,
        synthetic_set: str,
        training_set: str,
        pairs: bool,
        pixel_size_um: float,
        report_folder: str,
        real_images: Any = None,
        synthetic_images: Any = None,
        real_records: str | None = None,
        synthetic_records: str | None = None,
    ) -> Any:
        import folder_paths

        from ..wdlora.evaluation import Crew, Options, compare_sets
        from ..wdlora.evaluation.report import record, write_evaluation
        from ..wdlora.evaluation.report.overview import overview
        from ..wdlora.evaluation.report.sentences import answers

        _check_choices(real_set, synthetic_set, training_set, report_folder)
        real = _one_set("real", real_set, real_images, real_records, pixel_size_um)
        synthetic = _one_set("synthetic", synthetic_set, synthetic_images, synthetic_records, pixel_size_um)
        training = None if training_set == files.NONE else _data_set("training", training_set, pixel_size_um)
        place = _report_place(report_folder)
        options = Options(pairs=pairs, cache=Path(folder_paths.get_directory_by_type("temp")) / CACHE)
        bar = engine.current().progress(5 if pairs else 2)
        stopped = threading.Event()
        crew = Crew(1, _shown(bar, 5 if pairs else 2, stopped))
        try:
            found = watched(partial(compare_sets, real, synthetic, training, options, crew))
        finally:  # also where the user stops: then the work is to end at its next image
            stopped.set()
        values = record(found) if place is None else write_evaluation(found, place)
        said = answers(found)
        lines = [f"{one.question} {one.short}: {one.sentence}" for one in said]
        lines += [f"Note: {note}" for note in (*found.notes, *found.copies.cannot)]
        text = "\n".join(lines)
        bar.text(f"{len(real)} real and {len(synthetic)} synthetic images compared")
        caption = f"{len(real)} real, {len(synthetic)} synthetic images"
        if place is not None:
            caption += f"; report.html is in output/{report_folder.strip()}"
        table = tensors.table(["question", "answer"], [[one.question, one.short] for one in said], caption)
        shown = {"ccm_table": [table], "text": [text]}
        return io.NodeOutput(
            tensors.as_image([overview(found)]), json.dumps(values, indent=1, allow_nan=False), text, ui=shown
        )


def _choice(name: str, tooltip: str) -> Any:
    return io.Combo.Input(name, options=[files.NONE, *datasets()], default=files.NONE, tooltip=tooltip)


def _one_set(role: Any, chosen: str, images: Any, records: str | None, pixel_size_um: float) -> Any:
    """The set of one role, from a batch or from a data set. Raises InputError for both, for neither and for records
    that do not belong to the batch.
    """
    from ..wdlora.evaluation import set_of_arrays

    if (images is None) == (chosen == files.NONE):
        what = "chosen twice" if images is not None else "missing"
        raise InputError(f"the {role} set is {what}: choose a data set in {role}_set, or link {role}_images")
    if images is None:
        if records is not None:
            raise InputError(f"{role}_records belongs to {role}_images, but a data set is chosen: remove the link")
        return _data_set(role, chosen, pixel_size_um)
    arrays = tensors.grey_arrays(images, f"{role}_images")
    if records is None:
        return set_of_arrays(role, arrays, pixel_size_um=pixel_size_um)
    cohorts, patients = _records(records, f"{role}_records", len(arrays))
    return set_of_arrays(role, arrays, cohorts, patients, pixel_size_um)


def _data_set(role: Any, chosen: str, pixel_size_um: float) -> Any:
    """The images of a data set; `pixel_size_um` of those of which table, study and file do not tell it."""
    from ..wdlora.evaluation import read_set, with_size

    return with_size(watched(partial(read_set, dataset_folder(chosen), role)), pixel_size_um)


def _records(text: str, name: str, count: int) -> tuple[list[str], list[str] | None]:
    """Cohorts and patients of `count` images; no patients where one of them is not named."""
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, list) or not all(isinstance(one, dict) for one in values):
        raise InputError(f"{name} is not a list of records: link the records of CCM Load Data Set")
    if len(values) != count:
        raise InputError(f"{name} describes {len(values)} images, but {count} are linked: link those of the same batch")
    patients = [str(one.get("patient") or "") for one in values]
    return [str(one.get("cohort") or "") for one in values], patients if all(patients) else None


def _check_choices(real_set: str, synthetic_set: str, training_set: str, report_folder: str) -> None:
    """Raise InputError for a data set that is not there and a report outside the output folder."""
    for chosen in (real_set, synthetic_set, training_set):
        if chosen != files.NONE:
            dataset_folder(chosen)
    _report_place(report_folder)


def _report_place(report_folder: str) -> Path | None:
    import folder_paths

    name = report_folder.strip()
    return files.confined(folder_paths.get_output_directory(), name, "report folder") if name else None


def _stamp(chosen: Any) -> str:
    return "" if chosen in (None, files.NONE) else files.stamp(dataset_folder(chosen))


def _shown(bar: Any, stages: int, stopped: threading.Event) -> Any:
    """Stages as a bar on the node, and what is done as its text; ends the work at the next image once `stopped`."""
    done = 0

    def shown(results: Iterable[Any], title: str, total: int) -> Iterator[Any]:
        nonlocal done
        for number, one in enumerate(results, 1):
            if stopped.is_set():
                raise InterruptedError
            bar.text(f"{title}: {number} of {total}")
            bar.update(min(done + number / total, stages))
            yield one
        done += 1
        if done == stages:
            bar.text("comparing the sets")

    return shown


NODES = [CCMEvaluate]
