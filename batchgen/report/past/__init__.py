"""All runs of a job, one after the other: from their summaries, and from the ledger.

- `point`: what one run came to, in a few figures;
- `files`: that of the summaries under `runs/`, whoever wrote them;
- `calls`: that of the ledger, which also knows the runs that were killed;
- `history`: both together.
"""

from batchgen.report.past.calls import LedgerRuns
from batchgen.report.past.files import last_with_calls
from batchgen.report.past.history import last_runs, read_history_of_runs
from batchgen.report.past.point import RunPoint, point_of

__all__ = [
    "LedgerRuns",
    "RunPoint",
    "last_runs",
    "last_with_calls",
    "point_of",
    "read_history_of_runs",
]
