"""Whatever a ledger and a log have, every call and every row is in exactly one class."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from batchgen.cli.reconciled import reconciled
from batchgen.cost import PriceBook
from batchgen.reconcile import Reconciliation, reconcile
from tests.bills import FORMS, Side

SECONDS = st.integers(-1000, 2000)
IDS = st.sampled_from([None, *"abcdef"])
MODELS = st.sampled_from(
    ["gemini-3-pro-image", "gemini-3-pro-image-preview", "gemini-3.1-flash-image", "gpt-x"]
)
OUTCOMES = st.sampled_from(["image", "image", "timeout", "blocked", "bad_request", "interrupted"])
CALLS = st.fixed_dictionaries(
    {
        "item": st.sampled_from("xyz"),
        "after_s": SECONDS,
        "outcome": OUTCOMES,
        "request_id": IDS,
        "model": MODELS,
        "turn": st.integers(1, 2),
        "latency_s": st.sampled_from([None, 0.0, 20.0, 600.0]),
    }
)
ROWS = st.fixed_dictionaries(
    {
        "quota": st.integers(-100_000, 200_000) | st.sampled_from([0, "", "odd"]),
        "after_s": SECONDS,
        "request_id": IDS,
        "model_name": MODELS,
        "type": st.sampled_from([2, 2, 2, 1, 5, 6]),
    }
)


def compared(calls: list[Any], rows: list[Any], form: str) -> tuple[Reconciliation, Side]:
    with tempfile.TemporaryDirectory() as folder:
        side = Side(Path(folder))
        for call in calls:
            side.called(**call)
        side.billed("first of all", "0.1", after_s=0, model_name="gpt-x")
        for row in rows:
            side.billed(**row)
        return reconcile(side.ledger(), side.log(form), PriceBook.shipped()), side


@given(st.lists(CALLS, max_size=12), st.lists(ROWS, max_size=12), st.sampled_from(list(FORMS)))
def test_the_classes_add_up_to_the_whole(calls: list[Any], rows: list[Any], form: str) -> None:
    found, _ = compared(calls, rows, form)
    call_classes = [getattr(found.calls, name) for name in found.calls.__struct_fields__]
    row_classes = [getattr(found.rows, name) for name in found.rows.__struct_fields__]
    assert sum(one.n for one in call_classes) == found.ledger.n == len(calls)
    assert sum(one.n for one in row_classes) == found.log.n == len(rows) + 1
    assert sum(one.book_usd for one in call_classes) == found.ledger.usd
    assert sum(one.usd for one in row_classes) == found.log.usd
    joined_usd = found.rows.by_id.usd + found.rows.by_time.usd
    assert sum(one.billed_usd for one in call_classes) == joined_usd
    n_joined = found.rows.by_id.requests + found.rows.by_time.requests
    examples = [example for one in call_classes for example in one.examples]
    assert sum(example.by is not None for example in examples) <= n_joined <= len(calls)
    assert sum(one.by_time for one in call_classes) == found.rows.by_time.requests
    assert list(reconciled(found))


def money_of(rows: list[Any]) -> int:
    """What a log comes to in quota, by hand."""
    total = 50_000
    for row in rows:
        if row["type"] == 1 or not isinstance(row["quota"], int):
            continue
        total += -abs(row["quota"]) if row["type"] == 6 else row["quota"]
    return total


@given(st.lists(CALLS, max_size=6), st.lists(ROWS, max_size=12), st.sampled_from(list(FORMS)))
def test_no_money_of_the_log_is_lost(calls: list[Any], rows: list[Any], form: str) -> None:
    found, _ = compared(calls, rows, form)
    assert found.log.usd * 500_000 == money_of(rows)
