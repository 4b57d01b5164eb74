"""What one run leaves to the next: the order of runs, and what is not sent again."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import batchgen
from batchgen import Redo
from batchgen.store.layout import new_run_id
from tests import ledgers, servers
from tests.runs import run_job, write_job
from tests.servers import Answer, Asked, FaultServer, refuses

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
    job = write_job(tmp_path / "job.jsonl", ["a", "b", "c"], limits={"concurrency": 2})
    released = threading.Event()

    def answers(asked: Asked) -> Answer:
        if asked.prompt == "a":
            return servers.refuses(401)
        return servers.waits_for(released, servers.draws(asked))

    def then_interrupt(event: batchgen.Event) -> None:
        if isinstance(event, batchgen.Stopping):
            runner.request_stop("sigint")
            released.set()

    with FaultServer(answers) as server:
        runner = batchgen.Runner(job, output=tmp_path, base_url=server.url, on_event=then_interrupt)
        async with runner:
            ended = [result.id async for result in runner.results()]
    assert ended in (["a", "b"], ["b", "a"])
    assert runner.summary.exit_code == 130
    assert runner.summary.items.pending == 2
