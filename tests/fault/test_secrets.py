"""A service that quotes the key back: it is in no file, no event and on no screen."""

import base64
import json
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests import servers
from tests.commands import batchgen
from tests.runs import run_job, write_job
from tests.servers import Answer, End, FaultServer, document, http, image_part, png, refuses, sends

CANARY = "sk-CANARY+f00d/8f3a2b1c9d7e6f504132"
SPELT_OUT = "".join(f"\\u{ord(ch):04x}" for ch in CANARY)
QUOTING = {
    "error": {
        "code": 403,
        "status": "PERMISSION_DENIED",
        "message": f"Consumer 'api_key:{CANARY}' has been suspended (request id: {CANARY})",
        "details": [{"reason": "CONSUMER_SUSPENDED", "metadata": {"containerInfo": CANARY}}],
    }
}
# A message is cut where it becomes too long to be shown; the key must not be cut in two there.
CUT_IN_TWO = {"error": {"message": "x" * 290 + " " + CANARY}}
WORDS = {"text": f"your key is {CANARY}"}
PICTURE = document(
    WORDS,
    image_part(png("cat"), thoughtSignature=CANARY),
    responseId=CANARY,
    modelVersion=f"m-{CANARY}",
    usage={**servers.USAGE, "note": CANARY},
)
GROUNDED = document(image_part(png("cat")))
GROUNDED["candidates"][0]["groundingMetadata"] = {"renderedContent": f"<b>{CANARY}</b>"}
REFUSED = document(finish_reason=f"IMAGE_{CANARY}")
REFUSED["candidates"][0]["finishMessage"] = CANARY
SAID: dict[str, Answer] = {
    "in an error": refuses(403, QUOTING),
    "in an error, spelt out": sends(
        http(403, json.dumps(QUOTING).replace(CANARY, SPELT_OUT).encode())
    ),
    "where a message is cut": refuses(400, CUT_IN_TWO),
    "where a text is cut": servers.whole(document({"text": "x" * 110 + CANARY})),
    "in JSON inside a message": refuses(400, {"error": {"message": json.dumps(QUOTING)}}),
    "in headers": sends(http(500, b"", {"x-request-id": CANARY, "Retry-After": CANARY})),
    "in the headers of a picture": sends(
        http(200, json.dumps(PICTURE).encode(), {"cf-ray": CANARY})
    ),
    "in a redirect": refuses(302, Location=f"https://other.invalid/?key={CANARY}"),
    "in a page": sends(http(200, f"<html>{CANARY}</html>".encode())),
    "in a picture's words and usage": servers.whole(PICTURE),
    "in a picture's words, spelt out": sends(
        http(200, json.dumps(PICTURE).replace(CANARY, SPELT_OUT).encode())
    ),
    "in grounding": servers.whole(GROUNDED),
    "in a refusal": servers.whole(REFUSED),
    "in a malformed status line": sends(f"HTTP/1.1 {CANARY}\r\n\r\n".encode(), end=End.BROKEN),
    "in headers that break off": sends(
        f"HTTP/1.1 200 OK\r\nx-echo: {CANARY}\r\n".encode(), end=End.BROKEN
    ),
    "in a malformed header": sends(
        f"HTTP/1.1 200 OK\r\n{CANARY} {CANARY}\r\n\r\n".encode(), end=End.BROKEN
    ),
    "in an encoding": sends(http(200, b"{}", {"Content-Encoding": CANARY})),
    "in no JSON": sends(http(200, CANARY.encode())),
}


def spellings() -> list[bytes]:
    """The key as it must not be found: plain, in JSON, in a URL, in base64 at any offset."""
    encoded = [
        base64.b64encode(b"\0" * lead + CANARY.encode())[4 if lead else 0 : -6] for lead in range(3)
    ]
    plain = [CANARY, CANARY[:20], CANARY[-20:], SPELT_OUT, quote(CANARY, safe="")]
    return [*(text.encode() for text in plain), *encoded]


def leaks(data: bytes) -> list[bytes]:
    return [spelling for spelling in spellings() if spelling in data]


@pytest.mark.parametrize("answer", [pytest.param(v, id=k) for k, v in SAID.items()])
async def test_a_key_that_is_quoted_back_is_in_no_file_and_no_event(
    answer: Answer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tried: Callable[[str, int, str], None],
) -> None:
    monkeypatch.setenv("COMETAPI_KEY", CANARY)
    job = write_job(tmp_path / "job.jsonl", ["cat"])
    with FaultServer(lambda _: answer) as server:
        ran = await run_job(job, server)
    assert server.log[0].headers["x-goog-api-key"] == CANARY
    for path in ran.directory.rglob("*"):
        assert not leaks(str(path).encode())
        if path.is_file():
            assert not leaks(path.read_bytes()), path
    assert not leaks(repr(ran.events).encode())
    assert not leaks(repr(ran.summary).encode())
    tried("P17", 1, "runs with a canary key")


def test_a_key_that_is_quoted_back_is_on_no_screen(tmp_path: Path) -> None:
    names = {f"item-{n}": answer for n, answer in enumerate(SAID.values())}
    once = {"unsure": 0, "no_image": 0, "transport": 0}
    ids = ["first", *names]  # one request shows that all is right, before the others follow
    job = write_job(tmp_path / "job.jsonl", ids, retries=once, limits={"concurrency": len(names)})
    together = threading.Barrier(len(names))  # some of these answers stop the run

    def script(asked: servers.Asked) -> Answer:
        if asked.prompt == "first":
            return servers.draws(asked)
        together.wait(30)
        return names[asked.prompt]

    with FaultServer(script) as server:
        done = batchgen(
            *("run", job, "-v", "--json", "--base-url", server.url, "-o", tmp_path / "out"),
            COMETAPI_KEY=CANARY,
            PYTHONASYNCIODEBUG="1",
            PYTHONDEVMODE="1",
        )
    assert server.n_requests == len(ids)
    assert done.code == 7
    assert "item-3" in done.err
    assert not leaks((done.out + done.err).encode())
