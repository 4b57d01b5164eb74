"""Items that are read like earlier ones come out as if each had been read in full."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from batchgen.manifest import open_manifest, reader, sources
from batchgen.manifest.shapes import key_halves, usual_line
from batchgen.model import (
    ASPECT_RATIOS,
    IMAGE_SIZES,
    THINKING_LEVELS,
    Item,
    Reference,
    SafetySetting,
    content_key,
)
from batchgen.references import ReferenceLibrary

if TYPE_CHECKING:
    from pathlib import Path

    from batchgen.errors import Problem

Pairs = list[tuple[str, Any]]

# What would be found in the text that is hashed, if a value could look like a key.
TURNS: Final = '"turns":[{"prompt":""'
TEXTS = st.text(max_size=8) | st.sampled_from(
    ["", " ", "\u00a0\u2003", "\t\n", "\\", '\\"', '"', "\\\\", "\x00", "\x7f", "\u2028", TURNS]
)

# Few values, so that lines are alike; each list begins with what is usual.
MODELS: Final = ["gemini-3-pro-image", "gemini-2.5-flash-image", "other", " other "]
RATIOS: Final = ["1:1", "21:9", "8:1", " 4:5 "]
SIZES: Final = ["1K", "4K", "2k", "512px"]
REFERENCES: Final = ["photo.png", "@logo", "item:a", "https://example.com/a.png"]
USUAL: Final[dict[str, st.SearchStrategy[Any]]] = {
    "model": st.sampled_from(MODELS),
    "aspect_ratio": st.sampled_from(RATIOS),
    "image_size": st.sampled_from(SIZES),
    "modalities": st.sampled_from([["IMAGE"], ["image", "TEXT"], ["TEXT", "IMAGE"]]),
    "references": st.lists(st.sampled_from(REFERENCES), max_size=2),
    "tags": st.dictionaries(st.sampled_from(["sku", "key", ""]) | TEXTS, TEXTS, max_size=2),
}
WRONG: Final[dict[str, st.SearchStrategy[Any]]] = {
    "id": st.sampled_from([None, 1, "", " ", ".a", "é", "e\u0301", "a/b", "\x00", "a" * 181]),
    "prompt": st.sampled_from([None, 1, "", "\n", {"file": "prompt.txt"}, {"file": "none.txt"}]),
    "model": st.sampled_from([None, "", 1]),
    "aspect_ratio": st.sampled_from([None, "5:3", 1]),
    "image_size": st.sampled_from([None, "3K", 512]),
    "modalities": st.sampled_from([None, "IMAGE", [], ["TEXT"], ["IMAGE", "image"], [None]]),
    "references": st.sampled_from(
        [
            *(None, "photo.png", [1], ["none.png"], ["prompt.txt"], ["@none"], ["item:none"]),
            *(["\x00"], ["s3://a/b"], [{"path": "photo.png", "label": "A:"}], ["photo.png"] * 15),
        ]
    ),
    "tags": st.sampled_from([None, {}, {"sku": None}, {"sku": 1}, {"sku": " "}, ["sku"]]),
    **{name: st.none() | st.just(1) for name in ("count", "seed", "promt", "job", "each")},
    "request": st.sampled_from([None, {"contents": [{"parts": [{"text": "p"}]}]}]),
    "extra": st.sampled_from([None, {"turns": [{"prompt": ""}]}]),
}
# Some of them twice, in one spelling or the other, and some that need a closer look.
IDS = st.sampled_from(
    [*"abcdefghij", *(f"item-{n}" for n in range(10)), "A", "Item-0", "a.", "a:b", "x y", "1:1#1"]
)
PROMPTS = st.sampled_from([*(f"Vase {n}" for n in range(9)), "long " * 300]) | TEXTS
SETTINGS = st.fixed_dictionaries(
    {}, optional={name: USUAL[name] for name in USUAL.keys() - {"tags"}}
)


@st.composite
def items(draw: st.DrawFn, kinds: st.SearchStrategy[dict[str, Any]] = SETTINGS) -> Pairs:
    """The fields of an item: mostly usual ones, in any order, and now and then one twice."""
    fields: Pairs = [("id", draw(IDS)), ("prompt", draw(PROMPTS)), *draw(kinds).items()]
    if draw(st.booleans()):
        fields.append(("tags", draw(USUAL["tags"])))
    if draw(st.integers(0, 6)) == 6:
        name = draw(st.sampled_from(sorted(WRONG)))
        fields.append((name, draw(WRONG[name])))
        if draw(st.booleans()):  # in place of the right one
            fields = list(dict(fields).items())
    return draw(st.permutations(fields))


@st.composite
def lines(draw: st.DrawFn, kinds: st.SearchStrategy[dict[str, Any]] = SETTINGS) -> str:
    """An item as a line of JSON, in one of the ways to write it."""
    escaped, colon = draw(st.booleans()), draw(st.sampled_from([":", ": ", " :\t"]))
    comma = draw(st.sampled_from([",", ", "]))

    def written(value: Any) -> str:
        return json.dumps(value, ensure_ascii=escaped, separators=(comma, colon))

    def key(name: str) -> str:
        return f'"\\u{ord(name[0]):04x}{name[1:]}"' if escaped and name == "id" else written(name)

    fields = [key(name) + colon + written(value) for name, value in draw(items(kinds))]
    return "{" + comma.join(fields) + "}" + draw(st.sampled_from(["", " ", "\r"]))


@st.composite
def alike(draw: st.DrawFn) -> list[str]:
    """Lines of a few kinds."""
    kinds = st.sampled_from(draw(st.lists(SETTINGS, min_size=1, max_size=2)))
    return draw(st.lists(lines(kinds), min_size=2, max_size=12))


HEADS: Final[list[dict[str, Any]]] = [
    {"defaults": {"model": "gemini-3-pro-image"}, "references": {"logo": "photo.png"}},
    {
        "defaults": {
            "model": "gemini-2.5-flash-image",
            "image_size": "4K",
            "references": ["photo.png"],
            "tags": {"of": "all"},
            "extra": {"turns": [{"prompt": ""}]},
        },
    },
    {"defaults": {"model": "other", "tags": {}}},
    {"defaults": {"model": "other", "count": 2}},
    {"defaults": {"model": "other"}, "limits": {"max_body_mib": 0.001}},
    {"defaults": {"model": "other"}, "output": {"name": "{model}/{sku}"}},
    {},
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files that jobs name."""
    directory = tmp_path_factory.mktemp("jobs")
    Image.new("RGB", (4, 4), "teal").save(directory / "photo.png")
    (directory / "prompt.txt").write_text("A prompt in a file")
    return directory


