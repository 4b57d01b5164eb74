"""Where the mirror of a place in an object store lies on this machine, and what workers have."""

import hashlib
import os
from pathlib import Path

from batchgen.objects import ObjectAddress
from batchgen.objects.credentials import endpoint_of


def mirror_of(address: ObjectAddress) -> Path:
    """The directory that mirrors a job's place in a store.

    It is no cache: answers that were paid and not sent on yet lie there. The same place has the
    same mirror, by which a run that was killed is gone on with; the same address at another
    endpoint is another place.
    """
    endpoint = endpoint_of(address.scheme, os.environ)
    store = address.scheme if endpoint is None else f"{address.scheme}-{_digest(endpoint)}"
    return _state() / "mirror" / store / address.bucket / address.key


def workers_of(address: ObjectAddress) -> Path:
    """Where workers of runs into a place in a store have their directories on this machine."""
    return _state() / "workers" / _digest(str(mirror_of(address)))


def _state() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or ""
    home = Path(state) if os.path.isabs(state) else Path.home() / ".local/state"  # noqa: PTH117
    return home / "batchgen"


def _digest(endpoint: str) -> str:
    return hashlib.sha256(endpoint.encode()).hexdigest()[:8]
