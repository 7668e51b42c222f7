"""A report of training runs: what is in it, and what a browser makes of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffecompat
from caffecompat.errors import CaffeCompatError
from caffecompat.report.palette import Palette
from caffecompat.report.predictions import predict
from caffecompat.report.run_report import report_runs
from caffecompat.report.run_tables import result_tables
from caffecompat.report.runs import find_runs
from caffecompat.schema import NetDocument, parse_text, pb
from tests.api_examples import write_examples
from tests.evaluate.ssd_world import SsdWorld

Data = Callable[[Path], dict[str, Any]]

EVIL = "</script><script>document.title='run'</script><img src=x onerror=alert(1)>"


def _line(text: str, second: int = 0) -> str:
    return f"I0706 13:{second // 60:02}:{second % 60:02}.513291  4945 solver.cpp:1] {text}\n"


def _log(iterations: int, *, rate: float = 0.1, output: str = "accuracy", classes: int = 3) -> str:
    lines = ["Solving net"]
    for at in range(0, iterations + 1, 10):
        if at % 20 == 0:
            lines += [
                f"Iteration {at}, Testing net (#0)",
                f"    Test net output #0: {output} = {at / 100 / (1 + rate)}",
            ]
            lines += [f"    Test net output #{1 + c}: iou = {c / 10 + at / 1000}" for c in range(classes)]
        lines += [f"Iteration {at} (5 iter/s, 2s/10 iters), loss = {2 / (1 + at)}", f"Iteration {at}, lr = {rate}"]
    lines.append("Optimization Done.")
    return "".join(_line(text, number) for number, text in enumerate(lines))


@pytest.fixture
def cli(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a training by the original Caffe, and the current one."""
    folder = tmp_path / "cli"
    shutil.copytree(golden / "cli", folder)
    monkeypatch.chdir(folder)
    return folder


def _table(data: dict[str, Any], column: str) -> dict[str, Any]:
    found: dict[str, Any] = next(table for table in data["tables"] if column in table["columns"])
    return found


def test_a_log_of_the_original(cli: Path, page_data: Data) -> None:
    report_runs("train.log", "report.html")
    data = page_data(Path("report.html"))
    log = caffecompat.parse_log("train.log")
    loss = next(panel for panel in data["panels"] if panel["title"] == "loss")["series"][0]
    assert loss["it"] == [row.iteration for row in log.train]
    assert loss["y"] == pytest.approx([row.loss for row in log.train], rel=1e-5)
    snapshots = _table(data, "file")
    assert [row[0] for row in snapshots["rows"]] == [40, 80, 100]
    tests = {row.iteration: row.values["accuracy"] for row in log.test}
    accuracy = snapshots["columns"].index("accuracy")
    assert [row[accuracy] for row in snapshots["rows"]] == pytest.approx([tests[i] for i in (40, 80, 100)], rel=1e-5)
    text = Path("report.html").read_text()
    assert "base_lr: 0.002" in text and "no predictions of train: the data of the net are no pictures" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def test_a_prefix_finds_its_log(cli: Path) -> None:
    os.remove("resume.log")
    (run,) = find_runs(["snap"])
    assert run.paths == ["train.log"] and [at for at, _ in run.snapshots] == [40, 80, 100] and run.finished
    os.chdir("..")
    (run,) = find_runs(["cli/snap"])
    assert run.paths == ["cli/train.log"] and run.log is not None and run.base == "cli"
    (run,) = find_runs(["cli/train.log"])
    assert run.snapshots[0] == (40, "cli/snap_iter_40.caffemodel")
    net = run.net(1)
    assert net is not None and net.message.layer[0].name == "data" and run.solver is not None


def test_nets_beside_a_log_that_does_not_repeat_them(cli: Path) -> None:
    lines = Path("train.log").read_text().replace("Initializing net from parameters", "Initializing net")
    Path("short.log").write_text(lines.replace('net: "train_val.prototxt"', 'net: "elsewhere/train_val.prototxt"'))
    os.chdir("..")
    (run,) = find_runs(["cli/short.log"])
    net = run.net(1)
    assert (
        run.nets == ("", "")
        and net is not None
        and len(net.message.layer) == len(caffecompat.read_net("cli/train_val.prototxt").layer)
    )


