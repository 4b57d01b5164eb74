"""Measure batchgen beside the usual ways to do the same.

    python -m benchmarks [SCENARIO ...] [--rounds N]

Prints a table a scenario; when all of them ran, writes RESULTS.md. A goal that is not met
is a figure, not an error: the exit status is 1 only if a contender failed to do its work.
"""

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.machine import describe, output_parent
from benchmarks.measure import Measured, RunFailedError, measure, run, running_server
from benchmarks.reply import png
from benchmarks.results import Table, document, scenario_text
from benchmarks.scenarios import SCENARIOS, Calls, Scenario
from benchmarks.work import Reading, Work

_RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> int:
    """Run what the command line names."""
    options = _options()
    chosen = [one for one in SCENARIOS if one.name in options.scenario or not options.scenario]
    tables = []
    for scenario in chosen:
        tables.append(_measure(scenario, options.rounds))
        print(f"\n{scenario_text(tables[-1])}\n", flush=True)
    failed = any(table.failures for table in tables)
    if len(chosen) == len(SCENARIOS) and not failed:
        day = datetime.now(UTC).date().isoformat()
        text = document(tables, describe(), n_rounds=options.rounds, day=day)
        _RESULTS.write_text(text, encoding="utf-8")
    return int(failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.partition("\n")[0])
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("scenario", nargs="*", help=f"all of {', '.join(names)} by default")
    parser.add_argument("--rounds", type=int, default=3, help="3 by default")
    options = parser.parse_args()
    if unknown := set(options.scenario) - set(names):
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def _measure(scenario: Scenario, n_rounds: int) -> Table:
    """All rounds of one scenario."""
    parent, place = output_parent(scenario.disk_bytes)
    table = Table(scenario, place, runs={name: [] for name in scenario.contenders})
    with TemporaryDirectory(suffix="-batchgen-bench", dir=parent) as directory:
        measured = _prepared(scenario, Path(directory))
        for number in range(n_rounds):
            # Each round begins with another contender, so that none is always the first.
            first = number % len(scenario.contenders)
            for name in scenario.contenders[first:] + scenario.contenders[:first]:
                _once(name, table, measured)
    return table


def _prepared(scenario: Scenario, directory: Path) -> Callable[[str], Measured]:
    """What measures one run of a contender, once the files that all of them read are written."""
    if isinstance(scenario, Calls):
        references = _references(scenario, directory)
        return partial(_calls, scenario, directory / "run", references)
    reading = Reading(job=str(scenario.write(directory, scenario.n)), n=scenario.n)
    return partial(run, task=reading)


def _references(scenario: Calls, directory: Path) -> tuple[str, ...]:
    paths = [directory / f"reference-{n}.png" for n in range(scenario.n_references)]
    for path in paths:
        path.write_bytes(png(scenario.reference_bytes))
    return tuple(str(path) for path in paths)


def _calls(
    scenario: Calls, directory: Path, references: tuple[str, ...], contender: str
) -> Measured:
    """One run of one contender, against a server that no other has used."""
    hold = scenario.concurrency if scenario.held else 0
    with running_server(scenario.image_bytes, hold) as server:
        work = Work(
            base_url=server.base_url,
            n=scenario.n,
            concurrency=scenario.concurrency,
            directory=str(directory),
            references=references,
        )
        return measure(contender, work, scenario.image_bytes, server)


def _once(name: str, table: Table, measured: Callable[[str], Measured]) -> None:
    """Measure one contender once, and tell how it went."""
    scenario = table.scenario
    try:
        figures = measured(name)
    except RunFailedError as failure:
        table.failures[name] = str(failure)
        print(f"{scenario.name}: {name} failed: {failure}", file=sys.stderr, flush=True)
        return
    table.runs[name].append(figures)
    print(
        f"{scenario.name}: {name} {figures.wall_s:.2f} s, {figures.cpu_s:.2f} s of CPU, "
        f"{figures.peak_rss_bytes / 1e6:,.0f} MB",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
