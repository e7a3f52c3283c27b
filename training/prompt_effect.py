"""Whether the cohort prompt matters: what it changes in a picture, and in the loss."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.appearance import PROPERTIES, appearance_of
from training.cases import Case, real_picture
from training.examples import PhantomAppearance
from training.objective import interpolate
from training.validation import fixed_noise
from wdlora.cohorts import COHORTS
from wdlora.qwen.denoiser import transformer_dtype, velocity
from wdlora.qwen.encode import encode
from wdlora.qwen.latents import encode_image

Picture = Callable[[Case, str], NDArray[np.uint8]]
"""The picture of a case's mask under a cohort's prompt."""


def appearance_change(cases: Iterable[Case], picture: Picture) -> NDArray:
    """T1DPN's minus Control's appearance on the same masks, mean over cases: float64 [4], as `PROPERTIES`."""
    differences = []
    for case in cases:
        high = appearance_of(picture(case, "T1DPN"), case.mask)
        low = appearance_of(picture(case, "Control"), case.mask)
        differences.append([high[name] - low[name] for name in PROPERTIES])
    return np.nanmean(np.array(differences), axis=0)


@torch.no_grad()
def prompt_losses(model: Any, cases: Iterable[Case], appearance: PhantomAppearance) -> NDArray:
    """Flow-matching loss on phantoms of the cases under their own prompt and under the other cohorts'.

    Same noise for all; float64 [n, 2]: own, mean of the others, each the mean over the validation's noise levels.
    """
    rows = []
    device = model.device  # where it computes; with offloading its weights may lie elsewhere
    for number, case in enumerate(cases):
        clean = encode_image(model.vae, real_picture(case, 0, appearance)).to(device)
        control = encode_image(model.vae, case.mask).to(device)
        noise, sigma = fixed_noise(clean.shape, number, device)
        clean = clean.expand_as(noise)
        x = interpolate(clean, noise, sigma)
        losses = {}
        for name, one in COHORTS.items():
            states = encode(model.text_encoder, model.tokenizer, one.prompt, [case.mask], model.variant)
            states = states.to(device, transformer_dtype(model.transformer))
            found = velocity(model.transformer, x, sigma, states, [control])
            losses[name] = float((found.float() - (noise - clean)).square().mean())
        rows.append([losses.pop(case.cohort), np.mean(list(losses.values()))])
    return np.array(rows)