def found(job: Path) -> tuple[list[Item], tuple[Problem, ...], int, tuple[Problem, ...], int]:
    manifest = open_manifest(job)
    read = list(manifest.items(ReferenceLibrary()))
    problems = manifest.problems
    return read, problems.sorted_errors, problems.n_errors, problems.warnings, manifest.n_items


def in_full(job: Path) -> Any:
    """What is found where no item is read like another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "usual_line", lambda _: None)
        patch.setattr(reader, "usual_fields", lambda _: None)
        return found(job)


@given(head=st.sampled_from(HEADS), written=alike())
def test_lines_are_read_as_if_each_were_read_in_full(
    base: Path, head: dict[str, Any], written: list[str]
) -> None:
    job = base / "job.jsonl"
    job.write_bytes("\n".join([json.dumps({"job": head}), *written]).encode())
    assert found(job) == in_full(job)


CELLS = st.sampled_from(["IMAGE", "photo.png | @logo", "none.png", "3K", "", " "]) | TEXTS


@st.composite
def tables(draw: st.DrawFn) -> str:
    """A table of items of a few kinds, whose cells are mostly such as their column may hold."""
    others = draw(st.sets(st.sampled_from([*sorted(USUAL.keys() - {"tags"}), "tags.sku", "promt"])))
    columns = ["id", "prompt", "model", *sorted(others - {"model"})]
    kinds = [[_cell(draw, name) for name in columns[2:]] for _ in range(2)]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    for _ in range(draw(st.integers(2, 8))):
        cells = [draw(IDS), draw(PROMPTS), *draw(st.sampled_from(kinds))]
        if draw(st.integers(0, 6)) == 6:
            cells[draw(st.integers(0, len(cells) - 1))] = draw(CELLS)
        rows.writerow(cells)
    return text.getvalue()


def _cell(draw: st.DrawFn, column: str) -> str:
    value = draw(USUAL.get(column, TEXTS))
    return "|".join(value) if isinstance(value, list) else value


@given(text=tables())
def test_rows_are_read_as_if_each_were_read_in_full(base: Path, text: str) -> None:
    job = base / "job.csv"
    job.write_bytes(text.encode())
    assert found(job) == in_full(job)


WORDS = st.sampled_from(["a", "b", "c", "Vase", "1:1", "9:16", "photo.png", "é", " ", ""])
TEMPLATES = st.sampled_from(["p-{x}-{y}", "{x}", "{y}", "photo.png", "{{x}}", "{z}", "{x"])


@st.composite
def expansions(draw: st.DrawFn) -> dict[str, Any]:
    """An item of many: its matrix may set fields, and its templates may fit or not."""
    rows = st.fixed_dictionaries({"x": WORDS}, optional={"seed": st.just("1"), "model": WORDS})
    many: dict[str, Any] = {
        "id": draw(st.sampled_from(["{x}-{y}", "i{x}{y}", "i{x}"])),
        "prompt": draw(st.sampled_from(["A {x} and a {y}", "{y} {x}", "{x}, {x} {y}"]) | TEMPLATES),
        "each": draw(st.just("rows.csv") | st.lists(rows, min_size=1, max_size=3)),
        "matrix": {"y": draw(st.lists(WORDS, min_size=1, max_size=3, unique=True))},
    }
    for name in draw(st.sets(st.sampled_from(["aspect_ratio", "image_size", "references"]))):
        values = USUAL[name] if draw(st.integers(0, 3)) else WRONG[name]
        many["matrix"][name] = draw(st.lists(values, min_size=1, max_size=2))
    if draw(st.booleans()):
        many["tags"] = {"x": draw(TEMPLATES)}
    if draw(st.booleans()):
        many["exclude"] = [{"x": draw(WORDS)}]
    return many


@given(
    head=st.sampled_from(HEADS),
    cells=st.lists(WORDS, min_size=1, max_size=4),
    many=st.lists(expansions(), min_size=1, max_size=2),
)
def test_what_is_expanded_is_read_as_if_each_were_read_in_full(
    base: Path, head: dict[str, Any], cells: list[str], many: list[dict[str, Any]]
) -> None:
    (base / "rows.csv").write_text("x,sku\n" + "".join(f"{cell},1\n" for cell in cells), "utf-8")
    job = base / "job.yaml"
    job.write_text(json.dumps({**head, "items": many}, ensure_ascii=False), "utf-8")
    assert found(job) == in_full(job)


def has_a_key_twice(raw: str) -> bool:
    twice = []

    def once(pairs: Pairs) -> dict[str, Any]:
        twice.append(len(dict(pairs)) != len(pairs))
        return dict(pairs)

    json.loads(raw, object_pairs_hook=once)
    return any(twice)


@given(lines(), st.data())
def test_a_key_that_is_there_twice_is_always_found(raw: str, data: st.DataObject) -> None:
    """Also one that is made of another line's text, put in wherever a key may stand."""
    places = [at + 1 for at, ch in enumerate(raw) if ch in "{,"]
    at = data.draw(st.sampled_from(places))
    name, value = data.draw(st.sampled_from(["id", "sku", "tags", "a\\u0022"])), data.draw(TEXTS)
    more = f'{raw[:at]}"{name}":{json.dumps(value)},{raw[at:]}'
    for one in (raw, more):
        line = usual_line(one.encode())
        if line is not None:
            assert not has_a_key_twice(one)


