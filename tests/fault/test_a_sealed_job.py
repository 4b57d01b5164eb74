"""A job that is done, run again: what the last report left is taken, if nobody touched it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchgen import Outcome, Redo, Selection, StoreError
from batchgen.errors import Stopped
from batchgen.events import Event, RunBegan
from batchgen.report.rebuild import rebuild
from batchgen.report.seal import find_unbroken
from batchgen.store.layout import Layout
from tests.commands import batchgen
from tests.pages import cards_of, check_page
from tests.runs import Ran, run_job, write_job
from tests.servers import FaultServer, draws, refuses

TOLD = ("results.jsonl", "report.html", "summary.json", "summary.md", "failed.jsonl")
HEAD = {"event": "run", "v": 1, "at": "2026-11-21T03:00:00.000Z", "job": "job", "job_sha256": "0"}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Three items; one has a reference, and one a tag."""
    shutil.copy(Path(__file__).parents[2] / "jobs/photos/mug.jpg", tmp_path / "mug.jpg")
    told = {"prompt": "a mug", "references": ["mug.jpg"]}
    return write_job(tmp_path / "job.jsonl", ["a", {"id": "b", **told}, tagged("c")])


def tagged(item_id: str) -> dict[str, Any]:
    return {"id": item_id, "prompt": item_id, "tags": {"set": "<x>"}}


def files(directory: Path) -> dict[str, bytes | None]:
    """What people read of a job."""
    paths = {name: directory / name for name in TOLD}
    return {name: path.read_bytes() if path.exists() else None for name, path in paths.items()}


def results_file(ran: Ran) -> tuple[int, int]:
    """Tells one results.jsonl from the next, though they may hold the same."""
    now = (ran.directory / "results.jsonl").stat()
    return now.st_ino, now.st_ctime_ns


def thumbnails(ran: Ran) -> set[str]:
    return {path.name for path in (ran.directory / "thumbnails").iterdir()}


async def run_again(job: Path, server: FaultServer, **options: Any) -> tuple[Ran, bool]:
    """Run again; say whether it took what it found, and hold that a report would tell the same."""
    directory = job.parent / "output" / "job"
    before = (
        (directory / "results.jsonl").stat() if (directory / "results.jsonl").exists() else None
    )
    ran = await run_job(job, server, **options)
    is_taken = before is not None and results_file(ran) == (before.st_ino, before.st_ctime_ns)
    told = files(directory)
    other = shutil.copytree(directory, job.parent / "other", dirs_exist_ok=True)
    rebuild(other)
    assert files(other) == told
    shutil.rmtree(other)
    return ran, is_taken


async def test_a_run_that_finds_all_as_it_was_left_tells_what_a_report_would(job: Path) -> None:
    with FaultServer(draws) as server:
        await run_job(job, server)
        for _ in range(3):
            ran, is_taken = await run_again(job, server)
            assert is_taken
            items = ran.summary.items
            assert (ran.exit_code, items.done, items.reused) == (0, 3, 3)
            check_page((ran.directory / "report.html").read_text("utf-8"))
        assert sum(server.requests.values()) == 3
    assert len(list((job.parent / "output/job/runs").iterdir())) == 4


async def test_the_first_run_after_one_says_how_much_less_it_cost(job: Path) -> None:
    with FaultServer(draws) as server:
        first = await run_job(job, server)
        second, _ = await run_again(job, server)
        third, _ = await run_again(job, server)
    assert first.summary.cost_usd
    assert second.summary.diff is not None
    assert second.summary.diff.cost_delta_usd == -first.summary.cost_usd
    assert third.summary.diff is not None
    assert third.summary.diff.cost_delta_usd == 0


@pytest.mark.timeout(120)
async def test_after_many_nights_without_work_the_page_still_shows_the_run_that_had_some(
    job: Path,
) -> None:
    with FaultServer(draws) as server:
        first = await run_job(job, server)
        for _ in range(64):
            ran = await run_job(job, server)
        ran, is_taken = await run_again(job, server)
    assert is_taken
    assert (
        f"<bdi>{first.summary.run_id}</bdi></span>" in (ran.directory / "report.html").read_text()
    )


