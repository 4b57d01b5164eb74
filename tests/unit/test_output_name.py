"""`output.name`: from a template and an item to a path that never leaves images/."""
# ruff: noqa: E501 - the tables read best a message a line; braces are meant

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from PIL import Image

from batchgen.cost import PriceBook
from batchgen.manifest import Manifest, open_manifest
from batchgen.manifest.fields import Checker
from batchgen.manifest.output_name import MAX_FOLDERS, OutputName, read_output_name
from batchgen.model import Item, content_key
from batchgen.naming import MAX_NAME_BYTES
from batchgen.references import ReferenceLibrary
from batchgen.sanitize import Secrets
from batchgen.seen import Seen
from batchgen.settle import Settler
from batchgen.store import pictures
from batchgen.store.expanded import read_items, write_items
from batchgen.store.layout import Layout
from batchgen.store.ledger import Sent
from batchgen.store.receipts import Receipt, ReceivedImage, part_name

if TYPE_CHECKING:
    from collections.abc import Iterable

ITEM = Item(id="hero", model="gemini-3-pro-image", prompt="p", tags={"sku": "A-17", "scene": "sea"})

# --- a template and an item make a path ---------------------------------------------------------


def name_of(template: str) -> OutputName:
    check = Checker()
    name = read_output_name(check, template, ("output", "name"))
    assert check.mistakes == []
    assert name is not None
    return name


PATHS = [
    ("{sku}/{id}", {}, "A-17/hero"),
    ("{id}-{scene}", {}, "hero-sea"),
    ("{model}/{sku}/{scene}/{id}", {}, "gemini-3-pro-image/A-17/sea/hero"),
    ("{id}{id}", {}, "herohero"),
    ("all", {}, "all"),
    ("shoes/{sku}_{id}.final", {}, "shoes/A-17_hero.final"),
    ("{{{id}}}/{{}}", {}, "{hero}/{}"),
    ("{sku}/{id}", {"id": "banner 16:9"}, "A-17/banner 16x9"),
    ("{id}:{scene}", {}, "hero_sea"),
    ("{id}:{scene}", {"id": "4", "tags": {"scene": "5"}}, "4x5"),
    ("{model}/{id}", {"model": "models/gemini-3-pro-image"}, "models_gemini-3-pro-image/hero"),
    ("{sku}/{id}", {"tags": {"sku": "a/b"}}, "a_b/hero"),
    ("{sku}/{id}", {"tags": {"sku": ""}}, "_/hero"),
    ("{sku}/{id}", {"tags": {"sku": ".."}}, "__/hero"),
    ("{sku}{scene}/{id}", {"tags": {"sku": ".", "scene": "."}}, "__/hero"),
    ("{sku}/{id}", {"tags": {"sku": "{id}"}}, "{id}/hero"),
    ("{sku}/{id}", {"tags": {"sku": "cafe\u0301"}}, "caf\u00e9/hero"),
    ("cafe\u0301/{id}", {}, "caf\u00e9/hero"),
    (".hidden/{id}", {}, "_hidden/hero"),
    ("con/{id}", {}, "_con/hero"),
    ("{app.kubernetes.io/name}/{id}", {"tags": {"app.kubernetes.io/name": "web"}}, "web/hero"),
    ("{id}.", {}, "hero_"),
]


@pytest.mark.parametrize(("template", "changes", "path"), PATHS)
def test_a_template_and_an_item_make_a_path(
    template: str, changes: dict[str, Any], path: str
) -> None:
    assert name_of(template).path(msgspec.structs.replace(ITEM, **changes)) == path


def test_a_tag_that_is_called_like_a_field_of_every_item_does_not_stand_for_it() -> None:
    item = msgspec.structs.replace(ITEM, tags={"id": "other", "model": "other"})
    assert name_of("{model}/{id}").path(item) == "gemini-3-pro-image/hero"


@pytest.mark.parametrize("value", [None, "{id}"])
def test_the_default_is_nothing_to_work_out(value: str | None) -> None:
    check = Checker()
    assert read_output_name(check, value, ("output", "name")) is None
    assert check.mistakes == []


