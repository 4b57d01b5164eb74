"""Nothing that a server or a job file says reaches a terminal as a control code.

The command runs on a real pseudo-terminal, with its bar and a line for each call. Payloads stand
between marks, so that what is theirs can be told from what the bar itself writes to move about.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests import commands, servers
from tests.runs import KEY, write_job
from tests.servers import Answer, Asked, FaultServer, http, image_part, png, refuses, sends, whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.reliability

PAYLOADS: dict[str, str] = {
    "escape": "\x1b",
    "colour": "\x1b[31m",
    "clears the screen": "\x1b[2J\x1b[H",
    "moves up": "\x1b[3A",
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;https://example.com\x1b\\click\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;cm0gLXJm\x07",
    "device control": '\x1bP$q"p\x1b\\',
    "reset": "\x1bc",
    "private message": "\x1b^x\x1b\\",
    "application": "\x1b_Gx\x1b\\",
    "asks for a report": "\x1b[6n",
    "other screen": "\x1b[?1049h",
    "8-bit CSI": "\x9b31m",
    "8-bit OSC": "\x9d0;owned\x9c",
    "8-bit DCS": "\x90q\x9c",
    "next line": "\x85",
    "carriage return": "real\rfake",
    "backspace": "real\b\b\b\bfake",
    "bell": "\x07",
    "NUL": "\x00",
    "shift out": "\x0e",
    "vertical tab": "\x0b",
    "form feed": "\x0c",
    "delete": "\x7f",
    "new line": "one\ntwo",
    "tab": "one\ttwo",
    "right to left override": "\u202etxt.exe",
    "embedding": "\u202a\u202b\u202c\u202d",
    "isolates": "\u2066\u2067\u2068\u2069",
    "marks of direction": "\u200e\u200f\u061c",
    "zero width": "a\u200bb\u200cc\u200dd\ufeffe\u2060f",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "lone surrogates": "\ud800 \udfff",
    "a tag": "\U000e0001\U000e0061",
    "a long line": "x" * 10_000_000,
    "all of C0": "".join(map(chr, range(32))),
    "all of C1": "".join(map(chr, range(0x80, 0xA0))),
}
BEGIN, END = "\u00ab", "\u00bb"
# Every code that may move, hide, reorder or overwrite: none of them is the bar's but CR and ESC [.
CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
# The bar moves a line up, and clears one.
OWN = re.compile("\r\n|\r|\x1b\\[A|\x1b\\[K")
# And the end of a run has a few words of its own in colours.
COLOURED = re.compile(
    "\x1b\\[3[123]m([a-z_]+|stopped early|[0-9]+/[0-9]+ done|[0-9]+ failed)\x1b\\[0m"
)
ONE_TRY = {"unsure": 0, "no_image": 0, "transport": 0, "rate_limit": 0}
CAT = png("a cat", edge_px=4)


def on_a_terminal(*arguments: str | Path) -> tuple[int, str]:
    """Run a command with a terminal as its stdout and stderr; its exit code, and what came."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "batchgen", *map(str, arguments)],
        env=commands.environment(COMETAPI_KEY=KEY, TERM="xterm-256color"),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    came = bytearray()
    ends_s = time.monotonic() + 60
    try:
        while time.monotonic() < ends_s:
            if not select.select([ours], [], [], 1)[0]:
                continue
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # how a terminal ends on Linux
                break
            if not piece:
                break
            came += piece
    finally:
        os.close(ours)
        if process.poll() is None and time.monotonic() >= ends_s:
            process.kill()
        code = process.wait(20)
    return code, came.decode("utf-8")


def marked(payload: str) -> str:
    return f"{BEGIN}{payload}{END}"


def assert_tame(came: str) -> None:
    """There is no control code but the bar's own and our colours, and none inside of a payload."""
    rest = OWN.sub("\n", COLOURED.sub(r"\1", came))
    assert "\x1b" not in rest
    assert "\r" not in rest
    found = CONTROL.search(rest)
    assert found is None, repr(rest[max(0, found.start() - 40) : found.end() + 40])
    for inside in re.findall(f"{BEGIN}([^{END}{BEGIN}]*)", came):
        assert not re.search("[\x00-\x09\x0b\x0c\x0e-\x1f]", inside), repr(inside[:80])


