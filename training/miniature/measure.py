"""What a miniature reaches: the VAE's floor, how it follows masks, what prompts do, how long it takes.

The VAE is judged on CCM phantoms that it has never seen, by tracing what it reconstructs, beside linear codecs of
as many numbers. Masks and prompts are judged on held-out procedural pictures, the base model's own domain;
the phantoms are left to the fine-tune.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy import fft, ndimage
from torch import Tensor

from training.miniature import images, prompts
from training.miniature.vae import Pool, Principal, VAEStage, fit_principal, psnr
from wdlora.anatomy import measure, phantom, sample_mask, trace
from wdlora.anatomy.biomarkers.thinning import thin
from wdlora.anatomy.overlap import dice
from wdlora.cohorts import COHORTS
from wdlora.evaluation.interval import mean_interval
from wdlora.qwen.denoiser import velocity
from wdlora.qwen.encode import encode
from wdlora.qwen.generate import paint, prepare
from wdlora.qwen.latents import decode_latents, encode_image

HELD_OUT = 9_000_000_000
"""Seeds of held-out pictures start here; those of training lie below 2⁴⁰ at random, or near the recipe's seed."""


MEASURES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "vae": lambda model: vae_floor(model, 64, VAEStage()),
    "masks_128": lambda model: follows_masks(model, [(128, 128)], 128),
    "masks_128_unguided": lambda model: follows_masks(model, [(128, 128)], 1536, cfg=1.0),
    "masks_mixed": lambda model: follows_masks(model, [(64, 64), (96, 160), (192, 192), (256, 256)], 6),
    "masks_384": lambda model: follows_masks(model, [(384, 384)], 6),
    "prompts": lambda model: prompt_effects(model, 10),
    "right_prompt": lambda model: right_prompt(model, 128),
    "seconds": lambda model: seconds(model),
}
"""Every part of `metrics.json` but the hashes."""


