"""How far one key is used by many workers, without asking anybody.

    python -m benchmarks.simulate [--workers N --in-flight N --rpm N --p50 S --p95 S ...]
    python -m benchmarks.simulate --table

Says how many images a second come of it, how much of the limit is used, how full the fullest
minute is, what is lost when workers die, and what ends first. `--table` prints the tables that
docs/scale.md holds. The same figures come of the same seed.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Final

from benchmarks.kinds import MB
from benchmarks.results import aligned
from benchmarks.scale import (
    CPU_S_AN_IMAGE,
    DAY_S,
    IMAGE_BYTES,
    LEDGER_BYTES,
    LEDGER_LINES,
    breaks,
    needs,
    received_bytes,
)
from benchmarks.setting import Outcome, Setting
from benchmarks.simulation import simulate

# Who is alone asks nobody: its limiter is in its own process.
_ALONE: Final = Setting(n_items=4_000, lease_p50_s=0, message_s=0)
_A_MILLION_A_DAY: Final = Setting(n_items=10_000, rpm=724, n_workers=4, n_in_flight=128)
# As many as it takes for a minute of calls to leave at the full rate, and no more: seconds each.
_A_HUNDRED_MILLION: Final = Setting(n_items=75_000, rpm=72_320, n_workers=1_000)
_64_WORKERS: Final = replace(_A_HUNDRED_MILLION, n_workers=64, n_in_flight=640)

ALONE: Final = (
    replace(_ALONE, rpm=60),
    replace(_ALONE, rpm=724),
    replace(_ALONE, n_items=10_000, rpm=724, n_in_flight=512),
    replace(_ALONE, n_items=10_000, rpm=2_000, n_in_flight=1_000),
)
TOGETHER: Final = (
    ("4 workers", _A_MILLION_A_DAY),
    ("4, each killed every 10 minutes", replace(_A_MILLION_A_DAY, life_s=600)),
    ("16 workers", Setting(n_items=16_000, rpm=2_900, n_workers=16, n_in_flight=128)),
    ("64 workers", _64_WORKERS),
    ("64, with 8 leases a message", replace(_64_WORKERS, n_batch=8)),
    ("1,000 workers", _A_HUNDRED_MILLION),
    ("1,000, with shares dealt every 5 s", replace(_A_HUNDRED_MILLION, deal_s=5)),
)
_HEAD: Final = (
    *("in flight, each", "the key's rpm", "images/s", "images a day"),
    *("of the limit used", "fullest minute", "ends first"),
)
_HEAD_TOGETHER: Final = (
    "",
    *_HEAD,
    *("the lessor is busy", "a lease, p50 and p99, ms", "calls lost"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate what the command line says."""
    options = _options().parse_args(arguments)
    if options.table:
        print("\n\n".join(tables()))
        return 0
    setting = _setting(options)
    came = simulate(setting)
    print(
        "\n".join(
            [
                *aligned([_HEAD_TOGETHER, _row_together("as asked", setting, came)]),
                "",
                *_words(setting, came),
            ]
        )
    )
    return 0


def tables() -> tuple[str, ...]:
    """The tables of docs/scale.md, in the order of the page."""
    alone = [_row(setting, simulate(setting)) for setting in ALONE]
    together = [_row_together(words, one, simulate(one)) for words, one in TOGETHER]
    all_rows = (
        aligned([_HEAD, *alone]),
        needs(),
        breaks(),
        aligned([_HEAD_TOGETHER, *together]),
    )
    return tuple("\n".join(rows) for rows in all_rows)


def _row(setting: Setting, came: Outcome) -> tuple[str, ...]:
    return (
        f"{setting.n_in_flight:,}",
        f"{setting.rpm:,.0f}",
        f"{came.images_per_s:,.1f}",
        f"{_rounded(came.images_per_s * DAY_S):,}",
        _share(came.used),
        f"{came.most_in_60_s:,}",
        f"{came.first}, {_share(min(1.0, came.busy[came.first]))}",
    )


def _row_together(words: str, setting: Setting, came: Outcome) -> tuple[str, ...]:
    leased = f"{came.lease_ms(0.5):,.1f}, {came.lease_ms(0.99):,.1f}"
    return (
        words,
        *_row(setting, came),
        _share(came.busy["the lessor"]),
        "–" if setting.deal_s else leased,
        f"{came.n_lost:,}",
    )


