"""Whatever a service calls JSON: what is written of it is JSON to every strict reader."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests import commands, ledgers, servers
from tests.runs import KEY, run_job, write_job
from tests.servers import Answer, Asked, FaultServer, http, sends

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Put into an answer where a value stands, as they are.
ODD = {
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"-Infinity",
    "1e999": b"1e999",
    "-1e999": b"-1e999",
    "1e-999": b"1e-999",
    "5,000 digits": b"9" * 5000,
    "5,000 digits after the point": b"0." + b"3" * 5000,
    "minus 5,000 digits": b"-" + b"9" * 5000,
    "400 digits": b"1" + b"0" * 400,
    "more than 64 bits": b"18446744073709551616",
    "-0": b"-0",
    "a leading zero": b"007",
    "half a character": rb'"\ud800"',
    "the other half": rb'"a\udfffb"',
    "halves in the wrong order": rb'"\udc00\ud800"',
    "half a character as a name": rb'{"\ud800": 1}',
    "no UTF-8": b'"\xff\xfe\xed\xa0\x80"',
    "NUL": rb'"a\u0000b"',
    "a NUL as it is": b'"a\0b"',
    "a line end as it is": b'"a\nb"',
    "line ends of Unicode": '"a\u2028b\u2029c\u0085d"'.encode(),
    "names twice": b'{"a": 1, "a": 2}',
    "a name without a name": b'{"": {"": {}}}',
    "deep": b"[" * 40 + b"]" * 40,
    "a script": rb'"</script><script>\u003c/script\u003e"',
    "nothing": b"null",
}
HOLE = '"\u2740"'


def answers(asked: Asked) -> Answer:
    """An answer, or a refusal, with the odd value of the item in every place that it has."""
    name, _, kind = asked.prompt.partition(" | ")
    if kind == "refused":
        error = {"code": 400, "message": HOLE[1:-1], "status": HOLE[1:-1], "details": [HOLE[1:-1]]}
        return sends(http(400, filled({"error": error}, name)))
    odd = HOLE[1:-1]
    usage = {**servers.USAGE, "toolUsePromptTokenCount": odd, "x": odd, "trafficType": odd}
    counted = {"promptTokenCount": odd, "candidatesTokensDetails": odd, "totalTokenCount": odd}
    document = servers.document(
        {"text": odd} if kind != "turns" else {"text": "words"},
        servers.image_part(servers.png(asked.prompt)),
        usage=usage if kind == "turns" else {**usage, **counted},
        modelVersion=odd,
        responseId=odd,
        odd=odd,
    )
    candidate = document["candidates"][0]
    candidate |= {"finishMessage": odd, "avgLogprobs": odd, "safetyRatings": [odd]}
    candidate["groundingMetadata"] = {"webSearchQueries": [odd], "groundingChunks": [odd], "x": odd}
    return sends(http(200, filled(document, name)))


def filled(document: object, name: str) -> bytes:
    written = json.dumps(document, ensure_ascii=False)
    return written.encode().replace(HOLE.encode(), ODD[name])


def items() -> Iterator[dict[str, Any]]:
    for n, name in enumerate(ODD):
        yield {"id": f"{n} done", "prompt": f"{name} | done"}
        yield {"id": f"{n} refused", "prompt": f"{name} | refused"}
        turns = [{"prompt": f"{name} | turns"}, {"prompt": "more"}]
        yield {"id": f"{n} turns", "turns": turns}


def check_strict(text: bytes) -> Any:
    """JSON as its standard has it, in UTF-8, without half characters and endless numbers."""
    value = ledgers.strict(text.decode("utf-8"))
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode("utf-8")
    for number in numbers_of(value):
        assert math.isfinite(number)
    return value


def numbers_of(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from numbers_of(one)
    elif isinstance(value, float):
        yield value


def check_files(directory: Path) -> int:
    """Every file of JSON and every line of JSON Lines; how many files."""
    files = sorted([*directory.rglob("*.json"), *directory.rglob("*.jsonl")])
    for path in files:
        data = path.read_bytes()
        for text in data.removesuffix(b"\n").split(b"\n") if path.suffix == ".jsonl" else [data]:
            check_strict(text)
    return len(files)


IN_NODE = """
const fs = require('fs');
const finite = v => typeof v === 'number' ? Number.isFinite(v)
  : v && typeof v === 'object' ? Object.values(v).every(finite) : true;
const read = new TextDecoder('utf-8', {fatal: true});
for (const path of process.argv.slice(1)) {
  const text = read.decode(fs.readFileSync(path));
  const texts = path.endsWith('l') ? text.split('\\n').slice(0, -1) : [text];
  for (const one of texts) if (!finite(JSON.parse(one))) throw new Error(path + ': ' + one);
}
"""


def check_in_node(directory: Path) -> None:
    node = shutil.which("node")
    if node is not None:
        paths = [str(path) for end in ("json", "jsonl") for path in directory.rglob(f"*.{end}")]
        done = subprocess.run(
            [node, "-e", IN_NODE, "--", *paths], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


async def test_odd_values_of_an_answer_are_strict_json_in_every_file(
    tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(), retries={"unsure": 0, "no_image": 0})
    with FaultServer(answers_or_draws) as server:
        done = await run_job(job, server)
    n_files = check_files(done.directory)
    assert n_files >= 6 + len(list((done.directory / "turns").glob("*.json")))
    check_in_node(done.directory)
    pictures = [one for one in ledgers.results(done.directory).values() if one["images"]]
    assert len(pictures) > len(ODD)  # or nothing of what was odd was kept
    tried("P37", len(ODD), "odd values")


def answers_or_draws(asked: Asked) -> Answer:
    return answers(asked) if " | " in asked.prompt else servers.draws(asked)


@pytest.mark.parametrize("prompt", ["\ufffd \u2028 </script>", "\\u0000 \\ud800", "NaN"])
async def test_odd_words_of_a_job_are_strict_json_in_every_file(
    prompt: str, tmp_path: Path
) -> None:
    item = {"id": "a", "prompt": prompt, "tags": {"n": prompt}, "extra": {"x": prompt}}
    job = write_job(tmp_path / "job.jsonl", [item])
    with FaultServer(lambda _: servers.refuses(400, {"error": {"message": prompt}})) as server:
        done = await run_job(job, server)
    check_files(done.directory)
    check_in_node(done.directory)


def test_what_the_commands_print_as_json_is_strict(
    tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    job = write_job(tmp_path / "job.jsonl", items(), retries={"unsure": 0, "no_image": 0})
    with FaultServer(answers_or_draws) as server:
        where = ("--base-url", server.url, "-o", tmp_path / "out", "--json")
        done = commands.batchgen("run", job, *where, COMETAPI_KEY=KEY)
    assert done.code == 4, done.err
    assert check_strict(done.out.encode())["items"]["total"] == 3 * len(ODD)
    exported = commands.batchgen(
        *("export", tmp_path / "out/job", "--format", "gemini-batch", "--without-images")
    )
    for line in exported.out.removesuffix("\n").split("\n"):
        check_strict(line.encode())
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "\\ud800", "prompt": NaN, "seed": 1e999}\n{"id": "a", "x": 1}\n')
    told = commands.batchgen("validate", bad, "--json")
    assert check_strict(told.out.encode())["errors"]
    tried("P37", len(ODD), "odd values")
