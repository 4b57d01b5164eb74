"""A server that does what its script says, byte by byte, and counts what it did.

Raw sockets and threads on loopback, and nothing of the product: its own counts of requests
received and of answers completely written are the oracle of the fault tests.

    with FaultServer(once(BROKEN)) as server:
        ...
        server.requests["a cat"]
"""

import base64
import hashlib
import json
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cache
from io import BytesIO
from typing import Any, Self, TypeAlias

from PIL import Image

HOST = "127.0.0.1"
# 20 x 2.00 + (110 + 200) x 12.00 + 1120 x 120 micro-dollars on gemini-3-pro-image: $0.138160.
USAGE = {
    "promptTokenCount": 20,
    "candidatesTokenCount": 1230,
    "totalTokenCount": 1450,
    "thoughtsTokenCount": 200,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 20}],
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
}
_RECEIVE_BYTES = 1 << 18


class End(Enum):
    """How an exchange ended, and what becomes of the connection."""

    WHOLE = auto()  # completely answered, and kept open
    CLOSED = auto()  # completely answered, and closed
    BROKEN = auto()  # not answered, or not to the end; closed
    RESET = auto()  # the same, with an RST


@dataclass(frozen=True)
class Asked:
    """One request as it was received; `nth` counts from 1 for each prompt."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    prompt: str
    nth: int


Answer: TypeAlias = Callable[[socket.socket], End]
Script: TypeAlias = Callable[[Asked], Answer]


@dataclass
class FaultServer:
    """Listens on loopback while entered. A thread a connection; keep-alive where answers allow.

    `requests` and `answered` count by prompt; `log` holds what was received, in order.
    """

    script: Script
    tls: ssl.SSLContext | None = None
    requests: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    log: list[Asked] = field(default_factory=list)
    n_connections: int = 0
    n_in_flight: int = 0
    peak_in_flight: int = 0
    crashes: list[BaseException] = field(default_factory=list)
    host: str = HOST

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = socket.create_server((self.host, 0), family=family, backlog=512)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            _hang_up(connection)
        assert not self.crashes, self.crashes

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{HOST}:{self.port}"

    @property
    def n_requests(self) -> int:
        return self.requests.total()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.n_connections += 1
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        raw = connection
        try:
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            while self._exchange(connection):
                pass
        except OSError:
            pass  # the client has gone, or would not shake hands
        except BaseException as crash:  # noqa: BLE001 - told when the server is left
            self.crashes.append(crash)
        finally:
            with self._lock:
                self._open.discard(raw)
            connection.close()

    def _exchange(self, connection: socket.socket) -> bool:
        """Take one request and answer it; whether there may be another."""
        received = _receive(connection)
        if received is None:
            return False
        asked = self._count(*received)
        try:
            answer = self.script(asked)
        finally:
            with self._lock:  # before the answer: a client may ask again as soon as it has it
                self.n_in_flight -= 1
        end = answer(connection)
        if end in {End.WHOLE, End.CLOSED}:
            with self._lock:
                self.answered[asked.prompt] += 1
        if end is End.RESET:
            _resets(connection)
        elif end is not End.WHOLE:
            _hang_up(connection)
        return end is End.WHOLE

    def _count(self, head: bytes, body: bytes) -> Asked:
        first, headers = _parse(head)
        method, target, _ = first.split(" ", 2)
        prompt = _prompt(body)
        with self._lock:
            self.requests[prompt] += 1
            self.n_in_flight += 1
            self.peak_in_flight = max(self.peak_in_flight, self.n_in_flight)
            asked = Asked(method, target, headers, body, prompt, self.requests[prompt])
            self.log.append(asked)
        return asked


class HastyServer(FaultServer):
    """Answers at the first bytes, whatever they are, and closes without having read the rest."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(lambda _: answer)
        self._answer = answer

    def _exchange(self, connection: socket.socket) -> bool:
        connection.recv(1000)
        self._answer(connection)
        return False


class IdleClosingServer(FaultServer):
    """Answers once on each connection, keeps it open, and drops it when the next request comes.

    `drop` is what it does with that connection then, after the first bytes of the request;
    `requests` and `log` lack what was dropped, as nobody has read it.
    """

    def __init__(self, drop: Answer, script: Script | None = None, **kept: Any) -> None:
        super().__init__(script or draws, **kept)
        self.n_dropped = 0
        self._drop = drop
        self._used: set[socket.socket] = set()

    def _exchange(self, connection: socket.socket) -> bool:
        if connection not in self._used:
            self._used.add(connection)
            return super()._exchange(connection)
        if not connection.recv(10):
            return False  # the client has closed it
        with self._lock:
            self.n_dropped += 1
        if self._drop(connection) is End.RESET:
            _resets(connection)
        else:
            # To its end, for a socket that is closed with something unread is reset.
            _hang_up_kindly(connection)
        return False


