"""Which items are read like earlier ones, and which are not."""

import json
from pathlib import Path
from typing import Any

import pytest

from batchgen.manifest import Manifest, open_manifest, shapes
from batchgen.manifest.fields import Checker
from batchgen.manifest.items import ItemReader, ReadItem
from batchgen.manifest.shapes import Line, Shapes, key_halves, usual_fields, usual_line
from batchgen.model import Item, content_key
from batchgen.references import ReferenceLibrary

LINE = b'{"id":"a","prompt":"A vase","tags":{"sku":"1"}}'


# --- usual lines ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        LINE,
        LINE.replace(b":", b" : ").replace(b",", b" ,\t") + b"\r\n",
        rb'{"prompt":"\"A\" vase\u0022","id":"a"}',
        rb'{"\u0069d":"a","prompt":"A vase\n"}',
        '{"id":"a","prompt":"Ein Krüglein 😀"}'.encode(),
        b'{"id":"a","prompt":"p","tags":{}}',
        b'{"id":"a","prompt":"p","tags":{"id":"a","prompt":"p","tags":"t"}}',
        b'{"id":"a","prompt":"p","references":[],"modalities":["IMAGE"]}',
        b'{"id":"a","prompt":"p","model":"m","aspect_ratio":"1:1","image_size":"1K"}',
    ],
)
def test_a_line_of_text_is_usual_however_it_is_spaced_and_escaped(raw: bytes) -> None:
    line = usual_line(raw)
    assert line is not None
    assert line.prompt == json.loads(raw)["prompt"]
    assert line.tags == json.loads(raw).get("tags")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"id":"a","id":"a","prompt":"p"}',
        b'{"id": "a", "prompt": "p", "prompt": "p"}',
        rb'{"id":"a","\u0069d":"a","prompt":"p"}',
        b'{"id":"a","prompt":"p","model":null,"model":"m"}',
        b'{"id":"a","prompt":"p","model":"m","model":null}',
        b'{"id":"a","prompt":"p","tags":{"a":"1"},"tags":{"a":"1"}}',
        b'{"id":"a","prompt":"p","tags":{"a":"1","a":"1"}}',
        b'{"id":"a","prompt":"p","tags":{"a":"1", "b":"", "a":"2"}}',
        b'{"id":"a","prompt":"p","tags":{"":"","":""}}',
        b'{"id":"a","prompt":"p","references":[],"references":[]}',
        rb'{"id":"a","id":"a","prompt":"\"\""}',
        rb'{"id":"a","prompt":"\"","tags":{"\"":"1","\u0022":"1"}}',
        rb'{"id":"a","prompt":"p\\","prompt":"p\\"}',
        rb'{"id":"a","prompt":"\\","tags":{"\\":"1","\u005c":"1"}}',
        rb'{"id":"a\\","prompt":"p\\","tags":{"k\\":"1","k\\":"2"}}',
    ],
)
def test_a_line_with_a_key_twice_is_never_usual(raw: bytes) -> None:
    assert usual_line(raw) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b'["a","p"]',
        b'{"id":"a"}',
        b'{"id":1,"prompt":"p"}',
        b'{"id":"a","prompt":null}',
        b'{"id":"a","prompt":""}',
        b'{"id":"a","prompt":"%s"}' % (b"p" * 100_001),
        b'{"id":"a","prompt":{"file":"p.txt"}}',
        b'{"id":"a","prompt":"p","model":null}',
        b'{"id":"a","prompt":"p","references":"a.png"}',
        b'{"id":"a","prompt":"p","references":[{"path":"a.png"}]}',
        b'{"id":"a","prompt":"p","tags":{"a":1}}',
        b'{"id":"a","prompt":"p","tags":{"a":null}}',
        b'{"id":"a","prompt":"p","seed":1}',
        b'{"id":"a","prompt":"p","promt":"p"}',
        b'{"id":"a","prompt":"p"} {}',
        b'\xef\xbb\xbf{"id":"a","prompt":"p"}',
        b'{"id":"a","prompt":"\xff"}',
        b'{"id":"a","prompt":"\n"}',
        rb'{"id":"a","prompt":"\ud800"}',
    ],
)
def test_what_is_not_text_of_some_length_throughout_is_not_usual(raw: bytes) -> None:
    assert usual_line(raw) is None


