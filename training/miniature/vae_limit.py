"""What the VAE lets through, beside linear codecs of as many numbers: the limit of every generated picture.

Judged on CCM phantoms that it has never seen, by tracing what it reconstructs, and on their masks.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy import fft
from torch import Tensor

from training.miniature.summary import grey, half_width, mean
from training.miniature.vae import CropPool, Principal, VAEStage, fit_principal, psnr
from wdlora.anatomy import measure, phantom, sample_mask, trace
from wdlora.anatomy.overlap import dice
from wdlora.anatomy.tracing.choices import LINES
from wdlora.cohorts import COHORTS
from wdlora.qwen.latents import decode_latents, encode_image


def vae_limit(model: Any, count: int, stage: VAEStage, size: int = 384) -> dict[str, Any]:
    """Phantoms and masks of all cohorts through the VAE and traced, beside linear codecs of as many numbers.

    `pca16` has 16 principal components of 8×8 blocks, fitted on pictures, masks and textures like those that the VAE
    learned from (`stage`), no phantom among them either; `pca16_fitted_here` is fitted on these very pictures;
    `half_resolution` keeps a quarter of the spectrum and has no blocks. `phantoms` holds `_through_codecs` of `count`
    phantoms a cohort, and what their originals reach; `masks` the same of their masks, read by a threshold of a half
    instead of traced.
    """
    drawn = [sample_mask(name, 7_000_000 + k, size) for name in COHORTS for k in range(count)]
    truth = [one.mask for one in drawn]
    real = [phantom(one, 7_000_000 + k, version=1) for k, one in enumerate(drawn)]
    traced = [_lines(image) for image in real]
    learned = fit_principal(CropPool(stage, 1).batch(np.random.default_rng(1), stage.principal_crops, stage.crop))
    flat = torch.from_numpy(np.stack(truth)).float()
    return {
        "count": len(drawn),
        "phantoms": {
            "original": {
                "dice": mean([dice(a, b) for a, b in zip(traced, truth, strict=True)]),
                "cnfl": mean([measure(mask).cnfl for mask in traced]),
                "cnfl_of_masks": mean([measure(mask).cnfl for mask in truth]),
            },
            **_through_codecs(
                model, learned, torch.from_numpy(np.stack(real)).float() / 255, lambda x: _lines(grey(x)), traced, truth
            ),
        },
        "masks": _through_codecs(model, learned, flat, lambda x: x.numpy() > 0.5, truth, truth),
    }


def _through_codecs(
    model: Any,
    learned: Principal,
    pixels: Tensor,
    read: Callable[[Tensor], np.ndarray],
    before: Sequence[np.ndarray],
    truth: Sequence[np.ndarray],
) -> dict[str, Any]:
    """What `read` finds in pictures (B, H, W in 0..1) that were encoded and decoded, by codec.

    `dice` is that with the true mask, `dice_to_original` with what was read `before`; `psnr` in dB; CNFL in mm/mm²,
    its shift from `before`. `…_minus_…`: mean paired differences of both Dices and of the absolute shift, each with its
    95 % half-width.
    """
    rebuilt = {
        "vae": _reconstruct(model, pixels),
        "pca16": _through(learned, pixels),
        "pca16_fitted_here": _through(fit_principal(pixels * 2 - 1), pixels),
        "half_resolution": _half_resolution(pixels),
    }
    lengths = np.array([measure(mask).cnfl for mask in before])
    report: dict[str, Any] = {}
    each: dict[str, dict[str, np.ndarray]] = {}
    for name, values in rebuilt.items():
        again = [read(image) for image in values]
        shift = np.array([measure(mask).cnfl for mask in again]) - lengths
        each[name] = {
            "dice": np.array([dice(a, b) for a, b in zip(again, truth, strict=True)]),
            "dice_to_original": np.array([dice(a, b) for a, b in zip(again, before, strict=True)]),
            "cnfl_absolute_shift": np.abs(shift),
        }
        report[name] = {
            "psnr": psnr(pixels * 2 - 1, values * 2 - 1),
            **{key: mean(numbers) for key, numbers in each[name].items()},
            "cnfl_shift": mean(shift),
            "cnfl_shift_sd": float(shift.std(ddof=1)),
        }
    pairs = [("vae", "pca16"), ("vae", "pca16_fitted_here"), ("vae", "half_resolution"), ("half_resolution", "pca16")]
    for one, other in pairs:
        paired = report[f"{one}_minus_{other}"] = {}
        for key, numbers in each[one].items():
            difference = numbers - each[other][key]
            paired |= {key: mean(difference), f"{key}_ci95": half_width(difference)}
    return report


def _reconstruct(model: Any, pixels: Tensor) -> Tensor:
    rows = [decode_latents(model.vae, encode_image(model.vae, one))[0].mean(0) for one in pixels]
    return torch.stack(rows)


def _through(linear: Principal, pixels: Tensor) -> Tensor:
    return (linear.decode(linear.encode(pixels * 2 - 1)).clamp(-1, 1) + 1) / 2


def _half_resolution(pixels: Tensor) -> Tensor:
    """Pictures (B, H, W) from the lower half of their cosine frequencies each way: 16 numbers for 64 pixels."""
    spectrum = fft.dctn(pixels.numpy(), axes=(1, 2), norm="ortho")
    spectrum[:, pixels.shape[1] // 2 :] = 0
    spectrum[:, :, pixels.shape[2] // 2 :] = 0
    return torch.from_numpy(fft.idctn(spectrum, axes=(1, 2), norm="ortho")).clamp(0, 1)


def _lines(image: np.ndarray) -> np.ndarray:
    """What the line filters trace: these figures are about the miniature, not about corneas."""
    return trace(image, segmenter=LINES)
