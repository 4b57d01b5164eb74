"""References by address: what is fetched, what is refused, and what is never sent along."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import socket
import ssl
import subprocess
import tracemalloc
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from PIL import Image

from batchgen import Runner
from batchgen.errors import StoreError
from batchgen.model import Reference, ReferenceFile
from batchgen.preview import preview
from batchgen.references import (
    ReferenceLibrary,
    UnusableReferenceError,
    check_url,
    is_public,
    shown_url,
)
from batchgen.references.fetch import Fetcher, FetchLimits
from tests import servers
from tests.runs import KEY, run_job, write_job
from tests.servers import Answer, Asked, FaultServer, chunked, drips, http, sends, stalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="no openssl to make a certificate with")

PICTURE = servers.png("a reference")
OTHER = servers.png("another one")
LIMITS = FetchLimits(total_s=5, connect_s=2, idle_s=0.3, max_bytes=len(PICTURE) + 1000)
PRIVATE = "which is not a public address; download the file and name its path"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of our own for loopback and two names, with its key, in one file."""
    assert OPENSSL is not None
    directory = tmp_path_factory.mktemp("ca")
    pem, key = directory / "ca.pem", directory / "ca.key"
    command = [OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=pictures.test", "-addext"]
    command += ["subjectAltName=IP:127.0.0.1,DNS:pictures.test,DNS:elsewhere.test"]
    command += ["-keyout", str(key), "-out", str(pem)]
    subprocess.run(command, check=True, capture_output=True)
    pem.write_bytes(pem.read_bytes() + key.read_bytes())
    return pem


@dataclass
class Names(AbstractResolver):
    """A resolver that knows what it is told, and counts what it is asked.

    Each name has the addresses that it resolves to the first time, the second time and so on.
    """

    known: dict[str, list[str]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked[host] += 1
        answers = self.known.get(host)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        address = answers[min(self.asked[host], len(answers)) - 1]
        return [
            ResolveResult(hostname=host, host=one, port=port, family=family, proto=0, flags=0)
            for one in address.split()
        ]

    async def close(self) -> None:
        pass


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()] if directory.exists() else []


def on_loopback(address: str) -> bool:
    """The policy of these tests: the server's own address, and what is public anyway."""
    return address == servers.HOST or is_public(address)


@dataclass
class Fetched:
    """A library that fetches from the servers of a test, and how long it was told to wait."""

    directory: Path
    pem: Path
    names: Names = field(default_factory=Names)
    limits: FetchLimits = LIMITS
    policy: Callable[[str], bool] = on_loopback
    trusts: bool = True
    waits_s: list[float] = field(default_factory=list)

    async def _sleep(self, delay_s: float) -> None:
        self.waits_s.append(delay_s)

    def _fetcher(self, directory: Path) -> Fetcher:
        return Fetcher(
            directory,
            limits=self.limits,
            is_public=self.policy,
            tls=ssl.create_default_context(cafile=str(self.pem) if self.trusts else None),
            resolver=self.names,
            sleep=self._sleep,
        )

    async def library(self, *urls: str) -> ReferenceLibrary:
        library = ReferenceLibrary(self.directory, fetcher=self._fetcher)
        await library.fetch(urls)
        return library

    async def file(self, url: str) -> ReferenceFile:
        return await (await self.library(url)).sendable(Reference(url=url))

    async def refusal(self, url: str) -> str:
        """Why a URL cannot be used; that nothing of it is kept is checked on the way."""
        library = await self.library(url)
        reference = Reference(url=url)
        assert library.fetched(reference, 100) is reference
        with pytest.raises(UnusableReferenceError) as caught:
            await library.sendable(reference)
        assert not [name for name in names_in(self.directory) if "draft" in name]
        return str(caught.value)


@pytest.fixture
def fetched(tmp_path: Path, pem: Path) -> Fetched:
    return Fetched(tmp_path / ".references", pem)


@pytest.fixture
def server(pem: Path) -> Iterator[Callable[[Callable[[Asked], Answer]], FaultServer]]:
    """Starts servers that end with the test."""
    running: list[FaultServer] = []

    def start(script: Callable[[Asked], Answer]) -> FaultServer:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pem)
        running.append(FaultServer(script, tls=tls).__enter__())
        return running[-1]

    yield start
    for one in running:
        one.__exit__(None, None, None)


