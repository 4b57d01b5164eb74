"""A message on its way to a web hook: a few tries, and no exception whatever happens."""

import asyncio
import os
import re
import ssl
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from batchgen.clock import Clock
from batchgen.hook import host_of
from batchgen.provider import address_secrets
from batchgen.sanitize import Hidden, Secrets, printable

_TRY_S: Final = 15.0
# The run has ended, and its directory is free: it takes a minute at most.
_WAITS_S: Final = (2.0, 8.0)
_MAX_SAID_BYTES: Final = 4096
_MAX_SAID_CHARS: Final = 200
_MIN_WORD_CHARS: Final = 4
_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})
_OK: Final = range(200, 300)
_MOVED: Final = range(300, 400)


async def post(
    url: str, document: Any, *, clock: Clock, tls: ssl.SSLContext, proxy: str | None = None
) -> str | None:
    """Post a document as JSON; what a busy server refuses, or nobody answers, is tried again.

    Args:
        url: Of the hook. It is never shown, but its host.
        document: What msgspec can write.
        clock: Waits between tries.
        tls: What is trusted.
        proxy: Goes between.

    Returns:
        What is wrong, as a sentence; None if it was taken.
    """
    body = msgspec.json.encode(document)
    secrets = Secrets([*address_secrets(url), *_words(url)])
    problem: str | None = None
    for wait_s in (0.0, *_WAITS_S):
        if wait_s:
            await clock.sleep(wait_s)
        problem, may_pass = await _try(url, body, tls, proxy, secrets)
        if problem is None or not may_pass:
            break
    return None if problem is None else secrets.redact(problem)


def _words(url: str) -> list[str]:
    """Each word behind the host: even a short one may be what lets somebody post."""
    parts = urlsplit(url)
    words = re.split("[/?&=]", f"{parts.path}?{parts.query}")
    return [word for word in words if len(word) >= _MIN_WORD_CHARS]


async def _try(
    url: str, body: bytes, tls: ssl.SSLContext, proxy: str | None, secrets: Secrets
) -> tuple[str | None, bool]:
    """One try: what is wrong, and whether that may pass."""
    host = host_of(url)
    try:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls),
            timeout=aiohttp.ClientTimeout(total=_TRY_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        ) as session:
            headers = {"Content-Type": "application/json", "User-Agent": "batchgen"}
            async with session.post(
                Hidden(url), data=body, headers=headers, allow_redirects=False, proxy=proxy
            ) as answer:
                if answer.status in _OK:
                    return None, False
                said = await _said(answer, secrets)
                return f"{host} answered {answer.status}{said}", answer.status in _BUSY
    except TimeoutError:
        return f"{host} did not answer within {_TRY_S:g} s", True
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return f"{host} cannot be reached: {_reason(error)}", True


async def _said(answer: aiohttp.ClientResponse, secrets: Secrets) -> str:
    """The first words of a refusal; what is secret goes first, for half of it would be shown."""
    if answer.status in _MOVED:
        return ": a redirect, which is not followed"
    try:
        text = (await answer.content.read(_MAX_SAID_BYTES)).decode("utf-8", "replace")
    except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError):
        return ""
    said = printable(secrets.redact(text), _MAX_SAID_CHARS)
    return f": {said}" if said else ""


def _reason(error: Exception) -> str:
    """What is wrong in a few words: aiohttp's own may show the address."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        return "its certificate is not trusted"
    if isinstance(cause, OSError) and cause.errno and cause.errno > 0:
        return os.strerror(cause.errno)  # asyncio's own words hold the address
    if isinstance(cause, OSError) and cause.strerror:  # a name that is not found
        return cause.strerror
    return type(error).__name__
