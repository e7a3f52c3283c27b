"""`python -m wdlora batch` in this process: results, repetition, refusals, and being killed."""

import csv
import json
import random
import re
import signal
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

from wdlora.anatomy import measure
from wdlora.cli import main
from wdlora.privacy.pseudonym import find_by_content

from .conftest import GRAPH, check_whole, start, write_masks

OPTIONS = ["--data", "data", "--device", "cpu"]


def batch(*arguments: str) -> int:
    return main(["batch", "flow.json", "--masks", "masks", "--out", "out", *arguments, *OPTIONS])


def test_one_result_a_mask_and_a_manifest_with_hashes(place, capsys):
    assert batch("--json") == 0
    printed = json.loads(capsys.readouterr().out)
    manifest = check_whole(place / "out", 3)
    assert printed == manifest
    for job in manifest["jobs"]:
        (file,) = job["files"]
        with Image.open(place / "out" / file["file"]) as picture:
            with Image.open(find_by_content(str(place / "masks"), job["mask"]["file"])) as mask:
                assert picture.convert("L").tobytes() == mask.tobytes()
            loaded = json.loads(picture.text["prompt"])["1"]["inputs"]["image"]
            assert loaded == f"wdlora-batch/{job['mask']['file']}"
            assert job["mask"]["file"] == f"image-{job['mask']['sha256'][:16]}.png"
    assert manifest["workflow"]["file"] == "flow.json"
    told = json.loads((place / "out" / "workflow.json").read_text())
    assert re.fullmatch(r"image-[0-9a-f]{16}\.png", told["1"]["inputs"].pop("image"))
    assert told == {**GRAPH, "1": {**GRAPH["1"], "inputs": {"channel": "red"}}}


def test_masks_keep_their_names_where_asked(place, capsys):
    assert batch("--keep-names", "--json") == 0
    jobs = json.loads(capsys.readouterr().out)["jobs"]
    assert [job["mask"]["file"] for job in jobs] == ["mask00.png", "mask01.png", "mask02.png"]
    assert [job["name"][:6] for job in jobs] == ["mask00", "mask01", "mask02"]


def test_a_mask_whose_name_would_be_a_formula_is_none_in_a_table(place):
    (place / "masks" / "mask00.png").rename(place / "masks" / "=mask00.png")
    measured = {"class_type": "CCMBiomarkers", "inputs": {"masks": ["1", 0], "pixel_size_um": 1.0}}
    shown = {"class_type": "PreviewAny", "inputs": {"source": ["4", 0]}, "_meta": {"title": "Measured"}}
    (place / "flow.json").write_text(json.dumps({**GRAPH, "4": measured, "5": shown}))
    assert batch("--keep-names") == 0
    with (place / "out" / "ccmbiomarkers.csv").open(newline="") as file:
        assert [row["mask_file"] for row in csv.DictReader(file)] == ["'=mask00.png", "mask01.png", "mask02.png"]
    manifest = json.loads((place / "out" / "manifest.json").read_text())
    assert manifest["jobs"][0]["mask"]["file"] == "=mask00.png"  # JSON knows no formulas


def test_what_is_done_is_not_done_again_and_more_can_be_added(place, capsys):
    assert batch() == 0
    before = {path: path.stat().st_mtime_ns for path in (place / "out" / "results").rglob("*")}
    write_masks(place / "masks", 5)
    assert batch() == 0
    check_whole(place / "out", 5)
    for path, when in before.items():
        assert path.stat().st_mtime_ns == when
    events = [json.loads(line)["event"] for line in (place / "out" / "journal.jsonl").read_text().splitlines()]
    assert events.count("done") == 5 and events.count("batch") == 1


