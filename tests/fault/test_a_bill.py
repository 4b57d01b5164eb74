"""A run held against the bill that its server wrote: what was paid twice is found."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from batchgen.cli.reconciled import reconciled
from batchgen.cost import PriceBook
from batchgen.reconcile import reconcile
from batchgen.store.ledger import segments
from tests import servers
from tests.runs import MODEL, run_job, write_job
from tests.servers import Answer, Asked, FaultServer, png, stalls, whole

if TYPE_CHECKING:
    from pathlib import Path

# What servers.USAGE comes to by the list, worked out beside it, at a gateway's discount.
QUOTA = int(Decimal("0.138160") * Decimal("0.8") * 500_000)
TIMEOUTS = {"attempt": 1, "idle": 1, "connect": 1}


class Gateway:
    """Draws, refuses and stalls, and writes a row for whatever it was asked for."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def __call__(self, asked: Asked) -> Answer:
        request_id = f"2026112103000{len(self.rows):04d}"
        header = {"X-Cometapi-Request-Id": request_id}
        refused = servers.document({"text": "I would rather not."}, usage=servers.USAGE)
        stalled = asked.prompt == "slow" and asked.nth == 1
        quota = 20_000 if asked.prompt == "words" else QUOTA
        row = {"request_id": request_id, "quota": quota, "created_at": int(time.time())}
        self.rows.append({**row, "type": 2, "model_name": MODEL, "use_time": 1, "other": "{}"})
        if stalled:
            return stalls()
        drawn = servers.document(servers.image_part(png(f"{asked.prompt} {asked.nth}")))
        return whole(refused if asked.prompt == "words" else drawn, **header)


async def test_a_timeout_that_was_made_again_is_found_in_the_servers_own_bill(
    tmp_path: Path,
) -> None:
    gateway = Gateway()
    cats = [f"cat {n}" for n in range(6)]
    retries = {"no_image": 0}
    job = write_job(
        tmp_path / "job.jsonl",
        [{"id": name.replace(" ", "-"), "prompt": name} for name in (*cats, "slow", "words")],
        timeouts=TIMEOUTS,
        retries=retries,
    )
    with FaultServer(gateway) as server:
        ran = await run_job(job, server)
        n_asked = server.n_requests
    gateway.rows.append({"type": 1, "quota": 5_000_000, "created_at": int(time.time())})
    log = tmp_path / "log.json"
    answer = {"success": True, "data": {"items": gateway.rows[::-1], "total": len(gateway.rows)}}
    log.write_text(json.dumps(answer), "utf-8")

    found = reconcile(segments(ran.directory / "ledger"), log, PriceBook.shipped())

    assert n_asked == 9 == found.ledger.n
    assert (found.calls.billed_image.n, found.calls.billed_image.by_time) == (7, 0)
    twice = found.calls.double_billed
    assert (twice.n, twice.billed_usd) == (1, Decimal(QUOTA) / 500_000)
    (example,) = twice.examples
    stalled = next(
        row for row, asked in zip(gateway.rows, server.log, strict=False) if asked.prompt == "slow"
    )
    assert (example.item, example.by, example.request_id) == (
        "slow",
        "time",
        stalled["request_id"],
    )
    assert found.calls.billed_without_image.billed_usd == Decimal("0.04")
    assert found.calls.billed_without_image.examples[0].item == "words"
    assert (found.rows.by_id.n, found.rows.by_time.n, found.rows.no_calls.n) == (8, 1, 1)
    assert found.log.usd == Decimal(QUOTA * 8 + 20_000) / 500_000
    assert (found.multiplier.n, found.multiplier.value) == (7, Decimal("0.80"))
    text = "\n".join(reconciled(found))
    assert "prices: {multiplier: 0.80}" in text
    assert stalled["request_id"] in text
