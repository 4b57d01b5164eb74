"""Thumbnails one by one, as somebody looks at a page, whatever becomes of the process."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from batchgen.report.thumbnails import Source, Thumbnailer, thumbnail_path
from tests.commands import until
from tests.unit.test_thumbnails import children, is_running, named, names, pictures


async def test_those_who_ask_at_the_same_time_get_the_same_one(tmp_path: Path) -> None:
    first, second = pictures(tmp_path, 2)
    async with Thumbnailer(tmp_path) as thumbnailer:
        asked = (first, second, first, first)
        paths = await asyncio.gather(*map(thumbnailer.thumbnail, asked))
        assert paths == [thumbnail_path(tmp_path, one.sha256) for one in asked]
        made = paths[0].stat()  # type: ignore[union-attr]
        assert await thumbnailer.thumbnail(first) == paths[0]
        assert paths[0].stat() == made  # type: ignore[union-attr]
        assert len(children()) == 1
    assert names(tmp_path) == named(first, second)
    assert not children()


async def test_of_what_is_no_picture_there_is_none(tmp_path: Path) -> None:
    (good,) = pictures(tmp_path, 1)
    async with Thumbnailer(tmp_path, n_workers=2) as thumbnailer:
        for sha256 in ("a" * 64, "../" * 21 + "x"):
            assert await thumbnailer.thumbnail(Source(sha256, good.path)) is None
        assert await thumbnailer.thumbnail(good) == thumbnail_path(tmp_path, good.sha256)
    assert await thumbnailer.thumbnail(good) is None


async def test_a_picture_that_costs_a_process_is_not_tried_again(tmp_path: Path) -> None:
    first, costly, last = pictures(tmp_path, 3)
    async with Thumbnailer(tmp_path) as thumbnailer:
        await thumbnailer.thumbnail(first)
        (pid,) = children()
        os.kill(pid, signal.SIGSTOP)
        thumbnailer._patience_s = 0.3
        assert await thumbnailer.thumbnail(costly) is None
        thumbnailer._patience_s = 30
        assert not children()
        assert await thumbnailer.thumbnail(costly) is None
        assert not children()
        assert await thumbnailer.thumbnail(last) is not None


async def test_a_process_that_is_killed_between_two_pictures_costs_none(tmp_path: Path) -> None:
    first, second = pictures(tmp_path, 2)
    async with Thumbnailer(tmp_path) as thumbnailer:
        await thumbnailer.thumbnail(first)
        (pid,) = children()
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(until, lambda: not is_running(pid), "it is gone")
        assert await thumbnailer.thumbnail(second) == thumbnail_path(tmp_path, second.sha256)


async def test_a_picture_that_nobody_waits_for_any_more_is_not_begun(tmp_path: Path) -> None:
    first, blocking, shared, unwanted, wanted = pictures(tmp_path, 5)
    async with Thumbnailer(tmp_path) as thumbnailer:
        await thumbnailer.thumbnail(first)
        (pid,) = children()
        os.kill(pid, signal.SIGSTOP)
        tasks = [
            asyncio.create_task(thumbnailer.thumbnail(one))
            for one in (blocking, shared, unwanted, shared, wanted)
        ]
        await asyncio.sleep(0)
        for gone in tasks[:3]:
            gone.cancel()
        await asyncio.wait(tasks[:3])
        os.kill(pid, signal.SIGCONT)
        assert await tasks[3] is not None
        assert await tasks[4] is not None
    assert names(tmp_path) - named(blocking) == named(first, shared, wanted)


async def test_who_still_waits_at_the_end_is_told_that_there_is_none(tmp_path: Path) -> None:
    first, second, third = pictures(tmp_path, 3)
    async with Thumbnailer(tmp_path) as thumbnailer:
        await thumbnailer.thumbnail(first)
        (pid,) = children()
        os.kill(pid, signal.SIGSTOP)
        tasks = [asyncio.create_task(thumbnailer.thumbnail(one)) for one in (second, third)]
        await asyncio.to_thread(until, lambda: thumbnailer._at_work, "the second is begun")
    assert await asyncio.wait_for(asyncio.gather(*tasks), 5) == [None, None]
    assert not is_running(pid)


async def test_where_no_process_starts_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    first, second, made_before = pictures(tmp_path, 3)
    there = thumbnail_path(tmp_path, made_before.sha256)
    there.parent.mkdir()
    there.write_bytes(b"small")
    async with Thumbnailer(tmp_path) as thumbnailer:
        assert await thumbnailer.thumbnail(first) is None
        monkeypatch.undo()
        assert await thumbnailer.thumbnail(second) is None
        assert await thumbnailer.thumbnail(made_before) == there


async def test_nothing_is_written_behind_a_link_on_demand(tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    (tmp_path / "thumbnails").symlink_to(tmp_path / "away")
    async with Thumbnailer(tmp_path) as thumbnailer:
        assert await thumbnailer.thumbnail(pictures(tmp_path, 1)[0]) is None
    assert not list((tmp_path / "away").iterdir())
