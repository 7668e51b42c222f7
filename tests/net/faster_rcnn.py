"""Faster R-CNN as py-faster-rcnn's VGG16 test.prototxt has it, at any width, and the same out of torch's functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.layers.faster_rcnn_by_hand import py_faster_rcnn
from tests.layers.test_region_pooling import max_pool_by_loops, mean_pool_by_loops

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
CLASSES = 21
Blobs = dict[str, list[np.ndarray]]

PYTHON_PROPOSAL = """
layer { name: 'proposal' type: 'Python' bottom: 'rpn_cls_prob_reshape' bottom: 'rpn_bbox_pred' bottom: 'im_info'
  top: 'rois' python_param { module: 'rpn.proposal_layer' layer: 'ProposalLayer' param_str: "'feat_stride': 16" } }"""
CPP_PROPOSAL = """
layer { name: 'proposal' type: 'Proposal' bottom: 'rpn_cls_prob_reshape' bottom: 'rpn_bbox_pred' bottom: 'im_info'
  top: 'rois' proposal_param { ratio: 0.5 ratio: 1 ratio: 2 scale: 8 scale: 16 scale: 32 base_size: 16 feat_stride: 16
  pre_nms_topn: 6000 post_nms_topn: 120 nms_thresh: 0.7 min_size: 16 } }"""


def _convolution(name: str, bottom: str, outputs: int, size: int, std: float = 0) -> str:
    filler = f'type: "gaussian" std: {std}' if std else 'type: "msra"'
    return f"""
layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" convolution_param {{
  num_output: {outputs} kernel_size: {size} pad: {size // 2} weight_filler {{ {filler} }}
  bias_filler {{ type: "uniform" min: -0.1 max: 0.1 }} }} }}"""


def _relu(blob: str, name: str) -> str:
    return f'\nlayer {{ name: "{name}" type: "ReLU" bottom: "{blob}" top: "{blob}" }}'


def _connected(name: str, bottom: str, outputs: int, std: float = 0) -> str:
    filler = f'type: "gaussian" std: {std}' if std else 'type: "msra"'
    return f"""
layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" inner_product_param {{
  num_output: {outputs} weight_filler {{ {filler} }} }} }}"""


def prototxt(proposal: str, share: int, height: int, width: int) -> str:
    """The net with 1 / share of VGG16's channels, for pictures of one size."""
    text = f"""name: "VGG_ILSVRC_16_layers"
input: "data" input_shape {{ dim: 1 dim: 3 dim: {height} dim: {width} }}
input: "im_info" input_shape {{ dim: 1 dim: 3 }}"""
    blob = "data"
    for block, (channels, count) in enumerate(BLOCKS, 1):
        for index in range(1, count + 1):
            name = f"conv{block}_{index}"
            text += _convolution(name, blob, channels // share, 3) + _relu(name, f"relu{block}_{index}")
            blob = name
        if block < len(BLOCKS):
            text += f"""
layer {{ name: "pool{block}" type: "Pooling" bottom: "{blob}" top: "pool{block}"
  pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }} }}"""
            blob = f"pool{block}"
    text += _convolution("rpn_conv/3x3", blob, 512 // share, 3).replace('top: "rpn_conv/3x3"', 'top: "rpn/output"')
    text += _relu("rpn/output", "rpn_relu/3x3")
    text += _convolution("rpn_cls_score", "rpn/output", 18, 1, 0.1) + _convolution(
        "rpn_bbox_pred", "rpn/output", 36, 1, 0.02
    )
    text += """
layer { bottom: "rpn_cls_score" top: "rpn_cls_score_reshape" name: "rpn_cls_score_reshape" type: "Reshape"
  reshape_param { shape { dim: 0 dim: 2 dim: -1 dim: 0 } } }
layer { name: "rpn_cls_prob" type: "Softmax" bottom: "rpn_cls_score_reshape" top: "rpn_cls_prob" }
layer { name: "rpn_cls_prob_reshape" type: "Reshape" bottom: "rpn_cls_prob" top: "rpn_cls_prob_reshape"
  reshape_param { shape { dim: 0 dim: 18 dim: -1 dim: 0 } } }"""
    text += proposal
    text += f"""
layer {{ name: "roi_pool5" type: "ROIPooling" bottom: "{blob}" bottom: "rois" top: "pool5"
  roi_pooling_param {{ pooled_w: 7 pooled_h: 7 spatial_scale: 0.0625 }} }}"""
    blob = "pool5"
    for name in ("6", "7"):
        text += _connected(f"fc{name}", blob, 4096 // share) + _relu(f"fc{name}", f"relu{name}")
        text += f"""
layer {{ name: "drop{name}" type: "Dropout" bottom: "fc{name}" top: "fc{name}"
  dropout_param {{ dropout_ratio: 0.5 }} }}"""
        blob = f"fc{name}"
    text += _connected("cls_score", blob, CLASSES, 0.05) + _connected("bbox_pred", blob, 4 * CLASSES, 0.05)
    return text + '\nlayer { name: "cls_prob" type: "Softmax" bottom: "cls_score" top: "cls_prob" }\n'


def _scored_cells(name: str, channels: int, out: str) -> str:
    """R-FCN's head for one kind of score: maps of each cell, pooled, their mean."""
    return f"""
layer {{ bottom: "conv5_3" top: "rfcn_{name}" name: "rfcn_{name}" type: "Convolution" convolution_param {{
  num_output: {49 * channels} kernel_size: 1 weight_filler {{ type: "gaussian" std: 0.05 }} }} }}
layer {{ bottom: "rfcn_{name}" bottom: "rois" top: "pooled_{name}" name: "pooled_{name}" type: "PSROIPooling"
  psroi_pooling_param {{ spatial_scale: 0.0625 output_dim: {channels} group_size: 7 }} }}
layer {{ bottom: "pooled_{name}" top: "{out}" name: "ave_{name}" type: "Pooling"
  pooling_param {{ pool: AVE kernel_size: 7 stride: 7 }} }}"""


def rfcn_prototxt(share: int, height: int, width: int) -> str:
    """R-FCN's second stage on the same first one."""
    text = prototxt(CPP_PROPOSAL, share, height, width)
    text = text[: text.index('layer { name: "roi_pool5"')]
    text += _scored_cells("cls", CLASSES, "cls_score") + _scored_cells("bbox", 8, "bbox_pred_pre")
    return (
        text
        + """
layer { name: "cls_prob" type: "Softmax" bottom: "cls_score" top: "cls_prob_pre" }
layer { name: "cls_prob_reshape" type: "Reshape" bottom: "cls_prob_pre" top: "cls_prob"
  reshape_param { shape { dim: -1 dim: 21 } } }
layer { name: "bbox_pred_reshape" type: "Reshape" bottom: "bbox_pred_pre" top: "bbox_pred"
  reshape_param { shape { dim: -1 dim: 8 } } }
"""
    )


@torch.no_grad()
def by_torch(blobs: Blobs, picture: Tensor, info: Sequence[float], after: int = 300) -> dict[str, np.ndarray]:
    """Outputs of the net with those weights, in phase TEST, for at most `after` regions."""

    def conv(name: str, x: Tensor) -> Tensor:
        weight, bias = (torch.from_numpy(np.array(blob)) for blob in blobs[name])
        return F.conv2d(x, weight, bias.flatten(), padding=weight.shape[2] // 2)

    def connected(name: str, x: Tensor) -> Tensor:
        weight, bias = (torch.from_numpy(np.array(blob)) for blob in blobs[name])
        return F.linear(x, weight, bias.flatten())

    x = picture
    for block, (_, count) in enumerate(BLOCKS, 1):
        for index in range(1, count + 1):
            x = conv(f"conv{block}_{index}", x).relu()
        x = F.max_pool2d(x, 2, ceil_mode=True) if block < len(BLOCKS) else x
    hidden = conv("rpn_conv/3x3", x).relu()
    pairs = conv("rpn_cls_score", hidden)
    scores = torch.stack([pairs[:, :9], pairs[:, 9:]]).softmax(0)
    scores = torch.cat([scores[0], scores[1]], 1)
    regions, _ = py_faster_rcnn(scores.numpy(), conv("rpn_bbox_pred", hidden).numpy(), info, 6000, after)
    if "rfcn_cls" in blobs:
        cells = {
            name: mean_pool_by_loops(conv(f"rfcn_{name}", x).numpy(), regions.astype(np.float32), channels, 7, 1 / 16)
            for name, channels in (("cls", CLASSES), ("bbox", 8))
        }
        scores = torch.from_numpy(cells["cls"].mean((2, 3)))
        return {"rois": regions, "cls_prob": scores.softmax(1).numpy(), "bbox_pred": cells["bbox"].mean((2, 3))}
    pooled = max_pool_by_loops(x.numpy(), regions.astype(np.float32), (7, 7), 1 / 16)
    top = torch.from_numpy(pooled).flatten(1)
    for name in ("fc6", "fc7"):
        top = connected(name, top).relu()
    return {
        "rois": regions,
        "cls_prob": connected("cls_score", top).softmax(1).numpy(),
        "bbox_pred": connected("bbox_pred", top).numpy(),
    }
