"""Measure batchgen beside the usual ways to do the same.

    python -m benchmarks [SCENARIO ...] [--full] [--rounds N] [--write]

Prints a table a scenario. What the goals need runs by default, and everything with `--full`; then
RESULTS.md and the picture of the growth are written. A run of some scenarios writes its part of
them with `--write` only. A goal that is not met is a figure, not an error: the exit status is 1
only if a contender failed to do its work, and then nothing is written.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks import chart, page
from benchmarks.kinds import Calls, Limited, Scenario
from benchmarks.machine import TMPFS, describe, output_parent, touch_memory
from benchmarks.measure import Measured, Median, RunFailedError
from benchmarks.prepare import Measure, prepared
from benchmarks.results import Table, scenario_text
from benchmarks.scenarios import GOALS, MAIN, SCENARIOS

_RESULTS: Final = Path(__file__).with_name("RESULTS.md")
_CHART: Final = Path(__file__).with_name("growth.svg")


def main() -> int:
    """Run what the command line names."""
    options = _options()
    began_s = time.monotonic()
    by_default = SCENARIOS if options.full else MAIN
    chosen = [one for one in SCENARIOS if one.name in options.scenario] or by_default
    tables: list[Table] = []
    figures: dict[str, dict[str, Median]] = {}
    for number, scenario in enumerate(chosen, 1):
        taken_s = time.monotonic() - began_s
        _tell(f"[{number}/{len(chosen)}, {taken_s:.0f} s] {scenario.title}")
        tables.append(_measure(scenario, options.rounds))
        figures[scenario.name] = tables[-1].medians()
        print(f"\n{scenario_text(tables[-1], GOALS, figures)}\n", flush=True)
    print(f"{page.goals_text('', figures)}\n", flush=True)
    failed = any(table.failures for table in tables)
    if not failed and (options.write or not options.scenario):
        _write(tables)
    _tell(f"{len(chosen)} scenarios took {time.monotonic() - began_s:.0f} s")
    return int(failed)


def _write(tables: Sequence[Table]) -> None:
    before = _RESULTS.read_text(encoding="utf-8") if _RESULTS.exists() else ""
    _RESULTS.write_text(page.document(before, tables), encoding="utf-8")
    grown = page.all_grown({table.scenario.name: table.medians() for table in tables})
    if grown is not None:
        _CHART.write_text(chart.picture(grown), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.partition("\n")[0])
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(names)}")
    parser.add_argument("--full", action="store_true", help="run all, not what the goals need")
    parser.add_argument("--rounds", type=int, help="of each scenario, instead of its own number")
    parser.add_argument("--write", action="store_true", help="renew these tables in RESULTS.md")
    options = parser.parse_args()
    if unknown := set(options.scenario) - set(names):
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def _measure(scenario: Scenario, rounds: int | None) -> Table:
    """All rounds of one scenario."""
    is_limited = isinstance(scenario, Limited)
    n_rounds = rounds or scenario.rounds
    on_disk = isinstance(scenario, Calls) and scenario.on_disk
    parent, place = output_parent(scenario.disk_bytes, on_disk=on_disk)
    day = datetime.now(UTC).date().isoformat()
    measured_with = (day, f"{n_rounds} round{'s' * (n_rounds > 1)}", *describe())
    runs: dict[str, list[Measured]] = {name: [] for name in scenario.contenders}
    table = Table(scenario, place, measured_with, runs)
    with TemporaryDirectory(suffix="-batchgen-bench", dir=parent) as directory:
        if place == TMPFS:
            touch_memory(Path(directory), scenario.disk_bytes)
        measured = prepared(scenario, Path(directory))
        for number in range(n_rounds):
            # Each round begins with another contender, so that none is always the first.
            first = number % len(scenario.contenders)
            names = scenario.contenders[first:] + scenario.contenders[:first]
            with ThreadPoolExecutor(len(names) if is_limited else 1) as executor:
                for _ in executor.map(lambda name: _once(name, table, measured), names):
                    pass
    return table


def _once(name: str, table: Table, measured: Measure) -> None:
    """Measure one contender once, and tell how it went."""
    scenario = table.scenario
    try:
        figures = measured(name)
    except RunFailedError as failure:
        table.failures[name] = str(failure)
        _tell(f"{scenario.name}: {name} failed: {failure}")
        return
    table.runs[name].append(figures)
    _tell(
        f"{scenario.name}: {name} {figures.wall_s:.2f} s, {figures.cpu_s:.2f} s of CPU, "
        f"{figures.peak_rss_bytes / 1e6:,.0f} MB{_beside_in_words(figures)}"
    )


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _beside_in_words(figures: Measured) -> str:
    told = [f"{key} {figure:,.3g}" for key, figure in figures.extras.items()]
    if figures.traffic is not None:
        told.append(f"{figures.traffic.used:.1%} used, {figures.traffic.refused:.1%} refused")
    return "".join(f", {words}" for words in told)


if __name__ == "__main__":
    sys.exit(main())
