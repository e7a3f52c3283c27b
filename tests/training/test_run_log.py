"""The log and the pace of a run, by hand."""

import json

import pytest
import torch

from training import progress
from training.progress import Pace, Pulse, peak_memory
from training.run_log import RunLog
from training.stopping import STOP_FILE, StopRequest, Unjudged


def written(folder, *entries, torn=""):
    (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries) + torn)
    return RunLog(folder)


def test_a_killed_runs_torn_line_and_what_it_logged_too_far_are_dropped(tmp_path):
    log = written(
        tmp_path,
        {"step": 0, "validation_loss": 1.0},
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 0.4},
        torn='{"step": 3, "lo',
    )
    assert [line["step"] for line in log.lines()] == [0, 1, 2]
    log.cut_after(1)
    assert log.path.read_text() == '{"step": 0, "validation_loss": 1.0}\n{"step": 1, "loss": 0.5}\n'
    log.append(2, {"loss": 0.3})
    assert log.lines()[-1] == {"step": 2, "loss": 0.3}
    log.cut_after(0)  # a run that starts anew
    assert log.lines() == []


def test_a_step_is_judged_where_a_line_without_a_loss_says_so(tmp_path):
    log = written(tmp_path, {"step": 0, "validation_loss": 1.0}, {"step": 5, "loss": 0.5})
    assert log.judged(0) and not log.judged(5) and not log.judged(6)
    assert not RunLog(tmp_path / "elsewhere").judged(0)


def test_the_pace_is_of_the_steps_of_this_run_and_the_loss_of_the_last_fifty(monkeypatch):
    clock = iter([0.0, 4.0, 100.0, 102.0])
    monkeypatch.setattr("training.progress.time.monotonic", lambda: next(clock))
    with Pace(10, 20, torch.device("cpu"), visible=False) as pace:
        for loss in (1.0, 3.0):
            with pace.timed():
                pass
            pace.advance(loss)
        facts = pace.facts()
        assert (facts["seconds_a_step"], facts["eta_seconds"]) == (3.0, 24.0)  # 6 s for 2 steps, 8 are left
        assert (facts["loss"], facts["step_loss"]) == (2.0, 3.0)
        for _ in range(50):
            pace.advance(0.5)
        assert pace.facts()["loss"] == 0.5
    assert list(facts) == ["loss", "seconds_a_step", *peak_memory(torch.device("cpu")), "eta_seconds", "step_loss"]


def test_losses_of_another_part_of_a_run_no_longer_count():
    with Pace(0, 4, torch.device("cpu"), title="autoencoder") as pace:
        pace.advance(9.0)
        pace.begin("diffusion")
        pace.advance(1.0)
        assert pace.facts()["loss"] == 1.0


def test_a_run_is_asked_to_stop_by_a_file_or_a_signal(tmp_path):
    stop = StopRequest(tmp_path)
    assert not stop
    stop.end_judgement()
    (tmp_path / STOP_FILE).touch()
    assert stop
    with pytest.raises(Unjudged):
        stop.end_judgement()
    stop.clear()
    assert not stop
    stop.stopped = True
    assert stop


def test_without_a_terminal_a_line_a_minute_says_how_it_goes(monkeypatch, capsys):
    """Two seconds a step, judged by the clock: lines after the first step and 60 s later, 199 steps are 6:38."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "peak_memory", lambda device: {"peak_memory_gb": 13.94})
    with Pace(0, 200, torch.device("cpu")) as pace:
        for _ in range(62):
            with pace.timed():
                now[0] += 2.0
            pace.advance(0.25, Pulse(0.1234, 1e-4, 2))
            pace.show()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    assert lines == [
        f"step {step} of 200, loss 0.2500, rate 1.00e-04, gradient norm 0.123, 2 processes, {left} left, peak 13.9 GB"
        for step, left in ((1, "0:06:38"), (31, "0:05:38"), (61, "0:04:38"))
    ]
    assert pace.facts()["gradient_norm"] == 0.1234 and pace.facts()["learning_rate"] == 1e-4
