"""What a batch is given and what it keeps count of, whoever does the work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .jobs import BatchJob
from .journal import Journal
from .results import Results


class JobFailed(Exception):
    """A job did not work; `again` says whether it may work on another try."""

    def __init__(self, sentence: str, again: bool):
        super().__init__(sentence)
        self.again = again


@dataclass
class Work:
    """Jobs that are to be done, and what became of them.

    tell: called with each job that is done or given up.
    """

    jobs: Sequence[BatchJob]
    journal: Journal
    results: Results
    attempts: int = 3
    first_pause_s: float = 1.0
    tell: Callable[[BatchJob, str | None], None] = lambda job, error: None
    failures: dict[str, str] = field(default_factory=dict)

    def pause_s(self, attempt: int) -> float:
        """How long to wait before the next try, twice as long each time, at most a minute."""
        return min(self.first_pause_s * 2**attempt, 60.0)

    def done(self, job: BatchJob, **facts: Any) -> None:
        """Note a result that lies in its place."""
        self.journal.append("done", id=job.id, name=job.name, **facts)
        self.tell(job, None)

    def failed(self, job: BatchJob, sentence: str) -> None:
        """Note that a job was given up."""
        self.failures[job.id] = sentence
        self.journal.append("failed", id=job.id, name=job.name, error=self.results.names.hide_text(sentence))
        self.tell(job, sentence)
