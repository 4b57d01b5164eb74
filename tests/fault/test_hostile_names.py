"""Ids and tags that mean harm: refused with a place, or run with every file where it belongs."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchgen.errors import JobError
from batchgen.manifest import open_manifest
from batchgen.model import Item
from batchgen.naming import collision_key
from batchgen.references import ReferenceLibrary
from batchgen.store.layout import Layout
from tests import commands, ledgers, servers
from tests.hostile import NAMES, PAIRS
from tests.runs import KEY, MODEL, Ran, run_job, write_job
from tests.servers import Answer, Asked, FaultServer

if TYPE_CHECKING:
    from collections.abc import Iterable

Tell = Any
SURROGATE = re.compile("[\ud800-\udfff]")
# Controls, line ends, and what turns the direction of the text round.
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# So that as many kinds of files as there are get a name that is made of the id.
EVERYTHING = {"name": "{id}", "keep_thoughts": True, "keep_drafts": True}


def talks(asked: Asked) -> Answer:
    """A thought, a draft, a picture and words: all that is written under a name of an item."""
    pictures = [
        servers.image_part(servers.png(f"{asked.prompt} {n} {asked.nth}"), thought=n == 0)
        for n in range(3)
    ]
    return servers.whole(servers.document({"text": "here it is"}, *pictures))


def world(directory: Path) -> Path:
    """A directory with things around the output that must not be touched; where a job lies."""
    for name in ("x", "etc/passwd", "a", "output/x", "output/x.png", "jobs/x", "jobs/images/x.png"):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"mine: {name}")
    return directory / "jobs"


def seen(directory: Path) -> dict[str, str]:
    """Everything below a directory but what a run may make: names, and the digests of files."""
    return {
        str(path.relative_to(directory)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        )
        for path in sorted(directory.rglob("*"))
        if "output/job" not in f"{path.relative_to(directory)}/"
    }


async def ran(job: Path, server: FaultServer, root: Path) -> Ran:
    """Run a job, and make sure that all it made is below its directory."""
    before = seen(root)
    done = await run_job(job, server, output=root / "output")
    assert seen(root) == before
    directory = root / "output/job"
    assert not [path for path in directory.rglob("*") if path.is_symlink()]
    assert len(ledgers.segments(directory)) >= 1
    return done


def refusal(job: Path) -> str | None:
    """What is said of a job, or None if it is fine."""
    manifest = open_manifest(job)
    for _ in manifest.items(ReferenceLibrary()):
        pass
    try:
        manifest.raise_problems()
    except JobError as error:
        return str(error)
    return None


def apart(names: Iterable[str]) -> list[list[str]]:
    """Names in as few jobs as their likeness allows."""
    jobs: list[dict[str, str]] = []
    for name in names:
        key = collision_key(Layout(Path()).image(Item(id=name, model=MODEL), "png").name)
        job = next((job for job in jobs if key not in job), None)
        if job is None:
            jobs.append(job := {})
        job[key] = name
    return [list(job.values()) for job in jobs]


async def test_a_hostile_id_is_refused_with_its_place(tmp_path: Path, tried: Tell) -> None:
    refused = []
    for name in NAMES:
        job = write_job(tmp_path / "one.jsonl", [{"id": name, "prompt": "p"}])
        if (said := refusal(job)) is not None:
            # File, line and column, the item where it has a name, and what is expected.
            assert said.startswith(f"{job}:2:")
            assert re.search(r"items\[.*\]\.id: .*expected|half a character", said), said
            refused.append(name)
    root = tmp_path / "w"
    items = [{"id": name, "prompt": f"p{n}"} for n, name in enumerate(refused)]
    job = write_job(world(root) / "job.jsonl", [*items, "good"])
    before = seen(root)
    with FaultServer(talks) as server:
        with pytest.raises(JobError) as caught:
            await run_job(job, server, output=root / "output")
        assert server.n_connections == 0
    assert seen(root) == before
    assert {problem.line - 2 for problem in caught.value.problems} == set(range(len(refused)))
    assert len(refused) > 100
    tried("P29", len(refused), "hostile ids")


@pytest.mark.reliability
async def test_a_hostile_id_that_may_be_one_stays_in_the_directory(
    tmp_path: Path, tried: Tell
) -> None:
    good = []
    for name in NAMES:
        job = write_job(tmp_path / "job.jsonl", [{"id": name, "prompt": "p"}])
        if refusal(job) is None:
            good.append(name)
    with FaultServer(talks) as server:
        for number, names in enumerate(apart(good)):
            root = tmp_path / str(number)
            turns = [{"prompt": "one"}, {"prompt": "two"}]
            items = [{"id": name, "turns": turns, "seed": n} for n, name in enumerate(names)]
            job = write_job(world(root) / "job.jsonl", items, output=EVERYTHING)
            done = await ran(job, server, root)
            assert done.summary.items.done == len(names)
    assert server.n_requests == 2 * len(good)
    assert len(good) > 80
    tried("P29", len(good), "hostile ids")


@pytest.mark.reliability
async def test_a_hostile_tag_in_a_path_makes_a_name_and_no_way_out(
    tmp_path: Path, tried: Tell
) -> None:
    root = tmp_path / "w"
    items = [
        {"id": f"i{n}", "prompt": f"p{n}", "tags": {"tag": name, "x": ".."}}
        for n, name in enumerate(NAMES)
        if name.strip() and not SURROGATE.search(name)
    ]
    output = {**EVERYTHING, "name": "{tag}/{x}/{tag}{id}"}
    job = write_job(world(root) / "job.jsonl", items, output=output)
    with FaultServer(talks) as server:
        done = await ran(job, server, root)
    assert done.summary.items.done == len(items) > 150
    for path in (done.directory / "images").rglob("*"):
        assert len(path.name.encode()) <= 255
        assert not UNSEEN.search(path.name)
    tried("P29", len(items), "hostile ids")


@pytest.mark.parametrize(("one", "other"), PAIRS)
async def test_two_ids_that_some_disk_takes_for_one_are_refused_before_a_request(
    tmp_path: Path, one: str, other: str, tried: Tell
) -> None:
    items = [{"id": one, "prompt": "p"}, {"id": other, "prompt": "q"}]
    job = write_job(tmp_path / "job.jsonl", items)
    with FaultServer(servers.draws) as server:
        with pytest.raises(JobError) as refused:
            await run_job(job, server)
        assert server.n_connections == 0
    said = str(refused.value)
    assert f"{job}:3:" in said
    assert "on line 2" in said
    assert "rename one" in said or "duplicate id" in said
    assert not (tmp_path / "output/job").exists()
    tried("P29", 2, "hostile ids")


def test_ten_thousand_ids_that_differ_after_their_first_two_hundred_bytes_have_names_of_their_own(
    tmp_path: Path,
) -> None:
    items = [{"id": "\u00e9" * 100 + f"{n:05}", "prompt": f"p{n}"} for n in range(10_000)]
    manifest = open_manifest(write_job(tmp_path / "job.jsonl", items))
    layout = Layout(tmp_path)
    names = [layout.image(item, "png").name for item in manifest.items(ReferenceLibrary())]
    manifest.raise_problems()
    assert len({collision_key(name) for name in names}) == 10_000
    assert max(len(name.encode()) for name in names) <= 255


# --- what the kernel is asked for ---------------------------------------------------------------

CALLS = "openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat"
CALLS += ",unlink,unlinkat,rmdir,truncate,mknod,mknodat,chmod,fchmodat,utimensat"
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


def changed_paths(trace: Path) -> Iterable[str]:
    """The paths of all calls that make, change or remove something and did not fail."""
    for line in trace.read_text("utf-8", "replace").splitlines():
        call = line.partition(" ")[2].lstrip().partition("(")[0]
        is_open = call in {"open", "openat"}
        if "(" not in line or " = -1 " in line or "resumed>" in line:
            continue
        if is_open and not re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC|APPEND)", line):
            continue
        for path in QUOTED.findall(line):
            yield path.encode().decode("unicode_escape").encode("latin-1").decode("utf-8")


@pytest.mark.reliability
@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace")
def test_every_path_that_a_run_of_hostile_names_makes_or_changes_is_below_its_directory(
    tmp_path: Path,
) -> None:
    root = tmp_path / "w"
    good = []
    for name in NAMES:
        job = write_job(tmp_path / "one.jsonl", [{"id": name, "prompt": "p"}])
        if refusal(job) is None:
            good.append(name)
    items = [
        {"id": name, "prompt": f"p{n}", "tags": {"tag": name}}
        for n, name in enumerate(apart(good)[0])
    ]
    output = {**EVERYTHING, "name": "{tag}/{id}"}
    job = write_job(world(root) / "job.jsonl", items, output=output)
    before = seen(root)
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-qq", "-s", "9999", "-e", f"trace={CALLS}", "-o", str(trace)]
    run = [sys.executable, "-m", "batchgen", "run", str(job), "-o", str(root / "output")]
    with FaultServer(talks) as server:
        done = subprocess.run(
            [*strace, *run, "--base-url", server.url],
            env=commands.environment(COMETAPI_KEY=KEY, PYTHONDONTWRITEBYTECODE="1"),
            capture_output=True,
            timeout=55,
            check=False,
            cwd=root,
        )
    assert done.returncode == 0, done.stderr
    assert seen(root) == before
    paths = set(changed_paths(trace))
    inside = [path for path in paths if Path(path).is_relative_to(root / "output/job")]
    assert len(inside) > 3 * len(items)
    elsewhere = paths.difference(inside) - {"/dev/null", str(root / "output"), "/dev/tty"}
    assert elsewhere == set()
    assert not [path for path in paths if ".." in path.split("/")]
