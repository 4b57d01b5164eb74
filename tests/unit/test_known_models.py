"""The table of known models: what it says, what it leaves out, and where it has that from."""

from __future__ import annotations

import base64
from dataclasses import fields
from datetime import date
from importlib import resources
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from PIL import Image

from batchgen.cost import PriceBook
from batchgen.emulator import asked, blobs, body, models
from batchgen.emulator.errors import Refused
from batchgen.emulator.signatures import Signer
from batchgen.known_models import KnownModel, KnownModels, Mismatch
from batchgen.model import (
    ASPECT_RATIOS,
    IMAGE_SIZES,
    SEARCH_KINDS,
    THINKING_LEVELS,
    Item,
    Kind,
    Reference,
    Turn,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KNOWN = KnownModels.shipped()
TODAY = date(2026, 11, 22)
NEW, PRO = "gemini-nano-banana-2.1", "gemini-3-pro-image"
FLASH, LITE = "gemini-3.1-flash-image", "gemini-3.1-flash-lite-image"
OLD, GONE = "gemini-2.5-flash-image", "imagen-4.0-generate-001"
WRITTEN = "is sent as written and will probably be refused"

TABLE: dict[str, Any] = yaml.load(
    resources.files("batchgen").joinpath("known_models.yaml").read_text("utf-8"),
    Loader=yaml.CBaseLoader,
)


def item(model: str, **settings: Any) -> Item:
    if not settings.keys() & {"turns", "request"}:
        settings = {"prompt": "a cat"} | settings
    return Item(id="a", model=model, **settings)


def references(count: int) -> tuple[Reference, ...]:
    return tuple(Reference(path=f"/{n}.png") for n in range(count))


def said(one: Item, on: date = TODAY) -> list[tuple[str, str]]:
    return [(mismatch.field, mismatch.message) for mismatch in KNOWN.mismatches(one, on=on)]


def about_settings(one: Item) -> list[tuple[str, str]]:
    return [(field, message) for field, message in said(one) if field != "model"]


@pytest.mark.parametrize(
    ("model", "settings", "field", "message"),
    [
        (LITE, {"image_size": "4K"}, "image_size", f"{LITE} makes 1K only; 4K {WRITTEN}"),
        (
            PRO,
            {"image_size": "512"},
            "image_size",
            f"{PRO} makes 1K, 2K and 4K only; 512 {WRITTEN}",
        ),
        (
            NEW,
            {"image_size": "512"},
            "image_size",
            f"{NEW} makes 1K, 2K and 4K only; 512 {WRITTEN}",
        ),
        (
            OLD,
            {"image_size": "1K"},
            "image_size",
            f"{OLD} takes no image size; it is left out of the request",
        ),
        (PRO, {"aspect_ratio": "1:8"}, "aspect_ratio", f"{PRO} does not make 1:8; it {WRITTEN}"),
        (OLD, {"aspect_ratio": "4:1"}, "aspect_ratio", f"{OLD} does not make 4:1; it {WRITTEN}"),
        (
            FLASH,
            {"thinking_level": "LOW"},
            "thinking_level",
            f"{FLASH} has the thinking levels MINIMAL and HIGH only; LOW {WRITTEN}",
        ),
        (
            NEW,
            {"thinking_level": "LOW"},
            "thinking_level",
            f"{NEW} has the thinking levels MINIMAL, MEDIUM and HIGH only; LOW {WRITTEN}",
        ),
        (
            PRO,
            {"thinking_level": "HIGH"},
            "thinking_level",
            f"{PRO} thinks alike at every level; thinking_level is left out of the request",
        ),
        (
            OLD,
            {"thinking_level": "HIGH"},
            "thinking_level",
            f"{OLD} does not think; thinking_level is left out of the request",
        ),
        (
            OLD,
            {"include_thoughts": False},
            "include_thoughts",
            f"{OLD} does not think; include_thoughts is left out of the request",
        ),
        (
            LITE,
            {"google_search": True},
            "google_search",
            f"{LITE} has no search; google_search {WRITTEN}",
        ),
        (
            PRO,
            {"google_search": ("web", "image")},
            "google_search",
            f"{PRO} has web search only; image search {WRITTEN}",
        ),
        (
            OLD,
            {"references": references(4)},
            "references",
            f"{OLD} takes 3 references a request; all 4 are sent as written and may be refused",
        ),
        (
            NEW,
            {
                "turns": (
                    Turn(prompt="a", references=references(10)),
                    Turn(prompt="b", references=references(5)),
                )
            },
            "references",
            f"{NEW} takes 14 references a request; all 15 are sent as written and may be refused",
        ),
    ],
)
def test_what_a_model_does_not_take_is_told_with_what_becomes_of_it(
    model: str, settings: dict[str, Any], field: str, message: str
) -> None:
    assert about_settings(item(model, **settings)) == [(field, message)]


SHUT = "Google shut {} down on {}; it is sent as written, and a gateway may still serve it"
SHUTS = "Google shuts {} down on {}; it is sent as written"
DEPRECATED = "Google deprecated {} on {} and named no last day; it is sent as written"
PRO_PREVIEW, FLASH_PREVIEW = f"{PRO}-preview", f"{FLASH}-preview"


@pytest.mark.parametrize(
    ("model", "on", "message", "day", "successor"),
    [
        (PRO_PREVIEW, "2026-06-26", SHUT, "2026-06-25", PRO),
        (PRO_PREVIEW, "2026-06-25", SHUT, "2026-06-25", PRO),
        (PRO_PREVIEW, "2026-05-26", SHUTS, "2026-06-25", PRO),
        (PRO_PREVIEW, "2026-05-25", None, None, None),
        # a successor that is on its way out too is no advice
        (FLASH_PREVIEW, "2026-10-05", SHUT, "2026-06-25", FLASH),
        (FLASH_PREVIEW, "2026-10-06", SHUT, "2026-06-25", NEW),
        (FLASH, "2026-10-05", None, None, None),
        (FLASH, "2026-10-06", DEPRECATED, "2026-10-06", NEW),
        (OLD, "2026-09-02", SHUTS, "2026-10-02", FLASH),
        (OLD, "2026-11-22", SHUT, "2026-10-02", NEW),
        (GONE, "2026-11-22", SHUT, "2026-08-17", NEW),
    ],
)
@pytest.mark.parametrize("spelt", [str, lambda model: f"models/{model.upper()}"])
def test_a_model_on_its_way_out_is_told_with_its_successor(
    model: str,
    on: str,
    message: str | None,
    day: str | None,
    successor: str | None,
    spelt: Callable[[str], str],
) -> None:
    day_of_it = date.fromisoformat(on)
    got = said(item(spelt(model)), day_of_it)
    assert [field for field, _ in got] == (["model"] if message else [])
    assert KNOWN.farewell(spelt(model), on=day_of_it) == (got[0][1] if got else None)
    for told in (one for _, one in got):
        what, _, remedy = told.partition(": ")
        assert what == (message or "").format(model, day) + f"; its successor is {successor}"
        assert "--ignore-change model" in remedy


@pytest.mark.parametrize("model", [NEW, PRO, LITE, "nano-banana-pro-preview"])
def test_a_model_that_google_serves_passes_silently(model: str) -> None:
    assert said(item(model)) == []


def test_an_unknown_model_passes_silently_whatever_it_is_asked() -> None:
    strange = item("someone/else-2", image_size="4K", thinking_level="LOW", google_search=True)
    assert said(strange) == []
    assert KNOWN.as_sent(strange) is strange


@pytest.mark.parametrize("field", ["request", "extra"])
def test_what_is_sent_as_it_stands_is_doubted_and_never_left_out(field: str) -> None:
    image, thinking = {"imageSize": "4K", "aspectRatio": "1:8"}, {"thinkingLevel": "high"}
    body = {
        "generationConfig": {"imageConfig": image, "thinkingConfig": thinking},
        "tools": [{"googleSearch": {"searchTypes": {"imageSearch": {}}}}],
    }
    raw = item(OLD, **{field: body})
    doubts = [message for where, message in said(raw) if where == field]
    assert [doubt.partition("; ")[0] for doubt in doubts] == [
        f"{OLD} does not make 1:8",
        f"{OLD} takes no image size",
        f"{OLD} does not think",
        f"{OLD} has no search",
    ]
    assert all("is sent as written and will probably be refused" in doubt for doubt in doubts)
    assert KNOWN.as_sent(raw) is raw


@pytest.mark.parametrize("odd", [{}, {"generationConfig": 5}, {"tools": [None, {"x": 1}]}], ids=str)
def test_a_body_that_is_odd_is_not_judged(odd: dict[str, Any]) -> None:
    assert [field for field, _ in said(item(OLD, request=odd))] == ["model"]


def test_a_gone_model_is_known_by_no_more_than_its_end() -> None:
    everything = item(GONE, image_size="4K", aspect_ratio="1:8", references=references(14))
    assert [field for field, _ in said(everything)] == ["model"]
    assert KNOWN.as_sent(everything) is everything


@pytest.mark.parametrize(
    ("model", "settings", "left_out"),
    [
        (OLD, {"image_size": "2K"}, {"image_size"}),
        (OLD, {"thinking_level": "HIGH"}, {"thinking_level"}),
        (OLD, {"include_thoughts": False}, {"include_thoughts"}),
        (
            OLD,
            {"image_size": "1K", "thinking_level": "LOW", "include_thoughts": True, "seed": 1},
            {"image_size", "thinking_level", "include_thoughts"},
        ),
        (f"models/{OLD.upper()}", {"image_size": "2K"}, {"image_size"}),
        (PRO, {"thinking_level": "LOW", "image_size": "4K"}, {"thinking_level"}),
        (PRO, {"include_thoughts": True}, set()),
        (PRO, {"image_size": "512", "aspect_ratio": "1:8"}, set()),
        (LITE, {"image_size": "4K", "thinking_level": "LOW", "google_search": True}, set()),
        (NEW, {"image_size": "4K", "thinking_level": "HIGH", "google_search": True}, set()),
    ],
)
def test_only_what_is_refused_or_without_effect_is_left_out(
    model: str, settings: dict[str, Any], left_out: set[str]
) -> None:
    written = item(model, key="k", **settings)
    sent = KNOWN.as_sent(written)
    kept = {name: value for name, value in settings.items() if name not in left_out}
    assert sent == item(model, key="k", **kept)
    assert (sent is written) == (not left_out)
    told = {field for field, message in said(written) if "is left out" in message}
    assert told == left_out


def test_items_that_differ_in_nothing_that_matters_share_their_messages() -> None:
    one = item(LITE, image_size="4K", tags={"sku": "1"})
    other = Item(id="b", model=LITE, prompt="a dog", image_size="4K", aspect_ratio="1:1")
    assert KNOWN.mismatches(one, on=TODAY) == KNOWN.mismatches(other, on=TODAY)
    assert isinstance(KNOWN.mismatches(one, on=TODAY)[0], Mismatch)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (PRO, PRO),
        ("gemini-3-pro-image-preview", PRO),
        ("nano-banana-pro-preview", PRO),
        ("models/nano-banana-pro-preview", PRO),
        ("Models/Gemini-3.1-Flash-Image-Preview", FLASH),
        ("gemini-2.5-flash-image-preview", OLD),
        ("gemini-nano-banana-2.1", NEW),
        ("IMAGEN-4.0-generate-001", GONE),
        ("gemini-3-pro", None),
        ("", None),
    ],
)
def test_a_model_is_found_under_every_id_it_goes_by(written: str, name: str | None) -> None:
    found = KNOWN.find(written)
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("names", "signs"),
    [
        ((OLD,), False),
        ((f"models/{OLD}-preview",), False),
        ((OLD, "a-gateways-own-name"), False),
        ((None, OLD), False),
        ((FLASH, OLD), True),
        ((NEW,), True),
        ((PRO,), True),
        (("somebodys-own-name", None), True),
        ((GONE,), True),
        ((), True),
    ],
)
def test_who_is_not_known_to_do_without_signatures_needs_them(
    names: tuple[str | None, ...], *, signs: bool
) -> None:
    assert KNOWN.signs(*names) is signs


