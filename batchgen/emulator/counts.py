"""What happened, for whoever checks a client: numbers, and the last requests. Bounded, no keys."""

import json
import re
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from typing import Any

_MAX_STARTS = 20_000
_MAX_PROMPTS = 50_000
_MAX_REQUESTS = 2_000
_MAX_LOG_BYTES = 64 * 2**20
_PROMPT_CHARACTERS = 200
_SECRET_HEADER = re.compile(r"key|auth|token|cookie|secret", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """The tokens of one answer, or of many."""

    prompt: int = 0
    prompt_image: int = 0
    candidates: int = 0
    image: int = 0
    thoughts: int = 0
    tool_use: int = 0
    total: int = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        names = [field.name for field in fields(self)]
        return Tokens(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True)
class Tally:
    """What one answer adds once it is fully written."""

    tokens: Tokens
    n_images: int


NOTHING = Tally(Tokens(), 0)


@dataclass
class _OfPrompt:
    requests: int = 0
    answered: int = 0


@dataclass(frozen=True)
class Arrival:
    """One request, numbered from 1 in the order of arrival."""

    number: int
    at: float


class Counts:
    """The counters of one run. Any thread may read them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_flight = 0
        self._clear()

    def __repr__(self) -> str:
        return f"Counts(requests={self._requests}, in_flight={self._in_flight})"

    def _clear(self) -> None:
        self._requests = 0
        self._answered = 0
        self._images = 0
        self._tokens = Tokens()
        self._by_status: Counter[str] = Counter()
        self._peak_in_flight = self._in_flight
        self._by_prompt: OrderedDict[str, _OfPrompt] = OrderedDict()
        self._nth: OrderedDict[bytes, int] = OrderedDict()
        self._started_at: deque[float] = deque(maxlen=_MAX_STARTS)

    def reset(self) -> None:
        """Zero everything but what is in flight."""
        with self._lock:
            self._clear()

    def arrived(self) -> Arrival:
        """A request came."""
        with self._lock:
            self._requests += 1
            self._in_flight += 1
            self._peak_in_flight = max(self._peak_in_flight, self._in_flight)
            arrival = Arrival(self._requests, time.monotonic())
            self._started_at.append(arrival.at)
            return arrival

    def asked(self, texts: tuple[str, ...]) -> int:
        """Its prompt is known: the how-manieth of that prompt it is, from 1."""
        whole = "\0".join(texts).encode("utf-8", "surrogatepass")
        key = blake2b(whole, digest_size=16).digest()
        with self._lock:
            nth = self._nth.pop(key, 0) + 1
            self._nth[key] = nth
            if len(self._nth) > _MAX_PROMPTS:
                self._nth.popitem(last=False)
            self._of_prompt(texts).requests += 1
            return nth

    def finished(self, status: int, texts: tuple[str, ...], tally: Tally | None) -> None:
        """A response is fully written. Without a tally it was no answer to a prompt."""
        with self._lock:
            self._leave(str(status))
            if tally is not None:
                self._answered += 1
                self._images += tally.n_images
                self._tokens += tally.tokens
                self._of_prompt(texts).answered += 1

    def broken_off(self, status: int | None) -> None:
        """A request is over without a whole answer; None if not even a status was sent."""
        with self._lock:
            self._leave("none" if status is None else str(status))

    def _leave(self, status: str) -> None:
        self._in_flight -= 1
        self._by_status[status] += 1

    def _of_prompt(self, texts: tuple[str, ...]) -> _OfPrompt:
        key = texts[0][:_PROMPT_CHARACTERS] if texts else ""
        found = self._by_prompt.setdefault(key, _OfPrompt())
        self._by_prompt.move_to_end(key)
        if len(self._by_prompt) > _MAX_PROMPTS:
            self._by_prompt.popitem(last=False)
        return found

    def snapshot(self) -> dict[str, Any]:
        """The object of `GET /emulator/counts`."""
        with self._lock:
            return {
                "requests": self._requests,
                "answered": self._answered,
                "by_status": dict(self._by_status),
                "images": self._images,
                "tokens": asdict(self._tokens),
                "in_flight": self._in_flight,
                "peak_in_flight": self._peak_in_flight,
                "by_prompt": {key: asdict(of) for key, of in self._by_prompt.items()},
                "started_at": list(self._started_at),
            }


class RequestLog:
    """The last requests as JSON, up to a number and a size; keys are masked on the way in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[bytes] = deque()
        self._n_bytes = 0

    def __repr__(self) -> str:
        return f"RequestLog(entries={len(self._entries)}, bytes={self._n_bytes})"

    def add(
        self, *, at: float, method: str, path: str, headers: Mapping[str, str], body: object
    ) -> None:
        """Remember one request. `body` must have its images taken out already."""
        entry = json.dumps(
            {
                "at": at,
                "method": method,
                "path": path,
                "headers": {
                    name: "***" if _SECRET_HEADER.search(name) else value
                    for name, value in headers.items()
                },
                "body": body,
            }
        ).encode()
        with self._lock:
            self._entries.append(entry)
            self._n_bytes += len(entry)
            while len(self._entries) > _MAX_REQUESTS or self._n_bytes > _MAX_LOG_BYTES:
                self._n_bytes -= len(self._entries.popleft())

    def last(self, limit: int) -> bytes:
        """A JSON array of the last requests, oldest first."""
        with self._lock:
            chosen = list(self._entries)[-limit:] if limit > 0 else []
        return b"[" + b",".join(chosen) + b"]"

    def reset(self) -> None:
        """Forget all."""
        with self._lock:
            self._entries.clear()
            self._n_bytes = 0
