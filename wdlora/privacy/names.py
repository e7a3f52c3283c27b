"""Which strings of a graph name input files, and their replacement wherever they stand.

A graph here is any JSON value: a workflow of the front end, a graph in API format, the body of a request, a manifest.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from ..graph.links import is_link
from .find import Finder, fold
from .pseudonym import Pseudonyms, is_pseudonym

IMAGES = (
    "png",
    "jpg",
    "jpeg",
    "jfif",
    "tif",
    "tiff",
    "bmp",
    "webp",
    "gif",
    "avif",
    "heic",
    "exr",
    "hdr",
    "svg",
    "apng",
    "jp2",
    "j2k",
)
SCANS = ("dcm", "dicom", "nii", "nii.gz", "mha", "nrrd", "raw", "vol", "e2e", "oct")
FILMS = ("mp4", "webm", "mov", "mkv", "avi", "m4v", "wav", "mp3", "flac", "ogg", "opus", "m4a")
SHAPES = ("glb", "gltf", "obj", "ply", "stl", "fbx", "splat", "ksplat", "spz")
TABLES = ("csv", "tsv", "txt", "xlsx", "pdf", "zip", "latent", "npy", "npz", "mat", "h5", "hdf5")
MEDIA = tuple(f".{ending}" for ending in (*SCANS, *IMAGES, *FILMS, *SHAPES, *TABLES))
"""Endings of files that lie in an input folder. Endings of model files are none of them."""

MODELS = (".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin", ".onnx")

FOLDER_LOADERS = (
    "LoadImageDataSetFromFolder",
    "LoadImageTextDataSetFromFolder",
    "LoadVideoDataSetFromFolder",
    "LoadVideoTextDataSetFromFolder",
)
"""Core nodes whose texts are folders of the input folder, without saying so."""

_NOTE = re.compile(r"\s*\[(input|output|temp)\]\s*$")
_WEB = re.compile(r"(?<![a-z0-9+.-])(?!file:)[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_ABSOLUTE = re.compile(r"(/|~[/\\]|[A-Za-z]:[\\/]|\\\\)[^\n]*[^\s]")
_STRUCTURE = frozenset(
    ("class_type", "type", "id", "cnr_id", "aux_id", "ver", "Node name for S&R", "revision", "version", "sha256")
)
"""Keys whose values are never changed."""

_NO_PROSE = _STRUCTURE | {"name", "localized_name", "label", "links", "link", "sampler_name", "scheduler"}
"""Keys whose values nobody writes sentences in."""

_ID = re.compile(r"\d+(:\d+)*", re.ASCII)
"""Ids of nodes as the front end gives them, in subgraphs too."""

_COMMON = (
    "clipspace",
    "pasted",
    "wdlora-batch",
    "input",
    "output",
    "temp",
    "users",
    "documents",
    "downloads",
    "desktop",
)
_PLAIN_WORDS = re.compile(
    "images?|masks?|nerves?|ccm|scan|picture|left|right|control|input|output|temp|example|and|the|for|comfyui|png|"
    "unknown|name|folder|test|data|sample"
)


def input_name(value: str, class_type: str = "") -> tuple[str, str, bool] | None:
    """Name, note such as " [output]", and whether it is a folder, where a widget's value names an input file."""
    if not 0 < len(value) <= 1024 or "\n" in value or _WEB.search(value):
        return None
    note = _NOTE.search(value)
    name = (value[: note.start()] if note else value).strip()
    lower = name.lower()
    if not name or lower.endswith(MODELS):
        return None
    if any(lower.endswith(ending) and len(lower) > len(ending) for ending in MEDIA):
        return name, note[0].rstrip() if note else "", False
    if note:
        return name, note[0].rstrip(), True
    if name.lower().startswith("file://"):
        return name, "", False
    if class_type in FOLDER_LOADERS or (_ABSOLUTE.fullmatch(name) and re.search(r"[\\/].*[^\s/\\]", name)):
        return name, "", True
    return None


