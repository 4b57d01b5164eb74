"""What the commands print, as people get it: on a terminal, in a pipe, in a mail in ASCII."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING, Any

import pytest

from batchgen.paper import columns
from tests import commands, servers
from tests.commands import Done, batchgen
from tests.runs import KEY, write_job
from tests.servers import Asked, FaultServer, refuses

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import Answer

LONG = "autumn-catalogue-2026-kitchen-and-dining-stoneware-mug-0{}-" + "very-" * 20 + "long-{}"
MODEL = "projects/a-project-of-somebody/locations/global/models/gemini-3-pro-image"
MESSAGE = f"the service says {'w' * 120} and {'图' * 50} and so on"
NO = LONG.format(9, "no-猫")
ITEMS: list[Any] = [
    "short",
    *({"id": LONG.format(n, n), "prompt": f"p{n}", "tags": {"sku": "T" * 100}} for n in range(3)),
    {"id": "猫" * 50, "prompt": "cat"},
    {"id": NO, "prompt": "no", "model": MODEL},
    {"id": "waits", "prompt": "waits", "references": [f"item:{NO}"]},
]
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def script(asked: Asked) -> Answer:
    if asked.prompt in {"no", "p2"}:
        return refuses(400, {"error": {"code": 400, "message": MESSAGE}})
    return servers.draws(asked)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(script) as server:
        yield server


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A job in the directory that the commands run in, so that paths are short."""
    monkeypatch.chdir(tmp_path)
    write_job(tmp_path / "job.jsonl", ITEMS, limits={"concurrency": 1})
    return "job.jsonl"


def run(job: str, server: FaultServer, *flags: str, **env: str) -> Done:
    return batchgen("run", job, "--base-url", server.url, *flags, COMETAPI_KEY=KEY, **env)


def check(text: str) -> None:
    """No line is wider than 80 columns, and nothing in it steers a terminal."""
    assert text
    assert [line for line in text.splitlines() if columns(line) > 80] == []
    assert CONTROL.findall(text) == []


def the_end(done: Done, server: FaultServer) -> str:
    """What a run says when it has ended, but for the last line, which is as long as it is."""
    n_done = server.n_requests - server.requests["no"] - server.requests["p2"]
    assert done.last_line.startswith(f"{n_done}/")
    text = done.err[done.err.index("\noutcome ") + 1 :]
    return text.removesuffix(done.last_line + "\n")


def test_plan_run_and_cost_fit_eighty_columns_whatever_the_names(
    job: str, server: FaultServer
) -> None:
    before = batchgen("plan", job, COLUMNS="80")
    check(before.out)
    done = run(job, server, COLUMNS="80")
    told = the_end(done, server)
    check(told)
    # Whole, over several lines: the outcome, the count, the words of the service, what to do.
    assert re.search(r"^bad_request +2  ", told, re.MULTILINE)
    assert "Change the item as the message says" in " ".join(told.split())
    assert f"{'w' * 120}and{'图' * 50}andsoon" in "".join(told.split())
    assert "report    output/job/report.html\n" in told
    after = batchgen("plan", job, "--retry-failed", COLUMNS="80")
    check(after.out)
    assert re.search(r"^make +2  failed before ", after.out, re.MULTILINE)
    cost = batchgen("cost", "output/job", "--by", "item,model,tag:sku", COLUMNS="80")
    check(cost.out)
    assert "$0.5526" in cost.out  # four pictures
    assert " 4,480" in cost.out  # and their tokens


# As cron has it on a machine without locales.
NO_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("env", "items"),
    [
        pytest.param({"PYTHONIOENCODING": "ascii"}, ITEMS, id="streams in ASCII"),
        pytest.param(NO_LOCALE, [ITEMS[1], "p2"], id="no locale"),
    ],
)
def test_where_our_signs_cannot_be_written_others_stand_for_them(
    env: dict[str, str], items: list[Any], job: str, tmp_path: Path, server: FaultServer
) -> None:
    write_job(tmp_path / job, items, limits={"concurrency": 1})
    plan = batchgen("plan", job, **env)
    done = run(job, server, **env)
    cost = batchgen("cost", "output/job", "--by", "item", **env)
    assert [one.code for one in (plan, done, cost)] == [0, 4, 0]
    for text in (plan.out, cost.out, the_end(done, server)):
        check(text)
    told = plan.out + done.err + cost.out
    assert told.isascii()
    assert not re.search(r"\?|\\u20|\\xb7|\\xd7", told)
    assert "job -> output/job (no run yet)" in plan.out
    assert " | $" in done.last_line
    assert done.last_line.endswith(" -> output/job")
    assert "-> Change the item as the message says" in done.err
    assert "..." in cost.out


def test_json_stays_utf_8_whatever_the_terminal_is(job: str, server: FaultServer) -> None:
    done = run(job, server, "--json", PYTHONIOENCODING="ascii")
    assert "图" * 50 in done.json["failures"][0]["example"]
    assert done.err.isascii()


def on_a_terminal(*arguments: str, **env: str) -> str:
    """What a command writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    plain = {
        name: value for name, value in commands.environment(**env).items() if name != "COLUMNS"
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "batchgen", *arguments],
        env=plain,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    read = bytearray()
    while select.select([ours], [], [], commands.DEADLINE_S)[0]:
        try:
            data = os.read(ours, 1 << 16)
        except OSError:  # the other side has closed
            break
        if not data:
            break
        read += data
    os.close(ours)
    assert process.wait(commands.DEADLINE_S) in {0, 4}
    return read.decode()


def test_colours_are_for_terminals_that_want_them(job: str, server: FaultServer) -> None:
    flags = ("--base-url", server.url, "--progress", "plain")
    wanted = {"TERM": "xterm-256color", "NO_COLOR": ""}
    told = on_a_terminal("run", job, *flags, COMETAPI_KEY=KEY, **wanted)
    assert "\x1b[31m2 failed\x1b[0m" in told
    assert "\x1b[33m4/7 done\x1b[0m" in told
    assert "\x1b[31mbad_request\x1b[0m" in told
    plan = on_a_terminal("plan", job, "--force", **wanted)
    assert "\x1b[32mmake\x1b[0m" in plan
    check(re.sub(r"\x1b\[[0-9]+m|\r", "", plan))
    piped = batchgen("plan", job, "--force", **wanted).out
    assert CONTROL.findall(piped) == []
