"""Who may ask the server for what, and what every answer says besides. Pure, but the last two.

The server listens on this machine alone. What is kept out is other web pages in the reader's
browser: one that names this server as its own (DNS rebinding: `Host`), one that sends something
here (`Origin`, `Sec-Fetch-Site`), one that embeds what is here. Other users of the machine are not
kept out: whoever can open a connection to 127.0.0.1 may look and mark.

Source: docs/adr/0018.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Middleware

from batchgen.errors import StoreError

MAX_BODY_BYTES: Final = 16 << 10
_READING: Final = frozenset({"GET", "HEAD"})
_HTTP_PORT: Final = 80

SERVER: Final = "batchgen"  # and no version
# What every answer carries, unless it says otherwise itself.
HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that is not answered, and why."""

    status: HTTPStatus
    why: str


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What is looked at of a request; a header that is not there has no values.

    Attributes:
        target: As it stands in the first line.
    """

    method: str
    target: str
    host: Sequence[str] = ()
    origin: Sequence[str] = ()
    site: Sequence[str] = ()
    mode: Sequence[str] = ()
    content_type: Sequence[str] = ()
    length: Sequence[str] = ()

    @classmethod
    def of(cls, request: web.BaseRequest) -> "RequestHead":
        """Take it from a request."""

        def all_of(name: str) -> Sequence[str]:
            return request.headers.getall(name, ())

        return cls(
            method=request.method,
            target=request.raw_path,
            host=all_of("Host"),
            origin=all_of("Origin"),
            site=all_of("Sec-Fetch-Site"),
            mode=all_of("Sec-Fetch-Mode"),
            content_type=all_of("Content-Type"),
            length=all_of("Content-Length"),
        )


def refusal(head: RequestHead, port: int) -> Refused | None:
    """Decide whether a request is refused; None if it is not.

    Args:
        head: The request.
        port: The one that the server listens on.
    """
    if len(head.host) != 1 or head.host[0].lower() not in _hosts(port):
        return Refused(HTTPStatus.FORBIDDEN, "this server answers to 127.0.0.1 and localhost only")
    if not head.target.startswith("/"):
        return Refused(HTTPStatus.BAD_REQUEST, "expected a path")
    if head.method not in {*_READING, "POST"}:
        return Refused(HTTPStatus.METHOD_NOT_ALLOWED, "expected GET, HEAD or POST")
    own = f"http://{head.host[0].lower()}"
    if head.origin and [one.lower() for one in head.origin] != [own]:
        return Refused(HTTPStatus.FORBIDDEN, "another page may not ask this server")
    if head.method in _READING:
        return _refused_reading(head)
    return _refused_writing(head)


def _hosts(port: int) -> set[str]:
    names = {"127.0.0.1", "localhost"}
    named = {f"{name}:{port}" for name in names}
    return named | names if port == _HTTP_PORT else named


def _refused_reading(head: RequestHead) -> Refused | None:
    """A link that leads here may be followed from anywhere; nothing may be embedded elsewhere."""
    is_ours = not head.site or set(head.site) <= {"same-origin", "none"}
    is_link = list(head.mode) == ["navigate"] and head.target.split("?")[0] == "/"
    if is_ours or is_link:
        return None
    return Refused(HTTPStatus.FORBIDDEN, "another page may not ask this server")


def _refused_writing(head: RequestHead) -> Refused | None:
    if not head.origin and list(head.site) != ["same-origin"]:
        return Refused(HTTPStatus.FORBIDDEN, "expected a request of this server's own page")
    if head.site and list(head.site) != ["same-origin"]:
        return Refused(HTTPStatus.FORBIDDEN, "another page may not ask this server")
    content_type = [one.split(";")[0].strip().lower() for one in head.content_type]
    if content_type != ["application/json"]:
        return Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
    if len(head.length) != 1 or not head.length[0].isdecimal():
        return Refused(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
    if int(head.length[0]) > MAX_BODY_BYTES:
        return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "that is too long")
    return None


_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


def guard(port: Callable[[], int]) -> Middleware:
    """Refuse what must be, before anything looks at the request.

    Args:
        port: Tells the one that the server listens on.
    """

    @web.middleware
    async def guarded(request: web.Request, handler: _Handler) -> web.StreamResponse:
        refused = refusal(RequestHead.of(request), port())
        if refused is not None:
            return problem(refused.status, refused.why)
        try:
            return await handler(request)
        except web.HTTPException as error:
            return problem(HTTPStatus(error.status), error.reason)
        except StoreError as error:
            if request.writer.output_size:  # too late to say anything else: it is cut off
                raise
            return problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

    return guarded


async def add_headers(_: web.BaseRequest, response: web.StreamResponse) -> None:
    """Add to an answer what every answer carries; what it says itself holds."""
    response.headers["Server"] = SERVER
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


def problem(status: HTTPStatus, why: str) -> web.Response:
    """An answer that says what is wrong."""
    response = web.json_response({"error": why}, status=status)
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = "GET, HEAD, POST"
    return response