def google(message: str) -> Any:
    return {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": message}}


def in_a_header(payload: str) -> str:
    """As far as a header can hold it: neither line breaks nor NUL, and one byte a letter."""
    kept = payload.replace("\r", "").replace("\n", "").replace("\0", "")[:4000]
    return kept.encode("latin-1", "ignore").decode("latin-1")


PLACES: dict[str, Callable[[str], Answer]] = {
    "the message of an error": lambda said: refuses(400, google(said)),
    "an error inside a 200": lambda said: whole(google(said)),
    "plain text": lambda said: sends(http(503, said.encode("utf-8", "surrogatepass")[:300_000])),
    "why it ended": lambda said: whole(
        servers.document(finish_reason="NO_IMAGE", finishMessage=said)
    ),
    "the reason itself": lambda said: whole(servers.document(finish_reason=said)),
    "the block reason": lambda said: whole(
        {"promptFeedback": {"blockReason": said, "blockReasonMessage": said}}
    ),
    "the model's words": lambda said: whole(servers.document({"text": said})),
    "an address": lambda said: whole(servers.document({"fileData": {"fileUri": said}})),
    "the names beside a picture": lambda said: whole(
        servers.document(image_part(CAT, said), {"text": said}, modelVersion=said, responseId=said)
    ),
    "an id in a header": lambda said: sends(
        http(400, json.dumps(google("no")).encode(), {"x-request-id": in_a_header(said)})
    ),
    "a compression": lambda said: sends(http(200, b"{}", {"Content-Encoding": in_a_header(said)})),
}


@pytest.mark.parametrize("place", [pytest.param(one, id=name) for name, one in PLACES.items()])
def test_no_words_of_a_server_reach_the_terminal_as_control_codes(
    place: Callable[[str], Answer], tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    if place is not PLACES["the message of an error"]:
        payloads = {name: one[:100_000] for name, one in PAYLOADS.items()}
    else:
        payloads = PAYLOADS
    # Between two that fail stands one that does not: three refusals from the start stop a run.
    items = [f"{kind}-{n}" for n in range(len(payloads)) for kind in ("tame", "wild")]
    texts = list(payloads.values())

    def script(asked: Asked) -> Answer:
        kind, _, n = asked.prompt.partition("-")
        return place(marked(texts[int(n)])) if kind == "wild" else servers.draws(asked)

    job = write_job(tmp_path / "job.jsonl", items, retries=ONE_TRY, limits={"concurrency": 4})
    with FaultServer(script) as server:
        code, came = on_a_terminal(
            *("run", job, "-o", tmp_path / "output", "--base-url", server.url),
            *("--progress", "bar", "-v"),
        )
    assert server.requests == dict.fromkeys(items, 1)
    assert code in {0, 4}
    assert "%|" in came, "there was a bar"
    assert f"/{len(items)} done" in came
    assert_tame(came)
    assert max(map(len, OWN.sub("\n", came).split("\n"))) < 2000
    tried("P28", len(payloads), "payloads")


def test_no_redirect_reaches_the_terminal_as_control_codes(
    tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    said = in_a_header(marked("".join(one[:300] for one in PAYLOADS.values())))
    job = write_job(tmp_path / "job.jsonl", ["cat"])
    with FaultServer(lambda _: sends(http(307, b"", {"Location": said}))) as server:
        code, came = on_a_terminal(
            *("run", job, "-o", tmp_path / "output", "--base-url", server.url),
            *("--progress", "bar", "-v"),
        )
    assert code == 7
    assert "HTTP 307 redirects to" in came
    assert_tame(came)
    tried("P28", 1, "payloads")


JOBS: dict[str, Callable[[str], list[Any]]] = {
    "an id": lambda said: [{"id": said, "prompt": "cat"}],
    "the name of a field": lambda said: [{"id": "cat", "prompt": "cat", said: 1}],
    "a reference": lambda said: [{"id": "cat", "prompt": "cat", "references": [said]}],
    "a model": lambda said: [{"id": "cat", "prompt": "cat", "model": said}],
    "a ratio": lambda said: [{"id": "cat", "prompt": "cat", "aspect_ratio": said}],
    "an item that is built on": lambda said: [
        {"id": "cat", "prompt": "cat", "references": [f"item:{said}"]}
    ],
}


@pytest.mark.parametrize("written", [pytest.param(one, id=name) for name, one in JOBS.items()])
def test_no_words_of_a_job_reach_the_terminal_as_control_codes(
    written: Callable[[str], list[Any]],
    tmp_path: Path,
    tried: Callable[[str, int, str], None],
) -> None:
    job = tmp_path / "job.jsonl"
    payloads = [one[:1000] for one in PAYLOADS.values()]
    lines: list[Any] = [{"job": {"name": "job", "defaults": {"model": "gemini-3-pro-image"}}}]
    for n, one in enumerate(payloads):
        lines += [{**item, "id": item["id"] + str(n)} for item in written(marked(one))]
    job.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    code, came = on_a_terminal("validate", job)
    assert code in {0, 3}
    assert came.strip()
    assert_tame(came)
    tried("P28", len(payloads), "payloads")


def test_a_prompt_and_a_model_of_control_codes_run_tamely(
    tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    texts = [one[:1000].replace("\ud800", "").replace("\udfff", "") for one in PAYLOADS.values()]
    items = [
        {"id": f"item-{n}", "prompt": marked(one), "tags": {"t": marked(one)}}
        for n, one in enumerate(texts)
    ]
    job = write_job(tmp_path / "job.jsonl", items)
    with FaultServer(servers.draws) as server:
        code, came = on_a_terminal(
            *("run", job, "-o", tmp_path / "output", "--base-url", server.url),
            *("--progress", "bar", "-v"),
        )
    assert code == 0
    assert_tame(came)
    tried("P28", len(texts), "payloads")
