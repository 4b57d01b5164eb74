"""Several shards of a job on one directory: who may write, whose calls count, and as what run."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.budget import Allowance, Budget
from batchgen.errors import OutputHeld, UsageError
from batchgen.limits import Limits
from batchgen.model import Attempt, Item, Outcome, Reference, Tokens
from batchgen.report.last_run import LastRun
from batchgen.report.reading import Reading
from batchgen.report.summary import ItemTotals
from batchgen.selection import Selection, Shard
from batchgen.store.expanded import place_items, read_items, write_items
from batchgen.store.history import Departed, History
from batchgen.store.layout import Layout
from batchgen.store.ledger import End, Run
from batchgen.store.lock import OutputLock, ShardLock, held_by, is_held, may_be_held_by
from batchgen.store.shards import gather_items, last_shard, refuse_other_job
from batchgen.takeover import Parted

AT = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
FIRST, SECOND = Shard(1, 2), Shard(2, 2)


# --- who may write ------------------------------------------------------------------------------


async def never() -> None:
    pytest.fail("waited")


def lock_of(root: Path, shard: Shard) -> ShardLock:
    layout = Layout(root, shard)
    layout.own.mkdir(parents=True, exist_ok=True)
    return ShardLock(layout, shard, run_id=f"run-{shard.name}", at=AT)


async def test_the_first_shard_is_alone_until_it_lets_the_others_begin(tmp_path: Path) -> None:
    first, second = lock_of(tmp_path, FIRST), lock_of(tmp_path, SECOND)
    n_waits = 0

    async def wait() -> None:
        nonlocal n_waits
        n_waits += 1
        assert first.is_alone
        assert not second.is_alone
        if n_waits == 3:
            await first.share(never)

    async with AsyncExitStack() as stack:
        await first.hold(stack, never)
        assert first.is_alone
        await second.hold(stack, wait)
        assert n_waits == 3
        assert [first.is_alone, second.is_alone] == [False, False]


async def test_a_shard_that_comes_when_all_have_gone_is_alone_again(tmp_path: Path) -> None:
    for shard in (FIRST, SECOND, FIRST):
        lock = lock_of(tmp_path, shard)
        async with AsyncExitStack() as stack:
            await lock.hold(stack, never)
            assert lock.is_alone
            await lock.share(never)


@pytest.mark.parametrize("other", [FIRST, Shard(1, 3), Shard(3, 3), Shard(1, 1)], ids=str)
async def test_no_item_is_in_the_parts_of_two_that_go_on(tmp_path: Path, other: Shard) -> None:
    lock, late = lock_of(tmp_path, FIRST), lock_of(tmp_path, other)
    async with AsyncExitStack() as stack:
        await lock.hold(stack, never)
        await lock.share(never)
        async with AsyncExitStack() as refused:
            with pytest.raises(OutputHeld, match=r"held by another run \(run-s1-2, shard 1/2, "):
                await late.hold(refused, never)
        third = lock_of(tmp_path, SECOND)
        await third.hold(stack, never)


async def test_the_whole_job_and_a_part_of_it_are_never_run_at_once(tmp_path: Path) -> None:
    whole = OutputLock(Layout(tmp_path).lock, run_id="whole", at=AT)
    async with AsyncExitStack() as stack:
        await lock_of(tmp_path, FIRST).hold(stack, never)
        with pytest.raises(OutputHeld, match=r"\(run-s1-2, shard 1/2, process "), whole:
            pytest.fail("taken")
    with whole:
        async with AsyncExitStack() as refused:
            with pytest.raises(OutputHeld, match=r"\(whole, process "):
                await lock_of(tmp_path, FIRST).hold(refused, never)


async def test_whoever_looks_sees_a_directory_held_as_long_as_any_shard_goes_on(
    tmp_path: Path,
) -> None:
    path = Layout(tmp_path).lock
    async with AsyncExitStack() as stack:
        await lock_of(tmp_path, FIRST).hold(stack, never)
        assert is_held(path)
        assert (held_by(path) or "").startswith("run-s1-2, shard 1/2, process ")
        assert may_be_held_by(path, {"run-s1-2", "gone"})
        assert not may_be_held_by(path, {"run-s2-2"})
    assert not is_held(path)
    assert held_by(path) is None


async def test_a_whole_run_that_slips_in_as_the_gate_opens_is_waited_for(tmp_path: Path) -> None:
    first = lock_of(tmp_path, FIRST)
    async with AsyncExitStack() as stack:
        await first.hold(stack, never)
        lock = lock_of(tmp_path, SECOND)
        async with AsyncExitStack() as other:
            waiting = asyncio.create_task(lock.hold(other, lambda: asyncio.sleep(0)))
            await asyncio.sleep(0.01)
            assert not waiting.done()
            await first.share(never)
            await waiting
            assert not lock.is_alone


# --- whose share --------------------------------------------------------------------------------


def test_the_shares_of_all_shards_are_what_the_job_may_have() -> None:
    limits = Limits(rpm=600, tpm=1000, ipm=90, rpd=10, usd_per_10min=Decimal(10))
    budget = Budget(max_cost_usd=Decimal(1), max_failures=Allowance(10))
    shards = [Shard(n, 3) for n in (1, 2, 3)]
    shares = [limits.share(shard) for shard in shards]
    assert {share.rpm for share in shares} == {200}
    assert {share.ipm for share in shares} == {30}
    assert [share.rpd for share in shares] == [4, 3, 3]
    assert {share.concurrency for share in shares} == {limits.concurrency}
    assert {share.usd_per_10min for share in shares} == {Decimal("3.333333")}
    money = [budget.share(shard) for shard in shards]
    assert {share.max_cost_usd for share in money} == {Decimal("0.333333")}
    assert [str(share.max_failures) for share in money] == ["4", "3", "3"]
    assert budget.share(FIRST).max_cost_usd_per_day is None


def test_a_share_of_the_failures_that_is_a_percentage_stays_one() -> None:
    budget = Budget(max_failures=Allowance(5, is_share=True))
    assert budget.share(FIRST).max_failures == budget.max_failures


@pytest.mark.parametrize("name", ["rpm", "ipm", "rpd"])
def test_less_than_one_request_for_each_shard_is_refused(name: str) -> None:
    limits = Limits(**{name: 3})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"{name} 3 is less than one for each of 4 shards"):
        limits.share(Shard(1, 4))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=60),
    st.integers(1, 7),
    st.integers(0, 6),
)
def test_what_was_sent_before_counts_once_over_all_shards(
    sent: list[tuple[str, int]], total: int, n_before: int
) -> None:
    """Runs 0 to n_before - 1 are of the whole job or of other parts; then come these shards."""
    shards = [Shard(n, total) for n in range(1, total + 1)]
    history = History()
    for n in range(7):
        older = None if n % 2 else Shard(1, total + 1)
        shard = older if n < n_before else shards[n % total]
        history.runs[str(n)] = run(str(n), shard)
    departed = [
        Departed(str(n), f"i{place}", "2026-11-21T03:00:00.000Z", model, 1, Decimal("0.1"))
        for place, (model, n) in enumerate(sorted(sent, key=lambda one: one[1]))
    ]
    parted = [Parted.of(history, shard) for shard in shards]
    counted = [past for one in parted for past in one.dealt(departed)]
    assert sorted(one.item for one in counted) == sorted(one.item for one in departed)
    usd = sum((one.usd(past, Decimal("0.1")) for one in parted for past in departed), Decimal(0))
    spent = Decimal("0.1") * len(departed)
    assert spent <= usd <= spent + Decimal("0.000001") * total * len(departed)
    late = [one.dealt(departed[len(departed) // 2 :]) for one in parted]
    for one, whole in zip(late, parted, strict=True):
        assert {past.item for past in one} <= {past.item for past in whole.dealt(departed)}


# --- as what run --------------------------------------------------------------------------------


def run(run_id: str, shard: Shard | None = None, **known: object) -> Run:
    line = Run(
        run_id=run_id,
        at=f"2026-11-21T03:00:{len(run_id):02}.000Z",
        job="job",
        job_sha256="0",
        provider="p",
        version="1",
        shard=None if shard is None else str(shard),
        selection=Selection(shard=shard),
        planned_usd=Decimal(1),
    )
    return msgspec.structs.replace(line, **known)


def end(run_id: str, code: int = 0, reason: str = "finished") -> End:
    concurrency = {"peak": 4, "final": 3, "most": 8}
    return End(
        run_id=run_id,
        at="2026-11-21T03:10:00.000Z",
        stop_reason=reason,
        exit_code=code,
        wall_s=1.0,
        concurrency=concurrency,
        n_selected=5,
    )


def call(run_id: str, item: str, decision: str = "done") -> Attempt:
    is_done = decision == "done"
    return Attempt(
        run_id=run_id,
        item=item,
        key="k",
        turn=1,
        attempt=1,
        at="2026-11-21T03:01:00.000Z",
        model="m",
        provider="p",
        outcome=Outcome.IMAGE if is_done else Outcome.NO_IMAGE,
        decision=decision,  # type: ignore[arg-type]
        tokens=Tokens(input_text=1),
        cost_usd=Decimal("0.1"),
        cost_basis="reported",
        billed="yes",
        latency_s=2.0,
        tags={"item": item},
    )


Lines: TypeAlias = list[Run | Attempt | End]


def read(*lines: Run | Attempt | End, only: Shard | None = None) -> Reading:
    reading = Reading(LastRun(only))
    for place, line in enumerate(lines):
        reading.take(line, place)
    return reading


def read_from(path: Path, lines: Lines) -> Reading:
    """The same from a file, where lines are read again."""
    reading = Reading(LastRun())
    for line in lines:
        begins = path.stat().st_size if path.exists() else 0
        with path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
        reading.take(line, reading.history.place_in(path, begins))
    return reading


def told(reading: Reading) -> tuple[int, Decimal, Sequence[str]]:
    totals = reading.last_run.totals
    return sum(totals.by_outcome.values()), totals.cost_usd, sorted(reading.last_run.run_ids)


def round_of(letter: str, *shards: Shard) -> Lines:
    lines: Lines = []
    for shard in shards:
        run_id = f"{letter}{shard.number}"
        lines += [run(run_id, shard), call(run_id, run_id), end(run_id)]
    return lines


def test_the_last_runs_of_all_shards_are_one_run() -> None:
    reading = read(run("a"), call("a", "x"), end("a"), *round_of("b", FIRST, SECOND))
    assert told(reading) == (2, Decimal("0.2"), ["b1", "b2"])
    one, ended = reading.last_run.run(reading.history.ends)
    assert (one.run_id, one.shard, one.selection, one.planned_usd) == (
        *("b2", None, Selection()),
        Decimal(2),
    )
    assert ended is not None
    assert (ended.exit_code, ended.stop_reason, ended.n_selected) == (0, "finished", 10)
    assert ended.concurrency == {"peak": 8, "final": 6, "most": 16}
    before = reading.last_run.totals_before
    assert before is not None
    assert before.cost_usd == Decimal("0.1")


def test_a_shard_that_was_run_once_more_is_counted_with_the_others() -> None:
    retried: Lines = [run("c1", FIRST), call("c1", "y"), end("c1", 4)]
    reading = read(*round_of("b", FIRST, SECOND), *retried)
    assert told(reading) == (2, Decimal("0.2"), ["b2", "c1"])
    reading = read(*round_of("b", SECOND, FIRST), *retried)
    assert told(reading) == (3, Decimal("0.3"), ["b1", "b2", "c1"])


def test_the_next_night_is_a_round_of_its_own_and_the_one_before_is_known() -> None:
    reading = read(*round_of("b", FIRST, SECOND), *round_of("c", SECOND, FIRST))
    assert told(reading) == (2, Decimal("0.2"), ["c1", "c2"])
    before = reading.last_run.totals_before
    assert before is not None
    assert sum(before.by_outcome.values()) == 2
    later = read(*round_of("b", FIRST, SECOND), *round_of("c", SECOND, FIRST), run("d"))
    assert told(later) == (0, Decimal(0), ["d"])


def test_other_parts_of_a_job_are_another_run() -> None:
    reading = read(*round_of("b", FIRST, SECOND), *round_of("c", Shard(1, 3), Shard(3, 3)))
    assert told(reading) == (2, Decimal("0.2"), ["c1", "c3"])


def test_as_long_as_a_shard_has_not_begun_or_not_ended_the_run_has_not_either() -> None:
    reading = read(*round_of("b", Shard(1, 3), Shard(2, 3)))
    assert reading.last_run.run(reading.history.ends)[1] is None
    reading = read(*round_of("b", FIRST), run("b2", SECOND))
    assert reading.last_run.run(reading.history.ends)[1] is None


def test_the_worst_of_the_shards_is_how_the_run_ended() -> None:
    lines: Lines = [run("b1", FIRST), end("b1", 4), run("b2", SECOND), end("b2", 8, "no money")]
    _, ended = read(*lines).last_run.run({"b1": end("b1", 4), "b2": end("b2", 8, "no money")})
    assert ended is not None
    assert (ended.exit_code, ended.stop_reason) == (8, "no money")


def test_a_shard_sums_up_its_own_run_alone() -> None:
    lines: Lines = [*round_of("b", FIRST, SECOND), *round_of("c", SECOND, FIRST)]
    assert told(read(*lines, only=SECOND)) == (1, Decimal("0.1"), ["c2"])
    reading = read(*round_of("b", FIRST, SECOND), only=FIRST)
    assert told(reading) == (1, Decimal("0.1"), ["b1"])
    assert reading.last_run.run(reading.history.ends)[0].shard == "1/2"


def test_what_failed_before_the_round_is_no_news_after_it(tmp_path: Path) -> None:
    def failed(run_id: str, shard: Shard | None, *items: str) -> Lines:
        calls = [call(run_id, item, "failed") for item in items]
        return [run(run_id, shard), *calls, end(run_id, 4)]

    lines = [
        *failed("a", None, "old-1", "old-2"),
        *failed("b1", FIRST, "old-1", "new-1"),
        *failed("b2", SECOND, "new-2"),
        *failed("c1", SECOND, "new-1"),
    ]
    reading = read_from(tmp_path / "a.jsonl", lines)
    items = {name: Item(id=name, model="m", prompt="p", key="k") for name in NAMES}
    assert [name for name in NAMES if reading.failed_before(items[name])] == ["old-1", "old-2"]


NAMES = ("old-1", "old-2", "new-1", "new-2")


def test_figures_of_shards_add_up_as_those_of_one_run_do() -> None:
    calls = [(n, call("a", f"i{n}", "done" if n % 3 else "failed")) for n in range(40)]
    whole = read(run("a"), *(line for _, line in calls), end("a"))
    lines: Lines = []
    for shard in (Shard(n, 3) for n in (1, 2, 3)):
        run_id = f"b{shard.number}"
        own = [line for n, line in calls if n % 3 == shard.number - 1]
        lines += [run(run_id, shard), *(msgspec.structs.replace(one, run_id=run_id) for one in own)]
        lines.append(end(run_id))
    one, parts = whole.last_run.totals, read(*lines).last_run.totals
    for name in ("by_outcome", "cost_usd", "waste_usd", "tokens", "by_model", "by_tag", "n_priced"):
        assert getattr(parts, name) == getattr(one, name), name
    assert parts.latency_s == one.latency_s
    summary = read(*lines).summary(run("b3"), ItemTotals())
    assert summary.attempts.total == 40


def test_a_killed_shard_leaves_what_may_be_billed_to_its_next_run() -> None:
    lost = msgspec.structs.replace(
        call("b1", "x", "retry"), outcome=Outcome.INTERRUPTED, billed="maybe"
    )
    lines: Lines = [run("b1", FIRST), lost, run("c1", FIRST), end("c1")]
    assert read(*lines).last_run.totals.n_maybe == 1
    beside: Lines = [run("b1", FIRST), lost, *round_of("b", SECOND), run("c1", FIRST), end("c1")]
    assert read(*beside).last_run.totals.n_maybe == 1
    assert read(*beside, only=SECOND).last_run.totals.n_maybe == 0


# --- the expanded job ---------------------------------------------------------------------------


def write_own(root: Path, shard: Shard, items: Sequence[Item], second: int = 0) -> Layout:
    layout = Layout(root, shard)
    layout.own.mkdir(parents=True, exist_ok=True)
    layout.ledger.mkdir(exist_ok=True)
    draft = layout.own / ".items.x.tmp"
    write_items(draft, items)
    place_items(draft, layout)
    layout.segment(f"20261121T0300{second:02}Z-00000000").touch()
    return layout


ITEMS = [Item(id=f"i{n}", model="m", prompt="p", key=f"k{n}") for n in range(20)]


def test_shards_of_one_job_have_one_file_of_it_and_a_report_reads_that(tmp_path: Path) -> None:
    first, second = (write_own(tmp_path, shard, ITEMS) for shard in (FIRST, SECOND))
    assert first.items.stat().st_ino == second.items.stat().st_ino
    assert [path.name for path in second.own.iterdir()] == ["items.jsonl"]
    assert last_shard(Layout(tmp_path)) == SECOND
    gather_items(Layout(tmp_path))
    assert list(read_items(Layout(tmp_path).items)) == ITEMS


def test_references_lead_to_the_same_files_from_wherever_they_are_read(tmp_path: Path) -> None:
    picture = tmp_path / "photos/a.png"
    items = [msgspec.structs.replace(ITEMS[0], references=(Reference(path=str(picture)),))]
    root = tmp_path / "output/job"
    layout = write_own(root, FIRST, items)
    gather_items(Layout(root))
    for path in (layout.items, Layout(root).items):
        [item] = read_items(path)
        assert [one.path for one in item.references] == [str(picture)]


def fetched(item: Item, sha256: str) -> Item:
    address = Reference(url="https://example.org/a.png", sha256=sha256)
    return msgspec.structs.replace(item, key=f"{item.key}-{sha256}", references=(address,))


def test_of_an_item_that_shards_know_apart_that_counts_which_its_own_shard_knows(
    tmp_path: Path,
) -> None:
    for shard, sha256 in ((FIRST, "1"), (SECOND, "2")):
        write_own(tmp_path, shard, [fetched(item, sha256) for item in ITEMS])
    gather_items(Layout(tmp_path))
    for item in read_items(Layout(tmp_path).items):
        assert item.key.endswith("-1" if FIRST.holds(item.id) else "-2")


def test_a_shard_that_read_another_job_does_not_count(tmp_path: Path) -> None:
    write_own(tmp_path, FIRST, ITEMS)
    write_own(tmp_path, SECOND, ITEMS[1:], second=1)
    gather_items(Layout(tmp_path))
    assert list(read_items(Layout(tmp_path).items)) == ITEMS[1:]


def test_a_job_that_became_again_what_it_was_is_told_as_that(tmp_path: Path) -> None:
    layout, others = Layout(tmp_path), ITEMS[:3]
    for second, (shard, items) in enumerate(
        [(FIRST, ITEMS), (SECOND, ITEMS), (FIRST, others), (FIRST, ITEMS)]
    ):
        write_own(tmp_path, shard, items, second=second)
        gather_items(layout)
        assert list(read_items(layout.items)) == items
    before = layout.items.stat()
    gather_items(layout)
    assert layout.items.stat() == before, "written again though nothing has changed"


async def test_no_shard_begins_with_another_version_while_one_goes_on(tmp_path: Path) -> None:
    write_own(tmp_path, FIRST, ITEMS)
    draft = Layout(tmp_path, SECOND).own / "draft"
    draft.parent.mkdir(parents=True)
    lock = ShardLock(Layout(tmp_path, FIRST), FIRST, run_id="20261121T030000Z-00000000", at=AT)
    refetched = [fetched(item, "2") for item in ITEMS]
    write_items(draft, ITEMS[1:])
    refuse_other_job(Layout(tmp_path, SECOND), draft)
    async with AsyncExitStack() as stack:
        await lock.hold(stack, never)
        with pytest.raises(OutputHeld, match="shard 1/2 goes on with another version of the job"):
            refuse_other_job(Layout(tmp_path, SECOND), draft)
        write_items(draft, ITEMS)
        refuse_other_job(Layout(tmp_path, SECOND), draft)
        write_own(tmp_path, FIRST, [fetched(item, "1") for item in ITEMS])
        write_items(draft, refetched)  # other bytes at the same addresses are the same job
        refuse_other_job(Layout(tmp_path, SECOND), draft)


def test_a_job_that_was_run_as_a_whole_is_left_as_it_is(tmp_path: Path) -> None:
    write_own(tmp_path, FIRST, ITEMS)
    layout = Layout(tmp_path)
    layout.segment("20261122T030000Z-00000000").touch()
    write_items(layout.items, ITEMS[:3])
    gather_items(layout)
    assert list(read_items(layout.items)) == ITEMS[:3]
    gather_items(Layout(tmp_path / "nothing"))
    assert not (tmp_path / "nothing").exists()
