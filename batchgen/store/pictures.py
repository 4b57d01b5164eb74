"""The images of one answer, from their part files to where they belong.

    part ──> seen: what are its bytes? ──┬─ taken: durable under its final name
                                         └─ set aside: durable in quarantine/

What lies where a final picture belongs, and is not what was made there before, is set aside too:
it may be somebody's own work.

An answer that a killed run left may have been half way: an image whose part is gone is looked for
under the names that it would have got.
"""

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from batchgen.model import ImageFile, ImageRole
from batchgen.store.images import ImageFacts, inspect_file, sha256_of
from batchgen.store.inside import missing_folders, refuse_links
from batchgen.store.layout import EXTENSIONS, Layout
from batchgen.store.ledger import sync_again, sync_directory, sync_file
from batchgen.store.receipts import Receipt, ReceivedImage

NO_PICTURE: Final = "it is no PNG, JPEG or WebP"

# What was made last under a final path, by its SHA-256; None if nothing was.
FindMade: TypeAlias = Callable[[str], str | None]

# What there is at a name that holds no regular file.
_NO_FILE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ELOOP})

# Of two threads that need a new directory, neither goes on before its name is durable.
_making_directories: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Place:
    """Where an image belongs: its role, and its name by the extension that its bytes tell.

    A name is a path as it is written into files, in which the folders are.
    """

    role: ImageRole
    name: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Seen:
    """Where an image is, what it is by its bytes, and why it is not whole, if it is not."""

    path: Path | None
    facts: ImageFacts | None
    fault: str | None


@dataclass(frozen=True, slots=True)
class AnswerImages:
    """The images of one whole answer, on disk, until they move; numbered as in its receipt.

    Attributes:
        places: Where those belong that are kept.
        is_recovered: A killed run left them: a power cut may have taken some bytes since.
        displaced: What lay in the way and is set aside: where it was, and where it is.
    """

    layout: Layout
    receipt: Receipt
    places: Mapping[int, Place]
    is_recovered: bool
    displaced: list[tuple[str, str]] = field(default_factory=list)
    _seen: dict[int, Seen] = field(default_factory=dict)
    _moved: set[int] = field(default_factory=set)

    @property
    def left(self) -> tuple[Path, ...]:
        """The part files of images that have not moved."""
        parts = enumerate(self.receipt.images)
        return tuple(self.layout.parts / one.part for n, one in parts if n not in self._moved)

    def seen(self, index: int) -> Seen:
        """Look at the headers and the end of an image, once."""
        if index not in self._seen:
            self._seen[index] = self._look(index)
        return self._seen[index]

    def _look(self, index: int) -> Seen:
        received = self.receipt.images[index]
        path, facts = self._find(index)
        if received.fault is not None:
            return Seen(path, facts, f"its base64 holds {received.fault}")
        if received.size_bytes == 0 or path is None:
            return Seen(path, None, "it has no bytes")
        fault = NO_PICTURE if facts is None else facts.fault
        if fault is None and self.is_recovered and sha256_of(path) != received.sha256:
            fault = "it is not what was received"
        return Seen(path, facts, fault)

    def _find(self, index: int) -> tuple[Path | None, ImageFacts | None]:
        """The part file, or where a killed run came as far as renaming it to; and what it is."""
        received = self.receipt.images[index]
        part = self.layout.parts / received.part
        try:
            return part, inspect_file(part)
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
        renamed = (path for path in self._names(index) if path.is_file())
        path = next((path for path in renamed if sha256_of(path) == received.sha256), None)
        return path, None if path is None else inspect_file(path)

    def take(self, index: int, find_made: FindMade) -> ImageFile | None:
        """Give a whole image its name, durably; what had it before with another ending goes.

        One that is not whole is set aside, and so is what has the name of a final picture and is
        not what was made there.
        """
        seen = self.seen(index)
        if seen.path is None or seen.facts is None or seen.fault is not None:
            return self._set_aside(index)
        place = self.places[index]
        root, names = self.layout.root, [place.name(extension) for extension in EXTENSIONS]
        lie = [root / name for name in names if os.path.lexists(f"{root}/{name}")]
        there = [path for path in lie if path != seen.path]
        if place.role == "final":
            for path in there:
                if aside := make_room(self.layout, path, find_made):
                    self.displaced.append((self.layout.relative(path), aside))
        name = place.name(seen.facts.extension)
        target = root / name
        try:
            self._commit(index, seen.path, target)
        except FileNotFoundError:
            self._put_back()
            raise
        for path in there:
            if path != target:
                path.unlink(missing_ok=True)
        return _image_file(name, place.role, self.receipt.images[index], seen.facts)

    def _commit(self, index: int, path: Path, target: Path) -> None:
        _commit(self.layout.root, path, target, is_recovered=self.is_recovered)
        self._moved.add(index)

    def _put_back(self) -> None:
        """Give what was displaced its place again: what was to come there is here no more.

        We are given up for lost, and what we had was taken; what lies there is of whoever took it.
        """
        root = self.layout.root
        for path, aside in self.displaced:
            if not os.path.lexists(root / path):
                (root / aside).rename(root / path)
        self.displaced.clear()

    def set_aside(self, indices: Iterable[int]) -> tuple[ImageFile, ...]:
        """Keep images in quarantine, durably, as far as there is anything of them."""
        kept = [self._set_aside(index) for index in indices]
        return tuple(image for image in kept if image is not None)

    def _set_aside(self, index: int) -> ImageFile | None:
        seen = self.seen(index)
        if seen.path is None:
            return None
        facts = seen.facts
        target = self._quarantine(index, facts.extension if facts else "bin")
        self._commit(index, seen.path, target)
        received = self.receipt.images[index]
        if self.is_recovered:  # what is there may be less than what was received
            received = ReceivedImage(
                part=received.part, sha256=sha256_of(target), size_bytes=target.stat().st_size
            )
        return _image_file(self.layout.relative(target), "quarantine", received, facts)

    def _names(self, index: int) -> Iterator[Path]:
        if (place := self.places.get(index)) is not None:
            yield from (self.layout.root / place.name(extension) for extension in EXTENSIONS)
        for extension in (*EXTENSIONS, "bin"):
            yield self._quarantine(index, extension)

    def _quarantine(self, index: int, extension: str) -> Path:
        stem = Path(self.receipt.images[index].part).stem
        return self.layout.quarantine(stem, extension)


