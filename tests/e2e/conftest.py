"""An emulator in a process of its own for each test, and a small job."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import commands
from tests.commands import EmulatorProcess
from tests.servers import png

SMALL_JOB = """\
name: small
defaults: {model: gemini-3.1-flash-image, image_size: "512", aspect_ratio: 1:1}
items:
  - {id: apple, prompt: An apple on a plate, references: [photos/a.png]}
  - {id: pear, prompt: A pear on a plate, references: [photos/b.png], tags: {fruit: "yes"}}
  - {id: both, prompt: An apple and a pear, references: [photos/a.png, photos/b.png]}
  - {id: stone, prompt: A stone by the sea}
"""


@pytest.fixture
def emulated() -> Iterator[EmulatorProcess]:
    with commands.emulator("--latency", "0") as running:
        yield running


@pytest.fixture
def small_job(tmp_path: Path) -> Path:
    """Four items, two of which use photos/a.png."""
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.png").write_bytes(png("a photo"))
    (photos / "b.png").write_bytes(png("b photo"))
    job = tmp_path / "small.yaml"
    job.write_text(SMALL_JOB, "utf-8")
    return job
