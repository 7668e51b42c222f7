"""The frames of video files, one by one or as picture files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from caffecompat.arguments import as_count
from caffecompat.data.build import commit, staging
from caffecompat.data.parallel import ordered_map
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.atomic import WriteError
from caffecompat.formats.picture import encode_picture
from caffecompat.paths import for_opencv

__all__ = ["FramesReport", "Video", "extract_frames"]

_KINDS = ("png", "jpg")


class Video:
    """Each `every`-th frame of a video file, with its number: (H, W, 3) uint8, BGR.

    Attributes:
        rate: frames a second, of those taken.
        read: frames gone through so far, those that are not taken among them.
        count: frames of the file, as it says itself, of which damage may make fewer; 0 where it says nothing.

    Raises:
        CaffeCompatError: it cannot be opened, or has no frame that can be decoded.
    """

    def __init__(self, path: str, every: int = 1) -> None:
        self.path, self.every = path, every
        self._capture = cv2.VideoCapture(for_opencv(path))
        if not self._capture.isOpened():
            there = "it is a folder" if os.path.isdir(path) else "OpenCV cannot read it"
            raise CaffeCompatError(f"cannot open the video {path}: {there if os.path.exists(path) else 'no such file'}")
        self.rate = (self._capture.get(cv2.CAP_PROP_FPS) or 25.0) / every
        self.read = 0
        self.count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        any_good = False
        try:
            while self._capture.grab():
                if self.read % self.every == 0:
                    good, frame = self._capture.retrieve()
                    if not good:
                        break
                    any_good = True
                    yield self.read, frame
                self.read += 1
        finally:
            self._capture.release()
        if not any_good:
            raise CaffeCompatError(f"the video {self.path} has no frame that can be decoded")


@dataclass(frozen=True)
class FramesReport:
    """What was written.

    Attributes:
        written: pictures.
        read: frames of the video, those between the pictures among them.
        announced: frames that the file says it has, 0 where it says nothing; more than `read` where it is damaged.
        list_path: the list of the pictures.
    """

    written: int
    read: int
    announced: int
    list_path: str


def extract_frames(
    video: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    every: int = 1,
    encoding: str = "png",
    label: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> FramesReport:
    """Write frames of a video as pictures NAME_000000.png, ..., numbered as in the video, and a list of them.

    Args:
        video: a file that OpenCV reads.
        out: the folder to make; it must not exist, and appears with all pictures in it, or not at all.
        every: take each `every`-th frame, from the first on.
        encoding: "png", or "jpg" with OpenCV's quality of 95.
        label: the class in the lines 'picture class' of OUT/list.txt, for the layers and verbs that need one.
        on_progress: called with how many frames are read, and of how many that the file announces.

    Raises:
        BuildError: `out` exists, or is being made.
        CaffeCompatError: the video cannot be read.
        WriteError: the pictures cannot be written.

    >>> import caffecompat
    >>> report = caffecompat.extract_frames("drive.avi", "frames", every=2)
    >>> (report.written, report.read)
    (3, 5)
    >>> open("frames/list.txt").readline()
    'drive_000000.png 0\\n'
    """
    every = as_count(every, "every") or 1
    if encoding not in _KINDS:
        raise CaffeCompatError(f"encoding {encoding!r}: expected {' or '.join(_KINDS)}")
    name = os.fspath(out).rstrip("/")
    stem = Path(video).stem
    frames = Video(os.fspath(video), every)
    lines = []
    with staging(name, emptied=True) as folder:
        _make(folder / "out")

        def write(frame: tuple[int, np.ndarray]) -> tuple[int, str]:
            number, picture = frame
            file = f"{stem}_{number:06}.{encoding}"
            _write(folder / "out" / file, encode_picture(picture, encoding) or b"")
            return number, file

        for number, file in ordered_map(write, frames):
            lines.append(f"{file} {label}\n")
            on_progress(number + 1, frames.count)
        _write(folder / "out/list.txt", os.fsencode("".join(lines)))
        commit(folder, name)
    return FramesReport(len(lines), frames.read, frames.count, os.path.join(name, "list.txt"))


def _make(folder: Path) -> None:
    try:
        folder.mkdir()
    except OSError as error:
        raise WriteError(f"cannot make {folder}: {error.strerror}") from None


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror}") from None
