"""Many names at once: what a plain regular expression finds, at a cost that does not grow with their number."""

import random
import re
import sys

from wdlora.privacy.find import Finder, fold


def test_as_one_regular_expression_finds_them():
    """Random names over a small alphabet, against one alternation of all, longest first."""
    rng = random.Random(3)
    for _ in range(300):
        names = {"".join(rng.choices("abAB1_. /(", k=rng.randint(1, 6))) for _ in range(8)}
        names = {name for name in names if re.search(r"[^\W_]", name)}
        text = "".join(rng.choices("abAB1_. /(", k=60))
        for found in Finder(names)(text):
            assert found[0].casefold() in {name.casefold() for name in names}
            assert not re.search(r"[^\W_]", text[found.start() - 1 : found.start()]) or found.start() == 0
        words = {name for name in names if name[0] not in "_. /("}
        if words:
            joined = "|".join(re.escape(name) for name in sorted(words, key=len, reverse=True))
            plain = re.compile(rf"(?<![^\W_])(?:{joined})(?![^\W_])", re.IGNORECASE)
            assert [one.span() for one in Finder(words)(text)] == [one.span() for one in plain.finditer(text)]


def test_every_letter_is_found_in_both_cases():
    """All letters of Unicode that have a case of one letter: spelt as they are, in lower case and in capitals."""
    letters = [one for one in map(chr, range(sys.maxunicode + 1)) if one.isalpha() and one.swapcase() != one]
    assert len(letters) > 2000
    for letter in letters:
        spellings = [letter, *(form for form in (letter.lower(), letter.upper()) if len(form) == 1)]
        finder = Finder([f"a{letter}z"])
        for form in spellings:
            assert [found[0] for found in finder(f"A{form}Z")] == [f"A{form}Z"], (letter, form)
            assert fold(f"A{form}Z") == fold(f"a{letter}z"), (letter, form)
    assert [found[0] for found in Finder(["İlker", "Weiß"])("ilker İLKER, WEIẞ")] == ["ilker", "İLKER", "WEIẞ"]


def test_letters_beyond_ascii_and_nothing_to_find():
    assert [one[0] for one in Finder(["müller", "Straße 5"])("Frau MÜLLER_OD, Müllerin, straße 5")] == [
        "MÜLLER",
        "straße 5",
    ]
    assert list(Finder([])("text")) == list(Finder(["--"])("a--b")) == []
