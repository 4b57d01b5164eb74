"""Job files: what is read from good ones; tests/unit/test_mistakes.py has the bad ones."""
# ruff: noqa: E501 - an item in a job reads best on one line

import io
import json
import os
import time
from collections.abc import Callable
from itertools import compress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from batchgen.errors import JobError
from batchgen.limits import Concurrency
from batchgen.manifest import Manifest, open_manifest
from batchgen.model import Item, content_key
from batchgen.references import ReferenceLibrary
from batchgen.sanitize import Secrets

HEAD = "defaults: {model: m}\n"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (4, 4), "teal").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def opened(tmp_path: Path, text: str | bytes, name: str = "job.yaml") -> Manifest:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_manifest(path)


def read(manifest: Manifest, model: str | None = None) -> list[Item]:
    items = list(manifest.items(ReferenceLibrary(), model=model))
    manifest.raise_problems()
    return items


def said(manifest: Manifest) -> list[str]:
    """What is wrong, without the path in front."""
    for _ in manifest.items(ReferenceLibrary()):
        pass
    prefix = f"{manifest.path}:"
    return [str(problem).removeprefix(prefix) for problem in manifest.problems.sorted_errors]


# --- good jobs --------------------------------------------------------------------------------


def test_an_unquoted_ratio_stays_what_was_written(tmp_path: Path) -> None:
    (item,) = read(
        opened(tmp_path, HEAD + "items:\n - {id: a, prompt: p, aspect_ratio: 9:16, image_size: 2k}")
    )
    assert (item.aspect_ratio, item.image_size) == ("9:16", "2K")


@pytest.mark.parametrize(
    "scalar",
    [
        *("no", "012", "1:30", "1_000", "2024-01-01", "1.10", "0x1F", "1e3", "true", "Off", "+12"),
        *("=", "y", "0o17", ".5", "1e999", ".inf", ".NaN", "-0", "0b1", "190:20:30", "1_0.0_0"),
        *("2024-01-01T00:00:00Z", "NULL.", "nil", "None", "0.1e-5", "007", "1.", "\u0663"),
    ],
)
def test_a_plain_scalar_is_the_text_that_was_written(
    tmp_path: Path, scalar: str, tried: Callable[[str, int, str], None]
) -> None:
    text = f"{HEAD}items:\n- id: a\n  prompt: {scalar}\n  tags: {{t: {scalar}}}\n"
    (item,) = read(opened(tmp_path, text))
    assert (item.prompt, item.tags) == (scalar, {"t": scalar})
    tried("P31", 1, "scalars")


@pytest.mark.parametrize("scalar", ["012", "1.10", "1_000", "no", "0x1F", "1:30", "2024-01-01"])
def test_an_id_is_the_text_that_was_written(
    tmp_path: Path, scalar: str, tried: Callable[[str, int, str], None]
) -> None:
    (item,) = read(opened(tmp_path, f"{HEAD}items:\n- {{id: {scalar}, prompt: p}}\n"))
    assert item.id == scalar
    tried("P31", 1, "scalars")


@pytest.mark.parametrize("nothing", ["~", "null", "Null", "NULL", ""])
@pytest.mark.parametrize("field", ["id", "prompt"])
def test_what_yaml_takes_for_nothing_is_an_error_where_there_must_be_text(
    tmp_path: Path, field: str, nothing: str, tried: Callable[[str, int, str], None]
) -> None:
    fields = {"id": "a", "prompt": "p", field: nothing}
    text = "".join(f"  {name}: {value}\n" for name, value in fields.items())
    (message,) = said(opened(tmp_path, f"{HEAD}items:\n-{text[1:]}"))
    assert f"{field}: it is missing" in message
    tried("P31", 1, "scalars")


