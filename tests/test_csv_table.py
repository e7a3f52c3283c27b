"""CSV tables by hand: cells, headers, numbers, and texts that a spreadsheet would run."""

import csv
import io
import unicodedata

import pytest

from wdlora.csv_table import csv_rows, csv_text, decimal, guarded, one_form, read_csv, unguarded, write_csv
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


ROW = {"file": "a.png", "patient": "P1"}


@pytest.mark.parametrize(
    "text",
    [
        "file,patient\na.png,P1\n",
        "file;patient\na.png;P1\n",
        "file\tpatient\na.png\tP1\n",
        "sep=;\nfile;patient\na.png;P1\n",
        '"sep=|"\r\nfile|patient\r\na.png|P1\r\n',
        "SEP=,\rfile,patient\ra.png,P1\r",
        "\ufefffile;patient\na.png;P1\n;\n\n; \n",
        "\n\nfile,patient\n\na.png,P1\n,,\n,,",
        "file , patient\u200b\na.png,P1,,\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tables_as_spreadsheets_write_them(tmp_path, text, encoding):
    """Delimiters, `sep=`, marks of byte order, empty rows and rows of bare delimiters."""
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(encoding))
    assert read_csv(path, ["file", "patient"]) == (["file", "patient"], [ROW])


def test_the_delimiter_is_the_one_that_gives_the_needed_columns(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("file;patient, pseudonym, of the study;patient\na.png;x;P1\n")
    assert read_csv(path, ["file", "patient"])[1][0]["patient"] == "P1"


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_line_break_in_the_first_name_does_not_hide_the_delimiter(tmp_path, mark):
    path = tmp_path / "t.csv"
    path.write_text(
        mark.join(['"file\n(name)"', "patient", '"one, two"']) + "\n" + mark.join(["a.png", "P1", "x"]) + "\n"
    )
    assert read_csv(path, ["patient"]) == (
        ["file\n(name)", "patient", "one, two"],
        [{"file\n(name)": "a.png", "patient": "P1", "one, two": "x"}],
    )
    assert len(read_csv(path)[0]) == 3


def test_lines_are_those_of_the_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('sep=;\nfile;note\na;"two\nlines"\n;\nb;\n')
    assert [(line, row["file"]) for line, row in csv_rows(path)[1]] == [(4, "a"), (6, "b")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,patient,size\na.png,P1,1,04\n", r"line 2: it has 4 cells and the header 3; .* such as 1,04"),
        ('file,patient\na.png,P1\n"b.png,P2\nc.png,P3\n', r"after line 2: .* not closed"),
        ("file,patient,patient\na.png,P1,P2\n", "more than one column patient"),
        ("file,name\na.png,P1\n", "lacks the column patient; it has file, name"),
        ("", "lacks the column file and patient; it has none"),
        ("sep=;\n", "lacks the column file and patient; it has none"),
    ],
)
def test_tables_in_which_something_would_be_lost_are_refused(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_csv(path, ["file", "patient"])


@pytest.mark.parametrize(
    "text",
    [
        unicodedata.normalize("NFD", "Größe 1-a"),
        "Gr\u200bö\ufeffße 1-a",
        "Größe\u00a01-a",
        "Größe\u202f1\u2011a",
        "\u2066Größe 1-a\u2069",
    ],
)
def test_texts_that_look_alike_are_one(text):
    assert text != "Größe 1-a" and one_form(text) == "Größe 1-a" == one_form(one_form(text))


@pytest.mark.parametrize(
    ("text", "value"), [("1.04", 1.04), (" 1,0417 ", 1.0417), (",5", 0.5), ("-2", -2), ("1,5e-1", 0.15)]
)
def test_decimals_with_point_or_comma(text, value):
    assert decimal(text) == value


@pytest.mark.parametrize("text", ["", "1,041.7", "1.041,7", "1,0,4", "nan", "inf", "wide"])
def test_what_is_no_number(text):
    with pytest.raises(ValueError):
        decimal(text)