def remove(name: str) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        (directory / name).unlink()

    change.__name__ = f"{name} is removed"
    return change


def a_page_was_written_by_hand(directory: Path) -> None:
    page = directory / "report.html"
    page.write_text(page.read_text("utf-8").replace("a mug", "A MUG"), "utf-8")


def a_picture_is_marked(directory: Path) -> None:
    line = json.loads((directory / "results.jsonl").read_text("utf-8").splitlines()[0])
    mark = {"item": line["id"], "sha256": line["images"][0]["sha256"], "mark": "keep"}
    (directory / "review.jsonl").write_text(json.dumps(mark) + "\n", "utf-8")


def a_run_was_killed_before_it_did_anything(directory: Path) -> None:
    run = {**HEAD, "run_id": "20991121T030000Z-4f2a9c31", "provider": "p", "version": "0"}
    (directory / f"ledger/{run['run_id']}.jsonl").write_text(json.dumps(run) + "\n", "utf-8")


def the_ledger_has_a_line_that_is_none(directory: Path) -> None:
    [segment] = (directory / "ledger").iterdir()
    segment.write_bytes(segment.read_bytes() + b"?\n")


def a_call_left_something(directory: Path) -> None:
    (directory / ".parts/somebodys.json").write_text("{}")


def a_summary_is_removed(directory: Path) -> None:
    [summary] = (directory / "runs").iterdir()
    summary.unlink()


def the_review_is_a_link(directory: Path) -> None:
    (directory / "marks").touch()
    (directory / "review.jsonl").symlink_to(directory / "marks")


def the_seal_is_torn(directory: Path) -> None:
    os.truncate(directory / ".seal", 100)


def the_seal_is_of_another_version(directory: Path) -> None:
    told = json.loads((directory / ".seal").read_bytes())
    (directory / ".seal").write_text(json.dumps({**told, "version": "0.0.1"}))


def a_report_was_made(directory: Path) -> None:
    rebuild(directory)


def everything_was_copied(directory: Path) -> None:
    other = directory.with_name("copied")
    shutil.copytree(directory, other)
    shutil.rmtree(directory)
    other.rename(directory)


CHANGES = (
    *map(remove, (".seal", "results.jsonl", "report.html")),
    *(a_page_was_written_by_hand, a_picture_is_marked, a_run_was_killed_before_it_did_anything),
    *(the_ledger_has_a_line_that_is_none, a_call_left_something, the_seal_is_torn),
    *(the_seal_is_of_another_version, everything_was_copied, a_summary_is_removed),
    *(the_review_is_a_link, a_report_was_made),
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.replace("_", " "))
async def test_whatever_has_been_touched_everything_is_read_again(
    job: Path, change: Callable[[Path], None]
) -> None:
    with FaultServer(draws) as server:
        first = await run_job(job, server)
        change(first.directory)
        ran, is_taken = await run_again(job, server, whole=False)
        assert not is_taken
        assert ran.summary.items.reused == 3
        assert sum(server.requests.values()) == 3


async def test_a_picture_that_is_gone_or_cut_or_found_broken_is_made_again(job: Path) -> None:
    def remove(picture: Path) -> None:
        picture.unlink()

    def cut(picture: Path) -> None:
        os.truncate(picture, 100)

    def spoil(picture: Path) -> None:
        data = bytearray(picture.read_bytes())
        data[-20:] = bytes(20)
        picture.write_bytes(data)
        assert batchgen("verify", picture.parents[1]).code == 4

    with FaultServer(draws) as server:
        first = await run_job(job, server)
        for n, change in enumerate((remove, cut, spoil), 1):
            change(first.directory / "images/a.png")
            await run_again(job, server)
            assert server.requests["a"] == 1 + n
            assert (await run_again(job, server))[1]
        assert sum(server.requests.values()) == 6


