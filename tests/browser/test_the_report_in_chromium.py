"""The report as a person sees it: opened from disk in a real Chromium."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import batchgen

HOSTILE = [
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "</style><script>document.title='owned'</script>",
    "javascript:document.title='owned'",
    "{{ 7*7 }}{% raw %}",
    "\u202egnp.exe",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        *("window-size=1280,1600", f"user-data-dir={tmp_path_factory.mktemp('profile')}"),
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


def rendered(tmp_path: Path, prompts: list[str]) -> Path:
    """Run a job of these prompts on the emulator; return its report."""
    job = tmp_path / "shown.jsonl"
    head = {"job": {"provider": "emulator", "defaults": {"model": "gemini-nano-banana-2.1"}}}
    items = [
        {"id": f"item {n}", "prompt": prompt, "tags": {"text": prompt}}
        for n, prompt in enumerate(prompts, 1)
    ]
    job.write_text("\n".join(map(json.dumps, [head, *items])) + "\n")
    batchgen.run(job, output=tmp_path / "out")
    return tmp_path / "out" / "shown" / "report.html"


def test_every_picture_is_shown_with_its_id_and_nothing_is_reported_to_the_console(
    browser: Chrome, tmp_path: Path
) -> None:
    report = rendered(
        tmp_path, ["a red kettle", "a blue jug", "[[BLOCKED]] a thing", "a green cup"]
    )

    browser.get(report.as_uri())

    pictures = browser.find_elements(By.CSS_SELECTOR, "main img")
    WebDriverWait(browser, 10).until(
        lambda _: all(picture.get_property("naturalWidth") for picture in pictures)
    )
    assert len(pictures) == 3
    assert {picture.get_property("naturalWidth") for picture in pictures} == {1024}
    ids = [heading.text for heading in browser.find_elements(By.CSS_SELECTOR, "main h3")]
    assert ids == ["item 3", "item 1", "item 2", "item 4"]  # what failed comes first
    assert "blocked" in browser.find_element(By.CSS_SELECTOR, "li.failed").text
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


def test_no_prompt_can_run_or_fetch_anything(browser: Chrome, tmp_path: Path) -> None:
    report = rendered(tmp_path, HOSTILE)

    browser.get(report.as_uri())

    assert browser.title == "shown · 6/6 · batchgen"
    prompts = [p.get_property("title") for p in browser.find_elements(By.CLASS_NAME, "prompt")]
    assert prompts == HOSTILE
    assert browser.find_elements(By.TAG_NAME, "script") == []
    assert browser.find_elements(By.CSS_SELECTOR, "[onerror]") == []
    ran = browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        "document.body.append(s); return window.ran === 1"
    )
    assert ran is False  # the page's own policy stops what is put in later, too
