"""`kill -9` at random moments, many times over: `make soak`."""

import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests import ledgers, servers
from tests.commands import batchgen, started
from tests.runs import KEY, write_job
from tests.servers import Answer, Asked, FaultServer

N_ITEMS = 500
N_KILLS = 60
CONCURRENCY = 8
SEED = 20261121


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_random_kills_lose_nothing_and_every_possible_double_payment_is_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [f"item-{n:03}" for n in range(N_ITEMS)]
    job = write_job(tmp_path / "job.jsonl", ids, limits={"concurrency": CONCURRENCY})
    rng = random.Random(SEED)

    def slowly(asked: Asked) -> Answer:
        threading.Event().wait(rng.uniform(0, 0.2))
        return servers.draws(asked)

    with FaultServer(slowly) as server:
        where = ("-o", tmp_path, "--base-url", server.url, "--progress", "none")
        n_kills = 0
        while n_kills < N_KILLS:
            with started("run", job, *where, COMETAPI_KEY=KEY) as run:
                time.sleep(rng.uniform(0.3, 0.8))  # the moment is the point, nothing waits for it
                if run.process.poll() is not None:
                    break
                run.signal(signal.SIGKILL)
                run.end()
                n_kills += 1
        done = batchgen("run", job, *where, COMETAPI_KEY=KEY)
        assert done.code == 0, done.err
        n_extra = server.n_requests - N_ITEMS

    directory = tmp_path / "job"
    attempts = ledgers.attempts(directory)
    n_interrupted = sum(attempt["outcome"] == "interrupted" for attempt in attempts)
    n_recovered = sum(attempt["recovered"] for attempt in attempts)
    with capsys.disabled():
        print(  # noqa: T201 - how much was tried is the result
            f"\n{n_kills} kills, {n_extra} requests sent twice, {n_interrupted} listed, "
            f"{n_recovered} answers finished from disk"
        )
    assert 0 <= n_extra <= n_interrupted <= n_kills * CONCURRENCY
    made = Counter(attempt["item"] for attempt in attempts if attempt["outcome"] == "image")
    assert made == dict.fromkeys(ids, 1)
    ledgers.check_directory(directory, ended=False)
