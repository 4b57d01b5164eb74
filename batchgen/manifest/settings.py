"""The head of a job: everything but its items."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlsplit

from batchgen.acceptance import ON_WRONG_SIZE, Acceptance
from batchgen.budget import Allowance, Budget
from batchgen.cost import PriceList
from batchgen.errors import UsageError
from batchgen.hook import ONS, SERVICES, Hook
from batchgen.limits import AUTO, Concurrency, Limits, read_concurrency
from batchgen.manifest.fields import Checker, nearest, shown
from batchgen.manifest.items import read_settings
from batchgen.manifest.nodes import Steps
from batchgen.manifest.output_name import OutputName, read_output_name
from batchgen.manifest.prices import OF_THE_JOB, read_prices
from batchgen.manifest.reference_fields import read_reference
from batchgen.manifest.setting_fields import Readers
from batchgen.model import Reference
from batchgen.provider import (
    PROVIDERS,
    Auth,
    Provider,
    check_plain_http,
    clean_base_url,
    is_variable,
)
from batchgen.retry import Retries
from batchgen.timeouts import Timeouts

HEAD: Final = (
    *("name", "provider", "references", "defaults", "limits", "retries", "timeouts"),
    *("budget", "prices", "output", "notify"),
)
# What circulates as the service's own bound for images inside a request.
DEFAULT_MAX_BODY_MIB: Final = 100
_LIMITS: Final = ("concurrency", "rpm", "tpm", "ipm", "rpd", "usd_per_10min", "max_body_mib")
_BUDGET: Final = (
    *("max_cost_usd", "max_cost_usd_per_day", "max_duration", "max_failures"),
    "confirm_above_usd",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a job says besides its items; None and empty where it says nothing.

    Attributes:
        references: What items name with `@`.
        max_body_bytes: A request may not be larger; None for no bound.
        output_name: Where pictures lie below `images/`; None where their ids say it.
        prices: What is laid over the book of prices.
        acceptance: What becomes of pictures besides, or instead of, what was asked for.
        hook: Who is told how a run ends.
        written: The same as it stands in the job, without the defaults.
    """

    name: str | None = None
    provider: Provider = PROVIDERS["cometapi"]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = Limits()
    retries: Retries = Retries()
    budget: Budget = Budget()
    timeouts: Timeouts = Timeouts()
    references: Mapping[str, Reference] = field(default_factory=dict)
    max_body_bytes: int | None = DEFAULT_MAX_BODY_MIB << 20
    output_name: OutputName | None = None
    prices: PriceList | None = None
    acceptance: Acceptance = Acceptance()
    hook: Hook = Hook()
    written: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needs_prices(self) -> bool:
        """Whether each model must have a price: a bound on money cannot be kept without."""
        return self.budget.needs_prices or self.limits.usd_per_10min is not None


def read_head(check: Checker, written: Any, steps: Steps = ()) -> Settings:
    """Read the top-level fields of a job; `items` is looked after elsewhere."""
    known = HEAD if steps else (*HEAD, "items")  # JSON Lines have theirs below the head
    fields = check.mapping(written, steps, known)
    references = _references(check, fields.get("references"), (*steps, "references"))
    name = fields.get("name")
    provider = fields.get("provider")
    output_name, acceptance = _output(check, fields.get("output"), (*steps, "output"))
    return Settings(
        name=None if name is None else check.job_name(name, (*steps, "name")),
        provider=(
            PROVIDERS["cometapi"]
            if provider is None
            else _provider(check, provider, (*steps, "provider"))
        ),
        references=references,
        defaults=read_settings(
            check, fields.get("defaults"), (*steps, "defaults"), Readers(references)
        ),
        max_body_bytes=_max_body_bytes(check, fields.get("limits"), (*steps, "limits")),
        limits=_limits(check, fields.get("limits"), (*steps, "limits")),
        retries=_retries(check, fields.get("retries"), (*steps, "retries")),
        budget=_budget(check, fields.get("budget"), (*steps, "budget")),
        prices=read_prices(check, fields.get("prices"), (*steps, "prices"), OF_THE_JOB),
        timeouts=_timeouts(check, fields.get("timeouts"), (*steps, "timeouts")),
        output_name=output_name,
        acceptance=acceptance,
        hook=_hook(check, fields.get("notify"), (*steps, "notify")),
        written={name: one for name, one in fields.items() if name not in {"defaults", "items"}},
    )


