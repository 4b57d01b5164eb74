"""What is told before the first request of a run, and that its advice is good."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from batchgen import AttemptEnded, RunBegan, Warned
from batchgen.emulator import Emulator, Settings
from batchgen.known_models import KnownModels
from batchgen.preview import preview
from tests import ledgers, servers
from tests.commands import batchgen
from tests.disks import needs_small_disks, small_disk
from tests.hooks import hook
from tests.runs import MODEL, Json, QuickTime, Ran, run_job, write_job
from tests.servers import FaultServer

OLD, NEW = "gemini-3.1-flash-image", "gemini-nano-banana-2.1"
RAW = {"id": "raw", "request": {"contents": [{"parts": [{"text": "raw"}]}]}}
ITEMS: list[str | Json] = [
    "cat",
    {"id": "twin", "prompt": "cat"},
    {"id": "wide", "prompt": "wide", "references": ["item:cat"], "image_size": "2K"},
    {"id": "talk", "turns": [{"prompt": "draw"}, {"prompt": "bluer"}]},
    {"id": "many", "prompt": "many", "count": 2},
    {"id": "named", "prompt": "named", "extra": {"labels": {"a": "b"}}},
]
# cat, wide, two turns, two copies, named, raw; the twin of the cat is a copy of it.
N_MADE = 8


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(servers.draws) as running:
        yield running


def job_of(directory: Path, model: str, *more: str | Json) -> Path:
    raw = {**RAW, "model": model}
    return write_job(directory / "job.jsonl", [*ITEMS, raw, *more], model=model)


def warned(ran: Ran) -> list[str]:
    return [event.message for event in ran.events if isinstance(event, Warned)]


def pictures(ran: Ran) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in ledgers.pictures(ran.directory).items()}


async def test_moving_to_the_successor_as_the_warning_says_pays_for_nothing_again(
    tmp_path: Path, server: FaultServer
) -> None:
    first = await run_job(job_of(tmp_path, OLD), server)
    [told] = [message for message in warned(first) if "its successor" in message]
    assert f"its successor is {NEW}" in told
    assert "run once with --ignore-change model" in told
    before, n_before = pictures(first), server.n_requests
    assert n_before == N_MADE
    moved = await run_job(job_of(tmp_path, NEW), server, ignore_change=["model"])
    assert (server.n_requests, moved.exit_code, pictures(moved)) == (n_before, 0, before)
    assert not [message for message in warned(moved) if "its successor" in message]
    for _ in range(2):  # once is enough: what was adopted is written down
        plain = await run_job(job_of(tmp_path, NEW), server)
        assert (server.n_requests, plain.summary.items.done) == (n_before, len(before))
        assert pictures(plain) == before
    await run_job(job_of(tmp_path, NEW, "owl"), server)
    assert [asked.prompt for asked in server.log[n_before:]] == ["owl"]
    assert NEW in server.log[-1].target


@pytest.mark.parametrize("n_done", [1, 2])
async def test_a_conversation_that_was_moved_goes_on_from_its_picture(
    n_done: int, tmp_path: Path
) -> None:
    """A model takes only the signatures that it gave itself; the emulator checks them too."""

    def job_of_turns(model: str, *prompts: str) -> Path:
        turns = [{"prompt": prompt} for prompt in prompts]
        no_more = {"no_image": 0}
        return write_job(
            tmp_path / "job.jsonl", [{"id": "talk", "turns": turns}], model=model, retries=no_more
        )

    told = ["draw", "bluer"] if n_done == 2 else ["draw", "bluer [[NO_IMAGE:1]]"]
    with Emulator(Settings(latency_s=(0, 0))) as emulator:
        url = str(emulator.base_url)
        first = await run_job(job_of_turns(OLD, *told), url)
        assert first.exit_code == (0 if n_done == 2 else 4)
        job = job_of_turns(NEW, *told)
        moved = await run_job(job, url, ignore_change=["model"])
        assert moved.exit_code == 0
        assert emulator.counts()["requests"] == (2 if n_done == 2 else 3)
        longer = await run_job(job_of_turns(NEW, *told, "darker"), url)
        assert longer.exit_code == 0
        assert emulator.counts()["requests"] == (3 if n_done == 2 else 4)
    notes = [one["note"] for one in longer.attempts if one.get("note")]
    assert [f"it was {OLD} that said it" in note for note in notes] == [True] * len(notes)
    assert notes


async def test_without_the_flag_everything_would_be_paid_again(
    tmp_path: Path, server: FaultServer
) -> None:
    await run_job(job_of(tmp_path, OLD), server)
    await run_job(job_of(tmp_path, NEW), server)
    assert server.n_requests == 2 * N_MADE


async def test_old_prices_are_told_by_the_clock_of_the_run_before_its_first_request(
    tmp_path: Path, server: FaultServer
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"], model=NEW)
    later = QuickTime(datetime(2027, 6, 1, 3, tzinfo=UTC))
    ran = await run_job(job, server, quick=later)
    [told] = [message for message in warned(ran) if "prices" in message]
    assert told.startswith(f"warning: the prices of {NEW} were last checked on ")
    kinds = [type(event) for event in ran.events]
    assert kinds.index(Warned) < kinds.index(RunBegan) < kinds.index(AttemptEnded)
    # Nothing to make is nothing to be paid for.
    again = await run_job(job, server, quick=QuickTime(datetime(2027, 6, 2, 3, tzinfo=UTC)))
    assert not [message for message in warned(again) if "prices" in message]


async def test_a_model_near_its_end_is_told_by_the_clock_of_the_run(
    tmp_path: Path, server: FaultServer
) -> None:
    dying = "gemini-2.5-flash-image"
    job = write_job(tmp_path / "job.jsonl", ["cat"], model=dying)
    early = await run_job(job, server, quick=QuickTime(datetime(2026, 8, 1, tzinfo=UTC)))
    assert not [message for message in warned(early) if "Google" in message]
    late = await run_job(job, server, quick=QuickTime(datetime(2026, 9, 20, tzinfo=UTC)))
    assert [message for message in warned(late) if f"Google shuts {dying} down" in message]


async def test_what_lies_ahead_is_in_the_summary_and_is_told_by_a_message_once(
    tmp_path: Path, server: FaultServer
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"], model="gemini-2.5-flash-image")
    days = [QuickTime(datetime(2026, 9, day, 2, tzinfo=UTC)) for day in (1, 5, 6)]
    with hook() as told:
        early, first, second = [
            await run_job(job, server, notify=told.url, quick=quick) for quick in days
        ]
        moved = await run_job(
            write_job(job, ["cat"], model=NEW), server, notify=told.url, ignore_change=["model"]
        )
    assert server.n_requests == 1
    assert early.summary.ahead is msgspec.UNSET
    assert first.summary.ahead == second.summary.ahead
    assert moved.summary.ahead is msgspec.UNSET
    [[change]] = told.changes
    assert change.startswith("ahead: Google shuts gemini-2.5-flash-image down on 2026-10-02")
    assert "its successor is gemini-3.1-flash-image: set the model to it" in change


async def test_a_night_without_work_does_not_forget_what_was_told(
    tmp_path: Path, server: FaultServer
) -> None:
    nights = [QuickTime(datetime(2027, 6, day, 2, tzinfo=UTC)) for day in range(1, 6)]
    jobs: list[list[str | Json]] = [["a"], ["a"], ["a", "b"], ["a", "b"], ["a", "b", "c"]]
    with hook() as told:
        for quick, items in zip(nights, jobs, strict=True):
            job = write_job(tmp_path / "job.jsonl", items, model=NEW)
            await run_job(job, server, notify=told.url, quick=quick)
    assert server.n_requests == 3
    [[change]] = told.changes
    assert change.startswith(f"ahead: the prices of {NEW} were last checked on ")


@pytest.mark.parametrize("more", [(), ("darker",)])
async def test_a_plan_does_not_count_the_turns_that_are_taken_over(
    more: tuple[str, ...], tmp_path: Path
) -> None:
    def job_of_turns(model: str, *prompts: str) -> Path:
        turns = [{"prompt": prompt} for prompt in prompts]
        retries = {"no_image": 0}
        return write_job(
            tmp_path / "job.jsonl", [{"id": "t", "turns": turns}], model=model, retries=retries
        )

    with Emulator(Settings(latency_s=(0, 0))) as emulator:
        url = str(emulator.base_url)
        await run_job(job_of_turns(OLD, "draw", "bluer [[NO_IMAGE:1]]"), url)
        job = job_of_turns(NEW, "draw", "bluer [[NO_IMAGE:1]]", *more)
        where = ("-o", job.parent / "output", "--ignore-change", "model", "--json")
        plan = batchgen("plan", job, *where)
        moved = await run_job(job, url, ignore_change=["model"])
    n_made = 1 + len(more)
    assert plan.json["figures"]["pictures"] == n_made
    assert moved.summary.attempts.total == n_made
    assert moved.summary.planned_usd == Decimal(plan.json["planned_usd"])


def test_what_lies_ahead_is_told_where_no_progress_is(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"], model=OLD, provider="emulator")
    told = batchgen("run", job, "-o", tmp_path / "a", "--progress", "none")
    assert "its successor is" in told.err
    assert "to make" not in told.err
    assert "its successor is" not in batchgen("run", job, "-o", tmp_path / "b", "-q").err


def test_a_plan_tells_the_same_and_its_json_has_it(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat", "dog"], model=OLD)
    done = batchgen("plan", job, "-o", tmp_path, "--json")
    assert done.code == 0
    [told] = done.json["warnings"]
    assert told in done.err.splitlines()
    assert f"its successor is {NEW}: set the model to it and run once" in told
    assert told.count("more like it") == 1  # the same of two items is told once


def test_validate_names_the_successor_and_the_way_there(tmp_path: Path) -> None:
    done = batchgen("validate", write_job(tmp_path / "job.jsonl", ["cat"], model=OLD), "--json")
    [told] = [one["message"] for one in done.json["warnings"]]
    assert told == KnownModels.shipped().farewell(OLD, on=datetime.now(UTC).date())
    assert "--ignore-change model" in told


@needs_small_disks
async def test_a_disk_that_will_not_hold_the_night_is_told_and_holds_nobody_up(
    tmp_path: Path, server: FaultServer
) -> None:
    names = [f"item-{n}" for n in range(40)]
    job = write_job(tmp_path / "job.jsonl", names, model=MODEL, limits={"concurrency": 1})
    with small_disk(tmp_path / "disk", 64 << 20) as disk:
        output = disk.path / "output"
        planned: list[str] = []
        found = preview(job, warn=planned.append, output=output)
        ran = await run_job(job, server, output=output, limit=10, whole=False)
        assert (ran.exit_code, server.n_requests) == (0, 10)
        assert warned(ran) == []  # ten at 2 MB have room
        [told] = planned
        assert found.warnings == planned
        assert "40 pictures should take 80.0 MB (each taken for the largest seen" in told
        assert " MB free" in told
        # Now there are ten to tell what a picture takes: about 12 kB.
        assert preview(job, warn=planned.append, output=output).warnings == []
        figures = preview(job, warn=planned.append, output=output).figures
    assert figures is not None
    n_bytes = len(servers.png("item-0 1"))
    assert figures.disk_bytes.by_largest == 0
    assert abs(figures.disk_bytes.expected - 30 * n_bytes) < n_bytes


@needs_small_disks
async def test_few_free_files_are_told_as_well(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", [f"item-{n}" for n in range(9)], model=MODEL)
    with small_disk(tmp_path / "disk", 64 << 20, "nr_inodes=20") as disk:
        found = preview(job, warn=lambda _: None, output=disk.path)
    assert [one for one in found.warnings if "more files (df -i)" in one]


def test_the_days_of_the_tests_are_those_of_the_table() -> None:
    known = KnownModels.shipped()
    on = date(2026, 9, 20)
    assert known.farewell("gemini-2.5-flash-image", on=on - timedelta(days=60)) is None
