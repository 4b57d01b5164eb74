"""An output directory that was laid with links, pipes and devices before a run came to it.

Nothing outside changes, nothing hangs, nothing that was paid for is lost.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from batchgen.errors import StoreError
from batchgen.export import BatchExport
from batchgen.report.rebuild import rebuild
from tests import ledgers, servers
from tests.runs import Ran, run_job, write_job
from tests.servers import Answer, Asked, FaultServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.reliability

FOLDERS = ["ledger", ".parts", ".references", "runs"]
FOLDERS += ["images", "thoughts", "drafts", "text", "turns", "quarantine"]
# Three lines, the last without its end: what a ledger would call a torn tail.
MINE = b"mine\nstill mine\nmine to the end"
# What a run writes under a name that is known before.
FILES = [
    *("items.jsonl", "results.jsonl", "failed.jsonl", "summary.json", "summary.md", "report.html"),
]
OF_ITEMS = ["images/a.png", "images/a.jpg", "text/a.txt", "turns/a.1.json", "turns/a.1.png"]
OF_ITEMS += ["drafts/a.2.1.png", "thoughts/a.2.1.png"]
PARTS = [".results.jsonl.0.draft", ".parts/x", ".parts/x.json", ".references/x.json"]


def talks(asked: Asked) -> Answer:
    """A thought, a draft, a picture and words."""
    pictures = [
        servers.image_part(servers.png(f"{asked.prompt} {n}"), thought=n == 0) for n in range(3)
    ]
    return servers.whole(servers.document({"text": "here it is"}, *pictures))


def to_a_file(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "file")


def to_a_folder(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def to_nothing(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "not-yet")


def to_zero(path: Path, _: Path) -> None:
    path.symlink_to("/dev/zero")


def pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, _: Path) -> None:
    path.mkdir()
    (path / "file").write_bytes(MINE)


LINKS = [to_a_file, to_a_folder, to_nothing, to_zero]
TRAPS = [*LINKS, pipe, folder]


class Laid:
    """A job, its directory with a trap in it, and things outside that are not the job's."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "output/job"
        self.outside = directory / "outside"
        self.root.mkdir(parents=True)
        self.outside.mkdir()
        for name in ("file", "a.png", "a.txt", "x.part", ".x.draft", "x.jsonl"):
            (self.outside / name).write_bytes(MINE)
        turns = [{"prompt": "one"}, {"prompt": "two"}]
        output = {"keep_thoughts": True, "keep_drafts": True}
        self.job = write_job(directory / "job.jsonl", [{"id": "a", "turns": turns}], output=output)

    def trap(self, name: str, lay: Callable[[Path, Path], None]) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lay(path, self.outside)

    async def run(self, server: FaultServer) -> Ran | str:
        """What a run came to, or what it said; that all outside is untouched is checked."""
        try:
            async with asyncio.timeout(30):
                return await run_job(self.job, server, whole=False)
        except StoreError as error:
            return str(error)
        finally:
            found = {path.name: path.read_bytes() for path in self.outside.iterdir()}
            assert set(found) == {"file", "a.png", "a.txt", "x.part", ".x.draft", "x.jsonl"}
            assert set(found.values()) == {MINE}


@pytest.fixture
def laid(tmp_path: Path) -> Laid:
    return Laid(tmp_path)


@pytest.mark.parametrize("name", FOLDERS)
async def test_a_folder_of_ours_that_is_a_link_is_refused_before_a_request(
    name: str, laid: Laid
) -> None:
    laid.trap(name, to_a_folder)
    with FaultServer(talks) as server:
        said = await laid.run(server)
        assert said == (
            f"{laid.root / name} is a link, and nothing is written through links: remove it, or "
            "choose another directory with -o"
        )
        assert server.n_connections == 0


@pytest.mark.parametrize("lay", TRAPS, ids=lambda lay: lay.__name__)
async def test_a_lock_that_is_no_file_is_refused_before_a_request(
    lay: Callable[[Path, Path], None], laid: Laid
) -> None:
    laid.trap(".lock", lay)
    with FaultServer(talks) as server:
        said = await laid.run(server)
        assert isinstance(said, str)
        assert ".lock" in said
        assert server.n_connections == 0


@pytest.mark.parametrize("lay", TRAPS, ids=lambda lay: lay.__name__)
async def test_a_segment_of_the_ledger_that_is_no_file_is_refused_before_a_request(
    lay: Callable[[Path, Path], None], laid: Laid
) -> None:
    laid.trap("ledger/x.jsonl", lay)
    with FaultServer(talks) as server:
        said = await laid.run(server)
        assert isinstance(said, str)
        assert "x.jsonl" in said
        assert server.n_connections == 0


@pytest.mark.parametrize("lay", TRAPS, ids=lambda lay: lay.__name__)
async def test_a_torn_line_is_moved_to_no_place_but_a_file(
    lay: Callable[[Path, Path], None], laid: Laid
) -> None:
    laid.trap("ledger/x.torn", lay)
    (laid.root / "ledger/x.jsonl").write_bytes(MINE)
    with FaultServer(talks) as server:
        said = await laid.run(server)
        assert isinstance(said, str)
        assert "x.torn" in said
        assert server.n_connections == 0
    assert (laid.root / "ledger/x.jsonl").read_bytes() == MINE


