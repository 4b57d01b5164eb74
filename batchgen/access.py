"""Who is asked, with which key and by which way: from the job, the options, the environment."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from batchgen.errors import UsageError
from batchgen.provider import (
    PROVIDERS,
    Provider,
    address_secrets,
    check_key,
    check_plain_http,
    clean_base_url,
    clean_proxy,
    is_loopback,
)
from batchgen.sanitize import Hidden

# The emulator takes any key; this one is no secret.
EMULATOR_KEY: Final = "emulator"
_MAX_KEY_FILE_BYTES: Final = 64 << 10


def choose_provider(job: Provider, name: str | None, base_url: str | None) -> Provider:
    """The job's provider, unless another is named; an address replaces the provider's own.

    Raises:
        UsageError: There is no such provider, or its address is none that a key may be sent to.
    """
    provider = job
    if name is not None:
        if name not in PROVIDERS:
            raise UsageError(f"provider {name}: expected one of {', '.join(PROVIDERS)}")
        provider = PROVIDERS[name]
    if base_url is not None:
        provider = replace(provider, base_url=clean_base_url(base_url))
    if provider.base_url:
        check_plain_http(provider)
    return provider


def find_key(provider: Provider, file: str | Path | None) -> Hidden:
    """The key, from a file or from the environment.

    Raises:
        UsageError: There is none, or it cannot be one. It is never shown.
    """
    if not provider.needs_key:
        return Hidden(EMULATOR_KEY)
    key = _from_environment(provider) if file is None else _from_file(file)
    check_key(key)
    return Hidden(key)


def find_proxy(provider: Provider, asked: str | None) -> Hidden | None:
    """The proxy that was asked for, or that the environment names for this address.

    Raises:
        UsageError: It is no address of a proxy, which is not shown, or it would see the key.
    """
    if not provider.base_url:
        return None  # the run starts this server itself, on this machine
    proxy = clean_proxy(asked, "--proxy") if asked else proxy_of_environment(provider.base_url)
    check_plain_http(provider, proxy=proxy)
    return None if proxy is None else Hidden(proxy)


def secret_values(provider: Provider, key: str, proxy: str | None) -> list[str]:
    """What must leave the process nowhere but in a header: whatever else is one belongs here."""
    return [*([key] if provider.needs_key else []), *address_secrets(proxy)]


def as_written(name: str, provider: Provider) -> dict[str, Any]:
    """What a job file must say to reach the same service and the same directory.

    A built-in name stands for its own address alone: a key must not go where it did not go. The
    emulator is the exception, and stays `emulator` wherever it listens: it gets no key, costs
    nothing, and the one of this run may be gone, so that such a job starts one of its own.
    """
    if not provider.needs_key:
        return {"name": name, "provider": PROVIDERS["emulator"].name}
    if provider == PROVIDERS.get(provider.name):
        return {"name": name, "provider": provider.name}
    return {
        "name": name,
        "provider": {
            "base_url": provider.base_url,
            "api_key_env": _variable(provider) or provider.key_env[0],
            "auth": provider.auth,
            "allow_http": provider.allow_http,
        },
    }


def _from_environment(provider: Provider) -> str:
    if variable := _variable(provider):
        return os.environ[variable]
    # A name in small letters may be the key itself, written into the job by mistake.
    are_shown = all(name.isupper() for name in provider.key_env)
    names = " or ".join(provider.key_env) if are_shown else "the variable of api_key_env"
    raise UsageError(
        f"no API key: set {names} for the provider {provider.name}, or try "
        "--provider emulator, which needs none"
    )


def _variable(provider: Provider) -> str | None:
    """The variable that holds the key."""
    return next((one for one in provider.key_env if os.environ.get(one)), None)


def _from_file(file: str | Path) -> str:
    """The key in a file, without the white space around it.

    One that is not there is not named: it may be the key itself, given in its place by mistake.
    """
    try:
        with Path(file).open("rb") as opened:
            # Of what is no text `check_key` says so; an exception of its own would hold it.
            key = opened.read(_MAX_KEY_FILE_BYTES).decode("utf-8", "replace").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no file is called so"
        named = f" {file}" if os.path.exists(file) else ""  # noqa: PTH110 - raises nothing
        raise UsageError(f"the key file{named} cannot be read: {reason}") from None
    if not key:
        raise UsageError(f"the key file {file} is empty")
    return key


def proxy_of_environment(base_url: str) -> str | None:
    """The proxy that the environment names for an address; none for this machine.

    Raises:
        UsageError: It is no address of a proxy, which is not shown.
    """
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - brings an HTTP client

    parts = urlsplit(base_url)
    if not parts.hostname or is_loopback(parts.hostname) or proxy_bypass(parts.hostname):
        return None
    proxy = getproxies().get(parts.scheme)
    return clean_proxy(proxy, f"{parts.scheme}_proxy") if proxy else None
