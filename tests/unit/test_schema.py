"""The schema of the job file: it takes what batchgen takes, and marks what it refuses."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from batchgen.manifest import open_manifest, settings
from batchgen.manifest.batch_lines import is_batch_line
from batchgen.manifest.items import FIELDS
from batchgen.manifest.setting_fields import HARM_CATEGORIES, HARM_THRESHOLDS
from batchgen.model import ASPECT_RATIOS, IMAGE_SIZES, MODALITIES, SEARCH_KINDS, THINKING_LEVELS
from batchgen.references import ReferenceLibrary
from batchgen.retry import Retries
from batchgen.timeouts import Timeouts
from batchgen.wording import read_duration
from tests.job_schema import SCHEMA, mistakes, read

ROOT = Path(__file__).parents[2]
ITEM = SCHEMA["$defs"]["item"]["properties"]
HEAD_ONLY = {name: one for name, one in SCHEMA["properties"].items() if name != "items"}


def in_item(fragment: str) -> Any:
    """An item with these fields, and what it needs besides."""
    return {"id": "a", "prompt": "x", **read(f"{{{fragment}}}")}


def in_job(fragment: str) -> Any:
    """A job with these top-level fields and one item."""
    return {"items": [{"id": "a", "prompt": "x"}], **read(f"{{{fragment}}}")}


EXAMPLE = """\
name: spring-catalog
provider: cometapi
defaults:
  model: gemini-3-pro-image-preview
  modalities: [IMAGE]
  aspect_ratio: 4:5
  image_size: 2K
limits:   {concurrency: auto, rpm: 60, tpm: null, ipm: null, rpd: null, usd_per_10min: null}
retries:  {transport: 4, unsure: 1, rate_limit: 20, no_image: 2, max_wait: 600, patience: 30m}
budget:   {max_cost_usd: 25, max_cost_usd_per_day: null, max_duration: 5h, max_failures: 10%}
timeouts: {connect: 15, attempt: 600, idle: 60}
prices:   {multiplier: 0.8, models: {my-model: {input: 2, text_output: 12, image_output: 120}}}
references: {logo: brand/logo.png}
output:   {name: "{id}", keep_thoughts: false, keep_drafts: false, on_wrong_size: accept}
notify:   {url_env: NIGHTLY_HOOK, on: change}
items:
  - id: hero
    prompt: A bottle of perfume on black marble, studio light
  - id: hero-wide
    prompt: The same picture as a wide banner
    aspect_ratio: 21:9
    references: ["item:hero"]
  - id: poster
    turns:
      - {prompt: Create an infographic of photosynthesis}
      - {prompt: "Translate it to Spanish, keep the rest", references: [style.png]}
  - each: products.csv
    matrix: {scene: [studio, beach], aspect_ratio: [1:1, 4:5]}
    exclude: [{sku: A-17, scene: beach}]
    id: "{sku}-{scene}-{aspect_ratio}"
    prompt: "Product photo of {title}, {scene} scene"
    references: ["photos/{sku}.jpg", "@logo"]
    tags: {sku: "{sku}", scene: "{scene}"}
