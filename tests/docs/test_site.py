"""The documentation site builds without a warning and without a network, and none of its links is dead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest


class _Links(HTMLParser):
    """What a page links to or loads, and the anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values.get("id", ""), values.get("name", "") if tag == "a" else ""}
        if tag == "a" and "href" in values:
            self.targets.append(values["href"])
        elif tag == "link" and values.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(values["href"])
        elif tag in ("img", "script") and "src" in values:
            self.loaded.append(values["src"])


def test_no_link_is_dead(site: Path) -> None:
    pages = {path: _Links(path.read_text()) for path in site.rglob("*.html") if path.name != "404.html"}
    dead = []
    for path, page in pages.items():
        for target in [*page.targets, *page.loaded]:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file() or (file in pages and unquote(parts.fragment) not in pages[file].anchors):
                dead.append(f"{path.relative_to(site)}: {target}")
    assert len(pages) > 2 and not dead


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    for path in site.rglob("*.html"):
        assert not [target for target in _Links(path.read_text()).loaded if urlsplit(target).netloc], path
        assert not re.search(r"url\(\s*['\"]?https?:", path.read_text()), path


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    """The site at an address of this machine: browsers start no search in a page of a folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_it_is_light_and_dark_and_searches(served: str, chromium: Any) -> None:
    wait = import_module("selenium.webdriver.support.ui").WebDriverWait(chromium, 30)
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        chromium.get(f"{served}/index.html")  # the second time with what the first visit has stored
        wait.until(lambda page, dark=scheme == "dark": (_brightness(page) < 200) == dark)
    chromium.find_element("css selector", "input.md-search__input").send_keys("SmoothL1Loss")
    found = wait.until(lambda page: page.find_elements("css selector", "a.md-search-result__link"))
    assert any("regression_loss.html" in link.get_attribute("href") for link in found)


def test_commands_wrap_on_a_narrow_screen(served: str, chromium: Any) -> None:
    metrics = {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    chromium.get(f"{served}/from-caffe.html")
    wide = (
        "return [...document.querySelectorAll('.language-shell code')].map(code => code.scrollWidth - code.clientWidth)"
    )
    beyond = chromium.execute_script(wide)
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert beyond and max(beyond) <= 2


def _brightness(page: Any) -> int:
    color = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", color)[:3]))
