"""A gateway's usage log is read in every form in which it may be exported."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from batchgen.errors import UsageError
from batchgen.reconcile.rows import Besides, Odd, Row, read_rows
from tests.bills import AT_S, FORMS, Side

if TYPE_CHECKING:
    from pathlib import Path


def rows_of(path: Path, text: str | bytes) -> list[Any]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_rows(path))


def one_of(tmp_path: Path, **row: Any) -> Any:
    (found,) = rows_of(tmp_path / "log.jsonl", json.dumps(row))
    return found


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(tmp_path: Path, form: str) -> None:
    side = Side(tmp_path)
    side.billed("req-1", "0.110528", after_s=20)
    side.billed("req-2", "0.05", after_s=40)
    side.billed(None, "0.02", after_s=60, model_name="gemini-2.5-flash-image")
    side.billed("req-2", "0.05", after_s=70, type=6)
    side.billed("", "5", after_s=80, type=1)
    assert list(read_rows(side.log(form))) == [
        Row(1, "req-1", 110_528_000, AT_S + 20, "gemini-3-pro-image"),
        Row(2, "req-2", 50_000_000, AT_S + 40, "gemini-3-pro-image"),
        Row(3, None, 20_000_000, AT_S + 60, "gemini-2.5-flash-image"),
        Row(4, "req-2", -50_000_000, AT_S + 70, "gemini-3-pro-image"),
        Besides(5),
    ]


@pytest.mark.parametrize("name", ["cost", "usd", "amount", "Cost USD", "costUsd"])
@pytest.mark.parametrize("amount", [0.110528, "0.110528", "$0.110528", "0.110528 USD"])
def test_a_column_of_dollars_will_do(tmp_path: Path, name: str, amount: object) -> None:
    assert one_of(tmp_path, **{"request_id": "a", name: amount}).nano_usd == 110_528_000


@pytest.mark.parametrize("amount", ["1,234.5", "$1,234.50", "1234.5"])
def test_commas_may_stand_between_thousands(tmp_path: Path, amount: str) -> None:
    assert one_of(tmp_path, cost=amount).nano_usd == 1_234_500_000_000


def test_the_quota_wins_over_a_column_of_dollars(tmp_path: Path) -> None:
    assert one_of(tmp_path, quota=500_000, cost="7").nano_usd == 10**9


@pytest.mark.parametrize(("kind", "nano_usd"), [(2, 10**9), (6, -(10**9)), ("refund", -(10**9))])
def test_a_refund_is_less_than_nothing_whatever_its_sign(
    tmp_path: Path, kind: object, nano_usd: int
) -> None:
    for quota in (500_000, -500_000) if nano_usd < 0 else (500_000,):
        assert one_of(tmp_path, quota=quota, type=kind).nano_usd == nano_usd


@pytest.mark.parametrize("kind", [1, "1", "topup", "Top Up", "充值", 3, 4, "system", 7])
def test_a_top_up_is_about_no_call(tmp_path: Path, kind: object) -> None:
    assert one_of(tmp_path, quota=500_000, type=kind) == Besides(1)


@pytest.mark.parametrize("kind", [0, 2, 9, "consume", "whatever", None])
def test_of_what_is_not_known_to_be_no_call_the_money_counts(tmp_path: Path, kind: object) -> None:
    assert one_of(tmp_path, quota=500_000, type=kind).nano_usd == 10**9


def test_an_error_without_a_quota_is_free(tmp_path: Path) -> None:
    assert one_of(tmp_path, type=5, request_id="a").nano_usd == 0


@pytest.mark.parametrize(
    "at", [AT_S, str(AT_S), float(AT_S), AT_S * 1000, "2026-11-21 03:00:00", "2026-11-21T03:00:00Z"]
)
def test_times_are_unix_seconds_milliseconds_or_stamps(tmp_path: Path, at: object) -> None:
    assert datetime.fromtimestamp(AT_S, UTC).hour == 3
    assert one_of(tmp_path, quota=1, created_at=at).at_s == AT_S


EARLIEST = "0001-01-01T00:00:00+14:00"  # no clock can show it in UTC


@pytest.mark.parametrize("at", ["yesterday", "", None, -5, "nan", "1e99", [1], EARLIEST])
def test_without_a_time_the_money_counts_all_the_same(tmp_path: Path, at: object) -> None:
    found = one_of(tmp_path, quota=500_000, created_at=at)
    assert (found.at_s, found.nano_usd) == (None, 10**9)


ODD = [
    ('{"request_id":"b"}', "neither quota nor cost"),
    ('{"quota":"plenty"}', "'plenty' is no number"),
    ('{"quota":true}', "'True' is no number"),
    ('{"cost":"0,138"}', "'0,138' is no number"),  # of some a point, of others nothing
    ('{"cost":"12,5"}', "'12,5' is no number"),
    ('{"cost":"1.234,5"}', "'1.234,5' is no number"),
    ('{"quota":NaN}', "'NaN' is no number"),
    ('{"quota":1e400}', "no price of a call"),
    ('{"quota":' + "9" * 5000 + "}", "no JSON"),
    ('{"quota":5_000}', "no JSON"),
    ('{"quota":', "no JSON"),
    ("[" * 100_000, "no JSON"),
    ("[[[[[[1]]]]]]", "no object"),
]


@pytest.mark.parametrize(("line", "why"), ODD)
def test_an_odd_row_is_told_and_the_next_one_read(tmp_path: Path, line: str, why: str) -> None:
    before, after = '{"quota":2,"request_id":"a"}', '{"quota":4,"request_id":"c"}'
    found = rows_of(tmp_path / "log.jsonl", f"{before}\n{line}\n{after}\n")
    odd = [row for row in found if isinstance(row, Odd)]
    assert odd[0].message.startswith("log.jsonl:2: row 2: ")
    assert why in odd[0].message
    assert len(odd[0].message) <= 300
    assert [row.request_id for row in found if isinstance(row, Row)] == ["a", "c"]


def test_a_row_of_a_table_with_too_many_cells_is_odd(tmp_path: Path) -> None:
    found = rows_of(tmp_path / "log.csv", "request_id,quota\na,2\nb,3,4\n\nc,5\nd\n")
    assert [type(row) for row in found] == [Row, Odd, Row, Odd]
    assert found[1].message == "log.csv:3: row 2: 3 cells, and the header names 2 columns"
    assert found[3].message == "log.csv:6: row 4: neither quota nor cost"


def test_a_table_without_a_column_of_money_is_no_usage_log(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no column is named quota, cost, usd or amount"):
        rows_of(tmp_path / "log.csv", "id,prompt\n1,a cat\n")


def test_a_log_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        list(read_rows(tmp_path / "log.csv"))


def test_a_packed_log_that_breaks_off_says_so_and_keeps_what_came(tmp_path: Path) -> None:
    whole = "".join(f'{{"quota":2,"request_id":"{n:x}{n * n * 7919:x}"}}\n' for n in range(30_000))
    found = rows_of(tmp_path / "log.gz", gzip.compress(whole.encode())[:-90_000])
    assert isinstance(found[-1], Odd)
    assert "broken off after row" in found[-1].message
    assert 1000 < len(found) < 30_000


def test_bytes_that_are_no_text_are_no_crash(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path / "log.jsonl", b'{"quota":2,"request_id":"a\xff"}')
    assert row.request_id == "a\ufffd"
    (odd,) = rows_of(tmp_path / "log.jsonl", b'{"quota":2,"request_id":"a\x00"}')
    assert "no JSON" in odd.message


@pytest.mark.parametrize("form", ["answer.json", "array.json", "jsonl"])
def test_a_document_of_any_size_is_read_row_by_row(tmp_path: Path, form: str) -> None:
    side = Side(tmp_path)
    for n in range(3000):
        side.billed(f"req-{n}", content="x" * 500)
    path = side.log(form)
    assert path.stat().st_size > 2 << 20
    tracemalloc.start()
    n_rows = sum(isinstance(row, Row) for row in read_rows(path))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_rows == 3000
    assert peak_bytes < 6 << 20


def test_of_two_large_answers_in_one_file_no_row_is_lost(tmp_path: Path) -> None:
    side = Side(tmp_path)
    for n in range(3000):
        side.billed(f"req-{n}", content="x" * 500)
    page = FORMS["answer.json"](side.rows)
    found = rows_of(tmp_path / "log.json", page + b"\n" + page)
    assert [type(row) for row in found] == [Row] * 6000


def test_amounts_are_exact(tmp_path: Path) -> None:
    total = sum(one_of(tmp_path, quota=n).nano_usd for n in (1, 69_080, 123_457))
    assert Decimal(total).scaleb(-9) == Decimal(1 + 69_080 + 123_457) / 500_000
