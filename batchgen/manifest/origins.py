"""Where written things stand: the file, and the line and column of each of their parts.

A place is worked out only when a message needs it, because nearly none does.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from batchgen.manifest.nodes import Document, Place, Steps, YamlError, compose

# JSON writes characters beyond the basic plane as pairs, which YAML does not read.
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
# Characters that JSON takes as they are, and YAML for line ends or for none at all.
_ODD: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


class Origin(Protocol):
    """Something that was written in a file."""

    @property
    def path(self) -> Path:
        """The file, as the user would name it."""

    @property
    def line(self) -> int:
        """The line on which it begins; cheap."""

    def place(self, steps: Steps, *, key: bool = False) -> Place:
        """Where a part of it stands, or the part's key; the nearest thing around a missing one."""


@dataclass(frozen=True, slots=True)
class InDocument:
    """A part of a YAML document."""

    path: Path
    document: Document
    base: Steps = ()

    @property
    def line(self) -> int:
        """The line on which it begins."""
        return self.place(()).line

    def place(self, steps: Steps, *, key: bool = False) -> Place:
        """Where a part stands."""
        return self.document.place((*self.base, *steps), key=key)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of something else that was written."""

    whole: Origin
    base: Steps

    @property
    def path(self) -> Path:
        """The file."""
        return self.whole.path

    @property
    def line(self) -> int:
        """The line on which it begins."""
        return self.place(()).line

    def place(self, steps: Steps, *, key: bool = False) -> Place:
        """Where a part of the part stands."""
        return self.whole.place((*self.base, *steps), key=key)


@dataclass(slots=True)
class InJson:
    """A line of JSON, read once more as YAML when a place in it is asked for."""

    path: Path
    line: int
    raw: bytes
    _document: Document | None = field(default=None, repr=False)

    def place(self, steps: Steps, *, key: bool = False) -> Place:
        """Where a part stands; the line's beginning if it is JSON that is no YAML."""
        if not steps:
            return Place(self.line, len(self.raw) - len(self.raw.lstrip()) + 1)
        if self._document is None:
            try:
                self._document = compose(as_yaml(self.raw), first_line=self.line)
            except YamlError:
                self._document = Document(None, self.line)
        return self._document.place(steps, key=key)


@dataclass(slots=True)
class InTable:
    """A row of a CSV or TSV file.

    Attributes:
        raw: The text of the row, which may be several lines.
        columns: The names in the header.
    """

    path: Path
    line: int
    raw: str
    columns: tuple[str, ...]
    delimiter: str
    _starts: list[int] = field(default_factory=list, repr=False)

    def place(self, steps: Steps, *, key: bool = False) -> Place:  # noqa: ARG002 - a row has no keys
        """Where a cell begins; `tags` with a name below it is the column `tags.NAME`."""
        name = str(steps[0]) if steps else ""
        dotted = ".".join(map(str, steps[:2]))
        column = next((n for n, one in enumerate(self.columns) if one in {name, dotted}), 0)
        self._starts = self._starts or cell_starts(self.raw, self.delimiter)
        at = self._starts[column]
        before = self.raw[:at]
        return Place(self.line + before.count("\n"), at - (before.rfind("\n") + 1) + 1)


def cell_starts(raw: str, delimiter: str) -> list[int]:
    """Where the cells of a row begin: delimiters inside quotes do not count."""
    starts, is_quoted = [0], False
    for at, ch in enumerate(raw):
        if ch == '"' and raw[starts[-1]] == '"':  # elsewhere a quote is a letter like any other
            is_quoted = not is_quoted
        elif ch == delimiter and not is_quoted:
            starts.append(at + 1)
    return starts


def as_yaml(raw: bytes) -> str:
    """A line of JSON as text that YAML can read, every character in its place."""
    return _ODD.sub("?", _SURROGATE.sub(r"\\u0041", raw.decode("utf-8", "replace")))
