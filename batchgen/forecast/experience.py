"""What pictures took: learnt from the ledger, line by line as it is read.

One sample is one turn of an item as one run made it, from its first call to the one that ended it,
with all that was billed on the way. Money is not remembered: tokens are priced when somebody asks,
by the prices of that day.

    Sent ──> a turn begins ──> Attempt … ──> done, or refused ──> a sample of its kind

Memory: the newest samples of each kind, and the turns under way.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from batchgen.errors import UsageError
from batchgen.known_models import KnownModels
from batchgen.model import Attempt, Kind, Outcome, Tier
from batchgen.store.ledger import End, Filed, Line, Run, Sent, read_lines, segments
from batchgen.wire.grounding import count_queries

# Fewer pictures than that tell less than what is published.
FEWEST: Final = 8
MOST_SAMPLES: Final = 500
MOST_KINDS: Final = 200
_MOST_SIMILAR: Final = 2000
# After so many turns one in eight is enough, by the end of its key: a finished job of a million
# items would read its ledger more slowly for nothing.
EVERY_ONE: Final = 5000
_SOME: Final = ("0", "1")
_MOST_RUNS: Final = 5
# A run that had not much more to do than it may do at once does not tell how much it does at once.
_ROUNDS: Final = 3

# The model looked at the prompt and made nothing of it: so it may be again. What failed for any
# other reason says nothing of what a picture takes.
_REFUSED: Final = frozenset(
    {
        *(Outcome.BLOCKED, Outcome.NO_IMAGE, Outcome.TEXT_ONLY),
        *(Outcome.WRONG_SIZE, Outcome.BROKEN_IMAGE),
    }
)

# What a model goes by, and what was asked of it; None in a ledger that does not tell.
PoolName: TypeAlias = tuple[str, Kind | None]


class Sample(msgspec.Struct, frozen=True, gc=False):
    """What one turn took, over all its calls; of a published one, what it takes.

    Attributes:
        is_known: Of all that was billed there are counts.
        n_prompts: How often the prompt was billed.
        n_maybe: Calls that nobody saw the end of and that may be billed.
        beyond_tokens: Input beyond what was estimated of the prompt before it left.
        n_grounded: Answers for which there was a search.
        latency_s: Of all calls together.
        disk_bytes: Of all pictures that were kept, drafts and those in quarantine included.
    """

    is_done: bool = True
    is_known: bool = True
    n_calls: float = 1
    n_prompts: float = 1
    n_maybe: float = 0
    beyond_tokens: float = 0
    output_text: float = 0
    output_image: float = 0
    thoughts: float = 0
    n_queries: float = 0
    n_grounded: float = 0
    latency_s: float = 0
    disk_bytes: float = 0

    def __add__(self, last: "Sample") -> "Sample":
        """This and the call that came after it."""
        return Sample(
            last.is_done,
            self.is_known and last.is_known,
            self.n_calls + last.n_calls,
            self.n_prompts + last.n_prompts,
            self.n_maybe + last.n_maybe,
            self.beyond_tokens + last.beyond_tokens,
            self.output_text + last.output_text,
            self.output_image + last.output_image,
            self.thoughts + last.thoughts,
            self.n_queries + last.n_queries,
            self.n_grounded + last.n_grounded,
            self.latency_s + last.latency_s,
            self.disk_bytes + last.disk_bytes,
        )


@dataclass(slots=True)
class Pool:
    """The newest samples of one kind.

    Attributes:
        model_version, tier: Who answered last, and how it was served: that is what prices it.
    """

    model_version: str | None = None
    tier: Tier = "standard"
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=MOST_SAMPLES))

    @property
    def is_enough(self) -> bool:
        """Whether there are so many pictures among them that they tell what others will take."""
        return sum(sample.is_done for sample in self.samples) >= FEWEST


@dataclass(frozen=True, slots=True)
class Found:
    """Samples that tell what a kind of picture takes.

    Attributes:
        name: Of what they are; the same for all kinds that they stand for.
        is_exact: They are of this very kind.
    """

    name: PoolName
    pool: Pool
    is_exact: bool


class Experience:
    """What all runs of a ledger took, by kind of picture; give it every line, in order."""

    def __init__(self) -> None:
        """Start with none."""
        self._pools: dict[PoolName, Pool] = {}
        self._by_asked: dict[tuple[str, Kind | msgspec.UnsetType], Pool] = {}
        self._begun: dict[tuple[str, int], Sent] = {}  # the first calls of turns under way
        self._so_far: dict[tuple[str, int], Sample] = {}  # of those that were tried again
        self._found: dict[PoolName, Found | None] = {}
        self._busy_s = 0.0
        self._n_calls = 0
        self._n_turns = 0
        self._concurrency: deque[tuple[float, int]] = deque(maxlen=_MOST_RUNS)

    def __repr__(self) -> str:
        """Show how much is kept."""
        return f"<Experience {len(self._pools)} kinds, {len(self._begun)} turns under way>"

    def take(self, line: Line) -> None:
        """Learn from one line."""
        match line:
            case Sent():
                if line.attempt == 1:
                    self._n_turns += 1
                    if self._n_turns <= EVERY_ONE or line.key[-1:] in _SOME:
                        self._begun[line.item, line.turn] = line
            case Attempt():
                self._ended(line)
            case Run():
                self._forget_turns()
                self._busy_s, self._n_calls = 0.0, 0
            case End():
                self._run_ended(line)
            case Filed():
                pass  # nothing was sent

    def concurrency(self, most: int) -> list[float]:
        """How many calls the last runs really had under way at once, oldest first.

        Args:
            most: Runs that might not have so many tell nothing.
        """
        return [min(n, most) for n, highest in self._concurrency if highest >= most]

    def find(self, model: str, kind: Kind) -> Found | None:
        """What tells most of a kind of picture; None if there is not enough of anything like it.

        That is the same kind; else the same model, size, thinking and tools, whatever the ratio
        and the references.
        """
        name = KnownModels.shipped().name_of(model)
        exact = self._pools.get((name, kind))
        if exact is not None and exact.is_enough:
            return Found((name, kind), exact, is_exact=True)
        alike = _without_geometry(kind)
        if (name, alike) not in self._found:
            pool = self._similar(name, alike)
            found = Found((name, alike), pool, is_exact=False) if pool.is_enough else None
            self._found[name, alike] = found
        return self._found[name, alike]

    def _pool_of(self, sent: Sent) -> Pool:
        asked = (sent.model, sent.asks)
        pool = self._by_asked.get(asked)
        if pool is None:
            pool = self._by_asked[asked] = self._pool(sent)
        return pool

    def _pool(self, line: Sent) -> Pool:
        """The pool of a kind; that of the kind that was met first makes room for a new one."""
        kind = None if isinstance(line.asks, msgspec.UnsetType) else line.asks
        name = (KnownModels.shipped().name_of(line.model), kind)
        if name not in self._pools and len(self._pools) >= MOST_KINDS:
            del self._pools[next(iter(self._pools))]
            self._by_asked.clear()
        return self._pools.setdefault(name, Pool())

    def _ended(self, line: Attempt) -> None:
        self._n_calls += line.attempt > 0
        self._busy_s += line.latency_s or 0.0
        name = (line.item, line.turn)
        sent = self._begun.get(name)
        if sent is None or sent.run_id != line.run_id:
            return
        sample = _sample(sent, line)
        if line.attempt > 1 and (before := self._so_far.pop(name, None)) is not None:
            sample = before + sample
        if line.decision == "retry":
            self._so_far[name] = sample
            return
        del self._begun[name]
        if sample.is_known and (sample.is_done or line.outcome in _REFUSED):
            pool = self._pool_of(sent)
            pool.samples.append(sample)
            if sample.is_done:
                pool.model_version = line.model_version
                tier = line.service_tier
                pool.tier = "standard" if tier is msgspec.UNSET else tier
            self._found.clear()

    def _forget_turns(self) -> None:
        """Turns that no run saw to their end tell nothing."""
        self._begun.clear()
        self._so_far.clear()

    def _run_ended(self, line: End) -> None:
        self._forget_turns()
        peak, most = line.concurrency.get("peak"), line.concurrency.get("most")
        if not (isinstance(peak, int) and isinstance(most, int)) or line.wall_s <= 0:
            return
        if self._busy_s and self._n_calls > _ROUNDS * peak:
            self._concurrency.append((self._busy_s / line.wall_s, most))

    def _similar(self, model: str, kind: Kind) -> Pool:
        """The newest samples of all kinds that differ in nothing but ratio and references.

        Where a ledger does not tell what was asked, the tokens of a picture tell its size.
        """
        pool = Pool(samples=deque(maxlen=_MOST_SIMILAR))
        for (name, other), found in self._pools.items():
            if name != model:
                continue
            if other is None:
                pool.samples.extend(_of_size(found.samples, model, kind))
            elif _without_geometry(other) == kind:
                pool.samples.extend(found.samples)
                pool.model_version, pool.tier = found.model_version, found.tier
        return pool


def _sample(sent: Sent, line: Attempt) -> Sample:
    """What one call took."""
    is_done = line.decision == "done"
    latency_s = line.latency_s or 0.0
    tokens = line.tokens
    if line.billed != "yes" or tokens is None:
        is_known = line.billed != "yes"
        return Sample(is_done, is_known, 1, 0, line.billed == "maybe", latency_s=latency_s)
    n_input = tokens.input_text + tokens.input_image
    beyond = 0 if isinstance(sent.est_tokens, msgspec.UnsetType) else n_input - sent.est_tokens
    n_queries = 0 if line.grounding is None else count_queries(line.grounding)
    return Sample(
        is_done,
        True,  # noqa: FBT003 - by place, for there are a million of them
        1,
        1,
        0,
        beyond,
        tokens.output_text,
        tokens.output_image,
        tokens.thoughts,
        n_queries,
        n_queries > 0,
        latency_s,
        sum(image.bytes for image in line.images),
    )


def _without_geometry(kind: Kind) -> Kind:
    return msgspec.structs.replace(kind, ratio=None, references=0)


def _of_size(samples: Iterable[Sample], model: str, kind: Kind) -> Iterator[Sample]:
    known = KnownModels.shipped().token_counts(model)
    one = known.by_size.get(kind.size or known.default_size)
    return (sample for sample in samples if one is not None and sample.output_image % one == 0)


def read_experience(paths: Iterable[Path]) -> Experience:
    """Learn from the ledgers of other jobs.

    Args:
        paths: Directories of jobs, or folders above several of them.

    Raises:
        UsageError: There is no ledger in one of them.
        StoreError: A line is of a newer version of batchgen, or a segment cannot be read.
    """
    experience = Experience()
    for path in paths:
        found = list(chain(*map(segments, (path / "ledger", *sorted(path.glob("*/ledger"))))))
        if not found:
            raise UsageError(f"{path}: no ledger there, nor in a folder of it")
        for segment in found:
            for _, line in read_lines(segment):
                experience.take(line)
    return experience
