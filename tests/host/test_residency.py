"""Which parts lie on an accelerator. It is played by a number of bytes here: only where parts go is looked at."""

import gc
import types

import pytest
import torch

from wdlora.host.residency import WORKING_BYTES, Residents, size_of

GIB = 2**30


class Part:
    """Something of a size that is somewhere, with a module's methods."""

    def __init__(self, gib, card):
        self.gib, self.card, self.moves = gib, card, []

    def parameters(self):
        return [types.SimpleNamespace(nbytes=self.gib * GIB)]

    def buffers(self):
        return []

    def to(self, device):
        if self.moves[-1:] != [device]:
            self.moves.append(device)
            self.card["used"] += self.gib if device != "cpu" else -self.gib if len(self.moves) > 1 else 0
        return self


@pytest.fixture
def card():
    return {"size": 80, "used": 0}


@pytest.fixture
def parts(card):
    """A text encoder of 17 GiB, a transformer of 41 and a VAE of 1, as in bfloat16."""
    return Part(17, card), Part(41, card), Part(1, card)


@pytest.fixture
def residents(card):
    return Residents(lambda device: (card["size"] - card["used"]) * GIB)


DEVICE = types.SimpleNamespace(type="xpu")


def test_parts_stay_while_they_fit(residents, parts, card):
    for _ in range(3):
        for part in parts:
            residents.bring(part, DEVICE)
    assert [part.moves for part in parts] == [[DEVICE]] * 3 and card["used"] == 59


def test_the_part_used_longest_ago_leaves_first(residents, parts, card):
    text, transformer, vae = parts
    card["size"] = 64
    for part in (text, vae, transformer):  # 59 GiB and 8 to work in are more than 64
        residents.bring(part, DEVICE)
    assert text.moves == [DEVICE, "cpu"] and vae.moves == [DEVICE] and transformer.moves == [DEVICE]
    residents.bring(vae, DEVICE)
    assert transformer.moves == [DEVICE]
    residents.bring(text, DEVICE)  # the VAE was used after the transformer
    assert transformer.moves == [DEVICE, "cpu"] and vae.moves == [DEVICE]
    assert WORKING_BYTES == 8 * GIB


def test_on_a_small_card_one_part_at_a_time_is_there(residents, parts, card):
    card["size"] = 24
    for part in parts:
        residents.bring(part, DEVICE)
        assert [one.moves[-1:] == [DEVICE] for one in parts] == [one is part for one in parts]


def test_a_part_that_is_gone_counts_no_more(residents, card):
    residents.bring(Part(70, card), DEVICE)
    gc.collect()
    card["used"] = 0
    other = Part(60, card)
    residents.bring(other, DEVICE)
    assert other.moves == [DEVICE]
    residents.leave()
    assert other.moves == [DEVICE, "cpu"]


def test_where_memory_runs_out_it_is_tried_once_more_alone(residents, parts):
    text, transformer, _ = parts
    residents.bring(text, DEVICE)
    tries = []

    def compute():
        tries.append(text.moves[-1])
        if text.moves[-1] is DEVICE:
            raise torch.OutOfMemoryError
        return "painted"

    assert residents.work(transformer, DEVICE, compute) == "painted"
    assert tries == [DEVICE, "cpu"]
    with pytest.raises(torch.OutOfMemoryError):  # alone already
        residents.work(transformer, DEVICE, lambda: (_ for _ in ()).throw(torch.OutOfMemoryError()))


def test_the_size_of_a_module():
    module = torch.nn.BatchNorm1d(3)  # 2 × 3 weights, 2 × 3 statistics of 4 bytes, and a counter of 8
    assert size_of(module) == 48 + 8
