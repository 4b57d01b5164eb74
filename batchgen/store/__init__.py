"""The output directory: what is written where, in which order, and how it is found again.

- `layout`: names and places;
- `parts`: an answer as it arrives, under `.parts/`, written and hashed off the event loop;
- `room`: what the disk keeps free for answers that are not there yet;
- `images`: whether bytes are a whole image, and the way to a final name;
- `ledger`: the append-only truth, one durable line before and after each request;
- `lock`: one writer at a time.

Every OSError becomes a StoreError here.
"""