def _receive(connection: socket.socket) -> tuple[bytes, bytes] | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(_RECEIVE_BYTES)
        if not piece:
            return None
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    length = int(_parse(head)[1].get("content-length", "0"))
    pieces, n_bytes = [rest], len(rest)
    while n_bytes < length:
        piece = connection.recv(_RECEIVE_BYTES)
        if not piece:
            return None
        pieces.append(piece)
        n_bytes += len(piece)
    return head, b"".join(pieces)


def _parse(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, {name.strip().lower(): value.strip() for name, _, value in pairs}


def _prompt(body: bytes) -> str:
    try:
        parts = json.loads(body)["contents"][0]["parts"]
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
    return next((str(part["text"]) for part in parts if "text" in part), "")


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _hang_up_kindly(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(_RECEIVE_BYTES):
        pass


def _resets(connection: socket.socket) -> None:
    """Whatever closes it will send an RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# --- answers: what is written to the connection ------------------------------------------------


def sends(*pieces: bytes, end: End = End.WHOLE) -> Answer:
    """Write the pieces as they are, then end so."""

    def answer(connection: socket.socket) -> End:
        for piece in pieces:
            connection.sendall(piece)
        return end

    return answer


def stalls(*pieces: bytes) -> Answer:
    """Write the pieces, then nothing more until the client gives up."""

    def answer(connection: socket.socket) -> End:
        for piece in pieces:
            connection.sendall(piece)
        while connection.recv(_RECEIVE_BYTES):
            pass
        return End.BROKEN

    return answer


def drips(pieces: Iterable[bytes], pause_s: float) -> Answer:
    """Write one piece after the other, slowly; what is tested is time itself."""

    def answer(connection: socket.socket) -> End:
        for piece in pieces:
            connection.sendall(piece)
            threading.Event().wait(pause_s)
        return End.CLOSED

    return answer


def waits_for(released: threading.Event, then: Answer) -> Answer:
    """Answer when the test says so."""

    def answer(connection: socket.socket) -> End:
        assert released.wait(30)
        return then(connection)

    return answer


BROKEN: Answer = sends(end=End.BROKEN)
RESET: Answer = sends(end=End.RESET)


def http(
    status: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    length: int | None = None,
    content_type: str = "application/json",
) -> bytes:
    """A response of known length."""
    told = {
        "Content-Type": content_type,
        "Content-Length": str(len(body) if length is None else length),
        **(headers or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode("latin-1") + body


def chunked(body: bytes, *, terminated: bool = True) -> bytes:
    """A response in chunks, with or without the last one."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = (body[at : at + 5000] for at in range(0, len(body), 5000))
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + framed + (b"0\r\n\r\n" if terminated else b"")


def whole(document: object, **headers: str) -> Answer:
    """A 200 with this document."""
    return sends(http(200, json.dumps(document).encode(), headers))


def refuses(status: int, document: object = None, **headers: str) -> Answer:
    """An error with this body; underscores in header names are dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return sends(http(status, b"" if document is None else json.dumps(document).encode(), named))


# --- documents: what a generateContent answer says ---------------------------------------------


@cache
def png(name: str, edge_px: int = 64) -> bytes:
    """A picture of its own for every name; about 12 kB of noise."""
    seed = hashlib.sha256(name.encode()).digest()
    noise = hashlib.shake_256(seed).digest(3 * edge_px * edge_px)
    buffer = BytesIO()
    Image.frombytes("RGB", (edge_px, edge_px), noise).save(buffer, "PNG")
    return buffer.getvalue()


def image_part(data: bytes, mime: str = "image/png", **beside: object) -> dict[str, Any]:
    """A part with a picture."""
    return {"inlineData": {"mimeType": mime, "data": base64.b64encode(data).decode()}, **beside}


def document(
    *parts: object,
    finish_reason: str | None = "STOP",
    usage: object = USAGE,
    **members: object,
) -> dict[str, Any]:
    """An answer with these parts."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish_reason is not None:
        candidate["finishReason"] = finish_reason
    said: dict[str, Any] = {"candidates": [candidate], "responseId": "rsp-1", **members}
    if usage is not None:
        said["usageMetadata"] = usage
    return said


def picture_of(asked: Asked) -> dict[str, Any]:
    """The answer that a client hopes for; the picture tells prompt and count."""
    return document(image_part(png(f"{asked.prompt} {asked.nth}")))


def draws(asked: Asked) -> Answer:
    """The script of a server without faults."""
    return whole(picture_of(asked))


def once(fault: Answer) -> Script:
    """The script of a server that fails at the first request for each prompt."""
    return lambda asked: fault if asked.nth == 1 else draws(asked)


def closed_port() -> socket.socket:
    """A port that refuses every connection for as long as the socket is kept."""
    bound = socket.socket()
    bound.bind((HOST, 0))
    return bound
