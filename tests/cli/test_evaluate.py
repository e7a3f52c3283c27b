"""`python -m wdlora evaluate` from folders to a report: what stands in it, what does not, and what is refused."""

import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tests.printed import sheets
from wdlora.cli import main
from wdlora.evaluation.pillars import Options, compare_sets
from wdlora.evaluation.report.plots import DARK, PLOTS
from wdlora.evaluation.report.sentences import answers, decided_by
from wdlora.evaluation.report.tables import decides
from wdlora.evaluation.sets import set_of_arrays

UM = 400 / 384
COHORTS = ("Control", "T1DPN")
FIGURES = ("kid", "fid", "auc", "precision", "recall", "density", "coverage", "psnr", "ssim")


def pictures(count: int, seed: int, side: int = 96) -> np.ndarray:
    """Random dark fields with bright curved lines, uint8 [count, side, side]."""
    generator = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(generator.standard_normal((count, side, side)), (0, 9, 9))
    lines = np.exp(-((noise / noise.std() / 0.12) ** 2))
    grain = ndimage.gaussian_filter(generator.standard_normal(noise.shape), (0, 0.6, 0.6))
    return np.clip(np.round((40 + 130 * lines) * (1 + 0.5 * grain)), 0, 255).astype(np.uint8)


def write(folder, images, patients=None, stem="secret"):
    """A data set; patient i has two images where `patients` names them."""
    (folder / "images").mkdir(parents=True)
    rows = ["file,cohort,patient,pixel_size_um"]
    for number, image in enumerate(images):
        name = f"{stem}-{number:03d}"
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
        patient = f"{patients}{number // 4:03d}" if patients else name
        rows.append(f"{name}.png,{COHORTS[number % 4 // 2]},{patient},{UM:.6f}")
    (folder / "dataset.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Real, training and synthetic sets of which 4 of 40 are turned training images, and their report."""
    place = tmp_path_factory.mktemp("evaluate")
    images = pictures(130, 0)
    real, training, synthetic = images[:40], images[40:90], images[90:130].copy()
    for number in range(4):
        synthetic[number] = np.rot90(training[number], number)
    write(place / "real", real, "R"), write(place / "train", training, "T"), write(place / "painted", synthetic)
    sets = [
        f"--{name}={place / folder}"
        for name, folder in (("real", "real"), ("synthetic", "painted"), ("train", "train"))
    ]
    assert main(["evaluate", *sets, f"--out={place / 'out'}", "--workers=1"]) == 0
    return place


def is_estimate(value) -> bool:
    """The contract's E: numbers, or null with a reason."""
    if not {"value", "low", "high", "n"} <= set(value) or not isinstance(value["n"], int):
        return False
    return isinstance(value["value"], float) or bool(value["reason"])


def test_report_json_is_as_agreed(report):
    values = json.loads((report / "out" / "report.json").read_text())
    assert values["extractor"] == "texture-1" and values["tracer"]
    assert values["n"] == {"real": 40, "synthetic": 40, "patients": 10}
    for part in ("fidelity", "floor"):
        assert all(is_estimate(values[part][key]) for key in FIGURES)
    assert values["fidelity"]["kid"]["n"] == values["floor"]["kid"]["n"] == 20
    assert values["fidelity"]["psnr"]["value"] is None and "--pairs" in values["fidelity"]["psnr"]["reason"]
    for cohort in COHORTS:
        assert is_estimate(values["by_cohort"][cohort]["kid"]) and is_estimate(values["by_cohort"][cohort]["fid"])
        assert all(is_estimate(values["diversity"][cohort][side]) for side in ("real", "synthetic"))
        for metric in ("cnfl", "cnfd", "cnbd", "cnfw"):
            row = values["biomarkers"][cohort][metric]
            assert all(is_estimate(row[key]) for key in ("real", "synthetic", "difference"))
            assert row["margin"] == pytest.approx(0.1 * row["real"]["value"]) and 0 <= row["p"] <= 1
            assert row["verdict"] in ("equivalent", "different", "undecided")
            assert row["needed"] is None or (isinstance(row["needed"], int) and row["verdict"] == "undecided")
    assert all(is_estimate(values["separability"][side]) for side in ("real", "synthetic"))
    copies = values["copies"]
    assert copies["n"] == 40 and 4 <= copies["count"] <= 6 and copies["high"] > 0.1
    assert copies["selftest"] == [24, 24] and 0 <= copies["holdout_rate"] < 0.1 and copies["as_planted"] == 4


def test_nothing_of_the_report_names_a_file_a_folder_or_a_patient(report):
    texts = [
        path
        for path in (report / "out").rglob("*")
        if path.suffix in (".html", ".json", ".csv") and "cache" not in path.parts
    ]
    assert len(texts) == 6
    for path in texts:
        text = path.read_text(encoding="utf-8")
        assert "secret" not in text and str(report) not in text and not re.search(r"\b[RT]00\d\b", text), path
    assert {path.name for path in (report / "out").iterdir()} == {
        *("report.html", "report.json", "tables", "plots", "cache", "contains-real-images")
    }


class Addresses(HTMLParser):
    """What a page asks for, and its headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found, self.headings, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]
        self.inside = tag == "h2"

    def handle_data(self, data):
        if self.inside:
            self.headings.append(data.strip())
            self.inside = False


def test_the_page_stands_alone(report):
    text = (report / "out" / "report.html").read_text(encoding="utf-8")
    seen = Addresses(text)
    asked = [one for one in seen.found if not one.startswith("data:image/svg+xml")]
    assert asked == ["contains-real-images/nearest-pairs.png"] and (report / "out" / asked[0]).is_file()
    assert "url(" not in text and "@import" not in text and "<script" not in text
    expected = ["Congruence", "Coverage", "Constraint", "Completeness", "Compliance", "Comprehension", "Consistency"]
    assert seen.headings == expected
    assert "copies found" in text and "texture-1" in text and "24 of 24 planted copies" in text


def test_the_page_prints_on_two_sheets(report, tmp_path):
    assert sheets(report / "out" / "report.html", tmp_path) == 2


def test_no_number_of_the_page_is_broken_at_the_end_of_a_line(report):
    text = (report / "out" / "report.html").read_text(encoding="utf-8")
    assert "±10\u00a0%" in text and " %" not in text.partition("</style>")[2]
    assert decides("undecided", 9_881, "") == "9\u00a0881 a group"
    assert decides("undecided", 415_881, "") == "more than 10\u00a0000 a group"
    assert decides("undecided", None, "") == "beyond ±10 %" and decides("equivalent", 12, "") == ""


@pytest.mark.parametrize(
    ("needed", "said"),
    [
        ([120], "1 of these would be decided by 120 patients in each group"),
        ([9_000, 120], "2 of these would be decided by 120 to 9\u00a0000 patients in each group"),
        (
            [120, 415_881],
            "1 of these would be decided by 120 patients in each group, 1 only by more than 10\u00a0000",
        ),
        ([415_881], "1 of these would be decided only by more than 10\u00a0000 patients in each group"),
    ],
)
def test_numbers_of_patients_that_no_study_has_are_not_printed(needed, said):
    assert decided_by(needed) == said


def test_c_t_is_explained_where_it_stands(report):
    text = (report / "out" / "report.html").read_text(encoding="utf-8")
    (said,) = re.findall(r"C_T asks whether[^<]*", text)
    assert "0 where both lie alike and below about −2 where synthetic ones lie nearer, as copies do; here it is" in said


def table(report, name):
    with open(report / "out" / "tables" / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_tables_hold_what_the_report_holds(report):
    values = json.loads((report / "out" / "report.json").read_text())
    rows = table(report, "biomarkers")
    assert len(rows) == 8 and all(row["tracer"] == values["tracer"] for row in rows)
    one = next(row for row in rows if (row["cohort"], row["biomarker"]) == ("T1DPN", "cnfl"))
    assert float(one["difference_value"]) == values["biomarkers"]["T1DPN"]["cnfl"]["difference"]["value"]
    fidelity = {row["figure"]: row for row in table(report, "fidelity")}
    assert float(fidelity["kid"]["floor_high"]) == values["floor"]["kid"]["high"]
    assert fidelity["psnr"]["value"] == "" and fidelity["kid"]["extractor"] == "texture-1"


def test_a_second_run_computes_nothing_again_and_says_the_same(report, monkeypatch, capsys):
    from wdlora.evaluation import reading

    before = json.loads((report / "out" / "report.json").read_text())
    monkeypatch.setattr(reading, "trace", None)  # calling it would raise
    monkeypatch.setattr(reading, "measure", None)
    sets = [f"--real={report / 'real'}", f"--synthetic={report / 'painted'}", f"--train={report / 'train'}"]
    assert main(["evaluate", *sets, f"--out={report / 'out'}", "--workers=1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == before


def test_a_set_against_itself_is_found_by_the_copies(report, tmp_path, capsys):
    same = f"--real={report / 'real'}", f"--synthetic={report / 'real'}"
    assert main(["evaluate", *same, f"--out={tmp_path}", "--workers=1", f"--cache={report / 'out' / 'cache'}"]) == 0
    said = capsys.readouterr().out
    assert "40 synthetic images are real images, pixel by pixel" in said
    assert "10 patients are named in both the real and the synthetic set" in said
    assert json.loads((tmp_path / "report.json").read_text())["copies"]["count"] == 40


def test_one_sentence_for_what_cannot_be_compared(report, tmp_path, capsys):
    def refused(*arguments) -> str:
        assert main(["evaluate", "--workers=1", f"--out={tmp_path / 'out'}", *map(str, arguments)]) == 2
        message = capsys.readouterr().err.strip()
        assert "\n" not in message and "Traceback" not in message
        return message

    real, synthetic = f"--real={report / 'real'}", f"--synthetic={report / 'painted'}"
    both = write(tmp_path / "both", pictures(12, 1), "R")
    assert "3 patients are in both the training and the real set, first R000" in refused(
        real, synthetic, f"--train={both}"
    )
    leak = write(tmp_path / "leak", np.concatenate([pictures(10, 2), pictures(130, 0)[:2]]), "L")
    assert "2 images are in both the training and the real set, pixel by pixel" in refused(
        real, synthetic, f"--train={leak}"
    )
    few = write(tmp_path / "few", pictures(3, 3))
    assert "the synthetic set has 3 images: an evaluation needs at least 8" in refused(real, f"--synthetic={few}")
    (tmp_path / "empty").mkdir()
    assert "holds no images" in refused(real, f"--synthetic={tmp_path / 'empty'}")
    large = write(tmp_path / "large", pictures(8, 4, side=256), stem="other")
    assert "share too small a field" in refused(real, f"--synthetic={large}")
    assert "--pairs needs 8 pairs" in refused(real, f"--synthetic={large}", "--pairs")
    assert "there is no biomarker 'cnxx'" in refused(real, synthetic, "--metrics=cnxx")
    assert "there are no features 'vgg'" in refused(real, synthetic, "--features=vgg")
    assert "--workers 0" in refused(real, synthetic, "--workers=0")
    assert main(["evaluate", real, synthetic, f"--out={report / 'real'}"]) == 2
    assert "--out is the folder of --real" in capsys.readouterr().err
    assert not (tmp_path / "out" / "report.json").exists()


def test_pairs_of_arrays_in_memory():
    """As a node calls it: no folder, no cache; the same masks with other grain, whose similarity has two baselines."""
    images, grain = pictures(24, 5, side=180), np.random.default_rng(6).normal(0, 8, (24, 180, 180))
    painted = np.clip(images + grain, 0, 255).astype(np.uint8)
    patients = [f"P{number // 2}" for number in range(24)]
    real = set_of_arrays("real", list(images), ["Control"] * 24, patients, 800 / 384)
    synthetic = set_of_arrays("synthetic", list(painted), pixel_size_um=800 / 384)
    found = compare_sets(real, synthetic, options=Options(pairs=True, metrics=("cnfl", "ctbd")))
    assert found.similarity["psnr"].value == pytest.approx(10 * np.log10(255**2 / 64), abs=0.7)
    assert found.similarity["ssim"].value > found.unrelated["ssim"].value
    assert all(found.fresh[key].defined for key in ("psnr", "ssim", "ms_ssim"))
    assert [(one.cohort, one.metric) for one in found.biomarkers] == [("Control", "cnfl"), ("Control", "ctbd")]
    assert found.biomarkers[0].pairs is not None and found.patients == 12
    assert found.copies.images.count <= 3 and not found.copies.trained  # a pair is no copy of itself
    assert len(answers(found)) == 4
    for plot in PLOTS.values():
        assert plot(found, DARK).get_size_inches()[0] > 5


def test_an_interrupted_run_goes_on_where_it_stopped(report, tmp_path, monkeypatch):
    from wdlora.evaluation import reading

    traced = []

    def count(image, *args, **kwargs):
        if len(traced) == 30:
            raise KeyboardInterrupt
        traced.append(1)
        return np.zeros(image.shape, bool)

    monkeypatch.setattr(reading, "trace", count)
    command = [
        "evaluate",
        f"--real={report / 'real'}",
        f"--synthetic={report / 'painted'}",
        f"--out={tmp_path}",
        "--workers=1",
    ]
    assert main(command) == 130
    assert not (tmp_path / "report.json").exists()
    assert len(list((tmp_path / "cache").rglob("*.npy"))) >= 60  # features and traces of 30
    monkeypatch.setattr(
        reading, "trace", lambda image, *args, **kwargs: traced.append(1) or np.zeros(image.shape, bool)
    )
    assert main(command) == 0
    assert len(traced) == 80
