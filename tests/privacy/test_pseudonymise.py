"""The command `pseudonymise` on folders as ComfyUI leaves them."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from wdlora.cli import main
from wdlora.files import sha256

from .conftest import save, strokes, telling, words

API = {
    "1": {
        "class_type": "LoadImage",
        "inputs": {"image": "Smith_Johnny/Smith_OD.png"},
        "_meta": {"title": "Smith_OD"},
        "is_changed": [float("nan")],
    },
    "2": {"class_type": "LoadImageMask", "inputs": {"image": "Müller_1950.png [input]", "channel": "red"}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "ccm/a"}},
}
WORKFLOW = {
    "nodes": [
        {"id": 1, "type": "LoadImage", "widgets_values": ["Smith_Johnny/Smith_OD.png", "image"], "title": "Smith_OD"},
        {"id": 2, "type": "LoadImageMask", "widgets_values": ["Müller_1950.png [input]", "red"]},
        {"id": 4, "type": "MarkdownNote", "widgets_values": ["Pictures of Smith_Johnny.\nJohnny is 70."]},
    ],
    "links": [],
}


@pytest.fixture
def comfyui(tmp_path, monkeypatch):
    """A base folder: input with telltale names (one file is gone), output with pictures and workflows, and more."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "input" / "Smith_Johnny" / "Smith_OD.png", strokes(1))
    out = tmp_path / "output"
    grey = np.random.default_rng(0).integers(0, 255, (48, 40, 3), dtype=np.uint8)
    save(out / "a_00001_.png", grey, {"prompt": API, "workflow": WORKFLOW})
    save(out / "deep" / "er" / "plain.png", grey, {"note": {"by": "nobody"}})
    (out / "flow.json").write_text(json.dumps(WORKFLOW, ensure_ascii=False, indent=2), encoding="utf-8")
    (out / "api.json").write_text(json.dumps(API), encoding="utf-8")
    (out / "other.json").write_text('{"a": 1.50}')
    return tmp_path


def run(*arguments: str) -> int:
    return main(["pseudonymise", *arguments])


def test_names_are_gone_and_pixels_stay(comfyui, capsys):
    out = comfyui / "output"
    pixels = {path: np.asarray(Image.open(path)) for path in out.rglob("*.png")}
    untouched = {path: path.read_bytes() for path in (out / "other.json", out / "deep" / "er" / "plain.png")}
    (comfyui / "names.txt").write_text("Johnny\n\n", encoding="utf-8")
    assert run("output", "--names", "names.txt", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert telling(out) == []
    assert all((np.asarray(Image.open(path)) == before).all() for path, before in pixels.items())
    assert all(path.read_bytes() == before for path, before in untouched.items())
    assert not list(out.rglob(".*"))
    assert set(report["names"]) == {"Smith_Johnny/Smith_OD.png", "Müller_1950.png", "Johnny"}
    assert sorted(report["rewritten"]) == [os.path.join("output", n) for n in ("a_00001_.png", "api.json", "flow.json")]
    by_content = f"image-{sha256(comfyui / 'input' / 'Smith_Johnny' / 'Smith_OD.png')[:16]}.png"
    assert report["names"]["Smith_Johnny/Smith_OD.png"] == by_content
    with Image.open(out / "a_00001_.png") as picture:
        prompt, workflow = json.loads(picture.text["prompt"]), json.loads(picture.text["workflow"])
    assert prompt["1"]["inputs"]["image"] == by_content and prompt["3"] == API["3"]
    assert prompt["2"]["inputs"]["image"] == f"{report['names']['Müller_1950.png']} [input]"
    assert workflow["nodes"][0]["widgets_values"] == [by_content, "image"]
    assert json.dumps(json.loads((out / "api.json").read_text())) == json.dumps(prompt)
    assert (out / "flow.json").read_text(encoding="utf-8").startswith('{\n  "nodes"')
    assert run("output", "--check") == 0  # nothing is left
    content = (out / "a_00001_.png").read_bytes()
    assert run("output", "--names", "names.txt") == 0 and (out / "a_00001_.png").read_bytes() == content


def test_check_changes_nothing_and_says_what_it_found(comfyui, capsys, home):
    before = {path: path.read_bytes() for path in comfyui.rglob("*") if path.is_file()}
    assert run("output", "--check") == 1
    said = capsys.readouterr()
    assert {path: path.read_bytes() for path in comfyui.rglob("*") if path.is_file()} == before
    assert "a_00001_.png: holds Smith_Johnny/Smith_OD.png, Müller_1950.png" in said.out
    assert "5 files, 3 hold names" in said.out
    assert "perhaps" in said.err and "'Johnny'" in said.err and "Johnny is 70" in said.err


def test_what_cannot_be_rewritten_is_said(comfyui, capsys):
    """A table, a picture of another format, and names of files and folders."""
    out = comfyui / "output"
    (out / "table.csv").write_text("mask,cnfl\nSmith_OD.png,14.2\n")
    Image.fromarray(strokes(1)).save(out / "b.jpg", comment=b"from Smith_OD.png")
    save(out / "Smith_OD" / "c.png", strokes(2))
    (out / "broken.png").write_bytes((out / "a_00001_.png").read_bytes()[:300])
    assert run("output", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert set(report["left"]) >= {os.path.join("output", n) for n in ("table.csv", "b.jpg", "Smith_OD/c.png")}
    assert list(report["unreadable"]) == [os.path.join("output", "broken.png")]
    assert "Smith_OD.png" in report["left"][os.path.join("output", "table.csv")]


def test_a_file_by_itself_and_an_input_folder_that_is_named(comfyui, capsys):
    lonely = comfyui / "elsewhere" / "x.png"
    save(lonely, strokes(3), {"prompt": API})
    assert run(str(lonely), "--input", "input") == 0
    assert "Smith" not in words(
        lonely
    ) and f"image-{sha256(comfyui / 'input/Smith_Johnny/Smith_OD.png')[:16]}" in words(lonely)


def test_the_owner_finds_an_image_again(comfyui, capsys):
    assert run("--list", "input") == 0
    name = f"image-{sha256(comfyui / 'input' / 'Smith_Johnny' / 'Smith_OD.png')[:16]}.png"
    assert capsys.readouterr().out == f"pseudonym,file\n{name},Smith_Johnny/Smith_OD.png\n"


def test_the_same_key_gives_the_same_pseudonyms(comfyui, capsys):
    (comfyui / "key").write_bytes(b"0123456789abcdef")
    said = []
    for _ in range(2):
        save(comfyui / "p.png", strokes(1), {"prompt": API})
        assert run("p.png", "--key", "key", "--json") == 0
        said.append(json.loads(capsys.readouterr().out)["names"])
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name the files or folders"),
        (["nowhere"], "there is no file or folder nowhere"),
        (["output", "--input", "none"], "there is no input folder none"),
        (["output", "--names", "none"], "there is no file none with names"),
        (["output", "--key", "none"], "there is no key file none"),
        (["--list", "none"], "there is no folder none"),
        (["output", "--list", "input"], "--list only prints pseudonyms"),
        (["--list", "input", "--check"], "--list only prints pseudonyms"),
        (["--list", "input", "--json"], "--list only prints pseudonyms"),
    ],
)
def test_bad_input_is_one_line(comfyui, capsys, arguments, sentence):
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and sentence in captured.err and len(captured.err.strip().splitlines()) == 1