def gives(data: bytes = PICTURE, /, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return sends(http(200, data, named, content_type="image/png"))


def redirects(target: str, status: int = 302) -> Answer:
    return sends(http(status, b"", {"Location": target}))


# --- in a run -----------------------------------------------------------------------------------


async def test_a_run_fetches_each_address_once_and_sends_its_bytes_without_the_key(
    fetched: Fetched, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried: Any
) -> None:
    monkeypatch.setattr(Runner, "_fetcher", lambda _, directory: fetched._fetcher(directory))
    fetched.names.known["pictures.test"] = [servers.HOST]
    pictures = server(lambda _: gives(ETag='"1"'))
    port = pictures.url.rpartition(":")[2]
    url = f"https://pictures.test:{port}/a.png?signature=secret"
    gone = f"https://pictures.test:{closed_port_of(port)}/b.png"
    job = write_job(
        tmp_path / "job.jsonl",
        [
            {"id": "one", "prompt": "one", "references": [{"url": url, "label": "A:"}]},
            {"id": "two", "prompt": "two", "references": [url]},
            {"id": "three", "prompt": "three", "references": [gone]},
        ],
    )
    with FaultServer(servers.draws) as service:
        first = await run_job(job, service)
        again = await run_job(job, service)
    assert (first.exit_code, again.exit_code) == (4, 4)
    assert (len(pictures.log), service.n_requests) == (2, 2)
    assert all(KEY not in str(asked.headers) for asked in pictures.log)
    for asked in service.log:
        *_, image = json.loads(asked.body)["contents"][0]["parts"]
        assert base64.b64decode(image["inlineData"]["data"]) == PICTURE
    outcomes = {line["item"]: line["outcome"] for line in first.attempts}
    assert outcomes == {"one": "image", "two": "image", "three": "missing_reference"}
    written = "".join(
        path.read_text("utf-8") for path in first.directory.glob("ledger/*") if path.is_file()
    )
    assert "secret" not in written
    tried("P34", len(pictures.log), "requests for references")


async def test_another_picture_at_the_same_address_makes_its_items_anew(
    fetched: Fetched, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runner, "_fetcher", lambda _, directory: fetched._fetcher(directory))
    fetched.names.known["pictures.test"] = [servers.HOST]
    shown = [PICTURE]
    pictures = server(lambda _: gives(shown[0]))
    url = f"https://pictures.test:{pictures.url.rpartition(':')[2]}/a.png"
    job = write_job(
        tmp_path / "job.jsonl",
        [{"id": "one", "prompt": "one", "references": [url]}, "two"],
    )
    with FaultServer(servers.draws) as service:
        await run_job(job, service)
        shown[0] = OTHER
        await run_job(job, service)
    assert [asked.prompt for asked in service.log].count("one") == 2
    assert [asked.prompt for asked in service.log].count("two") == 1


async def test_a_plan_asks_no_address_and_says_what_was_never_fetched(
    fetched: Fetched, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runner, "_fetcher", lambda _, directory: fetched._fetcher(directory))
    fetched.names.known["pictures.test"] = [servers.HOST]
    pictures = server(lambda _: gives())
    address = f"https://pictures.test:{pictures.url.rpartition(':')[2]}"
    items = [{"id": one, "prompt": one, "references": [f"{address}/{one}"]} for one in "ab"]
    job = write_job(tmp_path / "job.jsonl", items[:1])
    with FaultServer(servers.draws) as service:
        ran = await run_job(job, service)
    write_job(job, items)

    def fates() -> dict[str, list[str]]:
        told = preview(job, warn=print, output=job.parent / "output")
        assert told.n_addresses == 2
        return {fate: one.ids for fate, one in {**told.to_make, **told.left_alone}.items()}

    assert fates() == {"unfetched": ["b"], "done": ["a"]}
    shutil.rmtree(ran.directory / ".references")
    assert fates() == {"unfetched": ["a", "b"]}
    assert not (ran.directory / ".references").exists()
    assert (len(pictures.log), fetched.names.asked) == (1, {"pictures.test": 1})


def closed_port_of(port: str) -> int:
    """A port on which nobody listens, and which is another one."""
    with servers.closed_port() as closed:
        number = int(closed.getsockname()[1])
    assert str(number) != port
    return number


# --- what is fetched ----------------------------------------------------------------------------


async def test_a_picture_is_fetched_once_and_kept_under_its_digest(
    fetched: Fetched, server: Any
) -> None:
    one = server(lambda _: gives())
    url = f"{one.url}/a.png?signature=secret"
    library = await fetched.library(url, url)
    await library.fetch([url])
    file = await library.sendable(Reference(url=url))
    digest = sha256(PICTURE).hexdigest()
    assert (file.sha256, file.mime, file.size_bytes) == (digest, "image/png", len(PICTURE))
    assert file.path == str(fetched.directory / f"{digest}.png")
    assert one.n_requests == 1
    assert library.fetched(Reference(url=url, label="A:"), None) == Reference(
        url=url, label="A:", sha256=digest
    )
    for path in fetched.directory.iterdir():
        assert b"secret" not in path.read_bytes()
        assert "secret" not in path.name


async def test_nothing_but_the_request_is_sent(
    fetched: Fetched, server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tried: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"default login me password {KEY}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    cookie = {"Set-Cookie": "a=b; Path=/; Secure"}

    def script(asked: Asked) -> Answer:
        if asked.target == "/a":
            return sends(http(302, b"", {"Location": "/b", **cookie}))
        return sends(http(200, PICTURE, cookie))

    one = server(script)
    await fetched.file(f"{one.url}/a")
    await fetched.file(f"{one.url}/a")
    assert [asked.target for asked in one.log] == ["/a", "/b"] * 2
    check_bare(one.log)
    tried("P34", len(one.log), "requests for references")


def check_bare(log: list[Asked]) -> None:
    """Requests that say nothing but what they want: no key, no cookie, no address before."""
    for asked in log:
        assert asked.method == "GET"
        assert asked.body == b""
        assert set(asked.headers) == {"host", "user-agent", "accept", "accept-encoding"}
        assert asked.headers["user-agent"].startswith("batchgen/")
        assert asked.headers["accept-encoding"] == "identity"
        assert KEY not in str(asked)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_to_other_servers(
    fetched: Fetched, server: Any, status: int, tried: Any
) -> None:
    two = server(lambda _: gives())
    fetched.names.known = {"elsewhere.test": ["127.0.0.1"]}
    one = server(lambda _: redirects(f"https://elsewhere.test:{two.port}/b?x=1", status))
    assert (await fetched.file(f"{one.url}/a")).size_bytes == len(PICTURE)
    assert two.log[0].target == "/b?x=1"
    check_bare(one.log + two.log)
    tried("P34", 2, "requests for references")


async def test_a_body_of_unknown_length_is_fetched(fetched: Fetched, server: Any) -> None:
    one = server(lambda _: sends(chunked(PICTURE)))
    assert (await fetched.file(one.url)).sha256 == sha256(PICTURE).hexdigest()


async def test_the_bytes_decide_not_what_the_server_calls_them(
    fetched: Fetched, server: Any
) -> None:
    one = server(lambda _: sends(http(200, PICTURE, content_type="text/html")))
    assert (await fetched.file(f"{one.url}/a.jpg")).mime == "image/png"


async def test_many_are_fetched_a_few_at_a_time(fetched: Fetched, server: Any) -> None:
    def picture(asked: Asked) -> Answer:
        return gives(servers.png(asked.target))

    fetched.limits = FetchLimits()
    one = server(picture)
    urls = [f"{one.url}/{n}" for n in range(60)]
    library = await fetched.library(*urls)
    digests = {library.fetched(Reference(url=url), None).sha256 for url in urls}
    assert digests == {sha256(servers.png(f"/{n}")).hexdigest() for n in range(60)}
    assert one.n_requests == 60
    assert one.peak_in_flight <= 8


async def test_two_urls_with_the_same_bytes_are_one_file(fetched: Fetched, server: Any) -> None:
    one = server(lambda _: gives())
    urls = [f"{one.url}/{n}" for n in range(20)]
    library = await fetched.library(*urls)
    files = [await library.sendable(Reference(url=url)) for url in urls]
    assert len({(file.path, file.inode, file.mtime_ns) for file in files}) == 1


async def test_a_fetched_picture_is_scaled_down(fetched: Fetched, server: Any) -> None:
    one = server(lambda _: gives())
    library = await fetched.library(one.url)
    known = library.fetched(Reference(url=one.url), 32)
    assert known.max_px == 32
    copy = await library.sendable(known)
    with Image.open(copy.path) as image:
        assert image.size == (32, 32)
    assert library.fetched(Reference(url=one.url), 64).max_px is None  # it is no larger than that


async def test_a_fetched_heic_that_should_be_smaller_says_so_when_it_is_sent(
    fetched: Fetched, server: Any
) -> None:
    one = server(lambda _: gives(b"\x00\x00\x00\x18ftypheic" + bytes(100)))
    library = await fetched.library(one.url)
    known = library.fetched(Reference(url=one.url), 32)
    assert (known.sha256 is None, known.max_px) == (False, 32)
    with pytest.raises(UnusableReferenceError, match="convert it"):
        await library.sendable(known)
    assert (await library.sendable(Reference(url=one.url))).mime == "image/heic"


async def test_a_body_is_never_held_whole(fetched: Fetched, server: Any) -> None:
    data = PICTURE + bytes(60 << 20)
    whole = gives(data)
    fetched.limits = FetchLimits()
    one = server(lambda _: whole)
    tracemalloc.start()
    try:
        assert (await fetched.file(one.url)).size_bytes == len(data)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 12 << 20


# --- what a later run does ----------------------------------------------------------------------


async def test_an_unchanged_picture_is_not_sent_again(fetched: Fetched, server: Any) -> None:
    stamps = {"ETag": '"one"', "Last-Modified": "Sat, 21 Nov 2026 03:00:00 GMT"}

    def script(asked: Asked) -> Answer:
        if asked.headers.get("if-none-match") == '"one"':
            return sends(http(304, b"", stamps))
        return sends(http(200, PICTURE, stamps))

    one = server(script)
    first = await fetched.file(one.url)
    assert await fetched.file(one.url) == first
    assert one.n_requests == 2
    assert one.log[1].headers["if-modified-since"] == stamps["Last-Modified"]


async def test_changed_bytes_are_another_file(fetched: Fetched, server: Any) -> None:
    data = [PICTURE, OTHER, OTHER]
    one = server(lambda asked: gives(data[asked.nth - 1], ETag=f'"{asked.nth}"'))
    first, second, third = [await fetched.file(one.url) for _ in data]
    assert first.sha256 == sha256(PICTURE).hexdigest()
    assert second.sha256 == sha256(OTHER).hexdigest()
    assert third == second  # 200 with the same bytes: the same file, not written again
    assert [asked.headers.get("if-none-match") for asked in one.log] == [None, '"1"', '"2"']


def overwritten(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)


def with_two_headers(path: Path) -> None:
    record = json.loads(path.read_bytes())
    path.write_text(json.dumps({**record, "etag": "a\r\nCookie: b"}))


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        ("*.png", lambda path: path.unlink()),
        ("*.png", lambda path: os.truncate(path, 1000)),
        ("*.png", overwritten),
        ("*.json", lambda path: path.unlink()),
        ("*.json", lambda path: path.write_text('{"sha256": "../../etc/passwd"')),
        ("*.json", lambda path: path.write_text("[1]")),
        ("*.json", with_two_headers),
    ],
)
async def test_a_damaged_cache_is_not_asked_about(
    fetched: Fetched, server: Any, pattern: str, damage: Callable[[Path], object]
) -> None:
    one = server(lambda _: gives(ETag='"one"'))
    await fetched.file(one.url)
    (path,) = fetched.directory.glob(pattern)
    damage(path)
    file = await fetched.file(one.url)
    assert "if-none-match" not in one.log[1].headers
    assert file.sha256 == sha256(PICTURE).hexdigest()