def test_every_field_is_read_and_defaults_are_merged_in(tmp_path: Path, photo: Path) -> None:
    manifest = opened(
        tmp_path,
        """\
name: spring
provider: {base_url: "https://host.example/v1beta/", api_key_env: MY_KEY, auth: bearer}
defaults: {model: m, modalities: [IMAGE], aspect_ratio: 4:5, image_size: 512px, tags: {a: b}}
limits: {concurrency: 3, rpm: 7.5, tpm: null}
retries: {transport: 1, unsure: 0, rate_limit: 2, no_image: 3, max_wait: 4}
timeouts: {connect: 1, attempt: 2.5, idle: 3}
items:
  - {id: one, prompt: p}
  - id: two
    model: models/other
    prompt: q
    modalities: [text, image]
    aspect_ratio: null
    references: [photo.png, {path: photo.png, label: "Image A:"}]
    tags: {c: d}
""",
    )
    one, two = read(manifest)
    settings = manifest.settings
    assert (manifest.name, settings.provider.base_url) == ("spring", "https://host.example")
    assert (settings.provider.key_env, settings.provider.auth) == (("MY_KEY",), "bearer")
    assert (settings.limits.concurrency, settings.limits.rpm) == (Concurrency.at_most(3), 7.5)
    assert (settings.retries.transport, settings.retries.unsure) == (1, 0)
    assert (settings.retries.rate_limit, settings.retries.no_image) == (2, 3)
    assert settings.retries.max_wait == 4
    assert (settings.timeouts.connect, settings.timeouts.attempt) == (1, 2.5)
    assert (one.model, one.modalities, one.aspect_ratio) == ("m", ("IMAGE",), "4:5")
    assert (one.image_size, one.tags, one.references) == ("512", {"a": "b"}, ())
    assert (two.model, two.modalities, two.aspect_ratio) == (
        "models/other",
        ("TEXT", "IMAGE"),
        None,
    )
    assert [(ref.path, ref.label) for ref in two.references] == [
        (str(photo), None),
        (str(photo), "Image A:"),
    ]
    assert two.tags == {"c": "d"}
    assert len({one.key, two.key}) == 2


def test_the_model_option_wins_over_the_default_and_not_over_the_item(tmp_path: Path) -> None:
    text = HEAD + "items: [{id: a, prompt: p}, {id: b, prompt: p, model: own}]"
    assert [item.model for item in read(opened(tmp_path, text), model="flag")] == ["flag", "own"]


def test_many_items_may_share_one_base(tmp_path: Path) -> None:
    base = "- &base {id: a0, prompt: p0, model: m, tags: {a: b, c: d}}\n"
    others = "".join(f"- {{<<: *base, id: a{n}, prompt: p{n}}}\n" for n in range(1, 40_000))
    assert len(read(opened(tmp_path, "items:\n" + base + others))) == 40_000


def test_anchors_aliases_and_merge_keys_work(tmp_path: Path) -> None:
    text = (
        HEAD
        + "items:\n- &base {id: a, prompt: p, aspect_ratio: 1:1}\n- {<<: *base, id: b, prompt: q}\n"
    )
    one, two = read(opened(tmp_path, text))
    assert (one.aspect_ratio, two.aspect_ratio, two.prompt) == ("1:1", "1:1", "q")


def test_an_id_is_the_same_however_its_letters_are_composed(tmp_path: Path) -> None:
    (item,) = read(opened(tmp_path, HEAD + "items: [{id: cafe\u0301, prompt: p}]"))
    assert item.id == "caf\u00e9"


def test_json_lines_with_a_head_a_byte_order_mark_crlf_and_blank_lines(tmp_path: Path) -> None:
    lines = [
        '{"job": {"name": "n", "provider": "google", "limits": {"rpm": 9}, "defaults": {"model": "m"}}}',
        "",
        '{"id": "a", "prompt": "p \\ud83d\\ude00", "tags": {"t": "u"}}',
        "  ",
        '{"id": "b", "prompt": "q", "image_size": 512}',
    ]
    manifest = opened(tmp_path, b"\xef\xbb\xbf" + "\r\n".join(lines).encode(), "job.jsonl")
    one, two = read(manifest)
    assert (manifest.name, manifest.settings.provider.name) == ("n", "google")
    assert manifest.settings.limits.rpm == 9
    assert (one.prompt, one.model, one.tags) == ("p 😀", "m", {"t": "u"})
    assert two.image_size == "512"


