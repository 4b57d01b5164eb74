"""What is known of image models: what each takes and makes, and until when Google serves it.

The table only warns. It holds back nothing but a setting that its model is known to refuse or to
ignore: `as_sent` leaves that out, `mismatches` says so. Whatever else does not fit is sent as it
is written, since a gateway may know better; a model that is not in the table passes silently.

Source: `batchgen/known_models.yaml`, where every fact names its source and the day on which it was
checked; docs/api-notes.md, section 5.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
import yaml

from batchgen.model import Item, Kind, Tier

WhenAsked: TypeAlias = Literal["used", "ignored", "refused"]

# How long before a model's last day a job that uses it is worth a word.
NOTICE: Final = timedelta(days=30)
# A job names few models and mixes few settings, but a foreign manifest may hold any number.
_MAX_REMEMBERED: Final = 4096
# That a run with the flag writes down what it adopts, so that later ones need it no more, is proven
# in tests/fault/test_warnings_ahead.py.
_MOVE: Final = (
    "set the model to it and run once with --ignore-change model, and no picture that is there "
    "is paid for again"
)
_OTHER_TIERS: Final[tuple[Tier, ...]] = ("batch", "flex", "priority")


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Something of an item that its model does not take, and what becomes of it.

    Attributes:
        field: As in the job file; `model` for the model itself.
        message: A sentence without anything of the item but the value, so equal ones can be
            counted together.
    """

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Ending:
    """That Google ends an id.

    Attributes:
        day: The last one announced; without it, the day on which the end was announced.
        announced: Whether `day` is that of the shutdown.
        successor: What Google names in its place.
    """

    day: date
    announced: bool
    successor: str


@dataclass(frozen=True, slots=True)
class Thinking:
    """What a model makes of a thinkingConfig; `levels` are those it takes, if it uses them."""

    when_asked: WhenAsked
    levels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """What images count: output tokens by size, what no size means, input tokens a reference."""

    by_size: Mapping[str, int]
    default_size: str
    reference: int


class Span(NamedTuple):
    """Between what and what a figure was seen, and what to expect."""

    low: float
    expected: float
    high: float

    @classmethod
    def over(cls, spans: Iterable["Span"]) -> "Span":
        """What several spans cover; what to expect is the middle of what they do."""
        lows, expected, highs = zip(*spans, strict=True)
        return cls(min(lows), sum(expected) / len(expected), max(highs))


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """One model under all its ids. None is what is not known; an empty tuple is none at all."""

    name: str
    aliases: tuple[str, ...] = ()
    released: Mapping[str, date]
    endings: Mapping[str, Ending]
    ratios: tuple[str, ...] | None = None
    sizes: tuple[str, ...] | None = None
    tokens: TokenCounts | None = None
    thinking: Thinking | None = None
    search: tuple[str, ...] | None = None
    signs: bool | None = None
    max_references: int | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    words: Span | None = None
    thoughts: Mapping[str, Span] = dataclasses.field(default_factory=dict)
    latency_s: Mapping[str, Span] = dataclasses.field(default_factory=dict)


class _Asked(NamedTuple):
    """The settings of an item that a model may not take."""

    model: str
    aspect_ratio: str | None
    image_size: str | None
    thinking_level: str | None
    include_thoughts: bool | None
    google_search: bool | tuple[str, ...] | None
    n_references: int
    raw_field: str | None = None  # the field of the job that holds them, as the service spells them


class _Finding(NamedTuple):
    mismatch: Mismatch
    left_out: bool = False


