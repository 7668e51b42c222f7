"""The page of two nets, in a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from caffecompat.cli.main import main

ESPNET = Path(__file__).resolve().parents[2] / "models/espnet"


def test_changes_are_stepped_through_hidden_and_linked(tmp_path: Path, browse: Callable[..., Any]) -> None:
    out = tmp_path / "diff.html"
    assert (
        main(["diff", str(ESPNET / "deploy_encoder.prototxt"), str(ESPNET / "deploy.prototxt"), "--html", str(out)])
        == 1
    )
    browser = browse(out)
    assert browser.find_element("id", "at").text == "3 places"
    browser.find_element("id", "on").click()
    assert "ConvNd_20" in browser.find_element("css selector", ".row.here").text
    browser.find_element("tag name", "body").send_keys("n")
    assert "deconv_encoder6_0_0" in browser.find_element("css selector", ".row.here").text
    added = browser.find_elements("css selector", ".row.added")
    browser.find_element("css selector", "nav input[value=added]").click()
    assert not any(row.is_displayed() for row in added)
    folded = browser.find_element("css selector", "details.fold .row")
    assert not folded.is_displayed()
    browser.execute_script("location.hash = arguments[0]", folded.get_attribute("id"))
    browser.execute_script("unfold()")
    assert folded.is_displayed()
    color = "return getComputedStyle(document.body).backgroundColor"
    assert browser.execute_script(color) == "rgb(255, 255, 255)"
    browser.find_element("css selector", "button.theme").click()
    assert browser.execute_script(color) == "rgb(13, 17, 23)"
    assert browse(out, 400, 800).execute_script("return document.documentElement.scrollWidth") <= 400
