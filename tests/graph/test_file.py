"""Graph files: an API-format workflow, the one in a picture, and what is neither."""

import json

import pytest

from wdlora.errors import InputError
from wdlora.files import sha256
from wdlora.graph.file import read_graph


def test_files(titled, tmp_path, host):
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(titled))
    assert read_graph(plain) == titled
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"prompt": titled, "client_id": "x"}))
    assert read_graph(body) == titled
    host.run(titled)
    saved = read_graph(host.folders.output / "out_00001_.png")
    assert saved["1"]["inputs"].pop("image") == f"image-{sha256(host.folders.input / 'mask.png')[:16]}.png"
    del titled["1"]["inputs"]["image"]
    assert saved == titled
    with pytest.raises(InputError, match="holds no graph"):
        read_graph(host.folders.input / "mask.png")


def test_a_workflow_of_the_front_end_stands_for_its_api_twin(titled, tmp_path):
    for_page = tmp_path / "flow.json"
    for_page.write_text(json.dumps({"nodes": [], "links": []}))
    with pytest.raises(InputError, match="is a workflow for the front end"):
        read_graph(for_page)
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "flow.json").write_text(json.dumps(titled))
    assert read_graph(for_page) == titled


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '"x"', "\x00", "[" * 100_000, '{"nodes": []}'])
def test_files_that_are_no_graph(tmp_path, content):
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"bad\.json"):
        read_graph(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_graph(tmp_path / "missing.json")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_refused_in_one_line(tmp_path, number):
    path = tmp_path / "bad.json"
    path.write_text(f'{{"1": {{"class_type": "CCMSampleMasks", "inputs": {{"seed": {number}}}}}}}')
    with pytest.raises(InputError, match=f"holds {number}, which is not a number"):
        read_graph(path)
