"""The served page over a real socket, beside a ledger that grows."""

import asyncio
import hashlib
import json
import os
import socket
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from batchgen.clock import Clock
from batchgen.errors import StoreError
from batchgen.live.app import HOST, Site
from batchgen.live.deck import Deck
from batchgen.live.feed import MAX_EVENT_BYTES, Feed, Pacing
from batchgen.live.state import Setting
from batchgen.model import ImageFile
from batchgen.report.thumbnails import Thumbnailer, ThumbnailsOnDisk
from batchgen.review import read_marks
from batchgen.store.expanded import write_items
from batchgen.store.layout import Layout
from batchgen.store.ledger import Sent
from batchgen.store.lock import OutputLock
from tests.ledgers import strict
from tests.pages import Page
from tests.servers import png
from tests.unit.test_live_state import START, Job

QUICK = Pacing(poll_s=0.02, event_s=0.05, comment_s=0.3)


@dataclass
class Served:
    """A page that is served, and a client."""

    job: Job
    site: Site
    client: aiohttp.ClientSession
    runner: web.AppRunner
    warnings: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.site.port}"

    async def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        async with self.client.get(self.url + path, headers=headers) as answer:
            return answer.status, await answer.read()

    def n_held_bytes(self) -> int:
        """What is written and not taken yet, over all connections."""
        assert self.runner.server is not None
        transports = [one.transport for one in self.runner.server.connections]
        return sum(one.get_write_buffer_size() for one in transports if one is not None)

    async def page(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The first line of the page's data, and its cards by id."""
        _, text = await self.get("/")
        data = "".join(check_words(text.decode()))
        head, *cards = [json.loads(line) for line in data.splitlines() if line]
        return head, {card["id"]: card for card in cards}

    async def review(self, body: Any, **headers: str) -> tuple[int, Any]:
        sent = {"Origin": self.url, "Content-Type": "application/json", **headers}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.client.post(f"{self.url}/review", data=data, headers=sent) as answer:
            text = await answer.read()
            return answer.status, json.loads(text) if text else None


def check_words(text: str) -> list[str]:
    data = text.partition('<pre id="data" hidden>')[2].partition("</pre>")[0]
    return [data.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")]


@asynccontextmanager
async def served(
    job: Job, pacing: Pacing = QUICK, *, makes_thumbnails: bool = True
) -> AsyncIterator[Served]:
    warnings: list[str] = []
    root = job.layout.root
    setting = Setting(Clock(), thumbnails=None if makes_thumbnails else ThumbnailsOnDisk(root))
    async with (
        Thumbnailer(root) as thumbnailer,
        Feed(job.layout, setting, pacing, warnings.append) as feed,
        aiohttp.ClientSession() as client,
    ):
        site = Site(root, feed, Clock(), thumbnailer if makes_thumbnails else None)
        runner = site.runner()
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, 0).start()
            site.port = runner.addresses[0][1]
            yield Served(job, site, client, runner, warnings)
        finally:
            await runner.cleanup()


@dataclass
class Viewer:
    """An event stream, read as a browser does."""

    answer: aiohttp.ClientResponse
    last_id: int = 0
    cards: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    n_comments: int = 0

    async def read(self) -> None:
        """Take one event, or one comment."""
        event: dict[str, str] = {}
        while line := (await asyncio.wait_for(self.answer.content.readline(), 20)).decode():
            if line == "\n":
                break
            name, _, value = line.rstrip("\n").partition(":")
            event[name] = value.strip()
        if "data" not in event:
            self.n_comments += 1
            return
        assert set(event) == {"id", "event", "data"}
        assert int(event["id"]) >= self.last_id
        self.last_id = int(event["id"])
        self.names.append(event["event"])
        told = strict(event["data"])
        if event["event"] == "items":
            assert 1 <= len(told) <= 200
            self.cards.update({card["id"]: card for card in told})
        if event["event"] == "run":
            self.figures = told

    async def until(self, happened: Any) -> None:
        while not happened():
            await self.read()


@asynccontextmanager
async def viewer(page: Served, since: int | None = None, **headers: str) -> AsyncIterator[Viewer]:
    query = "" if since is None else f"?since={since}"
    async with page.client.get(f"{page.url}/events{query}", headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        yield Viewer(answer)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    root = tmp_path / "job"
    root.mkdir()
    job = Job(root, 4)
    job.begin()
    return job


def put_picture(job: Job, path: str, data: bytes) -> str:
    place = job.layout.root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def answer_with(job: Job, number: int, data: bytes) -> str:
    """An item that has its picture, on disk and in the ledger."""
    path = f"images/i{number}.png"
    sha256 = put_picture(job, path, data)
    image = ImageFile(
        path=path,
        role="final",
        sha256=sha256,
        bytes=len(data),
        width=64,
        height=64,
        mime="image/png",
    )
    job.answer(number, images=(image,))
    return sha256


async def test_the_page_is_what_the_ledger_says_and_its_policy_is_in_the_header(job: Job) -> None:
    job.answer(0)
    async with served(job) as page:
        async with page.client.get(f"{page.url}/") as answer:
            text = await answer.text()
            headers = answer.headers
        head, cards = await page.page()
    assert head["job"] == "j"
    assert head["live"]["seq"] > 0
    assert list(cards) == ["i0", "i1", "i2", "i3"]
    assert [card["status"] for card in cards.values()] == ["done", *["pending"] * 3]
    policy = headers["Content-Security-Policy"]
    for rule in ("default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'"):
        assert rule in policy
    assert "unsafe" not in policy
    assert "file:" not in policy
    # What the page says of itself, and no frame.
    (own,) = [
        attrs["content"]
        for tag, attrs in Page(text).tags
        if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy == f"{own}; frame-ancestors 'none'"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] == "batchgen"


async def test_what_lands_is_told_to_all_who_look_and_read_once_for_them_all(job: Job) -> None:
    with OutputLock(job.layout.lock, run_id="r1", at=START):
        # Nobody waits for the next comment: they are woken.
        async with served(job, Pacing(0.02, 0.05, comment_s=600)) as page:
            seq = (await page.page())[0]["live"]["seq"]
            async with viewer(page, seq) as one, viewer(page, seq) as other, viewer(page) as late:
                for view in (one, other, late):
                    await view.until(lambda v=view: v.figures)
                job.send(0)
                job.answer(0)
                job.fail(1)
                for view in (one, other, late):
                    await view.until(lambda v=view: len(v.cards) == 2)
                    await view.until(lambda v=view: v.figures.get("failed") == 1)
            assert one.cards == other.cards == late.cards
            assert one.cards["i0"]["image"]["path"] == "images/i0.png"
            assert one.figures["done"] == 1
            assert one.figures["pending"] == 2
            assert one.figures["ended"] is None
            # What was told is what a page that is loaded now shows.
            _, cards = await page.page()
            assert {**cards, **one.cards} == cards


async def test_who_waits_is_woken_by_what_lands(job: Job) -> None:
    async with served(job, Pacing(0.02, 0.0, comment_s=600)) as page:
        await page.page()
        feed = page.site.feed
        for number in range(4):
            known = feed.cursor(None)
            known = (await feed.news(known)).cursor
            waiting = asyncio.create_task(feed.wait(known))
            await asyncio.sleep(0)  # it waits now
            assert not waiting.done()
            job.answer(number)
            assert await asyncio.wait_for(waiting, 20)
            assert (await feed.news(known)).cards is not None


async def test_a_stream_that_broke_goes_on_where_it_was(job: Job) -> None:
    async with served(job) as page:
        seq = (await page.page())[0]["live"]["seq"]
        async with viewer(page, seq) as first:
            job.answer(0)
            await first.until(lambda: first.cards)
        job.answer(1)
        job.answer(2)
        # What the browser remembers wins over what the page began with.
        async with viewer(page, seq, **{"Last-Event-ID": str(first.last_id)}) as again:
            await again.until(lambda: len(again.cards) == 2)
            assert set(again.cards) == {"i1", "i2"}
            assert "reload" not in again.names
        async with viewer(page, again.last_id) as up_to_date:
            await up_to_date.until(lambda: up_to_date.n_comments > 2)
            assert up_to_date.cards == {}


async def test_a_viewer_of_another_server_or_of_another_job_loads_the_page_anew(job: Job) -> None:
    async with served(job) as page:
        await page.page()
        for since in (1, 1 << 60):
            async with viewer(page, since) as stranger:
                await stranger.until(lambda v=stranger: v.names)
                assert stranger.names[0] == "reload"
        async with viewer(page) as here:
            await here.until(lambda: here.figures)
            write_items(job.layout.items, [*job.items, Job.item("new")])
            await here.until(lambda: "reload" in here.names)
            _, cards = await page.page()
            assert list(cards) == ["i0", "i1", "i2", "i3", "new"]
            # It is told once.
            await here.until(lambda: here.n_comments > 2)
            assert here.names.count("reload") == 1
        status, text = await page.get("/events?since=x")
        assert (status, json.loads(text)) == (400, {"error": "expected a number in since"})


async def test_nothing_is_kept_of_what_was_there_before(job: Job) -> None:
    async with served(job) as page:
        await page.page()
        assert (await page.get("/charts"))[0] == 200
        state = page.site.feed._state
        assert state is not None
        known = weakref.ref(state)
        del state
        write_items(job.layout.items, [*job.items, Job.item("new")])
        await until(lambda: known() is None)
        assert len((await page.page())[1]) == 5


async def test_a_viewer_that_reads_nothing_holds_up_nobody(job: Job) -> None:
    for number in range(4):
        job.answer(number, text="x" * 19_000)
    async with served(job, Pacing(0.01, 0.0, 1)) as page:
        seq = (await page.page())[0]["live"]["seq"]
        with socket.create_connection((HOST, page.site.port)) as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            host = f"Host: {HOST}:{page.site.port}\r\n"
            lazy.sendall(f"GET /events?since={seq} HTTP/1.1\r\n{host}\r\n".encode())
            async with viewer(page, seq) as one:
                for attempt in range(2, 200):
                    job.answer(attempt % 4, attempt=attempt, text=f"{attempt} " + "x" * 19_000)
                    if attempt % 20 == 0:
                        words = f"{attempt} "
                        await one.until(
                            lambda w=words: any(
                                card.get("text", "").startswith(w) for card in one.cards.values()
                            )
                        )
            # It is one event behind, and nothing else is held for it.
            assert page.n_held_bytes() < 2 * MAX_EVENT_BYTES


async def test_a_mark_is_kept_and_told_to_all(job: Job) -> None:
    job.answer(0)
    async with served(job) as page:
        seq = (await page.page())[0]["live"]["seq"]
        async with viewer(page, seq) as one:
            mark = {"item": "i0", "sha256": "i0r1", "mark": "redo", "note": "too dark"}
            assert await page.review(mark) == (204, None)
            await one.until(lambda: one.cards.get("i0", {}).get("mark") == "redo")
            await one.until(lambda: one.figures.get("redo") == 1)
            assert one.cards["i0"]["mark_note"] == "too dark"
            assert await page.review({**mark, "mark": "none", "note": None}) == (204, None)
            await one.until(lambda: "mark" not in one.cards["i0"])
    assert read_marks(job.layout.review)["i0"].mark == "none"
    assert job.layout.review.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"item": "nobody", "sha256": "x", "mark": "keep"}, 404),
        ({"item": "i1", "sha256": "x", "mark": "keep"}, 409),
        ({"item": "i0", "sha256": "older", "mark": "keep"}, 409),
        ({"item": "i0", "sha256": "i0r1", "mark": "like"}, 400),
        ({"item": "i0", "sha256": "i0r1"}, 400),
        ({"item": "i0", "sha256": "i0r1", "mark": "keep", "more": 1}, 400),
        ({"item": "i0", "sha256": "i0r1", "mark": "keep", "note": "x" * 2001}, 400),
        ([], 400),
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 10_000, 400),
        (b" " * 20_000, 413),
    ],
)
async def test_a_mark_that_makes_no_sense_is_refused_and_leaves_no_line(
    job: Job, body: Any, status: int
) -> None:
    job.answer(0)
    async with served(job) as page:
        await page.page()
        found, told = await page.review(body)
        assert found == status
        assert set(told) == {"error"}
        assert not job.layout.review.exists()
        longest = {"item": "i0", "sha256": "i0r1", "mark": "keep", "note": "x" * 2000}
        assert (await page.review(longest))[0] == 204