class KnownModels:
    """The table of known models.

    Cost: a mix of settings is judged once and remembered, so that a job of many items costs a
    look-up an item.
    """

    def __init__(self, models: Iterable[KnownModel]) -> None:
        """Keep models under their names and aliases."""
        self._all = tuple(models)
        self._models = {name: one for one in self._all for name in (one.name, *one.aliases)}
        self._endings = {
            name: ending for one in self._models.values() for name, ending in one.endings.items()
        }
        self._findings = lru_cache(_MAX_REMEMBERED)(self._find_findings)
        self._kind = lru_cache(_MAX_REMEMBERED)(self._find_kind)
        self._farewell = lru_cache(_MAX_REMEMBERED)(self._find_farewell)

    @classmethod
    @cache
    def shipped(cls) -> "KnownModels":
        """The table that comes with batchgen; read once."""
        text = resources.files("batchgen").joinpath("known_models.yaml").read_text("utf-8")
        table = yaml.load(text, Loader=yaml.CBaseLoader)  # noqa: S506 - it makes text only
        return cls(_read_model(name, facts) for name, facts in table["models"].items())

    @property
    def ids(self) -> list[str]:
        """All ids that are known, aliases included."""
        return sorted(self._models)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each model, without its aliases."""
        return tuple(one.name for one in self._all)

    def find(self, model: str) -> KnownModel | None:
        """The model that an id means: `models/` in front, any case, aliases."""
        return self._models.get(plain_name(model))

    def mismatches(self, item: Item, *, on: date) -> tuple[Mismatch, ...]:
        """What of an item its model does not take, and what becomes of each.

        What stands in a raw request or in `extra` is sent in any case.
        """
        found = () if item.request is not None else self._findings(_asked(item))
        for field in ("request", "extra"):
            if (body := getattr(item, field)) is not None:
                found += self._findings(_asked_raw(item.model, body, field))
        farewell = self._farewell(item.model, on)
        if not found:
            return farewell
        return farewell + tuple(finding.mismatch for finding in found)

    def farewell(self, model: str, *, on: date) -> str | None:
        """That Google ends a model, or has ended it, with its successor; None if nobody says so."""
        return next((one.message for one in self._farewell(model, on)), None)

    def as_sent(self, item: Item) -> Item:
        """The item without the settings that its model is known to refuse or to ignore.

        It keeps its `key`: what an item asks for is what was written.
        """
        if item.request is not None:
            return item
        left_out = self._left_out(_asked(item))
        return msgspec.structs.replace(item, **left_out) if left_out else item

    def signs(self, *names: str | None) -> bool:
        """Whether a model wants its signatures back; who is not known to do without them does.

        Args:
            names: What the model goes by; the first that is known tells.
        """
        known = (self.find(name) for name in names if name is not None)
        told = (one.signs for one in known if one is not None and one.signs is not None)
        return next(told, True)

    def token_counts(self, model: str) -> TokenCounts:
        """What a model's images count; of a model unknown, the most that any known one's do."""
        known = self.find(model)
        if known is not None and known.tokens is not None:
            return known.tokens
        all_counts = [one.tokens for one in self._models.values() if one.tokens is not None]
        most = max(max(counts.by_size.values()) for counts in all_counts)
        return TokenCounts({"1K": most}, "1K", max(counts.reference for counts in all_counts))

    def name_of(self, model: str) -> str:
        """What all ids of a model are one under; of a model unknown, its own id."""
        known = self.find(model)
        return plain_name(model) if known is None else known.name

    def kind(self, item: Item, n_images: int) -> Kind:
        """What kind of picture an item asks its model for, with so many images in one request.

        What the model would not get is not in it; what stands in a raw request or in `extra` is.
        """
        if item.request is None and item.extra is None:
            return self._kind(_asked(item), n_images)
        asked = _asked(self.as_sent(item))
        tier: Tier | None = None
        for body in (item.request, item.extra):
            if body is not None:
                asked = _laid_over(asked, _asked_raw(item.model, body, ""))
                tier = _tier(body.get("serviceTier")) or tier
        return _kind_of(asked, n_images, tier)

    def words(self, model: str) -> Span:
        """Tokens of text beside an image; of a model that nobody measured, as of all others."""
        known = self.find(model)
        if known is not None and known.words is not None:
            return known.words
        return Span.over(one.words for one in self._all if one.words is not None)

    def thoughts(self, model: str, level: str | None) -> Span:
        """Tokens of thinking at a level; None is the one that a model has by itself."""
        known = self.find(model)
        if known is not None and known.thoughts:
            found = known.thoughts.get(level or "default", known.thoughts.get("any"))
            return found or Span.over(known.thoughts.values())
        measured = [one.thoughts for one in self._all]
        asked = level or "default"
        at_level = [spans[asked] for spans in measured if asked in spans]
        return Span.over(at_level or [span for spans in measured for span in spans.values()])

    def latency_s(self, model: str, kind: Kind) -> Span:
        """Seconds of a call; of a size that nobody measured, as of all that somebody did."""
        known = self.find(model)
        if known is None or not known.latency_s:
            spans = (span for one in self._all for span in one.latency_s.values())
            return Span.over(spans)
        size = kind.size or "1K"
        for name in (f"{size} {kind.thinking}", size):
            if name in known.latency_s:
                return known.latency_s[name]
        return Span.over(known.latency_s.values())

    def _left_out(self, asked: _Asked) -> dict[str, None]:
        """The settings that are left out of what is sent, as they are then."""
        return dict.fromkeys(one.mismatch.field for one in self._findings(asked) if one.left_out)

    def _find_kind(self, asked: _Asked, n_images: int) -> Kind:
        without: dict[str, Any] = self._left_out(asked)
        return _kind_of(asked._replace(**without), n_images, None)

    def _find_findings(self, asked: _Asked) -> tuple[_Finding, ...]:
        known = self.find(asked.model)
        if known is None:
            return ()
        name = plain_name(asked.model)
        return (
            *_geometry(known, name, asked),
            *_thinking(known, name, asked),
            *_search(known, name, asked),
            *_references(known, name, asked),
        )

    def _find_farewell(self, model: str, on: date) -> tuple[Mismatch, ...]:
        name = plain_name(model)
        ending = self._endings.get(name)
        if ending is None:
            return ()
        day = ending.day
        match ending.announced, day <= on:
            case True, True:
                said = f"Google shut {name} down on {day}; it is sent as written, and a gateway may"
                said += " still serve it"
            case True, False if day - on <= NOTICE:
                said = f"Google shuts {name} down on {day}; it is sent as written"
            case False, True:
                said = f"Google deprecated {name} on {day} and named no last day; it is sent as"
                said += " written"
            case _:
                return ()
        heir = self._heir(ending, on)
        return (Mismatch("model", f"{said}; its successor is {heir}: {_MOVE}"),)

    def _heir(self, ending: Ending, on: date) -> str:
        """The first successor that is not itself on its way out."""
        heir = ending.successor
        while (next_ending := self._endings.get(heir)) and next_ending.day <= on:
            heir = next_ending.successor
        return heir


def plain_name(model: str) -> str:
    """An id as ids are compared: in lower case, without `models/` in front."""
    return model.lower().removeprefix("models/")


def _asked(item: Item) -> _Asked:
    return _Asked(
        item.model,
        item.aspect_ratio,
        item.image_size,
        item.thinking_level,
        item.include_thoughts,
        item.google_search,
        # A request of a conversation carries the references of all its turns, so the last has most.
        len(item.all_references),
    )


def _kind_of(asked: _Asked, n_images: int, tier: Tier | None) -> Kind:
    searches = ("web",) if asked.google_search is True else asked.google_search
    return Kind(
        size=asked.image_size,
        ratio=asked.aspect_ratio,
        references=n_images,
        thinking=asked.thinking_level,
        search=",".join(searches) if searches else None,
        tier=tier,
    )


def _asked_raw(model: str, body: Mapping[str, Any], field: str) -> _Asked:
    """The same of a body in the service's own words; whatever is odd about it is not looked at."""
    generation = _mapping(body.get("generationConfig"))
    image = _mapping(generation.get("imageConfig"))
    thinking = _mapping(generation.get("thinkingConfig"))
    level = _word(thinking.get("thinkingLevel"))
    return _Asked(
        model,
        _word(image.get("aspectRatio")),
        _word(image.get("imageSize")),
        level and level.upper(),
        True if thinking and level is None else None,
        _searches(body.get("tools")),
        0,
        field,
    )