"""


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "job",
    [*sorted((ROOT / "jobs").rglob("*.yaml")), ROOT / "batchgen/example/catalog.yaml"],
    ids=lambda job: job.relative_to(ROOT).as_posix(),
)
def test_the_jobs_that_come_with_batchgen_fit(job: Path) -> None:
    assert not mistakes(read(job.read_text("utf-8")))


@pytest.mark.parametrize("job", sorted((ROOT / "jobs").glob("*.jsonl")), ids=lambda job: job.name)
def test_a_jsonl_job_fits_line_by_line(job: Path) -> None:
    head, *items = map(json.loads, job.read_text("utf-8").splitlines())
    assert not mistakes(head, "/$defs/head")
    ours = [item for item in items if not is_batch_line(item)]
    assert not [mistakes(item, "/$defs/item") for item in ours if mistakes(item, "/$defs/item")]


def test_everything_that_a_job_can_say_fits() -> None:
    assert not mistakes(read(EXAMPLE))


@pytest.mark.parametrize("job", sorted((ROOT / "jobs").rglob("*.yaml")), ids=lambda job: job.name)
def test_the_jobs_tell_an_editor_where_the_schema_is(job: Path) -> None:
    first = job.read_text("utf-8").partition("\n")[0]
    said, _, where = first.partition("$schema=")
    assert said == "# yaml-language-server: "
    assert (job.parent / where).resolve() == (ROOT / "batchgen/job.schema.json").resolve()


def test_the_fields_of_an_item_are_those_that_batchgen_reads() -> None:
    assert set(ITEM) == {*FIELDS, "each", "matrix", "exclude", "count"}


def test_defaults_take_every_field_but_those_that_make_an_item_one_of_its_own() -> None:
    own = {"id", "prompt", "turns", "request", "each", "matrix", "exclude", "copy"}
    assert set(HEAD_ONLY["defaults"]["properties"]) == set(ITEM) - own


def test_the_fields_of_the_head_are_those_that_batchgen_reads() -> None:
    later = getattr(settings, "LATER_HEAD", ())  # known, and refused until they are built
    assert set(HEAD_ONLY) == {*settings.HEAD, *later}
    assert set(SCHEMA["$defs"]["head"]["properties"]["job"]["properties"]) == set(HEAD_ONLY)


def test_words_are_those_of_the_model() -> None:
    def words(schema: Any) -> set[str]:
        return {word for word in schema["anyOf"][0]["enum"] if word is not None}

    assert words(ITEM["aspect_ratio"]) == set(ASPECT_RATIOS)
    assert words(ITEM["image_size"]) == set(IMAGE_SIZES)
    assert words(ITEM["thinking_level"]) == set(THINKING_LEVELS)
    assert set(ITEM["modalities"]["anyOf"][0]["items"]["enum"]) == set(MODALITIES)
    assert set(SCHEMA["$defs"]["search_kind"]["enum"]) == set(SEARCH_KINDS)
    long, short, _ = SCHEMA["$defs"]["harm_category"]["anyOf"]
    assert set(short["enum"]) == set(HARM_CATEGORIES)
    assert set(long["enum"]) == {f"HARM_CATEGORY_{one}" for one in HARM_CATEGORIES}
    assert words(SCHEMA["$defs"]["harm_threshold"]) == set(HARM_THRESHOLDS)


@pytest.mark.parametrize(("name", "record"), [("retries", Retries()), ("timeouts", Timeouts())])
def test_defaults_told_are_those_that_hold(name: str, record: Any) -> None:
    told = {field: one.get("default") for field, one in HEAD_ONLY[name]["properties"].items()}
    held = {field: value for field, value in asdict(record).items() if field in told}
    for field in held:
        if isinstance(told[field], str):
            told[field] = read_duration(told[field])
    assert {field: told[field] for field in held} == held


def _fields(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every field of a mapping, at any depth, that a user may write."""
    if isinstance(schema, dict):
        for name, field in schema.get("properties", {}).items():
            if isinstance(field, dict):
                yield f"{path}.{name}", field
        for name, below in schema.items():
            yield from _fields(below, f"{path}.{name}")
    elif isinstance(schema, list):
        for below in schema:
            yield from _fields(below, path)


def test_every_field_explains_itself() -> None:
    repeated = (*HARM_CATEGORIES, "category", "threshold", "job")
    silent = [
        path
        for path, field in _fields(SCHEMA, "")
        if "description" not in field and "/properties/" not in field.get("$ref", "")
        if path.rpartition(".")[2] not in repeated
    ]
    assert not silent


def test_every_example_is_one() -> None:
    for path, field in _fields(SCHEMA, ""):
        for example in field.get("examples", []):
            validator = Draft202012Validator({"$defs": SCHEMA["$defs"], **field})
            assert validator.is_valid(example), f"{path}: {example}"


