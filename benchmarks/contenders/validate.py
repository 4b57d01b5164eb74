"""The command `batchgen validate JOB`, its imports included."""

import io
import json
import sys
from contextlib import redirect_stdout, suppress

from benchmarks.work import Reading


def run(work: Reading) -> None:
    """Call what the command calls, and see that it read all items and found nothing wrong."""
    from batchgen.cli import main  # noqa: PLC0415 - whoever calls the command waits for it too

    sys.argv = ["batchgen", "validate", "--json", work.job]
    said = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with redirect_stdout(said), suppress(SystemExit):
        main()
    found = json.loads(said.buffer.getvalue())
    if found != {"errors": [], "warnings": [], "items": work.n}:
        raise SystemExit(f"{found['items']} items of {work.n}: {found}"[:300])
