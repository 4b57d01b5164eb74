"""What calls cost, added up from our ledgers and from token logs that others wrote.

    PATH… ──> sources ──> reading ──┬─ ledgers   lines of ours: the recorded figures ─┐
              files, line by line   ├─ plain     whole answers, the usual shape ──────┤──> tally
                                    └─ foreign   everything else that tells tokens ───┘   tables

- `adding`: all of it in one call;
- `sources`: which files the paths mean;
- `reading`: one file after the other; `shares` reads a large one with several processes;
- `foreign`: what a line of somebody else's log says; `plain` is its quick way for most lines;
- `ledgers`: lines of our own, each call once;
- `tally`: calls become sums by group; `span` is the time that they must fall into;
- `pricing`: what a call cost, by the price book;
- `tables`: the sums as a table, JSON or CSV; `price_tables`: the price book likewise.

Cost: memory grows with the number of groups, and by about 16 bytes for each call and item of a
ledger; never with the number of lines. `--by item` of a million items is a million groups.
"""

from batchgen.spending.adding import spend
from batchgen.spending.foreign import Assumed
from batchgen.spending.reading import Spending
from batchgen.spending.span import Span, read_bound
from batchgen.spending.tally import Sums, Tally, grouping

__all__ = ["Assumed", "Span", "Spending", "Sums", "Tally", "grouping", "read_bound", "spend"]
