"""`VideoData`: the frames of a video file or a camera, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from caffecompat.data.augment.augmentation import Augmentation, Augmented
from caffecompat.data.augment.sample import Sample
from caffecompat.data.augmenting_reader import AugmentingReader
from caffecompat.data.databases import prefetch_depth
from caffecompat.data.loaded_source import LoadedSource
from caffecompat.data.source import DataError, Request, Shape, Source, register_source
from caffecompat.data.transform import Draw
from caffecompat.paths import for_opencv
from caffecompat.resumable import State, generator_state, restore_generator
from caffecompat.schema import pb

__all__ = ["VideoDataReader"]


class _Frame(NamedTuple):
    """`number` counts from 0, skipped frames included."""

    number: int
    picture: np.ndarray
    draw: Draw | None


class VideoDataReader(AugmentingReader):
    """Frames in order, of which `skip_frames` are left out before each (SSD video_data_layer.cpp).

    Tops: data (N, C, H, W) and, when there are two, label (N) of zeros. resize_param and noise_param are obeyed.
    After the last frame that fills a batch comes an error that says so (the fork interrupts its own process there).
    """

    def __init__(self, request: Request) -> None:
        import cv2

        param = request.layer.video_data_param
        self._labeled = request.tops(1, 2) == 2
        self.batch_size = request.layer.data_param.batch_size
        if self.batch_size < 1:
            raise DataError(f"data_param.batch_size must be at least 1, it is {self.batch_size}")
        self._augmentation = Augmentation(request, resizes=True)
        self._random = request.generator()
        self._skip = param.skip_frames
        self._is_file = param.video_type == pb.VideoDataParameter.VIDEO
        if self._is_file:
            self._name = request.find("video_data_param.video_file", param.video_file)
            self._capture = cv2.VideoCapture(for_opencv(self._name))
        else:
            self._name = f"camera {param.device_id}"
            self._capture = cv2.VideoCapture(param.device_id)
        if not self._capture.isOpened():
            raise DataError(f"cannot open {self._name}: OpenCV cannot read it")
        self._read = 0
        self._ahead: np.ndarray | None = self._frame()

    def _frame(self) -> np.ndarray:
        good, frame = self._capture.read()
        if not good:
            raise DataError(f"{self._name} has no frame after the first {self._read}; that is the end of the video")
        self._read += 1
        return np.asarray(frame).reshape(*frame.shape[:2], -1)

    def first(self) -> _Frame:
        """The first frame, left in its place."""
        assert self._ahead is not None
        return _Frame(0, self._ahead, None)

    def take(self, count: int) -> list[_Frame]:
        frames = []
        for _ in range(count):
            for _ in range(self._skip + 1):
                picture = self._frame() if self._ahead is None else self._ahead
                self._ahead = None
            frames.append(_Frame(self._read - 1, picture, self._augmentation.draw(self._random)))
        return frames

    def redrawn(self, record: _Frame) -> _Frame:
        return record._replace(draw=self._augmentation.draw(self._random))

    def state(self) -> State:
        return {"frames": self._read - (self._ahead is not None), "random": generator_state(self._random)}

    def restore(self, state: State) -> list[str]:
        restore_generator(self._random, state["random"])
        if not self._is_file:
            return []
        self._capture.open(for_opencv(self._name))
        self._read, self._ahead = 0, None
        try:
            while self._read < state["frames"]:
                self._frame()
        except DataError as error:
            return [str(error)]
        return []

    def read(self, record: _Frame) -> Augmented:
        return self._augmentation(Sample(record.picture), record.draw)

    def shapes(self, sample: Augmented) -> list[Shape]:
        return [sample.shape, ()] if self._labeled else [sample.shape]

    def write_labels(self, sample: Augmented, arrays: Sequence[np.ndarray], at: int) -> None:
        if self._labeled:
            arrays[0][at] = 0

    def describe(self, record: Any) -> str:
        return f"{self._name}, frame {record.number}"

    def close(self) -> None:
        self._capture.release()


@register_source("VideoData")
def _video_data(request: Request) -> Source:
    reader = VideoDataReader(request)
    return LoadedSource(reader, reader.first(), depth=prefetch_depth(request.layer), share=request.share)
