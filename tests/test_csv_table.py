"""CSV tables by hand: cells, headers, numbers, and texts that a spreadsheet would run."""

import csv
import io

import pytest

from wdlora.csv_table import csv_text, guarded, read_csv, unguarded, write_csv
from wdlora.errors import InputError

FORMULAS = ["=SUM(A1)", "+1+1", "-2+3", "@x", "\tx", "\rx", "-", "-001.png"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_would_be_a_formula_gets_an_apostrophe(text):
    assert guarded(text) == f"'{text}" and unguarded(f"'{text}") == text
    assert guarded(guarded(text)) == f"''{text}"  # so that every text comes back
    assert unguarded(guarded(guarded(text))) == guarded(text)


@pytest.mark.parametrize("text", ["", "a", "'", "'a", "a=b", "-3", "+0.5", "-.5", "-1e-05", "1", "–"])
def test_other_texts_stay(text):
    assert guarded(text) == text and unguarded(text) == text


def test_cells():
    rows = [
        {"name": "=1", "n": -3, "value": -0.1234567891234, "note": None},
        {"name": "a,b", "=x": True, "value": float("nan")},
    ]
    assert csv_text(rows) == "name,n,value,note,'=x\n'=1,-3,-0.1234567891234,,\n\"a,b\",,,,True\n"
    assert csv_text(rows, ["name", "value"], digits=3, line_end="\r\n") == 'name,value\r\n\'=1,-0.123\r\n"a,b",\r\n'
    assert csv_text([]) == "" and csv_text([], ["a"]) == "a\n"


def test_what_is_written_is_read_back(tmp_path):
    rows = [{"file": text, "=c": "x\ny"} for text in [*FORMULAS, "'=a", "ü"]]
    write_csv(tmp_path / "t.csv", rows)
    assert read_csv(tmp_path / "t.csv", ["file"]) == (["file", "=c"], rows)
    cells = [cell for line in csv.reader(io.StringIO((tmp_path / "t.csv").read_bytes().decode())) for cell in line]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r")]


def test_tables_that_cannot_be_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1\n")
    assert read_csv(path) == (["a", "b"], [{"a": "1", "b": ""}])
    with pytest.raises(InputError, match="lacks the column c"):
        read_csv(path, ["a", "c"])
    path.write_bytes(b"a\n\xff\n")
    with pytest.raises(InputError, match="is not a UTF-8 CSV table"):
        read_csv(path)
    path.write_bytes(b"")
    assert read_csv(path) == ([], [])
