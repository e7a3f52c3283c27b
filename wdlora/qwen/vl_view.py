"""The one VL view: what the vision–language encoder sees of a picture.

ComfyUI and the pipelines around transformers each resize the picture to a multiple of 28 in their own way,
and their results differ (by .66 at 384 pixels) unless the size is such a multiple already. So the picture is
brought to one here, once, by one resampler; training, both hosts and the command line all call `vl_view`, and
every later preprocessing is the identity.
"""

import math

import torch

from .pixels import as_picture

PATCH = 14  # pixels a side of a vision patch
MERGE = 2  # patches a side that become one token
UNIT = PATCH * MERGE
VIEW_PIXELS = 392 * 392  # the least multiple of 28 above the 384² view of Qwen-Image-Edit-2509
LEAST_SIDE = 2 * UNIT  # below 56 × 56 pixels ComfyUI would enlarge the view once more

# Normalisation of the vision tower (the statistics of CLIP, Radford et al. 2021).
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


def view_size(height: int, width: int) -> tuple[int, int]:
    """Size of the VL view for a picture: its own scale, or 392² pixels if it is larger; multiples of 28.

    Each side is at least 56 and otherwise rounded to the nearest multiple (halves up), so the aspect ratio is
    kept up to that rounding. 384 × 384 gives 392 × 392.
    """
    scale = min(1.0, math.sqrt(VIEW_PIXELS / (height * width)))
    return _multiple(height * scale), _multiple(width * scale)


def _multiple(side: float) -> int:
    return max(LEAST_SIDE, UNIT * math.floor(side / UNIT + 0.5))


def vl_view(image: torch.Tensor) -> torch.Tensor:
    """Bring a picture to the size in which the VL encoder sees it.

    `image`: anything `as_picture` takes. Returns float32 [B, 3, h, w] in [0, 1] on the CPU (so that the host's
    device cannot change it), with (h, w) = `view_size(H, W)`; bilinear with antialiasing, identity where the
    size fits already.
    """
    picture = as_picture(image).detach().to("cpu", torch.float32)
    size = view_size(*picture.shape[-2:])
    if tuple(picture.shape[-2:]) == size:
        return picture.contiguous()
    return torch.nn.functional.interpolate(
        picture, size=size, mode="bilinear", align_corners=False, antialias=True
    ).clamp(0, 1)


def patches(view: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalise views and cut them into the vision tower's patches.

    `view`: [n, 3, h, w] from `vl_view`. Returns `pixel_values` [n·(h/14)·(w/14), 1176], where 1176 =
    3 channels · 2 equal frames · 14 · 14 and the patches of one merged token are neighbours, and
    `image_grid_thw` int64 [n, 3] = (1, h/14, w/14) for each view.
    """
    count, channels, height, width = view.shape
    rows, columns = height // UNIT, width // UNIT
    mean = view.new_tensor(_MEAN).view(1, 3, 1, 1)
    std = view.new_tensor(_STD).view(1, 3, 1, 1)
    pixels = ((view - mean) / std).reshape(count, channels, rows, MERGE, PATCH, columns, MERGE, PATCH)
    # A merged token lies at (row, column); its patches within it at (i, j); the pixels of a patch at (y, x).
    sample, channel, row, i, y, column, j, x = range(8)
    patched = pixels.permute(sample, row, column, i, j, channel, y, x)
    frames = patched.unsqueeze(6).expand(*patched.shape[:6], 2, PATCH, PATCH)  # a still picture stands for two frames
    grid = torch.tensor([[1, rows * MERGE, columns * MERGE]] * count, dtype=torch.long)
    return frames.reshape(count * rows * columns * MERGE**2, channels * 2 * PATCH**2), grid
