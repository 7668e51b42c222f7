"""A small DeepLab: a backbone of stride 16, or of stride 8 with dilation, whose weights are the same."""

from __future__ import annotations

import numpy as np

_HEAD = """
name: "deeplab"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: %d dim: %d } }
  transform_param { mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.02 } }
"""
_CONV = """
layer { name: "%(name)s" type: "Convolution" bottom: "%(bottom)s" top: "%(name)s"
  convolution_param { num_output: %(out)d kernel_size: %(kernel)d stride: %(stride)d pad: %(pad)d dilation: %(dilation)d
    weight_filler { type: "msra" } } }
layer { name: "%(name)s_relu" type: "ReLU" bottom: "%(name)s" top: "%(name)s" }
"""
# Name, outputs, stride and dilation where the whole has stride 16, and where it has stride 8.
LAYERS = (
    ("conv1", 8, (2, 1), (2, 1)),
    ("conv2", 8, (2, 1), (2, 1)),
    ("conv3", 12, (2, 1), (2, 1)),
    ("conv4", 12, (2, 1), (1, 1)),
    ("conv5", 12, (1, 1), (1, 2)),
    ("conv6", 12, (1, 2), (1, 4)),
)
_TAIL = """
layer { name: "fc" type: "Convolution" bottom: "conv6" top: "fc"
  convolution_param { num_output: 5 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "up" type: "Interp" bottom: "fc" top: "up" interp_param { zoom_factor: %d } }
layer { name: "prob" type: "Softmax" bottom: "up" top: "prob" }
"""


def prototxt(stride: int, size: tuple[int, int] = (65, 65)) -> str:
    """The net for an input of (height, width), each a multiple of 16 and 1."""
    text, bottom = _HEAD % size, "data"
    for name, out, *forms in LAYERS:
        steps, dilation = forms[stride == 8]
        values = {"name": name, "bottom": bottom, "out": out, "kernel": 3, "stride": steps, "pad": dilation}
        text += _CONV % {**values, "dilation": dilation}
        bottom = name
    return text + _TAIL % stride


def scores(blobs: dict[str, list[np.ndarray]], batch: np.ndarray, stride: int) -> np.ndarray:
    """The same computed by torch's functions alone, from the weights of either net: (N, 5, H, W)."""
    import torch
    import torch.nn.functional as F

    x = torch.from_numpy(batch)
    for name, _, *forms in LAYERS:
        steps, dilation = forms[stride == 8]
        weight, bias = map(torch.from_numpy, blobs[name])
        x = F.relu(F.conv2d(x, weight, bias.reshape(-1), steps, dilation, dilation))
    weight, bias = map(torch.from_numpy, blobs["fc"])
    x = F.conv2d(x, weight, bias.reshape(-1))
    size = [(side - 1) * stride + 1 for side in x.shape[2:]]
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True).numpy()
