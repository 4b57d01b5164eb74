"""The same in Azure Blob Storage, as far as its emulator goes: a store of another kind."""

import base64
import contextlib
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from batchgen.objects import read_address
from batchgen.objects.bucket import Bucket, ObjectGone, Refused
from tests import servers
from tests.commands import ROOT, batchgen, environment
from tests.hands import InProcess
from tests.objects import HOST
from tests.runs import KEY, run_job, write_job
from tests.servers import FaultServer

ACCOUNT: Final = "shop"
ACCOUNT_KEY: Final = base64.b64encode(b"a key of the tests of batchgen, and of no account").decode()
_HERE: Final = ROOT / ".artefacts/azurite/node_modules/.bin/azurite-blob"
_AZURITE: Final = os.environ.get("AZURITE") or shutil.which("azurite-blob") or str(_HERE)

pytestmark = pytest.mark.skipif(
    not Path(_AZURITE).exists(),
    reason="no azurite: npm install --prefix .artefacts/azurite azurite",
)


def _free_port() -> int:
    with contextlib.closing(socket.create_server((HOST, 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    port = _free_port()
    where = ("--blobHost", HOST, "--blobPort", str(port))
    process = subprocess.Popen(
        [_AZURITE, *where, "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"],
        env=environment(AZURITE_ACCOUNTS=f"{ACCOUNT}:{ACCOUNT_KEY}"),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    drain = threading.Thread(target=process.stdout.read, daemon=True)
    try:
        assert any("successfully listens" in line for line in process.stdout)
        drain.start()
        _make_container(port, "pictures")
        yield port
    finally:
        process.kill()
        process.wait(10)
        if drain.is_alive():
            drain.join(10)
        process.stdout.close()


def _make_container(port: int, name: str) -> None:
    """Which the library cannot do: signed as Azure wants it.

    Source: https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
    """
    headers = {
        "x-ms-date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "x-ms-version": "2023-11-03",
    }
    lines = "".join(f"{header}:{value}\n" for header, value in headers.items())
    text = "PUT" + "\n" * 12 + lines + f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    signed = hmac.new(base64.b64decode(ACCOUNT_KEY), text.encode(), hashlib.sha256).digest()
    key = f"SharedKey {ACCOUNT}:{base64.b64encode(signed).decode()}"
    asked = urllib.request.Request(
        f"http://{HOST}:{port}/{ACCOUNT}/{name}?restype=container",
        method="PUT",
        headers={**headers, "Authorization": key},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(asked, timeout=10) as answer:
        assert answer.status == 201


def env_of(port: int, machine: Path) -> dict[str, str]:
    return {
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY,
        "AZURE_STORAGE_ENDPOINT": f"http://{HOST}:{port}/{ACCOUNT}",
        "NO_PROXY": HOST,
        "XDG_STATE_HOME": str(machine),
        "HOME": str(machine),
    }


@pytest.fixture
def bucket(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in env_of(port, tmp_path).items():
        monkeypatch.setenv(name, value)
    return Bucket.at(read_address(f"az://pictures/{tmp_path.name}"))


def test_a_write_that_depends_on_a_version_is_refused_for_another_one(bucket: Bucket) -> None:
    first = bucket.put_new("claim", b"1")
    with pytest.raises(Refused):
        bucket.put_new("claim", b"2")
    bucket.put_over("claim", b"2", first)
    with pytest.raises(Refused):
        bucket.put_over("claim", b"3", first)
    assert bucket.get("claim")[0] == b"2"


def test_of_many_who_write_at_once_one_has_it(bucket: Bucket) -> None:
    """The server that stands for S3 is no witness here: it does not hold one write at a time."""
    for n in range(5):
        won = _write_at_once(bucket, f"claim-{n}")
        assert len(won) == 1
        assert bucket.get(f"claim-{n}")[0] == b"%d" % won[0]


def _write_at_once(bucket: Bucket, path: str, n_writers: int = 16) -> list[int]:
    """Have many write over one version at the same moment; those whose write was taken."""
    first, start = bucket.put_new(path, b"0"), threading.Barrier(n_writers)
    won: list[int] = []

    def write(n: int) -> None:
        start.wait()
        with contextlib.suppress(Refused):
            bucket.put_over(path, b"%d" % n, first)
            won.append(n)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(n_writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won


def test_what_is_missing_is_said_to_be_and_large_files_come_back_whole(
    bucket: Bucket, tmp_path: Path
) -> None:
    with pytest.raises(ObjectGone):
        bucket.get("none")
    bucket.delete("none")
    large = os.urandom((33 << 20) + 1)
    (tmp_path / "large").write_bytes(large)
    bucket.put_file("large", tmp_path / "large", "image/png")
    bucket.fetch("large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == large
    assert [(one.path, one.size_bytes) for one in bucket.listed()] == [("large", len(large))]


def test_a_run_into_azure_is_gone_on_with_on_another_machine(port: int, tmp_path: Path) -> None:
    ids = [f"i{n}" for n in range(6)]
    job = write_job(tmp_path / "job.jsonl", ids)
    place = "az://pictures/x"
    with FaultServer(servers.draws) as server:
        to = ("-o", place, "--base-url", server.url, "--progress", "none")
        said = ""
        for machine in ("one", "one", "two"):
            env = env_of(port, tmp_path / machine)
            done = batchgen("run", job, *to, **env, COMETAPI_KEY=KEY)
            assert done.code == 0, done.err
            said += done.err
        assert server.requests.total() == len(ids)
        env = env_of(port, tmp_path / "three")
        verified = batchgen("verify", f"{place}/job", **env)
        assert (verified.code, verified.last_line) == (0, "6 of 6 pictures as recorded")
        assert ACCOUNT_KEY not in said + verified.err


def test_objects_are_copied_and_deleted_by_the_hundred_also_those_that_are_gone(
    bucket: Bucket,
) -> None:
    bucket.put("one", b"1")
    bucket.copy("one", "deep/two")
    assert bucket.get("deep/two")[0] == b"1"

    bucket.delete_all(["one", "never", "deep/two"])

    assert list(bucket.listed()) == []


async def test_workers_put_what_they_make_there_themselves(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMETAPI_KEY", KEY)
    job = write_job(tmp_path / "job.jsonl", [f"item-{n}" for n in range(6)])

    with FaultServer(servers.draws) as server:
        ran = await run_job(
            job,
            server,
            output=str(bucket.address),
            hands=InProcess(2),
            whole=False,
            patient=True,
        )

    assert ran.exit_code == 0
    there = [stored.path for stored in bucket.listed("job/images")]
    assert len(there) == 6
    assert not list(bucket.listed("job/.parts"))
