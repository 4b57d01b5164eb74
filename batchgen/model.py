"""The records that move through batchgen: what is asked for, and what came of it.

Everything here is a frozen value without behaviour that needs the outside world; the services
(transport, limiter, store) live in their own modules. Names follow the words of the job file and
of the ledger, so a record reads the same in the code and on disk.
"""

import hashlib
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal, TypeAlias

import msgspec

Modality: TypeAlias = Literal["TEXT", "IMAGE"]
SearchKind: TypeAlias = Literal["web", "image"]
Billed: TypeAlias = Literal["yes", "no", "maybe"]
CostBasis: TypeAlias = Literal["reported", "inferred", "unknown"]
Decision: TypeAlias = Literal["done", "retry", "failed", "skipped", "stop"]
Status: TypeAlias = Literal["done", "failed", "skipped", "pending"]
Tier: TypeAlias = Literal["standard", "batch", "flex", "priority", "offpeak", "provisioned"]
ImageRole: TypeAlias = Literal["final", "draft", "thought", "quarantine"]

ASPECT_RATIOS = (
    *("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"),
    *("1:4", "4:1", "1:8", "8:1"),
)
IMAGE_SIZES = ("512", "1K", "2K", "4K")
MODALITIES: tuple[Modality, ...] = ("TEXT", "IMAGE")
THINKING_LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH")
SEARCH_KINDS: tuple[SearchKind, ...] = ("web", "image")
MAX_REFERENCES = 14


class Outcome(StrEnum):
    """What one attempt came to. The set is closed; the ledger and the reports use these words."""

    IMAGE = "image"
    TEXT_ONLY = "text_only"
    NO_IMAGE = "no_image"
    BLOCKED = "blocked"
    WRONG_SIZE = "wrong_size"
    BROKEN_IMAGE = "broken_image"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXHAUSTED = "quota_exhausted"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    BAD_REPLY = "bad_reply"
    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    OUT_OF_CREDIT = "out_of_credit"
    MODEL_UNAVAILABLE = "model_unavailable"
    MISSING_REFERENCE = "missing_reference"
    SKIPPED_DEPENDENCY = "skipped_dependency"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    BUG = "bug"


