"""What a run is priced by, and that nothing dear begins unless somebody said yes."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from batchgen.errors import JobError, UsageError
from batchgen.plan import Redo
from tests import commands, ledgers, servers
from tests.commands import batchgen
from tests.runs import KEY, MODEL, run_job, write_job
from tests.servers import FaultServer, document, image_part, png, whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Json = dict[str, Any]
LIST_USD = Decimal("0.138160")  # of the servers' usual answer
OWN = {"input": 4, "text_output": 24, "image_output": 240}  # twice the list


def costs(directory: Path) -> list[Decimal]:
    return [Decimal(line["cost_usd"]) for line in ledgers.attempts(directory)]


# --- whose prices -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prices", "factor"),
    [
        ({"multiplier": 0.8}, "0.8"),
        ({"models": {MODEL: OWN}}, "2"),
        ({"multiplier": 0.25, "models": {f"models/{MODEL}": OWN}}, "0.5"),
        (None, "1"),
    ],
)
async def test_a_run_is_priced_by_what_its_job_says(
    prices: object, factor: str, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b"], prices=prices)
    with FaultServer(servers.draws) as server:
        ran = await run_job(job, server, whole=False)
    assert costs(ran.directory) == [LIST_USD * Decimal(factor)] * 2
    assert ran.summary.cost_usd == 2 * LIST_USD * Decimal(factor)
    sent = [line for line in ledgers.segments(ran.directory)[0] if line["event"] == "sent"]
    assert {Decimal(line["est_usd"]) for line in sent} == {
        (Decimal("0.142202") * Decimal(factor)).quantize(Decimal("0.000001"))
    }


async def test_a_price_file_that_is_named_wins_over_the_job(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("multiplier: 3\n", "utf-8")
    job = write_job(tmp_path / "job.jsonl", ["a"], prices={"multiplier": 2})
    with FaultServer(servers.draws) as server:
        ran = await run_job(job, server, prices=file, whole=False)
    assert costs(ran.directory) == [LIST_USD * 3]


async def test_a_bad_price_file_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("multiplier: three\n", "utf-8")
    job = write_job(tmp_path / "job.jsonl", ["a"])
    with FaultServer(servers.draws) as server:
        with pytest.raises(UsageError, match="1:13: multiplier: expected a number, found 'three'"):
            await run_job(job, server, prices=file)
        assert server.n_connections == 0


async def test_a_model_without_a_price_may_have_one_in_the_job_and_a_budget_then(
    tmp_path: Path,
) -> None:
    bound: dict[str, Any] = {"model": "my-model", "budget": {"max_cost_usd": 5}}
    unpriced = write_job(tmp_path / "job.jsonl", ["a"], **bound)
    with FaultServer(servers.draws) as server:
        with pytest.raises(JobError, match=r"give it one under prices\.models"):
            await run_job(unpriced, server)
        priced = write_job(
            tmp_path / "job.jsonl", ["a"], prices={"models": {"my-model": OWN}}, **bound
        )
        ran = await run_job(priced, server)
    assert costs(ran.directory) == [2 * LIST_USD]


async def test_what_failed_is_run_again_at_the_prices_of_its_job(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a"], prices={"multiplier": "0.5"})
    blocked = whole({"promptFeedback": {"blockReason": "OTHER"}})
    with FaultServer(lambda asked: blocked if asked.nth == 1 else servers.draws(asked)) as server:
        ran = await run_job(job, server, whole=False)
        assert ran.exit_code == 4
        failed = ran.directory / "failed.jsonl"
        again = await run_job(
            failed, server, output=ran.directory.parent, redo=Redo(failed=frozenset()), whole=False
        )
    assert again.exit_code == 0
    assert Decimal(ran.attempts[-1]["cost_usd"]) == LIST_USD / 2


# --- how it was served, and searches --------------------------------------------------------------


async def served(
    tmp_path: Path, answer: dict[str, Any], header: str = "X-Other: x"
) -> dict[str, Any]:
    """The ledger line of a call that was answered so."""
    job = write_job(tmp_path / "job.jsonl", ["a"])
    body = json.dumps(answer).encode()
    with FaultServer(
        lambda _: servers.sends(servers.http(200, body, dict([header.split(": ")])))
    ) as server:
        ran = await run_job(job, server)
    [line] = ran.attempts
    return line


@pytest.mark.parametrize(
    ("header", "traffic", "tier", "factor"),
    [
        ("x-gemini-service-tier: flex", None, "flex", "0.5"),
        ("X-Gemini-Service-Tier: PRIORITY", None, "priority", "1.8"),
        ("x-gemini-service-tier: standard", None, None, "1"),
        ("x-other: flex", None, None, "1"),
        ("x-other: x", "ON_DEMAND_FLEX", "flex", "0.5"),
        ("x-other: x", "ON_DEMAND", None, "1"),
    ],
)
async def test_a_call_is_priced_by_how_it_was_really_served(
    header: str, traffic: str | None, tier: str | None, factor: str, tmp_path: Path
) -> None:
    usage = servers.USAGE | ({"trafficType": traffic} if traffic else {})
    line = await served(tmp_path, document(image_part(png("a")), usage=usage), header)
    assert line.get("service_tier") == tier
    assert Decimal(line["cost_usd"]) == LIST_USD * Decimal(factor)


async def test_each_different_search_is_billed_once(tmp_path: Path) -> None:
    answer = document(image_part(png("a")))
    queries = ["cats", "cats", "", "dogs ", "dogs", "  "]
    answer["candidates"][0]["groundingMetadata"] = {"webSearchQueries": queries}
    line = await served(tmp_path, answer)
    assert Decimal(line["cost_usd"]) == LIST_USD + 2 * Decimal("0.014")


# --- a yes before what is dear --------------------------------------------------------------------


@pytest.fixture
def dear(tmp_path: Path) -> Path:
    """A job of two pictures, about $0.28, that wants a yes above ten cents."""
    return write_job(tmp_path / "job.jsonl", ["a", "b"], budget={"confirm_above_usd": "0.10"})


async def test_a_run_that_should_cost_more_sends_nothing_without_a_yes(dear: Path) -> None:
    with FaultServer(servers.draws) as server:
        with pytest.raises(UsageError) as told:
            await run_job(dear, server)
        assert server.n_connections == 0
        assert "budget.confirm_above_usd is $0.10: nothing was sent; run again with --yes" in str(
            told.value
        )
        directory = dear.parent / "output/job"
        [last] = [line for line in ledgers.segments(directory)[0] if line["event"] == "end"]
        assert last["exit_code"] == 2
        assert json.loads((directory / "summary.json").read_bytes())["items"]["pending"] == 2
        ran = await run_job(dear, server, yes=True)
        assert (ran.exit_code, ran.summary.items.done) == (0, 2)
        again = await run_job(dear, server)  # nothing is left to pay
    assert (again.exit_code, again.summary.items.reused) == (0, 2)
    assert server.n_requests == 2


async def test_a_run_below_the_bound_or_with_a_small_limit_asks_nobody(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b"], budget={"confirm_above_usd": "0.20"})
    with FaultServer(servers.draws) as server:
        assert (await run_job(job, server, limit=1, whole=False)).exit_code == 0
        assert (await run_job(job, server)).exit_code == 0
    assert server.n_requests == 2


async def test_a_price_that_nobody_knows_wants_a_yes_too(tmp_path: Path) -> None:
    job = write_job(
        tmp_path / "job.jsonl", ["a"], model="my-model", budget={"confirm_above_usd": 99}
    )
    with FaultServer(servers.draws) as server:
        with pytest.raises(UsageError, match="nobody knows what this run costs"):
            await run_job(job, server)
        assert server.n_connections == 0


def test_the_command_says_what_to_do_where_nobody_sits(dear: Path) -> None:
    with FaultServer(servers.draws) as server:
        flags = ("-o", dear.parent / "out", "--base-url", server.url)
        done = batchgen("run", dear, *flags, COMETAPI_KEY=KEY)
        assert (done.code, server.n_connections) == (2, 0)
        assert "and budget.confirm_above_usd is $0.10: nothing was sent" in done.err
        assert "--yes" in done.err
        assert "Traceback" not in done.err
        assert done.err.count("nothing was sent") == 1
        assert batchgen("run", dear, *flags, "--yes", COMETAPI_KEY=KEY).code == 0
    assert server.n_requests == 2


def answered(job: Path, server: FaultServer, say: Callable[[int, int], None]) -> tuple[int, str]:
    """Run at a terminal; once it asks, `say` gets the terminal and the process."""
    ours, theirs = pty.openpty()
    flags = ("--base-url", server.url)
    process = subprocess.Popen(
        [sys.executable, "-m", "batchgen", "run", job, "-o", job.parent / "out", *flags],
        env=commands.environment(COMETAPI_KEY=KEY, TERM="xterm-256color"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    came, has_said = "", False
    ends_s = time.monotonic() + 60
    while time.monotonic() < ends_s:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            came += os.read(ours, 1 << 16).decode()
        except OSError:  # how a terminal ends on Linux
            break
        if "[y/N]" in came and not has_said:
            has_said = True
            say(ours, process.pid)
    os.close(ours)
    return process.wait(20), came


def types(text: str) -> Callable[[int, int], None]:
    return lambda terminal, _: void(os.write(terminal, text.encode()))


def void(_: object) -> None:
    return


@pytest.mark.parametrize(("word", "code", "n_sent"), [("y\n", 0, 2), ("n\n", 2, 0), ("\n", 2, 0)])
def test_who_sits_at_a_terminal_is_asked(word: str, code: int, n_sent: int, dear: Path) -> None:
    with FaultServer(servers.draws) as server:
        found, came = answered(dear, server, types(word))
    assert (found, server.n_requests) == (code, n_sent), came
    assert "this run should cost about $0.2" in came
    assert "budget.confirm_above_usd is $0.10: go on? [y/N]" in came


def test_an_interrupt_is_an_answer_too(dear: Path) -> None:
    with FaultServer(servers.draws) as server:
        code, came = answered(dear, server, lambda _, pid: os.kill(pid, signal.SIGINT))
    assert (code, server.n_connections) == (130, 0), came
    assert "Traceback" not in came


async def test_priority_that_nobody_confirms_is_priced_as_usual_and_marked(tmp_path: Path) -> None:
    dear: Json = {"id": "a", "prompt": "a", "extra": {"serviceTier": "priority"}}
    job = write_job(tmp_path / "job.jsonl", [dear, "b"])
    with FaultServer(servers.draws) as server:
        ran = await run_job(job, server)
    told = {line["item"]: (line["cost_usd"], line["cost_basis"]) for line in ran.attempts}
    assert told == {"a": ("0.138160", "inferred"), "b": ("0.138160", "reported")}


async def test_a_budget_holds_for_searches_and_for_thoughts_that_were_asked_for(
    tmp_path: Path,
) -> None:
    answer = document(image_part(png("a")), usage={**servers.USAGE, "thoughtsTokenCount": 400})
    answer["candidates"][0]["groundingMetadata"] = {"webSearchQueries": ["a", "b", "c"]}
    fields = {"google_search": True, "prompt": "a"}
    job = write_job(
        tmp_path / "job.jsonl",
        [{"id": f"i{n}", "count": 1, **fields, "seed": n} for n in range(20)],
        limits={"concurrency": 8},
        budget={"max_cost_usd": "1.5"},
    )
    with FaultServer(lambda _: whole(answer)) as server:
        ran = await run_job(job, server)
    assert ran.exit_code == 8
    assert Decimal("1.2") < (ran.summary.cost_usd or 0) <= Decimal("1.5")
