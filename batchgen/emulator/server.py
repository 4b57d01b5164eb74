"""Running the server: in a thread of its own (`Emulator`), or until a signal comes (`serve`)."""

import asyncio
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from batchgen.emulator.faults import Faults
from batchgen.emulator.settings import Settings

if TYPE_CHECKING:
    from batchgen.emulator.app import Service

HOST = "127.0.0.1"
_BACKLOG = 1024
_STOP_S = 0.05  # what requests in flight are given to end by themselves
_JOIN_S = 10


class Emulator:
    """The server on an event loop of its own, in a daemon thread.

    Use it as a context manager: `base_url` is set inside, `counts()` also works after.
    """

    def __init__(self, settings: Settings = Settings()) -> None:  # noqa: B008  (frozen)
        """Reads the faults file.

        Raises:
            FaultsError: It cannot be used.
        """
        self.base_url = ""
        self._settings = settings
        self._service = _service(settings)
        self._listening: Future[str] = Future()
        self._thread = threading.Thread(target=self._run, name="emulator", daemon=True)
        self._stop: Callable[[], object] = lambda: None

    def __repr__(self) -> str:
        return f"Emulator({self.base_url or 'not listening'}, {self._service.counts!r})"

    def __enter__(self) -> Self:
        self._thread.start()
        self.base_url = self._listening.result()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stop()
        self._thread.join(_JOIN_S)

    def counts(self) -> dict[str, Any]:
        """What `GET /emulator/counts` answers."""
        return self._service.counts.snapshot()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            if self._listening.done():
                raise
            self._listening.set_exception(error)  # the bind failed: __enter__ raises it

    async def _main(self) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        await _run(self._service, self._settings.port, self._listening.set_result, stop)


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. `announce` gets the address once it is listening.

    Raises:
        FaultsError: The faults file cannot be used.
        OSError: The port is taken.
    """
    asyncio.run(_serve(_service(settings), settings.port, announce))


async def _serve(service: "Service", port: int, announce: Callable[[str], None]) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    try:
        await _run(service, port, announce, stop)
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def _run(
    service: "Service", port: int, announce: Callable[[str], None], stop: asyncio.Event
) -> None:
    from aiohttp import web  # noqa: PLC0415  (the command line reads Settings without aiohttp)

    runner = web.AppRunner(service.application(), access_log=None, shutdown_timeout=_STOP_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port, backlog=_BACKLOG).start()
        announce(f"http://{HOST}:{runner.addresses[0][1]}")
        await stop.wait()
    finally:
        await runner.cleanup()
        service.close()


def _service(settings: Settings) -> "Service":
    from batchgen.emulator import faults_file  # noqa: PLC0415
    from batchgen.emulator.app import Service  # noqa: PLC0415

    rules = faults_file.load(settings.faults) if settings.faults else ()
    return Service(settings, Faults(rules, settings.seed))
