"""The fault matrix, row by row: what was asked, what it cost, how the run ended, what is left.

`MATRIX` is the table; its numbers are those of the list of 96 faults that batchgen was specified
by. Each case says what the server does and what must come of it. The server's own counts are the
oracle: how many requests it received, by prompt, and how many it answered to the end. Where a
later decision overrules a row of the list, a comment beside it says so.

    meets(...)   a fault that the first request of a run meets, each time that it is asked again,
                 and one that a later item meets once
    takes(...)   an oddity that costs nothing: one request, and the picture is there
    Case(...)    everything else
"""

import asyncio
import errno
import gzip
import itertools
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import zlib
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeAlias

import pytest

from batchgen.provider import Provider
from batchgen.timeouts import Timeouts
from batchgen.transport import Transport, connections, session
from batchgen.transport import body as answer_body
from tests import commands, ledgers, servers
from tests.fault.test_answers_without_a_picture import snake
from tests.fault.test_network import certificate, needs_openssl, tls_with
from tests.runs import KEY, MODEL, QuickTime, run_job, write_job
from tests.servers import (
    BROKEN,
    HOST,
    RESET,
    Answer,
    Asked,
    End,
    FaultServer,
    IdleClosingServer,
    Script,
    document,
    http,
    image_part,
    png,
    refuses,
    sends,
    stalls,
    whole,
)

Json: TypeAlias = dict[str, Any]
Told: TypeAlias = tuple[str, str, str]

N_ROWS: Final = 96
DONE: Final[Told] = ("image", "done", "yes")
ONE_BY_ONE: Final[Json] = {"limits": {"concurrency": 1}}
SHORT_OF_PATIENCE: Final[Json] = {"retries": {"patience": 10}}


# --- where it happens -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Place:
    """Who counts, and how a run gets there."""

    server: FaultServer
    url: str | None = None  # the server's own, unless told
    head: Json = field(default_factory=dict)  # of the job
    options: Json = field(default_factory=dict)  # of the run


Setting: TypeAlias = Callable[[Script, Path, pytest.MonkeyPatch], AbstractContextManager[Place]]


@contextmanager
def loopback(script: Script, _: Path, __: pytest.MonkeyPatch) -> Iterator[Place]:
    """A server that is there, and understands HTTP."""
    with FaultServer(script) as server:
        yield Place(server=server)