@pytest.mark.parametrize("lay", [*LINKS, pipe], ids=lambda lay: lay.__name__)
@pytest.mark.parametrize("name", [*FILES, *OF_ITEMS, *PARTS])
async def test_a_link_or_a_pipe_where_a_file_goes_is_replaced_or_let_be(
    name: str, lay: Callable[[Path, Path], None], laid: Laid
) -> None:
    laid.trap(name, lay)
    with FaultServer(talks) as server:
        done = await laid.run(server)
        assert isinstance(done, Ran), done
        assert (done.exit_code, server.n_requests) == (0, 2)
        for path in laid.root.rglob("*"):
            inside = path.relative_to(laid.root)
            # What lay in the way of a picture is kept as it is.
            if str(inside) not in PARTS and inside.parts[:2] != ("quarantine", "images"):
                assert not path.is_symlink()
                assert path.is_dir() or path.is_file()
        assert ledgers.results(laid.root)["a"]["status"] == "done"
        again = await laid.run(server)
        assert isinstance(again, Ran)
        assert (again.exit_code, server.n_requests) == (0, 2)


@pytest.mark.parametrize("name", [*FILES, *OF_ITEMS])
async def test_a_folder_where_a_file_goes_stops_the_run_or_is_kept_and_nothing_paid_is_lost(
    name: str, laid: Laid
) -> None:
    laid.trap(name, folder)
    with FaultServer(talks) as server:
        said = await laid.run(server)
        n_asked = server.n_requests
        path = laid.root / name
        if not isinstance(said, str):  # it is a place that this run had nothing for
            aside = laid.root / "quarantine" / f"{name.rpartition('.')[0]}.1.{path.suffix[1:]}"
            if not path.is_dir():  # it was in the way of a picture
                path = aside
            assert (said.exit_code, path.is_dir()) in {(0, True), (12, True)}
        assert (path / "file").read_bytes() == MINE
        (path / "file").unlink()
        path.rmdir()
        done = await laid.run(server)
        assert isinstance(done, Ran), done
        assert done.exit_code == 0
        assert done.summary.items.done == 1
        assert server.n_requests == 2
        assert n_asked <= 2


@pytest.mark.parametrize("lay", [pipe, to_zero, folder], ids=lambda lay: lay.__name__)
async def test_findings_that_are_no_file_are_refused_before_a_request(
    lay: Callable[[Path, Path], None], laid: Laid
) -> None:
    laid.trap("broken.jsonl", lay)
    with FaultServer(talks) as server:
        said = await laid.run(server)
        assert isinstance(said, str)
        assert "broken.jsonl" in said
        assert server.n_connections == 0


@pytest.mark.parametrize("lay", [*LINKS, pipe], ids=lambda lay: lay.__name__)
@pytest.mark.parametrize("name", ["images/b.png", "text/b.txt", ".parts/filed.jsonl"])
async def test_the_picture_of_a_twin_takes_the_place_of_a_link_or_a_pipe(
    name: str, lay: Callable[[Path, Path], None], laid: Laid
) -> None:
    write_job(laid.job, [{"id": "a", "prompt": "p"}, {"id": "b", "prompt": "p"}])
    laid.trap(name, lay)
    with FaultServer(talks) as server:
        done = await laid.run(server)
        assert isinstance(done, Ran), done
        assert (done.exit_code, server.n_requests) == (0, 1)
    picture = laid.root / "images/b.png"
    assert not picture.is_symlink()
    assert picture.read_bytes() == (laid.root / "images/a.png").read_bytes()


@pytest.mark.parametrize("lay", LINKS, ids=lambda lay: lay.__name__)
async def test_a_folder_of_the_jobs_own_that_is_a_link_keeps_the_picture_until_it_is_gone(
    lay: Callable[[Path, Path], None], laid: Laid
) -> None:
    write_job(laid.job, [{"id": "a", "prompt": "p"}], output={"name": "sub/{id}"})
    laid.trap("images/sub", lay)
    with FaultServer(talks) as server:
        said = await laid.run(server)
        if isinstance(said, Ran):
            assert said.exit_code == 12
        (laid.root / "images/sub").unlink()
        done = await laid.run(server)
        assert isinstance(done, Ran)
        assert (done.exit_code, server.n_requests) == (0, 1)
    assert (laid.root / "images/sub/a.png").is_file()


@pytest.mark.parametrize("lay", [pipe, to_zero, folder], ids=lambda lay: lay.__name__)
@pytest.mark.parametrize("name", ["items.jsonl", "ledger/x.jsonl", "runs", ".x.draft"])
async def test_what_only_reads_a_directory_waits_for_nothing_in_it(
    name: str, lay: Callable[[Path, Path], None], laid: Laid
) -> None:
    with FaultServer(talks) as server:
        assert isinstance(await laid.run(server), Ran)
    path = laid.root / name
    if path.is_file():
        path.unlink()
    if path.is_dir():
        path.rename(laid.root / "before")
    laid.trap(name, lay)
    for read in (rebuild, lambda root: b"".join(BatchExport(root, holds_images=True))):
        with suppress(StoreError):
            read(laid.root)
