"""The benchmarks' command: what cannot be measured leaves the page alone."""

import sys

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import downstream, downstream_networks, evaluated_cohorts, startup


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_a_measured_section_stays(tmp_path, monkeypatch, capsys):
    page = tmp_path / "benchmarks.md"
    page.write_text("# Benchmarks\n\n<!-- gpu -->\nmeasured\n<!-- /gpu -->\n")
    monkeypatch.setattr(command, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "gpu", "--write"])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 2 and "gpu: PyTorch finds no CUDA device" in capsys.readouterr().err
    assert "measured" in page.read_text() and "Not measured" not in page.read_text()


def test_a_suite_with_a_page_of_its_own_writes_there(tmp_path, monkeypatch):
    own, shared = tmp_path / "own.md", tmp_path / "benchmarks.md"
    own.write_text("# Page\n\n<!-- evaluated_cohorts -->\nold\n<!-- /evaluated_cohorts -->\n\n## After\n")
    monkeypatch.setattr(command, "PAGE", shared)
    monkeypatch.setattr(evaluated_cohorts, "PAGE", own)
    monkeypatch.setattr(evaluated_cohorts, "run", lambda: "new figures")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "evaluated_cohorts", "--write"])
    command.main()
    page = own.read_text()
    assert "new figures" in page and "old" not in page and page.endswith("\n\n## After\n") and not shared.exists()


def test_the_start_up_benchmark_still_runs(monkeypatch):
    """Its code runs in fresh processes, as a text: no type checker sees a name in it that is gone."""
    monkeypatch.setattr(startup, "ROUNDS", 1)
    assert "node classes" in startup.run()


def test_networks_of_a_seed_draw_from_the_sets_of_the_probe(monkeypatch):
    monkeypatch.setattr(downstream, "POOL", 12)
    monkeypatch.setattr(downstream, "SEEDS", range(1))
    for name, count in (("TRAIN", 6), ("TEST", 6), ("SYNTHETIC", 12), ("FEW", 3)):
        monkeypatch.setattr(downstream, name, count)
    (pairing,) = downstream.pairings()
    arms = dict(downstream_networks.arms_of(pairing))
    of_diagnosis = [(regime, name) for task, regime, name in arms if task == "diagnosis"]
    assert of_diagnosis == [(regime, flaw.__name__) for regime, flaw in downstream_networks.ARMS]
    assert ("segmentation", "C", "relabelled") not in arms and len(arms) == 11
    assert arms["diagnosis", "A", "perfect"].generator == "real"
    assert len({arm.fingerprint for arm in arms.values()}) == 11  # no two train on the same images
    for regime, good, bad in downstream.CONTRASTS:
        assert {("diagnosis", regime, good.__name__), ("diagnosis", regime, bad.__name__)} <= arms.keys()
