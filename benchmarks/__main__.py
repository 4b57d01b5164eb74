"""Measure batchgen beside the usual ways to do the same.

    python -m benchmarks [SCENARIO ...] [--rounds N]

Prints a table a scenario; a run of all of them is written to RESULTS.md. A goal that is not met
is a figure, not an error: the exit status is 1 only if a contender failed to do its work.
"""

import argparse
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.machine import describe, output_parent
from benchmarks.measure import RunFailedError, RunningServer, measure, running_server
from benchmarks.reply import png
from benchmarks.results import Table, document, scenario_text
from benchmarks.scenarios import CONTENDERS, SCENARIOS, Scenario
from benchmarks.work import Work

_RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> int:
    """Run what the command line names."""
    options = _options()
    chosen = [one for one in SCENARIOS if one.name in options.scenario or not options.scenario]
    tables = []
    for scenario in chosen:
        tables.append(_measure(scenario, options.rounds))
        print(f"\n{scenario_text(tables[-1])}\n", flush=True)
    if len(chosen) == len(SCENARIOS):
        day = datetime.now(UTC).date().isoformat()
        text = document(tables, describe(), n_rounds=options.rounds, day=day)
        _RESULTS.write_text(text, encoding="utf-8")
    return 1 if any(table.failures for table in tables) else 0


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
    """All rounds of one scenario, against one server."""
    parent, place = output_parent(scenario.disk_bytes)
    table = Table(scenario, place, runs={name: [] for name in CONTENDERS})
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory("-batchgen-bench", dir=parent)))
        hold = scenario.concurrency if scenario.held else 0
        server = stack.enter_context(running_server(scenario.image_bytes, hold))
        work = _work(scenario, directory, server)
        for number in range(n_rounds):
            # Each round begins with another contender, so that none is always the first.
            first = number % len(CONTENDERS)
            for name in CONTENDERS[first:] + CONTENDERS[:first]:
                _once(name, work, table, server)
    return table


def _work(scenario: Scenario, directory: Path, server: RunningServer) -> Work:
    references = [directory / f"reference-{n}.png" for n in range(scenario.n_references)]
    for path in references:
        path.write_bytes(png(scenario.reference_bytes))
    return Work(
        base_url=server.base_url,
        n=scenario.n,
        concurrency=scenario.concurrency,
        directory=str(directory / "run"),
        references=tuple(str(path) for path in references),
    )


def _once(name: str, work: Work, table: Table, server: RunningServer) -> None:
    try:
        figures = measure(name, work, table.scenario.image_bytes, server)
    except RunFailedError as failure:
        table.failures[name] = str(failure)
        print(f"{table.scenario.name}: {name} failed: {failure}", file=sys.stderr, flush=True)
        return
    table.runs[name].append(figures)
    print(
        f"{table.scenario.name}: {name} {figures.wall_s:.2f} s, {figures.cpu_s:.2f} s of CPU, "
        f"{figures.peak_rss_bytes / 1e6:,.0f} MB",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
