"""`caffecompat segment`."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from caffecompat.cli.main import main
from tests.evaluate.world import World

_FLAGS = ["segment", "--model", "deploy.prototxt", "--weights", "copy.caffemodel", "--out", "out"]


def test_pictures_and_shares(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.folder / "palette.txt").write_text("# three classes\n10 20 30 red\n40,50,60 green\nblue: 70 80 90\n")
    flags = ["--palette", "palette.txt", "--raw", "--colors", "--nolegend", "--alpha", "0.25", "--json"]
    assert main([*_FLAGS, "0.png", *flags]) == 0
    result = json.loads(capsys.readouterr().out)
    classes = world.predictions[0]
    (entry,) = result["pictures"]
    assert entry["percent"]["blue"] == pytest.approx(100 * (classes == 2).mean(), abs=1e-3)
    np.testing.assert_array_equal(cv2.imread("out/0_classes.png", cv2.IMREAD_UNCHANGED), classes)
    colors = np.array([[30, 20, 10], [60, 50, 40], [90, 80, 70]], np.uint8)[classes]
    np.testing.assert_array_equal(cv2.imread("out/0_colors.png"), colors)
    blended = 0.75 * cv2.imread("0.png") + 0.25 * colors
    np.testing.assert_allclose(cv2.imread("out/0.png"), blended, atol=0.51)


def test_folders_keep_their_order_and_names_do_not_clash(world: World) -> None:
    (world.folder / "in/a").mkdir(parents=True)
    for name in ("in/x.png", "in/a/x.png"):
        cv2.imwrite(name, cv2.resize(cv2.imread("0.png"), (32, 16), interpolation=cv2.INTER_NEAREST))
    assert main([*_FLAGS, "in", "0.png", "in/a/x.png", "--raw"]) == 0
    written = sorted(
        str(path.relative_to("out")) for path in (world.folder / "out").relative_to(world.folder).rglob("*_classes.png")
    )
    assert written == ["0_classes.png", "a/x_classes.png", "x_2_classes.png", "x_classes.png"]
    expected = world.predictions[0].repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(cv2.imread("out/x_classes.png", cv2.IMREAD_UNCHANGED), expected)
    assert cv2.imread("out/x.png").shape[0] > 16  # the legend
    assert main([*_FLAGS, "in/x.png", "--raw", "--at", "net"]) == 0
    assert cv2.imread("out/x_classes.png", cv2.IMREAD_UNCHANGED).shape == (8, 16)


def test_bad_pictures_do_not_stop_the_others(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.folder / "cut.png").write_bytes((world.folder / "0.png").read_bytes()[:70])
    (world.folder / "text.png").write_text("no picture")
    assert main([*_FLAGS, "absent.png", "cut.png", "0.png", "text.png", "1.png"]) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-4:] == [
        "error: 3 of 5 files failed:", "  absent.png", "  cut.png", "  text.png"
    ]  # fmt: skip
    assert "cannot read absent.png: No such file" in captured.err
    assert [line.split(":")[0] for line in captured.out.splitlines()] == ["0.png", "1.png"]
    assert (world.folder / "out/1.png").exists()


def test_a_video(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    writer = cv2.VideoWriter("v.avi", cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 32))
    for number in (0, 1, 0, 1, 0):
        writer.write(cv2.resize(cv2.imread(f"{number}.png"), (64, 32), interpolation=cv2.INTER_NEAREST))
    writer.release()
    (world.folder / "broken.mp4").write_bytes(b"no video")
    assert main([*_FLAGS, "v.avi", "--frames-every", "2", "--raw", "--json", "broken.mp4"]) == 2
    captured = capsys.readouterr()
    assert "1 of 2 files failed:\n  broken.mp4" in captured.err
    (entry,) = json.loads(captured.out)["pictures"]
    assert [frame["frame"] for frame in entry["frames"]] == [0, 2, 4]
    assert entry["files"] == ["out/v.mp4", *(f"out/v/{number:06d}_classes.png" for number in (0, 2, 4))]
    expected = world.predictions[0].repeat(4, 0).repeat(4, 1)
    assert (cv2.imread("out/v/000004_classes.png", cv2.IMREAD_UNCHANGED) == expected).mean() > 0.8  # JPEG's losses
    written = cv2.VideoCapture("out/v.mp4")
    assert (written.get(cv2.CAP_PROP_FRAME_COUNT), written.get(cv2.CAP_PROP_FPS)) == (3, 5)
    assert written.get(cv2.CAP_PROP_FRAME_HEIGHT) > 32  # the legend
    assert main([*_FLAGS, "v.avi", "--nolegend"]) == 0
    assert "v.avi: 5 frames -> out/v.mp4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--palette", "nothing"], "no palette 'nothing': expected cityscapes"),
        (["--mean", "a,b"], "--mean a,b: expected one number"),
        (["--frames-every", "0"], "at least 1"),
        (["--alpha", "2"], "--alpha 2.0: 0 to 1"),
        (["--size", "16"], "expected WIDTHxHEIGHT"),
    ],
)
def test_wrong_flags(world: World, capsys: pytest.CaptureFixture[str], flags: list[str], message: str) -> None:
    assert main([*_FLAGS, "0.png", *flags]) == 2
    assert message in capsys.readouterr().err