def test_the_file_is_no_part_of_what_an_item_asks_for() -> None:
    assert content_key(msgspec.structs.replace(ITEM, file="a/b")) == content_key(ITEM)


# --- whatever stands in an item, its picture is below images/ -----------------------------------

HOSTILE = [
    *(
        "..",
        "../..",
        "../../x",
        "../../../../etc/passwd",
        "/etc/passwd",
        "/",
        "//",
        "a/b",
        "a/../b",
    ),
    *(
        "..\\..\\x",
        "\\\\host\\share",
        "C:\\x",
        "C:",
        "c:/x",
        ".",
        "...",
        "....",
        "./x",
        "x/..",
        "~",
    ),
    *(
        "~root",
        "$HOME",
        "`id`",
        "%2e%2e%2f",
        "..%2f..",
        "\0",
        "a\0b",
        "\0/../x",
        "\n",
        "a\nb",
        "\r\n",
    ),
    *("\t", "\x1b[2J", "\x7f", "", " ", "  ", ". .", " . ", "a.", "a...", "a ", " a", ".a", "-rf"),
    *(
        "CON",
        "con",
        "NUL.txt",
        "aux.",
        "COM1",
        "LPT9.png",
        "COM\u00b9",
        "prn ",
        "x" * 300,
        "\u00e9" * 300,
    ),
    *(
        "\U0001f600" * 100,
        "." * 300,
        " " * 300,
        "/" * 300,
        "../" * 100,
        "e\u0301",
        "\u212b",
        "\u2028",
    ),
    *(
        "\u202egnp",
        "\u200b",
        "\ufeff",
        "\u2024\u2024/",
        "\uff0e\uff0e\uff0f",
        "a:b",
        "16:9",
        "a|b?*<>",
    ),
    *(
        "images",
        ".parts",
        ".lock",
        "a.png",
        "{id}",
        "}{",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    ),
]


@pytest.mark.parametrize(
    "template", ["{sku}/{id}", "{sku}", "{a}{sku}/x{sku}", "{model}/{sku}.{id}"]
)
@pytest.mark.parametrize("value", HOSTILE)
def test_no_value_leads_out_of_images(template: str, value: str, tmp_path: Path) -> None:
    item = Item(id=value, model=value, prompt="p", tags={"sku": value, "a": "."})
    file = name_of(template).path(item)
    parts = file.split("/")
    assert len(parts) == template.count("/") + 1
    for part in parts:
        assert part.strip(". ")
        assert part == part.strip(". ")
        assert len(part.encode()) <= MAX_NAME_BYTES
        assert not set(part) & set('\0\n\r\t\\:*?"<>|')
    images = tmp_path / "images"
    path = Layout(tmp_path).image(msgspec.structs.replace(item, file=file), "png")
    assert path.relative_to(images) == Path(*PurePosixPath(f"{file}.png").parts)
    path.parent.mkdir(parents=True)
    path.touch()
    assert path.resolve().is_relative_to(images.resolve())


def test_there_are_sixty_hostile_values_and_more() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) > 60


# --- mistakes ---------------------------------------------------------------------------------


def write(directory: Path, text: str, name: str = "job.yaml") -> Path:
    path = directory / name
    path.write_text(text, "utf-8")
    return path


def read(path: Path) -> tuple[Manifest, list[Item]]:
    manifest = open_manifest(path)
    return manifest, list(manifest.items(ReferenceLibrary(path.parent / "cache")))


def said(path: Path) -> list[str]:
    """What is wrong, the path without its directory."""
    manifest, _ = read(path)
    errors = manifest.problems.sorted_errors
    return [str(replace(error, path=Path(error.path).name)) for error in errors]


