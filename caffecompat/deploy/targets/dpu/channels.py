"""Channels taken apart: groups of a convolution, and slices of a value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffecompat.deploy.targets.graph_pass import GraphPass, Site

__all__ = ["GroupsApart", "SlicesApart"]


class GroupsApart(GraphPass):
    """The DPU has no groups between one and the channels: a convolution a group, or a dense one with zeros."""

    operators = frozenset({"Conv", "ConvTranspose"})

    def __init__(self, dense: bool) -> None:
        self.dense = dense

    def visit(self, site: Site) -> None:
        groups, weight = site.attribute("group", 1), site.constant(1)
        if weight is None or groups == 1:
            return
        channels = weight.shape[1] * groups if site.node.op_type == "Conv" else weight.shape[0]
        if groups == channels:
            return
        if self.dense:
            self._make_dense(site, weight, groups)
        else:
            self._split(site, weight, groups, channels)

    def _make_dense(self, site: Site, weight: np.ndarray, groups: int) -> None:
        op = site.node.op_type
        whole = site.emission.const(_dense(weight, groups), what="dense_weight")
        site.node.input[1] = whole
        site.set_attribute("group", 1)
        site.note(f"group {groups} became a dense {op} with zeros: the DPU has no groups between 1 and the channels")

    def _split(self, site: Site, weight: np.ndarray, groups: int, channels: int) -> None:
        node, bias = site.node, site.constant(2)
        window = {name: site.attribute(name) for name in ("kernel_shape", "strides", "pads", "dilations")}
        e, parts = site.replace(), []
        each = channels // groups
        for group, own in enumerate(np.split(weight, groups)):
            part = e.slice(node.input[0], [group * each], [(group + 1) * each], [1])
            inputs = [e.const(own, what=f"weight_{group}")]
            if bias is not None:
                inputs.append(e.const(np.split(bias, groups)[group], what=f"bias_{group}"))
            parts.append(e.op(node.op_type, part, *inputs, **window, group=1))
        e.op("Concat", *parts, to=node.output[0], axis=1)
        site.note(
            f"group {groups} became {groups} {node.op_type}s of slices, joined: the DPU has no groups between 1 and "
            "the channels (--dpu-dense writes one with zeros)"
        )


def _dense(weight: np.ndarray, groups: int) -> np.ndarray:
    """The weights (O, I / groups, ...) of Conv or (I, O / groups, ...) of ConvTranspose without groups."""
    inside = weight.shape[1]
    dense = np.zeros((weight.shape[0], inside * groups, *weight.shape[2:]), weight.dtype)
    for group, (own, given) in enumerate(zip(np.split(dense, groups), np.split(weight, groups), strict=True)):
        own[:, group * inside : (group + 1) * inside] = given
    return dense


class SlicesApart(GraphPass):
    """The DPU slices by strides and has no Split: a Slice for each output."""

    operators = frozenset({"Split"})

    def visit(self, site: Site) -> None:
        axis, outputs = site.attribute("axis", 0), list(site.node.output)
        sizes: Sequence[int] = site.listed(1, "split")
        e, start = site.replace(), 0
        for output, size in zip(outputs, sizes, strict=True):
            e.slice(site.node.input[0], [start], [start + size], [axis], output)
            start += size
