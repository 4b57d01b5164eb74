"""What is learnt from a ledger: which turns tell what a picture takes, and of which kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from batchgen.errors import UsageError
from batchgen.forecast.experience import (
    EVERY_ONE,
    FEWEST,
    MOST_KINDS,
    MOST_SAMPLES,
    Experience,
    Sample,
    read_experience,
)
from batchgen.model import Attempt, Kind, Outcome, Tokens
from batchgen.store.history import read_history
from batchgen.store.ledger import End, Line, Run, Sent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AT = "2026-11-21T03:00:04.120Z"
PRO = "gemini-3-pro-image"
K4 = Kind(size="4K")
TOKENS = Tokens(input_text=30, output_text=110, output_image=2000, thoughts=200)


def run(run_id: str = "r") -> Run:
    return Run(run_id=run_id, at=AT, job="j", job_sha256="", provider="p", version="")


def sent(
    item: str = "a", n: int = 1, *, kind: Kind | None = K4, est: int | None = 20, **known: Any
) -> Sent:
    line = Sent(
        run_id="r",
        item=item,
        key="1" * 64,
        turn=1,
        attempt=n,
        at=AT,
        model=PRO,
        asks=msgspec.UNSET if kind is None else kind,
        est_tokens=msgspec.UNSET if est is None else est,
    )
    return msgspec.structs.replace(line, **known)


def came(item: str = "a", n: int = 1, **known: Any) -> Attempt:
    line = Attempt(
        run_id="r",
        item=item,
        key="1" * 64,
        turn=1,
        attempt=n,
        at=AT,
        model=PRO,
        model_version=PRO,
        provider="p",
        outcome=Outcome.IMAGE,
        decision="done",
        tokens=TOKENS,
        cost_basis="reported",
        billed="yes",
        latency_s=20.0,
    )
    return msgspec.structs.replace(line, **known)


def refused(item: str = "a", n: int = 1, **known: Any) -> Attempt:
    """A call that says some words, draws nothing, and is made again unless it is told otherwise."""
    said = Tokens(input_text=30, thoughts=180)
    said_so = {"outcome": Outcome.NO_IMAGE, "decision": "retry", "tokens": said, "latency_s": 5.0}
    return came(item, n, **{**said_so, **known})


def unbilled(item: str = "a", n: int = 1, **known: Any) -> Attempt:
    said = {"outcome": Outcome.RATE_LIMITED, "decision": "retry", "billed": "no", "tokens": None}
    return came(item, n, **{**said, "latency_s": 0.5, **known})


def learnt(*lines: Line) -> Experience:
    experience = Experience()
    for line in lines:
        experience.take(line)
    return experience


def pictures(n: int, **known: Any) -> Iterator[Line]:
    """So many turns that were made at once; `known` is of what was sent."""
    for number in range(n):
        yield sent(f"{known.get('model')}{known.get('kind')}{number}", **known)
        yield came(f"{known.get('model')}{known.get('kind')}{number}")


def samples(*lines: Line, kind: Kind = K4) -> list[Sample]:
    """What lines teach of a kind, by asking for it behind enough pictures that say nothing else."""
    found = learnt(*pictures(FEWEST, kind=kind), *lines).find(PRO, kind)
    assert found is not None
    return list(found.pool.samples)[FEWEST:]


MADE = Sample(beyond_tokens=10, output_text=110, output_image=2000, thoughts=200, latency_s=20.0)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([sent(), came()], [MADE]),
        (
            [sent(), refused(), sent(n=2), unbilled(n=2), sent(n=3), came(n=3)],
            [
                Sample(
                    n_calls=3,
                    n_prompts=2,
                    beyond_tokens=20,
                    output_text=110,
                    output_image=2000,
                    thoughts=380,
                    latency_s=25.5,
                )
            ],
        ),
        (
            [
                sent(),
                unbilled(billed="maybe", outcome=Outcome.TIMEOUT, latency_s=None),
                sent(n=2),
                came(n=2),
            ],
            [msgspec.structs.replace(MADE, n_calls=2, n_maybe=1)],
        ),
        (
            [sent(), refused(decision="failed")],
            [Sample(is_done=False, beyond_tokens=10, thoughts=180, latency_s=5.0)],
        ),
        (
            [sent(), unbilled(outcome=Outcome.BLOCKED, decision="failed")],
            [Sample(is_done=False, n_prompts=0, latency_s=0.5)],
        ),
        ([sent(est=None), came()], [msgspec.structs.replace(MADE, beyond_tokens=0)]),
        (
            [sent(), came(grounding={"webSearchQueries": ["x", "y", "x", ""]})],
            [msgspec.structs.replace(MADE, n_queries=2, n_grounded=1)],
        ),
    ],
    ids=["done", "tried again", "maybe", "refused", "blocked", "not estimated", "searched"],
)
def test_a_turn_that_ended_is_one_sample_with_all_that_was_billed(
    lines: list[Line], expected: list[Sample]
) -> None:
    assert samples(*lines) == expected


@pytest.mark.parametrize(
    "lines",
    [
        [sent(), unbilled(outcome=Outcome.BAD_REQUEST, decision="failed")],
        [sent(), unbilled(outcome=Outcome.SERVER_ERROR, decision="failed")],
        [sent(), came(tokens=None)],
        [sent(), refused(tokens=None), sent(n=2), came(n=2)],
        [sent(), refused(), unbilled(decision="stop"), sent(n=2), came(n=2)],
        [sent(), refused(), run("s"), sent(run_id="s", n=2), came(run_id="s", n=2)],
        [sent(), came(run_id="other")],
        [came()],
        [came(n=0, outcome=Outcome.MISSING_REFERENCE, decision="failed")],
    ],
    ids=[
        *("a bad request", "an outage", "no counts", "no counts of one call", "a stop"),
        *("a killed run", "another run", "never sent", "nothing to send"),
    ],
)
def test_what_does_not_tell_all_that_a_picture_takes_is_no_sample(lines: list[Line]) -> None:
    assert samples(*lines) == []


def test_of_turns_that_no_run_saw_to_their_end_nothing_is_kept() -> None:
    left: list[Line] = [run(), *(sent(f"{n}") for n in range(50)), refused("1")]
    assert repr(learnt(*left)) == "<Experience 0 kinds, 50 turns under way>"
    assert repr(learnt(*left, run("s"))) == "<Experience 0 kinds, 0 turns under way>"
    ended = end(60, peak=3, most=4)
    assert repr(learnt(*left, ended)) == "<Experience 0 kinds, 0 turns under way>"


def test_turns_of_one_item_are_told_apart() -> None:
    words = Tokens(output_image=7)
    lines: list[Line] = [sent(), sent(turn=2), came(turn=2), came(tokens=words)]
    assert [sample.output_image for sample in samples(*lines)] == [2000, 7]


def test_too_few_pictures_tell_nothing_however_many_were_refused() -> None:
    few = list(pictures(FEWEST - 1, kind=K4))
    many_refused: list[Line] = [
        line for n in range(20) for line in (sent(f"x{n}"), refused(f"x{n}"))
    ]
    assert learnt(*few, *many_refused).find(PRO, K4) is None
    assert learnt(*few, sent("y"), came("y")).find(PRO, K4) is not None


EXACT = Kind(size="4K", ratio="4:5", references=2, thinking="HIGH", search="web")


@pytest.mark.parametrize(
    ("model", "other", "is_found"),
    [
        (PRO, {}, "exact"),
        (f"models/{PRO}-preview", {}, "exact"),
        (PRO, {"ratio": "1:1"}, "similar"),
        (PRO, {"references": 3}, "similar"),
        (PRO, {"ratio": None, "references": 0}, "similar"),
        (PRO, {"size": "1K"}, None),
        (PRO, {"thinking": None}, None),
        (PRO, {"search": None}, None),
        (PRO, {"tier": "flex"}, None),
        ("gemini-3.1-flash-image", {}, None),
    ],
)
def test_what_tells_of_a_kind_is_the_same_or_differs_in_ratio_and_references_alone(
    model: str, other: dict[str, Any], is_found: str | None
) -> None:
    experience = learnt(*pictures(FEWEST, kind=EXACT))
    found = experience.find(model, msgspec.structs.replace(EXACT, **other))
    assert (found and ("exact" if found.is_exact else "similar")) == is_found


def test_several_kinds_with_few_pictures_each_tell_together_of_what_is_like_them() -> None:
    kinds = [Kind(size="4K", ratio=ratio) for ratio in ("1:1", "4:5", "9:16", "16:9")]
    experience = learnt(*(line for kind in kinds for line in pictures(2, kind=kind)))
    told = [experience.find(PRO, kind) for kind in kinds]
    assert [one and (one.is_exact, len(one.pool.samples)) for one in told] == [(False, 8)] * 4
    assert len({one.name for one in told if one is not None}) == 1


def test_what_was_found_is_looked_for_again_when_more_is_known() -> None:
    experience = learnt(*pictures(FEWEST - 1, kind=K4))
    other = Kind(size="4K", ratio="1:1")
    assert experience.find(PRO, other) is None
    for line in pictures(FEWEST, kind=Kind(size="4K", ratio="4:5")):
        experience.take(line)
    assert experience.find(PRO, other) is not None


def test_a_ledger_that_does_not_tell_what_was_asked_tells_it_by_the_tokens_of_a_picture() -> None:
    experience = learnt(*pictures(FEWEST, kind=None))  # 2000 of a picture: that is 4K
    found = experience.find(PRO, K4)
    assert found is not None
    assert not found.is_exact
    assert experience.find(PRO, Kind(size="1K")) is None


def test_who_answered_last_and_how_is_remembered() -> None:
    lines: list[Line] = [sent(), came(model_version="successor", service_tier="flex")]
    found = learnt(*pictures(FEWEST, kind=K4), *lines).find(PRO, K4)
    assert found is not None
    assert (found.pool.model_version, found.pool.tier) == ("successor", "flex")


def test_of_many_samples_the_newest_are_kept_and_of_many_kinds_too() -> None:
    experience = learnt(*pictures(MOST_SAMPLES, kind=K4))
    experience.take(sent("last"))
    experience.take(came("last", latency_s=99.0))
    found = experience.find(PRO, K4)
    assert found is not None
    assert len(found.pool.samples) == MOST_SAMPLES
    assert found.pool.samples[-1].latency_s == 99.0
    for number in range(MOST_KINDS):
        for line in pictures(FEWEST, kind=Kind(size=f"odd {number}")):
            experience.take(line)
    assert experience.find(PRO, K4) is None
    assert experience.find(PRO, Kind(size="odd 0")) is not None


def test_of_very_many_turns_some_are_taken_by_their_key() -> None:
    experience = learnt(*pictures(EVERY_ONE, kind=K4))
    for number in range(2 * FEWEST):
        key = f"{number:x}" * 64
        experience.take(sent(f"late{number}", kind=EXACT, key=key[:64]))
        experience.take(came(f"late{number}"))
    for number in range(FEWEST):
        experience.take(sent(f"later{number}", kind=Kind(), key="0" * 64))
        experience.take(came(f"later{number}"))
    assert experience.find(PRO, EXACT) is None
    assert experience.find(PRO, Kind()) is not None


def end(wall_s: float, *, peak: int, most: int | None) -> End:
    known = {"peak": peak, "final": peak} | ({} if most is None else {"most": most})
    return End(
        run_id="r", at=AT, stop_reason="", exit_code=0, wall_s=wall_s, concurrency=dict(known)
    )


@pytest.mark.parametrize(
    ("ended", "most", "expected"),
    [
        (end(60, peak=3, most=4), 4, [10 * 20 / 60]),
        (end(60, peak=3, most=4), 3, [3]),
        (end(60, peak=3, most=4), 64, []),  # it might not have had more
        (end(60, peak=4, most=4), 4, []),  # ten calls are not many times four
        (end(60, peak=3, most=None), 4, []),
        (end(0, peak=3, most=4), 4, []),
    ],
)
def test_a_run_with_enough_to_do_tells_how_many_calls_are_under_way_at_once(
    ended: End, most: int, expected: list[float]
) -> None:
    assert learnt(run(), *pictures(10, kind=K4), ended).concurrency(most) == expected


def test_a_run_that_called_nobody_tells_nothing_of_how_many_are_under_way_at_once() -> None:
    skip = came(n=0, outcome=Outcome.SKIPPED_DEPENDENCY, decision="skipped", latency_s=None)
    assert learnt(run(), *[skip] * 9, end(1, peak=0, most=4)).concurrency(4) == []
    unmeasured = [came(f"{n}", latency_s=None) for n in range(9)]
    assert learnt(run(), *unmeasured, end(1, peak=1, most=4)).concurrency(4) == []


def test_each_run_is_for_itself_and_the_last_five_count() -> None:
    lines = [run(), *pictures(4, kind=K4), end(8, peak=1, most=9)]
    told = learnt(*lines * 7).concurrency(9)
    assert told == [9] * 5  # 80 s of work in 8 s, of which 9 are allowed


def _write(path: Path, *lines: Line) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    return path


def test_other_jobs_are_learnt_from_one_by_one_or_by_the_folder_above_them(tmp_path: Path) -> None:
    _write(tmp_path / "one/ledger/20261121T030000Z-00000001.jsonl", *pictures(5, kind=K4))
    _write(tmp_path / "two/ledger/20261121T030000Z-00000002.jsonl", *pictures(5, kind=K4))
    for paths in ([tmp_path], [tmp_path / "one", tmp_path / "two"]):
        found = read_experience(paths).find(PRO, K4)
        assert found is not None
        assert len(found.pool.samples) == 10
    assert read_experience([tmp_path / "one"]).find(PRO, K4) is None
    with pytest.raises(UsageError, match="no ledger there"):
        read_experience([tmp_path / "one/ledger"])


def test_a_history_that_is_read_tells_each_line_once_to_who_learns_from_it(
    tmp_path: Path,
) -> None:
    lines = [run(), *pictures(FEWEST, kind=K4)]
    path = _write(tmp_path / "20261121T030000Z-00000001.jsonl", *lines, *lines[-2:])
    experience = Experience()
    read_history([path], observe=experience.take)
    found = experience.find(PRO, K4)
    assert found is not None
    assert len(found.pool.samples) == FEWEST
