"""What the service says to a request that costs nothing: which models there are.

Google and gateways of the new-api kind answer `GET /v1beta/models` to those whose key they know.
A gateway that does not is told by its 404: then only a paid request proves key and address.

Source: https://ai.google.dev/api/models#method:-models.list; docs/api-notes.md, section 5.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from batchgen.clock import Clock
from batchgen.doctor.findings import (
    REFUSED,
    UNREACHABLE,
    Finding,
    fine,
    problem,
    skipped,
    warning,
)
from batchgen.errors import (
    AttemptError,
    BadReply,
    Forbidden,
    NotTheApi,
    OutOfCredit,
    OutOfFiles,
    ProxyRefused,
    RateLimited,
    ServerError,
    ServerRefused,
    TlsFailed,
    Unauthorized,
    UnknownHost,
)
from batchgen.known_models import plain_name
from batchgen.sanitize import Secrets
from batchgen.transport import Transport
from batchgen.wire.fault import MAX_FAULT_BYTES, read_fault
from batchgen.wording import counted

# As many models as Google tells at once.
PATH: Final = "/v1beta/models?pageSize=1000"
_MAX_BYTES: Final = 4 << 20
_SUCCESS: Final = range(200, 300)
_SPEND: Final = "--spend proves it, with one paid request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came of the request.

    Attributes:
        error: Why there is no list of models; None if there is one.
        is_json: It is a JSON object, which any service may send.
        is_error: It is one with an error, as the API tells them.
        models: The plain names of those that it lists.
        is_complete: It lists all that there are.
        ahead_s: How far its clock is ahead of ours; None if it does not tell.
    """

    error: AttemptError | None = None
    is_json: bool = False
    is_error: bool = False
    models: frozenset[str] = frozenset()
    is_complete: bool = False
    ahead_s: float | None = None


async def ask(transport: Transport, secrets: Secrets, clock: Clock) -> Heard:
    """Ask which models there are; never raises for what the service does."""
    try:
        began_at = clock.now()
        async with transport.get(PATH) as response:
            half = (clock.now() - began_at) / 2
            ahead_s = _ahead_s(response.headers.get("date"), began_at + half)
            is_taken = response.status in _SUCCESS
            body = await (
                response.read(_MAX_BYTES) if is_taken else response.beginning(MAX_FAULT_BYTES)
            )
    except AttemptError as error:
        return Heard(error=error)
    headers = {name: secrets.redact(value) for name, value in response.headers.items()}
    told = read_list(response.status, headers, secrets.redact_bytes(body), clock.now())
    return replace(told, ahead_s=ahead_s)


def _ahead_s(date: str | None, at: datetime) -> float | None:
    try:
        told = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    return ((told if told.tzinfo else told.replace(tzinfo=UTC)) - at).total_seconds()


def read_list(status: int, headers: dict[str, str], body: bytes, now: datetime) -> Heard:
    """Read an answer: a list of models, or what else it is. Pure."""
    document = _loads(body)
    is_json = isinstance(document, dict)
    is_error = is_json and "error" in document
    if status not in _SUCCESS or is_error:
        fault = read_fault(status, headers, body, now)
        return Heard(error=fault, is_json=is_json, is_error=is_error)
    if not is_json:
        what = "a web page" if body.lstrip()[:1] == b"<" else "no JSON"
        return Heard(error=NotTheApi(f"HTTP {status} with {what} instead of the API"))
    listed = document.get("models", document.get("data"))
    entries = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    names = [one.get("name", one.get("id")) for one in entries]
    models = frozenset(plain_name(name) for name in names if isinstance(name, str))
    if not models:
        return Heard(error=BadReply(f"HTTP {status} without a list of models"), is_json=True)
    return Heard(is_json=True, models=models, is_complete=not document.get("nextPageToken"))


def _loads(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def judge(heard: Heard, address: str, detour: str | None = None) -> Iterator[Finding]:
    """What it means for the address, and for the key. Pure.

    Args:
        heard: What came of the request.
        address: Where it went.
        detour: The proxy that it went by, in words.
    """
    error = heard.error
    match error:
        case None:
            n_models = counted(len(heard.models), "model")
            yield fine("address", f"{address} answers as the API does, and lists {n_models}")
            yield fine("access", "the key was not refused")
        case Unauthorized() | Forbidden():
            yield fine("address", f"{address} answers")
            remedy = "make a new key for this service, and look whether its account is in order"
            yield problem("access", error.message, remedy, REFUSED)
        case OutOfCredit():
            yield fine("address", f"{address} answers")
            yield problem("access", error.message, "top up the account", REFUSED)
        case _ if (found := _unanswered(error, address, detour)) is not None:
            yield found
            yield skipped("access", "the service did not look at the key")
        case _:
            yield from _unproven(heard, error, address)


def _unanswered(error: AttemptError, address: str, detour: str | None) -> Finding | None:
    """Why nobody answered who might be the service; None if somebody did."""
    by_proxy = f", by {detour}" if detour else ""
    match error:
        case TlsFailed():
            remedy = (
                "correct the address and this machine's clock; trust a company's own by --ca-file"
            )
            code = REFUSED
        case ProxyRefused():
            remedy, code = "correct --proxy or https_proxy; no_proxy excepts hosts", REFUSED
        case NotTheApi():
            remedy, code = "correct the base URL: scheme, host and path before /v1beta", REFUSED
        case OutOfFiles():
            remedy, code = "raise the limit of open files (ulimit -n)", UNREACHABLE
        case _ if detour and error.outcome in {"connection", "timeout"}:
            remedy = "look after the proxy, correct what names it, or except the host by no_proxy"
            code = UNREACHABLE
        case UnknownHost():
            remedy, code = "correct the host of the base URL, or this machine's DNS", UNREACHABLE
        case ServerError() | ServerRefused() if not isinstance(error, RateLimited):
            remedy, code = "wait: the service is in trouble; a run waits by itself", UNREACHABLE
        case _ if error.outcome in {"connection", "timeout"}:
            remedy = "look at the network, a firewall, the port of the base URL, or set a proxy"
            code = UNREACHABLE
        case _:
            return None
    return problem("address", f"{address}: {error.message}{by_proxy}", remedy, code)


def _unproven(heard: Heard, error: AttemptError, address: str) -> Iterator[Finding]:
    """Somebody answers, and says nothing that proves who it is."""
    if isinstance(error, BadReply) and not heard.is_json:
        remedy = "correct the base URL: what answers there speaks no HTTP, or breaks off"
        yield problem("address", f"{address}: {error.message}", remedy, REFUSED)
        yield skipped("access", "the service did not look at the key")
        return
    if heard.is_error:
        yield fine("address", f"{address} answers, and lists no models ({error.message})")
    elif heard.is_json:
        told = f"{address} answers JSON, but lists no models: {error.message}"
        yield warning("address", told, f"look at the base URL; {_SPEND}")
    else:
        told = f"{address} answers, and not as the API does ({error.message})"
        yield warning("address", told, f"look at the base URL; {_SPEND}")
    yield warning("access", "the service has not said whether it takes the key", _SPEND)