@pytest.mark.parametrize(
    "fragment",
    [
        "id: 017",
        "id: 'Größe 16:9 #2'",
        "id: '{sku}'",
        "prompt: {file: prompts/hero.txt}",
        "prompt: 42",
        "aspect_ratio: 16:9",
        "aspect_ratio: '{ratio}'",
        "aspect_ratio: null",
        "aspect_ratio: 245",
        "image_size: 512",
        "image_size: 512px",
        "image_size: 2k",
        "modalities: [TEXT, IMAGE]",
        "thinking_level: high",
        "thinking_level: Minimal",
        "include_thoughts: true",
        "google_search: true",
        "google_search: false",
        "google_search: web",
        "google_search: [web, image]",
        "google_search: '{search}'",
        "safety_settings: {HARM_CATEGORY_HARASSMENT: OFF, IMAGE_HATE: BLOCK_NONE}",
        "safety_settings: [{category: HARM_CATEGORY_HARASSMENT, threshold: BLOCK_ONLY_HIGH}]",
        "temperature: 1, top_p: 0.9, top_k: 40, seed: -1, store: false",
        "count: 100",
        "count: '{n}'",
        "tags: {year: 2026, good: true, note: ''}",
        "extra: {generationConfig: {imageConfig: {personGeneration: ALLOW_NONE}}}",
        "references: [a.png, 'https://x/a.png', 's3://b/a.png', 'item:b', '@logo']",
        "references: [{path: a.png, label: 'Image A:'}, {url: 'gs://b/a.png'}]",
        "references: [{item: b}, {name: logo, label: Logo}]",
        "reference_max_px: 1536",
        "each: table.TSV",
        "each: [{sku: a, references: [a.png]}, {sku: b}]",
        "matrix: {scene: [a, b]}, exclude: [{scene: a}]",
    ],
)
def test_what_an_item_may_say(fragment: str) -> None:
    assert not mistakes(in_item(fragment), "/$defs/item")


BAD_FIELDS: Final = [
    "id: a/b",
    "id: ''",
    "id: 'a{b'",
    "prompt: {path: prompts/hero.txt}",
    "promt: x",
    "aspect_ratio: 4:6",
    "aspect_ratio: 5",
    "image_size: 3K",
    "image_size: 1024",
    "modalities: [TEXT]",
    "modalities: [IMAGE, IMAGE]",
    "modalities: [VIDEO, IMAGE]",
    "thinking_level: highest",
    "include_thoughts: sometimes",
    "google_search: maps",
    "google_search: []",
    "safety_settings: {RUDENESS: OFF}",
    "safety_settings: [{category: HARM_CATEGORY_HARASSMENT}]",
    "safety_settings: {HARM_CATEGORY_HARASSMENT: NONE}",
    "temperature: warm",
    "temperature: 2.5",
    "top_p: 1.5",
    "top_k: 0.5",
    "seed: 3000000000",
    "count: 0",
    "count: 101",
    "tags: [a]",
    "tags: {a: {b: c}}",
    "tags: {a: null}",
    "extra: {contents: []}",
    "references: a.png",
    "references: ['http://x/a.png']",
    "references: [{path: a.png, url: 'https://x/a.png'}]",
    "references: [{label: A}]",
    "references: [a, a, a, a, a, a, a, a, a, a, a, a, a, a, a]",
    "reference_max_px: 8",
    "each: table.xlsx",
    "each: []",
    "matrix: {scene: beach}",
    "matrix: {scene: [a, a]}",
    "exclude: [{scene: a}]",
    "turns: [{prompt: y}]",
    "request: {contents: [{}]}",
]


@pytest.mark.parametrize("fragment", BAD_FIELDS)
def test_what_an_item_may_not_say(fragment: str) -> None:
    assert mistakes(in_item(fragment), "/$defs/item")


@pytest.mark.parametrize(
    "item",
    [
        "{id: a, turns: [{prompt: x}, {prompt: {file: y.txt}, references: [a.png]}]}",
        "{id: a, request: {contents: [{}]}, model: m, tags: {a: b}, count: 2}",
        "{each: table.csv}",
        "{each: table.csv, id: '{sku}', turns: [{prompt: '{title}'}]}",
        "{matrix: {id: [a, b], prompt: [x]}}",
    ],
)
def test_what_makes_an_item(item: str) -> None:
    assert not mistakes(read(item), "/$defs/item")


