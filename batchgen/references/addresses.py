"""Which addresses may be fetched from, decided without a packet.

A job file may come from anywhere, and the machine that runs it may reach what its author cannot:
metadata services, routers, databases. So a reference comes from the public internet or not at all.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final, TypeAlias

from batchgen.references.files import UnusableReferenceError
from batchgen.sanitize import printable

if TYPE_CHECKING:
    from yarl import URL

IsPublic: TypeAlias = Callable[[str], bool]

_HTTPS_PORT: Final = 443
_FIRST_FREE_PORT: Final = 1024
_MAX_HOST_CHARS: Final = 253
_LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)

# Sources: the IANA special-purpose address registries. `ipaddress.is_global` alone lets multicast,
# 6to4 and NAT64 through, and its table changes with the version of Python.
_SPECIAL_IPV4: Final = tuple(
    ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
)
# All public addresses of version 6 are in here: what embeds an IPv4 address (mapped, compatible,
# NAT64), local, site-local and multicast addresses are not.
_GLOBAL_UNICAST_IPV6: Final = ip_network("2000::/3")
_SPECIAL_IPV6: Final = tuple(
    ip_network(network)
    for network in (
        "2001::/23",  # Teredo, ORCHID, benchmarking and other protocols
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",
    )
)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet; False for what is no address."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    match ip:
        case IPv4Address():
            return ip.is_global and not any(ip in network for network in _SPECIAL_IPV4)
        case IPv6Address():
            return (
                ip.scope_id is None
                and ip in _GLOBAL_UNICAST_IPV6
                and ip.is_global
                and not any(ip in network for network in _SPECIAL_IPV6)
            )


def refusal(address: str) -> str:
    """Why nothing is fetched from an address; completes "URL …"."""
    return (
        f"resolves to {printable(address, 60)}, which is not a public address; "
        "download the file and name its path"
    )


def check_url(url: str, is_public: IsPublic = is_public) -> "URL":
    """Read an address that a reference may be fetched from; sends nothing.

    Args:
        url: As it was written.
        is_public: Decides on a host that is written as an IP address.

    Raises:
        UnusableReferenceError: It is not https, holds a password, or names no public host.
    """
    from yarl import URL

    try:
        read = URL(url) if url.isprintable() else None
    except ValueError:
        read = None
    if read is None:
        raise UnusableReferenceError("is no address that can be read")
    if read.scheme != "https":
        raise UnusableReferenceError("is not https; download the file and name its path")
    if read.raw_user is not None or read.raw_password is not None:
        raise UnusableReferenceError("holds a user name or password, and none is ever sent")
    _check_host(read.raw_host or "", is_public)
    _check_port(_HTTPS_PORT if read.explicit_port is None else read.explicit_port)
    return read.with_fragment(None)


def shown_url(url: "str | URL") -> str:
    """An address fit for a message: the query, which may hold a signature, is left out."""
    from yarl import URL

    try:
        read = URL(url)
    except ValueError:
        return "https://…"
    if not read.raw_host:
        return printable(f"{read.scheme}:…", 30)
    host = f"[{read.raw_host}]" if ":" in read.raw_host else read.raw_host
    port = "" if read.explicit_port is None else f":{read.explicit_port}"
    return printable(f"{read.scheme}://{host}{port}{read.path}", 200)


def _check_host(host: str, is_public: IsPublic) -> None:
    labels = host.removesuffix(".").split(".")
    # Resolvers take 0x7f.1, 2130706433 and 127.1 for addresses; so does nobody who means well.
    numeric = _NUMBER.fullmatch(labels[-1]) is not None
    if ":" in host or (numeric and _is_ipv4(host)):
        if not is_public(host):
            raise UnusableReferenceError(refusal(host))
    elif numeric or len(host) > _MAX_HOST_CHARS or not all(map(_LABEL.fullmatch, labels)):
        raise UnusableReferenceError("names no host that can be looked up")


def _is_ipv4(host: str) -> bool:
    try:
        IPv4Address(host)
    except ValueError:
        return False
    return True


def _check_port(port: int) -> None:
    """Other services' ports are none of ours; those above 1023 are anybody's."""
    if port != _HTTPS_PORT and port < _FIRST_FREE_PORT:
        raise UnusableReferenceError(f"names port {port}; expected 443, or one from 1024 on")
