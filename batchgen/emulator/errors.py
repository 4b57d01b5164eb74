"""The bodies of refusals: Google's `google.rpc.Status`, the gateway's envelope, Cloudflare's page.

A `Refusal` is a value; `Refused` carries one out of the validation to the handler.

Source: docs/api-notes.md, section 3; bodies captured in public issue threads.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

Json: TypeAlias = dict[str, Any]
Quota: TypeAlias = Literal["minute", "day", "spend", "free"]
QUOTAS: tuple[Quota, ...] = ("minute", "day", "spend", "free")

_TYPE = "type.googleapis.com/google.rpc."
_SERVICE = "generativelanguage.googleapis.com"
_STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_MESSAGES = {
    400: "Request contains an invalid argument.",
    401: "Request had invalid authentication credentials.",
    402: "Your prepayment credits are depleted.",
    403: "The caller does not have permission",
    404: "Requested entity was not found.",
    429: "Resource has been exhausted (e.g. check quota).",
    499: "The operation was cancelled.",
    500: "An internal error has occurred. Please retry or report the problem.",
    503: "The model is overloaded. Please try again later.",
    504: "Deadline expired before operation could complete.",
}
_GATEWAY_MESSAGES = {
    "invalid_request": "invalid request",
    "model_not_found": "No available channel for model {model} under group default",
    "insufficient_user_quota": "user quota is not enough",
}


@dataclass(frozen=True)
class Refusal:
    """An HTTP status and the body that goes with it."""

    status: int
    body: bytes
    content_type: str = "application/json; charset=UTF-8"
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """Raised by validation: the request gets this refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status, refusal.body[:200])
        self.refusal = refusal


def google(
    status: int,
    message: str | None = None,
    *,
    status_name: str | None = None,
    details: tuple[Json, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> Refusal:
    """Google's body."""
    error: Json = {
        "code": status,
        "message": message or _MESSAGES.get(status, f"HTTP {status}"),
        "status": status_name or _STATUS_NAMES.get(status, "UNKNOWN"),
    }
    if details:
        error["details"] = list(details)
    return Refusal(status, json.dumps({"error": error}, indent=2).encode(), headers=headers or {})


def as_list(refusal: Refusal) -> Refusal:
    """The same in a one-element list, which is how the streaming form of the API answers."""
    return replace(refusal, body=b"[" + refusal.body + b"]")


def gateway(
    status: int,
    *,
    request_id: str,
    code: str = "",
    message: str | None = None,
    model: str = "",
    headers: Mapping[str, str] | None = None,
) -> Refusal:
    """CometAPI's envelope. It keeps a message and loses Google's status and details."""
    plain = _MESSAGES.get(status, f"HTTP {status}")
    told = message or _GATEWAY_MESSAGES.get(code, plain).format(model=model)
    error = {
        "message": f"{told} (request id: {request_id})",
        "type": "comet_api_error",
        "param": "",
        "code": code,
    }
    body = json.dumps({"error": error}).encode()
    return Refusal(status, body, content_type="application/json", headers=headers or {})


def page(status: int, *, headers: Mapping[str, str] | None = None) -> Refusal:
    """The HTML page of the proxy in front of a gateway."""
    title = f"{status}: {'A timeout occurred' if status == 524 else 'Bad gateway'}"  # noqa: PLR2004
    html = (
        f"<!DOCTYPE html>\n<html><head><title>gateway.example | {title}</title></head>"
        f"<body><h1>{title}</h1><p>The web server reported an error.</p></body></html>\n"
    )
    return Refusal(
        status, html.encode(), content_type="text/html; charset=UTF-8", headers=headers or {}
    )


def invalid(message: str, *, field_name: str = "") -> Refused:
    """A 400 for one bad field, with fieldViolations as Google's JSON parser gives them."""
    violation = {"field": field_name} if field_name else {}
    violation["description"] = message
    details = ({"@type": _TYPE + "BadRequest", "fieldViolations": [violation]},)
    return Refused(google(400, message, details=details))


def refused(status: int, message: str) -> Refused:
    """A refusal in Google's form, without details."""
    return Refused(google(status, message))


def no_key() -> Refused:
    """No key was sent."""
    return refused(
        403,
        "Method doesn't allow unregistered callers (callers without established identity). "
        "Please use API Key or other form of API consumer identity to call this API.",
    )


def invalid_key() -> Refused:
    """A key was sent that nobody issued. Google answers 400, not 401."""
    message = "API key not valid. Please pass a valid API key."
    details = (
        error_info("API_KEY_INVALID"),
        {"@type": _TYPE + "LocalizedMessage", "locale": "en-US", "message": message},
    )
    return Refused(google(400, message, details=details))


def model_not_found(model_id: str) -> Refused:
    """The id names no model."""
    return refused(
        404,
        f"models/{model_id} is not found for API version v1beta, or is not supported for "
        "generateContent. Call ModelService.ListModels to see the list of available models and "
        "their supported methods.",
    )


def error_info(reason: str) -> Json:
    """The detail that names a cause for programs."""
    return {
        "@type": _TYPE + "ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": _SERVICE},
    }


def retry_info(delay: str) -> Json:
    """The detail that says how long to wait, as a protobuf Duration."""
    return {"@type": _TYPE + "RetryInfo", "retryDelay": delay}


def quota_failure(quota: Quota, model: str, limit: int) -> Json:
    """The detail that says which quota was hit; a spend limit has none."""
    metric = (
        "generate_content_free_tier_requests"
        if quota == "free"
        else ("generate_content_paid_tier_requests")
    )
    span = "PerDay" if quota == "day" else "PerMinute"
    tier = "-FreeTier" if quota == "free" else ""
    violation = {
        "quotaMetric": f"{_SERVICE}/{metric}",
        "quotaId": f"GenerateRequests{span}PerProjectPerModel{tier}",
        "quotaDimensions": {"location": "global", "model": model},
        "quotaValue": str(limit),
    }
    return {"@type": _TYPE + "QuotaFailure", "violations": [violation]}


def over_quota(
    quota: Quota,
    model: str,
    *,
    limit: int = 20,
    retry_delay: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Refusal:
    """The 429 of each kind of limit; the spend limit comes without details."""
    if quota == "spend":
        message = "You have exceeded your spend-based rate limit. Please try again later."
        return google(429, message, headers=headers)
    shown = 0 if quota == "free" else limit
    failure = quota_failure(quota, model, shown)
    told = failure["violations"][0]
    message = (
        "You exceeded your current quota, please check your plan and billing details.\n"
        f"* Quota exceeded for metric: {told['quotaMetric']}, limit: {shown}, model: {model}"
    )
    help_links = [
        {
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }
    ]
    details = [failure, {"@type": _TYPE + "Help", "links": help_links}]
    if retry_delay is not None:
        message += f"\nPlease retry in {retry_delay}."
        details.append(retry_info(retry_delay))
    return google(429, message, details=tuple(details), headers=headers)
