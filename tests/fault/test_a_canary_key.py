"""A service that quotes the key back in every answer that the other tests know: it is nowhere.

Each run has a key of its own. Afterwards all that the run wrote, printed, logged and told is
searched for it, for parts of it, and for what it looks like in URLs, JSON, HTML and base64.
"""

import asyncio
import json
import logging
import random
import struct
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from batchgen import Event, Runner
from batchgen.errors import AttemptError, JobError
from batchgen.limits import Limiter
from batchgen.provider import Auth, Provider
from batchgen.recorder import Recorder
from batchgen.sanitize import Hidden
from batchgen.settle import Settler
from batchgen.timeouts import Timeouts
from batchgen.transport import Transport
from batchgen.wire import stream
from tests import ledgers, servers
from tests.canary import Canary, put_into
from tests.fault import test_answers_without_a_picture as without
from tests.fault import test_broken_replies as broken
from tests.fault import test_odd_answers as odd
from tests.fault.test_the_matrix import MATRIX, always
from tests.fault.test_turns import Service, poster, signed
from tests.runs import Ran, run_job, write_job
from tests.servers import Answer, Asked, End, FaultServer, document, http, image_part, png, sends

Json: TypeAlias = dict[str, Any]
Tried: TypeAlias = Callable[[str, int, str], None]

MOST_BYTES: Final = 200_000
TESTS: Final = Path(__file__).parents[1]
SPELLINGS: Final = tuple(Canary().spellings())
KEY_HERE: Final = "KEY-HERE"
FEW: Final = {"transport": 1, "unsure": 1, "rate_limit": 1, "no_image": 1, "patience": 5}


def in_spellings(n: int) -> pytest.MarkDecorator:
    """So many spellings, drawn by chance but always the same; in soak all that there are."""
    every = [pytest.mark.soak, pytest.mark.timeout(600)]
    return pytest.mark.parametrize(
        "n",
        [
            pytest.param(n, marks=pytest.mark.reliability, id="some"),
            pytest.param(len(SPELLINGS), marks=every, id="all"),
        ],
    )


def drawn(n: int, of: object) -> list[str]:
    return random.Random(str(of)).sample(SPELLINGS, n)


# --- one run, and the search ----------------------------------------------------------------------


class Watch:
    """One run with a canary, and what it told beside its files."""

    def __init__(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
    ) -> None:
        self.canary = Canary()
        self.directory, self._monkeypatch, self._log = directory, monkeypatch, log

    async def run(
        self,
        script: servers.Script,
        *items: str | Json,
        on_event: Callable[[Event], None] | None = None,
    ) -> Ran:
        """Run a job with this key, and search all that came of it."""
        self._monkeypatch.setenv("COMETAPI_KEY", self.canary.key)
        self.directory.mkdir()
        job = write_job(self.directory / "job.jsonl", items or ["cat"], retries=FEW)
        self._log.clear()
        asyncio.get_running_loop().set_debug(True)
        with FaultServer(script) as server:
            ran = await run_job(job, server, on_event=on_event)
        assert server.log[0].headers["x-goog-api-key"] == self.canary.key
        self.search(ran)
        return ran

    def search(self, ran: Ran, *, but: str | None = None) -> None:
        assert not self.canary.found_below(ran.directory, but=but)
        assert not self.canary.found_in(repr(ran.events))
        assert not self.canary.found_in(repr(ran.summary))
        for record in self._log.records:
            assert not self.canary.found_in(f"{record.getMessage()} {record.args!r}")


@pytest.fixture
def watch(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Callable[[], Watch]]:
    """Watches runs in this process, which also debugs asyncio and logs all that it can."""
    caplog.set_level(logging.DEBUG)
    watches: list[Watch] = []

    def new() -> Watch:
        watches.append(Watch(tmp_path / f"run {len(watches)}", monkeypatch, caplog))
        return watches[-1]

    yield new
    printed = "".join(capfd.readouterr())
    assert not [found for one in watches if (found := one.canary.found_in(printed))]


# --- the answers of the other tests ---------------------------------------------------------------


class _TooMuchError(Exception):
    """An answer that is about its size."""


