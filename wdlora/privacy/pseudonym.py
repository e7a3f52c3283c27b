"""What the name of an input file becomes in outputs.

Where the file is at hand: the SHA-256 of its content, `image-0123456789abcdef.png`. It is the same on every machine,
whoever holds the file finds it again, and nobody else can guess it: an image's content is no short list of names.
Where only the name is known, its keyed hash (HMAC-SHA-256, RFC 2104) with a random key that stays in the user's
folder: a plain hash of a name could be undone by trying names.
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from ..errors import InputError
from ..files import sha256

DIGITS = 16
"""Hex digits of a pseudonym: 64 bits, so that two of a million files share one with a chance of 3e-8."""

KEY_HELP = "any file of 16 bytes or more is taken: make one of random bytes, keep it secret, and always give the same"
"""What `--key` of every command says of its file."""

TABLE = "dataset.csv"
"""What stands for the content of a data set folder."""

_PSEUDONYM = re.compile(r"(wdlora-batch/)?(image|folder|name)-([0-9a-f]{16}|unknown)(\.[a-z0-9]{1,8}){0,2}", re.ASCII)
_SUFFIX = re.compile(r"(\.nii)?\.[A-Za-z0-9]{1,8}$")


def default_key() -> Path:
    """Where the user's key lies."""
    return Path.home() / ".wdlora" / "pseudonym.key"


def read_or_make_key(path: str | os.PathLike | None = None) -> bytes:
    """The key in a file; without `path` the user's own, which is made of 32 random bytes where it is missing.

    Raises InputError for a named file that is absent or shorter than 16 bytes.
    """
    place = default_key() if path is None else Path(path)
    if path is None and not place.exists():
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = place.with_name(f"{place.name}.{secrets.token_hex(4)}")
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
        try:
            os.link(temporary, place)  # fails where another process was first, whose key then counts
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            os.replace(temporary, place)
        temporary.unlink(missing_ok=True)
    return read_key(place)


def read_key(path: str | os.PathLike) -> bytes:
    """The bytes of a key file without line ends. Raises InputError where it is absent or shorter than 16 bytes."""
    file = Path(path)
    if not file.is_file():
        raise InputError(
            f"there is no key file {file}: make one of random bytes, such as with python -c "
            f"'import secrets; print(secrets.token_hex(32))' > {file.name}, and keep it secret"
        )
    key = file.read_bytes().strip()
    if len(key) < 16:
        raise InputError(f"the key file {file} has {len(key)} bytes; give at least 16 random ones")
    return key


def keyed(kind: str, name: str, key: bytes, digits: int = DIGITS) -> str:
    """The first hex digits of HMAC-SHA-256 of "kind:name"."""
    return hmac.new(key, f"{kind}:{name}".encode(), hashlib.sha256).hexdigest()[:digits]


def is_pseudonym(name: str) -> bool:
    """Whether a name is one that `Pseudonyms` makes."""
    return _PSEUDONYM.fullmatch(name) is not None


def content_pseudonym(content_sha256: str, name: str) -> str:
    """The pseudonym of a file by its SHA-256; `name` gives the ending."""
    return f"image-{content_sha256[:DIGITS]}{_ending(name)}"


class Pseudonyms:
    """Pseudonyms of input files and folders.

    `find` returns the path of a name as graphs have it, or None; `key` is called when a name without a file needs one;
    without it such a name becomes "image-unknown" or "folder-unknown".
    """

    def __init__(self, find: Callable[[str], Path | None] = lambda name: None, key: Callable[[], bytes] | None = None):
        self._find, self._key = find, key
        self._secret: bytes | None = None
        self.hashes: dict[str, str] = {}
        """SHA-256 of the files that were at hand, by pseudonym."""

    def of_input(self, name: str, folder: bool = False) -> str:
        """The pseudonym of an input file, or of a folder; one that is a pseudonym already stays as it is."""
        if is_pseudonym(name):
            return name
        place = self._find(name)
        if place is not None and place.is_file():
            pseudonym = content_pseudonym(sha256(place), name)
            self.hashes[pseudonym] = sha256(place)
            return pseudonym
        if place is not None and (place / TABLE).is_file():
            return f"folder-{sha256(place / TABLE)[:DIGITS]}"
        kind = "folder" if folder or (place is not None and place.is_dir()) else "image"
        return f"{kind}-{self._keyed(kind, name.replace(chr(92), '/'))}" + ("" if kind == "folder" else _ending(name))

    def of_name(self, name: str) -> str:
        """The pseudonym of a person or of anything else that was named as an identifier."""
        return f"name-{self._keyed('name', name.casefold())}"

    def _keyed(self, kind: str, name: str) -> str:
        if self._secret is None:
            if self._key is None:
                return "unknown"
            self._secret = self._key()
        return keyed(kind, name, self._secret)


def _ending(name: str) -> str:
    found = _SUFFIX.search(name)
    return found[0].lower() if found else ""


def find_by_content(folder: str, name: str) -> Path | None:
    """The file in a folder or below it whose pseudonym is `name`, so that a pseudonymised graph still runs."""
    bare = PurePosixPath(name).name
    if not is_pseudonym(bare) or not bare.startswith("image-"):
        return None
    ending = _ending(bare)
    for root, _, files in os.walk(folder):
        for file in sorted(files):
            path = Path(root, file)
            wanted = file.lower().endswith(ending) and not file.startswith(".") and not path.is_symlink()
            if wanted and content_pseudonym(sha256(path), file) == bare:
                return path
    return None