def _strings(value: Any) -> Iterator[str]:
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            todo.extend(reversed(list(item.values())))
        elif isinstance(item, list):
            todo.extend(reversed(item))


def widgets(document: Any) -> Iterator[tuple[str, str]]:
    """Class and value of every text in a widget, in graphs of either format, at any depth."""
    todo = [document]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            inputs = item.get("inputs")
            if isinstance(item.get("class_type"), str) and isinstance(inputs, dict):
                own = [value for value in inputs.values() if not is_link(value)]
                yield from ((item["class_type"], text) for text in _strings(own))
            elif "widgets_values" in item:
                yield from ((str(item.get("type", "")), text) for text in _strings(item["widgets_values"]))
            todo.extend(reversed(list(item.values())))
        elif isinstance(item, list):
            todo.extend(reversed(item))


def _links(item: dict[str, Any], key: str) -> bool:
    """Whether the values below a key of an object may be links: it is the `inputs` of a node in API format."""
    return key == "inputs" and isinstance(item.get("class_type"), str)


def _keys(document: Any) -> Iterator[tuple[str, bool]]:
    """Every key of the objects in a JSON value, and whether it is the id of a node in API format."""
    todo = [document]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            for key, value in item.items():
                yield key, isinstance(value, dict) and isinstance(value.get("class_type"), str)
            todo.extend(reversed(list(item.values())))
        elif isinstance(item, list):
            todo.extend(reversed(item))


