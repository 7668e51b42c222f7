"""Videos that the command line names, and writes."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from caffecompat.errors import CaffeCompatError
from caffecompat.paths import for_opencv

__all__ = ["VIDEOS", "VideoOut", "is_video"]

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")


def is_video(path: str) -> bool:
    """Whether the file's name says so."""
    return path.lower().endswith(VIDEOS)


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
