"""Which files some paths mean, each once.

    a job's directory       the segments of its ledger
    a folder above some     those of all of them
    any other folder        its *.jsonl, *.ndjson and *.json files, also with .gz, at any depth
    a pattern               whatever matches, `**` at any depth
    a file, `-`             itself; standard input

A link inside of a folder is followed only as far as the folder reaches.
"""

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from batchgen.errors import StoreError, UsageError
from batchgen.store.layout import Layout
from batchgen.wording import counted

STDIN: Final = Path("-")
_ENDINGS: Final = (".jsonl", ".ndjson", ".json")
_LEDGER: Final = "ledger"
_EXPECTED: Final = (
    "expected a job's directory, a folder of logs (*.jsonl, *.ndjson, *.json, also .gz), "
    "a file, a pattern, or - for standard input"
)


def find_sources(paths: Iterable[str], warn: Callable[[str], None]) -> list[Path]:
    """The files that paths mean, in the order of the paths, and sorted within a folder.

    Args:
        paths: As they were written.
        warn: Told of what is left out.

    Raises:
        UsageError: A path is not there, or there is nothing to read in it.
    """
    found: dict[str, Path] = {}
    for path in paths:
        for one in _meant(path, warn):
            found.setdefault("-" if one == STDIN else os.path.realpath(one), one)
    return list(found.values())


def find_ledgers(paths: Iterable[str], warn: Callable[[str], None]) -> list[Path]:
    """The segments of the ledgers among the files that paths mean, see `find_sources`.

    Raises:
        UsageError: One of them is no ledger.
    """
    found = find_sources(paths, warn)
    for one in found:
        if one == STDIN or one.parent.name != _LEDGER:
            raise UsageError(f"{one} is no ledger: expected the directory of a job, or one above")
    return found


def _meant(written: str, warn: Callable[[str], None]) -> Iterator[Path]:
    if written == "-":
        yield STDIN
        return
    hits = [written] if os.path.lexists(written) else _matching(written)
    if not hits:
        what = "matches nothing" if glob.has_magic(written) else "is not there"
        raise UsageError(f"{written} {what}: {_EXPECTED}")
    files = [file for hit in hits for file in _files(Path(hit), warn, is_hit=hit != written)]
    if not files:
        raise UsageError(f"{written} holds nothing to read: {_EXPECTED}")
    yield from files


def _matching(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - it may be absolute


def _files(path: Path, warn: Callable[[str], None], *, is_hit: bool) -> list[Path]:
    """The files of one path; what a pattern hits besides folders is taken as it is."""
    if not path.is_dir():
        if not path.exists() and not is_hit:
            raise UsageError(f"{path} leads nowhere: {_EXPECTED}")
        return [path] if path.exists() else []
    ledgers, logs, n_links = _below(path)
    if n_links:
        warn(f"{path}: {counted(n_links, 'link')} out of it not followed")
    if ledgers and logs:
        warn(
            f"{path}: the ledgers of its jobs are read, and not "
            f"{counted(len(logs), 'other file')}; name those to read them"
        )
    return ledgers or logs


def _below(root: Path) -> tuple[list[Path], list[Path], int]:
    """Segments of ledgers, other logs, and how many links lead out of a folder."""
    inside = os.path.realpath(root)
    ledgers: list[Path] = []
    logs: list[Path] = []
    n_links = 0
    for folder, names, files in os.walk(root, onerror=_raise):
        names.sort()
        here = Path(folder)
        of_job = Layout(here).segments if _LEDGER in names else []
        if of_job:
            names.clear()
        for file in of_job or [here / one for one in sorted(files) if _is_log(one)]:
            if not _is_within(inside, file):
                n_links += 1
            elif file.is_file():
                (ledgers if of_job else logs).append(file)
    return ledgers, logs, n_links


def _raise(error: OSError) -> None:
    """What cannot be looked into is not left out in silence."""
    raise StoreError.of(error, Path(error.filename))


def _is_log(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith(_ENDINGS)


def _is_within(root: str, file: Path) -> bool:
    """Whether a file is below a folder, wherever links lead."""
    return os.path.commonpath((root, os.path.realpath(file))) == root
