"""The served page in a real Chromium, while a run goes on in another process: live, and judged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By

from tests.browser.conftest import console, requests_of, violations, wait
from tests.commands import batchgen, emulator, started, until
from tests.ledgers import results, summary
from tests.runs import KEY, Json, write_job
from tests.servers import FaultServer, draws
from tests.serving import served

Snap = Callable[[str], None]


def ids(browser: Chrome, selector: str = ".card") -> list[str]:
    cards = browser.find_elements(By.CSS_SELECTOR, f"{selector} h4")
    return [str(card.get_property("textContent")) for card in cards]


def press(browser: Chrome, *keys: str) -> None:
    for key in keys:
        ActionChains(browser).send_keys(key).perform()


def n_loaded(browser: Chrome) -> Any:
    return browser.execute_script(
        "return [...document.querySelectorAll('#cards img')].filter((i) => i.naturalWidth).length"
    )


def test_pictures_appear_as_they_land_the_bar_moves_and_cooldowns_show(
    browser: Chrome, tmp_path: Path, snap: Snap
) -> None:
    items: list[str | Json] = [f"item {n}" for n in range(12)]
    items.append({"id": "no", "prompt": "[[BLOCKED]] it"})
    job = write_job(tmp_path / "job.jsonl", items, limits={"concurrency": 2})
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {requests: 5, status: 429, quota: minute, retry_delay: 4s}\n", "utf-8")
    directory = tmp_path / "output/job"
    flags = ("--latency", "0.3-0.5", "--faults", str(faults))
    with emulator(*flags) as server, served(directory) as page:
        browser.get(page.url)  # before there is anything
        snap("waiting")
        run = ("run", job, "-o", tmp_path / "output", "--base-url", server.url)
        with started(*run, COMETAPI_KEY=KEY) as command:
            wait(browser, "return document.querySelectorAll('.card img').length >= 2")
            n_early = int(wait(browser, "return byId('legend').textContent.match(/\\d+/)[0]"))
            wait(browser, "return !byId('cooling').hidden")
            assert "after a 429" in browser.find_element(By.ID, "cooling").text
            assert "going on" in browser.find_element(By.ID, "state").text
            assert violations(browser) == []
            snap("cooling")
            command.process.wait(40)
        wait(browser, "return document.querySelectorAll('.card img').length === 12")
        assert n_early < 12
        wait(browser, "return byId('state').textContent.includes('finished')")
        browser.execute_script("scrollTo(0, document.body.scrollHeight)")
        wait(
            browser, "return [...document.querySelectorAll('#cards img')].every((i) => i.complete)"
        )
        assert n_loaded(browser) == 12
        assert set(ids(browser)) == results(directory).keys()
        assert ids(browser)[0] == "no"
        assert "12" in browser.find_element(By.ID, "legend").text
        wait(browser, "return document.querySelector('#charts figure')")
        assert console(browser) == []
        snap("ended")


def test_what_is_marked_is_made_again_and_stands_beside_what_it_was(
    browser: Chrome, tmp_path: Path, snap: Snap
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["jug", "cup", "bowl"])
    directory, output = tmp_path / "output/job", tmp_path / "output"
    with FaultServer(draws) as server, served(directory) as page:
        run = ("run", job, "-o", output, "--base-url", server.url)
        assert batchgen(*run, COMETAPI_KEY=KEY).code == 0
        before = results(directory)
        browser.get(page.url)
        wait(browser, "return document.querySelectorAll('.card img').length === 3")

        press(browser, "/")
        browser.switch_to.active_element.send_keys("cup")
        wait(browser, "return document.querySelectorAll('.card').length === 1")
        press(browser, Keys.ESCAPE)
        browser.get(f"{page.url}#item=cup")
        wait(browser, "return byId('detail').open")
        press(browser, "x")
        wait(browser, "return byId('redo').getAttribute('aria-pressed') === 'true'")
        note = browser.find_element(By.CSS_SELECTOR, "#detail textarea, #detail input[type=text]")
        note.send_keys("the handle is cut")
        note.send_keys(Keys.TAB)
        snap("marked")
        marks = until_marks(directory, 2)
        sha256 = before["cup"]["images"][0]["sha256"]
        assert marks[0] == {"item": "cup", "sha256": sha256, "mark": "redo"}
        assert marks[-1] == {**marks[0], "note": "the handle is cut"}

        told_of = browser.find_element(By.ID, "run").get_property("textContent")
        again = batchgen(*run, "--redo", COMETAPI_KEY=KEY)
        assert again.code == 0, again.err
        # The page that is open tells the new run, and what that should cost, not the old one.
        wait(browser, f"return byId('run').textContent !== {json.dumps(told_of)}")
        planned = browser.find_element(By.ID, "planned").get_property("textContent")
        assert planned == f"of ${summary(directory)['planned_usd'][:4]} planned"
        after = results(directory)
        assert [name for name in after if after[name] != before[name]] == ["cup"]

        browser.get("about:blank")
        browser.get(f"{page.url}#item=cup")
        wait(
            browser, "return byId('detail').open && document.querySelectorAll('#stage img').length"
        )
        wait(
            browser, "return [...document.querySelectorAll('#stage img')].every((i) => i.complete)"
        )
        sources = [
            str(one.get_attribute("src"))
            for one in browser.find_elements(By.CSS_SELECTOR, "#stage img")
        ]
        assert sources[:2] == [
            f"{page.url}quarantine/images/cup.1.png",
            f"{page.url}images/cup.png",
        ]
        assert browser.find_element(By.ID, "redo").get_attribute("aria-pressed") == "false"
        assert violations(browser) == []
        assert console(browser) == []
        snap("old and new")


def until_marks(directory: Path, n: int) -> list[Any]:
    """The lines of the review, once there are so many."""
    path = directory / "review.jsonl"
    until(lambda: path.exists() and path.read_bytes().count(b"\n") >= n, "a mark")
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


# As a browser tells a page that another tab is in front of it, and that it is seen again.
SEEN = """
Object.defineProperty(document, "hidden", {value: !arguments[0], configurable: true});
document.dispatchEvent(new Event("visibilitychange"));
"""
AT_ONCE = "window.setTimeout = (call) => call();"


def asked_for_charts(browser: Chrome) -> int:
    return sum(url.endswith("/charts") for url in requests_of(browser))


def test_a_page_that_nobody_sees_holds_no_connection_and_catches_up_when_it_is_seen(
    browser: Chrome, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["jug"])
    directory = tmp_path / "output/job"
    with FaultServer(draws) as server, served(directory) as page:
        run = ("run", job, "-o", tmp_path / "output", "--base-url", server.url)
        assert batchgen(*run, COMETAPI_KEY=KEY).code == 0
        browser.get(page.url)
        wait(browser, "return live.stream.readyState === 1")
        browser.execute_script("live.kept = window.setTimeout;" + AT_ONCE + SEEN, 0)
        assert browser.execute_script("return live.stream") is None
        browser.execute_script("window.setTimeout = live.kept")
        browser.execute_async_script(  # as from another window
            "const {id, image} = cards[0];"
            "marks.send({item: id, sha256: image.sha256, mark: 'keep'}).then(arguments[0])"
        )
        until_marks(directory, 1)
        assert browser.execute_script("return marks.lines().length") == 0
        browser.execute_script(SEEN, 1)
        wait(browser, "return cards[0].mark === 'keep'")
        assert browser.execute_script("return live.stream.readyState") == 1
        assert console(browser) == []


def test_charts_are_asked_for_when_they_are_opened_and_once_when_the_run_has_ended(
    browser: Chrome, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["jug"])
    directory = tmp_path / "output/job"
    with FaultServer(draws) as server, served(directory) as page:
        run = ("run", job, "-o", tmp_path / "output", "--base-url", server.url)
        assert batchgen(*run, COMETAPI_KEY=KEY).code == 0
        browser.get(page.url)
        wait(browser, "return live.run?.ended")
        browser.execute_async_script("renewCharts().then(arguments[0])")  # nobody looks at them
        assert asked_for_charts(browser) == 0
        browser.execute_script(
            "document.querySelector('#charts figure').dataset.old = '1'; byId('drawer').open = true"
        )
        wait(browser, "return !document.querySelector('#charts [data-old]')")
        assert asked_for_charts(browser) == 1
        browser.execute_script(
            "const figure = document.querySelectorAll('#charts figure')[1]; live.read = figure.id;"
            "figure.dataset.old = '1'; figure.querySelector('details').open = true;"
            "figure.querySelector('summary').focus();"
        )
        browser.execute_async_script("renewCharts().then(arguments[0])")  # its figures are read
        assert asked_for_charts(browser) == 0
        browser.execute_script(
            "const ended = live.run.ended; drawRun(Object.assign(live.run, {ended: null}));"
            "drawRun(Object.assign(live.run, {ended}));"
        )
        wait(browser, "return !document.querySelector('#charts [data-old]')")
        assert browser.execute_script(
            "return [...document.querySelectorAll('#charts details[open]')]"
            ".map((one) => one.closest('figure').id === live.read)"
        ) == [True]
        assert browser.execute_script(
            "return document.activeElement.closest('figure').id === live.read"
        )
        assert console(browser) == []
