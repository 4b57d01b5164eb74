"""Measure batchgen beside the usual ways to do the same.

    python -m benchmarks [SCENARIO ...] [--rounds N] [--write]

Prints a table a scenario; when all of them ran, writes RESULTS.md. With `--write`, a run of some
scenarios puts their tables in place of those that stand there. A goal that is not met is a figure,
not an error: the exit status is 1 only if a contender failed to do its work.
"""

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.machine import describe, output_parent
from benchmarks.measure import (
    Measured,
    RunFailedError,
    measure,
    measure_traffic,
    run,
    running_server,
)
from benchmarks.reply import png
from benchmarks.results import Table, document, renewed, scenario_text
from benchmarks.scenarios import SCENARIOS, Calls, Limited, Readings, Scenario
from benchmarks.work import Reading, Work

_RESULTS = Path(__file__).with_name("RESULTS.md")
_ROUNDS: Final = 3
# One takes more than a minute, and what is measured is hardly a matter of the machine.
_LIMITED_ROUNDS: Final = 1


def main() -> int:
    """Run what the command line names."""
    options = _options()
    chosen = [one for one in SCENARIOS if one.name in options.scenario or not options.scenario]
    tables = []
    for scenario in chosen:
        tables.append(_measure(scenario, options.rounds))
        print(f"\n{scenario_text(tables[-1])}\n", flush=True)
    failed = any(table.failures for table in tables)
    if not failed:
        _write(tables, renew=options.write)
    return int(failed)


def _write(tables: list[Table], *, renew: bool) -> None:
    if len(tables) == len(SCENARIOS):
        _RESULTS.write_text(document(tables), encoding="utf-8")
    elif renew:
        text = renewed(_RESULTS.read_text(encoding="utf-8"), tables)
        _RESULTS.write_text(text, encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.partition("\n")[0])
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("scenario", nargs="*", help=f"all of {', '.join(names)} by default")
    usual = f"by default {_ROUNDS}, and {_LIMITED_ROUNDS} against a server with a limit"
    parser.add_argument("--rounds", type=int, help=usual)
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
    n_rounds = rounds or (_LIMITED_ROUNDS if is_limited else _ROUNDS)
    on_disk = isinstance(scenario, Calls) and scenario.on_disk
    parent, place = output_parent(scenario.disk_bytes, on_disk=on_disk)
    day = datetime.now(UTC).date().isoformat()
    measured_with = (day, f"{n_rounds} round{'s' * (n_rounds > 1)}", *describe())
    runs: dict[str, list[Measured]] = {name: [] for name in scenario.contenders}
    table = Table(scenario, place, measured_with, runs)
    with TemporaryDirectory(suffix="-batchgen-bench", dir=parent) as directory:
        measured = _prepared(scenario, Path(directory))
        for number in range(n_rounds):
            # Each round begins with another contender, so that none is always the first.
            first = number % len(scenario.contenders)
            names = scenario.contenders[first:] + scenario.contenders[:first]
            with ThreadPoolExecutor(len(names) if is_limited else 1) as executor:
                for _ in executor.map(lambda name: _once(name, table, measured), names):
                    pass
    return table


def _prepared(scenario: Scenario, directory: Path) -> Callable[[str], Measured]:
    """What measures one run of a contender, once the files that all of them read are written."""
    if isinstance(scenario, Calls):
        references = _references(scenario, directory)
        return partial(_calls, scenario, directory / "run", references)
    if isinstance(scenario, Readings):
        reading = Reading(job=str(scenario.write(directory, scenario.n)), n=scenario.n)
        return partial(run, task=reading)
    return partial(_limited, scenario, directory)


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
    arguments = ["--image-bytes", str(scenario.image_bytes), "--hold", str(hold)]
    with running_server("server", *arguments) as server:
        work = Work(
            base_url=server.base_url,
            n=scenario.n,
            concurrency=scenario.concurrency,
            directory=str(directory),
            references=references,
        )
        return measure(contender, work, scenario.image_bytes, server)


def _limited(scenario: Limited, directory: Path, contender: str) -> Measured:
    """One run of one contender, against a server with a limit that no other has used."""
    least_s, most_s = scenario.seconds
    arguments = ["--image-bytes", str(scenario.image_bytes), "--seconds", str(least_s), str(most_s)]
    arguments += ["--tells"] * scenario.tells
    with running_server("limited", *arguments, *scenario.rule) as server:
        work = Work(
            base_url=server.base_url,
            n=scenario.n,
            concurrency=scenario.concurrency,
            directory=str(directory / contender),
            limits=scenario.limits,
        )
        return measure_traffic(contender, work, scenario.image_bytes, server)


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
        f"{figures.peak_rss_bytes / 1e6:,.0f} MB{_traffic_in_words(figures)}",
        file=sys.stderr,
        flush=True,
    )


def _traffic_in_words(figures: Measured) -> str:
    if figures.traffic is None:
        return ""
    return f", {figures.traffic.used:.1%} used, {figures.traffic.refused:.1%} refused"


if __name__ == "__main__":
    sys.exit(main())