def test_manifest_and_tables_cover_every_result_in_the_folder(place):
    """Other values of the same graph, then other masks, then the first call once more."""
    measured = {"class_type": "CCMBiomarkers", "inputs": {"masks": ["1", 0], "pixel_size_um": 1.0}}
    (place / "flow.json").write_text(json.dumps({**GRAPH, "4": measured}))
    assert batch("--vary", "CCMBiomarkers.pixel_size_um=1") == 0
    first = (place / "out" / "manifest.json").read_bytes(), (place / "out" / "ccmbiomarkers.csv").read_bytes()
    assert batch("--vary", "CCMBiomarkers.pixel_size_um=1") == 0
    assert first == ((place / "out" / "manifest.json").read_bytes(), (place / "out" / "ccmbiomarkers.csv").read_bytes())
    assert batch("--vary", "CCMBiomarkers.pixel_size_um=2") == 0
    check_whole(place / "out", 6)
    for mask in (place / "masks").iterdir():
        mask.unlink()
    write_masks(place / "masks", 1, side=32)
    assert batch("--vary", "CCMBiomarkers.pixel_size_um=2") == 0
    manifest = check_whole(place / "out", 7)
    rows = list(csv.DictReader((place / "out" / "ccmbiomarkers.csv").open()))
    assert [row["job"] for row in rows] == [job["name"] for job in manifest["jobs"]]
    assert [row["mask_file"] for row in rows] == [job["mask"]["file"] for job in manifest["jobs"]]
    assert sorted(row["CCMBiomarkers.pixel_size_um"] for row in rows) == [*"1112222"]


def test_another_commands_manifest_is_kept(place, capsys):
    (place / "out").mkdir()
    (place / "out" / "manifest.json").write_text('{"recipe": {}, "masks": []}')
    assert batch() == 2
    assert "manifest.json is not of a batch; choose another --out" in capsys.readouterr().err
    assert [path.name for path in (place / "out").iterdir()] == ["manifest.json"]


def test_a_result_that_lost_a_file_or_a_part_of_one_is_made_again(place):
    assert batch() == 0
    first, second, _ = sorted((place / "out" / "results").rglob("*.png"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:100])
    assert batch() == 0
    check_whole(place / "out", 3)


def test_another_graph_needs_another_folder(place, capsys):
    assert batch() == 0
    assert batch("--set", "Save.filename_prefix=other") == 2
    assert "holds a batch with another graph" in capsys.readouterr().err


def test_another_model_under_the_same_name_needs_another_folder(place, capsys):
    """Adapters are told by their hashes, base models by their sizes."""
    for kind, loader, key in (("vae", "VAELoader", "vae_name"), ("loras", "LoraLoaderModelOnly", "lora_name")):
        graph = {**GRAPH, "9": {"class_type": loader, "inputs": {key: "some.safetensors"}}}
        (place / "flow.json").write_text(json.dumps(graph))
        file = place / "data" / "models" / kind / "some.safetensors"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"one")
        out = ("--out", f"out-{kind}")
        assert main(["batch", "flow.json", "--masks", "masks", *out, *OPTIONS]) == 0
        file.write_bytes(b"another")
        assert main(["batch", "flow.json", "--masks", "masks", *out, *OPTIONS]) == 2
        assert f"holds a batch with another model: {kind}/some.safetensors has changed" in capsys.readouterr().err


def test_a_folder_in_which_nothing_was_done_takes_another_graph(place, capsys):
    assert batch("--set", "The mask.channel=purple") == 2
    capsys.readouterr()
    assert batch() == 0
    check_whole(place / "out", 3)


def test_a_job_that_fails_is_named_and_the_others_go_on(place, capsys):
    (place / "masks" / "mask01.png").write_bytes(b"no picture")
    assert batch() == 1
    captured = capsys.readouterr()
    assert "2 of 3 jobs done" in captured.out
    assert "The mask: " in captured.err and "cannot be read as a picture" in captured.err
    assert "Traceback" not in captured.err
    manifest = json.loads((place / "out" / "manifest.json").read_text())
    assert manifest["count"] == {"done": 2, "failed": 1, "open": 0}
    write_masks(place / "masks", 3)
    assert batch() == 0