def test_short_names_are_refused(comfyui, capsys):
    (comfyui / "names.txt").write_text("Al\n")
    assert run("output", "--names", "names.txt") == 2
    assert "names 'Al'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Özdemir", "cornea of Özdemir"),
        ("özdemir", "cornea of ÖZDEMIR"),
        ("Иванов OD", "cornea of Иванов OD"),
        ("Иванов", "cornea of иВАНОВ"),
        ("MÜLLER OD", "cornea of MÜLLER OD"),
        ("Weiß", "cornea of Weiß"),
        ("Smith", "cornea of\nSmith"),
    ],
)
def test_a_name_in_a_prompt_is_replaced_whatever_its_letters(tmp_path, monkeypatch, capsys, name, text):
    """A PNG and a workflow whose only trace is a prompt; neither the exact nor any other spelling is left."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text(name, encoding="utf-8")
    graph = {"1": {"class_type": "CLIPTextEncode", "inputs": {"text": text}}}
    save(tmp_path / "out" / "a.png", strokes(1), {"prompt": graph})
    (tmp_path / "out" / "flow.json").write_text(json.dumps(graph, ensure_ascii=False), encoding="utf-8")
    assert run("out", "--names", "names.txt", "--check", "--json") == 1
    found = json.loads(capsys.readouterr().out)["found"]
    assert list(found.values()) == [[text[10:]]] * 2
    assert run("out", "--names", "names.txt", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["rewritten"]) == 2 and not report["left"]
    with Image.open(tmp_path / "out" / "a.png") as picture:
        graphs = [picture.text["prompt"], (tmp_path / "out" / "flow.json").read_text(encoding="utf-8")]
    for said in map(json.loads, graphs):
        assert said["1"]["inputs"]["text"] == text[:10] + report["names"][name]


@pytest.mark.parametrize("name", ["Özdemir", "Иванов OD", "Иванов", "müller_od", "Weiß", "王小明"])
def test_letters_beyond_ascii_are_seen_in_what_is_not_rewritten(tmp_path, monkeypatch, capsys, name):
    """As the name is spelt, in lower case, in capitals and as a title; in UTF-8, and as JSON writes it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text(name, encoding="utf-8")
    for spelling in (name, name.lower(), name.upper(), name.title()):
        for content in (f"a,{spelling},1", json.dumps({"by": f"is\n{spelling}"})):
            (tmp_path / "out").mkdir(exist_ok=True)
            (tmp_path / "out" / "table.csv").write_text(content, encoding="utf-8")
            assert run("out", "--names", "names.txt", "--json") == 1, content
            left = json.loads(capsys.readouterr().out)["left"]
            assert list(left) == [os.path.join("out", "table.csv")]
            assert spelling in left[os.path.join("out", "table.csv")] or "\\u" in content


def test_a_name_is_seen_wherever_it_lies_in_a_file(tmp_path, monkeypatch):
    """Also across the windows in which large files are read; not inside a longer word."""
    from wdlora.privacy import tree

    monkeypatch.setattr(tree, "_WINDOW", 7)
    search = tree._Search(["smith_od.png", "müller"])
    for offset in range(40):
        file = tmp_path / f"{offset}.bin"
        file.write_bytes(b"\x00" * offset + b"Smith_OD.png" + b"." * 9 + "Müller".encode() + b"\x00")
        assert search.in_file(file) == {"Smith_OD.png", "Müller"}
        file.write_bytes(b"\x00" * offset + b"xSmith_OD.png Smith_OD.pngx M\xfcllerx")
        assert search.in_file(file) == set()
