"""The ledger: durable before it returns, grouped, redacted; and read back whatever lies there."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from batchgen.errors import StoreError
from batchgen.model import Attempt, Failure, ImageFile, Item, Outcome, Tokens, Turn, content_key
from batchgen.sanitize import Secrets
from batchgen.store.history import History, read_history
from batchgen.store.ledger import (
    End,
    Filed,
    Ledger,
    Line,
    Run,
    Sent,
    move_torn_tail,
    read_lines,
    segments,
)

if TYPE_CHECKING:
    from pathlib import Path

AT = "2026-11-21T03:00:04.120Z"
RUN = Run(run_id="r1", at=AT, job="j", job_sha256="0", provider="p", version="1")
END = End(run_id="r1", at=AT, stop_reason="done", exit_code=0, wall_s=1.5, concurrency={"peak": 4})
NO_SECRETS = Secrets([])
ITEM = Item(id="a", model="m", prompt="p", key="k")


def sent(item: str = "a", attempt: int = 1, **known: Any) -> Sent:
    return Sent(run_id="r1", item=item, key="k", turn=1, attempt=attempt, at=AT, model="m", **known)


def attempt(item: str = "a", n: int = 1, **known: Any) -> Attempt:
    base: dict[str, Any] = {
        "run_id": "r1",
        "item": item,
        "key": "k",
        "turn": 1,
        "attempt": n,
        "at": AT,
        "model": "m",
        "provider": "p",
        "outcome": Outcome.IMAGE,
        "decision": "done",
        "cost_basis": "unknown",
        "billed": "yes",
    }
    return Attempt(**(base | known))


FULL = attempt(
    http_status=200,
    error=Failure(kind="BadReply", message="a \u2028 b"),
    images=(
        ImageFile(
            path="images/a.png", role="final", sha256="0", bytes=1, width=2, height=3, mime=None
        ),
    ),
    usage={"promptTokenCount": 10**30, "x": None},
    tokens=Tokens(input_text=20),
    cost_usd=Decimal("0.138160"),
    latency_s=21.4,
    tags={"sku": "A-17"},
)


class Syncs:
    """Counts fdatasync calls, and may hold them up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._real = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self)

    def __call__(self, descriptor: int) -> None:
        self.count += 1
        self._real(descriptor)


def lines_of(path: Path) -> list[Line]:
    return [line for _, line in read_lines(path)]


# --- writing ------------------------------------------------------------------------------------


async def test_lines_come_back_as_they_were_appended(tmp_path: Path) -> None:
    filed = Filed(run_id="r1", item="b", key="k", at=AT, path="images/b.png", made=FULL)
    lines: list[Line] = [RUN, sent(est_usd=Decimal("0.10")), FULL, filed, END]
    path = tmp_path / "r1.jsonl"
    async with Ledger(path, NO_SECRETS) as ledger:
        await ledger.append(*lines)
    assert lines_of(path) == lines
    written = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    assert [line["event"] for line in written] == ["run", "sent", "attempt", "filed", "end"]
    assert {line["v"] for line in written} == {1}
    assert written[2]["cost_usd"] == "0.138160"
    assert written[1]["est_usd"] == "0.10"


async def test_a_line_is_on_disk_and_synced_when_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = Syncs(monkeypatch)
    path = tmp_path / "r1.jsonl"
    async with Ledger(path, NO_SECRETS) as ledger:
        for n in range(1, 6):
            await ledger.append(sent(attempt=n))
            assert path.read_bytes().count(b"\n") == n
            assert syncs.count == n


async def test_many_lines_at_once_share_few_syncs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = Syncs(monkeypatch)
    path = tmp_path / "r1.jsonl"
    async with Ledger(path, NO_SECRETS) as ledger:
        await asyncio.gather(*(ledger.append(sent(str(n))) for n in range(500)))
        assert syncs.count <= 3
    assert [line.item for line in lines_of(path) if isinstance(line, Sent)] == [
        str(n) for n in range(500)
    ]


async def test_a_cancelled_append_is_written_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "r1.jsonl"
    async with Ledger(path, NO_SECRETS) as ledger:
        appends = [asyncio.create_task(ledger.append(sent(str(n)))) for n in range(10)]
        await asyncio.sleep(0)
        for one in appends[::2]:
            one.cancel()
        await asyncio.wait(appends)
        assert [one.cancelled() for one in appends] == [True, False] * 5
    assert len(lines_of(path)) == 10