def _references(check: Checker, value: Any, steps: Steps) -> dict[str, Reference]:
    """Read the references that items name with `@`: files and addresses, not other items."""
    named = {}
    for name, one in check.mapping(value, steps, None).items():
        at = (*steps, name)
        reference = read_reference(check, one, at, {})
        if reference is not None and reference.item is not None:
            check.wrong(at, "an item cannot be named here; write item:ID where it is used")
            reference = None
        # A bad one is named all the same: that is told once, and not where it is used.
        named[name] = reference or Reference()
    return named


def _max_body_bytes(check: Checker, limits: Any, steps: Steps) -> int | None:
    """Read `limits.max_body_mib`; null means no bound."""
    if not isinstance(limits, dict) or "max_body_mib" not in limits:
        return DEFAULT_MAX_BODY_MIB << 20
    if limits["max_body_mib"] is None:
        return None
    number = check.number(limits["max_body_mib"], (*steps, "max_body_mib"), least=0.001)
    return None if number is None else int(number * (1 << 20))


def _output(check: Checker, value: Any, steps: Steps) -> tuple[OutputName | None, Acceptance]:
    fields = check.mapping(value, steps, ("name", "keep_thoughts", "keep_drafts", "on_wrong_size"))
    given = {name: one for name, one in fields.items() if one is not None}
    thoughts = check.switch(given.get("keep_thoughts", False), (*steps, "keep_thoughts"))
    drafts = check.switch(given.get("keep_drafts", False), (*steps, "keep_drafts"))
    action = check.choice(
        given.get("on_wrong_size", "accept"), (*steps, "on_wrong_size"), ON_WRONG_SIZE
    )
    return (
        read_output_name(check, fields.get("name"), (*steps, "name")),
        Acceptance(
            keep_thoughts=bool(thoughts),
            keep_drafts=bool(drafts),
            on_wrong_size=action or "accept",
        ),
    )


def _hook(check: Checker, value: Any, steps: Steps) -> Hook:
    if isinstance(value, str):
        # It may be the address itself, which is a secret: it is not shown.
        check.wrong(steps, "expected {url_env: VARIABLE, on: …}; the address is kept in a variable")
        return Hook()
    fields = check.mapping(value, steps, ("url_env", "on", "service", "allow_http"))
    given = {name: one for name, one in fields.items() if one is not None}
    env = check.text(given["url_env"], (*steps, "url_env")) if "url_env" in given else None
    if env is not None and not is_variable(env):
        # What is written there may be the address itself, which is a secret: it is not shown.
        remedy = "expected the name of an environment variable, not the address"
        check.wrong((*steps, "url_env"), remedy)
        env = None
    on = check.choice(given.get("on", "change"), (*steps, "on"), ONS)
    service = None
    if "service" in given:
        service = check.choice(given["service"], (*steps, "service"), SERVICES)
    plain = check.switch(given.get("allow_http", False), (*steps, "allow_http"))
    return Hook(url_env=env, on=on or "change", service=service, allow_http=bool(plain))


def _provider(check: Checker, value: Any, steps: Steps) -> Provider:
    fallback = PROVIDERS["cometapi"]
    if isinstance(value, str):
        if value not in PROVIDERS:
            words = ", ".join(PROVIDERS)
            check.wrong(
                steps,
                f"{shown(value)} is not one of {words}{nearest(value, PROVIDERS) or ','} "
                "or write {base_url: …, api_key_env: …}",
            )
        return PROVIDERS.get(value, fallback)
    fields = check.mapping(value, steps, ("base_url", "api_key_env", "auth", "allow_http"))
    given = {name: one for name, one in fields.items() if one is not None}
    url = check.text(given["base_url"], (*steps, "base_url")) if "base_url" in given else None
    if "base_url" not in given and isinstance(value, dict):
        check.wrong(steps, "base_url: it is missing")
    if url is None:
        return fallback
    try:
        base_url = clean_base_url(url)
    except UsageError as error:
        check.wrong((*steps, "base_url"), str(error))
        return fallback
    env = check.text(given.get("api_key_env", "COMETAPI_KEY"), (*steps, "api_key_env"))
    if env is not None and not is_variable(env):
        check.wrong(
            (*steps, "api_key_env"), "expected the name of an environment variable, not the key"
        )
    auth = check.choice(
        given.get("auth", "x-goog-api-key"), (*steps, "auth"), ("x-goog-api-key", "bearer")
    )
    plain = check.switch(given.get("allow_http", False), (*steps, "allow_http"))
    kind: Auth = "bearer" if auth == "bearer" else "x-goog-api-key"
    provider = Provider(
        name=urlsplit(base_url).netloc,
        base_url=base_url,
        key_env=(env,) if env else (),
        auth=kind,
        allow_http=bool(plain),
    )
    try:
        check_plain_http(provider)
    except UsageError as error:
        check.wrong((*steps, "base_url"), str(error))
    return provider


