"""The only HTTP of a run.

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
import socket
import ssl
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from batchgen.errors import (
    AttemptError,
    BadReply,
    Cancelled,
    ConnectionDropped,
    NoAnswer,
    ProxyRefused,
    TlsFailed,
    UnknownHost,
    Unreachable,
    Unterminated,
    UsageError,
)
from batchgen.provider import Provider
from batchgen.timeouts import Timeouts

MAX_ANSWER_BYTES: Final = 512 << 20
READ_BUFFER_BYTES: Final = 64 << 10
# A server that closed an idle connection tells so at once; one that is lost later may have been
# drawing. The round trip is what it takes, and that of a satellite is 0.6 s.
IDLE_CLOSED_WITHIN_S: Final = 1.0
SENT_AGAIN: Final = "sent again on a new connection: the idle one had been closed"
_KEEPALIVE_S: Final = 3.5
_TCP_KEEPIDLE_S: Final = 30
_INFLATE_STEP_BYTES: Final = 256 << 10
# A checksum and a length, as gzip has them at its end.
_TRAILER_BYTES: Final = 8
# Not EAI_AGAIN: that a name could not be looked up says nothing about it.
_NO_SUCH_NAME: Final = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


@dataclass(slots=True)
class Response:
    """A status, headers in lower case, and the body as it arrives, decompressed.

    A header that came several times is one value, joined by commas.
    """

    status: int
    headers: Mapping[str, str]
    body: AsyncIterator[bytes] = field(init=False)
    n_bytes: int = 0


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
        self._tls = tls_context(ca_file)
        self._proxy = proxy
        credential = (
            {"Authorization": f"Bearer {key}"}
            if provider.auth == "bearer"
            else {"x-goog-api-key": key}
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
            connector=_Connector(
                limit=0, ssl=self._tls, socket_factory=_keepalive_socket, **pooling
            ),
            response_class=_Answer,
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
        chunks: Callable[[], AsyncIterator[bytes]],
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
                async with await self._answered(request) as answer:
                    response = Response(answer.status, _by_name(answer.headers))
                    body = self._body(answer, response)
                    response.body = body
                    try:
                        yield response
                    finally:
                        await body.aclose()  # here, not whenever the garbage collector comes
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

    async def _answered(self, request: "_Request") -> aiohttp.ClientResponse:
        """Send it until an answer begins: twice at most."""
        try:
            return await self._sent(request, self._session)
        except _IdleClosedError as closed:
            if not request.upload.was_cut_at_once:
                raise closed.lost from None
        request.note(SENT_AGAIN)
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

    async def _body(
        self, answer: aiohttp.ClientResponse, response: Response
    ) -> AsyncGenerator[bytes, None]:
        inflate = _inflater(answer.headers.get("Content-Encoding", ""))
        n_inflated_bytes = 0
        rate = _Rate(self._timeouts)
        try:
            while chunk := await self._next_chunk(answer, rate):
                response.n_bytes += len(chunk)
                _check_size(response.n_bytes)
                for piece in inflate(chunk) if inflate else (chunk,):
                    n_inflated_bytes += len(piece)
                    _check_size(n_inflated_bytes)
                    yield piece
        except (aiohttp.ClientPayloadError, ConnectionError) as error:
            kind = BadReply if inflate else Unterminated
            raise kind(f"the answer was cut after {response.n_bytes} bytes") from error
        if inflate:
            inflate.check_end()

    async def _next_chunk(self, answer: aiohttp.ClientResponse, rate: "_Rate") -> bytes:
        """What arrives next, empty at the end. Only the network's time counts, not the disk's."""
        if not answer.content.at_eof():
            rate.check()  # now that the chunk before is read, which may have made the answer whole
        clock = asyncio.get_running_loop()
        began_s = clock.time()
        try:
            async with asyncio.timeout(self._timeouts.idle):
                chunk = await answer.content.readany()
        except TimeoutError as error:
            raise NoAnswer(f"the answer stalled for {self._timeouts.idle:g} s") from error
        rate.count(chunk, clock.time() - began_s)
        return chunk


def translate(error: Exception, *, upload_began: bool) -> AttemptError:
    """Name an aiohttp or OS exception in our terms. Total: every exception gets a name.

    Args:
        error: What the exchange raised, outside of the body.
        upload_began: Whether a byte of the request may have left.
    """
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return TlsFailed(f"the TLS connection failed: {_short(error)}")
        case ssl.SSLError() if not upload_began:
            return TlsFailed(f"the TLS connection failed: {_short(error)}")
        case aiohttp.ClientHttpProxyError():
            return _by_proxy(error.status)
        case aiohttp.ConnectionTimeoutError():
            return Unreachable("no connection within the time allowed")
        case aiohttp.ClientConnectorError():
            return _unconnected(error)
        case aiohttp.InvalidURL():
            # Its message is the address, and a proxy's has a password in it.
            return Unreachable("the address of the service or of the proxy cannot be used")
        case TimeoutError():
            if not upload_began:
                return Unreachable("no connection within the time allowed")
            return NoAnswer("no answer within the time allowed for an attempt")
        case aiohttp.ClientResponseError():
            # Its repr shows the request's headers, key included; its message is the parser's.
            return BadReply("the answer is no HTTP that can be read")
        case aiohttp.ServerDisconnectedError() if upload_began:
            # Its message may be what came of the answer.
            return ConnectionDropped("the server closed the connection before an answer")
        case _ if not upload_began:
            return Unreachable(f"the connection failed: {_short(error)}")
        case _:
            return ConnectionDropped(f"the connection was lost before an answer: {_short(error)}")


class _Upload:
    """The request body on its way: when it began, and what stopped it from our side."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._began_s: float | None = None
        self.error: AttemptError | None = None

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