def test_a_field_that_unsets_a_default_or_is_empty_is_not_usual() -> None:
    fields: dict[str, Any] = {"id": "a", "prompt": "p"}
    assert usual_fields(fields) == Line("a", "p")
    assert usual_fields({**fields, "model": None}) is None
    assert usual_fields({**fields, "prompt": ""}) is None


# --- kinds ------------------------------------------------------------------------------------


def kinds_that_know(line: Line, item: Item) -> Shapes:
    known = Shapes(lambda _: None)
    known.learn(line, item, ())
    return known


def test_an_item_takes_after_the_first_of_its_kind_in_all_but_its_own() -> None:
    first = Item(id="a", model="m", prompt="p", seed=7, tags={"of": "all"})
    known = kinds_that_know(Line("a", "p"), first)
    like = known.like(Line("b", 'A "vase"'))
    expected = Item(id="b", model="m", prompt='A "vase"', seed=7, tags={"of": "all"})
    assert like is not None
    assert like.key == content_key(expected)
    assert (like.id, like.prompt, like.seed, like.tags) == ("b", 'A "vase"', 7, {"of": "all"})


@pytest.mark.parametrize(
    "line",
    [
        Line("b", "p", model="m"),
        Line("b", "p", aspect_ratio="1:1"),
        Line("b", "p", image_size="1K"),
        Line("b", "p", modalities=("IMAGE",)),
        Line("b", "p", references=()),
        Line("b", "p", tags={}),
    ],
)
def test_a_field_more_makes_another_kind(line: Line) -> None:
    known = kinds_that_know(Line("a", "p"), Item(id="a", model="m", prompt="p"))
    assert known.like(line) is None


@pytest.mark.parametrize(
    "line",
    [
        Line("", "p"),
        Line(" a", "p"),
        Line(".a", "p"),
        Line("é", "p"),
        Line("a\n", "p"),
        Line("a" * 181, "p"),
        Line("b", " \u00a0"),
    ],
)
def test_an_odd_id_or_prompt_gets_the_closer_look(line: Line) -> None:
    first = Line("a", "p")
    item = Item(id="a", model="m", prompt="p")
    assert kinds_that_know(first, item).like(line) is None
    assert kinds_that_know(line, item).like(first) is None


def test_a_blank_tag_gets_the_closer_look_and_an_empty_one_does_not() -> None:
    first = Line("a", "p", tags={"sku": "1"})
    known = kinds_that_know(first, Item(id="a", model="m", prompt="p"))
    assert known.like(Line("b", "p", tags={"sku": " "})) is None
    like = known.like(Line("b", "p", tags={"sku": ""}))
    assert like is not None
    assert like.tags == {"sku": ""}


def test_a_warning_is_counted_again_for_each_item_of_the_kind() -> None:
    again: list[str] = []
    known = Shapes(again.append)
    known.learn(Line("a", "p"), Item(id="a", model="m", prompt="p"), ("odd", "very odd"))
    known.like(Line("b", "p"))
    known.like(Line("c", "p", model="other"))
    assert again == ["odd", "very odd"]


def test_with_too_many_kinds_all_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "_MAX_SHAPES", 2)
    known, item = Shapes(lambda _: None), Item(id="a", model="m", prompt="p")
    lines = [Line("a", "p", model=model) for model in ("m1", "m2", "m3")]
    for line in lines:
        known.learn(line, item, ())
    assert [known.like(line) is not None for line in lines] == [False, False, True]


