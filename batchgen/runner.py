"""The composition root: the only place where the stages of a run meet.

Runner(job)
  __aenter__   read the job -> check the key -> lock -> recover -> plan -> open everything
  results()    the pool's ends, one by one; what happens to each item is in `course`
  __aexit__    the last line of the ledger, results, summary and page; let go of everything
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

import msgspec

from batchgen._version import __version__
from batchgen.access import as_written, choose_provider, find_key, find_proxy, secret_values
from batchgen.aftermath import Aftermath
from batchgen.budget import Purse
from batchgen.caller import Caller
from batchgen.clock import Clock, stamp
from batchgen.conclusion import Conclusion
from batchgen.conversation import Conversations
from batchgen.course import Calls, Course
from batchgen.crew import Crew, Hands, SameDisk, ThroughStore, salvage
from batchgen.ending import (
    EXIT_BY_SIGNAL,
    EXIT_LEFT,
    EXIT_OVER_COST,
    EXIT_REFUSED,
    highest,
)
from batchgen.errors import (
    BatchgenError,
    Stopped,
    StoreError,
    UsageError,
)
from batchgen.events import Event, RunBegan, Stopping, Warned
from batchgen.filing import Filer
from batchgen.forecast import Forecast, Work, forecast
from batchgen.forecast.experience import Experience
from batchgen.forecast.turns import Grounds
from batchgen.foresight import outlook, warnings_ahead
from batchgen.governor import Governor
from batchgen.hold import Hold
from batchgen.hook import Hook
from batchgen.intake import Intake
from batchgen.limits import Limiter, Out
from batchgen.manifest import Manifest, open_manifest
from batchgen.manifest.settings import Settings
from batchgen.mirror.away import Away
from batchgen.model import Item, Result
from batchgen.options import (
    RunOptions,
    bearable,
    check_options,
    choose_place,
    chosen_shard,
    hook_without_job,
    read_budget,
    read_choice,
    read_fail_on_option,
    read_hook,
    read_limits,
)
from batchgen.plan import Agenda, Redo
from batchgen.pool import Journey, Pool
from batchgen.preparation import Preparer
from batchgen.pricing import choose_book
from batchgen.provider import Provider
from batchgen.recorder import Recorder
from batchgen.recovery import Recovery, read_past
from batchgen.references import ReferenceLibrary
from batchgen.report.seal import Seal, find_unbroken
from batchgen.report.summary import Summary
from batchgen.report.thumbnails import ThumbnailsOfARun
from batchgen.retry import Retries
from batchgen.review import read_kept
from batchgen.sanitize import Hidden, Secrets
from batchgen.search import Search
from batchgen.selection import NO_GROUPS, Selection
from batchgen.settle import CallEnd
from batchgen.stop import Stop
from batchgen.store.broken import Broken
from batchgen.store.expanded import place_items, read_groups, read_items, read_parents
from batchgen.store.history import History, Name
from batchgen.store.layout import Layout, new_run_id
from batchgen.store.ledger import Ledger, Run
from batchgen.store.parts import Writer
from batchgen.store.segments import Segments
from batchgen.store.shards import refuse_other_job
from batchgen.takeover import Takeover, counts_since, recall
from batchgen.transport import Transport, tls_context
from batchgen.watch import Watch
from batchgen.workshop import Brief, open_sender

if TYPE_CHECKING:
    from batchgen.references.fetch import Fetcher


class Runner:
    """One run of one job.

        async with Runner("jobs/catalog.yaml") as runner:
            async for result in runner.results():
                print(result.id, result.status)
        print(runner.summary.cost_usd)

    Entering raises whatever is wrong before anything is sent: UsageError, JobError, OutputHeld,
    StoreError. After that a run reports by results and summary, and raises only when the disk
    fails (StoreError) or for a defect of batchgen itself.

    Attributes:
        directory: The job's directory.
        run_id: Names this run in the ledger.
        planned_usd: What the run should cost, once it has been entered; None if a price is unknown.
        written_summary: The summary, once the run has been left; None before. Where the disk could
            not take it, it is here all the same, with exit code 12.
    """

    directory: Path
    run_id: str
    planned_usd: Decimal | None
    _pool: Pool[CallEnd, Result]
    _recorder: Recorder
    _course: Course
    _hold: Hold
    _groups: Mapping[str, str]
    _seal: Seal | None

    def __init__(
        self,
        job: str | Path,
        *,
        on_event: Callable[[Event], None] | None = None,
        confirm: Callable[[str], Awaitable[bool]] | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        hands: Hands | None = None,
        **options: Unpack[RunOptions],
    ) -> None:
        """Set what to run; nothing is read before the runner is entered.

        Args:
            job: The job file.
            on_event: Told of everything that happens, on the event loop; must not block.
            confirm: Asks somebody whether to go on, see `budget.confirm_above_usd`; without it, a
                run that should cost more is refused, unless the option `yes` is set.
            clock: Tells the time, and waits.
            rng: Spreads waits.
            hands: Get workers on other machines, which make the calls; without it they are made
                in this process.
            **options: As in `RunOptions`; what is left out is the job's to say.

        Raises:
            TypeError: An option that there is none of: a budget that is not kept must not pass.
            UsageError: A value that no option takes.
        """
        check_options(options)
        if (proxy := options.get("proxy")) is not None:
            options["proxy"] = Hidden(proxy)
        if (notify := options.get("notify")) is not None:
            options["notify"] = Hidden(notify)
        self._job = Path(job)
        self._options = options
        self._redo = options.get("redo", Redo())
        self._selection = options.get("selection", Selection())
        self._limit = options.get("limit")
        self._fail_on = read_fail_on_option(options)
        self._tell = on_event or _tell_nobody
        self._confirm = confirm
        self._clock = clock or Clock()
        self._rng = rng or random.Random()
        self._hands = hands
        self.stop = Stop(self._tell_stopping)
        self.written_summary: Summary | None = None
        self._entered = False
        self._secrets = Secrets([])
        self._whole = Work()
        self._signal: str | None = None
        self._name = self._job.stem
        self._hook = Hook()
        self._hook_url = hook_without_job(options)

    async def __aenter__(self) -> Self:
        """Read, check, lock, recover and plan; see the class for what is raised."""
        self._began_s = self._clock.monotonic_s()
        self._began_at = self._clock.now()
        self.run_id = new_run_id(self._began_at)
        try:
            await self._enter()
        except Exception as error:
            await self._tell_outside(error)
            raise
        return self

    async def _enter(self) -> None:
        manifest = open_manifest(self._job)
        self._name, self._hook = manifest.name, manifest.settings.hook
        self._hook_url = read_hook(self._hook, self._options, self._fail)
        options = self._options
        root, address = choose_place(options.get("output"), self._job, manifest.name)
        self._hold = Hold(
            Layout(root, chosen_shard(options)),
            address,
            self.run_id,
            self._began_at,
            self._clock,
            self._go_on,
            self._pass_on,
        )
        self.directory = root
        provider = choose_provider(
            manifest.settings.provider, options.get("provider"), options.get("base_url")
        )
        key = find_key(provider, options.get("api_key_file"))
        self._proxy = find_proxy(provider, options.get("proxy"))
        limits = read_limits(manifest.settings.limits, options)
        self._limits = replace(limits, concurrency=bearable(limits.concurrency))
        self._budget = read_budget(manifest.settings.budget, options, self._clock)
        self._secrets = Secrets(secret_values(provider, key, self._proxy))
        self._book = choose_book(options.get("prices"), manifest.settings.prices, self._pass_on)
        self._references = ReferenceLibrary(self._layout.references, fetcher=self._fetcher)
        self._thumbnails = ThumbnailsOfARun(
            self.directory, self._clock, lambda: self._signal is None
        )
        async with AsyncExitStack() as stack:
            stack.enter_context(self._scrubbing())
            intake = await self._read_job(manifest, stack)
            patience_s = manifest.settings.retries.patience
            await self._hold.take(stack, patience_s=patience_s, on_lost=self._stop_for_disk)
            intake.hold()
            self.run_id = self._hold.follow()
            self._redo, self._selection = read_choice(self._options, self._layout)
            self._kept = read_kept(self._layout.review)
            await intake.fetch()
            self._twins, self._models = intake.twins, intake.models
            self._has_parents = intake.has_parents
            self._go_on()
            await asyncio.to_thread(refuse_other_job, self._layout, intake.draft)
            await asyncio.to_thread(place_items, intake.draft, self._layout)
            self._groups = await asyncio.to_thread(self._find_groups)
            provider = self._start_emulator(provider, stack)
            await self._open(manifest, self._brief(provider, key, manifest.settings), stack)
            self._stack = stack.pop_all()
        self._entered = True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        """Write the end of the ledger, the results, the summary and the page; then let go.

        Who is told from outside is told last, when the next run may begin.
        """
        failed: Exception | None = None
        try:
            with self._scrubbing():
                await self._pool.close()
                await self._conclude(error)
        except Exception as raised:
            failed = raised
            raise
        finally:
            await self._stack.aclose()
            await self._tell_outside(failed)

    async def _conclude(self, error: BaseException | None) -> None:
        if (passed := self._purse.overshoot()) is not None:
            self._warn(passed)
        try:
            await self._conclusion.write(error)
        finally:
            self.written_summary = self._conclusion.summary
        if (missing := self._thumbnails.warning) is not None:
            self._warn(missing)
        if self._hold.away is not None:
            await self._send_on(self._hold.away)

    async def _send_on(self, away: Away) -> None:
        """Send what a run leaves to where it belongs.

        Raises:
            StoreError: The store failed; the next run sends what is left.
        """
        try:
            await away.end()
        except StoreError as failed:
            if self.written_summary is not None:
                codes = {self.written_summary.exit_code or 0, failed.exit_code}
                self.written_summary = msgspec.structs.replace(
                    self.written_summary, exit_code=highest(codes), stop_reason=str(failed)
                )
            raise

    async def _tell_outside(self, failed: Exception | None) -> None:
        """Write the metrics of the run and post how it ended, where somebody asked for it."""
        metrics_file, shard = self._options.get("metrics_file"), chosen_shard(self._options)
        aftermath = Aftermath(
            job=self._name if shard is None else f"{self._name} (shard {shard})",
            job_file=self._job,
            layout=self._layout if hasattr(self, "_hold") else None,
            hook=self._hook,
            url=self._hook_url,
            metrics_file=None if metrics_file is None else Path(metrics_file),
            ca_file=self._options.get("ca_file"),
            clock=self._clock,
            fail=self._fail,
            has_begun=self._entered,
        )
        if failed is not None:
            self._secrets.scrub(failed)
        await aftermath.tell(self.run_id, self.written_summary, failed)

    async def results(self) -> AsyncIterator[Result]:
        """Make what is to be made; yield each item as it ends, in order of completion."""
        watch = Watch(
            self._clock,
            self._budget,
            self._began_s,
            self._limiter,
            lambda: self._pool.n_waiting,
            self.stop,
            self._tell,
        )
        beside = [asyncio.create_task(watch.tick()), asyncio.create_task(watch.end_in_time())]
        try:
            with self._scrubbing():
                async for result in self._pool.run(self._course.take):
                    yield result
                self._course.tell_waiting()
        finally:
            for task in beside:
                task.cancel()

    def request_stop(self, reason: str, *, exit_code: int | None = None) -> None:
        """Start no new attempts; `results` ends when those under way have ended.

        Args:
            reason: A sentence, or `sigint`, or `sigterm`.
            exit_code: What the run ends with if items are left; 5 unless told.
        """
        if reason in EXIT_BY_SIGNAL:
            self._signal = self._signal or reason
        self.stop.ask(reason, exit_code=exit_code)

    def cancel(self) -> None:
        """Give up what is under way; it is recorded as cancelled, and may have been billed."""
        if hasattr(self, "_hold") and self._hold.away is not None:
            self._hold.away.give_up()
        if self._entered:
            self._pool.cancel()

    @property
    def is_away(self) -> bool:
        """Whether the job's files belong into an object store."""
        return self._hold.address is not None

    @property
    def place(self) -> str:
        """Where the job's files belong, as a person names it."""
        return self._hold.place

    @property
    def summary(self) -> Summary:
        """The figures of the run, once it has been left.

        Raises:
            RuntimeError: It has not been left, or the disk failed.
        """
        if self.written_summary is None:
            raise RuntimeError("a run has its summary when it has been left")
        return self.written_summary

    @contextmanager
    def _scrubbing(self) -> Iterator[None]:
        """Let nothing out that quotes a secret: what trips us up may be what a service said."""
        try:
            yield
        except Exception as error:
            self._secrets.scrub(error)
            raise

    @property
    def _layout(self) -> Layout:
        return self._hold.layout

    def _new_agenda(self, items: Iterable[Item] | None = None) -> Agenda:
        return Agenda(
            self._selection.marked(self._items if items is None else lambda: items, self._groups),
            self._recorder.history,
            self.directory,
            self._redo,
            self._parents,
            twins=self._twins,
            broken=self._broken,
            shelf=self._layout.shelf,
        )

    def _items(self) -> Iterator[Item]:
        return read_items(self._layout.items)

    def _find_groups(self) -> Mapping[str, str]:
        """What belongs together in a job that is run in shards; nobody else asks."""
        self._parents = read_parents(self._layout.items) if self._has_parents else {}
        if self._layout.shard is None:
            return NO_GROUPS
        return read_groups(self._layout.items, self._parents, self._twins)

    # --- before anything is sent --------------------------------------------------------------

    async def _read_job(self, manifest: Manifest, stack: AsyncExitStack) -> Intake:
        """Read the whole job; raise everything that is wrong, and tell what may be.

        In a thread, so that a signal is heard meanwhile.
        """
        self._hold.make(stack)
        draft = self._layout.own / f".items.{self.run_id}.tmp"
        stack.callback(_remove_if_there, draft)
        intake = Intake(
            manifest,
            self._references,
            draft,
            self._go_on,
            self._secrets,
            observe=self._whole.add_whole,
        )
        settings = replace(manifest.settings, limits=self._limits, budget=self._budget)
        await asyncio.to_thread(
            intake.read,
            model=self._options.get("model"),
            book=self._book if settings.needs_prices else None,
            on=self._began_at.date(),
        )
        for warning in intake.warnings():
            self._tell(Warned(warning))
        return intake

    def _go_on(self) -> None:
        """Raise Stopped if somebody asked to stop before anything was sent."""
        if self.stop.asked:
            reason = self.stop.reason or "stopped"
            raise Stopped(reason, EXIT_BY_SIGNAL.get(reason, EXIT_LEFT))

    def _fetcher(self, directory: Path) -> "Fetcher":
        """What fetches; the key and the proxy of the service are not for it."""
        from batchgen.references.fetch import Fetcher  # noqa: PLC0415 - few jobs need it

        return Fetcher(directory, tls=tls_context(self._options.get("ca_file")))

    def _start_emulator(self, provider: Provider, stack: AsyncExitStack) -> Provider:
        if provider.base_url:
            return provider
        from batchgen.emulator import Emulator, Settings  # noqa: PLC0415 - only a demo needs one

        # As a model does, it draws something else when it is asked for what is there already.
        take = self.run_id if self._redo.done or self._redo.marked else ""
        emulator = stack.enter_context(Emulator(Settings(take=take)))
        return replace(provider, base_url=emulator.base_url)

    async def _open(self, manifest: Manifest, brief: Brief, stack: AsyncExitStack) -> None:
        """Open the services of the run, from the ledger to the session."""
        settings = manifest.settings
        transport = brief.transport()
        settler = brief.settler(self._layout, self._made)
        experience = Experience()
        self._seal = await asyncio.to_thread(self._find_seal)
        takeover = (
            await self._read_past(brief, experience)
            if self._seal is None
            else Takeover.of_nothing(self._layout, self._selection)
        )
        history = takeover.history
        stack.callback(settler.blanks.remove)
        writer = await stack.enter_async_context(Writer(self._stop_for_disk))
        ledger = await stack.enter_async_context(
            Ledger(self._layout.segment(self.run_id), self._secrets)
        )
        segments = await stack.enter_async_context(Segments(self._layout, ledger, self._secrets))
        self._recorder = Recorder(self._layout, segments, history, settler, writer, self._tell)
        self._filer = Filer(self._layout, history, ledger, self.run_id, self._clock, self._made)
        self._broken = Broken.read(self._layout.broken)
        self._look_ahead(experience, takeover.search, takeover.foregone)
        self.planned_usd = self._forecast.planned_usd
        soon = self._look_further_ahead()
        is_taken_over = takeover.is_needed
        self._run = self._run_line(manifest, brief.provider)
        await segments.begin(self._run)
        recovery = Recovery(self._layout, settler, settings.retries, self._rng)
        await takeover.settle(recovery, self._recorder, self.stop)
        await takeover.file(self._filer, self._tell)
        if self._hold.away is not None:
            await self._hold.away.begin(ledger.path)
        await self._hold.share()
        self._open_limits(settings.retries)
        caller = await self._caller(transport, settings, recovery, stack)
        history.observe = None
        if is_taken_over:
            self._look_ahead(experience, takeover.search)
        for warning in soon:
            self._warn(warning)
        self._start(caller, settings.retries)
        await self._hear_yes()
        if self._hands is not None and isinstance(caller, Crew) and not self._forecast.is_idle:
            await self._take_on(self._hands, brief, caller, stack)
        self._announce(manifest, brief.provider)

    def _find_seal(self) -> Seal | None:
        """The seal of the job, if the last run left nothing that this one might do."""
        is_whole = self._selection.is_whole and self._limit is None
        is_anew = self._redo.done or self._redo.marked
        layout = self._layout
        if not is_whole or is_anew or layout.shard is not None or layout.away is not None:
            return None
        seal = find_unbroken(layout, self._go_on)
        lacks_thumbnails = seal is not None and not seal.has_thumbnails
        return None if lacks_thumbnails and self._options.get("thumbnails", True) else seal

    async def _read_past(self, brief: Brief, experience: Experience) -> Takeover:
        """Read what all earlier runs did, and find what of it is to be taken over.

        Raises:
            UsageError: A picture would take the place of another item's.
            StoreError: The disk, or the store, failed.
        """
        warnings: list[str] = []
        history = await asyncio.to_thread(
            partial(read_past, is_alone=self._hold.is_alone),
            self._layout,
            warnings.append,
            since=counts_since(self._limits, self._budget, self._began_at),
            observe=experience.take,
        )
        for warning in warnings:
            self._warn(warning)
        if self._hold.away is not None:
            await self._salvage(brief, history)
            await self._hold.away.catch_up(history)
        return await Takeover.look(
            self._layout,
            history,
            self._selection,
            any_model="model" in self._options.get("ignore_change", ()),
            redo=self._redo,
            is_alone=self._hold.is_alone,
            groups=self._groups,
        )

    async def _salvage(self, brief: Brief, history: History) -> None:
        """Have whole answers that workers of earlier runs left put into the store.

        They are looked for on other machines where a run did not see all of its calls end.

        Raises:
            Stopped: Somebody asked to stop meanwhile.
            ClusterError: Nobody can say where they are; nothing was sent.
            StoreError: The store does not take them.
        """
        await self.stop.cuts_short(salvage(brief, self._clock, self._warn))
        if self._hands is not None and (history.is_cut_off or self._hold.is_taken_over):
            await self._hands.salvage(brief, self.stop, self._warn)
        self._go_on()

    async def _caller(
        self, transport: Transport, settings: Settings, recovery: Recovery, stack: AsyncExitStack
    ) -> Caller | Crew:
        """What makes calls: this process, or workers elsewhere."""
        recorder, preparer, governor = self._recorder, self._preparer(settings), self._governor()
        away = self._hold.away
        if self._hands is not None:
            return Crew(
                layout=self._layout,
                handover=SameDisk() if away is None else ThroughStore(away, self._layout),
                preparer=preparer,
                governor=governor,
                recovery=recovery,
                segments=recorder.segments,
                writer=recorder.writer,
                find_made=self._made,
                warn=self._warn,
                on_disk_failure=self._stop_for_disk,
            )
        sender = await open_sender(
            transport, recorder.settler, recorder.writer, self._clock, self._warn, stack
        )
        return Caller(preparer, governor, sender)

    async def _take_on(self, hands: Hands, brief: Brief, crew: Crew, stack: AsyncExitStack) -> None:
        """Get workers, before anything is sent.

        Raises:
            UsageError, ClusterError: There are none. Nothing was sent, and the run has ended.
        """
        try:
            await stack.enter_async_context(
                hands.at_work(self.run_id, self.directory.resolve(), brief, crew)
            )
        except BatchgenError as failed:
            self.stop.ask(str(failed), failed, exit_code=failed.exit_code, quietly=True)
            await self._conclude(failed)
            raise

    def _preparer(self, settings: Settings) -> Preparer:
        return Preparer(
            run_id=self.run_id,
            references=self._references,
            conversations=Conversations(
                self._layout, self._recorder.history, self.run_id, afresh=self._redo.done
            ),
            settler=self._recorder.settler,
            clock=self._clock,
            max_body_bytes=settings.max_body_bytes,
        )

    def _governor(self) -> Governor:
        return Governor(
            run_id=self.run_id,
            limiter=self._limiter,
            purse=self._purse,
            stop=self.stop,
            segments=self._recorder.segments,
            book=self._book,
            clock=self._clock,
            tell=self._tell,
        )

    def _look_further_ahead(self) -> tuple[str, ...]:
        """Note what will go wrong later.

        Returns:
            What is still to be told of it: models on their way out were told with the job.
        """
        told = self._forecast
        disk = None if self.is_away else self.directory
        where = (told.figures, self._book, disk, self._began_at.date())
        self._ahead = tuple(map(self._secrets.redact, outlook(self._models, *where)))
        return tuple(warnings_ahead(told.todo_by_model, *where))

    def _look_ahead(
        self, experience: Experience, search: Search, foregone: frozenset[Name] = frozenset()
    ) -> None:
        """Plan, and count; what is about to be taken over is not made.

        Of a job of a million items as little is read again as may be: nothing where all of it is to
        be made, for that was counted when it was read; else what is not in its place.
        """
        if self._seal is not None:
            self._forecast = Forecast(n_reused=self._seal.n_items)
            return
        history, at, parents = self._recorder.history, self._clock.stamp(), self._parents
        grounds = Grounds(self._book, at, experience, self._limits, parents=parents)
        is_plain = self._selection.is_whole and not (parents or self._twins)
        if is_plain and history.is_empty and not foregone and self._limit is None:
            self._forecast = self._whole.told(grounds)
            return
        is_open = search.open if is_plain and not (self._redo.done or self._redo.marked) else None
        items = None if is_open is None else read_items(self._layout.items, is_open)
        self._forecast = forecast(
            (
                one
                for one in self._new_agenda(items).foreseen()
                if (one.item.id, one.item.key) not in foregone
            ),
            history,
            grounds,
            limit=self._limit,
            is_anew=self._redo.done,
            foregone=foregone,
            n_in_place=0 if is_open is None else is_open.count(0),
        )

    def _start(self, caller: Calls, retries: Retries) -> None:
        """Put the parts together that see the plan through."""
        told = self._forecast
        # With a limit, what failed for good is left alone like what lies beyond it.
        n_settled = 0 if self._limit is not None else told.n_settled
        self._n_selected = told.n_reused + told.n_todo + n_settled
        self._course = Course(
            self._new_agenda(() if self._forecast.is_idle else None),
            caller,
            self._recorder,
            self._filer,
            self.stop,
            self._tell,
            self._forecast,
            max_failures=self._budget.max_failures,
            limit=self._limit,
        )
        self._pool = Pool(
            Journey(self._course.attempt, self._course.record, lambda end: end.goes_on),
            limiter=self._limiter,
            retries=retries,
            stop=self.stop,
            clock=self._clock,
            rng=self._rng,
        )
        self._conclusion = Conclusion(
            run=self._run,
            began_s=self._began_s,
            n_selected=self._n_selected,
            most=self._limits.concurrency.highest,
            fail_on=self._fail_on,
            layout=self._layout,
            clock=self._clock,
            recorder=self._recorder,
            course=self._course,
            pool=self._pool,
            limiter=self._limiter,
            stop=self.stop,
            thumbnails=self._thumbnails if self._options.get("thumbnails", True) else None,
            signal=lambda: self._signal,
            seal=self._seal,
        )

    def _open_limits(self, retries: Retries) -> None:
        """Open what holds requests back; what left in earlier runs counts."""
        self._limiter = Limiter(
            self._limits,
            clock=self._clock,
            rng=self._rng,
            patience_s=retries.patience,
            longest_pause_s=retries.max_wait,
            on_out=self._give_up_model,
        )
        spent_usd = recall(
            self._recorder.history, self._limiter, self._began_at, self._layout.shard
        )
        over = partial(self.stop.ask, exit_code=EXIT_OVER_COST)
        self._purse = Purse(self._budget, self._clock, over, spent_usd)

    def _give_up_model(self, model: str, out: Out) -> None:
        self._course.give_up_model(model, out)  # there is none yet when the limits are opened

    def _made(self, path: str) -> str | None:
        """The SHA-256 of what was made last under a path; None for what shall be kept."""
        sha256 = self._recorder.history.made_at(path)
        return None if sha256 in self._kept else sha256

    def _brief(self, provider: Provider, key: Hidden, settings: Settings) -> Brief:
        ca_file = self._options.get("ca_file")
        return Brief(
            provider=provider,
            key=key,
            proxy=self._proxy,
            secrets=self._secrets,
            ca_file=None if ca_file is None else Path(ca_file).absolute(),
            timeouts=settings.timeouts,
            acceptance=settings.acceptance,
            book=self._book,
            address=self._hold.address,
            patience_s=settings.retries.patience,
        )

    def _run_line(self, manifest: Manifest, provider: Provider) -> Run:
        return Run(
            run_id=self.run_id,
            at=stamp(self._began_at),
            job=manifest.name,
            job_sha256=manifest.sha256,
            provider=provider.name,
            version=__version__,
            shard=None if self._layout.shard is None else str(self._layout.shard),
            head={**_without_names(manifest.settings), **as_written(manifest.name, provider)},
            selection=self._selection,
            limit=self._limit,
            planned_usd=msgspec.UNSET if self.planned_usd is None else self.planned_usd,
            ahead=self._ahead or msgspec.UNSET,
        )

    def _announce(self, manifest: Manifest, provider: Provider) -> None:
        """Tell what is going to happen."""
        told = self._forecast
        if not self._n_selected:
            self._warn("nothing of the job is selected")
        self._tell(
            RunBegan(
                run_id=self.run_id,
                job=manifest.name,
                directory=self.directory,
                provider=provider.name,
                n_items=self._n_selected,
                n_reused=told.n_reused,
                n_settled=told.n_settled,
                concurrency=self._limits.concurrency.highest,
                planned_usd=self.planned_usd,
            )
        )

    async def _hear_yes(self) -> None:
        """Have somebody agree to what the run should cost, if that is more than the job allows.

        Raises:
            UsageError: Nobody did. Nothing was sent, and the run has ended.
            Stopped: A signal came instead of an answer.
        """
        doubt = self._budget.doubt(self._forecast.planned_usd) if self._forecast.n_todo else None
        if doubt is None or self._options.get("yes"):
            return
        told: list[bool] = []

        async def ask(confirm: Callable[[str], Awaitable[bool]]) -> None:
            told.append(await confirm(f"{doubt}: go on?"))

        if self._confirm is not None:
            await self.stop.cuts_short(ask(self._confirm))
        if any(told):
            return
        refusal = f"{doubt}: nothing was sent; run again with --yes, or with a smaller --limit"
        self.stop.ask(refusal, exit_code=EXIT_REFUSED, quietly=True)
        await self._conclude(None)
        if self._signal is not None:
            self._go_on()
        raise UsageError(refusal)

    # --- while it goes on ---------------------------------------------------------------------

    def _tell_stopping(self, reason: str) -> None:
        reason = self._secrets.redact(reason)
        self._tell(Stopping(reason, self._limiter.n_in_flight if self._entered else 0))

    def _stop_for_disk(self, failure: StoreError) -> None:
        """Send nothing more: what the disk has refused is raised when its answer has ended."""
        self.stop.ask(str(failure), failure)

    def _warn(self, told: str) -> None:
        self._pass_on(f"warning: {told}")

    def _fail(self, told: str) -> None:
        """Tell of something that was asked for beside the pictures, and is not done."""
        self._tell(Warned(self._secrets.redact(f"warning: {told}"), is_error=True))

    def _pass_on(self, warning: str) -> None:
        self._tell(Warned(self._secrets.redact(warning)))


def _without_names(settings: Settings) -> dict[str, Any]:
    """The head of a job for items in which each reference stands for itself."""
    return {name: value for name, value in settings.written.items() if name != "references"}


def _remove_if_there(file: Path) -> None:
    with suppress(OSError):  # on a disk that can only be read it never was there
        file.unlink()


def _tell_nobody(_event: Event) -> None:
    return
