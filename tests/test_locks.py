"""The one lock: against another holder here and in another process, waited for, and let go by a kill."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from wdlora.errors import InputError
from wdlora.locks import at_work, locked

HOLDER = """
import sys, time
from wdlora.locks import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_file_has_one_holder(tmp_path):
    with locked(tmp_path / "lock"), pytest.raises(BlockingIOError), locked(tmp_path / "lock"):
        pass
    with locked(tmp_path / "lock"):
        pass


def test_a_holder_is_waited_for(tmp_path):
    held, done = threading.Event(), []

    def hold():
        with locked(tmp_path / "lock"):
            held.set()
            time.sleep(0.2)
            done.append(True)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(5)
    with locked(tmp_path / "lock", wait_s=10):
        assert done == [True]
    thread.join()


def test_the_system_lets_go_of_what_a_killed_process_held(tmp_path):
    root = str(Path(__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True, cwd=root
    )
    assert process.stdout is not None and process.stdout.readline().strip() == "held"
    with pytest.raises(BlockingIOError), locked(tmp_path / "lock"):
        pass
    process.kill()
    process.wait()
    with locked(tmp_path / "lock"):
        pass


def test_a_folder_has_one_process_at_work(tmp_path):
    """The same lock for a batch's journal, a data set's writer and a fine-tune."""
    from wdlora.batch.journal import Journal
    from wdlora.dataset import writer

    with at_work(tmp_path / "new"):
        for other in (
            lambda: Journal(tmp_path / "new" / "journal.jsonl"),
            lambda: at_work(tmp_path / "new").__enter__(),
        ):
            with pytest.raises(InputError, match=r"another process is at work in .*new: wait until it is done"):
                other()
    with (
        Journal(tmp_path / "new" / "journal.jsonl"),
        pytest.raises(InputError, match="at work"),
        at_work(tmp_path / "new"),
    ):
        pass
    with writer.locked_folder(tmp_path / "new"), pytest.raises(InputError, match="at work"), at_work(tmp_path / "new"):
        pass


def test_a_place_for_no_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written into"), at_work(tmp_path / "file"):
        pass