def test_a_key_is_halved_at_the_prompt_and_nowhere_else() -> None:
    extra = {"turns": [{"prompt": ""}]}
    before, after = key_halves(Item(id="a", model="m", prompt="p", extra=extra))
    assert before.endswith(b'"turns":[{"prompt":')
    assert after == b',"references":[]}],"v":1}'


# --- in a job ---------------------------------------------------------------------------------


@pytest.fixture
def ids_read_in_full(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    ids: list[str] = []
    read_in_full = ItemReader.read

    def noted(self: ItemReader, check: Checker, written: Any) -> ReadItem | None:
        ids.append(written["id"])
        return read_in_full(self, check, written)

    monkeypatch.setattr(ItemReader, "read", noted)
    return ids


def read(job: Path, text: str) -> Manifest:
    job.write_text(text, "utf-8")
    manifest = open_manifest(job)
    for _ in manifest.items(ReferenceLibrary()):
        pass
    return manifest


def test_of_each_kind_of_lines_the_first_is_read_in_full(
    tmp_path: Path, ids_read_in_full: list[str]
) -> None:
    lines = [{"id": f"i{n}", "prompt": f"p{n}", "model": f"m{n % 2}"} for n in range(9)]
    manifest = read(tmp_path / "job.jsonl", "\n".join(map(json.dumps, lines)))
    assert manifest.n_items == 9
    assert ids_read_in_full == ["i0", "i1"]


def test_of_each_kind_of_rows_the_first_is_read_in_full(
    tmp_path: Path, ids_read_in_full: list[str]
) -> None:
    rows = [f"i{n},p{n},m,1:{1 + n % 2 * 3},t{n}" for n in range(9)]
    table = "\n".join(["id,prompt,model,aspect_ratio,tags.t", *rows])
    assert read(tmp_path / "job.csv", table).n_items == 9
    assert ids_read_in_full == ["i0", "i1"]


def test_of_each_kind_of_combinations_the_first_is_read_in_full(
    tmp_path: Path, ids_read_in_full: list[str]
) -> None:
    text = (
        "defaults: {model: m}\n"
        "items:\n"
        "- each: [{x: a}, {x: b}, {x: c}]\n"
        "  matrix: {y: [d, e], aspect_ratio: [1:1, 4:5]}\n"
        "  id: '{x}-{y}-{aspect_ratio}'\n"
        "  prompt: '{x} and {y}'\n"
    )
    assert read(tmp_path / "job.yaml", text).n_items == 12
    assert ids_read_in_full == ["a-d-1:1", "a-d-4:5"]


def test_items_with_copies_are_each_read_in_full(
    tmp_path: Path, ids_read_in_full: list[str]
) -> None:
    text = "defaults: {model: m, count: 2}\nitems: [{id: a, prompt: p}, {id: b, prompt: q}]"
    assert read(tmp_path / "job.yaml", text).n_items == 4
    assert ids_read_in_full == ["a", "b"]


def test_a_kind_with_a_mistake_is_read_in_full_each_time(
    tmp_path: Path, ids_read_in_full: list[str]
) -> None:
    items = [{"id": f"i{n}", "prompt": "p", "references": ["none.png"]} for n in range(3)]
    text = json.dumps({"defaults": {"model": "m"}, "items": items})
    assert read(tmp_path / "job.yaml", text).problems.n_errors == 3
    assert ids_read_in_full == ["i0", "i1", "i2"]


def test_a_prompt_that_makes_the_request_too_large_is_found_behind_a_short_one(
    tmp_path: Path,
) -> None:
    head = {"limits": {"max_body_mib": 0.05}, "defaults": {"model": "m"}}
    lines = [{"job": head}, {"id": "a", "prompt": "p"}, {"id": "b", "prompt": "p" * 60_000}]
    manifest = read(tmp_path / "job.jsonl", "\n".join(map(json.dumps, lines)))
    (error,) = manifest.problems.errors
    assert (error.line, error.field) == (3, "items[b].prompt")