async def test_validators_are_told_to_nobody_but_the_url_that_gave_them(
    fetched: Fetched, server: Any
) -> None:
    two = server(lambda _: gives(ETag='"same"'))
    three = server(
        lambda _: sends(http(304, b"")) if _.headers.get("if-none-match") else gives(OTHER)
    )
    one = server(lambda asked: redirects(f"{(two if asked.nth == 1 else three).url}/"))
    assert (await fetched.file(one.url)).sha256 == sha256(PICTURE).hexdigest()
    assert (await fetched.file(one.url)).sha256 == sha256(OTHER).hexdigest()
    assert all("if-none-match" not in asked.headers for asked in one.log + three.log)


async def test_a_304_that_nobody_asked_for_is_no_picture(fetched: Fetched, server: Any) -> None:
    one = server(lambda _: sends(http(304, b"")))
    assert await fetched.refusal(one.url) == "answered 304"


async def test_the_copy_of_an_earlier_run_is_not_used_when_the_server_is_away(
    fetched: Fetched, server: Any
) -> None:
    one = server(lambda asked: gives(ETag='"1"') if asked.nth == 1 else servers.BROKEN)
    await fetched.file(one.url)
    said = await fetched.refusal(one.url)
    assert "3 tries" in said
    assert "the copy of an earlier run is not used" in said


