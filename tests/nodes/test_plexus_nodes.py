"""CCM Degenerate, CCM Phantom, CCM Trace: the library's own results, seeds, and meaning."""

import numpy as np
import pytest
import torch

from wdlora.anatomy import degenerate, phantom, sample_mask, trace
from wdlora.anatomy.overlap import dice

SIZE = 192


def sampled(cohort="Control", size=SIZE, count=1, seed=3):
    inputs = {"cohort": cohort, "count": count, "size": size, "seed": seed}
    return {"s": {"class_type": "CCMSampleMasks", "inputs": inputs}}


def test_at_its_own_severity_a_plexus_comes_back_bit_for_bit(run):
    masks, cohort, plexus = run.values("CCMDegenerate", sampled(), plexus=["s", 2], severity=0.0)
    assert torch.equal(masks, run.result.values["s"][0]) and cohort == "Control"
    assert plexus.members[0] is run.result.values["s"][2].members[0]


def test_nerves_are_lost_and_none_appear(run):
    """Nothing lies farther than a pixel from where nerves were, apart from the wider drawing (0.4 px a side)."""
    from scipy import ndimage

    masks, cohort, plexus = run.values("CCMDegenerate", sampled(), plexus=["s", 2], severity=2.0)
    before, after = run.result.values["s"][0][0].numpy() > 0, masks[0].numpy() > 0
    assert cohort == "T1DPN" and plexus.members[0].severity == 2
    assert after.sum() < 0.8 * before.sum()
    assert not (after & ~ndimage.binary_dilation(before, iterations=3)).any()
    expected = degenerate(sample_mask("Control", seed=3, size=SIZE), 2.0).mask
    assert np.array_equal(after, expected)


def test_severity_below_the_plexus_own_gets_a_sentence(run):
    refusal = run.sentence("CCMDegenerate", sampled("T1DPN"), plexus=["s", 2], severity=0.5)
    assert "nerves do not grow here" in refusal


def test_a_phantom_is_the_librarys_and_its_seed_decides(run):
    graph = sampled(count=2)
    images, masks, _ = run.values("CCMPhantom", graph, plexus=["s", 2], seed=7, appearance="cohort")
    assert images.shape == (2, SIZE, SIZE, 3) and torch.equal(masks, run.result.values["s"][0])
    for index in range(2):
        expected = phantom(sample_mask("Control", seed=3 + index, size=SIZE), 7 + index)
        assert np.array_equal((images[index, ..., 0].numpy() * 255).round().astype(np.uint8), expected)
    again = run.values("CCMPhantom", graph, plexus=["s", 2], seed=7, appearance="cohort")[0]
    other = run.values("CCMPhantom", graph, plexus=["s", 2], seed=8, appearance="cohort")[0]
    assert torch.equal(again, images) and not torch.equal(other, images)


def test_a_phantom_of_the_first_version_is_the_librarys(run):
    """A graph saved before there was a choice opens with the new one; the old one is reached by its name."""
    asked = {"plexus": ["s", 2], "seed": 7, "appearance": "cohort"}
    first, masks, fibres = run.values("CCMPhantom", sampled(), **asked, version="phantom 1")
    drawn = sample_mask("Control", seed=3, size=SIZE)
    assert np.array_equal((first[0, ..., 0].numpy() * 255).round().astype(np.uint8), phantom(drawn, 7, version=1))
    assert torch.equal(fibres, masks)
    second, masks, fibres = run.values("CCMPhantom", sampled(), **asked, version="phantom 2")
    assert torch.equal(second, run.values("CCMPhantom", sampled(), **asked)[0]) and not torch.equal(first, second)
    assert np.array_equal(fibres[0].numpy() > 0, drawn.all_fibres) and (drawn.all_fibres & ~drawn.mask).any()
    assert np.array_equal(masks[0].numpy() > 0, drawn.mask)


def test_a_small_phantom_lies_on_its_small_mask(run):
    """Below the least field both show the middle of the same field of 160 pixels."""
    images, masks, _ = run.values("CCMPhantom", sampled(size=96), plexus=["s", 2], seed=1, appearance="common")
    drawn = sample_mask("Control", seed=3, size=160)
    expected = phantom(drawn, 1, "common")[32:128, 32:128]
    assert np.array_equal((images[0, ..., 0].numpy() * 255).round().astype(np.uint8), expected)
    assert np.array_equal(masks[0].numpy() > 0, drawn.mask[32:128, 32:128])


def test_tracing_a_phantom_finds_its_mask(run):
    """Dice of tracings on phantoms is .6 to .9; chance is the share of nerve, below .15."""
    asked = {"plexus": ["s", 2], "seed": 1, "appearance": "cohort", "version": "phantom 1"}
    picture = {"p": {"class_type": "CCMPhantom", "inputs": asked}}
    traced = run.values("CCMTrace", sampled() | picture, images=["p", 0], pixel_size_um=400 / 384)[0]
    images, masks, _ = run.result.values["p"]
    assert dice(traced[0].numpy(), masks[0].numpy()) > 0.5
    expected = trace((images[0].mean(-1).numpy() * 255).round().astype(np.uint8))
    assert np.array_equal(traced[0].numpy() > 0, expected)


def test_what_is_no_image_is_not_traced(run):
    picture = torch.rand(1, 96, 96, 3, generator=torch.Generator().manual_seed(0))
    valid = torch.zeros(1, 96, 96)
    valid[:, :, :48] = 1
    traced = run.values("CCMTrace", images=picture, pixel_size_um=1.0, valid=valid)[0]
    assert not traced[0, :, 48:].any()


@pytest.mark.parametrize(
    ("images", "valid", "sentence"),
    [
        (torch.full((1, 64, 64, 3), float("nan")), None, "images holds values that are not numbers"),
        (torch.zeros(1, 1, 1, 3).expand(1, 10_000, 10_000, 3), None, "images is 10000 × 10000 pixels"),
        (torch.zeros(1, 64, 64), None, "which is not an image"),
        (torch.zeros(3, 64, 64, 3), torch.ones(2, 64, 64), "valid is a batch of 2 for 3 images"),
        (torch.zeros(1, 64, 64, 3), torch.ones(1, 32, 64), "give masks of the image's size"),
    ],
)
def test_bad_images_get_a_sentence(run, images, valid, sentence):
    inputs = {} if valid is None else {"valid": valid}
    assert sentence in run.sentence("CCMTrace", images=images, pixel_size_um=1.0, **inputs)


def test_the_overlay_shows_what_was_counted(run):
    """A straight vertical nerve through the field is one trunk: red where it runs, the picture elsewhere."""
    mask = torch.zeros(1, 200, 200)
    mask[:, :, 99:102] = 1
    picture = torch.full((1, 200, 200, 3), 0.25)
    overlay = run.values("CCMBiomarkers", masks=mask, pixel_size_um=1.0, images=picture)[2]
    red, green, blue = overlay[0, 100, 100]
    assert red > 0.8 and green < 0.5 and blue < 0.5
    assert torch.allclose(overlay[0, :, :90], torch.tensor(63 / 255))  # as Save Image stores .25
    with_other = torch.zeros(2, 200, 200, 3)
    refusal = run.sentence("CCMBiomarkers", masks=mask, pixel_size_um=1.0, images=with_other)
    assert "masks is a batch of 1 and images one of 2" in refusal
    refusal = run.sentence("CCMBiomarkers", masks=mask, pixel_size_um=1.0, images=torch.zeros(1, 100, 200, 3))
    assert "masks is 200 × 200 pixels and images 200 × 100" in refusal
