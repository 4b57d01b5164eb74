"""What a refusal means, over the bodies that services and gateways have been seen to send."""

from __future__ import annotations

import json
import random
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchgen.errors import (
    AttemptError,
    BadReply,
    BadRequest,
    Forbidden,
    ModelUnavailable,
    NotTheApi,
    OutOfCredit,
    QuotaExhausted,
    RateLimited,
    Saturated,
    ServerError,
    ServerRefused,
    Unauthorized,
)
from batchgen.model import Outcome
from batchgen.wire.fault import MAX_FAULT_BYTES, read_fault, request_id

if TYPE_CHECKING:
    from collections.abc import Callable

GOOGLE = "type.googleapis.com/google.rpc."
HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>x</body></html>"


def google(code: int, status: str, message: str = "m", *details: dict[str, Any]) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message, "status": status}
    return {"error": error | ({"details": list(details)} if details else {})}


def quota(*ids: str) -> dict[str, Any]:
    return {"@type": GOOGLE + "QuotaFailure", "violations": [{"quotaId": one} for one in ids]}


def retry_info(delay: Any) -> dict[str, Any]:
    return {"@type": GOOGLE + "RetryInfo", "retryDelay": delay}


def reason(name: str) -> dict[str, Any]:
    return {"@type": GOOGLE + "ErrorInfo", "reason": name, "domain": "googleapis.com"}


def comet(message: str, code: Any = "", kind: str = "comet_api_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": "", "code": code}}


PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel"
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
MINUTE = google(429, "RESOURCE_EXHAUSTED", "q", quota(PER_MINUTE), retry_info("34s"))
DAY = google(429, "RESOURCE_EXHAUSTED", "q", quota(PER_MINUTE, PER_DAY), retry_info("22s"))
SPEND = google(
    429,
    "RESOURCE_EXHAUSTED",
    "You exceeded your spend-based rate limit. Your spending rate has exceeded the allowed limit "
    "for your account's billing history and tier.",
)
NO_QUOTA = google(
    429,
    "RESOURCE_EXHAUSTED",
    "You exceeded your current quota, please check your plan and billing details. For more "
    "information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. To "
    "monitor your current usage, head to: https://ai.dev/usage?tab=rate-limit. \n* Quota exceeded "
    "for metric: generativelanguage.googleapis.com/generate_content_free_tier_input_token_count, "
    "limit: 0, model: gemini-3-pro-image\nPlease retry in 22.4s.",
)
LITELLM = {
    "error": {
        "message": "litellm.RateLimitError: GeminiException - " + json.dumps(MINUTE, indent=2),
        "type": "throttling_error",
        "param": None,
        "code": "429",
    }
}
CHINESE = comet("当前分组上游负载已饱和，请稍后再试", "", "new_api_error")
# As Google's own command line passes one on: the body as text, and another status name.
QUOTED = {
    "error": {
        "message": json.dumps(MINUTE, indent=2) + "\n",
        "code": 429,
        "status": "Too Many Requests",
    }
}
PROBLEM = {"type": "about:blank", "title": "Too Many Requests", "status": 429, "detail": "slow"}
NO_CHANNEL = comet("No available channel for model X under group Y", "model_not_found")
NO_DB = comet("No connected db.", "400", "no_db_connection")
OVERLOADED = google(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")


def is_harmless(text: str) -> bool:
    """Whether a terminal shows it on one line as it stands."""
    text.encode()
    return not re.search(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]", text)


@pytest.mark.parametrize(
    ("status", "body", "kind", "billed", "wait_s"),
    [
        # Google
        (429, MINUTE, RateLimited, "no", 34.0),
        (429, [MINUTE], RateLimited, "no", 34.0),
        (429, DAY, QuotaExhausted, "no", None),
        (429, SPEND, Saturated, "no", None),
        (429, NO_QUOTA, QuotaExhausted, "no", None),
        (429, google(429, "RESOURCE_EXHAUSTED", "limit: 0.5 a minute"), RateLimited, "no", None),
        (
            429,
            google(429, "RESOURCE_EXHAUSTED", "check your plan and billing"),
            RateLimited,
            "no",
            None,
        ),
        (503, google(503, "RESOURCE_EXHAUSTED"), RateLimited, "no", None),
        (503, google(503, "RESOURCE_EXHAUSTED", "m", retry_info("5s")), RateLimited, "no", 5.0),
        (503, google(503, "RESOURCE_EXHAUSTED", "m", quota(PER_DAY)), QuotaExhausted, "no", None),
        (402, google(402, "RESOURCE_EXHAUSTED"), OutOfCredit, "no", None),
        (400, google(400, "INVALID_ARGUMENT"), BadRequest, "no", None),
        (
            400,
            google(400, "INVALID_ARGUMENT", "k", reason("API_KEY_INVALID")),
            Unauthorized,
            "no",
            None,
        ),
        (400, google(400, "FAILED_PRECONDITION", "location"), Unauthorized, "no", None),
        (401, google(401, "UNAUTHENTICATED"), Unauthorized, "no", None),
        (403, google(403, "PERMISSION_DENIED"), Forbidden, "no", None),
        (
            403,
            google(403, "PERMISSION_DENIED", "s", reason("CONSUMER_SUSPENDED")),
            Unauthorized,
            "no",
            None,
        ),
        (404, google(404, "NOT_FOUND", "models/x is not found"), ModelUnavailable, "no", None),
        (409, google(409, "ABORTED"), ServerRefused, "no", None),
        (499, google(499, "CANCELLED"), ServerError, "maybe", None),
        (501, google(501, "UNIMPLEMENTED"), ServerRefused, "no", None),
        (507, b"", ServerRefused, "no", None),
        (500, google(500, "INTERNAL"), ServerRefused, "no", None),
        (500, b"oops", ServerError, "maybe", None),
        (405, b"<html>405 Not Allowed</html>", NotTheApi, "no", None),
        (413, b"<html>413 Request Entity Too Large</html>", BadRequest, "no", None),
        (502, google(502, "UNAVAILABLE"), ServerError, "maybe", None),
        (503, OVERLOADED, ServerRefused, "no", None),
        (503, [OVERLOADED], ServerRefused, "no", None),
        (503, comet(json.dumps(OVERLOADED)), ServerRefused, "no", None),
        (503, google(503, "UNAVAILABLE", "o", retry_info("2.5s")), ServerRefused, "no", 2.5),
        (504, google(504, "DEADLINE_EXCEEDED"), ServerError, "maybe", None),
        # CometAPI, and the gateways of its family
        (401, comet("Invalid token"), Unauthorized, "no", None),
        (500, comet("field is wrong", "invalid_request"), BadRequest, "no", None),
        (500, comet("upstream"), ServerError, "maybe", None),
        (503, NO_CHANNEL, ModelUnavailable, "no", None),
        (403, comet("quota", "insufficient_user_quota"), OutOfCredit, "no", None),
        (403, comet("quota", "pre_consume_token_quota_failed"), OutOfCredit, "no", None),
        (403, comet("no access", "access_denied"), Forbidden, "no", None),
        (429, comet("slow", "token_concurrency_limit_reached"), RateLimited, "no", None),
        (429, CHINESE, Saturated, "no", None),
        (400, comet("words", "sensitive_words_detected"), BadRequest, "no", None),
        (500, comet("x", "bad_response_body", "upstream_error"), ServerError, "maybe", None),
        # litellm
        (429, LITELLM, RateLimited, "no", 34.0),
        (429, QUOTED, RateLimited, "no", 34.0),
        (400, NO_DB, Unauthorized, "no", None),
        # Cloudflare and other web pages
        (429, HTML, RateLimited, "no", None),
        (500, HTML, ServerError, "maybe", None),
        (502, HTML, ServerError, "maybe", None),
        (503, HTML, ServerError, "maybe", None),
        (524, HTML, ServerError, "maybe", None),
        (522, HTML, ServerError, "maybe", None),
        (520, b"", ServerError, "maybe", None),
        (521, HTML, ServerRefused, "no", None),
        (523, b"", ServerRefused, "no", None),
        (525, b"", ServerRefused, "no", None),
        (526, b"", ServerRefused, "no", None),
        (530, b"", ServerRefused, "no", None),
        (529, b"", ServerRefused, "no", None),
        (404, HTML, NotTheApi, "no", None),
        (301, HTML, NotTheApi, "no", None),
        (308, b"", NotTheApi, "no", None),
        # bodies that say nothing, or something odd
        (429, b"", RateLimited, "no", None),
        (500, b"", ServerError, "maybe", None),
        (503, b"maintenance", ServerError, "maybe", None),
        (408, b"", ServerError, "maybe", None),
        (425, b"", ServerRefused, "no", None),
        (413, b"", BadRequest, "no", None),
        (422, {"detail": [{"msg": "x"}]}, BadRequest, "no", None),
        (404, {"detail": "Not Found"}, ModelUnavailable, "no", None),
        (400, [], BadRequest, "no", None),
        (400, {"error": "text"}, BadRequest, "no", None),
        (400, {"error": None}, BadRequest, "no", None),
        (400, {"error": {"code": None, "message": 5, "details": {"a": 1}}}, BadRequest, "no", None),
        (
            429,
            {"error": {"code": "", "details": [None, 3, {"violations": 7}]}},
            RateLimited,
            "no",
            None,
        ),
        (429, {"message": "m", "status": "RESOURCE_EXHAUSTED"}, RateLimited, "no", None),
        (429, PROBLEM, RateLimited, "no", None),
        (429, {"error": {"type": "rate_limit"}}, RateLimited, "no", None),
        # the status is the fact, whatever number the body has
        (400, google(429, "RESOURCE_EXHAUSTED"), BadRequest, "no", None),
        (500, google(429, "RESOURCE_EXHAUSTED"), ServerError, "maybe", None),
        (429, google(500, "INTERNAL"), RateLimited, "no", None),
        (204, b"", BadReply, "maybe", None),
        (206, b"", BadReply, "maybe", None),
        (299, b"{}", BadReply, "maybe", None),
        (700, b"", ServerError, "maybe", None),
    ],
)
def test_a_refusal_is_what_status_and_body_say(
    status: int, body: Any, kind: type[AttemptError], billed: str, wait_s: float | None
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    error = read_fault(status, {}, raw)
    assert type(error) is kind
    assert error.billed == billed
    assert getattr(error, "wait_s", None) == wait_s
    assert error.message
    assert "<" not in error.message


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (429, "You have exceeded your spend-based rate limit. Please try again later."),
        (429, "Your project has exceeded its spending limit."),
        (429, "当前分组负载已饱和，请稍后再试，或升级账户以提升服务质量。"),
        (429, "当前模型gpt-image-1.5上游已饱和, 请稍后再试! (request id: 2026abc)"),
        (429, "The current group upstream load is saturated, please try again later."),
        (429, "Upstream is overloaded"),
        (429, "overloaded: all channels of group default"),
        (503, "the upstream load is saturated, please try again later"),
    ],
)
@pytest.mark.parametrize("is_quoted", [False, True])
def test_a_limit_that_takes_minutes_to_pass_is_known_by_its_words(
    status: int, message: str, *, is_quoted: bool
) -> None:
    body = comet(message)
    if is_quoted:
        body = {"error": {"message": "upstream said: " + json.dumps(body), "code": str(status)}}
    error = read_fault(status, {}, json.dumps(body).encode())
    assert type(error) is Saturated
    assert (error.outcome, error.family, error.billed) == (Outcome.RATE_LIMITED, "rate_limit", "no")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, google(429, "RESOURCE_EXHAUSTED", "your spending limit", quota(PER_DAY)), "Quota"),
        (429, comet("Quota of the spend, limit: 0"), "Quota"),
        (429, comet("Go to https://ai.studio/spend to see your usage"), "RateLimited"),
        (429, comet("Your key is suspended for a minute"), "RateLimited"),
        (429, comet("The model is overloaded. Please try again later."), "RateLimited"),
        (503, OVERLOADED, "ServerRefused"),
        (503, comet("The model is overloaded. Please try again later."), "ServerError"),
        (503, comet("Upstream is overloaded"), "ServerError"),
        (500, comet("the upstream load is saturated"), "ServerError"),
    ],
)
def test_words_that_look_like_it_change_nothing_else(
    status: int, body: dict[str, Any], kind: str
) -> None:
    assert read_fault(status, {}, json.dumps(body).encode()).kind.startswith(kind)


