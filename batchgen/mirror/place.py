"""Where the mirror of a place in an object store lies on this machine."""

import os
from pathlib import Path

from batchgen.objects import ObjectAddress


def mirror_of(address: ObjectAddress) -> Path:
    """The directory that mirrors a job's place in a store.

    It is no cache: answers that were paid and not sent on yet lie there. The same place has the
    same mirror, by which a run that was killed is gone on with.
    """
    state = os.environ.get("XDG_STATE_HOME") or ""
    home = Path(state) if os.path.isabs(state) else Path.home() / ".local/state"  # noqa: PTH117
    return home / "batchgen/mirror" / address.scheme / address.bucket / address.key
