"""Pseudonyms: by content, by key, never by a name alone."""

import hashlib
import hmac
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from wdlora.errors import InputError
from wdlora.privacy.pseudonym import (
    Pseudonyms,
    default_key,
    find_by_content,
    is_pseudonym,
    keyed,
    read_or_make_key,
)

KEY = b"0123456789abcdef"


def test_a_file_at_hand_is_called_by_its_content(tmp_path):
    (tmp_path / "Smith.PNG").write_bytes(b"pixels")
    expected = f"image-{hashlib.sha256(b'pixels').hexdigest()[:16]}.png"
    pseudonyms = Pseudonyms(lambda name: tmp_path / name)
    assert pseudonyms.of_input("Smith.PNG") == expected
    assert pseudonyms.hashes == {expected: hashlib.sha256(b"pixels").hexdigest()}
    assert pseudonyms.of_input(expected) == expected and is_pseudonym(expected)
    assert find_by_content(str(tmp_path), expected) == tmp_path / "Smith.PNG"
    assert find_by_content(str(tmp_path), f"wdlora-batch/{expected}") == tmp_path / "Smith.PNG"
    assert find_by_content(str(tmp_path), "image-0123456789abcdef.png") is None
    assert find_by_content(str(tmp_path), "Smith.PNG") is None


def test_a_data_set_is_called_by_its_table(tmp_path):
    (tmp_path / "Smith").mkdir()
    (tmp_path / "Smith" / "dataset.csv").write_bytes(b"table")
    found = Pseudonyms(lambda name: tmp_path / name).of_input("Smith", folder=True)
    assert found == f"folder-{hashlib.sha256(b'table').hexdigest()[:16]}"


def test_a_lost_file_is_called_by_a_keyed_hash():
    """HMAC-SHA-256 as hmac.new computes it; another key, another pseudonym; without a key nothing of the name."""
    pseudonyms = Pseudonyms(key=lambda: KEY)
    digest = hmac.new(KEY, b"image:Smith/OD.nii.gz", hashlib.sha256).hexdigest()[:16]
    assert pseudonyms.of_input("Smith\\OD.nii.gz") == f"image-{digest}.nii.gz"
    assert pseudonyms.of_input("Smith/OD.png") != pseudonyms.of_input("Jones/OD.png")
    assert Pseudonyms(key=lambda: KEY[::-1]).of_input("Smith/OD.nii.gz") != f"image-{digest}.nii.gz"
    assert Pseudonyms().of_input("Smith.png") == "image-unknown.png"
    assert Pseudonyms().of_input("Smith", folder=True) == "folder-unknown"
    assert pseudonyms.of_name("Smith") == pseudonyms.of_name("SMITH") == f"name-{keyed('name', 'smith', KEY)}"


def test_the_key_is_made_once_and_kept_private(home):
    first = read_or_make_key()
    assert len(first) == 64 and read_or_make_key() == first
    assert default_key() == home / ".wdlora" / "pseudonym.key"
    assert [path.name for path in default_key().parent.iterdir()] == ["pseudonym.key"]
    if os.name != "nt":
        assert stat.S_IMODE(default_key().stat().st_mode) == 0o600


def test_two_processes_agree_on_a_new_key(home):
    code = "from wdlora.privacy.pseudonym import read_or_make_key as key; print(key().decode())"
    root = Path(__file__).parents[2]
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(4)
    ]
    keys = {process.communicate(timeout=60)[0].strip() for process in started}
    assert len(keys) == 1 and keys == {read_or_make_key().decode()}


def test_a_key_that_is_named_must_be_there_and_long_enough(tmp_path):
    with pytest.raises(InputError, match="there is no key file"):
        read_or_make_key(tmp_path / "none")
    (tmp_path / "short").write_bytes(b"abc\n")
    with pytest.raises(InputError, match="has 3 bytes"):
        read_or_make_key(tmp_path / "short")
    (tmp_path / "long").write_bytes(KEY + b"\r\n")
    assert read_or_make_key(tmp_path / "long") == KEY
