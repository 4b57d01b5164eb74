"""One writer a directory, across real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from batchgen.errors import OutputHeld, StoreError
from batchgen.store.lock import OutputLock

if TYPE_CHECKING:
    from pathlib import Path

AT = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
HOLD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from batchgen.errors import BatchgenError
from batchgen.store.lock import OutputLock
try:
    with OutputLock(Path(sys.argv[1]), run_id="other-run", at=datetime.now(UTC)):
        print("held", flush=True)
        sys.stdin.read()
except BatchgenError as error:
    print(type(error).__name__, error, flush=True)
"""


def holder(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def lock(path: Path) -> OutputLock:
    return OutputLock(path, run_id="this-run", at=AT)


def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with holder(path) as first:
        assert says(first) == "held\n"
        with pytest.raises(OutputHeld) as caught, lock(path):
            pytest.fail("taken")
        assert "other-run" in str(caught.value)
        assert str(first.pid) in str(caught.value)
        assert caught.value.exit_code == 11
        first.communicate()
    with lock(path):
        pass


def test_the_lock_of_a_killed_process_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with holder(path) as first:
        assert says(first) == "held\n"
        first.kill()
    assert first.returncode == -9
    assert "other-run" in path.read_text()
    with lock(path):
        assert "this-run" in path.read_text()
        with holder(path) as second:
            assert "this-run" in says(second)


@pytest.mark.parametrize(
    "left",
    [
        pytest.param(b"", id="zero bytes, of a power cut"),
        pytest.param(b"\0" * 4096, id="zeros, of a power cut"),
        pytest.param(b"\xff{garbage", id="garbage"),
        pytest.param(b"x" * 100_000, id="much garbage"),
        pytest.param(b'{"pid": 1, "host": "here", "run_id": "r"}', id="a process of another now"),
        pytest.param(b'{"pid": 4194303, "host": "here", "run_id": "r"}', id="before a reboot"),
        pytest.param(b'{"pid": 1, "host": "elsewhere", "run_id": "r"}', id="another host"),
        pytest.param(b'{"run_id": "r", "since": "9999-01-01T00:00:00Z"}', id="from the future"),
    ],
)
def test_a_lock_file_that_nobody_holds_is_taken_whatever_it_says(
    tmp_path: Path, left: bytes
) -> None:
    path = tmp_path / ".lock"
    path.write_bytes(left)
    with lock(path):
        assert json.loads(path.read_bytes())["run_id"] == "this-run"


def test_it_may_be_taken_again_once_it_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    for _ in range(3):
        with lock(path):
            assert "this-run" in path.read_text()


@pytest.mark.parametrize("text", [b"", b"{", b"null", b'{"run_id":1}', b"\xff", b"x" * 5000])
def test_a_holder_that_says_nothing_readable_is_refused_all_the_same(
    tmp_path: Path, text: bytes
) -> None:
    path = tmp_path / ".lock"
    with lock(path):
        path.write_bytes(text)
        with pytest.raises(OutputHeld), lock(path):
            pytest.fail("taken")


def test_a_holder_that_says_its_name_a_moment_later_is_named(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with lock(path):
        says = path.read_bytes()
        path.write_bytes(b"")
        late = threading.Timer(0.03, path.write_bytes, [says])
        late.start()
        with pytest.raises(OutputHeld, match="this-run"), lock(path):
            pytest.fail("taken")
        late.join()


def test_a_directory_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError), lock(tmp_path / "no" / ".lock"):
        pytest.fail("taken")
    with pytest.raises(StoreError), lock(tmp_path):
        pytest.fail("taken")


def test_a_disk_that_cannot_take_the_name_is_a_store_error(tmp_path: Path) -> None:
    script = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n" + HOLD
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / ".lock")],
        input="",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("StoreError"), done


def test_a_holder_that_takes_another_name_is_known_by_that(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with lock(path) as held:
        held.rename("another-name-of-this-run")
        with pytest.raises(OutputHeld, match="another-name-of-this-run"), lock(path):
            pytest.fail("taken")
    with lock(path), pytest.raises(OutputHeld, match=r"\(this-run,"), lock(path):
        pytest.fail("taken")
