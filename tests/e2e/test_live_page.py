"""The page that `batchgen report --serve` serves, beside runs in other processes."""

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import aiohttp
import pytest

from tests import ledgers
from tests.commands import batchgen, emulator, started, until
from tests.runs import KEY, Json, write_job
from tests.servers import FaultServer, draws
from tests.serving import Served, served

HOST = "127.0.0.1"


@dataclass
class Seen:
    """What one viewer came to know, event by event."""

    cards: dict[str, Any]
    runs: list[Any]


async def watch(client: aiohttp.ClientSession, page: Served, seen: Seen) -> None:
    """Follow the events as the page's script does, until the run has ended."""
    since = 1
    while True:
        async with client.get(f"{page.url}events", params={"since": since}) as answer:
            async for name, told in events(answer):
                if name == "items":
                    seen.cards.update({card["id"]: card for card in told})
                elif name == "run":
                    seen.runs.append(told)
                    if told["ended"] and told["pending"] == 0:
                        return
                elif name == "reload":  # there is more than the events will tell
                    head, seen.cards = await asyncio.to_thread(page.read)
                    since = head["live"]["seq"]
                    break


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    """The names and the data of a stream of events."""
    event: dict[str, str] = {}
    async for line in answer.content:
        name, _, value = line.decode().rstrip("\n").partition(":")
        if name:
            event[name] = value.strip()
        elif event:
            if "data" in event:
                yield event["event"], json.loads(event["data"])
            event = {}


async def test_viewers_of_a_run_see_all_of_it_as_the_ledger_has_it(tmp_path: Path) -> None:
    prompts = [f"p{n}" for n in range(18)] + ["[[BLOCKED]] no", "[[NO_IMAGE:1]] first"]
    items: list[str | Json] = [{"id": f"i{n}", "prompt": one} for n, one in enumerate(prompts)]
    items.append({"id": "child", "prompt": "c", "references": ["item:i0"]})
    job, directory = write_job(tmp_path / "job.jsonl", items), tmp_path / "output/job"
    seen = [Seen({}, []) for _ in range(3)]
    with emulator("--latency", "0.3-1") as server, served(directory) as page:
        async with aiohttp.ClientSession() as client:
            viewers = [asyncio.create_task(watch(client, page, one)) for one in seen]
            run = ("run", job, "-o", tmp_path / "output", "--base-url", server.url)
            done = await asyncio.to_thread(batchgen, *run, COMETAPI_KEY=KEY)
            assert done.code == 4, done.err
            await asyncio.wait_for(asyncio.gather(*viewers), 20)
        cards = page.cards()
        page.end()
    results, summary = ledgers.results(directory), ledgers.summary(directory)
    assert list(cards) == list(results)
    for one in seen:
        assert one.cards == cards
        check_last(one.runs[-1], summary)
        n_done = [run["done"] for run in one.runs]
        assert n_done == sorted(n_done)
        assert any(run["in_flight"] for run in one.runs)
    for item_id, result in results.items():
        card = cards[item_id]
        assert (card["status"], card["key"]) == (result["status"], result["key"])
        assert card.get("usd") == result["cost_usd"]
        assert card["attempts"] == result["attempts"] == len(card["tries"])
        if result["status"] == "done":
            assert card["image"]["sha256"] == result["images"][0]["sha256"]
    ledgers.check_directory(directory)


def check_last(figures: Any, summary: Any) -> None:
    """The last figures that were told are those of the summary."""
    assert figures["ended"] == {name: summary[name] for name in ("stop_reason", "exit_code")}
    for name in ("total", "done", "failed", "skipped", "pending"):
        assert figures[name] == summary["items"][name]
    for name in ("cost_usd", "cost_waste_usd", "cost_maybe_usd", "cost_unknown_attempts"):
        assert figures[name] == summary[name]
    assert figures["attempts"] == summary["attempts"]["total"]
    assert (figures["run"], figures["p50_s"]) == (summary["run_id"], summary["latency_s"]["p50"])
    assert figures["in_flight"] == 0
    assert figures["cooling"] == []


def test_a_picture_that_is_marked_is_made_again_beside_the_page(tmp_path: Path) -> None:
    job, directory = write_job(tmp_path / "job.jsonl", ["a", "b"]), tmp_path / "output/job"
    with FaultServer(draws) as server, served(directory) as page:
        run = ("run", job, "-o", tmp_path / "output", "--base-url", server.url)
        assert batchgen(*run, COMETAPI_KEY=KEY).code == 0
        before = page.cards()
        digest = before["a"]["image"]["sha256"]
        assert review(page, {"item": "a", "sha256": digest, "mark": "redo"}) == 204
        assert page.cards()["a"]["mark"] == "redo"
        done = batchgen(*run, "--redo", COMETAPI_KEY=KEY)
        assert done.code == 0, done.err
        until(lambda: page.cards()["a"]["image"]["sha256"] != digest, "the new picture")
        cards = page.cards()
        assert "mark" not in cards["a"]
        (old,) = cards["a"]["before"]
        assert old["sha256"] == digest
        assert page.get(old["path"])[:3] in {b"\x89PN", b"\xff\xd8\xff", b"RIF"}
        assert page.get(f"thumbnails/{digest}.webp")[8:12] == b"WEBP"
        assert cards["b"] == before["b"]
        # What was looked at is no more.
        assert review(page, {"item": "a", "sha256": digest, "mark": "keep"}) == 409
        page.end(signal.SIGTERM)


