"""Judging a run as it goes: validation loss, and fixed masks painted with fixed seeds, traced and measured."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from training.cache import Cache
from training.config import TrainingConfig
from training.prepare import EncodedView, load_batch
from training.validation import validation_loss
from wdlora.anatomy import measure, trace
from wdlora.anatomy.overlap import dice
from wdlora.files import atomic_write
from wdlora.qwen.generate import Prepared, paint
from wdlora.qwen.latents import decode_latents
from wdlora.qwen.loading import QwenImageEdit
from wdlora.qwen.sampling import Sampling

PICTURES = 2
"""So many pictures of every cohort are painted."""


class Monitor:
    """Validates `model` on `views` and paints the first two of every cohort.

    `model` needs its transformer, which is the one in training, and its VAE, which leaves the device between
    judgements. Sheets go to `out/sheets/step-000500.png`, scalars to TensorBoard in `out/tensorboard` where it is
    installed.
    """

    def __init__(
        self,
        model: QwenImageEdit,
        config: TrainingConfig,
        views: list[EncodedView],
        cache: Cache,
        out: Path,
        pixel_size_um: float,
    ) -> None:
        self.model, self.config, self.views, self.cache, self.out = model, config, views, cache, out
        self.pixel_size_um = pixel_size_um
        self.sampling = config.sheet_sampling(model.defaults)
        self.writer: Any = None

    def judge(self, step: int, watch: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Validation loss, Dice of traced output and mask, and CNFL error; writes the sheet of this step.

        `watch` is called every few seconds and may raise to end it. Without views there is nothing to judge by: no
        facts and no sheet.
        """
        sheet = self.out / "sheets" / f"step-{step:06d}.png"
        found = self._figures(self.views, sheet, watch)
        if found:
            self._show(sheet, step)
        return {f"validation_{name}" if name == "loss" else name: value for name, value in found.items()}

    def test(self, views: list[EncodedView]) -> dict[str, float]:
        """The same figures on the views of the test, as `test_loss`, with the sheet `test.png`."""
        found = self._figures(views, self.out / "sheets" / "test.png", lambda: None)
        return {f"test_{name}" if name == "loss" else name: value for name, value in found.items()}

    def _figures(self, judged: list[EncodedView], sheet: Path, watch: Callable[[], None]) -> dict[str, float]:
        if not judged:
            return {}
        model, config = self.model, self.config
        cohorts = dict.fromkeys(view.cohort for view in judged)
        views = [view for name in cohorts for view in [one for one in judged if one.cohort == name][:PICTURES]]
        loss = validation_loss(model.transformer, judged, self.cache, config, model.device, watch)
        pictures = [self.cache.read(view.pictures) for view in views]
        masks = [entry["nerves"].numpy().astype(bool) for entry in pictures]
        model.vae.to(model.device)
        try:
            painted = [paint_view(model, view, self.cache, self.sampling, watch=watch) for view in views]
            targets = [decode_latents(model.vae, entry["target"])[0].mean(0).cpu().numpy() for entry in pictures]
        finally:
            model.vae.to("cpu")  # between judgements the card is the training's alone
        names = [view.cohort for view in views]
        write_sheet(names, masks, targets, painted, sheet)
        traced = [trace(np.round(picture * 255).astype(np.uint8), self.pixel_size_um) for picture in painted]
        return {"loss": loss} | traced_errors(traced, masks, self.pixel_size_um)

    def scalars(self, step: int, facts: dict[str, Any]) -> None:
        """Send numbers to TensorBoard; what a killed run sent of later steps is taken back."""
        if self._writing(step):
            for name, value in facts.items():
                if isinstance(value, int | float):
                    self.writer.add_scalar(name, value, step)
            self.writer.flush()

    def _show(self, sheet: Path, step: int) -> None:
        """Send a sheet to TensorBoard."""
        if self._writing(step):
            with Image.open(sheet) as picture:
                self.writer.add_image("sheet", np.asarray(picture), step, dataformats="HW")

    def _writing(self, step: int) -> bool:
        self.writer = self.writer or _tensorboard(self.out / "tensorboard", step)
        return self.writer is not None


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step)


def paint_view(
    model: QwenImageEdit,
    view: EncodedView,
    cache: Cache,
    sampling: Sampling,
    seed: int = 0,
    watch: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Paint the mask of an encoded view, guided by its cohort's negative prompt: float32 [H, W] in [0, 1].

    `watch` is called before every step and may raise to end it.
    """
    batch = load_batch(cache, [view], ["plain"])
    negative = None if sampling.cfg == 1 else load_batch(cache, [view], ["negative"]).conditioning
    prepared = Prepared(batch.conditioning, negative, batch.references, *view.shape)
    return paint(model, prepared, seed, sampling, callback=lambda *_: watch())[0].mean(0).cpu().numpy()


def traced_errors(
    traced: Sequence[NDArray[np.bool_]], masks: Sequence[NDArray[np.bool_]], pixel_size_um: float
) -> dict[str, float]:
    """Mean Dice of traced pictures with the masks that they were painted from, all bool [H, W]; mean error of CNFL
    (traced − mask, mm/mm²); their number.
    """
    errors = [
        measure(found, pixel_size_um).cnfl - measure(mask, pixel_size_um).cnfl
        for found, mask in zip(traced, masks, strict=True)
    ]
    overlaps = [dice(found, mask) for found, mask in zip(traced, masks, strict=True)]
    return {
        "traced_dice": float(np.mean(overlaps)),
        "traced_cnfl_error": float(np.mean(errors)),
        "traced_pictures": len(traced),
    }


def write_sheet(
    cohorts: list[str],
    masks: list[np.ndarray],
    targets: list[np.ndarray],
    painted: list[np.ndarray],
    path: Path,
    titles: tuple[str, str, str] = ("mask", "target, through the VAE", "painted"),
) -> None:
    """Write a contact sheet: a row a picture with its mask, the target, and what was painted."""
    height, width = max(m.shape[0] for m in masks), max(m.shape[1] for m in masks)
    zoom = max(1, round(192 / width))
    gap, label, height, width = 6, 16, height * zoom, width * zoom
    page = Image.new("L", (3 * (width + gap) + gap, label + len(masks) * (height + label) + gap), 24)
    draw = ImageDraw.Draw(page)
    for column, title in enumerate(titles):
        draw.text((gap + column * (width + gap), 2), title, fill=220)
    for row, (cohort, *pictures) in enumerate(zip(cohorts, masks, targets, painted, strict=True)):
        top = label + row * (height + label)
        draw.text((gap, top), cohort, fill=160)
        for column, picture in enumerate(pictures):
            grey = np.round(np.clip(picture.astype(np.float32), 0, 1) * 255).astype(np.uint8)
            image = Image.fromarray(np.kron(grey, np.ones((zoom, zoom), np.uint8)))
            page.paste(image, (gap + column * (width + gap), top + label - 2))
    with atomic_write(path) as temporary:
        page.save(temporary, format="PNG")
