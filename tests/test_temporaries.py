"""What killed writers leave is passed over by readers and removed by the next writer; what is being written stays."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import save_file

from wdlora import temporaries
from wdlora.adapter.file import file_to_read
from wdlora.files import atomic_write, write_text
from wdlora.temporaries import new_temporary, prefix, visible
from wdlora.weights import Weights

KILLED = """
import os, sys
from wdlora.files import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    write_text(tmp_path / "before.txt", "")
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "a.txt"])
        assert done.returncode == -signal.SIGKILL
        (left,) = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
        assert left.name.startswith(".wdlora-tmp-") and left.suffix == ".txt"
        time.sleep(0.01)
        write_text(tmp_path / "b.txt", "whole")
        assert {path.name for path in tmp_path.iterdir()} == {"before.txt", "b.txt"}


def test_what_is_being_written_stays(tmp_path):
    """By this process, by another one that lives, and by one on another host; a day later only this process's."""
    mine = new_temporary(tmp_path, ".png")
    theirs = tmp_path / f".wdlora-tmp-{temporaries._host()}-{os.getppid()}-abc.png"
    elsewhere = tmp_path / ".wdlora-tmp-0badf00d-1-abc.png"
    hidden = tmp_path / ".a.k1lled0_.png"  # an earlier version's, which does not say whose it is
    for path in (theirs, elsewhere, hidden):
        path.write_bytes(b"half")
    temporaries.sweep(tmp_path)
    assert {mine, theirs, elsewhere, hidden} == set(tmp_path.iterdir())
    day = time.time() - 25 * 3600
    for path in (mine, theirs, elsewhere, hidden):
        os.utime(path, (day, day))
    temporaries._next_look.clear()
    temporaries.sweep(tmp_path)
    assert {mine, hidden} == set(tmp_path.iterdir())


def test_folders_are_removed_with_what_is_in_them(tmp_path):
    left = tmp_path / f".wdlora-tmp-{temporaries._host()}-{2**22 + 1}-abc"  # above Linux's largest process number
    left.mkdir()
    (left / "parameters.safetensors").write_bytes(b"half")
    temporaries.new_folder(tmp_path)
    assert not left.exists()


def test_a_large_folder_is_not_looked_through_at_every_write(tmp_path, monkeypatch):
    looks = []

    def slow(folder):
        looks.append(folder)
        time.sleep(0.02)
        return iter(())

    monkeypatch.setattr(temporaries, "_left", slow)
    start = time.monotonic()
    for _ in range(50):
        temporaries.sweep(tmp_path)
    assert len(looks) <= 1 + (time.monotonic() - start) / 0.4


def test_names_of_temporaries_hold_neither_the_host_nor_the_target(tmp_path):
    import socket

    with atomic_write(tmp_path / "Meier.png") as temporary:
        assert temporary.name.startswith(prefix()) and temporary.suffix == ".png"
        assert "Meier" not in temporary.name and socket.gethostname() not in temporary.name


@pytest.mark.parametrize("name", [".adapter.k1lled0_.safetensors", ".wdlora-tmp-0badf00d-1-abc.safetensors"])
def test_readers_of_weights_pass_over_hidden_files(tmp_path, name):
    save_file({"a": torch.zeros(1)}, tmp_path / "adapter.safetensors")
    (tmp_path / name).write_bytes(b"\x10\0\0")
    (tmp_path / f"{name}.index.json").write_text("{")
    assert file_to_read(tmp_path).name == "adapter.safetensors"
    assert list(Weights(tmp_path)) == ["a"]


def test_visible_goes_into_no_hidden_folder(tmp_path):
    for name in ("b/x.png", "a.png", ".hidden/y.png", "b/.z.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in visible(tmp_path, "**/*.png")] == ["a.png", "b/x.png"]
    assert visible(tmp_path / "nowhere") == []
