"""A job in parts: several processes at once on one directory, and what is put together of them."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests import crashes, ledgers, servers
from tests.commands import DEADLINE_S, Done, EmulatorProcess, batchgen, environment, started, until
from tests.runs import KEY, write_job
from tests.servers import Answer, Asked, FaultServer
from tests.serving import served

JOB = """\
name: parts
defaults: {model: gemini-3.1-flash-image, image_size: "512"}
items:
  - {id: hero, prompt: a hero, tags: {kind: hero}}
  - {id: hero-wide, prompt: the same wide, references: ["item:hero"]}
  - {id: hero-small, prompt: the same small, references: ["item:hero-wide"]}
  - {id: twin-1, prompt: the same}
  - {id: twin-2, prompt: the same}
  - id: "thing-{n}"
    matrix: {n: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]}
    prompt: "thing {n}"
    tags: {n: "{n}"}
"""
N_ITEMS = 20
SEED = 20261128


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "parts.yaml"
    path.write_text(JOB, "utf-8")
    return path


def all_at_once(job: Path, total: int, *flags: str, **env: str) -> list[Done]:
    """Run all shards of a job at the same time, to their ends; output lies beside the job."""
    command = [sys.executable, "-m", "batchgen", "run", str(job), "--json", "--progress", "none"]
    command += flags if "-o" in flags else ["-o", str(job.parent / "output"), *flags]
    runs = [
        subprocess.Popen(
            [*command, "--shard", f"{number}/{total}"],
            env=environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(1, total + 1)
    ]
    ended = [(run, *run.communicate(timeout=DEADLINE_S)) for run in runs]
    return [Done(run.returncode, out.decode(), err.decode()) for run, out, err in ended]


def came_to(directory: Path) -> dict[str, tuple[str, str, list[str]]]:
    """Each item: where it stands, how, and the digests of its pictures; in the order of the job."""
    return {
        one["id"]: (one["status"], one["outcome"], [image["sha256"] for image in one["images"]])
        for one in ledgers.lines(directory / "results.jsonl")
    }


def test_shards_make_what_one_run_makes_and_a_report_puts_it_together(
    emulated: EmulatorProcess, job: Path
) -> None:
    to = ("--provider", "emulator", "--base-url", emulated.url)
    whole = batchgen("run", job, "-o", job.parent / "whole", *to, "--json")
    assert whole.code == 0, whole.err
    n_of_one_run = emulated.n_requests
    directory = job.parent / "output/parts"
    parts = all_at_once(job, 4, *to)
    assert [part.code for part in parts] == [0] * 4, [part.err for part in parts]
    assert emulated.n_requests == 2 * n_of_one_run == 2 * (N_ITEMS - 1)  # a twin is made once
    totals = [part.json["items"]["total"] for part in parts]
    assert sum(totals) == N_ITEMS
    assert all(totals)
    names = sorted(path.name.split(".")[1] for path in (directory / "ledger").iterdir())
    assert names == ["s1-4", "s2-4", "s3-4", "s4-4"]
    unwritten = ("results.jsonl", "summary.json", "summary.md", "report.html", "items.jsonl")
    assert not [name for name in (*unwritten, "runs") if (directory / name).exists()]
    report = batchgen("report", directory, "--no-thumbnails")
    assert (report.code, report.err.count("20/20 done, 0 failed")) == (0, 1), report.err
    assert came_to(directory) == came_to(job.parent / "whole/parts")
    assert list(came_to(directory)) == list(came_to(job.parent / "whole/parts"))
    told, of_whole = ledgers.summary(directory), ledgers.summary(job.parent / "whole/parts")
    for name in ("items", "attempts", "images", "tokens", "cost_usd", "cost_by_tag", "exit_code"):
        assert told[name] == of_whole[name], name
    assert Decimal(told["cost_usd"]) == sum(Decimal(part.json["cost_usd"]) for part in parts)
    assert batchgen("verify", directory).code == 0
    again = all_at_once(job, 4, *to)
    assert [part.code for part in again] == [0] * 4
    assert emulated.n_requests == 2 * n_of_one_run
    assert batchgen("report", directory, "--no-thumbnails").code == 0
    told = ledgers.summary(directory)
    assert (told["items"]["reused"], told["attempts"]["total"]) == (N_ITEMS, 0)
    assert told["diff"]["new_failures"] == []
    ended = batchgen("run", job, "-o", job.parent / "output", *to)
    assert (ended.code, emulated.n_requests) == (0, 2 * n_of_one_run)
    ledgers.check_directory(directory)


def test_what_others_read_of_a_job_is_that_of_all_its_shards(
    emulated: EmulatorProcess, job: Path
) -> None:
    to = ("--provider", "emulator", "--base-url", emulated.url)
    directory = job.parent / "output/parts"
    assert [part.code for part in all_at_once(job, 3, *to)] == [0, 0, 0]
    csv = batchgen("export", directory, "--format", "csv")
    assert (csv.code, csv.out.count("\n")) == (0, 1 + N_ITEMS)
    lines = batchgen("export", directory, "--format", "gemini-batch", "--without-images")
    assert (lines.code, lines.out.count("\n")) == (0, N_ITEMS)
    cost = batchgen("cost", directory, "--by", "run", "--format", "json")
    assert (cost.code, len(cost.json["groups"])) == (0, 3)
    with served(directory) as page:
        assert len(page.cards()) == N_ITEMS
    history = batchgen("report", directory, "--history")
    assert (history.code, "3 runs" in history.out, "–/" in history.out) == (0, True, False)


def test_a_page_follows_shards_of_a_job_that_has_grown(
    emulated: EmulatorProcess, job: Path
) -> None:
    to = ("--provider", "emulator", "--base-url", emulated.url)
    directory = job.parent / "output/parts"
    job.write_text(JOB.replace("12, 13, 14, 15]", "12]"))
    assert [part.code for part in all_at_once(job, 2, *to)] == [0, 0]
    with served(directory) as page:
        assert len(page.cards()) == N_ITEMS - 3
        job.write_text(JOB)
        assert [part.code for part in all_at_once(job, 2, *to)] == [0, 0]
        until(lambda: len(page.cards()) == N_ITEMS, "the page has the new items")


def test_a_plan_of_a_shard_is_about_its_items_and_its_share(job: Path) -> None:
    plans = [batchgen("plan", job, "--shard", f"{n}/3", "--json").json for n in (1, 2, 3)]
    assert sum(plan["n_items"] for plan in plans) == N_ITEMS
    refused = batchgen("plan", job, "--shard", "4/3")
    assert refused.code == 2
    assert "--shard" in refused.err
    assert "expected I/N" in refused.err


class Held:
    """Answers nothing before it is told to."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def __call__(self, asked: Asked) -> Answer:
        return servers.waits_for(self.released, servers.draws(asked))


