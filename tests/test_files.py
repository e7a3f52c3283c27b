"""Files appear whole or not at all."""

import resource

import pytest
import torch
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
