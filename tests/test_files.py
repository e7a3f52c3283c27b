"""Files appear whole or not at all."""

import resource
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from wdlora.errors import InputError
from wdlora.files import write_tensors


def test_tensors_that_share_memory_are_written(tmp_path):
    table = torch.arange(6.0).reshape(2, 3)
    write_tensors(tmp_path / "x.safetensors", {"a": table, "b": table, "turned": table.T}, {"k": "v"})
    found = load_file(tmp_path / "x.safetensors")
    assert torch.equal(found["a"], table) and torch.equal(found["b"], table) and torch.equal(found["turned"], table.T)


def test_a_file_that_does_not_fit_is_one_sentence_and_leaves_the_old_one(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.ones(1)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(InputError, match=r"x\.safetensors cannot be written .*check path, permissions and space"):
            write_tensors(path, {"a": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_file(path)["a"].item() == 1
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]


ODD = {
    "ü": 'a "quoted" \\ \n\t\x01\x7f line',
    "b": "\u2028 \U0001f441",
    "a": "",
    **{f"key{i}": str(i) for i in range(6)},
}


def test_the_same_content_is_the_same_bytes_in_every_process(tmp_path):
    """safetensors itself writes metadata in an order that changes with every process."""
    code = (
        "import sys, torch; from wdlora.files import write_tensors;"
        f"write_tensors(sys.argv[1], {{'x': torch.ones(3), 'y': torch.ones(1).half()}}, {ODD!r})"
    )
    files = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for file in files:
        subprocess.run([sys.executable, "-c", code, file], check=True)
    assert len({file.read_bytes() for file in files}) == 1
    with safe_open(files[0], "pt") as file:
        assert file.metadata() == ODD
        assert torch.equal(file.get_tensor("x"), torch.ones(3))
