"""What the summaries under `runs/` tell, the newest first."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from batchgen.report.summary import Summary
from batchgen.store.inside import open_inside, refuse_links
from batchgen.store.layout import Layout
from batchgen.store.replace import remove_left_drafts, replaced

MAX_BYTES: Final = 16 << 20
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
ToldT = TypeVar("ToldT")


def read_summaries(runs: Path, kind: type[ToldT], *, before: str | None = None) -> Iterator[ToldT]:
    """Read the summaries of runs, the newest first; what cannot be read is left out.

    Args:
        runs: `runs/` of a job's directory; it need not exist.
        kind: What is wanted of each: `Summary`, or a Struct of some of its fields.
        before: A run; only those before it are read. Names begin with the time.
    """
    try:
        run_ids = sorted(path.stem for path in runs.iterdir() if path.suffix == ".json")
    except OSError:
        return
    for run_id in reversed(run_ids):
        if before is None or run_id < before:
            yield from read_summary(runs / f"{run_id}.json", kind)


def read_summary(path: Path, kind: type[ToldT]) -> Iterator[ToldT]:
    """Read one summary of a run, or none if it cannot be read."""
    with suppress(OSError, *UNREADABLE):
        with open_inside(path) as file:
            told = msgspec.json.decode(file.read(MAX_BYTES), type=kind)
        yield told


def summary_text(summary: Summary) -> bytes:
    """A summary as a file has it."""
    return msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n"


def keep_summary(layout: Layout, summary: Summary) -> None:
    """Write the summary of a run under its name, for the runs after it.

    Raises:
        OSError: The disk failed; StoreError where something else lies there.
    """
    refuse_links(layout.root, [layout.runs])
    layout.runs.mkdir(exist_ok=True)
    remove_left_drafts(layout.runs)
    with replaced(layout.runs / f"{summary.run_id}.json") as file:
        file.write(summary_text(summary))


def summary_before(runs: Path, run_id: str) -> Summary | None:
    """The summary of the last run before one; None if there is none that can be read."""
    return next(read_summaries(runs, Summary, before=run_id), None)