BROKEN_TEMPLATES = [
    ("{id", "a { without its }; write {{ for a brace itself"),
    ("id}", "a } without its {; write }} for a brace itself"),
    ("{}/{id}", "{} names nothing; write {{ for a brace itself"),
    ("{{id}", "a } without its {; write }} for a brace itself"),
    ("{id.upper}", "{id.upper}: a value has no parts and no format; write {id}"),
    ("{id[0]}", "{id[0]}: a value has no parts and no format; write {id}"),
    ("{model!r}", "{model!r}: a value has no parts and no format; write {model}"),
    ("{id:>10}", "{id:>10}: a value has no parts and no format; write {id}"),
    ("/{id}", "a part of the path is empty; write a name before and after each /"),
    ("{id}/", "a part of the path is empty; write a name before and after each /"),
    ("a//{id}", "a part of the path is empty; write a name before and after each /"),
    ("a/ /{id}", "a part of the path is empty; write a name before and after each /"),
    ("/", "a part of the path is empty; write a name before and after each /"),
    ("../{id}", "'..' names no folder and no file; pictures stay below images/"),
    ("./{id}", "'.' names no folder and no file; pictures stay below images/"),
    ("a/../{id}", "'..' names no folder and no file; pictures stay below images/"),
    ("{id}/..", "'..' names no folder and no file; pictures stay below images/"),
    ("..", "'..' names no folder and no file; pictures stay below images/"),
    ("a\\{id}", "a \\ makes no folder; write /"),
    ("a/" * (MAX_FOLDERS + 1) + "{id}", "9 folders are too many; expected at most 8"),
    ("", "expected text, found only white space"),
    (5, "expected text, found 5; put it in quotes"),
    (["{id}"], "expected text, found a list; put it in quotes"),
]


@pytest.mark.parametrize(("template", "message"), BROKEN_TEMPLATES)
def test_a_template_that_makes_no_path_is_a_mistake_at_its_place(
    template: object, message: str, tmp_path: Path
) -> None:
    head = {"job": {"output": {"name": template}, "defaults": {"model": "m"}}}
    item = {"id": "a", "prompt": "p"}
    job = write(tmp_path, f"{json.dumps(head)}\n{json.dumps(item)}\n", "job.jsonl")
    assert said(job) == [f"job.jsonl:1:29: output.name: {message}"]


def test_as_many_folders_as_there_may_be_are_fine() -> None:
    assert name_of("a/" * MAX_FOLDERS + "{id}").path(ITEM) == "a/" * MAX_FOLDERS + "hero"


ITEMS = "defaults: {model: m}\nitems:\n"  # below a line of output; what follows begins on line 4

BROKEN_JOBS: list[tuple[str, list[str]]] = [
    (
        'output: {name: "{id}", keep_thoughts: perhaps, on_wrong_size: retyr}\n'
        + ITEMS
        + "- {id: a, prompt: p}\n",
        [
            "job.yaml:1:39: output.keep_thoughts: expected true or false, found 'perhaps'",
            "job.yaml:1:63: output.on_wrong_size: 'retyr' is not one of accept, retry, fail; did you mean 'retry'?",
        ],
    ),
    (
        "output: {keep_draft: true}\n" + ITEMS + "- {id: a, prompt: p}\n",
        ["job.yaml:1:10: output.keep_draft: unknown field; did you mean 'keep_drafts'?"],
    ),
    (
        'output: {nam: "{id}"}\n' + ITEMS + "- {id: a, prompt: p}\n",
        ["job.yaml:1:10: output.nam: unknown field; did you mean 'name'?"],
    ),
    (
        'output: "{id}"\n' + ITEMS + "- {id: a, prompt: p}\n",
        ["job.yaml:1:9: output: expected a mapping, found '{id}'"],
    ),
    (
        'output: {name: "{sku}/{id}"}\n'
        + ITEMS
        + "- {id: a, prompt: p}\n- {id: b, prompt: q, tags: {skus: x}}\n- {id: c, prompt: r, tags: {sku: x}}\n",
        [
            "job.yaml:4:3: items[a].tags: output.name reads the tag 'sku', which this item does not have",
            "job.yaml:5:28: items[b].tags: output.name reads the tag 'sku', which this item does not have; did you mean 'skus'?",
        ],
    ),
    (
        'output: {name: "{ide}"}\n' + ITEMS + "- {id: a, prompt: p}\n",
        [
            "job.yaml:4:3: items[a].tags: output.name reads the tag 'ide', which this item does not have; did you mean 'id'?"
        ],
    ),
    (
        'output: {name: "{sku.upper}"}\n' + ITEMS + "- {id: a, prompt: p, tags: {sku: x}}\n",
        [
            "job.yaml:4:28: items[a].tags: output.name reads {sku.upper}; write {sku}, without prefix, part or format"
        ],
    ),
    (
        'output: {name: "{tags.sku}"}\n' + ITEMS + "- {id: a, prompt: p, tags: {sku: x}}\n",
        [
            "job.yaml:4:28: items[a].tags: output.name reads {tags.sku}; write {sku}, without prefix, part or format"
        ],
    ),
    (
        'output: {name: "{sku}/{id}"}\n'
        + ITEMS
        + '- {id: "{n}", each: [{n: a}, {n: b}], prompt: "{n}"}\n',
        [
            "job.yaml:4:22: items[a].tags: output.name reads the tag 'sku', which this item does not have",
            "job.yaml:4:30: items[b].tags: output.name reads the tag 'sku', which this item does not have",
        ],
    ),
]


