"""A browser for the tests of pages."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium under selenium; the tests skip where it, its driver or selenium is absent."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="pages are clicked through with selenium")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("pages are clicked through with Chromium and its driver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-component-update",
                 "disable-sync", "no-first-run", "disable-dev-shm-usage", "hide-scrollbars",
                 f"user-data-dir={tmp_path_factory.mktemp('chromium')}"):  # fmt: skip
        options.add_argument(f"--{flag}")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture
def browse(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open a page in a window of some size, light or dark; at the end no page may have written an error."""

    def open_page(path: Path, width: int = 1280, height: int = 800, *, dark: bool = False) -> Any:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        chromium.get(path.as_uri())
        chromium.execute_script("localStorage.clear(); delete document.documentElement.dataset.theme")
        return chromium

    yield open_page
    problems = [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
    assert not problems, problems


@pytest.fixture
def page_data() -> Callable[[Path], dict[str, Any]]:
    """What a page's scripts get."""

    def read(path: Path) -> dict[str, Any]:
        found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
        assert found
        data: dict[str, Any] = json.loads(found[1])
        return data

    return read
