"""The command `batchgen cost LOG`; its imports come before, as those of all contenders."""

import io
import json
import os
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path

import batchgen.pricing
import batchgen.spending.adding
import batchgen.spending.tables  # noqa: F401 - what the command imports when it is called
from batchgen.cli import main
from benchmarks.logs import agree
from benchmarks.work import Reading

# A large log is read by so many processes beside the one that started them.
N_PROCESSES = min(os.cpu_count() or 1, 4)


def run(work: Reading) -> None:
    """Call what the command calls, and print what it came to."""
    sys.argv = ["batchgen", "cost", "--by", "model,day", "--format", "json", work.job]
    said = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with redirect_stdout(said), suppress(SystemExit):
        main()
    said.seek(0)
    found = json.loads(said.read())
    groups = {
        " ".join(one["by"].values()): [
            one["attempts"],
            *one["tokens"].values(),
            int(one["cost_usd"].replace(".", "")),
        ]
        for one in found["groups"]
    }
    agree(Path(work.job), groups)
