"""What a directory's ledger and items add up to; everything here can be rebuilt at any time.

- `summary`: counts, tokens and money of one run, as `Summary`;
- `rebuild`: results.jsonl, failed.jsonl, summary.json, summary.md and report.html;
- `markdown`, `page`: the two that people read.
"""

from batchgen.report.rebuild import rebuild
from batchgen.report.summary import Summary

__all__ = ["Summary", "rebuild"]
