"""batchgen without durability: nothing waits for the disk, and a power cut may cost pictures."""

import os

from benchmarks.contenders import batchgen
from benchmarks.work import Work


def _nothing(_descriptor: object) -> None:
    return


def run(work: Work) -> None:
    """Run the job as batchgen does, but for that."""
    os.fsync = os.fdatasync = _nothing  # type: ignore[assignment]
    batchgen.run(work)
