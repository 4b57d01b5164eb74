"""One Chromium for all browser tests, from which nothing leaves; what it showed is kept."""

import json
import os
import re
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from tests.galleries import gallery

# Screenshots of the last test run, for eyes: `BATCHGEN_ARTEFACTS` names another place.
ARTEFACTS = Path(os.environ.get("BATCHGEN_ARTEFACTS", ".artefacts"))
# WCAG 2.2, levels A and AA, and what axe calls best practice.
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
        # Whatever a page asks for, nothing leaves.
        "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: Chrome) -> Iterator[Chrome]:
    """A window of 1280 by 1000, light, that knows nothing of the tests before."""
    look(chromium)
    console(chromium)
    requests_of(chromium)
    yield chromium
    if chromium.current_url.startswith(("file:", "http:")):
        chromium.execute_script("localStorage.clear()")
    chromium.get("about:blank")


@pytest.fixture(scope="session")
def spring(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page with an item of each kind; tests only read it."""
    return gallery(tmp_path_factory.mktemp("gallery") / "spring").as_uri()


def look(
    browser: Chrome, width: int = 1280, height: int = 1000, scheme: str = "light", media: str = ""
) -> None:
    """Look at it so wide, by day or by night, on a screen or on paper."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


def wait(browser: Chrome, script: str) -> Any:
    """Wait until a script returns something true, and return it."""
    return WebDriverWait(browser, 15, 0.05).until(lambda _: browser.execute_script(script))


def console(browser: Chrome) -> list[str]:
    """What was told to the console since this was last asked."""
    return [entry["message"] for entry in browser.get_log("browser")]  # type: ignore[no-untyped-call]


def requests_of(browser: Chrome) -> list[str]:
    """The addresses of all requests that were made, or tried, since this was last asked."""
    entries = browser.get_log("performance")  # type: ignore[no-untyped-call]
    told = [json.loads(entry["message"])["message"] for entry in entries]
    sent = [one["params"] for one in told if one["method"] == "Network.requestWillBeSent"]
    return [one["request"]["url"] for one in sent]


def violations(browser: Chrome) -> list[str]:
    """What axe-core finds, in words.

    It is put in through WebDriver, which the page's own policy does not hold back.
    """
    package = resources.files("selenium_axe_python") / "axe-core" / "axe.min.js"
    browser.execute_script(package.read_text("utf-8"))
    found = browser.execute_async_script(
        "const [runOnly, done] = arguments; axe.run({ runOnly }).then(done, (e) => done(`${e}`));",
        LEVELS,
    )
    assert isinstance(found, dict), found
    assert found["passes"], found
    return [
        f"{one['id']} ({one['impact']}): {node['html'][:160]} {node['failureSummary'][:300]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


@pytest.fixture
def snap(browser: Chrome, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keep a screenshot under the name of the test and one of its own."""

    def take(name: str) -> None:
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        test = re.sub(r"\W+", "-", request.node.name.removeprefix("test_"))[:60].strip("-")
        path = ARTEFACTS / f"{test}.{name}.png"
        assert browser.save_screenshot(str(path))
        request.node.user_properties.append(("screenshot", str(path)))

    return take


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say where the screenshots are, and the figures that no test asserts tightly."""
    told = [
        (name, value)
        for report in terminalreporter.stats.get("passed", ())
        for name, value in report.user_properties
    ]
    n_taken = sum(name == "screenshot" for name, _ in told)
    if n_taken:
        terminalreporter.line(f"{n_taken} screenshots in {ARTEFACTS.resolve()}")
    for name, value in told:
        if name == "figure":
            terminalreporter.line(value)
