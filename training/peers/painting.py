"""A trained peer's pictures of masks, as a data set."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.held_out import MaskCase, paint_cases
from training.peers.file import TrainedPeer
from wdlora.dataset.split import TABLE as SPLIT
from wdlora.files import atomic_write
from wdlora.study import Study, StudyCohort


def paint_with_peer(
    peer: TrainedPeer, cases: Sequence[MaskCase], study: Study, first_seed: int, out: Path, run: Path | None = None
) -> list[Path]:
    """Paint masks into the data set `out`; returns the pictures' files. The `run`'s split.csv comes along, so that
    whoever trains on the pictures knows who was learned from. As `training.held_out.paint_cases`.
    """

    def painter(case: MaskCase, group: StudyCohort, seed: int) -> NDArray[np.uint8]:
        return peer.paint(case.mask, case.cohort, seed)

    origin = {"peer": peer.facts.peer, "peer_sha256": peer.digest, "first_seed": first_seed}
    files = paint_cases(painter, cases, (study, None), first_seed, out, origin)
    if run is not None and (run / SPLIT).is_file():
        with atomic_write(out / SPLIT) as temporary:
            shutil.copyfile(run / SPLIT, temporary)
    return files
