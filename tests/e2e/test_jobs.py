"""The jobs that come with batchgen: each runs as it stands, and sends what is written out here.

The emulator's own record of what arrived is the oracle. The bodies below were written by hand, most
of them from CometAPI's request examples: camelCase, a role, and nothing that the job does not set.
"""

import base64
import csv
import hashlib
import itertools
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from PIL import Image

from tests import commands, ledgers
from tests.commands import ROOT, EmulatorProcess, batchgen

Json: TypeAlias = dict[str, Any]

FOLDER = ROOT / "jobs"
JOBS = sorted([*FOLDER.rglob("*.yaml"), *FOLDER.rglob("*.jsonl")])
EXAMPLES = {job.stem: job for job in JOBS if job.parent == FOLDER / "examples"}
OTHERS = [job for job in JOBS if job not in EXAMPLES.values()]

FLASH = "gemini-nano-banana-2.1"
PRO = "gemini-3-pro-image"


# --- what must arrive ---------------------------------------------------------------------------

BOTH = {"responseModalities": ["TEXT", "IMAGE"]}
ONLY = {"responseModalities": ["IMAGE"]}
THINKING = {"thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": True}}
SEARCH: list[Json] = [{"googleSearch": {}}]
REPLY = {"role": "model"}  # in place of what the model said, which is looked at by itself


def image(ratio: str, size: str | None = None) -> Json:
    return {"imageConfig": {"aspectRatio": ratio} | ({"imageSize": size} if size else {})}


def inline(data: bytes, mime: str) -> Json:
    """A picture as the emulator records it: a digest in place of its base64."""
    seen = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return {"inlineData": {"mimeType": mime, "data": seen}}


MIME_TYPES = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".heic": "image/heic",
}


def photo(name: str) -> Json:
    path = FOLDER / "photos" / name
    return inline(path.read_bytes(), MIME_TYPES[path.suffix])


def labelled(label: str, name: str) -> tuple[Json, Json]:
    return {"text": label}, photo(name)


def user(words: str, *after: Json) -> Json:
    return {"role": "user", "parts": [{"text": words}, *after]}


def guarded(**thresholds: str) -> list[Json]:
    return [
        {"category": f"HARM_CATEGORY_{category}", "threshold": threshold}
        for category, threshold in thresholds.items()
    ]


def searching(*kinds: str) -> list[Json]:
    return [{"googleSearch": {"searchTypes": {kind: {} for kind in kinds}}}]


def asked(words: str, *photos: str, config: Json, **rest: Any) -> Json:
    """The body of one message with these photos."""
    return {"contents": [user(words, *map(photo, photos))], "generationConfig": config, **rest}