async def test_a_mark_is_not_written_behind_a_link(job: Job, tmp_path: Path) -> None:
    job.answer(0)
    (tmp_path / "elsewhere").write_text("")
    job.layout.review.symlink_to(tmp_path / "elsewhere")
    async with served(job) as page:
        await page.page()
        status, _ = await page.review({"item": "i0", "sha256": "i0r1", "mark": "keep"})
    assert status == 507
    assert (tmp_path / "elsewhere").read_text() == ""


async def test_pictures_are_given_and_kept_by_the_browser_as_long_as_they_are_the_same(
    job: Job,
) -> None:
    put_picture(job, "images/a b.png", png("a"))
    async with served(job) as page:
        async with page.client.get(f"{page.url}/images/a%20b.png") as answer:
            assert await answer.read() == png("a")
            headers = answer.headers
        assert headers["Content-Type"] == "image/png"
        assert headers["Cache-Control"] == "private, no-cache"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        tag = headers["ETag"]
        assert await page.get("/images/a%20b.png", **{"If-None-Match": tag}) == (304, b"")
        new = job.layout.root / "new"
        new.write_bytes(png("b"))
        new.replace(job.layout.root / "images/a b.png")
        assert await page.get("/images/a%20b.png", **{"If-None-Match": tag}) == (200, png("b"))
        async with page.client.head(f"{page.url}/images/a%20b.png") as answer:
            assert answer.headers["Content-Length"] == str(len(png("b")))
            assert await answer.read() == b""
        for path in ("/ledger/r1.jsonl", "/items.jsonl", "/images/no.png", "/no"):
            status, text = await page.get(path)
            assert (status, json.loads(text)) == (404, {"error": "there is no such picture"})


