"""Tables of images, patients and nerves."""

import csv
import io
import math

import numpy as np
import pytest

from tests.anatomy.drawings import DRAWINGS
from wdlora.anatomy import measure
from wdlora.anatomy.biomarkers.tables import image_row, nerve_rows, patient_rows
from wdlora.csv_table import write_csv


@pytest.fixture(scope="module")
def h():
    mask = next(d for d in DRAWINGS if d.name == "H").mask()
    return mask, measure(mask)


def test_image_table(h, tmp_path):
    mask, result = h
    rows = [image_row(r, {"image": n}) for n, r in (("a", result), ("=b", measure(np.zeros_like(mask))))]
    write_csv(tmp_path / "t.csv", rows, digits=9)
    read = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text(encoding="utf-8"))))
    assert float(read[0]["cnfl"]) == pytest.approx(result.cnfl, rel=1e-8)
    assert read[1]["image"] == "'=b"  # no formula
    assert (read[1]["cnfl"], read[1]["mean_width_um"]) == ("0", "")
    assert "no nerve" in read[1]["reasons"]


def test_nerve_table(h):
    rows = nerve_rows(h[1], {"image": "a"})
    assert [row["kind"] for row in rows].count("trunk") == 2
    assert sum(row["length_um"] for row in rows) == pytest.approx(h[1].length_mm * 1e3)
    assert {row["nerve"] for row in rows} == set(range(1, len(rows) + 1))


def test_patient_table_by_hand():
    def row(patient, eye, cnfl, width):
        blank = dict.fromkeys(image_row(measure(np.zeros((8, 8))), {}), 0.0)
        return blank | {"patient": patient, "eye": eye, "cnfl": cnfl, "mean_width_um": width, "rules": "acc_like/1"}

    first, second = patient_rows([row("P1", "left", 10, 3), row("P2", "left", 7, 4), row("P1", "left", 14, None)])
    assert (first["patient"], first["images"], first["cnfl_mean"]) == ("P1", 2, 12)
    assert first["cnfl_sd"] == pytest.approx(math.sqrt(8))
    assert (first["mean_width_um_mean"], first["mean_width_um_n"], first["mean_width_um_sd"]) == (3, 1, None)
    assert (second["cnfl_mean"], second["cnfl_sd"]) == (7, None)
