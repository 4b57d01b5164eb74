"""Python's side of the interface: names, results in order of completion, an early way out."""

import ast
import asyncio
import threading
from pathlib import Path

import pytest

import batchgen
from tests import ledgers, servers
from tests.commands import until
from tests.runs import KEY, write_job
from tests.servers import FaultServer


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETAPI_KEY", KEY)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", batchgen.__all__)
def test_every_public_name_is_there_and_explains_itself(name: str) -> None:
    value = getattr(batchgen, name)
    assert name in dir(batchgen)
    if name not in {"__version__", "Event"}:
        assert value.__doc__


def test_the_public_names_are_listed_in_the_typed_usage_file() -> None:
    usage = Path(__file__).parent.parent / "types/public_api.py"
    read = ast.parse(usage.read_text("utf-8"))
    used = {node.attr for node in ast.walk(read) if isinstance(node, ast.Attribute)}
    assert set(batchgen.__all__) <= used


def test_what_is_not_public_is_not_there() -> None:
    with pytest.raises(AttributeError):
        _ = batchgen.Pool


def test_run_blocks_until_everything_is_made(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b"])
    events: list[batchgen.Event] = []
    with FaultServer(servers.draws) as server:
        summary = batchgen.run(job, output=tmp_path, base_url=server.url, on_event=events.append)
    assert (summary.items.done, summary.exit_code, server.n_requests) == (2, 0, 2)
    kinds = [type(event) for event in events]
    assert kinds[0] is batchgen.RunBegan
    assert kinds.count(batchgen.AttemptEnded) == kinds.count(batchgen.ItemEnded) == 2
    ledgers.check_directory(tmp_path / "job")


async def test_results_come_in_order_of_completion(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["first", "slow", "fast"])
    released = threading.Event()

    def script(asked: servers.Asked) -> servers.Answer:
        picture = servers.draws(asked)
        return servers.waits_for(released, picture) if asked.prompt == "slow" else picture

    ids = []
    with FaultServer(script) as server:
        async with batchgen.Runner(job, output=tmp_path, base_url=server.url) as runner:
            async for result in runner.results():
                ids.append(result.id)
                if result.id == "fast":
                    released.set()
    assert ids == ["first", "fast", "slow"]
    assert runner.summary.items.done == 3
    assert list(ledgers.results(tmp_path / "job")) == ["first", "slow", "fast"]


async def test_leaving_early_records_what_was_under_way(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["first", *"bcdef"], limits={"concurrency": 3})

    def script(asked: servers.Asked) -> servers.Answer:
        picture = servers.draws(asked)
        return picture if asked.prompt == "first" else servers.stalls()

    with FaultServer(script) as server:
        async with batchgen.Runner(job, output=tmp_path, base_url=server.url) as runner:
            async for _ in runner.results():
                break
    ledgers.check_directory(tmp_path / "job")
    assert runner.summary.items.done == 1
    assert runner.summary.attempts.by_outcome["image"] == 1
    assert runner.summary.attempts.total >= server.n_requests
    assert runner.summary.exit_code not in {0, None}


async def test_an_error_of_the_caller_ends_the_run_in_order(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b", "c"], limits={"concurrency": 1})
    with FaultServer(servers.draws) as server:
        runner = batchgen.Runner(job, output=tmp_path, base_url=server.url)
        with pytest.raises(ZeroDivisionError):
            await _stumble(runner)
    ledgers.check_directory(tmp_path / "job")
    assert (runner.summary.exit_code, runner.summary.stop_reason) == (5, "cancelled")


async def _stumble(runner: batchgen.Runner) -> None:
    async with runner:
        async for _ in runner.results():
            raise ZeroDivisionError


async def test_entering_alone_sends_nothing(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a"])
    with FaultServer(servers.draws) as server:
        async with batchgen.Runner(job, output=tmp_path, base_url=server.url) as runner:
            pass
        assert server.n_connections == 0
    assert runner.summary.items.pending == 1


def test_what_is_wrong_before_anything_is_sent_is_raised(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("items: [{id: a, prompt: x, aspect_ratio: 5:6}, {id: a b/c, prompt: y}]")
    with pytest.raises(batchgen.JobError) as wrong:
        batchgen.run(job, output=tmp_path / "output")
    assert len(wrong.value.problems) >= 3
    assert all(isinstance(problem, batchgen.Problem) for problem in wrong.value.problems)
    with pytest.raises(batchgen.UsageError):
        batchgen.run(job, output=tmp_path / "output", provider="nobody")
    assert not (tmp_path / "output/job").exists()


def test_a_second_run_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a"])
    inner: list[BaseException] = []

    def nested(event: batchgen.Event) -> None:
        if isinstance(event, batchgen.RunBegan):
            thread = threading.Thread(target=run_again)
            thread.start()
            thread.join(20)

    def run_again() -> None:
        try:
            batchgen.run(job, output=tmp_path, base_url=server.url)
        except BaseException as error:  # noqa: BLE001 - looked at below
            inner.append(error)

    with FaultServer(servers.draws) as server:
        batchgen.run(job, output=tmp_path, base_url=server.url, on_event=nested)
    assert [type(error) for error in inner] == [batchgen.OutputHeld]
    assert server.n_requests == 1


@pytest.mark.parametrize("n_turns", [1, 2, 3, 5, 8])
async def test_cancelling_again_and_again_loses_no_record(n_turns: int, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", "abcdef", limits={"concurrency": 3})
    with FaultServer(
        lambda asked: servers.draws(asked) if asked.prompt == "a" else servers.stalls()
    ) as server:
        async with batchgen.Runner(job, output=tmp_path, base_url=server.url) as runner:
            waiting = asyncio.create_task(_all(runner))
            await asyncio.to_thread(until, lambda: server.n_requests == 4, "four requests")
            for _ in range(4):
                runner.cancel()
                for _ in range(n_turns):
                    await asyncio.sleep(0)
            await waiting
    ledgers.check_directory(tmp_path / "job")
    assert runner.summary.attempts.by_outcome == {"image": 1, "cancelled": 3}


async def _all(runner: batchgen.Runner) -> None:
    async for _ in runner.results():
        pass
