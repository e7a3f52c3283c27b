"""The cache never serves an entry for anything but what it was made of."""

import numpy as np
import pytest
import torch

from training.cache import Cache, entry_key
from wdlora.errors import InputError

IMAGE = np.zeros((4, 6), np.uint8)
MASK = np.zeros((4, 6), bool)


def test_everything_that_decides_the_content_decides_the_key():
    changed = IMAGE.copy()
    changed[0, 0] = 1
    keys = [
        entry_key("vae1", "a", IMAGE, MASK),
        entry_key("vae2", "a", IMAGE, MASK),
        entry_key("vae1", "b", IMAGE, MASK),
        entry_key("vae1", "a", changed, MASK),
        entry_key("vae1", "a", IMAGE, ~MASK),
        entry_key("vae1", "a", IMAGE.reshape(6, 4), MASK),
        entry_key("vae1", "a", IMAGE, MASK, IMAGE),
        entry_key("vae1", "a", IMAGE, MASK, None),
        entry_key("vae1", "a", MASK, IMAGE),
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == entry_key("vae1", "a", IMAGE.copy(), MASK.copy())


def test_an_entry_is_computed_once_and_again_if_torn(tmp_path):
    cache, calls = Cache(tmp_path), []

    def compute():
        calls.append(1)
        return {"x": torch.arange(3)}

    key = entry_key("v", "p", IMAGE)
    assert torch.equal(cache.get(key, compute)["x"], cache.get(key, compute)["x"])
    assert len(calls) == 1 and (cache.hits, cache.misses) == (1, 1)
    cache.path(key).write_bytes(b"torn")
    cache.get(key, compute)
    assert len(calls) == 2 and torch.equal(cache.get(key, compute)["x"], torch.arange(3))


def test_a_flipped_bit_is_computed_again_and_never_read(tmp_path):
    cache, key = Cache(tmp_path), entry_key("v", "p", IMAGE)
    path, right = cache.path(key), {"x": torch.ones(64)}
    cache.get(key, lambda: right)
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 0x40  # the last 1.0 becomes infinite
    path.write_bytes(changed)
    with pytest.raises(InputError, match=r"is not as it was written; start again to encode it"):
        cache.read(key)
    assert torch.equal(cache.get(key, lambda: right)["x"], torch.ones(64))
    assert torch.equal(cache.read(key)["x"], torch.ones(64))


def test_too_little_disk_is_said_before_work_starts(tmp_path):
    with pytest.raises(InputError, match="GB free"):
        Cache(tmp_path).require_space(10**12, {"x": torch.zeros(10**4)})
