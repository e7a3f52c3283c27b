"""`python -m wdlora run` and `serve`: results, one clear line on bad input, no traceback."""

import copy
import json
import random
import socket
from pathlib import Path

import pytest

from wdlora.cli import main
from wdlora.errors import InputError
from wdlora.files import sha256
from wdlora.host import Host
from wdlora.privacy.pseudonym import content_pseudonym

from .conftest import write_mask


@pytest.fixture
def place(tmp_path, graph, monkeypatch):
    """A folder with the graph as flow.json and a mask in data/input."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "input").mkdir(parents=True)
    write_mask(tmp_path / "data" / "input" / "mask.png")
    (tmp_path / "flow.json").write_text(json.dumps(graph))
    return tmp_path


def test_run_prints_the_files(place, capsys):
    assert main(["run", "flow.json", "--data", "data", "--out", "results"]) == 0
    out = capsys.readouterr().out
    assert out.strip() == f"Save: {place / 'results' / 'out_00001_.png'}"
    assert (place / "results" / "out_00001_.png").is_file()


def test_run_prints_json(place, capsys):
    assert main(["run", "flow.json", "--data", "data", "--json", "--set", "Save.filename_prefix=x"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["status"] == "success" and result["left_out"] == []
    (output,) = result["outputs"]
    assert output["title"] == "Save" and output["files"] == [str(place / "data" / "output" / "x_00001_.png")]


def test_run_copies_inputs(place, capsys):
    write_mask(place / "mine.png", 32)
    arguments = ["run", "flow.json", "--data", "data", "--input", "mine.png", "--set", "LoadImage.image=mine.png"]
    assert main(arguments) == 0
    assert (place / "data" / "input" / "mine.png").is_file()


def test_run_copies_an_input_that_the_graph_names_by_its_content(place):
    """As the graph in a picture of a batch does."""
    write_mask(place / "mine.png", 32)
    name = f"wdlora-batch/{content_pseudonym(sha256(place / 'mine.png'), 'mine.png')}"
    for image in (name, "mine.png [input]"):
        arguments = ["--data", "data", "--input", "mine.png", "--set", f"LoadImage.image={image}"]
        assert main(["run", "flow.json", *arguments]) == 0
    assert (place / "data" / "input" / "mine.png").is_file()


def test_run_copies_no_input_that_does_nothing_or_harm(place, capsys):
    """One that the graph does not name, and one that would take the place of another picture."""
    write_mask(place / "mine.png", 32)
    assert main(["run", "flow.json", "--data", "data", "--input", "mine.png"]) == 2
    assert "no node of the graph names mine.png; add --set 'Title.image=mine.png'" in capsys.readouterr().err
    assert not (place / "data" / "input" / "mine.png").exists()
    write_mask(place / "mask.png", 32)
    before = (place / "data" / "input" / "mask.png").read_bytes()
    assert main(["run", "flow.json", "--data", "data", "--input", "mask.png"]) == 2
    assert "is another file of that name" in capsys.readouterr().err
    assert (place / "data" / "input" / "mask.png").read_bytes() == before
    (place / "mask.png").write_bytes(before)
    assert main(["run", "flow.json", "--data", "data", "--input", "mask.png"]) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["flow.json", "--models", "nowhere"], "there is no models folder"),
        (["missing.json"], "missing.json cannot be read"),
        (["flow.json", "--set", "LoadImage.image=nowhere.png"], "Invalid image file: nowhere.png"),
        (["flow.json", "--set", "LoadImage.image=../../flow.json"], "Invalid image file"),
        (["flow.json", "--set", "ImageToMask.channel=alpha"], "ImageToMask: the picture has no alpha channel"),
        (["flow.json", "--set", "Save.filename_prefix=../../out"], "Save: the path '../..' leaves its folder"),
        (["flow.json", "--input", "nowhere.png"], "there is no file nowhere.png"),
        (["flow.json", "--miniature"], "loads no Qwen-Image-Edit"),
        (["flow.json", "--device", "gpu"], "there is no device 'gpu'"),
    ],
)
def test_bad_input_is_one_line(place, capsys, arguments, sentence):
    assert main(["run", *arguments, "--data", "data"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err and len(captured.err.strip().splitlines()) == 1
    assert "Traceback" not in captured.err


def test_a_host_refuses_a_device_that_is_none_at_its_start(tmp_path):
    with pytest.raises(InputError, match="there is no device 'gpu'"):
        Host(tmp_path / "data", device="gpu")
    assert not (tmp_path / "data").exists()


def test_serve_says_when_the_port_is_taken(place, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port), "--data", "data"]) == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["70000", "-1"])
def test_serve_refuses_what_is_no_port(place, capsys, port):
    assert main(["serve", f"--port={port}", "--data", "data"]) == 2
    assert capsys.readouterr().err.strip().endswith(f"--port is {port}; give a number from 0 to 65535")


def test_a_thousand_mutated_graphs_run_or_are_refused(host, graph):
    """As `run` does it, in one process: whatever is in the file, a verdict or a result, and no exception."""
    generator = random.Random(1)
    garbage = [None, 7, -1, 1e9, "", "../x", "red", "blue", "mask.png", [], {}, ["1", 0], ["2", 0], ["3", 0], ["4", 0]]
    ran = refused = 0
    for _ in range(1000):
        mutated = copy.deepcopy(graph)
        for _ in range(generator.randint(1, 2)):
            node = mutated[generator.choice(list(mutated))]
            if isinstance(node, dict) and isinstance(node.get("inputs"), dict) and node["inputs"]:
                node["inputs"][generator.choice(list(node["inputs"]))] = copy.deepcopy(generator.choice(garbage))
            if generator.random() < 0.1:
                mutated[generator.choice(list(mutated))] = copy.deepcopy(generator.choice(garbage))
        verdict, result = host.run(mutated)
        if result is None:
            refused += 1
            assert verdict.error["message"]
        else:
            ran += 1
            if result.failure is not None:
                assert result.failure["exception_type"] == "wdlora.errors.InputError", result.failure
    assert ran > 50 and refused > 500


@pytest.mark.slow
def test_the_miniature_in_a_full_size_graphs_place(place, capsys):
    """A graph of core loaders with official file names, none of which is here: the nerves land on the mask.

    The picture is brighter on the mask than off it by more than a tenth of its range (chance: 0)."""
    import numpy as np
    from PIL import Image

    graph = {
        "u": {"class_type": "UNETLoader", "inputs": {"unet_name": "qwen_image_edit.safetensors", "weight_dtype": "x"}},
        "c": {"class_type": "CLIPLoader", "inputs": {"clip_name": "qwen_2.5_vl_7b.safetensors", "type": "qwen_image"}},
        "v": {"class_type": "VAELoader", "inputs": {"vae_name": "qwen_image_vae.safetensors"}},
        "m": {"class_type": "LoadImageMask", "inputs": {"image": "mask.png", "channel": "red"}},
        "p": {
            "class_type": "CCMConditioning",
            "inputs": {
                "clip": ["c", 0],
                "vae": ["v", 0],
                "mask": ["m", 0],
                "cohort": "Control",
                "variant": "edit",
                "text": "",
                "negative_text": "",
                "allow_empty": False,
            },
        },
        "s": {"class_type": "ModelSamplingAuraFlow", "inputs": {"model": ["u", 0], "shift": 3.0}},
        "k": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["s", 0],
                "seed": 3,
                "steps": 6,
                "cfg": 1.0,
                "sampler_name": "euler",
                "scheduler": "simple",
                "positive": ["p", 0],
                "negative": ["p", 1],
                "latent_image": ["p", 2],
                "denoise": 1.0,
            },
        },
        "d": {"class_type": "VAEDecode", "inputs": {"samples": ["k", 0], "vae": ["v", 0]}},
        "w": {"class_type": "SaveImage", "inputs": {"images": ["d", 0], "filename_prefix": "painted"}},
    }
    (place / "full.json").write_text(json.dumps(graph))
    assert main(["run", "full.json", "--data", "data"]) == 2
    assert "qwen_image_edit.safetensors" in capsys.readouterr().err
    assert main(["run", "full.json", "--data", "data", "--miniature", "--json"]) == 0
    (output,) = json.loads(capsys.readouterr().out)["outputs"]
    with Image.open(output["files"][0]) as painted, Image.open(place / "data" / "input" / "mask.png") as drawn:
        picture, mask = np.asarray(painted.convert("L")).astype(float), np.asarray(drawn) > 127
    assert picture.shape == mask.shape
    contrast = picture[mask].mean() - picture[~mask].mean()
    assert contrast > 0.1 * (picture.max() - picture.min())


@pytest.mark.parametrize(("command", "status"), [("run", 1), ("batch", 2)])
def test_every_missing_model_file_is_named_once_and_a_way_without_them(place, capsys, command, status):
    """`run` makes what can be made without them, here the mask; a batch does not begin."""
    flow = Path(__file__).parents[2] / "workflows" / "api" / "ccm_synthesis.json"
    assert main([command, str(flow), "--data", "data", "--out", "results"]) == status
    said = capsys.readouterr().err
    named = {
        node["inputs"][key]
        for node in json.loads(flow.read_text()).values()
        for key in ("adapter", "diffusion_model", "text_encoder", "vae")
        if isinstance(node["inputs"].get(key), str)
    }
    assert len(named) == 4 and all(said.count(f"{name!r} is missing: put the file into") == 1 for name in named), said
    assert said.count("--miniature") == 1 and "Custom validation" not in said
