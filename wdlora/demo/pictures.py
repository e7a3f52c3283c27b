"""Running the shipped workflow for every cohort, and what comes of it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..anatomy import phantom, sample_mask
from ..cohorts import COHORTS
from ..errors import InputError

WORKFLOW = Path(__file__).parents[2] / "workflows" / "api" / "ccm_synthesis.json"


@dataclass(frozen=True)
class Painted:
    """One picture of the workflow: uint8 [H, W] grey but `overlay` [H, W, 3]; biomarkers as `to_dict` gives them."""

    cohort: str
    seed: int
    mask: np.ndarray
    phantom: np.ndarray
    picture: np.ndarray
    overlay: np.ndarray
    of_mask: dict[str, Any]
    of_picture: dict[str, Any]


def typical_seeds(cohort: str, count: int, size: int) -> list[int]:
    """The first `count` seeds from 1 on whose mask's CNFL lies within a quarter SD of the cohort's mean.

    Raises InputError where the first 999 have fewer.
    """
    mean, spread = COHORTS[cohort].distributions["cnfl"]
    found: list[int] = []
    for seed in range(1, 1000):
        if abs(sample_mask(cohort, seed=seed, size=size).target["cnfl"] - mean) <= spread / 4:
            found.append(seed)
        if len(found) >= count:
            return found
    raise InputError(f"{cohort} has {len(found)} typical masks among the first 999, so {count} pictures are too many")


def paint_cohorts(folder: Path, adapter: str, seeds: dict[str, list[int]], size: int, steps: int) -> list[Painted]:
    """Run `ccm_synthesis` on the miniature for the masks of each cohort's `seeds`, with `adapter` of `folder`'s loras.

    `folder` is the embedded host's: models/loras holds the adapter, output the saved pictures. A phantom of the same
    mask comes along, which is what the adapter was trained on. Raises InputError where the workflow fails.
    """
    from ..graph.file import read_graph
    from ..graph.miniature import use_miniature
    from ..graph.places import set_value, titles_in
    from ..host import Host
    from ..host.terminal import TerminalProgress

    prompt = read_graph(WORKFLOW)
    titles = titles_in(prompt)
    painted = []
    with TerminalProgress(titles) as progress:
        host = Host(folder, sink=progress)
        use_miniature(prompt, host.object_info())
        for name, of_cohort in seeds.items():
            for seed in of_cohort:
                for title, value in {
                    "CCM Sample Masks.cohort": name,
                    "CCM Sample Masks.seed": seed,
                    "CCM Sample Masks.size": size,
                    "WDLoRA Apply.adapter": adapter,
                    "KSampler.seed": seed,
                    "KSampler.steps": steps,
                    "KSampler.sampler_name": "heun",
                    "KSampler.cfg": 1.0,
                    "Save The Picture.filename_prefix": f"{name}-{seed}",
                }.items():
                    set_value(prompt, f"{title}={value}")
                painted.append(_result(host, prompt, titles, name, seed, size))
    return painted


def _result(host: Any, prompt: dict[str, Any], titles: dict[str, str], name: str, seed: int, size: int) -> Painted:
    verdict, result = host.run(prompt)
    if result is None or result.failure is not None:
        reason = result.failure["exception_message"] if result else json.dumps(verdict.node_errors or verdict.error)
        raise InputError(f"the workflow {WORKFLOW.name} failed: {' '.join(reason.split())}")
    values = {titles[id]: value for id, value in result.values.items() if id in titles}
    plexus = sample_mask(name, seed=seed, size=size)
    return Painted(
        cohort=name,
        seed=seed,
        mask=_grey(values["CCM Sample Masks"][0][0]),
        phantom=phantom(plexus, seed=seed),
        picture=_grey(values["CCM Crop To Mask"][0][0].mean(-1)),
        overlay=np.round(values["Biomarkers Of The Picture"][2][0].numpy() * 255).astype(np.uint8),
        of_mask=json.loads(values["Biomarkers Of The Mask"][0])[0],
        of_picture=json.loads(values["Biomarkers Of The Picture"][0])[0],
    )


def _grey(image: Any) -> np.ndarray:
    return np.round(image.float().numpy() * 255).astype(np.uint8)
