"""Send a request, stream its answer.

One session with every option that matters set, and aiohttp's exceptions translated into ours at
this border. What is decided here, each for a reason that cost somebody money or a key:

- redirects are never followed: a redirect to another host would carry `x-goog-api-key` along;
- idle connections are closed before servers close them (5 s is common), because a POST that meets
  a closing connection may or may not have been executed; one that meets it all the same, unheard,
  is sent once more on a connection of its own;
- no netrc and no environment magic; a proxy is what the caller names;
- compression is not asked for; one that comes all the same is undone here and its end is checked,
  which aiohttp does not do;
- the deadline of an attempt is ours, and covers everything from connecting to the last byte.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
from yarl import URL

from batchgen.errors import (
    AttemptError,
    Cancelled,
)
from batchgen.provider import Provider
from batchgen.sanitize import Hidden
from batchgen.timeouts import Timeouts
from batchgen.transport.connections import (
    Answer,
    Connector,
    IdleClosedError,
    keepalive_socket,
    tls_context,
)
from batchgen.transport.failures import translate
from batchgen.transport.flow import Flow, Pace

# aiohttp holds an answer back where more than twice as much is unread. asyncio receives as much as
# this at once, which is taken then: no piece alone should have it held back.
READ_BUFFER_BYTES: Final = 256 << 10
# A server that closed an idle connection tells so at once; one that is lost later may have been
# drawing. The round trip is what it takes, and that of a satellite is 0.6 s.
IDLE_CLOSED_WITHIN_S: Final = 1.0
SENT_AGAIN: Final = "sent again on a new connection: the idle one had been closed"
_KEEPALIVE_S: Final = 3.5


class _EnoughError(Exception):
    """No more is wanted."""


@dataclass(slots=True)
class Response:
    """A status, headers in lower case, and the body, which is poured once.

    A header that came several times is one value, joined by commas.
    """

    status: int
    headers: Mapping[str, str]
    _flow: Flow

    @property
    def n_bytes(self) -> int:
        """How much of the body has been received."""
        return self._flow.n_bytes

    async def pour(self, take: Callable[[bytes], None], pace: Pace | None = None) -> None:
        """Give each piece of the body to `take`, as it arrives, and as fast as `pace` allows."""
        await self._flow.pour(take, pace)

    async def read(self, most_bytes: int) -> bytes:
        """The body, or so much of it."""
        read = bytearray()
        with suppress(_EnoughError):
            await self.pour(partial(_gather, read, most_bytes))
        return bytes(read[:most_bytes])

    async def beginning(self, most_bytes: int) -> bytes:
        """The first part of a refusal's body; what cannot be read of it does not matter."""
        read = bytearray()
        with suppress(_EnoughError, AttemptError):
            await self.pour(partial(_gather, read, most_bytes))
        return bytes(read[:most_bytes])


def _gather(read: bytearray, most_bytes: int, piece: bytes) -> None:
    read += piece
    if len(read) >= most_bytes:
        raise _EnoughError


