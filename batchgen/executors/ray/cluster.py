"""The connection to a cluster: one that is there, or one that is started here for a run.

Only what is started here is kept to this machine and kept quiet; what somebody else has started is
taken as it is.

Source: docs/adr/0024.
"""

import logging
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

from batchgen.errors import ClusterError
from batchgen.workshop import Brief

_NAMESPACE: Final = "batchgen"
_CONNECT_S: Final = 5.0
_OBJECT_STORE_BYTES: Final = 80 << 20
# Sockets lie below, in folders with long names, and no system takes more than 107 for all of it.
_MAX_PATH_CHARS: Final = 20
_OURS: Final = re.compile(r"bg-([0-9]+)-[^-]+")
_MAX_PORT: Final = 65535
# Read when Ray is imported. It asks the cloud where it is, and reports that it does not report,
# unless it can reach neither; and on any system but these it binds to loopback by itself.
_QUIET: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9",
    # Or what is asked of it when it has ended starts a cluster, with the whole environment.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    # Or it ends the whole process a minute after a cluster is lost.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "86400",
}
_LOCAL: Final = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


def host_and_port(address: str) -> tuple[str, int] | None:
    """Take an address apart; None if it is none."""
    host, _, port = address.rpartition(":")
    is_port = port.isdigit() and 0 < int(port) <= _MAX_PORT
    return (host.strip("[]"), int(port)) if host and "/" not in address and is_port else None


@dataclass(slots=True)
class Cluster:
    """The connection to a cluster, which is started here if there is no address."""

    address: str | None
    n_local: int
    ray: Any = None
    _directory: str | None = None
    _before: dict[str, str | None] = field(default_factory=dict)  # of the environment

    def __enter__(self) -> Self:
        """Set what Ray reads when it is imported, and where it keeps its files."""
        for name, value in {**_QUIET, **(_LOCAL if self.address is None else {})}.items():
            if name not in os.environ:
                self._set(name, value)
        if self.address is None:
            usual = tempfile.gettempdir()
            parent = usual if len(usual) <= _MAX_PATH_CHARS else "/tmp"  # noqa: S108 - it is made anew
            sweep(Path(parent))
            self._directory = tempfile.mkdtemp(prefix=f"bg-{os.getpid()}-", dir=parent)
            # Else it puts one of its own into the home directory.
            self._set("RAY_AUTH_TOKEN_PATH", str(_token_in(Path(self._directory))))
        return self

    def __exit__(self, *exc: object) -> None:
        """Leave nothing behind."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _set(self, name: str, value: str) -> None:
        self._before[name] = os.environ.get(name)
        os.environ[name] = value

    def connect(self, brief: Brief) -> None:
        """Connect, or start a cluster.

        Raises:
            ClusterError: It is not there.
        """
        if self.address not in (None, "auto"):
            _look_for(str(self.address))
        import ray

        _quieten(is_local=self.address is None)
        how: dict[str, Any] = {
            "namespace": _NAMESPACE,
            "log_to_driver": False,
            "logging_level": logging.CRITICAL,
        }
        if self.address is None:
            how.update(
                address="local",
                num_cpus=self.n_local,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=f"{self._directory}/r",  # Ray opens it to everybody
            )
        else:
            how["address"] = self.address
        try:
            with _without_secrets(brief):
                ray.init(**how)
        except Exception as failed:  # noqa: BLE001 - Ray raises what it likes
            told = str(failed).partition("\n")[0].partition(" Last 0 lines")[0]
            words = brief.secrets.redact(told).rstrip(" .")
            what = f"Ray could not be started on this machine: {words}"
            if self.address == "auto":
                what = (
                    "no Ray cluster was found on this machine: start one (ray start --head), or "
                    "name it with --ray-address HOST:PORT"
                )
            elif self.address is not None:
                what = f"the Ray cluster at {self.address} could not be joined: {words}"
            raise ClusterError(f"{what}; nothing was sent") from None
        self.ray = ray

    def n_nodes(self) -> int:
        """How many workers there shall be if nobody says so."""
        if self.address is None:
            return self.n_local
        return max(1, len(self.nodes()))

    def nodes(self) -> list[str]:
        """The nodes that are there, by what Ray calls them."""
        return [node["NodeID"] for node in self.ray.nodes() if node["Alive"]]

    def disconnect(self) -> None:
        """Let go of the cluster; one that was started here ends."""
        if self.ray is not None:
            self.ray.shutdown()


def sweep(parent: Path) -> None:
    """Remove what killed runs of ours have left of clusters whose processes went with them."""
    for left in parent.glob("bg-*-*"):
        found = _OURS.fullmatch(left.name)
        with suppress(OSError):
            if found is not None and left.lstat().st_uid == os.getuid() and not _lives(found[1]):
                shutil.rmtree(left, ignore_errors=True)


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


@cache
def _token() -> str:
    """What processes of a cluster of ours know each other by; Ray keeps the first that it reads."""
    return secrets.token_hex(32)


def _token_in(directory: Path) -> Path:
    file = directory / "token"
    file.touch(0o600)
    file.write_text(_token(), "ascii")
    return file


def _look_for(address: str) -> None:
    """See whether anybody listens: Ray itself tries for more than half a minute, and loudly."""
    found = host_and_port(address)
    assert found is not None  # noqa: S101 - it was looked at before
    try:
        socket.create_connection(found, _CONNECT_S).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address}: {error.strerror or error}; nothing was sent, "
            "start it and run again"
        ) from None


@contextmanager
def _without_secrets(brief: Brief) -> Iterator[None]:
    """Keep secrets out of the environment that the processes of a new cluster inherit."""
    redact = brief.secrets.redact
    taken = {name: value for name, value in os.environ.items() if redact(value) != value}
    for name in taken:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(taken)


def _quieten(*, is_local: bool) -> None:
    """Have Ray keep to itself what nobody asked for.

    These names are its own, and may go: then it tells more, and no run fails of it.
    """
    with suppress(ImportError, AttributeError):
        from ray._private import utils, worker

        worker.print_to_stdstream = _nothing
        # A dashboard shows it, with all that was given: the address of a hook, who uses a proxy.
        utils.get_entrypoint_name = _entrypoint
        if is_local:
            from ray._private.node import Node

            # It serves a page on this machine, and asks the cloud where it is, also if told not to.
            Node.start_api_server = _no_page
            Node.start_monitor = _nothing
            Node.start_log_monitor = _nothing


def _entrypoint() -> str:
    return "batchgen"


def _nothing(*_: Any, **__: Any) -> None:
    return


def _no_page(node: Any, **_: Any) -> None:
    node._webui_url = ""  # noqa: SLF001 - as Ray itself leaves it where there is none
