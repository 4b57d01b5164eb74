"""The picture of the readme: the report of `make demo`, as Chromium shows it. `make picture`."""

from io import BytesIO
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "output/catalog/report.html"
PICTURE = ROOT / "docs/images/report.png"
WIDTH_PX, HEIGHT_PX = 1280, 1060
ALL_THERE = """
    const shown = [...document.querySelectorAll("#cards img")].slice(0, 8);
    return shown.every((one) => one.complete && one.naturalWidth);
"""


def take() -> bytes:
    """The first screen of the report, as PNG."""
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in ("headless", "no-sandbox", "disable-gpu", "host-resolver-rules=MAP * ~NOTFOUND"):
        options.add_argument(f"--{flag}")
    driver = Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        size = {"width": WIDTH_PX, "height": HEIGHT_PX, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get(REPORT.as_uri())
        WebDriverWait(driver, 20).until(lambda _: driver.execute_script(ALL_THERE))
        return driver.get_screenshot_as_png()
    finally:
        driver.quit()


if __name__ == "__main__":
    shown = Image.open(BytesIO(take())).convert("RGB")
    # A page of few colours: a palette takes a third of the bytes.
    shown.quantize(256, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