async def test_validators_that_cannot_be_sent_back_are_forgotten(
    fetched: Fetched, server: Any
) -> None:
    one = server(lambda _: gives(ETag='"' + "x" * 2000 + '"'))
    await fetched.file(one.url)
    await fetched.file(one.url)
    assert "if-none-match" not in one.log[1].headers


# --- what goes wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said", "n_requests"),
    [
        (sends(http(404, b"no")), "answered 404", 1),
        (sends(http(403, b"no")), "answered 403", 1),
        (sends(http(429, b"no")), "answered 429", 1),
        (sends(http(204, b"")), "answered 204", 1),
        (sends(http(206, PICTURE)), "answered 206", 1),
        (sends(http(500, b"no")), "answered 500 (3 tries)", 3),
        (sends(http(503, b"no")), "answered 503 (3 tries)", 3),
        (servers.BROKEN, "closed the connection before it was fetched (3 tries)", 2 * 3),
        (servers.RESET, "closed the connection before it was fetched (3 tries)", 2 * 3),
        (stalls(), "sent nothing for 0.3 s (3 tries)", 3),
        (stalls(http(200, PICTURE[:5000], length=len(PICTURE))), "sent nothing for 0.3 s", 3),
        (
            sends(http(200, PICTURE[:5000], length=len(PICTURE)), end=servers.End.CLOSED),
            "was cut while it was being fetched (3 tries)",
            3,
        ),
        (
            sends(chunked(PICTURE, terminated=False), end=servers.End.CLOSED),
            "was cut while it was being fetched (3 tries)",
            3,
        ),
        (sends(b"SSH-2.0-x\r\n\r\n", end=servers.End.CLOSED), "answered with what is no HTTP", 1),
        (gives(PICTURE + bytes(1001)), "is larger than 0.0", 1),
        (sends(chunked(PICTURE + bytes(1001))), "is larger than 0.0", 1),
        (gives(b""), "is empty", 1),
        (
            sends(http(200, b"<html>log in</html>" * 9, content_type="text/html")),
            "is no PNG, JPEG, WebP, HEIC or HEIF image (its server calls it text/html)",
            1,
        ),
        (gives(b"GIF89a" + bytes(1000)), "is no PNG, JPEG, WebP, HEIC or HEIF image", 1),
        (gives(PICTURE, Content_Encoding="gzip"), "came compressed (gzip), unasked", 1),
        (sends(http(302, b"")), "redirects to nowhere", 1),
        (redirects("https://[::1"), "redirects to what is no address", 1),
        (redirects("/again"), "redirects more than 5 times", 6),
        (redirects("http://pictures.test/a"), "redirects to http://pictures.test/a, which", 1),
        (redirects("ftp://pictures.test/a"), "redirects to ftp://pictures.test/a, which", 1),
        (redirects("file:///etc/passwd"), "redirects to file:…, which is not https", 1),
        (redirects("//me:pw@pictures.test/a"), "redirects to https://pictures.test/a, which", 1),
        (
            redirects("https://10.0.0.5/a?secret=1"),
            f"redirects to https://10.0.0.5/a, which resolves to 10.0.0.5, {PRIVATE}",
            1,
        ),
        (redirects("https://[::ffff:127.0.0.1]/"), "redirects to https://[::ffff:", 1),
        (
            redirects("https://inside.test/a?secret=1"),
            f"redirects to https://inside.test/a, which resolves to 169.254.169.254, {PRIVATE}",
            1,
        ),
    ],
)
async def test_what_cannot_be_fetched_says_why(
    fetched: Fetched, server: Any, answer: Answer, said: str, n_requests: int, tried: Any
) -> None:
    fetched.names.known = {"inside.test": ["169.254.169.254"]}
    one = server(lambda _: answer)
    told = await fetched.refusal(f"{one.url}/a?signature=secret")
    assert told.startswith(said)
    assert "secret" not in told
    assert one.n_requests == n_requests
    assert fetched.waits_s == ([1.0, 4.0] if "(3 tries)" in told else [])
    assert names_in(fetched.directory) == []
    if told.startswith("redirects to"):
        tried("P33", 1, "hostile addresses")


