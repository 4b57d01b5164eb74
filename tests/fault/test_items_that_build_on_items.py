"""Items that build on items: what is sent with them and when, and what is not sent at all."""

import asyncio
import base64
import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest

import batchgen
from batchgen import Redo
from batchgen.report.rebuild import rebuild
from tests import ledgers, servers
from tests.pages import cards_of
from tests.runs import run_job, write_job
from tests.servers import Answer, Asked, FaultServer, Script

CHAIN = {"hero": (), "wide": ("hero",), "small": ("wide",)}


def item(name: str, *parents: str, **fields: Any) -> dict[str, Any]:
    references = [f"item:{parent}" for parent in parents]
    return {"id": name, "prompt": name, "references": references, **fields}


def write(folder: Path, items: list[dict[str, Any]], **head: Any) -> Path:
    return write_job(folder / "job.jsonl", items, **head)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Three that build on each other, the last first, and one beside them."""
    chain = [item(name, *parents) for name, parents in CHAIN.items()]
    return write(tmp_path, [*chain[::-1], item("other")])


def answers(**by_prompt: Answer) -> Script:
    return lambda asked: by_prompt.get(asked.prompt) or servers.draws(asked)


def pictures_in(asked: Asked) -> list[bytes]:
    """The pictures of a request's last message."""
    parts = json.loads(asked.body)["contents"][-1]["parts"]
    return [base64.b64decode(part["inlineData"]["data"]) for part in parts if "inlineData" in part]


def statuses(directory: Path) -> dict[str, str]:
    return {name: one["status"] for name, one in ledgers.results(directory).items()}


async def test_each_goes_with_the_picture_of_what_it_builds_on(job: Path) -> None:
    with FaultServer(servers.draws) as server:
        ran = await run_job(job, server)
        again = await run_job(job, server)
    asked = {one.prompt: one for one in server.log}
    assert pictures_in(asked["hero"]) == pictures_in(asked["other"]) == []
    assert pictures_in(asked["wide"]) == [servers.png("hero 1")]
    assert pictures_in(asked["small"]) == [servers.png("wide 1")]
    assert (ran.exit_code, again.exit_code) == (0, 0)
    assert server.n_requests == 4
    assert again.summary.items.reused == 4
    assert list(ledgers.results(ran.directory)) == ["small", "wide", "hero", "other"]


async def test_the_key_counts_the_picture_by_its_bytes(job: Path) -> None:
    with FaultServer(servers.draws) as server:
        ran = await run_job(job, server)
    hero = ran.directory / "images/hero.png"
    by_hand = write_job(
        job.parent / "by-hand.jsonl",
        [{"id": "wide", "prompt": "wide", "references": [str(hero)]}],
        name="by-hand",
    )
    with FaultServer(servers.draws) as server:
        other = await run_job(by_hand, server)
    of_item = ledgers.results(ran.directory)["wide"]["key"]
    assert of_item == ledgers.results(other.directory)["wide"]["key"]
    assert of_item in {line["key"] for line in ran.attempts}


async def test_a_retry_of_what_others_wait_for_finds_a_slot(tmp_path: Path) -> None:
    job = write(tmp_path, [item("wide", "hero"), item("hero")], limits={"concurrency": 1})
    with FaultServer(servers.once(servers.refuses(503))) as server:
        ran = await run_job(job, server)
    assert ran.exit_code == 0
    assert server.requests == {"hero": 2, "wide": 2}


