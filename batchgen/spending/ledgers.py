"""Lines of our own ledgers as calls: the figures that were recorded, each call once.

A disk that failed may give a line twice, and later on. A request without an outcome may be billed,
unless its run goes on.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from batchgen.cost import UNKNOWN, Cost, Price, PriceBook, count_tokens, price_tokens
from batchgen.manifest.prices import prices_of_job
from batchgen.model import Attempt, ImageFile, Outcome
from batchgen.review import read_kept
from batchgen.spending.pricing import Pricer
from batchgen.spending.span import read_moment
from batchgen.spending.tally import Call, Sums, Tally
from batchgen.store.history import final_image
from batchgen.store.layout import Layout
from batchgen.store.ledger import Line, Run, Sent, read_line
from batchgen.store.lock import is_held
from batchgen.store.numbered import Numbered
from batchgen.wire.grounding import count_queries
from batchgen.wire.usage import read_usage

_NOWHERE: Final = -1


@dataclass(slots=True)
class Ledger:
    """The segments of one directory, line by line in their order.

    Attributes:
        directory: Where the segments lie.
        known: The calls that were counted, of whatever ledger: one may have been copied.
        pricer: None takes the recorded costs; else every call is priced anew by it, and by what
            its job said of prices.
        n_double: Lines that tell of a call once more.
        n_under_way: Requests without an outcome, of a run that goes on.
    """

    directory: Path
    tally: Tally
    known: Numbered
    pricer: Pricer | None = None
    n_calls: int = 0
    n_double: int = 0
    n_under_way: int = 0
    _latest: Numbered = field(default_factory=Numbered)
    _pending: dict[int, Sent] = field(default_factory=dict)
    _groups: list[Sums] = field(default_factory=list)
    _numbers: dict[int, int] = field(default_factory=dict)
    _redo: frozenset[str] | None = None
    _of_run: Pricer | None = None
    _recorded_by: PriceBook = field(default_factory=PriceBook.shipped)

    def take(self, line: Line) -> None:
        """Count one line."""
        if isinstance(line, Run) and self.pricer is not None:
            job = prices_of_job(line.head)
            self._of_run = self.pricer if job is None else self.pricer.of_job(job)
            self._recorded_by = PriceBook.shipped().with_job(job)
        if not isinstance(line, Sent | Attempt) or not line.attempt:
            return
        call = hash((line.run_id, line.item, line.turn, line.attempt))
        if isinstance(line, Sent):
            if call not in self.known:
                self._pending[call] = line
            return
        self._pending.pop(call, None)
        if self.known.put(call) is not None:
            self.n_double += 1
            return
        self.n_calls += 1
        picture = _picture(line)
        sums = self.tally.add(self._call(line, picture))
        if sums is not None and picture is not None:
            self._accept(line.item, picture, sums)

    def end(self) -> None:
        """Count the requests that left and whose outcome nobody wrote."""
        job = self._job
        if self._pending and job is not None and is_held(job.lock):
            self.n_under_way += len(self._pending)
        else:
            for sent in self._pending.values():
                self.n_calls += 1
                self.tally.add(_unfinished(sent))
        self._pending.clear()

    def _accept(self, item: str, picture: ImageFile, sums: Sums) -> None:
        """Of the pictures of an item the newest counts, unless it is to be made again."""
        number = self._numbers.setdefault(id(sums), len(self._groups))
        if number == len(self._groups):
            self._groups.append(sums)
        is_marked = picture.sha256 in self._marked
        sums.n_accepted -= is_marked
        before = self._latest.put(hash(item), _NOWHERE if is_marked else number)
        if before is not None and before != _NOWHERE:
            self._groups[before].n_accepted -= 1

    @property
    def _marked(self) -> frozenset[str]:
        """What `review.jsonl` of the job's directory marks to be made again.

        By what they are: an item that has another name by now has the picture it had.
        """
        if self._redo is None:
            self._redo = frozenset() if self._job is None else read_kept(self._job.review)
        return self._redo

    @property
    def _job(self) -> Layout | None:
        """The job's directory, if it is one that the segments lie in."""
        layout = Layout(self.directory.parent)
        return layout if layout.ledger == self.directory else None

    def _call(self, line: Attempt, picture: ImageFile | None) -> Call:
        cost = _recorded(line)
        if self.pricer is not None:
            cost = repriced(line, self._of_run or self.pricer, self._recorded_by)
        return Call(
            model=line.model,
            at=read_moment(line.at),
            run=line.run_id,
            item=line.item,
            tags=line.tags,
            outcome=line.outcome,
            n_images=int(picture is not None),
            tokens=line.tokens,
            usd=cost.usd,
            basis=cost.basis,
            billed=line.billed,
        )


