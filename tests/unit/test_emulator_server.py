"""The emulator over real sockets: who is let in, what is counted, how it starts and stops."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from PIL import Image

from batchgen.emulator import Emulator, FaultsError, Settings, app

Json: TypeAlias = dict[str, Any]
Answer: TypeAlias = Any  # whatever JSON came
FLASH = "gemini-3.1-flash-image"
AT_ONCE = Settings(latency_s=(0, 0))


@dataclass
class Client:
    """A client that does as it is told, on one connection for each request."""

    emulator: Emulator
    headers: dict[str, str] = field(default_factory=lambda: {"x-goog-api-key": "a key"})

    def send(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        address = self.emulator.base_url.removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=10)
        try:
            connection.request(method, path, body, {**self.headers, **headers})
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def post(self, document: Json, model: str = FLASH, version: str = "v1beta") -> Answer:
        path = f"/{version}/models/{model}:generateContent"
        response, body = self.send("POST", path, json.dumps(document).encode())
        return response.status, json.loads(body)

    def get(self, path: str) -> Answer:
        return json.loads(self.send("GET", path)[1])


def small(text: str = "a cat", **config: object) -> Json:
    image = {"imageConfig": {"imageSize": "512"}}
    return {"contents": [{"parts": [{"text": text}]}], "generationConfig": {**image, **config}}


def images(answer: Json) -> list[Json]:
    parts = answer["candidates"][0]["content"]["parts"]
    return [part["inlineData"] for part in parts if "inlineData" in part]


@pytest.fixture(scope="module")
def shared() -> Iterator[Emulator]:
    with Emulator(AT_ONCE) as emulator:
        yield emulator


@pytest.fixture
def client(shared: Emulator) -> Client:
    client = Client(shared)
    client.send("POST", "/emulator/reset")
    return client


# --- answers


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_a_picture_of_the_asked_size_comes_back(client: Client, version: str) -> None:
    document = small(imageConfig={"aspectRatio": "16:9", "imageSize": "512"})
    status, answer = client.post(document, version=version)
    assert status == 200
    (inline,) = images(answer)
    with Image.open(BytesIO(b64decode(inline["data"]))) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", (688, 384))


def test_the_same_request_gets_the_same_bytes_from_two_emulators(client: Client) -> None:
    _, one = client.post(small("twice"))
    with Emulator(AT_ONCE) as another:
        _, other = Client(another).post(small("twice"))
    assert images(one) == images(other)


def test_answers_carry_the_gateways_request_id_and_the_tier(client: Client) -> None:
    body = json.dumps({**small(), "serviceTier": "flex"}).encode()
    path = f"/v1beta/models/{FLASH}:generateContent"
    ids = set()
    for _ in range(2):
        response, _ = client.send("POST", path, body)
        ids.add(response.headers["X-Cometapi-Request-Id"])
        assert response.headers["x-gemini-service-tier"] == "flex"
        assert response.headers["Content-Length"]
    assert len(ids) == 2


def test_a_model_id_may_be_percent_encoded(client: Client) -> None:
    status, answer = client.post(small(), model="google%2Fgemini-3.1-flash-image-preview")
    assert (status, answer["modelVersion"]) == (200, FLASH)


def test_a_large_body_is_read_whole(client: Client) -> None:
    out = BytesIO()
    noise = Image.effect_noise((700, 700), 100).convert("RGB")
    noise.save(out, "PNG")
    document = small("edit")
    inline = {"mimeType": "image/png", "data": b64encode(out.getvalue()).decode()}
    document["contents"][0]["parts"].append({"inlineData": inline})
    status, answer = client.post(document)
    assert status == 200
    assert answer["usageMetadata"]["promptTokenCount"] == 1 + 1120


def test_a_body_that_is_too_large_is_refused_before_it_is_read_to_its_end(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_MAX_BODY_BYTES", 1000)
    status, body = client.post(small("x" * 1000))
    assert (status, body["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert "payload size exceeds the limit" in body["error"]["message"]


# --- keys and addresses


@pytest.mark.parametrize(
    "headers", [{"x-goog-api-key": "k"}, {"Authorization": "Bearer k"}, {"X-Goog-Api-Key": "k"}]
)
def test_either_key_header_is_taken(shared: Emulator, headers: dict[str, str]) -> None:
    assert Client(shared, headers).post(small(responseModalities=["TEXT"]))[0] == 200


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Basic k"}, {"x-goog-api-key": " "}, {"Authorization": "k"}]
)
def test_without_a_key_the_caller_is_unknown(shared: Emulator, headers: dict[str, str]) -> None:
    status, body = Client(shared, headers).post(small())
    assert (status, body["error"]["status"]) == (403, "PERMISSION_DENIED")


def test_the_invalid_key_gets_googles_400(shared: Emulator) -> None:
    status, body = Client(shared, {"x-goog-api-key": "invalid-key"}).post(small())
    assert (status, body["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert body["error"]["details"][0]["reason"] == "API_KEY_INVALID"


def test_an_unknown_model_is_not_found(client: Client) -> None:
    status, body = client.post(small(), model="gemini-9")
    assert (status, body["error"]["status"]) == (404, "NOT_FOUND")
    assert "models/gemini-9 is not found" in body["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b'{"contents": NaN}',
        b"\xff\xfe{}",
        *(b'{"contents":' * n + b"1" + b"}" * n for n in (150, 480, 700, 50_000)),
    ],
    ids=range(11),
)
def test_a_body_that_is_no_request_is_refused(client: Client, body: bytes) -> None:
    response, answer = client.send("POST", f"/v1beta/models/{FLASH}:generateContent", body)
    assert (response.status, json.loads(answer)["error"]["status"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", f"/v1beta/v1beta/models/{FLASH}:generateContent", 301),
        ("POST", f"/models/{FLASH}:generateContent", 301),
        ("POST", "/v1/images/generations", 301),
        ("GET", "/", 200),
        ("GET", "/docs", 200),
    ],
)
def test_a_wrong_address_gets_a_redirect_or_a_page_as_from_the_gateway(
    client: Client, method: str, path: str, status: int
) -> None:
    response, body = client.send(method, path)
    assert response.status == status
    assert response.headers["Content-Type"].startswith("text/html")
    assert body.startswith(b"<!DOCTYPE html>")


def test_models_are_listed_and_other_methods_not_found(client: Client) -> None:
    listed = client.get("/v1beta/models")["models"]
    assert f"models/{FLASH}" in [model["name"] for model in listed]
    assert client.get(f"/v1beta/models/{FLASH}")["name"] == f"models/{FLASH}"
    response, _ = client.send("POST", f"/v1beta/models/{FLASH}:streamGenerateContent")
    assert response.status == 404


@pytest.mark.parametrize(
    ("headers", "status"), [({}, 403), ({"x-goog-api-key": "invalid-key"}, 400)]
)
@pytest.mark.parametrize(
    "path", ["/v1beta/models", "/v1beta/models?pageSize=1000", f"/v1/models/{FLASH}"]
)
def test_models_are_listed_for_those_alone_whose_key_is_known(
    shared: Emulator, headers: dict[str, str], status: int, path: str
) -> None:
    response, body = Client(shared, headers).send("GET", path)
    assert (response.status, json.loads(body)["error"]["code"]) == (status, status)


# --- counts


def test_counts_are_those_of_what_was_sent_and_answered(client: Client) -> None:
    answers = [client.post(small(text))[1] for text in ("a cat", "a cat", "a dog")]
    total = sum(answer["usageMetadata"]["totalTokenCount"] for answer in answers)
    client.post(small("x [[NO_IMAGE]]"))
    client.post({"contents": []})
    client.send("GET", "/nowhere")
    counts = client.get("/emulator/counts")
    assert counts == client.emulator.counts()
    assert (counts["requests"], counts["answered"], counts["images"]) == (6, 4, 3)
    assert counts["by_status"] == {"200": 5, "400": 1}
    assert counts["by_prompt"] == {
        "a cat": {"requests": 2, "answered": 2},
        "a dog": {"requests": 1, "answered": 1},
        "x [[NO_IMAGE]]": {"requests": 1, "answered": 1},
        "": {"requests": 1, "answered": 0},
    }
    assert counts["tokens"]["image"] == 3 * 747
    assert counts["tokens"]["prompt"] == 1 + 1 + 1 + 3
    assert counts["tokens"]["total"] > total
    assert (counts["in_flight"], counts["peak_in_flight"]) == (0, 1)
    assert len(counts["started_at"]) == 6
    assert counts["started_at"] == sorted(counts["started_at"])


def test_an_answer_that_was_read_is_in_the_counts_already(client: Client) -> None:
    for n in range(1, 11):
        client.post(small("[[TEXT_ONLY]]"))
        assert client.emulator.counts()["answered"] == n


def test_a_prompt_is_known_by_its_first_text_and_200_characters(client: Client) -> None:
    document = small()
    document["contents"][0]["parts"] = [{"text": "x" * 300}, {"text": "more"}]
    client.post(document)
    assert list(client.emulator.counts()["by_prompt"]) == ["x" * 200]


def test_concurrent_requests_are_counted_one_by_one(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: client.post(small(f"cat {n % 4}")), range(24)))
    assert {status for status, _ in answers} == {200}
    counts = client.emulator.counts()
    assert (counts["requests"], counts["images"]) == (24, 24)
    assert {of["answered"] for of in counts["by_prompt"].values()} == {6}
    assert 1 < counts["peak_in_flight"] <= 8


def test_a_reset_zeroes_counts_and_log(client: Client) -> None:
    client.post(small())
    client.send("POST", "/emulator/reset")
    counts = client.emulator.counts()
    assert (counts["requests"], counts["by_prompt"], counts["tokens"]["total"]) == (0, {}, 0)
    assert client.get("/emulator/requests") == []


# --- the log of requests


def test_the_log_has_images_by_hash_and_no_keys(client: Client) -> None:
    content = b"whatever this is"
    document = small("edit")
    for spelling, data in [("inlineData", b64encode(content).decode()), ("inline_data", "%%%")]:
        part = {spelling: {"mimeType": "image/png", "data": data}}
        document["contents"][0]["parts"].append(part)
    client.headers = {"x-goog-api-key": "secret-1", "Authorization": "Bearer secret-2"}
    client.send(
        "POST",
        f"/v1beta/models/{FLASH}:generateContent?key=secret-3&alt=json",
        json.dumps(document).encode(),
        Cookie="secret-4",
    )
    (entry,) = client.get("/emulator/requests?limit=5")
    assert "secret-" not in json.dumps(entry)
    assert entry["path"] == f"/v1beta/models/{FLASH}:generateContent?key=***&alt=json"
    assert (entry["method"], entry["headers"]["x-goog-api-key"]) == ("POST", "***")
    _, image, not_base64 = entry["body"]["contents"][0]["parts"]
    assert image["inlineData"]["data"] == {
        "sha256": sha256(content).hexdigest(),
        "bytes": len(content),
    }
    assert not_base64["inline_data"]["data"]["bytes"] == 3


def test_the_log_gives_the_last_requests_in_order(client: Client) -> None:
    for n in range(5):
        client.post(small(f"[[TEXT_ONLY]] {n}"))
    entries = client.get("/emulator/requests?limit=2")
    texts = [entry["body"]["contents"][0]["parts"][0]["text"] for entry in entries]
    assert texts == ["[[TEXT_ONLY]] 3", "[[TEXT_ONLY]] 4"]


# --- limits, starting and stopping


def test_above_the_rpm_the_answer_is_429_with_both_waits() -> None:
    with Emulator(Settings(latency_s=(0, 0), rpm=2)) as emulator:
        client = Client(emulator)
        words = small("[[TEXT_ONLY]]")
        assert [client.post(words)[0] for _ in range(2)] == [200, 200]
        response, body = client.send(
            "POST", f"/v1beta/models/{FLASH}:generateContent", json.dumps(words).encode()
        )
        other_model, _ = client.post(words | {"generationConfig": {}}, "gemini-3-pro-image")
    error = json.loads(body)["error"]
    assert (response.status, error["status"]) == (429, "RESOURCE_EXHAUSTED")
    details = {detail["@type"].rpartition(".")[2]: detail for detail in error["details"]}
    delay_s = float(details["RetryInfo"]["retryDelay"].removesuffix("s"))
    assert 50 < delay_s <= 60
    assert delay_s <= int(response.headers["Retry-After"]) <= 60
    (violation,) = details["QuotaFailure"]["violations"]
    assert "PerMinute" in violation["quotaId"]
    assert violation["quotaValue"] == "2"
    assert other_model == 200


def test_latency_is_drawn_from_the_range() -> None:
    with Emulator(Settings(latency_s=(0.05, 0.06))) as emulator:
        started = time.monotonic()
        Client(emulator).post(small("[[TEXT_ONLY]]"))
        assert time.monotonic() - started >= 0.05


def test_stopping_does_not_wait_for_requests_in_flight() -> None:
    with Emulator(Settings(latency_s=(60, 60))) as emulator:
        client = Client(emulator)
        waiting = threading.Thread(target=_ignoring_errors(lambda: client.post(small())))
        waiting.start()
        while emulator.counts()["in_flight"] == 0:
            pass
        started = time.monotonic()
    waiting.join()
    assert time.monotonic() - started < 1
    assert emulator.counts()["answered"] == 0


def _ignoring_errors(call: Callable[[], object]) -> Callable[[], None]:
    def quietly() -> None:
        with pytest.raises((OSError, http.client.HTTPException)):
            call()

    return quietly


def test_a_taken_port_is_an_error_of_the_one_who_starts(shared: Emulator) -> None:
    port = int(shared.base_url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"), Emulator(Settings(port=port)):
        pass


def test_a_bad_faults_file_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(FaultsError):
        Emulator(Settings(faults=tmp_path / "none.yaml"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_announces_its_address_and_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    code = "from batchgen.emulator import *; serve(Settings(), lambda url: print(url, flush=True))"
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        assert url.startswith("http://127.0.0.1:")
        process.send_signal(number)
        _, stderr = process.communicate(timeout=10)
    assert (process.returncode, stderr) == (0, b"")


def test_another_take_draws_another_picture_and_the_same_one_the_same() -> None:
    def drawn(take: str) -> Any:
        with Emulator(Settings(latency_s=(0, 0), take=take)) as emulator:
            status, answer = Client(emulator).post(small())
            assert status == 200
            return images(answer)

    assert drawn("run 2") == drawn("run 2") != drawn("")
