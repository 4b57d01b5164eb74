"""Where requests may go, and what is refused before a key is on its way there."""

import base64
import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from batchgen.errors import UsageError

# A shorter secret could not be taken out of a text without taking ordinary words along.
MIN_SECRET_CHARS: Final = 8
# A word of so many characters in an address is taken for a token.
_MIN_TOKEN_CHARS: Final = 16
# A longer one fits into the headers of hardly any server.
MAX_KEY_CHARS: Final = 4096
# What a number may be made of: JSON has it without quotes, and would be none without it.
_OF_NUMBERS: Final = frozenset("0123456789+-.eE")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Auth: TypeAlias = Literal["x-goog-api-key", "bearer"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Provider:
    """Where requests go and how they prove who sends them.

    Attributes:
        name: What the ledger calls it: `cometapi`, `google`, `emulator` or the address's host.
        base_url: Without `/v1beta` at its end; empty for an emulator that the run is to start.
        key_env: The environment variables that may hold the key, the first found wins.
        auth: The header that carries it.
        allow_http: Whether plain http may leave this machine.
        needs_key: Whether it is asked with a key of the user's; an emulator takes any.
    """

    name: str
    base_url: str
    key_env: tuple[str, ...] = ()
    auth: Auth = "x-goog-api-key"
    allow_http: bool = False
    needs_key: bool = True


PROVIDERS: Final = {
    "cometapi": Provider(
        name="cometapi", base_url="https://api.cometapi.com", key_env=("COMETAPI_KEY",)
    ),
    "google": Provider(
        name="google",
        base_url="https://generativelanguage.googleapis.com",
        key_env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    ),
    "emulator": Provider(name="emulator", base_url="", needs_key=False),
}


def clean_base_url(url: str) -> str:
    """Normalise an address: no slash at the end, and no `/v1` or `/v1beta`, which paths bring.

    Raises:
        UsageError: It is no http or https address, or carries a user, a query or a fragment.
    """
    url = url.strip()
    parts = split_address(url)
    if parts is None:
        # What might be a password or a key in it is not shown.
        shown = "" if set(url) & set("@?#") else f" {url!r}"
        raise UsageError(f"base URL{shown}: expected https://HOST or https://HOST/PATH")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError("base URL: only scheme, host, port and path may be in it")
    path = parts.path.rstrip("/")
    for suffix in ("/v1beta", "/v1"):
        if path.endswith(suffix):
            path = path.removesuffix(suffix)
            break
    return f"{parts.scheme}://{parts.netloc}{path}"


def clean_proxy(url: str, named_by: str) -> str:
    """Normalise a proxy's address; without a scheme it is http.

    Args:
        url: The address, which may carry a user and a password.
        named_by: The flag or the variable that it comes from: it is told in its place.

    Raises:
        UsageError: It is no http or https address of a proxy. It is never shown.
    """
    url = url.strip()
    parts = split_address(url if "://" in url else f"http://{url}")
    if parts is None or parts.path.strip("/") or parts.query or parts.fragment:
        raise UsageError(f"{named_by}: expected http://HOST:PORT")
    return f"{parts.scheme}://{parts.netloc}"


def address_secrets(address: str | None) -> list[str]:
    """What must not be shown of an address: who asks there, and what lies below its host.

    That is the password of a proxy in each of its spellings, and the path of a web hook: as a
    whole, and each word of it that may be a token.
    """
    parts = urlsplit(address or "")
    below = f"{parts.path}?{parts.query}".rstrip("/?")
    words = {word for word in re.split("[/?&=]", below) if len(word) >= _MIN_TOKEN_CHARS}
    return [
        *_asker_secrets(parts),
        *([below] if len(below) >= MIN_SECRET_CHARS else []),
        *sorted(words - {below}),
    ]


def _asker_secrets(parts: SplitResult) -> list[str]:
    """What proves who asks: a user with a password, or a token in the place of the user."""
    named, word = parts.username or "", parts.password or ""
    alone, least = (word, MIN_SECRET_CHARS) if word else (named, _MIN_TOKEN_CHARS)
    if not word and len(named) < least:
        return []
    pair = base64.b64encode(f"{unquote(named)}:{unquote(word)}".encode()).decode()
    spelt = {one for one in (alone, unquote(alone)) if len(one) >= least}
    return [pair, parts.netloc.rpartition("@")[0] + "@", *sorted(spelt)]


def check_plain_http(provider: Provider, *, proxy: str | None = None) -> None:
    """Refuse to send a key over plain http to anything but this machine, a proxy included.

    Raises:
        UsageError: The address is http, it or the proxy is not loopback, and `allow_http` is
            not set.
    """
    if provider.allow_http or urlsplit(provider.base_url).scheme != "http":
        return
    if not is_loopback(urlsplit(provider.base_url).hostname):
        raise UsageError(
            f"base URL {provider.base_url}: plain http would send the key in the clear; "
            "use https, or set provider.allow_http"
        )
    if proxy is not None and not is_loopback(urlsplit(proxy).hostname):
        raise UsageError(
            f"base URL {provider.base_url}: through the proxy, plain http would send the key in "
            "the clear; use https, leave out the proxy, or set provider.allow_http"
        )


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine by one of its usual names."""
    return host in {"localhost", "127.0.0.1", "::1"}


def check_key(key: str) -> None:
    """Refuse a key that cannot be a header value or be told from other text; never show it.

    Raises:
        UsageError: It is short, longer than any header, a number, or holds a space, a line break,
            a quote, a backslash or anything beyond ASCII.
    """
    if not key.isascii() or not key.isprintable() or set(key) & set(' "\\'):
        raise UsageError(
            "the API key holds a character that no key has (a space, a line break, a quote, a "
            "backslash, a letter beyond ASCII): copy it again"
        )
    if len(key) < MIN_SECRET_CHARS:
        raise UsageError(
            f"the API key has fewer than {MIN_SECRET_CHARS} characters: copy it again, whole"
        )
    if len(key) > MAX_KEY_CHARS:
        raise UsageError(f"the API key has more than {MAX_KEY_CHARS} characters: copy it again")
    if set(key) <= _OF_NUMBERS:
        raise UsageError("the API key is a number, which no key is: copy it again")


def is_variable(name: str) -> bool:
    """Whether a variable of the environment may be called so; most keys may not."""
    return _VARIABLE.fullmatch(name) is not None


def split_address(url: str) -> SplitResult | None:
    """The parts of an http or https address; None if any of those who read it later refuse it."""
    from yarl import URL  # noqa: PLC0415 - most jobs name no address

    if not url.isascii() or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
        host.encode("idna")  # as the resolver does
        _host = URL(url).host
    except ValueError:
        return None
    return parts if parts.scheme in {"http", "https"} and host else None
