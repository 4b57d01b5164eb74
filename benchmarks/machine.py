"""What the figures were measured with; no names of hosts, users or paths."""

import os
import platform
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

TMPFS: Final = "tmpfs"
_PACKAGES: Final = (
    *("batchgen", "aiohttp", "google-genai", "msgspec", "orjson", "pybase64"),
    *("pydantic", "httpx2", "duckdb"),
)
_MEMORY_DISK: Final = Path("/dev/shm")
_MARGIN_BYTES: Final = 256 << 20
_STEP_BYTES: Final = 1 << 20
_MOST_TOUCHED_BYTES: Final = 1 << 30


def describe() -> tuple[str, ...]:
    """The machine and the versions."""
    return (
        f"{_cores()} cores, {_processor()}",
        f"{_memory_bytes() / 1e9:.0f} GB",
        f"{platform.system()} {platform.release()}, {platform.machine()}",
        f"{platform.python_implementation()} {platform.python_version()}",
        ", ".join(_packages()),
    )


def output_parent(needed_bytes: int, *, on_disk: bool = False) -> tuple[Path, str]:
    """Where images go, and what to call that place: tmpfs if it has room, unless disks matter."""
    if on_disk:
        parent = Path(tempfile.gettempdir()).resolve()
        return parent, f"the temporary directory ({_file_system(parent)})"
    if _MEMORY_DISK.is_dir() and os.access(_MEMORY_DISK, os.W_OK):
        if shutil.disk_usage(_MEMORY_DISK).free > needed_bytes + _MARGIN_BYTES:
            return _MEMORY_DISK, TMPFS
        return Path(tempfile.gettempdir()), "the temporary directory (tmpfs has no room)"
    return Path(tempfile.gettempdir()), "the temporary directory (no tmpfs)"


def touch_memory(directory: Path, n_bytes: int) -> None:
    """Write so many bytes and take them away again.

    A virtual machine gets the pages of its memory from its host when they are first touched, and
    whoever is measured first would wait for them. Of very many it gives most back at once.
    """
    step = bytes(_STEP_BYTES)
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(0, min(n_bytes, _MOST_TOUCHED_BYTES), _STEP_BYTES):
            file.write(step)


def _file_system(path: Path) -> str:
    """The type of the file system of a directory."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return "of an unknown type"
    types = {Path(words[1]): words[2] for words in map(str.split, mounts.read_text().splitlines())}
    return next(types[place] for place in (path, *path.parents) if place in types)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _packages() -> list[str]:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} from the checkout" if name == "batchgen" else f"no {name}")
    return found
