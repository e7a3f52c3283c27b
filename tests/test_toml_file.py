"""TOML files: read as editors save them; what is none is refused in one sentence."""

import pytest

from wdlora.errors import InputError
from wdlora.toml_file import read_toml


def test_with_and_without_a_byte_order_mark(tmp_path):
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "a.toml").write_text('name = "µ"\n', encoding=encoding)
        assert read_toml(tmp_path / "a.toml", "the study") == {"name": "µ"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"x = ", "the study a.toml is not valid TOML: Invalid value"),
        (b"x = " + b"[" * 5000 + b"]" * 5000, "the study a.toml is not valid TOML: it is nested too deeply"),
        ("x = 1".encode("utf-16"), "the study a.toml is not text in UTF-8: save it so in a text editor"),
        (b"x = '\0'", "the study a.toml is not valid TOML: Found invalid character"),
        (None, "a.toml cannot be read: No such file or directory"),
    ],
)
def test_what_is_none_is_one_sentence(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(InputError, match="the study") as told:
        read_toml(tmp_path / "a.toml", "the study")
    assert sentence in str(told.value) and "\n" not in str(told.value)


def test_a_folder_a_loop_and_a_null_character_are_named(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for name in ("", "loop", "a\0b"):
        with pytest.raises(InputError, match="cannot be read"):
            read_toml(f"{tmp_path}/{name}", "the study")
