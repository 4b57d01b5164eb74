"""Job files: what is read from good ones, and what is said of bad ones, word for word."""
# ruff: noqa: E501, ISC004 - the table of messages reads best a message a line

import json
import time
from pathlib import Path

import pytest
from PIL import Image

from batchgen.errors import JobError
from batchgen.manifest import Manifest, open_manifest
from batchgen.model import Item
from batchgen.references import ReferenceLibrary

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
    items = list(manifest.items(ReferenceLibrary().open, model=model))
    manifest.raise_problems()
    return items


def said(manifest: Manifest) -> list[str]:
    """What is wrong, without the path in front."""
    for _ in manifest.items(ReferenceLibrary().open):
        pass
    prefix = f"{manifest.path}:"
    ordered = sorted(manifest.problems, key=lambda problem: (problem.line, problem.column))
    return [str(problem).removeprefix(prefix) for problem in ordered]


# --- good jobs --------------------------------------------------------------------------------


def test_an_unquoted_ratio_stays_what_was_written(tmp_path: Path) -> None:
    (item,) = read(
        opened(tmp_path, HEAD + "items:\n - {id: a, prompt: p, aspect_ratio: 9:16, image_size: 2k}")
    )
    assert (item.aspect_ratio, item.image_size) == ("9:16", "2K")


@pytest.mark.parametrize(
    "scalar",
    ["no", "012", "1:30", "1_000", "2024-01-01", "1.10", "0x1F", "1e3", "true", "Off", "+12", "="],
)
def test_a_plain_scalar_is_the_text_that_was_written(tmp_path: Path, scalar: str) -> None:
    text = f"{HEAD}items:\n- id: a\n  prompt: {scalar}\n  tags: {{t: {scalar}}}\n"
    (item,) = read(opened(tmp_path, text))
    assert (item.prompt, item.tags) == (scalar, {"t": scalar})


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
    assert (settings.limits.concurrency, settings.limits.rpm) == (3, 7.5)
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
    manifest = opened(tmp_path, line.replace("x", "0") + "\n", "job.jsonl")
    items = manifest.items(ReferenceLibrary().open)
    with (tmp_path / "job.jsonl").open("a") as file:
        file.writelines(line.replace('"x"', f'"{n}"') + "\n" for n in range(1, 4000))
        file.flush()
        assert next(items).id == "0"
        assert sum(1 for _ in items) == 3999


def test_a_job_is_named_after_its_file_unless_it_says_otherwise(tmp_path: Path) -> None:
    assert opened(tmp_path, HEAD, "spring-2.yaml").name == "spring-2"


# --- bad jobs ---------------------------------------------------------------------------------

RATIOS = "1:1, 2:3, 3:2, 3:4, 4:3, 4:5, 5:4, 9:16, 16:9, 21:9, 1:4, 4:1, 1:8, 8:1"
IDS = "expected 1 to 180 letters, digits and . _ - : # or spaces"
ITEM = HEAD + "items:\n- {id: a, prompt: p}\n"

