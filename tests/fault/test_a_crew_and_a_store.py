"""Workers that have no disk in common with their run, whose files belong into a store."""

import asyncio
import fcntl
import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from batchgen import Redo, Runner
from batchgen.crew import salvage
from batchgen.crew.messages import Ended, Left, Message, News
from batchgen.errors import ClusterError, Stopped, StoreError
from batchgen.mirror.arrivals import Arrivals
from batchgen.mirror.away import Away
from batchgen.mirror.contents import Contents
from batchgen.mirror.lending import Borrower
from batchgen.mirror.outpost import Outpost
from batchgen.model import ReferenceFile
from batchgen.objects import ObjectAddress
from batchgen.objects.bucket import Bucket
from tests import ledgers
from tests.canary import Canary
from tests.commands import until
from tests.hands import Carrying, InProcess
from tests.objects import (
    Between,
    Fault,
    ObjectStore,
    OneBucket,
    Request,
    environment_of,
    nothing,
    object_store,
)
from tests.runs import KEY, QuickTime, Ran, run_job, write_job
from tests.servers import (
    USAGE,
    Answer,
    End,
    FaultServer,
    document,
    draws,
    http,
    image_part,
    picture_of,
    png,
    sends,
    waits_for,
    whole,
)
from tests.servers import Asked as ServerAsked


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with object_store() as running:
        yield running


