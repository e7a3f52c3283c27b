"""Names from Windows in a workflow: `sub\\file` is a file in a folder, and leaves no folder either."""

import pytest

from wdlora.errors import InputError
from wdlora.files import below
from wdlora.host.folders import Folders
from wdlora.host.validation import _as_listed


@pytest.fixture
def folders(tmp_path):
    return Folders(tmp_path / "data")


def test_files_are_found_with_either_divider(folders):
    for place in (folders.input / "clinic", folders.base / "models" / "loras" / "ccm"):
        place.mkdir(parents=True, exist_ok=True)
        (place / "one.png").write_bytes(b"x")
    for name in ("clinic/one.png", "clinic\\one.png", "clinic\\one.png [input]"):
        assert folders.exists_annotated_filepath(name)
    assert folders.get_full_path("loras", "ccm\\one.png") == folders.get_full_path("loras", "ccm/one.png") is not None


@pytest.mark.parametrize("name", ["..\\one.png", "clinic\\..\\..\\one.png", "\\one.png", "a\\../..\\one.png"])
def test_no_backslash_leads_out(folders, name):
    (folders.base / "one.png").write_bytes(b"x")
    assert not folders.exists_annotated_filepath(name)
    assert folders.get_full_path("loras", name) is None


def test_a_prefix_makes_folders(folders):
    folder, stem, *_ = folders.get_save_image_path("study\\ccm", folders.get_output_directory())
    assert (folder, stem) == (str(folders.output / "study"), "ccm")
    with pytest.raises(InputError, match="leaves its folder"):
        folders.get_save_image_path("..\\..\\ccm", folders.get_output_directory())


def test_a_file_of_that_very_name_is_meant(tmp_path):
    (tmp_path / "a\\b.png").write_bytes(b"x")
    assert below(tmp_path, "a\\b.png") == tmp_path / "a\\b.png"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("sub\\a.png", "sub/a.png"),
        ("sub/a.png", "sub/a.png"),
        ("sub/w.png", "sub\\w.png"),
        ("sub\\x", "sub\\x"),
        (3, 3),
    ],
)
def test_choices_are_found_with_either_divider(value, found):
    choices = ["sub/a.png", "sub\\w.png"]
    assert _as_listed(value, (choices, {})) == _as_listed(value, ("COMBO", {"options": choices})) == found
    assert _as_listed(value, ("STRING", {})) == value
