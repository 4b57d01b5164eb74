"""What all tiers share: marks by folder, the browser's presence, and hypothesis without a clock."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import hypothesis
import pytest

pytest.register_assert_rewrite("tests.ledgers")  # its asserts say what they compared

TESTS = Path(__file__).parent
MARK_OF_FOLDER = {"browser": pytest.mark.browser, "e2e": pytest.mark.e2e}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NO_BROWSER = "no Chromium with chromedriver: on Debian, apt-get install chromium chromium-driver"

if "CI" not in os.environ:  # in CI hypothesis loads its own "ci" profile, which has no deadline
    hypothesis.settings.register_profile("no-clock", deadline=None)
    hypothesis.settings.load_profile("no-clock")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-browser",
        action="store_true",
        help="fail, instead of skipping browser tests, when there is no Chromium",
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
