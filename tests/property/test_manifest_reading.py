"""Whatever a job file holds, it is read, or what is wrong with it is told; nothing else happens.

The documents are drawn from words that mean something in a job, rightly and wrongly put together,
and then hurt: characters are left out, doubled and swapped. A seed makes a failure come again.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from batchgen.errors import JobError
from batchgen.manifest import Manifest, open_manifest
from batchgen.manifest.items import FIELDS
from batchgen.model import content_key
from batchgen.references import ReferenceLibrary

if TYPE_CHECKING:
    from pathlib import Path

N_SEEDS, N_DOCUMENTS = 10, 600

HEADS = ("name", "provider", "defaults", "limits", "retries", "timeouts", "references", "budget")
INNER: tuple[str, ...] = (
    "path",
    "url",
    "item",
    "name",
    "label",
    "file",
    "prompt",
    "references",
    "category",
)
INNER += ("threshold", "contents", "parts", "text", "model", "rpm", "max_body_mib", "base_url")
EACH = ("each", "matrix", "exclude", "key", "custom_id", "body", "job", "items", "tags.x", "", "\n")
NAMES = (*FIELDS, *FIELDS, *HEADS, *INNER, *EACH)
WORDS = (
    *("a", "A", "b", "{a}", "{b}", "{", "}}", "", " ", "null", "true", "no", "1:1", "9:16", "2K"),
    *("512px", "IMAGE", "TEXT", "web", "low", "OFF", "HARASSMENT", "photo.png", "phto.png", "."),
    *("t.csv", "t.tsv", "t.jsonl", "bad.csv", "none.csv", "hero.txt", "@logo", "@x", "item:a"),
    *(
        "item:{a}",
        "item:b",
        "https://host.example/x.png",
        "http://h",
        "s3://b/k",
        "https://[",
        "data:,",
    ),
    *(
        "-1",
        "0",
        "7",
        "0.5",
        "1e999",
        "101",
        "99999999999999999999",
        "x" * 200,
        "a|b",
        "a b",
        "caf\u00e9",
    ),
    *(
        "\u0130",
        "\ufb01",
        "\u2028",
        "\x7f",
        "\x1b",
        "\0",
        "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    ),
)
GOOD: dict[str, tuple[Any, ...]] = {
    "references": (
        ["photo.png"],
        ["https://host.example/x.png", {"path": "photo.png", "label": "{a}"}],
    ),
    "aspect_ratio": ("1:1", "9:16", None),
    "image_size": ("1K", "512px", 512),
    "modalities": (["IMAGE"], "image", ["TEXT", "IMAGE"]),
    "google_search": (True, "web", ["image", "web"], False),
    "safety_settings": ({"HARASSMENT": "OFF"}, [{"category": "hate_speech", "threshold": "off"}]),
    "temperature": (0, "1.5"),
    "seed": (7, "-7"),
    "count": (1, 2, "3"),
    "tags": ({}, {"t": "{a}"}),
    "extra": ({"a": [1, {"b": None}]}, {}),
    "thinking_level": ("low",),
}
ODD = (None, True, False, 0, 7, -1, 0.5, 1e300, 2**70)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what the words name."""
    folder = tmp_path_factory.mktemp("desk")
    Image.new("RGB", (4, 4), "teal").save(folder / "photo.png")
    (folder / "hero.txt").write_text("A {a} hero")
    (folder / "t.csv").write_text("a,prompt,seed,references,tags.x\n1,p,7,photo.png,y\n2,{x},,,\n")
    (folder / "t.tsv").write_text("a\tid\n{a}\tb\n")
    (folder / "t.jsonl").write_text(
        '{"a": 1, "extra": {"n": 1}}\n[2]\n{"a": [3]}\nnope\n{"id": "a"}\n'
    )
    (folder / "bad.csv").write_bytes(b'a,b\n1\n"2\n3",4\n"5"6,7\ncaf\xe9,8\n')
    return folder


def value(dice: random.Random, depth: int = 0) -> Any:
    kind = dice.random()
    if kind < 0.5 or depth > 3:
        return dice.choice(WORDS)
    if kind < 0.65:
        return dice.choice(ODD)
    if kind < 0.8:
        return [value(dice, depth + 1) for _ in range(dice.randrange(4))]
    return {dice.choice(NAMES): value(dice, depth + 1) for _ in range(dice.randrange(4))}


def item(dice: random.Random, n: int) -> Any:
    """A good item more often than not; else one with something put in or left out."""
    if dice.random() < 0.03:
        return value(dice)
    written: dict[str, Any] = {"id": f"{dice.choice('aAbc')}{n}", "prompt": "p {a}", "model": "m"}
    kind = dice.random()
    if kind < 0.2:
        written["each"] = dice.choice(["t.csv", [{"a": "1"}, {"a": "2", "seed": "3"}]])
        written["id"] += "-{a}"
    elif kind < 0.35:
        written["matrix"] = {"a": ["1", "{b}", "0.5"], "aspect_ratio": ["1:1", "4:5"]}
        written["id"] += "-{aspect_ratio}-{a}"
        written["exclude"] = [{"a": "{b}"}]
    elif kind < 0.45:
        body = {"contents": [{"parts": [{"text": "{a}"}]}], "generation_config": {"x": 1}}
        written = {dice.choice(["key", "custom_id", "id"]): f"k{n}", "request": body, "model": "m"}
    for name in dice.sample(list(GOOD), dice.randrange(3)) if "prompt" in written else ():
        written[name] = dice.choice(GOOD[name])
    for _ in range(dice.choice([0, 0, 0, 1, 2])):
        written[dice.choice(NAMES)] = value(dice)
    if dice.random() < 0.1:
        written.pop(dice.choice(list(written)))
    return written