@pytest.mark.parametrize(
    "name",
    [
        *("API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED", "API_KEY_HTTP_REFERRER_BLOCKED"),
        *("API_KEY_IP_ADDRESS_BLOCKED", "API_KEY_ANDROID_APP_BLOCKED", "API_KEY_IOS_APP_BLOCKED"),
        *("SERVICE_DISABLED", "BILLING_DISABLED", "CONSUMER_SUSPENDED", "CONSUMER_INVALID"),
        *("USER_PROJECT_DENIED", "ACCOUNT_STATE_INVALID", "CREDENTIALS_MISSING"),
        *("ACCESS_TOKEN_EXPIRED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"),
        "ACCESS_TOKEN_TYPE_UNSUPPORTED",
    ],
)
@pytest.mark.parametrize("is_quoted", [False, True])
def test_a_reason_that_holds_for_all_that_the_key_sends_stops_the_run(
    name: str, *, is_quoted: bool
) -> None:
    body = google(403, "PERMISSION_DENIED", "no", reason(name))
    if is_quoted:
        body = comet(json.dumps(body))
    assert type(read_fault(403, {}, json.dumps(body).encode())) is Unauthorized


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (403, "Permission denied: Consumer 'api_key:[key]' has been suspended.", Unauthorized),
        (403, "Consumer 'projects/123' has been suspended.", Unauthorized),
        (403, "Your API key was reported as leaked. Please use another API key.", Unauthorized),
        (403, "Your project has been denied access. Please contact support.", Unauthorized),
        (
            403,
            "Method doesn't allow unregistered callers (callers without established identity).",
            Unauthorized,
        ),
        (403, "Requests from referer <empty> are blocked.", Unauthorized),
        (403, "Requests to this API x.googleapis.com method y are blocked.", Unauthorized),
        (
            403,
            "Generative Language API has not been used in project 1 before or it is disabled.",
            Unauthorized,
        ),
        (403, "This API method requires billing to be enabled.", Unauthorized),
        (401, "该令牌已过期", Unauthorized),
        (401, "该令牌额度已用尽", OutOfCredit),
        (403, "该令牌额度已用尽 TokenStatusExhausted[sk-***]", OutOfCredit),
        (403, "用户额度不足, 剩余额度: ¥-0.013362 (request id: 2026abc)", OutOfCredit),
        (403, "预扣费额度失败, 用户剩余额度: $0.30, 需要预扣费额度: $0.80", OutOfCredit),
        (403, "账户余额不足", OutOfCredit),
        (403, "user quota is not enough", OutOfCredit),
        (403, "token quota is not enough, token remain quota: $0.1", OutOfCredit),
        (403, "Insufficient Balance", OutOfCredit),
        (403, "Insufficient account balance", OutOfCredit),
        (403, "insufficient credits", OutOfCredit),
        # of one model, one item, or of nothing that is known
        (403, "The caller does not have permission", Forbidden),
        (403, "This token may not use model gemini-3-pro-image", Forbidden),
        (403, "该令牌无权访问模型 gemini-3-pro-image", Forbidden),
        (403, "The model gemini-3-pro-image has been suspended for this group", Forbidden),
        (403, "insufficient permissions for the balance sheet", Forbidden),
        (403, "Prompts to this model are blocked", Forbidden),
        (403, "Your group is denied access to gemini-3-pro-image", Forbidden),
        (403, "The model gemini-3-pro-image requires billing", Forbidden),
        # words count beside a 401 and a 403 only
        (400, "user quota is not enough", BadRequest),
        (429, "Insufficient balance of tokens a minute", RateLimited),
        (500, "Consumer 'api_key:[key]' has been suspended.", ServerError),
    ],
)
def test_a_403_stops_the_run_where_it_speaks_of_the_key_or_its_credit(
    status: int, message: str, kind: type[AttemptError]
) -> None:
    for body in (comet(message), comet(json.dumps(google(status, "PERMISSION_DENIED", message)))):
        assert type(read_fault(status, {}, json.dumps(body).encode())) is kind