def set_aside_parts(
    layout: Layout, parts: Iterable[Path], *, only_whole: bool
) -> Iterator[ImageFile]:
    """Keep what has come of the images of an answer that was lost, durably, in quarantine.

    Those that a killed run has set aside already are found there.
    """
    for part in parts:
        targets = {one: layout.quarantine(part.stem, one) for one in (*EXTENSIONS, "bin")}
        there = (path for path in (part, *targets.values()) if path.is_file())
        if (path := next(there, None)) is None or not (size_bytes := path.stat().st_size):
            continue
        facts = inspect_file(path)
        if path == part:
            if only_whole and (facts is None or facts.fault is not None):
                continue
            path = targets[facts.extension if facts else "bin"]
            _commit(layout.root, part, path)
        received = ReceivedImage(part=part.name, sha256=sha256_of(path), size_bytes=size_bytes)
        yield _image_file(layout.relative(path), "quarantine", received, facts)


def _image_file(
    name: str, role: ImageRole, received: ReceivedImage, facts: ImageFacts | None
) -> ImageFile:
    """An image on disk as the ledger has it."""
    return ImageFile(
        path=name,
        role=role,
        sha256=received.sha256,
        bytes=received.size_bytes,
        width=facts.width if facts else None,
        height=facts.height if facts else None,
        mime=facts.mime if facts else None,
    )


def make_room(layout: Layout, path: Path, find_made: FindMade) -> str | None:
    """Keep what lies under a path, unless it is what was made there, or only a link to it.

    Returns:
        Where it lies now; None if nothing had to be kept.

    Raises:
        StoreError: A folder on the way is a link: what lies behind it is not the job's.
    """
    refuse_links(layout.root, [path.parent])
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    is_file = stat.S_ISREG(found.st_mode)
    if stat.S_ISLNK(found.st_mode) or (is_file and not found.st_size):
        return None
    if is_file and _digest(path) == find_made(layout.relative(path)):
        return None
    aside = layout.displaced(path)
    make_directory(layout.root, aside.parent)
    path.rename(aside)
    sync_directory(aside.parent)
    return layout.relative(aside)


def _digest(path: Path) -> str:
    """The digest of a file; of one that cannot be read, none that anything else has."""
    try:
        return sha256_of(path)
    except OSError:
        return ""


def _commit(root: Path, path: Path, target: Path, *, is_recovered: bool = False) -> None:
    """Make a file durable, then visible under its final name, then the name durable."""
    directory = target.parent
    make_directory(root, directory)
    if path != target:
        if is_recovered:
            sync_again(path)
        else:
            _sync(path)
        path.replace(target)
    sync_directory(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def make_directory(root: Path, path: Path) -> None:
    """Make a directory in a job's and those above it; the name of each new one is durable.

    Raises:
        StoreError: Something on the way is a link.
    """
    # One that is there may have been made just now, and whoever did so holds the lock.
    if not missing_folders(root, path) and not _making_directories.locked():
        return
    with _making_directories:
        for name in reversed(missing_folders(root, path)):
            directory = Path(name)
            directory.mkdir(exist_ok=True)
            sync_directory(directory.parent)
