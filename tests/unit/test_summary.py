"""The figures of a run, added up by hand beside them."""

from decimal import Decimal
from typing import Any

import msgspec

from batchgen.model import Attempt, Failure, ImageFile, Outcome, Result, Tokens
from batchgen.report.summary import MAX_LISTED, ItemTotals, RunTotals, difference

IMAGE = ImageFile(
    path="images/a.png", role="final", sha256="0" * 64, bytes=4, width=1, height=1, mime="image/png"
)
DONE = Attempt(
    run_id="r",
    item="a",
    key="k",
    turn=1,
    attempt=1,
    at="2026-11-21T03:00:04.120Z",
    model="m",
    provider="emulator",
    outcome=Outcome.IMAGE,
    decision="done",
    images=(IMAGE,),
    tokens=Tokens(input_text=20, output_text=110, output_image=1120, thoughts=200),
    cost_usd=Decimal("0.138160"),
    cost_basis="reported",
    billed="yes",
    latency_s=2.0,
    tags={"sku": "A"},
)


def totals(*changes: dict[str, Any]) -> RunTotals:
    run = RunTotals()
    for change in changes:
        run.add(msgspec.structs.replace(DONE, **change))
    return run


def test_sure_wasted_possible_and_unknown_cost_are_kept_apart() -> None:
    failed = {"outcome": Outcome.NO_IMAGE, "images": ()}
    run = totals(
        {},
        {"tags": {"sku": "B"}, "model": "n"},
        {**failed, "cost_usd": Decimal("0.000600")},
        {"outcome": Outcome.TIMEOUT, "billed": "maybe", "tokens": None, "images": ()},
        {**failed, "cost_usd": None, "cost_basis": "unknown", "tokens": None},
        {"outcome": Outcome.RATE_LIMITED, "billed": "no", "cost_usd": Decimal(0), "images": ()},
    )
    assert run.known_cost_usd == Decimal("0.276920")  # 2 x 0.138160 + 0.000600
    assert run.waste_usd == Decimal("0.000600")
    assert run.maybe_usd == Decimal("0.138160")
    assert (run.n_maybe, run.n_unknown, run.images) == (1, 1, 2)
    assert run.by_model == {"m": Decimal("0.138760"), "n": Decimal("0.138160")}
    assert run.by_tag == {"sku": {"A": Decimal("0.138760"), "B": Decimal("0.138160")}}
    assert run.by_outcome == {"image": 2, "no_image": 2, "timeout": 1, "rate_limited": 1}
    assert run.maybe[0]["outcome"] == "timeout"


def test_a_cost_of_which_nothing_is_known_is_none_and_no_cost_at_all_is_zero() -> None:
    assert totals({"cost_usd": None, "cost_basis": "unknown"}).known_cost_usd is None
    assert totals({}, {"cost_usd": None}).known_cost_usd == Decimal("0.138160")
    assert RunTotals().known_cost_usd == 0


def test_what_was_never_sent_is_no_call() -> None:
    run = totals({"attempt": 0, "outcome": Outcome.MISSING_REFERENCE, "images": ()})
    assert run.by_outcome == {}


def test_latencies_are_of_pictures_only_and_their_quantiles_by_nearest_rank() -> None:
    run = totals(
        *({"latency_s": float(n)} for n in range(1, 21)),
        {"latency_s": 500.0, "outcome": Outcome.TIMEOUT},
    )
    latency = run.latency_s
    assert (latency.p50, latency.p95, latency.max) == (10.0, 19.0, 20.0)
    assert RunTotals().latency_s.p50 is None


def test_items_are_counted_by_where_they_stand_and_failures_by_their_cause() -> None:
    items = ItemTotals()
    base = Result(id="a", key="k", status="done", model="m", run_id="now", outcome=Outcome.IMAGE)
    bad = {
        "status": "failed",
        "outcome": Outcome.BLOCKED,
        "error": Failure(kind="Blocked", message="refused"),
    }
    for change in (
        {},
        {"run_id": "before"},
        {"id": "b", **bad},
        {"id": "c", **bad},
        {"status": "pending", "outcome": Outcome.TIMEOUT},
        {"status": "pending", "outcome": None, "run_id": None},
    ):
        items.add(msgspec.structs.replace(base, **change), "now")
    counts = items.counts
    assert (counts.total, counts.done, counts.reused) == (6, 2, 1)
    assert (counts.failed, counts.pending, counts.skipped) == (2, 2, 0)
    (group,) = items.groups
    assert (group.outcome, group.count, group.item) == ("blocked", 2, "b")
    assert group.example == "refused"


def test_the_list_of_calls_that_may_be_billed_is_bounded_and_its_count_is_not() -> None:
    run = totals(*({"billed": "maybe", "outcome": Outcome.TIMEOUT} for _ in range(MAX_LISTED + 5)))
    assert (len(run.maybe), run.n_maybe) == (MAX_LISTED, MAX_LISTED + 5)


def test_the_difference_between_two_runs() -> None:
    diff = difference({"a", "b"}, {"b", "c"}, Decimal("-1.5"))
    assert (diff.new_failures, diff.fixed, diff.still_failing) == (["c"], ["a"], ["b"])
    assert diff.cost_delta_usd == Decimal("-1.5")
