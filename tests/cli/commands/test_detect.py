"""detect: boxes on pictures, folders and videos."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.report.boxes import box_color, draw_detections
from tests.evaluate.ssd_world import PREPROCESS, SsdWorld


@pytest.fixture
def world(tmp_path: Path, golden: Path, monkeypatch: pytest.MonkeyPatch) -> SsdWorld:
    monkeypatch.chdir(tmp_path)
    return SsdWorld(tmp_path, golden / "detection")


def net_of(world: SsdWorld) -> tuple[object, ...]:
    return ("--model", world.deploy, "--weights", world.weights, *PREPROCESS)


def test_a_folder(world: SsdWorld, command) -> None:
    folder = world.write_pictures()
    (folder / "sub").mkdir()
    (folder / "000003.png").rename(folder / "sub/000003.png")
    result = command("detect", *net_of(world), folder, "--out", "drawn", "--labelmap", "labelmap.prototxt")
    assert result.status == 0
    assert f"{folder}/sub/000003.png: bird 0.98, bird 0.58 -> drawn/sub/000003.png" in result.out
    assert f"{folder}/000000.png: nothing found -> drawn/000000.png" in result.out
    drawn, plain = cv2.imread("drawn/sub/000003.png"), cv2.imread(str(folder / "sub/000003.png"))
    assert drawn.shape == plain.shape and (drawn != plain).any()
    assert (cv2.imread("drawn/000000.png") == cv2.imread(str(folder / "000000.png"))).all()


def test_json_and_threshold(world: SsdWorld, command) -> None:
    picture = world.write_pictures() / "000003.png"
    words = ("detect", *net_of(world), picture, "--json", "--labelmap", "names.txt")
    Path("names.txt").write_text("nothing\nplane\nbike\nbird of prey\n")
    result = json.loads(command(*words, "--threshold", 0.6).out)
    (found,) = result["pictures"][0]["detections"]
    assert (found["class"], found["name"], found["score"]) == (3, "bird of prey", pytest.approx(0.98, abs=0.01))
    objects = world.pictures[3].objects
    true = objects[objects[:, 0] == 3][0, 2:6] * [40, 32, 40, 32]
    assert np.abs(np.array(found["box"]) - true).max() < 8
    assert (result["pictures"][0]["width"], result["pictures"][0]["height"]) == (40, 32)
    more = json.loads(command(*words, "--threshold", 0.01).out)["pictures"][0]["detections"]
    assert len(more) > 10
    assert [one["score"] for one in more] == sorted((one["score"] for one in more), reverse=True)


def test_a_video(world: SsdWorld, command) -> None:
    video = world.write_video()
    result = command("detect", *net_of(world), video, "--out", "drawn", "--frames-every", 3, "--json")
    frames = json.loads(result.out)["pictures"][0]["frames"]
    assert [frame["frame"] for frame in frames] == [0, 3]
    assert len(frames[1]["detections"]) == 2
    written = cv2.VideoCapture("drawn/video.mp4")
    assert written.get(cv2.CAP_PROP_FRAME_COUNT) == 2
    assert written.get(cv2.CAP_PROP_FPS) == pytest.approx(5 / 3, abs=0.01)


def test_what_cannot_be_read_is_named_and_the_rest_done(world: SsdWorld, command) -> None:
    folder = world.write_pictures()
    Path("broken.avi").write_bytes(b"no video")
    result = command("detect", *net_of(world), folder / "000000.png", "missing.png", "broken.avi")
    assert result.status == 2
    assert "000000.png: nothing found" in result.out
    assert "2 of 3 files failed:\n  missing.png\n  broken.avi" in result.err


def test_mistakes(world: SsdWorld, command) -> None:
    assert "needs --weights" in command("detect", "x.png", "--model", world.deploy).err
    assert "--threshold 2" in command("detect", "x.png", *net_of(world), "--threshold", 2).err
    classifier = (
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }'
    )
    Path("other.prototxt").write_text(classifier)
    wrong = command("detect", "x.png", "--model", "other.prototxt", "--weights", world.weights)
    assert "no DetectionOutput layer in phase TEST" in wrong.err


def test_drawing() -> None:
    picture = np.full((100, 200, 3), 90, np.uint8)
    rows = np.array([[1, 0.9, 0.25, 0.5, 0.75, 0.9], [300, 0.3, -0.2, -0.1, 1.5, 1.2]])
    drawn = draw_detections(picture, rows, lambda label: f"c{label}")
    assert (picture == 90).all()
    assert (drawn[50, 100] != 90).any() and (drawn[70, 100] == 90).all()  # the box's edge, and its inside
    assert (drawn[99, 100] != 90).any()  # the other is cut off at the border
    assert (draw_detections(picture, rows[:0], str) == picture).all()


def test_drawn_boxes_are_readable() -> None:
    def luminance(color: tuple[int, int, int]) -> float:
        """Relative luminance of WCAG 2, from B, G, R."""
        linear = [c / 255 / 12.92 if c / 255 <= 0.03928 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
        return 0.0722 * linear[0] + 0.7152 * linear[1] + 0.2126 * linear[2]

    for label in range(1, 100):
        colors = np.array([box_color(label), box_color(label + 1)], float)
        assert (luminance(box_color(label)) + 0.05) / 0.05 >= 2, "each box stands out from its dark edge"
        assert np.abs(colors[0] - colors[1]).sum() > 200, "and from the next class's boxes"
    for size in ((240, 320), (1080, 1920)):
        picture = np.full((*size, 3), 128, np.uint8)
        row = np.array([[3, 0.9, 0.4, 0.5, 0.9, 0.9]])
        drawn = draw_detections(picture, row, lambda label: "bird")
        strip = (drawn[: size[0] // 2 - 4, round(0.4 * (size[1] - 1)) + 1] != 128).any(1).sum()
        assert strip >= 12, "the part of the title above the edge: letters of about 11 pixels or more"


def test_a_test_prototxt_is_deployed(world: SsdWorld, command) -> None:
    picture = world.write_pictures() / "000003.png"
    flags = ("--weights", world.weights, *PREPROCESS, picture, "--json")
    deployed = command("detect", "--model", world.test, *flags)
    assert "reads its own data; pictures go into its deploy net instead" in deployed.err
    assert (
        json.loads(deployed.out)["pictures"]
        == json.loads(command("detect", *net_of(world), *flags[-2:]).out)["pictures"]
    )
