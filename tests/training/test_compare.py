"""The study of LoRA and WDLoRA: its arms, its search for a learning rate, its journal and its tables."""

import dataclasses
import json
import math

import numpy as np
import pytest

from training.cache import Cache
from training.cli import compare as command
from training.compare import FIRST_TUNING_SEED, Arm, MethodStudy, arms, read_results, report
from training.config import load_preset
from training.examples import phantom_examples
from training.models import ModelSource
from training.prepare import Preparer
from wdlora.errors import InputError

BASE = load_preset(
    "miniature",
    {
        "targets": ("attention", "mlp"),
        "steps": 2,
        "batch_size": 2,
        "size": 64,
        "views": 1,
        "sample_every": 0,
        "warmup_steps": 1,
    },
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    model = ModelSource("miniature").load("fp32", "cpu")
    cache = Cache(folder / "cache")
    examples = phantom_examples(1, seed=5)
    views = Preparer(model, cache, BASE, examples).prepare(examples, 1, "encoding")

    def make(out, data=views, cls=MethodStudy):
        return cls(model, data, views[:1], cache, BASE, folder / out)

    return make


def test_matched_lora_has_wdloras_parameters_within_half_a_rank_of_a_layer(study):
    one = study("parameters")
    counts = {arm.name: one.train(arm, 1e-3, 0)["parameters"] for arm in arms((2,))}
    layers = {160: 16, 640: 4}  # outputs and how many: attention and MLP of the image stream in four blocks
    magnitudes = sum(out * count for out, count in layers.items()) + 160 * 4
    assert counts["magnitude r1"] == magnitudes
    assert counts["wdlora r2"] == counts["lora r2"] + magnitudes
    assert abs(counts["matched r2"] - counts["wdlora r2"]) <= (640 + 160) / 2


def test_a_run_is_read_from_the_journal_and_not_made_again(study):
    first = study("journal").train(Arm("wdlora", 1), 1e-3, 0)
    again = study("journal")
    assert again.train(Arm("wdlora", 1), 1e-3, 0) == first
    assert len(read_results(again.out)) == 1
    fresh = study("elsewhere").train(Arm("wdlora", 1), 1e-3, 0)
    assert fresh["validation_loss"] == first["validation_loss"]
    with pytest.raises(InputError, match="another configuration, model or data"):
        study("journal", data=again.training[:1])


def test_a_lost_cache_entry_is_no_divergence(study):
    one = study("lost")
    lost = dataclasses.replace(one.training[0], pictures="0" * 64)
    one.training = [lost]
    with pytest.raises(InputError, match="lost an entry"):
        one.train(Arm("wdlora", 1), 1e-3, 7)
    assert read_results(one.out) == []


def test_a_diverged_run_counts_with_an_infinite_loss(study):
    one = study("diverged")
    assert one.train(Arm("lora", 1), 1e30, 7)["validation_loss"] == math.inf


def test_a_result_after_a_torn_line_is_kept(study):
    one = study("torn")
    path = one.out / "results-0-of-1.jsonl"
    path.write_text('{"arm": "lora r1", "learn')
    result = one.train(Arm("wdlora", 1), 1e-3, 7)
    assert read_results(one.out) == [result]


class _Valley(MethodStudy):
    """A study whose loss is known: the square of the distance, in octaves, from the best rate."""

    best = 1e-3

    def train(self, arm, learning_rate, seed):
        loss = math.log2(learning_rate / self.best) ** 2
        return {"arm": arm.name, "learning_rate": learning_rate, "seed": seed, "validation_loss": loss}


@pytest.mark.parametrize("best", [4e-3, 1e-4, 0.1])
def test_the_search_goes_on_until_the_best_rate_has_neighbours_on_both_sides(study, best):
    one = study("valley", cls=_Valley)
    one.best = best
    tried = []
    search = one.tune(Arm("lora", 1), (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2), range(100, 102))
    while True:
        try:
            tried.append(next(search)["learning_rate"])
        except StopIteration as end:
            chosen = end.value
            break
    assert abs(math.log2(chosen / best)) <= 0.5
    assert min(tried) < chosen < max(tried)
    assert all(tried.count(rate) == 2 for rate in tried)


def test_the_table_by_hand(tmp_path):
    losses = {"wdlora r1": (1.0, 1.2), "lora r1": (1.1, 1.4)}
    lines = [
        {"arm": name, "learning_rate": rate, "seed": seed, "validation_loss": loss + worse, "parameters": 10}
        for name, values in losses.items()
        for rate, worse in ((0.002, 5.0), (0.004, 0.0))  # a rate that was the best once
        for seed, loss in [*enumerate(values), (FIRST_TUNING_SEED, 1.0)]
    ]
    (tmp_path / "results-0-of-1.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"arm": "torn')
    page = report(read_results(tmp_path), (1,), range(2))
    # differences −.1 and −.2: mean −.15, standard error .05, t with one degree of freedom 12.706
    assert "| wdlora r1 − lora r1 | 2 | -0.15000 | -0.78531 to +0.48531 |" in page
    assert f"1.10000 ± {np.sqrt(0.02):.5f}" in page
    assert page.endswith("Not finished: matched r1, magnitude r1.")


def run(out, *arguments):
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.run(parser.parse_args(["--out", str(out), *arguments]))


@pytest.mark.parametrize(
    ("option", "number", "sentence"),
    [
        ("--seeds", "1", "at least 2 seeds"),
        ("--seeds", "101", "from 100 on seeds are for tuning"),
        ("--tuning-seeds", "0", "at least 1 seed"),
        ("--phantoms", "1", "one to judge by"),
        ("--rates", "0.001", "at least 5"),
    ],
)
def test_a_study_that_cannot_be_judged_is_refused_before_the_first_run(tmp_path, option, number, sentence):
    with pytest.raises(InputError, match=sentence):
        run(tmp_path / "out", option, number)


def test_a_report_is_of_the_ranks_and_seeds_that_are_there(tmp_path, capsys):
    """A study of rank 4 on three fresh seeds, of which the last arm has one so far."""
    lines = [
        {"arm": arm.name, "learning_rate": 0.004, "seed": seed, "validation_loss": seed / 7, "parameters": 10}
        for arm in arms((4,))
        for seed in ((100, 0) if arm.method == "magnitude" else (100, 101, 0, 1, 2))
    ]
    (tmp_path / "results-0-of-1.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run(tmp_path, "--report")
    page = capsys.readouterr().out
    assert "| wdlora r4 − lora r4 | 3 |" in page and "| matched r4 | 10 |" in page and "| magnitude" not in page
    assert "Not finished: magnitude r1." in page
    run(tmp_path, "--report", "--seeds", "2")
    assert "| wdlora r4 − lora r4 | 2 |" in capsys.readouterr().out
    with pytest.raises(InputError, match="no runs of rank 8; there are 4"):
        run(tmp_path, "--report", "--ranks", "4", "8")
    with pytest.raises(InputError, match="runs of 3 fresh seeds, and this report needs 5"):
        run(tmp_path, "--report", "--seeds", "5")
    with pytest.raises(InputError, match="holds no runs of a study"):
        run(tmp_path / "nowhere", "--report")
