"""The command `batchgen report DIR` without thumbnails, its own imports included."""

import io
import json
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path

from benchmarks.work import Reading


def run(work: Reading) -> None:
    """Call what the command calls, and see that every item is on the page."""
    from batchgen.cli import main  # noqa: PLC0415 - whoever calls the command waits for it too

    sys.argv = ["batchgen", "report", "--json", "--no-thumbnails", work.job]
    said = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with redirect_stdout(said), suppress(SystemExit):
        main()
    found = json.loads(said.buffer.getvalue())["items"]
    with (Path(work.job) / "report.html").open("rb") as page:
        n_shown = sum(line.startswith(b'{"id":') for line in page)
    if (found["total"], n_shown) != (work.n, work.n):
        raise SystemExit(f"{n_shown} items shown of {work.n}: {found}")
