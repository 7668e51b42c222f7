"""Recorded layer cases as nets to export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from caffecompat.net import Net
from caffecompat.schema import NetDocument, parse_text, pb
from tests.layers.test_golden_layers import FOLDERS, FORKS


def recorded_types(path: Path) -> set[str]:
    """The layer types of a case."""
    with np.load(path, allow_pickle=False) as file:
        message = parse_text(str(file["prototxt"]), pb.NetParameter())
    return {layer.type for layer in message.layer} - {"Input", "Silence"}


def recorded_net(path: Path) -> tuple[NetDocument, Net, dict[str, np.ndarray]]:
    """A case's net in phase TEST with the recorded parameters, and the recorded inputs, float32."""
    with np.load(path, allow_pickle=False) as file:
        record = {name: file[name] for name in file.files}
    message = parse_text(str(record["prototxt"]), pb.NetParameter())
    document = NetDocument.from_message(message, fork=FORKS[FOLDERS[path]])
    net = Net(document, pb.TEST, log=False)
    for name, values in record.items():
        kind, _, rest = name.partition("/")
        if kind == "param":
            owner, index = rest.rsplit("/", 1)
            layer = next(layer for layer in net.layers if layer.name == owner)
            layer.slots[int(index)].tensor().copy_(torch.from_numpy(values))
            layer.module.weights_loaded()
    inputs = {name[3:]: values.astype(np.float32) for name, values in record.items() if name.startswith("in/")}
    return document, net, inputs