def _laid_over(asked: _Asked, more: _Asked) -> _Asked:
    """What was asked, where more says nothing else."""
    told = {name: value for name, value in more._asdict().items() if value}
    return asked._replace(**told)


def _tier(word: Any) -> Tier | None:
    """Another way to be served than the usual one, in either spelling of the service."""
    found = (_word(word) or "").lower()
    return next((tier for tier in _OTHER_TIERS if tier in found), None)


def _searches(tools: Any) -> bool | tuple[str, ...] | None:
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(search := _mapping(tool).get("googleSearch"), dict):
            kinds = {"webSearch": "web", "imageSearch": "image"}
            types = _mapping(search.get("searchTypes"))
            return tuple(kinds[name] for name in kinds if name in types) or True
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _geometry(known: KnownModel, name: str, asked: _Asked) -> Iterator[_Finding]:
    ratio, size = asked.aspect_ratio, asked.image_size
    if ratio is not None and known.ratios is not None and ratio not in known.ratios:
        yield _sent("aspect_ratio", f"{name} does not make {ratio}; it", asked)
    if size is None or known.sizes is None or size in known.sizes:
        return
    if known.sizes:
        yield _sent("image_size", f"{name} makes {_listed(known.sizes)} only; {size}", asked)
    else:
        yield _left_out("image_size", f"{name} takes no image size; it", asked)


