"""What one run leaves to the next: the order of runs, and what is not sent again."""

import base64
import json
import threading
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

import batchgen
from batchgen import BatchgenError, OutputHeld, Redo, Selection, UsageError
from batchgen.intake import Intake
from batchgen.manifest import open_manifest
from batchgen.references import ReferenceLibrary
from batchgen.store.layout import new_run_id
from tests import ledgers, servers
from tests.runs import run_job, write_job
from tests.servers import Answer, Asked, FaultServer, draws, refuses

START = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


def test_runs_of_one_second_are_named_in_their_order() -> None:
    names = [new_run_id(START + timedelta(milliseconds=step)) for step in range(0, 1000, 2)]
    assert names == sorted(names)
    assert all(ledgers.RUN_ID.fullmatch(name) for name in names)
    assert len(set(names)) == 500


async def test_a_run_that_follows_at_once_is_the_later_one(job: Path) -> None:
    with FaultServer(servers.once(refuses(400))) as server:
        first = await run_job(job, server)
        second = await run_job(job, server, redo=_everything())
        third = await run_job(job, server)
    assert [first.exit_code, second.exit_code, third.exit_code] == [4, 0, 0]
    assert server.requests == {"cat": 2}
    assert third.summary.diff is not None
    assert second.summary.diff is not None
    assert second.summary.diff.fixed == ["cat"]
    assert third.summary.items.reused == 1


def _everything() -> Redo:

    return Redo(failed=frozenset())


async def test_a_signal_with_items_left_ranks_above_what_had_stopped_the_run_before(
    tmp_path: Path,
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["0", "a", "b", "c"], limits={"concurrency": 2})
    b_has_left, released = threading.Event(), threading.Event()

    def answers(asked: Asked) -> Answer:
        if asked.prompt == "0":
            return servers.draws(asked)
        if asked.prompt == "a":
            return servers.waits_for(b_has_left, servers.refuses(401))
        b_has_left.set()
        return servers.waits_for(released, servers.draws(asked))

    def then_interrupt(event: batchgen.Event) -> None:
        if isinstance(event, batchgen.Stopping):
            runner.request_stop("sigint")
            released.set()

    with FaultServer(answers) as server:
        runner = batchgen.Runner(job, output=tmp_path, base_url=server.url, on_event=then_interrupt)
        async with runner:
            ended = [result.id async for result in runner.results()]
    assert ended in (["0", "a", "b"], ["0", "b", "a"])
    assert runner.summary.exit_code == 130
    assert runner.summary.items.pending == 2


async def test_an_item_that_is_changed_back_is_made_again_whatever_the_size_of_its_file(
    tmp_path: Path,
) -> None:
    job = tmp_path / "job.jsonl"
    with FaultServer(servers.draws) as server:
        for prompt in ("one", "two", "one"):
            write_job(job, [{"id": "a", "prompt": prompt}])
            await run_job(job, server)
    assert server.requests == {"one": 2, "two": 1}
    assert pictures(tmp_path / "output/job") == [servers.png("one 2")]


def pictures(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.glob("images/*")]


async def test_no_picture_is_written_over_that_of_another_item(tmp_path: Path) -> None:
    job = tmp_path / "job.jsonl"
    first = {"id": "a", "prompt": "Apple"}
    with FaultServer(servers.draws) as server:
        ran = await run_job(write_job(job, [first]), server)
        other = {"id": "b", "prompt": "Bear", "tags": {"sku": "a"}}
        items = [{**first, "tags": {"sku": "z"}}, other]
        write_job(job, items, output={"name": "{sku}"})
        force, only_b = Redo(done=True), Selection(only=("b",))  # then nothing is moved before
        with pytest.raises(UsageError, match=r"images/a\.png is the picture of 'a', and 'b' would"):
            await run_job(job, server, redo=force, selection=only_b)
        assert server.requests == {"Apple": 1}
        assert (ran.directory / "images/a.png").read_bytes() == servers.png("Apple 1")
        await run_job(job, server)  # and else makes room
    assert server.requests == {"Apple": 1, "Bear": 1}
    assert (ran.directory / "images/z.png").read_bytes() == servers.png("Apple 1")


