"""Cohorts that nodes offer: those of the study that ships, and "STUDY: COHORT" of those in the models folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..wdlora.cohorts import COHORTS
from ..wdlora.errors import InputError
from ..wdlora.study import FOLDER

STAMP = "ccm_studies"
"""Name of the text in pictures, beside `prompt` and `workflow`, that holds the hashes of the graph's studies."""

if TYPE_CHECKING:
    from ..wdlora.study import Study, StudyCohort


def cohorts() -> list[str]:
    """Names of all cohorts. A file that is no study is passed over here, and named where one of its cohorts is used."""
    found = list(COHORTS)
    for study in _studies().values():
        found += [f"{study.name}: {name}" for name in study.cohorts]
    return found


def names() -> list[str]:
    """Names of the studies in the models folder."""
    return list(_studies())


def study_file(name: str) -> Path:
    """The file of a study in the models folder. Raises InputError where there is none of that name."""
    if name not in _studies(strict=True):
        where = f"put its file into {_folder()}, as docs/guides/other-diseases.md says"
        raise InputError(f"there is no study {name!r}: {where}", input="study")
    return _files()[name]


def found_cohort(name: str) -> "tuple[Study, StudyCohort]":
    """Study and cohort of a name. Raises InputError for an unknown one, with the way to declare it."""
    from ..wdlora.cohorts import cohort_in
    from ..wdlora.study import shipped_study

    title, colon, group = name.partition(":")
    if not colon:
        try:
            return shipped_study(), cohort_in(shipped_study(), name)
        except InputError as error:
            raise InputError(
                f"{error}; cohorts of another disease are declared in a study, {_folder()}/NAME.toml"
            ) from None
    study = _studies(strict=True).get(title.strip())
    if study is None:
        raise InputError(
            f"there is no study {title.strip()!r}: put its file into {_folder()}, as docs/guides/other-diseases.md says"
        )
    return study, study.cohort(group.strip())


def shown(study: "Study", cohort: str) -> str:
    """The name under which nodes know a cohort of a study."""
    return cohort if study.ships else f"{study.name}: {cohort}"


def told(study: "Study", cohort: str) -> str:
    """The name of a data set's cohort as `shown`; where its study is not the one of that name in the models folder, a
    name that no study has, so that nothing is painted by the words of another one.
    """
    known = _studies().get(study.name)
    if study.ships or known is None or known == study:
        return shown(study, cohort)
    return f"{study.label} with SHA-256 {study.sha256[:8]}: {cohort}"


def used_in(graph: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of the studies, but the one that ships, whose cohorts an API-format graph names, by name and version.

    A cohort is named by a text, of whatever node, or by a data set that is loaded.
    """
    known = _studies()
    named = set()
    for node in graph.values():
        for text in node["inputs"].values():
            title, colon, group = text.partition(":") if isinstance(text, str) else ("", "", "")
            study = known.get(title.strip()) if colon else None
            if study and group.strip().lower() in map(str.lower, study.cohorts):
                named.add(study.name)
        if node.get("class_type") == "CCMLoadDataset":
            named |= {one.name for one in _of_dataset(node["inputs"].get("dataset")) if known.get(one.name) == one}
    return {known[name].label: known[name].sha256 for name in sorted(named)}


def stamps(graph: Mapping[str, Any]) -> dict[str, Any]:
    """What is written into pictures beside the graph that made them: the hashes of its studies."""
    used = used_in(graph)
    return {STAMP: used} if used else {}


def fingerprint(*cohorts: str | None) -> str:
    """Changes where a study does whose cohorts these are; None, of a cohort that comes through a link: any study."""
    known = _studies()
    titles = [None if one is None else one.partition(":")[0].strip() for one in cohorts]
    hashes = [study.sha256 for name, study in known.items() if name in titles or None in titles]
    return ",".join(hashes)


def check_stamp(pnginfo: Any, study: "Study") -> None:
    """Raise InputError where what is to be written into pictures names another content of a study than it has now."""
    noted = pnginfo.get(STAMP) if isinstance(pnginfo, dict) else None
    if isinstance(noted, dict) and noted.get(study.label) not in (None, study.sha256):
        raise InputError(f"the study {study.label} was changed since this was put into the queue: put it in again")


def _of_dataset(name: Any) -> "list[Study]":
    """The study of a data set that a graph names; none where there is no such data set."""
    from ..wdlora.study import study_of
    from .dataset_folders import dataset_folder

    try:
        return [study_of(dataset_folder(name))] if isinstance(name, str) else []
    except InputError:
        return []


def _folder() -> Path:
    import folder_paths

    return Path(folder_paths.models_dir) / FOLDER


def _studies(strict: bool = False) -> "dict[str, Study]":
    """The studies in the models folder by name; `strict`: raise InputError for what is none, and two of one name."""
    return {name: study for name, (study, _) in _found(strict).items()}


def _files() -> dict[str, Path]:
    return {name: file for name, (_, file) in _found().items()}


def _found(strict: bool = False) -> "dict[str, tuple[Study, Path]]":
    from ..wdlora.study import studies_in

    return studies_in(_folder(), strict)
