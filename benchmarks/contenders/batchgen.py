"""batchgen through its public API: a job file in; durable images, ledger, summary and page out."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchgen import run as run_job
from benchmarks.work import API_KEY, MODEL, Work


def run(work: Work) -> None:
    """Write the job file and run it; the time for both counts."""
    make(work, {"concurrency": work.concurrency})


def make(work: Work, limits: Mapping[str, object], **how: Any) -> None:
    """Run a job that sets these limits, in this process unless it is told how else."""
    os.environ["BENCH_API_KEY"] = API_KEY
    directory = Path(work.directory)
    job = directory / "bench.jsonl"
    with job.open("w", encoding="utf-8") as lines:
        lines.write(json.dumps({"job": _head(work, limits)}) + "\n")
        for number in range(work.n):
            lines.write(json.dumps(_item(work, number)) + "\n")
    # Small pictures, which no script makes, are measured by themselves; and where viewers fetch
    # them, they would have been made already.
    summary = run_job(job, output=directory / "output", thumbnails=False, **how)
    if summary.items.done != work.n:
        raise SystemExit(f"{summary.items.done} of {work.n} done: {summary.failures}")


def _head(work: Work, limits: Mapping[str, object]) -> dict[str, object]:
    return {
        "name": "bench",
        "provider": {"base_url": work.base_url, "api_key_env": "BENCH_API_KEY"},
        "limits": limits,
        "defaults": {"model": MODEL, "modalities": ["IMAGE"]},
    }


def _item(work: Work, number: int) -> dict[str, object]:
    item: dict[str, object] = {"id": f"picture-{number:05d}", "prompt": work.prompt(number)}
    if work.references:
        item["references"] = list(work.references)
    return item
