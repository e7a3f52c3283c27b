"""What a miniature reaches: how it follows masks, what prompts do, how long it takes, the VAE's limit (`vae_limit.py`).

Masks and prompts are judged on held-out procedural pictures, the base model's own domain; the phantoms are left to
the fine-tune.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from training.appearance import PROPERTIES, appearance_of
from training.miniature import images, prompts
from training.miniature.summary import grey, half_width, mean
from training.miniature.vae import VAEStage
from training.miniature.vae_limit import vae_limit
from training.objective import interpolate
from wdlora.anatomy import trace
from wdlora.anatomy.overlap import dice
from wdlora.anatomy.tracing.choices import LINES
from wdlora.qwen.denoiser import velocity
from wdlora.qwen.encode import encode
from wdlora.qwen.generate import paint, prepare
from wdlora.qwen.latents import encode_image
from wdlora.qwen.sampling import OFFICIAL, Sampling

HELD_OUT = 9_000_000_000
"""Seeds of held-out pictures start here; those of training lie below 2⁴⁰ at random, or near the recipe's seed."""

TWELVE_STEPS = Sampling(steps=12)
"""By which prompts are tried."""


MEASURES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "vae": lambda model: vae_limit(model, 64, VAEStage()),
    "masks_128": lambda model: dice_gap(model, [(128, 128)], 128),
    "masks_128_unguided": lambda model: dice_gap(model, [(128, 128)], 1536, Sampling(cfg=1.0)),
    "masks_mixed": lambda model: dice_gap(model, [(64, 64), (96, 160), (192, 192), (256, 256)], 6),
    "masks_384": lambda model: dice_gap(model, [(384, 384)], 6),
    "prompts": lambda model: prompt_effects(model, 10),
    "right_prompt": lambda model: right_prompt(model, 128),
    "seconds": lambda model: seconds(model),
}
"""Every part of `metrics.json` but the hashes."""


def dice_gap(
    model: Any, sizes: Sequence[tuple[int, int]], count: int, sampling: Sampling = OFFICIAL["edit"]
) -> dict[str, Any]:
    """Dice of traced generated pictures and of traced real pictures with the same held-out masks and prompts.

    `count` masks a size. `gap` is the difference of the two means, `gap_ci95` half the width of its 95 % interval over
    pairs.
    """
    made, real = [], []
    for height, width in sizes:
        for k in range(count):
            one = images.picture(HELD_OUT + 1000 * height + k, height, width)
            if not one.mask.any():
                continue
            text = prompts.describe(one.look, np.random.default_rng([5, k]))[0]
            found = paint(model, prepare(model, one.mask, text), k, sampling)[0, 0]
            made.append(dice(trace(grey(found), segmenter=LINES), one.mask))
            real.append(dice(trace(grey(torch.from_numpy(one.image)), segmenter=LINES), one.mask))
    gap = np.array(made) - np.array(real)
    return {
        "sizes": [list(size) for size in sizes],
        "masks": len(made),
        "cfg": sampling.cfg,
        "dice_generated": mean(made),
        "dice_real": mean(real),
        "gap": mean(gap),
        "gap_ci95": half_width(gap),
    }


def prompt_effects(model: Any, count: int, size: int = 128, sampling: Sampling = TWELVE_STEPS) -> dict[str, Any]:
    """Change of a picture's statistic when one attribute goes from its least to its greatest level in the prompt.

    Same mask and noise for both; `generated` with its 95 % half-width over those of `count` masks on which the
    statistic is defined, and `real` for procedural pictures of the same two levels.
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
                found = paint(model, prepare(model, one.mask, text), k, sampling)[0, 0].numpy()
                values["made"].append(statistic(name, found, one.mask))
                values["real"].append(statistic(name, one.image, one.mask))
            made.append(values["made"][1] - values["made"][0])
            real.append(values["real"][1] - values["real"][0])
        changes = np.array([made, real])
        changes = changes[:, np.isfinite(changes).all(0)]
        report[name] = {
            "from_to": [levels[0], levels[-1]],
            "masks": changes.shape[1],
            "generated": mean(changes[0]),
            "generated_ci95": half_width(changes[0]),
            "real": mean(changes[1]),
        }
    return report


def statistic(attribute: str, image: np.ndarray, mask: np.ndarray) -> float:
    """A number that follows one attribute: image float[H, W] in 0..1, mask bool[H, W].

    Contrast and beading are `appearance_of`'s, NaN where lines are too thin or too few.
    """
    near = ndimage.binary_dilation(mask, iterations=4)
    ground, line = image[~near], image[ndimage.binary_erosion(mask)]
    if attribute in PROPERTIES:
        return appearance_of(grey(torch.from_numpy(image)), mask)[attribute]
    if attribute == "brightness":
        return float(np.median(ground))
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
        x = interpolate(clean, noise, sigma)
        for name, text in (
            ("right", prompts.describe(one.look, np.random.default_rng([9, k]))[0]),
            ("wrong", prompts.describe(other, np.random.default_rng([9, k]))[0]),
            ("empty", ""),
        ):
            states = encode(model.text_encoder, model.tokenizer, text, [one.mask], model.variant)
            with torch.no_grad():
                found = velocity(model.transformer, x, sigma, states, [reference])
            rows[name].append(float((found - (noise - clean)).pow(2).mean()))
    gap = np.array(rows["wrong"]) - np.array(rows["right"])
    return {name: mean(values) for name, values in rows.items()} | {
        "pictures": count,
        "wrong_minus_right": mean(gap),
        "wrong_minus_right_ci95": half_width(gap),
    }


def seconds(model: Any, sizes: Sequence[int] = (128, 384), steps: int = 20) -> dict[str, Any]:
    """CPU seconds of one picture, all in, with guidance; on however many threads torch has here."""
    report: dict[str, Any] = {"threads": torch.get_num_threads(), "steps": steps}
    for size in sizes:
        one = images.picture(HELD_OUT, size, size)
        paint(model, prepare(model, one.mask, "high contrast"), 0, Sampling(1))
        started = time.process_time()
        paint(model, prepare(model, one.mask, "high contrast"), 0, Sampling(steps))
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