@pytest.fixture
def bucket(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OneBucket:
    """A bucket, and a machine that may write there."""
    for name, value in environment_of(tmp_path / "machine", store.url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COMETAPI_KEY", KEY)
    return store.bucket()


def attempts_in(bucket: OneBucket, tmp_path: Path) -> list[Any]:
    return ledgers.attempts(bucket.download("job", tmp_path / "looked at"))


def items(n: int) -> list[str]:
    return [f"item-{number}" for number in range(n)]


async def run_there(job: Path, server: FaultServer, bucket: OneBucket, **options: Any) -> Ran:
    return await run_job(job, server, output=bucket.address, whole=False, patient=True, **options)


def hidden(bucket: OneBucket) -> list[str]:
    return [key for key in bucket.names() if "/." in key and not key.endswith("/.lock")]


def looked_at(bucket: OneBucket, tmp_path: Path) -> Path:
    """What lies in the store, checked as every directory of a run is."""
    there = bucket.download("job", tmp_path / "there")
    (there / ".parts").mkdir()
    ledgers.check_directory(there, ended=False)
    return there


def workers_of(tmp_path: Path, name: str = "*") -> list[Path]:
    return list((tmp_path / "machine/batchgen/workers").glob(f"*/*.{name}"))


async def test_what_workers_make_goes_into_the_store_and_by_no_other_way(
    tmp_path: Path, bucket: OneBucket
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(20))
    hands = InProcess(3)

    with FaultServer(draws) as server:
        ran = await run_there(job, server, bucket, hands=hands)

    assert ran.exit_code == 0
    there = looked_at(bucket, tmp_path)
    assert len(list((there / "images").iterdir())) == 20
    assert hidden(bucket) == []
    assert not list(ran.directory.glob("images/*")), "none came through the run"
    assert workers_of(tmp_path) == []


async def test_references_and_what_was_made_before_are_lent_to_whoever_needs_them(
    tmp_path: Path, bucket: OneBucket
) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.png").write_bytes(png(name))
    talk = {"id": "talk", "turns": [{"prompt": f"{n}", "references": ["one.png"]} for n in "abc"]}
    lamps = [{"id": f"lamp-{n}", "prompt": f"{n}", "references": ["two.png"]} for n in range(6)]
    lit = {"id": "lit", "prompt": "lit", "references": ["item:lamp-0", "one.png"]}
    job = write_job(tmp_path / "job.jsonl", [talk, *lamps, lit])
    bodies: list[bytes] = []

    def script(asked: ServerAsked) -> Answer:
        bodies.append(asked.body)
        return draws(asked)

    with FaultServer(script) as here:
        alone = await run_job(job, here)
    of_one_process = sorted(bodies)
    bodies.clear()
    with FaultServer(script) as server:
        ran = await run_there(job, server, bucket, hands=InProcess(3))

    assert (alone.exit_code, ran.exit_code) == (0, 0)
    assert sorted(bodies) == of_one_process
    looked_at(bucket, tmp_path)
    assert hidden(bucket) == []


async def test_a_reference_that_changes_under_way_is_told_and_nothing_is_sent(
    tmp_path: Path, bucket: OneBucket
) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.png").write_bytes(png(name))
    pair = [{"id": one, "prompt": one, "references": [f"{one}.png"]} for one in ("one", "two")]
    job = write_job(tmp_path / "job.jsonl", pair)

    def script(asked: ServerAsked) -> Answer:
        (tmp_path / "two.png").write_bytes(png("another"))
        return draws(asked)

    with FaultServer(script) as server:
        ran = await run_there(job, server, bucket, hands=InProcess(1), concurrency=1)

        assert server.n_requests == 1
    (error,) = [line["error"] for line in ran.attempts if line["item"] == "two"]
    assert "two.png" in error["message"]
    assert "changed" in error["message"]


async def test_what_a_worker_has_staged_is_not_paid_again_though_it_is_lost_before_it_tells(
    tmp_path: Path, bucket: OneBucket
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(12))
    hands = InProcess(2)

    async def lose_before_it_tells(worker: str, message: Message) -> None:
        if isinstance(message, Ended) and len(hands.names) < 5:
            await hands.lose(worker)

    hands.desk.hears = lose_before_it_tells
    with FaultServer(draws) as server:
        ran = await run_there(job, server, bucket, hands=hands)

    assert ran.exit_code == 0
    recovered = [line for line in ran.attempts if line["recovered"]]
    assert recovered
    for line in recovered:
        assert server.requests[line["item"]] == 1
    looked_at(bucket, tmp_path)
    assert hidden(bucket) == []


class Unplugged:
    """A store that is away while `is_away`: for staged files, or for everything."""

    def __init__(self, part: str = "") -> None:
        self.is_away, self._part = False, part

    def __call__(self, request: Request) -> Fault | None:
        return "reset" if self.is_away and self._part in request.path else None


async def test_what_workers_had_whole_when_the_store_went_away_for_good_is_not_paid_again(
    tmp_path: Path, bucket: OneBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(12), retries={"patience": 2})
    unplugged = Unplugged()

    def script(asked: ServerAsked) -> Answer:
        unplugged.is_away = server.n_requests >= 4
        return draws(asked)

    with Between(bucket.store, unplugged) as between, FaultServer(script) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        with pytest.raises(StoreError):
            await run_there(job, server, bucket, hands=InProcess(3), concurrency=3)
        left = workers_of(tmp_path)
        n_first = server.n_requests
        server.script, unplugged.is_away = draws, False
        bucket.delete("job/.lock")  # or it would have to grow stale
        ran = await run_there(job, server, bucket, hands=InProcess(3))

        assert ran.exit_code == 0
        assert server.n_requests > n_first
        assert set(server.requests.values()) == {1}
    assert left
    assert len([line for line in ran.attempts if line["recovered"]]) >= len(left)
    assert not [line for line in ran.attempts if line["outcome"] != "image"]
    looked_at(bucket, tmp_path)
    assert (hidden(bucket), workers_of(tmp_path)) == ([], [])


async def test_what_a_lost_worker_had_whole_is_staged_by_its_machine_and_not_paid_again(
    tmp_path: Path, bucket: OneBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(12))
    unplugged = Unplugged("/.parts/")
    hands = InProcess(2)

    def has_an_answer(worker: str) -> bool:
        return any(list(root.glob(".parts/*.json")) for root in workers_of(tmp_path, worker))

    async def lose_with_what_it_has(worker: str) -> None:
        await asyncio.to_thread(until, lambda: has_an_answer(worker), "a whole answer")
        await hands.lose(worker)
        await asyncio.gather(hands.working[worker], return_exceptions=True)
        unplugged.is_away = False

    async def loses_one(worker: str, message: Message) -> None:
        if isinstance(message, Left) and len(hands.names) == 2 and not unplugged.is_away:
            unplugged.is_away = True
            losing.append(asyncio.ensure_future(lose_with_what_it_has(worker)))

    losing: list[asyncio.Future[None]] = []
    hands.desk.hears = loses_one
    with Between(bucket.store, unplugged) as between, FaultServer(draws) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        ran = await run_there(job, server, bucket, hands=hands)

        await asyncio.gather(*losing)
        assert ran.exit_code == 0
        assert set(server.requests.values()) == {1}
    assert [line for line in ran.attempts if line["recovered"]]
    assert {line["outcome"] for line in ran.attempts} == {"image"}
    looked_at(bucket, tmp_path)
    assert (hidden(bucket), workers_of(tmp_path)) == ([], [])


async def test_what_lies_at_a_worker_who_lives_or_is_of_another_place_is_left_alone(
    tmp_path: Path, bucket: OneBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(2), retries={"patience": 2})
    unplugged = Unplugged()

    def script(asked: ServerAsked) -> Answer:
        unplugged.is_away = True
        return draws(asked)

    hands = InProcess(1)
    with Between(bucket.store, unplugged) as between, FaultServer(script) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        with pytest.raises(StoreError):
            await run_there(job, server, bucket, hands=hands)
        unplugged.is_away = False
        assert hands.brief is not None
        elsewhere = replace(hands.brief, address=ObjectAddress("s3", bucket.name, "job/job"))
        (left,) = workers_of(tmp_path)
        quick = QuickTime()
        await salvage(elsewhere, quick.clock(), print)
        assert quick.waits_s == []
        with (left / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            await salvage(hands.brief, quick.clock(), print)
        assert quick.waits_s, "it might have been dying"
        assert workers_of(tmp_path) == [left]
        assert not [key for key in bucket.names() if "/.parts/" in key]

        await salvage(hands.brief, quick.clock(), print)
    assert workers_of(tmp_path) == []
    assert [key for key in bucket.names() if key.endswith(".end")]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "blocked"),
        ({"candidates": [{"content": {"parts": [{"text": "No."}]}}]}, "text_only"),
    ],
)
async def test_a_whole_answer_without_a_picture_that_was_salvaged_counts_as_it_would_have(
    answer: Any, outcome: str, tmp_path: Path, bucket: OneBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    retries = {"patience": 2, "no_image": 0}
    job = write_job(tmp_path / "job.jsonl", items(2), retries=retries)
    unplugged = Unplugged()

    def script(_asked: ServerAsked) -> Answer:
        unplugged.is_away = True
        return whole({**answer, "usageMetadata": USAGE})

    with Between(bucket.store, unplugged) as between, FaultServer(script) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        with pytest.raises(StoreError):
            await run_there(job, server, bucket, hands=InProcess(1), concurrency=1)
        bucket.delete("job/.lock")  # or it would have to grow stale
        server.script, unplugged.is_away = draws, False
        ran = await run_there(job, server, bucket, hands=InProcess(1))

        assert server.requests["item-0"] == (1 if outcome == "blocked" else 2)
        assert server.requests["item-1"] == 1
    first, *_ = [line for line in ran.attempts if line["item"] == "item-0"]
    assert (first["outcome"], first["billed"], first["recovered"]) == (outcome, "yes", True)
    assert first["cost_basis"] == "reported"
    looked_at(bucket, tmp_path)
    assert (hidden(bucket), workers_of(tmp_path)) == ([], [])


async def test_where_nobody_can_say_what_a_lost_worker_had_the_others_end_and_the_next_run_looks(
    tmp_path: Path, bucket: OneBucket
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(12))
    hands, released = InProcess(3), threading.Event()
    losing: list[str] = []

    def under_way_elsewhere() -> set[str]:
        return {
            hands.desk.items[one.message.number]
            for one in hands.desk.said
            if isinstance(one.message, Left) and one.worker not in losing
        }

    async def fails(_worker: str) -> None:
        asyncio.get_running_loop().call_later(0.5, released.set)
        raise StoreError("on node: no")

    async def loses_one(worker: str, message: Message) -> None:
        if isinstance(message, Left) and server.n_requests >= 4 and not losing:
            losing.append(worker)
            await asyncio.to_thread(until, under_way_elsewhere, "a call of another worker")
            hands.crew.salvage = fails
            await hands.lose(worker)

    def script(asked: ServerAsked) -> Answer:
        return draws(asked) if server.n_requests < 4 else waits_for(released, draws(asked))

    hands.desk.hears = loses_one
    with FaultServer(script) as server:
        with pytest.raises(StoreError, match="on node: no"):
            await run_there(job, server, bucket, hands=hands, concurrency=6)
        lines = attempts_in(bucket, tmp_path)
        ended = {line["item"] for line in lines if line["outcome"] == "image"}
        assert under_way_elsewhere() <= ended
        again = InProcess(3)
        ran = await run_there(job, server, bucket, hands=again)

        assert (ran.exit_code, again.n_salvaged) == (0, 1)
        paid_again = {item for item, n in server.requests.items() if n > 1}
    interrupted = [line["item"] for line in ran.attempts if line["outcome"] == "interrupted"]
    assert paid_again <= set(interrupted)


async def seen_through(runner: Runner) -> None:
    async with runner:
        async for _ in runner.results():
            pass


async def test_whoever_gives_up_does_not_wait_for_what_a_lost_worker_had(
    tmp_path: Path, bucket: OneBucket
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(2))
    hands = InProcess(1)

    async def for_ever(_worker: str) -> None:
        runner.request_stop("sigint")
        runner.cancel()
        await asyncio.Event().wait()

    async def loses_it(worker: str, message: Message) -> None:
        if isinstance(message, Left):
            hands.crew.salvage = for_ever
            await hands.lose(worker)

    hands.desk.hears = loses_it
    with FaultServer(draws) as server:
        runner = Runner(job, base_url=server.url, output=bucket.address, hands=hands)
        async with asyncio.timeout(20):
            with pytest.raises(ClusterError, match="run again for it"):
                await seen_through(runner)
        assert runner.summary.exit_code == 130
        assert attempts_in(bucket, tmp_path) == [], "nobody has looked: it has no end"
        again = InProcess(1)
        ran = await run_there(job, server, bucket, hands=again)
        assert (ran.exit_code, again.n_salvaged) == (0, 1)


async def test_other_machines_are_asked_only_after_a_run_that_did_not_see_all_of_its_calls_end(
    tmp_path: Path, bucket: OneBucket
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(4))

    async def asked_by(**options: Any) -> int:
        hands = InProcess(2)
        await run_there(job, server, bucket, hands=hands, **options)
        return hands.n_salvaged

    with FaultServer(draws) as server:
        assert await asked_by(limit=2) == 0, "there was none"
        assert await asked_by() == 0, "it ended"
        own = (name for name in bucket.names() if "/ledger/" in name and ".w" not in name)
        segment = max(own)
        *lines, end = bucket.read(segment).splitlines(keepends=True)
        assert b'"end"' in end
        bucket.put(segment, b"".join(lines))
        shutil.rmtree(tmp_path / "machine")
        assert await asked_by(redo=Redo(done=True)) == 1, "it has no end"


async def test_who_asks_to_stop_while_answers_are_salvaged_is_not_held_up_and_loses_none(
    tmp_path: Path, bucket: OneBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(2), retries={"patience": 2})
    unplugged = Unplugged()
    stopping: list[Runner] = []

    def script(asked: ServerAsked) -> Answer:
        unplugged.is_away = True
        return draws(asked)

    def away_and_stopped(request: Request) -> Fault | None:
        if request.method == "PUT" and "/.parts/" in request.path:
            stopping[0].request_stop("sigint")
            return "reset"
        return None

    with Between(bucket.store, unplugged) as between, FaultServer(script) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        with pytest.raises(StoreError):
            await run_there(job, server, bucket, hands=InProcess(1), concurrency=1)
        bucket.delete("job/.lock")  # or it would have to grow stale
        between.script = away_and_stopped
        stopping.append(Runner(job, base_url=server.url, output=bucket.address))
        with pytest.raises(Stopped):
            async with stopping[0]:
                raise AssertionError
        between.script = nothing
        again = await run_there(job, server, bucket)

        assert again.exit_code == 0
        assert set(server.requests.values()) == {1}
    assert [line["recovered"] for line in again.attempts] == [True, False]


class FailingDesk(Carrying):
    """Fails when it should tell of the first call that has ended."""

    async def news(self) -> list[News]:
        found = await super().news()
        if any(isinstance(news.message, Ended) for news in found):
            raise OSError("gone")
        return found


async def test_the_next_run_puts_in_place_what_was_staged_for_one_that_ended_in_between(
    tmp_path: Path, bucket: OneBucket
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(12))

    with FaultServer(draws) as server:
        with pytest.raises(ClusterError):
            await run_there(job, server, bucket, hands=InProcess(2, FailingDesk()))
        assert any(key.endswith(".end") for key in bucket.names())
        ran = await run_there(job, server, bucket, hands=InProcess(2))

        twice = {item for item, n in server.requests.items() if n > 1}
    assert ran.exit_code == 0
    recovered = {line["item"] for line in ran.attempts if line["recovered"]}
    assert recovered
    assert not recovered & twice
    looked_at(bucket, tmp_path)
    assert hidden(bucket) == []


async def test_a_record_without_its_files_is_none(tmp_path: Path, bucket: OneBucket) -> None:
    job = write_job(tmp_path / "job.jsonl", items(4))

    with FaultServer(draws) as server:
        with pytest.raises(ClusterError):
            await run_there(job, server, bucket, hands=InProcess(2, FailingDesk()))
        (first, *_) = [key for key in bucket.names() if "/.parts/" in key and "/images/" in key]
        bucket.delete(first)
        ran = await run_there(job, server, bucket, hands=InProcess(2))

        assert ran.exit_code == 0
        paid_again = {item for item, n in server.requests.items() if n > 1}
    assert Path(first).stem in paid_again
    interrupted = [line["item"] for line in ran.attempts if line["outcome"] == "interrupted"]
    assert paid_again <= set(interrupted)
    looked_at(bucket, tmp_path)
    assert hidden(bucket) == []


async def test_what_a_worker_stages_after_it_was_given_up_is_set_aside(
    tmp_path: Path, bucket: OneBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["item"])
    hands = InProcess(2)
    goes_on = asyncio.Event()
    late: list[str] = []
    stage = Outpost.stage

    async def stands_still_first(self: Outpost, stem: str, *what: Any) -> None:
        if not late:
            late.append(stem)
            await hands.lose(self.layout.root.name.rpartition(".")[2], is_dead=False)
            await goes_on.wait()
        await stage(self, stem, *what)
        goes_on.set()

    def other(asked: ServerAsked) -> Answer:
        return whole(document(image_part(png(f"take {asked.nth}"))))

    async def await_the_late_one(_worker: str, message: Message) -> None:
        if isinstance(message, Ended):
            async with asyncio.timeout(10):
                while f"job/.parts/{late[0]}.end" not in bucket.names():  # noqa: ASYNC110 - of a store
                    await asyncio.sleep(0.05)

    monkeypatch.setattr(Outpost, "stage", stands_still_first)
    hands.desk.hears = await_the_late_one
    with FaultServer(other) as server:
        ran = await run_there(job, server, bucket, hands=hands)
        assert ran.told == [("interrupted", "retry", "maybe"), ("image", "done", "yes")]
        assert bucket.read("job/images/item.png") == png("take 2")
        assert f"job/.parts/{late[0]}/images/item.png" in bucket.names()
        again = await run_there(job, server, bucket, hands=InProcess(1))

        assert again.exit_code == 0
        assert server.n_requests == 2
    assert bucket.read(f"job/quarantine/{late[0]}.images.item.png") == png("take 1")
    assert hidden(bucket) == []


def as_jpeg(picture: bytes) -> bytes:
    buffer = BytesIO()
    Image.open(BytesIO(picture)).save(buffer, "JPEG")
    return buffer.getvalue()


async def test_a_picture_of_somebody_elses_is_kept_and_one_of_ours_makes_way(
    tmp_path: Path, bucket: OneBucket
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(2))
    jpeg = as_jpeg(png("another"))

    def changes_its_mind(asked: ServerAsked) -> Answer:
        if asked.nth == 1:
            return draws(asked)
        return whole(document(image_part(jpeg, "image/jpeg")))

    with FaultServer(changes_its_mind) as server:
        await run_there(job, server, bucket, hands=InProcess(2))
        bucket.put("job/images/item-0.png", png("retouched"))
        again = await run_there(job, server, bucket, hands=InProcess(2), redo=Redo(done=True))

    assert again.exit_code == 0
    images = [key for key in bucket.names() if key.startswith("job/images/")]
    assert images == ["job/images/item-0.jpg", "job/images/item-1.jpg"]
    assert bucket.read("job/quarantine/images/item-0.1.png") == png("retouched")
    notes = {line["item"]: line.get("note") for line in again.attempts if line["attempt"]}
    assert "is kept as quarantine/images/item-0.1.png" in str(notes["item-0"])
    assert notes["item-1"] is None
    looked_at(bucket, tmp_path)


async def test_what_came_of_a_broken_answer_is_kept(tmp_path: Path, bucket: OneBucket) -> None:
    job = write_job(tmp_path / "job.jsonl", items(3))

    def script(asked: ServerAsked) -> Answer:
        whole_answer = http(200, json.dumps(picture_of(asked)).encode())
        cut = sends(whole_answer[:-40], end=End.BROKEN)
        return cut if asked.nth == 1 and asked.prompt == "item-1" else draws(asked)

    with FaultServer(script) as server:
        ran = await run_there(job, server, bucket, hands=InProcess(2))

    assert ran.exit_code == 0
    (broken,) = [line for line in ran.attempts if line["outcome"] == "bad_reply"]
    assert [image["role"] for image in broken["images"]] == ["quarantine"]
    looked_at(bucket, tmp_path)
    assert hidden(bucket) == []


async def test_a_worker_that_may_not_write_there_is_told_of_and_nothing_is_sent(
    tmp_path: Path, bucket: OneBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(3))

    def refuses_workers(request: Request) -> Fault | None:
        return "forbidden" if request.path.endswith(".here") else None

    with Between(bucket.store, refuses_workers) as between, FaultServer(draws) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        hands = InProcess(1)
        worker = await first_failure(hands, run_there(job, server, bucket, hands=hands))

        assert server.n_requests == 0
    assert "where a worker is" in str(worker)
    assert "AccessDenied" in str(worker)
    assert "its own access to the store" in str(worker)


async def first_failure(hands: InProcess, run: Coroutine[Any, Any, Ran]) -> BaseException | None:
    """What the first worker failed with; the run is given up then."""
    running = asyncio.ensure_future(run)
    while not hands.working:  # noqa: ASYNC110 - nobody tells when they come
        await asyncio.sleep(0.01)
    (failed,) = await asyncio.gather(*hands.working.values(), return_exceptions=True)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return failed


async def test_no_key_is_in_anything_that_workers_put_there(
    tmp_path: Path, bucket: OneBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = Canary()
    monkeypatch.setenv("COMETAPI_KEY", canary.key)
    job = write_job(tmp_path / "job.jsonl", items(4))
    seen: dict[str, bytes] = {}

    def quotes_the_key(asked: ServerAsked) -> Answer:
        told = picture_of(asked)
        told["candidates"][0]["content"]["parts"].insert(0, {"text": f"you sent {canary.key}"})
        return whole(told)

    stage = Outpost.stage

    async def looks(self: Outpost, *what: Any) -> None:
        await stage(self, *what)
        seen.update(bucket.objects())

    monkeypatch.setattr(Outpost, "stage", looks)
    with FaultServer(quotes_the_key) as server:
        ran = await run_there(job, server, bucket, hands=InProcess(2))

    assert ran.exit_code == 0
    assert any(path.endswith(".end") for path in seen)
    seen.update(bucket.objects())
    assert not [path for path, data in seen.items() if canary.found_in(data)]


async def test_a_worker_keeps_some_of_what_it_was_lent_and_refuses_another_version(
    tmp_path: Path, bucket: OneBucket
) -> None:
    address = ObjectAddress("s3", bucket.name, "job")
    done: list[int] = []

    async def do(job: Callable[[], None]) -> None:
        done.append(1)
        await asyncio.to_thread(job)

    def lent(name: str) -> ReferenceFile:
        data = png(name)
        sha256 = hashlib.sha256(data).hexdigest()
        bucket.put(f"job/.references/{name}", data)
        return ReferenceFile(
            path=f".references/{name}",
            mime="image/png",
            size_bytes=len(data),
            sha256=sha256,
            mtime_ns=0,
            inode=0,
        )

    one, two, three = (lent(name) for name in ("one", "two", "three"))
    borrower = Borrower(tmp_path, Bucket.at(address), do, kept_bytes=2 * one.size_bytes + 100)
    async with borrower.at_hand((one, two, one)) as files, borrower.at_hand((three,)):
        assert {files[file].sha256 for file in (one, two)} == {one.sha256, two.sha256}
        assert digests_in(tmp_path) == {one.sha256, two.sha256, three.sha256}, "all are needed"
    assert digests_in(tmp_path) == {one.sha256, two.sha256}
    async with borrower.at_hand((two,)):
        assert len(done) == 3, "it is here still"
    other = msgspec.structs.replace(lent("two"), sha256=one.sha256, size_bytes=1)
    with pytest.raises(StoreError, match="not what it was"):
        async with borrower.at_hand((other,)):
            raise AssertionError


def digests_in(directory: Path) -> set[str]:
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.glob("*.[0-9]*")}


async def test_many_that_build_on_one_picture_begin_at_the_same_moment(
    tmp_path: Path, bucket: OneBucket
) -> None:
    children = [
        {"id": f"child-{n}", "prompt": f"{n}", "references": ["item:parent"]} for n in range(30)
    ]
    job = write_job(tmp_path / "job.jsonl", ["parent", *children])

    with FaultServer(draws) as server:
        ran = await run_there(job, server, bucket, hands=InProcess(3), concurrency=30)

    assert ran.exit_code == 0


async def test_no_key_is_in_what_came_of_a_broken_picture(
    tmp_path: Path, bucket: OneBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = Canary()
    monkeypatch.setenv("COMETAPI_KEY", canary.key)
    job = write_job(tmp_path / "job.jsonl", ["item"])
    hands = InProcess(2)
    quotes = png("item")[:60] + canary.key.encode() + png("item")[60:]

    def script(asked: ServerAsked) -> Answer:
        broken = http(200, json.dumps(document(image_part(quotes))).encode())[:-40]
        return sends(broken, end=End.BROKEN) if asked.nth == 1 else draws(asked)

    async def lose_before_it_tells(worker: str, message: Message) -> None:
        if isinstance(message, Ended) and len(hands.names) == 2:
            await hands.lose(worker)

    hands.desk.hears = lose_before_it_tells
    with FaultServer(script) as server:
        await run_there(job, server, bucket, hands=hands)

    assert any("/quarantine/" in path for path in bucket.names())
    assert not [path for path, data in bucket.objects().items() if canary.found_in(data)]


async def test_what_comes_late_of_a_turn_is_kept(
    tmp_path: Path, bucket: OneBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = {"id": "talk", "turns": [{"prompt": "a"}, {"prompt": "b"}]}
    job = write_job(tmp_path / "job.jsonl", [talk])
    late = Late(bucket, InProcess(2), monkeypatch)

    with FaultServer(takes) as server:
        ran = await run_there(job, server, bucket, hands=late.hands)
        late.comes()
        again = await run_there(job, server, bucket, hands=InProcess(1))

        assert server.n_requests == 3
    assert (ran.exit_code, again.exit_code) == (0, 0)
    assert png("a take 1") in bucket.objects().values()
    looked_at(bucket, tmp_path)


async def test_what_comes_late_after_another_run_has_made_it_is_kept_and_counted_once(
    tmp_path: Path, bucket: OneBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["item"])
    late = Late(bucket, InProcess(2), monkeypatch)

    with FaultServer(takes) as server:
        await run_there(job, server, bucket, hands=late.hands)
        made = await run_there(job, server, bucket, hands=InProcess(1), redo=Redo(done=True))
        late.comes()
        again = await run_there(job, server, bucket, hands=InProcess(1))

        assert server.n_requests == 3
    assert len(again.attempts) == len(made.attempts)
    assert png("item take 1") in bucket.objects().values()
    looked_at(bucket, tmp_path)


class Late:
    """The first worker that would stage anything is given up before, and does it when told."""

    def __init__(
        self, bucket: OneBucket, hands: InProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.bucket, self.hands = bucket, hands
        self.objects: dict[str, bytes] = {}
        stage = Outpost.stage

        async def not_yet(
            outpost: Outpost,
            stem: str,
            paths: Iterable[str],
            parts: Iterable[Path],
            record: bytes | None,
        ) -> None:
            if self.objects:
                await stage(outpost, stem, paths, parts, record)
                return
            for path in paths:
                self.objects[f"job/.parts/{stem}/{path}"] = (
                    outpost.layout.root / path
                ).read_bytes()
            self.objects[f"job/.parts/{stem}.end"] = record or b""
            await hands.lose(outpost.layout.root.name.rpartition(".")[2], is_dead=False)

        monkeypatch.setattr(Outpost, "stage", not_yet)

    def comes(self) -> None:
        for key, data in self.objects.items():
            self.bucket.put(key, data)


def takes(asked: ServerAsked) -> Answer:
    return whole(document(image_part(png(f"{asked.prompt} take {asked.nth}"))))


async def test_every_version_that_somebody_retouched_is_kept(
    tmp_path: Path, bucket: OneBucket
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["item"])

    with FaultServer(takes) as server:
        await run_there(job, server, bucket, hands=InProcess(1))
        for version in ("one", "two"):
            bucket.put("job/images/item.png", png(version))
            await run_there(job, server, bucket, hands=InProcess(1), redo=Redo(done=True))

    assert bucket.read("job/quarantine/images/item.1.png") == png("one")
    assert bucket.read("job/quarantine/images/item.2.png") == png("two")


async def test_a_run_that_ends_between_placing_and_recording_is_gone_on_with(
    tmp_path: Path, bucket: OneBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["item"])

    async def fails(*_: Any) -> None:
        raise StoreError("the machine dies")

    with FaultServer(draws) as server:
        with monkeypatch.context() as dying:
            dying.setattr(Away, "move", fails)
            with pytest.raises(StoreError):
                await run_there(job, server, bucket, hands=InProcess(1))
        assert "job/images/item.png" in bucket.names()
        ran = await run_there(job, server, bucket, hands=InProcess(1))

        assert (ran.exit_code, server.n_requests) == (0, 1)
    assert not [path for path in bucket.names() if "quarantine" in path], "it was our own"
    looked_at(bucket, tmp_path)


async def test_a_record_that_is_gone_from_the_store_stops_nobody(
    tmp_path: Path, bucket: OneBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(3))

    async def fails(*_: Any) -> None:
        raise StoreError("the machine dies")

    with FaultServer(draws) as server:
        with pytest.raises(ClusterError):
            await run_there(job, server, bucket, hands=InProcess(2, FailingDesk()))
        with monkeypatch.context() as dying:
            dying.setattr(Away, "keep", fails)
            with pytest.raises(StoreError):
                await run_there(job, server, bucket, hands=InProcess(2))
        for key in bucket.names():
            if "/.parts/" in key:
                bucket.delete(key)
        ran = await run_there(job, server, bucket, hands=InProcess(2))

    assert ran.exit_code == 0
    looked_at(bucket, tmp_path)


async def test_all_that_is_set_aside_of_one_call_has_a_name_of_its_own(bucket: OneBucket) -> None:
    arrivals = Arrivals(Bucket.at(ObjectAddress("s3", bucket.name, "job")), Contents())
    bucket.put("job/.parts/CALL/drafts/x.1.1.png", b"draft")
    bucket.put("job/.parts/CALL/thoughts/x.1.1.png", b"thought")

    await asyncio.to_thread(arrivals.clear)

    assert set(bucket.objects().values()) == {b"draft", b"thought"}
