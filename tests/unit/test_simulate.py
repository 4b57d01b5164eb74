"""The simulation behind docs/scale.md: what it keeps to, and that the page says what it says."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchgen.cost import PriceBook
from benchmarks import scale, simulate
from benchmarks.done import done
from benchmarks.setting import Setting
from benchmarks.simulation import simulate as simulated

PAGE = Path(__file__).parents[2] / "docs/scale.md"
FOUR = Setting(n_items=3_000, rpm=724, n_workers=4, n_in_flight=128)
FLAWLESS = replace(FOUR, no_image=0.0, errors=0.0)
BATCHES = replace(FOUR, n_batch=8)
SHARES = replace(FOUR, deal_s=5.0)
DYING = replace(FOUR, life_s=120.0)
EVERY_WAY = pytest.mark.parametrize(
    "setting",
    [
        *(FOUR, FLAWLESS, BATCHES, SHARES, DYING),
        *(replace(BATCHES, life_s=120.0), replace(SHARES, life_s=120.0)),
        *(replace(DYING, service_rpm=500.0), replace(SHARES, service_rpm=500.0)),
        replace(FOUR, n_workers=1, n_in_flight=512, lease_p50_s=0.0, message_s=0.0),
    ],
)


@EVERY_WAY
def test_the_limit_is_passed_in_no_minute(setting: Setting) -> None:
    for seed in range(3):
        assert simulated(replace(setting, seed=seed)).most_in_60_s <= setting.rpm


@EVERY_WAY
def test_every_item_ends_with_exactly_one_image(setting: Setting) -> None:
    came = simulated(setting)
    assert came.images == [1] * setting.n_items
    assert came.n_images == setting.n_items


@EVERY_WAY
def test_every_call_has_an_end(setting: Setting) -> None:
    came = simulated(setting)
    assert came.n_departures == came.n_images + came.failures.total() + came.n_lost


@pytest.mark.parametrize("setting", [FLAWLESS, BATCHES, SHARES], ids=["one", "batches", "shares"])
def test_with_enough_in_flight_the_limit_is_used(setting: Setting) -> None:
    came = simulated(setting)
    assert 0.95 <= came.used <= 1
    assert came.first == "the limit"


def test_the_pace_is_even_and_a_hundredth_below_the_limit() -> None:
    came = simulated(FLAWLESS)
    assert came.most_in_60_s == pytest.approx(0.99 * FLAWLESS.rpm, abs=1)


def test_without_enough_in_flight_they_end_first() -> None:
    came = simulated(replace(FLAWLESS, n_in_flight=16))
    assert came.first == "calls in flight"
    # Little's law; the mean of a lognormal time is a little above its median.
    assert came.images_per_s == pytest.approx(64 / 23.8, rel=0.05)


def test_a_death_costs_the_calls_that_are_in_flight_and_no_others() -> None:
    came = simulated(replace(DYING, no_image=0.0, errors=0.0))
    assert came.n_deaths > 3
    assert came.n_departures == came.n_images + came.n_lost
    assert came.n_lost <= came.n_deaths * FOUR.n_in_flight
    assert 0 < came.n_in_vain <= came.n_deaths * FOUR.n_asks
    assert simulated(FLAWLESS).n_lost == 0


def test_what_the_lessor_takes_for_a_message_bounds_the_departures() -> None:
    slow = replace(FLAWLESS, message_s=0.1)
    came = simulated(slow)
    assert came.first == "the lessor"
    assert came.used * slow.rpm / 60 == pytest.approx(1 / (slow.n_messages * 0.1), rel=0.02)
    assert simulated(replace(slow, n_batch=8)).first == "the limit"
    assert simulated(replace(slow, deal_s=5.0)).first == "the limit"


def test_a_lessor_that_is_far_away_needs_more_asks_at_once() -> None:
    far = replace(FLAWLESS, lease_p50_s=1.0, lease_p99_s=3.0)
    assert simulated(far).first == "the way to the lessor"
    assert simulated(replace(far, n_batch=8)).first == "the limit"


def test_what_comes_in_over_one_line_bounds_the_images() -> None:
    came = simulated(replace(FLAWLESS, n_workers=1, n_in_flight=512, receive_s=0.2))
    assert came.first == "the line"
    assert came.images_per_s == pytest.approx(5, rel=0.02)


def test_a_service_that_takes_less_refuses_few_because_all_wait() -> None:
    came = simulated(replace(FOUR, service_rpm=500.0))
    assert came.failures["refused"] < 0.1 * came.n_departures
    assert came.used * FOUR.rpm > 0.8 * 500


def test_the_same_seed_gives_the_same_figures() -> None:
    assert simulated(DYING) == simulated(DYING)
    assert simulated(DYING) != simulated(replace(DYING, seed=2))


def test_failures_come_as_often_as_they_are_set() -> None:
    came = simulated(replace(FOUR, n_items=10_000))
    assert came.failures.keys() == {"without image", "error"}
    assert came.failures["without image"] == pytest.approx(0.02 * came.n_departures, rel=0.2)
    assert came.n_departures == pytest.approx(scale.attempts_an_image() * 10_000, rel=0.01)


# --- the command, and the page --------------------------------------------------------------------


def test_the_command_tells_what_it_was_asked(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--items 500 --workers 2 --in-flight 8 --tpm 90000 --tokens 1500 --gbit 10"
    assert simulate.main(arguments.split()) == 0
    told = capsys.readouterr().out
    assert "| as asked | 8               | 60 " in told
    assert "the limit held" in told
    assert "the processor" in told


@pytest.mark.slow
def test_the_page_holds_the_tables_that_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    simulate.main(["--table"])
    shown = re.findall(r"<!-- simulate -->\n\n?(.*?)\n\n?<!-- simulate -->", _page(), re.DOTALL)
    assert "\n\n".join(shown) == capsys.readouterr().out.strip()


def _page() -> str:
    return PAGE.read_text("utf-8")


def test_a_picture_costs_what_the_prices_say() -> None:
    price = PriceBook.shipped().find("gemini-nano-banana-2.1", at=datetime.now(UTC).isoformat())
    assert price is not None
    usd = price.tokens_an_image("2K") * price.standard.image_output / 1_000_000
    assert usd == scale.USD_AN_IMAGE


def test_a_picture_takes_about_as_much_of_a_ledger_as_is_said(tmp_path: Path) -> None:
    _, output = done(tmp_path, 200)
    (segment,) = output.glob("*/ledger/*.jsonl")
    text = segment.read_bytes()
    assert text.count(b"\n") == 200 * scale.LEDGER_LINES + 2
    assert 0.7 < len(text) / 200 / scale.LEDGER_BYTES < 1.3