@dataclass(slots=True)
class Ledgers:
    """The lines of all ledgers, each call once, of whatever ledger: one may have been copied.

    Attributes:
        pricer: None takes the recorded costs; else every call is priced anew by it.
    """

    tally: Tally
    pricer: Pricer | None = None
    n_calls: int = 0
    n_double: int = 0
    n_under_way: int = 0
    _known: Numbered = field(default_factory=Numbered)
    _of: dict[Path, Ledger] = field(default_factory=dict)
    _now: tuple[Path, Ledger] | None = None  # the file that is read, and the ledger it is of

    def read(self, path: Path, number: int, text: bytes) -> tuple[bool, str | None]:
        """Count a line; whether it is one of ours, and what is wrong with it.

        Raises:
            StoreError: It is of a newer version of batchgen.
        """
        line, why = read_line(text, path, number)
        if line is None:
            return False, why
        if self._now is None or self._now[0] is not path:
            self._now = (path, self._ledger(path.parent))
        self._now[1].take(line)
        return True, why

    def _ledger(self, directory: Path) -> Ledger:
        if (ledger := self._of.get(directory)) is None:
            ledger = Ledger(directory, self.tally, self._known, self.pricer)
            self._of[directory] = ledger
        return ledger

    def end(self) -> None:
        """Count what nobody wrote the outcome of; afterwards no line may come."""
        for ledger in self._of.values():
            ledger.end()
            self.n_calls += ledger.n_calls
            self.n_double += ledger.n_double
            self.n_under_way += ledger.n_under_way
        self._of.clear()


def repriced(line: Attempt, pricer: Pricer, recorded_by: PriceBook) -> Cost:
    """What a call costs by other prices: its recorded tokens, which know the size of its picture.

    Without them it may have cost what it was estimated at: that changes as a picture's price does.

    Args:
        line: The call.
        pricer: The other prices.
        recorded_by: Those by which it was estimated, as far as anybody knows.
    """
    before = recorded_by.find(line.model, at=line.at)
    price = pricer.find(line.model_version, line.model, line.at[:10])
    tokens, basis = line.tokens, line.cost_basis
    if tokens is None:
        return _scaled(_recorded(line), price, before)
    if basis == "unknown":  # nobody knew a price then, nor how many tokens a picture takes
        n_images = None if line.outcome is Outcome.IMAGE else 0
        counted, basis = count_tokens(read_usage(line.usage), price, n_images=n_images, size=None)
        tokens = counted or tokens
    tier = "standard" if line.service_tier is msgspec.UNSET else line.service_tier
    return price_tokens(tokens, basis, price, tier=tier, n_queries=count_queries(line.grounding))


def _scaled(cost: Cost, price: Price | None, before: Price | None) -> Cost:
    """An estimate as it would be by another price."""
    if cost.usd is None or price is None or before is None or not before.standard.image_output:
        return cost
    factor = price.standard.image_output / before.standard.image_output
    return Cost((cost.usd * factor).quantize(cost.usd), cost.basis)


def _recorded(line: Attempt) -> Cost:
    """What was recorded; nothing is known by a figure that is none, from a damaged disk."""
    if line.cost_usd is not None and not line.cost_usd.is_finite():
        return UNKNOWN
    return Cost(line.cost_usd, line.cost_basis)


def _picture(line: Attempt) -> ImageFile | None:
    """The picture that a call made for its item; None if it made none."""
    if line.outcome is not Outcome.IMAGE or line.decision != "done":
        return None
    return final_image(line.images)


def _unfinished(sent: Sent) -> Call:
    return Call(
        model=sent.model,
        at=read_moment(sent.at),
        run=sent.run_id,
        item=sent.item,
        outcome=Outcome.INTERRUPTED,
        usd=sent.est_usd,
        basis="unknown" if sent.est_usd is None else "inferred",
        billed="maybe",
    )
