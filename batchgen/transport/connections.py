"""Connections: which certificates are trusted, and which connection was closed while it was idle.

aiohttp tells whether a connection was used before, and not whether anything was heard on it since.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

from batchgen.errors import UsageError
from batchgen.transport.failures import short

_TCP_KEEPIDLE_S: Final = 30


class IdleClosedError(aiohttp.ClientConnectionError):
    """A connection that had served before was lost without a byte of an answer to this request."""

    def __init__(self, lost: Exception) -> None:
        """Keep what it was lost by."""
        super().__init__()
        self.lost = lost


class Connection(ResponseHandler):
    """Knows how many requests it was used for, and whether it heard anything since the latest.

    A connection that is taken up by other means than `Connector` is never an idle one that was
    closed: nothing is sent again without knowing.
    """

    n_requests = 0
    is_silent = True
    _arrived: Callable[[], None] | None = None

    def set_response_params(self, *args: Any, **kwargs: Any) -> None:
        """Expect the answer to the next request, which aiohttp says in this way."""
        self.n_requests += 1
        self.is_silent = True
        self._arrived = None
        super().set_response_params(*args, **kwargs)

    def close(self) -> None:
        """Close; at once where a part of the request is unsent, which a server may never take."""
        if self.transport is not None and self.transport.get_write_buffer_size():
            self.abort()
        else:
            super().close()

    def data_received(self, data: bytes) -> None:
        """Take what arrives."""
        self.is_silent = False
        super().data_received(data)
        self._tell()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing more comes, which may be the end of an answer."""
        super().connection_lost(exc)
        self._tell()

    def begin_flow(self, arrived: Callable[[], None]) -> None:
        """Call `arrived` whenever a piece of the answer has come, or none will any more."""
        self._arrived = arrived

    def end_flow(self, arrived: Callable[[], None]) -> None:
        """Call it no more; unless the connection serves another request already."""
        if self._arrived == arrived:
            self._arrived = None
            self.go_on()  # asyncio closes no TLS connection to its end that is held

    def hold(self) -> None:
        """Receive nothing."""
        if self.transport is not None:
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Receive again."""
        if self.transport is not None:
            self.transport.resume_reading()

    def _tell(self) -> None:
        if self._arrived is not None:
            self._arrived()


class Connector(aiohttp.TCPConnector):
    """Hands out connections that know their past."""

    def __init__(self, **options: Any) -> None:
        """Take the options of a TCPConnector; made inside the running loop."""
        super().__init__(**options)
        loop = asyncio.get_running_loop()
        self._factory = partial(Connection, loop=loop)  # type: ignore[assignment] # a subclass


class Answer(aiohttp.ClientResponse):
    """An answer that tells a connection which was closed while idle from one that was lost."""

    async def start(self, connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        """Wait for the head, and tell apart how the connection is lost before that."""
        used = connection.protocol
        try:
            return await super().start(connection)
        except (aiohttp.ServerDisconnectedError, OSError) as lost:
            if isinstance(used, Connection) and used.n_requests > 1 and used.is_silent:
                raise IdleClosedError(lost) from lost
            raise


def tls_context(ca_file: str | Path | None) -> ssl.SSLContext:
    """What certificates are trusted: those of a file, or the system's.

    Raises:
        UsageError: The file cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except OSError as error:
        raise UsageError(f"CA file {ca_file}: {short(error)}") from error


def keepalive_socket(address: Any) -> socket.socket:
    """A socket that keeps a silent connection alive: NATs forget one after minutes."""
    family, kind, protocol, *_ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _TCP_KEEPIDLE_S)
    return sock
