"""Pictures that are written: under numbers that nobody else has, and with texts that a PNG can hold."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from wdlora.errors import InputError
from wdlora.host.api.inputs import FolderType
from wdlora.host.api.ui import save_png
from wdlora.host.folders import Folders, using

ROOT = Path(__file__).parents[2]
PICTURE = torch.zeros(1, 16, 16, 3)
SAVE = """
import sys, torch
from wdlora.host.api.inputs import FolderType
from wdlora.host.api.ui import save_png
from wdlora.host.folders import Folders, using
with using(Folders(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.readline()
    for index in range(40):
        save_png(torch.full((1, 16, 16, 3), int(sys.argv[2]) / 255), "same", FolderType.output)
"""


def test_two_processes_lose_no_picture(tmp_path):
    command = [sys.executable, "-c", SAVE, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    both = [subprocess.Popen([*command, grey], **pipes) for grey in ("50", "100")]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.wait(120) for process in both] == [0, 0]
    names = sorted(os.listdir(tmp_path / "output"))
    assert names == [f"same_{number:05}_.png" for number in range(1, 81)]
    greys = []
    for name in names:
        with Image.open(tmp_path / "output" / name) as picture:
            greys.append(picture.getpixel((3, 3))[0])
    assert sorted(greys) == [50] * 40 + [100] * 40


def test_numbers_follow_what_is_there(tmp_path):
    folders = Folders(tmp_path)
    for name in ("a_00007_.png", "a_\u00b2_.png", "a_x.png", "b_00099_.png"):
        (folders.output / name).touch()
    with using(folders):
        saved = save_png(torch.zeros(2, 16, 16, 3), "a", FolderType.output)
        assert [one["filename"] for one in saved] == ["a_00008_.png", "a_00009_.png"]
        saved = save_png(torch.zeros(2, 16, 16, 1), "c %batch_num%", FolderType.output)
        assert [one["filename"] for one in saved] == ["c 0_00001_.png", "c 1_00002_.png"]


@pytest.mark.parametrize("prefix", ["q/" * 1500 + "x", "n" * 300, "../x", "/tmp/x"])
def test_a_prefix_that_cannot_be_a_name_makes_nothing(tmp_path, prefix):
    with using(Folders(tmp_path)), pytest.raises(InputError):
        save_png(PICTURE, prefix, FolderType.output)
    assert os.listdir(tmp_path / "output") == []


def test_a_text_that_a_png_cannot_hold_is_refused(tmp_path):
    with using(Folders(tmp_path)), pytest.raises(InputError, match="plain letters"):
        save_png(PICTURE, "a", FolderType.output, extra_pnginfo={"\u89d2\u819c": 1})
