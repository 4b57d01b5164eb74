"""Each fault of status and delivery as a client meets it, on a raw socket."""

import gzip
import json
import socket
import time
import zlib
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from batchgen.emulator import Emulator, Settings

Json: TypeAlias = dict[str, Any]
Answer: TypeAlias = Any  # whatever JSON came
FLASH = "gemini-3.1-flash-image"


@dataclass(frozen=True)
class Heard:
    """All that came before the connection ended, taken apart no further than needed."""

    raw: bytes
    was_reset: bool

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        head = self.raw.partition(b"\r\n\r\n")[0].decode("latin-1")
        pairs = (line.split(": ", 1) for line in head.split("\r\n")[1:])
        return {name.lower(): value for name, value in pairs}

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def document(self) -> Answer:
        return json.loads(self.body)


@contextmanager
def emulator_with(tmp_path: Path, rule: str) -> Iterator[Emulator]:
    faults = tmp_path / "faults.yaml"
    faults.write_text(f"- {{{rule}}}\n")
    with Emulator(Settings(latency_s=(0, 0), faults=faults)) as emulator:
        yield emulator


def ask(emulator: Emulator, text: str = "a cat", size: str = "512") -> Heard:
    """Post one request for a picture, and listen until the connection ends."""
    body = json.dumps(
        {
            "contents": [{"parts": [{"text": text}]}],
            "generationConfig": {
                "responseModalities": ["IMAGE"],
                "imageConfig": {"imageSize": size},
            },
        }
    ).encode()
    head = (
        f"POST /v1beta/models/{FLASH}:generateContent HTTP/1.1\r\nHost: emulator\r\n"
        f"x-goog-api-key: k\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    host, _, port = emulator.base_url.removeprefix("http://").partition(":")
    with closing(socket.create_connection((host, int(port)), timeout=10)) as connection:
        connection.sendall(head.encode() + body)
        heard = bytearray()
        try:
            while piece := connection.recv(1 << 20):
                heard += piece
        except ConnectionResetError:
            return Heard(bytes(heard), was_reset=True)
    return Heard(bytes(heard), was_reset=False)


def heard_with(tmp_path: Path, rule: str) -> tuple[Heard, Json]:
    """What a client hears under a rule, and what the emulator has counted by then."""
    with emulator_with(tmp_path, rule) as emulator:
        heard = ask(emulator)
    return heard, emulator.counts()


def picture(document: Json) -> bytes:
    (part,) = document["candidates"][0]["content"]["parts"]
    return b64decode(part["inlineData"]["data"])


def details(error: Json) -> dict[str, Json]:
    return {detail["@type"].rpartition(".")[2]: detail for detail in error["details"]}


# --- errors in place of the answer


def test_a_503_has_googles_body(tmp_path: Path) -> None:
    heard, counts = heard_with(tmp_path, "status: 503, reason: MODEL_CAPACITY_EXHAUSTED")
    assert heard.status == 503
    error = heard.document["error"]
    assert (error["code"], error["status"]) == (503, "UNAVAILABLE")
    assert error["message"] == "The model is overloaded. Please try again later."
    assert details(error)["ErrorInfo"]["reason"] == "MODEL_CAPACITY_EXHAUSTED"
    assert (counts["answered"], counts["by_status"]) == (0, {"503": 1})


def test_the_body_may_be_a_list(tmp_path: Path) -> None:
    heard, _ = heard_with(tmp_path, "status: 429, quota: minute, body: list")
    ((only),) = heard.document
    assert only["error"]["code"] == 429


def test_a_429_tells_the_wait_in_body_and_header(tmp_path: Path) -> None:
    rule = "status: 429, quota: minute, retry_delay: 2.5s, retry_after: 7"
    heard, _ = heard_with(tmp_path, rule)
    assert heard.headers["retry-after"] == "7"
    found = details(heard.document["error"])
    assert found["RetryInfo"]["retryDelay"] == "2.5s"
    assert "PerMinute" in found["QuotaFailure"]["violations"][0]["quotaId"]


@pytest.mark.parametrize(
    ("quota", "quota_id", "value"), [("day", "PerDay", "20"), ("free", "FreeTier", "0")]
)
def test_a_429_names_the_limit_that_was_hit(
    tmp_path: Path, quota: str, quota_id: str, value: str
) -> None:
    heard, _ = heard_with(tmp_path, f"status: 429, quota: {quota}")
    (violation,) = details(heard.document["error"])["QuotaFailure"]["violations"]
    assert quota_id in violation["quotaId"]
    assert violation["quotaValue"] == value


def test_the_spend_limit_comes_without_details(tmp_path: Path) -> None:
    heard, _ = heard_with(tmp_path, "status: 429, quota: spend")
    assert heard.document["error"]["status"] == "RESOURCE_EXHAUSTED"
    assert "details" not in heard.document["error"]


@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "invalid_request"), (503, "model_not_found"), (403, "insufficient_user_quota")],
)
def test_the_gateways_body_has_a_code_and_the_request_id(
    tmp_path: Path, status: int, code: str
) -> None:
    heard, _ = heard_with(tmp_path, f"status: {status}, body: gateway, code: {code}")
    error = heard.document["error"]
    assert (heard.status, error["code"], error["type"]) == (status, code, "comet_api_error")
    assert f"(request id: {heard.headers['x-cometapi-request-id']})" in error["message"]