async def test_a_body_that_is_no_picture_is_not_read_to_its_end(
    fetched: Fetched, server: Any
) -> None:
    fetched.limits = FetchLimits(idle_s=20, total_s=20)
    one = server(lambda _: stalls(http(200, b"<html>" * 100, length=60 << 20)))
    async with asyncio.timeout(10):
        assert (await fetched.refusal(one.url)).startswith("is no PNG")


async def test_a_drip_ends_when_the_time_is_over(fetched: Fetched, server: Any) -> None:
    fetched.limits = FetchLimits(total_s=0.5, idle_s=0.3)
    head = http(200, b"", length=len(PICTURE))
    one = server(lambda _: drips([head, *(PICTURE[n : n + 40] for n in range(0, 4000, 40))], 0.1))
    assert await fetched.refusal(one.url) == "took longer than 0.5 s (3 tries)"


async def test_what_passes_is_got_over(fetched: Fetched, server: Any) -> None:
    answers = [sends(http(503, b"")), sends(http(500, b"")), gives()]
    one = server(lambda asked: answers[asked.nth - 1])
    assert (await fetched.file(one.url)).sha256 == sha256(PICTURE).hexdigest()
    assert fetched.waits_s == [1.0, 4.0]


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    fetched: Fetched, server: Any
) -> None:
    fetched.trusts = False
    one = server(lambda _: gives())
    assert await fetched.refusal(one.url) == "has no TLS certificate that is trusted here"
    assert one.n_requests == 0


