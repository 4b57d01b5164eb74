"""Thumbnails of the pictures that a report shows, made by processes of their own.

    sources ──> folder ──> batch: all of a report ─────────────┐
                which are  on_demand: one that somebody wants ─┴─> worker ══> draw ──> thumbnails/
                not there                                          a pipe     alone    SHA256.webp

- `folder`: where they lie, which are there, and which nobody wants;
- `batch`: those of a report, a few at a time;
- `of_a_run`: those of a report that a run writes at its end;
- `on_demand`: those of a page that is served, as they are looked at;
- `worker`: a process that makes them, seen from here;
- `draw`: the program that it runs, which knows nothing of batchgen.

A thumbnail is named after the picture it was made of, so it is made once and never out of date. It
is a convenience: whatever goes wrong there is none, and the page shows the picture itself.

Source: docs/adr/0017.
"""

from batchgen.report.thumbnails.batch import Made, make_thumbnails
from batchgen.report.thumbnails.folder import (
    Source,
    ThumbnailsOnDisk,
    remove_unused,
    thumbnail_path,
    thumbnails_there,
)
from batchgen.report.thumbnails.of_a_run import ThumbnailsOfARun
from batchgen.report.thumbnails.on_demand import Thumbnailer
from batchgen.report.thumbnails.worker import Worker

__all__ = [
    "Made",
    "Source",
    "Thumbnailer",
    "ThumbnailsOfARun",
    "ThumbnailsOnDisk",
    "Worker",
    "make_thumbnails",
    "remove_unused",
    "thumbnail_path",
    "thumbnails_there",
]
