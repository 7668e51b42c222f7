"""`caffecompat detect_windows`."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from caffecompat import pycaffe
from caffecompat.formats import save_caffemodel
from caffecompat.schema import read_net
from tests.cli.commands.test_classify import DEPLOY

WINDOWS = [("b.png", 2, 3, 14, 18), ("a.png", 0, 0, 8, 8), ("b.png", 4, 4, 12, 20)]  # ymin, xmin, ymax, xmax


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("deploy.prototxt").write_text(DEPLOY)
    save_caffemodel("net.caffemodel", read_net("deploy.prototxt"), {"pick": [np.eye(3, dtype=np.float32)]})
    generator = np.random.default_rng(0)
    for name, size in (("a", (8, 8)), ("b", (20, 24))):
        cv2.imwrite(f"{name}.png", generator.integers(0, 256, (*size, 3), dtype=np.uint8))
    rows = [f"{name}, {x0}, {y0}, {x1}, {y1}\n" for name, y0, x0, y1, x1 in WINDOWS]
    Path("windows.csv").write_text("filename, xmin, ymin, xmax, ymax\n" + "".join(rows))
    return tmp_path


FLAGS = ["--model_def", "deploy.prototxt", "--pretrained_model", "net.caffemodel"]


@pytest.mark.parametrize("pad", [0, 2])
def test_windows_of_a_table(folder: Path, command, pad: int) -> None:
    flags = [*FLAGS, "--crop_mode", "list", "--mean", "10,20,30", "--context_pad", pad]
    assert command("detect_windows", "windows.csv", "out.csv", *flags).status == 0
    net = pycaffe.Detector("deploy.prototxt", "net.caffemodel", mean=np.float32([10, 20, 30]), raw_scale=255,
                           channel_swap=(2, 1, 0), context_pad=pad)  # fmt: skip
    order = [WINDOWS[0], WINDOWS[2], WINDOWS[1]]  # by picture
    expected = [
        found["prediction"].ravel() for name, *window in order for found in net.detect_windows([(name, [window])])
    ]
    with open("out.csv", newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header == ["filename", "ymin", "xmin", "ymax", "xmax", "class0", "class1", "class2"]
    assert [(row[0], *map(int, row[1:5])) for row in rows] == order
    np.testing.assert_allclose([[float(value) for value in row[5:]] for row in rows], expected, rtol=1e-5)
    assert command("detect_windows", "windows.csv", "out.h5", *flags).status == 0
    with h5py.File("out.h5") as book:
        np.testing.assert_allclose(book["prediction"][()], expected, rtol=1e-5)
        assert book["filename"].asstr()[:].tolist() == ["b.png", "b.png", "a.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["windows.csv", "o.csv"], "selective_search reads a .txt file"),
        (["windows.csv", "o.txt", "--crop_mode", "list"], "ending in .csv or .h5"),
        (["windows.csv", "o.csv", "--crop_mode", "grid"], "expected list or selective_search"),
        (["bad.csv", "o.csv", "--crop_mode", "list"], "bad.csv:1: no column ymax"),
        (["nan.csv", "o.csv", "--crop_mode", "list"], "nan.csv:2: expected four numbers"),
        (["inf.csv", "o.csv", "--crop_mode", "list"], "inf.csv:2: expected four numbers"),
        (["huge.csv", "o.csv", "--crop_mode", "list"], "huge.csv:2: expected four numbers"),
        (["short.csv", "o.csv", "--crop_mode", "list"], "short.csv:2: expected four numbers"),
        (["long.csv", "o.csv", "--crop_mode", "list"], ": cannot be read as .csv: field larger"),
        (["pictures.txt", "o.csv"], "selective search needs the module"),
        (["gone.csv", "o.csv", "--crop_mode", "list"], "gone.csv: no such picture: gone.png"),
    ],
)
def test_mistakes(folder: Path, command, words: list[str], message: str) -> None:
    Path("bad.csv").write_text("filename,xmin,ymin,xmax\n")
    Path("nan.csv").write_text("filename,xmin,ymin,xmax,ymax\na.png,1,2,3\n")
    Path("inf.csv").write_text("filename,xmin,ymin,xmax,ymax\na.png,1,2,inf,4\n")
    Path("huge.csv").write_text("filename,xmin,ymin,xmax,ymax\na.png,1,2,1e30,4\n")
    Path("short.csv").write_text("xmin,ymin,xmax,ymax,filename\n1,2,3,4\n")
    Path("long.csv").write_text("filename,xmin,ymin,xmax,ymax\n" + "a" * 200000 + ",1,2,3,4\n")
    Path("gone.csv").write_text("filename,xmin,ymin,xmax,ymax\ngone.png,1,2,3,4\n")
    Path("pictures.txt").write_text("a.png\n")
    result = command("detect_windows", *words, *FLAGS)
    assert result.status == 2 and message in result.err, result.err
