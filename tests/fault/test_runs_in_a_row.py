"""What one run leaves to the next: the order of runs, and what is not sent again."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from batchgen import Redo
from batchgen.store.layout import new_run_id
from tests import ledgers, servers
from tests.runs import run_job
from tests.servers import FaultServer, refuses

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
