"""Image bytes on their way to disk: right whatever the batches, bounded whatever the disk does."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import subprocess
import sys
import textwrap
import threading
from functools import partial
from pathlib import Path

import msgspec
import pytest

from batchgen.errors import StoreError
from batchgen.model import Item
from batchgen.sanitize import Secrets
from batchgen.store.ledger import Sent
from batchgen.store.parts import BATCH_BYTES, MAX_PENDING_BYTES, PartImage, Writer
from batchgen.store.receipts import (
    Blanks,
    Receipt,
    ReceivedImage,
    answered,
    load_receipt,
    part_name,
    save_receipt,
)
from tests.parts import finished

CHUNK = 64 << 10


# --- the bytes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
async def test_bytes_and_digest_are_right_for_any_batching(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    data = rng.randbytes(rng.choice((1, 1000, BATCH_BYTES - 1, BATCH_BYTES, 3 * BATCH_BYTES + 7)))
    async with Writer() as writer:
        part = PartImage(tmp_path / "0.part", writer)
        at = 0
        while at < len(data):
            step = rng.choice((1, 7, 1000, CHUNK, BATCH_BYTES, 2 * BATCH_BYTES))
            if len(data) > 2000:
                step = max(step, 1000)
            part.write(data[at : at + step])
            at += step
            await writer.room()
        part.close(None)
        written = await finished(part)
    assert written.path.read_bytes() == data
    assert (written.size_bytes, written.fault) == (len(data), None)
    assert written.sha256 == hashlib.sha256(data).hexdigest()


async def test_many_parts_through_one_writer_do_not_mix(tmp_path: Path) -> None:
    async def receive(number: int) -> str:
        rng = random.Random(number)
        part = PartImage(tmp_path / f"{number}.part", writer)
        digest = hashlib.sha256()
        for _ in range(40):
            data = rng.randbytes(20_000)
            digest.update(data)
            part.write(data)
            await writer.room()
            await asyncio.sleep(0)
        part.close(None)
        written = await finished(part)
        assert hashlib.sha256(written.path.read_bytes()).hexdigest() == digest.hexdigest()
        return written.sha256 if written.sha256 == digest.hexdigest() else "wrong"

    async with Writer() as writer:
        digests = await asyncio.gather(*(receive(number) for number in range(16)))
    assert len(set(digests)) == 16
    assert "wrong" not in digests


async def test_an_image_that_never_comes_opens_no_file(tmp_path: Path) -> None:
    async with Writer() as writer:
        part = PartImage(tmp_path / "0.part", writer)
        part.close(None)
        written = await finished(part)
    assert not written.path.exists()
    assert (written.size_bytes, written.sha256) == (0, hashlib.sha256().hexdigest())


async def test_a_fault_in_the_text_is_kept_with_the_bytes_before_it(tmp_path: Path) -> None:
    async with Writer() as writer:
        part = PartImage(tmp_path / "0.part", writer)
        part.write(b"half")
        part.close("a character outside the alphabet")
        written = await finished(part)
    assert written.fault == "a character outside the alphabet"
    assert written.path.read_bytes() == b"half"


async def test_a_cut_answer_can_be_finished_without_being_closed(tmp_path: Path) -> None:
    async with Writer() as writer:
        part = PartImage(tmp_path / "0.part", writer)
        part.write(b"half")
        written = await finished(part)
    assert written.path.read_bytes() == b"half"


async def test_leaving_the_writer_writes_what_was_handed_over(tmp_path: Path) -> None:
    async with Writer() as writer:
        part = PartImage(tmp_path / "0.part", writer)
        part.write(b"x" * BATCH_BYTES)
    assert (tmp_path / "0.part").stat().st_size == BATCH_BYTES


# --- a disk that fails --------------------------------------------------------------------------


async def test_a_full_disk_is_a_store_error_when_the_part_is_finished() -> None:
    async with Writer() as writer:
        part = PartImage(Path("/dev/full"), writer)
        for _ in range(20):
            part.write(b"x" * BATCH_BYTES)
            await writer.room()
        part.close(None)
        with pytest.raises(StoreError, match="/dev/full"):
            await finished(part)


async def test_a_missing_directory_is_a_store_error(tmp_path: Path) -> None:
    async with Writer() as writer:
        part = PartImage(tmp_path / "no" / "0.part", writer)
        part.write(b"x")
        with pytest.raises(StoreError):
            await finished(part)


async def test_a_file_that_cannot_be_closed_is_a_store_error(tmp_path: Path) -> None:
    async with Writer() as writer:
        part = PartImage(tmp_path / "0.part", writer)
        part.write(b"x" * BATCH_BYTES)
        await writer.call(lambda: None)
        os.close(part._descriptor)  # closing it again fails, as it may on a network disk
        with pytest.raises(StoreError):
            await finished(part)


async def test_a_defect_in_the_thread_that_writes_is_told_and_holds_up_nobody() -> None:
    def trip() -> None:
        raise ZeroDivisionError("of ours")

    told: list[StoreError] = []
    async with Writer(told.append) as writer:
        writer.hand_over(trip, 0)
        await asyncio.wait_for(writer.caught_up(), 20)
        await asyncio.sleep(0)
    assert str(writer.failed).startswith("a bug in batchgen, in the thread that writes: ZeroDivi")
    assert told == [writer.failed]


async def test_one_part_that_fails_does_not_harm_another(tmp_path: Path) -> None:
    async with Writer() as writer:
        bad, good = PartImage(tmp_path / "no" / "0", writer), PartImage(tmp_path / "1", writer)
        for part in (bad, good, bad, good):
            part.write(b"x" * BATCH_BYTES)
        with pytest.raises(StoreError):
            await finished(bad)
        assert (await finished(good)).size_bytes == 2 * BATCH_BYTES


def test_a_disk_that_fills_up_half_way_is_a_store_error(tmp_path: Path) -> None:
    script = """
        import asyncio, resource, sys
        from pathlib import Path
        from batchgen.errors import StoreError
        from batchgen.store.parts import PartImage, Writer
        from tests.parts import finished

        async def main():
            async with Writer() as writer:
                part = PartImage(Path(sys.argv[1]), writer)
                for _ in range(10):
                    part.write(b"x" * 100_000)
                    await writer.room()
                try:
                    await finished(part)
                except StoreError:
                    print("told")

        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "0.part")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("told\n", "")