def test_the_table_is_read_once() -> None:
    assert KnownModels.shipped() is KNOWN


def facts() -> Iterator[tuple[str, Any]]:
    """Every fact of the file with its place."""
    for model, entries in TABLE["models"].items():
        for name, fact in entries.items():
            if name == "endings":
                for id_, ending in fact.items():
                    yield f"{model}.endings.{id_}", ending
            else:
                yield f"{model}.{name}", fact


@pytest.mark.parametrize(("place", "fact"), [pytest.param(*one, id=one[0]) for one in facts()])
def test_every_fact_says_where_it_was_read_and_when(place: str, fact: Any) -> None:
    assert set(fact) == {"value", "source", "checked"}, place
    sources = fact["source"] if isinstance(fact["source"], list) else [fact["source"]]
    assert sources
    assert set(sources) <= set(TABLE["sources"])
    assert date(2026, 11, 1) <= date.fromisoformat(fact["checked"])


def test_every_source_is_a_public_page_or_a_package_and_is_used() -> None:
    used = {str(fact["source"]) for _, fact in facts()}
    for name, source in TABLE["sources"].items():
        assert set(source) in ({"title", "url"}, {"title", "package"})
        assert source.get("url", "https://").startswith("https://")
        assert any(name in one for one in used)


def entries() -> list[KnownModel]:
    found = [KNOWN.find(name) for name in TABLE["models"]]
    return [one for one in found if one is not None]


