"""The thumbnails of a report, by as many processes as it takes; their start is included."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from batchgen.report.thumbnails import Made, Source, make_thumbnails
from benchmarks.work import Reading

N_PROCESSES = min(os.cpu_count() or 1, 4)


def run(work: Reading) -> None:
    """Make all thumbnails, as a first report does, and take them away again."""
    root = Path(work.job).parent
    made = make_thumbnails(root, _sources(Path(work.job)))
    if made != Made(n_made=work.n):
        raise SystemExit(f"{made} of {work.n}")
    shutil.rmtree(root / "thumbnails")


def _sources(listed: Path) -> Iterator[Source]:
    with listed.open(encoding="utf-8") as lines:
        for line in lines:
            told = json.loads(line)
            yield Source(told["sha256"], Path(told["path"]))