class Names:
    """The names that were found, with their pseudonyms. `others`: more identifiers, such as patients' names."""

    def __init__(self, pseudonyms: Pseudonyms, others: Iterable[str] = ()):
        self.pseudonyms = pseudonyms
        self.files: dict[str, str] = {}
        """Input files and folders as graphs name them, and their pseudonyms."""
        self.others: dict[str, str] = {}
        self._prose: dict[str, str] = {}
        """Pseudonyms of the texts that are replaced, by the folded text."""
        self._spelt: set[str] = set()
        self._finder: Finder | None = None
        self._keys: dict[str, str] = {}
        """Keys of objects that are replaced."""
        for name in others:
            if text := name.strip():
                self.others[text] = pseudonyms.of_name(text)
                self._note(text, self.others[text])

    def collect(self, document: Any) -> None:
        """Find the names in a graph."""
        for class_type, value in widgets(document):
            found = input_name(value, class_type)
            if found is None or found[0] in self.files or is_pseudonym(found[0]):
                continue
            name, _, folder = found
            pseudonym = self.pseudonyms.of_input(name, folder)
            self.files[name] = pseudonym
            stem = PurePosixPath(pseudonym).stem
            parts = name.replace("\\", "/").split("/")
            self._note(name, pseudonym)
            self._note(quote(name), pseudonym)
            self._note(parts[-1], pseudonym, not folder or is_identifying(parts[-1]))
            for part in (*parts[:-1], parts[-1] if folder else bare(parts[-1])):
                self._note(part, stem, is_identifying(part))

    def _note(self, text: str, pseudonym: str, wanted: bool = True) -> None:
        if not wanted or not text:
            return
        for spelling in (text, text.upper(), text.casefold()):  # Weiß, WEISS, weiss
            for form in ("NFC", "NFD"):
                normal = unicodedata.normalize(form, spelling)
                self._spelt.add(normal)
                if fold(normal) not in self._prose:
                    self._prose[fold(normal)] = pseudonym
                    self._finder = None

    def telltales(self) -> list[str]:
        """Every text that is replaced, as it was spelt, in capitals and without case, longest first."""
        return sorted(self._spelt, key=len, reverse=True)

    def hide(self, document: Any) -> Any:
        """A copy of a JSON value in which names are pseudonyms; names of graphs in it are collected first.

        Keys too: ids of nodes wherever they stand, with the links to them, and other keys that are names of files.
        """
        self.collect(document)
        self._hide_keys(document)
        return self._hidden(document, "", "", False)

    def key(self, key: str) -> str:
        """What a key, such as a node's id, became in the documents that were hidden so far."""
        return self._keys.get(key, key)

    def _hide_keys(self, document: Any) -> None:
        """Find pseudonyms for keys, each of its own, also where two ids differ in what is hidden alone."""
        keys = dict(_keys(document))
        taken = {*keys, *self._keys.values()}
        for key, is_node in keys.items():
            if key in self._keys or _ID.fullmatch(key) or not (is_node or input_name(key)):
                continue
            hidden = self.hide_text(key)
            if hidden == key:
                continue
            free = (name for number in itertools.count(2) for name in (hidden, f"{hidden}-{number}"))
            self._keys[key] = next(name for name in free if name not in taken)
            taken.add(self._keys[key])

    def _hidden(self, value: Any, key: str, class_type: str, links: bool) -> Any:
        if isinstance(value, str):
            return value if key in _STRUCTURE else self._value(value, class_type)
        if isinstance(value, dict):
            own = value.get("class_type", value.get("type", class_type))
            own = own if isinstance(own, str) else class_type
            return {
                self.key(name): [self.key(item[0]), item[1]]
                if links and is_link(item)
                else self._hidden(item, name, own, _links(value, name))
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [self._hidden(item, key, class_type, False) for item in value]
        return value

    def _value(self, value: str, class_type: str) -> str:
        found = input_name(value, class_type)
        if found is not None and found[0] in self.files:
            return self.files[found[0]] + found[1]
        return value if value.lower().endswith(MODELS) and "\n" not in value else self.hide_text(value)

    def hide_text(self, text: str) -> str:
        """A text with pseudonyms in the place of the names that were found so far."""
        parts, end = [], 0
        for match in self.matches(text):
            parts += [text[end : match.start()], self._prose.get(fold(match[0]), "name-unknown")]
            end = match.end()
        return "".join([*parts, text[end:]])

    def matches(self, text: str) -> Iterator[re.Match[str]]:
        """Where the names that were found so far stand in a text."""
        if self._finder is None:
            self._finder = Finder(self._prose)
        return self._finder(text)

    def hints(self, document: Any, held: Iterable[str]) -> list[tuple[str, str]]:
        """Parts of the names that a graph held which still stand in its texts: word and text. They may mean nothing."""
        words = {fold(word) for name in (*held, *self.others) for word in _words(name)}
        search = Finder(word for word in words if not _PLAIN_WORDS.fullmatch(word))
        return [(found[0], text) for text in _prose(document) if (found := next(search(text), None))]


def _prose(document: Any) -> Iterator[str]:
    todo: list[tuple[str, Any, bool]] = [("", document, False)]
    while todo:
        key, item, links = todo.pop()
        if isinstance(item, str):
            if key not in _NO_PROSE and not item.lower().endswith(MODELS) and not is_pseudonym(_NOTE.sub("", item)):
                yield item
        elif isinstance(item, dict):
            own = ((name, part) for name, part in item.items() if not (links and is_link(part)))
            todo.extend((name, part, _links(item, name)) for name, part in own)
        elif isinstance(item, list):
            todo.extend((key, part, False) for part in item)


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]{3,}", bare(name))


def bare(name: str) -> str:
    """A file name without its ending."""
    ending = next((end for end in sorted(MEDIA, key=len, reverse=True) if name.lower().endswith(end)), "")
    return name[: len(name) - len(ending)]


def is_identifying(part: str) -> bool:
    """Whether a part of a path is distinct enough to be replaced in prose: no short and no plain lower-case word."""
    plain = re.fullmatch(r"[a-z]+", part) is not None
    return len(part) >= 4 and not plain and part.casefold() not in _COMMON and not is_pseudonym(part)
