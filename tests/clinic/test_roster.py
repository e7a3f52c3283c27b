"""Rosters: who an image belongs to, without names."""

import pytest

from wdlora.clinic.roster import read_roster, uncertain_date
from wdlora.errors import InputError

TABLE = """File,Patient,Eye,Visit,Cohort
scans\\miller_od_1.bmp,Miller Anna,OD,2021-03-04,Control
scans/miller_os_1.bmp,Miller Anna,left,2020-01-31,Control
novak_1.bmp,Novak,,baseline,T1DPN
"""


def roster(tmp_path, text=TABLE):
    file = tmp_path / "roster.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_names_files_and_dates_do_not_pass(tmp_path):
    entries = read_roster(roster(tmp_path))
    assert list(entries) == ["miller_od_1.bmp", "miller_os_1.bmp", "novak_1.bmp"]
    assert entries["miller_od_1.bmp"].columns() == {
        "image": "I0001",
        "patient": "P001",
        "eye": "right",
        "visit": "V2",
        "cohort": "Control",
    }
    assert entries["miller_os_1.bmp"].visit == "V1" and entries["miller_os_1.bmp"].patient == "P001"
    assert entries["novak_1.bmp"].visit == "baseline" and entries["novak_1.bmp"].patient == "P002"
    assert "iller" not in repr(list(entries.values()))


def test_names_pass_when_asked(tmp_path):
    entry = read_roster(roster(tmp_path), keep_names=True)["miller_od_1.bmp"]
    assert (entry.patient, entry.image, entry.visit) == ("Miller Anna", "miller_od_1.bmp", "2021-03-04")


def test_keyed_pseudonyms_are_stable_across_tables(tmp_path):
    key = b"sixteen random b"
    first = read_roster(roster(tmp_path), key)["novak_1.bmp"]
    second = read_roster(roster(tmp_path, "file;patient\nnovak_1.bmp;Novak\n"), key)["novak_1.bmp"]
    other = read_roster(roster(tmp_path), b"another random b")["novak_1.bmp"]
    assert first.patient == second.patient and first.image == second.image
    assert first.patient != other.patient and "ovak" not in first.patient


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,eye\na.bmp,OD\n", "lacks the column patient"),
        ("", "lacks the column file and patient"),
        ("file,patient\na.bmp,X\na.bmp,Y\n", "twice"),
        ("file,patient,eye\na.bmp,X,middle\n", "line 2: the eye"),
        ("file,patient\na.bmp,\n", "line 2: file or patient is empty"),
        ('file,patient\na.bmp,"' + 140_000 * "x" + "\n", "after line 1: field larger than .* not closed"),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_roster(roster(tmp_path, text))


@pytest.mark.parametrize(
    "dates",
    [
        ("2024-01-31", "2025-01-30"),
        ("20240131 10:15", "20240201"),
        ("2024/1/31", "2024.02.01"),
        ("31.1.2024", "1.2.2024"),
        ("31.01.24", "01.02.2024"),
        ("13/01/2024", "02/03/2024"),
        ("01-25-2024", "03-02-2024 10:15"),
    ],
)
def test_dates_are_numbered_in_their_order(tmp_path, dates):
    first, second = dates
    entries = read_roster(roster(tmp_path, f"file,patient,visit\nb.bmp,X,{second}\na.bmp,X,{first}\n"))
    assert (entries["a.bmp"].visit, entries["b.bmp"].visit) == ("V1", "V2")


@pytest.mark.parametrize(
    "date",
    [
        *("03/04/2020", "01/13/2024,13/02/2024", "31-02-2024", "13/01-2024", "13/01/24"),
        *("24-01-31", "2024-25-01", "2024-02-30", "30.13.2024", "202401"),
    ],
)
def test_uncertain_dates_are_refused(tmp_path, date):
    dates = date.split(",")
    lines = "".join(f"{number}.bmp,X,{one}\n" for number, one in enumerate(dates))
    table = roster(tmp_path, f"file,patient,visit\n{lines}")
    with pytest.raises(InputError, match=f"{dates[0]}.*YYYY-MM-DD"):
        read_roster(table)
    assert uncertain_date(dates) == dates[0]
    assert read_roster(table, keep_names=True)["0.bmp"].visit == dates[0]


def test_short_keys_and_absent_tables_are_refused(tmp_path):
    with pytest.raises(InputError, match="16"):
        read_roster(roster(tmp_path), b"short")
    with pytest.raises(InputError, match="no file"):
        read_roster(tmp_path / "absent.csv")
