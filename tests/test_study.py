"""Studies: the one that ships keeps its words, others read back as written, and what is none is refused."""

import hashlib

import pytest

from wdlora.cohorts import COHORTS, PROMPT_VERSION, cohort_in
from wdlora.errors import InputError
from wdlora.study import FILE, captioned, read_study, shipped_study, studies_in, study_of, write_study

SMALL_FIBRE = """
name = "small_fibre"
version = "2"
negative_prompt = "colour, text"

[cohorts.Healthy]
label = "Healthy"
prompt = "Corneal confocal image, healthy, \\"dense\\" nerves."
anatomy = "Control"

[cohorts.SFN]
label = "Small fibre neuropathy"
prompt = "Corneal confocal image, small fibre neuropathy: few thin nerves, µm."
negative_prompt = "colour"
anatomy = "T1DPN"
"""


@pytest.fixture
def small_fibre(tmp_path):
    (tmp_path / "small_fibre.toml").write_text(SMALL_FIBRE, encoding="utf-8")
    return tmp_path / "small_fibre.toml"


PROMPTS = {
    "Control": "b59ed6d1c8440cb390e1aa9dbaba0a4d454952963e6e87efdbd5a0a581568c10",
    "T1NoDPN": "2bb2c5c3b6bdac448a0698b689454a6ac103f730c6f8585043feb6601d2aacd5",
    "T1DPN": "9099761705f95861a31dbe9d293f8c26ccb3e86c6b11f04c5ea2f30a845d7322",
}
"""SHA-256 of prompt and negative prompt of version 1, as they stood in cohorts.py."""


def test_the_study_that_ships_keeps_its_words():
    found = {
        name: hashlib.sha256(f"{c.prompt}\0{c.negative_prompt}".encode()).hexdigest() for name, c in COHORTS.items()
    }
    assert (found, PROMPT_VERSION, shipped_study().label) == (PROMPTS, "1", "ccm/1")
    assert list(shipped_study().cohorts) == list(COHORTS) and shipped_study().ships


def test_a_study_reads_back_as_it_was_written(small_fibre, tmp_path):
    study = read_study(small_fibre)
    assert (study.label, list(study.cohorts), study.ships) == ("small_fibre/2", ["Healthy", "SFN"], False)
    assert (
        study.cohorts["Healthy"].negative_prompt == "colour, text" and study.cohort("sfn").negative_prompt == "colour"
    )
    write_study(tmp_path / FILE, study)
    assert study_of(tmp_path) == study and study_of(tmp_path).sha256 == study.sha256
    small_fibre.write_text("# a comment\n" + SMALL_FIBRE, encoding="utf-8")
    assert read_study(small_fibre).sha256 == study.sha256
    small_fibre.write_text(SMALL_FIBRE.replace("few", "Few"), encoding="utf-8")
    assert read_study(small_fibre).sha256 != study.sha256
    assert study_of(tmp_path / "elsewhere") == shipped_study()


def test_the_studies_in_a_folder(small_fibre, tmp_path):
    study = read_study(small_fibre)
    assert studies_in(tmp_path, strict=True) == {"small_fibre": (study, small_fibre)}
    assert studies_in(tmp_path / "nowhere", strict=True) == {}
    (tmp_path / "._small_fibre.toml").write_bytes(b"\x00\x05\x16\x07")  # as macOS puts one beside a file
    for name, text, sentence in (
        ("b.toml", "name = ", "the study b.toml is not valid TOML"),
        ("z.toml", SMALL_FIBRE, "two studies are called 'small_fibre', one of them z.toml"),
        ("c.toml", SMALL_FIBRE.replace("small_fibre", "ccm"), "two studies are called 'ccm', one of them c.toml"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert studies_in(tmp_path) == {"small_fibre": (study, small_fibre)}
        with pytest.raises(InputError, match=sentence):
            studies_in(tmp_path, strict=True)
        (tmp_path / name).unlink()


def test_cohorts_are_those_of_the_study(small_fibre):
    assert cohort_in(shipped_study(), "healthy").name == "Control"
    with pytest.raises(InputError, match="the study small_fibre has no cohort 'T1DPN'; choose one of Healthy, SFN"):
        cohort_in(read_study(small_fibre), "T1DPN")
    assert captioned("Nerves.", " A whorl. ") == "Nerves. A whorl." and captioned("Nerves.", "") == "Nerves."


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('version = "2"', "", "lacks version"),
        ('version = "2"', "version = 2", "version must be a text in quotation marks, not 2"),
        ('version = "2"', 'version = "2"\npixel_size_um = 9', "pixel_size_um 9 is not a size of a pixel"),
        ('version = "2"', 'version = "2"\npixel_size_um = true', "pixel_size_um must be a number, not True"),
        ('version = "2"', 'version = "2"\nversions = "3"', "unknown entry versions; there are name, version"),
        ('name = "small_fibre"', 'name = "../x"', "takes letters, digits, _ and - alone"),
        ("[cohorts.SFN]", "[cohorts.healthy]", "differ in the case of letters alone"),
        ("[cohorts.SFN]", '[cohorts."S F"]', "cohort S F: the name takes letters and digits alone"),
        ("[cohorts.SFN]", "[cohorts.none]", "is not none or all"),
        ('label = "Healthy"', "", "cohort Healthy lacks label"),
        ('anatomy = "T1DPN"', 'anatomy = "SFN"', "anatomy is 'SFN'; it takes Control, T1NoDPN, T1DPN"),
        ('anatomy = "T1DPN"', 'looks = "T1DPN"', "unknown entry looks"),
        ("[cohorts.SFN]", "[cohorts.SFN", "is not valid TOML"),
    ],
)
def test_what_is_no_study_is_refused_by_name(small_fibre, old, new, sentence):
    small_fibre.write_text(SMALL_FIBRE.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match="small_fibre") as told:
        read_study(small_fibre)
    assert sentence in str(told.value) and "\n" not in str(told.value).split("TOML")[0]


def test_a_missing_study_and_one_without_cohorts(tmp_path):
    with pytest.raises(InputError, match=r"absent\.toml cannot be read"):
        read_study(tmp_path / "absent.toml")
    (tmp_path / "empty.toml").write_text('name = "a"\nversion = "1"\n[cohorts]\n')
    with pytest.raises(InputError, match="has no cohorts: add"):
        read_study(tmp_path / "empty.toml")
