"""YAML made to explode: refused at once, with its place, in little time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchgen.manifest.nodes import Place, YamlError, compose

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
# Noisy machines included; on a quiet one each takes less than half a second.
MAX_S = 2.0
MAX_BYTES = 64 << 20
LETTERS = "abcdefghijklmnop"
ITEM = "items:\n- {id: a, prompt: p, model: m, extra: "


def doubled(first: str, row: str, times: int, *, levels: int = 8) -> str:
    """Anchors each of which names the one before so many times."""
    lines = [f"a: &a {first}"]
    for before, name in pairwise(LETTERS[: levels + 1]):
        lines.append(f"{name}: &{name} {row.format(', '.join([f'*{before}'] * times))}")
    return "\n".join(lines) + "\n"


LAUGHS = doubled("[x,x,x,x,x,x,x,x,x]", "[{}]", 9)
MERGES = doubled("{k: v}", "{{<<: [{}]}}", 9)
BOMBS: dict[str, str | bytes] = {
    "a billion laughs": LAUGHS,
    "a billion laughs that an item names": LAUGHS + ITEM + "{x: *i}}\n",
    "a billion laughs in the items": "items:\n"
    + "".join(f"- {line.partition(': ')[2]}\n" for line in LAUGHS.splitlines()),
    "a billion laughs of mappings": doubled("{k: v}", "{{a: [{}]}}", 9),
    "merge keys": MERGES,
    "merge keys that an item names": MERGES + ITEM + "*i}\n",
    "merge keys, two by two": doubled("{k: v}", "{{<<: [{}]}}", 2, levels=15),
    "a quadratic blow-up": f"{ITEM}{{x: [&a '{'x' * 100_000}', "
    + ", ".join(["*a"] * 300_000)
    + "]}}\n",
    "one that fewer aliases make as large": (
        f"{ITEM}{{x: [&a '{'x' * 100_000}', " + ", ".join(["*a"] * 150_000) + "]}}\n"
    ),
    "lists in lists": "a: " + "[" * 2000 + "]" * 2000,
    "lists in lists without an end": "[" * 1_000_000,
    "mappings in mappings": "{a: " * 2000 + "}" * 2000,
    "keys in keys": "? " * 5000 + "a",
    "dashes": "- " * 100_000 + "a",
    "ever deeper": "\n".join(" " * n + "a:" for n in range(1500)),
    "itself": "a: &a [*a]",
    "itself in a mapping": "a: &a {b: *a}",
    "itself by a merge key": "a: &a {<<: *a}",
    "an item that is itself": "items:\n- &a {id: a, prompt: p, model: m, extra: {x: *a}}\n",
    "a million keys": "".join(f"k{n}: v\n" for n in range(1_000_000)),
    "a million keys in an item": "items:\n- {id: a, prompt: p, model: m, extra: {"
    + ", ".join(f"k{n}: v" for n in range(1_000_000))
    + "}}\n",
    "the same key a million times": "name: x\n" * 1_000_000,
    "an object of Python": "a: !!python/object/apply:os.system ['echo']\n",
    "an object of Python in an item": "items:\n- !!python/object/new:os.system [id]\n",
    "a tag of its own": "a: !x {b: c}\n",
    "a NUL": "name: a\0b\n",
    "a NUL that is escaped": 'items:\n- {id: "a\\0b", prompt: p, model: m}\n',
    "UTF-16": "name: a\nitems: []\n".encode("utf-16"),
    "UTF-32": "name: a\nitems: []\n".encode("utf-32"),
    "no text": bytes(range(256)) * 1000,
    "a number of a million digits": "items:\n- {id: a, prompt: p, model: m, seed: "
    + "9" * 1_000_000
    + "}\n",
    "an exponent": "items:\n- {id: a, prompt: p, model: m, seed: 1e999999999}\n",
    "two documents": "name: a\n---\nname: b\n",
    "an alias of nothing": "a: *b\n",
    "a directive": "%TAG ! tag:yaml.org,2002:python/\n---\na: !object/apply:os.system [id]\n",
    "tabs": "a:\n\t- b\n",
    "a file of 65 MiB": b"#" * (65 << 20),
}

MEASURE = """
import json, os, resource, sys, time
from pathlib import Path
from batchgen.manifest import open_manifest
from batchgen.errors import JobError
from batchgen.references import ReferenceLibrary

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def read(path):
    try:
        manifest = open_manifest(path)
        for _ in manifest.items(ReferenceLibrary()):
            pass
        manifest.raise_problems()
    except JobError as error:
        return str(error.problems[0])

warm = Path(sys.argv[1]) / "warm.yaml"
warm.write_text("items: [{id: a, prompt: p, model: m}]")
assert read(warm) is None
for path in sorted(Path(sys.argv[1]).glob("*.bomb.yaml")):
    if os.fork() == 0:
        before, began_s = peak(), time.process_time()
        said = read(path)
        took_s = time.process_time() - began_s
        print(json.dumps([path.name, said, took_s, peak() - before]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, path.name
"""


@pytest.mark.reliability
def test_a_bomb_is_refused_before_it_goes_off(
    tmp_path: Path, tried: Callable[[str, int, str], None], record_property: Callable[..., None]
) -> None:
    for number, text in enumerate(BOMBS.values()):
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / f"{number:02}.bomb.yaml").write_bytes(data)
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(told) == len(BOMBS)
    for name, (_, said, took_s, n_bytes) in zip(BOMBS, told, strict=True):
        what = f"{name}: {took_s:.3f} s, {n_bytes / (1 << 20):.1f} MiB: {said}"
        record_property(name, what)
        assert said is not None, what
        assert ".bomb.yaml:" in said, what
        assert len(said) < 600, what
        assert took_s < MAX_S, what
        assert n_bytes < MAX_BYTES, what
    tried("P30", len(BOMBS), "bombs")


def test_what_fills_the_memory_without_an_alias_is_better_written_as_jsonl() -> None:
    row = f"- [{', '.join(['v'] * 9_999)}]\n"
    with pytest.raises(YamlError, match="more than 1,000,000 values in YAML: write it as JSONL"):
        compose(row * 101)
    assert compose(row * 9).root is not None


def test_a_mapping_of_more_keys_than_anybody_writes_is_refused_at_the_first_too_many() -> None:
    keys = [f"k{n}: v\n" for n in range(50_001)]
    assert compose("".join(keys[:50_000])).root is not None
    with pytest.raises(YamlError, match="a mapping of more than 50,000 keys") as caught:
        compose("".join(keys))
    assert caught.value.place == Place(50_001, 1)
