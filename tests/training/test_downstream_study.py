"""A study from end to end: regimes draw what they should, arms go on, leaks and gaps are refused, all is repeatable."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.downstream_sets import PIXEL, images, write
from training.__main__ import main
from training.downstream.batches import draw_batch, shuffled, training_set
from training.downstream.config import REGIMES, DownstreamConfig
from training.downstream.images import RealSet, SyntheticSet, read_real, read_synthetic
from training.downstream.learning import rate_factor
from training.downstream.record import study_record
from training.downstream.splits import folds_of, refuse_leaks
from training.downstream.study import DownstreamStudy, check_real, run_study
from wdlora.anatomy import trace
from wdlora.errors import InputError
from wdlora.evaluation.extractors import extractor
from wdlora.hmsvit.file import load_hmsvit
from wdlora.locks import at_work

SMALL = DownstreamConfig(side=64, steps=3, pretrain_steps=2, batch=2, save_every=2)
COHORTS = ["Control", "T1NoDPN", "T1DPN"]


@pytest.fixture(scope="module")
def real() -> list:
    return images(1, 3)


@pytest.fixture(scope="module")
def synthetic() -> list:
    return images(50_000, 2, 1, "S")


def study(real, synthetic, out, seeds=1, tasks=("diagnosis", "segmentation"), **changes) -> DownstreamStudy:
    config = replace(SMALL, **changes)
    whole = RealSet(real)
    drawn = [SyntheticSet("drawn", synthetic)]
    return DownstreamStudy(whole, drawn, folds_of(whole, seeds, 0.3), tasks, config, out)


@pytest.fixture(scope="module")
def done(real, synthetic, tmp_path_factory):
    """A study of two seeds, and its record."""
    out = tmp_path_factory.mktemp("study")
    one = study(real, synthetic, out, seeds=2, shuffled=True)
    return one, study_record(one, run_study(one))


def test_the_record_has_every_figure(done):
    values = done[1]
    found = values["diagnosis"]
    for regime in ("A", "B", "C", "A0", "S"):
        assert set(found[regime]["accuracy"]) >= {"value", "low", "high", "n"}
        assert np.array(found[regime]["confusion"]).sum() == sum(values["n"]["held_out"])
    assert found["chance"] == pytest.approx(1 / 3) and 0 <= found["ceiling"] <= 1
    assert found["p"] is None and found["claim"] is None, "two pairs claim nothing"
    assert set(found["probe"]) == {"A", "B", "C", "S", "B-A", "C-A"}
    for regime in ("A", "B", "C", "A0"):
        assert 0 <= values["segmentation"][regime]["miou"]["value"] <= 1
    assert values["segmentation"]["tracer"]["cldice"]["value"] > 0.5
    assert values["tracer"] and values["extractor"] == "texture-1" and "fewer than 6" in values["notes"][0]
    json.dumps(values, allow_nan=False)


def test_the_ceiling_and_the_probe_see_what_there_is(done):
    """Cohorts differ by how many lines there are: true biomarkers tell them apart, and so does appearance."""
    found = done[1]["diagnosis"]
    assert found["ceiling"] > 0.9 and found["probe"]["A"]["value"] > found["probe"]["S"]["value"]


def test_what_is_there_is_not_trained_again(done, monkeypatch):
    one, values = done
    monkeypatch.setattr("training.downstream.study.trained_network", None)
    assert study_record(one, run_study(one)) == values


def test_arms_of_other_images_are_refused(done, real, synthetic):
    one, _ = done
    other = study(real, images(60_000, 2, 1, "S"), one.out, seeds=2, shuffled=True)
    with pytest.raises(InputError, match="name another --out"):
        run_study(other)


def test_a_killed_training_goes_on_to_the_bit(real, synthetic, tmp_path, monkeypatch):
    """Killed after the checkpoint of step 2 of 3; the resumed network is that of a run without interruption."""
    whole = study(real, synthetic, tmp_path / "whole", tasks=("diagnosis",))
    run_study(whole)
    killed = study(real, synthetic, tmp_path / "killed", tasks=("diagnosis",))
    from training.downstream import learning

    save = learning.save_checkpoint

    def dies(*args, **kwargs):
        save(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(learning, "save_checkpoint", dies)
    with pytest.raises(KeyboardInterrupt):
        run_study(killed)
    monkeypatch.undo()
    seen = []
    draw = learning.run

    def watched(lesson, config, batches, device, place):
        draw(lesson, config, lambda step: seen.append(step) or batches(step), device, place)

    monkeypatch.setattr(learning, "run", watched)
    run_study(killed)
    assert seen[0] == 2, "the first steps are not made again"
    name = "diagnosis-A-real.safetensors"
    one, other = ((folder.out / "models" / name).read_bytes() for folder in (whole, killed))
    assert one == other
    assert not (killed.out / "work").exists()


def test_what_it_trains_is_usable(done, real):
    """The segmenter by `trace`, the encoder by the evaluation, the diagnosis by its file."""
    models = done[0].out / "models"
    image = np.tile(real[0].image, (2, 2))
    assert trace(image, PIXEL, segmenter=models / "segmentation-B-drawn.safetensors").shape == image.shape
    assert extractor(f"hmsvit:{models / 'segmentation-C-drawn.safetensors'}").features(image).shape == (128,)
    diagnosis = load_hmsvit(models / "diagnosis-A-real.safetensors")
    assert diagnosis.facts.classes == ("Control", "T1NoDPN", "T1DPN") and diagnosis.facts.trained["regime"] == "A"


def test_regimes_draw_from_their_sources(real, synthetic):
    """Real images are made black, synthetic ones white: A is all black, C all white, B has its share."""
    black = [replace(one, image=np.zeros_like(one.image), mask=np.zeros_like(one.mask)) for one in real]
    white = [replace(one, image=np.zeros_like(one.image), mask=np.ones_like(one.mask)) for one in synthetic]
    config = replace(SMALL, batch=50, synthetic_share=0.3)
    shares = {}
    for name in ("A", "B", "C", "A0"):
        drawn = training_set(config, REGIMES[name], black, white, COHORTS, 0)
        masks = torch.cat([draw_batch(drawn, config, COHORTS, 0, step).masks for step in range(8)])
        shares[name] = float(masks.mean())
    assert (shares["A"], shares["C"], shares["A0"]) == (0, 1, 0)
    assert shares["B"] == pytest.approx(0.3, abs=0.07)  # 3 standard errors of 400 draws


def test_batches_hang_on_seed_and_step_alone(real):
    drawn = training_set(SMALL, REGIMES["A"], real, [], COHORTS, 0)
    one, same, other = (draw_batch(drawn, SMALL, COHORTS, 3, step) for step in (5, 5, 6))
    assert torch.equal(one.levels, same.levels) and not torch.equal(one.levels, other.levels)


def test_without_augmentation_lines_stay_upright(real):
    """Lines of the images are columns; the control shows columns alone, the others rows as well."""
    config = replace(SMALL, batch=12)
    for name, turned in (("A0", False), ("A", True)):
        drawn = training_set(config, REGIMES[name], real, [], COHORTS, 0)
        masks = draw_batch(drawn, config, COHORTS, 0, 0).masks[:, 0]
        rows = [bool((mask == mask[:, :1]).all()) for mask in masks]
        assert any(rows) == turned


def test_shuffled_labels_stay_with_the_patient(real):
    dealt = shuffled(real, 4)
    assert [one.patient for one in dealt] == [one.patient for one in real]
    of = {}
    for one in dealt:
        of.setdefault(one.patient, set()).add(one.cohort)
    assert all(len(some) == 1 for some in of.values())
    assert sorted(one.cohort for one in dealt) == sorted(one.cohort for one in real)
    assert [one.cohort for one in dealt] != [one.cohort for one in real]


def test_the_learning_rate_rises_and_falls():
    factors = [rate_factor(step, 100) for step in range(100)]
    assert factors[0] == 0.1 and max(factors) == factors[9] == 1 and factors[-1] < 0.001


def test_folds_hold_out_every_patient_once(real):
    folds = folds_of(RealSet(real), 0, 0.3, folds=3)
    held = [patient for fold in folds for patient in fold.held]
    assert sorted(held) == sorted({one.patient for one in real})
    for fold in folds:
        assert {one.cohort for one in fold.test} == set(COHORTS)
        assert not fold.held & {one.patient for one in fold.train}
    with pytest.raises(InputError, match="2 to 3"):
        folds_of(RealSet(real), 0, 0.3, folds=4)


def test_a_stated_split_is_obeyed(real):
    patients = sorted({one.patient for one in real})
    parts = {patient: ("train", "validation", "test")[number % 3] for number, patient in enumerate(patients)}
    for fold in folds_of(RealSet(real, parts), 3, 0.3):
        assert {parts[patient] for patient in fold.held} == {"test"}
        assert {parts[one.patient] for one in fold.train} == {"train"}
    with pytest.raises(InputError, match="no folds"):
        folds_of(RealSet(real, parts), 3, 0.3, folds=3)


@pytest.mark.parametrize("turned", [False, True])
def test_leaks_are_refused(real, synthetic, turned):
    """By patient, by mask in any orientation, and by who the generator was trained on."""
    (fold,) = folds_of(RealSet(real), 1, 0.3)
    refuse_leaks(fold, SyntheticSet("clean", synthetic, frozenset({fold.train[0].patient})))
    held = fold.test[0]
    with pytest.raises(InputError, match="masks of held-out patients"):
        refuse_leaks(fold, SyntheticSet("s", [*synthetic, replace(synthetic[0], patient=held.patient)]))
    mask = np.rot90(held.mask[:, ::-1]) if turned else held.mask
    with pytest.raises(InputError, match="have the mask of a held-out patient"):
        refuse_leaks(fold, SyntheticSet("s", [*synthetic, replace(synthetic[0], mask=mask)]))
    with pytest.raises(InputError, match="was trained on 1 held-out patients"):
        refuse_leaks(fold, SyntheticSet("s", synthetic, frozenset({held.patient})))


def test_missing_cohorts_are_refused(real, synthetic, tmp_path):
    without = [one for one in synthetic if one.cohort != "T1DPN"]
    with pytest.raises(InputError, match="the synthetic set drawn hold no image of T1DPN"):
        study(real, without, tmp_path)
    with pytest.raises(InputError, match="the real images lack"):
        study([one for one in real if one.cohort != "T1DPN"], synthetic, tmp_path)


def test_small_images_and_odd_settings_are_refused(real, synthetic, tmp_path):
    with pytest.raises(InputError, match="smaller than a tile of 96"):
        run_study(study(real, synthetic, tmp_path, side=96))
    for changes, message in (({"side": 70}, "multiple of 32"), ({"synthetic_share": 1.0}, "between 0 and 1")):
        with pytest.raises(InputError, match=message):
            replace(SMALL, **changes)


def test_what_is_missing_is_said_before_training(real, synthetic, tmp_path, monkeypatch):
    monkeypatch.setattr("training.downstream.study.trained_network", None)
    one = study(real, synthetic, tmp_path)
    with pytest.raises(InputError, match="there is no file"):
        run_study(replace(one, features="lite0:nowhere.safetensors"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="scikit-learn"):
        run_study(one)


def test_what_real_images_do_not_allow_is_said_before_adapters_paint(real, synthetic, tmp_path, capsys):
    one = study(real, synthetic, tmp_path)
    check_real(one.real, one.folds, one.tasks, one.config)
    with pytest.raises(InputError, match="smaller than a tile of 96"):
        check_real(one.real, one.folds, one.tasks, replace(one.config, side=96))
    alone = replace(one.folds[0], test=[image for image in one.folds[0].test if image.cohort != "T1DPN"])
    with pytest.raises(InputError, match="the held-out patients hold no image of T1DPN"):
        check_real(one.real, [alone], one.tasks, one.config)
    write(tmp_path / "real", real)
    of = str(tmp_path / "real")
    assert main(["downstream", "--real", of, "--synthetic", of, "--device", "gpu"]) == 2
    assert "there is no device 'gpu'" in capsys.readouterr().err


def test_data_sets_are_read_with_their_split(real, synthetic, tmp_path):
    folder = write(tmp_path / "real", real)
    patients = sorted({one.patient for one in real})
    rows = "".join(f"{one},{'test' if number % 3 == 0 else 'train'}\n" for number, one in enumerate(patients))
    (folder / "split.csv").write_text(f"patient,part\n{rows}")
    found = read_real(folder)
    assert len(found.images) == len(real) and found.parts[patients[0]] == "test"
    painted = write(tmp_path / "painted", synthetic, synthetic=True)
    assert read_synthetic(painted, found).learned is None
    shutil.copy(folder / "split.csv", painted / "split.csv")
    assert read_synthetic(painted, found).learned == {one for one in patients if found.parts[one] == "train"}
    (folder / "split.csv").write_text(f"patient,part\n{patients[0]},test\n")
    with pytest.raises(InputError, match="says nothing of 8 of 9 patients"):
        read_real(folder)


def test_the_command(real, synthetic, tmp_path, capsys):
    """From folders to report.json, as other programs read it."""
    write(tmp_path / "real", real)
    write(tmp_path / "painted", synthetic, synthetic=True)
    argv = ["downstream", "--real", str(tmp_path / "real"), "--synthetic", str(tmp_path / "painted")]
    argv += ["--out", str(tmp_path / "out"), "--seeds", "1", "--steps", "2", "--pretrain-steps", "0", "--size", "64"]
    assert main([*argv, "--task", "segmentation", "--batch", "2", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values == json.loads((tmp_path / "out" / "report.json").read_text())
    assert values["segmentation"]["p"] is None and "diagnosis" not in values
    page = (tmp_path / "out" / "report.html").read_text()
    assert "not a medical device" in page and "<script" not in page and 'src="http' not in page
    with at_work(tmp_path / "out"):
        assert main([*argv, "--task", "segmentation"]) == 2 and "another process is at work" in capsys.readouterr().err
    assert main([*argv, "--ratio", "1.5"]) == 2 and "between 0 and 1" in capsys.readouterr().err


@pytest.fixture(scope="module")
def clinic(real, tmp_path_factory):
    """A data set with a split of its patients."""
    folder = write(tmp_path_factory.mktemp("clinic") / "real", real)
    patients = sorted({one.patient for one in real})
    rows = "".join(f"{one},{'test' if number % 3 == 0 else 'train'}\n" for number, one in enumerate(patients))
    (folder / "split.csv").write_text(f"patient,part\n{rows}")
    return folder


def by_adapter(clinic, adapter, out, *more: str) -> list[str]:
    argv = ["downstream", "--real", str(clinic), "--split", str(clinic / "split.csv"), "--adapter", str(adapter)]
    argv += ["--seeds", "1", "--steps", "2", "--pretrain-steps", "0", "--size", "64", "--batch", "2", "--cfg", "1"]
    return [*argv, "--task", "segmentation", "--sampler-steps", "1", "--paint-size", "64", "--out", str(out), *more]


def test_adapters_paint_and_are_compared_by_rank(clinic, finished, tmp_path, capsys):
    assert main(by_adapter(clinic, finished[0] / "adapter.safetensors", tmp_path / "out", "--json")) == 0
    values = json.loads(capsys.readouterr().out)
    (row,) = values["by_rank"]
    assert (row["method"], row["rank"], row["generator"]) == ("wdlora", 2, "wdlora-r2")
    assert row["segmentation"]["B"] == values["segmentation"]["B"]["miou"]
    painted = read_synthetic(tmp_path / "out" / "adapters" / "wdlora-r2" / "painted", read_real(clinic))
    table = (clinic / "split.csv").read_text()
    assert len(painted.images) == 12 and all(f"{one.patient},train" in table for one in painted.images)
    assert "methods are not ranked" in (tmp_path / "out" / "report.html").read_text()


def test_an_adapter_that_saw_a_held_out_patient_is_refused(clinic, finished, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    adapter = shutil.copy(finished[0] / "adapter.safetensors", folder / "adapter.safetensors")
    (folder / "split.csv").write_text("patient,part\nP0001,train\n")
    assert main(by_adapter(clinic, adapter, tmp_path / "out")) == 2
    assert "was trained on 1 held-out patients (first P0001)" in capsys.readouterr().err
