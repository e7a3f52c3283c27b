"""Graphs in files: names in PNG texts and JSON files found, replaced in place, and looked for in everything else."""

import itertools
import json
import mmap
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import atomic_write, below
from ..temporaries import PREFIX
from . import png
from .find import Finder, fold
from .names import Names, input_name, widgets

_Path = str | os.PathLike

PNG = (".png", ".apng")
JSON = (".json",)
_DEEPEST = 100
_WINDOW = 2**24
_ESCAPED = re.compile(r"\\[nrt]")
"""What JSON may write right before a name: its letter is none of a longer word."""

_FOREIGN = re.compile(r"(?=.*[^\W_])[^0-9A-Za-z]+", re.DOTALL)
"""Names without ASCII letters and digits, which have no words as bytes."""


@dataclass
class PrivacyReport:
    """What was found. Paths are as they were given; `names` are input files, folders and other identifiers."""

    checked: int = 0
    names: dict[str, str] = field(default_factory=dict)
    """Every name that graphs hold, and its pseudonym."""
    found: dict[str, list[str]] = field(default_factory=dict)
    """Files whose graphs or texts hold names, and which."""
    rewritten: list[str] = field(default_factory=list)
    left: dict[str, list[str]] = field(default_factory=dict)
    """Files that hold names where this program changes nothing: other formats, names of files and folders."""
    perhaps: list[tuple[str, str, str]] = field(default_factory=list)
    """File, word and text: a part of a name stands in a title, note or prompt. It may mean nothing."""
    unreadable: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        perhaps = [{"file": file, "word": word, "text": text} for file, word, text in self.perhaps]
        return {**vars(self), "perhaps": perhaps}


def listed(paths: Iterable[_Path]) -> list[Path]:
    """The files named, and those in folders named, sorted. Raises InputError for a path that is not there."""
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            files += sorted(file for file in path.rglob("*") if _of_the_user(file))
        elif path.is_file():
            files.append(path)
        else:
            raise InputError(f"there is no file or folder {path}")
    return list(dict.fromkeys(files))


def _of_the_user(file: Path) -> bool:
    """Hidden files count too, since they may hold names; what a writer has not finished does not."""
    return file.is_file() and not file.is_symlink() and not file.name.startswith(PREFIX)


def input_finder(paths: Sequence[_Path], inputs: Sequence[_Path]) -> Callable[[str], Path | None]:
    """Finds input files: in `inputs`, else in the folder `input` beside an `output` that holds one of the paths."""
    roots = [Path(folder) for folder in inputs]
    for folder in roots:
        if not folder.is_dir():
            raise InputError(f"there is no input folder {folder}")
    if not roots:
        for path in paths:
            place = Path(path).absolute()
            for parent in (place, *place.parents):
                if parent.name == "output" and (parent.parent / "input").is_dir():
                    roots += [parent.parent / "input", parent]
    return finder(dict.fromkeys(roots))


def finder(roots: Iterable[_Path]) -> Callable[[str], Path | None]:
    """Finds a name below one of some folders, never outside of them."""
    places = [Path(os.path.realpath(root)) for root in roots]

    def find(name: str) -> Path | None:
        for root in places:
            try:
                path = below(root, name)
                if path not in (None, root) and path.exists():
                    return path
            except (OSError, InputError):
                continue
        return None

    return find


def hide_picture(path: Path, names: Names) -> bool:
    """Replace names in a PNG's texts, pixels and all else untouched; whether anything changed. Raises InputError."""
    data = path.read_bytes()
    for text in _texts(data):
        names.collect(_parsed(text))
    new = png.rewritten(data, lambda _, text: _hidden(text, names))
    if new == data:
        return False
    with atomic_write(path) as temporary:
        temporary.write_bytes(new)
    return True


def pseudonymise(
    paths: Sequence[_Path],
    names: Names,
    check: bool = False,
    progress: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> PrivacyReport:
    """Replace names in all PNG and JSON files that hold graphs; with `check` only say where they are.

    Names that one file's graph holds are replaced in the other files' too. Then every byte of every file, and the
    names of files and folders, are searched for what is left. Raises InputError for a path that is not there.
    """
    files = listed(paths)
    report = PrivacyReport(checked=len(files))
    readable: list[Path] = []
    for file in files:
        try:
            documents = list(_documents(file))
        except InputError as error:
            report.unreadable[str(file)] = str(error)
            continue
        readable.append(file)
        for document in documents:
            names.collect(document)
    report.names = {**names.files, **names.others}
    searched = _Search(names.telltales())
    for file in progress(readable):
        documents = list(_documents(file))  # read again: the graphs of a whole archive would fill the memory
        hidden = [names.hide(document) for document in documents]
        seen = _telltales_in(documents, hidden, names)
        if seen or json.dumps(hidden) != json.dumps(documents):  # not as objects: NaN is unlike itself
            report.found[str(file)] = seen
            if not check and _rewrite(file, names):
                report.rewritten.append(str(file))
        hints = dict.fromkeys(hint for document in hidden for hint in names.hints(document, seen))
        report.perhaps += [(str(file), word, text) for word, text in hints]
    for file in files:
        left = searched.in_name(file, paths)
        if not (check and str(file) in report.found):
            left |= searched.in_file(file)
        if left:
            report.left[str(file)] = sorted(left)
    return report


def _documents(file: Path) -> Iterator[Any]:
    """The JSON values and texts of a file that this program rewrites; none of another file."""
    suffix = file.suffix.lower()
    try:
        if suffix in PNG:
            for text in _texts(file.read_bytes()):
                yield _shallow(_parsed(text))
        elif suffix in JSON:
            document = _shallow(json.loads(file.read_text(encoding="utf-8-sig")))
            if next(widgets(document), None) is not None:
                yield document
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"it is not JSON: {error}") from None


