"""A large job and its directory after a run that made all of it: what the next run finds.

The lines are those that the product itself would have written, by its own records; the pictures
are one file under a million names.
"""

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from batchgen.clock import stamp
from batchgen.manifest import open_manifest
from batchgen.model import Attempt, ImageFile, Item, Outcome, Tokens
from batchgen.references import ReferenceLibrary
from batchgen.report.rebuild import rebuild
from batchgen.store.expanded import write_items
from batchgen.store.layout import Layout
from batchgen.store.ledger import End, Line, Run, Sent
from benchmarks import jobs
from benchmarks.reply import png
from benchmarks.work import MODEL

_RUN: Final = "20261121T030000Z-4f2a9c31"
_BEGAN_AT: Final = datetime(2026, 11, 21, 3, tzinfo=UTC)
_PICTURE: Final = png(2000)
_SHA256: Final = sha256(_PICTURE).hexdigest()
_AT_ONCE: Final = 64
_LATENCY_S: Final = 21.4
_USAGE: Final = {"promptTokenCount": 30, "candidatesTokenCount": 1120, "totalTokenCount": 1150}
_TOKENS: Final = Tokens(input_text=30, output_image=1120)


def done(directory: Path, n: int) -> tuple[Path, Path]:
    """Write a job of so many items, and all that a run of it left; return the job and the output.

    Cost: a minute and a half, and 2.5 GB, for a million.
    """
    job, layout = _ran(directory, n)
    rebuild(layout.root, seals=True)
    return job, layout.root.parent


def _ran(directory: Path, n: int) -> tuple[Path, Layout]:
    """Write a job of so many items, the pictures, and the ledger of a run that made all of them."""
    job = jobs.json_lines(directory, n)
    layout = Layout(directory / "output" / job.stem)
    layout.images.mkdir(parents=True)
    layout.ledger.mkdir()
    manifest = open_manifest(job)
    with (layout.ledger / f"{_RUN}.jsonl").open("wb") as ledger:
        ledger.write(_line(_head(job)))
        write_items(layout.items, _made(manifest.items(ReferenceLibrary()), layout, ledger))
        ledger.write(_line(_end(n)))
    manifest.raise_problems()
    return job, layout


def _made(items: Iterable[Item], layout: Layout, ledger: BinaryIO) -> Iterator[Item]:
    """Record each item as made, and put the one picture under its name."""
    lines = _line(_sent("%(id)b", "%(key)b", "%(at)b"), _attempt("%(id)b", "%(key)b", "%(at)b"))
    picture = layout.root / "picture"
    picture.write_bytes(_PICTURE)
    for number, item in enumerate(items):
        at = _at(number * _LATENCY_S / _AT_ONCE)
        told = {b"id": item.id.encode(), b"key": item.key.encode(), b"at": at.encode()}
        ledger.write(lines % told)
        os.link(picture, f"{layout.images}/{item.id}.png")
        yield item
    picture.unlink()


def _line(*records: Line) -> bytes:
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


def _head(job: Path) -> Run:
    return Run(
        run_id=_RUN, at=_at(0), job=job.name, job_sha256="0", provider="cometapi", version="0"
    )


def _sent(name: str, key: str, at: str) -> Sent:
    return Sent(run_id=_RUN, item=name, key=key, turn=1, attempt=1, at=at, model=MODEL)


def _attempt(name: str, key: str, at: str) -> Attempt:
    image = ImageFile(
        path=f"images/{name}.png",
        role="final",
        sha256=_SHA256,
        bytes=len(_PICTURE),
        width=1024,
        height=1024,
        mime="image/png",
    )
    return Attempt(
        run_id=_RUN,
        item=name,
        key=key,
        turn=1,
        attempt=1,
        at=at,
        model=MODEL,
        model_version=MODEL,
        provider="cometapi",
        http_status=200,
        outcome=Outcome.IMAGE,
        decision="done",
        finish_reason="STOP",
        images=(image,),
        usage=_USAGE,
        tokens=_TOKENS,
        cost_usd=Decimal("0.134460"),
        cost_basis="reported",
        billed="yes",
        latency_s=_LATENCY_S,
        bytes_in=2800,
        request_id="request",
        tags={},
    )


def _end(n: int) -> End:
    wall_s = n * _LATENCY_S / _AT_ONCE
    steps = [{"at_s": 0.0, "model": MODEL, "limit": _AT_ONCE, "per_min": None, "why": "start"}]
    return End(
        run_id=_RUN,
        at=_at(wall_s),
        stop_reason="finished",
        exit_code=0,
        wall_s=wall_s,
        concurrency={"peak": _AT_ONCE, "final": _AT_ONCE, "most": _AT_ONCE, "history": steps},
    )


def _at(seconds: float) -> str:
    return stamp(_BEGAN_AT + timedelta(seconds=seconds))
