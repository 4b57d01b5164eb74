"""What all tiers share: marks by folder, the browser, no clock for hypothesis, what was tried."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.promises import PROMISES, Tried

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.register_assert_rewrite("tests.ledgers")  # its asserts say what they compared

TESTS = Path(__file__).parent
MARK_OF_FOLDER = {"browser": pytest.mark.browser, "e2e": pytest.mark.e2e}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NO_BROWSER = "no Chromium with chromedriver: on Debian, apt-get install chromium chromium-driver"

# Whoever runs the tests may have prices of their own, which would change every figure.
os.environ["XDG_CONFIG_HOME"] = os.devnull

if "CI" not in os.environ:  # in CI hypothesis loads its own "ci" profile, which has no deadline
    hypothesis.settings.register_profile("no-clock", deadline=None)
    hypothesis.settings.load_profile("no-clock")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-browser",
        action="store_true",
        help="fail, instead of skipping browser tests, when there is no Chromium",
    )
    parser.addoption(
        "--write-tried",
        action="store_true",
        help="write what was tried to docs/reliability.json and docs/reliability.md",
    )


@pytest.hookimpl(tryfirst=True)  # before -m looks at the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    browser_found = shutil.which("chromedriver") and any(map(shutil.which, BROWSERS))
    if not browser_found and config.getoption("--require-browser"):
        raise pytest.UsageError(NO_BROWSER)
    for item in items:
        if item.path.is_relative_to(TESTS):
            folder = item.path.relative_to(TESTS).parts[0]
            if folder in MARK_OF_FOLDER:
                item.add_marker(MARK_OF_FOLDER[folder])
        if not browser_found and item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason=NO_BROWSER))


# --- what was tried -----------------------------------------------------------------------------


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Callable[[str, int, str], None]:
    """Say how much a test tried of a promise: `tried("P1", 104, "kill points")`."""

    def tell(promise: str, n: int, what: str) -> None:
        known = PROMISES[promise]
        assert n > 0
        assert what in {**known.check, **known.soak}, f"{promise} counts no {what!r}"
        request.node.user_properties.append(("tried", [promise, n, what]))

    return tell


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    found = Tried()
    for report in terminalreporter.stats.get("passed", ()):
        tier = "soak" if "soak" in report.keywords else "check"
        test = report.nodeid.partition("[")[0]
        for name, value in report.user_properties:
            if name == "tried":
                promise, n, what = value
                found.add(promise, tier, what, n, test)
    if found.written:
        terminalreporter.section("what was tried of docs/reliability.md")
        for line in found.lines():
            terminalreporter.line(line)
    if config.getoption("--write-tried"):
        Tried.read().merged(found).write()