BAD_YAML = [
    ("", ["1:1: items: the job has no items"]),
    ("items: 3", ["1:8: items: expected a list of items"]),
    ("[1, 2]", ["1:1: expected a mapping, found a list", "1:1: items: expected a list of items"]),
    (
        "a: [1,",
        ["2:1: this is no YAML: did not find expected node content while parsing a flow node"],
    ),
    (ITEM + "provder: google", ["4:1: provder: unknown field; did you mean 'provider'?"]),
    (
        ITEM + "provider: goggle",
        [
            "4:11: provider: 'goggle' is not one of cometapi, google, emulator; did you mean "
            "'google'?; or write {base_url: …, api_key_env: …}"
        ],
    ),
    (ITEM + "provider: {auth: bearer}", ["4:11: provider: base_url: it is missing"]),
    (
        ITEM + "provider: {base_url: ftp://x}",
        ["4:22: provider.base_url: base URL 'ftp://x': expected https://HOST or https://HOST/PATH"],
    ),
    (
        ITEM + 'provider: {base_url: "https://[oops"}',
        [
            "4:22: provider.base_url: base URL 'https://[oops': expected https://HOST or https://HOST/PATH"
        ],
    ),
    (
        ITEM + "provider: {base_url: http://10.0.0.1}",
        [
            "4:22: provider.base_url: base URL http://10.0.0.1: plain http would send the key in the clear; "
            "use https, or set provider.allow_http"
        ],
    ),
    (
        ITEM + "name: a b",
        ["4:7: name: 'a b' is no job name; expected 1 to 100 of A-Z a-z 0-9 . _ -, no dot first"],
    ),
    (
        ITEM + "budget: {max_cost_usd: 1}",
        ["4:1: budget: this version of batchgen does not support it yet"],
    ),
    (ITEM + "limits: {rpm: fast}", ["4:15: limits.rpm: expected a number, found 'fast'"]),
    (
        ITEM + "limits: {rpm: 0}",
        ["4:15: limits.rpm: expected a number of at least 0.01, found '0'"],
    ),
    (ITEM + "limits: {rpm: .inf}", ["4:15: limits.rpm: expected a number, found '.inf'"]),
    (
        ITEM + "limits: {tpm: 5}",
        ["4:10: limits.tpm: this version of batchgen does not support it yet"],
    ),
    (
        ITEM + "limits: {concurrency: 2-8}",
        [
            "4:23: limits.concurrency: MIN-MAX is not supported by this version yet; write a "
            "number or auto"
        ],
    ),
    (
        ITEM + "retries: {unsure: 1.5}",
        ["4:19: retries.unsure: expected a whole number, found '1.5'"],
    ),
    (ITEM + "timeouts: [1]", ["4:11: timeouts: expected a mapping, found a list"]),
    (ITEM + "items: [{id: b, prompt: p}]", ["4:1: duplicate key 'items' (first on line 2)"]),
    (ITEM + "defaults: {model: n}", ["4:1: duplicate key 'defaults' (first on line 1)"]),
    (
        "items:\n- {id: a, prompt: p}",
        ["2:3: items[a]: model: no model is named; set it here, in defaults, or with --model"],
    ),
    (HEAD + "items:\n- 7", ["3:3: items[1]: expected an item (a mapping), found '7'"]),
    (HEAD + "items:\n- {prompt: p}", ["3:3: items[1]: id: it is missing"]),
    (HEAD + "items:\n- {id: a}", ["3:3: items[a]: prompt: it is missing"]),
    (
        HEAD + "items:\n- {id: a, prompt: }",
        ["3:19: items[a].prompt: expected text, found nothing; put it in quotes"],
    ),
    (
        HEAD + "items:\n- {id: a, prompt: {file: a.md}}",
        [
            "3:19: items[a].prompt: this version of batchgen takes a prompt as text only, not {file: …}"
        ],
    ),
    (
        HEAD + "items:\n- {id: a, prompt: ' '}",
        ["3:19: items[a].prompt: expected text, found only white space"],
    ),
    (
        HEAD + "items:\n- {id: ../a, prompt: p}",
        [f"3:8: items[../a].id: '/' may not be in it; {IDS}"],
    ),
    (
        HEAD + f"items:\n- {{id: {'x' * 181}, prompt: p}}",
        [f"3:8: items[{'x' * 181}].id: 181 characters are too many; {IDS}"],
    ),
    (
        HEAD + "items:\n- {id: a, prompt: p, aspect_ratio: 9:17}",
        [f"3:36: items[a].aspect_ratio: '9:17' is not one of {RATIOS}; did you mean '9:16'?"],
    ),
    (
        HEAD + "items:\n- {id: a, prompt: p, image_size: 8K}",
        ["3:34: items[a].image_size: '8K' is not one of 512, 1K, 2K, 4K"],
    ),
    (
        HEAD + "items:\n- {id: a, prompt: p, image_siez: 1K}",
        ["3:22: items[a].image_siez: unknown field; did you mean 'image_size'?"],
    ),
    (
        HEAD + "items:\n- {id: a, prompt: p, modalities: [TEXT]}",
        ["3:34: items[a].modalities: expected [IMAGE] or [TEXT, IMAGE]"],
    ),
    (
        HEAD + "items:\n- {id: a, prompt: p, modalities: [IMAGE, VIDEO]}",
        ["3:42: items[a].modalities[1]: 'VIDEO' is not one of TEXT, IMAGE"],
    ),
    (
        HEAD + "items:\n- {id: a, prompt: p, tags: [x]}",
        ["3:28: items[a].tags: expected a mapping of words, found a list"],
    ),
    (
        HEAD + "items:\n- {id: a, prompt: p, tags: {x: [1]}}",
        ["3:32: items[a].tags.x: expected text, found a list; put it in quotes"],
    ),
    (
        HEAD + "items:\n- {id: a, prompt: p, references: photo.png}",
        ["3:34: items[a].references: expected a list of paths, found 'photo.png'"],
    ),
    (
        HEAD + "items:\n- {id: a, prompt: p, references: [phto.png]}",
        ["3:35: items[a].references[0]: phto.png does not exist; did you mean 'photo.png'?"],
    ),
    (
        HEAD + "items:\n- {id: a, prompt: p, references: [/proc/self/environ]}",
        [
            "3:35: items[a].references[0]: /proc/self/environ is no PNG, JPEG, WebP, HEIC or HEIF "
            "image"
        ],
    ),
    (
        HEAD + "items:\n- {id: a, prompt: p, references: ['.']}",
        ["3:35: items[a].references[0]: . is no regular file"],
    ),
    (
        HEAD + "items:\n- {id: a, prompt: p, references: ['@logo']}",
        ["3:35: items[a].references[0]: '@logo': this version of batchgen takes local files only"],
    ),
    (
        HEAD + "items:\n- {id: a, prompt: p, references: [{label: x}]}",
        ["3:35: items[a].references[0]: path: it is missing"],
    ),
    (
        HEAD + f"items:\n- {{id: a, prompt: p, references: [{', '.join(['photo.png'] * 15)}]}}",
        ["3:34: items[a].references: 15 references; expected at most 14"],
    ),
    (
        HEAD + "items:\n- {id: a, prompt: p}\n- {id: a, prompt: q}",
        ["4:8: items[a].id: duplicate id 'a' (first on line 3)"],
    ),
    (
        HEAD + "items:\n- {id: Straße, prompt: p}\n- {id: STRASSE, prompt: q}",
        [
            "4:8: items[STRASSE].id: 'STRASSE' and 'Straße' (line 3) would share a file name on "
            "some disks; rename one"
        ],
    ),
    (
        HEAD + "items:\n- {id: a, id: b, prompt: p}\n- {id: c, prompt: 3, image_size: x}",
        [
            "3:11: items[1]: duplicate key 'id' (first on line 3)",
            "4:34: items[c].image_size: 'x' is not one of 512, 1K, 2K, 4K",
        ],
    ),
    (
        HEAD + "items:\n- {id: a, prompt: !!python/name:os.system p}",
        ["3:19: items[1]: the tag tag:yaml.org,2002:python/name:os.system means nothing here"],
    ),
    (
        HEAD + "items:\n- {id: '{x}', each: a.csv, prompt: p}",
        [
            "3:8: items[{x}].id: '{' '}' may not be in it; " + IDS,
            "3:15: items[{x}].each: this version of batchgen does not support it yet",
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), BAD_YAML, ids=range(len(BAD_YAML)))
def test_a_mistake_in_yaml_is_told_with_its_place_and_remedy(
    tmp_path: Path, photo: Path, text: str, expected: list[str]
) -> None:
    assert photo.exists()
    assert said(opened(tmp_path, text)) == expected


BAD_JSON = [
    (
        '{"id": "a" "prompt": 1}',
        ["1:12: this line is no JSON: JSON is malformed: expected ',' or '}'"],
    ),
    (
        '{"job": {"items": []}}\n{"id": "a", "prompt": "p", "model": "m"}',
        ["1:10: items: unknown field"],
    ),
    ("[1]", ["1:1: items[1]: expected an item (a mapping), found a list"]),
    (
        '{"id": 7, "prompt": "p", "model": "m"}',
        ["1:8: items[1].id: expected text, found 7; put it in quotes"],
    ),
    (
        '{"id": "a", "prompt": "\\ud83d\\ude00", "model": "m", "tags": {"t": 5}}',
        ["1:67: items[a].tags.t: expected text, found 5; put it in quotes"],
    ),
    (
        '{"id": "a", "prompt": "p", "model": "m"}\n\n{"id": "a", "prompt": "p", "model": "m"}',
        ["3:8: items[a].id: duplicate id 'a' (first on line 1)"],
    ),
    (
        '{"job": {"limits": {"rpm": true}}, "x": 1}\n{"id": "a", "prompt": "p", "model": "m"}',
        ["1:28: limits.rpm: expected a number, found true", "1:36: x: unknown field"],
    ),
    (
        '{"id": "a", "prompt": "p", "model": "m", "seed": 4}',
        ["1:42: items[a].seed: this version of batchgen does not support it yet"],
    ),
    ("[" * 200_000, ["1:1: this line is nested too deeply"]),
    (
        '{"id": "a", "prompt": "p", "model": "m"}\n{"x": ' + '{"x":' * 5000 + "}" * 5001,
        ["2:1: this line is nested too deeply"],
    ),
    (
        '{"id": "a", "prompt": "p", "model": "m", "prompt": "q"}',
        ["1:42: duplicate key 'prompt' (first on line 1)"],
    ),
    (
        '{"id": "a", "prompt": "\\ud83d\\ude00", "model": "m", "tags": {"t": "u", "t": "v"}}',
        ["1:72: duplicate key 't' (first on line 1)"],
    ),
]


@pytest.mark.parametrize(("text", "expected"), BAD_JSON, ids=range(len(BAD_JSON)))
def test_a_mistake_in_json_lines_is_told_with_its_place_and_remedy(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    assert said(opened(tmp_path, text, "job.jsonl")) == expected


def test_a_file_that_is_no_utf8_or_not_there_or_has_no_name_is_told(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"job\.yaml:2:11: a byte that is no UTF-8"):
        opened(tmp_path, b"items:\n- {id: caf\xe9}\n")
    with pytest.raises(JobError, match=r"none\.yaml:1:1: cannot read the job file: No such file"):
        open_manifest(tmp_path / "none.yaml")
    assert said(opened(tmp_path, ITEM, "my job.yaml")) == [
        "1:1: name: the file's name 'my job' is no job name; write a name here"
    ]


def test_more_than_fifty_errors_are_counted(tmp_path: Path) -> None:
    text = "items:\n" + "".join(f"- {{id: i{n}, prompt: p}}\n" for n in range(60))
    manifest = opened(tmp_path, text)
    assert len(said(manifest)) == 60
    with pytest.raises(JobError) as raised:
        manifest.raise_problems()
    lines = str(raised.value).splitlines()
    assert lines[-2:] == ["… and 10 more", "60 errors in the job; nothing was sent"]
    assert len(lines) == 52


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
    problems = said(opened(tmp_path, BOMBS[name]))
    assert problems
    assert time.process_time() - began_s < 5  # a bomb takes minutes and all memory
