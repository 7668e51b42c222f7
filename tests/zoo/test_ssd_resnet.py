"""The prior boxes of SSD300 with ResNet-34 are those of MLPerf's benchmark."""

from __future__ import annotations

import numpy as np

from caffecompat.net import Net
from caffecompat.schema import parse_text, pb
from caffecompat.zoo import NETWORKS, network_files

_MAPS, _STEPS = (38, 19, 10, 5, 3, 1), (8, 16, 32, 64, 100, 300)
_SCALES = (21, 45, 99, 153, 207, 261, 315)
_RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))


def _expected(level: int) -> np.ndarray:
    """Corners (boxes, 4) of one map, in parts of the picture."""
    small, large = _SCALES[level] / 300, _SCALES[level + 1] / 300
    sizes = [(small, small), (np.sqrt(small * large),) * 2]
    for ratio in _RATIOS[level]:
        wide, narrow = small * np.sqrt(ratio), small / np.sqrt(ratio)
        sizes += [(wide, narrow), (narrow, wide)]
    boxes = []
    for row in range(_MAPS[level]):
        for column in range(_MAPS[level]):
            x, y = ((at + 0.5) * _STEPS[level] / 300 for at in (column, row))
            boxes += [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for w, h in sizes]
    return np.clip(np.array(boxes), 0, 1)


def test_prior_boxes() -> None:
    net = parse_text(network_files(NETWORKS["ssd300_resnet34"])["deploy.prototxt"], pb.NetParameter())
    layers = [layer for layer in net.layer if layer.type == "PriorBox"]
    count = 0
    for level, layer in enumerate(layers):
        alone = pb.NetParameter()
        sides = dict(zip(layer.bottom, (_MAPS[level], 300), strict=True))
        for name, side in sides.items():
            alone.layer.add(name=name, type="Input", top=[name]).input_param.shape.add().dim.extend((1, 1, side, side))
        alone.layer.append(layer)
        fed = {name: np.zeros((1, 1, side, side), np.float32) for name, side in sides.items()}
        (priors,) = Net(alone, pb.TEST, log=False)(fed).values()
        boxes = priors[0, 0].numpy().reshape(-1, 4)
        np.testing.assert_allclose(boxes, _expected(level), atol=1e-6)
        np.testing.assert_allclose(priors[0, 1].numpy().reshape(-1, 4), [[0.1, 0.1, 0.2, 0.2]] * len(boxes))
        count += len(boxes)
    assert (len(layers), count) == (6, 8732)