@pytest.mark.parametrize(("text", "messages"), BROKEN_JOBS)
def test_a_mistake_has_its_place(text: str, messages: list[str], tmp_path: Path) -> None:
    assert said(write(tmp_path, text)) == messages


def test_an_item_with_one_mistake_more_is_told_of_that_one_first(tmp_path: Path) -> None:
    text = 'output: {name: "{sku}"}\n' + ITEMS + "- {id: a, promt: p}\n"
    assert len(said(write(tmp_path, text))) == 2


def test_a_row_without_the_tag_is_named_by_its_own_place(tmp_path: Path) -> None:
    write(tmp_path, "id,prompt,tags.sku\na,p,x\nb,q,\n", "rows.csv")
    text = 'output: {name: "{sku}/{id}"}\n' + ITEMS + "- {each: rows.csv}\n"
    assert said(write(tmp_path, text)) == [
        "rows.csv:3:1: items[b].tags: output.name reads the tag 'sku', which this item does not have"
    ]


# --- items that would share a file --------------------------------------------------------------


def tagged(template: str, *tags: str, ids: Iterable[str] = "abcdefgh") -> str:
    items = "".join(
        f"- {{id: {one}, prompt: p{n}, tags: {{t: {json.dumps(tag)}}}}}\n"
        for n, (one, tag) in enumerate(zip(ids, tags, strict=False))
    )
    return f"output: {{name: {json.dumps(template)}}}\n{ITEMS}{items}"


def shares(n: int, one: str, other: str, where: int, what: str) -> str:
    return f"job.yaml:{n}:8: items[{one}]: '{one}' and '{other}' (on line {where}) would share {what}; change output.name, or what it reads"


SHARED = [
    (tagged("{t}", "x", "y", "x"), [shares(6, "c", "a", 4, "the file images/x.*")]),
    (tagged("{t}", "Shoe", "shoe"), [shares(5, "b", "a", 4, "the file images/shoe.*")]),
    (tagged("{t}", "e\u0301", "\u00c9"), [shares(5, "b", "a", 4, "the file images/\u00c9.*")]),
    (tagged("{t}", "a/b", "a_b"), [shares(5, "b", "a", 4, "the file images/a_b.*")]),
    (tagged("S/{t}", "a/b", "a\\b"), [shares(5, "b", "a", 4, "the file images/S/a_b.*")]),
    (tagged("{t}", "", "."), [shares(5, "b", "a", 4, "the file images/_.*")]),
    (
        tagged("all", "1", "2", "3"),
        [
            shares(5, "b", "a", 4, "the file images/all.*"),
            shares(6, "c", "a", 4, "the file images/all.*"),
        ],
    ),
    (tagged("{t}/{id}", "x", "x", "X"), []),
    (tagged("{t}/{id}", "a", "a.b"), []),
    (tagged("{t}", "a", "a.png"), []),
    (tagged("x/{t}", "x" * 300, "x" * 299 + "y"), []),
    (
        tagged("{t}", "x" * 170, "X" * 170),
        [shares(5, "b", "a", 4, "the file images/" + "X" * 100 + "…")],
    ),
]


