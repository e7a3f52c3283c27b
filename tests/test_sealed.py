"""Every single flipped bit is noticed."""

import pytest
import torch
from safetensors import SafetensorError

from wdlora.sealed import BrokenSeal, read_sealed_tensors, seal, unseal, write_sealed_tensors

TENSORS = {
    "x": torch.arange(3.0),
    "half": torch.ones(2, 2).bfloat16(),
    "one": torch.tensor(7),
    "none": torch.empty(0, 4),
    "turned": torch.arange(6.0).reshape(2, 3).T,
}


def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "x.safetensors"
    write_sealed_tensors(path, TENSORS)
    found = read_sealed_tensors(path)
    assert found.keys() == TENSORS.keys()
    assert all(
        torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in TENSORS.items()
    )
    content = path.read_bytes()
    unnoticed = []
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            again = read_sealed_tensors(path)
        except (BrokenSeal, SafetensorError, OSError):
            continue
        if again.keys() != found.keys() or not all(torch.equal(again[name], found[name]) for name in found):
            unnoticed.append(bit)
    assert not unnoticed


def test_a_file_without_a_hash_is_not_believed(tmp_path):
    from wdlora.files import write_tensors

    write_tensors(tmp_path / "x.safetensors", TENSORS)
    with pytest.raises(BrokenSeal, match="not as it was written"):
        read_sealed_tensors(tmp_path / "x.safetensors")


def test_bytes():
    sealed = seal(b"content")
    assert unseal(sealed) == b"content"
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BrokenSeal):
            unseal(bytes(changed))
    for length in (0, 31, len(sealed) - 1):
        with pytest.raises(BrokenSeal):
            unseal(sealed[:length])
