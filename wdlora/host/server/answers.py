"""Bodies of requests as values, and values as answers: JSON as RFC 8259 has it, in both directions.

NaN, infinities, lone surrogates and nesting that no graph has are refused when they arrive and never leave.
"""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ...errors import InputError
from ...strict_json import loads

DEEPEST = 100
"""Lists and objects in each other; a graph of the front end has about ten."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def threaded(handler: Callable[[web.Request], web.StreamResponse]) -> Handler:
    """A handler that reads or writes files, run in a thread, so that the other requests are answered meanwhile."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await asyncio.to_thread(handler, request)

    return handle


def parse(text: str) -> Any:
    """A JSON value. Raises InputError for what is none, for NaN and infinities, lone surrogates and deep nesting."""
    try:
        value = loads(text)
    except RecursionError:
        raise InputError(f"the JSON is nested more than {DEEPEST} deep; no graph or setting needs that") from None
    except ValueError as problem:
        if isinstance(problem, InputError):
            raise
        raise InputError(f"the body is not JSON: {problem}") from None
    _check(value, surrogates="\\ud" in text.lower())
    return value


def _check(value: Any, surrogates: bool) -> None:
    level = [value]
    for _ in range(DEEPEST):
        parts: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                parts.extend(item.values())
                if surrogates:
                    parts.extend(item)
            elif isinstance(item, list):
                parts.extend(item)
            elif surrogates and isinstance(item, str) and any("\ud800" <= letter <= "\udfff" for letter in item):
                raise InputError("the JSON holds half a character (a lone surrogate), which no file can keep")
        if not parts:
            return
        level = parts
    raise InputError(f"the JSON is nested more than {DEEPEST} deep; no graph or setting needs that")


async def read_text(request: web.Request) -> str:
    """The body as text. Raises InputError where it is none in the encoding that the request names."""
    content = await request.read()
    encoding = request.charset or "utf-8"
    try:
        return content.decode(encoding)
    except LookupError:
        raise InputError(f"the encoding {encoding!r} is not known; send UTF-8") from None
    except ValueError:
        raise InputError(f"the body is not text in {encoding}; send UTF-8") from None


async def read_value(request: web.Request) -> Any:
    """The JSON value of the body. Raises InputError where it is none."""
    return parse(await read_text(request))


async def read_object(request: web.Request, empty: bool = False) -> dict[str, Any]:
    """The JSON object of the body; an absent one is {} where `empty`. Answers 400 otherwise."""
    try:
        text = await read_text(request)
        body = {} if empty and not text.strip() else parse(text)
        if not isinstance(body, dict):
            raise InputError("Request body must be a JSON object")
    except InputError as problem:
        raise web.HTTPBadRequest(text=json_text({"error": str(problem)}), content_type="application/json") from None
    return body


async def read_form(request: web.Request) -> Any:
    """The fields of a form. Raises InputError where the body is none."""
    try:
        return await request.post()
    except (ValueError, LookupError, AssertionError, RuntimeError) as problem:  # whatever aiohttp's reader raises
        raise InputError(f"the form cannot be read: {problem or 'it is not multipart/form-data'}") from None


def json_text(value: Any) -> str:
    """A value as JSON: what is no number becomes null, what JSON does not know its text."""
    try:
        return json.dumps(value, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(_numbers_only(value), default=str, allow_nan=False)


def _numbers_only(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key) if isinstance(key, float) else key: _numbers_only(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_numbers_only(item) for item in value]
    return value


def answer(value: Any, status: int = 200) -> web.Response:
    """A value as a JSON answer."""
    return web.json_response(value, status=status, dumps=json_text)
