"""Nets of 2014 (V1: ``layers { type: CONVOLUTION blobs_lr: 1 }``) to today's ``layer { type: "Convolution" }``.

The rules are those of BVLC Caffe's upgrade_proto.cpp.
"""

from __future__ import annotations

from google.protobuf.message import Message

from caffecompat.schema import pb
from caffecompat.schema.legacy_types import V1_TYPES
from caffecompat.schema.problems import PrototxtError, SourceLocations
from caffecompat.schema.unknown_fields import carry_unknown_fields

__all__ = ["has_old_transform", "is_v1", "upgrade_transform", "upgrade_v1"]

# Data layers whose own parameters held what transform_param holds now.
_TRANSFORMING = {"DATA": "data_param", "IMAGE_DATA": "image_data_param", "WINDOW_DATA": "window_data_param"}
_TRANSFORMS = ("scale", "mean_file", "crop_size", "mirror")

_RENAMED = {"deephi_reisze_param": "deephi_resize_param"}  # a slip in Xilinx's V1 schema


def is_v1(net: pb.NetParameter) -> bool:
    """Whether a NetParameter has layers of V1 form."""
    return len(net.layers) > 0


def has_old_transform(net: pb.NetParameter) -> bool:
    """Whether a V1 data layer keeps its transformation in its own parameters."""
    return any(_old_transforms(layer) for layer in net.layers)


def _old_transforms(layer: pb.V1LayerParameter) -> list[tuple[Message, str]]:
    name = _TRANSFORMING.get(pb.V1LayerParameter.LayerType.Name(layer.type))
    if name is None or not layer.HasField(name):
        return []
    holder = getattr(layer, name)
    return [(holder, field) for field in _TRANSFORMS if holder.HasField(field)]


def upgrade_transform(net: pb.NetParameter) -> None:
    """Move scale, mean_file, crop_size and mirror of V1 data layers to transform_param, in place.

    New-style ``layer`` entries are left alone, as in Caffe: there ``image_data_param.mirror`` has no effect.
    """
    for layer in net.layers:
        for holder, field in _old_transforms(layer):
            setattr(layer.transform_param, field, getattr(holder, field))
            holder.ClearField(field)


def upgrade_v1(net: pb.NetParameter, locations: SourceLocations) -> None:
    """Rewrite ``layers`` as ``layer``, in place and in the same order.

    Raises:
        PrototxtError: the net has both forms, or a setting that today's form cannot say.
    """
    if net.layer:
        other = locations.where("layer")
        text = f"the net has 'layers' (the form of 2014) and 'layer' (at {other}); write all of them as 'layer'"
        raise PrototxtError([locations.problem("layers", 0, text)])
    for index, old in enumerate(net.layers):
        if old.HasField("softmaxloss_param"):
            _upgrade_softmax_loss(old, index, locations)
        _upgrade_layer(old, net.layer.add())
    net.ClearField("layers")


def _upgrade_softmax_loss(old: pb.V1LayerParameter, index: int, locations: SourceLocations) -> None:
    """DeepLab v1's settings of its loss, as loss_param has them, in place."""
    labels = list(old.softmaxloss_param.ignore_label)
    field = "weight_source" if old.softmaxloss_param.weight_source else "ignore_label"
    if field == "weight_source" or len(labels) > 1:
        more = "weights of classes from a file are" if field == "weight_source" else "more than one ignore_label is"
        text = f"layer {old.name!r}: in softmaxloss_param, {more} not implemented"
        raise PrototxtError([locations.problem_inside("layers", index, field, text)])
    if labels:
        old.loss_param.ignore_label = labels[0]
    old.ClearField("softmaxloss_param")


def _upgrade_layer(old: pb.V1LayerParameter, layer: pb.LayerParameter) -> None:
    for descriptor, value in old.ListFields():
        name = _RENAMED.get(descriptor.name, descriptor.name)
        if name == "type":
            layer.type = V1_TYPES[value]
        elif name in ("blobs_lr", "weight_decay", "param", "blob_share_mode"):
            field = {"blobs_lr": "lr_mult", "weight_decay": "decay_mult", "param": "name"}.get(name, "share_mode")
            for index, item in enumerate(value):
                while len(layer.param) <= index:
                    layer.param.add()
                setattr(layer.param[index], field, item)
        elif name in ("bottom", "top", "include", "exclude", "blobs", "loss_weight"):
            getattr(layer, name).extend(value)
        elif name == "name":
            layer.name = value
        elif name == "strict_dim":  # DeepLab v1; without effect here
            continue
        else:
            getattr(layer, name).CopyFrom(value)
    carry_unknown_fields(old, layer)
