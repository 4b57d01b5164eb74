"""The connection to a cluster: one that is there, or one that is started here for a run.

Only what is started here is kept to this machine and kept quiet; what somebody else has started is
taken as it is.

Source: docs/adr/0024.
"""

import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from batchgen.errors import ClusterError
from batchgen.workshop import Brief

_NAMESPACE: Final = "batchgen"
_CONNECT_S: Final = 5.0
_OBJECT_STORE_BYTES: Final = 80 << 20
# Sockets lie below, in folders with long names, and no system takes more than 107 for all of it.
_MAX_PATH_CHARS: Final = 30
# Read when Ray is imported. It asks the cloud where it is, and reports that it does not report,
# unless it can reach neither; and on any system but these it binds to loopback by itself.
_QUIET: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9",
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
    if not host or "/" in address or not port.isdigit():
        return None
    return host.strip("[]"), int(port)


@dataclass(slots=True)
class Cluster:
    """The connection to a cluster, which is started here if there is no address."""

    address: str | None
    n_local: int
    ray: Any = None
    _directory: str | None = None

    def __enter__(self) -> Self:
        """Set what Ray reads when it is imported, and where it keeps its files."""
        for name, value in {**_QUIET, **(_LOCAL if self.address is None else {})}.items():
            os.environ.setdefault(name, value)
        if self.address is None:
            usual = tempfile.gettempdir()
            parent = usual if len(usual) <= _MAX_PATH_CHARS else "/tmp"  # noqa: S108 - it is made anew
            self._directory = tempfile.mkdtemp(prefix="bg-", dir=parent)
            # Else it puts one of its own into the home directory.
            token = Path(self._directory) / "token"
            token.touch(0o600)
            token.write_text(secrets.token_hex(32), "ascii")
            os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
        return self

    def __exit__(self, *exc: object) -> None:
        """Leave nothing behind."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def connect(self, brief: Brief) -> None:
        """Connect, or start a cluster.

        Raises:
            ClusterError: It is not there.
        """
        if self.address not in (None, "auto"):
            _look_for(str(self.address))
        import ray

        _quieten(is_local=self.address is None)
        told: dict[str, Any] = {
            "namespace": _NAMESPACE,
            "log_to_driver": False,
            "logging_level": logging.CRITICAL,
        }
        if self.address is None:
            told.update(
                address="local",
                num_cpus=self.n_local,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=self._directory,
            )
        else:
            told["address"] = self.address
        try:
            with _without_secrets(brief):
                ray.init(**told)
        except Exception as failed:  # noqa: BLE001 - Ray raises what it likes
            words = brief.secrets.redact(str(failed).partition("\n")[0])
            what = "Ray could not be started on this machine"
            if self.address == "auto":
                what = "no Ray cluster was found on this machine"
            elif self.address is not None:
                what = f"the Ray cluster at {self.address} could not be joined"
            raise ClusterError(f"{what}: {words}; nothing was sent") from None
        self.ray = ray

    def n_nodes(self) -> int:
        """How many workers there shall be if nobody says so."""
        if self.address is None:
            return self.n_local
        return max(1, sum(bool(node["Alive"]) for node in self.ray.nodes()))

    def disconnect(self) -> None:
        """Let go of the cluster; one that was started here ends."""
        if self.ray is not None:
            self.ray.shutdown()


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
        from ray._private import worker

        worker.print_to_stdstream = _nothing
        if is_local:
            from ray._private.node import Node

            # It serves a page on this machine, and asks the cloud where it is, also if told not to.
            Node.start_api_server = _no_page
            Node.start_monitor = _nothing
            Node.start_log_monitor = _nothing


def _nothing(*_: Any, **__: Any) -> None:
    return


def _no_page(node: Any, **_: Any) -> None:
    node._webui_url = ""  # noqa: SLF001 - as Ray itself leaves it where there is none
