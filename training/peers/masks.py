"""Masks to paint: those of a data set, with cohorts and patients, or of a folder of pictures under one cohort."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.held_out import MaskCase
from training.peers.file import PeerFacts
from wdlora.batch.masks import find_masks
from wdlora.clinic.images import read_mask
from wdlora.cohorts import cohort_in
from wdlora.csv_table import decimal
from wdlora.dataset.folder import TABLE, find_picture, pictures_by_stem, table_rows
from wdlora.dataset.mask_hashes import require_masks_of_table
from wdlora.errors import InputError
from wdlora.study import Study, study_of

log = logging.getLogger(__name__)

TOLERANCE = 0.01
"""Relative difference up to which two pixel sizes are one."""


def masks_to_paint(folder: Path, cohort: str | None, facts: PeerFacts) -> tuple[list[MaskCase], Study]:
    """The masks of a folder with its study.

    In a data set the table says cohort and patient, and its images are not needed; another folder needs a `cohort` for
    all. The pixel size of a mask is what table, file or study say; where none does, the log says so.
    Raises InputError where masks, their rows or the cohort are missing, for another study or pixel size than the
    peer's, and for cohorts that it does not know.
    """
    study = study_of(folder)
    if study.sha256 != facts.study_sha256:
        raise InputError(f"{folder} is of the study {study.label}, and the peer was trained on {facts.study}")
    if (folder / TABLE).is_file():
        if cohort is not None:
            raise InputError(f"{folder / TABLE} says the cohort of each mask: leave out --cohort")
        cases = _of_data_set(folder, facts, study)
    else:
        if cohort is None:
            raise InputError(f"{folder} has no {TABLE}, so the cohort of its masks is not known: give --cohort NAME")
        name = cohort_in(study, cohort).name
        masks = find_masks(folder)
        cases = [_case(mask.path, mask.path.name, {"cohort": name}, facts, study.pixel_size_um) for mask in masks]
    if unknown := sorted({case.cohort for case in cases} - set(facts.cohorts)):
        raise InputError(f"the peer was not trained on {' and '.join(unknown)}: it knows {', '.join(facts.cohorts)}")
    if unknown := [case.file for case in cases if case.pixel_size_um is None]:
        log.warning(
            "The pixel size of %d of %d masks (first %s) is not known, so their pictures' is not told: the peer was "
            "trained on %.4g µm.",
            *(len(unknown), len(cases), unknown[0], facts.pixel_size_um),
        )
    return cases, study


def _of_data_set(folder: Path, facts: PeerFacts, study: Study) -> list[MaskCase]:
    masks, rows = pictures_by_stem(folder / "masks"), table_rows(folder / TABLE)
    if not masks:
        raise InputError(f"{folder} holds no masks; they belong into {folder / 'masks'}")
    cases = []
    for number, row in rows:
        stem = find_picture(masks, row["file"])
        if stem is None:
            raise InputError(f"{TABLE}, line {number}: {row['file']} has no mask in {folder / 'masks'}")
        try:
            name = cohort_in(study, row["cohort"]).name
            stated = decimal(row["pixel_size_um"]) if row.get("pixel_size_um") else study.pixel_size_um
        except ValueError as error:
            raise InputError(f"{TABLE}, line {number}: {error}") from None
        cases.append(_case(masks[stem], row["file"], row | {"cohort": name}, facts, stated))
    require_masks_of_table(folder, masks, (row for _, row in rows))
    return cases


def _case(path: Path, file: str, row: Mapping[str, Any], facts: PeerFacts, stated: float | None) -> MaskCase:
    """`stated`: what table or study say of its pixels."""
    try:
        found = read_mask(path)
    except InputError as error:
        raise InputError(f"the mask of {file}: {error}") from None
    sizes = [*(found.pixel_size_um or ()), *([] if stated is None else [stated])]
    for size in sizes:
        _check_pixel(size, file, facts)
    of = (row["cohort"], row.get("patient", ""), found.mask, row.get("caption", ""))
    return MaskCase(file, *of, pixel_size_um=sizes[-1] if sizes else None)


def _check_pixel(stated: float, file: str, facts: PeerFacts) -> None:
    if abs(stated / facts.pixel_size_um - 1) > TOLERANCE:
        raise InputError(
            f"{file} has pixels of {stated:.4g} µm, and the peer was trained on {facts.pixel_size_um:.4g}: give masks "
            "of that size"
        )
