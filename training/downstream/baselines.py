"""What stands beside the networks: an appearance probe, the ceiling of the true biomarkers, chance, the tracer."""

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.downstream.batches import shuffled
from training.downstream.config import DownstreamConfig, Regime
from training.downstream.images import LabelledImage
from training.downstream.scores import Predictions, overlaps
from training.downstream.splits import Fold
from wdlora.anatomy import measure, trace
from wdlora.errors import InputError
from wdlora.evaluation.extractors import Extractor, extractor

BIOMARKERS = ("cnfl", "cnfd", "cnbd")
"""What the ceiling knows of an image."""


class Describer:
    """Feature vectors of images, each computed once: of the pixels, of the masks, and the tracer's overlaps."""

    def __init__(self, features: str) -> None:
        self.extractor: Extractor = extractor(features)
        self._kept: dict[tuple[str, str], NDArray] = {}

    def appearance(self, image: LabelledImage) -> NDArray:
        """The extractor's features."""
        return self._once(image, self.extractor.name, lambda: self.extractor.features(image.image))

    def biomarkers(self, image: LabelledImage) -> NDArray:
        """`BIOMARKERS` of the mask: float [3]."""
        return self._once(image, "biomarkers", lambda: _panel(image))

    def tracing(self, image: LabelledImage) -> NDArray:
        """`overlaps` of the shipped tracer's mask with the true one."""
        return self._once(image, "tracer", lambda: np.array(overlaps(trace_of(image), image.mask)))

    def _once(self, image: LabelledImage, kind: str, compute: Callable[[], NDArray]) -> NDArray:
        key = (kind, image.digest)
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]


def trace_of(image: LabelledImage) -> NDArray:
    """The shipped tracer's mask, bool [H, W]."""
    return trace(image.image, image.pixel_size_um)


def _panel(image: LabelledImage) -> NDArray:
    found = measure(image.mask, image.pixel_size_um).to_dict()
    return np.array([float(found[name] or 0.0) for name in BIOMARKERS])


def check_scikit_learn(without: str = "--task segmentation") -> None:
    """Raise InputError where it is not installed; `without` is the option that does without it."""
    if importlib.util.find_spec("sklearn") is None:
        raise InputError(
            "the probe and the ceiling of a diagnosis need scikit-learn: python -m pip install scikit-learn, or give "
            f"{without}"
        )


def probe(
    describer: Describer,
    config: DownstreamConfig,
    regime: Regime,
    fold: Fold,
    synthetic: Sequence[LabelledImage],
    cohorts: Sequence[str],
) -> Predictions:
    """Logistic regression on the appearance of a regime's images; both sources count by the regime's share."""
    share = config.share(regime)
    real = shuffled(fold.train, fold.seed) if regime.shuffled else fold.train
    used = [(1 - share, real), (share, synthetic)]
    images = [image for weight, some in used if weight > 0 for image in some]
    weights = np.concatenate([np.full(len(some), weight / len(some)) for weight, some in used if weight > 0])
    return _regression(describer.appearance, images, weights * len(images), fold.test, cohorts)


def ceiling(describer: Describer, fold: Fold, cohorts: Sequence[str]) -> Predictions:
    """Logistic regression on the biomarkers of the true masks: what nerves alone can tell of the cohort."""
    return _regression(describer.biomarkers, fold.train, np.ones(len(fold.train)), fold.test, cohorts)


def _regression(
    describe: Callable[[LabelledImage], NDArray],
    train: Sequence[LabelledImage],
    weights: NDArray,
    test: Sequence[LabelledImage],
    cohorts: Sequence[str],
) -> Predictions:
    """Standardised features, an L2 penalty of 1 and cohorts balanced; scikit-learn's."""
    from sklearn.linear_model import LogisticRegression

    values = np.stack([describe(image) for image in train])
    centre, spread = values.mean(0), values.std(0) + 1e-9
    labels = labels_of(train, cohorts)
    balance = np.bincount(labels, weights, len(cohorts))
    model = LogisticRegression(max_iter=2000)
    model.fit((values - centre) / spread, labels, weights * (weights.sum() / len(cohorts) / balance)[labels])
    seen: Any = model.predict_proba((np.stack([describe(image) for image in test]) - centre) / spread)
    found = np.zeros((len(test), len(cohorts)))
    found[:, model.classes_] = seen
    return Predictions(np.array([image.patient for image in test]), labels_of(test, cohorts), found)


def labels_of(images: Sequence[LabelledImage], cohorts: Sequence[str]) -> NDArray:
    """The cohorts by number: int [n]."""
    return np.array([list(cohorts).index(image.cohort) for image in images])


def chance(fold: Fold, cohorts: Sequence[str]) -> float:
    """Accuracy of always naming the held-out images' commonest cohort."""
    counts = np.bincount(labels_of(fold.test, cohorts))
    return float(counts.max() / counts.sum())


def traced(describer: Describer, fold: Fold, cohorts: Sequence[str]) -> Predictions:
    """What the shipped tracer finds in the held-out images."""
    return Predictions(
        np.array([image.patient for image in fold.test]),
        labels_of(fold.test, cohorts),
        np.stack([describer.tracing(image) for image in fold.test]),
    )