MOTH = (
    "A plate from an old field guide, an emperor moth with spread wings, pen and watercolour on "
    "laid paper"
)
DUNES = "A photograph of wind-combed dunes under a clearing sky"
CLOCKWORK = "A greenhouse of brass and glass inside an opened pocket watch, lying on moss"
CORNER = "Bring the three together in one calm corner of a living room, after sunset, in detail"
BEEKEEPER = (
    "Portrait of a beekeeper at the open door of a wooden shed. He wears an undyed smock, the veil "
    "is pushed back over a straw hat with a band of dried lavender. His left hand rests on an old "
    "smoker of dented copper. Behind him rows of empty frames in warm half-light. Painted in oils, "
    "with care for the weave of the veil and the grain of the wood"
)
WEEK_OF_SKY = (
    "Show what can be seen in the night sky over Lisbon on each of the next seven nights, as a "
    "plain chart with one column a night. Add what to bring along for each"
)
KINGFISHER = (
    "Field sketch of a common kingfisher, whole and in details: bill, foot and one wing feather, "
    "pencil and gouache on grey paper, labels in English."
)
COMPOST = (
    "Draw a cheerful poster that tells how compost is made as if it were a layer cake. Show the "
    '"layers" (leaves, peelings, straw) and what comes "out of the oven" (dark crumbly soil). '
    "Like a page of a picture book, for eight-year-olds."
)
ROBOT = (
    "A small delivery robot with one round eye, seen from the front, the side, the back and above, "
    "on one sheet"
)
PATH = "A gravel path between clipped hedges, ending at a white gate"
RATIOS = (
    *("1:1", "3:2", "2:3", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"),
    *("1:4", "4:1", "1:8", "8:1"),
)
SHOP_WINDOW = (
    "The window of a small shop at dusk, seen from across the street. What each picture shows "
    "stands where the words before it say, in its own colours; a thing that is there twice is two "
    "of a kind"
)
IN_THE_WINDOW = (
    *labelled("Upper shelf, first from the left:", "mug.jpg"),
    *labelled("Upper shelf, second:", "bowl.jpg"),
    *labelled("Upper shelf, third:", "vase.jpg"),
    *labelled("Upper shelf, in the middle:", "lamp.jpg"),
    *labelled("Upper shelf, fifth:", "vase.jpg"),
    *labelled("Upper shelf, sixth:", "bowl.jpg"),
    *labelled("Upper shelf, last:", "mug.jpg"),
    *labelled("Lower shelf, first from the left:", "bottle.jpg"),
    *labelled("Lower shelf, second:", "candle.jpg"),
    *labelled("Lower shelf, in the middle:", "speaker.jpg"),
    *labelled("Lower shelf, fourth:", "candle.jpg"),
    *labelled("Lower shelf, last:", "bottle.jpg"),
    *labelled("On the floor:", "stool.jpg"),
    *labelled("On the door, small:", "logo.png"),
)
ROOM = (
    "The room of the sketch, painted in the five colours, with the stool below the window and the "
    "mark carved over the niche"
)
TERRACES = "Rice terraces after rain, seen from a hill"
PEARS = "Three pears on a sheet of folded linen"
LIGHTHOUSE = "The lighthouse on Neist Point"
STILL_LIFE: Json = {
    "systemInstruction": {
        "parts": [
            {"text": "Still lifes only. Plain backgrounds, daylight from one side, no lettering."}
        ]
    },
    "store": False,
}
CYCLE = user("Draw a poster on the water cycle")
GERMAN = user("Now with German lettering, and nothing else changed")

PATTERN = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAIAQMAAAD+wSzIAAAABlBMVEX28efZbEqFScE9AAAAEklEQVR42mM4w8TAYMzEwACl"
    "ARSiAgeBbx/+AAAAAElFTkSuQmCC"
)
EXPECTED: dict[str, list[Json]] = {
    "text-to-image": [asked(MOTH, config=BOTH | image("1:1", "4K"))],
    "image-to-image": [asked("Redraw this as a two-colour linocut", "stool.jpg", config=BOTH)],
    "two-images": [
        asked("Set both of these on one breakfast tray", "mug.jpg", "bowl.jpg", config=BOTH)
    ],
    "three-images": [asked(CORNER, "lamp.jpg", "speaker.jpg", "candle.jpg", config=BOTH)],
    "image-only": [asked(DUNES, config=ONLY | image("16:9", "2K"))],
    "portrait": [asked(BEEKEEPER, config=ONLY | image("9:16"))],
    "thinking": [asked(CLOCKWORK, config=ONLY | THINKING)],
    "search": [
        asked("Draw today's tide table of Saint-Malo as a diagram", config=BOTH, tools=SEARCH)
    ],
    "search-16x9": [asked(WEEK_OF_SKY, config=BOTH | image("16:9", "1K"), tools=SEARCH)],
    "search-1k": [asked(KINGFISHER, config=BOTH | image("1:1", "1K"), tools=SEARCH)],
    "search-4k": [asked(KINGFISHER, config=BOTH | image("1:1", "4K"), tools=SEARCH)],
    "first-turn": [asked(COMPOST, config=BOTH)],
    "chat": [
        {"contents": [CYCLE], "generationConfig": BOTH},
        {"contents": [CYCLE, REPLY, GERMAN], "generationConfig": BOTH},
    ],
    "ratios": [asked(PATH, config=ONLY | image(ratio)) for ratio in RATIOS],
    "sizes": [asked(TERRACES, config=ONLY | image("3:2", size)) for size in ("1K", "2K", "4K")],
    "formats": [
        asked(ROOM, "stool.jpg", "logo.png", "niche.webp", "colours.heic", config=ONLY),
    ],
    "fourteen": [{"contents": [user(SHOP_WINDOW, *IN_THE_WINDOW)], "generationConfig": ONLY}],
    "image-search": [
        asked(
            f"{LIGHTHOUSE} in the weather that it has today",
            config=ONLY,
            tools=searching("webSearch"),
        ),
        asked(
            f"{LIGHTHOUSE}, its buildings just as they are",
            config=ONLY,
            tools=searching("imageSearch"),
        ),
        asked(
            f"{LIGHTHOUSE}, its buildings just as they are, in the weather that it has today",
            config=ONLY,
            tools=searching("webSearch", "imageSearch"),
        ),
    ],
    "settings": [
        asked(
            PEARS,
            config=ONLY | {"temperature": 0.6, "topP": 0.9, "topK": 40, "seed": 2026},
            safetySettings=guarded(
                DANGEROUS_CONTENT="BLOCK_MEDIUM_AND_ABOVE", HARASSMENT="BLOCK_ONLY_HIGH"
            ),
            **STILL_LIFE,
        ),
        asked(
            "Three pears in this bowl",
            "bowl.jpg",
            config=ONLY | {"mediaResolution": "MEDIA_RESOLUTION_HIGH"},
            safetySettings=guarded(HARASSMENT="BLOCK_NONE"),
            serviceTier="flex",
            **STILL_LIFE,
        ),
    ],
}
EXPECTED["kept"] = [asked(ROBOT, config=ONLY | image("16:9", "1K") | THINKING)]
EXPECTED["raw"] = [
    {
        "contents": [user("A lighthouse on a spit of land, linocut in two colours")],
        "generationConfig": ONLY | image("2:3"),
    },
    {
        "contents": [
            user(
                "Tiles of this pattern, with snake_case left as it is written in a text",
                inline(PATTERN, "image/png")
                | {"mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}},
            )
        ],
        "generationConfig": BOTH | {"imageConfig": {"imageSize": "1K"}},
        "safetySettings": guarded(HARASSMENT="BLOCK_ONLY_HIGH"),
    },
]
BY_PRO = {"search-4k", "first-turn"}

BOAT = user("A paper boat on a puddle, seen from just above the water, first light.")
CUPS = user("A long shelf of hand-thrown cups, no two alike, against a limewashed wall.")
TILES = user("A bathroom floor laid with tiles of this pattern.", inline(PATTERN, "image/png"))
MOON = user("A poster with today's phase of the moon over a quiet harbour.")
BATCH = [
    {"contents": [BOAT], "generationConfig": BOTH},
    {
        "contents": [CUPS],
        "generationConfig": ONLY | image("21:9", "1K"),
        "systemInstruction": {"parts": [{"text": "Photographs only, daylight, no people."}]},
        "safetySettings": [
            {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}
        ],
    },
    {"contents": [TILES], "generationConfig": ONLY | image("3:2")},
    {
        "contents": [MOON],
        "tools": SEARCH,
        "generationConfig": BOTH | {"thinkingConfig": {"thinkingLevel": "HIGH"}},
    },
]

ON_TERRACE = (
    "Product photograph of the oak stool in the first picture: four turned legs, rungs at two "
    "heights, dished seat. Keep its shape and colours exactly. A terrace setting in soft daylight "
    "from the left, nothing else in focus. The mark in the second picture is blind-embossed on a "
    "small card beside it."
)
STOOL_CARD = user(
    "Design a care card for the oak stool in the picture, three steps from oiling to drying, each "
    "with a drawing.",
    photo("stool.jpg"),
)
MARK = user(
    "Put the mark in this picture at the foot of the card, small and centred.", photo("logo.png")
)
FRENCH = user("Now the same card in French. Leave drawings, colours and layout as they are.")
RULES = "Keep to three colours, ink on uncoated paper. All lettering is upright and easy to read."


# --- runs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """One request as it arrived."""

    path: str
    body: Json

    @property
    def words(self) -> str:
        """What the user said last."""
        said: str = self.body["contents"][-1]["parts"][0]["text"]
        return said

    @property
    def replies(self) -> list[Json]:
        """What goes back of what the model said."""
        return [one for one in self.body["contents"] if one["role"] == "model"]

    @property
    def body_without_replies(self) -> Json:
        contents = [REPLY if one["role"] == "model" else one for one in self.body["contents"]]
        return {**self.body, "contents": contents}


@dataclass(frozen=True)
class Server:
    """An emulator, and its record of what it received."""

    process: EmulatorProcess

    def sent(self) -> list[Sent]:
        """Everything since the last reset, in order of arrival."""
        return [Sent(one["path"], one["body"]) for one in self._ask("requests?limit=1000")]

    def reset(self) -> None:
        self._ask("reset", method="POST")

    def _ask(self, what: str, *, method: str = "GET") -> Any:
        request = Request(f"{self.process.url}/emulator/{what}", method=method)
        with build_opener(ProxyHandler({})).open(request, timeout=10) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with commands.emulator("--latency", "0") as running:
        yield Server(running)


@dataclass(frozen=True)
class Ran:
    """A job that was run to its end, all of it done."""

    directory: Path
    sent: list[Sent]

    @property
    def results(self) -> dict[str, Json]:
        return ledgers.results(self.directory)

    def final(self, identity: str) -> Json:
        """The picture of an item, as the results tell it."""
        found: Json = self.results[identity]["images"][0]
        return found


def run(job: Path, server: Server, output: Path, *flags: str) -> Ran:
    """Run a job as it stands, on a server that is looked at, and check what it left."""
    server.reset()
    where = ("--base-url", server.process.url, "-o", output)
    done = batchgen("run", job, *where, "--rpm", "9999", "--json", *flags)
    assert done.code == 0, done.err
    ran = Ran(output / done.json["job"], server.sent())
    ledgers.check_directory(ran.directory)
    assert {one["status"] for one in ran.results.values()} == {"done"}
    check_pictures(ran)
    return ran


def check_pictures(ran: Ran) -> None:
    """Every item has a picture of its own that opens and has the ratio that was asked for."""
    items = ledgers.lines(ran.directory / "items.jsonl")
    seen = set()
    for item in items:
        final = ran.final(item["id"])
        seen.add(final["sha256"])
        with Image.open(ran.directory / final["path"]) as opened:
            opened.load()
            across, down = map(int, asked_ratio(item).split(":"))
            # A strip of 8:1 is 2928 pixels by 352.
            assert opened.width / opened.height == pytest.approx(across / down, rel=0.05), item
    assert len(seen) == len(items) > 0


def asked_ratio(item: Json) -> str:
    """The emulator makes squares where nothing else is asked for; all our photos are square."""
    config = item.get("request", {}).get("generationConfig", {})
    ratio: str = item.get("aspect_ratio") or config.get("imageConfig", {}).get("aspectRatio", "1:1")
    return ratio


def in_order(bodies: Iterable[Any]) -> list[Any]:
    """Several requests are under way at once: which arrives first means nothing."""
    return sorted(bodies, key=lambda body: json.dumps(body, sort_keys=True))


def name(job: Path) -> str:
    return job.relative_to(FOLDER).as_posix()


# --- every job ----------------------------------------------------------------------------------


def test_no_job_has_a_mistake_or_a_warning() -> None:
    done = batchgen("validate", *JOBS, "--json")
    assert done.code == 0, done.err
    assert (done.json["errors"], done.json["warnings"]) == ([], [])


@pytest.mark.parametrize("job", OTHERS, ids=name)
def test_a_job_runs_as_it_stands(job: Path, server: Server, tmp_path: Path) -> None:
    assert run(job, server, tmp_path).sent


@pytest.mark.parametrize("job", ["edit-chain.yaml", "conversation.yaml", "gemini-batch.jsonl"])
def test_a_second_run_sends_nothing(job: str, server: Server, tmp_path: Path) -> None:
    assert run(FOLDER / job, server, tmp_path).sent
    assert not run(FOLDER / job, server, tmp_path).sent


@pytest.mark.parametrize("job", EXAMPLES.values(), ids=name)
def test_an_example_sends_what_it_was_made_to_show(
    job: Path, server: Server, tmp_path: Path
) -> None:
    sent = run(job, server, tmp_path).sent
    model = PRO if job.stem in BY_PRO else FLASH
    assert {one.path for one in sent} == {f"/v1beta/models/{model}:generateContent"}
    assert in_order(one.body_without_replies for one in sent) == in_order(EXPECTED[job.stem])


def test_everything_that_is_expected_has_its_example() -> None:
    assert set(EXPECTED) == set(EXAMPLES)


def test_every_example_is_in_the_table_of_examples() -> None:
    table = (ROOT / "docs/examples.md").read_text("utf-8")
    linked = set(re.findall(r"\]\(\.\./jobs/([^)]+)\)", table))
    assert {name(job) for job in EXAMPLES.values()} <= linked
    assert not [path for path in linked if not (FOLDER / path).exists()]


def test_every_yaml_tells_an_editor_where_the_schema_is_and_a_reader_what_it_shows() -> None:
    for job in (job for job in JOBS if job.suffix == ".yaml"):
        first, second, *_ = job.read_text("utf-8").splitlines()
        said, _, where = first.partition("$schema=")
        assert said == "# yaml-language-server: "
        assert (job.parent / where).resolve() == ROOT / "batchgen/job.schema.json"
        assert second.startswith("# "), job


def test_every_file_beside_the_jobs_is_used_by_one() -> None:
    used = "".join(job.read_text("utf-8") for job in JOBS)
    files = [path for path in FOLDER.rglob("*") if path.is_file() and path.suffix != ".md"]
    assert not [path for path in files if path not in JOBS and path.name not in used]


# --- what single jobs show ----------------------------------------------------------------------


def test_each_size_has_twice_the_sides_of_the_one_before(server: Server, tmp_path: Path) -> None:
    ran = run(EXAMPLES["sizes"], server, tmp_path)
    finals = {identity: ran.final(identity) for identity in ran.results}
    assert {identity: (one["width"], one["height"]) for identity, one in finals.items()} == {
        "terraces-1K": (1264, 848),
        "terraces-2K": (2528, 1696),
        "terraces-4K": (5056, 3392),
    }


def test_a_table_becomes_every_row_in_its_scenes_and_ratios(server: Server, tmp_path: Path) -> None:
    ran = run(FOLDER / "products.yaml", server, tmp_path)
    with (FOLDER / "products.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = [
        f"{row['sku']}-{scene}-{ratio}"
        for row, scene, ratio in itertools.product(rows, ("studio", "terrace"), ("4:5", "16:9"))
        if (scene, ratio) != ("studio", "16:9") and (row["sku"], scene) != ("LAMP-05", "terrace")
    ]
    assert list(ran.results) == wanted
    assert len(ran.sent) == len(wanted) == 22
    assert ran.results["MUG-01-studio-4:5"]["tags"] == {"sku": "MUG-01", "scene": "studio"}
    assert ran.final("MUG-01-terrace-16:9")["path"] == "images/MUG-01-terrace-16x9.png"
    expected = [
        asked(ON_TERRACE, "stool.jpg", "logo.png", config=ONLY | image(ratio, "1K"))
        for ratio in ("4:5", "16:9")
    ]
    bodies = [one.body for one in ran.sent if one.words == ON_TERRACE]
    assert in_order(bodies) == in_order(expected)


def test_the_edit_chain_sends_the_very_pictures_that_it_made(
    server: Server, tmp_path: Path
) -> None:
    ran = run(FOLDER / "edit-chain.yaml", server, tmp_path)
    words = {item["id"]: item["prompt"] for item in ledgers.lines(ran.directory / "items.jsonl")}
    hero, night, morning = (made(ran, identity) for identity in ("hero", "night", "morning"))
    labels = {"text": "Image A, the morning:"}, {"text": "Image B, the night:"}
    messages = [
        user(words["hero"], photo("bottle.jpg")),
        user(words["night"], hero),
        user(words["night-story"], night),
        user(words["morning"], hero),
        user(words["day-and-night"], labels[0], morning, labels[1], night),
    ]
    bodies = [one.body["contents"] for one in ran.sent]
    assert in_order(bodies) == in_order([message] for message in messages)


def made(ran: Ran, identity: str) -> Json:
    """The picture that an item came to, as a part."""
    final = ran.final(identity)
    return inline((ran.directory / final["path"]).read_bytes(), final["mime"])


def test_a_conversation_is_sent_with_all_that_was_said_before(
    server: Server, tmp_path: Path
) -> None:
    ran = run(FOLDER / "conversation.yaml", server, tmp_path)
    contents = [STOOL_CARD, REPLY, MARK, REPLY, FRENCH]
    rest = {
        "systemInstruction": {"parts": [{"text": RULES}]},
        "generationConfig": BOTH | image("3:4", "1K"),
    }
    turns = [one.body_without_replies for one in ran.sent if "systemInstruction" in one.body]
    assert turns == [{"contents": contents[:n], **rest} for n in (1, 3, 5)]
    assert len(ran.sent) == 5


@pytest.mark.parametrize(
    ("job", "identity", "n_turns"),
    [
        ("conversation.yaml", "care-card", 3),
        ("conversation.yaml", "shop-window", 2),
        ("examples/chat.yaml", "rain", 2),
    ],
)
def test_what_the_model_said_is_kept_and_goes_back_as_it_was(
    job: str, identity: str, n_turns: int, server: Server, tmp_path: Path
) -> None:
    ran = run(FOLDER / job, server, tmp_path)
    turns = ran.directory / "turns"
    kept = [json.loads((turns / f"{identity}.{n}.json").read_bytes()) for n in range(1, n_turns)]
    assert all("thoughtSignature" in part for content in kept for part in content["parts"][:1])
    assert [redacted(content) for content in kept] in [one.replies for one in ran.sent]
    for n in range(1, n_turns):
        with Image.open(turns / f"{identity}.{n}.png") as opened:
            opened.load()


def redacted(content: Json) -> Json:
    """What the model said, with its pictures as the emulator records them."""
    parts = []
    for part in content["parts"]:
        if given := part.get("inlineData"):
            parts.append(part | inline(base64.b64decode(given["data"]), given["mimeType"]))
        else:
            parts.append(part)
    return {**content, "parts": parts}


def test_what_was_drawn_while_thinking_is_kept_beside_the_picture(
    server: Server, tmp_path: Path
) -> None:
    ran = run(FOLDER / "examples/kept.yaml", server, tmp_path)
    final, thought = ran.results["turnaround"]["images"]
    assert (final["role"], final["path"]) == ("final", "images/turnaround.png")
    assert (thought["role"], thought["path"]) == ("thought", "thoughts/turnaround.1.1.png")
    sizes = {}
    for told in (final, thought):
        with Image.open(ran.directory / told["path"]) as opened:
            assert opened.size == (told["width"], told["height"])
            sizes[told["role"]] = opened.size
    assert sizes == {"final": (1376, 768), "thought": (688, 384)}


def test_the_nightly_job_makes_what_the_table_has_got_since(server: Server, tmp_path: Path) -> None:
    jobs = shutil.copytree(FOLDER, tmp_path / "jobs")
    output = tmp_path / "output"
    first = run(jobs / "nightly.yaml", server, output)
    assert len(first.sent) == 8
    with (jobs / "products.csv").open("a", encoding="utf-8") as file:
        file.write("MUG-09,mug,tall mug,plain white glaze\n")
    second = run(jobs / "nightly.yaml", server, output)
    assert [one.words.partition(",")[0] for one in second.sent] == [
        "Thumbnail for a shop's list: the tall mug from the reference photo"
    ]
    assert list(second.results)[-1] == "MUG-09-thumbnail"


def test_a_gemini_batch_file_runs_with_or_without_our_first_line(
    server: Server, tmp_path: Path
) -> None:
    head, *lines = (FOLDER / "gemini-batch.jsonl").read_text("utf-8").splitlines(keepends=True)
    assert "job" in json.loads(head)
    bare = tmp_path / "bare.jsonl"
    bare.write_text("".join(lines), "utf-8")
    ours = run(FOLDER / "gemini-batch.jsonl", server, tmp_path)
    theirs = run(bare, server, tmp_path, "--provider", "emulator", "--model", FLASH)
    for ran in (ours, theirs):
        assert {one.path for one in ran.sent} == {f"/v1beta/models/{FLASH}:generateContent"}
        assert in_order(one.body for one in ran.sent) == in_order(BATCH)
        assert list(ran.results) == ["request-1", "request-2", "spring_tiles", "request-4"]
        assert ran.results["spring_tiles"]["tags"] == {"key": "spring/tiles"}