async def test_a_job_that_changed_is_planned_anew(job: Path) -> None:
    with FaultServer(draws) as server:
        await run_job(job, server)
        write_job(job, ["a", "b", tagged("c"), "d"])
        ran, _ = await run_again(job, server)
        assert (server.requests["d"], ran.summary.items.reused) == (1, 2)
        write_job(job, ["a", "d"])
        ran, _ = await run_again(job, server, whole=False)
        assert ran.summary.items.total == 2


async def test_settings_that_change_no_item_leave_it_sealed(job: Path) -> None:
    with FaultServer(draws) as server:
        await run_job(job, server)
        ran, is_taken = await run_again(job, server, concurrency=3)
    assert is_taken
    assert ran.summary.concurrency.final == 3


async def test_who_asks_for_more_or_for_less_is_heard(job: Path) -> None:
    with FaultServer(draws) as server:
        await run_job(job, server)
        some = await run_job(job, server, selection=Selection(only=("a",)), whole=False)
        assert (some.summary.items.total, some.summary.items.reused) == (1, 1)
        await run_job(job, server)
        forced = await run_job(job, server, redo=Redo(done=True))
        assert forced.summary.items.reused == 0
        assert sum(server.requests.values()) == 6
        limited = await run_job(job, server, limit=1)
        assert limited.summary.items.reused == 3