def test_json_lines_are_read_one_at_a_time(tmp_path: Path) -> None:
    line = json.dumps({"id": "x", "prompt": "p", "model": "m"})
    text = "".join(line.replace('"x"', f'"{n}"') + "\n" for n in range(4000))
    items = opened(tmp_path, text, "job.jsonl").items(ReferenceLibrary())
    assert next(items).id == "0"
    os.truncate(tmp_path / "job.jsonl", len(text) // 2)
    read: list[str] = []
    with pytest.raises(JobError):  # what had not been read is gone
        read.extend(item.id for item in items)
    assert len(read) < 3999


def test_a_job_is_named_after_its_file_unless_it_says_otherwise(tmp_path: Path) -> None:
    assert opened(tmp_path, HEAD, "spring-2.yaml").name == "spring-2"


def test_reading_a_job_again_gives_the_same_items_and_the_same_problems(tmp_path: Path) -> None:
    items = "- {id: a, prompt: p}\n- {id: b, prompt: p}\n- {id: c, prompt: q, seed: x}\n"
    manifest = opened(tmp_path, HEAD + "items:\n" + items)
    first, problems = list(manifest.items(ReferenceLibrary())), said(manifest)
    assert list(manifest.items(ReferenceLibrary())) == first
    assert said(manifest) == problems
    assert manifest.n_items == 3


# --- prompts, turns, requests -----------------------------------------------------------------


def test_a_prompt_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/hero.txt").write_bytes(b"\xef\xbb\xbfA {hero}\r\nand more\r\n")
    text = "items:\n- {id: a, prompt: {file: prompts/hero.txt}}\n- {id: b, turns: [{prompt: {file: prompts/hero.txt}}]}\n"
    one, two = read(opened(tmp_path, HEAD + text))
    assert one.prompt == two.turns[0].prompt == "A {hero}\r\nand more"


def test_a_prompt_file_that_the_job_names_is_a_template_and_one_that_a_row_names_is_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "x.txt").write_text("{n} is {{n}}\n")
    text = "items:\n- {id: '1-{n}', prompt: {file: x.txt}, matrix: {n: [x]}}\n- {id: '2-{n}', prompt: {file: '{n}.txt'}, matrix: {n: [x]}}\n"
    one, two = read(opened(tmp_path, HEAD + text))
    assert (one.prompt, two.prompt) == ("x is {n}", "{n} is {{n}}")


def test_braces_are_just_braces_where_nothing_is_expanded(tmp_path: Path) -> None:
    (item,) = read(opened(tmp_path, HEAD + "items: [{id: a, prompt: 'a {b} {{c}} }{'}]"))
    assert item.prompt == "a {b} {{c}} }{"


def test_references_of_an_item_or_of_the_defaults_go_with_the_first_turn(
    tmp_path: Path, photo: Path
) -> None:
    own = "references: [photo.png]"
    text = f"defaults: {{model: m, references: ['https://host.example/d.png']}}\nitems:\n- {{id: a, turns: [{{prompt: p}}, {{prompt: q, {own}}}]}}\n- {{id: b, turns: [{{prompt: p, {own}}}]}}\n- {{id: c, {own}, turns: [{{prompt: r}}]}}\n- {{id: d, references: null, turns: [{{prompt: p}}]}}\n"
    items = read(opened(tmp_path, text))
    assert all(item.references == () for item in items)
    named = [
        [[ref.path or ref.url for ref in turn.references] for turn in item.turns] for item in items
    ]
    assert named == [
        [["https://host.example/d.png"], [str(photo)]],
        [[str(photo)]],
        [[str(photo)]],
        [[]],
    ]


