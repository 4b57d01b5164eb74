"""Room that is set aside on a disk: it is really there, and nobody is left out."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchgen.errors import StoreError
from batchgen.store import room as room_module
from batchgen.store.parts import BATCH_BYTES, PartImage, Writer
from batchgen.store.room import IMAGE_BYTES, Reserve, Room, Share, room_bytes
from tests.disks import needs_small_disks, small_disk
from tests.parts import finished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MIB = 1 << 20


def no_warning(told: str) -> None:
    raise AssertionError(told)


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[tuple[Room, Writer]]:
    async with Writer() as writer, Room(directory, writer, no_warning) as room:
        yield room, writer


def kept_bytes(room: Room) -> int:
    """How much the disk keeps for the file, by the disk's own account."""
    descriptor = room._reserve._descriptor
    return 0 if descriptor < 0 else os.fstat(descriptor).st_blocks * 512


def n_descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


# --- how much -----------------------------------------------------------------------------------


def test_an_answer_gets_half_as_much_again_as_its_size_is_known_to_take() -> None:
    assert room_bytes("2K", 1) == IMAGE_BYTES["2K"] * 3 // 2
    assert room_bytes("1K", 3) == 3 * room_bytes("1K", 1)
    assert list(IMAGE_BYTES) == ["512", "1K", "2K", "4K"]
    assert sorted(IMAGE_BYTES.values()) == list(IMAGE_BYTES.values())


def test_an_odd_size_counts_as_the_largest() -> None:
    assert room_bytes("8K", 1) == room_bytes("4K", 1)


# --- a disk that keeps room -----------------------------------------------------------------------


