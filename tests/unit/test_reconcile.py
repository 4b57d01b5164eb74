"""A ledger held against a bill: what is joined, what it is called, and what multiplier fits."""

from __future__ import annotations

import json
import tracemalloc
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from batchgen.cost import PriceBook, PriceList
from batchgen.errors import StoreError, UsageError
from batchgen.reconcile import Reconciliation, reconcile
from tests.bills import AT_S, FORMS, LIST_USD, MODEL, RUN, Json, Side, stamp

if TYPE_CHECKING:
    from pathlib import Path

BOOK = PriceBook.shipped()
PAID = LIST_USD * Decimal("0.8")


@pytest.fixture
def side(tmp_path: Path) -> Side:
    return Side(tmp_path)


def told(side: Side, form: str = "jsonl", book: PriceBook = BOOK) -> Reconciliation:
    found = reconcile(side.ledger(), side.log(form), book)
    check_sums(found)
    return found


def check_sums(found: Reconciliation) -> None:
    """Every call and every row is in exactly one class."""
    calls = [getattr(found.calls, name) for name in found.calls.__struct_fields__]
    rows = [getattr(found.rows, name) for name in found.rows.__struct_fields__]
    assert sum(one.n for one in calls) == found.ledger.n
    assert sum(one.book_usd for one in calls) == found.ledger.usd
    assert [sum(one.ledger_said.values()) for one in calls] == [one.n for one in calls]
    assert sum(one.n for one in rows) == found.log.n
    assert sum(one.usd for one in rows) == found.log.usd
    joined = found.rows.by_id.usd + found.rows.by_time.usd
    assert sum(one.billed_usd for one in calls) == joined


def classes(found: Reconciliation) -> dict[str, int]:
    """How many calls each class has that has any."""
    names = found.calls.__struct_fields__
    return {name: n for name in names if (n := getattr(found.calls, name).n)}


def row_classes(found: Reconciliation) -> dict[str, int]:
    names = found.rows.__struct_fields__
    return {name: n for name in names if (n := getattr(found.rows, name).n)}


# --- by id --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_calls_and_rows_are_joined_by_request_id_in_every_form(side: Side, form: str) -> None:
    for n in range(6):
        side.billed(side.called(f"cat-{n}", after_s=n), PAID, after_s=20 + n)
    found = told(side, form)
    assert classes(found) == {"billed_image": 6}
    assert row_classes(found) == {"by_id": 6}
    assert (found.drift.book_usd, found.drift.billed_usd) == (LIST_USD * 6, PAID * 6)
    assert found.drift.drift == Decimal("0.8")
    assert found.multiplier.value == Decimal("0.80")
    assert found.multiplier.yaml == "prices: {multiplier: 0.80}"


def test_the_order_of_the_rows_makes_no_difference(side: Side) -> None:
    ids = [side.called(f"cat-{n}", after_s=n) for n in range(50)]
    for request_id in reversed(ids):
        side.billed(request_id, PAID)
    assert row_classes(told(side)) == {"by_id": 50}


def test_a_row_goes_to_one_call_only(side: Side) -> None:
    side.called("cat", request_id="same")
    side.called("dog", request_id="same")
    side.billed("same")
    found = told(side)
    assert classes(found) == {"billed_image": 1, "not_in_log": 1}
    assert found.calls.not_in_log.examples[0].item == "dog"


def test_a_line_that_stands_twice_is_one_call(side: Side) -> None:
    side.billed(side.called())
    side.lines.append({**side.lines[0], "event": "sent", "est_usd": "0.2"})
    side.lines.append(side.lines[0])
    found = told(side)
    assert classes(found) == {"billed_image": 1}
    assert (found.ledger.n, found.ledger.usd) == (1, LIST_USD)


def test_rows_of_one_request_are_summed(side: Side) -> None:
    request_id = side.called()
    side.billed(request_id, "0.2")
    side.billed(request_id, "0.05", type=6)
    found = told(side)
    assert row_classes(found) == {"by_id": 2}
    assert found.calls.billed_image.billed_usd == Decimal("0.15")


def test_what_was_paid_back_in_full_is_free(side: Side) -> None:
    request_id = side.called()
    side.billed(request_id, "0.2")
    side.billed(request_id, "0.2", type=6)
    found = told(side)
    assert classes(found) == {"logged_free": 1}
    assert found.calls.logged_free.book_usd == LIST_USD


