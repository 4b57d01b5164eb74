"""Whatever the bytes of an answer are, and however they are framed, each item ends with a reason.

One run for each way to frame an answer, with an item for each body; a prompt names its body. What
must come of a body is what `test_odd_answers` says of it, where it stands alone.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from tests import ledgers, servers
from tests.fault import test_odd_answers as odd
from tests.runs import Ran, run_job, write_job
from tests.servers import Answer, Asked, End, FaultServer, http, image_part, png, sends

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Told: TypeAlias = tuple[str, str]

# Broken answers in a row are no service that is away here, however many they are.
ONE_TRY = {"unsure": 0, "no_image": 0, "transport": 0, "rate_limit": 0, "patience": "9999h"}
OURS = {odd.CAT, odd.DOG, odd.OWL}


def bodies() -> Iterator[tuple[str, bytes, str]]:
    """Name, bytes, and what must come of it at the first try."""
    for first in (True, False):
        side = "before" if first else "after"
        for write, table in (
            (odd.beside, odd.BESIDE),
            (odd.in_candidate, odd.IN_CANDIDATE),
            (odd.in_part, odd.IN_PART),
        ):
            for name, member in table.items():
                body = partial(write, member)(first=first)
                yield f"{name}, {side}", body.encode(), "image"
    for name, one in (*odd.STRANGE_SHAPES.items(), *odd.ODD_TURNS.items()):
        yield name, one.encode(), "image"
    for name, (shown, _, _) in odd.SEVERAL.items():
        yield f"several: {name}", shown.encode(), "image"
    for name, (said, told, _) in odd.NO_PICTURE.items():
        yield name, said if isinstance(said, bytes) else said.encode(), told[0][0]
    for name, made in odd.BEYOND_BOUNDS.items():
        yield f"beyond bounds: {name}", made().encode(), "bad_reply"


BODIES = {f"body-{n}": (name, body, told) for n, (name, body, told) in enumerate(bodies())}
CLOSES = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"


def zipped(body: bytes) -> Answer:
    return sends(http(200, gzip.compress(body, 1), {"Content-Encoding": "gzip"}))


FRAMINGS: dict[str, Callable[[bytes], Answer]] = {
    "Content-Length": lambda body: sends(http(200, body)),
    "chunks": lambda body: sends(servers.chunked(body)),
    "the end of the connection": lambda body: sends(CLOSES + body, end=End.CLOSED),
    "gzip": zipped,
}


@pytest.mark.reliability
@pytest.mark.timeout(240)
@pytest.mark.parametrize("framed", [pytest.param(one, id=name) for name, one in FRAMINGS.items()])
async def test_a_body_comes_to_the_same_however_it_is_framed(
    framed: Callable[[bytes], Answer], tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    job = write_job(tmp_path / "job.jsonl", BODIES, retries=ONE_TRY, limits={"concurrency": 8})
    with FaultServer(lambda asked: framed(BODIES[asked.prompt][1])) as server:
        ran = await run_job(job, server)
    assert server.requests == dict.fromkeys(BODIES, 1)
    got = {one["item"]: one["outcome"] for one in ran.attempts}
    assert got == {item: told for item, (_, _, told) in BODIES.items()}
    for item, (name, _, told) in BODIES.items():
        kept = list((ran.directory / "images").glob(f"{item}.*"))
        assert len(kept) == (told == "image"), name
        assert {path.read_bytes() for path in kept} <= OURS, name
    assert len(BODIES) >= 120
    tried("P24", len(BODIES), "answers over sockets")


# --- mutants, to the end of the way ---------------------------------------------------------------

N_MUTANTS = 500
SMALL = [png(name, edge_px=4) for name in ("a", "b", "c")]
SEEDS = [
    servers.document(image_part(SMALL[0])),
    servers.document(
        {"text": "a \u00e9"}, image_part(SMALL[1]), image_part(SMALL[2], thought=True)
    ),
    servers.document(image_part(SMALL[0]), image_part(SMALL[1]), modelVersion="m"),
    {"candidates": [{"content": {}}, {"content": {"parts": [image_part(SMALL[2])]}}]},
    servers.document({"text": "no"}, finish_reason="NO_IMAGE"),
    {"error": {"code": 500, "message": "m", "details": [{"retryDelay": "1s"}]}, "candidates": []},
]
WORDS = (
    *(b'"data"', b'"inlineData"', b'"text"', b'"parts"', b'"content"', b'"candidates"'),
    *(b"null", b"[]", b"{}", b"true", b"-1", b"1e999", b"NaN", b'"x"', b"9" * 5000, b'"\\ud800"'),
    *(b"[" * 200, b'{"a":' * 200, b"\\", b'"', b"\xff", b"\x00", b"\xed\xa0\x80"),
)
VALUE = re.compile(rb'"[^"]*"|\d+|null|true|\[|\{')


def mutant(n: int) -> bytes:
    """A small answer to which a few things were done."""
    rng = random.Random(n)
    body = bytearray(json.dumps(rng.choice(SEEDS)).encode())
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(body))
        match rng.randrange(5):
            case 0:
                body[place] ^= 1 << rng.randrange(8)
            case 1:
                body[place:place] = rng.choice(WORDS)
            case 2:
                found = rng.choice(list(VALUE.finditer(body)) or [None])
                if found is not None:
                    body[found.start() : found.end()] = rng.choice(WORDS)
            case 3:
                del body[place : place + rng.randrange(1, 30)]
            case _:
                del body[place:]
                body += b"}"
    return bytes(body)


async def mutants_in_a_run(seeds: range, tmp_path: Path) -> Ran:
    items = [{"id": f"m{n}", "prompt": str(n)} for n in seeds]
    job = write_job(tmp_path / "job.jsonl", items, retries=ONE_TRY, limits={"concurrency": 8})

    def script(asked: Asked) -> Answer:
        return sends(http(200, mutant(int(asked.prompt))))

    with FaultServer(script) as server:
        # A flipped bit inside a picture is nothing that batchgen looks for: it decodes none.
        ran = await run_job(job, server, whole=False)
    assert len(server.requests) == len(seeds)
    for attempt in ran.attempts:
        ledgers.check_attempt(attempt)
    return ran


def pictures_in(body: bytes) -> set[bytes]:
    """What any strings of a body are in base64, however they are spelt."""
    text = body.decode("utf-8", "replace").replace("\\/", "/")
    found = set()
    for word in re.findall(r'"([A-Za-z0-9+/=]{40,})"', text):
        bare = word.rstrip("=")
        found.add(base64.b64decode(bare + "=" * (-len(bare) % 4)) if len(bare) % 4 != 1 else b"")
    return found


async def test_no_mutant_of_an_answer_is_a_defect_of_ours_or_a_picture_that_is_not_in_it(
    tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    ran = await mutants_in_a_run(range(N_MUTANTS), tmp_path)
    outcomes = {one["item"]: one["outcome"] for one in ran.attempts}
    assert len(outcomes) == N_MUTANTS
    assert "bug" not in outcomes.values()
    done = [item for item, outcome in outcomes.items() if outcome == "image"]
    assert N_MUTANTS // 10 < len(done) < N_MUTANTS
    for item in done:
        [path] = (ran.directory / "images").glob(f"{item}.*")
        assert path.read_bytes() in pictures_in(mutant(int(item[1:]))), item
    tried("P24", N_MUTANTS, "mutants")


# --- odd numbers ----------------------------------------------------------------------------------

NUMBERS = (
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000, "-" + "9" * 5000, "-1"),
    *("true", "null", '"7"', '"-7"', '"NaN"', '"1e999"', "[]", "{}", "0", "1e-400", "13.5"),
)
COUNTS = (
    *("promptTokenCount", "candidatesTokenCount", "totalTokenCount", "thoughtsTokenCount"),
    *("toolUsePromptTokenCount", "cachedContentTokenCount"),
)


def odd_numbers() -> Iterator[tuple[str, Answer]]:
    cat = image_part(odd.CAT)
    for n, number in enumerate(NUMBERS):
        for name in COUNTS:
            said = json.dumps(servers.document(cat, usage={**servers.USAGE, name: "ODD"}))
            yield f"{name} {n}", sends(http(200, said.replace('"ODD"', number).encode()))
        for kind in ("promptTokensDetails", "candidatesTokensDetails"):
            detail = [{"modality": "IMAGE", "tokenCount": "ODD"}]
            said = json.dumps(servers.document(cat, usage={**servers.USAGE, kind: detail}))
            yield f"{kind} {n}", sends(http(200, said.replace('"ODD"', number).encode()))
        said = json.dumps(servers.document(cat))
        said = said.replace('"index": 0', f'"index": {number}, "tokenCount": {number}')
        yield f"index {n}", sends(http(200, said.encode()))
        error = json.dumps({"error": {"code": "ODD", "message": "m", "status": "ODD"}})
        yield f"code {n}", sends(http(200, error.replace('"ODD"', number).encode()))
        yield f"code of a 500 {n}", sends(http(500, error.replace('"ODD"', number).encode()))
        delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "ODD"}
        limit = {"error": {"code": 503, "message": "m", "details": [delay]}}
        yield (
            f"delay {n}",
            sends(http(503, json.dumps(limit).replace('"ODD"', number).encode())),
        )
        plain = {"Retry-After": number.strip('"')[:2000]}
        yield f"header {n}", sends(http(503, b"{}", plain))


async def test_no_odd_number_is_a_defect_or_a_negative_cost(
    tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    answers = dict(odd_numbers())
    items = [{"id": f"i{n}", "prompt": name} for n, name in enumerate(answers)]
    job = write_job(tmp_path / "job.jsonl", items, retries=ONE_TRY, limits={"concurrency": 8})
    with FaultServer(lambda asked: answers[asked.prompt]) as server:
        ran = await run_job(job, server)
    assert server.requests == dict.fromkeys(answers, 1)
    names = dict(zip((item["id"] for item in items), answers, strict=True))
    for one in ran.attempts:
        name = names[one["item"]]
        refused = name.startswith(("code", "delay", "header"))
        assert one["outcome"] == ("server_error" if refused else "image"), name
        assert one["cost_usd"] is None or float(one["cost_usd"]) >= 0, name
        assert all(value >= 0 for value in (one["tokens"] or {}).values()), name
    tried("P24", len(answers), "answers over sockets")


# --- names that are paths -------------------------------------------------------------------------

NAMES = (
    *("../../escaped", "/tmp/escaped", "..\\..\\escaped", "%2e%2e%2fescaped", "a/../../escaped"),
    *("C:\\escaped", "\x00escaped", "~/escaped", "file:///escaped", ".", "..", ""),
)


def files_in(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if path.is_file()}


async def test_no_name_in_an_answer_is_part_of_a_path(tmp_path: Path) -> None:
    inside = tmp_path / "deep/inside/here"
    inside.mkdir(parents=True)

    def named(name: str) -> dict[str, Any]:
        part = image_part(odd.CAT, mime=name)
        part["inlineData"]["displayName"] = name
        part["fileData"] = {"fileUri": name, "displayName": name, "mimeType": name}
        said = servers.document(part, {"text": name}, responseId=name, modelVersion=name)
        return {**said, "id": name, "name": name, "fileName": name}

    def script(asked: Asked) -> Answer:
        name = NAMES[int(asked.prompt)]
        ids = {"x-request-id": base64.b64encode(name.encode()).decode()}
        if "\x00" not in name:
            ids["x-goog-request-id"] = ids["Content-Disposition"] = name
        return sends(http(200, json.dumps(named(name)).encode(), ids))

    items: list[Any] = [{"id": f"item-{n}", "prompt": str(n)} for n in range(len(NAMES))]
    output = {"keep_drafts": True, "keep_thoughts": True}
    job = write_job(inside / "job.jsonl", items, output=output)
    before = files_in(tmp_path)
    with FaultServer(script) as server:
        ran = await run_job(job, server)
    made = files_in(tmp_path) - before
    assert all(path.is_relative_to(ran.directory) for path in made)
    assert not [path for path in made if "escaped" in path.name]
    assert {path.name for path in (ran.directory / "images").iterdir()} == {
        f"{item['id']}.png" for item in items
    }