@given(lines())
def test_a_usual_line_holds_what_any_reader_of_json_finds_there(raw: str) -> None:
    line = usual_line(raw.encode())
    if line is not None:
        read = msgspec.to_builtins(line)
        assert {name: value for name, value in read.items() if value is not None} == {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in json.loads(raw).items()
        }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(TEXTS | st.sampled_from(["turns", "prompt"]), inner, max_size=2)
    ),
    max_leaves=5,
)
A_REFERENCE = st.builds(
    Reference,
    path=st.none() | TEXTS,
    url=st.none() | TEXTS,
    item=st.none() | TEXTS,
    label=st.none() | TEXTS,
    sha256=st.none() | TEXTS,
    max_px=st.none() | st.integers(16, 99),
)
ITEMS = st.builds(
    Item,
    id=TEXTS,
    model=TEXTS | st.sampled_from(["models/m", *MODELS]),
    prompt=st.text() | TEXTS,
    references=st.lists(A_REFERENCE, max_size=3).map(tuple),
    modalities=st.sampled_from([None, ("IMAGE",), ("TEXT", "IMAGE")]),
    aspect_ratio=st.sampled_from([None, *ASPECT_RATIOS]),
    image_size=st.sampled_from([None, *IMAGE_SIZES]),
    thinking_level=st.sampled_from([None, *THINKING_LEVELS]),
    include_thoughts=st.none() | st.booleans(),
    google_search=st.sampled_from([None, True, ("web",), ("web", "image")]),
    system_instruction=st.none() | TEXTS,
    safety_settings=st.none()
    | st.lists(st.builds(SafetySetting, category=TEXTS, threshold=TEXTS), max_size=2).map(tuple),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(1, 99),
    seed=st.none() | st.integers(-9, 9),
    store=st.none() | st.booleans(),
    extra=st.none() | st.dictionaries(TEXTS | st.just("turns"), JSON, max_size=2),
    reference_max_px=st.none() | st.integers(16, 99),
    copy=st.integers(1, 100),
    tags=st.dictionaries(TEXTS, TEXTS, max_size=1),
    file=st.none() | TEXTS,
)


@given(item=ITEMS, prompt=st.text() | TEXTS)
def test_a_key_is_the_same_in_halves(item: Item, prompt: str) -> None:
    before, after = key_halves(item)
    hashed = before + msgspec.json.encode(prompt) + after
    whole = content_key(msgspec.structs.replace(item, prompt=prompt))
    assert hashlib.sha256(hashed).hexdigest() == whole
