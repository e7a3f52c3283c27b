"""The queue: jobs that wait, the one that runs, and the history, with ComfyUI's shapes."""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from .executor import Executor, PromptJob, Result

log = logging.getLogger(__name__)

LONGEST_HISTORY = 1000
STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")
_PREVIEWABLE = frozenset({"images", "video", "audio", "text"})
_FINAL = ("execution_success", "execution_error", "execution_interrupted")


class JobQueue:
    """Runs jobs one after another in a thread of its own.

    changed: called, from any thread, when the number of jobs that are left changes. finished: called with each
    job and its result.
    """

    def __init__(
        self,
        executor: Executor,
        changed: Callable[[], None] = lambda: None,
        finished: Callable[[PromptJob], None] = lambda job: None,
    ):
        self.executor = executor
        self._changed = changed
        self._finished = finished
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._order = itertools.count()
        self._pending: list[tuple[float, int, PromptJob]] = []
        self._running: PromptJob | None = None
        self._history: dict[str, dict[str, Any]] = {}
        self._chores: list[Callable[[], None]] = []
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="host-queue", daemon=True)

    def start(self) -> None:
        """Start working."""
        self._thread.start()

    def close(self, timeout_s: float = 10) -> None:
        """Interrupt the job that runs, drop the others, and wait for the thread to end."""
        with self._lock:
            self._closed = True
            self._pending.clear()
            if self._running is not None:
                self._running.stop.set()
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def put(self, job: PromptJob) -> None:
        """Add a job; the one with the lowest number is next."""
        with self._lock:
            heapq.heappush(self._pending, (job.number, next(self._order), job))
            self._wake.notify()
        self._changed()

    def later(self, chore: Callable[[], None]) -> None:
        """Do something in the queue's thread, between two jobs."""
        with self._lock:
            self._chores.append(chore)
            self._wake.notify()

    def remaining(self) -> int:
        """Jobs that wait or run."""
        with self._lock:
            return len(self._pending) + (self._running is not None)

    def interrupt(self, prompt_id: str | None = None) -> bool:
        """Stop the job that runs, or only if it is `prompt_id`. Returns whether there was one to stop."""
        with self._lock:
            if self._running is None or prompt_id not in (None, self._running.prompt_id):
                return False
            self._running.stop.set()
            return True

    def remove(self, prompt_id: str) -> bool:
        """Drop a job that waits. Returns whether there was one."""
        with self._lock:
            kept = [item for item in self._pending if item[2].prompt_id != prompt_id]
            removed = len(kept) < len(self._pending)
            self._pending = kept
            heapq.heapify(self._pending)
        if removed:
            self._changed()
        return removed

    def cancel(self, prompt_id: str) -> bool:
        """Drop a job that waits or stop it if it runs. Returns whether there was one."""
        with self._lock:
            return self.remove(prompt_id) or self.interrupt(prompt_id)

    def clear(self) -> None:
        """Drop every job that waits."""
        with self._lock:
            self._pending.clear()
        self._changed()

    def snapshot(self) -> tuple[list[list], list[list]]:
        """(running, pending) as ComfyUI lists them: [number, id, prompt, extra data, outputs]."""
        with self._lock:
            running = [] if self._running is None else [_row(self._running)]
            return running, [_row(item[2]) for item in sorted(self._pending, key=lambda item: item[:2])]

    def running_client(self) -> str | None:
        """The browser whose job runs."""
        with self._lock:
            return None if self._running is None else self._running.client_id

    def history(self, prompt_id: str | None = None, max_items: int | None = None, offset: int = -1) -> dict[str, Any]:
        """Finished jobs by id, oldest first; the last `max_items`, or those from `offset` on."""
        with self._lock:
            if prompt_id is not None:
                return {prompt_id: self._history[prompt_id]} if prompt_id in self._history else {}
            ids = list(self._history)
            if max_items is not None:
                first = len(ids) - max_items if offset < 0 else offset
                ids = ids[max(first, 0) :][: max(max_items, 0)]
            elif offset > 0:
                ids = ids[offset:]
            return {id: self._history[id] for id in ids}

    def forget(self, prompt_id: str | None = None) -> None:
        """Drop one finished job, or all."""
        with self._lock:
            if prompt_id is None:
                self._history.clear()
            else:
                self._history.pop(prompt_id, None)

    def jobs(self) -> list[dict[str, Any]]:
        """Every job as /jobs lists it, newest first."""
        running, pending = self.snapshot()
        listed = [_waiting(row, "in_progress") for row in running]
        listed += [_waiting(row, "pending") for row in pending]
        listed += [_finished(id, entry) for id, entry in self.history().items()]
        return sorted(listed, key=lambda job: job.get("create_time", 0), reverse=True)

    def job(self, prompt_id: str) -> dict[str, Any] | None:
        """One job with its outputs and its graph."""
        entry = self.history(prompt_id).get(prompt_id)
        if entry is not None:
            _, _, prompt, extra, _ = entry["prompt"]
            return {
                **_finished(prompt_id, entry),
                "outputs": entry["outputs"],
                "execution_status": entry["status"],
                "workflow": {"prompt": prompt, "extra_data": extra},
            }
        return next((job for job in self.jobs() if job["id"] == prompt_id), None)

    def _work(self) -> None:
        while True:
            with self._lock:
                while not (self._pending or self._chores or self._closed):
                    self._wake.wait()
                if self._closed:
                    return
                chores, self._chores = self._chores, []
                job = heapq.heappop(self._pending)[2] if self._pending else None
                self._running = job
            for chore in chores:
                try:
                    chore()
                except Exception:
                    log.exception("a chore between two jobs failed")
            if job is not None:
                self._changed()
                self._run(job)

    def _run(self, job: PromptJob) -> None:
        started = time.monotonic()
        try:
            result = self.executor.execute(job)
        except Exception:  # a fault of the host itself: the queue goes on, the log has the traceback
            log.exception("the job %s broke the executor", job.prompt_id)
            result = Result(status="error")
        log.info("job %s: %s after %.1f s", job.prompt_id, _outcome(result), time.monotonic() - started)
        with self._lock:
            while len(self._history) >= LONGEST_HISTORY:
                del self._history[next(iter(self._history))]
            self._history[job.prompt_id] = {
                "prompt": _row(job),
                "outputs": result.outputs,
                "meta": result.meta,
                "status": {
                    "status_str": result.status,
                    "completed": result.status == "success",
                    "messages": result.messages,
                },
            }
            self._running = None
        self._finished(job)
        self._changed()