def test_the_table_speaks_the_words_of_the_job_file() -> None:
    assert len(entries()) == len(TABLE["models"])
    for known in entries():
        assert set(known.ratios or ()) <= set(ASPECT_RATIOS)
        assert set(known.sizes or ()) <= set(IMAGE_SIZES)
        assert set(known.search or ()) <= set(SEARCH_KINDS)
        if known.thinking is not None:
            assert set(known.thinking.levels) <= set(THINKING_LEVELS)
            assert bool(known.thinking.levels) == (known.thinking.when_asked == "used")


def test_an_entry_is_whole_or_holds_no_more_than_an_end() -> None:
    for known in entries():
        missing = {one.name for one in fields(known) if getattr(known, one.name) is None}
        missing -= {"words"}  # of some models nobody has published measurements
        whole = known.name in {NEW, PRO, FLASH, LITE, OLD}
        assert bool(missing) != whole, known.name
        assert whole or known.endings


def test_what_was_measured_lies_between_its_ends_and_goes_by_words_of_the_job_file() -> None:
    n_spans = 0
    for known in entries():
        levels = {"default", "any", *THINKING_LEVELS}
        sizes = {*IMAGE_SIZES, *(f"{size} {one}" for size in IMAGE_SIZES for one in levels)}
        assert (set(known.thoughts) <= levels, set(known.latency_s) <= sizes) == (True, True)
        spans = [*known.thoughts.values(), *known.latency_s.values()]
        for low, expected, high in [*spans, *([known.words] if known.words else [])]:
            assert 0 <= low <= expected <= high
            n_spans += 1
    assert n_spans > 8


