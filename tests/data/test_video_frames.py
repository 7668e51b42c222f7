"""Frames of a video become pictures and a list, all of them or none."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import pytest

import caffecompat
from caffecompat.cli.main import main
from caffecompat.data import video_frames
from caffecompat.errors import CaffeCompatError
from tests.data_set_trees import video


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    video(tmp_path / "drive.avi", 7)
    return tmp_path


def _brightness(path: str) -> int:
    return round(cv2.imread(path).mean())


@pytest.mark.parametrize("encoding", ["png", "jpg"])
def test_every_third_frame(encoding: str) -> None:
    steps: list[tuple[int, int]] = []
    report = caffecompat.extract_frames(
        "drive.avi", "frames", every=3, encoding=encoding, label=4, on_progress=lambda *step: steps.append(step)
    )
    names = [f"drive_{number:06}.{encoding}" for number in (0, 3, 6)]
    assert sorted(os.listdir("frames")) == [*names, "list.txt"]
    assert Path("frames/list.txt").read_text() == "".join(f"{name} 4\n" for name in names)
    assert [_brightness(f"frames/{name}") for name in names] == pytest.approx([0, 60, 120], abs=2)
    assert (report.written, report.read, report.announced) == (3, 7, 7)
    assert steps == [(1, 7), (4, 7), (7, 7)]
    assert caffecompat.build_database("frames/list.txt", "db").written == 3


def test_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["video", "frames", "drive.avi", "new/frames", "--every=2"]) == 0
    assert capsys.readouterr().out == "new/frames/list.txt: 4 of 7 frames\n"
    assert main(["video", "frames", "drive.avi", "new/frames"]) == 2
    assert "new/frames exists already" in capsys.readouterr().err
    assert len(os.listdir("new/frames")) == 5


@pytest.mark.parametrize(
    ("video", "out", "message"),
    [
        ("lost.avi", "frames", "cannot open the video lost.avi: no such file"),
        (".", "frames", "cannot open the video .: it is a folder"),
        ("text.avi", "frames", "cannot open the video text.avi: OpenCV cannot read it"),
        ("drive.avi", "text.avi/frames", "text.avi: expected a folder, this is a file; choose another name"),
    ],
)
def test_what_is_no_video_or_no_folder(video: str, out: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.avi").write_text("frames")
    assert main(["video", "frames", video, out]) != 0
    assert message in capsys.readouterr().err and not Path(out).exists()


def test_a_video_that_is_cut_off(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Path("drive.avi").read_bytes()
    frame = data.rfind(b"00dc", 0, data.find(b"idx1"))
    Path("short.avi").write_bytes(data[:frame])
    assert main(["video", "frames", "short.avi", "frames"]) == 0
    shown = capsys.readouterr()
    assert "short.avi says it has 7 frames, 6 could be read" in shown.err and "6 of 6 frames" in shown.out


def test_mistakes_leave_nothing(folder: Path) -> None:
    Path("text.avi").write_text("no video")
    before = sorted(os.listdir())
    for name, message in (
        ("text.avi", "cannot open the video text.avi"),
        ("gone.avi", "cannot open the video gone.avi"),
    ):
        with pytest.raises(CaffeCompatError, match=message):
            caffecompat.extract_frames(name, "frames")
    with pytest.raises(CaffeCompatError, match="encoding 'gif': expected png or jpg"):
        caffecompat.extract_frames("drive.avi", "frames", encoding="gif")
    with pytest.raises(CaffeCompatError, match="every 0: expected a whole number of at least 1"):
        caffecompat.extract_frames("drive.avi", "frames", every=0)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_what_is_interrupted_leaves_nothing(
    error: BaseException | type[BaseException], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(os.listdir())
    written = Path.write_bytes

    def write(self: Path, data: bytes) -> int:
        if "000004" in self.name:
            raise error
        return written(self, data)

    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises((KeyboardInterrupt, CaffeCompatError)):
        caffecompat.extract_frames("drive.avi", "frames")
    assert sorted(os.listdir()) == before
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert video_frames.extract_frames("drive.avi", "frames").written == 7