BAD_ITEMS: Final = [
    "{}",
    "{id: a}",
    "{prompt: x}",
    "{id: a, turns: []}",
    "{id: a, turns: [{references: [a.png]}]}",
    "{id: a, turns: [{prompt: x, model: m}]}",
    "{id: a, request: {generationConfig: {}}}",
    "{id: a, request: {contents: []}}",
    "{id: a, request: {contents: [{}]}, aspect_ratio: 1:1}",
    "{id: a, request: {contents: [{}]}, references: [a.png]}",
    "{each: table.csv, prompt: x, turns: [{prompt: x}]}",
]


@pytest.mark.parametrize("item", BAD_ITEMS)
def test_what_makes_no_item(item: str) -> None:
    assert mistakes(read(item), "/$defs/item")


@pytest.mark.parametrize(
    "fragment",
    [
        "name: 2026",
        "provider: emulator",
        "provider: {base_url: 'https://x', api_key_env: K, auth: bearer, allow_http: false}",
        "limits: {concurrency: 8}",
        "limits: {concurrency: 4-32, rpm: 0.5, usd_per_10min: 9.5, max_body_mib: null}",
        "limits: ",
        "retries: {patience: 90}",
        "retries: {patience: 1h30m}",
        "budget: {max_failures: 5}",
        "budget: {max_failures: 2.5%}",
        "prices: {models: {m: {image_output: 30}}}",
        "references: {logo: {path: logo.png, label: 'The logo:'}}",
        "notify: {on: failure}",
        "defaults: {count: 2, tags: {a: b}, references: ['@logo']}",
    ],
)
def test_what_a_head_may_say(fragment: str) -> None:
    assert not mistakes(in_job(fragment))


BAD_HEADS: Final = [
    "name: .hidden",
    "name: a b",
    "nmae: x",
    "provider: openai",
    "provider: {api_key_env: K}",
    "provider: {base_url: 'https://x', api_key: secret}",
    "provider: {base_url: 'https://x', api_key_env: sk-secret}",
    "limits: {concurrency: 0}",
    "limits: {concurrency: many}",
    "limits: {rps: 1}",
    "limits: {rpm: -1}",
    "retries: {transport: 1.5}",
    "retries: {patience: soon}",
    "budget: {max_failures: half}",
    "timeouts: {connect: 0}",
    "prices: {models: {m: {output: 30}}}",
    "references: {logo: 'item:a'}",
    "references: {logo: {item: a}}",
    "output: {on_wrong_size: crop}",
    "notify: {on: never}",
    "notify: {url: 'https://hook'}",
    "defaults: {id: a}",
    "defaults: {prompt: x}",
    "defaults: {each: table.csv}",
    "defaults: {aspect_ratio: 4:6}",
    "items: []",
    "items: {id: a, prompt: x}",
]


@pytest.mark.parametrize("fragment", BAD_HEADS)
def test_what_a_head_may_not_say(fragment: str) -> None:
    assert mistakes(in_job(fragment))


def test_the_head_of_jsonl_has_no_items() -> None:
    assert not mistakes({"job": {"name": "x", "limits": {"rpm": 60}}}, "/$defs/head")
    assert mistakes({"job": {"items": []}}, "/$defs/head")


@pytest.mark.parametrize(
    "job",
    [
        *({"items": [in_item(fragment)]} for fragment in BAD_FIELDS),
        *({"items": [read(item)]} for item in BAD_ITEMS),
        *map(in_job, BAD_HEADS),
    ],
    ids=str,
)
def test_what_the_schema_marks_batchgen_refuses(tmp_path: Path, job: Any) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps(job), "utf-8")
    manifest = open_manifest(path)
    for _ in manifest.items(ReferenceLibrary(), model="m"):
        pass
    assert manifest.problems.errors


def _documented() -> list[str]:
    page = (ROOT / "docs/job-file.md").read_text("utf-8")
    return re.findall(r"^```yaml[^\n]*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", _documented(), ids=lambda text: text.partition("\n")[0])
def test_the_examples_of_the_job_files_page_fit(example: str) -> None:
    job = read(example)
    assert not mistakes({"items": job} if isinstance(job, list) else job)


def test_the_job_files_page_names_every_field() -> None:
    page = (ROOT / "docs/job-file.md").read_text("utf-8")
    fields = {path.rpartition(".")[2] for path, _ in _fields(SCHEMA["properties"], "")}
    assert not {name for name in fields | set(ITEM) if name not in page}
