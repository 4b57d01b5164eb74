"""What a million and a hundred million images a day need, and where each part of it breaks.

Nothing is measured here: each figure is a row of RESULTS.md, of a file that is named, or an
assumption that says so. What RESULTS.md says may change; then the figures here are changed by hand.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from math import ceil
from typing import Final

from batchgen.limits.windows import SAFETY
from benchmarks.kinds import GB, MB
from benchmarks.results import aligned
from benchmarks.setting import Setting

DAY_S: Final = 86_400
IMAGE_BYTES: Final = 6 * MB
MILLION: Final = 1_000_000
# RESULTS.md, "What ends first": of an image of 6 MB.
CPU_S_AN_IMAGE: Final = 0.0169
IMAGES_AN_HOUR_A_LINE: Final = 56_247
IMAGES_AN_HOUR_A_CORE: Final = 213_018
# RESULTS.md, a row each.
_DONE_S, _DONE_BYTES = 85.39, 645 * MB  # anew-1m, of a million items
_BEGIN_S = 7.77  # begin-1m, of a million lines
_REPORT_PER_S = 6_329  # report
_COST_PER_S = 676_327  # cost
_RUN_S_A_CALL = 0.0024  # ray, of four workers: what the run itself computes for a call
_THUMBNAILS_PER_S = 13  # thumbnails-2k, on both cores
# A run of 500 pictures on the emulator, `wc -c -l` of its ledger: a line before, one after.
LEDGER_LINES: Final = 2
LEDGER_BYTES: Final = 1_547
# gemini-nano-banana-2.1 at 2K: 1,680 tokens at $30 a million, `batchgen cost --show-prices`.
USD_AN_IMAGE: Final = Decimal("0.0504")
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
_PUTS_PER_S: Final = 3_500  # for each prefix
_LISTED_AT_ONCE: Final = 1_000
_LIST_S: Final = 0.1  # assumed for each answer: it has to come before the next can be asked for
# What is too long for a beginning or an end, and too much memory for a common machine: assumed.
_PATIENCE_S: Final = 3600
_MEMORY_BYTES: Final = 16 * GB
_LATENCIES_S: Final = (10, 23, 60, 120)
_USUAL: Final = Setting(n_items=1)


def received_bytes() -> float:
    """What comes over the line for one picture: it comes as base64."""
    return IMAGE_BYTES * 4 / 3


def attempts_an_image() -> float:
    """Of the usual setting, in which each failure is asked for again."""
    return 1 / (1 - _USUAL.no_image - _USUAL.errors)


def needs() -> list[str]:
    """What a day of so many images takes."""
    rows: list[tuple[str, Callable[[float], str]]] = [
        ("images a second", lambda per_s: f"{per_s:,.1f}"),
        ("calls a second", lambda per_s: f"{per_s * attempts_an_image():,.1f}"),
        ("`rpm` that the key must allow", _rpm),
    ]
    rows += [
        (f"calls in flight, if one takes {latency_s} s", _in_flight(latency_s))
        for latency_s in _LATENCIES_S
    ]
    rows += [
        ("received, Gbit/s", lambda per_s: f"{per_s * received_bytes() * 8 / 1e9:,.2f}"),
        ("machines with a line of 1 Gbit/s", _machines),
        ("cores", lambda per_s: f"{per_s * CPU_S_AN_IMAGE:,.1f}"),
        ("pictures stored a day, TB", lambda per_s: f"{per_s * DAY_S * IMAGE_BYTES / 1e12:,.0f}"),
        (
            "the same in 30 days, PB",
            lambda per_s: f"{per_s * DAY_S * IMAGE_BYTES * 30 / 1e15:,.2f}",
        ),
        ("puts a second", lambda per_s: f"{per_s:,.1f}"),
        ("list calls to see one day's pictures", _lists),
        ("lines of the ledger a day, millions", _lines),
        ("bytes of the ledger a day, GB", _ledger_gb),
        ("pictures, USD a day", lambda per_s: f"{round(per_s * DAY_S) * USD_AN_IMAGE:,.0f}"),
    ]
    per_day = (MILLION, 100 * MILLION)
    head = ("", *(f"{n:,} a day" for n in per_day))
    return aligned([head, *((name, *(told(n / DAY_S) for n in per_day)) for name, told in rows)])


def _rpm(per_s: float) -> str:
    return f"{per_s * 60 * attempts_an_image() / SAFETY:,.0f}"


def _in_flight(latency_s: float) -> Callable[[float], str]:
    return lambda per_s: f"{per_s * attempts_an_image() * latency_s:,.0f}"


def _machines(per_s: float) -> str:
    return f"{ceil(per_s * 3600 / IMAGES_AN_HOUR_A_LINE):,}"


def _lists(per_s: float) -> str:
    return f"{per_s * DAY_S / _LISTED_AT_ONCE:,.0f}"


def _lines(per_s: float) -> str:
    return f"{per_s * DAY_S * attempts_an_image() * LEDGER_LINES / MILLION:,.1f}"


def _ledger_gb(per_s: float) -> str:
    return f"{per_s * DAY_S * attempts_an_image() * LEDGER_BYTES / GB:,.1f}"


@dataclass(frozen=True, slots=True)
class Break:
    """Something that gets too slow or too full.

    Attributes:
        measured: Its figure, and where that is from.
        bound: What is too much.
        at: How many images: of a day where it is a rate, of a directory where it is a whole.
    """

    name: str
    measured: str
    bound: str
    at: float
    is_rate: bool = False


def breaks() -> list[str]:
    """What breaks, the first one first."""
    run_per_s = 1 / _RUN_S_A_CALL
    found = [
        Break(
            "thumbnails",
            f"{_THUMBNAILS_PER_S} a second (`thumbnails-2k`)",
            "an hour",
            _THUMBNAILS_PER_S * _PATIENCE_S,
        ),
        Break(
            "a line of 1 Gbit/s",
            f"{IMAGES_AN_HOUR_A_LINE:,} an hour (What ends first)",
            "one machine",
            IMAGES_AN_HOUR_A_LINE * 24,
            is_rate=True,
        ),
        Break(
            "one core",
            f"{IMAGES_AN_HOUR_A_CORE:,} an hour (What ends first)",
            "one process",
            IMAGES_AN_HOUR_A_CORE * 24,
            is_rate=True,
        ),
        Break(
            "results and page",
            f"{_REPORT_PER_S:,} items a second (`report`)",
            "an hour",
            _REPORT_PER_S * _PATIENCE_S,
        ),
        Break(
            "memory of a run that reads the ledger",
            f"{_DONE_BYTES / MB:,.0f} MB a million (`anew-1m`)",
            f"{_MEMORY_BYTES / GB:,.0f} GB",
            _MEMORY_BYTES / _DONE_BYTES * MILLION,
        ),
        Break(
            "listing pictures in a store",
            f"{_LISTED_AT_ONCE:,} a call; {_LIST_S} s a call is assumed",
            "an hour",
            _LISTED_AT_ONCE / _LIST_S * _PATIENCE_S,
        ),
        Break(
            "reading the ledger: a run after any change",
            f"{_DONE_S:,.0f} s a million (`anew-1m`)",
            "an hour",
            _PATIENCE_S / _DONE_S * MILLION,
        ),
        Break(
            "a run on Ray, which gives each lease",
            f"{_RUN_S_A_CALL * 1000} ms of it a call: {run_per_s:,.0f} a second (`ray`)",
            "one core",
            run_per_s / attempts_an_image() * DAY_S,
            is_rate=True,
        ),
        Break(
            "reading the job",
            f"{_BEGIN_S} s a million, to the first request (`begin-1m`)",
            "an hour",
            _PATIENCE_S / _BEGIN_S * MILLION,
        ),
        Break(
            "puts into a store",
            f"{_PUTS_PER_S:,} a second and prefix (S3)",
            "one prefix",
            _PUTS_PER_S * DAY_S,
            is_rate=True,
        ),
        Break(
            "cost of logs",
            f"{_COST_PER_S:,} answers a second (`cost`)",
            "an hour",
            _COST_PER_S * _PATIENCE_S,
        ),
    ]
    rows = [
        (one.name, one.measured, one.bound, f"{one.at / MILLION:,.2f}", _per(one))
        for one in sorted(found, key=lambda one: one.at)
    ]
    return aligned([("", "figure", "too much is more than", "millions of images", ""), *rows])


def _per(one: Break) -> str:
    return "a day" if one.is_rate else "in one directory"
