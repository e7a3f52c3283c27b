"""FID's own Inception network in plain torch: 2048 features of an image.

The graph of 2015-12-05 that Heusel et al. 2017 used, which differs from torchvision's Inception v3: images are
brought to 299 × 299 by TensorFlow 1's bilinear interpolation without antialiasing, average pools leave their padding
out, the last block pools by maxima, and there are 1008 classes (not used here). Names of the weights are those of the
converted file `pt_inception-2015-12-05-6726825d.pth`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

FEATURES = 2048
SIDE = 299
EPSILON = 1e-3

Convolution = tuple[int, int, int | tuple[int, int], int, int | tuple[int, int]]
"""In, out, kernel, stride, padding."""


def convolutions() -> dict[str, Convolution]:
    """Every convolution by name."""
    found: dict[str, Convolution] = {
        "Conv2d_1a_3x3": (3, 32, 3, 2, 0),
        "Conv2d_2a_3x3": (32, 32, 3, 1, 0),
        "Conv2d_2b_3x3": (32, 64, 3, 1, 1),
        "Conv2d_3b_1x1": (64, 80, 1, 1, 0),
        "Conv2d_4a_3x3": (80, 192, 3, 1, 0),
    }

    def add(block: str, **branches: Convolution) -> None:
        found.update({f"{block}.{name}": shape for name, shape in branches.items()})

    for block, width, pooled in (("Mixed_5b", 192, 32), ("Mixed_5c", 256, 64), ("Mixed_5d", 288, 64)):
        add(block, branch1x1=(width, 64, 1, 1, 0), branch_pool=(width, pooled, 1, 1, 0))
        add(block, branch5x5_1=(width, 48, 1, 1, 0), branch5x5_2=(48, 64, 5, 1, 2))
        add(block, branch3x3dbl_1=(width, 64, 1, 1, 0), branch3x3dbl_2=(64, 96, 3, 1, 1))
        add(block, branch3x3dbl_3=(96, 96, 3, 1, 1))
    add("Mixed_6a", branch3x3=(288, 384, 3, 2, 0), branch3x3dbl_1=(288, 64, 1, 1, 0))
    add("Mixed_6a", branch3x3dbl_2=(64, 96, 3, 1, 1), branch3x3dbl_3=(96, 96, 3, 2, 0))
    wide, tall = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))
    for block, inner in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        add(block, branch1x1=(768, 192, 1, 1, 0), branch_pool=(768, 192, 1, 1, 0))
        add(block, branch7x7_1=(768, inner, 1, 1, 0), branch7x7_2=(inner, inner, *wide))
        add(block, branch7x7_3=(inner, 192, *tall), branch7x7dbl_1=(768, inner, 1, 1, 0))
        add(block, branch7x7dbl_2=(inner, inner, *tall), branch7x7dbl_3=(inner, inner, *wide))
        add(block, branch7x7dbl_4=(inner, inner, *tall), branch7x7dbl_5=(inner, 192, *wide))
    add("Mixed_7a", branch3x3_1=(768, 192, 1, 1, 0), branch3x3_2=(192, 320, 3, 2, 0))
    add("Mixed_7a", branch7x7x3_1=(768, 192, 1, 1, 0), branch7x7x3_2=(192, 192, *wide))
    add("Mixed_7a", branch7x7x3_3=(192, 192, *tall), branch7x7x3_4=(192, 192, 3, 2, 0))
    wide, tall = ((1, 3), 1, (0, 1)), ((3, 1), 1, (1, 0))
    for block, width in (("Mixed_7b", 1280), ("Mixed_7c", 2048)):
        add(block, branch1x1=(width, 320, 1, 1, 0), branch_pool=(width, 192, 1, 1, 0))
        add(block, branch3x3_1=(width, 384, 1, 1, 0), branch3x3_2a=(384, 384, *wide), branch3x3_2b=(384, 384, *tall))
        add(block, branch3x3dbl_1=(width, 448, 1, 1, 0), branch3x3dbl_2=(448, 384, 3, 1, 1))
        add(block, branch3x3dbl_3a=(384, 384, *wide), branch3x3dbl_3b=(384, 384, *tall))
    return found


def parts() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Every convolution by name: its batch norm and the shape [out, in, k, k] of its weight."""
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, (width, out, kernel, _, _) in convolutions().items():
        found[f"{name}.conv"] = (f"{name}.bn", (out, width, *((kernel, kernel) if isinstance(kernel, int) else kernel)))
    return found


def features(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """Features of grey images uint8 [n, H, W] of any size: float32 [n, 2048], the means before the classifier."""
    shapes = convolutions()

    def run(x: Tensor, *names: str) -> Tensor:
        for name in names:
            _, _, _, stride, padding = shapes[name]
            x = F.relu(F.conv2d(x, weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"], stride, padding))
        return x

    def branches(x: Tensor, block: str, *paths: str | tuple[str, ...], pool: str = "mean") -> Tensor:
        ends = [run(x, *(f"{block}.{name}" for name in ([path] if isinstance(path, str) else path))) for path in paths]
        if pool == "stride":
            ends.append(F.max_pool2d(x, 3, 2))
        elif pool == "max":
            ends.append(run(F.max_pool2d(x, 3, 1, 1), f"{block}.branch_pool"))
        else:
            ends.append(run(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), f"{block}.branch_pool"))
        return torch.cat(ends, 1)

    x = (tensorflow_bilinear(images[:, None].float(), SIDE).expand(-1, 3, -1, -1) - 128) / 128
    x = F.max_pool2d(run(x, "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"), 3, 2)
    x = F.max_pool2d(run(x, "Conv2d_3b_1x1", "Conv2d_4a_3x3"), 3, 2)
    double = _numbered("branch3x3dbl_", 3)
    for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = branches(x, block, "branch1x1", ("branch5x5_1", "branch5x5_2"), double)
    x = branches(x, "Mixed_6a", "branch3x3", double, pool="stride")
    single, double = _numbered("branch7x7_", 3), _numbered("branch7x7dbl_", 5)
    for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = branches(x, block, "branch1x1", single, double)
    x = branches(x, "Mixed_7a", _numbered("branch3x3_", 2), _numbered("branch7x7x3_", 4), pool="stride")
    for block, pool in (("Mixed_7b", "mean"), ("Mixed_7c", "max")):
        twice = ("branch3x3dbl_1", "branch3x3dbl_2")
        paths: list[tuple[str, ...]] = [("branch3x3_1", "branch3x3_2a"), ("branch3x3_1", "branch3x3_2b")]
        paths += [(*twice, "branch3x3dbl_3a"), (*twice, "branch3x3dbl_3b")]
        x = branches(x, block, "branch1x1", *paths, pool=pool)
    return x.mean((2, 3))


def tensorflow_bilinear(images: Tensor, side: int) -> Tensor:
    """Images [n, c, H, W] at side × side as TensorFlow 1 does: output pixel i is at input place i · H / side."""
    for axis in (2, 3):
        length = images.shape[axis]
        at = torch.arange(side, dtype=torch.float32) * (length / side)
        low = at.long()
        high = (low + 1).clamp_max(length - 1)
        share = (at - low).reshape([-1 if dim == axis else 1 for dim in range(4)])
        images = images.index_select(axis, low) * (1 - share) + images.index_select(axis, high) * share
    return images


def _numbered(stem: str, count: int) -> tuple[str, ...]:
    return tuple(f"{stem}{number}" for number in range(1, count + 1))
