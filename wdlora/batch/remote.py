"""A batch on ComfyUI servers: each server is kept busy, and its jobs move to another one when it dies."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..graph.places import title_of
from .client import Refused, Server, Unreachable, open_session
from .jobs import BatchJob
from .results import NodeResult, node_results
from .work import JobFailed, Work

IN_FLIGHT = 2
"""Jobs sent to a server at a time: one runs, one waits, so that the server never does."""

_POLL_S = (0.05, 2.0)
_LOST_AFTER = 4
_REFUSALS = 3


class _Lost(Exception):
    """The server knows nothing of a job that it took."""


class ServerPool:
    """Servers at work on a batch.

    patience_s: how long to look for a server that does not answer before it is given up; others take its jobs at once.
    """

    def __init__(self, work: Work, servers: Sequence[Server], patience_s: float = 120.0):
        self.work, self.servers, self.patience_s = work, list(servers), patience_s
        self.client_id = uuid.uuid4().hex
        self.gone: dict[str, str] = {}
        self._silent: set[str] = set()
        self._over = asyncio.Event()
        self._open = {job.id: job for job in work.jobs}
        self._attempts: dict[str, int] = {}
        self._refused: dict[str, dict[str, str]] = {}
        self._in_a_row: dict[str, int] = {}
        self._taken: set[str] = set()
        self._changed = asyncio.Condition()
        self._sent: dict[str, str] = {
            event["id"]: event.get("server", "") for event in work.journal.events if event["event"] == "sent"
        }

    async def run(self) -> None:
        """Work until every job is done or given up, or no server is left. Raises InputError in the last case."""
        workers = [asyncio.create_task(self._serve(server)) for server in self.servers for _ in range(IN_FLIGHT)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        if self._open:
            reasons = "; ".join(f"{url}: {why}" for url, why in self.gone.items())
            raise InputError(f"no server is left for {len(self._open)} jobs ({reasons}); the same command continues")

    async def _serve(self, server: Server) -> None:
        while (job := await self._take(server)) is not None:
            silence = ""
            try:
                await self._through(server, job)
            except Unreachable as problem:
                silence = str(problem)
                self._silent.add(server.url)
            finally:
                async with self._changed:
                    self._taken.discard(job.id)
                    self._changed.notify_all()
            if silence and not await self._back(server):
                await self._give_up(server, f"does not answer ({silence})")

    async def _back(self, server: Server) -> bool:
        """Wait for a silent server; False where it stays silent, or there is nothing left to do."""
        until, tries = time.monotonic() + self.patience_s, 0
        while self._open and time.monotonic() < until and server.url not in self.gone:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), min(self.work.pause_s(tries), 15.0))
            tries += 1
            try:
                await server.alive()
            except Unreachable:
                continue
            async with self._changed:
                self._silent.discard(server.url)
                self._changed.notify_all()
            return True
        return not self._open

    async def _take(self, server: Server) -> BatchJob | None:
        """The next job for a server: first those that it was sent, then those that no answering server was sent."""
        async with self._changed:
            while True:
                if not self._open or server.url in self.gone:
                    return None
                answering = {other.url for other in self.servers} - set(self.gone) - self._silent
                best = None
                for job in self._open.values():
                    if job.id in self._taken or server.url in self._refused.get(job.id, {}):
                        continue
                    at = self._sent.get(job.id)
                    if at == server.url:
                        best = job
                        break
                    if best is None and at not in answering:
                        best = job
                if best is not None:
                    self._taken.add(best.id)
                    return best
                await self._changed.wait()

    async def _give_up(self, server: Server, why: str) -> None:
        async with self._changed:
            self.gone.setdefault(server.url, why)
            for job in list(self._open.values()):
                self._end_if_refused(job)
            self._changed.notify_all()

    async def _through(self, server: Server, job: BatchJob) -> None:
        """One job on one server, tried again while it is worth it. Raises Unreachable when the server is silent."""
        silent = False
        while True:
            attempt = self._attempts.get(job.id, 0)
            try:
                facts = await self._once(server, job, attempt)
                self._finish(job)
                self._in_a_row[server.url] = 0
                self.work.done(job, **facts)
                return
            except Unreachable:
                if silent:
                    raise
                silent = True
                await asyncio.sleep(self.work.pause_s(0))
            except Refused as problem:
                await self._note_refusal(server, job, str(problem))
                return
            except (JobFailed, _Lost) as problem:
                self._attempts[job.id] = attempt + 1
                again = isinstance(problem, _Lost) or problem.again
                if not again or attempt + 1 >= self.work.attempts:
                    self._finish(job)
                    self.work.failed(job, str(problem))
                    return
                await asyncio.sleep(self.work.pause_s(attempt))

    async def _once(self, server: Server, job: BatchJob, attempt: int) -> dict[str, Any]:
        entry = await server.finished(job.id)
        if entry is not None and (attempt or not _completed(entry)):
            await server.forget(job.id)  # a failure of an earlier try: nothing to keep
            entry = None
        started = time.monotonic()
        if entry is None and not await server.waiting(job.id):
            entry = await server.finished(job.id)  # it may have ended between the two questions
            if entry is None:
                if job.mask is not None:
                    await server.upload(job.mask)
                self.work.journal.append("sent", id=job.id, name=job.name, server=server.url)
                self._sent[job.id] = server.url
                started = time.monotonic()
                await server.send(job.id, job.prompt(attempt), self.client_id)
        if entry is None:
            entry = await self._wait(server, job)
        if not _completed(entry):
            raise _failure(entry, job)
        return await self._fetch(server, job, entry, _seconds(entry, time.monotonic() - started))

    async def _wait(self, server: Server, job: BatchJob) -> dict[str, Any]:
        pause, unknown = _POLL_S[0], 0
        while True:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _POLL_S[1])
            entry = await server.finished(job.id)
            if entry is not None:
                return entry
            unknown = 0 if await server.waiting(job.id) else unknown + 1
            if unknown >= _LOST_AFTER:  # the history can be a little later than the end of the job
                raise _Lost(f"{server.url} lost the job; it was restarted, or its queue was cleared")

    async def _fetch(self, server: Server, job: BatchJob, entry: dict[str, Any], seconds: float) -> dict[str, Any]:
        staged = self.work.results.stage(job)
        found: list[tuple[NodeResult, list[Path]]] = []
        taken: set[str] = set()
        for output in node_results(entry.get("outputs") or {}, job.graph):
            paths = []
            for file in output.files:
                target = staged / _free_name(self.work.results.names.hide_text(file["filename"]), taken)
                if not await server.download(file, target):
                    raise JobFailed(f"{server.url} has the file {file['filename']} no more", again=True)
                paths.append(target)
            found.append((output, paths))
        self.work.results.commit(job, found, seconds=seconds, server=server.url)
        return {"seconds": seconds, "server": server.url}

    async def _note_refusal(self, server: Server, job: BatchJob, sentence: str) -> None:
        self._refused.setdefault(job.id, {})[server.url] = sentence
        self._sent.pop(job.id, None)
        self._in_a_row[server.url] = self._in_a_row.get(server.url, 0) + 1
        if self._in_a_row[server.url] >= _REFUSALS:
            await self._give_up(server, f"does not take the graph ({sentence})")
        async with self._changed:
            self._end_if_refused(job)
            self._changed.notify_all()

    def _end_if_refused(self, job: BatchJob) -> None:
        """Give a job up that every living server has refused, unless they refuse all jobs."""
        refusals = self._refused.get(job.id, {})
        alive = {server.url for server in self.servers} - set(self.gone)
        if job.id in self._open and refusals and alive and alive <= set(refusals):
            self._finish(job)
            self.work.failed(job, next(iter(refusals.values())))

    def _finish(self, job: BatchJob) -> None:
        self._open.pop(job.id, None)
        if not self._open:
            self._over.set()


async def run_on_servers(work: Work, urls: Sequence[str]) -> None:
    """Do the work on the servers. Raises InputError where none is left before the end."""
    async with open_session() as session:
        servers = [Server(url, session) for url in dict.fromkeys(urls)]
        await ServerPool(work, servers).run()


async def object_info_of(urls: Sequence[str]) -> dict[str, Any]:
    """What nodes the first server that answers has. Raises InputError where none does."""
    silent = []
    async with open_session() as session:
        for url in urls:
            server = Server(url, session)
            try:
                return await server.object_info()
            except Unreachable as problem:
                silent.append(f"{server.url} does not answer ({problem})")
    raise InputError("; ".join(silent))


def _completed(entry: dict[str, Any]) -> bool:
    return entry["status"].get("status_str") == "success"


def _failure(entry: dict[str, Any], job: BatchJob) -> JobFailed:
    for message in entry["status"].get("messages") or []:
        if len(message) == 2 and message[0] == "execution_error":
            error = message[1]
            id = str(error.get("node_id"))
            text = " ".join(str(error.get("exception_message", "")).split())
            kind = str(error.get("exception_type", ""))
            again = not kind.endswith("InputError")
            title = title_of(id, job.graph.get(id, {}))
            return JobFailed(f"{title}: {text}" + (f" ({kind})" if again else ""), again)
    return JobFailed("the job was interrupted on the server", again=True)


def _seconds(entry: dict[str, Any], otherwise: float) -> float:
    """How long a job ran, by the server's clock where it told."""
    times = {
        message[0]: message[1].get("timestamp")
        for message in entry["status"].get("messages") or []
        if len(message) == 2 and isinstance(message[1], dict)
    }
    start, end = times.get("execution_start"), times.get("execution_success")
    if isinstance(start, (int, float)) and isinstance(end, (int, float)):
        return round(max(end - start, 0) / 1000, 3)
    return round(otherwise, 3)


def _free_name(filename: str, taken: set[str]) -> str:
    """The last part of a name that a server gave, made different from those that are taken."""
    bare = filename.replace("\\", "/").rpartition("/")[2].lstrip(".") or "file"
    path, number, name = Path(bare), 1, bare
    while name in taken:
        number += 1
        name = f"{path.stem}({number}){path.suffix}"
    taken.add(name)
    return name