@pytest.mark.parametrize(
    ("model", "kind", "expected"),
    [
        (PRO, Kind(), ((88, 360, 630), (50, 225, 400), (22, 23, 35))),
        (PRO, Kind(thinking="HIGH"), ((88, 360, 630), (50, 225, 400), (22, 23, 35))),
        (PRO, Kind(size="4K"), ((88, 360, 630), (50, 225, 400), (23, 90, 300))),
        (PRO, Kind(size="2K"), ((88, 360, 630), (50, 225, 400), (22, 56.5, 300))),
        (FLASH, Kind(size="1K"), ((88, 360, 630), (0, 0, 0), (12, 12.5, 13))),
        (FLASH, Kind(thinking="HIGH"), ((88, 360, 630), (700, 750, 800), (18, 20.5, 23))),
        (FLASH, Kind(thinking="LOW"), ((88, 360, 630), (0, 250, 800), (12, 12.5, 13))),
        (NEW, Kind(thinking="HIGH"), ((88, 360, 630), (700, 750, 800), (12, 36.5, 300))),
        (OLD, Kind(), ((88, 360, 630), (0, 0, 0), (12, 36.5, 300))),
        ("who-knows", Kind(thinking="LOW"), ((88, 360, 630), (0, 195, 800), (12, 36.5, 300))),
    ],
)
def test_what_nobody_measured_of_a_model_is_what_was_measured_of_others(
    model: str, kind: Kind, expected: tuple[tuple[float, float, float], ...]
) -> None:
    words, thoughts = KNOWN.words(model), KNOWN.thoughts(model, kind.thinking)
    for told, span in zip((words, thoughts, KNOWN.latency_s(model, kind)), expected, strict=True):
        assert tuple(told) == pytest.approx(span)


