"""Text laid out for a terminal, a log or a mail: aligned, no wider than that, and readable there.

Widths are columns of a terminal: a Chinese character takes two, an accent of its own none.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 80
# The longest id of a known model has as many.
_MIN_NAME: Final = 27
_ELLIPSIS: Final = "…"
# What our own words are made of, for encodings that have none of it.
_SUBSTITUTES: Final = {
    "–": "-",
    "—": "-",
    "−": "-",
    "·": "|",
    "→": "->",
    "…": "...",
    "×": "x",
    "÷": "/",
    "±": "+-",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
}


def columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def substitute(character: str) -> str:
    """What stands for a character that an encoding lacks: our own signs in ASCII, else its code."""
    told = _SUBSTITUTES.get(character)
    return character.encode("ascii", "backslashreplace").decode() if told is None else told


@dataclass(frozen=True, slots=True)
class Paper:
    """What lines are laid out for.

    Attributes:
        width: Columns that a line may take.
        encoding: What it is written in; characters that it lacks are told by others.
    """

    width: int = WIDTH
    encoding: str = "utf-8"

    def spelled(self, text: str) -> str:
        """The text, of characters that can be written."""
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            return "".join(map(self._spelled, text))
        return text

    def _spelled(self, character: str) -> str:
        try:
            character.encode(self.encoding)
        except UnicodeEncodeError:
            return substitute(character)
        return character

    def cut(self, text: str, width: int) -> str:
        """A name that fits: its middle is left out, as ids often differ at their ends."""
        text = self.spelled(text)
        if columns(text) <= width:
            return text
        mark = self.spelled(_ELLIPSIS)
        left = max(0, width - columns(mark))
        head = _beginning(text, left - left // 2)
        tail = _beginning(text[::-1], left // 2)[::-1]
        return head + mark + tail

    def fits(self, rows: Sequence[Sequence[str]], n_names: int = 0) -> bool:
        """Whether a table fits with room between its columns.

        With names in the first few columns, whether it does when they are cut, and stand close.
        """
        widths = self._widths(rows)
        least = [min(one, _MIN_NAME) for one in widths[:n_names]] + widths[n_names:]
        return _total(least, 1 if n_names else 2) <= self.width

    def table(self, rows: Sequence[Sequence[str]], n_names: int) -> list[str]:
        """Rows as aligned lines: names begin at the left, and are cut where they do not fit.

        Args:
            rows: Cells, in rows of the same length.
            n_names: How many of the first columns are names; the others are figures.
        """
        widths = self._widths(rows)
        gap = 2 if _total(widths, 2) <= self.width else 1
        while _total(widths, gap) > self.width and max(widths[:n_names], default=0) > 1:
            widths[widths.index(max(widths[:n_names]))] -= 1
        return [(" " * gap).join(self._cells(row, widths, n_names)).rstrip() for row in rows]

    def _widths(self, rows: Sequence[Sequence[str]]) -> list[int]:
        return [
            max(columns(self.spelled(cell)) for cell in column)
            for column in zip(*rows, strict=True)
        ]

    def _cells(self, row: Sequence[str], widths: Sequence[int], n_names: int) -> Iterator[str]:
        for at, (cell, width) in enumerate(zip(row, widths, strict=True)):
            text = self.cut(cell, width) if at < n_names else self.spelled(cell)
            room = " " * (width - columns(text))
            yield text + room if at < n_names else room + text

    def wrapped(self, text: str, first: str = "", *, whole: bool = False) -> Iterator[str]:
        """Lines of a text, broken between its words; later ones begin below where it does.

        Args:
            text: The text.
            first: What stands before it.
            whole: A word that is longer than a line, as a path may be, is not broken.
        """
        indent = columns(self.spelled(first))
        width = max(self.width - indent, 1)
        lines = list(_lines(self.spelled(text).split(" "), width, whole=whole))
        for number, line in enumerate(lines or [""]):
            yield ((self.spelled(first) if number == 0 else " " * indent) + line).rstrip()


def _total(widths: Sequence[int], gap: int) -> int:
    return sum(widths) + gap * (len(widths) - 1)


def _beginning(text: str, width: int) -> str:
    """As much of a text as fits."""
    taken = 0
    for at, character in enumerate(text):
        taken += _columns(character)
        if taken > width:
            return text[:at]
    return text


def _lines(words: Sequence[str], width: int, *, whole: bool) -> Iterator[str]:
    line = ""
    for word in words:
        together = f"{line} {word}" if line else word
        if columns(together) <= width:
            line = together
            continue
        if line:
            yield line
        line = word
        while not whole and columns(line) > width:
            piece = _beginning(line, width) or line[0]
            yield piece
            line = line[len(piece) :]
    if line:
        yield line
