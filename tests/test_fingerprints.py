"""What seeds have given so far: a mask, a phantom, a trace, a painted picture, a short fine-tune.

The numbers were read once and are written down here, so that a change which should change nothing is seen to change
nothing. Whoever changes a recipe on purpose reads them anew. Where they were read all are met exactly; the tolerances
are for other processors and other versions of numpy, scipy and torch, whose exponentials, transforms and products
differ in the last digit.
"""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.small_model import one_thread as one_thread
from wdlora.anatomy import NerveMask, measure, phantom, sample_mask, trace
from wdlora.anatomy.phantoms.cornea.model import CorneaModel

MASKS = {
    "Control": {"pixels": 12595, "cnfl": 16.8008, "width_um": 5.0840, "counts": (3, 3)},
    "T1NoDPN": {"pixels": 5234, "cnfl": 7.3802, "width_um": 4.8095, "counts": (2, 0)},
    "T1DPN": {"pixels": 8036, "cnfl": 11.2407, "width_um": 4.8483, "counts": (1, 5)},
}
"""`sample_mask(cohort, seed=3)`; counts are trunks and branch points on them."""

PHANTOMS = {
    "Control": {"mean": 75.187, "sd": 24.170, "pixels": [[76, 106, 74], [60, 74, 72], [89, 90, 69]]},
    "T1NoDPN": {"mean": 71.796, "sd": 20.518, "pixels": [[75, 108, 74], [60, 76, 76], [88, 79, 64]]},
    "T1DPN": {"mean": 72.736, "sd": 21.840, "pixels": [[78, 110, 73], [61, 78, 75], [86, 92, 65]]},
}
"""Their phantoms of version 1 with seed 5; pixels are those at multiples of 96, without the first row and column."""

PHANTOMS_2 = {
    "Control": {
        "fine": 932.62,
        "mean": 151.742,
        "sd": 31.949,
        "pixels": [[154, 162, 144], [162, 180, 138], [152, 169, 173]],
    },
    "T1NoDPN": {
        "fine": 375.59,
        "mean": 150.260,
        "sd": 31.084,
        "pixels": [[156, 162, 144], [163, 180, 155], [151, 166, 172]],
    },
    "T1DPN": {
        "fine": 931.76,
        "mean": 150.353,
        "sd": 30.578,
        "pixels": [[159, 161, 145], [164, 181, 140], [149, 177, 171]],
    },
}
"""The same of version 2, and the length of the fine network in pixels."""

TRACES = {
    "Control": {"pixels": 13003, "cnfl": 16.821, "trunks": 3},
    "T1NoDPN": {"pixels": 5750, "cnfl": 7.577, "trunks": 2},
    "T1DPN": {"pixels": 7910, "cnfl": 10.775, "trunks": 1},
}
"""`trace` of these phantoms by the line filters."""


@pytest.fixture(scope="module", params=list(MASKS))
def drawn(request: pytest.FixtureRequest) -> NerveMask:
    return sample_mask(request.param, seed=3)


def test_mask(drawn: NerveMask) -> None:
    """Half a per cent: the generator's numbers are exact everywhere, so at most pixels on a nerve's edge change."""
    expected, found = MASKS[drawn.cohort], drawn.biomarkers
    assert found is not None
    assert drawn.mask.sum() == pytest.approx(expected["pixels"], rel=0.005)
    assert found.cnfl == pytest.approx(expected["cnfl"], rel=0.005)
    assert found.mean_width_um == pytest.approx(expected["width_um"], rel=0.005)
    assert (found.trunks, found.branch_points_on_trunks) == expected["counts"]


def test_phantom(drawn: NerveMask) -> None:
    """Two levels a pixel: sums in float32 are rounded to 8 bits at the end, and a nerve's edge is as steep as 20."""
    expected, image = PHANTOMS[drawn.cohort], phantom(drawn, seed=5, version=1)
    assert image.mean() == pytest.approx(expected["mean"], abs=0.05)
    assert image.std() == pytest.approx(expected["sd"], abs=0.05)
    assert np.abs(image[96::96, 96::96].astype(int) - expected["pixels"]).max() <= 2


def test_phantom_2(drawn: NerveMask) -> None:
    """Without JPEG, whose bytes are another library's. Three levels: grain is multiplied and saturates."""
    expected, image = PHANTOMS_2[drawn.cohort], phantom(drawn, seed=5, model=CorneaModel(jpeg=0))
    assert visible_length(drawn) == pytest.approx(expected["fine"], rel=1e-3)
    assert image.mean() == pytest.approx(expected["mean"], abs=0.1)
    assert image.std() == pytest.approx(expected["sd"], abs=0.1)
    assert np.abs(image[96::96, 96::96].astype(int) - expected["pixels"]).max() <= 3


def visible_length(drawn: NerveMask) -> float:
    """Length of the fine network's vectors in pixels."""
    return sum(float(np.hypot(*np.diff(fibre.points, axis=0).T).sum()) for fibre in drawn.fine)


def test_trace(drawn: NerveMask) -> None:
    """Five per cent: a pixel at a threshold may fall to either side, and take the tip of a nerve with it."""
    expected, mask = TRACES[drawn.cohort], trace(phantom(drawn, seed=5, version=1), segmenter="lines")
    found = measure(mask)
    assert mask.sum() == pytest.approx(expected["pixels"], rel=0.05)
    assert found.cnfl == pytest.approx(expected["cnfl"], rel=0.05)
    assert found.trunks == expected["trunks"]


def test_painted_picture() -> None:
    """The miniature's usual sampling. Three levels a pixel: 20 steps carry on what products differ in."""
    from wdlora.qwen.generate import generate
    from wdlora.qwen.miniature_files import load_miniature

    mask = sample_mask("Control", seed=3).mask[:96, :96]
    picture = generate(load_miniature(), mask, cohort="T1DPN", seed=7)
    assert picture.shape == (1, 96, 96, 3)
    assert picture.mean() == pytest.approx(61.81, abs=0.3)
    assert picture.std() == pytest.approx(8.01, abs=0.3)
    expected = [[63, 61, 68], [67, 55, 52], [46, 61, 66]]
    assert np.abs(picture[0, 16::32, 16::32, 0].astype(int) - expected).max() <= 3


def test_short_fine_tune(tmp_path: Path) -> None:
    """Six steps of WDLoRA on phantoms 1. B starts at 0, so its norm is what was learned: 2 %, because Adam divides by
    the gradient's size, and where that is nearly 0 the last digit decides. A and the magnitudes hardly move.
    """
    from safetensors.torch import load_file

    from tests.training.runs import job
    from training.pipeline import finetune

    finetune(replace(job(tmp_path / "out", tmp_path / "cache"), phantom=1))
    tensors = load_file(tmp_path / "out" / "adapter.safetensors")
    for kind, norm, tolerance in (("lora_A", 5.65668, 1e-3), ("lora_B", 0.601875, 0.02), ("magnitude", 152.5002, 1e-4)):
        chosen = [tensor.double() for name, tensor in tensors.items() if kind in name]
        assert len(chosen) == 48, kind
        assert math.sqrt(sum(float((tensor**2).sum()) for tensor in chosen)) == pytest.approx(norm, rel=tolerance), kind
