"""TOML files that people write: study, settings, preset; and texts as TOML has them."""

import json
import tomllib
from os import PathLike
from pathlib import Path
from typing import Any

from .errors import InputError


def read_toml(path: str | PathLike, what: str) -> dict[str, Any]:
    """The table in a file, with or without a byte order mark, as editors of Windows write one.

    Raises InputError, which calls the file `what` ("the study"), where it cannot be read or is no TOML in UTF-8.
    """
    file = Path(path)
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:  # a name with a null character is a ValueError too
        if isinstance(error, tomllib.TOMLDecodeError):
            raise InputError(f"{what} {file.name} is not valid TOML: {error}") from None
        if isinstance(error, UnicodeDecodeError):
            raise InputError(f"{what} {file.name} is not text in UTF-8: save it so in a text editor") from None
        why = (isinstance(error, OSError) and error.strerror) or error
        raise InputError(f"{what} {file} cannot be read: {why}") from None
    except RecursionError:
        raise InputError(f"{what} {file.name} is not valid TOML: it is nested too deeply") from None


def toml_string(text: str) -> str:
    """A TOML string, on one line: JSON's, whose escapes TOML knows, but for DEL, which TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
