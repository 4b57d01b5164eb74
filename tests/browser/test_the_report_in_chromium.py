"""The report as a person sees it: opened from disk in a real Chromium."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import batchgen
from tests.browser.conftest import console, requests_of
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

# Opens every item, filters by it, searches for it, marks it, and reads its address again; tells
# where everything that was ever on the page leads.
USED = """
const schemes = new Set();
for (const card of [...cards]) {
  page.view = { ...noView(), item: card.id, q: (card.text ?? card.error).slice(0, 300).trim() };
  for (const [name, value] of tagsOf(card)) page.view = toggled(page.view, `tag:${name}`, value);
  refresh();
  marks.set({ ...card, image: { sha256: "x" } }, "redo", card.text ?? card.error);
  const back = fromHash(toHash(page.view));
  for (const one of document.querySelectorAll("[href],[src]")) {
    schemes.add(new URL(one.href ?? one.src).protocol);
  }
  if (back.item !== card.id || toHash(back) !== toHash(page.view)) throw new Error(card.id);
}
page.view = noView();
refresh();
for (const facet of document.querySelectorAll(".facet")) fillFacet(facet);
return [...schemes].sort();
"""
# Names of attributes that run something.
HANDLERS = """
const all = [...document.querySelectorAll("*")].flatMap((one) => [...one.attributes]);
return all.map((one) => one.name).filter((name) => name.startsWith("on"));
"""


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
    browser: Chrome, tmp_path: Path, snap: Callable[[str], None]
) -> None:
    report = rendered(
        tmp_path, ["a red kettle", "a blue jug", "[[BLOCKED]] a thing", "a green cup"]
    )

    browser.get(report.as_uri())

    pictures = browser.find_elements(By.CSS_SELECTOR, ".card img")
    for picture in pictures:
        browser.execute_script("arguments[0].loading = 'eager'", picture)
    WebDriverWait(browser, 10).until(
        lambda _: all(picture.get_property("naturalWidth") for picture in pictures)
    )
    assert len(pictures) == 3
    # A run makes thumbnails of what it made.
    assert {picture.get_property("naturalWidth") for picture in pictures} == {384}
    alts = [picture.get_property("alt") for picture in pictures]
    assert alts == ["item 1: a red kettle", "item 2: a blue jug", "item 4: a green cup"]
    ids = [heading.text for heading in browser.find_elements(By.CSS_SELECTOR, ".card h4")]
    assert ids == ["item 3", "item 1", "item 2", "item 4"]  # what failed comes first
    assert "blocked" in browser.find_element(By.CSS_SELECTOR, "li.card.failed").text
    assert console(browser) == []
    snap("page")


def test_no_prompt_can_run_or_fetch_anything(browser: Chrome, tmp_path: Path) -> None:
    report = rendered(tmp_path, HOSTILE)

    browser.get(report.as_uri())

    assert browser.title == "shown · 6/6 · batchgen"
    for n, hostile in enumerate(HOSTILE, 1):
        browser.execute_script("openItem(arguments[0])", f"item {n}")
        prompt = browser.find_element(By.CSS_SELECTOR, "#side .prompt")
        assert prompt.get_property("textContent") == hostile
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 1  # ours
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

    browser.get(report.as_uri())

    assert browser.title == f"j · {2 * len(PAYLOADS)}/{3 * len(PAYLOADS)} · batchgen"
    total = 3 * len(PAYLOADS)
    seen: set[str] = set()
    while True:
        cards = browser.find_elements(By.CSS_SELECTOR, ".card h4")
        seen.update(str(card.get_property("textContent")) for card in cards)
        ActionChains(browser).move_to_element(cards[0]).perform()
        if not browser.execute_script("return turnTo(page.view.page + 1)"):
            break
    assert len(seen) == total
    # Each is opened, filtered by, searched for and marked; and its address is gone to.
    assert browser.execute_script(USED) == ["file:", "https:"]
    with pytest.raises(NoAlertPresentException):
        browser.switch_to.alert.accept()
    assert browser.execute_script("return window.ran === undefined && document.forms.length === 0")
    odd = "iframe,object,embed,form,math,link,base,template,noscript,video,audio,style ~ style"
    assert browser.find_elements(By.CSS_SELECTOR, odd) == []
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 1  # ours
    assert browser.find_elements(By.CSS_SELECTOR, "body [style],[onerror],[onload]") == []
    assert browser.execute_script(HANDLERS) == []
    asked = requests_of(browser)
    assert report.as_uri() in asked
    assert {url.partition(":")[0] for url in asked} == {"file"}
    # Pictures of such names do not exist, and some could not.
    missing = ("ERR_FILE_NOT_FOUND", "ERR_INVALID_URL")
    assert not [told for told in console(browser) if not any(one in told for one in missing)]
    tried("P35", len(PAYLOADS), "payloads in places")
