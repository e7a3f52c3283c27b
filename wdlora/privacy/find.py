"""Many texts looked for at once, of any case, never inside a longer word."""

import re
from collections.abc import Iterable, Iterator


def fold(text: str) -> str:
    """A text of the same length that is equal for all that regular expressions take for equal without case."""
    return text.lower() if text.isascii() else "".join(map(_fold, text))


def _fold(letter: str) -> str:
    if letter in "İı":
        return "i"
    return next((form for form in (letter.casefold(), letter.lower()) if len(form) == 1), letter)


class Finder:
    """Finds texts that hold a letter or digit; the longest one where several begin.

    It walks over the words of a text and compares only what begins with the same word, so that thousands of names cost
    no more than a few. `ascii`: words are of ASCII letters and digits alone, as in bytes read as Latin-1.
    """

    def __init__(self, texts: Iterable[str], ascii: bool = False):
        flags = re.ASCII if ascii else re.UNICODE
        self._fold = str.lower if ascii else fold
        self._word = re.compile(r"[^\W_]+", flags)
        grouped: dict[str, dict[int, list[str]]] = {}
        for text in sorted(set(texts), key=len, reverse=True):
            first = self._word.search(text)
            if first is not None:
                grouped.setdefault(self._fold(first[0]), {}).setdefault(first.start(), []).append(text)
        self._groups = {
            word: [(before, _pattern(listed, flags)) for before, listed in sorted(starts.items(), reverse=True)]
            for word, starts in grouped.items()
        }

    def __call__(self, text: str) -> Iterator[re.Match[str]]:
        """Matches in their order; they do not overlap."""
        end = 0
        for word in self._word.finditer(text):
            for before, pattern in self._groups.get(self._fold(word[0]), ()):
                start = word.start() - before
                found = pattern.match(text, start) if start >= end else None
                if found is not None:
                    end = found.end()
                    yield found
                    break


def _pattern(texts: list[str], flags: int) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(map(re.escape, texts))})(?![^\W_])", re.IGNORECASE | flags)