async def test_secrets_never_reach_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "r1.jsonl"
    async with Ledger(path, Secrets(["sk-CANARY", "sk-CANARY-long"])) as ledger:
        await ledger.append(
            attempt(
                text="it is sk-CANARY-long",
                usage={"sk-CANARY": ["sk-CANARY"]},
                error=Failure(kind="x", message="sk-CANARY"),
                tags={"t": "sk-CANARY"},
            )
        )
    raw = path.read_bytes()
    assert b"CANARY" not in raw
    assert b"-long" not in raw
    (line,) = lines_of(path)
    assert isinstance(line, Attempt)
    assert line.text == "it is [key]"


async def test_a_segment_is_never_written_by_two_runs(tmp_path: Path) -> None:
    path = tmp_path / "r1.jsonl"
    path.write_bytes(b"mine\n")
    with pytest.raises(StoreError):
        async with Ledger(path, NO_SECRETS):
            pytest.fail("opened")
    assert path.read_bytes() == b"mine\n"


async def test_a_missing_directory_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        async with Ledger(tmp_path / "no" / "r1.jsonl", NO_SECRETS):
            pytest.fail("opened")


def test_a_full_disk_is_told_to_everyone_and_nothing_is_written_behind_a_torn_line(
    tmp_path: Path,
) -> None:
    script = """
        import asyncio, resource, sys, threading
        from pathlib import Path
        from batchgen.sanitize import Secrets
        from batchgen.store.ledger import Ledger, Sent

        writing, go_on = threading.Event(), threading.Event()

        class SlowLedger(Ledger):
            def _write(self, data):
                writing.set()
                go_on.wait()
                try:
                    super()._write(data)
                except OSError:  # somebody makes room again
                    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
                    raise

        def sent(n):
            names = {"run_id": "r", "item": "x" * 300, "key": "k", "turn": 1, "model": "m"}
            return Sent(attempt=n, at="2026-11-21T03:00:04.120Z", **names)

        async def main():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 100_000))
            async with SlowLedger(Path(sys.argv[1]), Secrets([])) as ledger:
                first = asyncio.create_task(ledger.append(*map(sent, range(1, 5))))
                await asyncio.to_thread(writing.wait)
                late = asyncio.create_task(ledger.append(sent(5)))
                await asyncio.sleep(0)
                go_on.set()
                for append in (first, late, ledger.append(sent(6))):
                    try:
                        await append
                    except Exception as error:
                        print(type(error).__name__)

        asyncio.run(main())
    """
    path = tmp_path / "r.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("StoreError\n" * 3, "")
    assert path.stat().st_size == 1000
    assert move_torn_tail(path) is not None
    kept = [line.attempt for line in lines_of(path) if isinstance(line, Sent)]
    assert kept == [1, 2]


# --- reading ------------------------------------------------------------------------------------


def encoded(*lines: Line) -> bytes:
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def test_a_torn_tail_at_every_byte_is_moved_aside_and_nothing_else_is_lost(tmp_path: Path) -> None:
    first, last = encoded(RUN, sent()), encoded(FULL)
    for cut in range(len(last) - 1):
        path = tmp_path / f"{cut}.jsonl"
        path.write_bytes(first + last[:cut])
        assert lines_of(path) == [RUN, sent()]
        aside = move_torn_tail(path)
        if cut == 0:
            assert aside is None
        else:
            assert aside == path.with_suffix(".torn")
            assert aside.read_bytes() == last[:cut] + b"\n"
        assert path.read_bytes() == first
        assert move_torn_tail(path) is None


@pytest.mark.parametrize("before", [b"", b"\0" * 4096])
def test_a_last_line_that_lacks_only_its_end_is_moved_aside_and_stays(
    tmp_path: Path, before: bytes
) -> None:
    path, last = tmp_path / "a.jsonl", before + encoded(FULL)
    path.write_bytes(encoded(RUN, sent()) + last[:-1])
    aside = move_torn_tail(path)
    assert aside is not None
    assert aside.read_bytes() == last
    assert lines_of(path) == [RUN, sent(), FULL]
    assert move_torn_tail(path) is None


