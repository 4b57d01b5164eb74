"""What a plan tells: each item with its reason, and just what the run then sends."""

import json
from pathlib import Path
from typing import Any

import pytest

from batchgen import Redo, Selection, UsageError
from batchgen.events import RunBegan
from batchgen.model import Outcome
from batchgen.preview import Preview, preview
from tests import ledgers, servers
from tests.runs import run_job, write_job
from tests.servers import Answer, Asked, FaultServer, refuses

Json = dict[str, Any]

STANDS = {
    "done": "done",
    "gone": "file_missing",
    "refused": "settled",
    "flaky": "failed",
    "changed": "new",
    "talk": "done",
    "on-done": "done",
    "on-refused": "skipped",
    "on-flaky": "waiting",
    "new": "new",
}
ITEMS: list[Json | str] = [
    *("done", "gone", "refused", "flaky", "changed"),
    {"id": "talk", "turns": [{"prompt": "talk"}, {"prompt": "more"}]},
    {"id": "on-done", "prompt": "on-done", "references": ["item:done"]},
    {"id": "on-refused", "prompt": "on-refused", "references": ["item:refused"]},
    {"id": "on-flaky", "prompt": "on-flaky", "references": ["item:flaky"]},
]
RETRY = Redo(failed=frozenset())


def look(job: Path, **options: Any) -> Preview:
    warnings: list[str] = []
    told = preview(job, warn=warnings.append, output=job.parent / "output", **options)
    assert not warnings
    return told


def fates(told: Preview) -> dict[str, str]:
    """Why items are made or not, by id."""
    groups = {**told.to_make, **told.left_alone}
    assert all(group.count == len(group.ids) for group in groups.values())
    return {item: fate for fate, group in groups.items() for item in group.ids}


def script(asked: Asked) -> Answer:
    if asked.prompt == "refused":
        return refuses(400)
    if asked.prompt == "flaky":
        return servers.whole(servers.document({"text": "no"}))
    return servers.draws(asked)


async def after_a_run(tmp_path: Path, server: FaultServer) -> Path:
    """A job of which each item stands elsewhere, after one run."""
    limits = {"concurrency": 1}
    job = write_job(tmp_path / "job.jsonl", ITEMS, limits=limits)
    server.script = script
    assert (await run_job(job, server)).exit_code == 4
    (tmp_path / "output/job/images/gone.png").unlink()
    changed = [item if item != "changed" else {"id": item, "prompt": "other"} for item in ITEMS]
    server.script = servers.draws
    server.requests.clear()
    return write_job(job, [*changed, "new"], limits=limits)


@pytest.mark.parametrize(
    ("options", "besides"),
    [
        ({}, {}),
        ({"redo": RETRY}, {"refused": "failed", "on-refused": "waiting"}),
        (
            {"redo": Redo(failed=frozenset({Outcome.BAD_REQUEST}))},
            {
                "flaky": "settled",
                "refused": "failed",
                "on-flaky": "skipped",
                "on-refused": "waiting",
            },
        ),
        (
            {"redo": Redo(done=True)},
            {
                **dict.fromkeys(("done", "gone", "talk"), "forced"),
                **dict.fromkeys(("on-done", "on-refused"), "waiting"),
                "refused": "failed",
            },
        ),
        (
            {"model": "gemini-nano-banana-2.1"},
            dict.fromkeys(STANDS, "new"),
        ),
        (
            {"limit": 2},
            dict.fromkeys(("changed", "new", "on-flaky"), "beyond_limit"),
        ),
        ({"selection": Selection(only=("n*", "done"))}, dict.fromkeys(STANDS)),
    ],
    ids=["plain", "retry", "retry some", "force", "model", "limit", "only"],
)
async def test_each_item_is_told_with_the_reason_why_it_is_made_or_not(
    options: Json, besides: Json, tmp_path: Path
) -> None:
    with FaultServer(script) as server:
        job = await after_a_run(tmp_path, server)
    told = fates(look(job, **options))
    if "model" in options:
        waiting = dict.fromkeys(("on-done", "on-refused", "on-flaky"), "waiting")
        besides = {**besides, **waiting}
    if "selection" in options:
        besides = {**besides, "done": "done", "new": "new"}
    assert told == {item: fate for item, fate in {**STANDS, **besides}.items() if fate}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"redo": RETRY},
        {"redo": Redo(done=True)},
        {"limit": 2},
        {"selection": Selection(only=("*e*",), sample=4)},
        {"model": "gemini-nano-banana-2.1"},
    ],
    ids=["plain", "retry", "force", "limit", "sample", "model"],
)
async def test_what_a_plan_says_is_what_the_run_sends(options: Json, tmp_path: Path) -> None:
    with FaultServer(script) as server:
        job = await after_a_run(tmp_path, server)
        told = look(job, **options)
        assert not server.requests
        ran = await run_job(job, server, whole=False, **options)
    made = {item for group in told.to_make.values() for item in group.ids}
    item_of = {"other": "changed", "more": "talk"}
    assert {item_of.get(prompt, prompt) for prompt in server.requests} == made
    assert len(made) == told.n_to_make > 0
    [began] = [event for event in ran.events if isinstance(event, RunBegan)]
    assert told.planned_usd == began.planned_usd
    groups = [*told.to_make.values(), *told.left_alone.values()]
    assert told.n_items == sum(group.count for group in groups)
    assert told.last_run_id is not None


