"""Three turns against a service that enforces its signatures: they go back as they came.

The emulator's own counts and its record of what arrived say what was sent.
"""

import base64
import copy
import hashlib
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from tests import commands, ledgers
from tests.commands import EmulatorProcess, batchgen, started, until
from tests.runs import KEY, write_job

Json: TypeAlias = dict[str, Any]

FLASH = "gemini-3.1-flash-image"
SETTINGS = {"model": FLASH, "image_size": "512", "modalities": ["TEXT", "IMAGE"]}


def conversation(folder: Path, *prompts: str) -> Path:
    item = {"id": "poster", "turns": [{"prompt": prompt} for prompt in prompts]}
    return write_job(folder / "job.jsonl", [item], defaults=SETTINGS)


def run(job: Path, emulated: EmulatorProcess) -> commands.Done:
    to = ("--provider", "emulator", "--base-url", emulated.url)
    return batchgen("run", job, "-o", job.parent, *to)


def contents(emulated: EmulatorProcess) -> list[list[Json]]:
    """The conversation of each request that arrived, oldest first."""
    return [request["body"]["contents"] for request in emulated.received()]


def signatures(content: Json) -> list[str | None]:
    return [part.get("thoughtSignature") for part in content["parts"]]


def stored(directory: Path, turn: int) -> Json:
    said: Json = json.loads((directory / f"turns/poster.{turn}.json").read_bytes())
    return said


def as_recorded(content: Json) -> Json:
    """A content as the emulator records it: a digest in place of each image."""
    seen = copy.deepcopy(content)
    for part in seen["parts"]:
        if "inlineData" in part:
            data = base64.b64decode(part["inlineData"]["data"])
            digest = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            part["inlineData"]["data"] = digest
    return seen


def user(text: str, *parts: Json) -> Json:
    return {"role": "user", "parts": [{"text": text}, *parts]}


def asked_by_hand(emulated: EmulatorProcess, conversation: list[Json]) -> tuple[int, str]:
    """Status and message of a request that nothing of the product made."""
    body = {"contents": conversation, "generationConfig": {"imageConfig": {"imageSize": "512"}}}
    request = Request(
        f"{emulated.url}/v1beta/models/{FLASH}:generateContent",
        json.dumps(body).encode(),
        {"x-goog-api-key": "k", "Content-Type": "application/json"},
    )
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=20) as answer:
            return answer.status, ""
    except HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)["error"]["message"]


def without_signature(said: Json) -> None:
    for part in said["parts"]:
        part.pop("thoughtSignature", None)


def with_another_signature(said: Json) -> None:
    for part in said["parts"]:
        if "thoughtSignature" in part:
            part["thoughtSignature"] = base64.b64encode(b"made up").decode()


def with_another_picture(said: Json) -> None:
    for part in said["parts"]:
        if "inlineData" in part:
            data = base64.b64decode(part["inlineData"]["data"])
            part["inlineData"]["data"] = base64.b64encode(data + b"\n").decode()


def test_a_killed_conversation_sends_its_third_turn_again_with_the_signatures_of_the_first_two(
    tmp_path: Path,
) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {prompt: three, nth: 1, hang: 600}\n")
    job, directory = conversation(tmp_path, "one", "two", "three"), tmp_path / "job"
    with commands.emulator("--latency", "0", "--faults", str(faults)) as emulated:
        to = ("-o", tmp_path, "--base-url", emulated.url)
        with started("run", job, *to, COMETAPI_KEY=KEY) as killed:
            until(lambda: emulated.by_prompt.get("three"), "the third turn under way")
            killed.signal(signal.SIGKILL)
            assert killed.end().code == -signal.SIGKILL
        n_before = emulated.n_requests
        done = batchgen("run", job, *to, COMETAPI_KEY=KEY)
        assert done.code == 0, done.err
        assert (n_before, emulated.n_requests) == (3, 4)
        assert emulated.by_prompt == {"one": 1, "two": 1, "three": 2}
        assert set(emulated.counts()["by_status"]) <= {"200", "none"}
        *_, third, again = contents(emulated)
    said = [stored(directory, turn) for turn in (1, 2)]
    assert all(any(signatures(one)) for one in said)
    first, second = map(as_recorded, said)
    assert again == [user("one"), first, user("two"), second, user("three")]
    assert again == third
    assert all("note" not in line for line in ledgers.attempts(directory))
    ledgers.check_directory(directory, ended=False)


@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (without_signature, "missing a thought_signature"),
        (with_another_signature, "Corrupted thought signature"),
        (with_another_picture, "Corrupted thought signature"),
    ],
)
def test_the_emulator_refuses_what_the_model_did_not_say(
    emulated: EmulatorProcess,
    tmp_path: Path,
    turn: int,
    spoil: Callable[[Json], None],
    complaint: str,
) -> None:
    assert run(conversation(tmp_path, "one", "two", "three"), emulated).code == 0
    said = [stored(tmp_path / "job", n) for n in (1, 2)]
    held = [user("one"), said[0], user("two"), said[1], user("four")]
    assert asked_by_hand(emulated, held) == (200, "")
    spoil(said[turn - 1])
    status, message = asked_by_hand(emulated, held)
    assert status == 400
    assert complaint in message


def test_where_the_signatures_were_dropped_the_next_turn_goes_with_the_picture_alone(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    prompts = ("one [[UNSIGNED]]", "two", "three")
    done = run(conversation(tmp_path, *prompts), emulated)
    assert done.code == 0, done.err
    assert emulated.by_prompt == dict.fromkeys(prompts, 1)
    assert emulated.counts()["by_status"] == {"200": 3}
    directory = tmp_path / "job"
    ledgers.check_directory(directory)
    first, second, third = ledgers.attempts(directory)
    [drawn] = first["images"]
    picture = {"sha256": drawn["sha256"], "bytes": drawn["bytes"]}
    inline = {"inlineData": {"mimeType": drawn["mime"], "data": picture}}
    begun_anew = user("two", inline)
    assert contents(emulated) == [
        [user(prompts[0])],
        [begun_anew],
        [begun_anew, as_recorded(stored(directory, 2)), user("three")],
    ]
    assert not any(signatures(stored(directory, 1)))
    assert "note" not in first
    for line in (second, third):
        assert "picture of turn 1" in line["note"]
        assert "thoughtSignature" in line["note"]


def test_a_gateway_that_always_drops_them_gets_one_turn_and_one_picture_each_time(
    tmp_path: Path,
) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {signatures: missing}\n")
    with commands.emulator("--latency", "0", "--faults", str(faults)) as emulated:
        assert run(conversation(tmp_path, "one", "two", "three"), emulated).code == 0
        sent = contents(emulated)
        assert emulated.counts()["by_status"] == {"200": 3}
    assert [len(one) for one in sent] == [1, 1, 1]
    notes = [line.get("note", "") for line in ledgers.attempts(tmp_path / "job")]
    assert ["picture of turn" in note for note in notes] == [False, True, True]
    assert "picture of turn 2" in notes[2]