CONTENTS = (
    '[{"role": "user", "parts": [{"inline_data": {"mime_type": "image/png", "data": "AA=="}}]}]'
)


def test_a_request_in_either_spelling_is_the_same_body(tmp_path: Path) -> None:
    snake = f'{{"contents": {CONTENTS}, "generation_config": {{"image_config": {{"image_size": "2K"}}}}}}'
    camel = snake.replace("inline_data", "inlineData").replace("mime_type", "mimeType")
    camel = camel.replace("generation_config", "generationConfig")
    camel = camel.replace("image_config", "imageConfig").replace("image_size", "imageSize")
    lines = [
        f'{{"id": "{n}", "model": "m", "request": {body}}}' for n, body in enumerate([snake, camel])
    ]
    one, two = read(opened(tmp_path, "\n".join(lines), "job.jsonl"))
    assert one.request == two.request == json.loads(camel)
    assert one.key == two.key


def test_the_model_of_a_request_counts_if_the_item_names_none(tmp_path: Path) -> None:
    body = "request: {model: models/inner, contents: [{parts: [{text: p}]}]}"
    text = (
        HEAD
        + f"items:\n- {{id: a, {body}}}\n- {{id: b, model: outer, {body}}}\n- {{id: c, model: null, {body}}}\n"
    )
    items = read(opened(tmp_path, text), model="flag")
    assert [item.model for item in items] == ["models/inner", "outer", "models/inner"]
    assert all(item.request is not None and "model" not in item.request for item in items)


def test_defaults_are_not_merged_into_a_request(tmp_path: Path) -> None:
    text = "defaults: {model: m, seed: 3, image_size: 1K, tags: {a: b}}\nitems:\n- {id: a, request: {contents: [{parts: [{text: p}]}]}}\n"
    (item,) = read(opened(tmp_path, text))
    assert item.request == {"contents": [{"role": "user", "parts": [{"text": "p"}]}]}
    assert (item.seed, item.image_size, item.tags) == (None, None, {"a": "b"})


def test_scalars_under_extra_and_request_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    scalars = "[1, -2, 0x1F, 0o17, 1.5, 1e3, .5, true, False, null, ~, '7', no, yes, on, 012, 1_000, 9:16, 2024-01-01, .inf]"
    values = [1, -2, 31, 15, 1.5, 1000.0, 0.5, True, False, None, None, "7"]
    values += ["no", "yes", "on", 12, "1_000", "9:16", "2024-01-01", ".inf"]
    text = f"items:\n- {{id: a, prompt: p, extra: {{v: {scalars}}}}}\n- {{id: b, request: {{contents: [1], v: {scalars}}}}}\n"
    one, two = read(opened(tmp_path, HEAD + text))
    assert one.extra == {"v": values}
    assert two.request == {"contents": [1], "v": values}


def test_what_is_tagged_as_text_stays_text(tmp_path: Path) -> None:
    text = "items:\n- !!str id: !!str null\n  prompt: &p !!str 5\n  tags: {t: *p, u: !!str }\n  extra: {!!str 1: !!str 5, n: 5, o: !!str 0o17, p: *p, q: 0o17}\n"
    (item,) = read(opened(tmp_path, HEAD + text))
    assert (item.id, item.prompt, item.tags) == ("null", "5", {"t": "5", "u": ""})
    assert item.extra == {"1": "5", "n": 5, "o": "0o17", "p": "5", "q": 15}


def test_extra_in_defaults_and_in_what_is_merged_by_key_is_typed_too(tmp_path: Path) -> None:
    text = "defaults: {model: m, extra: {n: 1}}\nitems:\n- {id: a, prompt: p}\n- &b {id: b, prompt: q, extra: {n: 2}}\n- {<<: [*b], id: c, prompt: r}\n"
    assert [item.extra for item in read(opened(tmp_path, text))] == [{"n": 1}, {"n": 2}, {"n": 2}]


