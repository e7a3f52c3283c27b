"""The demonstration end to end at a small size, and what its report says."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.printed import sheets
from wdlora.cli import main
from wdlora.cohorts import COHORTS
from wdlora.demo import pictures
from wdlora.demo.pictures import Painted
from wdlora.demo.report import table_text, write_report
from wdlora.errors import InputError


def painted(cohort):
    grey = np.full((64, 64), 80, np.uint8)
    values = {"area_mm2": 0.025, "cnfl": 12.345, "cnfd": 6.25, "cnbd": None, "cnfw": float("nan")}
    return Painted(cohort, 3, grey, grey, grey, np.stack([grey] * 3, -1), values, values)


FACTS = {
    "judgement": {"validation_loss": 1.5, "traced_dice": 0.8},
    "steps": 7,
    "folder": "finetune",
    "data": "h",
    "begun": False,
}


def test_the_report_stands_alone_and_says_what_was_measured(tmp_path):
    page = write_report([painted(name) for name in COHORTS], tmp_path, FACTS, 90).read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", page), "nothing is loaded from elsewhere"
    assert page.count("data:image/png;base64,") == 4 * len(COHORTS)
    assert "not a medical device" in page and "19.40 ± 5.14" in page
    assert ">12.35<" in page or ">12.34<" in page
    assert "nan" not in page and ">–<" in page
    with Image.open(tmp_path / "contact-sheet.png") as sheet:
        assert sheet.width > 1000
    assert table_text([painted("Control")]).count("\n") == 2


def test_one_trunk_counts_by_the_field_that_was_measured(tmp_path):
    """In .025 mm², a field of 152 pixels, one of anything is 40 no./mm²; in the microscope's own it is 6.25."""
    page = write_report([painted(name) for name in COHORTS], tmp_path, FACTS, 90).read_text()
    assert page.count("40.00 no./mm²") == 1 and "6.25" not in page


@pytest.mark.parametrize(("begun", "said"), [(False, 0), (True, 1)])
def test_the_report_says_where_an_earlier_run_had_begun_the_fine_tune(tmp_path, begun, said):
    page = write_report([painted(name) for name in COHORTS], tmp_path, {**FACTS, "begun": begun}, 90).read_text()
    assert page.count("besides what an earlier run did") == said and "1.5 minutes" in page
    assert "a moment ago" not in page


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--steps", "0"),
        ("--phantoms", "1"),
        ("--pictures", "0"),
        ("--sampler-steps", "0"),
        ("--size", "128"),
        ("--size", "170"),
        ("--size", "1056"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_fine_tune(tmp_path, capsys, option, value):
    assert main(["demo", "--out", str(tmp_path / "demo"), option, value]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and f"{option} is {value}; give " in said[0]
    assert not (tmp_path / "demo").exists()


def test_more_pictures_than_there_are_typical_masks_are_refused(monkeypatch):
    """Masks of the cohort's mean, but only every hundredth seed: nine among the first 999."""
    mean = COHORTS["Control"].distributions["cnfl"][0]
    monkeypatch.setattr(
        pictures, "sample_mask", lambda _, seed, size: SimpleNamespace(target={"cnfl": mean + (seed % 100 > 0) * 99})
    )
    assert pictures.typical_seeds("Control", 9, 384) == list(range(100, 1000, 100))
    with pytest.raises(InputError, match="9 typical masks"):
        pictures.typical_seeds("Control", 10, 384)


def test_the_page_prints_on_one_sheet_and_names_its_pictures(tmp_path):
    six = [replace(painted(name), seed=seed) for name in COHORTS for seed in (14, 230)]
    page = write_report(six, tmp_path, FACTS | {"begun": True, "folder": "finetune-300-steps-24-phantoms"}, 210)
    text = page.read_text(encoding="utf-8")
    for caption in ("mask 14", "picture 14", "picture 14, traced", "phantom of mask 230"):
        assert f"<figcaption>{caption}</figcaption>" in text
    assert sheets(page, tmp_path / "browser") == 1


@pytest.mark.slow
def test_from_mask_to_measured_picture(tmp_path, capfd):
    arguments = ["--phantoms", "2", "--pictures", "1", "--size", "160", "--sampler-steps", "2", "--json"]
    assert main(["demo", "--out", str(tmp_path / "demo"), "--steps", "3", *arguments]) == 0
    rows = json.loads(capfd.readouterr().out)
    assert [row["cohort"] for row in rows] == list(COHORTS)
    assert all(row["mask"]["cnfl"] > 0 for row in rows)
    assert {p.name for p in (tmp_path / "demo").iterdir()} >= {"index.html", "contact-sheet.png", "biomarkers.json"}
    assert len(list((tmp_path / "demo" / "host" / "output").glob("*.png"))) == 3
    page = tmp_path / "demo" / "index.html"
    assert "<p>3 steps;" in page.read_text() and "earlier run" not in page.read_text()

    trained = tmp_path / "demo" / "finetune-3-steps-2-phantoms"  # other arguments train elsewhere
    assert json.loads((trained / "config.json").read_text())["steps"] == 3

    capfd.readouterr()
    assert main(["demo", "--out", str(tmp_path / "demo"), "--steps", "3", *arguments]) == 0
    assert "<p>3 steps;" in page.read_text() and "besides what an earlier run did" in page.read_text()
    assert "an earlier run has fine-tuned the miniature, 3 steps on 6 phantoms" in capfd.readouterr().err