@pytest.mark.parametrize(("text", "messages"), SHARED)
def test_two_pictures_of_one_name_are_a_mistake_on_every_kind_of_disk(
    text: str, messages: list[str], tmp_path: Path
) -> None:
    assert said(write(tmp_path, text)) == messages


def test_all_paths_of_a_job_have_one_depth_so_that_no_folder_is_in_a_pictures_way() -> None:
    name = name_of("{t}/{id}")
    assert name.path(msgspec.structs.replace(ITEM, tags={"t": "x.png"})) == "x.png/hero"
    for value in HOSTILE:
        item = msgspec.structs.replace(ITEM, id=value, tags={"t": value})
        assert name.path(item).count("/") == 1


def test_items_of_one_id_are_told_of_their_id_alone(tmp_path: Path) -> None:
    text = tagged("{t}/{id}", "x", "x", ids=["hero", "hero"])
    assert said(write(tmp_path, text)) == [
        "job.yaml:5:8: items[hero].id: duplicate id 'hero' (first on line 4)"
    ]


def test_ids_that_differ_in_capitals_still_share_the_files_that_are_named_by_them(
    tmp_path: Path,
) -> None:
    text = tagged("{t}/{id}", "x", "y", ids=["hero", "Hero"])
    assert said(write(tmp_path, text)) == [
        "job.yaml:5:8: items[Hero].id: 'Hero' and 'hero' (on line 4) would share a file name on some disks; rename one"
    ]


def test_copies_need_their_id_in_the_name(tmp_path: Path) -> None:
    text = ITEMS + "- {id: a, prompt: p, count: 2}\n"
    assert said(write(tmp_path, "output: {name: all}\n" + text)) == [
        "job.yaml:4:8: items[a#2]: 'a#2' and 'a#1' (on line 4) would share the file images/all.*; change output.name, or what it reads"
    ]
    _, items = read(write(tmp_path, 'output: {name: "all/{id}"}\n' + text))
    assert [item.file for item in items] == ["all/a#1", "all/a#2"]


def test_a_hash_that_two_files_share_is_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Seen, "repeated", lambda _: _Everything())
    assert said(write(tmp_path, tagged("{t}/{id}", "x", "y", "x"))) == []


class _Everything(frozenset[int]):
    def __contains__(self, _: object) -> bool:
        return True

    def __bool__(self) -> bool:
        return True


# --- wherever items come from -------------------------------------------------------------------


def test_lines_that_are_read_like_earlier_ones_have_their_own_file(tmp_path: Path) -> None:
    head = {"job": {"output": {"name": "{sku}/{id}"}, "defaults": {"model": "m"}}}
    lines = [{"id": f"i{n}", "prompt": "p", "tags": {"sku": f"s{n % 7}"}} for n in range(50)]
    text = "".join(json.dumps(line) + "\n" for line in (head, *lines))
    manifest, items = read(write(tmp_path, text, "job.jsonl"))
    manifest.raise_problems()
    assert [item.file for item in items] == [f"s{n % 7}/i{n}" for n in range(50)]


def test_without_a_name_no_item_has_a_file(tmp_path: Path) -> None:
    for head in ("", "output: {}\n", "output: {name: null}\n", 'output: {name: "{id}"}\n'):
        _, items = read(write(tmp_path, f"{head}{ITEMS}- {{id: a, prompt: p, count: 2}}\n"))
        assert [item.file for item in items] == [None, None]


def test_tags_of_the_defaults_and_of_rows_are_read(tmp_path: Path) -> None:
    write(tmp_path, "id,prompt,tags.sku\na,p,A 1\n", "rows.csv")
    text = (
        'output: {name: "{sku}/{id}"}\ndefaults: {model: m, tags: {sku: none}}\nitems:\n'
        "- {each: rows.csv}\n- {id: b, prompt: q}\n"
        '- {id: "c-{sku}", matrix: {sku: [x, y]}, prompt: "{sku}", tags: {sku: "{sku}"}}\n'
    )
    manifest, items = read(write(tmp_path, text))
    manifest.raise_problems()
    assert [item.file for item in items] == ["A 1/a", "none/b", "x/c-x", "y/c-y"]