# --- a disk that is slow ------------------------------------------------------------------------


async def test_receivers_wait_while_the_disk_is_behind(tmp_path: Path) -> None:
    """A FIFO that nobody reads is a disk that takes nothing."""
    path = tmp_path / "0.part"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    n_sent_bytes = 0
    async with Writer() as writer:
        part = PartImage(path, writer)

        async def receive() -> None:
            nonlocal n_sent_bytes
            for _ in range(400):
                part.write(b"x" * CHUNK)
                n_sent_bytes += CHUNK
                await writer.room()

        receiving = asyncio.create_task(receive())
        n_before = -1
        while n_before != n_sent_bytes:  # until it stands still
            n_before = n_sent_bytes
            for _ in range(200):
                await asyncio.sleep(0)
        assert not receiving.done()
        pipe_bytes = 64 << 10
        assert n_sent_bytes <= MAX_PENDING_BYTES + 2 * BATCH_BYTES + pipe_bytes
        n_read = 0
        os.set_blocking(reader, True)

        def drain() -> None:
            nonlocal n_read
            while n_read < 400 * CHUNK:
                n_read += len(os.read(reader, 1 << 20))

        await asyncio.gather(asyncio.to_thread(drain), receiving)
        part.close(None)
        assert (await finished(part)).size_bytes == n_read == 400 * CHUNK
    os.close(reader)


