"""A ledger that a disk has damaged: what it still says is never asked for again.

Torn tails, lines that come twice, pages of NULs, lines that are none; not single flipped bits. What
a damaged ledger still says is read here by nothing of the product: an item is vouched for by a line
that can be read and the picture of which is on disk, or by a receipt.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from batchgen import RunBegan, StoreError, Warned
from tests import ledgers, servers
from tests.runs import Ran, run_job, write_job
from tests.servers import FaultServer

Json: TypeAlias = dict[str, Any]

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(300)]

IDS = ["a", "b", "c"]
PAGE = bytes(4096)
GARBAGE = (b"no json", b"{}", b'{"v":1,"event":"hologram"}', b'{"v":1,"event":"sent"', b"\xff\xfe")


@dataclass(frozen=True)
class Finished:
    """A folder with a job that is done, to be copied and damaged.

    Attributes:
        lines: Those of its ledger: run, then `sent` and `attempt` of each item, then end.
    """

    folder: Path
    lines: list[bytes]

    @property
    def whole(self) -> bytes:
        return b"".join(self.lines)

    def start_of(self, number: int) -> int:
        """Where a line begins."""
        return len(b"".join(self.lines[:number]))


@pytest.fixture
async def finished(tmp_path: Path) -> Finished:
    folder = tmp_path / "finished"
    folder.mkdir()
    job = write_job(folder / "job.jsonl", IDS, limits={"concurrency": 1})
    with FaultServer(servers.draws) as server:
        ran = await run_job(job, server)
    [segment] = (ran.directory / "ledger").iterdir()
    lines = segment.read_bytes().splitlines(keepends=True)
    told = [json.loads(line) for line in lines]
    assert [(one["event"], one.get("item")) for one in told] == [
        ("run", None),
        *((event, item) for item in IDS for event in ("sent", "attempt")),
        ("end", None),
    ]
    return Finished(folder, lines)


def keep_receipt(finished: Finished) -> None:
    """Put the receipt of the last item back, as if the run had not come to removing it."""
    directory = finished.folder / "output/job"
    sent, attempt = map(json.loads, finished.lines[-3:-1])
    [image] = attempt["images"]
    digest = hashlib.sha256(sent["item"].encode()).hexdigest()[:16]
    stem = f"{sent['run_id']}.{digest}.{sent['turn']}.{sent['attempt']}"
    document = servers.document(servers.image_part(b""))
    document["candidates"][0]["content"]["parts"][0]["inlineData"]["data"] = "0"
    part = {"part": f"{stem}.0.part", "sha256": image["sha256"], "size_bytes": image["bytes"]}
    receipt = {
        "v": 1,
        "sent": sent,
        "item": ledgers.lines(directory / "items.jsonl")[-1],
        "http_status": 200,
        "request_id": None,
        "latency_s": 1.5,
        "bytes_in": attempt["bytes_in"],
        "skeleton": json.dumps(document),
        "images": [part],
    }
    (directory / f".parts/{stem}.json").write_text(json.dumps(receipt))


async def test_a_receipt_of_what_is_recorded_takes_nothing_out_of_the_plan(
    finished: Finished,
) -> None:
    """As a kill leaves it that comes between the line and the removal."""
    (finished.folder / "output/job/images/c.png").unlink()
    keep_receipt(finished)
    with FaultServer(servers.draws) as server:
        ran = await run_job(finished.folder / "job.jsonl", server)
    [began] = [event for event in ran.events if isinstance(event, RunBegan)]
    assert began.planned_usd
    assert server.requests == {"c": 1}


def vouched(directory: Path, ledger: bytes) -> set[str]:
    """The items that must not be asked for again."""
    items = set()
    for text in ledger.split(b"\n"):
        with suppress(ValueError):
            line = json.loads(text.strip(b"\0"))
            for image in line.get("images", ()):
                data = (directory / image["path"]).read_bytes()
                if hashlib.sha256(data).hexdigest() == image["sha256"]:
                    items.add(line["item"])
    for path in (directory / ".parts").glob("*.json"):
        items.add(json.loads(path.read_bytes())["sent"]["item"])
    return items


async def resumed(finished: Finished, ledger: bytes, n: int) -> Ran:
    """Run again over a damaged ledger; what is vouched for is not asked for, the rest is made."""
    folder = finished.folder.with_name(f"damaged-{n}")
    shutil.copytree(finished.folder, folder)
    directory = folder / "output/job"
    [segment] = (directory / "ledger").iterdir()
    segment.write_bytes(ledger)
    kept = vouched(directory, ledger)
    with FaultServer(servers.draws) as server:
        ran = await run_job(folder / "job.jsonl", server, whole=False)
        assert server.requests == dict.fromkeys(set(IDS) - kept, 1)
        if n % 10 == 0:
            await run_job(folder / "job.jsonl", server, whole=False)
            assert server.n_requests == len(IDS) - len(kept)
    assert ran.exit_code == 0
    results = ledgers.results(directory)
    assert [one["status"] for one in results.values()] == ["done"] * len(IDS)
    for item, one in results.items():
        ledgers.check_image(directory, one["images"][0])
        assert (directory / f"images/{item}.png").read_bytes() == servers.png(f"{item} 1")
    torn = ledger.rpartition(b"\n")[2]
    _check_torn(ran, torn)
    shutil.rmtree(folder)
    return ran


def _check_torn(ran: Ran, torn: bytes) -> None:
    """What stood behind the last end of a line is aside, and told."""
    aside = list((ran.directory / "ledger").glob("*.torn"))
    assert [path.read_bytes() for path in aside] == ([torn + b"\n"] if torn else [])
    assert any("ended in a torn line" in one for one in warnings(ran)) == bool(torn)


def warnings(ran: Ran) -> list[str]:
    return [event.message for event in ran.events if isinstance(event, Warned)]


async def all_resumed(finished: Finished, damaged: Iterable[bytes]) -> int:
    """Do so for each ledger; return how many there were."""
    n = 0
    for n, ledger in enumerate(damaged, 1):
        await resumed(finished, ledger, n)
    return n


def cuts(finished: Finished, step_bytes: int) -> Iterator[bytes]:
    """The ledger, cut within its last three lines, and at each byte around the ends of lines."""
    whole, first = finished.whole, finished.start_of(-3)
    borders = {finished.start_of(line) + by for line in (-3, -2, -1) for by in (-1, 0, 1)}
    for at in (*range(first, len(whole)), len(whole) - 1):
        if (at - first) % step_bytes == 0 or at in borders or at == len(whole) - 1:
            yield whole[:at]


@pytest.mark.parametrize("share", range(2))
async def test_a_ledger_that_is_cut_anywhere_in_its_last_lines_costs_no_picture_that_it_still_tells(
    share: int, finished: Finished, tried: Callable[[str, int, str], None]
) -> None:
    n = await all_resumed(finished, list(cuts(finished, 16))[share::2])
    tried("P9", n, "damaged ledgers")


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_a_ledger_that_is_cut_at_any_byte_of_its_last_lines_costs_no_picture_that_it_tells(
    finished: Finished, tried: Callable[[str, int, str], None]
) -> None:
    n = await all_resumed(finished, cuts(finished, 1))
    keep_receipt(finished)
    n += await all_resumed(finished, cuts(finished, 1))
    tried("P9", n, "damaged ledgers")


async def test_a_receipt_vouches_for_its_picture_wherever_the_ledger_is_cut(
    finished: Finished, tried: Callable[[str, int, str], None]
) -> None:
    keep_receipt(finished)
    n = await all_resumed(finished, cuts(finished, 64))
    tried("P9", n, "damaged ledgers")


async def test_lines_that_come_twice_ask_for_nothing(
    finished: Finished, tried: Callable[[str, int, str], None]
) -> None:
    def twice() -> Iterator[bytes]:
        lines, whole = finished.lines, finished.whole
        yield whole + whole
        for n, line in enumerate(lines):
            yield b"".join((*lines[: n + 1], line, *lines[n + 1 :]))
            yield whole + line
            yield whole + line[:-1]

    n = await all_resumed(finished, twice())
    tried("P9", n, "damaged ledgers")


async def test_pages_of_nuls_and_lines_that_are_none_cost_no_picture_that_is_told_beside_them(
    finished: Finished, tried: Callable[[str, int, str], None]
) -> None:
    def spoiled() -> Iterator[bytes]:
        whole, starts = finished.whole, [finished.start_of(n) for n in range(len(finished.lines))]
        yield whole + PAGE
        for at in starts:
            yield whole[:at] + PAGE + whole[at:]
            yield whole[:at] + PAGE[:500] + whole[at + 500 :]  # in place of what was there
            for line in GARBAGE:
                yield whole[:at] + line + b"\n" + whole[at:]

    n = await all_resumed(finished, spoiled())
    tried("P9", n, "damaged ledgers")


async def test_what_cannot_be_read_is_told_with_its_place(finished: Finished) -> None:
    first, second, *_ = finished.lines
    damaged = first + PAGE + second + b"no json\n" + finished.whole[len(first + second) :]
    told = warnings(await resumed(finished, damaged, 1))
    assert ["4096 NULs" in one for one in told] == [True, False]
    assert [":2:" in one for one in told] == [True, False]
    assert [":3:" in one for one in told] == [False, True]


async def test_a_line_of_a_newer_version_stops_the_run_before_anything_is_sent(
    finished: Finished, tried: Callable[[str, int, str], None]
) -> None:
    directory = finished.folder / "output/job"
    [segment] = (directory / "ledger").iterdir()
    for n, line in enumerate(finished.lines):
        newer = line.replace(b'"v":1', b'"v":2')
        assert newer != line
        for ledger in (finished.whole.replace(line, newer), finished.whole + newer):
            segment.write_bytes(ledger)
            with FaultServer(servers.draws) as server:
                with pytest.raises(StoreError, match="newer batchgen") as caught:
                    await run_job(finished.folder / "job.jsonl", server)
                assert caught.value.exit_code == 12
                assert server.n_connections == 0
            assert segment.read_bytes() == ledger
            assert [path.name for path in (directory / "ledger").iterdir()] == [segment.name], n
    tried("P9", 2 * len(finished.lines), "damaged ledgers")