async def test_a_certificate_for_another_name_is_refused(fetched: Fetched, server: Any) -> None:
    fetched.names.known = {"third.test": ["127.0.0.1"]}
    one = server(lambda _: gives())
    said = await fetched.refusal(f"https://third.test:{one.port}/")
    assert said == "has no TLS certificate that is trusted here"
    assert one.n_requests == 0


async def test_a_port_that_nobody_listens_on_is_tried_three_times(fetched: Fetched) -> None:
    with servers.closed_port() as port:
        said = await fetched.refusal(f"https://127.0.0.1:{port.getsockname()[1]}/")
    assert said == "cannot be connected to (Connection refused) (3 tries)"


async def test_a_name_that_does_not_exist_says_so(fetched: Fetched) -> None:
    said = await fetched.refusal("https://nowhere.test/a")
    assert said == "names a host that cannot be found (3 tries)"


async def test_one_bad_url_does_not_stop_the_others(fetched: Fetched, server: Any) -> None:
    one = server(lambda asked: gives() if asked.target == "/good" else sends(http(404, b"")))
    library = await fetched.library(f"{one.url}/bad", "nonsense", f"{one.url}/good")
    assert (await library.sendable(Reference(url=f"{one.url}/good"))).size_bytes == len(PICTURE)


async def test_a_disk_that_fails_is_no_fault_of_the_url(fetched: Fetched, server: Any) -> None:
    one = server(lambda _: gives())
    fetched.directory.write_text("a file where the directory should be")
    with pytest.raises(StoreError):
        await fetched.library(one.url)


async def test_what_a_killed_run_left_half_written_is_removed(
    fetched: Fetched, server: Any
) -> None:
    one = server(lambda _: gives())
    fetched.directory.mkdir()
    old, new = fetched.directory / ".old.draft", fetched.directory / ".new.draft"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    await fetched.library(one.url)
    assert (old.exists(), new.exists()) == (False, True)


async def test_without_a_directory_nothing_is_fetched(server: Any) -> None:
    one = server(lambda _: gives())
    library = ReferenceLibrary()
    await library.fetch([one.url])
    with pytest.raises(UnusableReferenceError, match="was not fetched"):
        await library.sendable(Reference(url=one.url))
    assert one.n_connections == 0


# --- what is refused without a packet -----------------------------------------------------------

