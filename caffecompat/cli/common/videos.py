"""Videos that the command line names, in and out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from caffecompat.errors import CaffeCompatError
from caffecompat.paths import for_opencv

__all__ = ["VIDEOS", "Video", "VideoOut", "is_video"]

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")


def is_video(path: str) -> bool:
    """Whether the file's name says so."""
    return path.lower().endswith(VIDEOS)


class Video:
    """Each `every`-th frame of a video file, with its number: (H, W, 3) uint8, BGR.

    Attributes:
        rate: frames a second, of those taken.

    Raises:
        CaffeCompatError: it cannot be opened, or has no frame that can be decoded.
    """

    def __init__(self, path: str, every: int = 1) -> None:
        self.path, self.every = path, every
        self._capture = cv2.VideoCapture(for_opencv(path))
        if not self._capture.isOpened():
            raise CaffeCompatError(f"cannot open the video {path}: OpenCV cannot read it")
        self.rate = (self._capture.get(cv2.CAP_PROP_FPS) or 25.0) / every

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        number, any_good = 0, False
        try:
            while self._capture.grab():
                if number % self.every == 0:
                    good, frame = self._capture.retrieve()
                    if not good:
                        break
                    any_good = True
                    yield number, frame
                number += 1
        finally:
            self._capture.release()
        if not any_good:
            raise CaffeCompatError(f"the video {self.path} has no frame that can be decoded")


class VideoOut:
    """A video file being written, made with its first frame, whose size all others have.

    Args:
        path: its folder is made if absent.
        rate: frames a second.
    """

    def __init__(self, path: str, rate: float) -> None:
        self.path, self._rate = path, rate
        self._writer: Any = None

    def write(self, frame: np.ndarray) -> None:
        """Add a frame, (H, W, 3) uint8, BGR.

        Raises:
            CaffeCompatError: OpenCV cannot write such a file here.
        """
        if self._writer is None:
            os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
            size = (frame.shape[1], frame.shape[0])
            self._writer = cv2.VideoWriter(for_opencv(self.path), cv2.VideoWriter.fourcc(*"mp4v"), self._rate, size)
            if not self._writer.isOpened():
                raise CaffeCompatError(
                    f"cannot write the video {self.path}: OpenCV has no encoder for it, or the folder is read-only"
                )
        self._writer.write(frame)

    def __enter__(self) -> VideoOut:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.release()
