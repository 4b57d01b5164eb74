"""All checks, one after the other; what depends on one that failed is skipped, the rest is not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Unpack

from batchgen._version import __version__
from batchgen.access import secret_values
from batchgen.clock import Clock
from batchgen.cost import PriceBook
from batchgen.doctor.account import Account, identify
from batchgen.doctor.disk import check_directory, check_disk
from batchgen.doctor.findings import (
    BAD_USAGE,
    Diagnosis,
    Finding,
    fine,
    problem,
    skipped,
    warning,
)
from batchgen.doctor.hook import check_hook
from batchgen.doctor.job import Job, JobReader, open_job
from batchgen.doctor.machine import check_clock, check_files
from batchgen.doctor.models import check_models
from batchgen.doctor.service import Heard, ask, judge
from batchgen.doctor.spend import Buyer
from batchgen.doctor.store import check_store
from batchgen.errors import UsageError
from batchgen.hook import Hook
from batchgen.limits import Limits
from batchgen.manifest import Manifest
from batchgen.mirror.place import mirror_of
from batchgen.objects import ObjectAddress, address_of
from batchgen.options import RunOptions, check_options, choose_place, read_limits
from batchgen.pricing import choose_book
from batchgen.provider import PROVIDERS, Provider
from batchgen.sanitize import Hidden, Secrets
from batchgen.store.layout import Layout
from batchgen.timeouts import Timeouts
from batchgen.transport import Transport

# Nobody draws anything here, so no answer takes minutes; that of --spend may.
ASKING: Final = Timeouts(connect=15.0, attempt=30.0, idle=30.0)


async def examine(
    job: Path | None = None,
    *,
    spend: bool = False,
    clock: Clock | None = None,
    timeouts: Timeouts = ASKING,
    besides: Sequence[Finding] = (),
    **options: Unpack[RunOptions],
) -> Diagnosis:
    """Look for what would keep a run from going well.

    It sends one request, which costs nothing; with `spend`, one more, which does. What it writes
    to the disk goes away again.

    Args:
        job: The job file; None looks at what does not depend on one.
        spend: Ask for one real picture.
        clock: Tells the time.
        timeouts: For the request that costs nothing.
        besides: What the caller has found, to be told with the rest.
        options: As for a run.

    Raises:
        UsageError: A value that an option does not take.
    """
    check_options(options)
    if (proxy := options.get("proxy")) is not None:
        options["proxy"] = Hidden(proxy)
    opened = None if job is None else open_job(job)
    manifest = opened if isinstance(opened, Manifest) else None
    account, of_account = identify(_provider(job, manifest), options)
    secrets = Secrets(
        [] if account is None else secret_values(account.provider, account.key, account.proxy)
    )
    book, of_book = _book(manifest, options)
    patient = Timeouts() if manifest is None else manifest.settings.timeouts
    examination = _Examination(
        job, manifest, account, book, secrets, options, clock or Clock(), timeouts, patient
    )
    of_head = [opened] if isinstance(opened, Finding) else []
    found = [*besides, *of_head, *of_account, *of_book, *await examination.findings(spend=spend)]
    return Diagnosis([_redacted(one, secrets) for one in found])


def _provider(job: Path | None, manifest: Manifest | None) -> Provider | None:
    if manifest is not None:
        return manifest.settings.provider
    return PROVIDERS["cometapi"] if job is None else None


def _book(manifest: Manifest | None, options: RunOptions) -> tuple[PriceBook, list[Finding]]:
    """The prices, and what is wrong with a price file."""
    of_job = None if manifest is None else manifest.settings.prices
    told: list[str] = []
    try:
        book = choose_book(options.get("prices"), of_job, told.append)
    except UsageError as error:
        remedy = "correct the price file, or leave it out"
        return PriceBook.shipped(), [problem("prices", str(error), remedy, BAD_USAGE)]
    return book, [warning("prices", one, "correct the price file") for one in told]


def _redacted(one: Finding, secrets: Secrets) -> Finding:
    remedy = None if one.remedy is None else secrets.redact(one.remedy)
    return replace(one, message=secrets.redact(one.message), remedy=remedy)


@dataclass(frozen=True, slots=True)
class _Examination:
    """What is known before anybody is asked.

    Attributes:
        path: The job's; None without one.
        manifest: The job; None also where it cannot be relied on.
        account: Whom to ask, and how; None where something is wrong with that.
        timeouts: For the request that costs nothing.
        patient: For one that draws.
    """

    path: Path | None
    manifest: Manifest | None
    account: Account | None
    book: PriceBook
    secrets: Secrets
    options: RunOptions
    clock: Clock
    timeouts: Timeouts
    patient: Timeouts

    async def findings(self, *, spend: bool) -> Sequence[Finding]:
        """Look at everything."""
        job = self._job()
        heard, found = await self._ask()
        now = self.clock.now()
        found.append(check_clock(now, None if heard is None else heard.ahead_s))
        models = self._models(job)
        found += check_models(models, heard, self.book, now.date())
        if not models:
            found.append(skipped("model", self._unnamed))
        found += self._on_this_machine(job)
        if spend:
            is_refused = any(one.check in {"address", "access"} and one.exit_code for one in found)
            found.append(await self._spend(models, is_refused=is_refused))
        return [*job.findings, *found]

    def _job(self) -> Job:
        if self.manifest is None:
            return Job(() if self.path is None else (skipped("items", "the job cannot be read"),))
        layout = self._layout(self.manifest)
        reader = JobReader(self.manifest, layout, self.book, self.secrets, self.options, self.clock)
        return reader.read()

    def _layout(self, manifest: Manifest) -> Layout:
        return Layout(self._place(manifest)[0])

    def _place(self, manifest: Manifest) -> tuple[Path, ObjectAddress | None]:
        return choose_place(self.options.get("output"), manifest.path, manifest.name)

    def _models(self, job: Job) -> list[str]:
        """The models that are asked for, the most asked one first."""
        asked = self.options.get("model")
        return [name for name, _ in job.models.most_common()] or ([asked] if asked else [])

    @property
    def _unnamed(self) -> str:
        """Why no model is known; a job that was read names one for each item."""
        if self.path is None:
            return "none is named: give --model, or a job"
        return "it is not known while the job has errors, or cannot be read"

    async def _ask(self) -> tuple[Heard | None, list[Finding]]:
        """Ask the service for what costs nothing."""
        if self.account is None:
            why = "nobody is asked without all that it takes"
            return None, [skipped("address", why), skipped("access", why)]
        address = self.account.provider.base_url
        if not address:
            own = fine("address", "an emulator of its own, which a run starts by itself")
            return None, [own]
        try:
            async with self._transport(self.account, self.timeouts) as transport:
                heard = await ask(transport, self.secrets, self.clock)
        except UsageError as error:  # the certificates that are to be trusted cannot be read
            unread = problem("address", str(error), "correct --ca-file", BAD_USAGE)
            return None, [unread, skipped("access", "the service was not asked")]
        return heard, list(judge(heard, address, self.account.detour))

    def _transport(self, account: Account, timeouts: Timeouts) -> Transport:
        return Transport(
            account.provider,
            account.key,
            timeouts,
            ca_file=self.options.get("ca_file"),
            proxy=account.proxy,
            user_agent=f"batchgen/{__version__}",
        )

    def _on_this_machine(self, job: Job) -> Iterator[Finding]:
        of_job = Limits() if self.manifest is None else self.manifest.settings.limits
        if self.manifest is None:
            output = self.options.get("output") or "output"
            address = address_of(output)
            yield from check_disk(Path(output) if address is None else mirror_of(address), None)
        else:
            root, address = self._place(self.manifest)
            yield from check_disk(root, job.figures if address is None else None)
            yield from check_directory(Layout(root))
            if address is not None:
                yield from check_store(address, self.clock)
        yield check_files(read_limits(of_job, self.options))
        hook = Hook() if self.manifest is None else self.manifest.settings.hook
        yield from check_hook(hook, self.options)

    async def _spend(self, models: Sequence[str], *, is_refused: bool) -> Finding:
        """Buy one picture, of the model that most items are for."""
        if not models:
            return skipped("spend", f"of which model: {self._unnamed}")
        if self.account is None or is_refused or not self.account.provider.base_url:
            return skipped("spend", "nobody answers who could be paid")
        async with self._transport(self.account, self.patient) as transport:
            return await Buyer(transport, self.book, self.secrets, self.clock).buy(models[0])
