"""Conditioning and cropping around the host's sampler: mask, cohort, prompt, reference, padding."""

import pytest
import torch

from tests.nodes.painting import node, paint, sentence
from wdlora.cohorts import COHORTS


def test_it_is_the_librarys_main_job(painter, strokes):
    """The graph's conditioning equals `generate.prepare`'s: same prompts, same views, same latents."""
    from wdlora.qwen import QwenImageEdit
    from wdlora.qwen.generate import prepare
    from wdlora.qwen.latents import latent_statistics

    mask = strokes[:, :50, :61]  # padded to 64 × 64
    result = paint(painter, mask)
    model, clip, vae = result.values["load"][:3]
    parts = QwenImageEdit(
        model.transformer, clip.text_encoder, clip.tokenizer, vae.vae, "edit", torch.float32, torch.device("cpu")
    )
    known = COHORTS["T1DPN"]
    with torch.inference_mode():
        expected = prepare(parts, mask[0], known.prompt, negative=known.negative_prompt)
    positive, negative, latent, prompt = result.values["c"]
    assert prompt == known.prompt
    assert torch.equal(positive[0][0], expected.positive.embeds)
    assert torch.equal(negative[0][0], expected.negative.embeds)
    mean, std = latent_statistics()
    reference = (positive[0][1]["reference_latents"][0] - mean) / std
    assert torch.allclose(reference, expected.references[0], atol=1e-5)
    assert latent["samples"].shape == (1, 16, 1, 8, 8) and not latent["samples"].any()
    assert result.values["d"][0].shape == (1, 64, 64, 3) and result.values["crop"][0].shape == (1, 50, 61, 3)
    assert torch.equal(result.values["crop"][0], result.values["d"][0][:, :50, :61])


def test_same_seed_same_picture_another_seed_another(painter, strokes):
    first = paint(painter, strokes).values["crop"][0]
    painter.executor.clear_cache()
    assert torch.equal(paint(painter, strokes).values["crop"][0], first)
    assert not torch.equal(paint(painter, strokes, seed=6).values["crop"][0], first)


def test_each_mask_of_a_batch_is_painted_as_if_alone(painter, strokes):
    """With the noise of a batch: the first picture has the first noise, so it equals the picture painted alone."""
    batch = torch.cat([strokes, strokes.flip(2)])
    both = paint(painter, batch)
    assert both.values["c"][2]["samples"].shape[0] == 2
    alone = paint(painter, strokes).values["crop"][0]
    pictures = both.values["crop"][0]
    assert torch.allclose(pictures[0], alone[0], atol=1e-4)  # sums in another order
    assert not torch.allclose(pictures[1], pictures[0], atol=1e-2)


def test_prompt_cohort_and_links(painter, strokes):
    linked = {"w": node("Give", key="cohort"), "n": node("Give", key="variant")}
    painter.given |= {"cohort": "Control", "variant": "edit"}
    result = paint(
        painter, strokes, linked, variant="2509", linked_cohort=["w", 0], linked_variant=["n", 0], text=" Right eye. "
    )
    assert result.values["c"][3] == COHORTS["Control"].prompt + " Right eye."
    assert result.values["c"][0][0][1]["reference_latents_method"] == "index"
    only = paint(painter, strokes, cohort="text only", text="nerves")
    assert only.values["c"][3] == "nerves"


def test_a_reference_is_a_second_picture(painter, strokes):
    """2509 takes one more picture, on the mask's grid; the first model takes none."""
    given = {"r": node("Give", key="reference")}
    painter.given["reference"] = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    result = paint(painter, strokes, given, loaded="2509", reference=["r", 0])
    extra = result.values["c"][0][0][1]
    assert [tuple(one.shape) for one in extra["reference_latents"]] == [(1, 16, 1, 8, 8)] * 2
    plain = paint(painter, strokes, loaded="2509").values["crop"][0]
    assert not torch.equal(result.values["crop"][0], plain)
    assert "takes one picture" in sentence(painter, strokes, given, variant="edit", reference=["r", 0])
    painter.given["reference"] = torch.rand(1, 64, 96, 3)
    assert "the reference is 96 × 64" in sentence(painter, strokes, given, loaded="2509", reference=["r", 0])
    painter.given["reference"] = torch.rand(3, 64, 64, 3)
    assert "a batch of 3 for 1 masks" in sentence(painter, strokes, given, loaded="2509", reference=["r", 0])


@pytest.mark.parametrize(
    ("mask", "changes", "refusal"),
    [
        (torch.zeros(1, 64, 64), {}, "mask 1 of 1 holds no nerve"),
        (torch.ones(1, 64, 64), {}, "nerve on 100 % of its area: it is probably inverted"),
        (torch.full((1, 64, 64), float("nan")), {}, "mask holds values that are not numbers"),
        (torch.zeros(1, 1, 1).expand(1, 10_000, 10_000), {}, "mask is 10000 × 10000 pixels"),
        (torch.zeros(1, 1, 1).expand(1, 4000, 4000), {}, "at most 2048 × 2048"),
        (None, {"cohort": "text only"}, "the text is empty"),
        (None, {"cohort": "T2"}, "T2"),
        (None, {"text": "<|im_end|>"}, "control token"),
    ],
)
def test_bad_conditioning_gets_a_sentence(painter, strokes, mask, changes, refusal):
    assert refusal in sentence(painter, strokes if mask is None else mask, **changes)


def test_an_empty_mask_is_painted_where_it_is_allowed(painter):
    result = paint(painter, torch.zeros(1, 64, 64), allow_empty=True)
    assert result.values["crop"][0].shape == (1, 64, 64, 3)


def test_the_padding_is_said(painter, strokes):
    texts = []

    class Ears:
        def send(self, *_):
            pass

        def send_preview(self, *_):
            pass

        def send_text(self, node_id, text, client_id):
            texts.append((node_id, text))

        def watched(self, client_id):
            return False

    before, painter.executor.sink = painter.executor.sink, Ears()
    paint(painter, strokes[:, :40, :60])
    painter.executor.sink = before
    assert ("c", "mask of 60 × 40 extended to 64 × 64: link CCM Crop To Mask after VAE Decode") in texts


def test_a_crop_of_another_picture_is_refused(run, strokes):
    refusal = run.sentence("CCMCropToMask", image=torch.zeros(1, 96, 64, 3), mask=strokes[:, :40, :60])
    assert "for a mask of 60 × 40 it must have that size or 64 × 64" in refusal
