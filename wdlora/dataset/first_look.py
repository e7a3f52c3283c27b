"""A first look at a folder of images: how its masks are named, and what its table calls its columns and cohorts.

What is guessed is guessed from content where that can be: the column of files is the one that names the images, that
of eyes holds nothing but eyes, a mask is black and white, the first image says how wide its pixels are.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ..clinic.images import decode, read_mask
from ..clinic.roster import COLUMNS, EYES, uncertain_date
from ..cohorts import cohort_in
from ..csv_table import csv_rows, one_form
from ..errors import InputError
from ..study import Study, read_study, shipped_study
from ..toml_file import toml_string
from .labels import NONE
from .layouts import read_layout
from .naming import MaskNames, all_files, is_mask_file, stem
from .settings import OPEN
from .split import part_named

CALLED = {
    "patient": ("patient", "patid", "patientid", "patientnr", "subject", "subjectid", "proband", "pseudonym", "id"),
    "visit": ("visit", "visite", "besuch", "termin", "datum", "date", "fecha", "session", "timepoint"),
    "cohort": ("cohort", "kohorte", "group", "gruppe", "groupe", "grupo", "diagnosis", "diagnose", "class", "label"),
}
"""What tables call the columns whose content does not tell them, in letters and digits alone."""

_PIXEL_SIZE = 'a number of µm, or "hrt" for 384 × 384 pixels of 400 µm (Heidelberg HRT III)'


def first_look(folder: Path, roster: Path | None, study_file: Path | None, name: str) -> str:
    """The text of a settings file (see `settings`) for a folder, with a comment on each guess.

    `roster` is its table, by default the only one in the folder, `study_file` the study whose cohorts it has, by
    default the one that ships; `name` is what the settings file will be called. Raises InputError for a folder without
    images, and for a table or a study that cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    study = read_study(study_file) if study_file else shipped_study()
    files = [file for file in all_files(folder) if is_mask_file(file)]
    if not files:
        raise InputError(f"{folder} holds no images")
    lines = [
        f"# Settings for import-dataset, guessed at a first look. Correct them, above all {toml_string(OPEN)}; then",
        f"#   python -m wdlora import-dataset DIR --settings {toml_string(name)} --dry-run",
        "",
    ]
    known = _known_images(folder)
    names = None if known else guessed_masks(folder, files)
    images = known or [file for file in files if not _is_mask(file, folder, names)] or files
    masks = _masks(bool(known), names)
    lines += _pixel_size(images)
    lines += [f"study = {toml_string(study_file.resolve().as_posix())}"] if study_file else []
    tables = [file for file in all_files(folder) if file.suffix.lower() in (".csv", ".tsv")]
    if roster is None and len(tables) != 1:
        found = f"{len(tables)} tables are in the folder" if tables else "no table is in the folder"
        return "\n".join([*lines, f'# roster = "list.csv"   # {found}', "", *masks]) + "\n"
    table = roster or tables[0]
    inside = folder.resolve() in table.resolve().parents
    path = table.resolve().relative_to(folder.resolve()) if inside else table.resolve()
    lines.append(f"roster = {toml_string(path.as_posix())}   # below the data set, or a whole path")
    return "\n".join([*lines, "", *masks, *_roster(table, images, study)]) + "\n"


def _known_images(folder: Path) -> list[Path]:
    """The images of a folder whose masks are found without names being told; none where they are not."""
    try:
        sources = read_layout(folder, None).sources
    except InputError:
        return []
    return [source.image for source in sources] if any(source.annotation for source in sources) else []


def _is_mask(file: Path, folder: Path, names: MaskNames | None) -> bool:
    if names is None:
        return False
    inside = not names.folder or (folder / names.folder) in file.parents
    return inside and names.image_of(file) is not None


def _pixel_size(images: Sequence[Path]) -> list[str]:
    """What the first image that can be read says of its pixels."""
    for image in images:
        with suppress(InputError):
            found = decode(image)
            break
    else:
        return [f"pixel_size_um = {toml_string(OPEN)}   # {_PIXEL_SIZE}; no image can be read"]
    height, width = found.pixels.shape[:2]
    first = f"the first image, of {width} × {height} pixels,"
    if found.pixel_size_um is None:
        return [f"pixel_size_um = {toml_string(OPEN)}   # {_PIXEL_SIZE}; {first} does not say it"]
    row, column = (f"{side:.5g}" for side in found.pixel_size_um)
    size = row if row == column else toml_string(f"{row},{column}")
    return [f"# pixel_size_um = {size}   # {_PIXEL_SIZE}; {first} says {size} itself"]


