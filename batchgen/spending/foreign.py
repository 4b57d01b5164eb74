"""What a line of a log says that we did not write: any shape that tells of a call's tokens.

    a usageMetadata · an answer of generateContent · what google-genai dumps of one
    Gemini Batch {"key", "response" | "error"} · Vertex {"request", "response", "status"}
    OpenAI style {"custom_id", "response": {"status_code", "body"}, "error"}
    an object around any of these, with a model or a time beside it; a list of them

Both spellings; members may be null or missing. What a picture is told by: a part that holds one,
one whose data was taken out, one that names a file, else the token details.

Source: docs/api-notes.md, sections 2, 3 and 7.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from batchgen.cost import NOTHING, UNKNOWN, count_tokens, price_tokens
from batchgen.errors import AttemptError
from batchgen.known_models import plain_name
from batchgen.model import Billed, Outcome, Tier, Usage
from batchgen.spending.pricing import Pricer
from batchgen.spending.span import read_moment
from batchgen.spending.tally import Call
from batchgen.wire.envelope import is_thought, several
from batchgen.wire.fault import read_fault
from batchgen.wire.grounding import count_queries
from batchgen.wire.reply import reply_in, why_no_image
from batchgen.wire.usage import read_usage, told_tier

Json = dict[str, Any]

_MAX_NESTED: Final = 4
_ANSWER: Final = ("candidates", "promptFeedback", "usageMetadata")
WRAPPERS: Final = ("response", "data", "result", "body", "output", "usage", "payload")
TIMES: Final = (
    *("createTime", "create_time", "created_at", "createdAt", "timestamp", "time", "at", "date"),
    *("created", "datetime", "processed_time", "processedTime", "ts"),
)
_TAGS: Final = ("tags", "labels")
_KEYS: Final = ("key", "custom_id")
_TIER_HEADER: Final = "x-gemini-service-tier"
# The numbers of google.rpc.Code, by which batches tell of errors, as HTTP statuses.
_HTTP_OF_GRPC: Final = {
    number: status
    for status, numbers in {
        400: (3, 9, 11),
        401: (16,),
        403: (7,),
        404: (5,),
        409: (6, 10),
        429: (8,),
        499: (1,),
        500: (2, 13, 15),
        501: (12,),
        503: (14,),
        504: (4,),
    }.items()
    for number in numbers
}


# What a line of our own results.jsonl has, which adds up calls and is none.
_OF_RESULTS: Final = frozenset({"id", "key", "status", "images", "attempts", "run_id"})


class NoCallError(Exception):
    """A line that tells of no call; the message says what it is instead."""


@dataclass(frozen=True, slots=True)
class Assumed:
    """What is taken for true where a line does not say.

    Attributes:
        tier: None is `batch` for the lines of a batch, and else `standard`.
    """

    model: str | None = None
    size: str | None = None
    tier: Tier | None = None


@dataclass(slots=True)
class Counts:
    """What there is to tell of the lines besides what they cost."""

    n_calls: int = 0
    n_batch: int = 0
    n_without_model: int = 0

    def merge(self, other: "Counts") -> None:
        """Count what another one counted."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class _Found:
    """A call as it was found under its wrappers; what stands further inside wins.

    Attributes:
        usage: A usageMetadata as it came; `counts` is what it says, where that is known already.
    """

    answer: Json | None = None
    usage: Any = None
    counts: Usage | None = None
    failure: AttemptError | None = None
    answered: str | None = None
    asked: str | None = None
    at: datetime | None = None
    item: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    header: str | None = None
    is_batch: bool = False

    def note(self, layer: Json) -> None:
        """Take what a layer says of the call."""
        self.answered = _word(_either(layer, "modelVersion")) or self.answered
        self.asked = _word(layer.get("model")) or self.asked
        self.item = next(filter(None, (_word(layer.get(one)) for one in _KEYS)), self.item)
        moments = (read_moment(layer[name]) for name in TIMES if layer.get(name) is not None)
        self.at = next(filter(None, moments), self.at)
        for name in _TAGS:
            self.tags |= {
                key: str(value)
                for key, value in _map(layer.get(name)).items()
                if isinstance(value, str | int | float)
            }
        self.header = header_of(layer) or self.header