class Transport:
    """Send requests and stream answers; `async with` opens and closes the session.

    One connection a request in flight: the bound on those is the caller's, not the connector's.
    """

    def __init__(
        self,
        provider: Provider,
        key: str,
        timeouts: Timeouts,
        *,
        ca_file: str | Path | None = None,
        proxy: str | None = None,
        user_agent: str = "batchgen",
    ) -> None:
        """Keep the settings; nothing is opened before `async with`."""
        self._base_url = provider.base_url
        self._timeouts = timeouts
        self._under_way: set[Flow] = set()
        self._tls = tls_context(ca_file)
        self._proxy = proxy
        # aiohttp's exceptions show the headers of their request in their `repr()`.
        credential = (
            {"Authorization": Hidden(f"Bearer {key}")}
            if provider.auth == "bearer"
            else {"x-goog-api-key": Hidden(key)}
        )
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": user_agent,
            **credential,
        }

    async def __aenter__(self) -> Self:
        """Open the sessions inside the running loop."""
        self._session = self._opened(keepalive_timeout=_KEEPALIVE_S)
        # What is sent again must not meet the next idle connection that was closed.
        self._unpooled = self._opened(force_close=True)
        return self

    def _opened(self, **pooling: Any) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=Connector(limit=0, ssl=self._tls, socket_factory=keepalive_socket, **pooling),
            response_class=Answer,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect),
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=READ_BUFFER_BYTES,
        )

    async def __aexit__(self, *exc: object) -> None:
        """Close every connection."""
        await self._session.close()
        await self._unpooled.close()

    @asynccontextmanager
    async def post(
        self,
        path: str,
        length_bytes: int,
        chunks: Callable[[], AsyncGenerator[bytes, None]],
        note: Callable[[str], None],
    ) -> AsyncIterator[Response]:
        """Send one request and hand out its answer, whatever its status.

        Sent again, within the same deadline, is only what met an idle connection that the server
        had closed: that is taken as not executed.

        Args:
            path: Below the base URL, percent-encoded.
            length_bytes: The exact length of the body.
            chunks: Begins the body, encoded as it is sent; again, if it is sent again.
            note: Is told what must be known of how it was sent.

        Raises:
            Unreachable, TlsFailed: Nothing was sent; not billed.
            Cancelled: In place of CancelledError while nothing has been sent yet; not billed.
            ConnectionDropped, NoAnswer, BadReply: May be billed.
            AttemptError: Whatever `chunks` raises passes through.
        """
        url = URL(self._base_url + path, encoded=True)
        request = _Request(url, length_bytes, chunks, note)
        try:
            async with asyncio.timeout(self._timeouts.attempt):
                async with (
                    await self._answered(request) as answer,
                    self._handed_out(answer) as response,
                ):
                    yield response
        except AttemptError:
            raise
        except asyncio.CancelledError as cancelled:
            if request.upload.began:
                raise
            raise Cancelled("given up before it was sent", billed="no") from cancelled
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            upload = request.upload
            if upload.error is not None:
                raise upload.error from error
            raise translate(error, upload_began=upload.began) from error
        finally:
            await request.upload.aclose()

    @asynccontextmanager
    async def get(self, path: str) -> AsyncIterator[Response]:
        """Ask for something that costs nothing, and hand out the answer, whatever its status.

        It goes the way of `post`: with the key, to this host alone, and by the same timeouts. It
        may be sent twice, where a connection is lost before an answer.

        Raises:
            AttemptError: There was no answer, or it broke off; `billed` says nothing here.
        """
        url = URL(self._base_url + path, encoded=True)
        try:
            async with asyncio.timeout(self._timeouts.attempt):
                async with (
                    await self._session.get(
                        url, headers=self._headers, allow_redirects=False, proxy=self._proxy
                    ) as answer,
                    self._handed_out(answer) as response,
                ):
                    yield response
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise translate(error, upload_began=True) from error

    @asynccontextmanager
    async def _handed_out(self, answer: aiohttp.ClientResponse) -> AsyncIterator[Response]:
        yield Response(
            answer.status, _by_name(answer.headers), Flow(answer, self._timeouts, self._under_way)
        )

    async def _answered(self, request: "_Request") -> aiohttp.ClientResponse:
        """Send it until an answer begins: twice at most."""
        try:
            return await self._sent(request, self._session)
        except IdleClosedError as closed:
            if not request.upload.was_cut_at_once:
                raise closed.lost from None
        request.note(SENT_AGAIN)
        await request.upload.aclose()
        request.upload = _Upload(request.chunks())
        return await self._sent(request, self._unpooled)

    async def _sent(
        self, request: "_Request", session: aiohttp.ClientSession
    ) -> aiohttp.ClientResponse:
        return await session.post(
            request.url,
            data=request.upload.chunks(),
            headers={**self._headers, "Content-Length": str(request.length_bytes)},
            allow_redirects=False,
            proxy=self._proxy,
        )


class _Upload:
    """The request body on its way: when it began, and what stopped it from our side."""

    def __init__(self, chunks: AsyncGenerator[bytes, None]) -> None:
        self._chunks = chunks
        self._began_s: float | None = None
        self.error: AttemptError | None = None

    async def aclose(self) -> None:
        """Let go of the file that is being read, before the garbage collector does it by halves."""
        with suppress(RuntimeError):  # aiohttp is just reading it, and about to be cancelled there
            await self._chunks.aclose()

    @property
    def began(self) -> bool:
        return self._began_s is not None

    @property
    def was_cut_at_once(self) -> bool:
        """Whether so little time has passed, now that it was cut by the other side."""
        if self.error is not None:
            return False
        now_s = asyncio.get_running_loop().time()
        return now_s - (self._began_s or now_s) < IDLE_CLOSED_WITHIN_S

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._chunks:
                if self._began_s is None:
                    self._began_s = asyncio.get_running_loop().time()
                yield chunk
        except AttemptError as error:
            # aiohttp wraps what a body raises; keep the original to raise it again.
            self.error = error
            raise


@dataclass(slots=True)
class _Request:
    """What is sent, and how far the latest try of that came."""

    url: URL
    length_bytes: int
    chunks: Callable[[], AsyncGenerator[bytes, None]]
    note: Callable[[str], None]
    upload: _Upload = field(init=False)

    def __post_init__(self) -> None:
        self.upload = _Upload(self.chunks())


def _by_name(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers by their names in lower case. Of two waits none must be lost: both are kept."""
    joined: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        joined[lower] = f"{joined[lower]}, {value}" if lower in joined else value
    return joined
