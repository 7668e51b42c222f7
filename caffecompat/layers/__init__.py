"""One class per Caffe layer type; importing this package registers them all."""

from importlib import import_module

from caffecompat.layers.layer import Context, Layer, LayerError
from caffecompat.layers.precision import Precision
from caffecompat.layers.registry import class_of, layer_class, layer_types, register
from caffecompat.python_code import python_shape

__all__ = [
    "Context",
    "Layer",
    "LayerError",
    "Precision",
    "class_of",
    "layer_class",
    "layer_types",
    "python_shape",
    "register",
]

_FAMILIES = (
    "accuracy",
    "activation",
    "bn",
    "center_loss",
    "concat",
    "convolution",
    "correlation",
    "crop",
    "ctc",
    "data_augmentation",
    "detection",
    "drop_path",
    "dropout",
    "elementwise",
    "embed",
    "fixed",
    "flip",
    "flow",
    "flow_resampling",
    "focal_loss",
    "hard_example_loss",
    "hdf5_output",
    "inner_product",
    "loss",
    "margin_inner_product",
    "mat_write",
    "mixup",
    "multibox_loss",
    "normalization",
    "normalize",
    "parameter",
    "pooling",
    "pooling_3d",
    "prior_box",
    "proposal",
    "python_layer",
    "recurrent",
    "reduction",
    "region_pooling",
    "regression_loss",
    "resampling",
    "scale",
    "segmentation",
    "shape",
    "shuffle_channel",
    "softmax",
    "softmax_loss",
    "tiling",
    "yolo_output",
)

for _family in _FAMILIES:
    import_module(f"{__name__}.{_family}")