@dataclass(frozen=True, slots=True)
class Foreign:
    """Reads documents into calls, and prices them."""

    pricer: Pricer
    assumed: Assumed = Assumed()
    counts: Counts = field(default_factory=Counts)

    def call(self, document: Any) -> Call:
        """The call that a document tells of.

        Raises:
            NoCallError: It tells of none.
        """
        if not isinstance(document, dict):
            kind = type(document).__name__
            raise NoCallError(
                f"a JSON {kind}, and no object" if document != [] else "an empty list"
            )
        if document.keys() >= _OF_RESULTS:
            raise NoCallError("a line of results.jsonl: its calls are in the job's ledger")
        found = _Found()
        try:
            _open(document, found, 0)
        except RecursionError as error:
            raise NoCallError("nested too deeply") from error
        if found.answer is None and found.usage is None and found.failure is None:
            raise NoCallError(_what(document))
        return self._call(found)

    def _call(self, found: _Found) -> Call:
        asked = found.asked or (self.assumed.model if found.answered is None else None)
        model = found.answered or asked
        day = None if found.at is None else found.at.date().isoformat()
        self.counts.n_calls += 1
        self.counts.n_batch += found.is_batch
        about: dict[str, Any] = {
            "model": None if model is None else _encodable(plain_name(model.strip())),
            "at": found.at,
            "item": None if found.item is None else _encodable(found.item),
            "tags": {_encodable(name): _encodable(one) for name, one in found.tags.items()},
        }
        if found.failure is not None and found.answer is None:
            # A batch bills no line that failed; a call by itself may have been executed.
            billed = "no" if found.is_batch else found.failure.billed
            cost = NOTHING if billed == "no" else UNKNOWN
            outcome = found.failure.outcome
            return Call(outcome=outcome, usd=cost.usd, basis=cost.basis, billed=billed, **about)
        self.counts.n_without_model += model is None
        seen = UNSEEN if found.answer is None else look_at(found.answer)
        usage = found.counts or read_usage(found.usage)
        price = self.pricer.find(found.answered, asked, day)
        n_images = counted_images(seen, usage)
        tokens, basis = count_tokens(usage, price, n_images=n_images, size=self.assumed.size)
        if basis == "reported" and asked and not self.pricer.knows(found.answered, day):
            basis = "inferred"
        tier = self._tier(found)
        cost = price_tokens(tokens, basis, price, tier=tier, n_queries=seen.n_queries)
        has_image = seen.outcome is Outcome.IMAGE
        # Somebody took the image out, or wrote down nothing but the counts.
        is_bare = seen.n_images is None or seen.outcome is Outcome.TEXT_ONLY
        if is_bare and tokens is not None:
            has_image = has_image or tokens.output_image > 0
        return Call(
            outcome=Outcome.IMAGE if has_image else seen.outcome,
            n_images=int(has_image),
            tokens=tokens,
            usd=cost.usd,
            basis=cost.basis,
            billed=seen.billed,
            **about,
        )

    def _tier(self, found: _Found) -> Tier:
        told = told_tier(found.usage, found.header)
        if told is not None:
            return told
        return self.assumed.tier or ("batch" if found.is_batch else "standard")


def each_of(document: Any) -> Iterator[Any]:
    """The documents that a list holds, and the lists in it, in order; any other is one itself."""
    left = [document]
    while left:
        one = left.pop()
        if isinstance(one, list) and one:
            left.extend(reversed(one))
        else:
            yield one


def _open(layer: Json, found: _Found, depth: int) -> None:
    """Find the call inside of a document, and what its wrappers say of it."""
    found.note(layer)
    found.is_batch |= _is_of_a_batch(layer)
    found.failure = _refused(layer)
    if found.failure is not None:
        return
    if any(_either(layer, name) is not None or name in layer for name in _ANSWER):
        found.answer = layer if _holds_an_answer(layer) else None
        found.usage = _either(layer, "usageMetadata")
        _note_inside(found)
        if layer.get("error") and not layer.get("candidates"):
            found.failure = _failure(layer["error"])
        return
    found.counts = read_usage(layer)
    if found.counts is not None:
        found.usage = layer
        return
    for name in WRAPPERS if depth < _MAX_NESTED else ():
        inner = layer.get(name)
        if isinstance(inner, dict):
            _open(inner, found, depth + 1)
        if found.answer is not None or found.usage is not None or found.failure is not None:
            return
    found.failure = _told_failure(layer)


def _note_inside(found: _Found) -> None:
    """Some answers carry what they say of themselves inside usageMetadata."""
    inside = _Found()
    inside.note(_map(found.usage))
    found.answered = found.answered or inside.answered
    found.at = found.at or inside.at


def _is_of_a_batch(layer: Json) -> bool:
    """Whether it is of a batch, and no answer that somebody logged with its request."""
    if "request" in layer and isinstance(layer.get("status"), str | dict):
        return True
    if "response" not in layer and not layer.get("error"):
        return False
    return "key" in _map(layer.get("metadata")) or any(name in layer for name in _KEYS)


def _holds_an_answer(layer: Json) -> bool:
    """Whether there is an answer to look into, and not its counts alone."""
    return "candidates" in layer or bool(_either(layer, "promptFeedback"))


def _refused(layer: Json) -> AttemptError | None:
    """The failure that an answer of HTTP is, by its status; None if it is none."""
    status = layer.get("status_code")
    if type(status) is int and status >= HTTPStatus.BAD_REQUEST:
        return read_fault(status, {}, json.dumps(layer.get("body")).encode())
    return None


