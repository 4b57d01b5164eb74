"""Who is asked, and with which key: the provider of a run, from the job and its options."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from batchgen.errors import UsageError
from batchgen.transport import (
    PROVIDERS,
    Provider,
    check_key,
    check_plain_http,
    clean_base_url,
)

# The emulator takes any key; this one is no secret.
EMULATOR_KEY: Final = "emulator"


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


def find_key(provider: Provider, file: str | Path | None) -> str:
    """The key, from a file or from the environment.

    Raises:
        UsageError: There is none, or it cannot be one. It is never shown.
    """
    if provider.name == PROVIDERS["emulator"].name:
        return EMULATOR_KEY
    key = _from_environment(provider) if file is None else _from_file(file)
    check_key(key)
    return key


def as_written(name: str, provider: Provider) -> dict[str, Any]:
    """What a job file must say to reach the same service and the same directory."""
    if provider.name in PROVIDERS:
        return {"name": name, "provider": provider.name}
    return {
        "name": name,
        "provider": {
            "base_url": provider.base_url,
            "api_key_env": provider.key_env[0] if provider.key_env else "COMETAPI_KEY",
            "auth": provider.auth,
            "allow_http": provider.allow_http,
        },
    }


def _from_environment(provider: Provider) -> str:
    for variable in provider.key_env:
        if key := os.environ.get(variable):
            return key
    names = " or ".join(provider.key_env)
    raise UsageError(
        f"no API key: set {names} for the provider {provider.name}, or try "
        "--provider emulator, which needs none"
    )


def _from_file(file: str | Path) -> str:
    try:
        return Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the key file {file} cannot be read") from error