def test_other_runs_snapshots_of_that_prefix_are_not_its_own(cli: Path) -> None:
    shutil.copy("snap_iter_40.caffemodel", "snap_iter_60.caffemodel")
    (run,) = find_runs(["train.log"])
    assert [at for at, _ in run.snapshots] == [40, 80, 100]


def test_several_runs_their_classes_and_differences(tmp_path: Path, page_data: Data) -> None:
    for name, rate in (("a", 0.1), ("b", 0.2)):
        (tmp_path / f"{name}.log").write_text(_log(60, rate=rate))
    (tmp_path / "names.txt").write_text("road\ncar\nsky\n")
    report_runs([tmp_path / "a.log", tmp_path / "b.log"], tmp_path / "r.html", classes=str(tmp_path / "names.txt"))
    data = page_data(tmp_path / "r.html")
    runs = _table(data, "iterations/s")
    row = dict(zip(runs["columns"], runs["rows"][1], strict=True))
    assert (row["run"], row["state"], row["iteration"], row["at"]) == ("b", "done", 60, 60)
    assert row["best"] == pytest.approx(0.5)
    classes = _table(data, "name")
    assert classes["columns"] == ["class", "name", "a: iou at 60", "b: iou at 60"]
    assert classes["rows"][2] == [2, "sky", pytest.approx(0.26), pytest.approx(0.26)]
    names = [series["name"] for series in data["panels"][0]["series"]]
    assert names == ["a: smoothed loss", "b: smoothed loss"]


def test_results_become_tables(tmp_path: Path, page_data: Data) -> None:
    records = [{"class": 0, "iou": 0.25, "x": {"y": [1, 2]}}, {"z": 1}]
    result = {"model": "m", "miou": 0.5, "none": None, "classes": records, "nested": {"a": {"b": True}}}
    facts, classes = result_tables("r.json", result)
    assert facts["rows"] == [["model", "m"], ["miou", 0.5], ["none", None], ["nested: a: b", True]]
    assert classes["columns"] == ["class", "iou", "x: y", "z"]
    assert classes["rows"] == [[0, 0.25, "1, 2", None], [None, None, None, 1]]
    (tmp_path / "r.json").write_text(json.dumps(result))
    (tmp_path / "train.log").write_text(_log(20))
    report_runs(tmp_path, tmp_path / "page.html", pictures=0)
    data = page_data(tmp_path / "page.html")
    assert _table(data, "iou")["rows"] == classes["rows"] and data["panels"]


def test_records_inside_of_objects_become_tables_too() -> None:
    points = [{"mode": "layer", "scores": {"top-1": 0.5}}, {"mode": "channel", "scores": {"top-1": 0.75}}]
    scores = {"class 0": {"before": 0.5, "sparse": None}, "top-1": {"before": 0.25, "sparse": 0.5}}
    result = {"finetuned": {"zeros": 3, "layers": [{"name": "a"}]}, "scores": scores, "curve": {"points": points}}
    facts, layers, named, curve = result_tables("s.json", result)
    assert facts["rows"] == [["finetuned: zeros", 3]]
    assert (layers["title"], layers["rows"]) == ("s.json: finetuned: layers", [["a"]])
    assert (named["columns"], named["rows"][1]) == (["", "before", "sparse"], ["top-1", 0.25, 0.5])
    assert curve["title"] == "s.json: curve: points"
    assert curve["rows"] == [["layer", 0.5], ["channel", 0.75]]


def test_odd_values_of_results() -> None:
    result = {"a": [1, {"b": None}], "c": [[1, 2], [3]], "d": [{}], "e": {"x": {}, "y": {}}, "f": [float("nan")]}
    (facts,) = result_tables("s.json", result)
    assert facts["rows"] == [["a", "1, b: –"], ["c", "[1, 2], [3]"], ["d", ""], ["f", "–"]]