@pytest.mark.parametrize("body", [DAY, NO_QUOTA, [DAY], comet(json.dumps(DAY))], ids=str)
def test_no_wait_that_is_told_makes_a_quota_of_the_day_come_back(body: Any) -> None:
    told = {"Retry-After": "5", "retry-after-ms": "700"}
    assert type(read_fault(429, told, json.dumps(body).encode())) is QuotaExhausted


def test_a_wait_that_is_told_counts_for_a_slow_refusal_too() -> None:
    error = read_fault(429, {"Retry-After": "45"}, json.dumps(SPEND).encode())
    assert (type(error), error.wait_s) == (Saturated, 45.0)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_an_error_quoted_inside_a_message_is_read(depth: int) -> None:
    body: dict[str, Any] = DAY
    for _ in range(depth):
        body = {"error": {"message": "upstream said: " + json.dumps(body), "code": "429"}}
    assert type(read_fault(429, {}, json.dumps(body).encode())) is QuotaExhausted


def test_quotes_inside_quotes_without_end_are_read_to_a_depth_and_no_further() -> None:
    message = "x"
    for _ in range(12):
        message = json.dumps({"error": {"message": message}})
    assert type(read_fault(500, {}, message.encode())) is ServerError
    assert type(read_fault(500, {}, b'{"error":' * 50_000)) is ServerError


