"""Cohorts that nodes offer: those of the study that ships, and "STUDY: COHORT" of those in the models folder."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..wdlora.cohorts import COHORTS
from ..wdlora.errors import InputError
from ..wdlora.study import FOLDER

STAMP = "ccm_studies"
"""Name of the text in pictures, beside `prompt` and `workflow`, that holds the hashes of the graph's studies."""

PLACE = f"models/{FOLDER}"
"""What a reader calls the folder of studies."""

SEVERAL = "several cohorts"
"""What stands before the cohorts' names in the name of a batch of several; no study can be called so."""

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
        raise InputError(_no_study(name), input="study")
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
                f"{error}; cohorts of another disease are declared in a study, {PLACE}/NAME.toml"
            ) from None
    if title == SEVERAL:
        raise InputError(
            f"the images are of several cohorts ({group.strip()}), but get one prompt or label: choose one of these "
            "cohorts in CCM Load Data Set"
        )
    study = _studies(strict=True).get(title.strip())
    if study is None:
        raise InputError(_no_study(title.strip()))
    return study, study.cohort(group.strip())


def shown(study: "Study", cohort: str) -> str:
    """The name under which nodes know a cohort of a study."""
    return cohort if study.ships else f"{study.name}: {cohort}"


def linked_name(study: "Study", cohorts: Iterable[str]) -> str:
    """The name by which a data set's images of these cohorts are linked to other nodes: the cohort's as `shown`.

    Of several cohorts, and where the data set's study is not the one of that name in the models folder, it is a name
    that no cohort has, so that nothing is painted by the words of another one.
    """
    known = _studies().get(study.name)
    same = study.ships or known is None or known == study
    found = [
        shown(study, cohort) if same else f"{study.label} with SHA-256 {study.sha256[:8]}: {cohort}"
        for cohort in dict.fromkeys(cohorts)
    ]
    return found[0] if len(found) == 1 else f"{SEVERAL}: {', '.join(found)}"


def used_in(graph: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of the studies, but the one that ships, whose cohorts an API-format graph names, by name and version.

    A cohort is named by a text, of whatever node, or by a data set that is loaded. A training names a study, or a data
    set with a study of its own.
    """
    known = _studies()
    named = []
    for node in graph.values():
        inputs = node["inputs"]
        for text in inputs.values():
            title, colon, group = text.partition(":") if isinstance(text, str) else ("", "", "")
            study = known.get(title.strip()) if colon else None
            if study and group.strip().lower() in map(str.lower, study.cohorts):
                named.append(study)
        if node.get("class_type") == "CCMLoadDataset":
            named += [one for one in _of_dataset(inputs.get("dataset")) if known.get(one.name) == one]
        if node.get("class_type") == "WDLoRATrain":
            named += [study for name, study in known.items() if name == inputs.get("study")]
            named += [one for one in _of_dataset(inputs.get("data")) if not one.ships]
    return {study.label: study.sha256 for study in sorted(named, key=lambda one: one.label)}


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
    """Raise InputError where what is to be written into pictures names another version or content of a study than it
    has now.
    """
    noted = pnginfo.get(STAMP) if isinstance(pnginfo, dict) else None
    noted = noted if isinstance(noted, dict) else {}
    of_study = {label: hashed for label, hashed in noted.items() if label.partition("/")[0] == study.name}
    if of_study and of_study.get(study.label) != study.sha256:
        raise InputError(
            f"the study {' and '.join(of_study)} was changed since this was put into the queue: put it in again"
        )


def _of_dataset(name: Any) -> "list[Study]":
    """The study of a data set that a graph names; none where there is no such data set."""
    from ..wdlora.study import study_of
    from .dataset_folders import PHANTOMS, dataset_folder

    try:
        return [study_of(dataset_folder(name))] if isinstance(name, str) and name != PHANTOMS else []
    except InputError:
        return []


def _no_study(name: str) -> str:
    return f"there is no study {name!r}: put its file into {PLACE}, as docs/guides/other-diseases.md says"


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