def _shallow(document: Any) -> Any:
    """The value, or InputError where lists and objects are nested as no graph nests them."""
    level = [document]
    for _ in range(_DEEPEST):
        level = [
            part
            for item in level
            if isinstance(item, (dict, list))
            for part in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return document
    raise InputError(f"its JSON is nested more than {_DEEPEST} deep")


def _texts(data: bytes) -> list[str]:
    return [found[1] for chunk in png.read(data)[0] if (found := png.chunk_text(chunk)) is not None]


def _parsed(text: str) -> Any:
    """A text's JSON value, or the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _hidden(text: str, names: Names) -> str:
    """A text, which may be JSON, without names; the same text where there are none."""
    document = _parsed(text)
    if isinstance(document, str):
        return names.hide_text(text)
    hidden = names.hide(document)
    return text if json.dumps(hidden) == json.dumps(document) else json.dumps(hidden)


def _telltales_in(documents: Sequence[Any], hidden: Sequence[Any], names: Names) -> list[str]:
    """What would be replaced in documents: files as graphs name them, then what else differs."""
    seen: dict[str, None] = {}
    for document, other in zip(documents, hidden, strict=True):
        files = (input_name(value, class_type) for class_type, value in widgets(document))
        seen |= dict.fromkeys(found[0] for found in files if found is not None and found[0] in names.files)
        for text in _changed(document, other):
            seen |= dict.fromkeys(match[0] for match in names.matches(text))
    return [name for name in seen if not any(name != other and name in other for other in seen)]


def _changed(document: Any, other: Any) -> Iterator[str]:
    """The texts of a value that differ in another value of the same shape."""
    todo = [(document, other)]
    while todo:
        one, two = todo.pop()
        if isinstance(one, str) and one != two:
            yield one
        elif isinstance(one, dict):
            todo.extend(zip(reversed(one.values()), reversed(two.values()), strict=True))
            todo.extend(zip(reversed(one), reversed(two), strict=True))
        elif isinstance(one, list):
            todo.extend(zip(reversed(one), reversed(two), strict=True))


def _rewrite(file: Path, names: Names) -> bool:
    if file.suffix.lower() in PNG:
        return hide_picture(file, names)
    text = file.read_text(encoding="utf-8-sig")
    document = json.loads(text)
    indent = re.match(r"[\[{]\n?\r?\n([ \t]+)", text)
    new = json.dumps(names.hide(document), ensure_ascii=False, indent=indent[1] if indent else None)
    with atomic_write(file) as temporary:
        temporary.write_text(new + "\n" * text.endswith("\n"), encoding="utf-8")
    return True


class _Search:
    """Looks for names in bytes: as UTF-8, as JSON writes them, and as Latin-1.

    ASCII letters are found in any case, others as the name has them, in lower case, in capitals and as in a title.
    """

    def __init__(self, telltales: Sequence[str]):
        forms: set[bytes] = set()
        spellings = {form for one in telltales for form in (one, one.lower(), one.upper(), one.title(), fold(one))}
        for name in spellings:
            own = {name.encode("utf-8"), json.dumps(name)[1:-1].encode("ascii"), name.encode("latin-1", "replace")}
            forms |= {form.lower() for form in own}
        self._longest = max(map(len, forms), default=0)
        self._finder = Finder((form.decode("latin-1") for form in forms), ascii=True)
        foreign = (one.encode("utf-8").decode("latin-1") for one in spellings if _FOREIGN.fullmatch(one))
        self._foreign = re.compile("|".join(map(re.escape, sorted(foreign, key=len, reverse=True))) or "(?!)")

    def in_name(self, file: Path, given: Sequence[_Path]) -> set[str]:
        """The names in a file's own name, and in its folders below the path given."""
        root = next((Path(path) for path in given if Path(path) in file.parents), file.parent)
        return self._in(str(file.relative_to(root)).encode("utf-8", "replace"))

    def in_file(self, file: Path) -> set[str]:
        """The names in a file's content; in a PNG texts are unpacked and pixels left out."""
        if not self._longest or file.stat().st_size == 0:
            return set()
        with open(file, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:8] == png.SIGNATURE:
                try:
                    return set().union(*map(self._in, png.readable(bytes(data))))
                except InputError:
                    pass
            return self._in(data)

    def _in(self, data: Any) -> set[str]:
        found: set[str] = set()
        for start in range(0, len(data) if self._longest else 0, _WINDOW):
            low, high = max(start - self._longest - 1, 0), min(start + _WINDOW + 1, len(data))
            for place, name in self._matches(bytes(data[low:high]).decode("latin-1")):
                seen_before, seen_after = place > 0 or low == 0, place + len(name) < high - low or high == len(data)
                if seen_before and seen_after:  # else another window shows what stands beside it
                    found.add(name.encode("latin-1").decode("utf-8", "replace"))
        return found

    def _matches(self, text: str) -> Iterator[tuple[int, str]]:
        """Places and names; also names right behind one of JSON's line ends or tabs."""
        for match in itertools.chain(self._finder(text), self._foreign.finditer(text)):
            yield match.start(), match[0]
        for escape in _ESCAPED.finditer(text):
            piece = text[escape.end() : escape.end() + self._longest + 1]
            behind = next(self._finder(piece), None)
            if behind is not None and behind.start() == 0:
                yield escape.end(), behind[0]