def guessed_masks(folder: Path, files: Sequence[Path]) -> MaskNames | None:
    """How most masks differ from their images in name, or in which folder those of the same names lie; None: neither.

    A guess is right where the first mask that it finds is black and white.
    """
    stems = {stem(file): file for file in files}
    found: Counter[tuple[str, str]] = Counter()
    for name in stems:
        for at in range(1, len(name)):
            if name[:at] in stems and any(map(str.isalpha, name[at:])):
                found["", name[at:]] += 1
            if name[at:] in stems and any(map(str.isalpha, name[:at])):
                found[name[:at], ""] += 1
    for (prefix, suffix), _ in found.most_common(5):
        names = MaskNames(prefix, suffix)
        if any(names.image_of(file) in stems and _black_and_white(file) for file in files):
            return names
    by_folder: dict[Path, dict[str, Path]] = {}
    for file in files:
        by_folder.setdefault(file.parent, {})[stem(file)] = file
    for place, inside in by_folder.items():
        shared = [name for name in inside if any(name in other for at, other in by_folder.items() if at != place)]
        if place != folder and shared and _black_and_white(inside[shared[0]]):
            return MaskNames(folder=place.relative_to(folder).as_posix())
    return None


def _black_and_white(file: Path) -> bool:
    try:
        return bool(read_mask(file).mask.mean() <= 0.5)
    except InputError:
        return False


def _masks(known: bool, names: MaskNames | None) -> list[str]:
    if names is None:
        why = "images and masks are found by their folders" if known else "no masks were found"
        return [f"# [masks]   # {why}", '# suffix = "_mask"   # or prefix, or folder', ""]
    said = [f"{key} = {toml_string(value)}" for key, value in vars(names).items() if value]
    return ["[masks]   # how a mask is called beside its image: suffix, prefix, folder", *said, ""]


def _roster(table: Path, images: Sequence[Path], study: Study) -> list[str]:
    """The tables of columns and labels."""
    there, numbered = csv_rows(table)
    rows = [row for _, row in numbered]
    columns = guessed_columns(there, rows, images)
    lines = [f"[columns]   # ours = theirs; the table has {', '.join(map(toml_string, there))}"]
    for name in COLUMNS:
        theirs = columns.get(name)
        needed = name in ("file", "patient")
        if theirs or needed:
            remark = _on_dates(rows, theirs) if theirs and name == "visit" else "" if theirs else "   # needed"
            lines.append(f"{name} = {toml_string(theirs or OPEN)}{remark}")
        else:
            lines.append(f'# {name} = ""')
    lines += ["", f"[labels]   # each is {', '.join(study.cohorts)}, or {NONE} to leave its images out"]
    if "cohort" in columns:
        counts = Counter(row[columns["cohort"]].strip() for row in rows)
        lines += [_label(label, count, study) for label, count in sorted(counts.items()) if label]
    return lines


def _on_dates(rows: Sequence[dict[str, str]], column: str) -> str:
    """A comment where the visits are dates that will be refused."""
    odd = uncertain_date(row[column] for row in rows)
    return f"   # {odd} does not tell day from month: write dates as YYYY-MM-DD in the table" if odd else ""


def _label(label: str, count: int, study: Study) -> str:
    try:
        name = cohort_in(study, label).name
    except InputError:
        name = OPEN
    return f"{toml_string(label)} = {toml_string(name)}   # {count} lines"


def guessed_columns(there: Sequence[str], rows: Sequence[dict[str, str]], images: Sequence[Path]) -> dict[str, str]:
    """What a table calls its columns, by our names; those that cannot be told are not there."""
    named = {stem(file) for file in images} | {one_form(file.name) for file in images}
    hits = {column: sum(_bare(row[column]) in named for row in rows) for column in there}
    best = max(there, key=lambda column: hits[column], default="")
    found = {"file": best} if best and hits[best] else {}
    eyes = _filled_with(there, rows, lambda cell: cell.lower() in EYES)
    parts = _filled_with(there, rows, _is_part)
    found |= {name: columns[0] for name, columns in (("eye", eyes), ("split", parts)) if columns}
    for name, called in CALLED.items():
        plain = {"".join(filter(str.isalnum, column)).casefold(): column for column in reversed(there)}
        if match := next((plain[word] for word in called if word in plain and plain[word] not in found.values()), None):
            found[name] = match
    return found


def _bare(cell: str) -> str:
    return one_form(cell.strip().replace("\\", "/").rpartition("/")[2])


def _filled_with(there: Iterable[str], rows: Sequence[dict[str, str]], fits: Callable[[str], bool]) -> list[str]:
    """The columns in which every cell that is filled fits, at least one."""
    filled = {column: [cell for row in rows if (cell := row[column].strip())] for column in there}
    return [column for column, cells in filled.items() if cells and all(map(fits, cells))]


def _is_part(cell: str) -> bool:
    try:
        return bool(part_named(cell))
    except InputError:
        return False
