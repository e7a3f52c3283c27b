"""A file as an answer: itself, whatever lies beside it."""

from collections.abc import Mapping
from pathlib import Path

from aiohttp import web


def sent(request: web.Request, path: Path, headers: Mapping[str, str]) -> web.Response:
    """The bytes of a file; 304 where the browser has them already.

    aiohttp's own FileResponse sends `name.png.gz` in the place of `name.png` where there is such a file.
    """
    file = path.open("rb")
    stat = path.stat()
    tag = f"{stat.st_mtime_ns:x}-{stat.st_size:x}"
    if any(known.value in (tag, "*") for known in request.if_none_match or ()):
        file.close()
        response = web.Response(status=304)
    else:
        response = web.Response(body=file, headers=headers)
    response.etag = tag
    response.last_modified = stat.st_mtime
    return response
