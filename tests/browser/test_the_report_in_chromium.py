"""The report as a person sees it: opened from disk in a real Chromium."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import batchgen
from tests.hostile import PAYLOADS
from tests.pages import report_of

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
        "host-resolver-rules=MAP * ~NOTFOUND",  # whatever a page asks for, nothing leaves
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
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


def test_a_page_of_nothing_but_payloads_runs_nothing_and_asks_nobody(
    browser: Chrome, tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    report = report_of(tmp_path / "hostile", list(PAYLOADS)) / "report.html"
    requests_of(browser)  # what other tests asked for, and were told
    browser.get_log("browser")  # type: ignore[no-untyped-call]

    browser.get(report.as_uri())

    assert browser.title == f"j · {2 * len(PAYLOADS)}/{3 * len(PAYLOADS)} · batchgen"
    cards = browser.find_elements(By.CSS_SELECTOR, "main li")
    assert len(cards) == 3 * len(PAYLOADS)
    ActionChains(browser).move_to_element(cards[0]).perform()
    with pytest.raises(NoAlertPresentException):
        browser.switch_to.alert.accept()
    assert browser.execute_script("return window.ran === undefined && document.forms.length === 0")
    odd = "script,iframe,object,embed,form,input,svg,math,link,base,template,noscript,video,audio"
    assert browser.find_elements(By.CSS_SELECTOR, odd) == []
    assert browser.find_elements(By.CSS_SELECTOR, "body [style],[onerror],[onload]") == []
    asked = requests_of(browser)
    assert report.as_uri() in asked
    assert {url.partition(":")[0] for url in asked} == {"file"}
    told = [entry["message"] for entry in browser.get_log("browser")]  # type: ignore[no-untyped-call]
    assert not [message for message in told if "ERR_FILE_NOT_FOUND" not in message]
    tried("P35", len(PAYLOADS), "payloads in places")


def requests_of(browser: Chrome) -> list[str]:
    """The addresses of all requests that were made, or tried, since this was last asked."""
    entries = browser.get_log("performance")  # type: ignore[no-untyped-call]
    told = [json.loads(entry["message"])["message"] for entry in entries]
    sent = [one["params"] for one in told if one["method"] == "Network.requestWillBeSent"]
    return [one["request"]["url"] for one in sent]
