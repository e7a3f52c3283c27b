"""Who may ask: the checks of Origin and Host, and the policy that keeps the page from asking anybody else."""

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SELF = "'self'"
CONTENT_SECURITY_POLICY = "; ".join(
    f"{directive} {sources}"
    for directive, sources in {
        "default-src": _SELF,
        "script-src": f"{_SELF} 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src": f"{_SELF} 'unsafe-inline'",
        "img-src": f"{_SELF} data: blob:",
        "font-src": _SELF,
        "connect-src": f"{_SELF} data:",
        "frame-src": _SELF,
        "object-src": _SELF,
    }.items()
)
"""What the page may load: the policy that ComfyUI sends when its outside services are off."""

ACTIVE_TYPES = frozenset(
    {
        "text/html",
        "application/xhtml+xml",
        "text/javascript",
        "application/javascript",
        "application/x-javascript",
        "application/ecmascript",
        "text/css",
        "message/rfc822",
    }
)


def is_active(content_type: str) -> bool:
    """Whether a browser may run what a file of this type holds: such files are only ever downloaded."""
    bare = content_type.split(";")[0].strip().lower()
    return bare in ACTIVE_TYPES or bare.endswith(("+xml", "/xml"))


def is_loopback(host: str | None) -> bool:
    """Whether a host name means this machine. Names are not looked up: that would be a request."""
    if not host:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def middleware(loopback_only: bool) -> Callable:
    """Refuse requests that another site's page sends, and add the policy to every answer.

    As ComfyUI: a cross-site request is refused, and so is one to a loopback name from another origin. Where
    the server listens on loopback only, a request for another host name is refused too (a rebound name).
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not allowed(request.headers, loopback_only):
            response: web.StreamResponse = web.Response(status=403, text="refused: another site asked")
        else:
            try:
                response = await handler(request)
            except web.HTTPException as failure:
                failure.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
                raise
        if not response.prepared:
            response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response

    return guard


def allowed(headers: Mapping[str, str], loopback_only: bool) -> bool:
    """Whether a request with these headers may be answered."""
    if headers.get("Sec-Fetch-Site") == "cross-site":
        return False
    try:
        host = urlsplit("//" + headers.get("Host", ""))
        origin = urlsplit(headers.get("Origin", ""))
        ports = host.port, origin.port
    except ValueError:
        return False
    if loopback_only and not is_loopback(host.hostname):
        return False
    if "Origin" in headers and is_loopback(host.hostname):
        return origin.hostname == host.hostname and (ports[0] == ports[1] or None in ports)
    return True