class _Connection:
    """Keeps what an answer writes, and never has anything to read."""

    def __init__(self) -> None:
        self.written = b""

    def sendall(self, data: bytes) -> None:
        self.written += data
        if len(self.written) > MOST_BYTES:
            raise _TooMuchError

    def recv(self, _: int) -> bytes:
        return b""

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 9)


def recorded(answer: Answer) -> tuple[bytes, End] | None:
    """What an answer writes; None for nothing, and for those that are about time or size."""
    if "drips" in answer.__qualname__ or "waits_for" in answer.__qualname__:
        return None
    connection = _Connection()
    try:
        end = answer(connection)  # type: ignore[arg-type] # it does no more than this one can
    except _TooMuchError:
        return None
    written = connection.written
    return (written, end) if written and not _is_bomb(written) else None


def _is_bomb(answer: bytes) -> bool:
    """Whether it becomes large only when it is inflated."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"gzip" not in head:
        return False
    with suppress(zlib.error):
        inflated = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(body, MOST_BYTES)
        return len(inflated) == MOST_BYTES
    return False


def answers_of_the_other_tests() -> Iterator[Answer]:
    for case in MATRIX:
        for prompt in ("cat", "item0"):
            yield case.script(Asked("POST", "", {}, b"", prompt, 1))
    for table in (broken.BAD_REPLIES, broken.LOST, broken.ODD_BUT_WHOLE):
        yield from table.values()
    yield from (answer for answer, _ in broken.LOST_PICTURES.values())
    bodies: list[str | bytes] = [*without.SPELLINGS.values(), *odd.STRANGE_SHAPES.values()]
    bodies += [
        odd.beside(member, first=first) for member in odd.BESIDE.values() for first in (True, False)
    ]
    bodies += [odd.in_candidate(member, first=True) for member in odd.IN_CANDIDATE.values()]
    bodies += [odd.in_part(member, first=True) for member in odd.IN_PART.values()]
    bodies += [body for body, *_ in odd.NO_PICTURE.values()]
    yield from map(odd.says, bodies)


CORPUS: Final = [*dict.fromkeys(filter(None, map(recorded, answers_of_the_other_tests())))]


def test_the_other_tests_know_many_answers() -> None:
    assert len(CORPUS) >= 120


@in_spellings(1)
@pytest.mark.parametrize("number", range(len(CORPUS)))
async def test_in_whatever_answer_the_key_is_quoted_it_is_nowhere(
    number: int, n: int, watch: Callable[[], Watch], tried: Tried
) -> None:
    data, end = CORPUS[number]
    for spelling in drawn(n, number):
        one = watch()
        answer = sends(put_into(data, one.canary.spellings()[spelling]), end=end)
        await one.run(always(answer))
    tried("P17", n, "runs with a canary key")


# --- each place, in each spelling -----------------------------------------------------------------


def place(name: str, value: object = KEY_HERE) -> Json:
    """A picture with this member beside it."""
    return {**document(image_part(png("cat"))), name: value}


def in_candidate(*parts: object, finish_reason: str = "STOP", **members: object) -> Json:
    said = document(*parts, finish_reason=finish_reason)
    said["candidates"][0].update(members)
    return said


def error(code: int = 400, **members: object) -> tuple[int, Json]:
    return code, {"error": {"code": code, "message": "no", **members}}


PICTURE: Final = image_part(png("cat"))
WEB: Final = {"web": {"uri": f"https://a.example/{KEY_HERE}", "title": KEY_HERE}}
NESTED: Final = json.dumps({"error": {"message": f"no {KEY_HERE}", "status": KEY_HERE}})
PLACES: Final[dict[str, tuple[int, Json]]] = {
    "message": error(message=f"Consumer 'api_key:{KEY_HERE}' has been suspended"),
    "message of a 401": error(401, message=f"bad key {KEY_HERE}"),
    "message of a 403": error(403, message=f"(request id: {KEY_HERE})"),
    "message of a 429": error(429, message=KEY_HERE, status="RESOURCE_EXHAUSTED"),
    "message of a 503": error(503, message=KEY_HERE, status="UNAVAILABLE"),
    "status": error(status=KEY_HERE),
    "details": error(403, details=[{"reason": KEY_HERE, "metadata": {"containerInfo": KEY_HERE}}]),
    "JSON in a message": error(message=f"upstream said {NESTED}"),
    "error in a 200": (200, {"error": {"code": 500, "message": KEY_HERE}}),
    "error beside a picture": (200, place("error", {"code": 500, "message": KEY_HERE})),
    "text": (200, document({"text": f"your key is {KEY_HERE}"}, PICTURE)),
    "text without a picture": (200, document({"text": f"no: {KEY_HERE}"})),
    "signature": (200, document({**PICTURE, "thoughtSignature": KEY_HERE})),
    "thought": (200, document({"text": KEY_HERE, "thought": True}, PICTURE)),
    "label": (200, document(image_part(png("cat"), f"image/{KEY_HERE}"))),
    "address of a picture": (200, document({"fileData": {"fileUri": f"https://a/{KEY_HERE}"}})),
    "usage": (200, document(PICTURE, usage={**servers.USAGE, "note": KEY_HERE, KEY_HERE: 1})),
    "response id": (200, place("responseId")),
    "model version": (200, place("modelVersion")),
    "reason": (200, in_candidate(finish_reason=f"IMAGE_{KEY_HERE}")),
    "words of a reason": (200, in_candidate(finish_reason="IMAGE_SAFETY", finishMessage=KEY_HERE)),
    "words that stop a run": (
        200,
        in_candidate(finish_reason="PUP_LIMITED_DISABLED", finishMessage=KEY_HERE),
    ),
    "block reason": (
        200,
        {"promptFeedback": {"blockReason": KEY_HERE, "blockReasonMessage": KEY_HERE}},
    ),
    "grounding": (
        200,
        in_candidate(
            PICTURE,
            groundingMetadata={
                "groundingChunks": [WEB],
                "webSearchQueries": [KEY_HERE],
                "searchEntryPoint": {"renderedContent": f"<a href='/{KEY_HERE}'>{KEY_HERE}</a>"},
            },
        ),
    ),
    "a name": (200, place(KEY_HERE, 1)),
}


def answering(where: str, written: str) -> Answer:
    status, said = PLACES[where]
    return sends(http(status, json.dumps(said).replace(KEY_HERE, written).encode()))


@in_spellings(5)
@pytest.mark.parametrize("where", PLACES)
async def test_in_whatever_place_the_key_is_quoted_it_is_nowhere(
    where: str, n: int, watch: Callable[[], Watch], tried: Tried
) -> None:
    for spelling in drawn(n, where):
        one = watch()
        answer = answering(where, one.canary.spellings()[spelling])
        await one.run(always(answer))
    tried("P17", n, "runs with a canary key")


HEADS: Final = {
    "of a refusal": (500, {"x-request-id": KEY_HERE, "Retry-After": KEY_HERE}, b""),
    "of a 429": (429, {"retry-after-ms": KEY_HERE, "Date": KEY_HERE}, b""),
    "of a picture": (200, {"cf-ray": KEY_HERE, "Set-Cookie": f"a={KEY_HERE}"}, None),
    "of a redirect": (302, {"Location": f"https://other.invalid/?key={KEY_HERE}"}, b""),
    "of an id that is cut": (500, {"x-request-id": "x" * 100 + KEY_HERE}, b""),
    "of an address that is cut": (302, {"Location": "https://a/" + "x" * 90 + KEY_HERE}, b""),
    "of a compression": (200, {"Content-Encoding": KEY_HERE}, b"{}"),
    "of a type": (200, {"Content-Type": KEY_HERE}, f"<html>{KEY_HERE}</html>".encode()),
    "of no JSON": (200, {"Server": KEY_HERE}, KEY_HERE.encode()),
    "by their names": (200, {KEY_HERE.replace("=", ""): "1"}, None),
}
RAW: Final = {
    "a status line": f"HTTP/1.1 {KEY_HERE}\r\n\r\n",
    "a reason": f"HTTP/1.1 400 {KEY_HERE}\r\nContent-Length: 0\r\n\r\n",
    "no HTTP": f"{KEY_HERE}\r\n\r\n",
    "headers that break off": f"HTTP/1.1 200 OK\r\nx-echo: {KEY_HERE}\r\n",
    "a malformed header": f"HTTP/1.1 200 OK\r\n{KEY_HERE} {KEY_HERE}\r\n\r\n",
    "a length": f"HTTP/1.1 200 OK\r\nContent-Length: {KEY_HERE}\r\n\r\n",
    "a chunk's length": f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{KEY_HERE}\r\n",
    "chunked garbage": f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{KEY_HERE}\r\n",
    "a transfer encoding": f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {KEY_HERE}\r\n\r\n",
    "a trailer": f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{KEY_HERE}\r\n\r\n",
}
OF_HEADERS: Final = ("as it is", "in a URL", "in base64 after 1")


@pytest.mark.reliability
@pytest.mark.parametrize("where", [*HEADS, *RAW])
async def test_in_whatever_headers_the_key_is_quoted_it_is_nowhere(
    where: str, watch: Callable[[], Watch], tried: Tried
) -> None:
    for spelling in OF_HEADERS:
        one = watch()
        written = one.canary.spellings()[spelling]
        if where in RAW:
            answer = sends(RAW[where].replace(KEY_HERE, written).encode(), end=End.BROKEN)
        else:
            status, headers, body = HEADS[where]
            said = json.dumps(place("note")).encode() if body is None else body
            said = said.replace(KEY_HERE.encode(), written.encode())
            echoing = {
                name.replace(KEY_HERE, written): value.replace(KEY_HERE, written)
                for name, value in headers.items()
            }
            answer = sends(http(status, said, echoing))
        await one.run(always(answer))
    tried("P17", len(OF_HEADERS), "runs with a canary key")


# --- where a text is cut, or put together ---------------------------------------------------------


CUTS: Final[dict[str, tuple[int, Callable[[str], tuple[int, Json]]]]] = {
    "a message": (300, lambda text: error(message=text)),
    "a request id": (120, lambda text: error(message=f"(request id: {text})")),
    "words": (120, lambda text: (200, document({"text": text}))),
    "the words of a picture": (64 << 10, lambda text: (200, document({"text": text}, PICTURE))),
    "an id": (120, lambda text: (200, place("responseId", text))),
    "a reason": (300, lambda text: (200, in_candidate(finish_reason="OTHER", finishMessage=text))),
    "a reason in the ledger": (
        1000,
        lambda text: (200, in_candidate(finish_reason="OTHER", finishMessage=text)),
    ),
    "an address": (300, lambda text: (200, document({"fileData": {"fileUri": text}}))),
    "usage": (
        stream.MAX_STRING_BYTES,
        lambda text: (200, document(PICTURE, usage={"note": text})),
    ),
    "the beginning of a refusal": (64 << 10, lambda text: (500, {"note": text})),
}


@pytest.mark.reliability
@pytest.mark.parametrize("where", CUTS)
async def test_a_key_in_the_place_where_a_text_is_cut_leaves_no_part_of_it(
    where: str, watch: Callable[[], Watch], tried: Tried
) -> None:
    n_chars, saying = CUTS[where]
    for n_before, spelling in ((16, "as it is"), (30, "as it is"), (100, "spelt out")):
        one = watch()
        status, said = saying("x" * (n_chars - n_before) + KEY_HERE + "x" * 200)
        body = json.dumps(said).replace(KEY_HERE, one.canary.spellings()[spelling])
        answer = sends(http(status, body.encode()))
        await one.run(always(answer))
    tried("P17", 3, "runs with a canary key")


async def test_a_key_that_comes_in_two_packets_is_found(watch: Callable[[], Watch]) -> None:
    one = watch()
    body = json.dumps(document({"text": KEY_HERE}, PICTURE)).replace(KEY_HERE, one.canary.key)
    whole = http(200, body.encode())
    at = whole.index(one.canary.key.encode()) + 15

    def in_two(connection: Any) -> End:
        connection.sendall(whole[:at])
        asyncio.run(asyncio.sleep(0.05))
        connection.sendall(whole[at:])
        return End.WHOLE

    ran = await one.run(lambda _: in_two)
    assert (ran.directory / "text/cat.txt").read_text() == "[key]"


async def test_a_key_that_is_spread_over_two_texts_is_found(watch: Callable[[], Watch]) -> None:
    one = watch()
    halves = [{"text": one.canary.key[:16]}, {"text": one.canary.key[16:]}]
    ran = await one.run(lambda _: servers.whole(document(*halves, PICTURE)))
    assert (ran.directory / "text/cat.txt").read_text() == "[key]"
    one = watch()
    halves = [{"text": "x" * 100 + one.canary.key[:16]}, {"text": one.canary.key[16:]}]
    await one.run(lambda _: servers.whole(document(*halves)))


# --- pictures and conversations -------------------------------------------------------------------


def png_that_says(text: str) -> bytes:
    """A picture with a text in it, as editors write them."""
    chunk = b"tEXt" + b"Comment\0" + text.encode()
    written = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    picture = png("cat")
    end = picture.index(b"IEND") - 4
    return picture[:end] + written + picture[end:]


async def test_a_picture_stays_as_it_came_and_what_is_none_holds_no_key(
    watch: Callable[[], Watch], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = watch()
    monkeypatch.setenv("COMETAPI_KEY", one.canary.key)
    picture = png_that_says(one.canary.key)
    cut = picture[: picture.index(b"IEND")]
    job = write_job(tmp_path / "job.jsonl", ["whole", "cut"], retries=FEW)
    with FaultServer(
        lambda asked: servers.whole(
            document(image_part(picture if asked.prompt == "whole" else cut))
        )
    ) as server:
        ran = await run_job(job, server)
    assert (ran.directory / "images/whole.png").read_bytes() == picture
    key = one.canary.key.encode()
    masked = cut.replace(key, b"*" * len(key))
    assert len(masked) == len(cut)
    assert {path.read_bytes() for path in ran.quarantined} == {masked}
    assert set(one.canary.found_below(ran.directory)) == {"images/whole.png"}
    for attempt in ran.attempts:
        for image in attempt["images"]:
            ledgers.check_bytes(ran.directory, image)
    one.search(ran, but="*.png")


@pytest.mark.reliability
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_a_conversation_goes_on_without_a_content_that_holds_the_key(
    spelling: str, watch: Callable[[], Watch], tried: Tried
) -> None:
    one = watch()
    written = one.canary.spellings()[spelling]

    class Echoing(Service):
        def __call__(self, asked: Asked) -> Answer:
            super().__call__(asked)
            said = document()
            said["candidates"][0]["content"] = signed("one")
            said["candidates"][0]["content"]["parts"][1]["text"] = KEY_HERE
            return sends(http(200, json.dumps(said).replace(KEY_HERE, written).encode()))

    service = Echoing()
    ran = await one.run(service, poster("one", "two"))
    assert ran.exit_code == 0
    assert not list((ran.directory / "turns").glob("*.json"))
    _, second = service.asked
    assert [message["role"] for message in second] == ["user"]  # and no word of the model
    assert second[0]["parts"][0] == {"text": "two"}
    assert (
        second[0]["parts"][1]["inlineData"]["data"] == image_part(png("one"))["inlineData"]["data"]
    )
    assert "the key" in (ran.attempts[0]["note"] or "")
    tried("P17", 1, "runs with a canary key")


# --- what trips us up -----------------------------------------------------------------------------


def words(error: BaseException) -> str:
    """All that Python, or a program that shows local variables, tells of an exception.

    Without those of the tests, which know the key.
    """
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    left: list[traceback.TracebackException | None] = [told]
    while left:
        if one := left.pop():
            ours = (frame for frame in one.stack if str(TESTS) not in frame.filename)
            one.stack = traceback.StackSummary.from_list(ours)
            left += [one.__cause__, one.__context__]
    return "".join([*told.format(), repr(error), str(error), repr(error.args)])


@pytest.mark.parametrize("where", ["feed", "write", "heard", "settle"])
async def test_a_defect_of_ours_tells_no_key(
    where: str, watch: Callable[[], Watch], monkeypatch: pytest.MonkeyPatch, tried: Tried
) -> None:
    one = watch()
    told: list[str] = []

    def trips(*_: object, **__: object) -> None:
        said = Hidden(one.canary.key)
        try:
            float(f"{said}")
        except ValueError as error:
            error.__traceback__ = None  # whose frames hold it
            raise RuntimeError(f"cannot take {said}", {"said": str(said)}) from error

    async def trips_later(*_: object, **__: object) -> None:
        trips()

    target, name, how = {
        "feed": (stream.ReplyStream, "feed", trips),
        "write": (Recorder, "write", trips_later),
        "heard": (Limiter, "heard", trips),
        "settle": (Settler, "_settled", trips),
    }[where]
    monkeypatch.setattr(target, name, how)
    if where in {"feed", "settle"}:
        ran = await one.run(servers.draws)
        assert (ran.exit_code, ran.attempts[0]["outcome"]) == (1, "bug")
    else:
        with pytest.raises(RuntimeError) as raised:
            await one.run(servers.draws, on_event=lambda event: told.append(repr(event)))
        assert "cannot take [key]" in str(raised.value)
        assert not one.canary.found_in(words(raised.value))
        assert any("Stopping" in event for event in told)
        assert not one.canary.found_in("".join(told))
        assert not one.canary.found_below(one.directory)
    tried("P17", 1, "runs with a canary key")


async def test_no_local_variable_shows_the_key_before_anything_is_sent(
    watch: Callable[[], Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = watch()

    def trips(*_: object, **__: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("batchgen.workshop.Settler", trips)
    monkeypatch.setenv("COMETAPI_KEY", one.canary.key)
    job = write_job(one.directory.with_suffix(".jsonl"), ["cat"])
    proxy = f"http://me:{one.canary.key[-15:]}@127.0.0.1:9"
    runner = Runner(job, output=one.directory, base_url="http://127.0.0.1:9", proxy=proxy)
    with pytest.raises(RuntimeError) as raised:
        await runner.__aenter__()
    assert "key = " in words(raised.value)  # the variable itself is there
    assert not one.canary.found_in(words(raised.value))
    assert not one.canary.found_in(repr(vars(runner)))


async def test_what_aiohttp_raises_shows_no_key(watch: Callable[[], Watch]) -> None:
    one = watch()
    auths: tuple[Auth, ...] = ("x-goog-api-key", "bearer")
    for auth in auths:
        with FaultServer(lambda _: sends(b"garbage\r\n\r\n", end=End.BROKEN)) as server:
            provider = Provider(name="x", base_url=server.url, auth=auth)
            transport = Transport(provider, one.canary.key, Timeouts())
            assert not one.canary.found_in(repr(vars(transport)))

            async def body() -> Any:
                yield b"{}"

            with pytest.raises(AttemptError) as raised:
                async with transport, transport.post("/x", 2, body, print):
                    pass
        assert one.canary.key in str(server.log[0].headers)
        assert "headers" in words(raised.value)  # aiohttp's own exception stands behind it
        assert not one.canary.found_in(words(raised.value))


async def test_an_item_that_holds_the_key_is_refused_before_anything_is_sent(
    watch: Callable[[], Watch], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = watch()
    monkeypatch.setenv("COMETAPI_KEY", one.canary.key)
    for item in (
        {"id": "a", "prompt": f"write {one.canary.key} on a wall"},
        {"id": "a", "prompt": "p", "tags": {"note": one.canary.spellings()["in a URL"]}},
        {"id": "a", "prompt": "p", "extra": {"x": {one.canary.key: 1}}},
    ):
        job = write_job(tmp_path / "job.jsonl", ["fine", item])
        with FaultServer(servers.draws) as server, pytest.raises(JobError) as raised:
            await run_job(job, server)
        assert "job.jsonl:3:1: items[a]: it holds the API key" in str(raised.value)
        assert not one.canary.found_in(f"{raised.value!r} {raised.value}")
        assert server.n_connections == 0
        assert not (tmp_path / "output").exists() or not list((tmp_path / "output").iterdir())
