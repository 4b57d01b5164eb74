"""What a job says, as far as it can be read, and what a run would make of it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from batchgen.clock import Clock
from batchgen.cost import PriceBook
from batchgen.doctor.findings import BAD_DISK, BAD_JOB, Finding, fine, problem, warning
from batchgen.errors import JobError, StoreError
from batchgen.forecast import Experience, Forecast, Grounds, forecast
from batchgen.forecast.figures import Figures
from batchgen.intake import Intake
from batchgen.manifest import Manifest, open_manifest
from batchgen.options import RunOptions, needs_prices, read_budget, read_limits
from batchgen.plan import Agenda, Redo
from batchgen.recovery import look_at_past
from batchgen.references import ReferenceLibrary
from batchgen.sanitize import Secrets
from batchgen.selection import Selection
from batchgen.store.broken import Broken
from batchgen.store.expanded import read_items, read_parents
from batchgen.store.layout import Layout
from batchgen.wording import counted


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was read.

    Attributes:
        models: How many of its items each is asked for.
        figures: What a run would take now; None if it would make nothing, or nobody knows.
    """

    findings: tuple[Finding, ...]
    models: Counter[str] = field(default_factory=Counter)
    figures: Figures | None = None


def open_job(path: Path) -> Manifest | Finding:
    """Open a job; a problem, if what stands before its items cannot be relied on."""
    try:
        manifest = open_manifest(path)
        manifest.raise_problems()
    except JobError as error:
        return _wrong(error)
    return manifest


@dataclass(frozen=True, slots=True)
class JobReader:
    """Reads a job as a run would.

    Attributes:
        layout: Its directory, which need not be there.
        book: The prices.
        secrets: What no item may hold.
        options: As for a run.
        clock: Tells which day it is.
    """

    manifest: Manifest
    layout: Layout
    book: PriceBook
    secrets: Secrets
    options: RunOptions
    clock: Clock

    def read(self) -> Job:
        """Read all items, and plan them; nothing is left of it."""
        try:
            with TemporaryDirectory(prefix="batchgen-") as place:
                return self._read(Path(place) / "items.jsonl")
        except JobError as error:
            return Job((_wrong(error),))
        except (StoreError, OSError) as error:
            remedy = "mend the disk, or set TMPDIR to a directory on another one"
            return Job((problem("job", str(error), remedy, BAD_DISK),))

    def _read(self, draft: Path) -> Job:
        library = ReferenceLibrary(self.layout.references)
        intake = Intake(self.manifest, library, draft, lambda: None, self.secrets)
        is_bound = needs_prices(self.manifest.settings, self.options, self.clock)
        book, today = self.book if is_bound else None, self.clock.now().date()
        intake.read(model=self.options.get("model"), book=book, on=today)
        intake.recall()
        models = Counter(item.model for item in read_items(draft))
        findings = list(_whole(self.manifest))
        try:
            told = self._forecast(intake)
        except StoreError as error:
            is_disk = isinstance(error.__cause__, OSError)
            what = "make it readable" if is_disk else "install the batchgen that wrote it"
            remedy = f"{what}, or choose another directory with -o"
            unread = problem("ledger", str(error), remedy, BAD_DISK)
            return Job((*findings, unread), models)
        findings += self._unconfirmed(told)
        return Job(tuple(findings), models, told.figures)

    def _unconfirmed(self, told: Forecast) -> Iterator[Finding]:
        """What somebody would have to say yes to, where nobody is."""
        budget = read_budget(self.manifest.settings.budget, self.options, self.clock)
        doubt = budget.doubt(told.planned_usd) if told.n_todo else None
        if doubt is not None and not self.options.get("yes"):
            remedy = "give --yes where the run is scheduled, or raise budget.confirm_above_usd"
            yield warning("budget", f"{doubt}: without a terminal it sends nothing", remedy)

    def _forecast(self, intake: Intake) -> Forecast:
        """What a run would make, and what that takes.

        Raises:
            StoreError: The ledger cannot be read, or a newer batchgen wrote it.
        """
        experience = Experience()
        history = look_at_past(self.layout, lambda _: None, observe=experience.take)
        parents = read_parents(intake.draft)
        agenda = Agenda(
            Selection().marked(lambda: read_items(intake.draft)),
            history,
            self.layout.root,
            Redo(),
            parents,
            twins=intake.twins,
            broken=Broken.read(self.layout.broken),
        )
        limits = read_limits(self.manifest.settings.limits, self.options)
        at = self.clock.stamp()
        grounds = Grounds(self.book, at, experience, limits, parents=parents)
        return forecast(agenda.foreseen(), history, grounds, limit=self.options.get("limit"))


def _wrong(error: JobError) -> Finding:
    first = error.problems[0]
    more = f" (and {error.n_problems - 1:,} more)" if error.n_problems > 1 else ""
    return problem("job", f"{first}{more}", "`batchgen validate` with this job names all", BAD_JOB)


def _whole(manifest: Manifest) -> Iterator[Finding]:
    """A job without mistakes, and what may be one."""
    told = manifest.problems
    # The end of a model is told with the model.
    odd = [one for one in told.warnings if not one.field.endswith(".model")]
    items = counted(manifest.n_items, "item")
    if not odd:
        yield fine("job", f"{manifest.name}: {items}, no mistake")
        return
    more = f" (and {len(odd) - 1:,} more)" if len(odd) > 1 else ""
    yield warning("job", f"{odd[0]}{more}", "`batchgen validate` with this job names all")