def _limits(check: Checker, value: Any, steps: Steps) -> Limits:
    fields = check.mapping(value, steps, _LIMITS)
    given = {name: one for name, one in fields.items() if one is not None}

    def number(name: str, *, least: float, whole: bool = False) -> float | None:
        if name not in given:
            return None
        return check.number(given[name], (*steps, name), least=least, whole=whole)

    rpd = number("rpd", least=1, whole=True)
    return Limits(
        concurrency=_concurrency(check, given.get("concurrency"), (*steps, "concurrency")),
        rpm=number("rpm", least=0.01),
        tpm=number("tpm", least=1),
        ipm=number("ipm", least=0.01),
        rpd=None if rpd is None else int(rpd),
        usd_per_10min=_usd(
            check, given.get("usd_per_10min"), (*steps, "usd_per_10min"), least=0.01
        ),
    )


def _concurrency(check: Checker, value: Any, steps: Steps) -> Concurrency:
    """Read `auto`, a number of requests in flight, or MIN-MAX."""
    if value is None:
        return AUTO
    is_number = isinstance(value, int) and not isinstance(value, bool)
    read = read_concurrency(str(value)) if is_number or isinstance(value, str) else None
    if read is None:
        check.wrong(
            steps, f"expected auto, a whole number of at least 1, or MIN-MAX, found {shown(value)}"
        )
    return read or AUTO


def _usd(check: Checker, value: Any, steps: Steps, *, least: float = 0) -> Decimal | None:
    """Read an amount of money, exactly as it is written."""
    if value is None or check.number(value, steps, least=least) is None:
        return None
    return Decimal(str(value).strip())


def _budget(check: Checker, value: Any, steps: Steps) -> Budget:
    fields = check.mapping(value, steps, _BUDGET)
    duration = fields.get("max_duration")
    failures = fields.get("max_failures")
    daily = fields.get("max_cost_usd_per_day")
    confirm = fields.get("confirm_above_usd")
    return Budget(
        max_cost_usd=_usd(check, fields.get("max_cost_usd"), (*steps, "max_cost_usd")),
        max_cost_usd_per_day=_usd(check, daily, (*steps, "max_cost_usd_per_day")),
        max_duration_s=(
            None if duration is None else check.duration(duration, (*steps, "max_duration"))
        ),
        max_failures=(
            None if failures is None else _failures(check, failures, (*steps, "max_failures"))
        ),
        confirm_above_usd=_usd(check, confirm, (*steps, "confirm_above_usd")),
    )


def _failures(check: Checker, value: Any, steps: Steps) -> Allowance | None:
    """Read a number of items, or a share of them such as `10%`."""
    if isinstance(value, str) and value.strip().endswith("%"):
        share = check.number(value.strip()[:-1], steps, most=100)
        return None if share is None else Allowance(share, is_share=True)
    number = check.number(value, steps, whole=True)
    return None if number is None else Allowance(number)


def _retries(check: Checker, value: Any, steps: Steps) -> Retries:
    counts = ("transport", "unsure", "rate_limit", "no_image")
    waits = ("max_wait", "patience")
    fields = check.mapping(value, steps, (*counts, *waits))
    given: dict[str, float] = {}
    for name, one in fields.items():
        if one is None:
            continue
        at = (*steps, name)
        number = check.duration(one, at) if name in waits else check.number(one, at, whole=True)
        if number is not None:
            given[name] = number if name in waits else int(number)
    return Retries(**given)  # type: ignore[arg-type]


def _timeouts(check: Checker, value: Any, steps: Steps) -> Timeouts:
    fields = check.mapping(value, steps, ("connect", "attempt", "idle"))
    read = {
        name: check.number(one, (*steps, name), least=0.1)
        for name, one in fields.items()
        if one is not None
    }
    given = {name: number for name, number in read.items() if number is not None}
    return Timeouts(**given)  # type: ignore[arg-type]
