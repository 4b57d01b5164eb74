"""`batchgen report --serve` as a process of its own."""

import contextlib
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from tests.commands import Started, started


@dataclass
class Served:
    """The command at work, and where it is."""

    command: Started
    url: str
    line: str

    def get(self, path: str = "") -> bytes:
        with build_opener(ProxyHandler({})).open(self.url + path, timeout=20) as answer:
            text: bytes = answer.read()
            return text

    def read(self) -> tuple[Any, dict[str, Any]]:
        """What the page has embedded: its head, and its cards by id."""
        data = self.get().decode().partition('<pre id="data" hidden>')[2].partition("</pre>")[0]
        head, *cards = [json.loads(line) for line in data.splitlines() if line]
        return head, {card["id"]: card for card in cards}

    def cards(self) -> dict[str, Any]:
        return self.read()[1]

    def end(self, number: signal.Signals = signal.SIGINT) -> None:
        begins_s = time.monotonic()
        self.command.signal(number)
        done = self.command.end()
        assert done.code == 0, done
        assert done.out == ""
        assert "Traceback" not in done.err
        assert time.monotonic() - begins_s < 10


@contextlib.contextmanager
def served(directory: Path, *flags: str) -> Iterator[Served]:
    flags = tuple(filter(None, flags or ("--port", "0")))
    makes = {"BATCHGEN_NO_THUMBNAILS": "0"}  # it makes those that somebody asks for
    with started("report", directory, "--serve", *flags, **makes) as command:
        assert command.process.stderr is not None
        line = command.process.stderr.readline().decode()
        assert line.startswith(f"serving {directory} at http://127.0.0.1:"), line
        yield Served(command, line.split(" at ")[1].split()[0], line)
