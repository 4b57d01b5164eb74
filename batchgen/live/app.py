"""The routes of the served page, and the server itself.

/            the page as it stands now
/events      what changes, as server-sent events
/charts      the charts anew
/review      a mark
/thumbnails/ made when somebody asks
/images/ …   pictures, and no other file
"""

import asyncio
import errno
import html
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, Literal

import msgspec
from aiohttp import web, web_response

from batchgen.clock import Clock
from batchgen.errors import StoreError, UsageError
from batchgen.live.feed import Feed, NoSuchItem, OtherPicture, Pacing
from batchgen.live.files import PictureFile, open_picture, parts_of, thumbnail_of
from batchgen.live.guard import MAX_BODY_BYTES, SERVER, add_headers, guard, problem
from batchgen.live.state import Setting
from batchgen.report.page import policy, read_script, read_style
from batchgen.report.thumbnails import Source, Thumbnailer, ThumbnailsOnDisk
from batchgen.review import Mark
from batchgen.store.layout import Layout

HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8642
_N_PORTS: Final = 20
# What open requests are given to end by themselves, once the server is told to.
_STOP_S: Final = 0.05
# A run has the processor first: nobody sees whether the page is a moment late.
_NICENESS: Final = 5
_STEP_BYTES: Final = 256 << 10
_MAX_NOTE_CHARS: Final = 2000
_IMMUTABLE: Final = "private, max-age=31536000, immutable"
_PLAIN_POLICY: Final = "default-src 'none'; base-uri 'none'; form-action 'none'"


