"""One real picture, the cheapest that a model makes: the only request here that is paid.

It goes the way of a run's requests, and is written down nowhere: what it cost is in the finding.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from batchgen.clock import Clock
from batchgen.cost import PriceBook, count_tokens, price_tokens
from batchgen.doctor.findings import REFUSED, UNREACHABLE, Finding, fine, problem, warning
from batchgen.errors import AttemptError
from batchgen.known_models import KnownModels
from batchgen.model import Item, Tokens
from batchgen.references import read_reference
from batchgen.sanitize import Secrets
from batchgen.store.images import ImageFacts, inspect
from batchgen.transport import Transport
from batchgen.wire.fault import MAX_FAULT_BYTES, read_fault
from batchgen.wire.reply import Reply, read_reply, why_no_image
from batchgen.wire.request import RequestBody, asked_size, build_body, endpoint_path
from batchgen.wire.stream import ReplyStream
from batchgen.wire.usage import read_tier, read_usage
from batchgen.wording import counted, fine_usd

_PROMPT: Final = "A plain grey square"
_MAX_BYTES: Final = 64 << 20
_SUCCESS: Final = range(200, 300)
_TIER_HEADER: Final = "x-gemini-service-tier"
_UNWRITTEN: Final = "in no ledger, so `batchgen cost` does not count it"


def cheapest(model: str) -> Item:
    """The cheapest request for a picture that a model is known to take."""
    known = KnownModels.shipped().find(model)
    tokens = {} if known is None or known.tokens is None else known.tokens.by_size
    sizes = () if known is None else known.sizes or ()
    size = min(sizes, key=lambda one: tokens.get(one, 0), default=None)
    levels = () if known is None or known.thinking is None else known.thinking.levels
    least = "MINIMAL" if "MINIMAL" in levels else None
    return Item(id="doctor", model=model, prompt=_PROMPT, image_size=size, thinking_level=least)


@dataclass(slots=True)
class _Image:
    """The bytes of an image, in memory: it is a small one, or none that was asked for."""

    data: bytearray = field(default_factory=bytearray)
    fault: str | None = None

    def write(self, data: bytes) -> None:
        if len(self.data) < _MAX_BYTES:  # what is longer is not whole, then
            self.data += data

    def close(self, fault: str | None) -> None:
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Buyer:
    """Buys one picture."""

    transport: Transport
    book: PriceBook
    secrets: Secrets
    clock: Clock

    async def buy(self, model: str) -> Finding:
        """Ask for the cheapest picture of a model; never raises for what the service does."""
        item, images = cheapest(model), list[_Image]()

        def open_image(_: int) -> _Image:
            images.append(_Image())
            return images[-1]

        stream = ReplyStream(open_image, self.secrets.redact_bytes)
        try:
            tier = await self._receive(item, stream)
            empty = frozenset(n for n, image in enumerate(images) if not image.data)
            reply = read_reply(stream.skeleton(), empty=empty)
            if reply.final is None:
                raise why_no_image(reply)
        except AttemptError as error:
            return _failed(model, error)
        image = images[reply.final.index]
        facts = None if image.fault else inspect(bytes(image.data))
        return self._told(item, reply, facts, tier)

    async def _receive(self, item: Item, stream: ReplyStream) -> str | None:
        """Send the request, and stream the answer; the way it was served, if a header tells."""
        body = build_body(KnownModels.shipped().as_sent(item), ())

        def chunks() -> AsyncGenerator[bytes, None]:
            return _chunks(body)

        path = endpoint_path(item.model)
        async with self.transport.post(path, body.length_bytes, chunks, _no_note) as response:
            headers = {name: self.secrets.redact(told) for name, told in response.headers.items()}
            if response.status not in _SUCCESS:
                refusal = self.secrets.redact_bytes(await response.beginning(MAX_FAULT_BYTES))
                raise read_fault(response.status, headers, refusal, self.clock.now())
            await response.pour(stream.feed)
        stream.end()
        return headers.get(_TIER_HEADER)

    def _told(
        self, item: Item, reply: Reply, facts: ImageFacts | None, header: str | None
    ) -> Finding:
        usage, at = read_usage(reply.usage), self.clock.stamp()
        price = self.book.find(reply.model_version, item.model, at=at)
        n_images, size = len(reply.images), asked_size(item)
        tokens, basis = count_tokens(usage, price, n_images=n_images, size=size)
        cost = price_tokens(tokens, basis, price, tier=read_tier(reply.usage, header))
        paid = f"{_counted(tokens)}, {fine_usd(cost.usd)}; it is {_UNWRITTEN}"
        if facts is None or facts.fault is not None:
            told = f"{item.model} sent a picture that is not whole: {paid}"
            return warning("spend", told, "try again; look at what lies between, a proxy for one")
        return fine("spend", f"{item.model} drew {facts.width} x {facts.height} pixels: {paid}")


def _counted(tokens: Tokens | None) -> str:
    if tokens is None:
        return "an unknown number of tokens"
    return counted(sum(msgspec.structs.astuple(tokens)), "token")


async def _chunks(body: RequestBody) -> AsyncGenerator[bytes, None]:
    async for chunk in body.chunks(read_reference):
        yield chunk


def _no_note(_: str) -> None:
    """A first request meets no idle connection."""


def _failed(model: str, error: AttemptError) -> Finding:
    """No picture came: what that means, and whether it was paid."""
    paid = {"no": "not billed", "maybe": "it may be billed", "yes": "billed all the same"}
    told = f"{model}: {error.message} ({paid[error.billed]})"
    if error.billed == "yes":
        return warning(
            "spend", told, "key, address and model are right; try again, or another model"
        )
    if error.outcome in {"connection", "timeout", "server_error", "rate_limited"}:
        code = REFUSED if error.stops_run else UNREACHABLE
        return problem("spend", told, "look at the network, or wait; a run waits by itself", code)
    remedy = "docs/outcomes.md tells what to do about each outcome; this one is " + error.outcome
    return problem("spend", told, remedy, REFUSED)