async def test_what_builds_on_a_failed_item_is_skipped_and_costs_nothing(job: Path) -> None:
    with FaultServer(answers(hero=servers.refuses(400))) as server:
        ran = await run_job(job, server)
    assert server.requests == {"hero": 1, "other": 1}
    assert ran.exit_code == 4
    assert statuses(ran.directory) == {
        "small": "skipped",
        "wide": "skipped",
        "hero": "failed",
        "other": "done",
    }
    skipped = [line for line in ran.attempts if line["decision"] == "skipped"]
    assert [(line["item"], line["attempt"], line["turn"]) for line in skipped] == [
        ("wide", 0, 1),
        ("small", 0, 1),
    ]
    assert {(line["outcome"], line["billed"]) for line in skipped} == {("skipped_dependency", "no")}
    for line, parent in zip(skipped, ["hero", "wide"], strict=True):
        assert f"on {parent}," in line["error"]["message"]
    assert {line["item"] for line in ledgers.segments(ran.directory)[0] if "est_usd" in line} == {
        "hero",
        "other",
    }
    ended = [one.result for one in ran.events if isinstance(one, batchgen.ItemEnded)]
    assert {one.id: one.status for one in ended} == statuses(ran.directory)
    assert ran.summary.items.skipped == 2
    assert ran.summary.attempts.total == 2


async def test_what_was_skipped_is_made_once_its_parent_is(job: Path) -> None:
    with FaultServer(servers.once(servers.refuses(400))) as server:
        first = await run_job(job, server)
        same = await run_job(job, server)
        assert server.requests == {"hero": 1, "other": 1}
        assert len(same.attempts) == len(first.attempts)
        told = []
        for _ in range(3):
            ran = await run_job(job, server, redo=Redo(failed=frozenset()))
            told.append([statuses(ran.directory)[name] for name in CHAIN])
    assert told == [["done", "failed", "skipped"], ["done", "done", "failed"], ["done"] * 3]
    assert server.requests == {"hero": 2, "wide": 2, "small": 2, "other": 2}


async def test_a_changed_picture_makes_anew_what_builds_on_it_and_nothing_else(
    job: Path,
) -> None:
    with FaultServer(servers.draws) as server:
        await run_job(job, server)
        chain = [item(name, *parents) for name, parents in CHAIN.items()]
        chain[0]["prompt"] = "queen"
        ran = await run_job(write(job.parent, [*chain, item("other")]), server)
    assert ran.exit_code == 0
    assert server.requests == {"hero": 1, "queen": 1, "wide": 2, "small": 2, "other": 1}
    (wide,) = [one for one in server.log if one.prompt == "wide" and one.nth == 2]
    assert pictures_in(wide) == [servers.png("queen 1")]


async def test_a_picture_that_is_made_again_as_it_was_changes_nothing(job: Path) -> None:
    same = servers.whole(servers.document(servers.image_part(servers.png("the same"))))
    with FaultServer(answers(hero=same)) as server:
        ran = await run_job(job, server)
        (ran.directory / "images/hero.png").unlink()
        again = await run_job(job, server)
    assert server.requests == {"hero": 2, "wide": 1, "small": 1, "other": 1}
    assert again.exit_code == 0
    ended = {one.result.id for one in again.events if isinstance(one, batchgen.ItemEnded)}
    assert ended == {"hero", "wide", "small"}


async def test_a_picture_that_somebody_changed_is_not_sent(tmp_path: Path) -> None:
    job = write(tmp_path, [item("hero")])
    with FaultServer(servers.draws) as server:
        ran = await run_job(job, server)
        path = ran.directory / "images/hero.png"
        data = bytearray(path.read_bytes())
        data[-20] ^= 1
        path.write_bytes(data)
        write(tmp_path, [item("hero"), item("wide", "hero"), item("small", "wide")])
        runner = batchgen.Runner(job, output=tmp_path / "output", base_url=server.url)
        async with runner:
            ended = {one.id: one async for one in runner.results()}
    assert server.requests == {"hero": 1}
    assert {name: str(one.outcome) for name, one in ended.items()} == {
        "wide": "missing_reference",
        "small": "skipped_dependency",
    }


