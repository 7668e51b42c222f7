"""Words and file names whose bytes are no UTF-8, as old disks have them: they work, or are refused by a message."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.cli.common.videos import VideoOut
from caffecompat.cli.main import main
from caffecompat.data.video_frames import Video
from caffecompat.formats.database import open_database

ODD = os.fsdecode(b"\xff\xfe")


@pytest.mark.parametrize("verb", [["weights", "convert"], ["merge-bn"], ["train"], ["summary"]], ids=" ".join)
def test_unknown_flags_are_named(verb: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    for word in (f"--{ODD}", f"--{ODD}=3", f"-{ODD}"):
        assert main([*verb, "a", "b", "c", "d", word][:6]) == 2
        assert "error: caffecompat" in capfd.readouterr().err


@pytest.mark.parametrize("setting", [f"{ODD}=3", f"base_lr={ODD}", f"ip.{ODD}=3", f"{ODD}.inner_product_param=3"])
def test_settings_are_refused(setting: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.prototxt").write_text('layer { name: "ip" type: "ReLU" bottom: "data" top: "ip" }')
    (tmp_path / "solver.prototxt").write_text(f'net: "{tmp_path}/net.prototxt" base_lr: 1 lr_policy: "fixed"')
    for words in (["train", "--solver", f"{tmp_path}/solver.prototxt"], ["summary", f"{tmp_path}/net.prototxt"]):
        assert main([*words, "--set", setting]) == 2
        assert "is not UTF-8" in capfd.readouterr().err


@pytest.mark.parametrize("backend", ["lmdb", "leveldb"])
def test_databases_have_such_names(backend: str, tmp_path: Path) -> None:
    if backend == "leveldb":
        pytest.importorskip("plyvel")
    with open_database(tmp_path / ODD, backend, "w") as writer:
        writer.put([(b"key", b"value")])
    with open_database(tmp_path / ODD) as database:
        assert list(database.keys()) == [b"key"]


def test_videos_have_such_names(tmp_path: Path) -> None:
    name = str(tmp_path / f"{ODD}.mp4")
    with VideoOut(name, 5) as film:
        for shade in (10, 200):
            film.write(np.full((16, 16, 3), shade, np.uint8))
    assert [round(float(frame.mean()), -1) for _, frame in Video(name)] == [10, 200]
    with pytest.raises(Exception, match="cannot open the video"):
        Video(str(tmp_path / f"{ODD}nowhere.avi"))
    assert cv2.VideoCapture(os.fsencode(name)).isOpened()
