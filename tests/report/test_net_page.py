"""A net's page: what is in it, and what a browser makes of it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffecompat
from caffecompat.report.net_page import draw_page
from caffecompat.schema import parse_text, pb

ROOT = Path(__file__).resolve().parents[2]
ESPNET = ROOT / "models/espnet/deploy.prototxt"
Data = Callable[[Path], dict[str, Any]]

EVIL = r"""
name: "</title><script>document.title = 'run'</script>"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "<script>document.title = 'run'</script>" type: "Convolution" bottom: "data"
  top: "<img src=x onerror=alert(1)>" convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "</script><b>" type: "ReLU" bottom: "<img src=x onerror=alert(1)>" top: "\" onclick=\"alert(1)" }
"""


@pytest.fixture(scope="module")
def espnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("page") / "net.html"
    net = caffecompat.Net(ESPNET, "TEST", log=False)
    net.save(page.with_name("net.caffemodel"))
    draw_page(ESPNET, page, weights=page.with_name("net.caffemodel"))
    return page


def test_every_layer_has_its_facts(espnet: Path, page_data: Data) -> None:
    data = page_data(espnet)
    layers = {layer["name"]: layer for layer in data["layers"]}
    assert len(layers) == 198 == len(caffecompat.read_net(ESPNET).layer)
    conv = layers["ConvNd_8"]
    assert conv["tops"] == [["ConvNd_8", [1, 12, 128, 256]]] and conv["parameters"] == 12 * 64
    assert conv["macs"] == 12 * 64 * 128 * 256 and "num_output: 12" in conv["text"]
    (blob,) = conv["blobs"]
    weights = caffecompat.load_caffemodel(espnet.with_name("net.caffemodel"))["ConvNd_8"][0]
    assert blob["shape"] == [12, 64, 1, 1] and sum(blob["bins"]) == weights.size
    assert (blob["min"], blob["max"]) == (pytest.approx(weights.min(), 1e-5), pytest.approx(weights.max(), 1e-5))
    assert blob["bins"] == np.histogram(weights, 41)[0].tolist()
    rows = sorted(row["layer"] for box in data["boxes"].values() for row in box.get("rows", ()))
    assert rows == list(range(198))  # each in one box


def test_each_box_lies_in_one_graph_and_none_on_another(espnet: Path, page_data: Data) -> None:
    data = page_data(espnet)
    placed = [key for graph in data["graphs"].values() for key, _, _ in graph["nodes"] if key not in ("in", "out")]
    assert sorted(placed) == sorted(data["boxes"])
    for graph in data["graphs"].values():
        rows: dict[int, list[tuple[float, float]]] = {}
        for key, x, row in graph["nodes"]:
            width = data["boxes"].get(key, {"w": 40})["w"]
            rows.setdefault(row, []).append((x - width / 2, x + width / 2))
        for spans in map(sorted, rows.values()):
            assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))


def test_names_are_text(tmp_path: Path) -> None:
    draw_page(parse_text(EVIL, pb.NetParameter()), tmp_path / "net.html")
    text = (tmp_path / "net.html").read_text()
    assert text.count("<script") == 2 and text.count("</script>") == 2 and "<img" not in text and "<b>" not in text


def test_a_net_that_does_not_build_is_drawn_without_shapes(tmp_path: Path, page_data: Data) -> None:
    text = (
        ESPNET.read_text()
        .replace('bottom: "ConvNd_2"', 'bottom: "data"', 1)
        .replace("num_output: 12", "num_output: 13", 1)
    )
    broken = parse_text(text, pb.NetParameter())
    draw_page(broken, tmp_path / "net.html")
    page = (tmp_path / "net.html").read_text()
    assert "no shapes: " in page
    assert page_data(tmp_path / "net.html")["layers"][1]["tops"] == [["ConvNd_1", None]]


def test_weights_of_another_net(tmp_path: Path, page_data: Data, capsys: pytest.CaptureFixture[str]) -> None:
    relu = 'layer { name: "b" type: "ReLU" bottom: "a" top: "b" }'
    net = 'layer { name: "%s" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 2 } }'
    (tmp_path / "net.prototxt").write_text(net % "a" + relu)
    page = tmp_path / "net.html"
    for name in ("a", "other"):
        document = caffecompat.read_net(tmp_path / "net.prototxt")
        document.layer[0].name = name
        blobs = {name: [np.ones((2, 2), "f4")], "b": [np.ones((2, 2), "f4")]}
        caffecompat.save_caffemodel(tmp_path / f"{name}.caffemodel", document, blobs)
    (tmp_path / "alone.prototxt").write_text(net % "a")
    with pytest.raises(caffecompat.CaffeCompatError, match="none of its layers is in this net; the file has other, b"):
        draw_page(tmp_path / "alone.prototxt", page, weights=tmp_path / "other.caffemodel")
    assert not page.exists()
    draw_page(tmp_path / "alone.prototxt", page, weights=tmp_path / "a.caffemodel")
    assert "1 layers of the weights are not in the net: b" in page.read_text()
    assert page_data(page)["layers"][0]["blobs"][0]["shape"] == [2, 2]


def test_phases_and_states(golden: Path, tmp_path: Path, page_data: Data) -> None:
    model = golden / "cli/train_val.prototxt"
    names = {}
    for phase in ("TRAIN", "TEST"):
        draw_page(model, tmp_path / "net.html", phase=phase)
        names[phase] = {layer["name"] for layer in page_data(tmp_path / "net.html")["layers"]}
    assert "acc" in names["TEST"] - names["TRAIN"]


def _deep_net(blocks: int) -> pb.NetParameter:
    """A residual net of five layers a block."""
    text = 'layer { name: "data" type: "Input" top: "x" input_param { shape { dim: 1 dim: 8 dim: 8 dim: 8 } } }'
    for at in range(blocks):
        before = f"add{at - 1}" if at else "x"
        text += f"""
        layer {{ name: "conv{at}a" type: "Convolution" bottom: "{before}" top: "a{at}"
          convolution_param {{ num_output: 8 kernel_size: 3 pad: 1 }} }}
        layer {{ name: "relu{at}a" type: "ReLU" bottom: "a{at}" top: "a{at}" }}
        layer {{ name: "conv{at}b" type: "Convolution" bottom: "a{at}" top: "b{at}"
          convolution_param {{ num_output: 8 kernel_size: {1 + 2 * (at % 25 == 24)} }} }}
        layer {{ name: "relu{at}b" type: "ReLU" bottom: "b{at}" top: "b{at}" }}
        layer {{ name: "add{at}" type: "Concat" bottom: "b{at}" bottom: "b{at}" top: "add{at}"
          concat_param {{ axis: 2 }} }}"""
    net: pb.NetParameter = parse_text(text, pb.NetParameter())
    return net


def test_a_thousand_layers_are_laid_out_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caffecompat.report.net_page._summary", lambda *arguments: None)
    begin = time.perf_counter()
    draw_page(_deep_net(200), tmp_path / "net.html")
    assert time.perf_counter() - begin < 20  # a second and a half on a quiet machine
    assert (tmp_path / "net.html").stat().st_size < 3e6


# ------------------------------------------------------------------ in a browser


def _names(browser: Any) -> list[str]:
    return [element.text for element in browser.find_elements("css selector", ".unit .name")]


def test_search_unfolds_and_shows(espnet: Path, browse: Callable[..., Any]) -> None:
    browser = browse(espnet)
    browser.execute_script("arguments[0].focus()", browser.find_element("id", "search"))
    assert "ConvNd_12" not in _names(browser)
    browser.find_element("id", "search").send_keys("ConvNd_12")
    hits = browser.find_elements("css selector", "#hits li[data-layer]")
    assert hits[0].text.startswith("ConvNd_12")
    hits[0].click()
    assert "ConvNd_12" in _names(browser)
    panel = browser.find_element("id", "panel")
    assert panel.is_displayed() and "dilation: 8" in panel.text and "12×12×3×3" in panel.text
    assert len(browser.find_elements("css selector", "#panel .histogram rect")) == 41
    box = browser.find_element("css selector", ".unit.found").rect
    assert 0 < box["x"] < 950 and 40 < box["y"] < 760
    browser.find_element("css selector", "#panel .close").click()
    assert not panel.is_displayed()


def test_folds(espnet: Path, browse: Callable[..., Any]) -> None:
    browser = browse(espnet)
    assert len(browser.find_elements("css selector", ".group")) == 2
    folded = len(_names(browser))
    browser.find_element("css selector", ".group > rect").click()
    assert len(browser.find_elements("css selector", ".group.open > .frame")) == 1
    assert len(browser.find_elements("css selector", ".group:not(.open)")) == 3  # its two blocks, and the other run
    browser.find_element("css selector", ".group.open > .bar").click()
    assert len(_names(browser)) == folded
    browser.find_element("id", "fold").click()
    assert len(browser.find_elements("css selector", ".unit rect[data-layer]")) == 198
    assert browser.find_element("id", "fold").text == "fold all"
    overlap = browser.execute_script("""
      const boxes = [...document.querySelectorAll('.unit')].map(each => each.getBoundingClientRect());
      return boxes.some((a, i) => boxes.some((b, j) => i < j && a.left < b.right - 1 && b.left < a.right - 1
        && a.top < b.bottom - 1 && b.top < a.bottom - 1));""")
    assert not overlap


def test_zoom_pan_click_and_theme(espnet: Path, browse: Callable[..., Any]) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    browser = browse(espnet)
    data = browser.find_element("css selector", "[data-layer='0']")
    width, left = data.rect["width"], data.rect["x"]
    browser.find_element("id", "in").click()
    assert data.rect["width"] == pytest.approx(1.25 * width, abs=2)
    ActionChains(browser).drag_and_drop_by_offset(browser.find_element("id", "canvas"), 120, 0).perform()
    moved = browser.execute_script("return view.x")
    browser.find_element("id", "fit").click()
    assert browser.execute_script("return view.x") != moved != left
    browser.execute_script("begin()")
    browser.find_element("css selector", "[data-layer='0']").click()
    assert "input_param" in browser.find_element("id", "panel").text
    color = "return getComputedStyle(document.body).backgroundColor"
    assert browser.execute_script(color) == "rgb(255, 255, 255)"
    button = browser.find_element("css selector", "button.theme")
    assert button.text == "dark"
    button.click()
    assert browser.execute_script(color) == "rgb(13, 17, 23)" and button.text == "light"
    assert browse(espnet, dark=True).execute_script(color) == "rgb(13, 17, 23)"


def test_names_are_no_html(tmp_path: Path, browse: Callable[..., Any]) -> None:
    draw_page(parse_text(EVIL, pb.NetParameter()), tmp_path / "net.html")
    browser = browse(tmp_path / "net.html")
    assert browser.title.startswith("</title><script>")
    for layer in range(3):
        browser.execute_script(f"choose({layer})")
        assert not browser.find_elements("css selector", "#panel script, #panel img, #panel b")
    assert any(name.startswith("<script>document") for name in _names(browser))


def test_a_narrow_window(espnet: Path, browse: Callable[..., Any]) -> None:
    browser = browse(espnet, 400, 800)
    browser.execute_script("choose(3)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    assert browser.find_element("id", "panel").rect["width"] == 400


@pytest.mark.nightly
def test_a_thousand_layers_stay_usable(tmp_path: Path, browse: Callable[..., Any]) -> None:
    draw_page(_deep_net(200), tmp_path / "net.html", size=(8, 8))
    browser = browse(tmp_path / "net.html")
    begin = time.perf_counter()
    browser.find_element("id", "fold").click()
    assert len(browser.find_elements("css selector", ".unit rect[data-layer]")) == 1001
    browser.execute_script("go(900)")
    assert time.perf_counter() - begin < 5
