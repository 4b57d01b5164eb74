"""What a plan takes: which samples tell of which turns, and the figures worked out by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from batchgen.cost import PriceBook, PriceList
from batchgen.forecast import Forecast, Work, forecast
from batchgen.forecast.experience import FEWEST, Experience
from batchgen.forecast.turns import Grounds
from batchgen.limits import Limits
from batchgen.limits.settings import AUTO, Concurrency
from batchgen.model import Attempt, Item, Kind, Outcome, Reference, Tokens, Turn
from batchgen.plan import Todo
from batchgen.store.history import History
from batchgen.store.ledger import End, Line, Run, Sent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchgen.forecast.figures import Figures

AT = "2026-11-21T03:00:04.120Z"
PRO, FLASH, NEW = "gemini-3-pro-image", "gemini-3.1-flash-image", "gemini-nano-banana-2.1"
TOKENS = Tokens(input_text=30, output_text=100, output_image=1120, thoughts=200)
FOUR = Limits(concurrency=Concurrency.at_most(4))
PLAIN = Kind()
PROMPT = "x" * 80  # 20 tokens


def item(name: str = "a", **known: Any) -> Item:
    known = known if {"turns", "request"} & set(known) else {"prompt": PROMPT, **known}
    return Item(**{"id": name, "model": PRO, "key": name, **known})


def items(n: int, **known: Any) -> list[Item]:
    return [item(f"i{number}", **known) for number in range(n)]


def turn(
    name: str, *, model: str = PRO, kind: Kind = PLAIN, est: int = 20, **known: Any
) -> Iterator[Line]:
    """The lines of a turn that was made at once, unless what is `known` of it says otherwise."""
    where: dict[str, Any] = {"run_id": "r", "item": name, "key": "0" * 64, "turn": 1, "at": AT}
    yield Sent(**where, attempt=1, model=model, asks=kind, est_tokens=est)
    came: dict[str, Any] = {
        "attempt": 1,
        "model": model,
        "provider": "p",
        "outcome": Outcome.IMAGE,
        "decision": "done",
        "tokens": TOKENS,
        "cost_basis": "reported",
        "billed": "yes",
        "latency_s": 10.0,
    }
    yield Attempt(**where, **{**came, **known})


def after(n: int, **known: Any) -> Experience:
    """What so many turns teach that were all alike."""
    experience = Experience()
    for number in range(n):
        for line in turn(f"{number}", **known):
            experience.take(line)
    return experience


def told(
    made: list[Item],
    own: Experience | None = None,
    *,
    limits: Limits = FOUR,
    book: PriceBook | None = None,
    others: Experience | None = None,
    parents: dict[str, str] | None = None,
    **how: Any,
) -> Forecast:
    grounds = Grounds(
        book or PriceBook.shipped(), AT, own or Experience(), limits, others, parents or {}
    )
    return forecast([Todo(one, "new") for one in made], History(), grounds, **how)


def figures(made: list[Item], own: Experience | None = None, **known: Any) -> Figures:
    found = told(made, own, **known).figures
    assert found is not None
    return found


def bases(found: Figures) -> list[tuple[str, int, int]]:
    return [(one.basis, one.pictures, one.samples) for one in found.tokens.basis]


def cost(found: Figures) -> tuple[str, str, str]:
    assert found.cost_usd is not None
    return (str(found.cost_usd.low), str(found.cost_usd.expected), str(found.cost_usd.high))


# --- what tells of what ---------------------------------------------------------------------------


def test_where_nothing_is_known_the_published_figures_tell_low_expected_and_high() -> None:
    found = figures(items(10))
    assert bases(found) == [("table", 10, 0)]
    # A picture: 20 tokens in, 88|360|630 of words, 50|225|400 of thoughts, 1120 of the picture.
    # Low: nine in ten, half the input. Expected: 5 % more calls. High: 30 % more, twice the input.
    low = 9 * (10 * 2 + (88 + 50) * 12 + 1120 * 120)
    expected = 10.5 * (20 * 2 + (360 + 225) * 12) + 10 * 1120 * 120
    high = 13 * (40 * 2 + (630 + 400) * 12 + 1120 * 120)
    exact = [Decimal(usd) / 1_000_000 for usd in (low, round(expected, -1), high)]
    assert [Decimal(usd) for usd in cost(found)] == pytest.approx(exact, abs=Decimal("0.00003"))
    assert found.tokens.low == 9 * (10 + 88 + 50 + 1120)
    assert found.tokens.high == 13 * (40 + 630 + 400 + 1120)
    assert found.tokens.by_class == Tokens(
        input_text=210, output_text=3780, output_image=11200, thoughts=2362
    )


def test_history_of_the_very_kind_tells_what_the_same_will_take() -> None:
    found = figures(items(40), after(160))
    assert bases(found) == [("history", 40, 160)]
    a_picture = 30 * 2 + (100 + 200) * 12 + 1120 * 120
    low, expected, high = cost(found)
    assert expected == f"{Decimal(40 * a_picture) / 1_000_000:.6f}"
    assert Decimal(low) < Decimal(expected) < Decimal(high) < Decimal(expected) * Decimal("1.06")
    assert found.tokens.expected == 40 * (30 + 300 + 1120)
    assert found.tokens.by_class == Tokens(
        input_text=1200, output_text=4000, output_image=44800, thoughts=8000
    )
    assert told(items(40), after(160)).planned_usd == Decimal(expected)


def test_what_is_sent_is_that_of_the_item_and_not_of_what_was_sent_before() -> None:
    """Ten tokens more came than were estimated; the prompt is a hundred times as long now."""
    longer = figures(items(10, prompt=PROMPT * 100), after(20))
    assert longer.tokens.by_class.input_text == 10 * (2000 + 10)
    pictured = items(10, references=(Reference(path="/a.png"),))
    found = figures(pictured, after(20))
    assert bases(found) == [("similar_history", 10, 20)]
    assert found.tokens.by_class.input_image == 10 * 560


def test_kinds_that_the_same_pictures_tell_of_are_one_figure() -> None:
    made = [item(f"{n}", aspect_ratio=ratio) for n, ratio in enumerate(["1:1", "4:5", "4:5"])]
    found = figures(made, after(20, kind=Kind(ratio="9:16")))
    assert bases(found) == [("similar_history", 3, 20)]


def test_own_history_wins_over_that_of_others_and_both_over_the_table() -> None:
    dear = Tokens(output_image=5000)
    own, others = after(20), after(30, tokens=dear)
    for line in (line for n in range(9) for line in turn(f"x{n}", kind=Kind(size="4K"))):
        others.take(line)
    made = [
        *items(5),
        *(item(f"4K {n}", image_size="4K") for n in range(3)),
        *(item(f"flash {n}", model=FLASH) for n in range(2)),
    ]
    found = figures(made, own, others=others)
    assert bases(found) == [("history", 5, 20), ("other_history", 3, 9), ("table", 2, 0)]
    assert bases(figures(made, own)) == [("history", 5, 20), ("table", 3, 0), ("table", 2, 0)]
    assert bases(figures(made, after(FEWEST - 1), others=others))[0] == ("other_history", 5, 30)
    assert found.pictures == 10


def test_failed_tries_are_paid_again_as_often_as_they_were() -> None:
    own = after(16)
    words = Tokens(input_text=30, thoughts=400)
    for number in range(16):
        name = f"again{number}"
        first = list(
            turn(name, outcome=Outcome.NO_IMAGE, decision="retry", tokens=words, latency_s=5.0)
        )
        for line in (*first, *turn(name, attempt=2)):
            own.take(line)
    found = figures(items(10), own)
    assert found.tokens.by_class == Tokens(
        input_text=450, output_text=1000, output_image=11200, thoughts=4000
    )


def test_what_may_be_billed_raises_the_high_figure_alone() -> None:
    sure, unsure = after(32), after(16)
    for number in range(16):
        name = f"lost{number}"
        lost: dict[str, Any] = {"billed": "maybe", "tokens": None, "latency_s": None}
        first = list(turn(name, outcome=Outcome.TIMEOUT, decision="retry", **lost))
        for line in (*first, *turn(name, attempt=2)):
            unsure.take(line)
    low, expected, high = (Decimal(usd) for usd in cost(figures(items(10), sure)))
    low_2, expected_2, high_2 = (Decimal(usd) for usd in cost(figures(items(10), unsure)))
    assert (low, expected) == (low_2, expected_2)
    assert high_2 - high == pytest.approx(expected / 2, abs=Decimal("0.00001"))


# --- money ----------------------------------------------------------------------------------------


def test_without_a_price_the_cost_is_unknown_and_the_tokens_are_those_of_the_dearest() -> None:
    found = figures([*items(2), item("b", model="who-knows")])
    assert (found.cost_usd, found.unpriced) == (None, ["who-knows"])
    assert told([item(model="who-knows")]).planned_usd is None
    assert figures([item(model="who-knows")]).tokens.by_class.output_image == 3780
    assert figures(items(1)).unpriced == []


def test_todays_prices_count_and_are_named() -> None:
    own = after(20, cost_usd=Decimal(1000))
    rates = {"input": 0, "text_output": 0, "image_output": 1000}
    mine = PriceList.of("mine.yaml", {"models": {PRO: rates}, "multiplier": "0.5"})
    found = figures(items(10), own, book=PriceBook.shipped().under(mine))
    assert found.cost_usd is not None
    assert cost(found)[1] == "5.600000"
    assert found.cost_usd.prices == ["mine.yaml"]


def test_who_answers_and_how_it_is_served_is_what_prices() -> None:
    asked = items(10, extra={"serviceTier": "flex"})
    flex, usual = figures(asked, after(20, kind=Kind(tier="flex"), service_tier="flex")), after(20)
    assert 2 * Decimal(cost(flex)[1]) == Decimal(cost(figures(items(10), usual))[1])
    odd, unlisted = {"serviceTier": "odd"}, {"serviceTier": "SERVICE_TIER_FLEX"}
    assert cost(figures(items(1, extra=odd))) == cost(figures(items(1)))
    assert cost(figures(items(1, model=NEW, extra=unlisted))) == cost(figures(items(1, model=NEW)))
    lite, dearer = "gemini-3.1-flash-lite-image", {"serviceTier": "priority"}
    assert figures(items(1, model=lite, extra=dearer)).cost_usd is None
    successor = figures(items(10), after(20, model_version=FLASH))
    assert successor.cost_usd is not None
    assert Decimal(cost(successor)[1]) < Decimal(cost(figures(items(10), usual))[1]) / Decimal(
        "1.9"
    )


def test_searches_cost_and_where_nobody_knows_what_nothing_is_known() -> None:
    asked = items(10, google_search=True)
    low, expected, high = (Decimal(usd) for usd in cost(figures(asked)))
    plain = [Decimal(usd) for usd in cost(figures(items(10)))]
    # A search is $0.014: none; one in 1.05 answers; three in 1.3. 500 or 1000 tokens come with it.
    assert low == plain[0]
    assert expected - plain[1] == Decimal("0.147") + Decimal(5250 * 2) / 1_000_000
    assert high - plain[2] == Decimal("0.546") + Decimal(13000 * 2) / 1_000_000
    searched = after(20, kind=Kind(search="web"), grounding={"webSearchQueries": ["a", "b"]})
    both = Decimal(cost(figures(asked, searched))[1])
    assert both - Decimal(cost(figures(items(10), after(20)))[1]) == Decimal("0.280000")
    unknown = PriceList.of(
        "m", {"models": {"odd": dict.fromkeys(("input", "text_output", "image_output"), 1)}}
    )
    assert (
        figures(items(1, model="odd", google_search=True), book=PriceBook((unknown,))).cost_usd
        is None
    )


# --- time -----------------------------------------------------------------------------------------


def seconds(found: Figures) -> float:
    return found.duration_s.expected


def test_time_is_the_work_over_what_is_under_way_at_once_and_the_first_call_goes_alone() -> None:
    own = after(20)  # 10 s each
    assert seconds(figures(items(1), own)) == 10
    assert seconds(figures(items(2), own)) == 20
    assert seconds(figures(items(41), own)) == 10 + 400 / 4
    assert seconds(figures(items(3), own)) == 20  # four at once cannot halve it further
    found = figures(items(41), own).duration_s
    assert found.low < found.expected < found.high
    assert msgspec.structs.astuple(found.concurrency) == (4, 4, 4)


@pytest.mark.parametrize(
    ("limits", "expected_s"),
    [
        ({"rpm": 6}, 10 + 410),  # one in ten seconds
        ({"ipm": 3}, 10 + 820),
        ({"tpm": 20}, 10 + 41 * 60),
        ({"rpm": 1000}, 10 + 100),
        (
            {"usd_per_10min": Decimal("1.3806")},
            10 + 1860,
        ),  # 4.1 times as much: after 3.1 times 10 min
    ],
)
def test_limits_make_it_take_longer(limits: dict[str, Any], expected_s: float) -> None:
    bounds = Limits(concurrency=Concurrency.at_most(4), **limits)
    assert seconds(figures(items(41), after(20), limits=bounds)) == pytest.approx(
        expected_s, rel=0.01
    )


def test_limits_hold_for_each_model_by_itself() -> None:
    bounds = Limits(concurrency=Concurrency.at_most(99), rpm=6)
    made = [*items(30), *items(30, model=FLASH)]
    assert seconds(figures(made, limits=bounds)) < 30 * 1.05 * 10 + 60


def _ended(own: Experience, *, n_calls: int, wall_s: float, peak: int, most: int) -> None:
    own.take(Run(run_id="r", at=AT, job="j", job_sha256="", provider="p", version=""))
    for number in range(n_calls):
        for line in turn(f"{number}"):
            own.take(line)
    known = {"peak": peak, "final": peak, "most": most}
    own.take(End(run_id="r", at=AT, stop_reason="", exit_code=0, wall_s=wall_s, concurrency=known))


def test_how_many_are_under_way_at_once_is_as_in_earlier_runs_else_in_the_middle() -> None:
    own = after(20)
    found = figures(items(100), own, limits=Limits(concurrency=AUTO)).duration_s
    assert (msgspec.structs.astuple(found.concurrency), found.concurrency_basis) == (
        (4, 34, 64),
        "limits",
    )
    for wall_s in (100, 50, 40):
        _ended(own, n_calls=100, wall_s=wall_s, peak=30, most=64)
    found = figures(items(100), own, limits=Limits(concurrency=AUTO)).duration_s
    assert (msgspec.structs.astuple(found.concurrency), found.concurrency_basis) == (
        (10, 20, 25),
        "history",
    )
    assert (found.expected, found.low < found.expected < found.high) == (10 + 990 / 20, True)


def talk(name: str, n: int, *parents: str) -> Item:
    refs = tuple(Reference(item=parent) for parent in parents)
    return item(name, turns=tuple(Turn(prompt=PROMPT, references=refs) for _ in range(n)))


@pytest.mark.parametrize(
    ("made", "n_in_a_row"),
    [
        ([talk("a", 5)], 5),
        ([*items(4), talk("a", 5)], 5),
        ([talk("a", 2), talk("b", 1, "a"), talk("c", 3, "b")], 6),
        ([talk("c", 3, "b"), talk("a", 2), talk("b", 1, "a")], 6),
        ([talk("top", 1), *(talk(f"t{n}", 1, "top") for n in range(9))], 2),
        ([talk("b", 1, "a"), talk("c", 1, "a", "b")], 2),  # a is done
    ],
)
def test_turns_and_items_that_build_on_each_other_take_their_time(
    made: list[Item], n_in_a_row: int
) -> None:
    parents = {name: name for name in ("a", "b", "top")}
    bounds = Limits(concurrency=Concurrency.at_most(1000))
    found = figures(made, after(20, latency_s=60.0), parents=parents, limits=bounds)
    assert seconds(found) == pytest.approx(60 * max(n_in_a_row, 2))


def test_a_chain_of_20_000_items_needs_no_recursion() -> None:
    made = [talk("i0", 1), *(talk(f"i{n}", 1, f"i{n - 1}") for n in range(1, 20_000))]
    parents = {f"i{n}": f"i{n}" for n in range(19_999)}
    bounds = Limits(concurrency=Concurrency.at_most(1000))
    found = figures(made[::-1], after(20), parents=parents, limits=bounds)
    assert seconds(found) == pytest.approx(200_000)


# --- what is counted ------------------------------------------------------------------------------


def test_nothing_to_make_takes_nothing() -> None:
    assert (told([]).figures, told([]).planned_usd) == (None, Decimal(0))


def test_no_more_than_the_limit_is_counted() -> None:
    found = told(items(9), limit=4)
    assert (found.n_todo, found.figures and found.figures.pictures) == (4, 4)


def test_each_turn_is_a_picture_and_the_later_ones_bring_the_earlier_along() -> None:
    found = figures([talk("a", 3)], after(20))
    assert bases(found) == [("similar_history", 2, 20), ("history", 1, 20)]
    assert found.tokens.by_class.input_image == (1 + 2) * 560
    assert found.tokens.by_class.input_text == (20 + 40 + 60) + 3 * 10


def test_a_raw_request_is_a_kind_like_any_other() -> None:
    body: dict[str, Any] = {"contents": [{"parts": [{"text": PROMPT}]}]}
    assert bases(figures([item(request=body)], after(20))) == [("history", 1, 20)]
    body = {**body, "generationConfig": {"imageConfig": {"imageSize": "4K"}}}
    assert figures([item(request=body)], after(20)).tokens.by_class.output_image == 2000


@pytest.mark.parametrize("n", [0, 1, 7])
def test_a_job_that_is_counted_as_it_is_read_is_told_as_by_its_plan(n: int) -> None:
    body: dict[str, Any] = {"contents": [{"parts": [{"text": PROMPT}, {"inlineData": {}}]}]}
    kinds = [
        item(),
        item(request=body),
        talk("talk", 3),
        item(model=FLASH, image_size="2K", references=(Reference(path="/a", label="the hero"),)),
        item(system_instruction=PROMPT, extra={"generationConfig": {"imageConfig": {}}}),
        item(model=NEW, thinking_level="HIGH", google_search=True),
    ]
    made = [one for _ in range(n) for one in kinds]
    whole = Work()
    for one in made:
        whole.add_whole(one)
    own = after(20)
    assert whole.told(Grounds(PriceBook.shipped(), AT, own, FOUR)) == told(made, own)
