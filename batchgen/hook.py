"""Where the end of a run is posted to, and when: what a job says of it.

The address of a web hook is a secret: whoever has it may post. So a job names the variable that
holds it, and it is shown nowhere.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from batchgen.errors import UsageError
from batchgen.provider import is_loopback, split_address

On: TypeAlias = Literal["change", "failure", "always"]
Service: TypeAlias = Literal["slack", "discord", "teams", "ntfy", "json"]

ONS: Final[tuple[On, ...]] = get_args(On)
SERVICES: Final[tuple[Service, ...]] = get_args(Service)

_SLACK: Final = frozenset({"hooks.slack.com", "hooks.slack-gov.com"})
_DISCORD: Final = ("discord.com", "discordapp.com")
_TEAMS: Final = ("webhook.office.com", "logic.azure.com", "powerplatform.com")


@dataclass(frozen=True, kw_only=True, slots=True)
class Hook:
    """What a job says of who is told.

    Attributes:
        url_env: The variable that holds the address.
        on: When something is posted.
        service: Whose form the message takes; None goes by the address.
        allow_http: Whether plain http may leave this machine.
    """

    url_env: str | None = None
    on: On = "change"
    service: Service | None = None
    allow_http: bool = False


def clean_hook(url: str, named_by: str, *, allow_http: bool = False) -> str:
    """Check the address of a web hook.

    Args:
        url: The address.
        named_by: The flag or the variable that it comes from: it is told in its place.
        allow_http: Whether plain http may leave this machine.

    Raises:
        UsageError: It is none. It is never shown.
    """
    url = url.strip()
    parts = split_address(url)
    if parts is None or parts.fragment:
        raise UsageError(f"{named_by}: expected the https address of a web hook")
    if parts.scheme == "http" and not (allow_http or is_loopback(parts.hostname)):
        raise UsageError(
            f"{named_by}: plain http would show the address of the hook on its way; use https, or "
            "set notify.allow_http"
        )
    return url


def host_of(url: str) -> str:
    """What may be shown of the address of a hook."""
    parts = split_address(url)
    return "" if parts is None else parts.hostname or ""


def service_of(url: str) -> Service:
    """Whose hook an address is, as far as its host tells."""
    parts = split_address(url)
    host = "" if parts is None else parts.hostname or ""
    if host in _SLACK or (parts is not None and parts.path.endswith("/slack")):
        return "slack"  # Discord and others take Slack's form under such a path
    if _is_below(host, _DISCORD):
        return "discord"
    if _is_below(host, _TEAMS):
        return "teams"
    return "ntfy" if host.startswith("ntfy.") else "json"


def _is_below(host: str, domains: tuple[str, ...]) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)
