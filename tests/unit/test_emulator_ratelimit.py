"""The requests-a-minute limit, with the clock as an argument."""

from batchgen.emulator.ratelimit import RateLimit


def test_as_many_requests_pass_in_a_minute_as_allowed() -> None:
    limit = RateLimit(rpm=3)
    assert [limit.wait_s("m", 10.0 + n) for n in range(4)] == [0, 0, 0, 57]


def test_a_request_that_waits_as_told_passes() -> None:
    limit = RateLimit(rpm=1)
    limit.wait_s("m", 0.0)
    wait_s = limit.wait_s("m", 12.5)
    assert limit.wait_s("m", 12.5 + wait_s) == 0


def test_refused_requests_do_not_count() -> None:
    limit = RateLimit(rpm=1)
    limit.wait_s("m", 0.0)
    for now in range(1, 60):
        assert limit.wait_s("m", float(now)) > 0
    assert limit.wait_s("m", 60.0) == 0


def test_each_model_has_a_window_of_its_own() -> None:
    limit = RateLimit(rpm=1)
    assert [limit.wait_s(model, 1.0) for model in ("a", "b")] == [0, 0]


def test_a_limit_of_zero_refuses_everything() -> None:
    assert RateLimit(rpm=0).wait_s("m", 5.0) == 60