def test_a_page_is_not_written_over_what_it_shows(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text(_log(20))
    before = (tmp_path / "train.log").read_bytes()
    with pytest.raises(CaffeCompatError, match=r"train\.log"):
        report_runs(tmp_path, tmp_path / "train.log", pictures=0)  # which is named by its folder alone
    assert (tmp_path / "train.log").read_bytes() == before


def test_what_else_lies_in_a_folder_is_a_note(tmp_path: Path, page_data: Data, capsys) -> None:
    (tmp_path / "train.log").write_text(_log(20))
    (tmp_path / "build.log").write_text("hello\n")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "half.json").write_text('{"a": ')
    report_runs([tmp_path, tmp_path / "train.log"], tmp_path / "page.html", pictures=0)
    assert len(_table(page_data(tmp_path / "page.html"), "state")["rows"]) == 1  # a log that is named twice
    page = (tmp_path / "page.html").read_text()
    assert all(f"left out: {tmp_path / name}" in page for name in ("build.log", "list.json", "half.json"))
    with pytest.raises(CaffeCompatError, match=r"half\.json:1:7: this is not JSON"):
        report_runs(tmp_path / "half.json", tmp_path / "page.html")
    (tmp_path / "train.log").unlink()
    with pytest.raises(CaffeCompatError, match=r"half\.json:1:7"):
        report_runs(tmp_path, tmp_path / "page.html")


def test_scores_of_snapshots_become_curves(tmp_path: Path, page_data: Data) -> None:
    rows = [
        {"iteration": at, "weights": "w", "miou": at / 100, "ms": 4.5, "classes": [{"class": 0}]} for at in (10, 20)
    ]
    (tmp_path / "s.json").write_text(json.dumps({"snapshots": rows, "macs": 59189632.0}))
    report_runs(tmp_path / "s.json", tmp_path / "r.html")
    data = page_data(tmp_path / "r.html")
    (panel,) = data["panels"]
    (series,) = panel["series"]
    assert (series["it"], series["y"]) == ([10, 20], [0.1, 0.2]) and series["name"].endswith("s.json: miou")
    assert ["macs", 59189632] in data["tables"][0]["rows"]


