"""Whether the cohort prompt matters: what it changes in a picture, and in the loss."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from training.cases import Case, real_picture
from training.examples import Appearance
from training.monitor import LEVELS
from training.objective import interpolate
from wdlora.cohorts import COHORTS
from wdlora.qwen.denoiser import compute_dtype, velocity
from wdlora.qwen.encode import encode
from wdlora.qwen.latents import encode_image
from wdlora.qwen.sampling import initial_noise

PROPERTIES = ("contrast", "beading", "haze", "cells")
"""What `appearance_of` reads off a picture."""

Picture = Callable[[Case, str], NDArray[np.uint8]]
"""The picture of a case's mask under a cohort's prompt."""


def appearance_of(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> dict[str, float]:
    """What the cohort's appearance changes, read off a picture and its mask.

    `contrast`: nerve minus surroundings over surroundings; `beading`: coefficient of variation of the
    brightness along the nerves after removing what varies slower than 8 pixels; `haze`: SD of the background
    smoothed over 8 pixels, over its mean; `cells`: share of the background that is over 1.6 times as bright as its
    surroundings of 16 pixels. NaN where there is too little nerve or too little background.

    Each is nearly blind to the other properties: switched alone in phantoms, from Control's to T1DPN's, none of
    them moves a measure by a fifth of what its own property does.
    """
    values = image.astype(float) + 1.0
    near = ndimage.binary_dilation(mask, iterations=7) & ~ndimage.binary_dilation(mask, iterations=3)
    far = ~ndimage.binary_dilation(mask, iterations=4)
    if mask.sum() < 30 or near.sum() < 30 or far.sum() < 30:
        return dict.fromkeys(PROPERTIES, float("nan"))
    nerve, surroundings = values[mask].mean(), values[near].mean()
    core = ndimage.distance_transform_edt(mask) >= 1.5
    along = ndimage.gaussian_filter(values, 1.0)
    ratio = (along / _smooth(along, core, 8.0))[core]
    background = _smooth(values, far, 8.0)[far]
    spots = (_smooth(values, far, 1.0) / _smooth(values, far, 16.0))[far]
    return {
        "contrast": float((nerve - surroundings) / surroundings),
        "beading": float(ratio.std()) if core.sum() > 30 else float("nan"),
        "haze": float(background.std() / background.mean()),
        "cells": float((spots > 1.6).mean()),
    }


def _smooth(values: NDArray[np.floating], region: NDArray[np.bool_], sigma: float) -> NDArray[np.floating]:
    """Gaussian means of `values` [H, W] over the pixels of `region` alone."""
    weight = ndimage.gaussian_filter(region.astype(float), sigma) + 1e-9
    return np.maximum(ndimage.gaussian_filter(values * region, sigma) / weight, 1e-9)


def appearance_change(cases: Iterable[Case], picture: Picture) -> NDArray:
    """T1DPN's minus Control's appearance on the same masks, mean over cases: float64 [4], as `PROPERTIES`."""
    differences = []
    for case in cases:
        high = appearance_of(picture(case, "T1DPN"), case.mask)
        low = appearance_of(picture(case, "Control"), case.mask)
        differences.append([high[name] - low[name] for name in PROPERTIES])
    return np.nanmean(np.array(differences), axis=0)


@torch.no_grad()
def prompt_losses(model: Any, cases: Iterable[Case], appearance: Appearance) -> NDArray:
    """Flow-matching loss on phantoms of the cases under their own prompt and under the other cohorts'.

    Same noise for all; float64 [n, 2]: own, mean of the others, each the mean over the validation's noise levels.
    """
    rows = []
    device = model.device  # where it computes; with offloading its weights may lie elsewhere
    for index, case in enumerate(cases):
        clean = encode_image(model.vae, real_picture(case, 0, appearance)).to(device)
        control = encode_image(model.vae, case.mask).to(device)
        seeds = range(1000 * index, 1000 * index + len(LEVELS))
        noise = torch.cat([initial_noise(clean.shape, seed) for seed in seeds]).to(device)
        sigma = torch.tensor(LEVELS, device=device)
        clean = clean.expand_as(noise)
        x = interpolate(clean, noise, sigma)
        losses = {}
        for name, one in COHORTS.items():
            states = encode(model.text_encoder, model.tokenizer, one.prompt, [case.mask], model.variant)
            states = states.to(device, compute_dtype(model.transformer))
            found = velocity(model.transformer, x, sigma, states, [control])
            losses[name] = float((found.float() - (noise - clean)).square().mean())
        rows.append([losses.pop(case.cohort), np.mean(list(losses.values()))])
    return np.array(rows)