def test_a_proxys_page_an_empty_body_and_a_file_of_ones_own(tmp_path: Path) -> None:
    heard, _ = heard_with(tmp_path, "status: 524, body: html")
    assert heard.status == 524
    assert heard.headers["content-type"].startswith("text/html")
    assert heard.body.startswith(b"<!DOCTYPE html>")
    heard, _ = heard_with(tmp_path, "status: 502, body: empty")
    assert (heard.status, heard.body) == (502, b"")
    (tmp_path / "own.json").write_text('{"detail": "odd"}')
    heard, _ = heard_with(tmp_path, "status: 422, body: own.json")
    assert (heard.status, heard.document) == (422, {"detail": "odd"})


def test_an_error_body_under_a_200_is_no_answer(tmp_path: Path) -> None:
    heard, counts = heard_with(tmp_path, "status: 200, message: oops")
    assert (heard.status, heard.document["error"]["message"]) == (200, "oops")
    assert counts["answered"] == 0


def test_a_redirect_names_another_place(tmp_path: Path) -> None:
    heard, _ = heard_with(tmp_path, "redirect: 'https://www.example.com/x'")
    assert (heard.status, heard.headers["location"]) == (301, "https://www.example.com/x")


# --- faults on the way


def test_a_cut_body_is_shorter_than_promised(tmp_path: Path) -> None:
    heard, counts = heard_with(tmp_path, "cut: 0.5")
    promised = int(heard.headers["content-length"])
    assert len(heard.body) == promised // 2
    assert not heard.was_reset
    assert (counts["answered"], counts["images"], counts["by_status"]) == (0, 0, {"200": 1})
    assert counts["in_flight"] == 0


def test_a_reset_before_the_answer_leaves_nothing(tmp_path: Path) -> None:
    heard, counts = heard_with(tmp_path, "reset: before")
    assert heard == Heard(b"", was_reset=True)
    assert (counts["answered"], counts["by_status"]) == (0, {"none": 1})


def test_a_reset_during_the_answer_leaves_it_unfinished(tmp_path: Path) -> None:
    heard, counts = heard_with(tmp_path, "reset: during")
    assert heard.was_reset
    assert (counts["answered"], counts["by_status"]) == (0, {"200": 1})


def test_a_hang_is_silence_and_then_the_answer(tmp_path: Path) -> None:
    with emulator_with(tmp_path, "hang: 0.2") as emulator:
        started = time.monotonic()
        heard = ask(emulator)
        assert time.monotonic() - started >= 0.2
    assert picture(heard.document)


