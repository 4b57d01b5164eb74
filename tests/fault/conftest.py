"""Fault tests run in this process with a key, and with nothing else of its environment."""

import os
from pathlib import Path

import pytest

from tests.runs import KEY, write_job


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("BATCHGEN_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COMETAPI_KEY", KEY)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """One item, with short timeouts."""
    return write_job(tmp_path / "job.jsonl", ["cat"], timeouts={"idle": 0.3, "attempt": 0.8})
