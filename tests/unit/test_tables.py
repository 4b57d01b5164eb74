"""Tables: the rows of CSV, TSV and JSON Lines files and of the job itself, and what they become."""
# ruff: noqa: E501 - an item in a job reads best on one line

from __future__ import annotations

import csv
import io
import json
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from batchgen.manifest import open_manifest
from batchgen.references import ReferenceLibrary

if TYPE_CHECKING:
    from batchgen.model import Item

ITEMS = "defaults: {model: m}\nitems:\n"


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with two pictures, which paths start from."""
    for name in ("one.png", "two.png"):
        Image.new("RGB", (4, 4), "teal").save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, content: str | bytes) -> Path:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return Path(name)


def read(job: str | bytes, name: str = "job.yaml", model: str | None = None) -> list[Item]:
    manifest = open_manifest(write(name, job))
    items = list(manifest.items(ReferenceLibrary(), model=model))
    manifest.raise_problems()
    assert manifest.n_items == len(items)
    return items


def ids(items: list[Item]) -> list[str]:
    return [item.id for item in items]


# --- each, matrix, exclude --------------------------------------------------------------------


def test_rows_come_in_order_and_the_last_name_of_the_matrix_is_the_fastest() -> None:
    write("t.csv", "sku\nb\na\n")
    items = read(
        ITEMS
        + "- {each: t.csv, id: '{sku}{x}{y}', prompt: '{sku}{x}{y}', matrix: {x: [2, 1], y: [q, p, r]}}\n"
    )
    assert ids(items) == ["".join(one) for one in product("ba", "21", "qpr")]


def test_a_matrix_works_without_a_table() -> None:
    items = read(ITEMS + "- {id: '{x}', prompt: 'a {x} b', matrix: {x: [1:30, no, 1.10]}}\n")
    assert [(item.id, item.prompt) for item in items] == [
        ("1:30", "a 1:30 b"),
        ("no", "a no b"),
        ("1.10", "a 1.10 b"),
    ]


def test_exclude_leaves_out_what_matches_on_all_names_that_it_gives() -> None:
    write("t.csv", "sku,kind\na,x\nb,\n")
    matrix = "matrix: {n: [1, 2, 3]}, exclude: [{sku: a, n: 2}, {n: 3}, {kind: '', n: 1}]"
    items = read(
        ITEMS + f"- {{each: t.csv, id: '{{sku}}{{n}}', prompt: '{{sku}}{{n}}', {matrix}}}\n"
    )
    assert ids(items) == ["a1", "b2"]


def test_excludes_that_overlap_leave_out_what_any_of_them_matches() -> None:
    exclude = "[{a: 1, b: 2}, {b: 2, a: 1}, {b: 2}, {a: 3}, {a: 3, b: 1}]"
    items = read(
        ITEMS
        + f"- {{id: '{{a}}{{b}}', prompt: '{{a}}{{b}}', matrix: {{a: [1, 2, 3], b: [1, 2, 3]}}, exclude: {exclude}}}\n"
    )
    assert ids(items) == ["11", "13", "21", "23"]


def test_a_name_that_is_an_item_field_sets_it() -> None:
    write("t.csv", "id,prompt,model,seed,reference_max_px\na,p,own,7,99\n")
    (item,) = read(ITEMS + "- {each: t.csv, matrix: {aspect_ratio: [1:1], image_size: [2k]}}\n")
    assert (item.id, item.prompt, item.model, item.seed) == ("a", "p", "own", 7)
    assert (item.reference_max_px, item.aspect_ratio, item.image_size) == (99, "1:1", "2K")


def test_what_the_item_writes_wins_over_a_column_and_over_the_matrix() -> None:
    write("t.csv", "id,seed,tags.x\na,7,y\n")
    (item,) = read(
        ITEMS
        + "- {each: t.csv, prompt: p, seed: 1, tags: {z: '{seed}'}, matrix: {image_size: [1K]}, image_size: 2K}\n"
    )
    assert (item.seed, item.tags, item.image_size) == (1, {"z": "7"}, "2K")


def test_a_column_prompt_is_only_a_value_where_the_item_asks_otherwise() -> None:
    write("t.csv", "id,prompt\na,First\n")
    [item] = read(ITEMS + "- {each: t.csv, turns: [{prompt: '{prompt}!'}, {prompt: Then}]}\n")
    assert (item.prompt, [turn.prompt for turn in item.turns]) == (None, ["First!", "Then"])


def test_a_field_that_is_written_as_nothing_is_written() -> None:
    write("t.csv", "id,seed\na,7\n")
    (item,) = read(
        "defaults: {model: m, seed: 3}\nitems:\n- {each: t.csv, prompt: p, seed: null}\n"
    )
    assert item.seed is None


def test_an_empty_cell_is_an_absent_field() -> None:
    write("t.csv", "id,seed,tags.x,references\na,,,\nb,2,y,one.png\n")
    one, two = read("defaults: {model: m, seed: 3}\nitems:\n- {each: t.csv, prompt: '{id}'}\n")
    assert (one.seed, one.tags, one.references) == (3, {}, ())
    assert (two.seed, two.tags, len(two.references)) == (2, {"x": "y"}, 1)


def test_references_and_modalities_are_split_at_a_bar(desk: Path) -> None:
    write("t.csv", "id,references,modalities\na,one.png | two.png,TEXT|IMAGE\n")
    (item,) = read(ITEMS + "- {each: t.csv, prompt: p}\n")
    assert [ref.path for ref in item.references] == [str(desk / "one.png"), str(desk / "two.png")]
    assert item.modalities == ("TEXT", "IMAGE")


def test_a_matrix_may_hold_whole_values_of_fields(desk: Path) -> None:
    items = read(
        ITEMS
        + "- {id: 'x-{n}', prompt: '{n}', matrix: {n: [1], references: [[one.png, two.png]], extra: [{a: 1}]}}\n"
    )
    assert [ref.path for ref in items[0].references] == [
        str(desk / "one.png"),
        str(desk / "two.png"),
    ]
    assert items[0].extra == {"a": 1}


def test_tags_of_rows_and_of_the_matrix_go_together() -> None:
    write("t.csv", "sku,tags.kind\na,mug\nb,\n")
    items = read(
        ITEMS
        + "- {each: t.csv, id: '{sku}-{tags.scene}', prompt: '{sku} {tags.scene}', matrix: {tags.scene: [sea, sky]}}\n"
    )
    assert [(item.id, item.tags) for item in items] == [
        ("a-sea", {"kind": "mug", "scene": "sea"}),
        ("a-sky", {"kind": "mug", "scene": "sky"}),
        ("b-sea", {"scene": "sea"}),
        ("b-sky", {"scene": "sky"}),
    ]


def test_a_value_of_the_matrix_that_is_nothing_unsets_a_default() -> None:
    text = "- {id: 'x-{seed}', prompt: p, matrix: {seed: [1, null]}}\n"
    items = read("defaults: {model: m, seed: 3}\nitems:\n" + text)
    assert [(item.id, item.seed) for item in items] == [("x-1", 1), ("x-", None)]


def test_a_table_is_found_beside_the_job_wherever_the_command_is_started(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk / "lists").mkdir()
    write("lists/t.csv", "id\na\n")
    job = desk / write(
        "job.yaml", ITEMS + "- {each: lists/t.csv, prompt: p, references: [one.png]}\n"
    )
    monkeypatch.chdir("/")
    assert ids(list(open_manifest(job).items(ReferenceLibrary()))) == ["a"]


# --- the formats ------------------------------------------------------------------------------

ROWS = [
    {"id": "a", "prompt": 'two\nlines, "quotes" and {braces}'},
    {"id": "b", "prompt": "caf\u00e9 \U0001f600\ttab"},
    {"id": "c", "prompt": "  spaces  "},
]


def delimited(delimiter: str, end: str = "\n") -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["id", "prompt"], delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(("name", "delimiter"), [("t.csv", ","), ("t.tsv", "\t"), ("T.CSV", ",")])
def test_a_delimited_table_says_what_its_writer_wrote(
    name: str, delimiter: str, end: str, mark: bytes
) -> None:
    text = mark + delimited(delimiter, end).encode()
    write(name, text)
    items = read(ITEMS + f"- {{each: {name}, prompt: '<{{prompt}}>'}}\n")
    assert [(item.id, item.prompt) for item in items] == [
        (row["id"], f"<{row['prompt']}>") for row in ROWS
    ]
    assert [(item.id, item.prompt) for item in read(text, f"job{name[1:]}", model="m")] == [
        (row["id"], row["prompt"]) for row in ROWS
    ]


@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson"])
def test_a_table_of_json_lines_says_what_its_writer_wrote(name: str) -> None:
    lines = [json.dumps(row, ensure_ascii=row["id"] == "a") for row in ROWS]
    write(name, "\ufeff" + "\r\n\r\n".join(lines))
    items = read(ITEMS + f"- {{each: {name}, prompt: '<{{prompt}}>'}}\n")
    assert [(item.id, item.prompt) for item in items] == [
        (row["id"], f"<{row['prompt']}>") for row in ROWS
    ]


def test_inline_rows_say_what_was_written() -> None:
    items = read(
        ITEMS + f"- {{each: {json.dumps(ROWS, ensure_ascii=False)}, prompt: '<{{prompt}}>'}}\n"
    )
    assert [(item.id, item.prompt) for item in items] == [
        (row["id"], f"<{row['prompt']}>") for row in ROWS
    ]


def test_numbers_in_a_table_of_json_stay_the_text_that_was_written() -> None:
    write("t.jsonl", '{"id": "a", "n": 1.10, "m": 1e3, "t": true, "z": null, "seed": 7}\n')
    (item,) = read(ITEMS + "- {each: t.jsonl, prompt: '{n} {m} {t} [{z}]'}\n")
    assert (item.prompt, item.seed) == ("1.10 1e3 true []", 7)


@pytest.mark.parametrize(
    "each",
    ["t.jsonl", "[{id: a, extra: {n: 1, x: 0.5, t: true, s: 'no', r: 1:1, o: {p: [2]}}}]"],
    ids=["a file", "inline"],
)
def test_what_is_sent_as_written_keeps_its_numbers(each: str) -> None:
    sent = {"n": 1, "x": 0.5, "t": True, "s": "no", "r": "1:1", "o": {"p": [2]}}
    write("t.jsonl", json.dumps({"id": "a", "extra": sent}))
    (item,) = read(ITEMS + f"- {{each: {each}, prompt: p}}\n")
    assert item.extra == sent


def test_rows_of_json_may_differ_in_what_they_hold() -> None:
    write(
        "t.jsonl",
        '{"id": "a", "x": "1"}\n{"id": "b", "x": "2", "seed": 3, "tags": {"k": "v"}, "tags.l": "w"}\n',
    )
    one, two = read(ITEMS + "- {each: t.jsonl, prompt: '{x}'}\n")
    assert (one.seed, one.tags) == (None, {})
    assert (two.seed, two.tags) == (3, {"k": "v", "l": "w"})


# --- a table as a job -------------------------------------------------------------------------


def test_a_table_can_be_a_job_by_itself(desk: Path) -> None:
    text = (
        "id,prompt,aspect_ratio,references,tags.sku,tags.a b,google_search,temperature\n"
        'mug,"A mug, {literally}",4:5,one.png,A-17,x,true,0.5\n'
        "\n"
        "pair,Two,16:9,one.png|two.png,,,web,\n"
    )
    one, two = read(text, "job.csv", model="m")
    assert (one.id, one.prompt, one.aspect_ratio, one.model) == (
        "mug",
        "A mug, {literally}",
        "4:5",
        "m",
    )
    assert (one.tags, one.google_search, one.temperature) == (
        {"sku": "A-17", "a b": "x"},
        True,
        0.5,
    )
    assert (two.tags, two.google_search, two.temperature) == ({}, ("web",), None)
    assert [ref.path for ref in two.references] == [str(desk / "one.png"), str(desk / "two.png")]


@pytest.mark.parametrize("blank", ["", ",", "\r"], ids=repr)
def test_blank_rows_are_skipped_as_a_spreadsheet_writes_them(blank: str) -> None:
    assert ids(read(f"id,prompt\na,x\n{blank}\nb,y\n", "job.csv", model="m")) == ["a", "b"]


def test_a_count_in_a_table_makes_copies() -> None:
    items = read("id,prompt,count\na,p,3\nb,q,1\nc,r,\n", "job.csv", model="m")
    assert ids(items) == ["a#1", "a#2", "a#3", "b", "c"]


def test_a_table_is_read_as_a_stream_and_can_be_read_again() -> None:
    write("t.csv", "sku\n" + "".join(f"s{n}\n" for n in range(3_000)))
    manifest = open_manifest(
        write("job.yaml", ITEMS + "- {each: t.csv, id: '{sku}', prompt: '{sku}'}\n")
    )
    first = next(iter(manifest.items(ReferenceLibrary())))
    assert first.id == "s0"
    assert len(list(manifest.items(ReferenceLibrary()))) == manifest.n_items == 3_000