def test_a_latency_rule_beats_the_setting(tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("- latency: 0\n")
    with Emulator(Settings(latency_s=(60, 60), faults=faults)) as emulator:
        assert ask(emulator).status == 200


def test_a_drip_comes_at_its_rate(tmp_path: Path) -> None:
    with emulator_with(tmp_path, "drip: 400000") as emulator:
        started = time.monotonic()
        heard = ask(emulator)
        took_s = time.monotonic() - started
    assert took_s > len(heard.body) / 400_000 - 0.15
    assert picture(heard.document)
    assert emulator.counts()["answered"] == 1


def test_a_chunked_body_has_no_length(tmp_path: Path) -> None:
    heard, counts = heard_with(tmp_path, "encoding: chunked")
    assert heard.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in heard.headers
    assert heard.body.endswith(b"\r\n0\r\n\r\n")
    assert counts["images"] == 1


def test_a_gzipped_body_unpacks_to_the_answer(tmp_path: Path) -> None:
    heard, counts = heard_with(tmp_path, "encoding: gzip")
    assert heard.headers["content-encoding"] == "gzip"
    assert picture(json.loads(gzip.decompress(heard.body)))
    assert counts["images"] == 1


def test_a_cut_gzip_keeps_its_promised_length_and_ends_early(tmp_path: Path) -> None:
    heard, counts = heard_with(tmp_path, "encoding: gzip_cut")
    assert len(heard.body) == int(heard.headers["content-length"])
    unpacking = zlib.decompressobj(wbits=31)
    assert unpacking.decompress(heard.body)
    assert not unpacking.eof
    assert counts["answered"] == 0


def test_a_body_may_end_with_the_connection(tmp_path: Path) -> None:
    heard, counts = heard_with(tmp_path, "encoding: close")
    assert heard.headers["connection"] == "close"
    assert not {"content-length", "transfer-encoding"} & set(heard.headers)
    assert picture(heard.document)
    assert (counts["answered"], counts["images"]) == (1, 1)


@pytest.mark.parametrize(
    ("garbage", "start"),
    [
        ("not_json", b"upstream"),
        ("html", b"<!DOCTYPE"),
        ("empty", b""),
        ("array", b"[{"),
        ("two_documents", b"{"),
        ("no_candidates", b'{"candidates": []'),
    ],
)
def test_garbage_is_a_200_that_is_not_one_answer(
    tmp_path: Path, garbage: str, start: bytes
) -> None:
    heard, counts = heard_with(tmp_path, f"garbage: {garbage}")
    assert heard.status == 200
    assert heard.body.startswith(start)
    assert counts["answered"] == 1
    assert counts["images"] == (1 if garbage in {"array", "two_documents"} else 0)
    match garbage:
        case "array":
            assert picture(heard.document[0])
        case "no_candidates":
            assert heard.document["candidates"] == []
        case _:
            with pytest.raises(ValueError, match=r"Expecting|Extra data"):
                json.loads(heard.body)


def test_a_fault_hits_the_nth_request_of_its_prompt_only(tmp_path: Path) -> None:
    with emulator_with(tmp_path, "prompt: '*cat*', nth: 2, status: 503") as emulator:
        statuses = [ask(emulator, text).status for text in ("a cat", "a dog", "a cat", "a cat")]
    assert statuses == [200, 200, 503, 200]


def test_a_client_that_goes_away_is_not_counted_as_answered(tmp_path: Path) -> None:
    with emulator_with(tmp_path, "hang: 0.15") as emulator:
        host, _, port = emulator.base_url.removeprefix("http://").partition(":")
        body = json.dumps({"contents": [{"parts": [{"text": "a cat"}]}]}).encode()
        with closing(socket.create_connection((host, int(port)))) as connection:
            connection.sendall(
                f"POST /v1beta/models/{FLASH}:generateContent HTTP/1.1\r\nHost: e\r\n"
                f"x-goog-api-key: k\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            while emulator.counts()["in_flight"] == 0:
                pass
        while emulator.counts()["in_flight"] == 1:
            pass
    assert emulator.counts()["answered"] == 0
