"""What goes wrong with a request becomes a status and a sentence, without a traceback and without paths."""

import errno
import logging

from aiohttp import web
from aiohttp.http import HttpProcessingError

from ...errors import InputError
from .answers import Handler

log = logging.getLogger(__name__)

_REFUSED = {
    errno.ENOSPC: (507, "there is no space left on the disk; free some and send it again"),
    errno.EDQUOT: (507, "the disk quota is used up; free some space and send it again"),
    errno.EFBIG: (507, "the file is larger than the disk takes; send a smaller one"),
    errno.EROFS: (403, "the folder cannot be written: its disk is read-only"),
    errno.EACCES: (403, "there is no permission for that file or folder"),
    errno.EPERM: (403, "there is no permission for that file or folder"),
    errno.ENOENT: (404, "there is no such file or folder"),
    errno.ENAMETOOLONG: (400, "the name is too long; give a shorter one"),
    errno.ELOOP: (400, "the name leads through links that go in a circle"),
    errno.ENOTDIR: (400, "a part of the path is a file, not a folder; give another path"),
    errno.EISDIR: (400, "there is a folder of that name; give another name"),
    errno.EEXIST: (409, "there is a file or folder of that name; give another name"),
    errno.ENOTEMPTY: (409, "there is a folder of that name; give another name"),
    errno.EINVAL: (400, "no file can have that name; give another one"),
}


class OneLine(logging.Filter):
    """Of what is no HTTP aiohttp logs a traceback, which is of its own reader: a line says as much."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten the record."""
        problem = record.exc_info[1] if record.exc_info else None
        if isinstance(problem, (HttpProcessingError, web.RequestPayloadError)):
            record.exc_info, record.levelno, record.levelname = None, logging.INFO, "INFO"
            record.msg = f"{record.getMessage()}: {type(problem).__name__}"
            record.args = None
        return True


@web.middleware
async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 4xx or 507 with a sentence where a request cannot be met, as no request may end in a traceback."""
    try:
        return await handler(request)
    except (OSError, ValueError, RecursionError, OverflowError, MemoryError) as problem:
        status, sentence = described(problem)
    except (web.RequestPayloadError, HttpProcessingError):
        status, sentence = 400, "the body did not arrive whole, or is not a body of the kind that the request names"
    log.debug("%s %s refused: %s", request.method, request.path, sentence, exc_info=True)
    return web.Response(status=status, text=sentence)


def described(problem: Exception) -> tuple[int, str]:
    """Status and sentence for an error. A system's error is told by its number: its own text names paths."""
    if isinstance(problem, InputError):
        return 400, str(problem)
    if isinstance(problem, OSError):
        known = _REFUSED.get(problem.errno or 0)
        return known or (507, f"the file cannot be read or written ({problem.strerror or type(problem).__name__})")
    if isinstance(problem, MemoryError):
        return 507, "there is not enough memory for that; send something smaller"
    if isinstance(problem, RecursionError):
        return 400, "the request is nested too deep"
    if isinstance(problem, UnicodeError):
        return 400, "a text holds letters that no file or answer can keep"
    return 400, "a value in the request cannot be used"
