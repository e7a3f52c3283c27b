"""What nobody looks at is not computed, and what is computed is the same to the bit."""

import json

import torch

from wdlora.host.deferred import Deferred

from .painting import node, paint, sentence


class Eyes:
    """A sink of somebody who watches, or of nobody."""

    def __init__(self, open):
        self.open, self.previews = open, []

    def send(self, event, data, client_id):
        pass

    def send_preview(self, image, metadata, client_id):
        self.previews.append(image.size)

    def send_text(self, node_id, text, client_id):
        pass

    def watched(self, client_id):
        return self.open


def counted(host, monkeypatch, name):
    calls = []
    real = getattr(type(host.engine), name)
    monkeypatch.setattr(type(host.engine), name, lambda *given: calls.append(given[1:]) or real(*given))
    return calls


def picture(result):
    return result.values["d"][0]


def test_previews_are_made_where_somebody_watches_and_change_nothing(painter, strokes, monkeypatch):
    encoded = counted(painter, monkeypatch, "vae_encode")
    nobody, somebody = Eyes(False), Eyes(True)
    monkeypatch.setattr(painter.executor, "sink", nobody)
    unseen = paint(painter, strokes, seed=31)
    assert len(encoded) == 1 and nobody.previews == []  # the mask; no picture to fit a map to
    monkeypatch.setattr(painter.executor, "sink", somebody)
    painter.executor.clear_cache()
    seen = paint(painter, strokes, seed=31)
    assert len(encoded) == 3 and len(somebody.previews) == 2
    again = paint(painter, strokes, seed=32)
    assert len(encoded) == 4 and len(somebody.previews) == 4  # the map is fitted once; `Give` never equals itself
    assert torch.equal(picture(seen), picture(unseen)) and not torch.equal(picture(again), picture(seen))


def test_without_guidance_the_negative_prompt_is_not_encoded(painter, strokes, monkeypatch):
    encoded = counted(painter, monkeypatch, "encode")
    plain = paint(painter, strokes, cfg=1.0, seed=41)
    assert len(encoded) == 1
    guided = paint(painter, strokes, cfg=2.5, seed=41)
    assert [words for _, words, *_ in encoded].count(encoded[0][1]) == 2 and len(encoded) == 3
    assert not torch.equal(picture(guided), picture(plain))
    other = paint(painter, strokes, cfg=1.0, seed=41, negative_text="something else")
    assert torch.equal(picture(other), picture(plain))


def test_a_negative_that_was_left_out_is_encoded_when_it_is_looked_at(painter, strokes, monkeypatch):
    """The cached conditioning of a graph without guidance serves one with it, and is what it would have been."""
    painter.given["mask"] = strokes
    monkeypatch.setattr(painter.registry.get("Give").cls, "fingerprint_inputs", classmethod(lambda cls, key: key))
    painter.executor.clear_cache()
    encoded = counted(painter, monkeypatch, "encode")
    paint(painter, strokes, cfg=1.0, seed=51)
    assert len(encoded) == 1
    later = paint(painter, strokes, cfg=2.5, seed=51)
    assert len(encoded) == 2 and "c" not in later.executed
    painter.executor.clear_cache()
    assert torch.equal(picture(paint(painter, strokes, cfg=2.5, seed=51)), picture(later))


def test_a_negative_that_another_node_reads_is_encoded(painter, strokes):
    zero = {"z": node("ConditioningZeroOut", conditioning=["c", 1]), "k2": node("Keep", value=["z", 0])}
    result = paint(painter, strokes, extra=zero, cfg=1.0)
    (embeds, extra), (given, _) = result.values["z"][0][0], result.values["c"][1][0]
    assert embeds.shape == given.shape and not embeds.any() and given.any() and extra["reference_latents"]
    shown = paint(painter, strokes, extra={"s": node("PreviewAny", source=["c", 1])}, cfg=1.0)
    assert "tensor" in shown.outputs["s"]["text"][0]


def test_a_bad_negative_prompt_is_refused_though_it_is_not_encoded(painter, strokes):
    assert "control token" in sentence(painter, strokes, cfg=1.0, negative_text="<|im_end|>")


def test_a_deferred_list_is_made_once():
    made = []
    later = Deferred(lambda: made.append(1) or [["embeds", {}]])
    assert made == []
    assert len(later) == 1 and later[0] == ["embeds", {}] and list(later) == [["embeds", {}]]
    assert made == [1] and repr(later) == "[['embeds', {}]]"
    try:
        json.dumps(later)
    except TypeError:
        return
    raise AssertionError("json must not take it for an empty list")