class Reference(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One reference image of a turn, in the order in which it is sent.

    Exactly one of `path`, `url` and `item` says where it is; a reference to an item that is done
    has the path of its picture besides. `path` is absolute in memory and relative to the job's
    directory inside `items.jsonl`.

    Attributes:
        item: The id of the item whose final image it is.
        sha256: Of the file as it was found; None for a URL that was not fetched yet and for an
            item that is not done yet.
        max_px: The longest side that it is scaled down to; None if it is sent as it is.
    """

    path: str | None = None
    url: str | None = None
    item: str | None = None
    label: str | None = None
    sha256: str | None = None
    max_px: int | None = None


class ReferenceFile(msgspec.Struct, frozen=True, kw_only=True):
    """A reference as it was when the run opened it: what is sent must still be this file."""

    path: str
    mime: str
    size_bytes: int
    sha256: str
    mtime_ns: int
    inode: int


class Turn(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One user message: its text and its references."""

    prompt: str
    references: tuple[Reference, ...] = ()


class SafetySetting(msgspec.Struct, frozen=True, kw_only=True):
    """What to block of one category of harm."""

    category: str
    threshold: str


class Item(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """One picture to make, with every default already merged in.

    Its JSON form is an item of the job file's own syntax, plus what was found out: `key`, and the
    digests of references. Exactly one of `prompt`, `turns` and `request`
    is set; all values are in their normalised spelling.

    Attributes:
        key: What the item asks for, see `content_key`.
        request: A whole body of `generateContent`, keys in camelCase.
        google_search: True for the plain tool; else the kinds of search, of `web` and `image`.
        reference_max_px: The longest side of a reference; larger ones are scaled down once.
        extra: Merged last into the body.
        variant: Which values of its matrix it has, by number; a sample is spread over them.
        copy: Which of several requests for the same thing it is; 1 is the plain item.
        file: Where its picture lies below `images/`, without extension; None: its id says.
    """

    id: str
    model: str
    prompt: str | None = None
    key: str = ""
    references: tuple[Reference, ...] = ()
    turns: tuple[Turn, ...] = ()
    request: dict[str, Any] | None = None
    modalities: tuple[Modality, ...] | None = None
    aspect_ratio: str | None = None
    image_size: str | None = None
    thinking_level: str | None = None
    include_thoughts: bool | None = None
    google_search: bool | tuple[SearchKind, ...] | None = None
    system_instruction: str | None = None
    safety_settings: tuple[SafetySetting, ...] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    store: bool | None = None
    extra: dict[str, Any] | None = None
    reference_max_px: int | None = None
    copy: int = 1
    variant: dict[str, int] = {}
    tags: dict[str, str] = {}
    file: str | None = None

    @property
    def conversation(self) -> tuple[Turn, ...]:
        """The turns to hold; one for an item with a prompt, none for a raw request."""
        if self.prompt is None:
            return self.turns
        return (Turn(prompt=self.prompt, references=self.references),)

    @property
    def all_references(self) -> tuple[Reference, ...]:
        """The references of all turns, in order."""
        if not self.turns:
            return self.references
        return self.references + tuple(ref for turn in self.turns for ref in turn.references)


class Kind(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a call asks of its model, as far as that decides what it takes: tokens and time.

    Attributes:
        references: Images that go along, those of earlier answers of a conversation included.
        search: The kinds of search, separated by commas.
        tier: How it asks to be served.
    """

    size: str | None = None
    ratio: str | None = None
    references: int = 0
    thinking: str | None = None
    search: str | None = None
    tier: Tier | None = None


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts of one attempt by price class; `thoughts` are billed at the text rate."""

    input_text: int = 0
    input_image: int = 0
    output_text: int = 0
    output_image: int = 0
    thoughts: int = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        """Sum field by field."""
        return Tokens(
            input_text=self.input_text + other.input_text,
            input_image=self.input_image + other.input_image,
            output_text=self.output_text + other.output_text,
            output_image=self.output_image + other.output_image,
            thoughts=self.thoughts + other.thoughts,
        )


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """The service's own token counts for one answer; None where it said nothing usable.

    `candidates_image` is None when no detail by modality came, which is not the same as 0.
    Source: docs/api-notes.md, section 2 (candidates exceed the sum of their details, and
    mirror the thoughts on a refusal).
    """

    prompt: int | None = None
    prompt_image: int | None = None
    candidates: int | None = None
    candidates_image: int | None = None
    thoughts: int | None = None
    tool_use: int | None = None
    total: int | None = None


class ImageFile(msgspec.Struct, frozen=True, kw_only=True):
    """An image on disk. `path` is relative to the job's directory, with forward slashes."""

    path: str
    role: ImageRole
    sha256: str
    bytes: int
    width: int | None
    height: int | None
    mime: str | None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, in one sentence that a person reads; never a body, never a key."""

    kind: str
    message: str


class Attempt(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="attempt"):
    """The ledger's `attempt` line: one HTTP call, what it came to and what it cost.

    `at` is when the request left (UTC, milliseconds). `usage` is the service's own count exactly
    as received. `cost_usd` is null only when nothing is known, never 0 for want of a price.
    `block_reason`, `finish_message`, `note` and `service_tier` are there only where there is
    something to say: why the prompt was blocked, the service's own words on how the answer ended,
    what a reader must know of the call besides, of a successful one too, and how it was served, if
    not as usual. `cools_until` is there if nothing leaves to the model any more until then, because
    of this call.
    """

    v: int = 1
    run_id: str
    item: str
    key: str
    turn: int
    attempt: int
    at: str
    model: str
    model_version: str | None = None
    provider: str
    http_status: int | None = None
    outcome: Outcome
    decision: Decision
    finish_reason: str | None = None
    finish_message: str | msgspec.UnsetType = msgspec.UNSET
    block_reason: str | msgspec.UnsetType = msgspec.UNSET
    error: Failure | None = None
    images: tuple[ImageFile, ...] = ()
    text: str | None = None
    grounding: Any = None
    usage: Any = None
    tokens: Tokens | None = None
    cost_usd: Decimal | None = None
    cost_basis: CostBasis
    billed: Billed
    latency_s: float | None = None
    bytes_in: int = 0
    request_id: str | None = None
    response_id: str | None = None
    tags: dict[str, str] = {}
    recovered: bool = False
    note: str | msgspec.UnsetType = msgspec.UNSET
    service_tier: Tier | msgspec.UnsetType = msgspec.UNSET
    cools_until: str | msgspec.UnsetType = msgspec.UNSET


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `results.jsonl`: where one item stands after all runs so far."""

    id: str
    key: str
    status: Status
    images: tuple[ImageFile, ...] = ()
    text: str | None = None
    model: str
    attempts: int = 0
    outcome: Outcome | None = None
    error: Failure | None = None
    tokens: Tokens | None = None
    cost_usd: Decimal | None = None
    tags: dict[str, str] = {}
    run_id: str | None = None
    finished_at: str | None = None


# The settings that are part of what an item asks for, by their names in the job file.
_ASKED_SETTINGS = (
    *("modalities", "aspect_ratio", "image_size", "thinking_level", "include_thoughts"),
    *("temperature", "top_p", "top_k", "seed", "store"),
)
_ASKED_BESIDES = ("google_search", "system_instruction", "safety_settings", "extra", "request")


def content_key(item: Item, *, turn: int | None = None) -> str:
    """Name what an item asks for, whatever it is called and wherever its files lie.

    Two items with the same key ask the service for the same thing; changing one byte of a
    reference, one word of a prompt or one setting changes it, while ids, tags, file names,
    provider, limits and prices do not. The algorithm is frozen as version 1: a change to it would
    make every finished picture look new, and be paid for again. A field that is not set is not in
    it, so that a new field changes no old key.

    A reference counts by its bytes. As long as those are not known, it counts by its URL or by
    the id of the item that makes it; such a key never meets one of a reference that was read.

    Args:
        item: The item, defaults merged and values in their normalised spelling.
        turn: The key of turn k covers turns 1 to k; None covers all.

    Returns:
        64 lower-case hex digits.
    """
    return hashlib.sha256(content_key_text(item, turn=turn)).hexdigest()


def content_key_text(item: Item, *, turn: int | None = None) -> bytes:
    """The canonical JSON whose SHA-256 is the content key, see there."""
    settings = {name: getattr(item, name) for name in _ASKED_SETTINGS}
    besides = {name: getattr(item, name) for name in _ASKED_BESIDES}
    asked = {
        "v": 1,
        "model": item.model.removeprefix("models/"),
        "turns": [
            {"prompt": one.prompt, "references": [_asked(ref) for ref in one.references]}
            for one in item.conversation[:turn]
        ],
        "settings": {name: value for name, value in settings.items() if value is not None},
        "copy": item.copy,
        **{name: value for name, value in besides.items() if value is not None},
    }
    return msgspec.json.encode(asked, order="sorted")


def _asked(reference: Reference) -> dict[str, Any]:
    named = (
        {"sha256": reference.sha256}
        if reference.sha256 is not None
        else {"url": reference.url, "item": reference.item}
    )
    known = {**named, "label": reference.label, "max_px": reference.max_px}
    return {name: value for name, value in known.items() if value is not None}
