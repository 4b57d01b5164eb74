"""The reference files that a job names: found, examined, and known by their bytes."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from batchgen.manifest.fields import Checker
from batchgen.manifest.files import leads_out, object_of, shown_path, where_instead
from batchgen.manifest.nodes import Steps
from batchgen.model import Reference, ReferenceFile
from batchgen.objects import address_of

_MAX_LOCATED: Final = 16_384


class References(Protocol):
    """What can be found out about references while a job is read."""

    def open(self, path: str) -> ReferenceFile:
        """Examine a file; raises ValueError with what is wrong, in words that follow its name."""

    def is_larger(self, path: str, max_px: int) -> bool:
        """Whether its longest side is longer; raises ValueError likewise."""


class Files:
    """The reference files of one job.

    Memory: the last 16,384 references, each with what it came to.
    """

    def __init__(self, base: Path, references: References) -> None:
        """Start with nothing known.

        Args:
            base: The directory that relative paths start from.
            references: Finds out whether a file can be sent, and its digest.
        """
        self._base, self._references = base, references
        self._is_away = address_of(base) is not None
        self._located: dict[tuple[Reference, int | None], Reference] = {}
        self._told_at_head: set[str] = set()  # paths

    def examine_head(
        self, check: Checker, names: Mapping[str, Reference], defaults: Mapping[str, Any]
    ) -> None:
        """Examine what the head names, used or not, so that it is told there and there alone."""
        written: list[tuple[Reference, Steps]] = [
            *((reference, ("references", name)) for name, reference in names.items()),
            *(
                (reference, ("defaults", "references", n))
                for n, reference in enumerate(defaults.get("references") or ())
            ),
        ]
        for reference, steps in written:
            path = reference.path
            if path is None or path in self._told_at_head:
                continue
            if self._is_away and not Path(path).is_absolute():
                continue
            if self._found(check, path, steps) is None:
                self._told_at_head.add(path)

    def located(
        self, check: Checker, references: Sequence[Reference], steps: Steps, max_px: int | None
    ) -> tuple[Reference, ...] | None:
        """Find and examine the files among references.

        Args:
            check: Takes those that cannot be sent, but for what was told at the head.
            references: Those of one turn; what is no file stays as it is.
            steps: What leads to them.
            max_px: Larger ones will be scaled down.

        Returns:
            The references with real paths and digests; None if any cannot be sent.
        """
        located = [
            reference
            if reference.path is None
            else self._one(check, reference, reference.path, (*steps, n), max_px)
            for n, reference in enumerate(references)
        ]
        found = tuple(reference for reference in located if reference is not None)
        return found if len(found) == len(located) else None

    def size_bytes(self, references: Sequence[Reference]) -> int:
        """How many bytes located files take in base64; what is scaled or fetched is not known."""
        files = [ref.path for ref in references if ref.path is not None and ref.max_px is None]
        return sum(self._references.open(path).size_bytes * 4 // 3 for path in files)

    def _one(
        self, check: Checker, reference: Reference, written: str, steps: Steps, max_px: int | None
    ) -> Reference | None:
        if self._is_away and not Path(written).is_absolute():
            return self._beside(check, reference, written, steps)
        known = self._located.get((reference, max_px))
        if known is None and written not in self._told_at_head:
            known = self._scaled(check, written, reference.label, steps, max_px)
            if len(self._located) >= _MAX_LOCATED:
                self._located.clear()
            if known is not None:
                self._located[reference, max_px] = known
        return known

    def _beside(
        self, check: Checker, reference: Reference, written: str, steps: Steps
    ) -> Reference | None:
        """A file beside a job that lies in a store, as the object that it is."""
        try:
            return Reference(url=str(object_of(self._base, written)), label=reference.label)
        except OSError as error:
            check.wrong(steps, f"{shown_path(written)}: {error.strerror}")
            return None

    def _scaled(
        self, check: Checker, written: str, label: str | None, steps: Steps, max_px: int | None
    ) -> Reference | None:
        """A file as it is to be sent."""
        file = self._found(check, written, steps)
        if file is None:
            return None
        try:
            is_scaled = max_px is not None and self._references.is_larger(file.path, max_px)
        except ValueError as error:
            check.wrong(steps, f"{shown_path(written)} {error}")
            return None
        return Reference(
            path=file.path,
            label=label,
            sha256=file.sha256,
            max_px=max_px if is_scaled else None,
        )

    def _found(self, check: Checker, written: str, steps: Steps) -> ReferenceFile | None:
        if (fault := leads_out(self._base, written)) is not None:
            check.wrong(steps, f"{shown_path(written)} {fault}")
            return None
        # Real, so that the file that is checked is the file that is sent, by whatever way.
        path = os.path.realpath(self._base / written)
        try:
            return self._references.open(path)
        except ValueError as error:
            is_missing = not os.path.lexists(path)
            near = where_instead(check, written, self._base) if is_missing else ""
            check.wrong(steps, f"{shown_path(written)} {error}{near}")
            return None
