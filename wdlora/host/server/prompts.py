"""Routes of the queue: /prompt, /queue, /interrupt, /history, /jobs, /free."""

import asyncio
import uuid
from typing import Any

from aiohttp import web

from ..executor import PromptJob
from ..host import Host
from ..queue import STATUSES, JobQueue, new_extra
from .answers import answer, json_text, read_object
from .sockets import Sockets

_LARGEST_NUMBER = 2**53
"""Of a place in the queue: what a browser's number holds exactly."""


class PromptRoutes:
    """Handlers that put jobs into the queue, tell of them, and take them out."""

    def __init__(self, host: Host, queue: JobQueue, sockets: Sockets):
        self.host, self.queue, self.sockets = host, queue, sockets
        self._number = 0

    def routes(self) -> list[web.RouteDef]:
        """The routes, without the prefix /api."""
        return [
            web.get("/prompt", self.get_prompt),
            web.post("/prompt", self.post_prompt),
            web.get("/queue", self.get_queue),
            web.post("/queue", self.post_queue),
            web.post("/interrupt", self.post_interrupt),
            web.post("/free", self.post_free),
            web.get("/history", self.get_history),
            web.get("/history/{prompt_id}", self.get_history_of),
            web.post("/history", self.post_history),
            web.get("/jobs", self.get_jobs),
            web.get("/jobs/{job_id}", self.get_job),
            web.post("/jobs/cancel", self.cancel_jobs),
            web.post("/jobs/{job_id}/cancel", self.cancel_job),
        ]

    async def get_prompt(self, _: web.Request) -> web.Response:
        """The queue's length."""
        return answer(self.sockets.status())

    async def post_prompt(self, request: web.Request) -> web.Response:
        """Validate a graph and put it into the queue."""
        body = await read_object(request)
        if "prompt" not in body:
            return _refuse("no_prompt", "No prompt provided", "No prompt provided")
        prompt_id = body.get("prompt_id")
        if prompt_id is None:
            prompt_id = str(uuid.uuid4())
        elif not is_job_id(prompt_id):
            details = (
                "prompt_id must be a UUID string in canonical lowercase hyphenated form; "
                "omit it to let the server generate one"
            )
            return _refuse("invalid_prompt_id", "prompt_id must be a valid UUID", details)
        number = self._next_number(body)
        targets = body.get("partial_execution_targets")
        extra = body.get("extra_data") or {}
        client_id = body.get("client_id")
        if (
            number is None
            or not isinstance(extra, dict)
            or not isinstance(extra.get("extra_pnginfo") or {}, dict)
            or not (client_id is None or isinstance(client_id, str))
            or not (targets is None or isinstance(targets, list))
        ):
            details = (
                "number must be a number, extra_data and extra_pnginfo objects, client_id a string, "
                "partial_execution_targets a list"
            )
            return _refuse("invalid_prompt", "The request is malformed", details)
        verdict = await asyncio.to_thread(self.host.validate, body["prompt"], targets)
        if verdict.error is not None:
            return answer({"error": verdict.error, "node_errors": verdict.node_errors}, status=400)
        job = PromptJob(prompt_id, body["prompt"], verdict.outputs, number, new_extra(extra, client_id))
        self.queue.put(job)
        return answer({"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors})

    def _next_number(self, body: dict[str, Any]) -> float | None:
        if "number" in body:
            number = body["number"]
            usable = isinstance(number, (int, float)) and abs(number) <= _LARGEST_NUMBER
            return float(number) if usable else None
        number = -self._number if body.get("front") else self._number
        self._number += 1
        return number

    async def get_queue(self, _: web.Request) -> web.Response:
        """What runs and what waits."""
        running, pending = self.queue.snapshot()
        return answer({"queue_running": running, "queue_pending": pending})

    async def post_queue(self, request: web.Request) -> web.Response:
        """Drop jobs that wait: {"clear": true} or {"delete": [ids]}."""
        body = await read_object(request)
        if body.get("clear"):
            self.queue.clear()
        for prompt_id in _texts(body, "delete"):
            self.queue.remove(prompt_id)
        return web.Response()

    async def post_interrupt(self, request: web.Request) -> web.Response:
        """Stop the job that runs; with {"prompt_id"} only if it is that one."""
        body = await read_object(request, empty=True)
        self.queue.interrupt(body.get("prompt_id"))
        return web.Response()

    async def post_free(self, request: web.Request) -> web.Response:
        """Free memory between two jobs: {"unload_models": true, "free_memory": true}."""
        body = await read_object(request, empty=True)
        if body.get("free_memory"):
            self.queue.later(self.host.executor.clear_cache)
        if body.get("free_memory") or body.get("unload_models"):
            self.queue.later(self.host.engine.unload)
        return web.Response()

    async def get_history(self, request: web.Request) -> web.Response:
        """Finished jobs."""
        max_items = _integer(request, "max_items")
        offset = _integer(request, "offset")
        return answer(self.queue.history(max_items=max_items, offset=-1 if offset is None else offset))

    async def get_history_of(self, request: web.Request) -> web.Response:
        """One finished job, or {}."""
        return answer(self.queue.history(request.match_info["prompt_id"]))

    async def post_history(self, request: web.Request) -> web.Response:
        """Forget finished jobs: {"clear": true} or {"delete": [ids]}."""
        body = await read_object(request)
        if body.get("clear"):
            self.queue.forget()
        for prompt_id in _texts(body, "delete"):
            self.queue.forget(prompt_id)
        return web.Response()

    async def get_jobs(self, request: web.Request) -> web.Response:
        """All jobs, filtered by status and workflow, sorted, a page at a time."""
        query = request.query
        statuses = [text.strip().lower() for text in query.get("status", "").split(",") if text.strip()]
        unknown = [status for status in statuses if status not in STATUSES]
        if unknown:
            known = ", ".join(STATUSES)
            return answer({"error": f"Invalid status value(s): {', '.join(unknown)}. Valid values: {known}"}, 400)
        sort_by, order = query.get("sort_by", "created_at").lower(), query.get("sort_order", "desc").lower()
        if sort_by not in ("created_at", "execution_duration"):
            return answer({"error": "sort_by must be 'created_at' or 'execution_duration'"}, 400)
        if order not in ("asc", "desc"):
            return answer({"error": "sort_order must be 'asc' or 'desc'"}, 400)
        limit, offset = _integer(request, "limit"), max(_integer(request, "offset") or 0, 0)
        if limit is not None and limit <= 0:
            return answer({"error": "limit must be a positive integer"}, 400)
        workflow_id = query.get("workflow_id")
        jobs = [
            job
            for job in self.queue.jobs()
            if (not statuses or job["status"] in statuses)
            and (not workflow_id or job.get("workflow_id") == workflow_id)
        ]
        keys = {"created_at": lambda job: job.get("create_time", 0), "execution_duration": _duration}
        jobs.sort(key=keys[sort_by], reverse=order == "desc")
        page = jobs[offset:] if limit is None else jobs[offset : offset + limit]
        more = offset + len(page) < len(jobs)
        pagination = {"offset": offset, "limit": limit, "total": len(jobs), "has_more": more}
        return answer({"jobs": page, "pagination": pagination})

    async def get_job(self, request: web.Request) -> web.Response:
        """One job with outputs and graph."""
        job = self.queue.job(request.match_info["job_id"])
        return answer({"error": "Job not found"}, 404) if job is None else answer(job)

    async def cancel_job(self, request: web.Request) -> web.Response:
        """Stop or drop one job."""
        return answer({"cancelled": self.queue.cancel(request.match_info["job_id"])})

    async def cancel_jobs(self, request: web.Request) -> web.Response:
        """Stop or drop several jobs: {"job_ids": [ids]}."""
        ids = (await read_object(request)).get("job_ids")
        if not isinstance(ids, list):
            return answer({"error": "job_ids must be a list"}, 400)
        invalid = [id if isinstance(id, str) else repr(id) for id in ids if not is_job_id(id)]
        if invalid:
            return answer({"error": "job_ids contains invalid id(s)", "invalid_ids": invalid}, 400)
        cancelled = [self.queue.cancel(id) for id in ids]
        return answer({"cancelled": any(cancelled)})


def is_job_id(value: object) -> bool:
    """Whether a value is a UUID in its canonical form."""
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


def _refuse(kind: str, message: str, details: str) -> web.Response:
    error = {"type": kind, "message": message, "details": details, "extra_info": {}}
    return answer({"error": error, "node_errors": {}}, 400)


def _texts(body: dict[str, Any], key: str) -> list[str]:
    values = body.get(key)
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _integer(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        text = json_text({"error": f"{name} must be an integer"})
        raise web.HTTPBadRequest(text=text, content_type="application/json") from None


def _duration(job: dict[str, Any]) -> int:
    return job.get("execution_end_time", 0) - job.get("execution_start_time", 0)
