"""Faults on demand: which request gets one, and what it is.

A faults file is a YAML list of rules. Each rule has conditions, all of which must hold, and
exactly one action; the first rule that matches wins. Without conditions a rule always matches.

Conditions
    prompt: GLOB            a text part of the last user turn, or all of them, one a line
    model: GLOB             the model id in the URL
    nth: N | [N, ...]       the Nth request of that prompt, from 1
    requests: N | A-B | [...]   the Nth request of the run, from 1
    every: N                every Nth of the requests that meet the conditions above
    probability: P          a seeded draw for each request of a prompt

Actions
    status: 200-599         an error, with:
        body: google | list | gateway | html | empty | FILE   (FILE: beside the faults file)
        quota: minute | day | spend | free    which limit a 429 is about (`reason` says it too)
        retry_delay: 2s     RetryInfo in the body
        retry_after: 7      the header: seconds or an HTTP date
        reason: NAME        ErrorInfo, such as API_KEY_INVALID, MODEL_CAPACITY_EXHAUSTED
        code: NAME          the gateway's code: invalid_request, model_not_found, ...
        message: TEXT
    finish_reason: NAME     no picture, and this reason: NO_IMAGE, IMAGE_SAFETY, NEW_REASON, ...
    finish_with_picture: NAME   a whole picture, and this reason beside it: MAX_TOKENS, ...
    block_reason: NAME      no candidate: SAFETY, OTHER, ..., with:
        message: TEXT       blockReasonMessage
    text_only: true         STOP, and only words
    thoughts_only: true     STOP, and the only picture is a thought, asked for or not
    drafts: N               N pictures in one answer, the last one final
    candidates: second      the first candidate is empty, the second one holds the picture
    file_uri: true          the picture comes by address: fileData in place of inlineData
    signatures: missing     no thoughtSignature, as behind a gateway that drops it
    cut: 0.5                that share of the body that Content-Length promised, then the end
    reset: before | during  the connection is reset (RST) before the answer, or half-way
    hang: SECONDS           silence, then the answer
    latency: SECONDS        this answer takes so long
    drip: BYTES_PER_S       the body comes slowly
    redirect: URL           301
    encoding: chunked | gzip | gzip_cut | close    how the body is framed; gzip_cut ends early
    spelling: snake         parts as inline_data, mime_type, thought_signature
    usage: missing | null_details | strings
    mime_label: image/png   the label, whatever the bytes are
    wrong_size: ratio | dropped     pixels of another ratio (`true` says it too), or what the
                            model chooses by itself, as behind a gateway that drops imageConfig
    image: truncated | not_image | svg | heic | empty   heic says so in its label
    garbage: not_json | html | empty | array | two_documents | no_candidates

Example:
    - {prompt: "*teapot*", nth: 1, status: 503}
    - {requests: 10-12, status: 429, quota: minute, retry_delay: 2s, retry_after: 2}
    - {probability: 0.2, finish_reason: NO_IMAGE}

Without a file, words inside a prompt do it, for demonstrations from a job file: `[[NO_IMAGE]]` or
any other finish reason, `[[BLOCKED]]`, `[[TEXT_ONLY]]`, `[[THOUGHTS_ONLY]]`, `[[DRAFTS=3]]`,
`[[FILE_URI]]`, `[[UNSIGNED]]` (`signatures: missing`), `[[WRONG_SIZE]]` (`wrong_size: dropped`).
With `:N` only the first N requests of that prompt are hit, so that a retry is seen to succeed:
`[[NO_IMAGE:1]]`.
"""

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

from batchgen.emulator.dice import Dice
from batchgen.emulator.errors import Quota

Body: TypeAlias = Literal["google", "list", "gateway", "html", "empty", "file"]
BODIES: tuple[Body, ...] = ("google", "list", "gateway", "html", "empty", "file")