# --- the wait -----------------------------------------------------------------------------------

DATE = "Sat, 21 Nov 2026 03:00:00 GMT"


IN_HALF_A_MINUTE = "Sat, 21 Nov 2026 03:00:30 GMT"
IN_A_MINUTE = "Sat, 21 Nov 2026 03:01:00 GMT"
AN_HOUR_AGO = "Sat, 21 Nov 2026 02:00:00 GMT"


@pytest.mark.parametrize(
    ("told", "wait_s"),
    [
        # seconds
        ("7", 7.0),
        ("0.5", 0.5),
        ("0", 0.0),
        ("+5", 5.0),
        ("1e9", 1e9),
        ("  7\t", 7.0),
        # with a unit, as Go and Google write one
        ("60s", 60.0),
        ("34S", 34.0),
        ("1m2.5s", 62.5),
        ("1H", 3600.0),
        ("900ms", 0.9),
        # a date, against the reply's own
        (IN_HALF_A_MINUTE, 30.0),
        ("Sat, 21 Nov 2026 04:00:30 +0100", 30.0),
        ("Saturday, 21-Nov-26 03:00:30 GMT", 30.0),
        ("Sat Nov 21 03:00:30 2026", 30.0),
        ("Fri, 21 Nov 2036 03:00:00 GMT", 3653 * 86_400.0),
        (AN_HOUR_AGO, 0.0),
        # several, as a header that is sent twice is joined
        ("120, 240", 240.0),
        ("240,120", 240.0),
        ("soon, 5, -1, nan", 5.0),
        (f"{IN_A_MINUTE}, {IN_HALF_A_MINUTE}", 60.0),
        (f"{IN_HALF_A_MINUTE}, 45", 45.0),
        (f"20, {IN_HALF_A_MINUTE}", 30.0),
        # nonsense
        ("", None),
        (" ", None),
        (", ,", None),
        ("-1", None),
        ("-1s", None),
        ("abc", None),
        ("inf", None),
        ("nan", None),
        ("s", None),
        ("7 apples", None),
        ("0x10", None),
        ("9" * 400, None),
        ("9" * 400 + "s", None),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2026 07:28:00 +99999999999999999999", None),
    ],
    ids=lambda value: str(value)[:60],
)
def test_the_wait_is_what_the_value_of_a_header_tells(
    told: str, wait_s: float | None, tried: Callable[[str, int, str], None]
) -> None:
    error = read_fault(429, {"Retry-After": told, "Date": DATE}, b"")
    assert isinstance(error, RateLimited)
    assert error.wait_s == wait_s
    tried("P40", 1, "told waits")


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": IN_HALF_A_MINUTE}, None),
        ({"Retry-After": IN_HALF_A_MINUTE, "Date": "abc"}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500, 2500"}, 2.5),
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "soon"}, None),
        # litellm puts this before the name of every header that it passes on
        ({"llm_provider-retry-after": "1"}, 1.0),
        ({"LLM_Provider-Retry-After": IN_HALF_A_MINUTE, "Date": DATE}, 30.0),
        ({"llm_provider-retry-after-ms": "1500"}, 1.5),
        ({"llm_provider-x-ms-retry-after-ms": "1500"}, 1.5),
        # several headers
        ({"Retry-After": "2", "llm_provider-retry-after": "9"}, 9.0),
        ({"Retry-After": "2", "retry-after-ms": "2500"}, 2.5),
        ({"Retry-After": "9", "retry-after": "2"}, 9.0),
        ({"Retry-After": "2", "retry-after": "9"}, 9.0),
        ({"Retry-After": "abc", "retry-after-ms": "700"}, 0.7),
        # when a limit is reset is not how long to wait; each service writes it in its own way
        ({"x-ratelimit-reset-requests": "1m2.5s"}, None),
        ({"x-ratelimit-reset-after": "7", "ratelimit-reset": "7"}, None),
        ({"x-ratelimit-reset": "1795230000"}, None),
        # seconds for one service, minutes or the time of day for another
        ({"x-retry-after": "7"}, None),
    ],
    ids=str,
)
def test_the_wait_is_the_longest_that_any_header_tells(
    headers: dict[str, str], wait_s: float | None, tried: Callable[[str, int, str], None]
) -> None:
    error = read_fault(429, headers, b"")
    assert isinstance(error, RateLimited)
    assert error.wait_s == wait_s
    tried("P40", 1, "told waits")