def test_a_file_outlives_items_jsonl(tmp_path: Path) -> None:
    item = msgspec.structs.replace(ITEM, file="A-17/hero")
    write_items(tmp_path / "items.jsonl", [item])
    assert list(read_items(tmp_path / "items.jsonl")) == [item]
    assert json.loads((tmp_path / "items.jsonl").read_text())["file"] == "A-17/hero"


# --- on disk ------------------------------------------------------------------------------------

SENT = Sent(
    run_id="20261121T030000Z-4f2a9c31",
    item=ITEM.id,
    key="k",
    turn=1,
    attempt=1,
    at="2026-11-21T03:00:04.120Z",
    model=ITEM.model,
    est_usd=Decimal("0.15"),
)


@pytest.fixture
def settler(tmp_path: Path) -> Settler:
    layout = Layout(tmp_path / "job")
    layout.parts.mkdir(parents=True)
    return Settler(layout, PriceBook.shipped(), "emulator", Secrets([]))


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(out, "png")
    return out.getvalue()


def received(settler: Settler, file: str) -> Receipt:
    """Put an answer on disk for an item whose picture has its own place."""
    name = f"{part_name(SENT)}.0.part"
    (settler.layout.parts / name).write_bytes(png())
    digest = hashlib.sha256(png()).hexdigest()
    parts = [{"inlineData": {"mimeType": "image/png", "data": "0"}}, {"text": "words"}]
    answer = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}
    return Receipt(
        sent=SENT,
        item=msgspec.structs.replace(ITEM, file=file),
        http_status=200,
        request_id=None,
        latency_s=1.0,
        bytes_in=1000,
        skeleton=json.dumps(answer),
        images=(ReceivedImage(part=name, sha256=digest, size_bytes=len(png())),),
    )


def test_a_picture_lies_in_its_folder_and_its_words_by_its_id(settler: Settler) -> None:
    line = settler.settle(received(settler, "shoes/A-17/side")).line
    assert line is not None
    assert [image.path for image in line.images] == ["images/shoes/A-17/side.png"]
    assert (settler.layout.root / "images/shoes/A-17/side.png").read_bytes() == png()
    assert settler.layout.text("hero").read_text() == "words"


def test_the_name_of_every_new_folder_is_durable_before_the_picture_is(
    settler: Settler, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, list[str]]] = []

    def sync(path: Path) -> None:
        inside = sorted(one.name for one in path.iterdir())
        synced.append((path.relative_to(settler.layout.root).as_posix(), inside))

    monkeypatch.setattr(pictures, "sync_directory", sync)
    settler.settle(received(settler, "shoes/A-17/side"))
    assert [(path, inside) for path, inside in synced if path != "."] == [
        ("images", ["shoes"]),
        ("images/shoes", ["A-17"]),
        ("images/shoes/A-17", ["side.png"]),
    ]
    assert synced[0][0] == "."
    synced.clear()
    settler.settle(received(settler, "shoes/A-17/top"))
    assert synced == [("images/shoes/A-17", ["side.png", "top.png"])]


def test_a_picture_of_another_format_replaces_the_items_own_alone(settler: Settler) -> None:
    images = settler.layout.root / "images/shoes"
    images.mkdir(parents=True)
    for name in ("side.jpg", "hero.jpg", "side.txt"):
        (images / name).touch()
    settler.settle(received(settler, "shoes/side"))
    assert sorted(path.name for path in images.iterdir()) == ["hero.jpg", "side.png", "side.txt"]


def test_a_picture_that_was_renamed_already_is_found_in_its_folder(settler: Settler) -> None:
    receipt = received(settler, "shoes/side")
    first = settler.settle(receipt).line
    again = settler.settle(receipt, recovered=True).line
    assert first is not None
    assert again is not None
    assert (again.images, again.recovered) == (first.images, True)