REFUSED_ADDRESSES = """
    0.0.0.0 0.1.2.3 10.0.0.0 10.0.0.5 10.255.255.255 100.64.0.0 100.64.0.1 100.127.255.255
    127.0.0.1 127.0.0.53 127.1.2.3 127.255.255.255 169.254.0.1 169.254.169.254 169.254.170.2
    172.16.0.0 172.16.0.1 172.31.255.255 192.0.0.0 192.0.0.9 192.0.0.170 192.0.2.1 192.88.99.1
    192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1
    233.252.0.1 239.255.255.250 240.0.0.1 255.255.255.255
    :: ::1 ::127.0.0.1 ::10.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.5 ::ffff:8.8.8.8
    ::ffff:0:127.0.0.1 ::ffff:a9fe:a9fe 64:ff9b::127.0.0.1 64:ff9b::8.8.8.8 64:ff9b:1::1
    64:ff9b:1:ffff::10.0.0.1 100::1 2001::1 2001:0:7f00:1:: 2001:2::1 2001:10::1 2001:20::1
    2001:db8::1 2001:db8:ffff::1 2002:7f00:1:: 2002:0a00:0005::1 2002:808:808::1 3fff::1
    3fff:fff:ffff::1 5f00::1 fc00::1 fd00::1 fd00:ec2::254 fdff:ffff::1 fe80::1 fe80::1%eth0
    febf::1 fec0::1 feff::1 ff00::1 ff02::1 ff0e::1 2606:4700::1111%eth0 4000::1 8000::1
    localhost 127.1 0x7f.0.0.1 0177.0.0.1 2130706433 127.0.0.1/8 010.0.0.1 [::1] 1.1.1.1:443
"""
PUBLIC_ADDRESSES = """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1
    169.253.255.255 169.255.0.1 172.15.255.255 172.32.0.0 192.0.1.1 192.0.3.1 192.88.98.1
    192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 203.0.112.1 223.255.255.255
    2001:200::1 2001:4860:4860::8888 2003::1 2606:4700:4700::1111 2a00:1450:4001:80b::200e
    2400:cb00::1 3ffe::1
"""


@pytest.mark.parametrize("address", [*REFUSED_ADDRESSES.split(), ""])
def test_addresses_that_are_not_of_the_public_internet_are_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES.split())
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


HOSTILE_URLS = [
    "",
    " ",
    "nonsense",
    "a.png",
    "//pictures.test/a",
    "http://pictures.test/a",
    "ftp://pictures.test/a",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_SET",
    "data:image/png;base64,iVBORw0KGgo=",
    "javascript:alert(1)",
    "ws://pictures.test/",
    "https:",
    "https://",
    "https:///etc/passwd",
    "https:pictures.test",
    "https://?x",
    "https://:443/",
    "https://.",
    "https://..",
    "https://a..b/",
    "https://127.0.0.1/",
    "https://127.0.0.1./",
    "https://127.1/",
    "https://0x7f.1/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://2130706433/",
    "https://①②⑦.0.0.1/",
    "https://127。0。0。1/",
    "https://１２７.０.０.１/",
    "https://0x7f.0x0.0x0.0x1/",
    "https://017700000001/",
    "https://0x7F000001:8443/",
    "https://127.0.0.1:443@10.0.0.5/",
    "https://127.0.0.1?@pictures.test/",
    "https://127.0.0.1#@pictures.test/",
    "https:\\\\127.0.0.1\\a",
    "https:/127.0.0.1/",
    "https://[0:0:0:0:0:ffff:7f00:1]/",
    "https://[::ffff:0:127.0.0.1]/",
    "https://[::127.0.0.1%25lo]/",
    "https://10.0.0.5/",
    "https://192.168.1.1/",
    "https://100.64.0.1/",
    "https://0.0.0.0/",
    "https://224.0.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://[::]/",
    "https://[::1]/",
    "https://[::1",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fe80::1%25eth0]/",
    "https://[fd00:ec2::254]/latest/",
    "https://[ff02::1]/",
    "https://me:secret@pictures.test/a",
    "https://me@pictures.test/a",
    "https://:secret@pictures.test/a",
    "https://pictures.test\\@127.0.0.1/",
    "https://pictures.test:0/",
    "https://pictures.test:22/",
    "https://pictures.test:25/",
    "https://pictures.test:80/",
    "https://pictures.test:99999/",
    "https://pictures.test:x/",
    "https://pictures.test/\r\nCookie: a=b",
    "https://pictures\x00.test/",
    "https://pict ures.test/",
    "https://exa%6dple.com/",
    "https://127.0.0.1%2f@pictures.test/",
    "https://pictures.test\u202e/",
    "https://\ud800.test/",
    f"https://{'a' * 64}.test/",
    f"https://{'a.' * 200}test/",
]
PRIVATE_NAMES = {
    "localhost": "127.0.0.1",
    "metadata.internal": "169.254.169.254",
    "router.test": "192.168.1.1",
    "ⓛocalhost": "127.0.0.1",
    "LOCALHOST": "127.0.0.1",
    "127.0.0.1.pictures.test": "127.0.0.1",
    "xn--bcher-kva.test": "10.0.0.5",
    "six.test": "::1",
    "mapped.test": "::ffff:10.0.0.5",
    "nat64.test": "64:ff9b::7f00:1",
    "linked.test": "fe80::1%lo",
    "both.test": "127.0.0.1 fd00::1",
    "dot.test.": "10.0.0.5",
}


