"""Whatever a table holds is put into a template as it stands, and nothing else is.

Left out of the values are lone surrogates, which neither UTF-8 nor a request can hold. Left out of
the names are braces, which a template ends at, white space around them, which a header sheds, and
the names of item fields and tags, which set something besides.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.manifest import open_manifest
from batchgen.manifest.expand import TAGS
from batchgen.manifest.items import FIELDS
from batchgen.manifest.templates import Template, parse
from batchgen.references import ReferenceLibrary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchgen.model import Item

Row = dict[str, str]

CHARACTERS = st.characters(exclude_categories=["Cs"])
TEXTS = st.text(CHARACTERS)
AWKWARD = st.text(st.sampled_from("{}\"'\\,;|\t\r\n\0\ufeff\u2028\x85#:-[]&*!%@ aé😀"))
VALUES = TEXTS | AWKWARD
NAMES = (
    (st.text(CHARACTERS, min_size=1, max_size=8) | AWKWARD)
    .map(lambda name: re.sub(r"[{}\ufeff]", "", name).strip())
    .filter(lambda name: name not in {"", "key", *FIELDS} and not name.startswith(TAGS))
)


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    """Rows with the same names; `key` tells them apart."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    values = st.fixed_dictionaries(dict.fromkeys(names, VALUES))
    rows = draw(st.lists(values, min_size=1, max_size=4))
    return [{"key": f"k{n}", **row} for n, row in enumerate(rows)]


def read(job: Mapping[str, Any] | str, name: str = "job.jsonl", **files: str | bytes) -> list[Item]:
    """Read a job from a directory with these files in it; `_` in their names is the dot."""
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files.items():
            raw = content if isinstance(content, bytes) else content.encode()
            Path(folder, file.replace("_", ".")).write_bytes(raw)
        path = Path(folder, name)
        path.write_bytes((job if isinstance(job, str) else json.dumps(job)).encode())
        manifest = open_manifest(path)
        items = list(manifest.items(ReferenceLibrary(), model="m"))
        manifest.raise_problems()
        return items


def delimited(rows: Sequence[Row], delimiter: str = ",", end: str = "\r\n") -> str:
    """A table as Python writes it; until 3.13 it forgets to quote a lone CR before LF."""
    text = io.StringIO(newline="")
    quoting: Literal[0, 1] = csv.QUOTE_MINIMAL if end == "\r\n" else csv.QUOTE_ALL
    writer = csv.DictWriter(
        text, list(rows[0]), delimiter=delimiter, lineterminator=end, quoting=quoting
    )
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def template_of(rows: Sequence[Row]) -> str:
    return "<" + "|".join(f"{{{name}}}" for name in rows[0]) + ">"


def texts_of(rows: Sequence[Row]) -> list[str]:
    return ["<" + "|".join(row[name] for name in rows[0]) + ">" for row in rows]


def item_with(each: Any, rows: Sequence[Row]) -> dict[str, Any]:
    return {"id": "{key}", "each": each, "prompt": template_of(rows)}


@given(rows=tables(), end=st.sampled_from(["\n", "\r\n"]), has_mark=st.booleans())
def test_a_csv_file_is_put_in_as_it_stands(rows: list[Row], end: str, *, has_mark: bool) -> None:
    text = ("\ufeff" if has_mark else "") + delimited(rows, ",", end)
    items = read(item_with("t.csv", rows), t_csv=text)
    assert [item.prompt for item in items] == texts_of(rows)


@given(tables())
def test_a_tsv_file_is_put_in_as_it_stands(rows: list[Row]) -> None:
    items = read(item_with("t.tsv", rows), t_tsv=delimited(rows, "\t"))
    assert [item.prompt for item in items] == texts_of(rows)


@given(rows=tables(), is_ascii=st.booleans())
def test_a_table_of_json_lines_is_put_in_as_it_stands(rows: list[Row], *, is_ascii: bool) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=is_ascii) + "\n" for row in rows)
    items = read(item_with("t.jsonl", rows), t_jsonl=lines)
    assert [item.prompt for item in items] == texts_of(rows)


@given(tables())
def test_rows_within_a_job_of_json_lines_are_put_in_as_they_stand(rows: list[Row]) -> None:
    assert [item.prompt for item in read(item_with(rows, rows))] == texts_of(rows)


def yaml_text(text: str) -> str:
    """A text as YAML writes any: every character that might mean something as its number."""
    return '"' + "".join(f"\\U{ord(ch):08x}" if not ch.isalnum() else ch for ch in text) + '"'


@given(tables())
def test_rows_within_a_yaml_job_are_put_in_as_they_stand(rows: list[Row]) -> None:
    written = ", ".join(
        "{" + ", ".join(f"? {yaml_text(n)} : {yaml_text(v)}" for n, v in row.items()) + "}"
        for row in rows
    )
    prompt = yaml_text(template_of(rows))
    job = f"items: [{{id: '{{key}}', each: [{written}], prompt: {prompt}}}]"
    assert [item.prompt for item in read(job, "job.yaml")] == texts_of(rows)