# --- count and references ---------------------------------------------------------------------


def test_a_count_makes_copies_with_keys_of_their_own(tmp_path: Path) -> None:
    text = "items: [{id: a, prompt: p, count: 3}, {id: b, prompt: p, count: 1}, {id: c, prompt: p, copy: 2}]"
    *copies, plain, second = read(opened(tmp_path, HEAD + text))
    assert [(item.id, item.copy) for item in copies] == [("a#1", 1), ("a#2", 2), ("a#3", 3)]
    assert len({item.key for item in copies}) == 3
    assert (plain.id, plain.copy, plain.key) == ("b", 1, copies[0].key)
    assert (second.id, second.copy, second.key) == ("c", 2, copies[1].key)


def test_item_and_a_name_means_the_first_of_a_count(tmp_path: Path) -> None:
    text = "items: [{id: a, prompt: p, count: 2}, {id: b, prompt: q, references: ['item:a', {item: 'a#2', label: L}]}]"
    *_, child = read(opened(tmp_path, HEAD + text))
    assert [(ref.item, ref.label) for ref in child.references] == [("a", None), ("a#2", "L")]


def test_a_named_reference_keeps_its_label_unless_it_is_given_another(
    tmp_path: Path, photo: Path
) -> None:
    text = "references: {logo: {path: photo.png, label: Logo}, bare: photo.png, far: 'https://host.example/x.png'}\n"
    item = "items: [{id: a, prompt: p, references: ['@logo', {name: logo, label: New}, '@bare', {name: '@far', label: F}]}]"
    (read_item,) = read(opened(tmp_path, text + HEAD + item))
    assert [(ref.path or ref.url, ref.label) for ref in read_item.references] == [
        (str(photo), "Logo"),
        (str(photo), "New"),
        (str(photo), None),
        ("https://host.example/x.png", "F"),
    ]


def test_fields_in_their_many_spellings_come_to_the_same(tmp_path: Path) -> None:
    one = "thinking_level: low, google_search: true, modalities: image, image_size: 512px, safety_settings: {harassment: off}, store: 'False', seed: '7'"
    two = "thinking_level: LOW, google_search: True, modalities: [IMAGE], image_size: '512', safety_settings: [{category: HARM_CATEGORY_HARASSMENT, threshold: OFF}], store: false, seed: 7.0"
    first, second = read(
        opened(
            tmp_path, HEAD + f"items: [{{id: a, prompt: p, {one}}}, {{id: b, prompt: p, {two}}}]"
        )
    )
    assert first.key == second.key


# --- JSON Lines and batch files ---------------------------------------------------------------

BODY = '{"contents": [{"parts": [{"text": "p"}]}]}'


def test_lines_of_batch_files_run_as_they_stand(tmp_path: Path) -> None:
    lines = [
        f'{{"key": "gemini-1", "request": {BODY}}}',
        f'{{"custom_id": "openai-1", "method": "POST", "url": "/v1/x", "body": {BODY}}}',
        "",
        f'{{"request": {BODY}}}',
        f'{{"id": "mine", "request": {BODY}, "tags": {{"a": "b"}}}}',
        f'{{"key": 17, "request": {BODY}}}',
    ]
    items = read(opened(tmp_path, "\n".join(lines), "job.jsonl"), model="m")
    assert [item.id for item in items] == ["gemini-1", "openai-1", "line-4", "mine", "17"]
    assert [item.tags for item in items] == [{}, {}, {}, {"a": "b"}, {}]
    sent = {"contents": [{"role": "user", "parts": [{"text": "p"}]}]}
    assert all(item.request == sent for item in items)


