"""ComfyUI's own nodes in the embedded host, against drawings, closed forms and Pillow; parity: tests/comfyui."""

import threading

import numpy as np
import pytest
import torch
from PIL import Image

from wdlora.errors import InputError
from wdlora.host import context, install_api

install_api()

from wdlora.host.core_nodes import conditioning, masks, painting, sampling, scaling  # noqa: E402

DOT = torch.zeros(1, 5, 5)
DOT[0, 2, 2] = 0.75


def drawn(mask):
    return ["".join("#" if value else "." for value in row) for row in mask]


def test_a_mask_grows_by_crosses_or_squares():
    (cross,) = masks.GrowMask.execute(DOT, 1, True).args
    assert drawn(cross[0]) == [".....", "..#..", ".###.", "..#..", "....."] and cross.max() == 0.75
    (diamond,) = masks.GrowMask.execute(DOT, 2, True).args
    assert drawn(diamond[0]) == ["..#..", ".###.", "#####", ".###.", "..#.."]
    (square,) = masks.GrowMask.execute(DOT, 1, False).args
    assert drawn(square[0]) == [".....", ".###.", ".###.", ".###.", "....."]
    (back,) = masks.GrowMask.execute(square, -1, False).args
    assert torch.equal(back, DOT)
    (gone,) = masks.GrowMask.execute(DOT, -16384, True).args  # stops as soon as nothing changes
    assert gone.max() == 0


def test_growing_hears_an_interruption():
    stop = threading.Event()
    stop.set()
    with context.node(context.NodeContext("1", None, stop)), pytest.raises(context.Interrupted):
        masks.GrowMask.execute(DOT, 3, True)


def test_masks_inverted_and_of_one_value():
    (inverted,) = masks.InvertMask.execute(DOT).args
    assert inverted[0, 2, 2] == 0.25 and inverted.sum() == 24.25
    (solid,) = masks.SolidMask.execute(0.37, 5, 3).args
    assert solid.shape == (1, 3, 5) and solid.dtype == torch.float32 and torch.all(solid == 0.37)
    with pytest.raises(InputError, match="64 million"):
        masks.SolidMask.execute(1.0, 16384, 16384)


def test_pictures_in_other_sizes():
    def scale(image, *arguments):
        (result,) = scaling.ImageScale().upscale(image, *arguments)
        return result

    picture = torch.arange(8 * 4 * 3, dtype=torch.float32).reshape(1, 4, 8, 3) / 96
    assert torch.allclose(scale(picture, "area", 4, 2, "disabled"), picture.reshape(1, 2, 2, 4, 2, 3).mean((2, 4)))
    twice = scale(picture, "nearest-exact", 16, 8, "disabled")
    assert torch.equal(twice, picture.repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert torch.equal(scale(picture, "nearest-exact", 4, 4, "center"), picture[:, :, 2:6])
    assert torch.equal(scale(picture, "nearest-exact", 8, 2, "center"), picture[:, 1:3])
    assert scale(picture, "bicubic", 6, 0, "disabled").shape == (1, 3, 6, 3)
    assert scale(picture, "bilinear", 0, 1, "disabled").shape == (1, 1, 2, 3)
    assert scale(picture, "lanczos", 0, 0, "center") is picture
    grey = picture[..., :1]
    pixels = (255 * grey[0, ..., 0].numpy()).astype(np.uint8)
    by_pillow = np.asarray(Image.fromarray(pixels).resize((5, 7), Image.Resampling.LANCZOS))
    result = scale(grey, "lanczos", 5, 7, "disabled")
    assert result.shape == (1, 7, 5, 1) and np.array_equal(
        result[0, ..., 0].numpy(), by_pillow.astype(np.float32) / 255
    )
    with pytest.raises(InputError, match="no pixel of 8 × 4 is left"):
        scale(picture, "area", 512, 4, "center")
    with pytest.raises(InputError, match="64 million"):
        scale(picture.expand(5, -1, -1, -1), "area", 4000, 4000, "disabled")


def test_latents_repeated_and_words_zeroed():
    latents = torch.arange(2.0).reshape(2, 1, 1, 1, 1).expand(2, 16, 1, 4, 4)
    (more,) = sampling.RepeatLatentBatch().repeat({"samples": latents, "downscale_ratio_spacial": 8}, 3)
    assert more["samples"][:, 0, 0, 0, 0].tolist() == [0, 1, 0, 1, 0, 1] and more["downscale_ratio_spacial"] == 8
    words, extra = torch.ones(1, 3, 4), {"attention_mask": torch.ones(1, 3), "reference_latents": [latents]}
    (zeroed,) = conditioning.ConditioningZeroOut().zero_out([[words, extra]])
    assert zeroed[0][0].shape == words.shape and not zeroed[0][0].any() and words.all()
    assert zeroed[0][1] == extra and zeroed[0][1] is not extra


@pytest.mark.parametrize(
    ("first", "last", "leave", "levels"),
    [
        (0, 10000, False, [4, 3, 2, 1, 0]),
        (0, 10000, True, [4, 3, 2, 1, 0]),
        (1, 3, True, [3, 2, 1]),
        (1, 3, False, [3, 2, 0]),
        (0, 4, True, [4, 3, 2, 1, 0]),
        (3, 4, True, [1, 0]),
        (4, 10000, True, None),
        (2, 2, False, None),
        (0, 0, False, None),
        (3, 1, True, None),
    ],
)
def test_parts_of_a_schedule(first, last, leave, levels):
    whole = torch.tensor([4.0, 3, 2, 1, 0])
    part = painting.part_of_schedule(whole, first, last, leave)
    assert (None if part is None else part.tolist()) == levels
    assert whole.tolist() == [4, 3, 2, 1, 0]


def test_batches_that_do_not_go_together_are_refused():
    class Transformer:
        class config:
            zero_cond_t = False

    given = [[torch.zeros(2, 3, 4), {"reference_latents": [torch.zeros(2, 16, 1, 4, 4)]}]]
    painting.denoiser_of(Transformer, given, "positive", 4)
    with pytest.raises(InputError, match="a batch of 3, but the positive conditioning is one of 2"):
        painting.denoiser_of(Transformer, given, "positive", 3)
