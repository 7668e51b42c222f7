"""pycaffe's ``Classifier``: a net that classifies pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from caffecompat.pycaffe import io
from caffecompat.pycaffe.net import Net
from caffecompat.schema import NetDocument, pb

__all__ = ["Classifier", "set_up_transformer"]


def set_up_transformer(
    net: Net,
    mean: np.ndarray | None,
    input_scale: float | np.ndarray | None,
    raw_scale: float | None,
    channel_swap: Sequence[int] | None,
) -> io.Transformer:
    """A Transformer of (H, W, C) pictures for a net's first input."""
    name = net.inputs[0]
    transformer = io.Transformer({name: net.blobs[name].shape})
    transformer.set_transpose(name, (2, 0, 1))
    if mean is not None:
        transformer.set_mean(name, mean)
    if input_scale is not None:
        transformer.set_input_scale(name, input_scale)
    if raw_scale is not None:
        transformer.set_raw_scale(name, raw_scale)
    if channel_swap is not None:
        transformer.set_channel_swap(name, channel_swap)
    return transformer


class Classifier(Net):
    """A net in TEST phase whose first input is a picture and whose first output scores classes.

    Args:
        model_file, pretrained_file: deploy prototxt and weights.
        image_dims: (height, width) that pictures are resized to before crops are taken; None: the input's.
        mean, input_scale, raw_scale, channel_swap: for the :class:`~caffecompat.pycaffe.io.Transformer`.

    Attributes:
        transformer: brings crops into the net's order and scale.
        crop_dims: (height, width) of the input.
        image_dims: as given.
    """

    def __init__(
        self,
        model_file: str | os.PathLike[str] | NetDocument,
        pretrained_file: str | os.PathLike[str],
        image_dims: Sequence[int] | None = None,
        mean: np.ndarray | None = None,
        input_scale: float | np.ndarray | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
    ) -> None:
        super().__init__(model_file, pb.TEST, weights=pretrained_file)
        self.transformer = set_up_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[self.inputs[0]].shape[2:])
        self.image_dims = self.crop_dims if image_dims is None else np.array(image_dims)

    def predict(self, inputs: Sequence[np.ndarray], oversample: bool = True) -> np.ndarray:
        """Scores of pictures.

        Args:
            inputs: (H, W, C) each, as :func:`caffe.io.load_image` gives them.
            oversample: average over ten crops (corners, center, mirrored); False takes the center.

        Returns:
            (N, classes): the first output of the net.
        """
        images = [io.resize_image(image, self.image_dims) for image in inputs]
        if oversample:
            crops = list(io.oversample(images, self.crop_dims))
        else:
            top, left = ((self.image_dims - self.crop_dims) / 2).astype(int)
            height, width = self.crop_dims
            crops = [image[top : top + height, left : left + width] for image in images]
        name = self.inputs[0]
        batch = np.stack([self.transformer.preprocess(name, crop) for crop in crops])
        predictions = self.forward_all(None, **{name: batch})[self.outputs[0]]
        if oversample:
            predictions = predictions.reshape(len(predictions) // 10, 10, -1).mean(axis=1)
        return predictions
