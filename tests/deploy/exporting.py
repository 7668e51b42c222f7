"""Nets of a few lines, exported."""

from __future__ import annotations

from pathlib import Path

import torch

from caffecompat.deploy.onnx.export import ExportOptions
from caffecompat.deploy.onnx.write import Exported, prepared_net, write_onnx
from caffecompat.schema import NetDocument
from tests.net.nets import message


def export(text: str, path: Path, *, seed: int = 0, cut: bool = False, **options: object) -> Exported:
    """Export a net of the text with random weights."""
    torch.manual_seed(seed)
    done = prepared_net(NetDocument.from_message(message(text)), None, ExportOptions(**options), cut=cut)
    for one in done.net.layers:
        for slot in one.slots:
            if slot.name in ("bias", "weight") and not slot.tensor().any():
                slot.tensor().normal_()
    write_onnx(done, path)
    return done


def operators(done: Exported) -> list[str]:
    """The operators in order."""
    return [node.op_type for node in done.export.model.graph.node]


def input_of(*shape: int) -> str:
    """The Input layer `data` of that shape."""
    dims = " ".join(f"dim: {size}" for size in shape)
    return f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {dims} }} }} }}\n'
