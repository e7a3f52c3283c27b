"""Data sets that a workflow names: folders below the host's input and output folders."""

from pathlib import Path

from ..wdlora.errors import InputError
from . import files

PHANTOMS = "phantoms"
"""What stands in the place of a data set where a training draws its images itself."""


def datasets() -> list[str]:
    """Data sets below the input and output folders, at most two levels down: "NAME [output]"."""
    import folder_paths

    from ..wdlora.dataset.folder import TABLE
    from ..wdlora.temporaries import visible

    found = []
    for kind in ("input", "output"):
        root = Path(folder_paths.get_directory_by_type(kind))
        for pattern in (f"*/{TABLE}", f"*/*/{TABLE}"):
            found += [f"{table.parent.relative_to(root).as_posix()} [{kind}]" for table in visible(root, pattern)]
    return sorted(found)


def dataset_folder(name: str) -> Path:
    """The folder of a data set called "NAME [output]". Raises InputError where there is none."""
    import folder_paths

    from ..wdlora.dataset.folder import TABLE

    if not name or name == files.NONE:
        raise InputError(
            "no data set is chosen: put a folder with images, masks and dataset.csv into the input folder",
            input="dataset",
        )
    kind = next((kind for kind in ("output", "input") if name.endswith(f"[{kind}]")), "input")
    root = folder_paths.get_directory_by_type(kind)
    place = files.confined(root, name.removesuffix(f"[{kind}]").rstrip(), "data set")
    if not (place / TABLE).is_file():
        raise InputError(
            f"there is no data set {name!r}: put its folder, with dataset.csv, into the {kind} folder", input="dataset"
        )
    return place
