"""What a directory's ledger and items add up to; everything here can be rebuilt at any time.

- `reading`: one pass over the ledger, into `standing` (each item) and `last_run`;
- `past`: all runs, one after the other;
- `summary`: counts, tokens and money of one run, as `Summary`;
- `rebuild`: results.jsonl, failed.jsonl, summary.json, summary.md and report.html;
- `markdown`, `page`: the two that people read;
- `cards`, `trail`, `charts`, `thumbnails`: what the page shows;
- `remedies`: what a person does about a failure.
"""