def test_a_model_may_be_called_otherwise_in_the_log(side: Side) -> None:
    side.billed(side.called(), model_name="gemini-3-pro-image-preview")
    side.called("dog", after_s=0, outcome="timeout", latency_s=600.0)
    side.billed(None, model_name="models/Gemini-3-Pro-Image-Preview", after_s=600)
    assert classes(told(side)) == {"billed_image": 1, "billed_without_image": 1}


# --- billed without a picture -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "said"), [("blocked", "yes"), ("text_only", "yes"), ("bad_request", "no")]
)
def test_money_for_no_picture_is_told_with_what_the_ledger_thought(
    side: Side, outcome: str, said: str
) -> None:
    request_id = side.called("hero", outcome=outcome)
    side.billed(request_id, "0.04")
    one = told(side).calls.billed_without_image
    assert (one.n, one.billed_usd) == (1, Decimal("0.04"))
    assert {word for word, n in one.ledger_said.items() if n} == {said}
    (example,) = one.examples
    assert (example.item, example.outcome, example.usd) == ("hero", outcome, Decimal("0.04"))
    assert (example.request_id, example.by, example.at) == (request_id, "id", stamp(AT_S))


def test_an_error_that_is_in_the_log_for_nothing_is_free(side: Side) -> None:
    side.billed(side.called(outcome="bad_request"), "0", type=5)
    found = told(side)
    assert classes(found) == {"logged_free": 1}


# --- timeouts -----------------------------------------------------------------------------------


def timed_out_and_made_again(side: Side, *, billed_after_s: int) -> None:
    side.called("cat", outcome="timeout", latency_s=600.0)
    side.billed(side.called("cat", after_s=601), PAID, after_s=621)
    side.billed("lost", "0.11", after_s=billed_after_s)


@pytest.mark.parametrize("billed_after_s", [-5, 0, 30, 599, 600, 601, 720])
def test_a_timeout_that_was_billed_and_made_again_is_paid_twice(
    side: Side, billed_after_s: int
) -> None:
    timed_out_and_made_again(side, billed_after_s=billed_after_s)
    found = told(side)
    assert classes(found) == {"billed_image": 1, "double_billed": 1}
    assert row_classes(found) == {"by_id": 1, "by_time": 1}
    one = found.calls.double_billed
    assert (one.billed_usd, one.by_time) == (Decimal("0.11"), 1)
    (example,) = one.examples
    assert (example.item, example.by, example.request_id) == ("cat", "time", "lost")


@pytest.mark.parametrize("billed_after_s", [-6, 721, 90_000])
def test_what_was_billed_at_another_time_is_not_its(side: Side, billed_after_s: int) -> None:
    timed_out_and_made_again(side, billed_after_s=billed_after_s)
    found = told(side)
    assert classes(found) == {"billed_image": 1, "maybe_not_billed": 1}
    assert found.rows.unknown.n + found.rows.unknown_outside.n == 1


def test_what_another_model_was_billed_for_is_not_its(side: Side) -> None:
    side.called("cat", outcome="timeout", latency_s=600.0)
    side.billed("lost", after_s=600, model_name="gemini-2.5-flash-image")
    side.billed("free", "0", after_s=600)
    found = told(side)
    assert classes(found) == {"maybe_not_billed": 1}
    assert row_classes(found) == {"unknown": 1, "unknown_free": 1}
    (example,) = found.rows.unknown.examples
    assert (example.request_id, example.row) == ("lost", 1)


def test_a_timeout_that_was_billed_and_never_made_again_is_paid_for_no_picture(side: Side) -> None:
    side.called("cat", outcome="timeout", latency_s=600.0)
    side.billed("lost", after_s=600)
    found = told(side)
    assert classes(found) == {"billed_without_image": 1}
    assert found.calls.billed_without_image.ledger_said["maybe"] == 1


def test_of_three_that_were_paid_two_are_too_many(side: Side) -> None:
    for n in range(3):
        side.called("cat", after_s=700 * n, outcome="timeout", latency_s=600.0)
        side.billed(f"lost-{n}", after_s=700 * n + 600)
    assert classes(told(side)) == {"billed_without_image": 1, "double_billed": 2}


def test_another_turn_or_another_item_is_no_second_making(side: Side) -> None:
    side.called("cat", outcome="timeout", latency_s=600.0)
    side.billed("lost", after_s=600)
    others: list[Json] = [{"item": "dog"}, {"turn": 2}, {"key": "1" * 64}]
    for changed in others:
        side.billed(side.called(**{"item": "cat", "after_s": 601, **changed}), after_s=621)
    assert classes(told(side)) == {"billed_image": 3, "billed_without_image": 1}


