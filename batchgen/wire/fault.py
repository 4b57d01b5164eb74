"""What a refusal means: status, headers and body of Google, of a gateway or of what stands before.

The body is a hint, the status is the fact: gateways rename codes, drop `details`, turn 503 into
500 and wrap Google's own JSON as text inside their message. So every place is looked into, and
what nobody can read falls back to its status.

Source: docs/api-notes.md, section 3; the status numbers 520-530 are Cloudflare's.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from batchgen.errors import (
    AttemptError,
    BadReply,
    BadRequest,
    Forbidden,
    ModelUnavailable,
    NotTheApi,
    OutOfCredit,
    ProxyRefused,
    QuotaExhausted,
    RateLimited,
    Saturated,
    ServerError,
    ServerRefused,
    Unauthorized,
)
from batchgen.sanitize import printable
from batchgen.wire.wait import told_by_delay, told_by_headers, told_by_words

MAX_FAULT_BYTES: Final = 256 << 10
_MAX_NESTED: Final = 3
# Behind these the call may have run to its end; behind every other 5xx it has not. Google's own
# words for a 500 or 503 explain it: it is not charged. A gateway that only repeats the number
# explains nothing.
_MAYBE_EXECUTED: Final = frozenset({408, 499, 500, 502, 503, 504, 520, 522, 524})
_EXPLAINED: Final = {500: frozenset({"INTERNAL"}), 503: frozenset({"UNAVAILABLE"})}
_NOT_EXECUTED: Final = frozenset({409, 425})
# A page with one of these stands where the API should be; with others it may be a proxy's own.
_PAGE_MEANS_ELSEWHERE: Final = frozenset({400, 403, 404, 405, 406, 410})
_REQUEST_ID: Final = re.compile(r"request id: ?([\w.-]{6,80})")
_REQUEST_ID_HEADERS: Final = (
    *("x-cometapi-request-id", "x-oneapi-request-id", "x-request-id", "x-goog-request-id"),
    "cf-ray",
)

_OUT_OF_CREDIT: Final = frozenset(
    {"insufficient_user_quota", "pre_consume_token_quota_failed", "insufficient_quota"}
)
_NO_ROUTE: Final = frozenset({"model_not_found", "get_channel_failed"})
_OUR_FAULT: Final = frozenset(
    {
        *("invalid_request", "convert_request_failed", "bad_request_body"),
        *("sensitive_words_detected", "prompt_blocked", "model_price_error"),
    }
)
# Those of google.api.ErrorReason that hold for whatever the key or its account sends.
_KEY_REASONS: Final = frozenset(
    {
        *("API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED", "API_KEY_HTTP_REFERRER_BLOCKED"),
        *("API_KEY_IP_ADDRESS_BLOCKED", "API_KEY_ANDROID_APP_BLOCKED", "API_KEY_IOS_APP_BLOCKED"),
        *("SERVICE_DISABLED", "BILLING_DISABLED", "CONSUMER_SUSPENDED", "CONSUMER_INVALID"),
        *("USER_PROJECT_DENIED", "ACCOUNT_STATE_INVALID", "CREDENTIALS_MISSING"),
        *("ACCESS_TOKEN_EXPIRED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"),
        "ACCESS_TOKEN_TYPE_UNSUPPORTED",
        "no_db_connection",  # litellm's answer to a wrong key
    }
)
# The same in words: some of Google's answers have no reason, and gateways drop what there is.
_OF_THE_KEY: Final = re.compile(
    r"\b(?:consumer|project|account|key|user)\b.{0,100}\bsuspended|reported as leaked"
    r"|project has been denied access|unregistered callers|not been used in project"
    r"|requests (?:to this api|from) .{1,200} are blocked|method requires billing",
    re.IGNORECASE,
)
# What gateways of the one-api family say beside a 401 or 403, with no code or one that varies.
_NO_CREDIT: Final = re.compile(
    r"quota is not enough|insufficient (?:\w+ )?(?:balance|credit)"
    r"|额度不足|额度已用尽|预扣费额度失败|余额不足",
    re.IGNORECASE,
)
_ERROR_STATUS: Final = re.compile(r"[45][0-9]{2}")
_NO_QUOTA: Final = re.compile(r"limit: 0(?!\.?\d)")
# These limits have no code of their own, only words. A channel of new-api and its kin:
_SATURATED: Final = re.compile(r"saturated|饱和", re.IGNORECASE)
# Google's limit of what may be spent in ten minutes, not `ai.studio/spend`, to which others point.
_SLOW_TO_PASS: Final = re.compile(
    r"(?<![\w/])spend|upstream.{0,40}overloaded|overloaded.{0,40}\b(?:group|upstream|channel)",
    re.IGNORECASE,
)
# Nothing but the message tells these apart from a limit that passes: docs/adr/0010.
_DEPLETED: Final = re.compile(r"credits? (?:are|is) depleted", re.IGNORECASE)
_MONTHLY_CAP: Final = re.compile(r"monthly spending cap", re.IGNORECASE)
# No item is the cause of these: method, length, type and headers are the same for all.
_OF_NO_ITEM: Final = frozenset({405, 411, 415, 431})
_STATUS_OF_NAME: Final = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


@dataclass(frozen=True, slots=True)
class _Said:
    """What the body says, gathered from every layer of it."""

    message: str  # fit to be shown
    everything: str  # every message in full, to search in
    words: frozenset[str]  # status, code, type, reason: whatever names the error
    quota_ids: tuple[str, ...]
    waits_s: tuple[float, ...]  # by the details and by the messages


def read_fault(
    status: int, headers: Mapping[str, str], body: bytes, now: datetime | None = None
) -> AttemptError:
    """Turn an answer that is no success into the error it means; never raises.

    Args:
        status: The HTTP status. 200 with an `error` object takes its code from the body.
        headers: Any mapping of response headers; names are compared in lower case. What was sent
            twice is one value, joined by a comma.
        body: The body or its beginning, at most `MAX_FAULT_BYTES` of it.
        now: For a Retry-After date without a Date beside it, which else tells nothing.
    """
    layers = list(_layers(_loads(body)))
    said = _gather(layers)
    wait_s = max((*said.waits_s, *told_by_headers(headers, now)), default=None)
    headers = {name.lower(): value for name, value in headers.items()}
    answered = f"HTTP {status}"
    if status == 200:
        status = _code(layers)
        answered = f"HTTP 200 with an error {status}"
    tells = answered + (f": {said.message}" if said.message else "")
    error = _classify(status, said, tells, wait_s, headers, body)
    error.request_id = request_id(headers, said.everything)
    return error


def request_id(headers: Mapping[str, str], message: str = "") -> str | None:
    """The id under which the service can be asked about this call, from headers or message."""
    for name in _REQUEST_ID_HEADERS:
        if value := headers.get(name):
            return printable(value, 120)
    found = _REQUEST_ID.search(message)
    return found.group(1) if found else None


def _classify(
    status: int,
    said: _Said,
    tells: str,
    wait_s: float | None,
    headers: Mapping[str, str],
    body: bytes,
) -> AttemptError:
    if 300 <= status < 400:
        return NotTheApi(_redirected(status, headers))
    if status in _PAGE_MEANS_ELSEWHERE and _is_page(body):
        return NotTheApi(f"HTTP {status} with a web page instead of the API: check the base URL")
    return _by_words(status, said, tells) or _by_status(status, said, tells, wait_s)


def _by_words(status: int, said: _Said, tells: str) -> AttemptError | None:
    """What the body names outright: by a code whatever the status, by words beside a 401 or 403."""
    words = said.words
    in_words = said.everything if status in (401, 403) else ""
    is_depleted = status == 429 and bool(_DEPLETED.search(said.everything))
    if words & _OUT_OF_CREDIT or status == 402 or is_depleted or _NO_CREDIT.search(in_words):
        return OutOfCredit(f"{tells} (top up the account, then run again)")
    if words & _KEY_REASONS or status == 401 or _OF_THE_KEY.search(in_words):
        return Unauthorized(f"{tells} (check the key)")
    if words & _NO_ROUTE or status == 404:
        return ModelUnavailable(f"{tells} (check the model's name, or choose its successor)")
    if words & _OUR_FAULT:
        return BadRequest(tells)
    if status == 400 and "FAILED_PRECONDITION" in words:
        return Unauthorized(f"{tells} (the account cannot use this service from here)")
    return None


def _by_status(status: int, said: _Said, tells: str, wait_s: float | None) -> AttemptError:
    is_saturated = bool(_SATURATED.search(said.everything))
    if status == 429 or (status == 503 and (is_saturated or "RESOURCE_EXHAUSTED" in said.words)):
        is_slow = is_saturated or _SLOW_TO_PASS.search(said.everything)
        kind = Saturated if is_slow else RateLimited
        return _used_up(tells, said) or kind(tells, wait_s=wait_s)
    if status == 403:
        return Forbidden(tells)
    is_explained = bool(said.words & _EXPLAINED.get(status, frozenset()))
    if (status in _MAYBE_EXECUTED and not is_explained) or status >= 600:
        return ServerError(tells, wait_s=wait_s)
    if status in _NOT_EXECUTED or status >= 500:
        return ServerRefused(tells, wait_s=wait_s)
    if status == 407:
        return ProxyRefused(f"{tells} (the proxy wants a password)")
    if status >= 400:
        refused = BadRequest(tells)
        refused.stops_run = status in _OF_NO_ITEM
        return refused
    return BadReply(f"{tells}: no status that this API has")


def _used_up(tells: str, said: _Said) -> QuotaExhausted | None:
    """A 429 that will not pass: of the day, whatever its RetryInfo says, or of no quota at all."""
    if any("PerDay" in quota for quota in said.quota_ids):
        return QuotaExhausted(f"{tells} (the daily quota is used up until midnight Pacific)")
    if _MONTHLY_CAP.search(said.everything):
        return QuotaExhausted(f"{tells} (raise the cap of the project, or wait for its month)")
    if _NO_QUOTA.search(said.everything):
        return QuotaExhausted(f"{tells} (this account has no quota for this model)")
    return None


def _redirected(status: int, headers: Mapping[str, str]) -> str:
    target = printable(headers.get("location", "another address"), 120)
    return f"HTTP {status} redirects to {target}: check the base URL (redirects are not followed)"


def _is_page(body: bytes) -> bool:
    return body.lstrip()[:1] == b"<"


# --- the body ---------------------------------------------------------------------------------


def _loads(body: bytes | str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _layers(document: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The error objects in a body, outermost first, including JSON quoted inside a message."""
    if depth > _MAX_NESTED:
        return
    if isinstance(document, list):
        document = document[0] if document else None
    if not isinstance(document, dict):
        return
    error = document.get("error", document)
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, dict):
        return
    yield error
    message = error.get("message")
    if isinstance(message, str) and (start := message.find("{")) >= 0:
        end = message.rfind("}")
        yield from _layers(_loads(message[start : end + 1]), depth + 1)


