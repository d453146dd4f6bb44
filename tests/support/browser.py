"""A browser as a visitor has it: headless Chromium, with a cookie jar of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType

from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.wait import WebDriverWait

_LONGEST_S = 20
# Nothing of it looks for its maker's servers, which a test machine cannot reach.
_QUIET = ("disable-background-networking", "disable-component-update", "disable-sync", "no-first-run")


def installed() -> str | None:
    """Where Chromium is, if it is."""
    return shutil.which("chromium")


class Browser:
    """Clicks and reads on one site; `with Browser(folder) as alice: alice.begin("http://127.0.0.1:8000")`."""

    _site = ""

    def __init__(self, folder: Path) -> None:
        options = ChromeOptions()
        options.binary_location = shutil.which("chromium") or "chromium"
        for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-quic", *_QUIET):
            options.add_argument(f"--{argument}")
        options.add_argument(f"--user-data-dir={folder}")
        self._driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self._driver.set_page_load_timeout(_LONGEST_S)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._driver.quit()

    def begin(self, site: str) -> None:
        """On a site, as a browser that knows of nothing yet."""
        self._site = site
        self._driver.get("about:blank")
        for forgotten in (
            "Network.clearBrowserCookies",
            "Network.clearBrowserCache",
            "Page.resetNavigationHistory",
        ):
            self._driver.execute_cdp_cmd(forgotten, {})

    def go(self, path: str) -> None:
        """Load a page."""
        self._driver.get(self._site + path)

    def back(self) -> None:
        """To the page before."""
        self._driver.back()

    def type(self, name: str, text: str) -> None:
        """Fill in a field of a form, by its name or what browsers fill in there."""
        field = f'[name="{name}"], [autocomplete="{name}"]'
        self._driver.find_element(By.CSS_SELECTOR, field).send_keys(text)

    def click(self, selector: str) -> None:
        """Press a button, and wait for the page that it leads to."""
        page = self._driver.find_element(By.TAG_NAME, "html")
        self._driver.find_element(By.CSS_SELECTOR, selector).click()
        # While one page takes the place of another, the driver may have no answer.
        wait = WebDriverWait(self._driver, _LONGEST_S, ignored_exceptions=[WebDriverException])
        wait.until(expected_conditions.staleness_of(page))

    def texts(self, selector: str) -> list[str]:
        """What is written in each element of the page."""
        return [element.text for element in self._found(selector)]

    @property
    def path(self) -> str:
        """Where it is on the site."""
        return self._driver.current_url.removeprefix(self._site).partition("?")[0]

    @property
    def cookies(self) -> list[dict[str, object]]:
        """All that the site has set, those that scripts cannot see included."""
        return self._driver.get_cookies()

    def seen_by_scripts(self) -> str:
        """The cookies that a script on the page can read."""
        return str(self._driver.execute_script("return document.cookie"))

    def photograph(self, file: Path) -> None:
        """Keep what the page looks like."""
        self._driver.save_screenshot(str(file))

    def _found(self, selector: str) -> list[WebElement]:
        return self._driver.find_elements(By.CSS_SELECTOR, selector)
