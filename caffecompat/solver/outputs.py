"""What a net's outputs amount to over the batches of a test, by eval_type, and the log lines that say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from caffecompat import glog
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import Fork
from caffecompat.layers.detection_scores import AP_VERSIONS, COCO, DetectionScores
from caffecompat.net import Net
from caffecompat.net.coco_tally import CocoTally
from caffecompat.schema import pb

__all__ = ["Tally", "check_eval", "log_outputs", "make_tally", "output_texts"]

Values = dict[str, list[float]]

_MANY = 1000  # values of one output; no one reads so many lines


class Tally(Protocol):
    """Collects the outputs of a test net, batch by batch."""

    def add(self, tops: Mapping[str, Tensor]) -> None:
        """Take in one batch's tops."""

    def values(self) -> Values:
        """The scores so far, by output blob."""

    def log(self) -> None:
        """Print the lines that Caffe prints after a test."""


def check_eval(param: pb.SolverParameter) -> list[str]:
    """What is wrong with a SolverParameter's eval_type and ap_version."""
    problems = []
    if param.eval_type not in _TALLIES:
        problems.append(f"eval_type {param.eval_type!r}: expected {', '.join(_TALLIES)}")
    if param.ap_version not in (*AP_VERSIONS, COCO):
        problems.append(f"ap_version {param.ap_version!r}: expected {', '.join(AP_VERSIONS)} or {COCO}")
    return problems


def make_tally(param: pb.SolverParameter, net: Net, fork: Fork) -> Tally:
    """What eval_type asks for, over a test net's outputs."""
    if param.eval_type == "detection" and param.ap_version == COCO:
        return CocoOutputs(param, net, fork)
    return _TALLIES[param.eval_type](param, net, fork)


def log_outputs(kind: str, net: Net, values: Mapping[str, Tensor], where: str) -> None:
    """Print ``Train net output #0: loss = 0.1 (* 1 = 0.1 loss)`` and so on: an index for each value of each blob.

    Of a blob of more than 1000 values there is one line, and one index.
    """
    index = 0
    for name, value in values.items():
        for text in output_texts(name, value, net.loss_weights.get(name, 0.0)):
            glog.info(f"    {kind} net output #{index}: {text}", where)
            index += 1


def output_texts(name: str, value: Tensor, weight: float = 0.0) -> list[str]:
    """``loss = 0.1 (* 1 = 0.1 loss)`` for each value of an output blob; of more than 1000 one text with their mean."""
    numbers = value.detach().double().flatten()
    if len(numbers) > _MANY:
        low, high = (glog.number(float(end)) for end in numbers.aminmax())
        return [
            f"{name} = {glog.number(float(numbers.mean()))} (the mean of {len(numbers)} values, minimum {low}, maximum "
            f"{high}; a Silence layer on {name!r} keeps it out of the log)"
        ]
    suffix = f" (* {glog.number(weight)} = %s loss)" if weight else ""
    return [
        f"{name} = {glog.number(number)}{suffix and suffix % glog.number(weight * number)}"
        for number in numbers.tolist()
    ]


class MeanOutputs:
    """eval_type "classification": the mean of each element of each output (BVLC's ``Test``)."""

    def __init__(self, param: pb.SolverParameter, net: Net, fork: Fork) -> None:
        self._net, self._batches = net, 0
        self._sums: dict[str, Tensor] = {}

    def add(self, tops: Mapping[str, Tensor]) -> None:
        self._batches += 1
        for name in self._net.outputs:
            value = tops[name].double().flatten()
            if name not in self._sums:
                self._sums[name] = value
            elif value.shape == self._sums[name].shape:
                self._sums[name] = self._sums[name] + value
            else:
                raise CaffeCompatError(
                    f"output {name!r} has {len(value)} values in a test batch and {len(self._sums[name])} in another, "
                    'which have no mean; is this a detection net, whose solver says eval_type: "detection"?'
                )

    def values(self) -> Values:
        return {name: mean.tolist() for name, mean in self._means().items()}

    def _means(self) -> dict[str, Tensor]:
        return {name: total / self._batches for name, total in self._sums.items()}

    def log(self) -> None:
        log_outputs("Test", self._net, self._means(), "solver.cpp:414")


class DetectionOutputs:
    """eval_type "detection": mean average precision of each output, which is a DetectionEvaluate's top (SSD)."""

    def __init__(self, param: pb.SolverParameter, net: Net, fork: Fork) -> None:
        self._param, self._net, self._jacinto = param, net, fork.is_nvcaffe
        for name in net.outputs:
            if net.blob_shapes[name][-1:] != (5,):
                raise CaffeCompatError(
                    f'eval_type "detection" scores the tops of DetectionEvaluate layers, rows of 5; output {name!r} of '
                    f"the test net has shape {net.blob_shapes[name]}; end it in a Silence layer, or drop it"
                )
        self._scores = {name: DetectionScores() for name in net.outputs}

    def add(self, tops: Mapping[str, Tensor]) -> None:
        for name, scores in self._scores.items():
            scores.add(tops[name].float().cpu().numpy())

    def values(self) -> Values:
        return {name: [scores.mean(self._param.ap_version)] for name, scores in self._scores.items()}

    def log(self) -> None:
        for index, (name, scores) in enumerate(self._scores.items()):
            for label, value in scores.average_precisions(self._param.ap_version).items():
                if value is None:
                    glog.warning(f"Missing true_pos for label: {label}")
                elif self._param.show_per_class_result:
                    text = f"class AP {label}: " if self._jacinto else f"class{label}: "
                    glog.info(text + glog.number(value), "solver.cpp:540")
            mean = glog.number(scores.mean(self._param.ap_version))
            text = "Test net output mAP #" if self._jacinto else "    Test net output #"
            glog.info(f"{text}{index}: {name} = {mean}", "solver.cpp:546")