class _Rate:
    """Whether an answer that has begun still comes fast enough, by the time it was waited for.

    Judged as bytes arrive: how long there may be none at all is for `timeouts.idle` to say, which
    a job sets.
    """

    def __init__(self, timeouts: Timeouts) -> None:
        self._least_bytes_s = timeouts.min_rate_bytes_s
        self._over_s = timeouts.min_rate_over_s
        self._has_begun = False
        self._start()

    def _start(self) -> None:
        self._n_bytes = 0
        self._waited_s = 0.0

    def count(self, chunk: bytes, waited_s: float) -> None:
        """Take in a chunk, and how long it was waited for."""
        if not self._has_begun:
            # Gateways keep a connection awake with white space while the image is being made.
            self._has_begun = not chunk.isspace()
            return
        self._n_bytes += len(chunk)
        # One pause alone is no verdict: what follows it may come fast.
        self._waited_s += min(waited_s, self._over_s / 2)
        if self._n_bytes >= self._least_bytes_s * self._over_s:
            self._start()

    def check(self) -> None:
        """Raise NoAnswer, which may be billed, if the least that must come took too long."""
        if self._waited_s >= self._over_s:
            raise NoAnswer(
                f"the answer came at less than {self._least_bytes_s / 1024:g} KiB/s "
                f"for {self._over_s:g} s"
            )


@dataclass(slots=True)
class _Request:
    """What is sent, and how far the latest try of that came."""

    url: URL
    length_bytes: int
    chunks: Callable[[], AsyncIterator[bytes]]
    note: Callable[[str], None]
    upload: _Upload = field(init=False)

    def __post_init__(self) -> None:
        self.upload = _Upload(self.chunks())


class _IdleClosedError(aiohttp.ClientConnectionError):
    """A connection that had served before was lost without a byte of an answer to this request."""

    def __init__(self, lost: Exception) -> None:
        super().__init__()
        self.lost = lost


class _Connection(ResponseHandler):
    """Knows how many requests it was used for, and whether it heard anything since the latest.

    A connection that is taken up by other means than `_Connector` is never an idle one that was
    closed: nothing is sent again without knowing.
    """

    n_requests = 0
    is_silent = True

    def set_response_params(self, *args: Any, **kwargs: Any) -> None:
        """Expect the answer to the next request, which aiohttp says in this way."""
        self.n_requests += 1
        self.is_silent = True
        super().set_response_params(*args, **kwargs)

    def data_received(self, data: bytes) -> None:
        self.is_silent = False
        super().data_received(data)