async def test_an_answer_that_lies_on_disk_is_neither_sent_nor_paid(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b"])
    with FaultServer(servers.draws) as server:
        await run_job(job, server, whole=False, selection=Selection(only=("a",)))
        _take_back(tmp_path / "output/job")
        told = look(job)
        assert fates(told) == {"a": "received", "b": "new"}
        assert (told.n_unfinished, told.n_to_make) == (1, 1)
        assert fates(look(job, redo=Redo(done=True))) == {"a": "forced", "b": "new"}
        server.requests.clear()
        ran = await run_job(job, server, whole=False)
    assert (ran.exit_code, server.requests) == (0, {"b": 1})


def _take_back(directory: Path) -> None:
    """As if the run had been killed between the receipt of its only answer and its line."""
    [segment] = (directory / "ledger").glob("*.jsonl")
    _, sent, attempt, _ = ledgers.lines(segment)
    segment.write_bytes(b"\n".join(segment.read_bytes().split(b"\n")[:2]) + b"\n")
    [image] = attempt["images"]
    stem = ledgers.part_stem(sent)
    document = servers.document(servers.image_part(b""))
    document["candidates"][0]["content"]["parts"][0]["inlineData"]["data"] = "0"
    receipt = {
        "v": 1,
        "sent": sent,
        "item": json.loads((directory / "items.jsonl").read_text().splitlines()[0]),
        "http_status": 200,
        "request_id": None,
        "latency_s": 1.5,
        "bytes_in": attempt["bytes_in"],
        "skeleton": json.dumps(document),
        "images": [
            {"part": f"{stem}.0.part", "sha256": image["sha256"], "size_bytes": image["bytes"]}
        ],
    }
    (directory / f".parts/{stem}.json").write_text(json.dumps(receipt))
    (directory / image["path"]).rename(directory / f".parts/{stem}.0.part")


def test_only_the_first_ids_of_many_are_named(tmp_path: Path) -> None:
    group = look(write_job(tmp_path / "job.jsonl", [f"i{n:02}" for n in range(30)])).to_make["new"]
    assert (group.count, group.ids) == (30, [f"i{n:02}" for n in range(10)])


async def test_a_picture_that_would_be_written_over_is_refused_as_the_run_refuses_it(
    tmp_path: Path,
) -> None:
    job = write_job(tmp_path / "job.jsonl", [{"id": "a", "prompt": "a", "tags": {"sku": "z"}}])
    with FaultServer(servers.draws) as server:
        await run_job(job, server)
        items: list[Json | str] = [
            {"id": "a", "prompt": "a", "tags": {"sku": "z"}},
            {"id": "b", "prompt": "b", "tags": {"sku": "a"}},
        ]
        # Where all is made anew, nothing is moved before.
        only_b: dict[str, Any] = {"selection": Selection(only=("b",)), "redo": Redo(done=True)}
        write_job(job, items, output={"name": "{sku}"})
        with pytest.raises(UsageError) as by_the_run:
            await run_job(job, server, **only_b)
    with pytest.raises(UsageError) as by_the_plan:
        look(job, **only_b)
    assert str(by_the_plan.value) == str(by_the_run.value)
