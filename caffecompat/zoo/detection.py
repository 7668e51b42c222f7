"""Around a network that finds objects: pictures with boxes, SSD's loss, detections and their score.

The outputs of a detection network are the locations, the scores of classes and the prior boxes of all its heads.
"""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.errors import CaffeCompatError
from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.schema import pb
from caffecompat.zoo.network import Fields, Network, Recipe

__all__ = ["add_data", "add_losses", "add_result"]

_LOSS: Fields = {
    "loc_loss_type": "SMOOTH_L1",
    "conf_loss_type": "SOFTMAX",
    "share_location": True,
    "match_type": "PER_PREDICTION",
    "overlap_threshold": 0.5,
    "use_prior_for_matching": True,
    "background_label_id": 0,
    "use_difficult_gt": True,
    "mining_type": "MAX_NEGATIVE",
    "neg_pos_ratio": 3,
    "neg_overlap": 0.5,
    "code_type": "CENTER_SIZE",
}
_OUTPUT: Fields = {
    "share_location": True,
    "background_label_id": 0,
    "nms_param": {"nms_threshold": 0.45, "top_k": 400},
    "code_type": "CENTER_SIZE",
    "keep_top_k": 200,
    "confidence_threshold": 0.01,
}


def add_data(n: NetSpec, network: Network, recipe: Recipe, phase: int, transform: Fields) -> None:
    """Pictures "data" and their boxes "label".

    Raises:
        CaffeCompatError: the recipe names a list.
    """
    train = phase == pb.TRAIN
    source = recipe.train if train else recipe.val
    if not source.lmdb:
        raise CaffeCompatError(
            f"{network.name} reads a database of pictures with boxes, {source.path} is a list; "
            "make a database of it with: caffecompat lmdb build LIST DIR"
        )
    reading: Fields = {"label_map_file": recipe.label_map} if recipe.label_map else {}
    n.data, n.label = L.AnnotatedData(
        name=network.data_layer,
        ntop=2,
        include={"phase": phase},
        transform_param=transform,
        data_param={
            "source": source.path,
            "batch_size": recipe.batch_size if train else recipe.test_batch_size,
            "backend": source.backend,
        },
        annotated_data_param={**reading, **(network.detector.reading if train else {})},
    )


def add_losses(n: NetSpec, outputs: Sequence[Top], network: Network, recipe: Recipe) -> None:
    """The loss, and in tests the detections and what of the truth they found."""
    loss = {**_LOSS, **network.detector.loss, "num_classes": recipe.classes}
    n.mbox_loss = L.MultiBoxLoss(
        *outputs, n.label, include={"phase": pb.TRAIN}, propagate_down=[True, True, False, False],
        loss_param={"normalization": "VALID"}, multibox_loss_param=loss,
    )  # fmt: skip
    before = set(n.keys())
    add_result(n, outputs, network, recipe)
    n.detection_eval = L.DetectionEvaluate(
        n.detection_out, n.label,
        detection_evaluate_param={
            "num_classes": recipe.classes, "background_label_id": 0, "overlap_threshold": 0.5,
            "evaluate_difficult_gt": False,
        },
    )  # fmt: skip
    for name in n.keys():  # noqa: SIM118 -- NetSpec is no mapping
        if name not in before:
            n.update(name, {"include": {"phase": pb.TEST}})


def add_result(n: NetSpec, outputs: Sequence[Top], network: Network, recipe: Recipe) -> None:
    """Detections: picture, class, score and corners of each."""
    locations, scores, priors = outputs
    n.mbox_conf_reshape = L.Reshape(scores, shape={"dim": [0, -1, recipe.classes]})
    n.mbox_conf_softmax = L.Softmax(n.mbox_conf_reshape, axis=2)
    n.mbox_conf_flatten = L.Flatten(n.mbox_conf_softmax, axis=1)
    n.detection_out = L.DetectionOutput(
        locations, n.mbox_conf_flatten, priors,
        detection_output_param={**_OUTPUT, **network.detector.output, "num_classes": recipe.classes},
    )  # fmt: skip
