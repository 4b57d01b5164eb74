"""Requests a minute, per model: a sliding window, kept by the times of the requests let through."""

from collections import defaultdict, deque

WINDOW_S = 60.0


class RateLimit:
    """Lets `rpm` requests of a model through in any 60 s; what it refuses does not count."""

    def __init__(self, rpm: int) -> None:
        self.rpm = rpm
        self._passed: defaultdict[str, deque[float]] = defaultdict(deque)

    def __repr__(self) -> str:
        return f"RateLimit(rpm={self.rpm})"

    def wait_s(self, model_id: str, now: float) -> float:
        """0 if the request may pass, and it has; else the seconds until the next may.

        `now` must not go backwards. `model_id` must be a known one, which bounds the table.
        """
        passed = self._passed[model_id]
        while passed and passed[0] <= now - WINDOW_S:
            passed.popleft()
        if len(passed) < self.rpm:
            passed.append(now)
            return 0.0
        return (passed[0] if passed else now) + WINDOW_S - now
