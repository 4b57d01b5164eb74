"""The runs of a job from their summaries, and from the ledger those that have none."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from batchgen.errors import UsageError
from batchgen.report.past.calls import LedgerRuns
from batchgen.report.past.files import MAX_RUNS, NoSummary, file_names, read_point
from batchgen.report.past.point import RunPoint
from batchgen.store.history import read_history
from batchgen.store.layout import Layout
from batchgen.store.ledger import run_id_of, segments
from batchgen.store.lock import may_be_held_by

_MAX_WARNINGS: Final = 20


def last_runs(directory: Path, ledger: Mapping[str, RunPoint] | None = None) -> list[RunPoint]:
    """The last runs, oldest first, for a chart; what cannot be read is left out.

    Args:
        directory: `runs/` of a job's directory; it need not exist.
        ledger: Its runs as the ledger tells of them, which counts for those without a summary.
    """
    names: list[str] = []
    with suppress(OSError):
        names = file_names(directory)
    known = ledger or {}
    wanted = sorted({*names, *known})[-MAX_RUNS:]
    told = {}
    for run_id in {*names} & {*wanted}:
        with suppress(OSError, NoSummary):
            told[run_id], _ = read_point(directory / f"{run_id}.json")
    return list(_merged(wanted, told, known))


def read_history_of_runs(place: Path | Layout) -> tuple[list[RunPoint], list[str]]:
    """All runs of a job, oldest first, and what could not be read; nothing is written.

    The ledger is read only if it has a run whose summary is not there, or was written before the
    run had ended.

    Args:
        place: The job's directory. A run may go on in it.

    Raises:
        UsageError: There is no run in the directory.
        StoreError: The disk failed, or a newer batchgen wrote the ledger.

    Cost: a millisecond and a kilobyte for each run; with the ledger, as long as a report.
    """
    layout = Layout.at(place)
    files = _Files()
    files.read(layout.runs)
    for other in layout.others:
        if other.runs.is_dir():
            files.read(other.runs)
    ledger = LedgerRuns()
    ended = {run_id for run_id, point in files.told.items() if point.state == "ended"}
    paths = segments(layout.ledger)
    if not ended.issuperset(map(run_id_of, paths)):
        for where in read_history(paths, observe=ledger.take).unreadable:
            files.warn(f"the ledger has a line that cannot be read: {where}")
    known = ledger.points
    runs = list(_merged(sorted({*files.told, *known}), files.told, known))
    if not runs:
        raise UsageError(f"{layout.root} holds no run: its ledger is empty")
    last = max(known, default=None)
    return [_seen(run, layout) if run.run_id == last else run for run in runs], files.warnings


def _seen(run: RunPoint, layout: Layout) -> RunPoint:
    """The last run, which may be going on: to look at the lock is to take it for a moment."""
    is_open = run.state == "unfinished"
    if is_open and may_be_held_by(layout.lock, {run.run_id}):
        return msgspec.structs.replace(run, state="running")
    return run


def _merged(
    run_ids: Iterable[str], told: Mapping[str, RunPoint], ledger: Mapping[str, RunPoint]
) -> Iterator[RunPoint]:
    """Each run by its summary if that was written at its end, else by the ledger."""
    for run_id in run_ids:
        point = told.get(run_id)
        if point is None or point.state != "ended":
            point = ledger.get(run_id, point)
        if point is not None:
            yield point


@dataclass(slots=True)
class _Files:
    """The summaries that could be read.

    Attributes:
        told: By the id of the run.
        warnings: What could not be read, and why; at most so many, then their number.
    """

    told: dict[str, RunPoint] = field(default_factory=dict)
    _warned: list[str] = field(default_factory=list)
    _n_warned: int = 0

    def read(self, directory: Path) -> None:
        """Read all of a directory."""
        try:
            names = file_names(directory)
        except OSError as error:
            self.warn(f"{directory.name}/ cannot be read: {error.strerror}")
            return
        for run_id in names:
            name = f"{directory.name}/{run_id}.json"
            try:
                self.told[run_id], is_newer = read_point(directory / f"{run_id}.json")
            except OSError as error:
                self.warn(f"{name} is passed over: {error.strerror}")
            except NoSummary as error:
                self.warn(f"{name} is passed over: {error}")
            else:
                if is_newer:
                    self.warn(f"{name} is of a newer batchgen, and told as far as it is understood")

    def warn(self, told: str) -> None:
        """Keep a warning, if there are not too many."""
        self._n_warned += 1
        if len(self._warned) < _MAX_WARNINGS:
            self._warned.append(told)

    @property
    def warnings(self) -> list[str]:
        """What there is to tell."""
        n_more = self._n_warned - len(self._warned)
        return [*self._warned, f"… and {n_more:,} more"] if n_more else self._warned
