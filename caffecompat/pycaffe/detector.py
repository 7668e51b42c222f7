"""pycaffe's ``Detector``: R-CNN's way of classifying windows of pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from caffecompat.errors import CaffeCompatError
from caffecompat.pycaffe import io
from caffecompat.pycaffe.classifier import set_up_transformer
from caffecompat.pycaffe.net import Net
from caffecompat.schema import pb

__all__ = ["Detector"]


class Detector(Net):
    """A net in TEST phase that scores windows, each warped to the size of its first input.

    Args:
        model_file, pretrained_file: deploy prototxt and weights.
        mean, input_scale, raw_scale, channel_swap: for the :class:`~caffecompat.pycaffe.io.Transformer`.
        context_pad: pixels of surroundings, in the input's scale, on each side of a window (R-CNN takes 16).
    """

    def __init__(
        self,
        model_file: str | os.PathLike[str],
        pretrained_file: str | os.PathLike[str],
        mean: np.ndarray | None = None,
        input_scale: float | np.ndarray | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
    ) -> None:
        super().__init__(model_file, pb.TEST, weights=pretrained_file)
        self.transformer = set_up_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def detect_windows(self, images_windows: Iterable[tuple[str, Iterable[Sequence[int]]]]) -> list[dict[str, Any]]:
        """Score windows.

        Args:
            images_windows: (picture file, windows) pairs; a window is (ymin, xmin, ymax, xmax) in pixels.

        Returns:
            One dict a window in the order given: "window", "prediction" (of the first output), "filename".
        """
        name = self.inputs[0]
        found: list[dict[str, Any]] = []
        batch = []
        for filename, windows in images_windows:
            image = io.load_image(filename)
            for window in windows:
                batch.append(self.transformer.preprocess(name, self.crop(image, np.asarray(window))))
                found.append({"window": window, "filename": filename})
        if not found:
            return []
        predictions = self.forward_all(None, **{name: np.stack(batch)})[self.outputs[0]]
        for detection, prediction in zip(found, predictions, strict=True):
            detection["prediction"] = prediction
        return found

    def detect_selective_search(self, image_fnames: Sequence[str]) -> list[dict[str, Any]]:
        """Score the windows that selective search proposes, with the Python wrapper of its MATLAB code.

        Raises:
            CaffeCompatError: the wrapper is not installed.
        """
        try:
            import selective_search_ijcv_with_python as selective_search
        except ImportError:
            raise CaffeCompatError(
                "selective search needs the module selective_search_ijcv_with_python (and MATLAB), which is not "
                "installed; give windows of another source to detect_windows()"
            ) from None
        paths = [os.path.abspath(name) for name in image_fnames]
        windows = selective_search.get_windows(paths, cmd="selective_search_rcnn")
        return self.detect_windows(zip(paths, windows, strict=True))

    def crop(self, im: np.ndarray, window: np.ndarray) -> np.ndarray:
        """The window of a picture, with its context where :meth:`configure_crop` asked for some.

        Args:
            im: (H, W, C).
            window: (ymin, xmin, ymax, xmax).

        Returns:
            The window as it is, or with context in the input's size; what lies outside the picture is the mean.
        """
        if not self.context_pad:
            return im[window[0] : window[2], window[1] : window[3]]
        size = int(self.crop_dims[1])  # R-CNN's inputs are square
        box = self._with_context(np.asarray(window, float), size)
        scale = size / (box[2:] - box[:2] + 1)  # of height and width
        pad = np.round(np.maximum(0, -box[:2]) * scale).astype(int)
        limits = np.array(im.shape[:2])
        box = np.clip(box, 0, np.tile(limits, 2))
        extent = box[2:] - box[:2] + 1
        inside = np.minimum(np.round(extent * scale).astype(int), size - pad)
        top, left, bottom, right = box.astype(int)
        crop = np.array(np.broadcast_to(self.crop_mean, self.crop_dims), np.float32)
        if top < bottom and left < right and (inside > 0).all():
            resized = io.resize_image(im[top:bottom, left:right], inside)
            crop[pad[0] : pad[0] + inside[0], pad[1] : pad[1] + inside[1]] = resized
        return crop

    def _with_context(self, window: np.ndarray, size: int) -> np.ndarray:
        """The window grown about its center, so that the context takes `context_pad` of the `size` pixels a side."""
        assert self.context_pad
        half = (window[2:] - window[:2] + 1) / 2
        center = window[:2] + half
        half = half * size / (size - 2 * self.context_pad)
        return np.round(np.concatenate([center - half, center + half]))

    def configure_crop(self, context_pad: int | None) -> None:
        """Set how much context windows get; to be called again after the transformer's mean or scale changed."""
        name = self.inputs[0]
        back = np.argsort(self.transformer.transpose[name])
        self.crop_dims = np.array(self.blobs[name].shape[1:])[back]
        self.context_pad = context_pad
        self.crop_mean = np.zeros(self.crop_dims, np.float32)
        mean = self.transformer.mean.get(name)
        if not context_pad or mean is None:
            return
        # The mean in the order and scale of the pictures: padding goes through the transformer like the rest.
        crop_mean = mean.transpose(back)
        if name in self.transformer.channel_swap:
            crop_mean = crop_mean[:, :, np.argsort(self.transformer.channel_swap[name])]
        self.crop_mean = crop_mean / self.transformer.raw_scale.get(name, 1)
