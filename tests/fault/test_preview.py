"""What a plan tells: each item with its reason, and just what the run then sends."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batchgen import Redo, Selection, UsageError
from batchgen.events import RunBegan
from batchgen.model import Outcome
from batchgen.preview import Preview, preview
from batchgen.selection import Shard
from tests import ledgers, servers
from tests.runs import run_job, write_job
from tests.servers import Answer, Asked, FaultServer, refuses

Json = dict[str, Any]

STANDS = {
    "done": "done",
    "gone": "file_missing",
    "refused": "settled",
    "flaky": "failed",
    "changed": "changed",
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
    assert not [warning for warning in warnings if "gets a copy of it" not in warning]
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
            {**dict.fromkeys(STANDS, "changed"), "new": "new"},
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
    assert ledgers.segments(ran.directory)[-1][0]["planned_usd"] == str(told.planned_usd)
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
    assert ledgers.segments(ran.directory)[-1][0]["planned_usd"] == str(told.planned_usd)


async def test_a_picture_that_only_has_a_new_name_is_in_no_plan_of_the_ledger(
    tmp_path: Path,
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b"])
    with FaultServer(servers.draws) as server:
        await run_job(job, server)
        write_job(job, [{"id": "c", "prompt": "a"}, "b"])
        ran = await run_job(job, server)
    assert server.n_requests == 2
    began, *_ = ledgers.segments(ran.directory)[-1]
    assert Decimal(began["planned_usd"]) == 0


async def test_a_plan_without_a_price_is_in_no_ledger(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a"], model="of-nobody")
    with FaultServer(servers.draws) as server:
        ran = await run_job(job, server)
    assert "planned_usd" not in ledgers.segments(ran.directory)[-1][0]


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


# --- what has changed ---------------------------------------------------------------------------


async def after(tmp_path: Path, items: list[Json | str]) -> Path:
    """A job that was run once."""
    job = write_job(tmp_path / "job.jsonl", items)
    with FaultServer(servers.draws) as server:
        await run_job(job, server)
    return job


def changes(told: Preview) -> Json:
    """What has changed of each item, by id."""
    groups = [group.changes for group in told.to_make.values()]
    return {item: words for group in groups for item, words in (group or {}).items()}


async def left_by(job: Path) -> set[str]:
    """What a plain run sends now."""
    with FaultServer(servers.draws) as server:
        await run_job(job, server, whole=False)
        return set(server.requests)


def on(item_id: str, *parents: str, **fields: Any) -> Json:
    references = [f"item:{parent}" for parent in parents]
    return {"id": item_id, "prompt": item_id, "references": references, **fields}


async def test_what_has_changed_of_an_item_is_told_field_by_field(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(servers.png("a"))
    (tmp_path / "b.png").write_bytes(servers.png("b"))
    talk = [{"prompt": "talk"}, {"prompt": "more"}]
    matrix = {"matrix": {"scene": ["sea", "hill"]}, "id": "in-{scene}", "prompt": "{scene}"}
    items: list[Json | str] = [
        *("same", "moved-file", "new-bytes", "tagged"),
        {"id": "sized", "prompt": "sized", "image_size": "1K"},
        {"id": "talk", "turns": talk},
        {"id": "held", "prompt": "held", "references": ["a.png"]},
        matrix,
    ]
    job = await after(tmp_path, items)
    (tmp_path / "a.png").rename(tmp_path / "c.png")
    items = [
        *("same", "moved-file", "new-bytes"),
        {"id": "tagged", "prompt": "tagged", "tags": {"a": "b"}},
        {"id": "sized", "prompt": "resized", "image_size": "2K"},
        {"id": "talk", "turns": [talk[0], {"prompt": "less"}]},
        {"id": "held", "prompt": "held", "references": ["c.png", "b.png"]},
        {**matrix, "aspect_ratio": "4:5"},
    ]
    told = look(write_job(job, items))
    assert changes(told) == {
        "sized": ["prompt", "image_size 1K → 2K"],
        "talk": ["turns 2: prompt"],
        "held": ["references: 1 more"],
        "in-sea": ["aspect_ratio unset → 4:5"],
        "in-hill": ["aspect_ratio unset → 4:5"],
    }
    assert told.to_make.keys() == {"changed"}
    assert told.to_make["changed"].ids == list(changes(told))


async def test_another_picture_under_the_same_name_is_told_as_other_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(servers.png("a"))
    job = await after(tmp_path, [{"id": "held", "prompt": "held", "references": ["a.png"]}])
    (tmp_path / "a.png").write_bytes(servers.png("another"))
    assert changes(look(job)) == {"held": ["references 1: other bytes"]}


async def test_who_builds_on_what_is_made_anew_says_so(tmp_path: Path) -> None:
    items: list[Json | str] = ["hero", "logo", on("wide", "hero", "logo"), on("low", "wide")]
    anew: list[Json | str] = [{"id": "hero", "prompt": "other"}, *items[1:]]
    job = await after(tmp_path, items)
    told = look(write_job(job, anew))
    by_wide = {"wide": ["references 1: item:hero made anew"]}
    by_low = {"low": ["references 1: item:wide made anew"]}
    assert changes(told) == {"hero": ["prompt"], **by_wide, **by_low}
    assert fates(told) == {"hero": "changed", "logo": "done", "wide": "waiting", "low": "waiting"}
    with FaultServer(servers.draws) as server:
        await run_job(job, server, whole=False, selection=Selection(only=("hero",)))
    told = look(job)
    assert changes(told) == {**by_wide, **by_low}
    assert fates(told) == {"hero": "done", "logo": "done", "wide": "changed", "low": "waiting"}
    assert await left_by(job) == {"wide"}  # which comes out as it was, so that `low` may stay
    assert set(fates(look(job)).values()) == {"done"}


async def test_what_failed_as_it_stands_now_has_failed_and_is_no_change(tmp_path: Path) -> None:
    items: list[Json | str] = ["hero", on("flaky", "hero")]
    job = await after(tmp_path, items)
    write_job(job, [{"id": "hero", "prompt": "other"}, items[1]])
    with FaultServer(script) as server:
        await run_job(job, server, whole=False)
    told = look(job)
    assert fates(told) == {"hero": "done", "flaky": "failed"}


async def test_an_older_picture_that_is_put_back_is_another_one_too(tmp_path: Path) -> None:
    items: list[Json | str] = ["spare", {"id": "hero", "prompt": "x"}, on("wide", "hero")]
    job = await after(tmp_path, items)
    told = look(write_job(job, ["spare", {"id": "hero", "prompt": "spare"}, items[2]]))
    assert fates(told) == {"spare": "done", "hero": "shared", "wide": "changed"}
    assert changes(told) == {"wide": ["references 1: item:hero made anew"]}


async def test_who_was_never_made_is_new_though_the_last_run_knew_it(tmp_path: Path) -> None:
    items: list[Json | str] = ["hero", "late", on("wide", "hero")]
    job = write_job(tmp_path / "job.jsonl", items)
    with FaultServer(servers.draws) as server:
        await run_job(job, server, whole=False, selection=Selection(only=("hero",)))
    told = look(job)
    assert fates(told) == {"hero": "done", "late": "new", "wide": "new"}
    assert changes(told) == {}


async def test_ids_that_swap_and_names_that_are_new_are_no_changes(tmp_path: Path) -> None:
    job = await after(tmp_path, ["a", "b", "old", on("old-wide", "old"), on("kept", "old")])
    items: list[Json | str] = [
        {"id": "a", "prompt": "b"},
        {"id": "b", "prompt": "a"},
        {"id": "new", "prompt": "old"},
        on("new-wide", "new", prompt="old-wide"),
        on("kept", "new"),
    ]
    told = look(write_job(job, items))
    assert fates(told) == {
        **dict.fromkeys(("a", "b", "new", "new-wide"), "filed"),
        "kept": "done",
    }
    assert (told.n_to_make, told.orphaned.count) == (0, 0)
    assert await left_by(job) == set()


async def test_what_is_not_selected_or_left_for_later_is_neither_changed_nor_orphaned(
    tmp_path: Path,
) -> None:
    job = await after(tmp_path, ["a", "b", "c"])
    items = [{"id": item, "prompt": f"{item}!", "tags": {"t": item}} for item in "abc"]
    write_job(job, items)
    chosen: list[Json] = [
        {"selection": Selection(only=("b",))},
        {"selection": Selection(tags={"t": ("b",)})},
        {"selection": Selection(shard=Shard(number=2, total=5))},
    ]
    for options in chosen:
        told = look(job, **options)
        assert (fates(told), changes(told)) == ({"b": "changed"}, {"b": ["prompt"]})
        assert told.orphaned.count == 0
    told = look(job, limit=1)
    assert fates(told) == {"a": "changed", "b": "beyond_limit", "c": "beyond_limit"}


async def test_of_many_changes_the_first_are_told(tmp_path: Path) -> None:
    items = [f"i{n:02}" for n in range(30)]
    job = await after(tmp_path, [*items])
    told = look(write_job(job, [{"id": item, "prompt": "x" + item} for item in items]))
    group = told.to_make["changed"]
    assert (group.count, group.ids, list(changes(told))) == (30, items[:10], items[:10])


# --- what the job has no more -------------------------------------------------------------------


async def test_pictures_that_nobody_asks_for_any_more_are_told_and_stay(tmp_path: Path) -> None:
    job = await after(tmp_path, ["gone", "kept", "lost", "old", on("built", "kept"), "refused"])
    (tmp_path / "output/job/images/lost.png").unlink()
    write_job(job, ["kept", {"id": "renamed", "prompt": "old"}])
    told = look(job)
    assert (told.orphaned.count, told.orphaned.ids) == (3, ["gone", "built", "refused"])
    assert told.written_over.count == 0
    assert look(job, selection=Selection(only=("kept",))).orphaned == told.orphaned
    anew = look(job, redo=Redo(done=True))  # makes `renamed` itself, and takes nothing over
    assert anew.orphaned.ids == ["gone", "old", "built", "refused"]
    await left_by(job)
    pictures = {path.stem for path in (tmp_path / "output/job/images").iterdir()}
    assert pictures == {"kept", "renamed", "gone", "built", "refused"}
    assert look(job).orphaned.count == 0  # of a run before the last


async def test_who_never_had_a_picture_leaves_none(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["refused", "done"])
    with FaultServer(script) as server:
        await run_job(job, server)
    assert look(write_job(job, ["done"])).orphaned.count == 0


async def test_the_picture_of_another_in_the_same_place_is_not_theirs(tmp_path: Path) -> None:
    output = {"name": "{sku}"}
    tags = {"sku": "1"}
    job = write_job(
        tmp_path / "job.jsonl", [{"id": "a", "prompt": "a", "tags": tags}], output=output
    )
    with FaultServer(script) as server:
        await run_job(job, server)
        write_job(job, [{"id": "b", "prompt": "refused", "tags": tags}], output=output)
        await run_job(job, server, whole=False)
    assert look(write_job(job, ["c"], output={"name": "{id}"})).orphaned.count == 0


async def test_a_picture_in_whose_place_another_will_lie_is_told_apart(tmp_path: Path) -> None:
    def items(*ids: str) -> list[Json | str]:
        return [{"id": item, "prompt": item, "tags": {"sku": item[-1]}} for item in ids]

    output = {"name": "{sku}"}
    job = write_job(tmp_path / "job.jsonl", items("old-1", "old-2", "same-3"), output=output)
    with FaultServer(servers.draws) as server:
        await run_job(job, server)
        before = (tmp_path / "output/job/images/1.png").read_bytes()
        told = look(write_job(job, items("new-1", "same-3"), output=output))
        assert (told.written_over.ids, told.orphaned.ids) == (["old-1"], ["old-2"])
        write_job(job, items("other-4", "new-1", "same-3"), output=output)
        beyond = look(job, limit=1)
        assert (beyond.written_over.ids, beyond.orphaned.ids) == ([], ["old-1", "old-2"])
        await run_job(job, server, whole=False)
    assert (tmp_path / "output/job/images/1.png").read_bytes() != before


async def test_a_job_of_the_last_run_that_cannot_be_read_is_told_and_no_hindrance(
    tmp_path: Path,
) -> None:
    job = await after(tmp_path, ["a", "b"])
    path = tmp_path / "output/job/items.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first[:-9] + b"\n" + second)
    write_job(job, [{"id": item, "prompt": f"{item}!"} for item in "ab"])
    warnings: list[str] = []
    told = preview(job, warn=warnings.append, output=tmp_path / "output")
    assert fates(told) == {"a": "new", "b": "changed"}
    assert [str(path) in warning for warning in warnings] == [True]
    path.unlink()
    assert fates(look(job)) == {"a": "new", "b": "new"}