def _outcome(result: Result) -> str:
    failure = result.failure
    if failure is not None:
        sentence = " ".join(failure["exception_message"].split())
        return f"failed in {failure['node_type']} ({failure['node_id']}): {sentence}"
    return "done" if result.status == "success" else "interrupted"


def new_extra(extra_data: dict[str, Any], client_id: str | None) -> dict[str, Any]:
    """A job's extra data: without credentials, with the browser's id and the time."""
    secret = ("auth_token_comfy_org", "api_key_comfy_org")
    extra = {key: value for key, value in extra_data.items() if key not in secret}
    if client_id is not None:
        extra["client_id"] = client_id
    extra["create_time"] = int(time.time() * 1000)
    return extra


def _row(job: PromptJob) -> list:
    return [job.number, job.prompt_id, job.prompt, job.extra_data, job.outputs]


def _workflow_id(extra: dict[str, Any]) -> str | None:
    pnginfo = extra.get("extra_pnginfo")
    workflow = pnginfo.get("workflow") if isinstance(pnginfo, dict) else None
    return workflow.get("id") if isinstance(workflow, dict) else None


def _known(job: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in job.items() if value is not None}


def _waiting(row: list, status: str) -> dict[str, Any]:
    number, prompt_id, _, extra, _ = row
    return _known(
        {
            "id": prompt_id,
            "status": status,
            "priority": number,
            "create_time": extra.get("create_time"),
            "outputs_count": 0,
            "previewable_outputs_count": 0,
            "workflow_id": _workflow_id(extra),
        }
    )


def _finished(prompt_id: str, entry: dict[str, Any]) -> dict[str, Any]:
    number, _, _, extra, _ = entry["prompt"]
    messages = dict(entry["status"]["messages"])
    end: dict[str, Any] = next((messages[event] for event in _FINAL if event in messages), {})
    if entry["status"]["completed"]:
        status = "completed"
    else:
        status = "cancelled" if "execution_interrupted" in messages else "failed"
    files = [
        {**item, "nodeId": node_id, "mediaType": kind}
        for node_id, output in entry["outputs"].items()
        for kind, items in output.items()
        for item in items
        if isinstance(item, dict) and "filename" in item
    ]
    previewable = [file for file in files if file["mediaType"] in _PREVIEWABLE]
    preview = min(previewable, key=lambda file: file.get("type") != "output", default=None)
    return _known(
        {
            "id": prompt_id,
            "status": status,
            "priority": number,
            "create_time": extra.get("create_time"),
            "execution_start_time": messages.get("execution_start", {}).get("timestamp"),
            "execution_end_time": end.get("timestamp"),
            "execution_error": messages.get("execution_error"),
            "outputs_count": len(files),
            "previewable_outputs_count": len(previewable),
            "preview_output": preview,
            "workflow_id": _workflow_id(extra),
        }
    )