async def test_all_who_wait_for_room_go_on_when_there_is_some() -> None:
    gate = threading.Event()

    def hold_up() -> None:
        gate.wait()

    async with Writer() as writer:
        writer.hand_over(hold_up, MAX_PENDING_BYTES + 1)
        waiting = [asyncio.create_task(writer.room()) for _ in range(10)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert not any(one.done() for one in waiting)
        gate.set()
        await asyncio.wait_for(asyncio.gather(*waiting), 10)


def waits_for(gate: threading.Event) -> None:
    gate.wait()


async def test_who_waits_for_room_is_let_on_when_the_one_before_has_handed_over() -> None:
    gates = [threading.Event() for _ in range(4)]
    n_let_on = 0

    async def wait_and_fill(gate: threading.Event) -> None:
        nonlocal n_let_on
        await writer.room()
        n_let_on += 1
        await asyncio.sleep(0)  # as what is received then comes in the next round of the loop
        writer.hand_over(partial(waits_for, gate), MAX_PENDING_BYTES + 1)

    async with Writer() as writer:
        writer.hand_over(partial(waits_for, gates[0]), MAX_PENDING_BYTES + 1)
        filling = [asyncio.create_task(wait_and_fill(gate)) for gate in gates[1:]]
        for n, gate in enumerate(gates):
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert n_let_on <= n + 1
            gate.set()
        await asyncio.wait_for(asyncio.gather(*filling), 10)


async def test_a_job_returns_its_value_or_raises_its_error() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    async with Writer() as writer:
        assert await writer.call(lambda: 5) == 5
        with pytest.raises(ZeroDivisionError):
            await writer.call(fail)
        assert await writer.call(lambda: 6) == 6


async def test_a_caller_that_gave_up_does_not_stop_the_writer() -> None:
    async with Writer() as writer:
        gone = asyncio.create_task(writer.call(lambda: 5))
        await asyncio.sleep(0)
        gone.cancel()
        assert await writer.call(lambda: 6) == 6


# --- receipts -----------------------------------------------------------------------------------

SENT = Sent(run_id="r", item="hero: 1", key="k", turn=1, attempt=2, at="t", model="m")
RECEIPT = Receipt(
    sent=SENT,
    item=Item(id="hero: 1", model="m", prompt="p"),
    http_status=200,
    request_id=None,
    latency_s=1.5,
    bytes_in=10,
    skeleton='{"a":"\ufffd"}',
    images=(ReceivedImage(part="x.part", sha256="0", size_bytes=1),),
)


def test_a_receipt_is_found_again_by_its_request_and_no_other(tmp_path: Path) -> None:
    path = save_receipt(tmp_path, RECEIPT, Secrets([]))
    assert path.name == f"{part_name(SENT)}.json"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert load_receipt(tmp_path, SENT) == RECEIPT
    other = Sent(run_id="r", item="hero: 1", key="k", turn=1, attempt=3, at="t", model="m")
    assert load_receipt(tmp_path, other) is None
    later = Sent(run_id="r", item="hero: 1", key="k2", turn=1, attempt=2, at="t", model="m")
    assert load_receipt(tmp_path, later) is None


def test_a_receipt_holds_no_secret(tmp_path: Path) -> None:
    receipt = Receipt(
        sent=SENT,
        item=Item(id="hero: 1", model="m", prompt="sk-CANARY"),
        http_status=200,
        request_id="sk-CANARY",
        latency_s=1.5,
        bytes_in=10,
        skeleton='"sk-CANARY"',
        images=(),
    )
    path = save_receipt(tmp_path, receipt, Secrets(["sk-CANARY"]))
    assert b"CANARY" not in path.read_bytes()
    assert load_receipt(tmp_path, SENT)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"null", b"\xff", b'{"skeleton":"\xff"}', b"[" * 10**5]
)
def test_a_receipt_that_cannot_be_read_is_none(tmp_path: Path, text: bytes) -> None:
    (tmp_path / f"{part_name(SENT)}.json").write_bytes(text)
    assert load_receipt(tmp_path, SENT) is None


def test_every_cut_of_a_receipt_is_none(tmp_path: Path) -> None:
    path = save_receipt(tmp_path, RECEIPT, Secrets([]))
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert load_receipt(tmp_path, SENT) is None


def test_a_receipt_is_written_on_the_file_of_one_that_nobody_needs(tmp_path: Path) -> None:
    blanks = Blanks()
    first = save_receipt(tmp_path, RECEIPT, Secrets([]), blanks)
    inode = first.stat().st_ino
    blanks.leave(first)
    assert list(answered(tmp_path)) == []  # though it lies there still
    other = msgspec.structs.replace(SENT, item="other")
    receipt = msgspec.structs.replace(RECEIPT, sent=other, skeleton="")
    second = save_receipt(tmp_path, receipt, Secrets([]), blanks)
    assert (second.stat().st_ino, list(tmp_path.iterdir())) == (inode, [second])
    assert load_receipt(tmp_path, other) == receipt
    assert load_receipt(tmp_path, SENT) is None


def test_blanks_are_given_once_and_removed_at_the_end(tmp_path: Path) -> None:
    blanks = Blanks()
    blanks.leave(tmp_path / "never.json")  # as after an answer whose receipt met a full disk
    assert not blanks.turn_into(tmp_path / "a.json")
    for name in "ab":
        (tmp_path / name).write_bytes(b"{}")
        blanks.leave(tmp_path / name)
    assert blanks.turn_into(tmp_path / "new.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "new.json"]
    (tmp_path / "a").unlink()  # by somebody who tidies up
    assert not blanks.turn_into(tmp_path / "newer.json")
    blanks.leave(tmp_path / "new.json")
    blanks.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("n_blanks", [0, 1])
def test_a_receipt_that_the_disk_cannot_take_is_none(
    tmp_path: Path, n_blanks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    blanks = Blanks()
    for _ in range(n_blanks):
        blanks.leave(save_receipt(tmp_path, RECEIPT, Secrets([])))

    def write_some(descriptor: int, data: memoryview) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:100])

    write = os.write
    monkeypatch.setattr(os, "write", write_some)
    with pytest.raises(OSError, match="No space"):
        save_receipt(tmp_path, RECEIPT, Secrets([]), blanks)
    assert not list(tmp_path.iterdir())


def test_part_names_are_safe_and_never_shared() -> None:
    ids = ["../x", "a/b", "A", "a", "\u00e9" * 180, ".", "con"]
    names = {
        part_name(Sent(run_id="r", item=one, key="", turn=1, attempt=1, at="", model=""))
        for one in ids
    }
    assert len(names) == len(ids)
    assert all(name.isascii() and "/" not in name and len(name) < 100 for name in names)
