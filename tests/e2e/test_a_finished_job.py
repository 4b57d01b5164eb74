"""A large job that is done, run again: nothing is sent, and it does not take long."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from batchgen.manifest import open_manifest
from batchgen.references import ReferenceLibrary
from tests import ledgers, servers
from tests.commands import batchgen, environment
from tests.runs import KEY, write_job
from tests.servers import FaultServer

# Python with aiohttp takes 60 MiB, and an item that is done some hundred bytes.
MAX_MIB = {10_000: 150, 100_000: 250}


def finished(folder: Path, n_items: int) -> Path:
    """A job that is done, its directory multiplied from that of one item that really was made."""
    job = write_job(folder / "job.jsonl", ["item-000000"])
    with FaultServer(servers.draws) as server:
        done = batchgen("run", job, "-o", folder, "--base-url", server.url, COMETAPI_KEY=KEY)
        assert done.code == 0, done.err
    ids = [f"item-{n:06}" for n in range(n_items)]
    write_job(job, ids)
    directory = folder / "job"
    [segment] = (directory / "ledger").iterdir()
    head, sent, attempt, end = segment.read_bytes().splitlines(keepends=True)
    key, picture = json.loads(sent)["key"].encode(), (directory / "images/item-000000.png")
    data = picture.read_bytes()
    with segment.open("wb") as file:
        file.write(head)
        for item in open_manifest(job).items(ReferenceLibrary(folder / "references")):
            picture.with_name(f"{item.id}.png").write_bytes(data)
            for line in (sent, attempt):
                named = line.replace(b"item-000000", item.id.encode())
                file.write(named.replace(key, item.key.encode()))
        file.write(end)
    return job


# The peak of a process counts what it was before it became another one: this one is small.
LAUNCHER = """
import json, resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss]))
sys.exit(code)
"""


def check_run_again(
    folder: Path, n_items: int, capsys: pytest.CaptureFixture[str], deadline_s: float
) -> None:
    """Run it again, and hold that nothing was sent."""
    job = finished(folder, n_items)
    began_s = time.monotonic()
    with FaultServer(servers.draws) as server:
        to = ("-o", str(folder), "--base-url", server.url, "--progress", "none")
        command = [sys.executable, "-m", "batchgen", "run", str(job), *to]
        run = subprocess.run(
            [sys.executable, "-c", LAUNCHER, *command],
            env=environment(COMETAPI_KEY=KEY),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        told, (cpu_s, rss) = run.stderr, json.loads(run.stdout)
        assert server.n_connections == 0
    wall_s = time.monotonic() - began_s
    rss_mib = rss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    assert f"{n_items}/{n_items} done ({n_items} reused), 0 failed" in told
    items = ledgers.summary(folder / "job")["items"]
    assert (items["done"], items["reused"]) == (n_items, n_items)
    assert rss_mib < MAX_MIB[n_items]
    assert wall_s < deadline_s
    with capsys.disabled():
        print(  # noqa: T201 - how much it takes is the result
            f"\n{n_items} items that are done: {cpu_s:.1f} s of one core, {rss_mib:.0f} MiB at most"
        )


@pytest.mark.reliability
@pytest.mark.timeout(180)
def test_ten_thousand_items_that_are_done_send_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tried: Callable[[str, int, str], None]
) -> None:
    check_run_again(tmp_path, 10_000, capsys, deadline_s=120)
    tried("P10", 10_000, "finished items")


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_hundred_thousand_items_that_are_done_send_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tried: Callable[[str, int, str], None]
) -> None:
    check_run_again(tmp_path, 100_000, capsys, deadline_s=600)
    tried("P10", 100_000, "finished items")