def _thinking(known: KnownModel, name: str, asked: _Asked) -> Iterator[_Finding]:
    level, thinking = asked.thinking_level, known.thinking
    if thinking is None:
        return
    match thinking.when_asked:
        case "refused":
            for field in ("thinking_level", "include_thoughts"):
                if getattr(asked, field) is not None:
                    yield _left_out(field, f"{name} does not think; {field}", asked)
        case "ignored" if level is not None and asked.raw_field is None:
            what = f"{name} thinks alike at every level; thinking_level"
            yield _left_out("thinking_level", what, asked)
        case "used" if level is not None and level not in thinking.levels:
            levels = _listed(thinking.levels)
            what = f"{name} has the thinking levels {levels} only; {level}"
            yield _sent("thinking_level", what, asked)


def _search(known: KnownModel, name: str, asked: _Asked) -> Iterator[_Finding]:
    kinds = ("web",) if asked.google_search is True else asked.google_search or ()
    lacking = [kind for kind in kinds if known.search is not None and kind not in known.search]
    if not lacking:
        return
    if known.search:
        what = f"{_listed(known.search)} search only; {_listed(lacking)} search"
        yield _sent("google_search", f"{name} has {what}", asked)
    else:
        yield _sent("google_search", f"{name} has no search; google_search", asked)


def _references(known: KnownModel, name: str, asked: _Asked) -> Iterator[_Finding]:
    if known.max_references is not None and asked.n_references > known.max_references:
        message = f"{name} takes {known.max_references} references a request; "
        message += f"all {asked.n_references} are sent as written and may be refused"
        yield _Finding(Mismatch("references", message))


def _sent(field: str, what: str, asked: _Asked) -> _Finding:
    message = f"{what} is sent as written and will probably be refused"
    return _Finding(Mismatch(asked.raw_field or field, message))


def _left_out(field: str, what: str, asked: _Asked) -> _Finding:
    if asked.raw_field is not None:
        return _sent(field, what, asked)
    return _Finding(Mismatch(field, f"{what} is left out of the request"), left_out=True)


def _listed(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def _read_model(name: str, facts: Mapping[str, Any]) -> KnownModel:
    """Read one entry of the table, whose scalars are all text."""
    values = {fact: one["value"] for fact, one in facts.items() if fact != "endings"}
    limits = values.get("limits", {})
    return KnownModel(
        name=name,
        aliases=tuple(values.get("aliases", ())),
        released={id_: date.fromisoformat(day) for id_, day in values.get("released", {}).items()},
        endings={id_: _read_ending(one["value"]) for id_, one in facts.get("endings", {}).items()},
        ratios=_words(values.get("ratios")),
        sizes=_words(values.get("sizes")),
        tokens=_read_tokens(values),
        thinking=_read_thinking(values.get("thinking")),
        search=_words(values.get("search")),
        signs=None if "signs" not in values else values["signs"] == "true",
        max_references=_count(values.get("max_references")),
        max_input_tokens=_count(limits.get("input")),
        max_output_tokens=_count(limits.get("output")),
        words=None if "words" not in values else _read_span(values["words"]),
        thoughts=_read_spans(values.get("thoughts", {})),
        latency_s=_read_spans(values.get("latency_s", {})),
    )


def _read_spans(value: Mapping[str, Mapping[str, str]]) -> dict[str, Span]:
    return {name: _read_span(span) for name, span in value.items()}


def _read_span(value: Mapping[str, str]) -> Span:
    return Span(float(value["low"]), float(value["expected"]), float(value["high"]))


def _read_ending(value: Mapping[str, str]) -> Ending:
    day = value.get("shutdown") or value["deprecated"]
    return Ending(date.fromisoformat(day), "shutdown" in value, value["successor"])


def _read_tokens(values: Mapping[str, Any]) -> TokenCounts | None:
    if "image_tokens" not in values:
        return None
    counts = dict(values["image_tokens"])
    default = counts.pop("default")
    by_size = {size: int(count) for size, count in counts.items()}
    return TokenCounts(by_size, default, int(values["reference_tokens"]))


def _read_thinking(value: Mapping[str, Any] | None) -> Thinking | None:
    if value is None:
        return None
    return Thinking(value["when_asked"], tuple(value.get("levels", ())))


def _words(value: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)


def _count(value: str | None) -> int | None:
    return None if value is None else int(value)