async def test_the_disk_keeps_what_was_taken_and_what_was_written_of_it_is_for_the_next(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as (room, writer):
        share = await room.take(8 * MIB)
        kept = kept_bytes(room)
        if not kept:
            pytest.skip("this file system sets no room aside")
        assert kept >= 8 * MIB
        for n_mib in range(1, 9):
            await writer.call(lambda: share._spend(MIB))
            assert room._reserve.held_bytes == (8 - n_mib) * MIB
        await writer.call(lambda: share._spend(MIB))  # more than was set aside
        other = await room.take(8 * MIB)
        assert (room._reserve.held_bytes, kept_bytes(room)) == (8 * MIB, kept)
        room.give_back(share)
        room.give_back(other)


@needs_small_disks
async def test_a_disk_with_little_room_gets_back_what_is_written_before_the_rest_is_gone(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", 11 * MIB) as disk:
        async with opened(disk.path) as (room, writer):
            share = await room.take(8 * MIB)
            part = PartImage(disk.path / "0.part", writer, share.write)
            for _ in range(8 * MIB // BATCH_BYTES):
                part.write(b"x" * BATCH_BYTES)
                await writer.room()
                await writer.call(lambda: None)
                # Whoever appends to the ledger finds this.
                assert disk.free_bytes >= MIB // 2
                assert kept_bytes(room) >= room._reserve.held_bytes
            await finished(part)
            room.give_back(share)


async def test_what_a_call_leaves_is_there_for_the_next(tmp_path: Path) -> None:
    async with opened(tmp_path) as (room, writer):
        first = await room.take(4 * MIB)
        await writer.call(lambda: first._spend(1000))
        room.give_back(first)
        second = await room.take(4 * MIB)
        await writer.call(lambda: None)
        reserve = room._reserve
        assert reserve.held_bytes == 4 * MIB
        assert reserve.kept_bytes in {0, 4 * MIB}
        room.give_back(second)


async def test_shares_add_up_and_nothing_is_left_when_all_are_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as (room, writer):
        shares = [await room.take(100_000 + n) for n in range(50)]
        for share in shares[::2]:
            await writer.call(partial(share._spend, 70_001))
        for share in shares:
            room.give_back(share)
        await writer.call(lambda: None)
        assert room._reserve.held_bytes == 0
        assert not any(share.held_bytes for share in shares)


def test_what_the_file_keeps_is_taken_without_asking_the_disk(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path)
    reserve.open()
    first, second, third = (Share(reserve) for _ in range(3))
    assert not reserve.take_at_hand(first, MIB)  # there is nothing yet
    reserve.take(first, 2 * MIB, 0)
    if not reserve.kept_bytes:
        pytest.skip("this file system sets no room aside")
    assert not reserve.take_at_hand(second, 1)  # all of it is held
    assert reserve.end_at_once(first)
    assert reserve.take_at_hand(second, MIB)
    assert not reserve.take_at_hand(third, MIB + 1)
    assert (reserve.held_bytes, second.held_bytes, third.held_bytes) == (MIB, MIB, 0)
    asking, told = threading.Event(), threading.Event()

    def ask_the_disk() -> None:
        with reserve._lock:
            asking.set()
            told.wait(20)

    thread = threading.Thread(target=ask_the_disk)
    thread.start()
    asking.wait(20)
    assert not reserve.take_at_hand(third, 1)  # nobody waits for it
    assert not reserve.end_at_once(second)
    told.set()
    thread.join()
    assert (reserve.held_bytes, second.held_bytes) == (MIB, MIB)
    reserve.close()


async def test_it_has_no_name_and_one_descriptor_for_a_thousand_calls(tmp_path: Path) -> None:
    before = n_descriptors()
    async with opened(tmp_path) as (room, _):
        shares = await asyncio.gather(*(room.take(10_000) for _ in range(1000)))
        assert n_descriptors() <= before + 1
        for share in shares:
            room.give_back(share)
    assert n_descriptors() == before


def test_a_killed_process_leaves_no_room_behind(tmp_path: Path) -> None:
    script = """
        import os, signal, sys
        from pathlib import Path
        from batchgen.store.room import Reserve, Share
        reserve = Reserve(Path(sys.argv[1]))
        reserve.open()
        reserve.take(Share(reserve), 64 << 20, 0)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script), tmp_path], check=False)
    assert killed.returncode == -9
    assert not list(tmp_path.iterdir())


@needs_small_disks
async def test_bytes_of_an_answer_fit_though_another_program_has_filled_the_disk(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", 12 * MIB) as disk:
        async with opened(disk.path) as (room, writer):
            share = await room.take(4 * MIB)
            disk.fill()
            part = PartImage(disk.path / "0.part", writer, share.write)
            for _ in range(4 * MIB // BATCH_BYTES):
                part.write(b"x" * BATCH_BYTES)
                await writer.room()
            written = await finished(part)
            assert written.size_bytes == 4 * MIB
            bare = PartImage(disk.path / "1.part", writer)
            bare.write(b"x" * BATCH_BYTES)
            with pytest.raises(StoreError, match="No space left"):
                await finished(bare)
            room.give_back(share)


async def test_a_directory_that_goes_away_holds_up_nobody_who_writes(tmp_path: Path) -> None:
    directory = tmp_path / "parts"
    directory.mkdir()
    async with opened(directory) as (room, writer):
        share = await room.take(8 * MIB)
        part = PartImage(directory / "0.part", writer, share.write)
        part.write(b"x" * BATCH_BYTES)
        await writer.caught_up()
        directory.rename(tmp_path / "elsewhere")  # the disk cannot be looked at by its name now
        for _ in range(2 * MIB // BATCH_BYTES):
            part.write(b"x" * BATCH_BYTES)
        written = await asyncio.wait_for(finished(part), 20)
        assert written.size_bytes == 2 * MIB + BATCH_BYTES
        room.give_back(share)


@needs_small_disks
async def test_no_room_says_what_is_needed_what_is_free_and_what_to_do(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4 * MIB) as disk:
        parts = disk.path / ".parts"
        parts.mkdir()
        async with opened(parts) as (room, _):
            with pytest.raises(StoreError) as refused:
                await room.take(8 * MIB)
            assert kept_bytes(room) == 0
        told = str(refused.value)
        assert told.startswith(f"{disk.path}: no room for another answer: it may need 9.4 MB, and")
        assert "4.2 MB are free; make room, or choose another disk with -o, and run again" in told


@needs_small_disks
async def test_who_finds_no_room_waits_for_those_under_way_and_fails_when_there_are_none(
    tmp_path: Path,
) -> None:
    warned: list[str] = []
    heard = asyncio.Event()

    def warn(told: str) -> None:
        warned.append(told)
        heard.set()

    with small_disk(tmp_path / "disk", 10 * MIB) as disk:
        async with Writer() as writer, Room(disk.path, writer, warn) as room:
            first = await room.take(6 * MIB)
            waiting = [asyncio.create_task(room.take(6 * MIB)) for _ in range(2)]
            await asyncio.wait_for(heard.wait(), 10)
            assert not any(one.done() for one in waiting)
            room.give_back(first)
            done, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert (len(done), len(left)) == (1, 1)
            disk.fill()
            [second] = [one.result() for one in done]
            await writer.call(lambda: second._spend(6 * MIB))
            disk.fill()
            room.give_back(second)
            with pytest.raises(StoreError, match="no room"):
                await asyncio.gather(*left)
    [told] = warned
    assert "room for 1 answers at once" in told


@needs_small_disks
def test_a_refused_try_leaves_the_ledger_its_room_all_the_while(tmp_path: Path) -> None:
    failed: list[OSError] = []
    over = threading.Event()

    def append(path: Path) -> None:
        with path.open("ab", buffering=0) as file:
            while not over.is_set() and not failed:
                try:
                    file.write(b"x" * 4096)
                    file.truncate(0)
                except OSError as error:
                    failed.append(error)

    with small_disk(tmp_path / "disk", 8 * MIB) as disk:
        reserve = Reserve(disk.path)
        reserve.open()
        reserve.take(Share(reserve), 4 * MIB, MIB)
        ledger = threading.Thread(target=append, args=[disk.path / "ledger.jsonl"])
        ledger.start()
        for _ in range(200):
            with pytest.raises(StoreError, match="no room"):
                reserve.take(Share(reserve), 5 * MIB, MIB)
        over.set()
        ledger.join()
        reserve.close()
    assert not failed


@needs_small_disks
async def test_of_many_who_find_no_room_at_once_all_are_told(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4 * MIB) as disk:
        async with opened(disk.path) as (room, _):
            tries = [asyncio.create_task(room.take(8 * MIB)) for _ in range(20)]
            for one in tries[::3]:
                one.cancel()
            told = await asyncio.wait_for(asyncio.gather(*tries, return_exceptions=True), 10)
    assert {type(one).__name__ for one in told} <= {"_NoRoomError", "CancelledError"}


async def test_who_gives_up_while_it_takes_room_takes_none(tmp_path: Path) -> None:
    async with opened(tmp_path) as (room, writer):
        for n_turns in range(6):
            taking = asyncio.create_task(room.take(MIB))
            for _ in range(n_turns):
                await asyncio.sleep(0)
            taking.cancel()
            with suppress(asyncio.CancelledError):
                room.give_back(await taking)
        await writer.call(lambda: None)
        assert (room._reserve.held_bytes, room._n_shares) == (0, 0)


async def test_no_room_is_given_once_the_disk_has_failed(tmp_path: Path) -> None:
    told: list[StoreError] = []
    async with Writer(told.append) as writer, Room(tmp_path, writer, no_warning) as room:
        part = PartImage(tmp_path / "no/0.part", writer)
        part.write(b"x" * BATCH_BYTES)  # nobody has asked how that went
        with pytest.raises(StoreError, match=r"no/0\.part"):
            await room.take(1000)
        await asyncio.sleep(0)
        assert [str(one) for one in told] == [str(writer.failed)]
        with pytest.raises(StoreError):
            await finished(part)


# --- a disk that keeps none -----------------------------------------------------------------------


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refused(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(room_module, "_allocate", refused)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EFBIG])
def test_where_no_room_can_be_kept_the_free_space_is_looked_at(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, number)
    reserve = Reserve(tmp_path)
    reserve.open()
    free_bytes = shutil.disk_usage(tmp_path).free
    with pytest.raises(StoreError, match="no room"):
        reserve.take(Share(reserve), 2 * free_bytes, 0)
    shares = [Share(reserve) for _ in range(3)]
    for share in shares[:2]:
        reserve.take(share, free_bytes * 2 // 5, 0)
    with pytest.raises(StoreError, match="no room"):
        reserve.take(shares[2], free_bytes * 2 // 5, 0)
    reserve.end(shares[0])
    reserve.take(shares[2], free_bytes * 2 // 5, 0)
    reserve.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_quota_may_refuse_what_looks_free(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, number)
    reserve = Reserve(tmp_path)
    reserve.open()
    with pytest.raises(StoreError, match="though a quota may allow less"):
        reserve.take(Share(reserve), 1000, 0)
    reserve.close()


def test_a_disk_that_breaks_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, errno.EIO)
    reserve = Reserve(tmp_path)
    reserve.open()
    with pytest.raises(StoreError, match="Input/output error"):
        reserve.take(Share(reserve), 1000, 0)
    reserve.close()


def test_a_disk_that_does_not_know_its_size_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, errno.EOPNOTSUPP)
    unknown = os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: unknown)
    reserve = Reserve(tmp_path)
    reserve.open()
    reserve.take(Share(reserve), 1 << 50, 0)
    reserve.close()


def test_where_nothing_can_be_created_it_says_where(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"missing/\.room"):
        Reserve(tmp_path / "missing").open()
