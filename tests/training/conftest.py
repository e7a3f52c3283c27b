"""Training computes on one thread, the fastest at this size; a cache and a finished run are shared."""

import pytest

from tests.small_model import one_thread as one_thread
from tests.training.runs import job
from training.pipeline import finetune


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def finished(cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    return out, finetune(job(out, cache))
