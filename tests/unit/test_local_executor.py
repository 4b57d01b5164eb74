"""What a run in this process asks of the system before it begins."""

import resource

import pytest

from batchgen.executors.local import raise_file_limit


def test_the_soft_limit_of_open_files_is_raised_to_the_hard_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    raise_file_limit()
    assert asked == [(4096, 4096)]


@pytest.mark.parametrize("refusal", [ValueError("not allowed"), OSError(22, "Invalid argument")])
def test_a_system_that_refuses_its_own_hard_limit_stops_no_run(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    asked: list[tuple[int, int]] = []

    def refuse(_which: int, limits: tuple[int, int]) -> None:
        asked.append(limits)
        raise refusal

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_file_limit()
    assert asked == [(4096, 4096)]
