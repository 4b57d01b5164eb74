"""References by address: fetched over https from the public internet, and nothing sent along.

    fetch              once a URL: is it one, is there a copy of an earlier run
      └── _with_tries      what may pass is tried again
            └── _follow        redirects, each target checked like the first
                  └── _ask             one GET, its failures named
                        └── _landed        what its status means
                              └── _receive   the body, to disk

The address that is connected to is what counts, so it is checked where names are resolved and
again where sockets are made: an IP address in a URL never reaches a resolver, and a name may
resolve to something else the second time. No proxy is used, whatever the environment says.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from batchgen._version import __version__
from batchgen.model import ReferenceFile
from batchgen.references.addresses import IsPublic, check_url, is_public, refusal, shown_url
from batchgen.references.cache import Cache, Origin, url_digest
from batchgen.references.files import NO_IMAGE, SNIFF_BYTES, UnusableReferenceError, sniff
from batchgen.sanitize import printable

_WAITS_S: Final = (1.0, 4.0)
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_OK: Final = 200
_NOT_MODIFIED: Final = 304
_SERVER_ERRORS: Final = 500
_HEADERS: Final = {
    "User-Agent": f"batchgen/{__version__}",
    "Accept": "image/*",
    "Accept-Encoding": "identity",
}


class _PassingError(UnusableReferenceError):
    """A failure that another try may get over."""


class _RefusedAddressError(OSError):
    """An address that is not connected to; an OSError, for that is what aiohttp passes on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchLimits:
    """What one fetch may take. The times are for one try, `total_s` redirects included."""

    total_s: float = 120.0
    connect_s: float = 15.0
    idle_s: float = 30.0
    max_bytes: int = 64 << 20
    max_redirects: int = 5


@dataclass(frozen=True, slots=True)
class _Kept:
    """The copy of an earlier run, and what its server said then."""

    origin: Origin
    file: ReferenceFile

    def conditions(self, url: URL) -> Mapping[str, str]:
        """The headers that ask a server whether the copy is still right."""
        if url_digest(str(url)) != self.origin.answered_by:
            return {}
        asked = {
            "If-None-Match": self.origin.etag,
            "If-Modified-Since": self.origin.last_modified,
        }
        return {name: value for name, value in asked.items() if value is not None}


