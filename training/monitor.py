"""Judging a run as it goes: validation loss, and fixed masks painted with fixed seeds, traced and measured."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image, ImageDraw

from training.cache import Cache
from training.config import TrainingConfig
from training.objective import flow_loss, interpolate, token_weights
from training.prepare import Prepared, load_batch
from wdlora.anatomy import measure, trace
from wdlora.anatomy.overlap import dice
from wdlora.files import atomic_write
from wdlora.qwen.denoiser import compute_dtype, denoiser, velocity
from wdlora.qwen.latents import decode_latents, pack
from wdlora.qwen.sampling import CFG_NORM, guided, initial_noise, sample, sigmas

Item = TypeVar("Item")

LEVELS = (0.15, 0.4, 0.65, 0.9)
"""Noise levels at which the validation loss is taken."""

VIEWS = 48
"""The validation loss is taken on so many views at most, evenly taken."""

PICTURES = 2
"""So many pictures of every cohort are painted."""


class Monitor:
    """Validates on `views` and paints the first two of every cohort.

    Sheets go to `out/sheets/step-000500.png`, scalars to TensorBoard in `out/tensorboard` where it is installed.
    """

    def __init__(
        self,
        config: TrainingConfig,
        vae: Any,
        views: list[Prepared],
        cache: Cache,
        out: Path,
        pixel_size_um: float,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.vae, self.views, self.cache, self.out = config, vae, views, cache, out
        self.pixel_size_um, self.device = pixel_size_um, torch.device(device)
        cohorts = dict.fromkeys(view.cohort for view in views)
        self.shown = [view for name in cohorts for view in [v for v in views if v.cohort == name][:PICTURES]]
        self.writer: Any = None

    def judge(self, transformer: Any, step: int, watch: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Validation loss, Dice of traced output and mask, and CNFL error; writes the sheet of this step.

        `watch` is called every few seconds and may raise to end it. Without views there is nothing to judge by: no
        facts and no sheet.
        """
        if not self.views:
            return {}
        loss = validation_loss(transformer, self.views, self.cache, self.config, self.device, watch)
        masks = [self.cache.read(view.pictures)["nerves"].numpy().astype(bool) for view in self.shown]
        self.vae.to(self.device)
        try:
            painted = [
                paint(transformer, self.vae, view, self.cache, self.config, self.device, watch=watch)
                for view in self.shown
            ]
            targets = [
                decode_latents(self.vae, self.cache.read(view.pictures)["target"])[0].mean(0).cpu().numpy()
                for view in self.shown
            ]
        finally:
            self.vae.to("cpu")  # between judgements the card is the training's alone
        sheet(self.shown, masks, targets, painted, self.out / "sheets" / f"step-{step:06d}.png")
        return {"validation_loss": loss} | traced_errors(painted, masks, self.pixel_size_um)

    def scalars(self, step: int, facts: dict[str, Any]) -> None:
        """Send numbers to TensorBoard; what a killed run sent of later steps is taken back."""
        self.writer = self.writer or _tensorboard(self.out / "tensorboard", step)
        if self.writer:
            for name, value in facts.items():
                if isinstance(value, int | float):
                    self.writer.add_scalar(name, value, step)
            self.writer.flush()


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """`count` of the items, or all where there are fewer, at equal distances."""
    count = min(count, len(items))
    return [items[number * len(items) // count] for number in range(count)]


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step)


@torch.no_grad()
def validation_loss(
    transformer: Any,
    views: list[Prepared],
    cache: Cache,
    config: TrainingConfig,
    device: torch.device | str = "cpu",
    watch: Callable[[], None] = lambda: None,
) -> float:
    """Mean weighted loss at `LEVELS` with the same noise at every call, on at least one view and at most `VIEWS`."""
    losses = []
    chosen = evenly(views, VIEWS)
    for index, view in enumerate(chosen):
        watch()
        batch = load_batch(cache, [view], ["plain"]).to(torch.device(device), compute_dtype(transformer))
        count = len(LEVELS)
        clean = batch.target.expand(count, -1, -1, -1, -1)
        seeds = range(1000 * index, 1000 * index + count)
        noise = torch.cat([initial_noise(batch.target.shape, seed) for seed in seeds]).to(device)
        sigma = torch.tensor(LEVELS, device=device)
        x = interpolate(clean, noise, sigma)
        prediction = velocity(transformer, x, sigma, batch.conditioning, batch.references)
        weights = token_weights(batch.nerves, config.foreground_weight, config.background_weight).expand(count, -1)
        losses.append(flow_loss(pack(prediction), pack(clean), pack(noise), weights).item())
    return float(np.mean(losses))


@torch.no_grad()
def paint(
    transformer: Any,
    vae: Any,
    view: Prepared,
    cache: Cache,
    config: TrainingConfig,
    device: torch.device | str = "cpu",
    seed: int = 0,
    watch: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Generate the picture of a prepared view, without its target: float32 [H, W] in [0, 1].

    Guided as the workflows are: against the cohort's negative prompt, with CFGNorm.
    """
    if config.sample_cfg is None or config.sample_shift is None:
        raise ValueError("sample_cfg and sample_shift are the model's where they are unset: fill them in first")
    dtype = compute_dtype(transformer)
    positive = load_batch(cache, [view], ["plain"]).to(torch.device(device), dtype)
    denoise = denoiser(transformer, positive.conditioning, positive.references)
    if config.sample_cfg != 1:
        negative = load_batch(cache, [view], ["negative"]).to(torch.device(device), dtype)
        without = denoiser(transformer, negative.conditioning, negative.references)
        denoise = guided(denoise, without, config.sample_cfg, CFG_NORM)
    noise = initial_noise(positive.target.shape, seed).to(device)
    schedule = sigmas(config.sample_steps, config.sample_shift)
    latents = sample(denoise, noise, schedule, lambda *_: watch(), sampler=config.sample_sampler)
    return decode_latents(vae, latents)[0].mean(0).cpu().numpy()


def traced_errors(painted: list[np.ndarray], masks: list[np.ndarray], pixel_size_um: float) -> dict[str, float]:
    """Mean Dice of the traced pictures with their masks, mean error of CNFL (traced − mask, mm/mm²), their number."""
    traced = [trace(np.round(picture * 255).astype(np.uint8), pixel_size_um) for picture in painted]
    errors = [
        measure(found, pixel_size_um).cnfl - measure(mask, pixel_size_um).cnfl
        for found, mask in zip(traced, masks, strict=True)
    ]
    overlaps = [dice(found, mask) for found, mask in zip(traced, masks, strict=True)]
    return {
        "traced_dice": float(np.mean(overlaps)),
        "traced_cnfl_error": float(np.mean(errors)),
        "traced_pictures": len(painted),
    }


def sheet(
    views: list[Prepared],
    masks: list[np.ndarray],
    targets: list[np.ndarray],
    painted: list[np.ndarray],
    path: Path,
) -> None:
    """Write a contact sheet: a row a picture with its mask, the target through the VAE, and what was painted."""
    height, width = max(m.shape[0] for m in masks), max(m.shape[1] for m in masks)
    zoom = max(1, round(192 / width))
    gap, label, height, width = 6, 16, height * zoom, width * zoom
    page = Image.new("L", (3 * (width + gap) + gap, label + len(masks) * (height + label) + gap), 24)
    draw = ImageDraw.Draw(page)
    for column, title in enumerate(("mask", "target, through the VAE", "painted")):
        draw.text((gap + column * (width + gap), 2), title, fill=220)
    for row, (view, *pictures) in enumerate(zip(views, masks, targets, painted, strict=True)):
        top = label + row * (height + label)
        draw.text((gap, top), view.cohort, fill=160)
        for column, picture in enumerate(pictures):
            grey = np.round(np.clip(picture.astype(np.float32), 0, 1) * 255).astype(np.uint8)
            image = Image.fromarray(np.kron(grey, np.ones((zoom, zoom), np.uint8)))
            page.paste(image, (gap + column * (width + gap), top + label - 2))
    with atomic_write(path) as temporary:
        page.save(temporary, format="PNG")