class _Connector(aiohttp.TCPConnector):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        loop = asyncio.get_running_loop()
        self._factory = partial(_Connection, loop=loop)  # type: ignore[assignment] # a subclass


class _Answer(aiohttp.ClientResponse):
    async def start(self, connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        """Wait for the head, and tell apart how the connection is lost before that."""
        used = connection.protocol
        try:
            return await super().start(connection)
        except (aiohttp.ServerDisconnectedError, OSError) as lost:
            if isinstance(used, _Connection) and used.n_requests > 1 and used.is_silent:
                raise _IdleClosedError(lost) from lost
            raise


class _Inflater:
    """Undo gzip or deflate in bounded steps, and know whether the stream really ended."""

    def __init__(self, window_bits: int) -> None:
        self._stream = zlib.decompressobj(window_bits)

    def __call__(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the pieces that a chunk inflates to, before a checksum at its end is looked at.

        zlib keeps back what it inflated in the step that finds the checksum wrong.
        """
        try:
            for part in (chunk[:-_TRAILER_BYTES], chunk[-_TRAILER_BYTES:]):
                piece = self._stream.decompress(part, _INFLATE_STEP_BYTES)
                while piece:
                    yield piece
                    rest = self._stream.unconsumed_tail
                    piece = self._stream.decompress(rest, _INFLATE_STEP_BYTES)
        except zlib.error as error:
            raise BadReply(f"the compressed answer is damaged ({error})") from error

    def check_end(self) -> None:
        """Raise unless the compressed stream is whole, checksum included."""
        if not self._stream.eof:
            raise BadReply("the compressed answer was cut")


def _by_name(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers by their names in lower case. Of two waits none must be lost: both are kept."""
    joined: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        joined[lower] = f"{joined[lower]}, {value}" if lower in joined else value
    return joined


def _check_size(n_bytes: int) -> None:
    if n_bytes > MAX_ANSWER_BYTES:
        raise BadReply(f"an answer of more than {MAX_ANSWER_BYTES >> 20} MiB", tries=0)


def _inflater(encoding: str) -> _Inflater | None:
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return _Inflater(zlib.MAX_WBITS | 16)
        case "deflate":
            return _Inflater(zlib.MAX_WBITS)
        case other:
            name = other if other in {"br", "zstd", "compress"} else "an unknown one"
            raise BadReply(f"an answer in a compression that nobody asked for ({name})")


def _by_proxy(status: int) -> AttemptError:
    """What the answer to CONNECT means: it is ours to mend, or it may pass."""
    if 400 <= status < 500:  # noqa: PLR2004
        return ProxyRefused(f"the proxy refused the connection (HTTP {status})")
    return Unreachable(f"the proxy could not connect (HTTP {status})")


def _unconnected(error: aiohttp.ClientConnectorError) -> Unreachable:
    reason = error.os_error
    if isinstance(reason, socket.gaierror) and reason.errno in _NO_SUCH_NAME:
        return UnknownHost(f"cannot find {error.host}: check base_url and the network")
    return Unreachable(f"cannot connect to {error.host}: {_short(reason)}")


def _short(error: BaseException) -> str:
    """An exception in a few words; never a repr, which may show headers."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(words)[:200]


def tls_context(ca_file: str | Path | None) -> ssl.SSLContext:
    """What certificates are trusted: those of a file, or the system's.

    Raises:
        UsageError: The file cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except OSError as error:
        raise UsageError(f"CA file {ca_file}: {_short(error)}") from error


def _keepalive_socket(address: Any) -> socket.socket:
    """A socket that keeps a silent connection alive: NATs forget one after minutes."""
    family, kind, protocol, *_ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _TCP_KEEPIDLE_S)
    return sock
