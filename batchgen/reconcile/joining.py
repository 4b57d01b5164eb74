"""Which billed request is which call: by request id, and where that is missing, by model and time.

A call that timed out got no answer, and so no id. Of the requests that no call has, it gets the one
that was billed nearest to its end; each goes to one call only. Where the rows of the log have no
ids, the calls that were finished come first, for they are known to have been billed.
"""

import heapq
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final, NamedTuple

from batchgen.reconcile.bill import Bill
from batchgen.reconcile.calls import Call, Calls, Said

_NOBODY: Final = -1


class Joined(NamedTuple):
    """What belongs together.

    Attributes:
        request_of: For each call the place of its request, or -1.
        call_of: For each request the place of its call, or -1.
        by_time: The calls that were not joined by id.
    """

    request_of: "array[int]"
    call_of: "array[int]"
    by_time: set[int]


def join(calls: Calls, bill: Bill) -> Joined:
    """Join calls and requests, each with one at most."""
    joined = Joined(
        array("q", [_NOBODY]) * len(calls.each), array("q", [_NOBODY]) * len(bill.requests), set()
    )
    for n, call in enumerate(calls.each):
        place = None if call.key is None else bill.find(call.key)
        if place is not None and joined.call_of[place] == _NOBODY:
            joined.request_of[n], joined.call_of[place] = place, n
    _join_by_time(calls, bill, joined)
    return joined


def _join_by_time(calls: Calls, bill: Bill, joined: Joined) -> None:
    """Give to each call that may have been billed what was billed nearest to its end."""
    # A call that was finished had an answer with its id: only rows without one may be its.
    has_all_ids = 0 not in bill.requests.column("has_id")
    eligible = {Said.MAYBE} if has_all_ids else {Said.MAYBE, Said.YES}
    sides = zip(joined.request_of, calls.each.column("said"), strict=True)
    unjoined = (n for n, (place, said) in enumerate(sides) if place < 0 and said in eligible)
    left = {n: call for n in unjoined if (call := calls.each[n]).at_ms is not None}
    free = _free(bill, joined, {call.model for call in left.values()})
    nearest = [
        (call.said != Said.YES, distance_ms, n, place, others)
        for n, call in left.items()
        for others in [_candidates(call, *free.get(call.model, ([], [])))]
        for distance_ms, place in [next(others, (0, _NOBODY))]
        if place != _NOBODY
    ]
    heapq.heapify(nearest)
    while nearest:
        is_unsure, _, n, place, others = heapq.heappop(nearest)
        may_be_its = is_unsure or not bill.requests[place].has_id
        if may_be_its and joined.call_of[place] == _NOBODY:
            joined.request_of[n], joined.call_of[place] = place, n
            joined.by_time.add(n)
        elif (following := next(others, None)) is not None:
            heapq.heappush(nearest, (is_unsure, following[0], n, following[1], others))


def _free(bill: Bill, joined: Joined, models: set[int]) -> dict[int, tuple[list[int], list[int]]]:
    """By model the times (ms) of what was billed and has no call, and the places."""
    found: dict[int, list[tuple[int, int]]] = {}
    for place, request in enumerate(bill.requests):
        if joined.call_of[place] != _NOBODY or request.nano_usd <= 0 or request.at_s is None:
            continue
        if request.model is not None and request.model in models:
            found.setdefault(request.model, []).append((request.at_s * 1000, place))
    in_order = {model: sorted(each) for model, each in found.items()}
    return {
        model: ([at_ms for at_ms, _ in each], [place for _, place in each])
        for model, each in in_order.items()
    }


def _candidates(call: Call, ats_ms: list[int], places: list[int]) -> Iterator[tuple[int, int]]:
    """The requests that may be a call's with how far from its end they are, the nearest first."""
    first_ms, last_ms = call.window_ms
    end_ms = call.end_ms or 0
    above = bisect_left(ats_ms, end_ms)
    below = above - 1
    while True:
        has_above = above < len(ats_ms) and ats_ms[above] <= last_ms
        has_below = below >= 0 and ats_ms[below] >= first_ms
        if has_above and not (has_below and end_ms - ats_ms[below] < ats_ms[above] - end_ms):
            yield ats_ms[above] - end_ms, places[above]
            above += 1
        elif has_below:
            yield end_ms - ats_ms[below], places[below]
            below -= 1
        else:
            return