def _gather(layers: list[dict[str, Any]]) -> _Said:
    words: set[str] = set()
    quota_ids: list[str] = []
    waits_s: list[float] = []
    for layer in layers:
        words.update(
            value
            for name in ("status", "code", "type")
            if isinstance(value := layer.get(name), str)
        )
        details = layer.get("details")
        for detail in details if isinstance(details, list) else ():
            if not isinstance(detail, dict):
                continue
            if isinstance(reason := detail.get("reason"), str):
                words.add(reason)
            quota_ids.extend(_quota_ids(detail))
            if (wait_s := told_by_delay(detail.get("retryDelay"))) is not None:
                waits_s.append(wait_s)
    messages = [text for layer in layers if isinstance(text := layer.get("message"), str)]
    everything = "\n".join(messages)
    return _Said(
        printable(messages[-1]) if messages else "",
        everything,
        frozenset(words),
        tuple(quota_ids),
        (*waits_s, *told_by_words(everything)),
    )


def _quota_ids(detail: dict[str, Any]) -> Iterator[str]:
    violations = detail.get("violations")
    for violation in violations if isinstance(violations, list) else ():
        if isinstance(violation, dict) and isinstance(quota := violation.get("quotaId"), str):
            yield quota


def _code(layers: list[dict[str, Any]]) -> int:
    """The status that an error inside a 200 claims, by number or name; 500 if it claims none."""
    for layer in layers:
        code = str(layer.get("code"))
        if _ERROR_STATUS.fullmatch(code):
            return int(code)
        if (named := _STATUS_OF_NAME.get(str(layer.get("status")))) is not None:
            return named
    return 500
