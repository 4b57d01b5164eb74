"""The requests of CometAPI's two pages, word for word: each arrives as it is shown there.

requests_of_the_pages.yaml holds the bodies as the pages spell them, and the item that asks for the
same. Here stands what becomes of the spelling. The emulator's record of what arrived is one oracle;
the other is what it answers to the same bodies when it is asked without batchgen.
"""

import base64
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias
from urllib.request import ProxyHandler, Request, build_opener

import pytest
import yaml
from PIL import Image

from tests import ledgers
from tests.commands import ROOT, EmulatorProcess, batchgen

Json: TypeAlias = dict[str, Any]

NAMES = {
    "inline_data": "inlineData",
    "mime_type": "mimeType",
    "google_search": "googleSearch",
    "thinking_level": "thinkingLevel",
    "include_thoughts": "includeThoughts",
}
REPLY = {"role": "model"}  # in place of what the model said
# What the models make of a ratio and a size; all our photos are square.
PIXELS = {
    ("1:1", "1K"): (1024, 1024),
    ("1:1", "4K"): (4096, 4096),
    ("9:16", "1K"): (768, 1376),
    ("16:9", "1K"): (1376, 768),
    ("16:9", "2K"): (2752, 1536),
}


# --- the pages ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """A request of a page: the item that asks for it, and its bodies as they are spelt there."""

    item: Json
    bodies: list[Json]

    @property
    def id(self) -> str:
        identity: str = self.item["id"]
        return identity

    @property
    def model(self) -> str:
        model: str = self.item["model"]
        return model

    @property
    def pixels(self) -> tuple[int, int]:
        return PIXELS[self.item.get("aspect_ratio", "1:1"), self.item.get("image_size", "1K")]


def read_pages() -> list[Example]:
    pages = yaml.safe_load(
        Path(__file__).with_name("requests_of_the_pages.yaml").read_text("utf-8")
    )
    return [
        Example(one["item"], [spelt["body"] for spelt in one["bodies"]])
        for examples in pages.values()
        for one in examples
    ]


EXAMPLES = read_pages()


# --- what becomes of a body ---------------------------------------------------------------------


def with_photos(body: Json, item: Json) -> Json:
    """A body with the photos of an item where the page says that some base64 goes."""
    photos = (ROOT / "jobs" / name for name in item.get("references", ()))
    filled: Json = _filled(body, (base64.b64encode(photo.read_bytes()) for photo in photos))
    return filled


def _filled(value: Any, photos: Iterator[bytes]) -> Any:
    match value:
        case {"data": str(), **others}:
            return {**others, "data": next(photos).decode()}
        case dict():
            return {name: _filled(one, photos) for name, one in value.items()}
        case list():
            return [_filled(one, photos) for one in value]
        case _:
            return value


def in_camel_case(value: Any) -> Any:
    match value:
        case dict():
            return {NAMES.get(name, name): in_camel_case(one) for name, one in value.items()}
        case list():
            return [in_camel_case(one) for one in value]
        case _:
            return value


def normalised(body: Json) -> Json:
    """A body as it is sent: in camelCase, and every message says whose it is."""
    contents = [{"role": "user", **message} for message in body["contents"]]
    sent: Json = in_camel_case({**body, "contents": contents})
    return sent


def with_level_in_capitals(body: Json) -> Json:
    """A body as fields make it, which send the level of thinking in capitals."""
    config = body["generationConfig"]
    if thinking := config.get("thinkingConfig"):
        thinking = {**thinking, "thinkingLevel": thinking["thinkingLevel"].upper()}
        config = {**config, "thinkingConfig": thinking}
    return {**body, "generationConfig": config}


def without_replies(body: Json) -> Json:
    contents = [REPLY if one["role"] == "model" else one for one in body["contents"]]
    return {**body, "contents": contents}


def has_replies(body: Json) -> bool:
    return any(message.get("role") == "model" for message in body["contents"])


def wanted_of(example: Example) -> list[Json]:
    """What the item has to send, by each of its bodies."""
    bodies = [normalised(with_photos(body, example.item)) for body in example.bodies]
    return [without_replies(with_level_in_capitals(body)) for body in bodies]