async def test_what_is_skipped_is_not_done(tmp_path: Path) -> None:
    job = write_job(
        tmp_path / "job.jsonl",
        ["parent", {"id": "child", "prompt": "child", "references": ["item:parent"]}],
    )
    with FaultServer(lambda _: refuses(400)) as server:
        await run_job(job, server)
        child = await run_job(job, server, whole=False, selection=Selection(only=("child",)))
    assert (child.exit_code, server.requests) == (4, {"parent": 1})


async def test_the_stop_for_large_requests_holds_for_pictures_that_are_built_on(
    tmp_path: Path,
) -> None:
    job = write_job(
        tmp_path / "job.jsonl",
        [
            "parent",
            {"id": "child", "prompt": "child", "references": ["item:parent"]},
            {"id": "talk", "turns": [{"prompt": "first"}, {"prompt": "second"}]},
        ],
        limits={"max_body_mib": 0.01},
        model="gemini-2.5-flash-image",
    )
    with FaultServer(servers.draws) as server:
        ran = await run_job(job, server)
    assert server.requests == {"parent": 1, "first": 1}
    unsent = [line for line in ran.attempts if line["outcome"] == "bad_request"]
    assert sorted((line["item"], line["attempt"], line["billed"]) for line in unsent) == [
        ("child", 0, "no"),
        ("talk", 0, "no"),
    ]
    assert all("limits.max_body_mib" in line["error"]["message"] for line in unsent)


async def test_pictures_that_are_built_on_are_scaled_like_any_reference(tmp_path: Path) -> None:
    child = {"id": "child", "prompt": "child", "references": ["item:parent"]}
    job = write_job(tmp_path / "job.jsonl", ["parent", {**child, "reference_max_px": 16}])
    with FaultServer(lambda asked: refuses(400) if asked.prompt == "child" else draws(asked)) as no:
        failed = await run_job(job, no)
    with FaultServer(draws) as server:
        rest = failed.directory / "failed.jsonl"
        await run_job(
            rest, server, whole=False, redo=_everything(), base_url=server.url, output=None
        )
        again = await run_job(job, server)
    assert server.requests == {"child": 1}
    assert again.summary.items.reused == 2
    *_, image = json.loads(server.log[0].body)["contents"][0]["parts"]
    picture = Image.open(BytesIO(base64.b64decode(image["inlineData"]["data"])))
    assert picture.size == (16, 16)


async def test_a_signal_while_the_job_is_read_stops_at_once_and_changes_nothing(
    tmp_path: Path,
) -> None:
    job = write_job(tmp_path / "job.jsonl", [f"item-{n}" for n in range(2_000)])
    with FaultServer(draws) as server:
        runner = batchgen.Runner(job, output=tmp_path, base_url=server.url)
        runner.request_stop("sigterm")
        with pytest.raises(BatchgenError, match="nothing was sent") as caught:
            async with runner:
                pass
    assert (caught.value.exit_code, server.n_requests) == (143, 0)
    assert not (tmp_path / "job").exists()


async def test_what_killed_runs_left_of_reading_the_job_goes_away(job: Path) -> None:
    left = job.parent / "output/job/.items.20261121T030000Z-00000000.tmp"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half of it")
    with FaultServer(draws) as server:
        await run_job(job, server)
    assert not left.exists()


def test_a_run_whose_draft_was_taken_for_a_left_one_is_refused(job: Path) -> None:
    draft = job.parent / ".items.20261121T030000Z-00000000.tmp"
    intake = Intake(open_manifest(job), ReferenceLibrary(job.parent), draft, lambda: None)
    with pytest.raises(OutputHeld, match="until just now") as caught:
        intake.hold()
    assert caught.value.exit_code == 11


async def test_a_run_that_was_killed_before_it_told_its_summary_has_one_after_the_next(
    job: Path,
) -> None:
    with FaultServer(servers.once(servers.BROKEN)) as server:
        first = await run_job(job, server)
        told = first.directory / "runs" / f"{first.summary.run_id}.json"
        before = json.loads(told.read_bytes())
        assert before["maybe_billed"]["count"] == 1
        for path in (told, first.directory / "summary.json", first.directory / "results.jsonl"):
            path.unlink()
        second = await run_job(job, server)
    assert json.loads(told.read_bytes()) == before
    assert second.summary.maybe_billed.count == 0
    assert second.summary.run_id != first.summary.run_id
