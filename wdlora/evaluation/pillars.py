"""The evaluation of a synthetic set against a real one: fidelity and diversity, biomarkers, copies.

`compare_sets` brings the sets to one grid, reads every image once, and compares what was read; `report` writes it down.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .biomarkers import ALL, METRICS, Comparison, compare_biomarkers, shared_cohorts
from .copies.findings import Findings, Read, find_copies
from .distance import Subjects, standardised
from .embedding import MOST, embed
from .estimate import Estimate
from .extractors import extractor
from .features import EXTRACTOR
from .fidelity import Beside, fidelity
from .grid import CommonGrid, Seen, Size, choose
from .pairs import by_cohort, fresh_texture, pair_similarity, summary, unrelated_similarity, without_pairs
from .reading import ImageReader, Reading, look_at, read
from .sets import ImageSet, pair_up
from .variety import Both, between_cohorts, diversity
from .workers import Crew


@dataclass(frozen=True)
class Options:
    """`features`: see `extractors.extractor`. `pixel_size_um`: for all images, overriding tables and files. `pairs`:
    images of one name are painted from one mask. `metrics`: biomarkers to compare. `cache`: a folder for what is
    computed of each image, None for no cache.
    """

    features: str = EXTRACTOR
    pixel_size_um: Size | None = None
    pairs: bool = False
    metrics: Sequence[str] = METRICS
    cache: Path | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Map:
    """Images in two dimensions: `xy` [n, 2], whether each is `synthetic`, its `cohort`, and the `method`."""

    xy: NDArray
    synthetic: NDArray
    cohort: NDArray
    method: str


@dataclass(frozen=True)
class SetComparison:
    """Everything that was found. `overall` and `by_cohort` are pillar 1's distances, `similarity` that of pairs beside
    `unrelated` real images and `fresh` texture; `notes` say what was done to the images and what is odd about the sets.
    """

    options: Options
    reader: ImageReader
    real: Read
    synthetic: Read
    training: Read | None
    notes: tuple[str, ...]
    overall: Beside
    by_cohort: Mapping[str, Beside]
    similarity: Mapping[str, Estimate]
    similarity_by_cohort: Mapping[str, Mapping[str, Estimate]]
    unrelated: Mapping[str, Estimate]
    fresh: Mapping[str, Estimate]
    diversity: Mapping[str, Both]
    between: Mapping[str, Both]
    biomarkers: Sequence[Comparison]
    copies: Findings
    map: Map

    @property
    def patients(self) -> int | None:
        """How many real patients, None where they are not known."""
        return len(np.unique(self.real.images.subjects)) if self.real.images.patients_known else None


def compare_sets(
    real: ImageSet,
    synthetic: ImageSet,
    training: ImageSet | None = None,
    options: Options | None = None,
    crew: Crew | None = None,
) -> SetComparison:
    """Compare two sets of images; `training` are the images that the generator saw, `real` then others.

    `crew` does the work on single images. Raises InputError where sets cannot be compared: sizes, pixel sizes or
    colours that do not fit, a patient or an image in both the training and the real set.
    """
    options, crew = options or Options(), crew or Crew()
    extractor(options.features)  # a wrong choice is told before any image is read
    notes = [*real.notes, *synthetic.notes, *(training.notes if training else ())]
    if options.pairs:
        real, synthetic, odd = pair_up(real, synthetic)
        notes += odd
    notes += _patients(real, synthetic, training, options.pairs)
    sets = [one for one in (real, synthetic, training) if one is not None]
    grid, changes = _grid(sets, options.pixel_size_um, crew)
    reader = ImageReader(options.features, options.pixel_size_um, grid, options.cache)
    parts = _read_all(sets, reader, crew)
    _refuse_leak(parts)
    return _assemble(options, reader, crew, parts, [*notes, *changes, *_cohorts(real, synthetic)])


def _assemble(options: Options, reader: ImageReader, crew: Crew, parts: list[Read], notes: list[str]) -> SetComparison:
    real, synthetic, training = parts[0], parts[1], parts[2] if len(parts) > 2 else None
    features = _features(parts, extractor(options.features).standardise)
    subjects = real.images.subjects, synthetic.images.subjects
    cohorts = real.images.cohorts, synthetic.images.cohorts
    shared = [name for name in shared_cohorts(*cohorts) if name != ALL]
    inside = {name: tuple(np.flatnonzero(one == name) for one in cohorts) for name in shared}

    def within(name: str) -> tuple[NDArray, NDArray, Subjects]:
        a, b = inside[name]
        return features[0][a], features[1][b], (subjects[0][a], subjects[1][b])

    control = (features[2], features[0]) if training else None
    return SetComparison(
        options=options,
        reader=reader,
        real=real,
        synthetic=synthetic,
        training=training,
        notes=tuple(notes),
        overall=fidelity(features[0], features[1], subjects),
        by_cohort={name: fidelity(*within(name), keys=("kid", "fid")) for name in shared},
        **_similarities(reader, crew, real.images, synthetic.images, options.pairs),
        diversity={name: diversity(*within(name)) for name in shared}
        or {ALL: diversity(features[0], features[1], subjects)},
        between=between_cohorts(features[0], features[1], subjects, cohorts, shared),
        biomarkers=compare_biomarkers(
            [one.panel for one in real.readings],
            [one.panel for one in synthetic.readings],
            subjects,
            cohorts,
            options.pairs,
            options.metrics,
        ),
        copies=find_copies(real, synthetic, training, reader, control, options.pairs),
        map=_map(features[0], features[1], cohorts),
    )


def _similarities(
    reader: ImageReader, crew: Crew, real: ImageSet, synthetic: ImageSet, pairs: bool
) -> dict[str, Mapping]:
    """The similarity of pairs and its baselines, as fields of `SetComparison`."""
    nothing = without_pairs()
    if not pairs:
        return {"similarity": nothing, "similarity_by_cohort": {}, "unrelated": nothing, "fresh": nothing}
    values = pair_similarity(reader, real, synthetic, crew)
    return {
        "similarity": summary(values, real.subjects),
        "similarity_by_cohort": by_cohort(values, (real.subjects, synthetic.subjects), real.cohorts),
        "unrelated": unrelated_similarity(reader, real, crew),
        "fresh": fresh_texture(reader.grid.shape, reader.grid.pixel_size_um, reader.cache, crew),
    }


def _grid(sets: list[ImageSet], size: Size | None, crew: Crew) -> tuple[CommonGrid, list[str]]:
    tasks = [(item, size) for one in sets for item in one.items]
    seen: list[Seen] = crew.run(look_at, tasks, "looking at images")
    ends = np.cumsum([len(one) for one in sets])
    return choose(sets, [seen[end - len(one) : end] for one, end in zip(sets, ends.tolist(), strict=True)])


def _read_all(sets: list[ImageSet], reader: ImageReader, crew: Crew) -> list[Read]:
    tasks = [(reader, item, one.role) for one in sets for item in one.items]
    readings: list[Reading] = crew.run(read, tasks, "features and nerves")
    ends = np.cumsum([len(one) for one in sets])
    return [Read(one, readings[end - len(one) : end]) for one, end in zip(sets, ends.tolist(), strict=True)]


def _features(parts: list[Read], standardise: bool) -> list[NDArray]:
    """Features of every set [n, d], scaled by the real set's where they have different units."""
    values = [np.stack([one.features for one in part.readings]) for part in parts]
    return standardised(*values) if standardise else values


