"""What workers elsewhere have put into a store: copied there to where it belongs, then removed.

Source: `store.staged` has the names.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

from batchgen.errors import StoreError
from batchgen.mirror.contents import Contents
from batchgen.model import Attempt
from batchgen.objects.bucket import Bucket, ObjectGone
from batchgen.store.layout import EXTENSIONS
from batchgen.store.receipts import part_name
from batchgen.store.staged import STAGED, record_name, stem_of

_AT_ONCE: Final = 500
_PICTURES: Final = frozenset(f".{one}" for one in (*EXTENSIONS, "bin", "part"))


class Arrivals:
    """The staged files of one place; the run that holds it has one.

    Everything that speaks to the store waits, and raises StoreError.
    """

    def __init__(self, bucket: Bucket, contents: Contents) -> None:
        """Begin with none."""
        self._bucket, self._contents = bucket, contents
        self._placed: dict[str, list[str]] = {}  # and not recorded yet
        self._needless: deque[str] = deque()
        self._sweeping = threading.Lock()

    def place(self, line: Attempt, path: str) -> None:
        """Copy a file of a call to where it belongs."""
        stem = part_name(line)
        self._bucket.copy(f"{STAGED}/{stem}/{path}", path)
        self._contents.put(path, self._bucket.stored(path).size_bytes)
        self._placed.setdefault(stem, []).append(path)

    def are_placed(self, line: Attempt) -> bool:
        """Whether files of a call were staged."""
        return part_name(line) in self._placed

    def recorded(self, line: Attempt, paths: Iterable[str] = ()) -> None:
        """A call is recorded: what is staged of it is needed no more."""
        stem = part_name(line)
        paths = self._placed.pop(stem, paths)
        self._needless.extend(f"{STAGED}/{stem}/{path}" for path in paths)
        self._needless.append(f"{STAGED}/{record_name(stem)}")

    @property
    def n_needless(self) -> int:
        """How much of what is staged is recorded, and still there."""
        return len(self._needless)

    def sweep(self, most: int | None = None) -> None:
        """Remove what is needed no more.

        Args:
            most: So much of it, the oldest first: the lines of the rest are nowhere but here.
        """
        with self._sweeping:  # what is on its way in a thread is not waited for when a run ends
            left = len(self._needless) if most is None else min(most, len(self._needless))
            while left > 0:
                needless = [self._needless.popleft() for _ in range(min(_AT_ONCE, left))]
                left -= len(needless)
                try:
                    self._bucket.delete_all(needless)
                except StoreError:
                    self._needless.extendleft(reversed(needless))
                    raise

    # --- what was left by runs and workers that are no more ---------------------------------------

    def with_record(self) -> dict[str, set[str]]:
        """The calls of which there are records, with the files that are there of each."""
        files: defaultdict[str, set[str]] = defaultdict(set)
        recorded: set[str] = set()
        for stored in self._bucket.listed(STAGED):
            stem = stem_of(stored.path)
            if stem is None:
                continue
            if stored.path == f"{STAGED}/{record_name(stem)}":
                recorded.add(stem)
            else:
                files[stem].add(stored.path.removeprefix(f"{STAGED}/{stem}/"))
        return {stem: files[stem] for stem in recorded}

    def bring_record(self, stem: str, parts: Path) -> None:
        """Have the record of a call in a directory, if there is one."""
        name = record_name(stem)
        with suppress(ObjectGone):
            self._bucket.fetch(f"{STAGED}/{name}", parts / name)

    def bring_part(self, stem: str, part: Path) -> None:
        """Have what came of a picture in a file."""
        path = f"{STAGED}/{stem}/{part.name}"
        self._bucket.fetch(path, part)
        self._needless.append(path)

    def clear(self, *, but_recorded: bool = False) -> None:
        """Remove what is staged, and is in the ledger; pictures that are not go into quarantine.

        They came too late to be recorded: their worker had been given up for lost.

        Args:
            but_recorded: What has a record stays: the next run may put it in place.
        """
        self.sweep()
        waiting = self.with_record() if but_recorded else {}
        for stored in list(self._bucket.listed(STAGED)):
            stem = stem_of(stored.path)
            if stem in waiting:
                continue
            path = PurePosixPath(stored.path)
            if path.suffix in _PICTURES and stored.size_bytes:
                kept = f"quarantine/{stem}.{'.'.join(path.parts[2:])}"
                self._bucket.copy(stored.path, kept)
                self._contents.put(kept, stored.size_bytes)
            self._bucket.delete(stored.path)
