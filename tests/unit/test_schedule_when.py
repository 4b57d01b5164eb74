"""A time of day and days of the week, as systemd and cron write them."""

import re
import subprocess
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from batchgen.errors import UsageError
from batchgen.schedule import read_when, skipped_nights
from tests.schedules import cron_days, needs_systemd

CLOCK = "*-*-* 02:00:00"
# What is asked for, systemd's calendar, the last field of cron, and the days, Sunday being 0.
TABLE = [
    (None, CLOCK, "*", {0, 1, 2, 3, 4, 5, 6}),
    ("mon-fri", f"Mon..Fri {CLOCK}", "1-5", {1, 2, 3, 4, 5}),
    ("sat,sun", f"Sat..Sun {CLOCK}", "0,6", {0, 6}),
    ("mon,wed-fri", f"Mon,Wed..Fri {CLOCK}", "1,3-5", {1, 3, 4, 5}),
    ("fri-mon", f"Mon,Fri..Sun {CLOCK}", "0-1,5-6", {0, 1, 5, 6}),
    ("sun-sun", f"Sun {CLOCK}", "0", {0}),
    ("sun-sat", CLOCK, "*", {0, 1, 2, 3, 4, 5, 6}),
    ("tue-mon", CLOCK, "*", {0, 1, 2, 3, 4, 5, 6}),
    ("wed,mon,wed", f"Mon,Wed {CLOCK}", "1,3", {1, 3}),
    ("sun,mon-tue", f"Mon..Tue,Sun {CLOCK}", "0-2", {0, 1, 2}),
    (" Mon - FRI , Sunday", f"Mon..Fri,Sun {CLOCK}", "0-5", {0, 1, 2, 3, 4, 5}),
]


@pytest.mark.parametrize(("days", "calendar", "field", "expected"), TABLE)
def test_days_are_the_same_to_systemd_and_to_cron(
    days: str | None, calendar: str, field: str, expected: set[int]
) -> None:
    when = read_when("02:00", days)
    assert (when.calendar, when.cron) == (calendar, f"0 2 * * {field}")
    assert cron_days(field) == expected


@needs_systemd
@pytest.mark.parametrize(("days", "calendar", "field", "expected"), TABLE)
def test_systemd_counts_the_same_days(
    days: str | None, calendar: str, field: str, expected: set[int]
) -> None:
    when = read_when("2:05", days)
    told = subprocess.run(
        [
            *("systemd-analyze", "calendar", when.calendar),
            *("--base-time=2026-11-21 12:00:00 UTC", "--iterations=7"),
        ],
        env={"TZ": "UTC", "PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    moments = re.findall(r": (\w{3}) \d{4}-\d\d-\d\d (\d\d:\d\d:\d\d) UTC", told)
    assert len(moments) == 7, told
    names = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    assert {names.index(name) for name, _ in moments} == expected
    assert {clock for _, clock in moments} == {"02:05:00"}
    assert (calendar.replace("02:00", "02:05"), field) == (
        when.calendar,
        when.cron.rpartition(" ")[2],
    )


@pytest.mark.parametrize(
    ("at", "cron"),
    [("02:00", "0 2"), ("2:05", "5 2"), ("23:59", "59 23"), ("00:00", "0 0"), (" 07:30 ", "30 7")],
)
def test_a_time_of_day_is_a_minute_and_an_hour(at: str, cron: str) -> None:
    assert read_when(at).cron == f"{cron} * * *"


@pytest.mark.parametrize(
    "at",
    ["24:00", "2:61", "2", "02:00:00", "2am", "", "02.00", "-1:00", "٠٢:٠٠"],
)
def test_what_is_no_time_of_day_is_named(at: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_when(at)
    assert f"--at {at}" in str(refused.value)
    assert "02:00" in str(refused.value)


@pytest.mark.parametrize(
    ("days", "word"),
    [
        ("mon-fry", "fry"),
        ("", ""),
        ("mon,", ""),
        ("1-5", "1"),
        ("mo", "mo"),
        ("mon-tue-fri", "tue-fri"),
    ],
)
def test_what_is_no_day_is_named_with_those_that_there_are(days: str, word: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_when("02:00", days)
    assert repr(word) in str(refused.value)
    assert "mon, tue, wed, thu, fri, sat, sun" in str(refused.value)


@pytest.mark.skipif(
    not Path("/usr/share/zoneinfo/Europe/Berlin").exists(),
    reason="no time zones: on Debian, apt-get install tzdata; clocks that jump were NOT TRIED",
)
@pytest.mark.parametrize(
    ("at", "days", "expected"),
    [
        ("02:00", None, [date(2027, 3, 28)]),
        ("02:59", None, [date(2027, 3, 28)]),
        ("01:59", None, []),
        ("03:00", None, []),
        ("02:30", "mon-sat", []),  # clocks are set on a Sunday
    ],
)
def test_a_night_whose_clocks_jump_over_the_time_is_told(
    at: str, days: str | None, expected: list[date]
) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert skipped_nights(read_when(at, days), berlin, date(2026, 11, 28)) == expected
