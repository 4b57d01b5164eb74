"""The directory of a finished job, of which a report is written: alike in every run."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from batchgen.clock import stamp
from batchgen.model import Attempt, Failure, ImageFile, Item, Outcome, Tokens, content_key
from batchgen.store.expanded import write_items
from batchgen.store.ledger import End, Line, Run, Sent
from benchmarks.logs import RATES

_RUN: Final = "20261121T030000Z-4f2a9c31"
_BEGAN_AT: Final = datetime(2026, 11, 21, 3, tzinfo=UTC)
_WORDS: Final = "a studio photo of the blue kettle in soft light on an oak table seen from above"
# Of so many items one is refused, and of so many one needs a second call.
_REFUSED_OF: Final = 40
_RETRIED_OF: Final = 25
_SECONDS_A_CALL: Final = 22.5
_AT_ONCE: Final = 16


def finished(directory: Path, n: int) -> Path:
    """A job of so many items after its run: items and ledger, without the pictures themselves."""
    rng = random.Random(5)
    root = directory / "catalogue"
    (root / "ledger").mkdir(parents=True)
    items = [_item(rng, number) for number in range(n)]
    write_items(root / "items.jsonl", items)
    head = Run(
        run_id=_RUN, at=_at(0), job="catalogue", job_sha256="0", provider="bench", version="0"
    )
    with (root / "ledger" / f"{_RUN}.jsonl").open("wb") as ledger:
        ledger.write(msgspec.json.encode(head) + b"\n")
        for number, item in enumerate(items):
            for line in _calls(rng, number, item):
                ledger.write(msgspec.json.encode(line) + b"\n")
        ledger.write(msgspec.json.encode(_end(n)) + b"\n")
    return root


def _item(rng: random.Random, number: int) -> Item:
    item = Item(
        id=f"SKU-{number:06d}",
        model=sorted(RATES)[number % len(RATES)],
        prompt=" ".join(rng.choices(_WORDS.split(), k=24)),
        aspect_ratio="1:1",
        image_size="1K",
        tags={"sku": f"SKU-{number:06d}", "scene": rng.choice(("studio", "beach", "kitchen"))},
    )
    return msgspec.structs.replace(item, key=content_key(item))


def _calls(rng: random.Random, number: int, item: Item) -> list[Line]:
    """What the ledger holds of an item: a call, or two of which the first failed."""
    if number % _REFUSED_OF == 0:
        return _call(number, item, 1, _refused(_picture(rng, item)))
    made = _picture(rng, item)
    if number % _RETRIED_OF:
        return _call(number, item, 1, made)
    return [*_call(number, item, 1, _unavailable(made)), *_call(number, item, 2, made)]


def _call(number: int, item: Item, attempt: int, came: Attempt) -> list[Line]:
    at = _at(number * _SECONDS_A_CALL / _AT_ONCE + 30 * attempt)
    sent = Sent(
        run_id=_RUN, item=item.id, key=item.key, turn=1, attempt=attempt, at=at, model=item.model
    )
    return [sent, msgspec.structs.replace(came, attempt=attempt, at=at)]


def _picture(rng: random.Random, item: Item) -> Attempt:
    image = ImageFile(
        path=f"images/{item.id}.png",
        role="final",
        sha256=f"{rng.getrandbits(256):064x}",
        bytes=1_400_000,
        width=1024,
        height=1024,
        mime="image/png",
    )
    return Attempt(
        run_id=_RUN,
        item=item.id,
        key=item.key,
        turn=1,
        attempt=1,
        at="2026-11-21T03:00:04.120Z",
        model=item.model,
        model_version=item.model,
        provider="bench",
        http_status=200,
        outcome=Outcome.IMAGE,
        decision="done",
        finish_reason="STOP",
        images=(image,),
        usage={"promptTokenCount": 30, "candidatesTokenCount": 1220, "totalTokenCount": 1250},
        tokens=Tokens(input_text=30, output_text=100, output_image=1120),
        cost_usd=Decimal(rng.choice(("0.039000", "0.067200", "0.134400"))),
        cost_basis="reported",
        billed="yes",
        latency_s=round(rng.lognormvariate(3, 0.4), 3),
        bytes_in=1_870_000,
        request_id=f"request-{rng.getrandbits(64):016x}",
        tags=item.tags,
    )


def _refused(made: Attempt) -> Attempt:
    return msgspec.structs.replace(
        made,
        outcome=Outcome.BLOCKED,
        decision="failed",
        finish_reason="IMAGE_SAFETY",
        images=(),
        error=Failure(kind="Blocked", message="the picture was refused (IMAGE_SAFETY)"),
    )


def _unavailable(made: Attempt) -> Attempt:
    return msgspec.structs.replace(
        made,
        http_status=503,
        outcome=Outcome.SERVER_ERROR,
        decision="retry",
        finish_reason=None,
        images=(),
        usage=None,
        tokens=None,
        cost_usd=Decimal(0),
        billed="no",
        error=Failure(kind="ServerRefused", message="503: the model is overloaded"),
    )


def _end(n: int) -> End:
    wall_s = n * _SECONDS_A_CALL / _AT_ONCE + 90
    steps = [
        {"at_s": 0.0, "model": model, "limit": 4, "per_min": None, "why": "start"}
        for model in RATES
    ]
    return End(
        run_id=_RUN,
        at=_at(wall_s),
        stop_reason="finished",
        exit_code=4,
        wall_s=wall_s,
        concurrency={"peak": _AT_ONCE, "final": _AT_ONCE, "most": _AT_ONCE, "history": steps},
    )


def _at(seconds: float) -> str:
    return stamp(_BEGAN_AT + timedelta(seconds=seconds))
