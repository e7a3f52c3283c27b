"""The log and the pace of a run, by hand."""

import json

import pytest
import torch

from training.progress import Pace, peak_memory
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
