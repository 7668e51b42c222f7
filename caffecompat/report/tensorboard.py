"""A training as TensorBoard shows it: curves, pictures, histograms (the extra ``tensorboard``)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from caffecompat.errors import CaffeCompatError
from caffecompat.report.predictions import Prediction

__all__ = ["TensorBoardError", "TensorBoardLog"]


class TensorBoardError(CaffeCompatError):
    """TensorBoard is not installed, or its files cannot be written."""


class TensorBoardLog:
    """Event files in a folder, a new one each time; TensorBoard shows all of a folder as one run.

    Args:
        folder: made where it is not there.
        step: where a run goes on: what an earlier file has of this iteration and later ones is shown no more. 0 begins.
    """

    def __init__(self, folder: str | os.PathLike[str], step: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise TensorBoardError("--tensorboard needs TensorBoard: pip install 'caffecompat[tensorboard]'") from None
        name = os.fspath(folder)
        try:
            os.makedirs(name, exist_ok=True)
            self._writer = SummaryWriter(name, purge_step=step or None, flush_secs=10)
        except OSError as problem:
            raise TensorBoardError(f"cannot write to {name}: {problem.strerror}") from None

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each of some curves."""
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)

    def predictions(self, step: int, found: Sequence[Prediction]) -> None:
        """Add what a net makes of some records, a picture and a line of text each."""
        for number, prediction in enumerate(found):
            strip = _side_by_side([picture for _, picture in prediction.pictures])
            titles = ", ".join(title for title, _ in prediction.pictures)
            tag = f"predictions/{number}: {titles}"
            self._writer.add_image(tag, strip[:, :, ::-1], step, dataformats="HWC")
            if prediction.text:
                self._writer.add_text(f"predictions/{number}", prediction.text, step)

    def histograms(self, step: int, values: Mapping[str, torch.Tensor]) -> None:
        """Add the distribution of each of some tensors; those with numbers that are not finite are left out."""
        for tag, tensor in values.items():
            numbers = tensor.detach().float()
            if numbers.numel() and bool(torch.isfinite(numbers).all()):
                self._writer.add_histogram(tag, numbers.cpu(), step)

    def flush(self) -> None:
        """Have all that was added in the file."""
        self._writer.flush()

    def close(self) -> None:
        """Write the rest."""
        self._writer.close()


def _side_by_side(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures (h, w, 3) in one row, at the top where they differ in height."""
    height = max(picture.shape[0] for picture in pictures)
    padded = [np.pad(each, ((0, height - each.shape[0]), (0, 4), (0, 0)), constant_values=255) for each in pictures]
    return np.concatenate(padded, axis=1)
