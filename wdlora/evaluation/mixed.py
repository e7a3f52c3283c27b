"""A mixed model of a biomarker: the set as a fixed effect, the patient as a random one."""

import importlib.util
import warnings

import numpy as np
from numpy.typing import NDArray

from .estimate import Estimate, undefined


def available() -> bool:
    """Whether statsmodels, which fits the model, is installed."""
    return importlib.util.find_spec("statsmodels") is not None


def mixed_model(real: NDArray, synthetic: NDArray, of_real: NDArray, of_synthetic: NDArray) -> Estimate:
    """Synthetic minus real mean of images' values [n] and [m] with its 95 % interval, by REML.

    value = mean + difference · synthetic + patient + residual (Laird & Ware 1982). A patient whose images are in both
    sets has one effect. Undefined without statsmodels, where no patient has two images, and where the fit fails.
    """
    values, synthetic_set = np.concatenate([real, synthetic]), np.repeat([0.0, 1.0], [len(real), len(synthetic)])
    subjects = np.concatenate([of_real, of_synthetic])
    n = len(np.unique(subjects))
    if not available():
        return undefined("a mixed model needs statsmodels: pip install statsmodels", n)
    if n == len(values):
        return undefined("every image is of a patient of its own, so there is no patient effect to model", n)
    if n < 4 or not np.ptp(values):
        return undefined("a mixed model needs at least 4 patients and values that vary", n)
    from statsmodels.regression.mixed_linear_model import MixedLM

    design = np.stack([np.ones(len(values)), synthetic_set], 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a variance of 0 at its limit is a result
        try:
            # Powell's method converges where patients do not differ, at the limit where those with gradients fail.
            fit = MixedLM(values, design, groups=subjects).fit(reml=True, method=["powell"])
            value, error = float(fit.fe_params[1]), float(fit.bse_fe[1])
        except (np.linalg.LinAlgError, ValueError) as failed:
            return undefined(f"the mixed model did not fit ({failed})", n)
    if not (fit.converged and np.isfinite(error) and error > 0):
        return undefined("the mixed model did not converge", n)
    return Estimate(value, value - 1.96 * error, value + 1.96 * error, n)
