"""A run whose calls are made by workers: real sockets, real files, messages through bytes."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from batchgen import Redo, Runner
from batchgen.crew import Crew, Worker
from batchgen.crew.messages import Asked, Ended, Going, Left, Message, Taken
from batchgen.crew.place import parts_of
from batchgen.errors import ClusterError, StoreError
from batchgen.model import ImageFile
from batchgen.store.layout import Layout
from batchgen.store.pictures import AnswerImages, FindMade
from tests import ledgers
from tests.commands import until
from tests.hands import Carrying, InProcess
from tests.runs import KEY, QuickTime, Ran, run_job, write_job
from tests.servers import (
    Answer,
    End,
    FaultServer,
    draws,
    http,
    once,
    picture_of,
    refuses,
    sends,
    waits_for,
)
from tests.servers import Asked as ServerAsked


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETAPI_KEY", KEY)


def items(n: int) -> list[str]:
    return [f"item-{number}" for number in range(n)]


def segments_of_workers(ran: Ran) -> list[Path]:
    return sorted((ran.directory / "ledger").glob("*.w*.jsonl"))


async def test_workers_make_what_one_process_would_make(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", items(40))

    with FaultServer(draws) as server:
        ran = await run_job(job, server, hands=InProcess(3))

        assert ran.exit_code == 0
        assert server.n_requests == 40
    assert len(list((ran.directory / "images").iterdir())) == 40
    assert len(segments_of_workers(ran)) == 3
    assert {len(ledgers.lines(path)) for path in segments_of_workers(ran)} != {1}


async def test_what_a_worker_meets_is_decided_on_by_the_run(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", items(12))
    hands = InProcess(3)

    with FaultServer(once(refuses(503))) as server:
        ran = await run_job(job, server, hands=hands)

        assert ran.exit_code == 0
        assert set(server.requests.values()) == {2}
    takers: dict[int, str] = {}
    for news in hands.desk.said:
        if isinstance(news.message, Taken):
            takers[news.message.number] = news.worker
    assert len(takers) == 24
    by_item = Counter(
        (line["item"], segment.name)
        for segment in segments_of_workers(ran)
        for line in ledgers.lines(segment)
        if line["event"] == "attempt"
    )
    assert set(by_item.values()) == {2}, "an item stays with its worker"


async def test_a_budget_holds_over_all_workers(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", items(12))

    with FaultServer(draws) as server:
        ran = await run_job(job, server, hands=InProcess(3), max_cost_usd=0.5)

        assert server.n_requests == 3
    assert ran.exit_code == 8


async def test_a_limit_of_tokens_holds_over_all_workers(tmp_path: Path) -> None:
    limits = {"tpm": 80, "concurrency": 12}
    job = write_job(tmp_path / "job.jsonl", items(90), limits=limits)
    quick = QuickTime()
    at_s: list[float] = []

    def script(asked: ServerAsked) -> Answer:
        at_s.append(quick.monotonic_s())
        return draws(asked)

    with FaultServer(script) as server:
        ran = await run_job(job, server, hands=InProcess(3), quick=quick)

    assert ran.exit_code == 0
    sent = [one for run in ledgers.segments(ran.directory) for one in run if one["event"] == "sent"]
    (tokens,) = {one["est_tokens"] for one in sent}
    in_a_minute = max(sum(0 <= at - begin < 60 for at in at_s) for begin in at_s)
    assert in_a_minute * tokens <= 80 < len(sent) * tokens


async def test_a_conversation_goes_on_from_worker_to_worker(tmp_path: Path) -> None:
    talk = {"id": "talk", "turns": [{"prompt": "one"}, {"prompt": "two"}, {"prompt": "three"}]}
    job = write_job(tmp_path / "job.jsonl", [talk, *items(6)])
    hands = InProcess(2)

    async def lose_once(worker: str, message: Message) -> None:
        is_talk = isinstance(message, Going) and hands.desk.items[message.number] == "talk"
        is_second = sum(one == "talk" for one in hands.desk.items.values()) == 2
        if is_talk and is_second and len(hands.names) == 2:
            await hands.lose(worker)

    hands.desk.hears = lose_once
    with FaultServer(draws) as server:
        ran = await run_job(job, server, hands=hands)

        assert ran.exit_code == 0
    assert len(hands.names) == 3
    turns = [one["turn"] for one in ran.attempts if one["item"] == "talk"]
    assert turns == [1, 2, 2, 3]


async def test_what_a_worker_had_not_sent_when_it_was_lost_is_sent_once(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", items(12))
    hands = InProcess(2)

    async def lose_the_first(worker: str, message: Message) -> None:
        if isinstance(message, Asked) and len(hands.names) == 2:
            await hands.lose(worker)

    hands.desk.hears = lose_the_first
    with FaultServer(draws) as server:
        ran = await run_job(job, server, hands=hands)

        assert ran.exit_code == 0
        assert set(server.requests.values()) == {1}
    assert {told[0] for told in ran.told} == {"image"}


@pytest.mark.parametrize("is_dead", [True, False])
async def test_what_was_under_way_at_a_lost_worker_is_told_and_sent_again(
    tmp_path: Path, *, is_dead: bool
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(20))
    hands, released = InProcess(2), threading.Event()

    async def lose_in_the_middle(worker: str, message: Message) -> None:
        if isinstance(message, Left) and len(hands.names) == 2:
            item = hands.desk.items[message.number]
            if item != "item-0":
                await asyncio.to_thread(until, lambda: server.requests[item] == 1, item)
                await hands.lose(worker, is_dead=is_dead)
                asyncio.get_running_loop().call_later(0.5, released.set)

    def script(asked: Any) -> Any:
        is_held = asked.nth == 1 and asked.prompt != "item-0"
        return waits_for(released, draws(asked)) if is_held else draws(asked)

    hands.desk.hears = lose_in_the_middle
    with FaultServer(script) as server:
        ran = await run_job(job, server, hands=hands, concurrency=8)

        assert ran.exit_code == 0
        again = {prompt for prompt, n in server.requests.items() if n == 2}
    lost = [line for line in ran.attempts if line["outcome"] == "interrupted"]
    assert again
    # Some had leave, and had not left yet: nobody can know that of a machine that is gone.
    assert again <= {line["item"] for line in lost if line["billed"] == "maybe"}
    assert len(list((ran.directory / "images").iterdir())) == 20


async def test_an_answer_that_was_whole_when_its_worker_was_lost_is_not_paid_again(
    tmp_path: Path,
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(12))
    hands = InProcess(2)

    async def lose_before_it_tells(worker: str, message: Message) -> None:
        if isinstance(message, Ended) and len(hands.names) == 2:
            await hands.lose(worker)

    hands.desk.hears = lose_before_it_tells
    with FaultServer(draws) as server:
        ran = await run_job(job, server, hands=hands)

        assert ran.exit_code == 0
    recovered = [line for line in ran.attempts if line["recovered"]]
    assert recovered
    assert {line["outcome"] for line in recovered} == {"image"}
    for line in recovered:
        assert server.requests[line["item"]] == 1


async def test_a_bug_while_a_lost_worker_is_looked_after_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(12))
    hands = InProcess(2)

    async def lose_before_it_tells(worker: str, message: Message) -> None:
        if isinstance(message, Ended) and len(hands.names) == 2:
            await hands.lose(worker)

    def trips(*_: Any) -> Any:
        raise LookupError("nobody thought of that")

    monkeypatch.setattr("batchgen.recovery.Recovery.end_of", trips)
    hands.desk.hears = lose_before_it_tells
    with FaultServer(draws) as server:
        async with asyncio.timeout(20):
            with pytest.raises(ClusterError, match="nobody thought of that"):
                await run_job(job, server, hands=hands, whole=False)


async def test_many_workers_may_be_lost_one_after_the_other(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", items(60), retries={"unsure": 10})
    hands = InProcess(3)
    n_going = 0

    async def lose_every_seventh(worker: str, message: Message) -> None:
        nonlocal n_going
        n_going += isinstance(message, Going)
        if isinstance(message, Going) and n_going % 7 == 0:
            await hands.lose(worker)

    hands.desk.hears = lose_every_seventh
    with FaultServer(draws) as server:
        ran = await run_job(job, server, hands=hands)

        assert ran.exit_code == 0
        assert server.n_requests <= sum(1 for one in ran.attempts if one["billed"] != "no")
    names = [path.name.split(".")[1] for path in segments_of_workers(ran)]
    assert len(names) == len(set(names))


async def test_an_item_that_is_lost_with_each_worker_is_not_paid_for_ever(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", items(3))
    hands = InProcess(2)
    lost: list[str] = []

    async def lose_whoever_makes_it(worker: str, message: Message) -> None:
        if isinstance(message, Going) and hands.desk.items[message.number] == "item-1":
            lost.append(worker)
            await hands.lose(worker)

    hands.desk.hears = lose_whoever_makes_it
    with FaultServer(draws) as server:
        ran = await run_job(job, server, hands=hands, concurrency=1)

    assert ran.exit_code == 5
    assert (
        ran.summary.stop_reason == "an item was lost with each worker that had it; run again then"
    )
    assert len(lost) == 2
    assert [one["decision"] for one in ran.attempts if one["item"] == "item-1"] == [
        "retry",
        "retry",
    ]
    assert ran.summary.maybe_billed.count == 2


async def test_a_run_that_is_stopped_sends_nothing_more_and_ends(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", items(40), limits={"rpm": 60})
    hands = InProcess(3)

    with FaultServer(draws) as server:
        async with Runner(
            job, base_url=server.url, output=tmp_path / "output", hands=hands
        ) as runner:
            async for _ in runner.results():
                runner.request_stop("sigint")
        assert server.n_requests < 5
    assert runner.summary.exit_code == 130
    ledgers.check_directory(runner.directory)


async def test_a_run_that_is_given_up_has_an_end_for_each_call(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", items(10))
    hands, released = InProcess(2), threading.Event()

    def script(asked: ServerAsked) -> Answer:
        is_first = server.n_requests == 1  # more leave at once when one has had its answer
        return draws(asked) if is_first else waits_for(released, draws(asked))

    with FaultServer(script) as server:
        async with Runner(
            job, base_url=server.url, output=tmp_path / "output", hands=hands, concurrency=4
        ) as runner:

            async def give_up() -> None:
                await asyncio.to_thread(until, lambda: server.n_requests >= 2, "one under way")
                runner.cancel()

            giving_up = asyncio.create_task(give_up())
            async for _ in runner.results():
                pass
            await giving_up
        released.set()
    ledgers.check_directory(runner.directory)
    cancelled = [one for one in ledgers.attempts(runner.directory) if one["outcome"] == "cancelled"]
    assert cancelled
    assert {one["billed"] for one in cancelled} <= {"maybe", "no"}


async def test_a_desk_that_fails_ends_the_run_and_the_next_goes_on(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", items(12))

    class Failing(Carrying):
        async def news(self) -> Any:
            found = await super().news()
            if len(self.said) > 12:
                raise OSError("gone")
            return found

    with FaultServer(draws) as server:
        hands = InProcess(2, Failing())
        with pytest.raises(ClusterError, match="the desk between the run and its workers"):
            await run_job(job, server, hands=hands, whole=False)
        assert ledgers.summary(tmp_path / "output/job")["exit_code"] == 5
        again = await run_job(job, server, hands=InProcess(2), whole=False)

        assert again.exit_code == 0
        ledgers.check_directory(again.directory, ended=False)
        assert not [n for n in server.requests.values() if n > 2]


async def test_a_disk_that_fails_a_worker_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(12))

    def fails(_self: Any, *_: Any, **__: Any) -> Any:
        raise StoreError("/there: no space left on device")

    with FaultServer(draws) as server:
        monkeypatch.setattr("batchgen.settle.Settler.settle", fails)
        with pytest.raises(StoreError, match="no space left"):
            await run_job(job, server, hands=InProcess(2), whole=False)

    assert ledgers.summary(tmp_path / "output/job")["exit_code"] == 12


async def test_a_bug_in_a_worker_is_told_with_its_place_and_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(3))

    def trips(_self: Any, *_: Any, **__: Any) -> Any:
        raise LookupError(f"the key is {KEY}")

    monkeypatch.setattr("batchgen.attempt.Sender._exchange", trips)
    with FaultServer(draws) as server, pytest.raises(RuntimeError, match="in a worker") as caught:
        await run_job(job, server, hands=InProcess(2), whole=False)

    assert KEY not in str(caught.value)
    assert "LookupError" in str(caught.value)


def test_what_a_worker_receives_lies_in_a_place_of_its_own(tmp_path: Path) -> None:
    whole, worker = Layout(tmp_path), Layout(tmp_path, worker="00")

    assert worker.parts.parent == whole.parts
    assert worker.images == whole.images


async def test_a_worker_refuses_a_directory_that_only_has_the_same_path(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", items(3))
    hands = InProcess(2)
    of_another_machine = tmp_path / "elsewhere"
    with FaultServer(draws) as server:
        ran = await run_job(job, server, hands=hands)
        await run_job(job, server, output=of_another_machine)
        assert hands.brief is not None
        run_id = ledgers.summary(ran.directory)["run_id"]
        for root in (of_another_machine / "job", tmp_path / "nowhere"):
            worker = Worker(run_id, "00", root, hands.brief, hands.desk)
            with pytest.raises(StoreError, match="the same path"):
                await worker.work()

    assert not list((of_another_machine / "job/.parts").iterdir())


async def test_a_429_at_one_worker_holds_all_of_them_back(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", items(30))
    at_s: list[float] = []
    refused_s: list[float] = []

    def script(asked: ServerAsked) -> Answer:
        now_s = time.monotonic()
        if len(at_s) == 9:
            refused_s.append(now_s)
            at_s.append(now_s)
            return refuses(429, **{"Retry-After": "4"})
        at_s.append(now_s)
        return draws(asked)

    with FaultServer(script) as server:
        ran = await run_job(job, server, hands=InProcess(3), patient=True)

    assert ran.exit_code == 0
    # What had leave before the answer was heard may arrive after it.
    late = [moment for moment in at_s if refused_s[0] + 2 < moment < refused_s[0] + 4]
    assert not late
    assert len(at_s) == 31


async def test_a_worker_that_stands_still_while_it_settles_takes_nothing_away_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"])
    hands, frozen, thaws = InProcess(1), threading.Event(), threading.Event()
    errors: list[Exception] = []
    take = AnswerImages.take

    def takes(self: AnswerImages, index: int, find_made: FindMade) -> ImageFile | None:
        if (self.layout.worker or "").endswith(".00"):
            self.seen(index)
            frozen.set()
            assert thaws.wait(20)
        try:
            return take(self, index, find_made)
        except FileNotFoundError as gone:
            errors.append(gone)
            raise

    monkeypatch.setattr(AnswerImages, "take", takes)
    with FaultServer(draws) as server:
        async with Runner(
            job, base_url=server.url, output=tmp_path / "output", hands=hands
        ) as runner:

            async def cut() -> None:
                await asyncio.to_thread(frozen.wait)
                await hands.lose("00", is_dead=False)

            cutting = asyncio.create_task(cut())
            async for result in runner.results():
                assert result.status == "done"
                thaws.set()
                await asyncio.to_thread(until, lambda: errors, "it goes on, and finds nothing")
            await cutting
        assert server.n_requests == 1
    ledgers.check_directory(runner.directory)
    assert not list((runner.directory / "quarantine").rglob("*.png"))


async def test_what_has_come_of_an_answer_is_kept_though_its_worker_is_lost_right_after(
    tmp_path: Path,
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(12), retries={"unsure": 6})
    hands = InProcess(3)
    losing: list[str] = []

    async def lose_behind_it(worker: str, message: Message) -> None:
        if isinstance(message, Ended) and len(losing) < 6 and worker not in losing:
            losing.append(worker)
            await hands.lose(worker)

    def script(asked: ServerAsked) -> Answer:
        whole = http(200, json.dumps(picture_of(asked)).encode())
        cut = sends(whole[:-40], end=End.BROKEN)
        return cut if asked.nth == 1 and asked.prompt != "item-0" else draws(asked)

    hands.desk.has_heard = lose_behind_it
    with FaultServer(script) as server:
        ran = await run_job(job, server, hands=hands, whole=False)

    assert ran.exit_code == 0
    assert len(losing) == 6
    assert {one["outcome"] for one in ran.attempts} <= {"image", "bad_reply", "interrupted"}
    cut_short = [one for one in ran.attempts if one["outcome"] == "bad_reply"]
    assert cut_short
    assert all(one["images"] for one in cut_short), "their pictures had come whole"


async def test_a_worker_that_says_nothing_any_more_is_given_up_and_its_call_made_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchgen.crew.worker._BETWEEN_SIGNS_S", 0.1)
    job = write_job(tmp_path / "job.jsonl", items(8))
    stuck: list[str] = []
    given_up: list[str] = []

    class OneIsStuck(Carrying):
        async def tell(self, worker: str, messages: Sequence[Message]) -> None:
            if stuck == [worker] or (not stuck and any(isinstance(m, Left) for m in messages)):
                stuck[:] = [worker]
                await asyncio.Event().wait()  # its machine stands still
            await super().tell(worker, messages)

    hands = InProcess(2, OneIsStuck())

    def ready(crew: Crew) -> None:
        crew.silence_s = 1.0
        crew.on_given_up = given_up.append

    hands.ready = ready
    with FaultServer(draws) as server:
        ran = await run_job(job, server, hands=hands)

    assert ran.exit_code == 0
    assert given_up == stuck
    assert max(server.requests.values()) <= 2


async def test_giving_up_waits_for_no_worker_that_stands_still(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", items(3))
    is_stuck = asyncio.Event()

    class Stuck(Carrying):
        async def tell(self, worker: str, messages: Sequence[Message]) -> None:
            if any(isinstance(message, Left) for message in messages):
                is_stuck.set()
                await asyncio.Event().wait()
            await super().tell(worker, messages)

    hands = InProcess(1, Stuck())
    hands.ready = lambda crew: setattr(crew, "called_off_s", 0.3)
    with FaultServer(draws) as server:
        async with Runner(
            job, base_url=server.url, output=tmp_path / "output", hands=hands
        ) as runner:

            async def give_up() -> None:
                await is_stuck.wait()
                runner.request_stop("sigint")
                runner.cancel()

            giving_up = asyncio.create_task(give_up())
            async for _ in runner.results():
                pass
            await giving_up
    assert runner.summary.exit_code == 130
    ledgers.check_directory(runner.directory)
    assert ledgers.attempts(runner.directory)


async def test_a_model_that_cools_holds_no_other_one_back(tmp_path: Path) -> None:
    other = "gemini-3.1-flash-image"
    cold = [{"id": f"cold-{n}", "prompt": f"cold {n}"} for n in range(10)]
    warm = [{"id": f"warm-{n}", "prompt": f"warm {n}", "model": other} for n in range(20)]
    mixed = [item for pair in zip(cold, warm[::2], warm[1::2], strict=True) for item in pair]
    job = write_job(tmp_path / "job.jsonl", mixed)
    warm_s: list[float] = []
    refused_s: list[float] = []

    def script(asked: ServerAsked) -> Answer:
        if other in asked.target:
            warm_s.append(time.monotonic())
            return draws(asked)
        if asked.prompt == "cold 3" and asked.nth == 1:
            refused_s.append(time.monotonic())
            return refuses(429, **{"Retry-After": "9"})
        return draws(asked)

    with FaultServer(script) as server:
        ran = await run_job(job, server, hands=InProcess(2), patient=True)

    assert ran.exit_code == 0
    assert len(warm_s) == 20
    assert max(warm_s) < refused_s[0] + 8


async def test_runs_that_follow_each_other_in_one_process_leave_nothing_open(
    tmp_path: Path,
) -> None:
    with FaultServer(draws) as server:
        for number in range(3):
            (tmp_path / str(number)).mkdir()
            job = write_job(tmp_path / str(number) / "job.jsonl", items(6))
            await run_job(job, server, hands=InProcess(2))
    ledgers_open = [one for one in threading.enumerate() if "ledger" in one.name]
    assert not ledgers_open


async def test_a_worker_of_a_killed_run_takes_nothing_from_the_one_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"])
    parts: list[Path] = []
    opened = Worker.work

    async def works(worker: Worker) -> None:
        parts.append(Layout(worker.root, worker=parts_of(worker.run_id, worker.name)).parts)
        await opened(worker)

    monkeypatch.setattr(Worker, "work", works)
    with FaultServer(draws) as server:
        for _ in range(2):
            await run_job(job, server, hands=InProcess(1), redo=Redo(done=True))

    assert len(set(parts)) == 2, "no run receives where another one did"


async def test_a_run_that_stood_still_itself_gives_no_worker_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchgen.crew.worker._BETWEEN_SIGNS_S", 0.1)
    job = write_job(tmp_path / "job.jsonl", items(8))
    hands, given_up = InProcess(2), list[str]()

    def ready(crew: Crew) -> None:
        crew.silence_s = 0.5
        crew.on_given_up = given_up.append

    async def stand_still(_worker: str, message: Message) -> None:
        if isinstance(message, Left):
            time.sleep(0.8)  # noqa: ASYNC251 - all that runs here stands still

    hands.ready, hands.desk.hears = ready, stand_still
    with FaultServer(draws) as server:
        ran = await run_job(job, server, hands=hands)

    assert ran.exit_code == 0
    assert not given_up
    assert set(server.requests.values()) == {1}
