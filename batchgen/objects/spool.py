"""An object as a local file, for whoever reads it more than once; it goes with the process."""

import atexit
import errno
import shutil
import threading
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from batchgen.errors import StoreError
from batchgen.objects.address import ObjectAddress
from batchgen.objects.bucket import Bucket, ObjectGone, Version

_lock: Final = threading.Lock()
_spooled: Final[dict[ObjectAddress, tuple[Version, Path]]] = {}
_directory: Path | None = None


def spooled(address: ObjectAddress) -> Path:
    """Bring an object, unless this very version of it is here already.

    Raises:
        OSError: It is not there, or the store did not give it; with a sentence for a person.
        UsageError: The library is missing.
    """
    bucket = Bucket.at(ObjectAddress(address.scheme, address.bucket))
    try:
        with _lock:
            version = bucket.stored(address.key).version
            known = _spooled.get(address)
            if known is None or known[0] != version or not known[1].is_file():
                path = _new_directory() / f"{len(_spooled)}-{address.name}"
                _spooled[address] = (bucket.fetch(address.key, path).version, path)
            return _spooled[address][1]
    except ObjectGone as error:
        raise FileNotFoundError(errno.ENOENT, "there is no such object") from error
    except StoreError as error:
        raise OSError(errno.EIO, str(error)) from error


def _new_directory() -> Path:
    global _directory  # noqa: PLW0603 - one for the process
    if _directory is None:
        _directory = Path(mkdtemp(prefix="batchgen-"))
        atexit.register(shutil.rmtree, _directory, ignore_errors=True)
    return _directory
