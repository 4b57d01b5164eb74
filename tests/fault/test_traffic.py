"""A run under limits, budgets and outages, counted by the server."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batchgen import Runner
from batchgen.course import Course
from batchgen.events import Stopping, Ticked, Warned
from batchgen.model import Item
from batchgen.settle import CallEnd
from tests import ledgers, servers
from tests.runs import MODEL, QuickTime, Ran, run_job, write_job
from tests.servers import Answer, Asked, FaultServer, refuses

Tried = Callable[[str, int, str], None]
PRICE = "0.138160"  # of one answer of the server; the estimate is a little higher
BUSY = {"error": {"code": 503, "status": "UNAVAILABLE", "message": "The model is overloaded."}}
GONE = {"error": {"code": 404, "status": "NOT_FOUND", "message": f"models/{MODEL} is not found"}}
OTHER = "gemini-2.5-flash-image"


def ids(n: int) -> list[str]:
    return [f"item-{number:03}" for number in range(n)]


def model_of(asked: Asked) -> str:
    return asked.target.rpartition("/")[2].partition(":")[0]


# --- the first request --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(refuses(401), id="a wrong key"),
        pytest.param(refuses(301, Location="https://elsewhere.invalid/"), id="a wrong address"),
        pytest.param(refuses(402), id="no credit"),
    ],
)
async def test_a_wrong_key_or_address_costs_one_request_and_not_a_full_pool(
    refusal: Answer, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", ids(40), limits={"concurrency": 16})
    with FaultServer(lambda _: refusal) as server:
        ran = await run_job(job, server)
    assert server.n_requests == server.n_connections == 1
    assert (ran.exit_code, ran.summary.items.pending) == (7, 40)


async def test_three_items_that_are_refused_from_the_start_stop_the_run(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ids(40), limits={"concurrency": 16})
    with FaultServer(lambda _: refuses(400, {"error": {"message": "no such field"}})) as server:
        ran = await run_job(job, server)
    assert server.n_requests == 3
    assert ran.told == [("bad_request", "failed", "no")] * 2 + [("bad_request", "stop", "no")]
    assert (ran.exit_code, ran.summary.items.pending) == (7, 38)
    assert "--retry-failed" in str(ran.summary.stop_reason)


@pytest.mark.parametrize(("status", "n_requests"), [(401, 1), (403, 3)])
async def test_the_answer_that_stops_a_run_stops_it_before_another_request_leaves(
    status: int, n_requests: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = Course.attempt

    async def slow_to_report(course: Course, item: Item, n: int) -> CallEnd:
        end = await attempt(course, item, n)
        for _ in range(100):  # whoever waits for the limits could leave meanwhile
            await asyncio.sleep(0)
        return end

    monkeypatch.setattr(Course, "attempt", slow_to_report)
    job = write_job(tmp_path / "job.jsonl", ids(8), limits={"concurrency": 4})
    with FaultServer(lambda _: refuses(status)) as server:
        ran = await run_job(job, server)
    assert (server.n_requests, ran.exit_code) == (n_requests, 7)


async def test_the_others_follow_when_the_first_has_passed(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ids(9), limits={"concurrency": 8})
    together = threading.Barrier(8)

    def script(asked: Asked) -> Answer:
        if asked.prompt != "item-000":
            together.wait(20)
        else:
            assert server.n_in_flight == 1
        return servers.draws(asked)

    with FaultServer(script) as server:
        ran = await run_job(job, server)
    assert ran.exit_code == 0
    assert server.peak_in_flight == 8


# --- models -------------------------------------------------------------------------------------


def of_two_models(tmp_path: Path) -> Path:
    items: list[Any] = [{"id": one, "prompt": one} for one in ids(6)]
    items += [{"id": f"other-{n}", "prompt": f"other-{n}", "model": OTHER} for n in range(6)]
    return write_job(tmp_path / "job.jsonl", items, limits={"concurrency": 4})


async def test_a_model_that_is_gone_fails_its_own_items_and_costs_one_request(
    tmp_path: Path,
) -> None:
    job = of_two_models(tmp_path)

    def script(asked: Asked) -> Answer:
        return refuses(404, GONE) if model_of(asked) == MODEL else servers.draws(asked)

    with FaultServer(script) as server:
        ran = await run_job(job, server)
        assert sum(model_of(asked) == MODEL for asked in server.log) == 1
        items = ran.summary.items
        assert (ran.exit_code, items.done, items.failed, items.pending) == (4, 6, 6, 0)
        unsent = [line for line in ran.attempts if line["attempt"] == 0]
        assert {line["outcome"] for line in unsent} == {"model_unavailable"}
        n_lines = len(ran.attempts)
        assert len(unsent) == 5
        # The next night asks once more, and writes no more lines than that.
        again = await run_job(job, server)
    assert sum(model_of(asked) == MODEL for asked in server.log) == 2
    assert len(again.attempts) == n_lines + 1
    assert (again.exit_code, again.summary.items.failed) == (7, 6)


async def test_a_run_for_a_model_that_is_gone_and_no_other_ends_with_7(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ids(20), limits={"concurrency": 8})
    with FaultServer(lambda _: refuses(404, GONE)) as server:
        ran = await run_job(job, server)
    assert server.n_requests == 1
    assert (ran.exit_code, ran.summary.items.failed) == (7, 20)


async def test_a_404_that_names_no_model_is_its_items_own_unless_others_follow(
    tmp_path: Path,
) -> None:
    job = write_job(tmp_path / "job.jsonl", ids(20), limits={"concurrency": 1})
    with FaultServer(lambda _: refuses(404)) as server:
        ran = await run_job(job, server)
    assert server.n_requests == 3
    assert (ran.exit_code, ran.summary.items.failed) == (7, 20)


async def test_one_model_that_cools_holds_up_no_other(tmp_path: Path) -> None:
    job = of_two_models(tmp_path)
    slow = refuses(429, retry_after="100000")

    def script(asked: Asked) -> Answer:
        return slow if model_of(asked) == MODEL else servers.draws(asked)

    with FaultServer(script) as server:
        ran = await run_job(job, server)
    assert sum(model_of(asked) == MODEL for asked in server.log) == 1
    items = ran.summary.items
    assert (ran.exit_code, items.done, items.pending) == (5, 6, 6)
    assert ran.summary.wall_s is not None
    assert ran.summary.wall_s < 100  # it does not wait for what cannot be sent any more
    told = [event.message for event in ran.events if isinstance(event, Warned)]
    assert sum("its items are left for another run" in message for message in told) == 1


# --- a service that is away ---------------------------------------------------------------------


async def test_an_item_that_is_told_to_wait_for_hours_is_left_and_holds_up_nothing(
    tmp_path: Path,
) -> None:
    job = write_job(tmp_path / "job.jsonl", ids(10), limits={"concurrency": 4})

    def script(asked: Asked) -> Answer:
        is_slow = asked.prompt == "item-003"
        return refuses(503, BUSY, retry_after="1000000000") if is_slow else servers.draws(asked)

    with FaultServer(script) as server:
        ran = await run_job(job, server)
    assert server.n_requests == 10
    assert (ran.exit_code, ran.summary.items.done, ran.summary.items.pending) == (5, 9, 1)
    assert "longer than retries.patience" in str(ran.summary.stop_reason)
    assert (ran.summary.wall_s or 0) < 100


async def test_the_windows_of_one_model_hold_up_no_other(tmp_path: Path) -> None:
    items: list[Any] = []
    for n in range(8):
        items += [
            {"id": f"a-{n}", "prompt": f"a-{n}"},
            {"id": f"b-{n}", "prompt": f"b-{n}", "model": OTHER},
        ]
    job = write_job(tmp_path / "job.jsonl", items, limits={"concurrency": 2, "ipm": 4})
    order = []

    def script(asked: Asked) -> Answer:
        order.append(asked.prompt[0])
        return servers.draws(asked)

    with FaultServer(script) as server:
        ran = await run_job(job, server)
    assert ran.exit_code == 0
    # Of each model four, before either goes on after its minute.
    assert sorted(order[:8]) == ["a"] * 4 + ["b"] * 4


async def test_an_outage_that_lasts_stops_the_run_after_few_requests(tmp_path: Path) -> None:
    job = write_job(
        tmp_path / "job.jsonl", ids(1000), limits={"concurrency": 16}, retries={"patience": "20m"}
    )
    with FaultServer(
        lambda asked: servers.draws(asked) if asked.prompt == "item-000" else refuses(503, BUSY)
    ) as server:
        ran = await run_job(job, server)
    assert server.n_requests <= 80  # as above
    assert ran.exit_code == 5
    assert ran.summary.items.done == 1
    assert ran.summary.items.pending == 999
    assert ran.summary.items.failed == 0
    assert "within retries.patience (20m00s)" in str(ran.summary.stop_reason)


@pytest.mark.reliability
async def test_a_thousand_items_survive_an_outage_of_a_minute_at_the_cost_of_few_requests(
    tmp_path: Path, tried: Tried
) -> None:
    job = write_job(tmp_path / "job.jsonl", ids(1000), limits={"concurrency": 16})
    quick = QuickTime()
    began_s = 0.0
    away: list[str] = []
    lock = threading.Lock()

    def script(asked: Asked) -> Answer:
        nonlocal began_s
        with lock:
            began_s = began_s or (quick.monotonic_s() if server.n_requests > 200 else 0.0)
            is_away = began_s and quick.monotonic_s() - began_s < 60
            if is_away:
                away.append(asked.prompt)
        return refuses(503, BUSY) if is_away else servers.draws(asked)

    with FaultServer(script) as server:
        ran = await run_job(job, server, quick=quick)
    assert (ran.exit_code, ran.summary.items.done) == (0, 1000)
    assert 5 <= len(away) <= 16 + 35
    assert server.n_requests == 1000 + len(away)
    assert ran.summary.attempts.by_outcome["server_error"] == len(away)
    tried("P39", 1000, "items in an outage")


async def test_errors_that_may_be_billed_are_bounded_in_an_outage_too(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ids(200), limits={"concurrency": 8})
    with FaultServer(
        lambda asked: servers.draws(asked) if asked.prompt == "item-000" else refuses(504)
    ) as server:
        ran = await run_job(job, server)
    assert server.n_requests <= 60  # waits end early here; the exact bound is in test_adaptive
    assert max(server.requests.values()) <= 2  # retries.unsure is one
    assert ran.summary.maybe_billed.count == server.n_requests - 1
    assert ran.exit_code == 5


async def test_a_run_goes_on_by_itself_when_the_service_is_back(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ids(60), limits={"concurrency": 8})

    def script(asked: Asked) -> Answer:
        is_away = 20 < server.n_requests <= 33
        return refuses(503, BUSY) if is_away else servers.draws(asked)

    with FaultServer(script) as server:
        ran = await run_job(job, server)
    assert (ran.exit_code, ran.summary.items.done) == (0, 60)
    assert server.n_requests == 60 + 13
    failed = [line["item"] for line in ran.attempts if line["outcome"] == "server_error"]
    cooling = cooled_by(ran, concurrency=8)
    assert 1 <= len(cooling) < len(failed)
    assert set(cooling) <= set(failed)


async def test_a_429_holds_back_everybody_for_as_long_as_it_says(tmp_path: Path) -> None:
    # Without a retry of its own the item does not wait: what the others wait for is the pause.
    no_retry = {"rate_limit": 0}
    job = write_job(tmp_path / "job.jsonl", ids(12), limits={"concurrency": 4}, retries=no_retry)

    def script(asked: Asked) -> Answer:
        is_limited = asked.prompt == "item-004"
        return refuses(429, retry_after="40") if is_limited else servers.draws(asked)

    with FaultServer(script) as server:
        ran = await run_job(job, server)
    left = {line["item"]: datetime.fromisoformat(line["at"]) for line in ran.attempts}
    after = sorted(left.values())[5 + 3 :]  # as many as may have been under way with it
    assert len(after) == 4
    assert all(at - left["item-004"] >= timedelta(seconds=40) for at in after)
    assert (ran.exit_code, server.n_requests) == (4, 12)
    assert cooled_by(ran, concurrency=4) == ["item-004"]


def cooled_by(ran: Ran, *, concurrency: int) -> list[str]:
    """Whose calls the ledger says let nothing leave for a while; and nothing did leave then.

    But what had its leave already, while the answer was being judged: fewer than may be at once.
    """
    said = [line for line in ran.attempts if "cools_until" in line]
    for line in said:
        assert ledgers.STAMP.fullmatch(line["cools_until"])
        until = datetime.fromisoformat(line["cools_until"]) - timedelta(milliseconds=10)
        heard = datetime.fromisoformat(line["at"]) + timedelta(seconds=line["latency_s"] + 0.01)
        assert heard < until
        others = [one for one in ran.attempts if one["model"] == line["model"]]
        left = [one for one in others if heard < datetime.fromisoformat(one["at"]) < until]
        assert len(left) < concurrency
    return [line["item"] for line in said]


async def test_the_ledger_says_until_when_nothing_leaves_of_that_model_alone(
    tmp_path: Path,
) -> None:
    job = of_two_models(tmp_path)
    slow = servers.once(refuses(429, retry_after="40"))

    def script(asked: Asked) -> Answer:
        is_first = asked.prompt == first and model_of(asked) == MODEL
        return slow(asked) if is_first else servers.draws(asked)

    first = ledgers.lines(job)[1]["prompt"]
    with FaultServer(script) as server:
        ran = await run_job(job, server)
    assert (ran.exit_code, server.n_requests) == (0, 13)
    [line] = [one for one in ran.attempts if one["outcome"] == "rate_limited"]
    assert cooled_by(ran, concurrency=4) == [line["item"]]
    waits = datetime.fromisoformat(line["cools_until"]) - datetime.fromisoformat(line["at"])
    assert timedelta(seconds=40) <= waits < timedelta(seconds=42)


@pytest.mark.parametrize(
    "refusal", [refuses(500), refuses(400), refuses(429, retry_after="100000")]
)
async def test_a_call_that_lets_nobody_wait_says_nothing_of_it(
    refusal: Answer, tmp_path: Path
) -> None:
    # The last one gives the model up: nothing leaves after that either.
    job = write_job(tmp_path / "job.jsonl", ids(4), limits={"concurrency": 1})
    script = servers.once(refusal)
    with FaultServer(
        lambda asked: (script if asked.prompt == "item-002" else servers.draws)(asked)
    ) as server:
        ran = await run_job(job, server)
    assert [line["outcome"] for line in ran.attempts].count("image") >= 2
    assert cooled_by(ran, concurrency=1) == []


# --- budgets ------------------------------------------------------------------------------------


async def test_a_cost_budget_is_never_passed_and_the_rest_is_left(
    tmp_path: Path, tried: Tried
) -> None:
    job = write_job(
        tmp_path / "job.jsonl",
        ids(100),
        limits={"concurrency": 8},
        budget={"max_cost_usd": 5.2},
    )
    with FaultServer(servers.draws) as server:
        ran = await run_job(job, server)
        assert ran.exit_code == 8
        assert ran.summary.cost_usd is not None
        assert 5.0 <= ran.summary.cost_usd <= 5.2
        assert server.n_requests == ran.summary.items.done == 37
        assert "budget.max_cost_usd" in str(ran.summary.stop_reason)
        assert max(spent_and_under_way(ran.directory)) <= Decimal("5.2")
        again = await run_job(job, server, max_cost_usd=0.2)
    assert (again.exit_code, again.summary.items.done) == (8, 38)
    assert server.n_requests == 38
    tried("P12", 100, "items under a budget")


def spent_and_under_way(directory: Path) -> Iterator[Decimal]:
    """At each request: what was spent, and what this and all that are open may cost at most."""
    spent = Decimal(0)
    open_usd: dict[tuple[str, int], Decimal] = {}
    for line in ledgers.segments(directory)[-1]:
        if line["event"] == "sent":
            open_usd[line["item"], line["attempt"]] = Decimal(line["est_usd"])
            yield spent + sum(open_usd.values())
        elif line["event"] == "attempt":
            del open_usd[line["item"], line["attempt"]]
            spent += Decimal(line["cost_usd"])


@pytest.mark.parametrize("spoils", [refuses(504), servers.BROKEN], ids=["504", "cut"])
async def test_what_may_have_been_billed_counts_for_the_budget_like_what_was(
    spoils: Answer, tmp_path: Path, tried: Tried
) -> None:
    job = write_job(
        tmp_path / "job.jsonl",
        ids(100),
        limits={"concurrency": 8},
        budget={"max_cost_usd": 5.2},
        retries={"unsure": 0},
    )

    def script(asked: Asked) -> Answer:
        return spoils if int(asked.prompt[-3:]) % 5 == 4 else servers.draws(asked)

    with FaultServer(script) as server:
        ran = await run_job(job, server)
    assert ran.exit_code == 8
    assert ran.summary.maybe_billed.count >= 5
    assert max(spent_and_under_way(ran.directory)) <= Decimal("5.2")
    assert (ran.summary.cost_usd or 0) + ran.summary.cost_maybe_usd <= Decimal("5.2")
    tried("P12", 100, "items under a budget")


async def test_drafts_that_nobody_asked_for_may_pass_a_budget_by_their_own_price_which_is_told(
    tmp_path: Path,
) -> None:
    job = write_job(
        tmp_path / "job.jsonl", ids(30), limits={"concurrency": 8}, budget={"max_cost_usd": 1}
    )
    details = [{"modality": "IMAGE", "tokenCount": 2 * 1120}]
    usage = {**servers.USAGE, "candidatesTokenCount": 2350, "candidatesTokensDetails": details}

    def script(asked: Asked) -> Answer:
        pictures = (servers.image_part(servers.png(f"{asked.prompt} {n}")) for n in range(2))
        return servers.whole(servers.document(*pictures, usage=usage))

    with FaultServer(script) as server:
        ran = await run_job(job, server)
    [told] = [event.message for event in ran.events if isinstance(event, Warned)]
    over_usd = (ran.summary.cost_usd or Decimal(0)) - 1
    assert ran.exit_code == 8
    assert 0 < over_usd <= 8 * 1120 * Decimal(120) / 1_000_000
    assert told.startswith(f"warning: budget.max_cost_usd $1.00 was passed by ${over_usd:.2f}: ")
    assert "drafts" in told


async def test_a_budget_of_the_day_counts_over_runs_and_what_may_be_billed(tmp_path: Path) -> None:
    job = write_job(
        tmp_path / "job.jsonl",
        ids(20),
        limits={"concurrency": 1},
        budget={"max_cost_usd_per_day": 1},
        retries={"unsure": 0},
    )

    def script(asked: Asked) -> Answer:
        return refuses(504) if asked.prompt == "item-001" else servers.draws(asked)

    with FaultServer(script) as server:
        first = await run_job(job, server, limit=3, whole=False)
        assert first.summary.maybe_billed.count == 1
        second = await run_job(job, server)
        third = await run_job(job, server)
    assert (second.exit_code, third.exit_code) == (8, 8)
    spent = second.summary.cost_usd or 0
    assert 0.8 <= spent + (first.summary.cost_usd or 0) + first.summary.cost_maybe_usd <= 1
    assert third.summary.attempts.total == 0


async def test_a_model_without_a_price_under_a_budget_is_an_error_of_the_job(
    tmp_path: Path,
) -> None:
    items: list[Any] = ["a", {"id": "b", "prompt": "b", "model": "nobody-knows-1"}]
    job = write_job(tmp_path / "job.jsonl", items)
    with FaultServer(servers.draws) as server:
        with pytest.raises(Exception, match=r"job.jsonl:3:.*: 'nobody-knows-1' has no price"):
            await run_job(job, server, max_cost_usd=1)
        assert server.n_connections == 0
        assert (await run_job(job, server)).exit_code == 0


async def test_too_many_failures_stop_the_run(tmp_path: Path) -> None:
    job = write_job(
        tmp_path / "job.jsonl",
        ids(40),
        limits={"concurrency": 1},
        budget={"max_failures": "10%"},
    )

    def script(asked: Asked) -> Answer:
        return servers.draws(asked) if asked.prompt == "item-000" else refuses(400)

    with FaultServer(script) as server:
        ran = await run_job(job, server)
    assert server.n_requests == 1 + 5
    assert (ran.exit_code, ran.summary.items.failed, ran.summary.items.pending) == (4, 5, 34)
    assert "budget.max_failures is 10%" in str(ran.summary.stop_reason)


async def test_the_end_of_the_time_lets_what_is_under_way_end(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ids(6), limits={"concurrency": 2})
    released = threading.Event()

    def script(asked: Asked) -> Answer:
        picture = servers.draws(asked)
        return picture if asked.prompt == "item-000" else servers.waits_for(released, picture)

    events: list[Any] = []

    def note(event: object) -> None:
        events.append(event)
        if isinstance(event, Stopping):
            released.set()

    with FaultServer(script) as server:
        async with Runner(
            job,
            output=tmp_path / "output",
            base_url=server.url,
            max_duration="1s",
            on_event=note,
        ) as runner:
            async for _ in runner.results():
                pass
    assert runner.summary.exit_code == 10
    assert (runner.summary.items.done, runner.summary.items.pending) == (3, 3)
    assert server.n_requests == 3
    assert runner.summary.maybe_billed.count == 0
    [stopping] = [event for event in events if isinstance(event, Stopping)]
    assert stopping.n_in_flight == 2
    ledgers.check_directory(runner.directory)


async def test_a_wrong_key_counts_for_more_than_the_time_that_was_over_before(
    tmp_path: Path,
) -> None:
    job = write_job(tmp_path / "job.jsonl", ids(6), limits={"concurrency": 2})
    released = threading.Event()

    def script(asked: Asked) -> Answer:
        is_first = asked.prompt == "item-000"
        return servers.draws(asked) if is_first else servers.waits_for(released, refuses(401))

    def note(event: object) -> None:
        if isinstance(event, Stopping):
            released.set()

    with FaultServer(script) as server:
        async with Runner(
            job,
            output=tmp_path / "output",
            base_url=server.url,
            max_duration="1s",
            on_event=note,
        ) as runner:
            async for _ in runner.results():
                pass
    assert runner.summary.exit_code == 7
    assert "check the key" in str(runner.summary.stop_reason)


async def test_a_run_whose_time_is_over_before_it_begins_sends_nothing(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ids(6), budget={"max_duration": 0})
    with FaultServer(servers.draws) as server:
        ran = await run_job(job, server)
    assert (ran.exit_code, server.n_requests) == (10, 0)


# --- limits over runs ---------------------------------------------------------------------------


async def test_requests_of_a_day_are_counted_over_runs(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ids(10), limits={"rpd": 4, "concurrency": 2})
    # Before midnight Pacific a run would wait for it, and go on with the requests of a new day.
    noon = datetime(2026, 11, 28, 20, tzinfo=UTC)
    morning, later, evening = (QuickTime(noon + timedelta(hours=hours)) for hours in (0, 1, 2))
    with FaultServer(servers.draws) as server:
        first = await run_job(job, server, limit=3, whole=False, quick=morning)
        second = await run_job(job, server, quick=later)
        third = await run_job(job, server, quick=evening)
    assert (first.exit_code, second.exit_code, third.exit_code) == (0, 7, 7)
    assert server.n_requests == 4
    assert "limits.rpd" in str(second.summary.stop_reason)


async def test_a_minute_is_not_too_full_after_a_restart(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ids(8), limits={"ipm": 4, "concurrency": 4})
    with FaultServer(servers.draws) as server:
        await run_job(job, server, limit=1, whole=False)
        ran = await run_job(job, server)
    times = sorted(datetime.fromisoformat(line["at"]) for line in ran.attempts)
    assert len(times) == 8
    for first, fifth in zip(times, times[4:], strict=False):
        assert fifth - first >= timedelta(seconds=60)


# --- what is told -------------------------------------------------------------------------------


async def test_a_second_tells_what_is_on_the_road(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ids(4), limits={"concurrency": 2})
    ticks: list[Ticked] = []
    enough = asyncio.Event()

    def note(event: object) -> None:
        if isinstance(event, Ticked):
            ticks.append(event)
            if event.cooling:
                enough.set()

    def script(asked: Asked) -> Answer:
        is_limited = asked.prompt == "item-001"
        return refuses(429, retry_after="30") if is_limited else servers.draws(asked)

    with FaultServer(script) as server:
        async with Runner(
            job, output=tmp_path / "output", base_url=server.url, on_event=note
        ) as runner:
            reading = asyncio.ensure_future(_all(runner))
            await asyncio.wait_for(enough.wait(), 20)
            runner.request_stop("sigint")
            await asyncio.wait_for(reading, 5)  # a wait ends at once
    [cooling] = ticks[-1].cooling
    assert (cooling.model, cooling.why) == (MODEL, "after a 429")
    assert 25 <= cooling.for_s <= 32
    assert ticks[-1].n_retrying == 1
    assert runner.summary.exit_code == 130


async def _all(runner: Runner) -> None:
    async for _ in runner.results():
        pass


async def test_the_history_of_the_limits_is_in_the_ledger_and_the_summary(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ids(60), limits={"concurrency": "2-16"})

    def script(asked: Asked) -> Answer:
        return refuses(429) if server.n_in_flight > 6 else servers.draws(asked)

    with FaultServer(script) as server:
        ran: Ran = await run_job(job, server)
    told = json.loads((ran.directory / "summary.json").read_text())["concurrency"]
    [end] = [line for line in ledgers.segments(ran.directory)[0] if line["event"] == "end"]
    assert end["concurrency"] == {**told, "most": 16}
    assert set(told) == {"peak", "final", "history"}
    assert told["history"][0] == {
        "at_s": told["history"][0]["at_s"],
        "model": MODEL,
        "limit": 2,
        "per_min": None,
        "why": "start",
    }
