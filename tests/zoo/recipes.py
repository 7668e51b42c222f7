"""Networks of the zoo, cut down to what a test can train, with all that today's recipes add to a solver and its net."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from caffecompat.data.shapes import draw_shapes
from caffecompat.formats.picture import encode_picture
from caffecompat.schema import parse_text, pb, write_text
from caffecompat.schema.text_reader import parse_block
from caffecompat.zoo import NETWORKS, network_files

# What every recipe's solver adds to the network's own: it is merged into that, so each field is said once.
SOLVER = """
lr_policy: "cosine" min_lr: 0.0001 warmup_iter: 4 warmup_start_lr: 0.001 ema_decay: 0.8 random_seed: 5
clip_gradients: 20 average_loss: 1 display: 1 test_initialization: true
"""
COLORS = """
distort_param { mode: TORCHVISION brightness_delta: 0.3 contrast_lower: 0.7 contrast_upper: 1.3
  saturation_lower: 0.7 saturation_upper: 1.3 hue_delta: 0.05 }
rand_augment_param { policy: "rand-m5-mstd0.5-inc1" }
random_erase_param { prob: 0.25 mode: PIXEL max_area: 0.15 }
"""


def thin(net: pb.NetParameter, kept: str, share: int = 8) -> None:
    """Leave one channel in `share` of every convolution but of those whose names match `kept`."""
    for layer in net.layer:
        if layer.type == "Convolution" and not re.search(kept, layer.name):
            layer.convolution_param.num_output //= share


def shorten(net: pb.NetParameter, removed: str, source: str, instead: str) -> None:
    """Remove the layers whose names match; who reads the blob `source` of theirs reads `instead`."""
    layers = [layer for layer in net.layer if not re.match(removed, layer.name)]
    for layer in layers:
        for at, bottom in enumerate(layer.bottom):
            layer.bottom[at] = instead if bottom == source else bottom
    del net.layer[:]
    net.layer.extend(layers)


def drop_paths(net: pb.NetParameter, probability: float) -> None:
    """Stochastic depth in the residual blocks: their first summand is the branch."""
    layers = list(net.layer)
    for layer in list(layers):
        if layer.type == "Eltwise" and layer.name.endswith("_add") and layer.name.startswith("layer"):
            path = pb.LayerParameter(name=f"{layer.name}_path", type="DropPath", bottom=[layer.bottom[0]])
            path.top.append(path.name)
            path.drop_path_param.drop_prob = probability
            layer.bottom[0] = path.name
            layers.insert(layers.index(layer), path)
    del net.layer[:]
    net.layer.extend(layers)


def mix(net: pb.NetParameter, classes: int) -> None:
    """Mixup and cutmix after the TRAIN data layer; the loss takes its soft labels."""
    layer = parse_text(
        f"""layer {{ name: "mixup" type: "Mixup" bottom: "data" bottom: "label" top: "mixed" top: "soft"
        mixup_param {{ num_classes: {classes} mixup_alpha: 0.2 cutmix_alpha: 1 prob: 0.5 mode: PAIR off_iter: 24 }}
        }}""",
        pb.NetParameter(),
    ).layer[0]
    layers = list(net.layer)
    data = [one for one in layers if "data" in one.top]
    for one in layers:
        for at, bottom in enumerate(one.bottom):
            labels = "soft" if one.type == "SoftmaxWithLoss" else "label"
            one.bottom[at] = {"data": "mixed", "label": labels}.get(bottom, bottom)
    layers.insert(layers.index(data[-1]) + 1, layer)
    del net.layer[:]
    net.layer.extend(layers)


def smooth(net: pb.NetParameter, e: float = 0.1) -> None:
    """Label smoothing of the softmax losses."""
    for layer in net.layer:
        if layer.type == "SoftmaxWithLoss":
            layer.loss_param.label_smoothing = e


def augment(net: pb.NetParameter, text: str) -> None:
    """More of transform_param for the TRAIN data layer; sub-messages are merged."""
    (data,) = [layer for layer in net.layer if "data" in layer.top and layer.include[0].phase == pb.TRAIN]
    parse_block(text, data, "transform_param")


def files(name: str, folder: Path, **decided: Any) -> tuple[pb.NetParameter, pb.SolverParameter]:
    """Net and solver of a network of the zoo, whose recipe a user decides, for files in `folder`."""
    network = NETWORKS[name]
    texts = network_files(network, replace(network.recipe, snapshot_folder=f"{folder}/", **decided))
    net = parse_text(texts["train_val.prototxt"], pb.NetParameter())
    net.global_grad_scale_dynamic = True
    solver = parse_text(texts["solver.prototxt"], pb.SolverParameter())
    del solver.stepvalue[:]
    solver.MergeFrom(parse_text(SOLVER, pb.SolverParameter()))
    solver.net = f"{folder}/train_val.prototxt"
    return net, solver


def write(net: pb.NetParameter, solver: pb.SolverParameter, folder: Path) -> None:
    """The two files of a training."""
    (folder / "train_val.prototxt").write_text(write_text(net))
    (folder / "solver.prototxt").write_text(write_text(solver))


def write_classes(folder: Path, counts: dict[str, int]) -> None:
    """Sets of pictures and their lists: drawn shapes in a light of one of three colors, which is the class."""
    numbers = itertools.count()
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        lines: list[str] = []
        for number in itertools.islice(numbers, count):
            light = np.full(3, 40.0)
            light[number % 3] = 255
            picture = (0.4 * draw_shapes(0, number, 64, 56)[0] + 0.6 * light).astype(np.uint8)
            file = folder / name / f"{number}.png"
            file.write_bytes(encode_picture(picture, "png") or b"")
            lines.append(f"{file} {number % 3}\n")
        (folder / f"{name}.txt").write_text("".join(lines))


def score(net: pb.NetParameter, scores: str) -> None:
    """Probabilities "prob" in TEST, of the blob of scores."""
    layer = net.layer.add(name="prob", type="Softmax", bottom=[scores], top=["prob"])
    layer.include.add(phase=pb.TEST)