@given(st.lists(VALUES, min_size=1, unique=True, max_size=5), NAMES)
def test_values_of_a_matrix_are_put_in_as_they_stand(values: list[str], name: str) -> None:
    numbers = [str(n) for n in range(len(values))]
    pairs = [{"key": number, name: value} for number, value in zip(numbers, values, strict=True)]
    matrix = {"key": numbers, name: values}
    exclude = [
        {"key": a, name: b} for a, b in product(numbers, values) if {"key": a, name: b} not in pairs
    ]
    job = {"id": "{key}", "matrix": matrix, "exclude": exclude, "prompt": template_of(pairs)}
    assert [item.prompt for item in read(job)] == texts_of(pairs)


# --- the order of columns ---------------------------------------------------------------------

COLUMNS = ("id", "prompt", "aspect_ratio", "seed", "tags.a", "tags.b", "modalities", "references")
CELLS = {
    "id": st.just(""),
    "prompt": TEXTS.map(lambda text: f"a {text}"),
    "aspect_ratio": st.sampled_from(["", "1:1", "21:9"]),
    "seed": st.sampled_from(["", "0", "-7"]),
    "tags.a": st.sampled_from(["", "x", " y"]),
    "tags.b": st.sampled_from(["", "x"]),
    "modalities": st.sampled_from(["", "IMAGE", "TEXT|IMAGE"]),
    "references": st.sampled_from(["", "https://host.example/x.png", "item:i0"]),
}


@given(st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=4), st.permutations(COLUMNS))
def test_any_order_of_columns_gives_the_same_items(rows: list[Row], order: list[str]) -> None:
    rows = [{**row, "id": f"i{n}"} for n, row in enumerate(rows)]
    rows[0]["references"] = ""
    shuffled = [{name: row[name] for name in order} for row in rows]
    items = read(delimited(rows), "job.csv")
    assert [item.id for item in items] == [row["id"] for row in rows]
    assert [item.prompt for item in items] == [row["prompt"] for row in rows]
    assert read(delimited(shuffled), "job.csv") == items
    read_by_each = [read({"each": "t.csv"}, t_csv=delimited(one)) for one in (rows, shuffled)]
    assert read_by_each == [items, items]


# --- templates and combinations ---------------------------------------------------------------


def escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


@given(st.text())
def test_a_text_with_doubled_braces_is_the_text(text: str) -> None:
    assert parse(escaped(text)) == Template((text,), ())


@given(st.lists(st.tuples(st.text(), NAMES)), st.text())
def test_texts_and_names_come_back_as_they_were_joined(
    pairs: list[tuple[str, str]], last: str
) -> None:
    template = "".join(f"{escaped(text)}{{{name}}}" for text, name in pairs) + escaped(last)
    texts, names = [text for text, _ in pairs] + [last], [name for _, name in pairs]
    assert parse(template) == Template(tuple(texts), tuple(names))
    values = {name: f"{{{name}}}" for name in names}
    joined = "".join(f"{text}{{{name}}}" for text, name in pairs) + last
    assert parse(template).fill(values) == joined


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 4), min_size=1),
    st.integers(1, 3),
    st.data(),
)
def test_a_matrix_makes_the_product_of_its_lengths_but_what_is_excluded(
    lengths: dict[str, int], n_rows: int, data: st.DataObject
) -> None:
    matrix = {name: [f"{name}{n}" for n in range(length)] for name, length in lengths.items()}
    cells = {"row": [f"r{n}" for n in range(n_rows)]} | matrix
    pattern = st.fixed_dictionaries(
        {}, optional={name: st.sampled_from([*values, "none"]) for name, values in cells.items()}
    ).filter(bool)
    exclude = data.draw(st.lists(pattern, max_size=3))
    all_of_them = [dict(zip(cells, one, strict=True)) for one in product(*cells.values())]
    wanted = [one for one in all_of_them if not any(p.items() <= one.items() for p in exclude)]
    assert len(all_of_them) == n_rows * prod(lengths.values())
    if not wanted:
        return
    prompt = "".join(f"{{{name}}}" for name in cells)
    rows = [{"row": row} for row in cells["row"]]
    job = {"id": prompt, "prompt": prompt, "each": rows, "matrix": matrix, "exclude": exclude}
    assert [item.prompt for item in read(job)] == ["".join(one.values()) for one in wanted]


@pytest.mark.parametrize("value", ["{key}", "{{key}}", "{", "}}", "{key", "%(key)s", "$key"])
def test_a_value_that_looks_like_a_template_is_a_value(value: str) -> None:
    rows = [{"key": "k0", "v": value}]
    assert [
        item.prompt for item in read(item_with("t.csv", rows), t_csv=delimited(rows))
    ] == texts_of(rows)