class CocoOutputs:
    """eval_type "detection" with ap_version "COCO", which no Caffe has: pycocotools' mean average precision.

    See `CocoTally`.
    """

    def __init__(self, param: pb.SolverParameter, net: Net, fork: Fork) -> None:
        self._param = param
        self._coco = CocoTally(net)
        others = ", ".join(name for name in net.outputs if name not in self._coco.names)
        if others:
            raise CaffeCompatError(f'ap_version "COCO" scores DetectionEvaluate layers; another type makes {others}')

    def add(self, tops: Mapping[str, Tensor]) -> None:
        self._coco.add()

    def values(self) -> Values:
        return {name: [scores.ap] for name, scores in self._coco.scores().items()}

    def log(self) -> None:
        for index, (name, scores) in enumerate(self._coco.scores().items()):
            for label, precision in zip(scores.labels, scores.precision.mean(1), strict=True):
                if self._param.show_per_class_result and not np.isnan(precision):
                    glog.info(f"class{int(label)}: {glog.number(float(precision))}", "solver.cpp:540")
            glog.info(f"    Test net output #{index}: {name} = {glog.number(scores.ap)}", "solver.cpp:546")


class SegmentationOutputs:
    """eval_type "segmentation": IoU of each class and its mean, from counts of pixels.

    Xilinx sums SegmentPixelIOU's tops, (3, classiou_class_num) of hits, false positives and false negatives; its mean
    is over classes that occur. Jacinto sums the confusion matrices (1, 1, C, C) of SegmentationAccuracy; a class that
    does not occur counts as 0. A net has either form.
    """

    def __init__(self, param: pb.SolverParameter, net: Net, fork: Fork) -> None:
        shapes = {name: tuple(net.blob_shapes[name]) for name in net.outputs}
        self._counts = {n: s for n, s in shapes.items() if s == (3, param.classiou_class_num)}
        self._matrices = {n: s for n, s in shapes.items() if len(s) == 4 and s[2] == s[3] and s[:2] == (1, 1)}
        if not self._counts and not self._matrices:
            raise CaffeCompatError(
                'eval_type "segmentation" scores the top of SegmentPixelIOU, (3, classiou_class_num) with '
                f"classiou_class_num {param.classiou_class_num}, or of SegmentationAccuracy; the test net's outputs "
                f"are {', '.join(f'{name} {shape}' for name, shape in shapes.items()) or 'none'}"
            )
        self._sums: dict[str, Tensor] = {}

    def add(self, tops: Mapping[str, Tensor]) -> None:
        for name in (*self._counts, *self._matrices):
            value = tops[name].double()
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def _iou(self, name: str) -> tuple[Tensor, Tensor]:
        """IoU of each class, 0 where it does not occur; and whether it does."""
        total = self._sums[name]
        if name in self._counts:
            hits, union = total[0], total.sum(0)
        else:
            matrix = total[0, 0]
            hits = matrix.diagonal()
            union = matrix.sum(0) + matrix.sum(1) - hits
        return torch.where(union > 0, hits / union.clamp(min=1), 0.0), union > 0

    def _mean(self, name: str) -> float:
        iou, occurs = self._iou(name)
        divisor = int(occurs.sum()) if name in self._counts else len(iou)
        return float(iou.sum()) / max(1, divisor)

    def values(self) -> Values:
        return {name: [self._mean(name)] for name in self._sums}

    def log(self) -> None:
        for index, name in enumerate(self._counts):
            mean = glog.number(self._mean(name))
            glog.info(f"    Test net output #{index}: {name}_classIOU = {mean}", "solver.cpp:546")
        for index, name in enumerate(self._matrices):
            for label, value in enumerate(self._iou(name)[0].tolist()):
                glog.info(
                    f"Test net output Class IoU #{index}: {name} class {label} = {glog.number(value)}", "solver.cpp:869"
                )
            rule = "=" * 25
            glog.info(rule, "solver.cpp:871")
            glog.info(f"Test net output Mean IoU #{index}: {name} = {glog.number(self._mean(name))}", "solver.cpp:872")
            glog.info(rule, "solver.cpp:873")


_TALLIES: dict[str, Callable[[pb.SolverParameter, Net, Fork], Tally]] = {
    "classification": MeanOutputs,
    "detection": DetectionOutputs,
    "segmentation": SegmentationOutputs,
}
