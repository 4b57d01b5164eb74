"""The comparison of ledger and bill as a person reads it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from batchgen.cli.reconciled import folded, reconciled
from batchgen.cost import PriceBook, PriceList
from batchgen.paper import Paper
from batchgen.reconcile import reconcile
from tests.bills import LIST_USD, Side

if TYPE_CHECKING:
    from pathlib import Path

PAID = LIST_USD * Decimal("0.8")


@pytest.fixture
def side(tmp_path: Path) -> Side:
    return Side(tmp_path)


def text(side: Side, multiplier: str | None = None) -> str:
    set_now = None if multiplier is None else PriceList("job", {}, Decimal(multiplier))
    book = PriceBook.shipped().under(set_now)
    return "\n".join(reconciled(reconcile(side.ledger(), side.log(), book)))


def test_a_report_in_full(side: Side) -> None:
    """The example of docs/cost.md."""
    for n in range(6):
        side.billed(side.called(f"vase-{n}", after_s=30 * n), PAID, after_s=30 * n + 20)
    side.called("hero", after_s=200, outcome="timeout", latency_s=600.0)
    side.billed("20261121031320Q7", PAID, after_s=810)
    side.billed(side.called("hero", after_s=801), PAID, after_s=821)
    side.billed(side.called("poster", outcome="bad_request", after_s=300), "0.04", after_s=301)
    side.billed("20261121031500X2", "0.0031", after_s=900, model_name="gpt-5-mini")
    side.billed("", "10", after_s=950, type=1)
    assert text(side).splitlines() == REPORT


REPORT = """\
usage log                   11 rows, $0.93 billed, 2026-11-21 03:00 to 2026-11-21 03:15 UTC
ledger                      9 calls, $0.97 by the book, 2026-11-21 03:00 to 2026-11-21 03:13 UTC
book and bill               7 calls that both have: $0.97 by the book, $0.77 billed, × 0.800

9 calls of the ledger, each in one line:
  billed, with a picture    7, $0.77
  billed without a picture  1, $0.04 (billed by the ledger: 1 no)
    poster  2026-11-21 03:05:00  bad_request  $0.04  req-9
  paid twice                1, $0.11 (1 by time; billed without an answer, made and billed again)
    hero  2026-11-21 03:03:20  timeout  $0.11  20261121031320Q7  by time

11 rows of the log, each in one line:
  joined by request id      8, $0.81
  joined by model and time  1, $0.11
  of no call in the ledger  1, $0.0031 (other programs with the same key?)
    row 10  2026-11-21 03:15:00  gpt-5-mini  $0.0031  20261121031500X2
  about no call             1 (top-ups)

multiplier                  0.80, from 7 pictures joined by id; all alike
                            prices: {multiplier: 0.80}
""".splitlines()


def test_what_is_set_already_is_said_so(side: Side) -> None:
    for n in range(6):
        side.billed(side.called(f"vase-{n}"), PAID)
    assert text(side, "0.8").endswith("as it is set")
    assert text(side, "0.7").endswith("prices: {multiplier: 0.80}")


def test_models_that_differ_have_a_line_each(side: Side) -> None:
    for n in range(6):
        side.billed(side.called(f"a-{n}"), PAID)
        flash = "gemini-3.1-flash-image"
        side.billed(side.called(f"b-{n}", model=flash), "0.05", model_name=flash)
    told = text(side).splitlines()
    at = next(n for n, line in enumerate(told) if line.startswith("multiplier"))
    assert [line.split()[:2] for line in told[at + 1 :]] == [
        ["gemini-3-pro-image", "0.80,"],
        ["prices:", "{multiplier:"],
        ["gemini-3.1-flash-image", "0.734,"],
        ["prices:", "{multiplier:"],
    ]


@pytest.mark.parametrize(("n", "said"), [(4, "none yet: it takes 5 pictures"), (5, "0.80, from 5")])
def test_too_few_pictures_are_said_to_be_too_few(side: Side, n: int, said: str) -> None:
    for _ in range(n):
        side.billed(side.called(), PAID)
    assert said in text(side)


def test_a_price_for_each_request_is_told(side: Side) -> None:
    for n in range(8):
        tokens = {"input_text": 0, "input_image": 0, "output_text": 500 * n}
        tokens |= {"output_image": 1120, "thoughts": 0}
        side.billed(side.called(tokens=tokens), "0.05")
    assert "none: each request cost $0.05, whatever its tokens" in text(side)
    assert "prices:" not in text(side)


def test_what_comes_from_files_is_made_fit_for_a_terminal(side: Side) -> None:
    side.called("cat", outcome="timeout")
    evil = "\x1b[31mred\r\n\u202eid"
    side.billed(evil, after_s=10)
    side.billed(evil + "2", after_s=10, model_name="\x1b[2Jmodel")
    side.rows.append({"quota": "\x1b[31m"})
    assert not set(text(side)) & set("\x1b\r\u202e")


def test_an_empty_ledger_and_an_empty_log_have_a_report(side: Side) -> None:
    assert "0 calls of the ledger" in text(side)


@pytest.mark.parametrize("item", ["m", "mug", "vase", "a-long-name-of-an-item"])
def test_a_call_that_is_wider_than_the_paper_keeps_its_words_apart(item: str) -> None:
    call = f"    {item}  2026-11-28 11:59:18  image  20261128115918957099672001fb8256"
    lines = list(folded(call, Paper(60)))
    assert len(lines) > 1
    assert " ".join(lines).split()[:4] == [item, "2026-11-28", "11:59:18", "image"]
