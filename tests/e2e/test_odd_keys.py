"""A key that cannot be one is refused before anything is sent, and no part of it is shown."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.commands import batchgen, environment
from tests.runs import write_job
from tests.servers import FaultServer, draws

pytestmark = pytest.mark.reliability

Tried: TypeAlias = Callable[[str, int, str], None]

WORD = b"sk-CANARY-8f3a2b1c9d7e"
ODD_KEYS = {
    "a newline in the middle": WORD + b"\n" + WORD,
    "another header": WORD + b"\r\nX-Other: " + WORD,
    "a carriage return": WORD + b"\r" + WORD,
    "a letter beyond ASCII": WORD + "\u00e9".encode(),
    "a wide letter": WORD + "\uff21".encode(),
    "a letter of no width": WORD + "\u200b".encode(),
    "a byte that is no text": WORD + b"\xff" + WORD,
    "a space": WORD + b" " + WORD,
    "a tab": WORD + b"\t" + WORD,
    "an escape": b"\x1b[31m" + WORD,
    "a quote": WORD + b'"',
    "a backslash": WORD + b"\\" + WORD,
    "a byte order mark": b"\xef\xbb\xbf" + WORD,
    "very long": WORD * 200,
    "short": b"CANARY7",
    "a number": b"8765432187654321",
    "only spaces": b"   ",
    "nothing": b"",
}
ONLY_IN_A_FILE = {
    "a zero byte": WORD + b"\0" + WORD,
    "much longer than any": WORD * 100_000,
    "two lines": WORD + b"\n" + WORD + b"\n",
}
PIECES = ("CANARY", "8f3a2b", "87654321", "x-other")


def run(job: Path, url: str, *flags: str | Path, **env: bytes) -> tuple[int, str]:
    """Run with an environment of bytes, as a system hands it over."""
    command = [sys.executable, "-m", "batchgen", "run", str(job), "--base-url", url]
    command += ["-o", str(job.parent / "out"), "-v", *map(str, flags)]
    given = {os.fsencode(name): os.fsencode(value) for name, value in environment().items()}
    given |= {os.fsencode(name): value for name, value in env.items()}
    done = subprocess.run(command, env=given, capture_output=True, timeout=60, check=False)
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


@pytest.mark.parametrize("odd", [*ODD_KEYS, *ONLY_IN_A_FILE])
def test_an_odd_key_is_refused_and_no_part_of_it_is_shown(
    odd: str, tmp_path: Path, tried: Tried
) -> None:
    key = {**ODD_KEYS, **ONLY_IN_A_FILE}[odd]
    job = write_job(tmp_path / "job.jsonl", ["cat"])
    file = tmp_path / "file"
    file.write_bytes(key)
    ways: list[Callable[[str], tuple[int, str]]] = [
        lambda url: run(job, url, "--api-key-file", file, COMETAPI_KEY=b"sk-another-key")
    ]
    if odd in ODD_KEYS:
        ways.append(lambda url: run(job, url, COMETAPI_KEY=key))
    for way in ways:
        with FaultServer(draws) as server:
            code, told = way(server.url)
        assert code == 2, told
        assert "key" in told
        assert len(told.splitlines()) == 1
        assert not [piece for piece in PIECES if piece.lower() in told.lower()]
        assert server.n_connections == 0
        assert not (tmp_path / "out").exists()
    tried("P20", len(ways), "odd keys")


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\n\n", b" \n"])
def test_what_ends_the_line_of_a_file_is_no_part_of_the_key(ending: bytes, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"])
    file = tmp_path / "file"
    file.write_bytes(WORD + ending)
    with FaultServer(draws) as server:
        code, told = run(job, server.url, "--api-key-file", file)
    assert code == 0, told
    assert server.log[0].headers["x-goog-api-key"] == WORD.decode()


def test_a_key_in_the_place_of_a_file_or_of_a_variable_is_not_shown(tmp_path: Path) -> None:
    word = WORD.decode()
    job = write_job(tmp_path / "job.jsonl", ["cat"])
    told = [batchgen("run", job, "--api-key-file", word, "-o", tmp_path / "out")]
    for name in (word, word.replace("-", "_")):
        provider = {"base_url": "https://api.invalid", "api_key_env": name}
        job = write_job(tmp_path / "job.jsonl", ["cat"], provider=provider)
        told.append(batchgen("run", job, "-o", tmp_path / "out"))
    assert [done.code for done in told] == [2, 2, 2]
    assert not [done for done in told if "CANARY" in done.out + done.err]


def test_no_flag_takes_a_key(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"])
    for flag in ("--api-key", "--key"):
        done = batchgen("run", job, f"{flag}=https://hook.invalid/CANARY")
        assert done.code == 2
        assert "CANARY" not in done.out + done.err
