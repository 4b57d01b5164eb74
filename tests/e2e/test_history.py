"""`report --history` after runs of the installed command, held against the ledger alone."""

from __future__ import annotations

import json
import signal
import threading
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from batchgen.report.past import read_history_of_runs
from tests import commands, ledgers, servers
from tests.commands import Json, batchgen, started
from tests.runs import KEY, write_job
from tests.servers import Asked, FaultServer, refuses

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import Answer

NO = refuses(400, {"error": {"code": 400, "message": "no"}})


def failing(directory: Path) -> list[set[str]]:
    """Which items fail after each run, by the last line that each segment has of them."""
    found: list[set[str]] = [set()]
    for segment in ledgers.segments(directory):
        last = {line["item"]: line["decision"] for line in filter(ledgers.is_attempt, segment)}
        failed = {item for item, decision in last.items() if decision == "failed"}
        found.append(found[-1] - set(last) | failed)
    return found[1:]


def by_the_ledger(directory: Path) -> list[Json]:
    """What each run came to."""
    told: list[Json] = []
    before: set[str] | None = None
    for segment, now in zip(ledgers.segments(directory), failing(directory), strict=True):
        calls = [line for line in segment if ledgers.is_attempt(line)]
        end = segment[-1]
        changes = {
            "n_new_failures": None if before is None else len(now - before),
            "n_fixed": None if before is None else len(before - now),
            "n_still_failing": None if before is None else len(now & before),
        }
        before = now
        told.append(
            {
                "run_id": segment[0]["run_id"],
                "started_at": segment[0]["at"],
                "finished_at": end["at"],
                "exit_code": end["exit_code"],
                "images": sum(line["outcome"] == "image" for line in calls),
                "attempts": {"total": len(calls)},
                "cost_usd": sum(Decimal(line["cost_usd"]) for line in calls),
                **changes,
            }
        )
    return told


def run(job: Path, server: FaultServer) -> None:
    flags = ("--retry-failed", "--base-url", server.url, "-o", job.parent)
    assert batchgen("run", job, *flags, COMETAPI_KEY=KEY).code in {0, 4}


def test_three_runs_and_a_killed_one_are_told_as_the_ledger_has_them(tmp_path: Path) -> None:
    refused = {"bad", "worse"}
    leaves, goes_on = threading.Event(), threading.Event()

    def script(asked: Asked) -> Answer:
        if asked.prompt == "late":
            leaves.set()
            return servers.waits_for(goes_on, servers.draws(asked))
        return NO if asked.prompt in refused else servers.draws(asked)

    job, root = tmp_path / "job.jsonl", tmp_path / "job"
    with FaultServer(script) as server:
        write_job(job, ["good", "bad", "worse"])
        run(job, server)
        refused = {"worse", "anew"}  # bad is fixed, worse fails still, and one is a new failure
        write_job(job, ["good", "bad", "worse", "anew"])
        run(job, server)
        refused = set()
        run(job, server)
        expected = by_the_ledger(root)
        check_history(root, expected)
        write_job(job, ["good", "bad", "worse", "anew", "late"])
        with started(
            "run", job, "--base-url", server.url, "-o", tmp_path, COMETAPI_KEY=KEY
        ) as last:
            commands.until(leaves.is_set, "its request")
            assert read_history_of_runs(root)[0][-1].state == "running"
            last.signal(signal.SIGKILL)
            last.end()
        goes_on.set()
        assert read_history_of_runs(root)[0][-1].state == "unfinished"
        run(job, server)
    killed, found = (run for run in read_history_of_runs(root)[0][-2:])
    (lost,) = (line for line in ledgers.attempts(root) if line["outcome"] == "interrupted")
    assert (killed.run_id, killed.state, killed.images) == (lost["run_id"], "unfinished", 0)
    assert killed.cost_maybe_usd == Decimal(lost["cost_usd"])
    assert (found.state, found.images, found.exit_code) == ("ended", 1, 0)


def check_history(root: Path, expected: list[Json]) -> None:
    """JSON and table say what the ledger does, which does so without the summaries too."""
    assert [
        (one["n_new_failures"], one["n_fixed"], one["n_still_failing"]) for one in expected
    ] == [*((None, None, None), (1, 1, 1), (0, 2, 0))]
    done = batchgen("report", root, "--history", "--json")
    assert (done.code, done.err) == (0, "")
    check_runs(done.json["runs"], expected)
    check_table(root, expected)
    aside = (root / "runs").rename(root / "runs-aside")
    check_runs(json.loads(msgspec.json.encode(read_history_of_runs(root)[0])), expected)
    aside.rename(root / "runs")


def check_runs(runs: list[Json], expected: list[Json]) -> None:
    for told, known in zip(runs, expected, strict=True):
        same = {name: told[name] for name in known}
        assert {**same, "cost_usd": Decimal(same["cost_usd"])} == known


def check_table(root: Path, expected: list[Json]) -> None:
    done = batchgen("report", root, "--history")
    assert done.code == 0
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80
    head, *rows = lines[: len(expected) + 1]
    names = head.removeprefix("when (UTC)").split()
    for row, known, n_items in zip(rows, expected, (3, 4, 4), strict=True):
        when, cells = row[:16], dict(zip(names[1:], row[17:].split()[2:], strict=True))
        assert when == known["started_at"][:16].replace("T", " ")
        assert row[17:].split()[0] == str(known["exit_code"])
        n_failed = sum(known[name] or 0 for name in ("n_new_failures", "n_still_failing"))
        n_failed = n_failed if known["n_fixed"] is not None else 2
        assert cells["done/total"] == f"{n_items - n_failed}/{n_items}"
        assert cells["made"] == str(known["images"])
        assert cells["failed"] == str(n_failed)
        assert cells["fixed"] == ("–" if known["n_fixed"] is None else str(known["n_fixed"]))
    total_usd = sum(known["cost_usd"] for known in expected)
    assert lines[-1].split()[:3] == ["3", "runs", f"${total_usd:.2f}"]