class _MarkAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a request to mark a picture."""

    item: str
    sha256: str
    mark: Literal["keep", "redo", "none"]
    note: str | None = None


@dataclass(slots=True)
class Site:
    """Answers requests about one job.

    Attributes:
        thumbnailer: Makes thumbnails; without it those that there are have to do.
        port: The one that the server listens on, once it does.
    """

    root: Path
    feed: Feed
    clock: Clock
    thumbnailer: Thumbnailer | None
    port: int = 0

    def application(self) -> web.Application:
        """The routes, guarded."""
        app = web.Application(
            middlewares=[guard(lambda: self.port)], client_max_size=MAX_BODY_BYTES
        )
        app.on_response_prepare.append(add_headers)
        app.router.add_get("/", self._page)
        app.router.add_get("/events", self._events, allow_head=False)
        app.router.add_get("/charts", self._charts)
        app.router.add_post("/review", self._review)
        app.router.add_get("/favicon.ico", _no_icon)
        app.router.add_get("/{path:.*}", self._picture)
        return app

    def runner(self) -> web.AppRunner:
        """What runs the application; open streams do not keep it from ending."""
        return web.AppRunner(
            self.application(),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=_STOP_S,
            logger=_quiet(),
        )

    async def _page(self, request: web.Request) -> web.StreamResponse:
        pieces = await self.feed.page()
        if pieces is None:
            return _waiting(self.feed.trouble or "")
        response = web.StreamResponse(headers={"Content-Type": "text/html; charset=utf-8"})
        response.headers["Content-Security-Policy"] = served_policy()
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        async for text in pieces:
            await response.write(text.encode("utf-8", "replace"))
        return response

    async def _charts(self, _: web.Request) -> web.Response:
        return web.Response(text=await self.feed.charts(), content_type="text/html")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        try:
            seq = _since(request)
        except ValueError:
            return problem(HTTPStatus.BAD_REQUEST, "expected a number in since")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": here is what changes\n\n")
        cursor = self.feed.cursor(seq)
        while True:
            news = await self.feed.news(cursor)
            cursor, last_id = news.cursor, news.cursor.seq
            if news.is_other:
                await response.write(_event("reload", last_id, b"{}"))
            if news.cards is not None:
                await response.write(_event("items", last_id, news.cards))
            if news.figures is not None:
                await response.write(_event("run", last_id, news.figures))
            await self.clock.sleep(self.feed.pacing.event_s)
            while not await self.feed.wait(cursor):
                await response.write(b":\n\n")

    async def _review(self, request: web.Request) -> web.Response:
        try:
            asked = msgspec.json.decode(await request.read(), type=_MarkAsked)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return problem(HTTPStatus.BAD_REQUEST, str(error))
        if asked.note is not None and len(asked.note) > _MAX_NOTE_CHARS:
            why = f"a note has at most {_MAX_NOTE_CHARS} characters"
            return problem(HTTPStatus.BAD_REQUEST, why)
        mark = Mark(item=asked.item, sha256=asked.sha256, mark=asked.mark, note=asked.note)
        try:
            await self.feed.mark(mark)
        except NoSuchItem:
            return problem(HTTPStatus.NOT_FOUND, "there is no such item")
        except OtherPicture:
            return problem(HTTPStatus.CONFLICT, "it has been made anew meanwhile")
        except StoreError as error:
            return problem(HTTPStatus.INSUFFICIENT_STORAGE, str(error))
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _picture(self, request: web.Request) -> web.StreamResponse:
        sha256 = thumbnail_of(request.raw_path)
        parts = parts_of(request.raw_path)
        if sha256 is not None and not await self._has_thumbnail(sha256):
            parts = None
        found = None
        if parts is not None and (sha256 is not None or parts[0] != "thumbnails"):
            found = await asyncio.to_thread(open_picture, self.root, parts)
        if found is None:
            return problem(HTTPStatus.NOT_FOUND, "there is no such picture")
        with found.file:
            return await _send(request, found, _IMMUTABLE if sha256 else "private, no-cache")

    async def _has_thumbnail(self, sha256: str) -> bool:
        """Whether a picture is one that the page shows, and its thumbnail may be there by now."""
        source = await self.feed.picture(sha256)
        if source is None or self.thumbnailer is None:
            return source is not None
        return await self.thumbnailer.thumbnail(Source(sha256, source)) is not None


def _quiet() -> logging.Logger:
    """A logger that tells of our own faults alone, and not of what is no HTTP at all."""
    logger = logging.getLogger("batchgen.live")
    logger.addFilter(lambda record: "Unhandled" in record.msg)
    return logger


def _since(request: web.Request) -> int | None:
    """After which change a viewer wants to be told; what its browser remembers wins."""
    told = request.headers.get("Last-Event-ID") or request.query.get("since")
    return None if told is None else int(told)


def _event(name: str, seq: int, data: bytes) -> bytes:
    """One event; JSON has no line breaks."""
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (seq, name.encode(), data)


async def _no_icon(_: web.Request) -> web.Response:
    """Every browser asks for one."""
    return web.Response(status=HTTPStatus.NO_CONTENT)


def served_policy() -> str:
    """The policy of the page as a header: its own, and nobody may put it into a frame."""
    own = policy(read_style(), read_script(), is_served=True)
    return f"{own}; frame-ancestors 'none'"


def _waiting(why: str) -> web.Response:
    """A page that says that there is nothing yet, and looks again by itself."""
    text = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="refresh" content="2">\n<title>waiting · batchgen</title>\n</head>\n'
        f"<body>\n<h1>Nothing to show yet</h1>\n<p>{html.escape(why)}</p>\n"
        "<p>This page looks again every two seconds.</p>\n</body>\n</html>\n"
    )
    headers = {"Content-Security-Policy": _PLAIN_POLICY}
    return web.Response(text=text, content_type="text/html", headers=headers)


async def _send(request: web.Request, found: PictureFile, cached: str) -> web.StreamResponse:
    headers = {"ETag": found.tag, "Cache-Control": cached}
    if request.headers.get("If-None-Match") == found.tag:
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    response = web.StreamResponse(headers={**headers, "Content-Type": found.mime})
    response.content_length = found.size_bytes
    await response.prepare(request)
    left = found.size_bytes if request.method != "HEAD" else 0
    while left and (step := await asyncio.to_thread(found.file.read, min(left, _STEP_BYTES))):
        left -= len(step)
        await response.write(step)
    if left:  # it was cut while it was sent: the connection says so
        response.force_close()
    return response


# --- the server -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Options:
    """How a page is served.

    Attributes:
        port: Exactly this one, 0 for any; None for the usual one, or the next that is free.
        niceness: How much everything else goes before it.
        makes_thumbnails: Of whatever somebody looks at; else those are shown that there are.
    """

    port: int | None = None
    makes_thumbnails: bool = True
    pacing: Pacing = Pacing()
    clock: Clock = Clock()
    niceness: int = _NICENESS


def serve(
    directory: Path,
    options: Options,
    announce: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    """Serve the page of a job until SIGINT or SIGTERM.

    Args:
        directory: The job's; a run may make it later.
        options: How.
        announce: Told the address, once it is listened on.
        warn: Told of what a person should know.

    Raises:
        UsageError: The directory is none, or the port cannot be had.
    """
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} is no directory")
    # The library would name itself and its version where it answers by itself.
    web_response.SERVER_SOFTWARE = SERVER  # type: ignore[attr-defined]
    asyncio.run(_serve(directory, options, announce, warn))


async def _serve(
    directory: Path,
    options: Options,
    announce: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    os.nice(options.niceness)
    on_disk = None if options.makes_thumbnails else ThumbnailsOnDisk(directory)
    setting = Setting(options.clock, thumbnails=on_disk)
    async with (
        Thumbnailer(directory) as thumbnailer,
        Feed(Layout(directory), setting, options.pacing, warn) as feed,
    ):
        maker = thumbnailer if options.makes_thumbnails else None
        site = Site(directory, feed, options.clock, maker)
        runner = site.runner()
        await runner.setup()
        try:
            site.port = await _listen(runner, options.port)
            announce(f"http://{HOST}:{site.port}/")
            await stop.wait()
        finally:
            await runner.cleanup()


async def _listen(runner: web.AppRunner, port: int | None) -> int:
    """Listen on a port, and say which it is.

    Raises:
        UsageError: It cannot be had.
    """
    usual = [*range(DEFAULT_PORT, DEFAULT_PORT + _N_PORTS), 0]
    for one in usual if port is None else [port]:
        try:
            await web.TCPSite(runner, HOST, one).start()
        except OSError as error:
            if port is None and error.errno == errno.EADDRINUSE:
                continue
            why = "it is taken" if error.errno == errno.EADDRINUSE else str(error.strerror)
            raise UsageError(f"port {one} of {HOST} cannot be listened on: {why}") from error
        return int(runner.addresses[0][1])
    raise UsageError(f"no port of {HOST} can be listened on")
