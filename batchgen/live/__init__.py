"""The page of a job, served on this machine and live while a run goes on in another process.

    ledger/ ──> follow ──> state ──> feed ──> app ──> browsers
                           items     (one     guard
                           counts   thread)   files
                           pace

- `follow`: the lines that a run has written since they were last looked for;
- `state`: what is known of the job now, and which cards changed when;
- `feed`: keeps one state up to date, for all viewers;
- `app`: the routes; `guard` says who may ask, `files` which pictures there are.

Nothing here holds a lock, and nothing writes into the job's directory but marks and thumbnails.

Source: docs/adr/0018.
"""
