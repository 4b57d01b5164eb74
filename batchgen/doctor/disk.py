"""What a run needs of its disk, tried with a file that goes away again; who is there, what is left.

A run makes directories, writes and syncs files, renames one over another, and locks its directory.
"""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from batchgen.doctor.findings import BAD_DISK, Finding, fine, problem, warning
from batchgen.forecast.figures import Figures
from batchgen.foresight import lack_of_space, sized
from batchgen.store.layout import Layout
from batchgen.store.lock import held_by
from batchgen.store.room import room_bytes
from batchgen.store.space import look_at_space
from batchgen.wording import counted

_BLOCK_BYTES = 4096
_SOME_LINES_BYTES = 1 << 20
_ELSEWHERE = "choose another disk with -o"


class _NoLockError(OSError):
    """Two of this process hold the same lock."""


def check_disk(directory: Path, figures: Figures | None) -> Iterator[Finding]:
    """Try what a run does where its directory is, or will be.

    Args:
        directory: Need not be there.
        figures: What a run would make, if that is known.
    """
    where = _nearest(directory)
    try:
        if not where.is_dir():
            what = "no directory" if where.exists() else "a link that leads nowhere"
            told = f"{where} is {what}, and nothing can be written below it"
            yield problem("disk", told, f"move it away, or {_ELSEWHERE}", BAD_DISK)
            return
        _try(where)
    except _NoLockError:
        told = f"{where}: this file system grants a lock twice, so two runs could write at once"
        yield problem("disk", told, _ELSEWHERE, BAD_DISK)
    except OSError as error:
        remedy = f"make it writable or make room, or {_ELSEWHERE}"
        yield problem("disk", f"{where}: {error.strerror or error}", remedy, BAD_DISK)
    else:
        yield fine("disk", f"{where}: files are written, renamed, locked and taken away")
    yield from _space(directory, figures)


def _nearest(directory: Path) -> Path:
    """The nearest of what is there, upwards: a link that leads nowhere is in the way of a run."""
    directory = directory.absolute()
    return next(one for one in (directory, *directory.parents) if os.path.lexists(one))


def _try(where: Path) -> None:
    """Do once what a run does.

    Raises:
        OSError: It cannot be done.
    """
    with TemporaryDirectory(prefix=".batchgen-doctor-", dir=where) as place:
        draft, file = Path(place) / "draft", Path(place) / "file"
        file.touch()
        with draft.open("wb") as opened:
            opened.write(bytes(_BLOCK_BYTES))
            opened.flush()
            os.fsync(opened.fileno())
        draft.replace(file)
        with file.open("r+b") as one, file.open("r+b") as other:  # NFS wants them so
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            raise _NoLockError


def _space(directory: Path, figures: Figures | None) -> Iterator[Finding]:
    try:
        space = look_at_space(directory)
    except OSError as error:
        yield problem("room", f"{directory}: {error.strerror or error}", _ELSEWHERE, BAD_DISK)
        return
    remedy = f"make room, or {_ELSEWHERE}"
    least_bytes = room_bytes("1K", 1) + _SOME_LINES_BYTES
    if space.free_bytes is None:
        yield fine("room", f"{directory}: this file system does not tell what is free")
    elif space.free_bytes < least_bytes:
        told = f"{sized(space.free_bytes)} free, and one picture may need {sized(least_bytes)}"
        yield problem("room", f"{directory}: {told}", remedy, BAD_DISK)
        return
    if figures is not None:
        lack = lack_of_space(figures.disk_bytes, figures.pictures, space)
        if lack is not None:
            yield warning("room", f"{directory}: {lack.told}", lack.remedy)
            return
    if space.free_bytes is not None:
        yield fine("room", f"{directory}: {sized(space.free_bytes)} free")


def check_directory(layout: Layout) -> Iterator[Finding]:
    """Look at a job's directory: is a run there, and what did earlier ones leave?"""
    holder = held_by(layout.lock)
    if holder is not None:
        told = f"{layout.root} is held by a run ({holder})"
        yield warning("lock", told, "wait for it: another run ends with exit code 11 until then")
        return
    yield fine("lock", f"no run holds {layout.root}")
    yield from _in_the_way(layout)
    yield from _leftovers(layout)


def _in_the_way(layout: Layout) -> Iterator[Finding]:
    """What lies where a run makes directories of its own, and is none."""
    for folder in layout.folders:
        if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
            what = "a link" if folder.is_symlink() else "no directory"
            told = f"{folder} is {what}, and a run writes nothing there"
            yield problem("directory", told, f"move it away, or {_ELSEWHERE}", BAD_DISK)


def _leftovers(layout: Layout) -> Iterator[Finding]:
    n_parts = sum(1 for _ in layout.parts.glob("*")) if layout.parts.is_dir() else 0
    torn = sorted(layout.ledger.glob("*.torn"))
    if n_parts:
        files = counted(n_parts, "file")
        told = f"a run that was killed left {files} in {layout.parts}"
        yield warning("leftovers", told, "run again: what is whole is finished from there, unpaid")
    if torn:
        told = f"{counted(len(torn), 'torn line')} of ledgers set aside: {torn[0]}"
        remedy = "a power cut leaves such; without one, mend the disk. The file may be deleted"
        yield warning("leftovers", told, remedy)
    if not n_parts and not torn:
        yield fine("leftovers", "none")
