"""An object store that speaks S3, in a process of its own, and what may go wrong on the way to it.

What lies there is looked at with the official client. Between a command and the store stands a
server that notes every request, and may refuse it, lose its answer, or keep it waiting.
"""

import contextlib
import http.client
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias
from urllib.parse import unquote, urlsplit

import boto3

HOST = "127.0.0.1"
SECRET = "a-secret-of-the-store-9f3c"
ACCESS_KEY = "AKIATESTSOFBATCHGEN0"
Fault: TypeAlias = Literal["slow down", "forbidden", "hang", "lost", "reset", "cut", "killed"]
_LONG_S = 3600.0


@dataclass(frozen=True)
class Request:
    """One request to the store; `path` has the bucket first."""

    method: str
    path: str
    query: str
    n_bytes: int


# Says what goes wrong with a request, if anything does; may do something itself meanwhile.
Script: TypeAlias = Callable[[Request], Fault | None]


@dataclass
class ObjectStore:
    """A store that is running. A bucket of its own is made for each test."""

    url: str
    _n_buckets: int = 0

    @property
    def client(self) -> Any:
        """The official client."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )

    def bucket(self) -> "OneBucket":
        """Make another bucket."""
        self._n_buckets += 1
        name = f"pictures-{self._n_buckets}"
        self.client.create_bucket(Bucket=name)
        return OneBucket(self, name)


@dataclass
class OneBucket:
    """A bucket, as the official client sees it."""

    store: ObjectStore
    name: str

    @property
    def address(self) -> str:
        return f"s3://{self.name}"

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """All that lies there, by key."""
        return {key: self.read(key) for key in self.names(prefix)}

    def names(self, prefix: str = "") -> list[str]:
        client = self.store.client
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", ())]

    def read(self, key: str) -> bytes:
        got = self.store.client.get_object(Bucket=self.name, Key=key)
        data: bytes = got["Body"].read()
        return data

    def put(self, key: str, data: bytes) -> None:
        self.store.client.put_object(Bucket=self.name, Key=key, Body=data)

    def delete(self, key: str) -> None:
        self.store.client.delete_object(Bucket=self.name, Key=key)

    def download(self, prefix: str, into: Path) -> Path:
        """Have all that lies there on disk, to look at it like at any directory."""
        for key, data in self.objects(prefix).items():
            path = into / key.removeprefix(prefix).lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return into


def mirror_on(machine: Path, bucket: "OneBucket", place: str) -> Path:
    """The mirror of a place in a bucket, whatever way leads there; there is one on a machine."""
    found = list(machine.glob(f"batchgen/mirror/s3-*/{bucket.name}/{place}"))
    assert len(found) <= 1
    return found[0] if found else machine / "no-mirror"


def environment_of(machine: Path, url: str) -> dict[str, str]:
    """What a command needs to speak to a store, on a machine whose disk is this directory.

    The address of a metadata service is a closed port here: nobody is asked for a key.
    """
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
        "AWS_METADATA_ENDPOINT": f"http://{HOST}:9",
        "NO_PROXY": HOST,
        "XDG_STATE_HOME": str(machine),
        "HOME": str(machine),
    }


@contextlib.contextmanager
def object_store() -> Iterator[ObjectStore]:
    """Start a store on a free port and wait until it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", HOST, "-p", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    drain = threading.Thread(target=process.stderr.read, daemon=True)
    try:
        for line in process.stderr:
            if "Running on http://" in line:
                drain.start()  # a line for each request, which would fill the pipe
                yield ObjectStore(line.partition("Running on ")[2].split()[0])
                break
        else:
            raise AssertionError("the store did not start")
    finally:
        process.kill()
        process.wait(10)
        drain.join(10)
        process.stderr.close()


class _Handler(BaseHTTPRequestHandler):
    """Passes one request on, unless something goes wrong with it."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def _any(self) -> None:
        between = self.server.between
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path, _, query = self.path.partition("?")
        request = Request(self.command, unquote(path).lstrip("/"), query, len(body))
        between.log.append(request)
        fault = between.script(request)
        if fault == "hang":
            between.released.wait(_LONG_S)
        if fault in {"hang", "reset"}:
            self.close_connection = True
        elif fault in {"slow down", "forbidden"}:
            self._refuse(fault)
        else:
            self._pass_on(body, fault)

    def _pass_on(self, body: bytes, fault: Fault | None) -> None:
        upstream = urlsplit(self.server.between.store.url)
        asked = http.client.HTTPConnection(upstream.hostname or HOST, upstream.port)
        left_out = {"connection"}
        if self.server.between.takes_all:
            left_out |= {"if-match", "if-none-match"}
        headers = {k: v for k, v in self.headers.items() if k.lower() not in left_out}
        asked.request(self.command, self.path, body, headers)
        answer = asked.getresponse()
        data = answer.read()
        if fault in {"lost", "killed"}:
            self.close_connection = True
            if fault == "killed":
                self.server.between.when_done()
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "content-length", "transfer-encoding"}:
                self.send_header(name, value)
        is_head = self.command == "HEAD"
        told = answer.getheader("content-length") if is_head else str(len(data))
        self.send_header("content-length", told or "0")
        self.end_headers()
        if fault == "cut":
            data, self.close_connection = data[: len(data) // 2], True
        if not is_head:
            self.wfile.write(data)

    def _refuse(self, fault: Fault | None) -> None:
        status, code = (503, "SlowDown") if fault == "slow down" else (403, "AccessDenied")
        text = f"<Error><Code>{code}</Code><Message>{fault}</Message></Error>".encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any  # noqa: N815 - as they are called

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, between: "Between") -> None:
        super().__init__((HOST, between.port), _Handler)
        self.between = between

    def handle_error(self, *_: object) -> None:
        """A client was killed."""


def nothing(_request: Request) -> Fault | None:
    return None


@dataclass
class Between:
    """Stands between a command and a store, while entered; `log` is what came, in order.

    With `takes_all` no write depends on anything, as in stores that know no conditions. What is to
    be killed is, by `when_done`, when the store has done what it was asked for.
    """

    store: ObjectStore
    script: Script = nothing
    takes_all: bool = False
    when_done: Callable[[], object] = bool
    log: list[Request] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    def __enter__(self) -> Self:
        self._server = _Server(self)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def asked(self, method: str, part: str) -> list[Request]:
        """The requests of a method whose path holds a word."""
        return [one for one in self.log if one.method == method and part in one.path]
