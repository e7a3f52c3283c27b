"""Training computes on one thread, the fastest at this size."""

from tests.small_model import one_thread as one_thread
