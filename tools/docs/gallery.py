#!/usr/bin/env python3
"""The pictures of the gallery, made by caffecompat's own commands of a finished demo, into docs/pictures.

    caffecompat demo --out demo_out
    python tools/docs/gallery.py demo_out

All data is drawn by the demo. Pictures become WebP, which keeps the repository small; pages are taken by Chromium
(selenium), and left as they are where it is missing.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from caffecompat.cli.main import main

PICTURES = Path(__file__).resolve().parents[2] / "docs/pictures"
_PREPARED = ("--mean", "73,82,72", "--scale", "0.022")
_FLAGS = (
    "headless=new", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-component-update",
    "disable-sync", "no-first-run", "window-size=1300,820",
)  # fmt: skip
_WEIGHTS = "snapshots/espnet_iter_1000.caffemodel"


def make(demo: Path) -> None:
    """Write all pictures of the gallery from the folder of a demo."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, _inside(demo):
        work = Path(name)
        _save("predictions", cv2.imread("predictions.png"))
        _save("training_curve", cv2.imread("training_curve.png"))
        _run("segment", "data/val/000004.png", "--model", "espnet/deploy.prototxt", "--weights", _WEIGHTS, *_PREPARED,
             "--palette", "data/palette.txt", "--out", str(work / "overlays"))  # fmt: skip
        overlay = cv2.imread(str(work / "overlays/000004.png"))
        assert overlay is not None
        _save("overlay", cv2.resize(overlay, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC))
        _run("lmdb", "show", "--augmented", "espnet/train_val.prototxt", "--times", "5", "--count", "3",
             "--set", "data.transform_param.scale_min=0.6", "--set", "data.transform_param.scale_max=1.8",
             "--set", "data.transform_param.distort_param.brightness_prob=0.8",
             "--set", "data.transform_param.distort_param.brightness_delta=48",
             "--set", "data.transform_param.distort_param.hue_prob=0.8",
             "--set", "data.transform_param.distort_param.hue_delta=18",
             "--out", str(work / "augmented.png"))  # fmt: skip
        _save("augmented", cv2.imread(str(work / "augmented.png")), width=1200)
        _run("draw", str(PICTURES.parents[1] / "models/lenet/deploy.prototxt"), str(work / "net.png"))
        _save("net", cv2.imread(str(work / "net.png")), width=1400)
        _run("diff", "espnet/train_val_encoder.prototxt", "espnet/train_val.prototxt",
             "--html", str(work / "diff.html"), status=1)  # fmt: skip
        _run("draw", "espnet/deploy.prototxt", "--html", str(work / "draw.html"), "--weights", _WEIGHTS)
        _run("report", "logs/espnet_encoder.log", "logs/espnet.log", "--out", str(work / "report.html"))
        for page in ("diff", "draw", "report"):
            _photograph(work / f"{page}.html", f"{page}_page")


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _run(*words: str, status: int = 0) -> None:
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        ended = main(words)
    if ended != status:
        raise SystemExit(f"caffecompat {' '.join(words)} ended with {ended}:\n{errors.getvalue()[-500:]}")


def _save(name: str, picture: np.ndarray | None, width: int = 1100, quality: int = 70) -> None:
    assert picture is not None, name
    height = round(picture.shape[0] * width / picture.shape[1])
    if picture.shape[1] > width:
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(PICTURES / f"{name}.webp"), picture, [cv2.IMWRITE_WEBP_QUALITY, quality])


def _photograph(page: Path, name: str) -> None:
    """A page as Chromium shows it."""
    try:
        from selenium import webdriver
    except ImportError:
        print(f"{name}: selenium is missing, the picture stays as it is")
        return
    options = webdriver.ChromeOptions()
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*_FLAGS, f"user-data-dir={profile}"):
            options.add_argument(f"--{flag}")
        options.binary_location = "/usr/bin/chromium"
        browser = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
        try:
            browser.get(page.as_uri())
            data = np.frombuffer(browser.get_screenshot_as_png(), np.uint8)
        finally:
            browser.quit()
    _save(name, cv2.imdecode(data, cv2.IMREAD_COLOR), width=1100, quality=80)


if __name__ == "__main__":
    make(Path(sys.argv[1] if len(sys.argv) > 1 else "demo_out"))