def review(page: Served, mark: Any) -> int:
    async def post() -> int:
        async with (
            aiohttp.ClientSession() as client,
            client.post(
                f"{page.url}review", json=mark, headers={"Origin": page.url[:-1]}
            ) as answer,
        ):
            return answer.status

    return asyncio.run(post())


def test_a_killed_run_is_shown_as_one_and_the_next_goes_on(tmp_path: Path) -> None:
    job, directory = write_job(tmp_path / "job.jsonl", ["a", "b"]), tmp_path / "output/job"
    with emulator("--latency", "30") as slow, served(directory) as page:
        command = ("run", job, "-o", tmp_path / "output", "--base-url")
        with started(*command, slow.url, COMETAPI_KEY=KEY) as run:
            until(lambda: slow.n_requests, "a request")
            until(lambda: b'"is_under_way":true' in page.get(), "a call under way")
            run.signal(signal.SIGKILL)
            run.end()
        until(lambda: b"is_under_way" not in data_of(page), "the end of it")
        with emulator("--latency", "0") as quick:
            assert batchgen(*command, quick.url, COMETAPI_KEY=KEY).code == 0
        until(lambda: {one["status"] for one in page.cards().values()} == {"done"}, "all done")
        page.end()


def data_of(page: Served) -> bytes:
    return page.get().partition(b'<pre id="data" hidden>')[2].partition(b"</pre>")[0]


def test_it_ends_at_once_however_many_look_and_do_not_read(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a"], provider="emulator")
    assert batchgen("run", job, "-o", tmp_path / "output").code == 0
    with served(tmp_path / "output/job") as page, contextlib.ExitStack() as stack:
        port = int(page.url.split(":")[2].strip("/"))
        for _ in range(5):
            viewer = stack.enter_context(socket.create_connection((HOST, port)))
            viewer.sendall(f"GET /events HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n".encode())
            assert viewer.recv(12) == b"HTTP/1.1 200"
        nonsense = stack.enter_context(socket.create_connection((HOST, port)))
        nonsense.sendall(b"nonsense\r\n\r\n")
        answer = nonsense.recv(1000)
        assert b"aiohttp" not in answer
        assert b"Python" not in answer
        page.end()


def test_who_wants_no_thumbnails_made_gets_none(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a"], provider="emulator")
    assert batchgen("run", job, "-o", tmp_path / "output").code == 0
    directory = tmp_path / "output/job"
    with served(directory, "--port", "0", "--no-thumbnails") as page:
        image = page.cards()["a"]["image"]
        assert "thumbnail" not in image
        with pytest.raises(HTTPError, match="404"):
            page.get(f"thumbnails/{image['sha256']}.webp")
        assert page.get(image["path"])
    assert not (directory / "thumbnails").exists()


def test_a_port_is_the_usual_one_or_the_next_or_exactly_the_one_that_is_told(
    tmp_path: Path,
) -> None:
    with served(tmp_path / "job", "--port", "0") as page:
        port = page.url.split(":")[2].strip("/")
        with pytest.raises(HTTPError, match="404"):
            page.get("images/a.png")
        taken = batchgen("report", tmp_path / "job", "--serve", "--port", port)
        assert taken.code == 2
        assert f"port {port} of 127.0.0.1" in taken.err
        with served(tmp_path / "job", "") as one, served(tmp_path / "job", "") as other:
            assert one.url != other.url
            assert b"Nothing to show yet" in other.get()
        assert not (tmp_path / "job").exists()


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--serve", "--json"], "--serve writes none"),
        (["--port", "8642"], "--port is for --serve"),
        (["--serve", "--port", "65536"], "65536"),
    ],
)
def test_flags_that_do_not_go_together_are_wrong_usage(
    tmp_path: Path, flags: list[str], why: str
) -> None:
    done = batchgen("report", tmp_path, *flags)
    assert done.code == 2
    assert why in done.err


def test_a_file_is_no_directory_to_serve(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = batchgen("report", tmp_path / "file", "--serve")
    assert done.code == 2
    assert "is no directory" in done.err


def test_a_redo_on_the_emulator_brings_another_picture(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b"], provider="emulator")
    run, directory = ("run", job, "-o", tmp_path / "output"), tmp_path / "output/job"
    assert batchgen(*run).code == 0
    before = ledgers.results(directory)
    mark = {"item": "a", "sha256": before["a"]["images"][0]["sha256"], "mark": "redo"}
    (directory / "review.jsonl").write_text(json.dumps(mark) + "\n", "utf-8")
    assert batchgen(*run, "--redo").code == 0
    after = ledgers.results(directory)
    assert after["a"]["images"][0]["sha256"] != mark["sha256"]
    assert after["b"] == before["b"]
    # The mark is done with: nothing is paid for a second time.
    assert batchgen(*run, "--redo").code == 0
    assert ledgers.results(directory) == after