async def test_thumbnails_are_made_of_what_the_page_shows_and_of_nothing_else(job: Job) -> None:
    data = png("hero", 600)
    sha256 = answer_with(job, 0, data)
    hidden = put_picture(job, "images/nobodys.png", png("nobody's"))
    # Somebody has put another picture in its place.
    other = answer_with(job, 1, png("one"))
    put_picture(job, "images/i1.png", png("another"))
    async with served(job) as page:
        assert (await page.get(f"/thumbnails/{sha256}.webp"))[0] == 404  # nobody has seen it yet
        _, cards = await page.page()
        assert cards["i0"]["image"]["thumbnail"]
        async with page.client.get(f"{page.url}/thumbnails/{sha256}.webp") as answer:
            text = await answer.read()
            assert answer.headers["Content-Type"] == "image/webp"
            assert "immutable" in answer.headers["Cache-Control"]
        assert text[8:12] == b"WEBP"
        for digest in (hidden, other, "0" * 64):
            assert (await page.get(f"/thumbnails/{digest}.webp"))[0] == 404
        put_picture(job, f"thumbnails/{hidden}.webp", text)
        assert (await page.get(f"/thumbnails/{hidden}.webp"))[0] == 404
        put_picture(job, "thumbnails/other.webp", text)
        assert (await page.get("/thumbnails/other.webp"))[0] == 404


