"""Who may ask: the checks of Origin and Host, and the policy that keeps the page from asking anybody else."""

import ipaddress
import re
from collections.abc import Callable, Mapping

from aiohttp import web

from .answers import Handler

_HOST = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_](?:[0-9A-Za-z_.-]*[0-9A-Za-z_])?)(?::(?P<port>[0-9]{1,5}))?", re.ASCII
)
"""A host as requests name it (RFC 9110, 7.2): an address or a name, and a port."""

_PORTS = {"http": 80, "https": 443}

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

    A cross-site request is refused, and so is one whose origin is not the very host and port that it asks, wherever
    the server listens: browsers tell no more over plain http. What names no host is refused; where the server listens
    on loopback only, another host name is refused too (a rebound name).
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
    scheme, divider, place = headers.get("Origin", "http://").partition("://")
    if not divider or scheme not in _PORTS:
        return False
    host = _place(headers.get("Host", ""), scheme)
    if host is None or (loopback_only and not is_loopback(host[0])):
        return False
    return "Origin" not in headers or _place(place, scheme) == host


def _place(text: str, scheme: str) -> tuple[str, int] | None:
    """Name and port of a host as a request names it, None for what is none. Without a port it is the scheme's own."""
    found = _HOST.fullmatch(text)
    if found is None or int(found["port"] or 0) > 65535:
        return None
    name = found["name"].lower()
    if name.startswith("["):
        name = name[1:-1]
        try:
            ipaddress.IPv6Address(name)
        except ValueError:
            return None
    return name, int(found["port"] or _PORTS[scheme])