def test_columns_of_its_own_become_the_tags_of_a_batch_line(tmp_path: Path) -> None:
    columns = '"sku": "A-17", "price": 4.5, "is_new": true, "labels": {"a": 1}, "sizes": [1]'
    lines = [
        f'{{{columns}, "request": {BODY}}}',
        f'{{{columns}, "request": {BODY}}}',
        f'{{"id": "mine", "sku": "B", "request": {BODY}, "tags": {{"sku": "of mine"}}}}',
    ]
    items = read(opened(tmp_path, "\n".join(lines), "job.jsonl"), model="m")
    told = {"sku": "A-17", "price": "4.5", "is_new": "true"}
    assert [item.tags for item in items] == [told, told, {"sku": "of mine"}]


def test_a_single_message_of_a_raw_request_needs_no_list(tmp_path: Path) -> None:
    line = '{"key": "a", "request": {"contents": {"parts": {"text": "p"}}}}'
    (item,) = read(opened(tmp_path, line, "job.jsonl"), model="m")
    assert item.request == {"contents": {"role": "user", "parts": {"text": "p"}}}


@pytest.mark.parametrize(
    ("key", "identity"),
    [
        ("mug/1", "mug_1"),
        ("a?b=c&d", "a_b_c_d"),
        ("x" * 200, "x" * 180),
        ("caf\u00e9 #1", "caf\u00e9 #1"),
        ("cafe\u0301/1", "caf\u00e9_1"),
        ("{id}", "_id_"),
        ("..\\up", ".._up"),
    ],
)
def test_an_odd_key_of_a_batch_line_becomes_an_id_and_is_kept_as_a_tag(
    tmp_path: Path, key: str, identity: str
) -> None:
    line = json.dumps({"key": key, "request": json.loads(BODY), "tags": {"a": "b"}})
    (item,) = read(opened(tmp_path, line, "job.jsonl"), model="m")
    assert item.id == identity
    assert item.tags == ({"a": "b"} if key == identity else {"a": "b", "key": key})


def test_standard_input_is_read_as_json_lines_and_more_than_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = b'{"job": {"defaults": {"model": "m"}}}\n{"id": "a", "prompt": "p"}\n{"id": "b", "prompt": "p"}\n'
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    manifest = open_manifest(Path("-"))
    assert manifest.name == "stdin"
    assert (
        [item.id for item in read(manifest)] == [item.id for item in read(manifest)] == ["a", "b"]
    )
    assert str(manifest.problems.warnings[0]).startswith("stdin:3:1: warning: items[b]")