def test_measurements_become_a_table(place, capsys):
    graph = {
        "1": GRAPH["1"],
        "2": {
            "class_type": "CCMBiomarkers",
            "inputs": {"masks": ["1", 0], "pixel_size_um": 1.0},
            "_meta": {"title": "Measured masks"},
        },
    }
    (place / "flow.json").write_text(json.dumps(graph))
    assert batch("--vary", "Measured masks.pixel_size_um=1,2") == 0
    lines = (place / "out" / "measured_masks.csv").read_text().splitlines()
    header = lines[0].split(",")
    rows = [dict(zip(header, line.split(","), strict=True)) for line in lines[1:]]
    assert len(rows) == 6
    for row in rows:
        with Image.open(find_by_content(str(place / "masks"), row["mask_file"])) as picture:
            mask = np.asarray(picture) > 127
        expected = measure(mask, pixel_size_um=float(row["Measured masks.pixel_size_um"])).length_mm
        assert float(row["length_mm"]) == pytest.approx(expected, rel=1e-9) and expected > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--seeds", "x"], "the seeds 'x' cannot be read"),
        (["--seeds", "0:2"], "no node of the graph has a seed to set"),
        (["--cohort", "Control"], "no node of the graph has a cohort to set"),
        (["--vary", "Save.nothing=1"], "has no input 'nothing'"),
        (["--vary", "Save.filename_prefix=a,a"], "two jobs are the same"),
        (["--set", "The mask.channel=purple"], "The mask: Value not in list"),
        (["--miniature"], "loads no Qwen-Image-Edit"),
        (["--attempts", "0"], "--attempts is 0"),
        (["--cohort-input", "The mask.cohort"], "but there are none: add --cohort"),
        (["--seed-input", "The mask.seed"], "but there are none: add --seeds"),
        (["--server", "http://127.0.0.1:1"], "--data, --device and --server exclude each other"),
        (
            ["--set", "Save.filename_prefix=a", "--vary", "Save.filename_prefix=b"],
            "'Save.filename_prefix' is given values",
        ),
        (["--vary", "Save.filename_prefix=a", "--vary", "Save.filename_prefix=b"], "given values by two options"),
        (["--set", "The mask.image=mask00.png"], "'The mask.image' is given values by two options"),
    ],
)
def test_bad_input_is_one_line(place, capsys, arguments, sentence):
    assert batch(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err and len(captured.err.strip().splitlines()) == 1, captured.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["http://127.0.0.1:1", "--miniature"], "http://127.0.0.1:1 does not answer"),
        (["nonsense://x"], "is not an address of a server"),
        (["http://127.0.0.1:1", "--models", "."], "--models and --server exclude each other"),
        (["http://127.0.0.1:1", "--device", "cpu"], "--device and --server exclude each other"),
        (["http://127.0.0.1:1", "--data", "wdlora-data"], "--data and --server exclude each other"),
    ],
)
def test_bad_input_for_servers_is_one_line(place, capsys, arguments, sentence):
    assert main(["batch", "flow.json", "--masks", "masks", "--out", "out", "--server", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err and len(captured.err.strip().splitlines()) == 1, captured.err


def test_a_place_for_masks_needs_masks(place, capsys):
    assert main(["batch", "flow.json", "--out", "out", "--mask-input", "The mask.image", *OPTIONS]) == 2
    assert "--mask-input says where values go, but there are none: add --masks" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_at_ten_moments_nothing_is_lost_and_nothing_twice(tmp_path):
    """SIGKILL at ten random moments of a batch of 60 jobs; the last run goes through."""
    (tmp_path / "flow.json").write_text(json.dumps(GRAPH))
    write_masks(tmp_path / "masks", 60)
    generator = random.Random(7)
    moments = sorted(generator.sample(range(1, 58), 10))
    command = ["batch", "flow.json", "--masks", "masks", "--out", "out", *OPTIONS]
    journal = tmp_path / "out" / "journal.jsonl"
    killed = 0
    for moment in moments:
        process = start(*command, cwd=tmp_path)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if journal.exists() and journal.read_bytes().count(b'"done"') >= moment:
                time.sleep(generator.random() * 0.02)
                break
            time.sleep(0.001)
        assert process.poll() is None, "the batch ended before its moment came"
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
        killed += 1
    assert killed == 10
    last = start(*command, cwd=tmp_path)
    assert last.wait(120) == 0
    check_whole(tmp_path / "out", 60)
    done = [json.loads(line) for line in journal.read_text().splitlines() if '"done"' in line]
    assert len({event["id"] for event in done}) == 60


@pytest.mark.slow
def test_ctrl_c_leaves_what_is_done_and_says_so(tmp_path):
    (tmp_path / "flow.json").write_text(json.dumps(GRAPH))
    write_masks(tmp_path / "masks", 60)
    command = ["batch", "flow.json", "--masks", "masks", "--out", "out", *OPTIONS]
    journal = tmp_path / "out" / "journal.jsonl"
    process = start(*command, cwd=tmp_path, stderr=subprocess.PIPE)
    while not journal.exists() or journal.read_bytes().count(b'"done"') < 5:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.strip().endswith("interrupted") and "Traceback" not in said
    assert "the batch was stopped, " in said and "jobs are open; the same command continues it" in said
    assert "again" not in said and "1 of 60 jobs done\n" in said
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["count"]["done"] >= 5 and manifest["count"]["open"] > 0
