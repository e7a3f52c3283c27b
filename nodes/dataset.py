"""Nodes that write and read data sets."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

from comfy_api.latest import io

from ..wdlora.errors import InputError, first_of
from . import engine, files, studies, tensors
from .biomarkers import pixel_size_input
from .dataset_folders import dataset_folder, datasets
from .outlines import outline_note
from .watching import watched

CATEGORY = "CCM/dataset"
NAMED = files.Named()
ALL = "all"
UNKNOWN = "unknown"


class CCMSaveDataset(io.ComfyNode):
    """Adds images, masks, labels, biomarkers and provenance to a data set."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CCMSaveDataset",
            display_name="CCM Save Data Set",
            category=CATEGORY,
            description="Adds images with their masks, cohort, biomarkers and provenance (graph and file hashes) to a "
            "data set in the output folder. Rows appear whole, even if several runs write at once; images that the "
            "data set already contains are not written again. Only pseudonyms are accepted.",
            search_aliases=["save dataset", "export", "training data", "csv", "folder", "provenance", "labels"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            inputs=[
                io.Image.Input("images", tooltip="Images, kept as 8 bit PNG."),
                io.Mask.Input("masks", tooltip="Their nerve masks, one for each image, of its size in pixels."),
                io.String.Input("folder", default="ccm_dataset", tooltip="Name of a folder below the output folder."),
                io.Combo.Input(
                    "cohort", options=studies.cohorts(), tooltip="Label of all images: their clinical group."
                ),
                io.String.Input(
                    "patient",
                    default="",
                    tooltip="Pseudonym of the patient: letters, digits, - and _ with at least one digit, such as "
                    "P0012. Empty: every image is a subject of its own, as for synthetic images.",
                ),
                io.Combo.Input(
                    "eye", options=[UNKNOWN, "OD", "OS"], default=UNKNOWN, tooltip="Right (OD) or left (OS) eye."
                ),
                io.String.Input(
                    "visit", default="", advanced=True, tooltip="Short code of the visit, such as V1; not a date."
                ),
                pixel_size_input(),
                io.Boolean.Input(
                    "synthetic", default=True, tooltip="Whether the images are synthetic; written to a column."
                ),
                io.Boolean.Input(
                    "hash_models",
                    advanced=True,
                    default=True,
                    tooltip="Keep the SHA-256 of the model files with every image. The first time takes about a "
                    "minute for 40 GB.",
                ),
                io.String.Input(
                    "biomarkers",
                    optional=True,
                    force_input=True,
                    tooltip="json of CCM Biomarkers, one for each image. Without it the masks are measured here.",
                ),
                io.String.Input(
                    "linked_cohort",
                    optional=True,
                    force_input=True,
                    tooltip="Cohort from CCM Sample Masks or CCM Degenerate; it replaces the choice above.",
                ),
            ],
            outputs=[io.String.Output(display_name="report", tooltip="What was written where, as JSON.")],
        )

    @classmethod
    def validate_inputs(cls, patient: Any) -> Any:
        """The pseudonym, before anything is painted; ComfyUI repeats a refusal at every input named here."""
        return files.sentence(_check_texts, "any", patient, "")

    @classmethod
    def fingerprint_inputs(cls, cohort: Any, linked_cohort: Any = "", **_: Any) -> Any:
        return studies.fingerprint(cohort, linked_cohort)

    @classmethod
    def check_inputs(cls, folder: Any, patient: Any, visit: Any) -> Any:
        """What is wrong, at its own input: for the embedded host."""
        return files.problems(_wrong_texts, folder, patient, visit)

    @classmethod
    @files.without_paths
    def execute(
        cls,
        images: Any,
        masks: Any,
        folder: str,
        cohort: str,
        patient: str,
        eye: str,
        visit: str,
        pixel_size_um: float,
        synthetic: bool,
        hash_models: bool,
        biomarkers: str | None = None,
        linked_cohort: str | None = None,
    ) -> Any:
        import folder_paths

        from ..wdlora.dataset.writer import Entry, append
        from .provenance import provenance

        _check_texts(folder, patient, visit)
        study, group = studies.found_cohort(linked_cohort or cohort)
        tensors.check_image(images, "images")
        pictures = list((images[..., :3].float() * 255).round().clamp(0, 255).byte().cpu().numpy())
        arrays = tensors.mask_arrays(masks, "masks")
        tensors.same_size(pictures, arrays, ("images", "masks"))
        progress = engine.current().progress(len(arrays))
        panels = _panels(biomarkers, arrays, pixel_size_um)
        origin = provenance(cls.hidden.prompt, cls.hidden.unique_id, hash_models, progress.text)
        entries = [
            Entry(
                image=picture,
                mask=array,
                cohort=group.name,
                patient=patient,
                eye="" if eye == UNKNOWN else eye,
                visit=visit,
                pixel_size_um=pixel_size_um,
                synthetic=synthetic,
                biomarkers=panel,
                provenance={**origin, "index_in_batch": index},
            )
            for index, (picture, array, panel) in enumerate(zip(pictures, arrays, panels, strict=True))
        ]
        root = folder_paths.get_output_directory()
        written = append(files.confined(root, folder, "folder"), entries, study)
        progress.update(len(arrays))
        report = {
            "folder": folder,
            "written": [one.image.name for one in written if one.new],
            "already_there": [one.image.name for one in written if not one.new],
        }
        said = f"{len(report['written'])} written, {len(report['already_there'])} there already"
        if note := outline_note(arrays, pixel_size_um):
            report["note"] = note
            said += f"; {note}"
        progress.text(said)
        listed = [{"filename": one.image.name, "subfolder": f"{folder}/images", "type": "output"} for one in written]
        text = json.dumps(report, indent=1)
        return io.NodeOutput(text, ui={"images": listed, "text": [text]})