def test_dates_at_the_ends_of_time_are_no_defect() -> None:
    until = {"Retry-After": "Fri, 31 Dec 9999 23:59:59 -2300", "Date": "1 Jan 0001 00:00 +2300"}
    assert isinstance(read_fault(429, until, b""), RateLimited)


def test_a_date_without_a_date_beside_it_counts_from_our_own_clock() -> None:
    now = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
    error = read_fault(429, {"Retry-After": IN_HALF_A_MINUTE}, b"", now)
    assert isinstance(error, RateLimited)
    assert error.wait_s == 30.0


def test_a_date_beside_it_counts_before_our_own_clock() -> None:
    wrong = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
    error = read_fault(429, {"Retry-After": IN_HALF_A_MINUTE, "Date": DATE}, b"", wrong)
    assert error.wait_s == 30.0


@pytest.mark.parametrize(
    ("delay", "wait_s"),
    [
        ("34s", 34.0),
        ("2.5s", 2.5),
        ("34.074824224s", 34.074824224),
        ("0s", 0.0),
        ("600.5s", 600.5),
        ("900ms", 0.9),
        ("34S", 34.0),
        ("-1s", None),
        ("infs", None),
        ("s", None),
        ("34", None),
        (34, None),
        (None, None),
        # as programs write a Duration that do not follow the JSON form of protobuf
        ({"seconds": 3}, 3.0),
        ({"seconds": "34", "nanos": 500_000_000}, 34.5),
        ({"nanos": 500_000_000}, 0.5),
        ({"seconds": -3}, None),
        ({"seconds": "Infinity"}, None),
        ({"seconds": 1e999}, None),
        ({"seconds": None, "nanos": []}, None),
        ({"seconds": 10**400}, None),
        ({"seconds": True}, None),
        ({}, None),
    ],
    ids=lambda value: str(value)[:60],
)
def test_the_wait_in_the_body_is_a_duration_or_nothing(
    delay: Any, wait_s: float | None, tried: Callable[[str, int, str], None]
) -> None:
    body = google(429, "RESOURCE_EXHAUSTED", "m", retry_info(delay))
    error = read_fault(429, {}, json.dumps(body).encode())
    assert isinstance(error, RateLimited)
    assert error.wait_s == wait_s
    tried("P40", 1, "told waits")


@pytest.mark.parametrize(
    ("words", "wait_s"),
    [
        ("Please retry in 34.074824224s.", 34.074824224),
        ("Please retry in 900.2ms.", 0.9002),
        ("Please retry in 1m5s.", 65.0),
        ("Please retry in 2h47m56.584147483s.", 10_076.584147483),
        ("please retry in 7s (request id: 2026abc)", 7.0),
        ("Please retry in 3s. [upstream: Please retry in 8s.]", 8.0),
        ("Please retry in a moment.", None),
        ("Please retry in -3s.", None),
        ("Please retry in 7 apples.", None),
        ("Please retry in " + "9" * 100_000, None),
        ("We retry in 7s.", None),
    ],
    ids=lambda value: str(value)[:60],
)
@pytest.mark.parametrize("depth", [0, 1])
def test_the_wait_in_the_words_is_read_where_a_gateway_kept_nothing_else(
    words: str, wait_s: float | None, depth: int
) -> None:
    body = comet("You exceeded your current quota.\n" + words)
    for _ in range(depth):
        body = comet(json.dumps(body))
    error = read_fault(429, {}, json.dumps(body).encode())
    assert isinstance(error, RateLimited)
    assert error.wait_s == (None if wait_s is None else pytest.approx(wait_s))