def patched(target: object, name: str, value: object) -> Setting:
    """The same, with a bound of the product made so small that a test can reach it."""

    @contextmanager
    def setting(script: Script, _: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        monkeypatch.setattr(target, name, value)
        with FaultServer(script) as server:
            yield Place(server=server)

    return setting


def at_connect(monkeypatch: pytest.MonkeyPatch, before: Callable[[int], None]) -> None:
    """Call before a connection is tried, with its number; what that raises, the system says."""
    tries = itertools.count(1)
    original = BaseSelectorEventLoop.sock_connect

    async def sock_connect(loop: Any, sock: socket.socket, address: Any) -> None:
        before(next(tries))
        await original(loop, sock, address)

    monkeypatch.setattr(BaseSelectorEventLoop, "sock_connect", sock_connect)


class LateServer(FaultServer):
    """Refuses every connection, until it opens."""

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._open = set()
        self._listener = servers.closed_port()
        self.port = self._listener.getsockname()[1]
        return self

    def open(self) -> None:
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # it never listened
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        assert not self.crashes


def opens_at(n_tries: int | None) -> Setting:
    """Nobody listens before so many connections have been tried; None: nobody ever does."""

    @contextmanager
    def setting(script: Script, _: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        with LateServer(script) as server:
            at_connect(monkeypatch, lambda n: server.open() if n == n_tries else None)
            yield Place(server=server)

    return setting


class LeavingServer(FaultServer):
    """Answers one request, and is gone."""

    def _exchange(self, connection: socket.socket) -> bool:
        # Before it answers: the next request may come as soon as the client has that.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        super()._exchange(connection)
        return False

    def __exit__(self, *_: object) -> None:
        assert not self.crashes


@contextmanager
def leaves(script: Script, _: Path, __: pytest.MonkeyPatch) -> Iterator[Place]:
    with LeavingServer(script) as server:
        yield Place(server=server)


def network_says(*errors: int, for_ever: bool = False) -> Setting:
    """The system refuses the first connections for reasons of its own."""

    @contextmanager
    def setting(script: Script, _: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        def before(n: int) -> None:
            if n <= len(errors) or for_ever:
                code = errors[min(n, len(errors)) - 1]
                raise OSError(code, errno.errorcode[code])

        at_connect(monkeypatch, before)
        with FaultServer(script) as server:
            yield Place(server=server)

    return setting


@contextmanager
def no_more_files(script: Script, _: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The process has too many files open for a socket, three times."""
    original, tries = connections.keepalive_socket, itertools.count(1)

    def sock(address: Any) -> socket.socket:
        if next(tries) <= 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return original(address)

    monkeypatch.setattr(session, "keepalive_socket", sock)
    with FaultServer(script) as server:
        yield Place(server=server)


def names_say(*errors: int, for_ever: bool = False) -> Setting:
    """The first look-ups of the service's name fail; no name leaves this machine."""

    @contextmanager
    def setting(script: Script, _: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        tries = itertools.count(1)

        def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[Any]:
            assert host == "api.invalid"
            n = next(tries)
            if n <= len(errors) or for_ever:
                raise socket.gaierror(errors[min(n, len(errors)) - 1], "no answer")
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (HOST, port))]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        with FaultServer(script) as server:
            yield Place(server=server, url="", head=elsewhere(f"http://api.invalid:{server.port}"))

    return setting


def elsewhere(base_url: str) -> Json:
    """The head of a job for a service that is not on loopback, by its name at least."""
    provider = {"base_url": base_url, "api_key_env": "COMETAPI_KEY", "allow_http": True}
    return {"provider": provider}


@contextmanager
def full_house(script: Script, _: Path, __: pytest.MonkeyPatch) -> Iterator[Place]:
    """A port that takes no more connections, and does not say so: its queue is full."""
    with (
        FaultServer(script) as server,
        socket.create_server((HOST, 0), backlog=0) as listener,
        socket.socket() as first,
        socket.socket() as second,
    ):
        for guest in (first, second):
            guest.setblocking(False)  # noqa: FBT003
            guest.connect_ex(listener.getsockname())
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        yield Place(server=server, url=url, head={"timeouts": {"connect": 0.1}})


def behind_tls(pem: Callable[[Path], Path], *, is_trusted: bool, host: str = HOST) -> Setting:
    """A server with this certificate."""

    @contextmanager
    def setting(script: Script, tmp_path: Path, _: pytest.MonkeyPatch) -> Iterator[Place]:
        file = pem(tmp_path)
        with FaultServer(script, tls=tls_with(file)) as server:
            url = f"https://{host}:{server.port}"
            yield Place(server=server, url=url, options={"ca_file": file} if is_trusted else {})

    return setting


def self_signed(directory: Path) -> Path:
    return certificate(directory, "self-signed")


def expired(directory: Path) -> Path:
    """A certificate that was good for a day, years ago."""
    openssl = shutil.which("openssl")
    assert openssl is not None
    key, request, pem = (directory / f"expired.{kind}" for kind in ("key", "csr", "pem"))
    settings = directory / "ca.cnf"
    settings.write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndatabase={directory}/index.txt\nnew_certs_dir={directory}\n"
        "rand_serial=yes\ndefault_md=sha256\npolicy=p\ncopy_extensions=copy\n"
        "[p]\ncommonName=supplied\n"
    )
    (directory / "index.txt").touch()
    ask = [openssl, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    ask += ["-subj", "/CN=expired", "-addext", "subjectAltName=IP:127.0.0.1"]
    sign = [openssl, "ca", "-batch", "-notext", "-config", str(settings), "-selfsign"]
    sign += ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"]
    for command in (
        [*ask, "-keyout", str(key), "-out", str(request)],
        [*sign, "-keyfile", str(key), "-in", str(request), "-out", str(pem)],
    ):
        subprocess.run(command, check=True, capture_output=True)
    pem.write_bytes(pem.read_bytes() + key.read_bytes())
    return pem


class TurningServer(FaultServer):
    """Speaks TLS with a certificate that is trusted, once; afterwards does something else."""

    def __init__(self, script: Script, tls: ssl.SSLContext, then: ssl.SSLContext | bytes) -> None:
        super().__init__(script, tls)
        self._then = then

    def _serve(self, connection: socket.socket) -> None:
        if self.log and isinstance(self._then, bytes):
            with connection, suppress(OSError):
                connection.recv(1000)
                connection.sendall(self._then)
            return
        if self.log and isinstance(self._then, ssl.SSLContext):
            self.tls = self._then
        super()._serve(connection)


def turns(then: bytes | Callable[[Path], Path]) -> Setting:
    @contextmanager
    def setting(script: Script, tmp_path: Path, _: pytest.MonkeyPatch) -> Iterator[Place]:
        good = certificate(tmp_path, "good")
        other = then if isinstance(then, bytes) else tls_with(then(tmp_path))
        with TurningServer(script, tls_with(good), other) as server:
            yield Place(server=server, options={"ca_file": good})

    return setting


class NoTls(FaultServer):
    """Sends this at the first bytes of a connection, which are no request that it could count."""

    def __init__(self, script: Script, says: bytes | None) -> None:
        super().__init__(script)
        self._says = says

    def _exchange(self, connection: socket.socket) -> bool:
        connection.recv(1000)
        if self._says is None:
            while connection.recv(1000):
                pass
        else:
            connection.sendall(self._says)
        return False


def no_tls(says: bytes | None) -> Setting:
    """Something else than TLS where TLS should be; None: it waits for more."""

    @contextmanager
    def setting(script: Script, _: Path, __: pytest.MonkeyPatch) -> Iterator[Place]:
        with NoTls(script, says) as server:
            url = server.url.replace("http:", "https:")
            yield Place(server=server, url=url, head={"timeouts": {"connect": 0.1}})

    return setting


def closes_idle(drop: Answer, *, at_once: bool = True) -> Setting:
    """A server that closes a connection when it is used again; not at once: a second later."""

    @contextmanager
    def setting(script: Script, _: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        if not at_once:
            monkeypatch.setattr(session, "IDLE_CLOSED_WITHIN_S", 0.0)
        with IdleClosingServer(drop, script) as server:
            yield Place(server=server)
        assert server.n_dropped == 1

    return setting


class EarlyServer(FaultServer):
    """Answers when it has the beginning of a request; reads the rest, or resets."""

    def _exchange(self, connection: socket.socket) -> bool:
        begun = b""
        while not (found := re.search(rb'"text": ?"(\w+)"', begun)):
            begun += connection.recv(1000)
        prompt = found.group(1).decode()
        with self._lock:
            self.requests[prompt] += 1
            asked = Asked("POST", "", {}, begun, prompt, self.requests[prompt])
        end = self.script(asked)(connection)
        if end is End.RESET:
            servers._resets(connection)
            return False
        with self._lock:
            self.answered[prompt] += 1
        servers._hang_up_kindly(connection)
        return False


@contextmanager
def hasty(script: Script, tmp_path: Path, _: pytest.MonkeyPatch) -> Iterator[Place]:
    """An upload of some megabytes, to a server that does not wait for its end."""
    (tmp_path / "photo.png").write_bytes(png("photo", edge_px=1200))
    with EarlyServer(script) as server:
        yield Place(server=server)


def by_proxy(base_url: str, kind: type[FaultServer] = FaultServer) -> Setting:
    """The server is the proxy on the way to a service that nobody can reach."""

    @contextmanager
    def setting(script: Script, _: Path, __: pytest.MonkeyPatch) -> Iterator[Place]:
        with kind(script) as proxy:
            head, options = elsewhere(base_url), {"proxy": proxy.url}
            yield Place(server=proxy, url="", head=head, options=options)
        assert all(KEY not in str(asked) for asked in proxy.log if asked.method == "CONNECT")

    return setting


@contextmanager
def hurried(script: Script, _: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A run that gives a slow answer 0.3 s instead of 30."""

    class Hurried(Transport):
        def __init__(self, provider: Provider, key: str, timeouts: Timeouts, **kept: Any) -> None:
            super().__init__(provider, key, replace(timeouts, min_rate_over_s=0.3), **kept)

    monkeypatch.setattr("batchgen.workshop.Transport", Hurried)
    with FaultServer(script) as server:
        yield Place(server=server)


# --- what must come of it -------------------------------------------------------------------------


class Fate(NamedTuple):
    """What one attempt comes to, and how often it is tried again; None: the run stops."""

    outcome: str
    billed: str
    n_more: int | None


LOST = Fate("connection", "maybe", 1)
SILENT = Fate("timeout", "maybe", 1)
BAD_REPLY = Fate("bad_reply", "maybe", 1)
BEYOND_BOUNDS = Fate("bad_reply", "maybe", 0)
NOT_THE_API = Fate("bad_reply", "no", None)
BLOCKED = Fate("blocked", "yes", 0)
NO_IMAGE = Fate("no_image", "yes", 2)
NO_IMAGE_ONCE_MORE = Fate("no_image", "yes", 1)
NO_IMAGE_EVER = Fate("no_image", "yes", 0)
TEXT_ONLY = Fate("text_only", "yes", 2)
BROKEN_IMAGE = Fate("broken_image", "yes", 1)
NO_PICTURE = Fate("broken_image", "yes", 0)
REFUSED = Fate("bad_request", "no", 0)
OUR_FAULT = Fate("bad_request", "no", None)
FORBIDDEN = Fate("unauthorized", "no", 0)
WRONG_KEY = Fate("unauthorized", "no", None)
NO_CREDIT = Fate("out_of_credit", "no", None)
NO_QUOTA = Fate("quota_exhausted", "no", None)
LIMITED = Fate("rate_limited", "no", 20)
BUSY = Fate("server_error", "no", 4)
FAILED_MAYBE = Fate("server_error", "maybe", 1)
GONE = Fate("model_unavailable", "no", 0)
NO_WAY = Fate("connection", "no", None)
UNREACHED: Final[Told] = ("connection", "retry", "no")
ALL_OTHERS: Final = "*"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One run.

    Attributes:
        told: Outcome, decision and billing of each item's attempts, in order. Under `ALL_OTHERS`
            those of all other items, in no order, `n_attempts` in number.
        requests: Received by the server, for each prompt; or how many in all.
        answered: By the server, to the end.
        n_kept: Files in quarantine.
        not_before_s: By the run's clock, nothing at all is sent so soon after a fault.
        n_together: So many requests may leave at once; from then on one by one, with pauses.
    """

    row: int
    what: str
    when: str
    script: Script
    told: Mapping[str, Sequence[Told] | frozenset[Told]]
    requests: Mapping[str, int] | range
    answered: Mapping[str, int] | None = None
    exit_code: int
    items: tuple[str | Json, ...] = ("cat",)
    n_attempts: range = range(0)
    n_pending: int | range = 0
    n_kept: int = 0
    n_connections: int | None = None
    not_before_s: float = 0.0
    n_together: int | None = None
    head: Json = field(default_factory=dict)
    setting: Setting = loopback
    needs_openssl: bool = False

    @property
    def name(self) -> str:
        return f"{self.row:02} {self.what}, {self.when}"


def meets(
    row: int,
    what: str,
    fault: Answer,
    fate: Fate,
    *,
    item: str | Json = "cat",
    cut: bool = False,
    on_used: bool = False,
    kept: tuple[int, int] = (0, 0),
    **more: Any,
) -> Iterator[Case]:
    """The first request meets it, and each that follows; or a later item meets it, once.

    Args:
        row: Its number.
        what: In a few words.
        fault: What the server does.
        fate: What comes of it.
        item: Which meets it; its prompt is "cat".
        cut: The server does not send to the end.
        on_used: A connection that has served before meets it as well.
        kept: Files in quarantine of an attempt that is tried again, and of the last one.
        more: As for a case.
    """
    outcome, billed, n_more = fate
    tried: Told = (outcome, "retry", billed)
    last: Told = (outcome, "failed" if n_more is not None else "stop", billed)
    once: list[Told] = [tried, DONE] if n_more else [last]
    n = 1 + (n_more or 0)
    others = ("owl", "fox") if n_more is None else ()

    def passing(asked: Asked) -> Answer:
        return fault if (asked.prompt, asked.nth) == ("cat", 1) else draws(asked)

    common = {"row": row, "what": what, **more}
    yield Case(
        **common,
        when="first",
        script=always(fault),
        items=(item, *others),
        told={"cat": [tried] * (n - 1) + [last]},
        requests={"cat": n},
        answered={} if cut else {"cat": n},
        exit_code=7 if n_more is None else 4,
        n_pending=3 if n_more is None else 0,
        n_kept=kept[0] * (n - 1) + kept[1],
    )
    rest = {} if n_more is None else {"owl": 1}
    n_answered = len(once) - cut
    head = ONE_BY_ONE if n_more is None or "not_before_s" in more else {}
    yield Case(
        **{**common, "head": {**common.get("head", {}), **head}},
        when="later",
        script=passing,
        items=("dog", item, "owl"),
        told={"dog": [DONE], "cat": once, **{item: [DONE] for item in rest}},
        requests={"dog": 1, "cat": len(once), **rest},
        answered={"dog": 1, **({"cat": n_answered} if n_answered else {}), **rest},
        exit_code={None: 7, 0: 4}.get(n_more, 0),
        n_pending=2 if n_more is None else 0,
        n_kept=kept[0] if n_more else kept[1],
    )
    if on_used:
        yield Case(
            **{**common, "head": {**common.get("head", {}), **ONE_BY_ONE}},
            when="later, on a used connection",
            script=passing,
            items=("ape", item),
            told={"ape": [DONE], "cat": once},
            requests={"ape": 1, "cat": len(once)},
            answered={"ape": 1, **({"cat": n_answered} if n_answered else {})},
            exit_code={None: 7, 0: 4}.get(n_more, 0),
            n_pending=1 if n_more is None else 0,
            n_kept=kept[0] if n_more else kept[1],
        )


def draws(asked: Asked) -> Answer:
    """As it should be; what comes first closes its connection, so that a fault meets a new one."""
    return closes(asked) if asked.prompt == "dog" else servers.draws(asked)


def closes(asked: Asked) -> Answer:
    """One picture, and one connection a request."""
    body = json.dumps(servers.picture_of(asked)).encode()
    return sends(http(200, body, {"Connection": "close"}), end=End.CLOSED)


def takes(row: int, what: str, answer: Answer, *, cut: bool = False, **more: Any) -> Case:
    """One request, one picture."""
    kept = {
        "row": row,
        "what": what,
        "when": "taken",
        "script": always(answer),
        "told": {"cat": [DONE]},
        "requests": {"cat": 1},
        "answered": {} if cut else {"cat": 1},
        "exit_code": 0,
    }
    return Case(**{**kept, **more})


def never_reached(row: int, what: str, setting: Setting, **more: Any) -> Case:
    """Nothing is sent; asked for as long as the job's patience lasts, and then left for later."""
    kept = {
        "row": row,
        "what": what,
        "when": "first",
        "script": draws,
        "setting": setting,
        "items": ("cat", "owl", "fox"),
        "told": {ALL_OTHERS: frozenset({UNREACHED})},
        # Five show that everybody sees it; the pauses between the probes double from 2 s on.
        "n_attempts": range(6, 10),
        "requests": {},
        "exit_code": 5,
        "n_pending": 3,
        "head": SHORT_OF_PATIENCE,
    }
    return Case(**{**kept, **more})


# --- answers --------------------------------------------------------------------------------------

PICTURE = png("a cat")
OTHER = png("a dog")
PLAIN = json.dumps(document(image_part(PICTURE)))
BODY = PLAIN.encode()
HEAD = http(200, b"", length=len(BODY))
INSIDE = BODY[: len(BODY) // 2]  # of its base64
HTTP_1_0 = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"
GZIP = {"Content-Encoding": "gzip"}
ZIPPED = gzip.compress(BODY)
PAGE = b"<!doctype html><title>no</title>"
BASE64: str = image_part(PICTURE)["inlineData"]["data"]


def says(body: str | bytes, **kept: Any) -> Answer:
    return sends(http(200, body if isinstance(body, bytes) else body.encode(), **kept))


def page(status: int) -> Answer:
    return sends(http(status, PAGE, content_type="text/html"))


def spelt(data: str) -> str:
    """An answer with this in place of the picture's base64; what is written is JSON."""
    return PLAIN.replace(BASE64, data)


def beside(member: str) -> str:
    return PLAIN[:-1] + f", {member}}}"


def finished(reason: str, *parts: object, **members: object) -> Answer:
    return whole(document(*parts, finish_reason=reason, **members))


def google(code: int, status: str, message: str = "no", **detail: object) -> Json:
    error: Json = {"code": code, "status": status, "message": message}
    return {"error": {**error, "details": [detail]} if detail else error}


def gateway(code: object, message: str = "no") -> Json:
    return {"error": {"message": message, "type": "comet_api_error", "param": "", "code": code}}


def retry_info(delay: str) -> Json:
    return google(429, "RESOURCE_EXHAUSTED", retryDelay=delay)


def quota(quota_id: str) -> Json:
    violations = [{"quotaId": quota_id}]
    return google(429, "RESOURCE_EXHAUSTED", violations=violations, retryDelay="22s")


def bomb() -> bytes:
    """Some kilobytes that become 8 MiB."""
    filler = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    start = filler.compress(INSIDE[: INSIDE.index(b'"data": "') + 9])
    return start + filler.compress(b"A" * (8 << 20)) + filler.flush()


def endless(connection: socket.socket) -> End:
    """Chunks for as long as anybody listens."""
    with suppress(OSError):
        connection.sendall(servers.chunked(INSIDE, terminated=False))
        while True:
            connection.sendall(b"10000\r\n" + b"A" * 65536 + b"\r\n")
    return End.BROKEN


def redirects(status: int, host: str) -> Answer:
    """To another origin, where the same server would count one more request."""

    def answer(connection: socket.socket) -> End:
        port = connection.getsockname()[1]
        location = {"Location": f"http://{host}:{port}/v1beta/models/{MODEL}:generateContent"}
        return sends(http(status, b"", location))(connection)

    return answer


def garbage_later(connection: socket.socket) -> End:
    """A whole answer, and garbage in a packet of its own, when it has been read."""
    sends(http(200, BODY, {"Connection": "close"}))(connection)
    while connection.recv(1000):  # until the client has closed it
        pass
    with suppress(OSError):
        connection.sendall(b"garbage")
    return End.CLOSED


def always(answer: Answer) -> Script:
    return lambda _: answer


def fails(prompts: Iterable[str], answer: Answer) -> Script:
    """These meet a fault, whenever they are asked for; the others have their picture."""
    failing = frozenset(prompts)
    return lambda asked: answer if asked.prompt in failing else draws(asked)


EMPTY_CANDIDATES: Final[tuple[object, ...]] = (
    None,
    {},
    {"content": None},
    {"content": {"role": "model"}},
    {"content": {"parts": None}},
    {"content": {"parts": []}},
)
NO_DATA: Final[tuple[object, ...]] = ("", None, 0, [])
USAGES: Final[dict[str, object]] = {
    "missing": None,
    "a list": [],
    "of strings": {name: str(value) for name, value in servers.USAGE.items()},
    "of fractions": {"promptTokenCount": 13.5},
    "below zero": {"promptTokenCount": -20, "totalTokenCount": -1},
    "of truths": {"promptTokenCount": True},
    "of huge numbers": {"promptTokenCount": 10**30},
}
OUTAGE = [f"item{n}" for n in range(40)]
IDLE: Final[Json] = {"timeouts": {"idle": 0.25}}
DEADLINE: Final[Json] = {"timeouts": {"attempt": 1}}
PHOTO: Final[Json] = {"id": "cat", "prompt": "cat", "references": ["photo.png"]}
SMALLEST = patched(answer_body, "MAX_ANSWER_BYTES", 1 << 20)
ANOTHER_MODEL: Final[Json] = {"id": "owl", "prompt": "owl", "model": "gemini-2.5-flash-image"}
SAYS_SO = "You will not be charged for this request."
DRIP = servers.drips([HEAD, *(BODY[at : at + 1] for at in range(500))], 0.01)
DRIP_OF_HEADERS = servers.drips(
    [b"HTTP/1.1 200 OK\r\n", *(b"X-%d: x\r\n" % n for n in range(80))], 0.05
)

# --- the table ------------------------------------------------------------------------------------

MATRIX: Final[list[Case]] = [
    # What everybody sees is waited for as long as the job's patience lasts, by one probe at a time.
    never_reached(1, "connection refused", opens_at(None)),
    Case(
        row=1,
        what="connection refused",
        when="passing",
        script=draws,
        setting=opens_at(4),
        told={"cat": [UNREACHED] * 3 + [DONE]},
        requests={"cat": 1},
        exit_code=0,
    ),
    never_reached(
        1,
        "connection refused",
        leaves,
        when="later",
        script=closes,
        head={**SHORT_OF_PATIENCE, **ONE_BY_ONE},
        told={"cat": [DONE], ALL_OTHERS: frozenset({UNREACHED})},
        requests={"cat": 1},
        n_pending=2,
    ),
    Case(
        row=2,
        what="no such host",
        when="first",
        script=draws,
        setting=names_say(socket.EAI_NONAME, for_ever=True),
        items=("cat", "owl"),
        told={"cat": [("connection", "stop", "no")]},
        requests={},
        exit_code=7,
        n_pending=2,
    ),
    Case(
        row=2,
        what="no such host",
        when="later",
        script=draws,
        setting=names_say(socket.EAI_AGAIN, socket.EAI_NONAME),
        told={"cat": [UNREACHED] * 2 + [DONE]},
        requests={"cat": 1},
        exit_code=0,
    ),
    never_reached(2, "no names at all", names_say(socket.EAI_AGAIN, for_ever=True)),
    never_reached(3, "connect timeout", full_house),
    *(
        Case(
            row=4,
            what=what,
            when=when,
            script=closes,
            setting=setting,
            items=("cat", "owl", "fox"),
            head=ONE_BY_ONE,
            told={
                **({"cat": [DONE]} if when == "later" else {}),
                "owl" if when == "later" else "cat": [("connection", "stop", "no")],
            },
            requests={"cat": 1} if when == "later" else {},
            n_connections=2 if when == "later" else 1,
            exit_code=7,
            n_pending=2 if when == "later" else 3,
            needs_openssl=True,
        )
        for what, when, setting in (
            ("unknown CA", "first", behind_tls(self_signed, is_trusted=False)),
            ("wrong host", "first", behind_tls(self_signed, is_trusted=True, host="localhost")),
            ("expired", "first", behind_tls(expired, is_trusted=True)),
            ("unknown CA", "later", turns(self_signed)),
        )
    ),
    # Later as well: a failure of TLS exits with 7, and there is no way around it.
    *(
        Case(
            row=5,
            what=what,
            when=when,
            script=closes,
            setting=setting,
            items=("cat", "owl"),
            head=ONE_BY_ONE,
            told={
                **({"cat": [DONE]} if when == "later" else {}),
                "owl" if when == "later" else "cat": [("connection", "stop", "no")],
            },
            requests={"cat": 1} if when == "later" else {},
            n_connections=2 if when == "later" else 1,
            exit_code=7,
            n_pending=1 if when == "later" else 2,
            needs_openssl=when == "later",
        )
        for what, when, setting in (
            ("plain HTTP instead of TLS", "first", no_tls(http(400, b"no TLS"))),
            ("garbage instead of TLS", "first", no_tls(b"\x15\x03\x01garbage" * 9)),
            ("plain HTTP instead of TLS", "later", turns(http(400, b"no TLS"))),
            ("garbage instead of TLS", "later", turns(b"\x00" * 99)),
        )
    ),
    # Nothing tells this from a network that loses everything.
    never_reached(5, "silence instead of TLS", no_tls(None)),
    *meets(6, "closed before any byte", BROKEN, LOST, cut=True),
    *meets(6, "reset before any byte", RESET, LOST, cut=True),
    *(
        Case(
            row=7,
            what=what,
            when="at once",
            script=servers.draws,
            setting=closes_idle(drop),
            items=("cat", "owl"),
            head=ONE_BY_ONE,
            told={"cat": [DONE], "owl": [DONE]},
            requests={"cat": 1, "owl": 1},
            answered={"cat": 1, "owl": 1},
            exit_code=0,
        )
        for what, drop in (("idle connection closed", BROKEN), ("idle connection reset", RESET))
    ),
    *(
        Case(
            row=7,
            what=what,
            when="a second later",
            script=servers.draws,
            setting=closes_idle(drop, at_once=False),
            items=("cat", "owl"),
            head=ONE_BY_ONE,
            told={"cat": [DONE], "owl": [("connection", "retry", "maybe"), DONE]},
            requests={"cat": 1, "owl": 1},
            answered={"cat": 1, "owl": 1},
            exit_code=0,
        )
        for what, drop in (("idle connection closed", BROKEN), ("idle connection reset", RESET))
    ),
    *meets(
        8, "reset in its headers", sends(HEAD[:30], end=End.RESET), LOST, cut=True, on_used=True
    ),
    *meets(
        8, "closed in its headers", sends(HEAD[:30], end=End.BROKEN), LOST, cut=True, on_used=True
    ),
    *meets(9, "no status line", sends(b"SMTP 220 ready\r\n\r\n"), BAD_REPLY, on_used=True),
    *meets(9, "a status that is no number", sends(b"HTTP/1.1 OK\r\n\r\n"), BAD_REPLY, on_used=True),
    *(
        one
        for what, headers in {
            "a header of 100 kB": b"X: " + b"x" * 100_000 + b"\r\n",
            "ten thousand headers": b"X: x\r\n" * 10_000,
            "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n",
            "a length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "a length that is none": b"Content-Length: -5\r\n",
        }.items()
        for one in meets(
            10,
            what,
            sends(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n" + BODY[:5], end=End.BROKEN),
            BAD_REPLY,
            cut=True,
        )
    ),
    *meets(11, "no answer at all", stalls(), SILENT, cut=True, head=DEADLINE, on_used=True),
    *meets(12, "stalls after its headers", stalls(HEAD), SILENT, cut=True, head=IDLE),
    # Half a picture of the last attempt goes into quarantine.
    *meets(12, "stalls", stalls(HEAD + INSIDE), SILENT, cut=True, kept=(0, 1), head=IDLE),
    *meets(13, "drips", DRIP, SILENT, cut=True, setting=hurried),
    *meets(14, "headers drip", DRIP_OF_HEADERS, SILENT, cut=True, head=DEADLINE),
    *(
        one
        for row, what, answer, is_cut in (
            (15, "shorter than its length", sends(HEAD + INSIDE, end=End.BROKEN), True),
            (15, "reset before its length", sends(HEAD + INSIDE, end=End.RESET), True),
            (
                16,
                "chunks without an end",
                sends(servers.chunked(INSIDE, terminated=False), end=End.BROKEN),
                True,
            ),
            (18, "HTTP/1.0, closed", sends(HTTP_1_0 + INSIDE, end=End.CLOSED), False),
            (18, "HTTP/1.0, reset", sends(HTTP_1_0 + INSIDE, end=End.RESET), True),
        )
        for one in meets(row, what, answer, BAD_REPLY, cut=is_cut, on_used=True, kept=(0, 1))
    ),
    # In row 15 as in row 16: a document that is whole was paid for, and is kept.
    takes(
        15,
        "whole, but shorter than its length",
        sends(http(200, BODY, length=len(BODY) + 9), end=End.BROKEN),
        cut=True,
    ),
    takes(
        16,
        "whole, but chunks without an end",
        sends(servers.chunked(BODY, terminated=False), end=End.BROKEN),
        cut=True,
    ),
    takes(17, "HTTP/1.0 without a length", sends(HTTP_1_0 + BODY, end=End.CLOSED)),
    *meets(19, "bytes behind its length", sends(http(200, BODY) + b"garbage"), BAD_REPLY),
    takes(19, "bytes behind its length, in a later packet", garbage_later),
    takes(20, "gzip", says(ZIPPED, headers=GZIP)),
    takes(20, "deflate", says(zlib.compress(BODY), headers={"Content-Encoding": "deflate"})),
    # A picture that came whole is kept; one that did not, of the last attempt alone.
    *meets(21, "gzip, cut", says(ZIPPED[: len(ZIPPED) // 2], headers=GZIP), BAD_REPLY, kept=(0, 1)),
    *meets(21, "gzip without its CRC", says(ZIPPED[:-8], headers=GZIP), BAD_REPLY, kept=(1, 1)),
    *meets(
        22,
        "gzip with a wrong CRC",
        says(ZIPPED[:-8] + b"\0\0\0\1" + ZIPPED[-4:], headers=GZIP),
        BAD_REPLY,
        kept=(1, 1),
    ),
    *meets(22, "a flipped bit", says(b"\x1e" + ZIPPED[1:], headers=GZIP), BAD_REPLY),
    # The picture came whole, with its checksum: it is taken, and what follows is ignored.
    takes(22, "garbage behind gzip", says(ZIPPED + b"garbage", headers=GZIP)),
    # What was cut for its size leaves nothing but whole pictures: halves would fill the disk.
    *meets(23, "gzip bomb", says(bomb(), headers=GZIP), BEYOND_BOUNDS, setting=SMALLEST),
    *(
        one
        for encoding in ("gzip, gzip", "br", "zstd", "xyz")
        for one in meets(
            24,
            f"encoded as {encoding}",
            says(BODY, headers={"Content-Encoding": encoding}),
            BAD_REPLY,
        )
    ),
    *meets(25, "endless", endless, BEYOND_BOUNDS, cut=True, setting=SMALLEST),
    takes(26, "100 Continue", sends(b"HTTP/1.1 100 Continue\r\n\r\n" + http(200, BODY))),
    takes(
        26, "103 Early Hints", sends(b"HTTP/1.1 103 Hints\r\nLink: </x>\r\n\r\n" + http(200, BODY))
    ),
    *(
        one
        for status in (300, 301, 302, 303, 305, 307, 308)
        for one in meets(27, f"{status}", redirects(status, "localhost"), NOT_THE_API)
    ),
    *meets(27, "307 to the same host", redirects(307, HOST), NOT_THE_API),
    # Later as well: a page where the API should be stops the run, and nothing is billed.
    *meets(28, "a web page", page(200), NOT_THE_API),
    *meets(28, "a web page as JSON", says(b"\n  <html>"), NOT_THE_API),
    *(
        takes(29, kind, sends(http(200, BODY, content_type=kind)))
        for kind in ("application/json; charset=utf-8", "text/plain", "text/html", "nonsense")
    ),
    takes(
        29, "no type", sends(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
    ),
    *meets(30, "empty", says(""), BAD_REPLY),
    *meets(30, "white space", says(" \n\n"), BAD_REPLY),
    *meets(31, "200 with a 429", whole(google(429, "RESOURCE_EXHAUSTED")), LIMITED),
    *meets(31, "200 with a 503", whole(google(503, "UNAVAILABLE")), BUSY),
    *meets(31, "200 with a 504", whole(google(504, "DEADLINE_EXCEEDED")), FAILED_MAYBE),
    *meets(31, "200 with a 400", whole(google(400, "INVALID_ARGUMENT")), REFUSED),
    *meets(31, "200 with a 401", whole(google(401, "UNAUTHENTICATED")), WRONG_KEY),
    *meets(31, "200 with an error in words", says('{"error": "sorry"}'), FAILED_MAYBE),
    takes(31, "an error beside the picture", says(beside('"error": {"code": 503}'))),
    *meets(32, "no JSON", says("Internal error, sorry"), BAD_REPLY),
    *meets(32, "garbage behind JSON", says(PLAIN + " end"), BAD_REPLY, kept=(1, 1)),
    *meets(32, "two documents", says(PLAIN + PLAIN), BAD_REPLY, kept=(2, 2)),
    *meets(32, "an event stream", says(f"data: {PLAIN}\n\n"), BAD_REPLY, kept=(1, 1)),
    takes(33, "byte order mark", says(b"\xef\xbb\xbf" + BODY)),
    *meets(33, "UTF-16", says(PLAIN.encode("utf-16")), BAD_REPLY),
    takes(33, "Latin-1", says(PLAIN.replace("rsp-1", "r\xe9sp").encode("latin-1"))),
    takes(34, "a list of one", says(f"[{PLAIN}]")),
    *meets(34, "a list of two", says(f"[{PLAIN}, {PLAIN}]"), BAD_REPLY, kept=(2, 2)),
    *(
        one
        for body in ("[]", '"fine"', "null", "3", "true")
        for one in meets(34, f"the JSON {body}", says(body), BAD_REPLY)
    ),
    takes(35, "a name twice", says(beside('"responseId": "a", "responseId": "b"'))),
    takes(36, "no numbers", says(beside('"n": NaN, "m": -Infinity, "k": 1e999'))),
    takes(36, "a usage that is no number", says(PLAIN.replace("1450", "NaN"))),
    takes(37, "5,000 digits", says(beside(f'"n": {"9" * 5000}'))),
    takes(37, "a usage of 5,000 digits", says(PLAIN.replace("1450", "9" * 5000))),
    *meets(38, "nested 1,000 deep", says("[" * 1000 + "]" * 1000), BEYOND_BOUNDS),
    *meets(38, "nested 100,000 deep", says("[" * 100_000), BEYOND_BOUNDS),
    *meets(
        38,
        "nested beside a picture",
        says(beside(f'"x": {"[" * 5000}{"]" * 5000}')),
        BEYOND_BOUNDS,
        kept=(0, 1),
    ),
    takes(39, "4 MiB of words", whole(document({"text": "so" * (2 << 20)}, image_part(PICTURE)))),
    takes(39, "50,000 parts", whole(document(*[{"text": "so"}] * 50_000, image_part(PICTURE)))),
    takes(
        40,
        "half a letter",
        says(
            json.dumps(document({"text": "WORDS"}, image_part(PICTURE))).replace(
                "WORDS", r"a\ud800b \udfff"
            )
        ),
    ),
    # No picture and no reason is chance, and cheap beside a picture: asked again, twice at most.
    *(
        one
        for what, body in {
            "no candidates": {"usageMetadata": servers.USAGE},
            "candidates null": {"candidates": None},
            "candidates none": {"candidates": []},
        }.items()
        for one in meets(41, what, whole(body), NO_IMAGE)
    ),
    *meets(
        41, "no candidates, blocked", whole({"promptFeedback": {"blockReason": "OTHER"}}), BLOCKED
    ),
    *(
        one
        for candidate in EMPTY_CANDIDATES
        for one in meets(
            42,
            f"the candidate {json.dumps(candidate)}",
            whole({"candidates": [candidate]}),
            NO_IMAGE,
        )
    ),
    *(
        one
        for reason in (
            *("SAFETY", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT"),
            *("IMAGE_RECITATION", "RECITATION", "BLOCKLIST", "SPII"),
        )
        for one in meets(43, reason, finished(reason), BLOCKED)
    ),
    # Google says so itself where it does not charge.
    *meets(
        43,
        "a refusal that is not charged",
        whole({"candidates": [{"finishReason": "IMAGE_SAFETY", "finishMessage": SAYS_SO}]}),
        BLOCKED._replace(billed="no"),
    ),
    *meets(44, "NO_IMAGE", finished("NO_IMAGE"), NO_IMAGE),
    *meets(44, "words alone", finished("STOP", {"text": "I cannot."}), TEXT_ONLY),
    *(
        one
        for reason in (
            *("IMAGE_OTHER", "OTHER", "MALFORMED_RESPONSE", "MALFORMED_FUNCTION_CALL"),
            "CONTINUATION",
        )
        for one in meets(44, reason, finished(reason), NO_IMAGE_ONCE_MORE)
    ),
    *meets(45, "MAX_TOKENS", finished("MAX_TOKENS"), NO_IMAGE_EVER),
    takes(46, "an unknown reason", finished("A_REASON_OF_TOMORROW", image_part(PICTURE))),
    *meets(46, "an unknown reason, no picture", finished("OF_TOMORROW"), NO_IMAGE_ONCE_MORE),
    *meets(
        47,
        "thoughts alone",
        whole(document(image_part(PICTURE, thought=True))),
        NO_IMAGE_ONCE_MORE,
        kept=(1, 1),
    ),
    takes(
        47,
        "thoughts besides",
        whole(document(image_part(OTHER, thought=True), image_part(PICTURE))),
    ),
    # Of several the others are kept where the job asks for them, in a folder of their own.
    takes(48, "drafts", whole(document(image_part(OTHER), image_part(PICTURE)))),
    takes(
        48,
        "drafts that are kept",
        whole(document(image_part(OTHER), image_part(PICTURE))),
        head={"output": {"keep_drafts": True}},
    ),
    takes(
        48,
        "two candidates",
        whole(
            {"candidates": [one["candidates"][0] for one in (document(image_part(PICTURE)),) * 2]}
        ),
    ),
    takes(49, "odd parts", whole(document(None, "x", 7, {}, image_part(PICTURE)))),
    takes(49, "words in its part", whole(document(image_part(PICTURE, text="here it is")))),
    takes(50, "snake_case", whole(snake(document(image_part(PICTURE))))),
    takes(51, "url-safe base64", says(spelt(BASE64.replace("+", "-").replace("/", "_")))),
    takes(52, "no padding", says(spelt(BASE64.rstrip("=")))),
    *(
        takes(53, f"base64 with {what}", says(spelt(space.join((BASE64[:999], BASE64[999:])))))
        for what, space in {
            "spaces": " ",
            "LF": r"\n",
            "CRLF": r"\r\n",
            "tabs": r"\t",
        }.items()
    ),
    takes(54, "escaped slashes", says(spelt(BASE64.replace("/", r"\/")))),
    takes(54, "escaped plus signs", says(spelt(BASE64.replace("+", r"\u002b")))),
    takes(55, "a data: prefix", says(spelt("data:image/png;base64," + BASE64))),
    # A whole answer came, so that it is billed; what there is of a picture is kept.
    *(
        one
        for what, data, n_kept in (
            ("base64 with padding inside", "iVBOR=w0KGgo", 1),
            ("base64 with an ellipsis", BASE64[:400] + "...", 1),
            ("base64 beyond ASCII", BASE64[:400] + "é" + BASE64[400:], 1),
            ("base64 of one letter", "A", 0),
            ("base64 one letter short", BASE64.rstrip("=")[: len(BASE64) // 4 * 4 - 3], 1),
        )
        for one in meets(56, what, says(spelt(data)), BROKEN_IMAGE, kept=(n_kept, n_kept))
    ),
    *(
        one
        for data in NO_DATA
        for one in meets(
            57,
            f"the data {json.dumps(data)}",
            whole(document({"inlineData": {"mimeType": "image/png", "data": data}})),
            NO_IMAGE,
        )
    ),
    *meets(57, "no data", whole(document({"inlineData": {"mimeType": "image/png"}})), NO_IMAGE),
    *(
        takes(58, f"the type {kind}", whole(document(image_part(PICTURE, kind))))
        for kind in ("image/jpeg", "", "image/png; charset=x", "IMAGE/PNG", "text/html")
    ),
    takes(58, "no type", whole(document({"inlineData": {"data": BASE64}}))),
    *(
        one
        for what, data in {
            "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            "HEIC": b"\0\0\0\x18ftypheic" + bytes(99),
            "AVIF": b"\0\0\0\x18ftypavif" + bytes(99),
            "HTML": PAGE,
        }.items()
        for one in meets(59, what, whole(document(image_part(data))), NO_PICTURE, kept=(1, 1))
    ),
    *(
        one
        for what, data in {
            "PNG without its end": PICTURE[:-12],
            "half a PNG": PICTURE[: len(PICTURE) // 2],
            "JPEG without its end": b"\xff\xd8\xff\xe0" + bytes(900),
            "WebP that is too short": b"RIFF\xff\xff\0\0WEBPVP8 " + bytes(900),
        }.items()
        for one in meets(60, what, whole(document(image_part(data))), BROKEN_IMAGE, kept=(1, 1))
    ),
    *meets(
        61,
        "an address",
        whole(document({"fileData": {"mimeType": "image/png", "fileUri": "gs://bucket/a.png"}})),
        NO_IMAGE_EVER,
    ),
    *(
        takes(62, f"the usage {what}", whole(document(image_part(PICTURE), usage=usage)))
        for what, usage in USAGES.items()
    ),
    takes(62, "the usage null", says(beside('"usageMetadata": null'))),
    *(
        one
        for status in (202, 205, 206, 226, 299)
        for one in meets(63, f"{status}", sends(http(status, b"{}")), BAD_REPLY)
    ),
    *meets(63, "204", sends(b"HTTP/1.1 204 No Content\r\n\r\n"), BAD_REPLY),
    *meets(63, "000", sends(b"HTTP/1.1 000 None\r\nContent-Length: 0\r\n\r\n"), BAD_REPLY),
    *meets(63, "206 with a picture", sends(http(206, BODY)), BAD_REPLY, kept=(1, 1)),
    *(one for n in (600, 999) for one in meets(63, f"{n}", refuses(n), FAILED_MAYBE)),
    *meets(64, "400", refuses(400, google(400, "INVALID_ARGUMENT")), REFUSED),
    *(
        Case(
            row=row,
            what=what,
            when="to all",
            script=always(answer),
            items=("cat", "owl", "fox", "ant", "bee"),
            told={"cat": [failed], "owl": [failed], "fox": [(failed[0], "stop", "no")]},
            requests={"cat": 1, "owl": 1, "fox": 1},
            answered={"cat": 1, "owl": 1, "fox": 1},
            exit_code=7,
            n_pending=3,
        )
        for row, what, answer, failed in (
            (64, "400", refuses(400, google(400, "X")), ("bad_request", "failed", "no")),
            (67, "403", refuses(403, google(403, "X")), ("unauthorized", "failed", "no")),
        )
    ),
    # With one that passed before, they are the items' own.
    *(
        Case(
            row=row,
            what=what,
            when="to all but the first",
            script=fails(("cat", "owl", "fox", "ant"), answer),
            items=("dog", "cat", "owl", "fox", "ant"),
            told={"dog": [DONE], **{one: [failed] for one in ("cat", "owl", "fox", "ant")}},
            requests={"dog": 1, "cat": 1, "owl": 1, "fox": 1, "ant": 1},
            exit_code=4,
        )
        for row, what, answer, failed in (
            (64, "400", refuses(400, google(400, "X")), ("bad_request", "failed", "no")),
            (67, "403", refuses(403, google(403, "X")), ("unauthorized", "failed", "no")),
        )
    ),
    *meets(65, "400 for a country", refuses(400, google(400, "FAILED_PRECONDITION")), WRONG_KEY),
    *meets(
        65,
        "400 for a key",
        refuses(400, google(400, "INVALID_ARGUMENT", reason="API_KEY_INVALID")),
        WRONG_KEY,
    ),
    *meets(65, "400 no_db_connection", refuses(400, gateway("no_db_connection")), WRONG_KEY),
    *meets(66, "401", refuses(401), WRONG_KEY),
    *meets(66, "402", refuses(402), NO_CREDIT),
    *meets(
        66,
        "403 of a suspended key",
        refuses(403, google(403, "PERMISSION_DENIED", reason="CONSUMER_SUSPENDED")),
        WRONG_KEY,
    ),
    *meets(
        66,
        "403 that quotes the key",
        refuses(
            403, google(403, "PERMISSION_DENIED", f"Consumer 'api_key:{KEY}' has been suspended.")
        ),
        WRONG_KEY,
    ),
    *(
        one
        for code in ("insufficient_user_quota", "pre_consume_token_quota_failed")
        for one in meets(66, f"403 {code}", refuses(403, gateway(code)), NO_CREDIT)
    ),
    # A 403 that does not speak of the key fails its item alone.
    *meets(66, "403 with no reason", refuses(403, google(403, "PERMISSION_DENIED")), FORBIDDEN),
    *meets(67, "403 for a block", refuses(403, {"error": {"message": "content"}}), FORBIDDEN),
    # A model that is gone fails its items; the run ends with 7 only if it had no other work.
    *(
        Case(
            row=68,
            what=what,
            when="another model has work" if others else "no other model",
            script=fails(("cat", "fox", "ant"), answer),
            items=("cat", "fox", "ant", *others),
            # Those of the later ones are lines without a request.
            told={
                "cat": [("model_unavailable", "failed", "no")],
                "fox": [("model_unavailable", "failed", "no")],
                "ant": [("model_unavailable", "failed", "no")],
                **({"owl": [DONE]} if others else {}),
            },
            requests={"cat": 1, **({"owl": 1} if others else {})},
            exit_code=4 if others else 7,
        )
        for what, answer in {
            "404 that names the model": refuses(404, google(404, "NOT_FOUND", f"models/{MODEL}")),
            "503 that names the model": refuses(503, gateway("model_not_found", MODEL)),
        }.items()
        for others in ((), (ANOTHER_MODEL,))
    ),
    Case(
        row=68,
        what="404 that names nothing",
        when="for all",
        script=always(refuses(404, google(404, "NOT_FOUND"))),
        items=("cat", "owl", "fox", "ant"),
        told={one: [("model_unavailable", "failed", "no")] for one in ("cat", "owl", "fox", "ant")},
        requests={"cat": 1, "owl": 1, "fox": 1},
        exit_code=7,
    ),
    # For one item it is the item's.
    *meets(68, "404", refuses(404, google(404, "NOT_FOUND")), GONE),
    *(
        one
        for status in (405, 411, 415, 431)
        for one in meets(69, f"{status}", refuses(status), OUR_FAULT)
    ),
    # The address holds the model, which is the item's.
    *meets(69, "414", refuses(414), REFUSED),
    *meets(70, "408", refuses(408), FAILED_MAYBE),
    *meets(71, "409", refuses(409, google(409, "ABORTED")), BUSY),
    *meets(71, "425", refuses(425), BUSY),
    *meets(72, "413", refuses(413), REFUSED),
    *meets(72, "400 for its size", refuses(400, google(400, "X", "payload size exceeds")), REFUSED),
    *meets(73, "422", refuses(422, {"detail": [{"loc": ["body"], "msg": "no"}]}), REFUSED),
    *meets(74, "429 without a hint", refuses(429), LIMITED, not_before_s=0.5),
    Case(
        row=74,
        what="429 to everything",
        when="first",
        script=always(refuses(429)),
        items=tuple(OUTAGE),
        head=ONE_BY_ONE,
        told={ALL_OTHERS: frozenset({("rate_limited", "retry", "no")})},
        # Pauses up to half a minute, for the half hour of patience.
        requests=range(50, 130),
        n_attempts=range(50, 130),
        not_before_s=0.5,
        exit_code=5,
        n_pending=len(OUTAGE),
    ),
    # Each counts among the twenty that `retries.rate_limit` allows.
    *(
        one
        for what, answer, told_s in (
            ("Retry-After", refuses(429, retry_after="7"), 7),
            ("retry-after-ms", refuses(429, retry_after_ms="2500"), 2.5),
            (
                "llm_provider-retry-after",
                sends(http(429, b"", {"llm_provider-retry-after": "9"})),
                9,
            ),
            ("two headers", sends(http(429, b"", {"Retry-After": "3", "retry-after": "8"})), 8),
            (
                "a date",
                refuses(
                    429,
                    Date="Sat, 21 Nov 2026 03:00:00 GMT",
                    retry_after="Sat, 21 Nov 2026 03:00:30 GMT",
                ),
                30,
            ),
            ("RetryInfo 22s", refuses(429, retry_info("22s")), 22),
            ("RetryInfo 2.5s", refuses(429, retry_info("2.5s")), 2.5),
            ("both", refuses(429, retry_info("3s"), retry_after="40"), 40),
        )
        for one in meets(75, f"429 with {what}", answer, LIMITED, not_before_s=told_s)
    ),
    # It is told to all: with no retry of its own to wait for, the others wait as long.
    *(
        Case(
            row=75,
            what=f"429 with {what}",
            when="with others ready",
            script=fails(("cat",), answer),
            items=("cat", "owl", "fox"),
            head={"retries": {"rate_limit": 0}},
            told={"cat": [("rate_limited", "failed", "no")], "owl": [DONE], "fox": [DONE]},
            requests={"cat": 1, "owl": 1, "fox": 1},
            answered={"cat": 1, "owl": 1, "fox": 1},
            exit_code=4,
            not_before_s=30,
        )
        for what, answer in {
            "Retry-After 30": refuses(429, retry_after="30"),
            "RetryInfo 30s": refuses(429, retry_info("30s")),
        }.items()
    ),
    Case(
        row=75,
        what="429 with more than the run's patience",
        when="first",
        script=always(refuses(429, retry_after="3600")),
        items=("cat", "owl"),
        told={"cat": [("rate_limited", "retry", "no")]},
        requests={"cat": 1},
        answered={"cat": 1},
        exit_code=5,
        n_pending=2,
    ),
    *meets(76, "429 of the day", refuses(429, quota("GenerateRequestsPerDay-FreeTier")), NO_QUOTA),
    *meets(
        76,
        "429 with no quota at all",
        refuses(
            429,
            google(
                429,
                "RESOURCE_EXHAUSTED",
                "Check your plan and billing details. Quota exceeded for metric: x, limit: 0",
            ),
        ),
        NO_QUOTA,
    ),
    # A rolling limit of what may be spent passes, within ten minutes.
    *meets(
        76,
        "429 of ten minutes' spend",
        refuses(429, google(429, "RESOURCE_EXHAUSTED", "You exceeded your spend-based limit.")),
        LIMITED._replace(n_more=3),
        not_before_s=7,
        head={"retries": {"rate_limit": 3}},
    ),
    *meets(
        77,
        "429 in text, of the day",
        refuses(429, gateway("429", json.dumps(quota("RequestsPerDay")))),
        NO_QUOTA,
    ),
    *meets(
        77,
        "429 in text, with a wait",
        refuses(429, gateway("429", f"litellm: {json.dumps(retry_info('21s'))}")),
        LIMITED,
        not_before_s=21,
    ),
    *meets(
        77,
        "429 in text in text",
        refuses(429, gateway("429", json.dumps(gateway("", json.dumps(quota("PerDay")))))),
        NO_QUOTA,
    ),
    *(
        Case(
            row=78,
            what=f"{status} of a saturated channel",
            when="first",
            script=always(refuses(status, gateway("", "当前分组上游负载已饱和"))),
            items=("cat", "owl"),
            told={ALL_OTHERS: frozenset({("rate_limited", "retry", "no")})},
            # Pauses from half a minute to ten, for the half hour of patience.
            requests=range(5, 14),
            n_attempts=range(5, 14),
            exit_code=5,
            n_pending=2,
            not_before_s=7,
        )
        for status in (429, 503)
    ),
    # No channel is no route to the model.
    *meets(
        78,
        "503 without a channel",
        refuses(503, gateway("model_not_found", "No available channel")),
        GONE,
    ),
    *meets(79, "499", refuses(499, google(499, "CANCELLED")), FAILED_MAYBE),
    # `retries.transport` is 4.
    *meets(80, "500 INTERNAL", refuses(500, google(500, "INTERNAL")), BUSY),
    *meets(81, "500 invalid_request", refuses(500, gateway("invalid_request")), REFUSED),
    *meets(82, "500", refuses(500), FAILED_MAYBE),
    *meets(82, "500 as a page", page(500), FAILED_MAYBE),
    *meets(83, "502", page(502), FAILED_MAYBE),
    *meets(84, "503 UNAVAILABLE", refuses(503, google(503, "UNAVAILABLE", "overloaded")), BUSY),
    *meets(85, "503 RESOURCE_EXHAUSTED", refuses(503, google(503, "RESOURCE_EXHAUSTED")), LIMITED),
    *meets(86, "503 as a page", page(503), FAILED_MAYBE),
    # To everything: sixteen are under way, four more leave before the fifth failure shows that
    # everybody sees it (more where some answers come late: what has not failed yet may come to
    # something), and then one at a time looks for the service. What may have been executed is
    # tried once more all the same, so that a few items may fail.
    *(
        Case(
            row=row,
            what=f"{what} to everything",
            when="at sixteen at once",
            script=fails(OUTAGE, answer),
            items=("dog", *OUTAGE),
            head={"limits": {"concurrency": 16}},
            told={"dog": [DONE], ALL_OTHERS: told},
            requests=range(20, 65),
            n_attempts=range(20, 65),
            n_together=1 + 3 * 16,
            exit_code=5,
            n_pending=n_pending,
        )
        for row, what, answer, told, n_pending in (
            (
                84,
                "503 UNAVAILABLE",
                refuses(503, google(503, "UNAVAILABLE")),
                frozenset({("server_error", "retry", "no")}),
                len(OUTAGE),
            ),
            (
                86,
                "503 as a page",
                page(503),
                frozenset({("server_error", word, "maybe") for word in ("retry", "failed")}),
                range(20, len(OUTAGE) + 1),
            ),
        )
    ),
    Case(
        row=84,
        what="503 UNAVAILABLE to everything",
        when="passing",
        script=lambda asked: (
            refuses(503, google(503, "UNAVAILABLE"))
            if asked.prompt != "dog" and asked.nth == 1
            else draws(asked)
        ),
        items=("dog", *OUTAGE),
        told={"dog": [DONE], **{one: [("server_error", "retry", "no"), DONE] for one in OUTAGE}},
        requests={"dog": 1, **dict.fromkeys(OUTAGE, 2)},
        answered={"dog": 1, **dict.fromkeys(OUTAGE, 2)},
        exit_code=0,
    ),
    *meets(
        87, "504 DEADLINE_EXCEEDED", refuses(504, google(504, "DEADLINE_EXCEEDED")), FAILED_MAYBE
    ),
    *meets(87, "504 of a gateway", page(504), FAILED_MAYBE),
    *meets(88, "520", refuses(520), FAILED_MAYBE),
    *(
        one
        for status in (521, 523, 525, 526, 530)
        for one in meets(89, f"{status}", refuses(status), BUSY)
    ),
    *meets(90, "522", refuses(522), FAILED_MAYBE),
    *meets(91, "524", refuses(524), FAILED_MAYBE),
    *(one for status in (527, 529) for one in meets(92, f"{status}", refuses(status), BUSY)),
    *(
        one
        for what, body in {
            "nothing": b"",
            "words": b"sorry",
            "an empty object": b"{}",
            "an empty list": b"[]",
            "null": b"null",
            "half a document": b'{"error": {"co',
            "bytes": bytes(range(256)),
            "deep nesting": b"[" * 50_000,
            "detail": b'{"detail": "sorry"}',
            "problem+json": b'{"type": "about:blank", "title": "no", "status": 429}',
            "an error that is a list": b'{"error": [1]}',
            "an error that is null": b'{"error": null}',
            "a code as text": b'{"error": {"code": "429", "message": "no"}}',
            "another code": b'{"error": {"code": 400, "message": "no"}}',
            "no code": b'{"error": {"code": "", "message": "no"}}',
            "a type alone": b'{"error": {"type": "server_error"}}',
            "a list of one": b'[{"error": {"code": 500, "message": "no"}}]',
        }.items()
        for one in meets(93, f"500 with {what}", sends(http(500, body)), FAILED_MAYBE)
    ),
    *meets(93, "422 with detail", sends(http(422, b'{"detail": "no"}')), REFUSED),
    *meets(93, "429 with words", sends(http(429, b"slow down")), LIMITED),
    *meets(94, "413 before the end", refuses(413), REFUSED, item=PHOTO, setting=hasty),
    *meets(94, "429 before the end", refuses(429), LIMITED, item=PHOTO, setting=hasty),
    *meets(94, "reset before the end", RESET, LOST, cut=True, item=PHOTO, setting=hasty),
    *(
        Case(
            row=95,
            what=what,
            when="first",
            script=always(answer),
            setting=by_proxy("https://api.invalid"),
            items=("cat", "owl"),
            told={"cat": [("connection", "stop", "no")]},
            requests={"": 1},
            exit_code=7,
            n_pending=2,
        )
        for what, answer in (("407 to CONNECT", refuses(407)), ("403 to CONNECT", refuses(403)))
    ),
    *meets(95, "407", refuses(407), NO_WAY, setting=by_proxy("http://api.invalid")),
    # A proxy that is not there, or cannot connect, is a network that may come back.
    never_reached(
        95, "proxy refuses connections", by_proxy("https://api.invalid", kind=LateServer)
    ),
    never_reached(
        95,
        "502 to CONNECT",
        by_proxy("https://api.invalid"),
        script=always(refuses(502)),
        requests=range(6, 10),
    ),
    *(
        Case(
            row=96,
            what=what,
            when="passing",
            script=draws,
            setting=setting,
            told={"cat": [UNREACHED] * 3 + [DONE]},
            requests={"cat": 1},
            answered={"cat": 1},
            exit_code=0,
        )
        for what, setting in {
            "network unreachable": network_says(*[errno.ENETUNREACH] * 3),
            "network down": network_says(*[errno.ENETDOWN] * 3),
            "no memory": network_says(*[errno.ENOMEM] * 3),
            "too many files": no_more_files,
        }.items()
    ),
    # As long as the job's patience lasts, not without an end.
    never_reached(96, "network down", network_says(errno.ENETDOWN, for_ever=True)),
]


# --- and whether it does --------------------------------------------------------------------------


def test_each_row_of_the_matrix_has_a_case() -> None:
    assert sorted({case.row for case in MATRIX}) == list(range(1, N_ROWS + 1))
    names = [case.name for case in MATRIX]
    assert len(names) == len(set(names))


def params(cases: Iterable[Case]) -> list[Any]:
    return [
        pytest.param(case, id=case.name, marks=needs_openssl if case.needs_openssl else ())
        for case in cases
    ]


@pytest.mark.parametrize("case", params(MATRIX))
async def test_what_a_fault_costs_and_leaves(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = QuickTime()
    arrivals: list[tuple[Asked, float]] = []

    def script(asked: Asked) -> Answer:
        arrivals.append((asked, quick.monotonic_s()))
        return case.script(asked)

    with case.setting(script, tmp_path, monkeypatch) as place:
        job = write_job(tmp_path / "job.jsonl", case.items, **{**case.head, **place.head})
        where = place.server.url if place.url is None else place.url
        ran = await run_job(job, where, quick=quick, **place.options)
        await asyncio.to_thread(_written, place.server, case)
    assert ran.exit_code == case.exit_code, ran.told
    check(case, place.server, ran.directory)
    for (earlier, at_s), (_, next_s) in itertools.pairwise(arrivals):
        if case.when == "first" or (earlier.prompt, earlier.nth) == ("cat", 1):
            assert next_s - at_s >= case.not_before_s
    if case.n_together is not None:
        # When they left, by the run's clock: on a busy machine some arrive late. The last pause
        # ends with the run's patience, however short it is then.
        left = sorted(datetime.fromisoformat(a["at"]) for a in ledgers.attempts(ran.directory))
        pauses_s = [(later - one).total_seconds() for one, later in itertools.pairwise(left)]
        n_probes = sum(1 for _ in itertools.takewhile(lambda s: s >= 1, pauses_s[-2::-1]))
        assert len(left) - 1 - n_probes <= case.n_together
        assert n_probes > 2


# One for each code that the matrix ends with.
COMMANDS = {
    "16 whole, but chunks without an end, taken": 0,
    "43 IMAGE_SAFETY, later": 4,
    "72 413, first": 4,
    "75 429 with more than the run's patience, first": 5,
    "28 a web page, later": 7,
    "66 401, first": 7,
    "64 400, to all": 7,
    "05 plain HTTP instead of TLS, first": 7,
}


@pytest.mark.parametrize("case", params(case for case in MATRIX if case.name in COMMANDS))
def test_the_command_ends_with_its_code(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with case.setting(case.script, tmp_path, monkeypatch) as place:
        job = write_job(tmp_path / "job.jsonl", case.items, **{**case.head, **place.head})
        where = ("-o", tmp_path / "output", "--base-url", place.url or place.server.url)
        done = commands.batchgen("run", job, *where, COMETAPI_KEY=KEY)
        _written(place.server, case)
    assert done.code == case.exit_code == COMMANDS[case.name], done.err
    assert "Traceback" not in done.err
    ledgers.check_directory(tmp_path / "output/job")
    check(case, place.server, tmp_path / "output/job")


def test_the_commands_reach_every_exit_code_of_the_matrix() -> None:
    assert {case.exit_code for case in MATRIX} == set(COMMANDS.values()) == {0, 4, 5, 7}


def check(case: Case, server: FaultServer, directory: Path) -> None:
    """What the server counted, what the ledger says, and what lies in the directory."""
    if isinstance(case.requests, range):
        assert server.n_requests in case.requests
    else:
        assert server.requests == case.requests
    if case.answered is not None:
        assert server.answered == case.answered
    if case.n_connections is not None:
        assert server.n_connections == case.n_connections
    attempts = ledgers.attempts(directory)
    told = [(a["item"], (a["outcome"], a["decision"], a["billed"])) for a in attempts]
    of_item: dict[str, list[Told]] = {}
    for item, one in told:
        of_item.setdefault(item, []).append(one)
    if isinstance(every := case.told.get(ALL_OTHERS), frozenset):
        others = [of_item.pop(item) for item in sorted(of_item.keys() - case.told.keys())]
        assert set(itertools.chain(*others)) <= every
        assert sum(map(len, others)) in case.n_attempts
    assert of_item == {item: one for item, one in case.told.items() if item != ALL_OTHERS}
    n_pending = ledgers.summary(directory)["items"]["pending"]
    assert n_pending in (case.n_pending if isinstance(case.n_pending, range) else [case.n_pending])
    for item, path in ledgers.pictures(directory).items():
        drawn = png(f"{item} {server.requests[item]}")
        assert path.read_bytes() in (PICTURE, drawn), f"{path} is not what was sent last"
    check_files(directory, case.n_kept)


def check_files(directory: Path, n_kept: int) -> None:
    """Nothing lies there but what a run writes, and what it told of."""
    results, [run_id] = ledgers.results(directory), [p.stem for p in directory.glob("runs/*")]
    told = [image for attempt in ledgers.attempts(directory) for image in attempt["images"]]
    kept = [image["path"] for image in told if image["role"] == "quarantine"]
    assert len(kept) == len(set(kept)) == n_kept
    expected = {
        *("items.jsonl", "results.jsonl", "summary.json", "summary.md", "report.html", ".lock"),
        *(f"ledger/{run_id}.jsonl", f"runs/{run_id}.json"),
        *kept,
        *(image["path"] for one in results.values() for image in one["images"]),
        *(f"text/{one['id']}.txt" for one in results.values() if one["text"]),
    }
    is_done = all(one["status"] == "done" for one in results.values())
    expected.add(".seal" if is_done else "failed.jsonl")
    found = {p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()}
    assert found == expected
    assert not [path for path in found if KEY.encode() in (directory / path).read_bytes()]


def _written(server: FaultServer, case: Case) -> None:
    """The server counts what it has written once it has: a moment after it was read."""
    n, waited = sum((case.answered or {}).values()), threading.Event()
    for _ in range(200):
        if server.answered.total() >= n:
            return
        waited.wait(0.01)