async def test_what_was_mended_is_told_of_once(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b"])
    with FaultServer(lambda asked: refuses(400) if asked.prompt == "b" else draws(asked)) as server:
        await run_job(job, server)
    with FaultServer(draws) as server:
        mended = await run_job(job, server, redo=Redo(failed=frozenset(Outcome)))
        assert mended.summary.diff is not None
        assert mended.summary.diff.fixed == ["b"]
        for _ in range(2):
            ran, is_taken = await run_again(job, server)
            assert is_taken
            assert ran.summary.diff is not None
            assert ran.summary.diff.fixed == []


async def test_what_failed_under_another_prompt_is_forgotten(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", {"id": "b", "prompt": "bad"}])
    with FaultServer(
        lambda asked: refuses(400) if asked.prompt == "bad" else draws(asked)
    ) as ended:
        await run_job(job, ended)
        write_job(job, ["a", "b"])
        await run_job(job, ended, whole=False)
        assert (await run_again(job, ended, whole=False))[1]


async def test_a_job_that_no_run_has_seen_through_is_not_sealed(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise StoreError("killed")

    items = ["a", "b", "c"]
    with FaultServer(draws) as server:
        await run_job(write_job(job, items), server)
        write_job(job, items, output={"name": "new-{id}"})
        with monkeypatch.context() as dying:
            dying.setattr("batchgen.runner.read_past", die)
            with pytest.raises(StoreError):
                await run_job(job, server)
        rebuild(job.parent / "output/job")
        ran, is_taken = await run_again(job, server)
        assert not is_taken
    pictures = sorted(path.name for path in (ran.directory / "images").iterdir())
    assert pictures == ["new-a.png", "new-b.png", "new-c.png"]


async def test_what_a_budget_stopped_is_not_sealed(tmp_path: Path) -> None:
    job = tmp_path / "job.jsonl"
    with FaultServer(draws) as server:
        for prompt, max_usd in (("x", 1), ("y", 1), ("x", 0.01)):
            write_job(job, [{"id": "a", "prompt": prompt}])
            await run_job(job, server, whole=False, max_cost_usd=max_usd)
        assert server.requests == {"x": 1, "y": 1}
        await run_job(job, server, whole=False)
        assert server.requests == {"x": 2, "y": 1}


async def test_a_seal_that_cannot_be_left_costs_nothing(job: Path) -> None:
    (job.parent / "output/job/.seal").mkdir(parents=True)
    with FaultServer(draws) as server:
        first = await run_job(job, server)
        again, is_taken = await run_again(job, server)
    assert (first.exit_code, again.exit_code, is_taken) == (0, 0, False)


def forge_seal(file: Path) -> None:
    """Let the seal take a file for one that was left so."""
    seal, now = file.with_name(".seal"), file.stat()
    left = json.loads(seal.read_bytes())
    left["stamps"][file.name] = [now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns]
    seal.write_text(json.dumps(left))


async def test_results_that_make_no_sense_are_written_anew(job: Path) -> None:
    with FaultServer(draws) as server:
        first = await run_job(job, server)
        results = first.directory / "results.jsonl"
        results.write_bytes(b"\xff\n" + results.read_bytes())
        forge_seal(results)
        ran, _ = await run_again(job, server)
    assert ran.summary.items.reused == 3
    assert len((ran.directory / "results.jsonl").read_bytes().splitlines()) == 3


async def test_a_forged_seal_passes_on_no_markup(job: Path) -> None:
    with FaultServer(draws) as server:
        first = await run_job(job, server)
        page = first.directory / "report.html"
        page.write_text(page.read_text("utf-8").replace("a mug", "<meta http-equiv>"), "utf-8")
        forge_seal(page)
        ran, _ = await run_again(job, server)
    assert "<meta http-equiv>" not in (ran.directory / "report.html").read_text("utf-8")


async def test_what_is_not_wholly_done_is_not_sealed(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b"])
    with FaultServer(lambda asked: refuses(400) if asked.prompt == "b" else draws(asked)) as server:
        ran = await run_job(job, server)
        assert not (ran.directory / ".seal").exists()
        ran, is_taken = await run_again(job, server)
    assert not is_taken
    assert ran.exit_code == 4


async def test_of_a_conversation_more_must_be_there_than_its_last_picture(tmp_path: Path) -> None:
    turns = [{"prompt": "a cat"}, {"prompt": "in blue"}]
    job = write_job(tmp_path / "job.jsonl", [{"id": "a", "turns": turns}])
    with FaultServer(draws) as server:
        ran = await run_job(job, server)
    assert ran.exit_code == 0
    assert not (ran.directory / ".seal").exists()


async def test_an_item_that_failed_when_it_was_forced_is_told_of_as_before(job: Path) -> None:
    with FaultServer(draws) as server:
        await run_job(job, server)
    with FaultServer(lambda _: refuses(400)) as server:
        await run_job(job, server, redo=Redo(done=True))
        assert not (await run_again(job, server))[1]


async def test_what_is_changed_while_such_a_run_goes_on_is_in_its_report(job: Path) -> None:
    directory = job.parent / "output/job"

    def mark(event: Event) -> None:
        if isinstance(event, RunBegan):
            a_picture_is_marked(directory)

    with FaultServer(draws) as server:
        await run_job(job, server)
        ran = await run_job(job, server, on_event=mark)
    page = (directory / "report.html").read_text("utf-8")
    assert cards_of(page)["a"]["mark"] == "keep"
    assert ran.summary.review


async def test_thumbnails_that_are_wanted_now_are_made(job: Path) -> None:
    with FaultServer(draws) as server:
        await run_job(job, server)
        ran = await run_job(job, server, thumbnails=True)
        assert len(thumbnails(ran)) >= 3
        again, is_taken = await run_again(job, server, thumbnails=True)
        assert is_taken
        (again.directory / "thumbnails" / min(thumbnails(again))).unlink()
        last, is_taken = await run_again(job, server, thumbnails=True)
    assert not is_taken
    assert thumbnails(last) == thumbnails(ran)


async def test_looking_for_pictures_ends_when_somebody_asks_to_stop(job: Path) -> None:
    def stop() -> None:
        raise Stopped("sigint", 130)

    with FaultServer(draws) as server:
        ran = await run_job(job, server)
    assert find_unbroken(Layout(ran.directory), lambda: None) is not None
    with pytest.raises(Stopped):
        find_unbroken(Layout(ran.directory), stop)
