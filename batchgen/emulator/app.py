"""The HTTP server: one request from its arrival to the last byte of its answer.

The journey, each function one concern:

    _handle        counts it in and out, delivers
      _outcome     reads and logs it; a refusal becomes an answer
        _generate  key, model, rate limit, fault; waits as long as a model would
          made     checks and draws, in a thread, so that the loop stays free
"""

import asyncio
import functools
import math
import re
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from batchgen.emulator import blobs, body, delivery, errors, faults, models, refusals, replies
from batchgen.emulator.asked import last_user_texts, understand
from batchgen.emulator.blobs import Blob
from batchgen.emulator.counts import NOTHING, Arrival, Counts, RequestLog, Tally
from batchgen.emulator.delivery import Answer
from batchgen.emulator.dice import Dice
from batchgen.emulator.errors import Refusal, Refused
from batchgen.emulator.faults import Faults, Seen
from batchgen.emulator.models import Model
from batchgen.emulator.ratelimit import RateLimit
from batchgen.emulator.settings import Settings
from batchgen.emulator.signatures import Signer

T = TypeVar("T")

INVALID_KEY = "invalid-key"
_MAX_BODY_BYTES = 100 * 2**20
_SMALL_BODY_BYTES = 64 * 2**10  # below it a thread costs more than the work
_DRAWING_THREADS = 4
_GENERATE = re.compile(r"/(?:v1|v1beta)/models/(?!models/)(?P<model>.+):generateContent")
_KEY_IN_QUERY = re.compile(r"([?&]key=)[^&]*")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What to send, how, and what it adds to the counts."""

    answer: Answer
    how: faults.Delivering | None = None
    texts: tuple[str, ...] = ()
    tally: Tally | None = None


@dataclass(frozen=True)
class Received:
    """The body of a request. `complaint` says why `parsed` is not what was sent."""

    parsed: object
    blobs: Mapping[str, Blob]
    complaint: Refused | None = None


@dataclass(frozen=True)
class Call:
    """One request for a picture, before it has been looked at."""

    http: web.Request
    arrival: Arrival
    received: Received
    model_id: str
    request_id: str


class Service:
    """The state of one emulator: counts, log, limits. Everything else is a function."""

    def __init__(self, settings: Settings, rules: Faults) -> None:
        self.counts = Counts()
        self.log = RequestLog()
        self._settings = settings
        self._faults = rules
        self._signer = Signer(settings.seed)
        self._limit = RateLimit(settings.rpm) if settings.rpm is not None else None
        self._pool = ThreadPoolExecutor(_DRAWING_THREADS, thread_name_prefix="emulator-drawing")

    def __repr__(self) -> str:
        return f"Service({self._settings!r}, {self.counts!r})"

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application()
        app.router.add_get("/emulator/counts", self._get_counts)
        app.router.add_get("/emulator/requests", self._get_requests)
        app.router.add_post("/emulator/reset", self._reset)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    def close(self) -> None:
        """Give up what is still to be drawn."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    # --- the emulator's own endpoints

    async def _get_counts(self, _request: web.Request) -> web.Response:
        return web.json_response(self.counts.snapshot())

    async def _get_requests(self, request: web.Request) -> web.Response:
        limit = request.query.get("limit", "100")
        n_wanted = int(limit) if limit.isdecimal() else 0
        return web.Response(body=self.log.last(n_wanted), content_type="application/json")

    async def _reset(self, _request: web.Request) -> web.Response:
        self.counts.reset()
        self.log.reset()
        self._faults.reset()
        return web.json_response({})

    # --- the journey of a request

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        arrival = self.counts.arrived()
        status: int | None = None
        finished = False

        def whole() -> None:
            nonlocal finished
            finished = True
            self.counts.finished(outcome.answer.status, outcome.texts, outcome.tally)

        try:
            request_id = _request_id()
            outcome = await self._outcome(request, arrival, request_id)
            if outcome.how != faults.Reset("before"):
                status = outcome.answer.status
            answer = outcome.answer.with_header("X-Cometapi-Request-Id", request_id)
            return await delivery.deliver(request, answer, outcome.how, whole=whole)
        except ConnectionError:
            return web.Response()  # never sent: the client is gone
        finally:
            if not finished:
                self.counts.broken_off(status)

    async def _outcome(self, request: web.Request, arrival: Arrival, request_id: str) -> Outcome:
        try:
            raw = await _read(request)
            received, loggable = await self._unless_small(raw, _received)
            self.log.add(
                at=arrival.at,
                method=request.method,
                path=_KEY_IN_QUERY.sub(r"\1***", request.path_qs),
                headers=request.headers,
                body=loggable,
            )
            found = _GENERATE.fullmatch(request.path)
            if found is None or request.method != "POST":
                if refusals.lists_models(request.method, request.path):
                    _authenticate(request.headers)  # Google lists them for those it knows
                return Outcome(answer=_answer(refusals.elsewhere(request.method, request.path)))
            return await self._generate(
                Call(request, arrival, received, found["model"], request_id)
            )
        except Refused as refused:
            return Outcome(answer=_answer(refused.refusal))

    async def _generate(self, call: Call) -> Outcome:
        _authenticate(call.http.headers)
        if call.received.complaint:
            raise call.received.complaint
        request = body.typed(call.received.parsed)
        texts = last_user_texts(request)
        seen = Seen(texts, call.model_id, call.arrival.number, self.counts.asked(texts))
        model = models.find(call.model_id)
        if model is None:
            raise errors.model_not_found(call.model_id)
        self._check_rate(model)
        action = self._faults.action_for(seen)
        if isinstance(action, faults.Refusing):
            refusal = refusals.of_rule(action, model_id=model.id, request_id=call.request_id)
            return Outcome(answer=_answer(refusal))
        make = functools.partial(self._made, request, model, call.received.blobs, action, seen)
        outcome = await self._in_thread(make)
        takes_s = action.seconds if isinstance(action, faults.Wait) else self._latency_s(seen)
        await asyncio.sleep(max(0.0, call.arrival.at + takes_s - time.monotonic()))
        return outcome

    def _made(
        self,
        request: body.Request,
        model: Model,
        images: Mapping[str, Blob],
        action: faults.Action | None,
        seen: Seen,
    ) -> Outcome:
        """Check, draw and encode. Runs in a thread, and touches nothing that changes."""
        asked = understand(request, model, images, self._signer)
        if self._settings.take:
            asked = replace(asked, look=f"{asked.look} {self._settings.take}")
        dice = Dice(self._settings.seed, f"{asked.digest} {seen.nth}")
        reply = replies.compose(
            asked,
            action if isinstance(action, faults.Changing) else None,
            seed=self._settings.seed,
            signer=self._signer,
            response_id=dice.name("response id"),
        )
        answer = Answer(
            status=200,
            body=_json(reply.document, pretty=dice.one_in("pretty", 2)),
            content_type="application/json; charset=UTF-8",
            headers={"x-gemini-service-tier": asked.service_tier},
        )
        tally = reply.tally
        if isinstance(action, faults.Garbage):
            answer = delivery.garbled(answer, action)
            tally = tally if action.fault in {"array", "two_documents"} else NOTHING
        how = action if isinstance(action, faults.Delivering) else None
        return Outcome(answer=answer, how=how, texts=seen.texts, tally=tally)

    # --- limits and threads

    def _check_rate(self, model: Model) -> None:
        if self._limit is None:
            return
        wait_s = self._limit.wait_s(model.id, time.monotonic())
        if wait_s > 0:
            raise Refused(
                errors.over_quota(
                    "minute",
                    model.id,
                    limit=self._limit.rpm,
                    retry_delay=f"{wait_s:.3f}s",
                    headers={"Retry-After": str(math.ceil(wait_s))},
                )
            )

    def _latency_s(self, seen: Seen) -> float:
        dice = Dice(self._settings.seed, f"{seen.prompt} {seen.nth}")
        return dice.between("latency", *self._settings.latency_s)

    async def _unless_small(self, raw: bytes, function: Callable[[bytes], T]) -> T:
        if len(raw) < _SMALL_BODY_BYTES:
            return function(raw)
        return await self._in_thread(functools.partial(function, raw))

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)


