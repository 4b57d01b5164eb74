"""Who is asked, with which key and by which way; nothing is sent, and no key is shown."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from batchgen.access import choose_provider, find_key, find_proxy
from batchgen.doctor.findings import BAD_USAGE, Finding, fine, problem, skipped
from batchgen.errors import UsageError
from batchgen.options import RunOptions
from batchgen.provider import Provider
from batchgen.sanitize import Hidden


@dataclass(frozen=True, slots=True)
class Account:
    """All that it takes to ask.

    Attributes:
        detour: Which proxy is asked, and what names it; without who asks there.
    """

    provider: Provider
    key: Hidden
    proxy: Hidden | None
    detour: str | None = None


def identify(job: Provider | None, options: RunOptions) -> tuple[Account | None, list[Finding]]:
    """Find out who is asked, and how.

    Args:
        job: What the job says; None if it cannot be read, and then only an option tells.
        options: As for a run.
    """
    if job is None:
        if options.get("provider") is None:
            why = "the job does not tell whom it asks as long as it cannot be read"
            return None, [skipped("key", why)]
        job = Provider(name="", base_url="")
    try:
        provider = choose_provider(job, options.get("provider"), options.get("base_url"))
    except UsageError as error:
        remedy = "correct provider in the job, or --provider and --base-url"
        return None, [
            problem("address", str(error), remedy, BAD_USAGE),
            skipped("key", "nobody is known to be asked"),
        ]
    return _with_key(provider, options)


def _with_key(provider: Provider, options: RunOptions) -> tuple[Account | None, list[Finding]]:
    try:
        key = find_key(provider, options.get("api_key_file"))
    except UsageError as error:
        remedy = "export the variable, or name a file with nothing but the key by --api-key-file"
        return None, [problem("key", str(error), remedy, BAD_USAGE)]
    needed = f"there is one for {provider.name}, and it looks like a key"
    found = [fine("key", needed if provider.needs_key else f"{provider.name} needs none")]
    try:
        proxy = find_proxy(provider, options.get("proxy"))
    except UsageError as error:
        remedy = "correct --proxy, or https_proxy in the environment; no_proxy excepts hosts"
        return None, [*found, problem("proxy", str(error), remedy, BAD_USAGE)]
    if proxy is None:
        return Account(provider, key, None), found
    parts = urlsplit(provider.base_url)
    named_by = "--proxy" if options.get("proxy") else f"{parts.scheme}_proxy in the environment"
    detour = f"the proxy {urlsplit(proxy).netloc.rpartition('@')[2]}, of {named_by}"
    found.append(fine("proxy", f"{parts.hostname} is asked by {detour}"))
    return Account(provider, key, proxy, detour), found
