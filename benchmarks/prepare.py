"""What measures one run of a contender, once the files that all of them read are written."""

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, TypeAlias, assert_never

from benchmarks import jobs
from benchmarks.commands import measure_beginning, measure_finished, measure_start
from benchmarks.done import done
from benchmarks.kinds import (
    Beginning,
    Calls,
    Finished,
    Limited,
    Readings,
    Scenario,
    Starts,
    Viewed,
)
from benchmarks.measure import (
    Measured,
    measure,
    measure_traffic,
    measure_viewed,
    measure_waiting,
    run,
    running_server,
)
from benchmarks.reply import png
from benchmarks.work import Reading, Work

# Measures one run of the contender of this name.
Measure: TypeAlias = Callable[[str], Measured]

_REPLY_BYTES: Final = 2000


def prepared(scenario: Scenario, directory: Path) -> Measure:
    """Write into an empty directory what a scenario needs; what is returned measures one run."""
    match scenario:
        case Calls():
            references = _references(scenario, directory)
            return partial(_calls, scenario, directory / "run", references)
        case Readings():
            reading = Reading(job=str(scenario.write(directory, scenario.n)), n=scenario.n)
            return partial(run, task=reading)
        case Viewed():
            return partial(_viewed, scenario, directory / "run")
        case Limited():
            return partial(_limited, scenario, directory)
        case Beginning():
            job = jobs.json_lines(directory, scenario.n)
            return partial(_beginning, job, directory, scenario.goes_on_s)
        case Finished():
            return partial(_finished, scenario, *done(directory, scenario.n))
        case Starts():
            return partial(_start, count())
        case _:
            assert_never(scenario)


def _references(scenario: Calls, directory: Path) -> tuple[str, ...]:
    paths = [directory / f"reference-{n}.png" for n in range(scenario.n_references)]
    for number, path in enumerate(paths):
        path.write_bytes(png(scenario.reference_bytes - number))
    return tuple(str(path) for path in paths)


def _calls(
    scenario: Calls, directory: Path, references: tuple[str, ...], contender: str
) -> Measured:
    """One run of one contender, against a server that no other has used."""
    hold = scenario.concurrency if scenario.held else 0
    arguments = ["--image-bytes", str(scenario.image_bytes), "--hold", str(hold)]
    arguments += ["--until-told"] * scenario.until_told
    with running_server("server", *arguments) as server:
        work = Work(
            base_url=server.base_url,
            n=scenario.n,
            concurrency=scenario.concurrency,
            directory=str(directory),
            references=references,
        )
        measure_one = measure_waiting if scenario.until_told else measure
        return measure_one(contender, work, scenario.image_bytes, server)


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


def _viewed(scenario: Viewed, directory: Path, contender: str) -> Measured:
    """One run, with viewers or without, against a server that paints each picture anew."""
    with running_server("painter", "--seconds", *map(str, scenario.seconds)) as server:
        work = Work(
            base_url=server.base_url,
            n=scenario.n,
            concurrency=scenario.concurrency,
            directory=str(directory),
        )
        return measure_viewed(contender, work, server)


def _beginning(job: Path, directory: Path, goes_on_s: float, _contender: str) -> Measured:
    with running_server("server", "--image-bytes", str(_REPLY_BYTES)) as server:
        return measure_beginning(job, directory, server, goes_on_s)


def _finished(scenario: Finished, job: Path, output: Path, _contender: str) -> Measured:
    if not scenario.is_sealed:
        (output / job.stem / ".seal").unlink()
    with running_server("server", "--image-bytes", str(_REPLY_BYTES)) as server:
        return measure_finished(job, output, server)


def _start(rounds: "count[int]", option: str) -> Measured:
    return measure_start(option, is_first=next(rounds) % 2 == 0)
