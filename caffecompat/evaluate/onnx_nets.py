"""Nets that are ONNX files, scored as those of a prototxt are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from caffecompat import glog
from caffecompat.data.preprocess import Preprocess, choose_preprocess
from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate.classification import Classifier
from caffecompat.evaluate.detector import Detector
from caffecompat.evaluate.onnx_model import OnnxModel
from caffecompat.evaluate.scored_net import ScoredNet
from caffecompat.evaluate.segmenter import Segmenter
from caffecompat.schema import pb

__all__ = ["OnnxNet", "onnx_net"]

Kind = TypeVar("Kind", bound=ScoredNet)


class OnnxNet(ScoredNet):
    """What a ScoredNet is, of an ONNX file.

    Args:
        path, blob, size, rgb: as of `OnnxModel`.

    Attributes:
        model: the file.
    """

    without: ClassVar[Sequence[str]] = ()  # nodes at the end that are left out

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        blob: str | None = None,
        size: tuple[int, int] | None = None,
        rgb: bool | None = None,
    ) -> None:
        self.model = OnnxModel(path, blob=blob, size=size, rgb=rgb, without=self.without)
        self.path = self.relative_to = self.model.path
        self.scores, self.labels, self.loaded = self.model.scores, None, None
        self.input_shape = self.model.input_shape
        self._check_output()

    def _check_output(self) -> None:
        """See from an answer what the scores are like."""
        shape = self.model(np.zeros((1, *self.model.input_shape[1:]), np.float32)).shape
        self._check_scores(shape)
        self.classes = shape[1]

    @property
    def layers(self) -> list[pb.LayerParameter]:
        return []

    def choose_preprocess(self, given: Preprocess | None = None) -> Preprocess:
        """As given, else as the file's metadata say.

        Raises:
            CaffeCompatError: neither says it.
        """
        stated = self.model.preprocess
        self._require(given is not None or stated is not None or self.model.own)
        if given is None and stated is not None:
            glog.info(f"pictures are prepared as {self.path} says: {stated}")
            if "mean_of" in self.model.metadata:
                glog.warning(f"{self.path}: its mean is that of {self.model.metadata['mean_of']}")
            return stated
        if given is not None and stated is not None and str(given) != str(stated):
            glog.warning(f"{self.path} says of its pictures: {stated}; the settings given say: {given}, and count")
        return choose_preprocess([], self.path, given)

    def _require(self, prepared: bool) -> None:
        """Raise unless pixels are `prepared` in a known way, and the order of channels is known."""
        missing = []
        if not prepared:
            missing.append("--mean B,G,R, with --scale, --std or --subtract (--mean 0 where it takes raw pixels)")
        if self.model.rgb is None:
            missing.append("--rgb (rgb=True) where its channels are R, G, B, --norgb where they are B, G, R")
        if missing:
            raise CaffeCompatError(
                f"{self.path} does not say in its metadata how pictures are prepared, as files of 'export onnx' do: "
                f"give {'; and '.join(missing)}"
            )

    def score(self, batch: np.ndarray) -> Tensor:
        self._require(True)
        height, width = batch.shape[2:]
        assert self.input_shape is not None
        if (height, width) != self.input_shape[2:] and not self.model.open_size:
            raise CaffeCompatError(
                f"its input has the size {self.input_shape[3]}x{self.input_shape[2]}; score the net of the prototxt "
                "instead, or export it with another --size"
            )
        return torch.from_numpy(self.model(batch))

    def fitting_sizes(self, size: tuple[int, int]) -> str:
        return ""


class OnnxSegmenter(OnnxNet, Segmenter):
    """A file whose scores are maps (N, classes, h, w)."""

    without = ("ArgMax", "Softmax")

    def _gives_probabilities(self) -> bool:
        return self.model.maker in ("Softmax", "Sigmoid")


class OnnxClassifier(OnnxNet, Classifier):
    """A file whose scores are vectors (N, classes)."""

    without = ("ArgMax", "TopK")


class OnnxDetector(OnnxNet, Detector):
    """A file that gives the rows of DetectionOutput, (1, 1, K, 7): [image, class, score, xmin, ymin, xmax, ymax]."""

    def _check_output(self) -> None:
        shape = self.model(np.zeros(self.model.input_shape, np.float32)).shape
        if not shape or shape[-1] != 7:
            raise CaffeCompatError(
                f"{self.path}: {self.scores!r} of shape {shape} does not have the rows of DetectionOutput, (1, 1, K, 7)"
            )
        self.label_map_file, self.evaluation, self.batch = "", None, self.model.input_shape[0]
        metadata = self.model.metadata
        count, background = metadata.get("detection_classes", ""), metadata.get("detection_background", "")
        self.classes = int(count) if count.isdecimal() else 0
        self.labels_known = [label for label in range(self.classes) if str(label) != background]


_FORMS: dict[type[ScoredNet], type[OnnxNet]] = {
    Segmenter: OnnxSegmenter,
    Classifier: OnnxClassifier,
    Detector: OnnxDetector,
}


def onnx_net(
    kind: type[Kind],
    path: str | os.PathLike[str],
    *,
    blob: str | None = None,
    size: tuple[int, int] | None = None,
    rgb: bool | None = None,
) -> Kind:
    """An ONNX file as a net of that kind.

    Raises:
        OnnxError: see `OnnxModel`.
        CaffeCompatError: its output holds no such scores.
    """
    net = _FORMS[kind](path, blob=blob, size=size, rgb=rgb)
    assert isinstance(net, kind)
    return net
