"""The barest expansion of a table: csv.DictReader, itertools.product, str.format."""

import csv
from itertools import product
from pathlib import Path

from benchmarks.jobs import MATRIX, PROMPT, TABLE
from benchmarks.work import Reading


def run(work: Reading) -> None:
    """Make id and prompt of each row and combination; nothing is looked at, nor kept."""
    n = 0
    with Path(work.job).with_name(TABLE).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for combination in product(*MATRIX.values()):
                values = {**row, **dict(zip(MATRIX, combination, strict=True))}
                _item = {
                    "id": "{sku}-{scene}-{aspect_ratio}".format(**values),
                    "prompt": PROMPT.format(**values),
                    "aspect_ratio": values["aspect_ratio"],
                }
                n += 1
    if n != work.n:
        raise SystemExit(f"{n} items of {work.n}")