class CCMLoadDataset(io.ComfyNode):
    """Loads images and masks of a data set."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CCMLoadDataset",
            display_name="CCM Load Data Set",
            category=CATEGORY,
            description="Loads images and masks from a data set folder (images, masks and dataset.csv) in the input "
            "or output folder.",
            search_aliases=["load dataset", "import", "batch images", "csv", "folder"],
            inputs=[
                io.Combo.Input(
                    "dataset",
                    options=[files.NONE, *datasets()],
                    default=files.NONE,
                    tooltip="A folder with images, masks and dataset.csv below the input or the output folder.",
                ),
                io.Combo.Input(
                    "cohort",
                    options=[ALL, *studies.cohorts()],
                    default=ALL,
                    tooltip="Only the images of this clinical group.",
                ),
                io.Int.Input("start", default=0, min=0, max=10**9, tooltip="Number of images to skip."),
                io.Int.Input("count", default=1, min=1, max=256, tooltip="Greatest number of images in the batch."),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="Images, grey, of one size."),
                io.Mask.Output(display_name="masks", tooltip="Their nerve masks, 1 on nerve."),
                io.String.Output(display_name="records", tooltip="File, cohort, patient and more of each, as JSON."),
                io.String.Output(
                    display_name="cohort",
                    tooltip="The images' cohort. If they are of several, nodes that need one refuse it.",
                ),
                io.Int.Output(display_name="total", tooltip="Number of images of this cohort in the data set."),
            ],
        )

    @classmethod
    def validate_inputs(cls, dataset: Any) -> Any:
        return files.sentence(dataset_folder, dataset)

    @classmethod
    def fingerprint_inputs(cls, dataset: Any, **_: Any) -> Any:
        changes = NAMED.changes() if dataset is None else files.stamp(dataset_folder(dataset))
        return [changes, studies.fingerprint(None)]

    @classmethod
    @files.without_paths
    def execute(cls, dataset: str, cohort: str, start: int, count: int) -> Any:
        import torch

        from ..wdlora.clinic.images import read_image, read_mask
        from ..wdlora.dataset.folder import read_folder
        from ..wdlora.study import study_of
        from .images import scaled

        NAMED.note(dataset_folder(dataset))
        study = study_of(dataset_folder(dataset))
        told = watched(partial(read_folder, dataset_folder(dataset)))
        every = [replace(one, pixel_size_um=one.pixel_size_um or study.pixel_size_um) for one in told]
        records = [one for one in every if cohort in (ALL, studies.shown(study, one.cohort))]
        chosen = records[start : start + count]
        if not chosen:
            raise InputError(f"{dataset} holds {len(records)} such images, so there is none from number {start} on")
        progress = engine.current().progress(len(chosen))
        pictures, masks, notes = [], [], {}
        for record in chosen:
            picture = read_image(record.image).pixels
            try:
                read = read_mask(record.mask, record.pixel_size_um)
            except InputError as problem:
                raise InputError(f"the mask of {record.file}: {str(problem).replace(str(record.mask), 'it')}") from None
            mask = read.mask
            if read.notes:
                notes[record.file] = "; ".join(read.notes)
            if picture.shape != mask.shape:
                raise InputError(f"{record.file} and its mask have different sizes: they must lie on one pixel grid")
            if pictures and picture.shape != pictures[0].shape:
                raise InputError(
                    f"{record.file} has another size than {chosen[0].file}; a batch holds one size: load it by itself"
                )
            pictures.append(torch.from_numpy(scaled(picture)[0]))
            masks.append(mask)
            progress.advance()
        values = [
            {
                "file": one.file,
                "cohort": one.cohort,
                "patient": one.patient,
                "eye": one.eye,
                "visit": one.visit,
                "pixel_size_um": one.pixel_size_um,
                **({"note": notes[one.file]} if one.file in notes else {}),
            }
            for one in chosen
        ]
        if notes:
            progress.text(f"mask of {first_of(list(notes))}: {next(iter(notes.values()))}")
        linked = studies.linked_name(study, [one.cohort for one in chosen])
        images = torch.stack(pictures)[..., None].expand(-1, -1, -1, 3)
        return io.NodeOutput(images, tensors.as_mask(masks), json.dumps(values, indent=1), linked, len(records))


def _panels(biomarkers: str | None, masks: list[Any], pixel_size_um: float) -> list[dict[str, Any]]:
    """The biomarkers of every mask: those that were given as JSON, or else measured."""
    from ..wdlora.anatomy import measure
    from .compare import parsed

    if biomarkers is None:
        return [watched(partial(measure, mask, pixel_size_um=pixel_size_um)).to_dict() for mask in masks]
    panels = parsed(biomarkers, "biomarkers")
    if len(panels) != len(masks):
        raise InputError(f"biomarkers holds {len(panels)} measurements for {len(masks)} images: link their own")
    return panels


def _check_texts(folder: Any, patient: Any, visit: Any) -> None:
    """Raise InputError for a folder outside the output folder and for texts that the data set would not take."""
    if wrong := _wrong_texts(folder, patient, visit):
        raise wrong[0]


def _wrong_texts(folder: Any, patient: Any, visit: Any) -> list[InputError]:
    """What is wrong with a folder and with the texts of a data set."""
    import folder_paths

    from ..wdlora.dataset.writer import check_fields

    root = folder_paths.get_output_directory()
    checks: tuple[tuple[str, Any, tuple], ...] = (
        ("folder", files.confined, (root, folder.strip() or ".", "folder")),
        ("patient", check_fields, (patient, "", "")),
        ("visit", check_fields, ("", "", visit)),
    )
    return [InputError(str(one), input=name) for name, check, given in checks for one in files.problems(check, *given)]


NODES = [CCMSaveDataset, CCMLoadDataset]