def test_zeros_are_counted_in_sparse_nets(tmp_path: Path, page_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weights = np.ones((4, 3, 3, 3), np.float32)
    net = parse_text('layer { name: "conv" type: "Convolution" }', pb.NetParameter())
    caffecompat.save_caffemodel("net_iter_10.caffemodel", net, {"conv": [weights, np.zeros(4, np.float32)]})
    report_runs("net", "r.html")
    assert not any("share of zeros" in table["columns"] for table in page_data(Path("r.html"))["tables"])
    weights[:2] = 0
    caffecompat.save_caffemodel("net_iter_10.caffemodel", net, {"conv": [weights]})
    report_runs("net", "r.html")
    zeros = _table(page_data(Path("r.html")), "share of zeros")
    assert zeros["rows"] == [["conv.0", "4×3×3×3", 108, 0.5], ["all weights", "", 108, 0.5]]


def test_long_logs_keep_their_extremes(tmp_path: Path, page_data: Data) -> None:
    count = 20000
    lines = [_line(f"Iteration {at}, loss = {999 if at == 7777 else 1 + at % 7}") for at in range(count)]
    (tmp_path / "long.log").write_text(_line("Solving net") + "".join(lines))
    report_runs(tmp_path / "long.log", tmp_path / "r.html")
    series = page_data(tmp_path / "r.html")["panels"][0]["series"][0]
    assert series["of"] == count and len(series["y"]) < 4000
    assert series["y"][series["it"].index(7777)] == 999
    assert (series["it"][0], series["it"][-1]) == (0, count - 1)


def _trained(monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    """A classifier of two kinds of pictures with a log and a snapshot in the current folder."""
    monkeypatch.chdir(folder)
    write_examples()
    Path("s.prototxt").write_text(
        'net: "test.prototxt" test_iter: 2 test_interval: 2 base_lr: 0.00001 lr_policy: "fixed" max_iter: 4 display: 1 '
        'snapshot: 2 snapshot_prefix: "own" random_seed: 1 solver_mode: CPU'
    )
    with caffecompat.live_report("live"):
        caffecompat.Solver("s.prototxt").train()
    return "live/train.log"


def test_predictions_of_a_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = _trained(monkeypatch, tmp_path)
    report_runs(log, "r.html", classes="names.txt", pictures=3)
    text = Path("r.html").read_text()
    assert text.count('<img src="data:image/png;base64,') == 3
    assert "right: cat; net: cat" in text and "no predictions" not in text


def test_predictions_of_a_segmenter(streets_log: Path, page_data: Data) -> None:
    report_runs(streets_log, "r.html", pictures=2)
    text = Path("r.html").read_text()
    assert text.count("<figure>") == 8 and "% of the labeled pixels are right" in text


def test_predictions_of_a_detector(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    world = SsdWorld(tmp_path, golden / "detection")
    document = NetDocument.from_message(caffecompat.read_net(world.test), str(world.test))
    found = predict(document, str(world.weights), 99, Palette())
    assert len(found) == len(world.pictures) == 6
    assert [row.text.split(",")[0] for row in found] == [f"{len(each.objects)} objects" for each in world.pictures]
    (_, true), (_, picture) = found[0].pictures
    assert true.shape == picture.shape == (32 * 8, 40 * 8, 3) and (true != picture).any()


@pytest.fixture
def streets_log(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(golden / "segmentation", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "train")
    with caffecompat.live_report("live", pictures=0):
        caffecompat.Solver(
            "solver_encoder.prototxt", overrides=["max_iter=2", "display=1", "test_iter=1", "test_interval=2"]
        ).train()
    return Path("live/train.log")


def test_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CaffeCompatError, match=r"neither a log nor the prefix of snapshots: there is no x_iter_N"):
        report_runs("x", "r.html")
    Path("empty.log").write_text("nothing\n")
    with pytest.raises(CaffeCompatError, match=r"empty.log is no training log"):
        report_runs("empty.log", "r.html")
    Path("list.json").write_text("[1]")
    with pytest.raises(CaffeCompatError, match=r"list.json: expected a result"):
        report_runs("list.json", "r.html")
    Path("folder").mkdir()
    with pytest.raises(CaffeCompatError, match="a folder without logs"):
        report_runs("folder", "r.html")
    with pytest.raises(CaffeCompatError, match="nothing to report"):
        report_runs([], "r.html")
    assert not Path("r.html").exists()


def test_names_are_text(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(_log(20, output=EVIL.replace(" ", "_")))
    report_runs(tmp_path / "a.log", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert text.count("<script") == 2 and text.count("</script>") == 2 and "<img src=x" not in text


# ------------------------------------------------------------------ in a browser


@pytest.fixture
def two_logs(tmp_path: Path) -> Path:
    for name, rate in (("a", 0.1), ("b", 0.2)):
        (tmp_path / f"{name}.log").write_text(_log(100, rate=rate))
    report_runs([tmp_path / "a.log", tmp_path / "b.log"], tmp_path / "r.html")
    return tmp_path / "r.html"


def _move(browser: Any, chart: Any, share: float, *, press: bool = False, drop: bool = False) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    size = chart.size
    chain = ActionChains(browser).move_to_element_with_offset(chart, int((share - 0.5) * size["width"]), 0)
    chain = chain.click_and_hold() if press else chain.release() if drop else chain
    chain.perform()


def test_values_under_the_pointer_and_zoom(two_logs: Path, browse: Callable[..., Any]) -> None:
    browser = browse(two_logs)
    chart = browser.find_elements("css selector", ".chart > svg")[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    _move(browser, chart, 0.55)
    tip = browser.find_element("css selector", ".chart .tip")
    assert tip.is_displayed() and "a: smoothed loss @ 50" in tip.text and "0.03922" in tip.text  # 2 / 51
    assert len(browser.find_elements("css selector", ".chart .cross")) == len(
        browser.find_elements("css selector", ".chart")
    )
    _move(browser, chart, 0.3, press=True)
    _move(browser, chart, 0.6, drop=True)
    low, high = browser.execute_script("return state.range")
    assert 15 < low < 30 and 50 < high < 62
    assert browser.find_element("id", "whole").is_enabled()
    browser.find_element("id", "whole").click()
    assert browser.execute_script("return state.range") is None


def test_curves_are_hidden_smoothed_and_over_time(two_logs: Path, browse: Callable[..., Any]) -> None:
    browser = browse(two_logs)
    legend = browser.find_elements("css selector", ".chart:first-child .legend button")
    curves = len(browser.find_elements("css selector", ".chart:first-child .curve"))
    legend[0].click()
    assert len(browser.find_elements("css selector", ".chart:first-child .curve")) == curves - 1
    browser.execute_script("smooth = document.getElementById('smooth'); smooth.value = 2; smooth.oninput()")
    assert browser.find_element("id", "smoothed").text == "5"
    assert browser.find_elements("css selector", ".chart:first-child .curve.pale")
    browser.execute_script("over = document.getElementById('over'); over.value = 'sec'; over.onchange()")
    assert browser.find_element("id", "unit").text == "seconds since the start"
    browser.find_element("id", "log").click()
    ticks = [each.text for each in browser.find_elements("css selector", ".chart:first-child > svg > text")]
    assert "0.1" in ticks


def test_tables_sort_and_colors_change(two_logs: Path, browse: Callable[..., Any]) -> None:
    browser = browse(two_logs)
    heads = browser.find_elements("css selector", "#classes th")
    first = "return document.querySelector('#classes tbody td').textContent"
    assert browser.execute_script(first) == "0"
    heads[2].click()
    assert browser.execute_script(first) == "2"  # the greatest first
    color = "return getComputedStyle(document.body).backgroundColor"
    assert browser.execute_script(color) == "rgb(255, 255, 255)"
    stroke = "return document.querySelector('.curve').getAttribute('stroke')"
    light = browser.execute_script(stroke)
    browser.find_element("css selector", "button.theme").click()
    assert browser.execute_script(color) == "rgb(13, 17, 23)" and browser.execute_script(stroke) != light


def test_a_narrow_window(two_logs: Path, browse: Callable[..., Any]) -> None:
    browser = browse(two_logs, 400, 800, dark=True)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400


def test_nets_side_by_side_in_the_pages_colors(cli: Path, browse: Callable[..., Any]) -> None:
    other = (
        Path("train.log")
        .read_text()
        .replace('name: "conv1"', 'name: "first"')
        .replace("num_output: 8", "num_output: 9")
    )
    Path("other.log").write_text(other)
    report_runs(["train.log", "other.log"], "report.html", pictures=0)
    browser = browse(cli / "report.html", dark=True)
    browser.execute_script("document.querySelector('.diff').open = true")
    browser.switch_to.frame(browser.find_element("css selector", ".diff iframe"))
    assert browser.find_elements("css selector", ".row.changed, .row.renamed")
    assert not browser.find_element("css selector", ".theme").is_displayed()
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
    browser.switch_to.default_content()
    browser.find_element("css selector", "header .theme").click()
    browser.switch_to.frame(browser.find_element("css selector", ".diff iframe"))
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    browser.switch_to.default_content()


def test_names_are_no_html(tmp_path: Path, browse: Callable[..., Any]) -> None:
    (tmp_path / "a.log").write_text(_log(20, output=EVIL.replace(" ", "_")))
    report_runs(tmp_path / "a.log", tmp_path / "r.html")
    browser = browse(tmp_path / "r.html")
    assert browser.title == "a: report"
    assert not browser.find_elements("css selector", "img")
