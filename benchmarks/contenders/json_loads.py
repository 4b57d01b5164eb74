"""The barest reading of JSON Lines: the ids, so that one that is there twice could be found."""

import json
from pathlib import Path

from benchmarks.work import Reading


def run(work: Reading) -> None:
    """Put all ids into a set; nothing else is looked at."""
    ids = set()
    with Path(work.job).open(encoding="utf-8") as lines:
        next(lines)  # the head
        for line in lines:
            ids.add(json.loads(line)["id"])
    if len(ids) != work.n:
        raise SystemExit(f"{len(ids)} ids of {work.n}")
