"""A Ray cluster of several nodes on this machine, in a process of its own, told what to do by line.

    python -m tests.ray_cluster N     prints its address; then `replace`: a node is killed, and
                                      another one comes; each is answered by a line

It listens on loopback alone, and asks nobody where it is; see batchgen/executors/ray.py.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from tests.commands import environment

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


@dataclass(frozen=True)
class RayCluster:
    """A cluster whose nodes, but for the first, may be killed.

    Attributes:
        directory: Where Ray keeps its files.
        env: What a process needs to talk to it.
    """

    address: str
    directory: Path
    env: dict[str, str]
    process: "subprocess.Popen[str]"

    def replace_a_node(self) -> None:
        """Kill a node with all that runs there, and start another one."""
        assert _asked(self.process, "replace") == "replaced"


@contextlib.contextmanager
def ray_cluster(
    n_nodes: int, cpus: int = 1, machine: Mapping[str, str] = MappingProxyType({})
) -> Iterator[RayCluster]:
    """Start so many nodes, each with so many processors to give away.

    Args:
        n_nodes: With the first.
        cpus: Of each.
        machine: What each has in its environment.
    """
    directory = Path(tempfile.mkdtemp(prefix="bg-t-", dir="/tmp"))
    token = directory / "token"
    token.write_text(secrets.token_hex(32), "ascii")
    env = {
        **ENVIRONMENT,
        "RAY_TMPDIR": str(directory),
        "RAY_AUTH_TOKEN_PATH": str(token),
    }
    log = (directory / "cluster.log").open("w", encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ray_cluster", str(n_nodes), str(cpus)],
        env=environment(**env, **machine),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    try:
        address = _line(process.stdout)
        assert address, (directory / "cluster.log").read_text("utf-8")
        yield RayCluster(address, directory, env, process)
    finally:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            process.communicate("end\n", timeout=30)
        process.kill()
        process.wait(10)
        log.close()
        shutil.rmtree(directory, ignore_errors=True)


def _asked(process: "subprocess.Popen[str]", order: str) -> str:
    assert process.stdin is not None
    process.stdin.write(f"{order}\n")
    process.stdin.flush()
    return _line(process.stdout)


def _line(pipe: IO[str] | None) -> str:
    assert pipe is not None
    return pipe.readline().strip()


def _quiet_cluster(n_nodes: int, cpus: int) -> tuple[Any, list[Any]]:
    from ray._private.node import Node  # noqa: PLC0415 - the tests' own process never imports it
    from ray.cluster_utils import Cluster  # noqa: PLC0415

    Node.start_api_server = lambda node, **_: setattr(node, "_webui_url", "")
    Node.start_monitor = Node.start_log_monitor = lambda *_, **__: None
    options = {
        "num_cpus": cpus,
        "object_store_memory": 80 << 20,
        "include_dashboard": False,
        "node_ip_address": "127.0.0.1",
    }
    cluster = Cluster(initialize_head=True, head_node_args=options)
    return cluster, [cluster.add_node(**options) for _ in range(n_nodes - 1)]


def main() -> None:
    n_nodes, cpus = int(sys.argv[1]), int(sys.argv[2])
    # Ray writes to standard output, where only answers belong.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    cluster, nodes = _quiet_cluster(n_nodes, cpus)
    print(cluster.address, file=answers, flush=True)
    for line in sys.stdin:
        if line.strip() != "replace":
            break
        cluster.remove_node(nodes.pop(0), allow_graceful=False)
        nodes.append(
            cluster.add_node(
                num_cpus=cpus,
                object_store_memory=80 << 20,
                include_dashboard=False,
                node_ip_address="127.0.0.1",
            )
        )
        print("replaced", file=answers, flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