def test_a_line_behind_a_page_of_nuls_is_read_and_the_page_is_told(tmp_path: Path) -> None:
    path, unreadable = tmp_path / "a.jsonl", list[str]()
    path.write_bytes(encoded(RUN) + b"\0" * 4096 + encoded(sent()) + encoded(FULL))
    assert [line for _, line in read_lines(path, unreadable)] == [RUN, sent(), FULL]
    assert unreadable == ["a.jsonl:2: 4096 NULs stand before the line"]


def test_a_long_torn_tail_and_a_file_of_nothing_else_are_moved_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x" * 300_000)
    assert move_torn_tail(path)
    assert path.read_bytes() == b""
    path.write_bytes(encoded(RUN) + b"y" * 300_000)
    assert move_torn_tail(path)
    assert path.read_bytes() == encoded(RUN)
    assert (tmp_path / "a.torn").stat().st_size == 600_002


@pytest.mark.parametrize(
    "line",
    [
        b'{"v":2,"event":"attempt","whatever":1}',
        b'{"v":2,"event":"hologram"}',
        encoded(sent()).replace(b'"v":1', b'"v":2').rstrip(),
        encoded(RUN).replace(b'"v":1', b'"v":7').rstrip(),
        encoded(FULL).replace(b'"v":1', b'"v":2').rstrip(),
    ],
)
def test_a_newer_version_is_refused(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(encoded(RUN) + line + b"\n")
    with pytest.raises(StoreError, match="newer"):
        read_history([path])


def test_unknown_fields_are_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(encoded(sent()).replace(b'"v":1', b'"v":1,"extra":{"a":[1]}'))
    assert lines_of(path) == [sent()]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c"])
def test_lines_end_at_a_newline_alone(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "a.jsonl"
    raw = encoded(sent("id")).replace(b'"m"', f'"m{separator}n"'.encode())
    if separator < " ":
        raw = encoded(sent("id")).replace(b'"m"', json.dumps(f"m{separator}n").encode())
    path.write_bytes(raw + encoded(RUN))
    lines = lines_of(path)
    assert len(lines) == 2
    assert isinstance(lines[0], Sent)
    assert lines[0].model == f"m{separator}n"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\x00" * 4096,
        b"no json",
        b"[]",
        b"3",
        b"null",
        b'{"v":1}',
        b'{"v":1,"event":"hologram"}',
        b'{"v":1,"event":"sent","item":5}',
        b'{"v":"x","event":"sent"}',
        b'{"v":1,"event":"sent","item":"\xff"}',
        encoded(sent()).rstrip()[:-5],
        encoded(attempt()).replace(b'"usage":null', b'"usage":' + b"[" * 50_000).rstrip(),
    ],
    ids=lambda line: repr(line[:30]),
)
def test_an_unreadable_line_is_reported_with_its_place_and_passed_over(
    tmp_path: Path, line: bytes
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(encoded(RUN) + line + b"\n" + encoded(sent()))
    history = read_history([path])
    assert history.unfinished == {("r1", "a", 1, 1): sent()}
    assert [place.split(": ")[0] for place in history.unreadable] == ["a.jsonl:2"]


NO_TIMES = ("yesterday", "", "2026-11-21T03:00:04", "2026-02-30T00:00:00Z", "9999-12-31T23:00:00Z")


@pytest.mark.parametrize("at", NO_TIMES)
@pytest.mark.parametrize("kind", ["run", "sent", "attempt", "filed", "end"])
def test_a_line_of_which_the_time_is_none_cannot_be_read(
    tmp_path: Path, kind: str, at: str
) -> None:
    filed = Filed(run_id="r1", item="b", key="k", at=AT, path="images/b.png", made=attempt())
    lines: dict[str, Line] = {"run": RUN, "sent": sent(), "attempt": attempt(), "end": END}
    line = filed if kind == "filed" else lines[kind]
    path = tmp_path / "a.jsonl"
    path.write_bytes(encoded(line).replace(f'"at":"{AT}"'.encode(), f'"at":"{at}"'.encode(), 1))
    unreadable: list[str] = []
    assert list(read_lines(path, unreadable)) == []
    assert [place.split(": ")[0] for place in unreadable] == ["a.jsonl:1"]
    path.write_bytes(encoded(line))
    assert [found for _, found in read_lines(path)] == [line]


@pytest.mark.parametrize(
    "odd", [{"latency_s": 1e300}, {"cools_until": "soon"}, {"cools_until": "2026-11-21T03:00:04"}]
)
def test_nor_can_one_of_a_call_that_took_or_holds_up_others_for_ever(
    tmp_path: Path, odd: dict[str, Any]
) -> None:
    made = attempt(**odd)
    filed = Filed(run_id="r1", item="b", key="k", at=AT, path="images/b.png", made=made)
    path = tmp_path / "a.jsonl"
    path.write_bytes(encoded(made, filed, sent()))
    unreadable: list[str] = []
    assert [line for _, line in read_lines(path, unreadable)] == [sent()]
    assert len(unreadable) == 2


def test_what_cannot_be_read_at_all_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(StoreError):
        read_history(segments(tmp_path))
    with pytest.raises(StoreError):
        move_torn_tail(tmp_path / "a.jsonl")


def test_segments_come_in_the_order_of_their_runs(tmp_path: Path) -> None:
    names = ["20261121T030000Z-ffffffff", "20261121T030001Z-00000000", "20261122T000000Z-aaaaaaaa"]
    for name in reversed(names):
        (tmp_path / f"{name}.jsonl").touch()
    (tmp_path / "x.torn").touch()
    assert [path.stem for path in segments(tmp_path)] == names


# --- what it means ------------------------------------------------------------------------------


def history_of(*lines: Line) -> History:
    history = History()
    for line in lines:
        history.apply(line)
    return history


@pytest.mark.parametrize(
    ("decision", "status"),
    [
        ("done", "done"),
        ("failed", "failed"),
        ("skipped", "skipped"),
        ("retry", "pending"),
        ("stop", "pending"),
    ],
)
def test_the_last_decision_says_where_an_item_stands(decision: str, status: str) -> None:
    last = attempt(n=2, decision=decision, images=FULL.images)
    standing = history_of(attempt(decision="failed"), last).standing(ITEM)
    assert standing is not None
    assert (standing.status, standing.n_attempts, standing.last) == (status, 2, last)


def test_what_left_and_never_came_back_is_unfinished() -> None:
    history = history_of(RUN, sent("a"), sent("b"), attempt("a"), sent("a", 2), END)
    assert set(history.unfinished) == {("r1", "b", 1, 1), ("r1", "a", 1, 2)}
    assert (history.runs, history.ends) == ({"r1": RUN}, {"r1": END})


def test_tokens_and_costs_add_up_and_the_unknown_is_never_nothing() -> None:
    unknown = history_of(attempt(), attempt(n=2)).past(("a", "k"))
    assert unknown is not None
    assert (unknown.tokens, unknown.cost_usd) == (None, None)
    known = history_of(
        attempt(tokens=Tokens(input_text=1), cost_usd=Decimal("0.1")),
        attempt(n=2),
        attempt(n=3, tokens=Tokens(input_text=2, thoughts=3), cost_usd=Decimal("0.02")),
        attempt(n=4, cost_usd=Decimal(5), billed="maybe"),
        attempt(n=0, outcome=Outcome.MISSING_REFERENCE, decision="failed"),
    ).past(("a", "k"))
    assert known is not None
    assert known.tokens == Tokens(input_text=3, thoughts=3)
    assert known.cost_usd == Decimal("0.12")
    assert known.n_attempts == 4


@pytest.fixture
def conversation() -> Item:
    item = Item(id="a", model="m", turns=tuple(Turn(prompt=word) for word in "xyz"))
    return msgspec.structs.replace(item, key=content_key(item))


def turn_of(item: Item, number: int, role: str = "draft", **known: Any) -> Attempt:
    (image,) = FULL.images
    return attempt(
        turn=number,
        key=content_key(item, turn=number),
        images=(msgspec.structs.replace(image, role=role),),
        cost_usd=Decimal(number),
        tokens=Tokens(thoughts=1),
        **known,
    )


@pytest.mark.parametrize(
    ("turns", "status", "last"),
    [
        ([(1, "draft", "done")], "pending", 1),
        ([(1, "draft", "done"), (2, "draft", "retry")], "pending", 2),
        ([(1, "draft", "done"), (2, "draft", "failed")], "failed", 2),
        ([(1, "draft", "done"), (2, "draft", "done"), (3, "final", "done")], "done", 3),
        ([(3, "final", "done"), (1, "draft", "done")], "pending", 1),
        ([(3, "final", "done"), (1, "draft", "failed")], "failed", 1),
        ([(3, "final", "failed"), (1, "draft", "done"), (3, "final", "done")], "done", 3),
        ([(3, "final", "stop")], "pending", 3),
        ([(3, "draft", "done")], "pending", 3),
    ],
)
def test_a_conversation_stands_where_its_latest_turn_does_and_is_done_with_the_last(
    conversation: Item, turns: list[tuple[int, str, str]], status: str, last: int
) -> None:
    lines = [
        turn_of(conversation, n, role, decision=decision, run_id=f"r{run}")
        for run, (n, role, decision) in enumerate(turns)
    ]
    standing = history_of(*lines).standing(conversation)
    assert standing is not None
    assert (standing.status, standing.last.turn) == (status, last)
    assert standing.n_attempts == len(turns)
    assert standing.cost_usd == sum(n for n, _, _ in turns)
    assert standing.tokens == Tokens(thoughts=len(turns))


def test_lines_that_come_twice_change_nothing() -> None:
    retry, done = attempt(decision="retry", cost_usd=Decimal(1)), attempt(n=2, cost_usd=Decimal(2))
    once: list[Line] = [RUN, sent(), retry, sent("a", 2), done]
    expected = history_of(*once)
    for again in (sent(), retry, sent("a", 2), done):
        history = history_of(*once, again)
        assert history.unfinished == {}
        assert history.past(("a", "k")) == expected.past(("a", "k"))
    in_another_run = msgspec.structs.replace(retry, run_id="r2")
    past = history_of(*once, in_another_run).past(("a", "k"))
    assert past is not None
    assert past.n_attempts == 3


def test_another_content_key_is_another_history() -> None:
    history = history_of(attempt(), attempt(key="k2", decision="failed"))
    done, failed = history.past(("a", "k")), history.past(("a", "k2"))
    assert done is not None
    assert failed is not None
    assert (done.last.decision, failed.last.decision) == ("done", "failed")
    assert history.standing(msgspec.structs.replace(ITEM, key="k3")) is None


def test_a_defect_while_writing_is_told_to_whoever_waits_and_hangs_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_descriptor: int) -> None:
        raise ZeroDivisionError("of all things")

    async def main() -> None:
        async with Ledger(tmp_path / "r.jsonl", Secrets([])) as ledger:
            monkeypatch.setattr("batchgen.store.ledger.sync_file", broken)
            for _ in range(2):
                with pytest.raises(StoreError, match="of all things"):
                    await ledger.append(
                        End(
                            run_id="r", at=AT, stop_reason="", exit_code=0, wall_s=0, concurrency={}
                        )
                    )

    asyncio.run(main())


def test_a_line_after_the_end_is_refused_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with Ledger(tmp_path / "r.jsonl", Secrets([])) as ledger:
            pass
        with pytest.raises(StoreError, match="after its end"):
            await ledger.append(
                End(run_id="r", at=AT, stop_reason="", exit_code=0, wall_s=0, concurrency={})
            )

    asyncio.run(main())


def test_lines_about_other_items_are_left_out_and_those_that_may_be_about_more_are_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "r.jsonl"
    quoted = attempt('say "b"')
    path.write_bytes(encoded(sent("a"), attempt("a"), sent("b"), attempt("b"), quoted))
    found = [line for _, line in read_lines(path, about={"b"})]
    assert found == [sent("b"), attempt("b"), quoted]
    begins = dict(read_lines(path))
    assert all(begins[place] == line for place, line in read_lines(path, about={"b"}))
    newer = msgspec.json.encode(sent("a")).replace(b'"v":1', b'"v":2') + b"\n"
    path.write_bytes(newer)
    with pytest.raises(StoreError, match="newer"):
        list(read_lines(path, about={"b"}))
