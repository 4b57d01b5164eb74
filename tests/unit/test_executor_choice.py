"""Who makes the calls of a run: what may be asked for, and what is said of what may not."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchgen.errors import UsageError
from batchgen.executors.choice import ExecutorOptions, choose_hands
from batchgen.executors.ray import RayHands
from batchgen.executors.ray.cluster import sweep
from batchgen.options import RunOptions
from batchgen.selection import Selection, Shard

A_SHARD = Shard.read("1/4")


def refusal(chosen: ExecutorOptions, options: RunOptions | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        choose_hands(chosen, options or {})
    return str(caught.value)


@pytest.mark.parametrize("chosen", [{}, {"executor": None}, {"executor": "local"}])
def test_calls_are_made_in_this_process_unless_something_else_is_said(
    chosen: ExecutorOptions,
) -> None:
    assert choose_hands(chosen, {}) is None


@pytest.mark.parametrize(
    ("chosen", "flag"),
    [({"ray_address": "auto"}, "--ray-address"), ({"ray_workers": 2}, "--ray-workers")],
)
def test_what_only_ray_understands_is_refused_without_it(
    chosen: ExecutorOptions, flag: str
) -> None:
    assert refusal(chosen) == f"{flag} goes with --executor ray"


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    assert refusal({"executor": "ray"}) == (
        "--executor ray needs Ray, which is not installed: pip install 'batchgen[ray]'"
    )


def test_shards_and_ray_do_not_go_together() -> None:
    assert A_SHARD is not None
    told = refusal({"executor": "ray"}, {"selection": Selection(shard=A_SHARD)})

    assert "--shard 1/4 and --executor ray" in told


@pytest.mark.parametrize("address", ["ray://host:10001", "host", "host:", ":1", "http://host:1"])
def test_an_address_that_is_none_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())

    assert f"--ray-address {address}: expected auto, or HOST:PORT" in refusal(
        {"executor": "ray", "ray_address": address}
    )


def test_an_unknown_executor_is_told() -> None:
    assert "expected one of local, ray" in refusal({"executor": "slurm"})  # type: ignore[typeddict-item]


def test_fewer_than_one_worker_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())

    assert refusal({"executor": "ray", "ray_workers": 0}) == "--ray-workers 0: expected at least 1"


def test_an_address_of_a_cluster_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())

    hands = choose_hands({"executor": "ray", "ray_address": "[::1]:6379", "ray_workers": 3}, {})

    assert hands == RayHands("[::1]:6379", 3)


def test_what_a_killed_run_left_of_its_cluster_is_removed_and_nothing_else(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = [f"bg-{gone.pid}-abc", f"bg-{os.getpid()}-abc", "bg-abc", "bg-12x-abc", "else"]
    for name in names:
        (tmp_path / name / "r").mkdir(parents=True)

    sweep(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])