def test_of_the_details_and_the_words_the_longer_wait_counts() -> None:
    words = "Please retry in 58.934310785s."
    for delay, wait_s in (("58s", 58.934310785), ("59s", 59.0)):
        body = google(429, "RESOURCE_EXHAUSTED", words, retry_info(delay))
        assert read_fault(429, {}, json.dumps([body]).encode()).wait_s == wait_s


def test_of_header_and_body_the_longer_wait_counts() -> None:
    for header, wait_s in (("7", 34.0), ("60", 60.0)):
        error = read_fault(429, {"Retry-After": header}, json.dumps(MINUTE).encode())
        assert isinstance(error, RateLimited)
        assert error.wait_s == wait_s


# --- the request id -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "message", "found"),
    [
        ({"X-Cometapi-Request-Id": "20260617gJ"}, "(request id: other1)", "20260617gJ"),
        ({"x-request-id": "a", "cf-ray": "b"}, "", "a"),
        ({"CF-Ray": "8f-FRA"}, "", "8f-FRA"),
        (
            {},
            "went wrong (request id: 20260617165550885561292gJBlzjtp)",
            "20260617165550885561292gJBlzjtp",
        ),
        ({}, "x" * 2000 + " (request id: 20260617gJ)", "20260617gJ"),
        ({}, json.dumps(MINUTE) + " (request id: 20260617gJ)", "20260617gJ"),
        ({"x-request-id": "a\x1b[31m\u202eb"}, "", "a [31m b"),
        ({}, "no id", None),
    ],
)
def test_the_request_id_is_found_in_headers_and_in_every_layer_of_the_message(
    headers: dict[str, str], message: str, found: str | None
) -> None:
    error = read_fault(500, headers, json.dumps(comet(message)).encode())
    assert error.request_id == found


def test_a_success_has_a_request_id_too() -> None:
    assert request_id({"x-goog-request-id": "abc"}) == "abc"
    assert request_id({}) is None


# --- anything at all ----------------------------------------------------------------------------


def test_the_message_is_short_and_fit_for_a_log_line() -> None:
    message = "a\n\x1b]52;c;x\x07\u202e\ud800" + "y" * 100_000
    error = read_fault(400, {}, json.dumps(comet(message)).encode())
    assert is_harmless(error.message)
    assert len(error.message) < 400


def test_where_a_redirect_points_is_said_and_not_followed() -> None:
    error = read_fault(302, {"Location": "https://elsewhere.example/\r\nX: y"}, b"")
    assert isinstance(error, NotTheApi)
    assert "elsewhere.example" in error.message
    assert is_harmless(error.message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "code", "message", "status", "details", "type", "reason"])
            | st.sampled_from(["violations", "quotaId", "retryDelay"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.integers(100, 999),
    st.dictionaries(
        st.sampled_from(["Retry-After", "date", "retry-after-ms", "Location", "cf-ray"]),
        st.text(max_size=30),
    ),
    JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=50),
)
@example(200, {}, b'{"error":{"code":"\xc2\xb2"}}')
@example(429, {"Retry-After": "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"}, b"")
def test_whatever_comes_is_an_attempt_error(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    error = read_fault(status, headers, body)
    assert isinstance(error, AttemptError)
    assert error.billed in {"no", "maybe"}
    assert is_harmless(error.message)


def test_a_body_cut_at_the_bound_is_judged_by_its_status() -> None:
    body = json.dumps(comet("x" * MAX_FAULT_BYTES)).encode()[:MAX_FAULT_BYTES]
    assert type(read_fault(500, {}, body)) is ServerError


def test_thousands_of_mutilated_bodies_are_all_classified() -> None:
    rng = random.Random(5)
    seeds = [json.dumps(one).encode() for one in (MINUTE, DAY, LITELLM, NO_QUOTA, NO_CHANNEL)]
    for _ in range(3_000):
        body = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(1, 4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        status = rng.choice((200, 400, 429, 500, 503))
        assert isinstance(read_fault(status, {}, bytes(body)), AttemptError)