def vae_floor(model: Any, count: int, stage: VAEStage, size: int = 384) -> dict[str, Any]:
    """Phantoms and masks of all cohorts through the VAE and traced, beside linear codecs of as many numbers.

    `pca16` has 16 principal components of 8×8 blocks, fitted on pictures, masks and textures like those that the VAE
    learned from (`stage`), no phantom among them either; `pca16_fitted_here` is fitted on these very pictures;
    `half_resolution` keeps a quarter of the spectrum and has no blocks. `phantoms` holds `_through_codecs` of `count`
    phantoms a cohort, and what their originals reach; `masks` the same of their masks, read by a threshold of a half
    instead of traced.
    """
    drawn = [sample_mask(name, 7_000_000 + k, size) for name in COHORTS for k in range(count)]
    truth = [one.mask for one in drawn]
    real = [phantom(one, 7_000_000 + k) for k, one in enumerate(drawn)]
    traced = [trace(image) for image in real]
    learned = fit_principal(Pool(stage, 1).batch(np.random.default_rng(1), stage.principal_crops, stage.crop))
    flat = torch.from_numpy(np.stack(truth)).float()
    return {
        "count": len(drawn),
        "phantoms": {
            "original": {
                "dice": _mean([dice(a, b) for a, b in zip(traced, truth, strict=True)]),
                "cnfl": _mean([measure(mask).cnfl for mask in traced]),
                "cnfl_of_masks": _mean([measure(mask).cnfl for mask in truth]),
            },
            **_through_codecs(
                model, learned, torch.from_numpy(np.stack(real)).float() / 255, lambda x: trace(_grey(x)), traced, truth
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
            **{key: _mean(figures) for key, figures in each[name].items()},
            "cnfl_shift": _mean(shift),
            "cnfl_shift_sd": float(shift.std(ddof=1)),
        }
    pairs = [("vae", "pca16"), ("vae", "pca16_fitted_here"), ("vae", "half_resolution"), ("half_resolution", "pca16")]
    for one, other in pairs:
        paired = report[f"{one}_minus_{other}"] = {}
        for key, figures in each[one].items():
            difference = figures - each[other][key]
            paired |= {key: _mean(difference), f"{key}_ci95": _half_width(difference)}
    return report


def follows_masks(
    model: Any, sizes: Sequence[tuple[int, int]], count: int, steps: int = 20, cfg: float = 2.5
) -> dict[str, Any]:
    """Dice of traced generated pictures and of traced real pictures with the same held-out masks and prompts.

    `count` masks a size; the official steps, shift and, unless `cfg` is another, guidance. `gap` is the difference
    of the two means, `gap_ci95` half the width of its 95 % interval over pairs.
    """
    made, real = [], []
    for height, width in sizes:
        for k in range(count):
            one = images.picture(HELD_OUT + 1000 * height + k, height, width)
            if not one.mask.any():
                continue
            text = prompts.describe(one.look, np.random.default_rng([5, k]))[0]
            found = paint(model, prepare(model, one.mask, text), seed=k, steps=steps, cfg=cfg)[0, 0]
            made.append(dice(trace(_grey(found)), one.mask))
            real.append(dice(trace(_grey(torch.from_numpy(one.image))), one.mask))
    gap = np.array(made) - np.array(real)
    return {
        "sizes": [list(size) for size in sizes],
        "masks": len(made),
        "cfg": cfg,
        "dice_generated": _mean(made),
        "dice_real": _mean(real),
        "gap": _mean(gap),
        "gap_ci95": _half_width(gap),
    }


def prompt_effects(model: Any, count: int, size: int = 128, steps: int = 12) -> dict[str, Any]:
    """Change of a picture's statistic when one attribute goes from its least to its greatest level in the prompt.

    Same mask and noise for both; `generated` with its 95 % half-width over `count` masks, and `real` for
    procedural pictures of the same two levels.
    """
    report: dict[str, Any] = {}
    for name, levels in images.ATTRIBUTES.items():
        made, real = [], []
        for k in range(count):
            rng = np.random.default_rng([6, k])
            look = images.sample_look(rng)
            values: dict[str, list[float]] = {"made": [], "real": []}
            for level in (0, len(levels) - 1):
                chosen = look | {name: level}
                one = images.picture(HELD_OUT + 77_000 + k, size, size, chosen)
                text = _sentence(chosen, np.random.default_rng([8, k]))
                found = paint(model, prepare(model, one.mask, text), seed=k, steps=steps)[0, 0].numpy()
                values["made"].append(statistic(name, found, one.mask))
                values["real"].append(statistic(name, one.image, one.mask))
            made.append(values["made"][1] - values["made"][0])
            real.append(values["real"][1] - values["real"][0])
        report[name] = {
            "from_to": [levels[0], levels[-1]],
            "generated": _mean(made),
            "generated_ci95": _half_width(np.array(made)),
            "real": _mean(real),
        }
    return report


def statistic(attribute: str, image: np.ndarray, mask: np.ndarray) -> float:
    """A number that follows one attribute: image float[H, W] in 0..1, mask bool[H, W]."""
    near = ndimage.binary_dilation(mask, iterations=4)
    ground, line = image[~near], image[ndimage.binary_erosion(mask)]
    if attribute == "contrast":
        return float(np.median(line) - np.median(ground))
    if attribute == "brightness":
        return float(np.median(ground))
    if attribute == "beading":
        axis = thin(np.pad(mask, 1))[1:-1, 1:-1]
        smooth = ndimage.gaussian_filter(image, 1.0)
        along = ndimage.gaussian_filter(smooth * axis, 6.0) / (ndimage.gaussian_filter(axis * 1.0, 6.0) + 1e-9)
        return float((smooth / (along + 1e-3) - 1)[axis].std())
    if attribute == "spots":
        smooth = ndimage.gaussian_filter(image, 1.5) - ndimage.gaussian_filter(image, 10.0)
        return float(np.quantile(smooth[~near], 0.995))
    if attribute == "grain":
        return float((image - ndimage.gaussian_filter(image, 1.0))[~near].std())
    if attribute == "focus":
        rim = ndimage.binary_dilation(mask, iterations=3) & ~mask
        far = ~ndimage.binary_dilation(mask, iterations=8)
        height = line.mean() - image[far].mean()
        return float((image[rim].mean() - image[far].mean()) / (abs(height) + 0.05))
    if attribute == "shading":
        yy, xx = (np.mgrid[0 : image.shape[0], 0 : image.shape[1]].T / np.array(image.shape[::-1]) - 0.5).T
        radius = np.hypot(yy, xx)
        return float(np.median(image[(radius < 0.25) & ~near]) - np.median(image[(radius > 0.5) & ~near]))
    band = ndimage.gaussian_filter(image, 1.5) - ndimage.gaussian_filter(image, 6.0)
    return float(np.median(np.abs(band[~near])))


def right_prompt(model: Any, count: int, size: int = 96) -> dict[str, Any]:
    """Flow-matching loss on held-out pictures under their own prompt, another picture's, and an empty one.

    Same noise and σ; `wrong_minus_right` with its 95 % half-width over pictures.
    """
    rows: dict[str, list[float]] = {"right": [], "wrong": [], "empty": []}
    generator = torch.Generator().manual_seed(0)
    for k in range(count):
        one = images.picture(HELD_OUT + 88_000 + k, size, size)
        other = images.picture(HELD_OUT + 88_000 + k + count, size, size).look
        clean = encode_image(model.vae, one.image)
        reference = encode_image(model.vae, one.mask)
        noise = torch.randn(clean.shape, generator=generator)
        sigma = torch.tensor([0.15 + 0.7 * k / max(count - 1, 1)])
        level = sigma.view(-1, 1, 1, 1, 1)
        for name, text in (
            ("right", prompts.describe(one.look, np.random.default_rng([9, k]))[0]),
            ("wrong", prompts.describe(other, np.random.default_rng([9, k]))[0]),
            ("empty", ""),
        ):
            states = encode(model.text_encoder, model.tokenizer, text, [one.mask], model.variant)
            with torch.no_grad():
                found = velocity(model.transformer, (1 - level) * clean + level * noise, sigma, states, [reference])
            rows[name].append(float((found - (noise - clean)).pow(2).mean()))
    gap = np.array(rows["wrong"]) - np.array(rows["right"])
    return {name: _mean(values) for name, values in rows.items()} | {
        "pictures": count,
        "wrong_minus_right": _mean(gap),
        "wrong_minus_right_ci95": _half_width(gap),
    }


def seconds(model: Any, sizes: Sequence[int] = (128, 384), steps: int = 20) -> dict[str, Any]:
    """CPU seconds of one picture, all in, with guidance; on however many threads torch has here."""
    report: dict[str, Any] = {"threads": torch.get_num_threads(), "steps": steps}
    for size in sizes:
        one = images.picture(HELD_OUT, size, size)
        paint(model, prepare(model, one.mask, "high contrast"), seed=0, steps=1)
        started = time.process_time()
        paint(model, prepare(model, one.mask, "high contrast"), seed=0, steps=steps)
        report[str(size)] = round(time.process_time() - started, 2)
    return report


def _sentence(look: images.Look, rng: np.random.Generator) -> str:
    """A prompt that names every attribute, in words that depend on `rng` alone and not on the levels."""
    picks = {name: rng.random() for name in images.ATTRIBUTES}
    words = [
        prompts.PHRASES[name][look[name]][int(picks[name] * len(prompts.PHRASES[name][look[name]]))]
        for name in images.ATTRIBUTES
    ]
    return ", ".join(words).capitalize() + "."


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


def _grey(image: Tensor) -> np.ndarray:
    return (image.numpy() * 255).round().astype(np.uint8)


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(values))


def _half_width(values: np.ndarray) -> float:
    mean, low, _ = mean_interval(values)
    return mean - low