class FaultsError(ValueError):
    """A faults file that cannot be used: `PATH:LINE: what is wrong, what was expected`."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """An error in place of the answer. `content` is the body when `body` is "file"."""

    status: int
    body: Body = "google"
    content: bytes = b""
    content_type: str = "application/json"
    quota: Quota | None = None
    retry_delay: str | None = None
    retry_after: str | None = None
    reason: str | None = None
    code: str = ""
    message: str | None = None


@dataclass(frozen=True)
class Redirect:
    """A 301."""

    url: str


@dataclass(frozen=True)
class Finish:
    """No picture, and this finishReason."""

    reason: str


@dataclass(frozen=True)
class FinishWithPicture:
    """A whole picture, and this finishReason beside it."""

    reason: str


@dataclass(frozen=True)
class Block:
    """No candidate, and this blockReason; `message` is the blockReasonMessage."""

    reason: str
    message: str | None = None


@dataclass(frozen=True)
class TextOnly:
    """STOP with words alone."""


@dataclass(frozen=True)
class ThoughtsOnly:
    """STOP with thoughts alone: the picture was drawn, and never left them."""


@dataclass(frozen=True)
class Drafts:
    """Several pictures, the last one final."""

    n_pictures: int


@dataclass(frozen=True)
class Candidates:
    """Which candidate holds the picture; those before it are empty."""

    place: Literal["second"]


@dataclass(frozen=True)
class FileUri:
    """Pictures by address, not inline."""


@dataclass(frozen=True)
class Signatures:
    """What is wrong with the signatures of the parts."""

    fault: Literal["missing"]


@dataclass(frozen=True)
class Spelling:
    """Parts in another spelling than camelCase."""

    case: Literal["snake"]


@dataclass(frozen=True)
class Usage:
    """What is wrong with usageMetadata."""

    fault: Literal["missing", "null_details", "strings"]


@dataclass(frozen=True)
class MimeLabel:
    """A mimeType that ignores the bytes."""

    mime_type: str


@dataclass(frozen=True)
class WrongSize:
    """Other pixels than were asked for: of another ratio, or as if imageConfig were dropped."""

    fault: Literal["ratio", "dropped"]


@dataclass(frozen=True)
class BadImage:
    """Valid base64 of something that is no whole picture, or none that is commonly read."""

    fault: Literal["truncated", "not_image", "svg", "heic", "empty"]


@dataclass(frozen=True)
class Garbage:
    """A 200 whose body is not one answer."""

    fault: Literal["not_json", "html", "empty", "array", "two_documents", "no_candidates"]


@dataclass(frozen=True)
class Cut:
    """The connection ends after this share of the promised body."""

    share: float


@dataclass(frozen=True)
class Reset:
    """The connection is reset."""

    when: Literal["before", "during"]


@dataclass(frozen=True)
class Wait:
    """The answer takes so long, whatever the latency setting says (`hang` and `latency`)."""

    seconds: float


@dataclass(frozen=True)
class Drip:
    """The body comes at this rate."""

    bytes_per_s: int


@dataclass(frozen=True)
class Encoding:
    """How the body is framed."""

    kind: Literal["chunked", "gzip", "gzip_cut", "close"]


Refusing: TypeAlias = Status | Redirect
Changing: TypeAlias = (
    Finish
    | FinishWithPicture
    | Block
    | TextOnly
    | ThoughtsOnly
    | Drafts
    | Candidates
    | FileUri
    | Signatures
    | Spelling
    | Usage
    | MimeLabel
    | WrongSize
    | BadImage
)
Delivering: TypeAlias = Garbage | Cut | Reset | Wait | Drip | Encoding
Action: TypeAlias = Refusing | Changing | Delivering


@dataclass(frozen=True)
class Seen:
    """What a rule may ask about a request. `number` and `nth` count from 1."""

    texts: tuple[str, ...]
    model_id: str
    number: int
    nth: int

    @property
    def prompt(self) -> str:
        """All texts, one a line."""
        return "\n".join(self.texts)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Conditions and an action. A None condition always holds."""

    action: Action
    prompt: str | None = None
    model: str | None = None
    nth: frozenset[int] | None = None
    requests: tuple[range, ...] | None = None
    every: int | None = None
    probability: float | None = None

    def concerns(self, seen: Seen) -> bool:
        """Whether the conditions that need no memory and no chance hold."""
        return (
            (self.prompt is None or _any_matches(self.prompt, seen))
            and (self.model is None or fnmatchcase(seen.model_id, self.model))
            and (self.nth is None or seen.nth in self.nth)
            and (self.requests is None or any(seen.number in span for span in self.requests))
        )


@dataclass
class Faults:
    """The rules of a run, with one counter each for `every`."""

    rules: Sequence[Rule]
    seed: int = 0
    _met: list[int] = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start counting anew."""
        self._met = [0] * len(self.rules)

    def action_for(self, seen: Seen) -> Action | None:
        """The action of the first rule that matches, else of the first magic word."""
        for n, rule in enumerate(self.rules):
            if rule.concerns(seen) and self._turn_comes(n, rule) and self._falls(n, rule, seen):
                return rule.action
        return magic_word(seen)

    def _turn_comes(self, n: int, rule: Rule) -> bool:
        if rule.every is None:
            return True
        with self._lock:
            self._met[n] += 1
            return self._met[n] % rule.every == 0

    def _falls(self, n: int, rule: Rule, seen: Seen) -> bool:
        if rule.probability is None:
            return True
        dice = Dice(self.seed, f"{seen.prompt} {seen.nth}")
        return dice.fraction(f"rule {n}") < rule.probability


_MAGIC_WORD = re.compile(r"\[\[([A-Z][A-Z_]+)(?:=(\w+))?(?::(\d+))?\]\]")
_PLAIN_WORDS: dict[str, Action] = {
    "TEXT_ONLY": TextOnly(),
    "THOUGHTS_ONLY": ThoughtsOnly(),
    "FILE_URI": FileUri(),
    "UNSIGNED": Signatures("missing"),
    "WRONG_SIZE": WrongSize("dropped"),
}


def magic_word(seen: Seen) -> Action | None:
    """The action that a word in the prompt asks for."""
    found = _MAGIC_WORD.search(seen.prompt)
    if found is None or (found[3] is not None and seen.nth > int(found[3])):
        return None
    match found[1], found[2]:
        case "BLOCKED", reason:
            return Block(reason or "OTHER")
        case word, _ if word in _PLAIN_WORDS:
            return _PLAIN_WORDS[word]
        case "DRAFTS", (str() as n) if n.isdecimal():
            return Drafts(min(int(n), MOST_DRAFTS))
        case reason, None:
            return Finish(reason)
        case _:
            return None


def without_magic_words(prompt: str) -> str:
    """The prompt as a person would read it."""
    return _MAGIC_WORD.sub("", prompt).strip()


MOST_DRAFTS = 10


def _any_matches(glob: str, seen: Seen) -> bool:
    return any(fnmatchcase(text, glob) for text in (*seen.texts, seen.prompt))