async def test_where_none_are_made_those_that_are_there_are_shown(job: Job) -> None:
    sha256, without = answer_with(job, 0, png("hero", 600)), answer_with(job, 1, png("one"))
    small = png("small")
    put_picture(job, f"thumbnails/{sha256}.webp", small)
    job.answer(2)  # whose digest is none
    async with served(job, makes_thumbnails=False) as page:
        _, cards = await page.page()
        has = [cards[f"i{n}"]["image"].get("thumbnail", False) for n in range(3)]
        assert has == [True, False, False]
        assert await page.get(f"/thumbnails/{sha256}.webp") == (200, small)
        assert (await page.get(f"/thumbnails/{without}.webp"))[0] == 404
    assert [path.name for path in job.layout.thumbnails.iterdir()] == [f"{sha256}.webp"]


OWN = b"Host: HERE\r\nOrigin: http://HERE\r\n"
JSON = b"Content-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
RAW = [
    (b"GET / HTTP/1.1\r\n\r\n", b" 400 "),
    (b"GET / HTTP/1.0\r\n\r\n", b" 403 "),
    (b"GET / HTTP/1.1\r\nHost: evil.example:PORT\r\n\r\n", b" 403 "),
    (b"GET / HTTP/1.1\r\nHost: HERE\r\nHost: evil.example\r\n\r\n", b" 40"),
    (b"GET /events HTTP/1.1\r\nHost: HERE\r\nOrigin: http://evil.example\r\n\r\n", b" 403 "),
    (b"GET /charts HTTP/1.1\r\nHost: HERE\r\nSec-Fetch-Site: cross-site\r\n\r\n", b" 403 "),
    (b"GET http://evil.example/ HTTP/1.1\r\nHost: HERE\r\n\r\n", b" 400 "),
    (b"GET http://HERE/ HTTP/1.1\r\nHost: HERE\r\n\r\n", b" 400 "),
    (b"DELETE / HTTP/1.1\r\nHost: HERE\r\n\r\n", b" 405 "),
    (b"OPTIONS /review HTTP/1.1\r\nHost: HERE\r\nOrigin: http://evil.example\r\n\r\n", b" 405 "),
    (b"POST /review HTTP/1.1\r\nHost: HERE\r\nContent-Length: 2\r\n\r\n{}", b" 403 "),
    (b"POST / HTTP/1.1\r\n" + OWN + JSON + b"Content-Length: 2\r\n\r\n{}", b" 405 "),
    (b"POST /review HTTP/1.1\r\n" + OWN + b"Content-Length: 2\r\n\r\n{}", b" 415 "),
    (b"POST /review HTTP/1.1\r\n" + OWN + JSON + CHUNKED, b" 411 "),
    (b"GET /images/../../../etc/passwd HTTP/1.1\r\nHost: HERE\r\n\r\n", b" 404 "),
    (b"GET /images/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: HERE\r\n\r\n", b" 404 "),
    (b"GET //etc/passwd HTTP/1.1\r\nHost: HERE\r\n\r\n", b" 404 "),
    (b"GET /images/a\0.png HTTP/1.1\r\nHost: HERE\r\n\r\n", b" 40"),
    (b"nonsense\r\n\r\n", b" 400 "),
]