def hurt(dice: random.Random, text: str) -> str:
    """The text with a few characters gone, doubled, swapped or made into others."""
    letters = list(text)
    for _ in range(dice.choice([0, 0, 0, 1, 2, 5])):
        if letters:
            at = dice.randrange(len(letters))
            letters[at] = dice.choice(
                ["", letters[at] * 2, *"{}[]\"',:#&*!%@-\n\t\r\0", "\\", "<<", "é"]
            )
    return "".join(letters)


def document(dice: random.Random) -> tuple[str, str]:
    """A name and a text."""
    items = [item(dice, n) for n in range(dice.randrange(1, 5))]
    head = {dice.choice(HEADS): value(dice) for _ in range(dice.choice([0, 0, 0, 1, 2]))}
    if dice.random() < 0.5:
        text = json.dumps(head | {"items": items}, ensure_ascii=False)
        return "job.yaml", hurt(dice, text)
    lines = [{"job": head}, *items] if dice.random() < 0.5 else items
    text = "\n".join(json.dumps(line, ensure_ascii=dice.random() < 0.5) for line in lines)
    return "job.jsonl", hurt(dice, text)


def check(manifest: Manifest) -> bool:
    """Whether the job can be read; what is told of it is fit to be read."""
    items = list(manifest.items(ReferenceLibrary()))
    problems = manifest.problems
    for problem in (*problems.sorted_errors, *problems.warnings):
        assert problem.line >= 1
        assert problem.column >= 1
        assert problem.message
        assert "\n" not in f"{problem.field}{problem.message}"
    if problems.errors:
        return False
    assert len(items) == manifest.n_items > 0
    assert all(one.key == content_key(one) for one in items)
    assert len({one.id for one in items}) == len(items)
    assert list(manifest.items(ReferenceLibrary())) == items
    return True


@pytest.mark.parametrize("seed", range(N_SEEDS))
def test_any_document_is_read_or_refused_in_words(desk: Path, tmp_path: Path, seed: int) -> None:
    for name in ("photo.png", "hero.txt", "t.csv", "t.tsv", "t.jsonl", "bad.csv"):
        (tmp_path / name).write_bytes((desk / name).read_bytes())
    n_read = n_refused = 0
    for n in range(N_DOCUMENTS):
        name, text = document(random.Random(f"{seed}-{n}"))
        raw = text.encode("utf-8", "surrogatepass")
        (tmp_path / name).write_bytes(raw)
        try:
            is_good = check(open_manifest(tmp_path / name))
        except JobError:
            is_good = False
        except Exception as error:
            error.add_note(f"{name}, seed {seed}-{n}: {raw!r}")
            raise
        n_read += is_good
        n_refused += not is_good
    # Else the documents say little about good jobs, or about bad ones.
    assert min(n_read, n_refused) >= N_DOCUMENTS // 20


@given(st.binary(max_size=200), st.sampled_from([".yaml", ".jsonl", ".csv", ".tsv", ".ndjson"]))
def test_any_bytes_are_read_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"job{suffix}"
    path.write_bytes(raw)
    try:
        check(open_manifest(path))
    except JobError:
        return  # it cannot be opened, and says so


LINES = st.fixed_dictionaries(
    {"prompt": st.text(st.characters(exclude_categories=["Cs"])).map("p{}".format)},
    optional={
        "model": st.sampled_from(["m", "n"]),
        "aspect_ratio": st.sampled_from(["1:1", "4:5"]),
        "image_size": st.sampled_from(["1K", "1k", "512px"]),
        "modalities": st.sampled_from([["IMAGE"], ["TEXT", "IMAGE"]]),
        "references": st.sampled_from([[], ["https://host.example/x"], ["https://host.example/y"]]),
        "tags": st.dictionaries(st.text('ab"\\', max_size=3), st.text('ab"\\', max_size=3)),
        "seed": st.integers(0, 3),
        "temperature": st.sampled_from([0, 0.5, 1]),
    },
)


@given(st.lists(LINES, min_size=1, max_size=12), st.data())
def test_a_line_is_read_alike_whatever_stands_before_it(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, Any]], data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines.jsonl"
    head = '{"job": {"defaults": {"model": "d", "tags": {"x": "y"}}}}\n'
    texts = [
        json.dumps({"id": f"i{n}", **line}, ensure_ascii=data.draw(st.booleans())) + "\n"
        for n, line in enumerate(lines)
    ]

    def items_of(job: str) -> list[Any]:
        path.write_bytes(job.encode())
        manifest = open_manifest(path)
        items = list(manifest.items(ReferenceLibrary()))
        manifest.raise_problems()
        return items

    together = items_of(head + "".join(texts))
    assert together == [one for text in texts for one in items_of(head + text)]
    assert all(one.key == content_key(one) for one in together)
    assert items_of(head + "".join(reversed(texts))) == together[::-1]
