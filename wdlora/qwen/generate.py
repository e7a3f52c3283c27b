"""The main job: a mask and a prompt become an image on the mask's own pixel grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import InputError
from .denoiser import denoiser
from .encode import Conditioning, encode
from .latents import decode_latents, encode_image
from .pixels import as_picture, crop, pad_to_grid, to_uint8
from .sampling import Callback, Sampling, guided, initial_noise, sample, sigmas

if TYPE_CHECKING:
    import numpy as np

    from ..study import StudyCohort
    from .loading import QwenImageEdit


@dataclass(frozen=True)
class Prepared:
    """What sampling needs of one mask: made once, painted with many seeds.

    `height` and `width` are those of the mask; the latents lie on the padded grid.
    """

    positive: Conditioning
    negative: Conditioning | None
    references: tuple[Tensor, ...]
    height: int
    width: int


def prepare(
    model: "QwenImageEdit", mask: Any, prompt: str, *, negative: str | None = "", reference: Any = None
) -> Prepared:
    """Encode a mask, its prompts and an optional reference image.

    `mask`: [H, W] of any size, extended by empty rows and columns to multiples of 32; `reference`: an image of
    the mask's size (2509 and 2511 only), never the image that is to be painted; `negative`: None where the
    guidance scale will be 1. Raises InputError for sizes that differ and as `encode` does.
    """
    pictures = [as_picture(mask)]
    height, width = pictures[0].shape[-2:]
    if reference is not None:
        pictures.append(as_picture(reference))
        if pictures[1].shape != pictures[0].shape:
            raise InputError(
                f"the reference image is {pictures[1].shape[-1]}×{pictures[1].shape[-2]} pixels but the mask is "
                f"{width}×{height}: bring them to one grid"
            )
    padded = [pad_to_grid(picture) for picture in pictures]

    def conditioning(text: str) -> Conditioning:
        return encode(model.text_encoder, model.tokenizer, text, [padded], model.variant)

    return Prepared(
        positive=conditioning(prompt),
        negative=None if negative is None else conditioning(negative),
        references=tuple(encode_image(model.vae, picture) for picture in padded),
        height=height,
        width=width,
    )


def paint(
    model: "QwenImageEdit",
    prepared: Prepared,
    seed: int,
    sampling: Sampling | None = None,
    *,
    count: int = 1,
    callback: Callback | None = None,
) -> Tensor:
    """Sample images for a prepared mask: float32 [count, 3, H, W] in [0, 1].

    `sampling` defaults to the model's official workflow. The noise of all `count` images comes from one generator, as
    in ComfyUI. `callback`: see `sampling.sample`. Raises InputError for guidance without a negative prompt.
    """
    how = sampling or model.defaults
    schedule = sigmas(how.steps, how.shift)
    shape = (count, *prepared.references[0].shape[1:])
    if how.cfg != 1.0 and prepared.negative is None:
        raise InputError(f"guidance of {how.cfg:g} needs a negative prompt, which was not encoded: give one, or cfg 1")
    references = [reference.to(model.device) for reference in prepared.references]
    positive = denoiser(model.transformer, prepared.positive, references)
    negative = None if prepared.negative is None else denoiser(model.transformer, prepared.negative, references)
    with torch.no_grad():
        noise = initial_noise(shape, seed).to(model.device)
        denoise = guided(positive, negative, how.cfg, how.norm)
        latents = sample(denoise, noise, schedule, callback, sampler=how.sampler)
        return crop(decode_latents(model.vae, latents), prepared.height, prepared.width)


def generate(
    model: "QwenImageEdit",
    mask: Any,
    prompt: str | None = None,
    *,
    cohort: "str | StudyCohort | None" = None,
    seed: int = 0,
    negative: str | None = None,
    reference: Any = None,
    sampling: Sampling | None = None,
) -> "np.ndarray":
    """Paint corneal nerves: uint8 [1, H, W, 3] on the pixel grid of `mask` [H, W], whatever its size.

    >>> from dataclasses import replace
    >>> picture = generate(model, mask, cohort="T1DPN", seed=7, sampling=replace(model.defaults, steps=10))[0]

    Give a `prompt` or a `cohort`, by its name or of a study (whose negative prompt is then the default).
    The result is decided by the arguments and the model's files; for the other arguments see `prepare` and `paint`,
    which also paint several pictures of one mask and tell how far they are.
    """
    import numpy as np

    text, unwanted = _texts(prompt, cohort, negative)
    how = sampling or model.defaults
    prepared = prepare(model, mask, text, negative=None if how.cfg == 1.0 else unwanted, reference=reference)
    return np.stack([to_uint8(image) for image in paint(model, prepared, seed, how)])


def _texts(prompt: str | None, cohort: "str | StudyCohort | None", negative: str | None) -> Sequence[str]:
    from ..cohorts import cohort as find

    if (prompt is None) == (cohort is None):
        raise InputError("give either a prompt or the name of a cohort")
    if cohort is None:
        return str(prompt), negative or ""
    group = find(cohort) if isinstance(cohort, str) else cohort
    return group.prompt, group.negative_prompt if negative is None else negative
