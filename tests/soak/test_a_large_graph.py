"""A graph of 100,000 items that build on items, through the installed command: `make soak`."""

import time
from pathlib import Path

import pytest

from tests import ledgers, servers
from tests.commands import batchgen_within
from tests.runs import KEY, write_job
from tests.servers import Answer, Asked, FaultServer, http, sends

N_ITEMS = 100_000
REFUSED = 1_234
REFUSAL = sends(
    http(400, b'{"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}')
)


def parents(number: int) -> list[int]:
    """A tree, and every third item on its neighbour as well."""
    if not number:
        return []
    return sorted({(number - 1) // 2, *([number - 1] if number % 3 == 0 else [])})


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_items_run_in_order_and_a_refused_one_skips_what_builds_on_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [
        {
            "id": f"n{number}",
            "prompt": f"n{number}",
            "references": [f"item:n{parent}" for parent in parents(number)],
        }
        for number in range(N_ITEMS)
    ]
    job = write_job(tmp_path / "job.jsonl", items, limits={"concurrency": 64})
    lost = {REFUSED}
    for number in range(N_ITEMS):
        if not lost.isdisjoint(parents(number)):
            lost.add(number)

    def answers(asked: Asked) -> Answer:
        return REFUSAL if asked.prompt == f"n{REFUSED}" else servers.draws(asked)

    with FaultServer(answers) as server:
        where = ("-o", tmp_path, "--base-url", server.url, "--progress", "none")
        began_s = time.monotonic()
        done = batchgen_within(3000, "run", job, *where, COMETAPI_KEY=KEY)
        took_s = time.monotonic() - began_s
        assert done.code == 4, done.err
        assert server.n_requests == N_ITEMS - len(lost) + 1
        again = batchgen_within(600, "run", job, *where, COMETAPI_KEY=KEY)
        assert again.code == 4, again.err
        assert server.n_requests == N_ITEMS - len(lost) + 1

    status = {one["id"]: one["status"] for one in ledgers.lines(tmp_path / "job/results.jsonl")}
    for number in range(N_ITEMS):
        lost_word = "failed" if number == REFUSED else "skipped"
        assert status[f"n{number}"] == (lost_word if number in lost else "done"), number
    with capsys.disabled():
        print(  # noqa: T201 - how much was tried is the result
            f"\n{N_ITEMS:,} items, {len(lost) - 1:,} skipped, in {took_s:.0f} s"
        )