def test_a_picture_that_was_there_before_was_not_made_again(side: Side) -> None:
    side.billed(side.called("cat"))
    side.called("cat", after_s=700, outcome="timeout", latency_s=600.0)
    side.billed("lost", after_s=1300)
    assert classes(told(side)) == {"billed_image": 1, "billed_without_image": 1}


def test_a_maybe_with_a_request_id_is_joined_by_it(side: Side) -> None:
    side.called("cat", outcome="timeout", request_id="cut")
    side.billed("cut", after_s=90_000)
    found = told(side)
    assert found.calls.billed_without_image.examples[0].by == "id"


def test_the_nearest_is_given_first_and_each_row_once(side: Side) -> None:
    side.called("far", outcome="timeout", latency_s=60.0)
    side.called("near", after_s=100, outcome="timeout", latency_s=60.0)
    side.called("third", after_s=3000, outcome="timeout", latency_s=60.0)
    side.billed("a", after_s=162)
    side.billed("z", after_s=9000)
    found = told(side)
    assert found.calls.billed_without_image.examples[0].item == "near"
    assert [one.item for one in found.calls.maybe_not_billed.examples] == ["far", "third"]


def test_who_loses_the_nearest_takes_the_next(side: Side) -> None:
    side.called("a", outcome="timeout", latency_s=60.0)
    side.called("b", after_s=2, outcome="timeout", latency_s=60.0)
    side.billed("first", after_s=62)
    side.billed("second", after_s=70)
    examples = told(side).calls.billed_without_image.examples
    assert {one.item: one.request_id for one in examples} == {"a": "second", "b": "first"}


@pytest.mark.parametrize(("before_s", "after_s"), [(30, 65), (55, 70)])
def test_of_two_rows_a_call_has_the_one_nearer_to_its_end(
    side: Side, before_s: int, after_s: int
) -> None:
    side.called("cat", outcome="timeout", latency_s=60.0)
    side.billed("before", after_s=before_s)
    side.billed("after", after_s=after_s)
    (example,) = told(side).calls.billed_without_image.examples
    assert example.request_id == ("before" if before_s == 55 else "after")


def test_a_call_that_a_kill_cut_off_may_have_been_billed(side: Side) -> None:
    sent = {"v": 1, "event": "sent", "run_id": RUN, "item": "cat", "key": "0" * 64, "turn": 1}
    sent |= {"attempt": 1, "at": stamp(AT_S), "model": MODEL, "est_usd": "0.14"}
    side.lines.append(sent)
    side.billed("lost", after_s=30)
    side.billed("later", after_s=90_000)
    found = told(side)
    assert classes(found) == {"billed_without_image": 1}
    assert found.calls.billed_without_image.examples[0].outcome == "interrupted"
    side.called("cat", attempt=1, request_id="lost")
    assert classes(told(side)) == {"billed_image": 1}


def test_without_ids_a_finished_call_keeps_its_row_from_a_timeout(side: Side) -> None:
    side.called("slow", outcome="timeout", latency_s=600.0)
    for n in range(6):
        side.called(f"cat-{n}", after_s=500 + n * 20)
        side.billed(None, PAID, after_s=520 + n * 20)
    found = told(side)
    assert classes(found) == {"billed_image": 6, "maybe_not_billed": 1}
    assert row_classes(found) == {"by_time": 6}
    assert found.multiplier.pricing == "too_few"  # what is joined by time tells no price


def test_a_row_with_an_id_is_of_no_finished_call_with_another(side: Side) -> None:
    side.called("cat", request_id="mine")
    side.billed("other")
    side.billed(None, after_s=90_000)
    assert classes(told(side)) == {"not_in_log": 1}


# --- what one side lacks ------------------------------------------------------------------------


def test_what_the_log_cannot_have_is_not_held_against_it(side: Side) -> None:
    side.called("before", after_s=-5000)
    side.called("timeout before", after_s=-5000, outcome="timeout")
    side.called("inside", after_s=10)
    side.called("after", after_s=5000)
    side.billed("other", after_s=0, model_name="another")
    side.billed("other too", after_s=100, model_name="another")
    found = told(side)
    assert classes(found) == {"not_in_log": 1, "beyond_log": 3}
    assert found.calls.beyond_log.ledger_said == {"yes": 2, "maybe": 1, "no": 0}
    assert found.calls.not_in_log.book_usd == LIST_USD


def test_an_empty_log_reaches_nowhere(side: Side) -> None:
    side.called("cat")
    side.called("dog", outcome="bad_request")
    assert classes(told(side)) == {"beyond_log": 1, "not_billed": 1}