def as_recorded(value: Any) -> Any:
    """A body as the emulator keeps it: digests in place of base64."""
    match value:
        case {"data": str(data), **others}:
            raw = base64.b64decode(data)
            seen = {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
            return {**others, "data": seen}
        case dict():
            return {name: as_recorded(one) for name, one in value.items()}
        case list():
            return [as_recorded(one) for one in value]
        case _:
            return value


# --- the emulator -------------------------------------------------------------------------------


def ask(emulated: EmulatorProcess, path: str, body: Json | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "x-goog-api-key": "any"}
    request = Request(emulated.url + path, data=data, headers=headers)
    with build_opener(ProxyHandler({})).open(request, timeout=40) as answer:
        return json.load(answer)


def endpoint(model: str) -> str:
    return f"/v1beta/models/{model}:generateContent"


def arrived(emulated: EmulatorProcess) -> list[tuple[str, Json]]:
    return [(one["path"], one["body"]) for one in ask(emulated, "/emulator/requests?limit=1000")]


@dataclass(frozen=True)
class Asked:
    """A conversation without batchgen: each request, and what the model said to the last one."""

    requests: list[Json]
    said: Json

    def pictures(self, *, thought: bool) -> list[bytes]:
        return [
            base64.b64decode(part["inlineData"]["data"])
            for part in self.said["parts"]
            if "inlineData" in part and part.get("thought", False) is thought
        ]


def ask_as_a_person_would(emulated: EmulatorProcess, model: str, body: Json) -> Asked:
    """Send the user's messages one by one, each after what the model really said before."""
    requests: list[Json] = []
    contents: list[Json] = []
    said: Json = {}
    for message in body["contents"]:
        if message["role"] == "model":
            contents.append(said)
            continue
        contents.append(message)
        requests.append({**body, "contents": [*contents]})
        said = ask(emulated, endpoint(model), requests[-1])["candidates"][0]["content"]
    return Asked(requests, said)


def in_order(sent: Iterable[Any]) -> list[Any]:
    """Several requests are under way at once: which arrives first means nothing."""
    return sorted(sent, key=lambda one: json.dumps(one, sort_keys=True))


def distinct(bodies: Iterable[Json]) -> list[Json]:
    ordered = in_order(bodies)
    return [body for n, body in enumerate(ordered) if body not in ordered[:n]]


# --- runs ---------------------------------------------------------------------------------------


def run(items: Iterable[Json], emulated: EmulatorProcess, folder: Path) -> Path:
    """Run a job of these items to its end, all of it done; its directory."""
    shutil.copytree(ROOT / "jobs/photos", folder / "photos")
    head: Json = {"job": {"provider": "emulator"}}
    job = folder / "pages.jsonl"
    job.write_text("".join(json.dumps(line) + "\n" for line in (head, *items)), "utf-8")
    where = ("--base-url", emulated.url, "-o", folder / "output")
    done = batchgen("run", job, *where, "--rpm", "9999")
    assert done.code == 0, done.err
    ledgers.check_directory(folder / "output/pages")
    return folder / "output/pages"


def saved(directory: Path) -> dict[str, bytes]:
    """The pictures of a run by item, by the results."""
    found = ledgers.results(directory)
    return {
        one["id"]: (directory / one["images"][0]["path"]).read_bytes() for one in found.values()
    }


def pixels(picture: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(picture)) as opened:
        opened.load()
        return opened.size


# --- tests --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_item_sends_the_body_that_the_page_shows_and_saves_the_picture_of_it(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    pictures = saved(run([example.item for example in EXAMPLES], emulated, tmp_path))
    sent = arrived(emulated)
    expected: list[tuple[str, Json]] = []
    for example in EXAMPLES:
        wanted, picture = wanted_of(example), pictures[example.id]
        longest = max(wanted, key=lambda body: len(body["contents"]))
        asked = ask_as_a_person_would(emulated, example.model, longest)
        # However the page spells it, it is this request, or an earlier one of the conversation.
        assert in_order(map(without_replies, asked.requests)) == distinct(wanted), example.id
        expected += [(endpoint(example.model), as_recorded(one)) for one in asked.requests]
        assert pixels(picture) == example.pixels, example.id
        assert picture == asked.pictures(thought=False)[-1], example.id
    assert in_order(sent) == in_order(expected)


def test_what_the_model_draws_while_thinking_is_never_the_picture(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    (example,) = (one for one in EXAMPLES if "include_thoughts" in one.item)
    picture = saved(run([example.item], emulated, tmp_path))[example.id]
    asked = ask_as_a_person_would(emulated, example.model, wanted_of(example)[0])
    (thought,), (final,) = asked.pictures(thought=True), asked.pictures(thought=False)
    assert (pixels(thought), pixels(final)) == ((512, 512), (1024, 1024))
    assert picture == final


@pytest.mark.slow
def test_a_body_that_is_run_as_the_page_spells_it_arrives_in_one_spelling(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    spelt = {
        f"{example.id}-{n}": (example, with_photos(body, example.item))
        for example in EXAMPLES
        for n, body in enumerate(example.bodies, start=1)
        if not has_replies(body)  # the service refuses a reply that lacks the model's signature
    }
    items = [
        {"id": identity, "model": example.model, "request": body}
        for identity, (example, body) in spelt.items()
    ]
    pictures = saved(run(items, emulated, tmp_path))
    expected = [
        (endpoint(example.model), as_recorded(normalised(body))) for example, body in spelt.values()
    ]
    # What two of them ask for alike is sent once, and both have the picture.
    once = [one for n, one in enumerate(expected) if one not in expected[:n]]
    assert in_order(arrived(emulated)) == in_order(once)
    first_of: dict[str, bytes] = {}
    for identity, (example, _) in spelt.items():
        assert pixels(pictures[identity]) == example.pixels, identity
        assert pictures[identity] == first_of.setdefault(example.id, pictures[identity]), identity
