"""The one lock: against another holder here and in another process, waited for, and let go by a kill."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from wdlora.locks import locked

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
