"""The barest reading of YAML: PyYAML's loader in C, which keeps no places."""

from pathlib import Path

import yaml

from benchmarks.work import Reading


def run(work: Reading) -> None:
    """Load the file; nothing is looked at."""
    with Path(work.job).open("rb") as file:
        job = yaml.load(file, Loader=yaml.CSafeLoader)
    if len(job["items"]) != work.n:
        raise SystemExit(f"{len(job['items'])} items of {work.n}")
