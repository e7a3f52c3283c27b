"""The demonstration end to end at a small size, and what its report says."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from wdlora.cli import main
from wdlora.cohorts import COHORTS
from wdlora.demo.pictures import Painted
from wdlora.demo.report import table_text, write_report


def painted(cohort):
    grey = np.full((64, 64), 80, np.uint8)
    values = {"cnfl": 12.345, "cnfd": 6.25, "cnbd": None, "cnfw": float("nan")}
    return Painted(cohort, 3, grey, grey, grey, np.stack([grey] * 3, -1), values, values)


def test_the_report_stands_alone_and_says_what_was_measured(tmp_path):
    facts = {"judgement": {"validation_loss": 1.5, "traced_dice": 0.8}, "steps": 7, "folder": "finetune", "data": "h"}
    page = write_report([painted(name) for name in COHORTS], tmp_path, facts, 90).read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", page), "nothing is loaded from elsewhere"
    assert page.count("data:image/png;base64,") == 4 * len(COHORTS)
    assert "not a medical device" in page and "19.40 ± 5.14" in page
    assert ">12.35<" in page or ">12.34<" in page
    assert "nan" not in page and ">–<" in page
    with Image.open(tmp_path / "contact-sheet.png") as sheet:
        assert sheet.width > 1000
    assert table_text([painted("Control")]).count("\n") == 2


@pytest.mark.slow
def test_from_mask_to_measured_picture(tmp_path, capsys):
    arguments = "--steps 3 --phantoms 2 --pictures 1 --size 160 --sampler-steps 2 --json"
    assert main(["demo", "--out", str(tmp_path / "demo"), *arguments.split()]) == 0
    rows = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert [row["cohort"] for row in rows] == list(COHORTS)
    assert all(row["mask"]["cnfl"] > 0 for row in rows)
    assert {p.name for p in (tmp_path / "demo").iterdir()} >= {"index.html", "contact-sheet.png", "biomarkers.json"}
    assert len(list((tmp_path / "demo" / "host" / "output").glob("*.png"))) == 3