# --- reading


async def _read(request: web.Request) -> bytes:
    """The whole body.

    Raises:
        Refused: It is larger than the service takes; the rest is not read.
    """
    pieces, n_bytes = [], 0
    async for piece in request.content.iter_any():
        n_bytes += len(piece)
        if n_bytes > _MAX_BODY_BYTES:
            message = f"Request payload size exceeds the limit: {_MAX_BODY_BYTES} bytes."
            raise errors.refused(400, message)
        pieces.append(piece)
    return b"".join(pieces)


def _received(raw: bytes) -> tuple[Received, object]:
    """The parsed body, and the same without its images for the log."""
    if not raw:
        return Received({}, {}), None
    try:
        parsed = body.read(raw)
        images = blobs.collect(parsed)
        return Received(parsed, images), blobs.redacted(parsed, images)
    except RecursionError:
        complaint = errors.invalid("Invalid JSON payload received. Nested too deeply.")
    except Refused as not_json:
        complaint = not_json
    return Received(None, {}, complaint), {"not_json_bytes": len(raw)}


def _authenticate(headers: Mapping[str, str]) -> None:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    key = headers.get("x-goog-api-key", "").strip() or bearer
    if not key:
        raise errors.no_key()
    if key == INVALID_KEY:
        raise errors.invalid_key()


def _answer(refusal: Refusal) -> Answer:
    return Answer(refusal.status, refusal.body, refusal.content_type, refusal.headers)


def _json(document: dict[str, Any], *, pretty: bool) -> bytes:
    """Google indents its answers, some gateways do not; a client must read both."""
    compact = msgspec.json.encode(document)
    return msgspec.json.format(compact, indent=2) if pretty else compact


def _request_id() -> str:
    """As CometAPI's look: a time, digits, and a random tail."""
    stamp = datetime.now(UTC).strftime("%Y%m%d%H%M%S%f")
    return f"{stamp}{secrets.randbelow(1000):03}{secrets.token_hex(4)}"
