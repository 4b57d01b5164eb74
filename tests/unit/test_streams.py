"""What the command line writes with, and what for: width and colours of a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from typing import TYPE_CHECKING, TextIO

import pytest

from batchgen.cli.streams import paint, paper
from batchgen.paper import Paper

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def terminal() -> Iterator[TextIO]:
    """A terminal of 132 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 132, 0, 0))
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        yield stream
    os.close(ours)


def test_lines_are_as_wide_as_the_terminal_and_80_columns_elsewhere(
    terminal: TextIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert paper(terminal) == Paper(132, "utf-8")
    with (tmp_path / "log").open("w", encoding="latin-1") as file:
        assert paper(file) == Paper(80, "latin-1")
        monkeypatch.setenv("COLUMNS", "100")
        assert paper(file).width == 80
    assert paper(file).width == 80  # though it is closed
    assert paper(terminal).width == 100
    for odd, width in (("", 132), ("wide", 132), ("0", 132), ("3", 40)):
        monkeypatch.setenv("COLUMNS", odd)
        assert paper(terminal).width == width


def test_a_terminal_gets_colours_and_nothing_else_does(terminal: TextIO, tmp_path: Path) -> None:
    assert paint("12 failed", "failed", "red", terminal) == "12 \x1b[31mfailed\x1b[0m"
    with (tmp_path / "log").open("w") as file:
        assert paint("12 failed", "failed", "red", file) == "12 failed"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("NO_COLOR", "1", "failed"),
        ("NO_COLOR", "", "\x1b[31mfailed\x1b[0m"),
        ("TERM", "dumb", "failed"),
    ],
)
def test_colours_can_be_refused(
    name: str, value: str, shown: str, terminal: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert paint("failed", "failed", "red", terminal) == shown
