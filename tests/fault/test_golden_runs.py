"""Every answer of tests/golden/costs.yaml that one run can meet, over a socket, into the ledger."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.golden_costs import TODAY, Golden, golden_costs
from tests.runs import QuickTime, run_job, write_job
from tests.servers import Asked, FaultServer, document, image_part, png, whole

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import Answer


class OneDay(QuickTime):
    """The day of the cases, whatever day it is."""

    def now(self) -> datetime:
        return datetime.fromisoformat(TODAY).astimezone(UTC)


def is_of_one_run(golden: Golden) -> bool:
    """Whether it is an answer of that day, at list prices, and JSON."""
    return (
        golden.images is not None and not golden.prices and golden.at == TODAY and is_json(golden)
    )


def is_json(golden: Golden) -> bool:
    counts = golden.usage.values() if isinstance(golden.usage, dict) else ()
    return all(math.isfinite(count) for count in counts if isinstance(count, float))


CASES = {golden.case: golden for golden in golden_costs() if is_of_one_run(golden)}
CASES_BY_ID = {f"n{n}": golden for n, golden in enumerate(CASES.values())}


def item_of(id_: str, golden: Golden) -> dict[str, Any]:
    # The service may take sizes that no field of a job does: `extra` sends them as they are.
    sized = {"extra": {"generationConfig": {"imageConfig": {"imageSize": golden.size}}}}
    item = {"id": id_, "prompt": golden.case, "model": golden.model}
    return {**item, **(sized if golden.size else {})}


def answers(asked: Asked) -> Answer:
    golden = CASES[asked.prompt]
    n_images = golden.images or 0
    said = document(
        *(image_part(png(f"{golden.case} {n}", edge_px=8)) for n in range(n_images)),
        finish_reason="STOP" if n_images else "NO_IMAGE",
        usage=golden.usage,
        modelVersion=golden.answered,
    )
    if golden.grounding is not None:
        said["candidates"][0]["groundingMetadata"] = golden.grounding
    return whole(said, **({"x-gemini-service-tier": golden.header} if golden.header else {}))


async def test_the_ledger_of_a_run_has_the_figures_that_were_worked_out(tmp_path: Path) -> None:
    assert len(CASES) >= 90
    job = write_job(
        tmp_path / "job.jsonl",
        [item_of(id_, golden) for id_, golden in CASES_BY_ID.items()],
        retries={"no_image": 0},
        limits={"concurrency": 16},
    )
    with FaultServer(answers) as server:
        # The usual checks of a ledger know one rate a model, and not all that are here.
        ran = await run_job(job, server, quick=OneDay(), whole=False)
    told = {
        CASES_BY_ID[line["item"]].case: (line["cost_usd"], line["cost_basis"], line["billed"])
        for line in ran.attempts
    }
    assert told == {one.case: (one.usd, one.basis, "yes") for one in CASES.values()}
    for line in ran.attempts:
        golden = CASES_BY_ID[line["item"]]
        counted = {name: n for name, n in (line["tokens"] or {}).items() if n}
        assert counted == {name: n for name, n in (golden.tokens or {}).items() if n}
        assert json.dumps(line["usage"]) == json.dumps(golden.usage)