def test_rows_of_others_are_told_and_those_of_other_days_only_counted(side: Side) -> None:
    side.billed(side.called())
    side.billed("chat", "0.5", after_s=30, model_name="gpt-x")
    side.billed("yesterday", "0.25", after_s=-90_000)
    side.billed("", "10", type=1)
    side.rows.append({"request_id": "odd"})
    found = told(side)
    names = ("by_id", "unknown", "unknown_outside", "no_calls", "odd")
    assert row_classes(found) == dict.fromkeys(names, 1)
    assert [one.model for one in found.rows.unknown.examples] == ["gpt-x"]
    assert found.rows.unknown_outside.usd == Decimal("0.25")
    assert found.odd == ("log.jsonl:5: row 5: neither quota nor cost",)


def test_calls_that_never_left_are_none(side: Side) -> None:
    side.called("cat", attempt=0, outcome="missing_reference", billed="no")
    assert told(side).ledger.n == 0


def test_a_ledger_that_is_named_twice_is_read_once(side: Side) -> None:
    side.billed(side.called())
    ledger = side.ledger()
    found = reconcile([*ledger, *ledger], side.log(), BOOK)
    assert classes(found) == {"billed_image": 1}


def test_a_line_of_the_ledger_that_cannot_be_read_is_told(side: Side) -> None:
    side.called()
    (path,) = side.ledger()
    path.write_bytes(b"{nonsense}\n" + path.read_bytes())
    found = reconcile([path], side.log(), BOOK)
    assert found.unreadable[0].startswith(f"{RUN}.jsonl:1: ")
    assert found.ledger.n == 1


def test_a_newer_ledger_is_refused(side: Side) -> None:
    side.called(v=2)
    with pytest.raises(StoreError, match="newer batchgen"):
        reconcile(side.ledger(), side.log(), BOOK)


def test_a_file_of_something_else_is_no_usage_log(side: Side, tmp_path: Path) -> None:
    side.called()
    path = tmp_path / "job.jsonl"
    path.write_text('{"id": "cat", "prompt": "a cat"}\n')
    with pytest.raises(UsageError, match=r"is no usage log: job.jsonl:1: row 1: neither"):
        reconcile(side.ledger(), path, BOOK)


def test_odd_figures_in_a_ledger_are_no_crash(side: Side) -> None:
    side.called("a", cost_usd="1e30", latency_s=1e8)
    side.called("b", at="0002-01-01T00:00:00Z", outcome="timeout")
    # With such times nobody can reckon: those lines are told.
    side.called("c", at="yesterday", outcome="timeout")
    side.called("d", latency_s=1e300)
    found = told(side)
    assert found.ledger.n == 2
    assert len(found.unreadable) >= 2


# --- drift and multiplier -----------------------------------------------------------------------


def drawn(side: Side, n: int, factor: str, model: str = MODEL, **more: Any) -> None:
    for _ in range(n):
        side.billed(side.called(model=model, **more), LIST_USD * Decimal(factor), model_name=model)


def test_drift_is_told_for_each_model(side: Side) -> None:
    drawn(side, 2, "0.8")
    drawn(side, 3, "1.5", "gemini-3.1-flash-image")
    found = told(side)
    assert {model: one.drift for model, one in found.drift_by_model.items()} == {
        "gemini-3-pro-image": Decimal("0.8"),
        "gemini-3.1-flash-image": Decimal("1.5"),
    }
    assert (found.drift.n, found.drift.drift) == (5, Decimal("1.22"))


def test_calls_of_unknown_cost_are_in_no_drift(side: Side) -> None:
    drawn(side, 2, "0.8")
    drawn(side, 1, "9", cost_usd=None, cost_basis="unknown")
    found = told(side)
    assert (found.drift.n, found.drift.n_unknown, found.drift.drift) == (2, 1, Decimal("0.8"))


@pytest.mark.parametrize("n", [4, 5])
def test_a_multiplier_takes_five_pictures(side: Side, n: int) -> None:
    drawn(side, n, "0.8")
    found = told(side).multiplier
    assert (found.value is not None) == (n == 5)
    assert found.pricing == ("multiplier" if n == 5 else "too_few")


def test_the_multiplier_is_to_the_list_and_not_to_what_is_set(side: Side) -> None:
    drawn(side, 5, "0.8", cost_usd=str(LIST_USD * Decimal("0.7")))
    discounted = BOOK.under(PriceList("job", {}, Decimal("0.7")))
    found = told(side, book=discounted)
    assert (found.multiplier.value, found.multiplier_set) == (Decimal("0.80"), Decimal("0.7"))
    assert found.drift.drift == Decimal("1.1429")