async def test_a_run_that_is_stopped_leaves_what_waits_to_be_done_without_a_line(
    job: Path,
) -> None:
    released = threading.Event()

    def stop_at_once(event: batchgen.Event) -> None:
        if isinstance(event, batchgen.RunBegan):
            asyncio.get_running_loop().call_later(0.2, stop)

    def stop() -> None:
        runner.request_stop("sigterm")
        released.set()

    with FaultServer(lambda asked: servers.waits_for(released, servers.draws(asked))) as server:
        runner = batchgen.Runner(
            job, output=job.parent / "output", base_url=server.url, on_event=stop_at_once
        )
        async with runner:
            ended = {one.id: one.status async for one in runner.results()}
    # The first request went alone.
    assert ended == {"hero": "done", "other": "pending"}
    assert runner.summary.exit_code == 143
    assert {line["item"] for line in ledgers.attempts(runner.directory)} == {"hero"}
    assert statuses(runner.directory)["wide"] == "pending"
    with FaultServer(servers.draws) as server:
        ran = await run_job(job, server)
    assert server.requests == {"wide": 1, "small": 1, "other": 1}
    assert ran.exit_code == 0


async def test_what_failed_and_what_was_skipped_run_as_they_stand(tmp_path: Path) -> None:
    job = write(
        tmp_path,
        [
            item("both", "good", "bad", "bad"),
            item("more", "both"),
            item("good"),
            item("bad"),
        ],
    )
    with FaultServer(answers(bad=servers.refuses(400))) as server:
        first = await run_job(job, server)
    _, both, more, bad = ledgers.lines(first.directory / "failed.jsonl")
    assert both["references"] == [{"path": "images/good.png"}, {"item": "bad"}, {"item": "bad"}]
    assert more["references"] == [{"item": "both"}]
    assert "references" not in bad
    with FaultServer(servers.draws) as server:
        failed = first.directory / "failed.jsonl"
        again = batchgen.Runner(
            failed,
            output=first.directory.parent,
            base_url=server.url,
            redo=Redo(failed=frozenset()),
        )
        async with again:
            ended = [one.id async for one in again.results()]
        assert ended == ["bad", "both", "more"]
        assert server.requests == {"both": 1, "more": 1, "bad": 1}
        whole = await run_job(job, server)
    assert server.n_requests == 3
    assert whole.summary.items.reused == 4


async def test_a_name_that_is_no_id_means_the_first_of_several_copies(tmp_path: Path) -> None:
    job = write(tmp_path, [item("wide", "hero"), item("hero", count=2)])
    with FaultServer(servers.draws) as server:
        ran = await run_job(job, server)
    first = ledgers.results(ran.directory)["hero#1"]["images"][0]
    (wide,) = [one for one in server.log if one.prompt == "wide"]
    assert [hashlib.sha256(data).hexdigest() for data in pictures_in(wide)] == [first["sha256"]]


async def test_a_conversation_builds_on_items_and_items_build_on_its_last_picture(
    tmp_path: Path,
) -> None:
    turns = [{"prompt": "first"}, {"prompt": "second", "references": ["item:hero"]}]
    job = write(tmp_path, [item("wide", "talk"), {"id": "talk", "turns": turns}, item("hero")])
    with FaultServer(servers.draws) as server:
        ran = await run_job(job, server)
    assert ran.exit_code == 0
    by_last = {servers.png("hero 1"): "talk", servers.png("second 1"): "wide"}
    asked = [by_last[sent] for one in server.log for sent in pictures_in(one)[-1:]]
    assert asked == ["talk", "wide"]
    assert ran.summary.images == 3
    assert ran.summary.cost_waste_usd == 0
    ended = [one.result.id for one in ran.events if isinstance(one, batchgen.ItemEnded)]
    assert sorted(ended) == ["hero", "talk", "wide"]
    talk = ledgers.results(ran.directory)["talk"]
    assert (talk["status"], talk["attempts"]) == ("done", 2)
    assert talk["cost_usd"] == f"{2 * 0.138160:.6f}"


async def test_reports_see_what_builds_on_a_done_item_as_the_run_did(job: Path) -> None:
    with FaultServer(answers(wide=servers.refuses(400))) as server:
        ran = await run_job(job, server)
    names = ("results.jsonl", "summary.json", "report.html", "failed.jsonl")
    before = {name: (ran.directory / name).read_bytes() for name in names}
    rebuild(ran.directory)
    assert {name: (ran.directory / name).read_bytes() for name in names} == before
    assert set(cards_of(before["report.html"].decode())) == {*CHAIN, "other"}