def test_lines_that_are_alike_are_read_like_the_first_of_their_kind(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR1")
    (tmp_path / "two.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR2")
    kinds: list[dict[str, object]] = [
        {},
        {"tags": {"t": "u"}},
        {"tags": {}},
        {"model": "n"},
        {"references": ["one.png"]},
        {"references": ["two.png"]},
        {"references": ["item:x"]},
        {"aspect_ratio": "1:1", "image_size": "2k"},
        {"modalities": ["TEXT", "IMAGE"]},
        {"prompt": 'quote " backslash \\ \u2028 \U0001f600'},
        {"prompt": "{"},
        {"seed": 3},
    ]
    lines = [
        {"id": f"i{n}", "prompt": f"p{n}"} | kinds[n % len(kinds)] for n in range(5 * len(kinds))
    ]
    text = "".join(
        json.dumps(line, ensure_ascii=n % 2 == 0) + "\n"
        for n, line in enumerate([*lines, {"id": "x", "prompt": "x"}])
    )
    head = '{"job": {"defaults": {"model": "m", "tags": {"d": "e"}, "temperature": 1}}}\n'
    together = read(opened(tmp_path, head + text, "job.jsonl"))
    apart = [
        read(opened(tmp_path, head + line + "\n" + '{"id": "x", "prompt": "x"}\n', "job.jsonl"))[0]
        for line in text.split("\n")[:-2]
    ]
    assert together[:-1] == apart
    assert all(item.key == content_key(item) for item in together)


KEY, WORD = "sk-CANARY-0123456789", "пароль-0123456789"
LEAKING_HEADS: dict[str, dict[str, object]] = {
    "in what all items share": {"defaults": {"model": "m", "system_instruction": KEY}},
    "in what some share": {"references": {"it": f"{KEY}.png"}},
    "in a name that nobody is told": {"references": {KEY: "photo.png"}},
    "in where pictures lie": {"output": {"name": KEY + "/{of}-{id}"}},
    "in what all share, and the first lacks a tag": {
        "defaults": {"model": "m", "system_instruction": KEY},
        "output": {"name": "{of}/{id}"},
    },
}
LEAKING_LINES: dict[str, tuple[int, str]] = {
    "in one line": (900, f'"{KEY}"'),
    "in the last line, in capitals": (999, f'"at 50% {KEY.upper()}"'),
    "in a line with escapes": (900, f'"\\u0073{KEY[1:]}"'),
    "in a line with escapes of some letters": (900, f'"{WORD[0]}{json.dumps(WORD[1:])[1:]}'),
    "in a line with escapes of HTML": (900, f'"&#115;{KEY[1:]}"'),
    "nowhere": (900, f'"{KEY[:9]}"'),
}
N_LOST = {
    "in what all items share": 1000,
    "in what some share": 10,
    "in a name that nobody is told": 0,
    "in where pictures lie": 999,
    "in what all share, and the first lacks a tag": 999,
    "nowhere": 0,
}


@pytest.mark.parametrize("leaking", [*LEAKING_HEADS, *LEAKING_LINES])
def test_of_many_items_those_with_the_key_in_them_are_refused_and_no_others(
    tmp_path: Path, photo: Path, leaking: str
) -> None:
    photo.with_name(f"{KEY}.png").write_bytes(photo.read_bytes())
    head: dict[str, Any] = {"defaults": {"model": "m"}, "references": {"it": "photo.png"}}
    head |= LEAKING_HEADS.get(leaking, {})
    leak, prompt = LEAKING_LINES.get(leaking, (0, '"p"'))
    lines: list[dict[str, object]] = [
        {"id": f"i{n}", "prompt": f"vase {n} at 50%" * 5, "tags": {"of": "all"}}
        for n in range(1000)
    ]
    lines[0]["tags"], lines[leak]["prompt"] = {}, "…"
    for one in lines[3::100] if "references" in LEAKING_HEADS.get(leaking, {}) else ():
        one["references"] = [f"@{name}" for name in head["references"]]
    written = [json.dumps(line) for line in [{"job": head}, *lines]]
    text = "\n".join(written).replace(json.dumps("…"), prompt)

    openly = list(opened(tmp_path, text, "job.jsonl").items(ReferenceLibrary()))
    secrets = Secrets([KEY, WORD])
    are_kept = [not secrets.are_in(msgspec.json.encode(item)) for item in openly]
    manifest = opened(tmp_path, text, "job.jsonl")
    discreetly = list(manifest.items(ReferenceLibrary(), secrets=secrets))
    assert discreetly == list(compress(openly, are_kept))
    told = [one for one in manifest.problems.sorted_errors if "it holds the API key" in one.message]
    lost = [item.id for item, is_kept in zip(openly, are_kept, strict=True) if not is_kept]
    assert len(lost) == N_LOST.get(leaking, 1)
    assert [one.field for one in told] == [f"items[{one}]" for one in lost]
    assert manifest.n_items == 1000


# --- jobs that are meant to do harm ---------------------------------------------------------------

BOMBS = {
    "aliases": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "merge keys": "a: &a {k: v}\n"
    + "".join(
        f"{b}: &{b} {{<<: [{','.join([f'*{a}'] * 9)}]}}\n"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "depth": "a: " + "[" * 2000 + "]" * 2000,
    "itself": "a: &a [*a]",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_yaml_bomb_is_refused_before_it_goes_off(tmp_path: Path, name: str) -> None:
    began_s = time.process_time()
    with pytest.raises(JobError):
        opened(tmp_path, BOMBS[name])
    assert time.process_time() - began_s < 5  # a bomb takes minutes and all memory