def raw(**generation: Any) -> dict[str, Any]:
    return {"request": {"contents": [], "generationConfig": generation}}


@pytest.mark.parametrize(
    ("model", "settings", "kind"),
    [
        (PRO, {}, Kind()),
        (PRO, {"image_size": "4K", "aspect_ratio": "4:5"}, Kind(size="4K", ratio="4:5")),
        (PRO, {"thinking_level": "HIGH"}, Kind()),  # it is left out of the request
        (FLASH, {"thinking_level": "HIGH"}, Kind(thinking="HIGH")),
        (PRO, {"google_search": True}, Kind(search="web")),
        (FLASH, {"google_search": ("web", "image")}, Kind(search="web,image")),
        (PRO, {"extra": {"serviceTier": "flex"}}, Kind(tier="flex")),
        (
            PRO,
            {"image_size": "1K", "extra": raw(imageConfig={"imageSize": "4K"})["request"]},
            Kind(size="4K"),
        ),
        (
            FLASH,
            raw(imageConfig={"imageSize": "2K", "aspectRatio": "1:1"}),
            Kind(size="2K", ratio="1:1"),
        ),
        (FLASH, raw(thinkingConfig={"thinkingLevel": "high"}), Kind(thinking="HIGH")),
        (PRO, {"request": {"tools": [{"googleSearch": {}}]}}, Kind(search="web")),
        (PRO, {"request": {"generationConfig": "odd", "serviceTier": 7}}, Kind()),
    ],
)
def test_a_kind_is_what_a_model_is_asked_for_wherever_it_is_written(
    model: str, settings: dict[str, Any], kind: Kind
) -> None:
    assert KNOWN.kind(item(model, **settings), 0) == kind
    assert KNOWN.kind(item(model, **settings), 3).references == 3


def test_image_tokens_are_known_for_every_size_and_for_none() -> None:
    for known in entries():
        if known.tokens is not None:
            assert set(known.sizes or ["1K"]) == set(known.tokens.by_size)
            assert known.tokens.default_size in known.tokens.by_size
            assert known.tokens.reference > 0


def test_every_id_belongs_to_one_model_and_every_end_and_release_to_an_id_of_it() -> None:
    ids = [id_ for known in entries() for id_ in (known.name, *known.aliases)]
    assert len(ids) == len(set(ids))
    assert all(id_ == id_.lower() for id_ in ids)
    for known in entries():
        assert {*known.endings, *known.released} <= {known.name, *known.aliases}


