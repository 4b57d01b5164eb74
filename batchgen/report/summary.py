"""The figures of one run, added up from the ledger."""

import heapq
from array import array
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Any, Final, Literal, TypeAlias

import msgspec

from batchgen.model import Attempt, Outcome, Result, SearchKind, Status, Tokens
from batchgen.store.history import final_image
from batchgen.wire.grounding import Grounding, read_grounding

MAX_LISTED: Final = 100
MAX_MODELS: Final = 8
MAX_SLOW: Final = 10
# A tag may have a value of its own for each item: those beyond so many are added up as one.
MAX_TAG_VALUES: Final = 10_000
OTHER: Final = "…(other)"
NO_USD: Final = Decimal("0.000000")
# How long these took, nobody knows: they were not let end.
_GIVEN_UP: Final = frozenset({Outcome.CANCELLED, Outcome.INTERRUPTED})


class ItemCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Items by where they stand; `reused` is part of `done`."""

    total: int = 0
    done: int = 0
    reused: int = 0
    failed: int = 0
    skipped: int = 0
    pending: int = 0

    @property
    def in_words(self) -> str:
        """`998/1000 done (412 reused), 2 failed`, and what is skipped or left if anything is."""
        told = f"{self.done}/{self.total} done"
        told += f" ({self.reused} reused)" if self.reused else ""
        told += f", {self.failed} failed"
        told += f", {self.skipped} skipped" if self.skipped else ""
        return told + (f", {self.pending} left" if self.pending else "")


class AttemptCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of this run by what they came to."""

    total: int = 0
    by_outcome: dict[str, int] = {}


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of the calls that brought a picture; None where there was none."""

    p50: float | None = None
    p95: float | None = None
    max: float | None = None


class Concurrency(msgspec.Struct, frozen=True, kw_only=True):
    """The most calls in flight at once, how many were allowed at the end, and what led there.

    Attributes:
        history: Each change of the limits, in order: `at_s` into the run, `model`, `limit` of
            calls in flight, `per_min` if a pace was found, and `why`.
    """

    peak: int = 0
    final: int = 0
    history: list[dict[str, Any]] = []


class FailureGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Items that failed for one cause, with one of them as the example."""

    outcome: str
    count: int
    example: str
    item: str


class WholeJob(msgspec.Struct, frozen=True, kw_only=True):
    """Where all items of a job stand, also those that the last run was not about.

    Attributes:
        models: Those that they name, at most a few.
    """

    items: ItemCounts
    failures: list[FailureGroup]
    models: list[str]