def _words(setting: Setting, came: Outcome) -> list[str]:
    """What a row has no room for."""
    calls_per_s = came.images_per_s * came.n_departures / came.n_images
    failed = ", ".join(f"{n:,} {why}" for why, n in sorted(came.failures.items())) or "none"
    ledger = f"{calls_per_s * LEDGER_LINES:,.1f} lines/s, {calls_per_s * LEDGER_BYTES:,.0f} bytes/s"
    store = f"{came.images_per_s:,.1f} puts/s, {came.images_per_s * IMAGE_BYTES / MB:,.1f} MB/s"
    held = "held" if came.most_in_60_s <= setting.rpm else "was passed"
    return [
        f"calls: {came.n_departures:,} for {came.n_images:,} images; failed: {failed}",
        f"deaths: {came.n_deaths:,}; calls lost: {came.n_lost:,}; in vain: {came.n_in_vain:,}",
        f"the limit {held}: {came.most_in_60_s:,} of {setting.rpm:,.0f} in the fullest minute",
        f"the ledger: {ledger}; the store: {store}",
        "taken up: " + ", ".join(f"{name} {_share(one)}" for name, one in came.busy.items()),
    ]


def _share(part: float) -> str:
    return f"{100 * part:.0f} %" if part >= 0.1 else f"{100 * part:.1f} %"  # noqa: PLR2004


def _rounded(figure: float) -> int:
    """To three digits: more would be chance."""
    return int(float(f"{figure:.3g}"))


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulate", description=__doc__.partition("\n")[0]
    )
    add = parser.add_argument
    add("--table", action="store_true", help="print the tables of docs/scale.md, and nothing else")
    add("--items", type=int, default=10_000, help="pictures to make")
    add("--workers", type=int, default=4)
    add("--in-flight", type=int, default=64, help="calls of one worker at once")
    add("--rpm", type=float, default=600.0, help="what the workers keep to, together")
    add("--tpm", type=float, default=inf, help="tokens a minute, of which --tokens leave with each")
    add("--tokens", type=float, default=1_000.0)
    add("--service-rpm", type=float, help="what the service takes, if that is not --rpm")
    add("--p50", type=float, default=23.0, help="seconds of a call")
    add("--p95", type=float, default=35.0)
    add("--no-image", type=float, default=0.02, help="share of answers, paid, without a picture")
    add("--errors", type=float, default=0.01, help="share of calls that fail, unpaid")
    add("--batch", type=int, default=1, help="departures that one message asks for")
    add("--deal", type=float, default=0.0, help="deal shares so often instead, in seconds")
    add("--lease-p50", type=float, default=1.1, help="ms to the lessor and back")
    add("--lease-p99", type=float, default=3.3)
    add("--message", type=float, default=0.4, help="ms of the lessor's own time")
    add("--life", type=float, default=inf, help="seconds that a worker lives, on average")
    add("--replace", type=float, default=12.5, help="seconds until there is another one")
    add("--gbit", type=float, default=1.0, help="the line of each worker")
    add("--seed", type=int, default=1)
    return parser


def _setting(options: argparse.Namespace) -> Setting:
    line_s = received_bytes() / (options.gbit * 1e9 / 8)
    return Setting(
        n_items=options.items,
        n_workers=options.workers,
        n_in_flight=options.in_flight,
        rpm=min(options.rpm, options.tpm / options.tokens),
        service_rpm=options.service_rpm,
        p50_s=options.p50,
        p95_s=options.p95,
        no_image=options.no_image,
        errors=options.errors,
        n_batch=options.batch,
        deal_s=options.deal,
        lease_p50_s=options.lease_p50 / 1000,
        lease_p99_s=options.lease_p99 / 1000,
        message_s=options.message / 1000,
        life_s=options.life,
        replace_s=options.replace,
        receive_s=max(line_s, CPU_S_AN_IMAGE),
        receives="the line" if line_s >= CPU_S_AN_IMAGE else "the processor",
        seed=options.seed,
    )


if __name__ == "__main__":
    sys.exit(main())
