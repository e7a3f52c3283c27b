"""A step that would take a minute is left within a moment of the wish to stop, and the model is as it was."""

import threading
import time

import pytest
import torch
from torch import nn

from wdlora.host.context import Interrupted, NodeContext, node
from wdlora.host.hearing import interruptible


class Slow(nn.Module):
    """600 blocks of a tenth of a second."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Identity() for _ in range(600))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
            time.sleep(0.1)
        return x


def test_a_wish_to_stop_is_heard_between_blocks():
    part, stop = Slow(), threading.Event()
    threading.Timer(0.3, stop.set).start()
    begun = time.monotonic()
    with node(NodeContext("1", None, stop)), pytest.raises(Interrupted), interruptible(part):
        part(torch.zeros(1))
    assert time.monotonic() - begun < 3
    assert not any(block._forward_pre_hooks for block in part.blocks)


def test_without_a_wish_nothing_changes():
    part = nn.ModuleList([nn.Linear(2, 2)])
    x = torch.ones(1, 2)
    with node(NodeContext("1", None, threading.Event())), interruptible(part):
        heard = part[0](x)
    assert torch.equal(heard, part[0](x))