class MaybeBilled(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that may have been billed without a result.

    This run's, those that it found, and those of killed runs before it, which have no summary.
    """

    count: int = 0
    attempts: list[dict[str, Any]] = []


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One search of the model's own, and the item that it was first made for."""

    kind: SearchKind
    words: str
    item: str


class FoundPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page that answers went by, and the item that it was first found for."""

    kind: SearchKind
    title: str
    uri: str
    item: str


class Searches(msgspec.Struct, frozen=True, kw_only=True):
    """What the calls of this run were grounded in; the terms of the service ask to show it.

    Attributes:
        answers: How many answers were grounded.
        n_queries: Searches on the web, each query once an answer: those are billed.
        n_image_queries: The same among images.
        queries: The first hundred different ones.
        sources: The first hundred pages.
    """

    answers: int
    n_queries: int
    n_image_queries: int
    queries: list[Query]
    sources: list[FoundPage]


Change: TypeAlias = Literal["new_failures", "fixed", "still_failing"]


class Diff(msgspec.Struct, frozen=True, kw_only=True):
    """What is different from the last run that ended, by item id; of items of today's job alone.

    An item that was skipped has failed, too: it has no picture.

    Attributes:
        n_new_failures, n_fixed, n_still_failing: How many they are, where a list is cut.
    """

    new_failures: list[str]
    fixed: list[str]
    still_failing: list[str]
    cost_delta_usd: Decimal | None
    n_new_failures: int | msgspec.UnsetType = msgspec.UNSET
    n_fixed: int | msgspec.UnsetType = msgspec.UNSET
    n_still_failing: int | msgspec.UnsetType = msgspec.UNSET

    def count(self, name: Change) -> int:
        """How many items there are in a list, or were before it was cut."""
        n_all: int | msgspec.UnsetType = getattr(self, f"n_{name}")
        return len(getattr(self, name)) if isinstance(n_all, msgspec.UnsetType) else n_all


class SlowItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item that took long, whatever came of it.

    Attributes:
        calls: How many it took, of all turns.
        latency_s: What they took together; the time between them does not count.
        outcome: Of the last one.
    """

    item: str
    calls: int
    latency_s: float
    outcome: str


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody thinks of the pictures, and what those cost that are kept, over all runs.

    Attributes:
        kept, redo: Items whose picture is marked so.
        accepted: Pictures, of each item the newest, that are not marked to be made again.
        cost_per_accepted_usd: What was billed for sure, waste included, for each of these; None
            where there is none, or nothing of the cost is known.
    """

    kept: int
    redo: int
    accepted: int
    cost_per_accepted_usd: Decimal | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The summary of a run; its JSON form is `summary.json`.

    Items are those that the run was about; attempts, tokens and money are this run's. `cost_usd`
    counts what was billed for sure, waste included; it is None only when nothing of it is known.
    The last ones are there only where there is something to tell: what answers were grounded in,
    how many done items have a picture of another ratio or size than they asked for, what the run
    should cost, its ten slowest items, what a review of the pictures came to, and what will go
    wrong later.
    """

    v: int = 1
    job: str
    run_id: str
    started_at: str
    finished_at: str | None
    wall_s: float | None
    stop_reason: str | None
    exit_code: int | None
    items: ItemCounts
    attempts: AttemptCounts
    images: int
    tokens: Tokens
    cost_usd: Decimal | None
    cost_waste_usd: Decimal
    cost_maybe_usd: Decimal
    cost_unknown_attempts: int
    cost_by_model: dict[str, Decimal]
    cost_by_tag: dict[str, dict[str, Decimal]]
    latency_s: Latency
    throughput_per_min: float | None
    concurrency: Concurrency
    failures: list[FailureGroup]
    maybe_billed: MaybeBilled
    diff: Diff | None
    searches: Searches | msgspec.UnsetType = msgspec.UNSET
    wrong_size: int | msgspec.UnsetType = msgspec.UNSET
    planned_usd: Decimal | msgspec.UnsetType = msgspec.UNSET
    slowest: list[SlowItem] | msgspec.UnsetType = msgspec.UNSET
    review: Review | msgspec.UnsetType = msgspec.UNSET
    ahead: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


@dataclass(slots=True)
class CallTotals:
    """Adds up what the calls of one run came to, and what they cost."""

    by_outcome: dict[str, int] = field(default_factory=dict)
    images: int = 0
    cost_usd: Decimal = NO_USD
    waste_usd: Decimal = NO_USD
    maybe_usd: Decimal = NO_USD
    n_priced: int = 0
    n_unknown: int = 0
    latencies_s: "array[float]" = field(default_factory=lambda: array("d"))

    def count(self, attempt: Attempt) -> None:
        """Count one call."""
        self.by_outcome[attempt.outcome] = self.by_outcome.get(attempt.outcome, 0) + 1
        if attempt.outcome is Outcome.IMAGE:
            self.images += sum(image.role == "final" for image in attempt.images)
            if attempt.latency_s is not None:
                self.latencies_s.append(attempt.latency_s)
        usd = attempt.cost_usd
        if usd is None:
            self.n_unknown += attempt.billed != "no"
        elif attempt.billed == "maybe":
            self.maybe_usd += usd
        elif attempt.billed == "yes":
            self.n_priced += 1
            self.cost_usd += usd
            if attempt.outcome is not Outcome.IMAGE:
                self.waste_usd += usd

    @property
    def known_cost_usd(self) -> Decimal | None:
        """What was billed; None if something was and nothing of it is known."""
        return None if self.n_unknown and not self.n_priced else self.cost_usd

    @property
    def latency_s(self) -> Latency:
        """Quantiles of the calls that brought a picture."""
        if not self.latencies_s:
            return Latency()
        ordered = sorted(self.latencies_s)
        return Latency(p50=_quantile(ordered, 0.5), p95=_quantile(ordered, 0.95), max=ordered[-1])


@dataclass(slots=True)
class RunTotals(CallTotals):
    """Adds up the attempts of one run, by model and tag too, and lists what stands out."""

    tokens: Tokens = Tokens()
    by_model: dict[str, Decimal] = field(default_factory=dict)
    by_tag: dict[str, dict[str, Decimal]] = field(default_factory=dict)
    n_maybe: int = 0
    maybe: list[dict[str, Any]] = field(default_factory=list)
    n_grounded: int = 0
    n_queries: int = 0
    n_image_queries: int = 0
    _n_timed: int = 0
    _open: dict[str, tuple[int, float]] = field(default_factory=dict)  # calls and seconds so far
    _slowest: list[tuple[float, int, SlowItem]] = field(default_factory=list)
    queries: dict[tuple[SearchKind, str], Query] = field(default_factory=dict)
    sources: dict[str, FoundPage] = field(default_factory=dict)

    def add(self, attempt: Attempt) -> None:
        """Count one attempt of this run."""
        if attempt.attempt == 0:  # nothing was sent
            return
        self.count(attempt)
        if attempt.tokens is not None:
            self.tokens += attempt.tokens
        self._time(attempt)
        if (grounding := read_grounding(attempt.grounding)) is not None:
            self._ground(attempt.item, grounding)
        if attempt.billed == "maybe":
            self._list(attempt)
        elif attempt.billed == "yes" and attempt.cost_usd is not None:
            self._share_out(attempt, attempt.cost_usd)

    def found(self, attempt: Attempt) -> None:
        """List a call of a killed run that this one found, if it may have been billed."""
        if attempt.billed == "maybe":
            self.maybe_usd += attempt.cost_usd or 0
            self._list(attempt)

    def _list(self, attempt: Attempt) -> None:
        self.n_maybe += 1
        if len(self.maybe) < MAX_LISTED:
            names = ("item", "turn", "attempt", "at", "outcome", "request_id")
            line = {name: getattr(attempt, name) for name in names}
            self.maybe.append({**line, "cost_usd": attempt.cost_usd})

    def inherit(self, killed: "RunTotals") -> None:
        """List what a killed run before this one has no summary for."""
        self.n_maybe += killed.n_maybe
        self.maybe_usd += killed.maybe_usd
        self.maybe = [*self.maybe, *killed.maybe][:MAX_LISTED]

    def absorb(self, other: "RunTotals") -> None:
        """Count the calls of another run along, that of another part of the job."""
        self.inherit(other)
        for outcome, n in other.by_outcome.items():
            self.by_outcome[outcome] = self.by_outcome.get(outcome, 0) + n
        self.images += other.images
        self.cost_usd += other.cost_usd
        self.waste_usd += other.waste_usd
        self.n_priced += other.n_priced
        self.n_unknown += other.n_unknown
        self.latencies_s.extend(other.latencies_s)
        self.tokens += other.tokens
        for model, usd in other.by_model.items():
            self.by_model[model] = self.by_model.get(model, NO_USD) + usd
        for name, costs in other.by_tag.items():
            for value, usd in costs.items():
                self._add_to_tag(name, value, usd)
        self.n_grounded += other.n_grounded
        self.n_queries += other.n_queries
        self.n_image_queries += other.n_image_queries
        self.queries = dict(islice((other.queries | self.queries).items(), MAX_LISTED))
        self.sources = dict(islice((other.sources | self.sources).items(), MAX_LISTED))
        for slow in other.slowest or ():
            self._keep_slow(slow)

    def _share_out(self, attempt: Attempt, usd: Decimal) -> None:
        self.by_model[attempt.model] = self.by_model.get(attempt.model, NO_USD) + usd
        for name, value in attempt.tags.items():
            self._add_to_tag(name, value, usd)

    def _add_to_tag(self, name: str, value: str, usd: Decimal) -> None:
        values = self.by_tag.setdefault(name, {})
        is_listed = value in values or len(values) < MAX_TAG_VALUES
        known = value if is_listed else OTHER
        values[known] = values.get(known, NO_USD) + usd

    def _time(self, attempt: Attempt) -> None:
        """Add up what an item takes, and keep the slowest; of equally slow ones the first."""
        if attempt.latency_s is None or attempt.outcome in _GIVEN_UP:
            return
        n_before, seconds = self._open.pop(attempt.item, (0, 0.0))
        slow = SlowItem(
            item=attempt.item,
            calls=n_before + 1,
            latency_s=round(seconds + attempt.latency_s, 3),
            outcome=attempt.outcome,
        )
        if attempt.decision != "failed" and final_image(attempt.images) is None:
            self._open[attempt.item] = (slow.calls, slow.latency_s)
            return
        self._keep_slow(slow)

    def _keep_slow(self, slow: SlowItem) -> None:
        self._n_timed += 1
        heapq.heappush(self._slowest, (slow.latency_s, -self._n_timed, slow))
        if len(self._slowest) > MAX_SLOW:
            heapq.heappop(self._slowest)

    def _ground(self, item: str, grounding: Grounding) -> None:
        self.n_grounded += 1
        self.n_queries += len(grounding.queries)
        self.n_image_queries += len(grounding.image_queries)
        made: list[tuple[SearchKind, str]] = [("web", words) for words in grounding.queries]
        made += [("image", words) for words in grounding.image_queries]
        for kind, words in made:
            if len(self.queries) < MAX_LISTED:
                query = Query(kind=kind, words=words, item=item)
                self.queries.setdefault((kind, words), query)
        for one in grounding.sources:
            if len(self.sources) < MAX_LISTED:
                page = FoundPage(kind=one.kind, title=one.title, uri=one.uri, item=item)
                self.sources.setdefault(one.uri, page)

    @property
    def searches(self) -> Searches | msgspec.UnsetType:
        """What the answers were grounded in, if any was."""
        if not self.n_grounded:
            return msgspec.UNSET
        return Searches(
            answers=self.n_grounded,
            n_queries=self.n_queries,
            n_image_queries=self.n_image_queries,
            queries=list(self.queries.values()),
            sources=list(self.sources.values()),
        )

    @property
    def slowest(self) -> list[SlowItem] | msgspec.UnsetType:
        """The slowest calls, the slowest first; those that were given up are not among them."""
        return [slow for *_, slow in sorted(self._slowest, reverse=True)] or msgspec.UNSET


@dataclass(slots=True)
class ItemTotals:
    """Adds up where the items of a job stand, and what is different from the run before."""

    by_status: dict[Status, int] = field(default_factory=dict)
    n_reused: int = 0
    n_wrong_size: int = 0
    failures: dict[Outcome, FailureGroup] = field(default_factory=dict)
    new_failures: list[str] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)
    still_failing: list[str] = field(default_factory=list)
    models: set[str] = field(default_factory=set)

    def add(
        self,
        result: Result,
        run_ids: Container[str],
        *,
        failed_before: bool = False,
        is_wrong_size: bool = False,
    ) -> None:
        """Count one item, after these runs."""
        if len(self.models) < MAX_MODELS:
            self.models.add(result.model)
        self.n_wrong_size += is_wrong_size and result.status == "done"
        self.by_status[result.status] = self.by_status.get(result.status, 0) + 1
        if result.status in {"failed", "skipped"}:
            (self.still_failing if failed_before else self.new_failures).append(result.id)
        elif result.status == "done" and failed_before:
            self.fixed.append(result.id)
        if result.status == "done":
            self.n_reused += result.run_id not in run_ids
        elif result.outcome is not None and result.status != "pending":
            group = self.failures.get(result.outcome)
            self.failures[result.outcome] = FailureGroup(
                outcome=result.outcome,
                count=(group.count if group else 0) + 1,
                example=group.example if group else _message(result),
                item=group.item if group else result.id,
            )

    def add_pending(self, n_selected: int) -> None:
        """Count what a run with a limit was about and did not come to."""
        n_counted = sum(self.by_status.values())
        self.by_status["pending"] = max(0, n_selected - n_counted)

    @property
    def found_done(self) -> "ItemTotals":
        """The same for a run that finds all of them done: nothing is new then."""
        return ItemTotals(
            by_status=self.by_status,
            n_reused=sum(self.by_status.values()),
            n_wrong_size=self.n_wrong_size,
            models=self.models,
        )

    def difference(self, cost_delta_usd: Decimal | None) -> Diff:
        """What is different from the run before."""
        return Diff(
            new_failures=sorted(self.new_failures)[:MAX_LISTED],
            fixed=sorted(self.fixed)[:MAX_LISTED],
            still_failing=sorted(self.still_failing)[:MAX_LISTED],
            cost_delta_usd=cost_delta_usd,
            n_new_failures=_n_if_cut(self.new_failures),
            n_fixed=_n_if_cut(self.fixed),
            n_still_failing=_n_if_cut(self.still_failing),
        )

    @property
    def counts(self) -> ItemCounts:
        """The counts as the summary has them."""
        by = self.by_status
        return ItemCounts(
            total=sum(by.values()),
            done=by.get("done", 0),
            reused=self.n_reused,
            failed=by.get("failed", 0),
            skipped=by.get("skipped", 0),
            pending=by.get("pending", 0),
        )

    @property
    def whole(self) -> WholeJob:
        """Where they stand, if all items of a job were counted."""
        return WholeJob(items=self.counts, failures=self.groups, models=sorted(self.models))

    @property
    def groups(self) -> list[FailureGroup]:
        """Causes of failure, the commonest first."""
        return sorted(self.failures.values(), key=lambda group: -group.count)[:MAX_LISTED]


def _message(result: Result) -> str:
    return result.error.message if result.error else ""


def _n_if_cut(ids: list[str]) -> int | msgspec.UnsetType:
    return len(ids) if len(ids) > MAX_LISTED else msgspec.UNSET


def _quantile(ordered: list[float], q: float) -> float:
    """The smallest value that at least a share q of all does not exceed."""
    return ordered[max(0, -(-len(ordered) * int(q * 100) // 100) - 1)]


def sorted_costs(costs: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Costs, the highest first, at most as many as a list may hold."""
    ranked = sorted(costs.items(), key=lambda pair: (-pair[1], pair[0]))
    return dict(ranked[:MAX_LISTED])
