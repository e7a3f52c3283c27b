"""Whether the synthetic images tell which patients were in the training set."""

from dataclasses import dataclass

from numpy.typing import NDArray

from ...errors import InputError
from ..estimate import Estimate, undefined
from ..two_sample import area, auc_interval, two_sample_auc
from .search import nearest_images


@dataclass(frozen=True)
class Membership:
    """`auc`: how well similarity to the nearest synthetic image tells training from held-out images (.5: not at all).

    `control`: how well a classifier tells them apart that never saw a synthetic image. Where that interval excludes .5,
    training and hold-out differ by themselves, and `auc` says nothing about the generator.
    """

    auc: Estimate
    control: Estimate

    @property
    def tells(self) -> bool:
        """Whether the control allows to read `auc`."""
        return self.control.defined and self.control.low <= 0.5 <= self.control.high


def membership(
    thumbnails: tuple[NDArray, NDArray, NDArray],
    features: tuple[NDArray, NDArray],
    subjects: tuple[NDArray, NDArray],
) -> Membership:
    """Membership of `thumbnails` (training, held-out, synthetic; [n, 48, 48]) with `features` and `subjects` of the
    first two. Source: Chen et al. 2020 (GAN-Leaks, full black box); the blind control is Das et al. 2024.
    """
    training, holdout, synthetic = thumbnails
    members = nearest_images(training, synthetic).similarity
    others = nearest_images(holdout, synthetic).similarity
    value = area(others, members)
    n = min(len(training), len(holdout))
    auc = Estimate(value, *auc_interval(value, len(training), len(holdout)), n)
    try:
        control = two_sample_auc(features[1], features[0], subjects=(subjects[1], subjects[0]))
    except InputError as error:
        control = undefined(str(error), n)
    return Membership(auc, control)
