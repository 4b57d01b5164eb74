"""Every exception that aiohttp can raise has a name of ours; none is left to surprise a run."""

import asyncio
import inspect
import pickle
import socket
import ssl
from collections.abc import Iterator

import aiohttp
import pytest
from aiohttp import client_reqrep
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from batchgen.errors import (
    AttemptError,
    BadReply,
    ConnectionDropped,
    NoAnswer,
    ProxyRefused,
    TlsFailed,
    UnknownHost,
    Unreachable,
)
from batchgen.model import Outcome
from batchgen.transport import translate

KEY = "sk-in-a-header"
REQUEST = aiohttp.RequestInfo(
    URL("https://api.example/v1beta"),
    "POST",
    CIMultiDictProxy(CIMultiDict({"x-goog-api-key": KEY})),
    URL("https://api.example/v1beta"),
)
CONNECTION = client_reqrep.ConnectionKey("api.example", 443, True, True, None, None, None)  # noqa: FBT003
CERTIFICATE = ssl.SSLCertVerificationError(1, "self-signed certificate")


def exception_classes() -> list[type[Exception]]:
    """All public exceptions of aiohttp, and what else an exchange raises."""
    public = [
        one for _, one in inspect.getmembers(aiohttp, inspect.isclass) if issubclass(one, Exception)
    ]
    ours = [TimeoutError, OSError, ConnectionResetError, BrokenPipeError, ssl.SSLError]
    return sorted({*public, *ours, asyncio.IncompleteReadError}, key=lambda one: one.__name__)


def examples(kind: type[Exception]) -> Iterator[Exception]:
    """One of this kind, as aiohttp would make it."""
    candidates: list[tuple[object, ...]] = [
        (CONNECTION, OSError(111, "Connection refused")),
        (CONNECTION, CERTIFICATE),
        (REQUEST, ()),
        (b"expected", b"actual", "host", 1),
        (b"partial", 10),
        (URL("nonsense:"),),
        (111, "Connection refused"),
        ("a message",),
        ("a line", "a limit", "a size"),
        (),
    ]
    for arguments in candidates:
        try:
            made = kind(*arguments)
            str(made)
        except (TypeError, AttributeError, ValueError):
            continue
        yield made
        return
    raise AssertionError(f"no example of {kind.__name__}: add one")


@pytest.mark.parametrize("upload_began", [False, True])
@pytest.mark.parametrize("kind", exception_classes(), ids=lambda kind: kind.__name__)
def test_every_exception_gets_a_name_and_shows_no_key(
    kind: type[Exception], *, upload_began: bool
) -> None:
    for made in examples(kind):
        named = translate(made, upload_began=upload_began)
        assert isinstance(named, AttemptError)
        assert named.outcome in set(Outcome)
        assert named.message
        assert KEY not in named.message + repr(named)
        if not upload_began:
            # What never left cannot have been billed; a parser's complaint shows that it did.
            assert named.billed == "no" or isinstance(made, aiohttp.ClientResponseError)
        again = pickle.loads(pickle.dumps(named))
        assert (type(again), again.message, again.billed) == (
            type(named),
            named.message,
            named.billed,
        )


def name_error(number: int) -> aiohttp.ClientConnectorDNSError:
    return aiohttp.ClientConnectorDNSError(CONNECTION, socket.gaierror(number, "in words"))


@pytest.mark.parametrize(
    ("error", "upload_began", "expected"),
    [
        (aiohttp.ClientConnectorCertificateError(CONNECTION, CERTIFICATE), False, TlsFailed),
        (aiohttp.ClientConnectorSSLError(CONNECTION, OSError(1, "tls")), False, TlsFailed),
        (aiohttp.ClientConnectorError(CONNECTION, OSError(111, "refused")), False, Unreachable),
        (name_error(socket.EAI_NONAME), False, UnknownHost),
        (name_error(getattr(socket, "EAI_NODATA", socket.EAI_NONAME)), False, UnknownHost),
        (name_error(socket.EAI_AGAIN), False, Unreachable),
        # A resolver of another make has numbers of its own.
        (aiohttp.ClientConnectorDNSError(CONNECTION, OSError(-2, "unknown")), False, Unreachable),
        (aiohttp.ClientConnectorDNSError(CONNECTION, OSError(None, "odd")), False, Unreachable),
        (aiohttp.ConnectionTimeoutError(), False, Unreachable),
        (TimeoutError(), False, Unreachable),
        (TimeoutError(), True, NoAnswer),
        (aiohttp.SocketTimeoutError(), True, NoAnswer),
        (aiohttp.ServerDisconnectedError(), True, ConnectionDropped),
        (aiohttp.ClientOSError(104, "reset"), True, ConnectionDropped),
        (ConnectionResetError(104, "reset"), True, ConnectionDropped),
        (aiohttp.ClientResponseError(REQUEST, (), status=400), True, BadReply),
        (aiohttp.ClientHttpProxyError(REQUEST, (), status=407), False, ProxyRefused),
        (aiohttp.InvalidURL("http://u:pw@[bad"), False, Unreachable),
    ],
)
def test_each_failure_is_told_as_what_it_may_have_cost(
    error: Exception,
    upload_began: bool,  # noqa: FBT001 - a column of the table
    expected: type[AttemptError],
) -> None:
    assert type(translate(error, upload_began=upload_began)) is expected


def test_a_host_that_does_not_exist_is_named_with_what_to_check() -> None:
    told = translate(name_error(socket.EAI_NONAME), upload_began=False)
    assert told.message == "cannot find api.example: check base_url and the network"
    assert (told.kind, told.billed, told.family) == ("UnknownHost", "no", "transport")


def test_an_address_that_aiohttp_refuses_is_not_repeated() -> None:
    error = aiohttp.InvalidURL(f"http://me:{KEY}@[bad", f"cannot read {KEY}")
    assert KEY not in translate(error, upload_began=False).message


def test_what_a_server_sent_before_it_left_is_not_repeated() -> None:
    error = aiohttp.ServerDisconnectedError(f"HTTP/1.1 200 OK x-echo: {KEY}")
    assert KEY not in translate(error, upload_began=True).message