def test_pictures_in_another_tier_have_its_list_price(side: Side) -> None:
    drawn(side, 5, "0.4", service_tier="flex")
    assert told(side).multiplier.value == Decimal("0.80")


def test_searches_are_in_the_list_price(side: Side) -> None:
    usd = (LIST_USD + Decimal("0.014")) / LIST_USD * Decimal("0.8")
    grounding = {"webSearchQueries": ["a", "a", ""]}
    drawn(side, 5, f"{usd:f}", grounding=grounding)
    assert told(side).multiplier.value == Decimal("0.80")


def test_what_is_no_picture_tells_no_price(side: Side) -> None:
    drawn(side, 5, "0.8")
    drawn(side, 5, "3", outcome="text_only", tokens=side.lines[0]["tokens"])
    assert told(side).multiplier.n == 5


def with_text(tokens: int) -> dict[str, Any]:
    nothing = dict.fromkeys(("input_text", "input_image", "thoughts"), 0)
    return {"tokens": {**nothing, "output_image": 1120, "output_text": tokens}}


def test_a_price_for_each_request_is_no_multiplier(side: Side) -> None:
    for n in range(20):
        side.billed(side.called(**with_text(n * 200)), "0.05")
    found = told(side).multiplier
    assert (found.pricing, found.value, found.yaml) == ("per_request", None, None)
    assert found.per_request_usd == Decimal("0.05")


def test_a_bill_that_follows_nothing_is_no_multiplier(side: Side) -> None:
    for n in range(20):
        side.billed(side.called(**with_text(n * 200)), f"0.{20 - n % 7:02d}")
    found = told(side).multiplier
    assert (found.pricing, found.value) == ("not_constant", None)
    assert found.low is not None
    assert found.high is not None
    assert found.low < Decimal("0.9") * found.high


def test_one_call_of_many_that_went_astray_changes_no_multiplier(side: Side) -> None:
    drawn(side, 99, "0.8")
    drawn(side, 1, "0.4")
    found = told(side).multiplier
    assert (found.value, found.low, found.high) == (Decimal("0.796"), *[Decimal("0.8")] * 2)


@pytest.mark.parametrize("other", ["0.81", "0.82"])
def test_models_whose_multipliers_differ_get_one_each(side: Side, other: str) -> None:
    differs = other == "0.82"
    flash = "gemini-3.1-flash-image"
    drawn(side, 5, "0.8")
    for _ in range(5):
        usd = Decimal(other) * (20 * Decimal("0.5") + 310 * 3 + 1120 * 60) / 1_000_000
        side.billed(side.called(model=flash), usd, model_name=flash)
    found = told(side)
    assert (found.multiplier.pricing == "by_model") == differs
    assert (found.multiplier.yaml is None) == differs
    values = {model: one.value for model, one in found.multiplier_by_model.items()}
    assert values == ({MODEL: Decimal("0.80"), flash: Decimal("0.82")} if differs else {})


@pytest.mark.parametrize(
    ("factor", "written"),
    [("0.8", "0.80"), ("1", "1.00"), ("0.733", "0.733"), ("0.1255", "0.1255"), ("7.3", "7.30")],
)
def test_a_multiplier_has_as_many_decimals_as_it_takes(
    side: Side, factor: str, written: str
) -> None:
    drawn(side, 8, factor)
    assert told(side).multiplier.yaml == f"prices: {{multiplier: {written}}}"


# --- the report ---------------------------------------------------------------------------------


def test_the_json_has_money_as_text_and_no_more_examples_than_a_few(side: Side) -> None:
    for n in range(30):
        side.billed(side.called(f"item-{n}", outcome="blocked"), "0.04")
    written = json.loads(msgspec.json.encode(told(side)))
    one = written["calls"]["billed_without_image"]
    assert (one["n"], one["billed_usd"], len(one["examples"])) == (30, "1.200000", 5)
    assert [example["item"] for example in one["examples"]] == [f"item-{n}" for n in range(5)]
    at = stamp(AT_S + 20)
    assert written["log"] == {"n": 30, "usd": "1.200000", "first_at": at, "last_at": at}


def test_many_calls_and_rows_take_little_memory(side: Side) -> None:
    for n in range(1500):
        side.billed(side.called(f"item-{n}"), PAID)
    ledger, log = side.ledger(), side.log()
    side.lines.clear()
    side.rows.clear()
    tracemalloc.start()
    found = reconcile(ledger, log, BOOK)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.calls.billed_image.n == 1500
    assert peak_bytes < 1500 * 400 + (3 << 20)