def test_nobody_else_may_have_what_a_shard_has(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", [f"i{n}" for n in range(12)])
    script = Held()
    with FaultServer(script) as server:
        to = ("-o", tmp_path, "--base-url", server.url, "--progress", "none")
        with started("run", job, *to, "--shard", "1/2", COMETAPI_KEY=KEY) as first:
            until(lambda: server.n_requests, "the first shard sends")
            for flags in (["--shard", "1/2"], [], ["--shard", "1/3"], ["--shard", "2/3"]):
                refused = batchgen("run", job, *to, *flags, COMETAPI_KEY=KEY)
                assert refused.code == 11, refused.err
                assert f"shard 1/2, process {first.process.pid} on " in refused.err, flags
            with started("run", job, *to, "--shard", "2/2", COMETAPI_KEY=KEY) as second:
                until(lambda: server.n_requests == 2, "the second shard sends")
                script.released.set()
                assert (first.end().code, second.end().code) == (0, 0)
        script.released.clear()
        whole = write_job(tmp_path / "more.jsonl", [f"i{n}" for n in range(13)])
        with started("run", whole, *to, COMETAPI_KEY=KEY) as run:
            until(lambda: server.n_requests == 13, "the run sends")
            refused = batchgen("run", job, *to, "--shard", "1/2", COMETAPI_KEY=KEY)
            assert (refused.code, f"process {run.process.pid} on " in refused.err) == (11, True)
            script.released.set()
            assert run.end().code == 0
    assert set(server.requests.values()) == {1}
    ledgers.check_directory(tmp_path / "job")


def test_a_budget_holds_for_all_shards_together(emulated: EmulatorProcess, job: Path) -> None:
    to = ("--provider", "emulator", "--base-url", emulated.url, "--max-cost", "0.40")
    parts = all_at_once(job, 2, *to)
    assert {part.code for part in parts} == {8}, [part.err for part in parts]
    spent = sum(Decimal(part.json["cost_usd"]) for part in parts)
    assert Decimal("0.2") < spent <= Decimal("0.40")


def test_a_budget_of_a_day_holds_whatever_ran_before(emulated: EmulatorProcess, job: Path) -> None:
    """The whole job, two shards and three, one after the other."""
    text = JOB.replace("items:", "budget: {max_cost_usd_per_day: 0.40}\nitems:", 1)
    job.write_text(text)
    to = ("--provider", "emulator", "--base-url", emulated.url)
    whole = batchgen("run", job, "-o", job.parent / "output", *to, "--limit", "4", "--json")
    assert Decimal("0.1") < Decimal(whole.json["cost_usd"]) < Decimal("0.2"), whole.err
    for total in (2, 3, 2):
        assert {part.code for part in all_at_once(job, total, *to)} <= {0, 8}
    spent = batchgen("cost", job.parent / "output/parts", "--format", "json").json["total"]
    assert Decimal("0.3") < Decimal(spent["cost_usd"]) <= Decimal("0.40")


def test_a_refused_start_with_other_parts_takes_nothing_away(
    emulated: EmulatorProcess, job: Path
) -> None:
    to = ("--provider", "emulator", "--base-url", emulated.url)
    directory = job.parent / "output/parts"
    assert [part.code for part in all_at_once(job, 2, *to)] == [0, 0]
    refused = batchgen(
        *("run", job, "-o", job.parent / "output", *to, "--shard", "1/3"),
        *("--force", "--prices", job.parent / "none.yaml"),
    )
    assert refused.code == 2
    report = batchgen("report", directory, "--no-thumbnails")
    assert (report.code, len(ledgers.results(directory))) == (0, N_ITEMS)


class Service:
    """Draws after a moment; refuses some."""

    def __init__(self) -> None:
        self._rng = random.Random(SEED)
        self._lock = threading.Lock()
        self.n_drawn: Counter[str] = Counter()

    def __call__(self, asked: Asked) -> Answer:
        with self._lock:
            chance, moment_s = self._rng.random(), self._rng.uniform(0, 0.1)
            if chance < 0.02:
                return servers.refuses(503, {"error": {"code": 503, "status": "UNAVAILABLE"}})
            self.n_drawn[asked.prompt] += 1
        threading.Event().wait(moment_s)
        whole = servers.http(200, json.dumps(servers.picture_of(asked)).encode())
        return servers.sends(*crashes.cut(whole))


def parts_of(rng: random.Random) -> Sequence[str | None]:
    """In how many parts a job is run this time; None is the whole of it."""
    total = rng.choice([1, 2, 2, 3])
    return [None] if total == 1 else [f"{number}/{total}" for number in range(1, total + 1)]


def test_whatever_is_killed_is_taken_over_by_whoever_comes_next(tmp_path: Path) -> None:
    """Whole runs, two and three shards take turns, all killed at random moments."""
    ids = [f"item-{n:03}" for n in range(160)]
    job = write_job(tmp_path / "job.jsonl", ids, limits={"concurrency": 4})
    directory, service, rng = tmp_path / "job", Service(), random.Random(SEED)
    kept: dict[str, int] = {}
    with FaultServer(service) as server:
        to = ("-o", tmp_path, "--base-url", server.url, "--progress", "none")
        for _ in range(10):
            n_before = server.n_requests
            with ExitStack() as lives:
                flags = [[] if part is None else ["--shard", part] for part in parts_of(rng)]
                runs = [
                    lives.enter_context(started("run", job, *to, *flag, COMETAPI_KEY=KEY))
                    for flag in flags
                ]
                enough = n_before + rng.randint(4, 14)
                crashes.until_asked(server, enough)
                time.sleep(rng.uniform(0, 0.1))  # the moment is the point
                rng.shuffle(runs)
                for run in runs:
                    run.signal(signal.SIGKILL)
                for run in runs:
                    run.end()
            kept |= {item: server.requests[item] for item, _ in crashes.kept(directory)} | kept
        ended = all_at_once(job, 2, "--base-url", server.url, "-o", str(tmp_path), COMETAPI_KEY=KEY)
        assert [part.code for part in ended] == [0, 0], [part.err for part in ended]
        again = {item for item, n in kept.items() if server.requests[item] != n}
    assert len(kept) > 40
    assert not again
    assert batchgen("report", directory, "--no-thumbnails").code == 0
    assert {one["status"] for one in ledgers.results(directory).values()} == {"done"}
    maybe = Counter(
        line["item"] for line in ledgers.attempts(directory) if line["billed"] == "maybe"
    )
    for item, n in service.n_drawn.items():
        assert 0 <= n - 1 <= maybe[item], item
    assert batchgen("run", job, *to, COMETAPI_KEY=KEY).code == 0
    ledgers.check_directory(directory, ended=False)
    assert sorted(ledgers.pictures(directory)) == ids


def left(directory: Path) -> Iterator[Path]:
    for parts in directory.glob(".shards/*/parts"):
        yield from parts.iterdir()


def test_a_shard_that_is_killed_beside_others_is_taken_over_by_itself(tmp_path: Path) -> None:
    ids = [f"i{n}" for n in range(30)]
    job = write_job(tmp_path / "job.jsonl", ids, limits={"concurrency": 2})
    script = Held()
    directory = tmp_path / "job"
    with FaultServer(script) as server:
        to = ("-o", tmp_path, "--base-url", server.url, "--progress", "none")
        with started("run", job, *to, "--shard", "1/2", COMETAPI_KEY=KEY) as first:
            until(lambda: server.n_requests, "the first shard sends")
            n_of_first = server.n_requests
            with started("run", job, *to, "--shard", "2/2", COMETAPI_KEY=KEY) as second:
                until(lambda: server.n_requests > n_of_first, "the second shard sends")
                lost = {asked.prompt for asked in server.log[n_of_first:]}
                second.signal(signal.SIGKILL)
                second.end()
            script.released.set()
            again = batchgen("run", job, *to, "--shard", "2/2", "--json", COMETAPI_KEY=KEY)
            assert (again.code, first.end().code) == (0, 0), again.err
    told = [line for line in ledgers.attempts(directory) if line["outcome"] == "interrupted"]
    assert {line["item"] for line in told} == lost
    assert {line["billed"] for line in told} == {"maybe"}
    listed: dict[str, Any] = again.json["maybe_billed"]
    assert {line["item"] for line in listed["attempts"]} == lost
    assert not list(left(directory))
    assert batchgen("report", directory, "--no-thumbnails").code == 0
    assert ledgers.summary(directory)["maybe_billed"]["count"] == len(told)
    assert {one["status"] for one in ledgers.results(directory).values()} == {"done"}