async def test_requests_that_no_browser_of_ours_sends_are_refused(job: Job) -> None:
    job.answer(0)
    async with served(job) as page:
        await page.page()
        here = f"{HOST}:{page.site.port}".encode()
        for request, status in RAW:
            reader, writer = await asyncio.open_connection(HOST, page.site.port)
            asked = request.replace(b"HERE", here).replace(b"PORT", here.split(b":")[1])
            writer.write(asked.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            first = answer.partition(b"\r\n")[0]
            assert status in first, (asked, answer)
            assert b"root:" not in answer
    assert not job.layout.review.exists()


async def test_a_ledger_that_cannot_be_read_is_told_and_followed_again_when_it_can(
    job: Job,
) -> None:
    job.answer(0)
    async with served(job) as page:
        await page.page()
        with job.layout.segment("r1").open("ab") as file:
            file.write(b'{"v":2,"event":"dream"}\n')
        await until(lambda: page.warnings)
        status, text = await page.get("/")
        assert status == 200
        assert b"written by a newer batchgen" in text
        assert b"<script" not in text
        assert "newer batchgen" in page.warnings[0]
        assert (await page.review({"item": "i0", "sha256": "i0r1", "mark": "keep"}))[0] == 404
        assert (await page.get("/charts"))[0] == 200


async def test_another_ledger_in_the_place_of_the_old_one_is_followed(job: Job) -> None:
    job.answer(0)
    async with served(job) as page:
        await page.page()
        async with viewer(page) as one:
            job.layout.segment("r1").unlink()
            job.begin("r2")
            job.answer(1)
            await one.until(lambda: "reload" in one.names)
            head, cards = await page.page()
    assert head["run"] == "r2"
    assert [card["status"] for card in cards.values()] == ["pending", "done", "pending", "pending"]
    assert page.warnings == []


async def test_a_fault_of_ours_is_told_and_ends_nothing(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(job) as page:
        await page.page()
        with monkeypatch.context() as broken:
            broken.setattr("batchgen.live.state.State.poll", lambda _: 1 / 0)
            await until(lambda: page.warnings)
        assert "a bug in batchgen: ZeroDivisionError" in page.warnings[0]
        status, text = await page.get("/")
        assert status == 200
        assert b"ZeroDivisionError" in text


@pytest.mark.parametrize("fails_at", [0, 500])
async def test_a_page_that_the_disk_cuts_short_does_not_look_whole(
    fails_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(tmp_path, 600)
    job.begin()
    card = Deck.card

    def fails_late(deck: Deck, number: int) -> bytes:
        if number == fails_at:
            raise StoreError("items.jsonl cannot be read any more")
        return card(deck, number)

    monkeypatch.setattr(Deck, "card", fails_late)
    async with served(job) as page:
        await until(lambda: page.site.feed.trouble is None)
        reader, writer = await asyncio.open_connection(HOST, page.site.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: %b:%d\r\n\r\n" % (HOST.encode(), page.site.port))
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        await writer.wait_closed()
    assert (b'"i100"' in answer) == (fails_at > 100)
    assert answer.count(b"HTTP/1.1") == 1
    assert not answer.endswith(b"0\r\n\r\n")


NO_TIME = Sent(run_id="r1", item="i0", key="k", turn=1, attempt=1, at="yesterday", model="m")


@pytest.mark.parametrize("line", [b"no line", msgspec.json.encode(NO_TIME)])
async def test_lines_that_are_none_are_told_once(job: Job, line: bytes) -> None:
    async with served(job) as page:
        await page.page()
        with job.layout.segment("r1").open("ab") as file:
            file.write(line + b"\n")
        job.answer(0)
        await until(lambda: page.warnings)
        job.answer(1)
        _, cards = await page.page()
        assert cards["i1"]["status"] == "done"
    assert page.warnings == [w for w in page.warnings if "r1.jsonl:2" in w]
    assert len(page.warnings) == 1


async def test_a_page_without_a_run_waits_for_one(tmp_path: Path) -> None:
    root = tmp_path / "<b>not yet"
    job = Job.__new__(Job)
    job.layout = Layout(root)
    async with served(job) as page:
        status, text = await page.get("/")
        assert status == 200
        assert b"Nothing to show yet" in text
        assert b'http-equiv="refresh"' in text
        assert b"<b>" not in text
        async with viewer(page) as one:
            root.mkdir()
            made = Job(root, 2)
            made.begin()
            made.answer(0)
            await one.until(lambda: "reload" in one.names)
        _, cards = await page.page()
        assert cards["i0"]["status"] == "done"


async def test_the_charts_are_those_of_the_page(job: Job) -> None:
    job.answer(0)
    async with served(job) as page:
        _, text = await page.get("/")
        status, charts = await page.get("/charts")
    assert status == 200
    assert b"<svg" in charts
    assert b"<script" not in charts
    assert charts.strip().splitlines()[0] in text


async def test_there_is_no_icon_and_no_browser_is_told_of_a_mistake(job: Job) -> None:
    async with served(job) as page:
        assert await page.get("/favicon.ico") == (204, b"")


async def test_who_leaves_is_let_go_of_at_once(job: Job) -> None:
    async with served(job, Pacing(0.02, 0.02, 600)) as page:
        await page.page()
        async with viewer(page) as one:
            await one.until(lambda: one.names)
            assert _n_handled()
        await until(lambda: not _n_handled())


def _n_handled() -> int:
    return sum("_handle_request" in repr(task) for task in asyncio.all_tasks())


async def until(happened: Any) -> None:
    async with asyncio.timeout(20):
        while not happened():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


def test_nothing_here_is_more_than_a_reader(job: Job) -> None:
    """Whatever a page does with a job, its files stay as they are."""
    job.answer(0)
    before = _files(job.layout.root)

    async def look() -> None:
        async with served(job) as page:
            await page.page()
            await page.get("/charts")
            async with viewer(page) as one:
                await one.until(lambda: one.names)

    asyncio.run(look())
    assert _files(job.layout.root) == before


def _files(root: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            found[str(path)] = (path.stat().st_size, path.stat().st_mtime_ns)
    return found