def _patients(real: ImageSet, synthetic: ImageSet, training: ImageSet | None, pairs: bool) -> list[str]:
    """Notes on patients; raises InputError for one in both the training and the real set."""
    of_real = set(real.subjects.tolist())
    notes = []
    if not real.patients_known:
        one = "every image counts as one" if real.unit == "images" else "all images of one mask count as one"
        notes.append(f"The real images' patients are not known: {one}, so intervals may be too narrow")
    if training is not None and (both := of_real & set(training.subjects.tolist())):
        raise InputError(
            f"{len(both)} patients are in both the training and the real set, first {min(both)}: the real images must "
            "be of patients that the generator never saw"
        )
    if not pairs and (both := of_real & set(synthetic.subjects.tolist())):
        notes.append(
            f"{len(both)} patients are named in both the real and the synthetic set: their images are not "
            "independent, and the biomarkers' intervals are wider than they would be with --pairs"
        )
    return notes


def _refuse_leak(parts: list[Read]) -> None:
    if len(parts) > 2 and (both := {one.key for one in parts[0].readings} & {one.key for one in parts[2].readings}):
        raise InputError(
            f"{len(both)} images are in both the training and the real set, pixel by pixel: the real images must be "
            "ones that the generator never saw"
        )


def _cohorts(real: ImageSet, synthetic: ImageSet) -> list[str]:
    """Notes on cohorts that one set lacks."""
    notes = []
    known = [set(one.cohorts.tolist()) - {""} for one in (real, synthetic)]
    for have, lack, other in ((known[0], known[1], "synthetic"), (known[1], known[0], "real")):
        if have and not lack:
            notes.append(f"The cohorts of the {other} images are not known, so nothing is compared by cohort")
        elif missing := sorted(have - lack):
            notes.append(f"There are no {other} images of {', '.join(missing)}")
    return notes


def _map(real: NDArray, synthetic: NDArray, cohorts: tuple[NDArray, NDArray]) -> Map:
    of_synthetic = np.repeat([False, True], [len(real), len(synthetic)])
    chosen = np.sort(np.random.default_rng(0).permutation(len(of_synthetic))[:MOST])
    xy, method = embed(np.concatenate([real, synthetic])[chosen])
    return Map(xy, of_synthetic[chosen], np.concatenate(cohorts)[chosen], method)