def test_every_successor_is_in_the_table_and_the_last_one_goes_on() -> None:
    endings = {id_: end for known in entries() for id_, end in known.endings.items()}
    for start in endings:
        passed = [start]
        while passed[-1] in endings:
            passed.append(endings[passed[-1]].successor)
            assert KNOWN.find(passed[-1]) is not None
            assert len(passed) == len(set(passed)), "a circle"


def test_dates_of_a_model_follow_on_each_other() -> None:
    for known in entries():
        for id_, ending in known.endings.items():
            if id_ in known.released:
                assert known.released[id_] < ending.day


def test_a_model_has_a_price_under_all_its_ids_or_is_gone() -> None:
    book = PriceBook.shipped()
    for known in entries():
        prices = [book.find(id_, at="2026-11-22") for id_ in (known.name, *known.aliases)]
        assert all(price == prices[0] for price in prices)
        assert (prices[0] is None) == (known.tokens is None)


def test_every_price_belongs_to_a_known_model() -> None:
    text = resources.files("batchgen").joinpath("prices.yaml").read_text("utf-8")
    for model in yaml.load(text, Loader=yaml.CBaseLoader)["models"]:
        known = KNOWN.find(model)
        assert known is not None
        assert known.name == model


# The emulator has a table of its own, and shares no code: where the two agree, neither is a typo.


def refused(one: Item) -> bool:
    """Whether the emulator refuses an item's request, written down anew here."""
    image = {"aspectRatio": one.aspect_ratio, "imageSize": one.image_size}
    thinking = {"thinkingLevel": one.thinking_level, "includeThoughts": one.include_thoughts}
    config = {"imageConfig": set_of(image), "thinkingConfig": set_of(thinking)}
    parts = [{"text": "a cat"}, *([PICTURE] * len(one.all_references))]
    document: dict[str, Any] = {
        "contents": [{"role": "user", "parts": parts}],
        "generationConfig": {name: value for name, value in config.items() if value},
    }
    if one.google_search:
        kinds = one.google_search if isinstance(one.google_search, tuple) else ()
        types: dict[str, Any] = {f"{kind}Search": {} for kind in kinds}
        document["tools"] = [{"googleSearch": {"searchTypes": types} if types else {}}]
    model = models.find(one.model)
    assert model is not None
    try:
        asked.understand(body.typed(document), model, blobs.collect(document), Signer(0))
    except Refused:
        return True
    return False


def set_of(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def picture() -> dict[str, Any]:
    out = BytesIO()
    Image.new("RGB", (4, 4)).save(out, "PNG")
    data = base64.b64encode(out.getvalue()).decode()
    return {"inlineData": {"mimeType": "image/png", "data": data}}


PICTURE = picture()
SETTINGS: list[dict[str, Any]] = [
    {},
    *({"aspect_ratio": ratio} for ratio in ASPECT_RATIOS),
    *({"image_size": size} for size in IMAGE_SIZES),
    *({"thinking_level": level} for level in THINKING_LEVELS),
    *({"include_thoughts": wanted} for wanted in (True, False)),
    *({"google_search": kinds} for kinds in (True, ("web",), ("image",), ("web", "image"))),
    *({"references": references(count)} for count in (1, 3, 4, 14, 15)),
]


@pytest.mark.parametrize("model", [NEW, PRO, FLASH, LITE, OLD])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_emulator_refuses_what_the_table_doubts_and_takes_what_is_sent_for_the_rest(
    model: str, settings: dict[str, Any]
) -> None:
    written = item(model, **settings)
    messages = [message for _, message in about_settings(written)]
    doubted = any("may be refused" in one or WRITTEN in one for one in messages)
    assert refused(KNOWN.as_sent(written)) == doubted
    # What is left out would have been refused, but for a level that has no effect.
    if any("is left out" in one for one in messages) and model != PRO:
        assert refused(written)
