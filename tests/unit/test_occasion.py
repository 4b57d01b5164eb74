"""Which runs are worth a message, and what has changed."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from batchgen.hook import On
from batchgen.model import Tokens
from batchgen.notify import Ended, changes, is_worth_telling
from batchgen.report.summary import (
    NO_USD,
    AttemptCounts,
    Concurrency,
    Diff,
    ItemCounts,
    Latency,
    MaybeBilled,
    Summary,
)


def of_a_run(**different: Any) -> Summary:
    """A run of ten items as planned, like the one before."""
    same = Diff(new_failures=[], fixed=[], still_failing=[], cost_delta_usd=NO_USD)
    plain = Summary(
        job="shop",
        run_id="20261128T020000Z-00000001",
        started_at="2026-11-28T02:00:00.000Z",
        finished_at="2026-11-28T02:10:00.000Z",
        wall_s=600.0,
        stop_reason="finished",
        exit_code=0,
        items=ItemCounts(total=10, done=10),
        attempts=AttemptCounts(total=10, by_outcome={"image": 10}),
        images=10,
        tokens=Tokens(),
        cost_usd=Decimal(1),
        cost_waste_usd=NO_USD,
        cost_maybe_usd=NO_USD,
        cost_unknown_attempts=0,
        cost_by_model={},
        cost_by_tag={},
        latency_s=Latency(),
        throughput_per_min=1.0,
        concurrency=Concurrency(),
        failures=[],
        maybe_billed=MaybeBilled(),
        diff=same,
        planned_usd=Decimal(1),
    )
    return msgspec.structs.replace(plain, **different)


def ended(summary: Summary | None = None, **different: Any) -> Ended:
    code = 0 if summary is None else summary.exit_code
    return Ended(**{"job": "shop", "exit_code": code, "summary": summary, **different})


def diff(
    new_failures: list[str] | None = None,
    fixed: list[str] | None = None,
    still_failing: list[str] | None = None,
) -> Diff:
    return Diff(
        new_failures=new_failures or [],
        fixed=fixed or [],
        still_failing=still_failing or [],
        cost_delta_usd=None,
    )


SOME_FAILED = ItemCounts(total=10, done=9, failed=1)
QUIET: dict[str, Ended] = {
    "like the night before": ended(of_a_run()),
    "nothing to do": ended(
        of_a_run(
            items=ItemCounts(total=10, done=10, reused=10), cost_usd=NO_USD, planned_usd=NO_USD
        )
    ),
    "the same item fails as ever": ended(
        of_a_run(
            exit_code=4,
            items=SOME_FAILED,
            diff=diff(still_failing=["a"]),
            cost_usd=NO_USD,  # it was planned, and was not made
        )
    ),
    "a fifth more": ended(of_a_run(cost_usd=Decimal("1.2"))),
    "a fifth less": ended(of_a_run(cost_usd=Decimal("0.8"))),
    "no plan": ended(of_a_run(planned_usd=msgspec.UNSET, cost_usd=Decimal(9))),
    "what lay ahead the night before": ended(
        of_a_run(ahead=("old",)), before=of_a_run(ahead=("old", "gone"))
    ),
    "no known cost": ended(of_a_run(cost_usd=None)),
    "the first run, whole": ended(of_a_run(diff=None)),
}
LOUD: dict[str, tuple[Ended, str]] = {
    "new failures": (
        ended(of_a_run(exit_code=4, items=SOME_FAILED, diff=diff(new_failures=list("abcdefg")))),
        "7 new failures: a, b, c, d, e and 2 more",
    ),
    "more failures than a list holds": (
        ended(
            of_a_run(
                exit_code=4,
                items=SOME_FAILED,
                diff=msgspec.structs.replace(diff(new_failures=["a"] * 100), n_new_failures=3000),
            )
        ),
        "3,000 new failures: a, a, a, a, a and 2,995 more",
    ),
    "failures of the first run": (
        ended(of_a_run(exit_code=4, items=SOME_FAILED, diff=None)),
        "1 new failure",
    ),
    "fixed": (ended(of_a_run(diff=diff(fixed=["a"]))), "1 item fixed: a"),
    "dearer": (
        ended(of_a_run(cost_usd=Decimal("1.21"))),
        "cost off the plan: $1.21 of $1.00 planned (+21 %)",
    ),
    "cheaper": (
        ended(of_a_run(cost_usd=Decimal("0.79"))),
        "cost off the plan: $0.79 of $1.00 planned (-21 %)",
    ),
    "stopped": (
        ended(
            of_a_run(exit_code=7, stop_reason="no credit", items=ItemCounts(total=10, pending=10))
        ),
        "stopped (exit code 7): no credit",
    ),
    "stopped, though failures are let pass": (
        ended(of_a_run(exit_code=4, stop_reason="too many failures")),
        "stopped (exit code 4): too many failures",
    ),
    "nothing was sent": (
        ended(exit_code=3, error="job.yaml:3:1: prompt: it is missing"),
        "stopped (exit code 3): job.yaml:3:1: prompt: it is missing",
    ),
    "what lies ahead": (
        ended(of_a_run(ahead=("old", "new")), before=of_a_run(ahead=("old",))),
        "ahead: new",
    ),
    "it goes again": (
        ended(of_a_run(), before=of_a_run(exit_code=7, stop_reason="no credit")),
        "it goes again: the run before had stopped",
    ),
}


@pytest.mark.parametrize("night", QUIET)
def test_a_run_like_the_one_before_is_no_change(night: str) -> None:
    assert not list(changes(QUIET[night]))
    assert not is_worth_telling("change", QUIET[night])


@pytest.mark.parametrize("night", LOUD)
def test_what_has_changed_is_told_in_a_line(night: str) -> None:
    told, line = LOUD[night]
    assert line in list(changes(told))
    assert is_worth_telling("change", told)


@pytest.mark.parametrize("on", ["change", "failure", "always"])
def test_a_run_that_never_began_is_told_to_everybody_who_asked(on: On) -> None:
    assert is_worth_telling(on, ended(exit_code=2, error="no API key"))


def test_a_failure_is_another_exit_code_than_0() -> None:
    refused = of_a_run(items=SOME_FAILED, diff=diff(new_failures=["a"]))
    assert not is_worth_telling("failure", ended(refused))  # as --fail-on none has it
    assert is_worth_telling("failure", ended(msgspec.structs.replace(refused, exit_code=4)))


def test_always_is_always() -> None:
    assert is_worth_telling("always", QUIET["nothing to do"])


def test_two_stops_in_a_row_are_two_messages_and_no_recovery() -> None:
    stopped = of_a_run(exit_code=5, stop_reason="the service is away")
    told = list(changes(ended(stopped, before=stopped)))
    assert told == ["stopped (exit code 5): the service is away"]