class Fetcher:
    """Fetches references; `async with` opens and closes its session.

    Memory: a few hundred kB a fetch under way; a body goes to disk as it arrives.
    """

    def __init__(
        self,
        directory: Path,
        *,
        limits: FetchLimits | None = None,
        is_public: IsPublic = is_public,
        tls: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Keep the settings; nothing is opened before `async with`.

        Args:
            directory: The cache of the job, see `cache`.
            limits: Times and sizes.
            is_public: Decides on the addresses that may be connected to.
            tls: What certificates are trusted; the system's if it is not told.
            resolver: Looks names up; its answers are checked.
            sleep: Waits between two tries.
        """
        self._cache = Cache(directory)
        self._limits = limits or FetchLimits()
        self._is_public = is_public
        self._tls = tls
        self._given_resolver = resolver
        self._sleep = sleep

    async def __aenter__(self) -> Self:
        """Open the session inside the running loop."""
        self._resolver = _GuardedResolver(
            self._given_resolver or aiohttp.ThreadedResolver(), self._is_public
        )
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                ssl=self._tls or ssl.create_default_context(),
                resolver=self._resolver,
                use_dns_cache=False,  # every connection has its own look at what a name means
                socket_factory=self._socket,
            ),
            headers=_HEADERS,
            timeout=aiohttp.ClientTimeout(
                total=None, connect=self._limits.connect_s, sock_read=self._limits.idle_s
            ),
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close every connection."""
        await self._session.close()
        await self._resolver.close()

    async def fetch(self, url: str) -> ReferenceFile:
        """Fetch an image into the cache, or find that the copy there is still right.

        A copy that its server cannot vouch for is never used: it may not be what the job means
        any more.

        Raises:
            UnusableReferenceError: It cannot be fetched or is no image; tried again before that
                where it could help. The message completes "URL …".
            StoreError: The disk failed.
        """
        start = check_url(url, self._is_public)
        recalled = await asyncio.to_thread(self._cache.recall, url)
        kept = _Kept(*recalled) if recalled else None
        try:
            file, origin = await self._with_tries(start, kept)
        except _PassingError as failure:
            raise UnusableReferenceError(_given_up(failure, kept)) from failure
        if kept is None or origin != kept.origin:
            await asyncio.to_thread(self._cache.remember, url, origin)
        return file

    async def _with_tries(self, url: URL, kept: _Kept | None) -> tuple[ReferenceFile, Origin]:
        # Where a connection is lost before an answer, aiohttp asks once more by itself each time.
        for wait_s in _WAITS_S:
            try:
                return await self._follow(url, kept)
            except _PassingError:
                await self._sleep(wait_s)
        return await self._follow(url, kept)

    async def _follow(self, url: URL, kept: _Kept | None) -> tuple[ReferenceFile, Origin]:
        """One try: ask, and ask on where the answer points to."""
        hop = url
        try:
            async with asyncio.timeout(self._limits.total_s):
                for _ in range(self._limits.max_redirects + 1):
                    landed = await self._ask(hop, kept)
                    if not isinstance(landed, URL):
                        return landed
                    hop = landed
        except TimeoutError:
            raise _PassingError(f"took longer than {self._limits.total_s:g} s") from None
        except UnusableReferenceError as error:
            if hop is url:
                raise
            raise type(error)(f"redirects to {shown_url(hop)}, which {error}") from error
        raise UnusableReferenceError(f"redirects more than {self._limits.max_redirects} times")

    async def _ask(self, url: URL, kept: _Kept | None) -> tuple[ReferenceFile, Origin] | URL:
        """One GET: the file that came, or the URL that it was redirected to."""
        conditions = kept.conditions(url) if kept else {}
        try:
            async with self._session.get(url, headers=conditions, allow_redirects=False) as answer:
                try:
                    if answer.status == _NOT_MODIFIED and kept and conditions:
                        return kept.file, kept.origin
                    return await self._landed(answer, url)
                finally:
                    _hang_up(answer)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _named(error, self._limits) from error

    async def _landed(
        self, answer: aiohttp.ClientResponse, url: URL
    ) -> tuple[ReferenceFile, Origin] | URL:
        if answer.status == _OK:
            return await self._receive(answer, url)
        if answer.status in _REDIRECTS:
            return self._target(url, answer.headers.get("Location"))
        failure = _PassingError if answer.status >= _SERVER_ERRORS else UnusableReferenceError
        raise failure(f"answered {answer.status}")

    def _target(self, url: URL, location: str | None) -> URL:
        if not location:
            raise UnusableReferenceError("redirects to nowhere")
        try:
            target = url.join(URL(location))
        except ValueError:
            raise UnusableReferenceError("redirects to what is no address") from None
        try:
            return check_url(str(target), self._is_public)
        except UnusableReferenceError as error:
            raise UnusableReferenceError(
                f"redirects to {shown_url(target)}, which {error}"
            ) from error

    async def _receive(
        self, answer: aiohttp.ClientResponse, url: URL
    ) -> tuple[ReferenceFile, Origin]:
        """Write a body to the cache as it arrives."""
        encoding = answer.headers.get("Content-Encoding", "identity")
        if encoding.strip().lower() not in {"", "identity"}:
            raise UnusableReferenceError(f"came compressed ({printable(encoding, 30)}), unasked")
        self._check_size(answer.content_length or 0)
        head = await _head(answer)
        n_bytes = len(head)
        with self._cache.draft() as draft:
            piece = head
            while piece:
                await asyncio.to_thread(self._cache.write, draft, piece)
                piece = await answer.content.readany()
                n_bytes += len(piece)
                self._check_size(n_bytes)
            file = await asyncio.to_thread(self._cache.keep, draft)
        return file, _origin(file, answer, url)

    def _check_size(self, n_bytes: int) -> None:
        if n_bytes > self._limits.max_bytes:
            limit = self._limits.max_bytes / (1 << 20)
            raise UnusableReferenceError(f"is larger than {limit:g} MiB")

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        """A socket for an address that may be connected to: the last gate."""
        family, kind, protocol, _, target = address
        if not self._is_public(target[0]):
            raise _RefusedAddressError(refusal(target[0]))
        return socket.socket(family, kind, protocol)


class _GuardedResolver(AbstractResolver):
    """Leaves out of another resolver's answers what may not be connected to."""

    def __init__(self, resolver: AbstractResolver, is_public: IsPublic) -> None:
        self._resolver = resolver
        self._is_public = is_public

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        usable = [one for one in found if self._is_public(one["host"])]
        if found and not usable:
            raise _RefusedAddressError(refusal(found[0]["host"]))
        return usable

    async def close(self) -> None:
        await self._resolver.close()


def _hang_up(answer: aiohttp.ClientResponse) -> None:
    """Drop a connection whose body was not read to its end, without TLS's long goodbye."""
    connection = answer.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


async def _head(answer: aiohttp.ClientResponse) -> bytes:
    """The first bytes, as soon as they tell that this is an image."""
    head = b""
    while len(head) < SNIFF_BYTES and (piece := await answer.content.readany()):
        head += piece
    if sniff(head) is not None:
        return head
    if not head:
        raise UnusableReferenceError("is empty")
    told = printable(answer.content_type, 40)
    raise UnusableReferenceError(f"{NO_IMAGE} (its server calls it {told})")


def _origin(file: ReferenceFile, answer: aiohttp.ClientResponse, url: URL) -> Origin:
    origin = Origin(
        sha256=file.sha256,
        bytes=file.size_bytes,
        mime=file.mime,
        answered_by=url_digest(str(url)),
        etag=answer.headers.get("ETag"),
        last_modified=answer.headers.get("Last-Modified"),
    )
    try:
        return msgspec.convert(msgspec.to_builtins(origin), Origin)
    except msgspec.ValidationError:  # validators that could not be sent back
        return msgspec.structs.replace(origin, etag=None, last_modified=None)


def _given_up(failure: _PassingError, kept: _Kept | None) -> str:
    stale = "; the copy of an earlier run is not used, for it may be out of date" if kept else ""
    return f"{failure} ({len(_WAITS_S) + 1} tries){stale}"


def _named(error: Exception, limits: FetchLimits) -> UnusableReferenceError:
    """Name an exception of aiohttp or the system; the message completes "URL …"."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return UnusableReferenceError("has no TLS certificate that is trusted here")
        case aiohttp.ClientConnectorError(os_error=_RefusedAddressError() as refused):
            return UnusableReferenceError(str(refused))
        case aiohttp.ClientConnectorDNSError():
            return _PassingError("names a host that cannot be found")
        case aiohttp.ClientConnectorError():
            code = error.os_error.errno
            why = os.strerror(code) if code else type(error.os_error).__name__
            return _PassingError(f"cannot be connected to ({why})")
        case aiohttp.ConnectionTimeoutError():
            return _PassingError(f"cannot be connected to within {limits.connect_s:g} s")
        case TimeoutError():
            return _PassingError(f"sent nothing for {limits.idle_s:g} s")
        case aiohttp.InvalidURL():
            return UnusableReferenceError("is no address that can be read")
        case aiohttp.ClientPayloadError():
            return _PassingError("was cut while it was being fetched")
        case aiohttp.ClientResponseError():
            return UnusableReferenceError("answered with what is no HTTP")
        case _:
            return _PassingError("closed the connection before it was fetched")
