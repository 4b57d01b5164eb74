"""The chart over runs in Chromium: readable with few runs and many, by day and night, narrow."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from batchgen.report.rebuild import rebuild
from tests.browser.conftest import look, violations, wait
from tests.galleries import gallery

OPENED = """
const chart = document.getElementById("chart-runs");
for (let one = chart; one; one = one.parentElement) if (one.matches("details")) one.open = true;
chart.querySelector("details").open = true;
chart.scrollIntoView();
"""
# What of the chart's marks does not lie within its frame, and which texts lie upon each other.
MISPLACED = """
const chart = document.getElementById("chart-runs");
const frame = chart.getBoundingClientRect();
const box = (one) => one.getBoundingClientRect();
const outside = [...chart.querySelectorAll("svg.chart-svg :is(rect, text)")].filter((one) =>
  box(one).left < frame.left || box(one).right > frame.right
  || box(one).top < frame.top || box(one).bottom > frame.bottom);
const texts = [...chart.querySelectorAll("svg.chart-svg text")];
const crossing = texts.filter((one) => texts.some((other) => one !== other
  && box(one).left < box(other).right - 1 && box(other).left < box(one).right - 1
  && box(one).top < box(other).bottom - 2 && box(other).top < box(one).bottom - 2));
return [...outside, ...crossing].map((one) => one.outerHTML.slice(0, 200));
"""


def runs_before(root: Path, n_runs: int) -> None:
    """Write the summaries of so many runs; each has its failures, the first one most of all."""
    for n in range(n_runs):
        run_id = f"20260{1 + n // 28}{1 + n % 28:02d}T030000Z-00000000"
        told = {
            "run_id": run_id,
            "started_at": f"2026-0{1 + n // 28}-{1 + n % 28:02d}T03:00:00.000Z",
            "exit_code": 4,
            "items": {"total": 900, "done": 890 - n, "reused": 700, "failed": 10 + n},
            "cost_usd": f"{12.5 + n % 7}00000",
            "latency_s": {"p50": 20 + n % 5, "p95": 70 + 3 * n},
            "diff": {"n_new_failures": n % 4, "n_still_failing": 9, "n_fixed": (5 * n) % 30},
        }
        (root / f"runs/{run_id}.json").write_text(json.dumps(told))


@pytest.mark.parametrize("n_runs", [0, 60])
def test_the_chart_over_runs_is_whole_by_day_by_night_and_on_a_narrow_screen(
    n_runs: int, browser: Chrome, tmp_path: Path, snap: Callable[[str], None]
) -> None:
    page = gallery(tmp_path / "spring")
    runs_before(page.parent, n_runs)
    rebuild(page.parent)
    browser.get(page.as_uri())
    wait(browser, "return document.getElementById('chart-runs')")
    for name, width, scheme in (
        ("day", 1280, "light"),
        ("night", 1280, "dark"),
        ("narrow", 360, "light"),
    ):
        look(browser, width=width, scheme=scheme)
        browser.execute_script(OPENED)
        assert browser.execute_script(MISPLACED) == []
        assert browser.execute_script("return document.body.scrollWidth <= innerWidth")
        assert violations(browser) == []
        snap(f"{name}-{n_runs}")
