"""aiohttp's exceptions, and the system's, in our terms: how far a request came, and its bill."""

import errno
import socket
import ssl
from typing import Final

import aiohttp

from batchgen.errors import (
    AttemptError,
    BadReply,
    ConnectionDropped,
    NoAnswer,
    OutOfFiles,
    ProxyRefused,
    TlsFailed,
    UnknownHost,
    Unreachable,
)

_OUT_OF_FILES: Final = {errno.EMFILE, errno.ENFILE}
# Not EAI_AGAIN: that a name could not be looked up says nothing about it.
_NO_SUCH_NAME: Final = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


def translate(error: Exception, *, upload_began: bool) -> AttemptError:
    """Name an aiohttp or OS exception in our terms. Total: every exception gets a name.

    Args:
        error: What the exchange raised, outside of the body.
        upload_began: Whether a byte of the request may have left.
    """
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return TlsFailed(f"the TLS connection failed: {short(error)}")
        case ssl.SSLError() if not upload_began:
            return TlsFailed(f"the TLS connection failed: {short(error)}")
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
            return Unreachable(f"the connection failed: {short(error)}")
        case _:
            return ConnectionDropped(f"the connection was lost before an answer: {short(error)}")


def _by_proxy(status: int) -> AttemptError:
    """What the answer to CONNECT means: it is ours to mend, or it may pass."""
    if 400 <= status < 500:  # noqa: PLR2004
        return ProxyRefused(f"the proxy refused the connection (HTTP {status})")
    return Unreachable(f"the proxy could not connect (HTTP {status})")


def _unconnected(error: aiohttp.ClientConnectorError) -> Unreachable:
    reason = error.os_error
    if isinstance(reason, socket.gaierror) and reason.errno in _NO_SUCH_NAME:
        return UnknownHost(f"cannot find {error.host}: check base_url and the network")
    if reason.errno in _OUT_OF_FILES:
        return OutOfFiles("this process may open no more files: ulimit -n, or less concurrency")
    return Unreachable(f"cannot connect to {error.host}: {short(reason)}")


def short(error: BaseException) -> str:
    """An exception in a few words; never a repr, which may show headers."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(words)[:200]