def _told_failure(layer: Json) -> AttemptError | None:
    """The failure that a layer tells of; None if it tells of none."""
    if layer.get("error"):
        return _failure(layer["error"])
    told = layer.get("status")
    is_vertex = isinstance(told, str | dict) and "request" in layer
    if told and (is_vertex or (isinstance(told, dict) and "key" in layer)):
        return _failure(told)
    return None


def _failure(error: Any) -> AttemptError:
    """An error object, or a text in its place, as what it means."""
    if isinstance(error, dict) and (status := _HTTP_OF_GRPC.get(_number(error.get("code")))):
        error = {**error, "code": status}
    return read_fault(200, {}, json.dumps({"error": error}).encode())


def _number(value: Any) -> int:
    return value if type(value) is int else 0


def _what(document: Json) -> str:
    if "request" in document:
        return "a request without an answer"
    names = ", ".join(sorted(map(str, document))[:5])
    return f"an object without token counts ({names})" if names else "an empty object"


# --- what an answer shows -----------------------------------------------------------------------


class Seen(NamedTuple):
    """What the parts of an answer show.

    Attributes:
        n_images: Thoughts and drafts included; None where the parts are not there to be counted.
    """

    outcome: Outcome
    n_images: int | None
    n_queries: int
    billed: Billed


UNSEEN: Final = Seen(Outcome.NO_IMAGE, None, 0, "yes")


def look_at(answer: Json) -> Seen:
    """Look at the parts of an answer; where it holds images, their data is written over."""
    n_images, has_picture = _number_images(answer)
    candidates = several(answer.get("candidates"))
    if has_picture and not any(_either(_map(one), "groundingMetadata") for one in candidates):
        return Seen(Outcome.IMAGE, n_images, 0, "yes")
    members = {name: answer.get(name) for name in ("candidates", "promptFeedback")}
    members["prompt_feedback"] = answer.get("prompt_feedback")
    reply = reply_in(members)
    n_queries = count_queries(reply.grounding)
    if reply.final is not None:
        return Seen(Outcome.IMAGE, n_images, n_queries, "yes")
    reason = (reply.finish_reason or "").rsplit(".", 1)[-1]
    error = why_no_image(reply)
    # An answer that ended well and has neither words nor parts: somebody took them out.
    is_stripped = not (n_images or reply.text or reply.block_reason) and reason in {"", "STOP"}
    known = None if is_stripped and candidates else n_images
    return Seen(error.outcome, known, n_queries, error.billed)


def counted_images(seen: Seen, usage: Usage | None) -> int | None:
    """How many images to count with: those that were seen; None lets the counts tell."""
    if not seen.n_images and usage is not None and usage.candidates_image:
        return None
    return seen.n_images


def _number_images(answer: Json) -> tuple[int, bool]:
    """Put a number in place of the data of each image, as answers are read.

    Returns:
        How many there are, and whether any is no thought.
    """
    n_images, has_picture = 0, False
    for candidate in several(answer.get("candidates")):
        _plain_reason(candidate)
        for content in several(_map(candidate).get("content")):
            for part in several(_map(content).get("parts")):
                if isinstance(part, dict) and _holds_image(part):
                    part.pop("inline_data", None)
                    part["inlineData"] = {"data": str(n_images)}
                    n_images += 1
                    has_picture = has_picture or not is_thought(part)
    return n_images, has_picture


def _plain_reason(candidate: Any) -> None:
    """`STOP`, also of the `FinishReason.STOP` that Python makes of it."""
    if isinstance(candidate, dict) and isinstance(told := _either(candidate, "finishReason"), str):
        candidate["finishReason"] = told.rsplit(".", 1)[-1]


def _holds_image(part: Json) -> bool:
    for name in ("inlineData", "fileData"):
        holder = _either(part, name)
        if isinstance(holder, dict):
            mime = _either(holder, "mimeType")
            return mime.lower().startswith("image/") if isinstance(mime, str) else bool(holder)
    return False


# --- odd members --------------------------------------------------------------------------------


def _either(layer: Mapping[str, Any], camel: str) -> Any:
    """A member in camelCase or in snake_case; None if there is none."""
    value = layer.get(camel)
    if value is not None:
        return value
    return layer.get(_snake(camel))


@cache
def _snake(camel: str) -> str:
    return "".join(f"_{one.lower()}" if one.isupper() else one for one in camel)


def _map(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _encodable(text: str) -> str:
    """A text without half characters (lone surrogates), which nothing can print."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def header_of(layer: Json) -> str | None:
    """How the service says that it served a call, among the headers of the answer."""
    response = _either(layer, "sdkHttpResponse")
    headers = _map(_map(response).get("headers"))
    for name, value in headers.items():
        if str(name).lower() == _TIER_HEADER:
            return _word(value)
    return None