@pytest.mark.parametrize("url", [*HOSTILE_URLS, *(f"https://{name}/a" for name in PRIVATE_NAMES)])
async def test_hostile_urls_are_refused_without_a_packet(
    fetched: Fetched, url: str, monkeypatch: pytest.MonkeyPatch, tried: Any
) -> None:
    made: list[object] = []

    class Counted(socket.socket):
        def connect(self, *to: Any) -> None:
            made.append(to)
            raise AssertionError

        connect_ex = connect  # type: ignore[assignment]

    monkeypatch.setattr(socket, "socket", Counted)
    fetched.policy = is_public
    fetched.names.known = {name: [address] for name, address in PRIVATE_NAMES.items()}
    said = await fetched.refusal(url)
    assert made == []
    assert "secret" not in said + shown_url(url)
    if url in HOSTILE_URLS:
        assert not fetched.names.asked
        with pytest.raises(UnusableReferenceError) as caught:
            check_url(url)
        assert str(caught.value) == said
    else:
        assert PRIVATE in said
    tried("P33", 1, "hostile addresses")


async def test_a_listener_on_loopback_sees_no_connection(
    fetched: Fetched, server: Any, tried: Any
) -> None:
    fetched.policy = is_public
    fetched.names.known = {"pictures.test": ["127.0.0.1"]}
    one = server(lambda _: gives())
    hosts = (
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "①②⑦.0.0.1",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "pictures.test",
        "[::1]",
        "2130706433",
    )
    for host in hosts:
        await fetched.refusal(f"https://{host}:{one.port}/")
    assert one.n_connections == 0
    tried("P33", len(hosts), "hostile addresses")


async def test_a_name_that_is_rebound_is_refused_at_the_next_connection(
    fetched: Fetched, server: Any, tried: Any
) -> None:
    fetched.names.known = {"pictures.test": ["127.0.0.1", "10.0.0.5"]}
    one = server(lambda _: sends(http(302, b"", {"Location": "/b"}), end=servers.End.CLOSED))
    said = await fetched.refusal(f"https://pictures.test:{one.port}/a")
    assert said.endswith(f"resolves to 10.0.0.5, {PRIVATE}")
    assert one.n_requests == 1
    tried("P33", 1, "hostile addresses")


async def test_the_socket_is_the_last_gate(fetched: Fetched, server: Any, tried: Any) -> None:
    # A policy that changes its mind between the check and the connection, as a name may.
    answers = iter([True, False])
    fetched.policy = lambda _: next(answers)
    one = server(lambda _: gives())
    said = await fetched.refusal(one.url)
    assert said == f"resolves to 127.0.0.1, {PRIVATE}"
    assert one.n_connections == 0
    tried("P33", 1, "hostile addresses")


async def test_of_several_addresses_only_public_ones_are_used(
    fetched: Fetched, server: Any
) -> None:
    fetched.names.known = {"pictures.test": ["10.0.0.5 fd00::1 127.0.0.1"]}
    one = server(lambda _: gives())
    assert (await fetched.file(f"https://pictures.test:{one.port}/a")).mime == "image/png"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://pictures.test/a/b.png?sig=secret#c", "https://pictures.test/a/b.png"),
        ("https://me:secret@pictures.test:8443/a", "https://pictures.test:8443/a"),
        ("https://[2606:4700::1]/a", "https://[2606:4700::1]/a"),
        ("https://user:p?secret@pictures.test/", "https://…"),
        ("https:me:secret@pictures.test", "https:…"),
        ("https://pictures.test/\x1b[31m", "https://pictures.test/ [31m"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "https://pictures.test/a",
        "https://pictures.test:8443/a?b=c#d",
        "HTTPS://Pictures.Test",
        "https://bücher.test/bild.png",
        "https://my_bucket.test/a b.png",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]:1024/",
        "https://pictures.test./",
    ],
)
def test_ordinary_addresses_are_taken(url: str) -> None:
    assert check_url(url).scheme == "https"
