"""Boxes of YOLO v2 and v3, against loops over cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from caffecompat.layers import LayerError
from tests.layers.faster_rcnn_by_hand import overlap
from tests.layers.make import make_layer


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


Found = tuple[float, int, list[float]]  # score, class, box


def by_cell(blob: np.ndarray, sizes: list[tuple[float, float]], threshold: float, v3: bool) -> list[Found]:
    """Boxes of one image's map (B * (5 + C), H, W), all that reach the threshold."""
    each = blob.shape[0] // len(sizes)
    found: list[Found] = []
    for row in range(blob.shape[1]):
        for column in range(blob.shape[2]):
            for b, (width, height) in enumerate(sizes):
                v = blob[b * each : (b + 1) * each, row, column].astype(float)
                x, y = (column + sigmoid(v[0])) / blob.shape[2], (row + sigmoid(v[1])) / blob.shape[1]
                w, h = math.exp(v[2]) * width, math.exp(v[3]) * height
                box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
                if v3:
                    scores = [sigmoid(s) * sigmoid(v[4]) for s in v[5:]]
                    found += [(s, c, box) for c, s in enumerate(scores) if s > threshold]
                else:
                    shares = np.exp(v[5:] - v[5:].max())
                    shares /= shares.sum()
                    best = int(shares.argmax())
                    if sigmoid(v[4]) * shares[best] >= threshold:
                        found.append((sigmoid(v[4]) * float(shares[best]), best, box))
    return found


def suppressed(found: list[Found], threshold: float) -> list[Found]:
    kept: list[Found] = []
    for one in sorted(found, key=lambda f: -f[0]):
        if all(overlap(other[2], one[2], 0.0) < threshold for other in kept):
            kept.append(one)
    return kept


def rows_of(images: list[list[Found]]) -> np.ndarray:
    return np.array([[i, c + 1, s, *box] for i, found in enumerate(images) for s, c, box in found])


@pytest.mark.parametrize("maps", [1, 2])
def test_yolo_v2(maps: int) -> None:
    rng = np.random.default_rng(1)
    blobs = [rng.normal(0, 1.5, (2, 3 * 8, side, side + 1)).astype(np.float32) for side in (4, 7)[:maps]]
    biases = [(0.7, 0.9), (2.4, 2.6), (4.0, 1.0)]
    text = " ".join(f"biases: {v}" for pair in biases for v in pair)
    layer = make_layer(
        f'type: "YoloDetectionOutput" yolo_detection_output_param {{ num_classes: 3 num_box: 3 '
        f"confidence_threshold: 0.3 nms_threshold: 0.4 {text} }}", *(blob.shape for blob in blobs),
    )  # fmt: skip
    wanted = []
    for image in range(2):
        found: list[Found] = []
        for blob in blobs:
            sizes = [(w / blob.shape[3], h / blob.shape[2]) for w, h in biases]
            found += by_cell(blob[image], sizes, 0.3, v3=False)
        wanted.append(suppressed(found, 0.4))
    top = layer(*map(torch.from_numpy, blobs))
    assert top.shape[:2] == (1, 1)
    np.testing.assert_allclose(top[0, 0].numpy(), rows_of(wanted), atol=1e-5)


def test_yolo_v3() -> None:
    rng = np.random.default_rng(2)
    blobs = [rng.normal(0, 1.5, (2, 2 * 9, side, side)).astype(np.float32) for side in (3, 6)]
    biases, mask, scales = [(10, 14), (23, 27), (37, 58), (81, 82)], [2, 3, 0, 1], [32, 16]
    text = " ".join(f"biases: {v}" for pair in biases for v in pair)
    text += " " + " ".join(f"mask: {m}" for m in mask) + " " + " ".join(f"anchors_scale: {s}" for s in scales)
    layer = make_layer(
        f'type: "Yolov3DetectionOutput" yolov3_detection_output_param {{ num_classes: 4 num_box: 2 '
        f"confidence_threshold: 0.4 nms_threshold: 0.3 mask_group_num: 2 {text} }}", *(blob.shape for blob in blobs),
    )  # fmt: skip
    wanted = []
    for image in range(2):
        found: list[Found] = []
        for number, blob in enumerate(blobs):
            pixels = blob.shape[2] * scales[number]
            sizes = [(biases[m][0] / pixels, biases[m][1] / pixels) for m in mask[2 * number : 2 * number + 2]]
            found += by_cell(blob[image], sizes, 0.4, v3=True)
        wanted.append(suppressed(found, 0.3))
    np.testing.assert_allclose(layer(*map(torch.from_numpy, blobs))[0, 0].numpy(), rows_of(wanted), atol=1e-5)
    meta = layer(*(torch.empty(blob.shape, device="meta") for blob in blobs))
    assert meta.shape == (1, 1, 1, 7)
    nothing = layer(*(torch.full(blob.shape, -9.0) for blob in blobs))
    assert nothing.tolist() == [[[[0, *[-1] * 6], [1, *[-1] * 6]]]]
    assert not layer.needs_gradient(0)


def test_an_overlap_that_reaches_the_threshold_suppresses() -> None:
    """Two equal boxes of different cells: an overlap of exactly 1."""
    blob = torch.zeros(1, 6, 1, 2)
    blob[0, 0] = torch.tensor([[40.0, -40.0]])  # x: 0 + 1 and 1 + 0 cells
    settings = "num_classes: 1 num_box: 1 biases: 1 biases: 1"
    for threshold, count in ((1.0, 1), (1.5, 2)):
        layer = make_layer(
            f'type: "YoloDetectionOutput" yolo_detection_output_param {{ {settings} nms_threshold: {threshold} }}',
            blob.shape,
        )
        assert layer(blob).shape[2] == count


V3 = 'type: "Yolov3DetectionOutput" yolov3_detection_output_param '


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ('type: "YoloDetectionOutput"', (1, 6, 2, 2), "num_classes is missing"),
        (
            'type: "YoloDetectionOutput" yolo_detection_output_param { num_classes: 1 num_box: 1 }',
            (1, 6, 2, 2),
            "1 boxes need 2 biases",
        ),
        (
            'type: "YoloDetectionOutput" yolo_detection_output_param { num_classes: 1 num_box: 1 }',
            (1, 7, 2, 2),
            "need (batch, 6, height, width)",
        ),
        (V3 + "{ num_classes: 1 num_box: 1 mask_group_num: 2 }", (1, 6, 2, 2), "mask_group_num 2 must be"),
        (V3 + "{ num_classes: 1 num_box: 1 mask_group_num: 1 }", (1, 6, 2, 2), "need 1 mask entries"),
        (
            V3 + "{ num_classes: 1 num_box: 1 mask_group_num: 1 mask: 1 anchors_scale: 32 biases: 1 biases: 2 }",
            (1, 6, 2, 2),
            "mask 1 is not one of the 1 pairs",
        ),
    ],
)
def test_refusals(text: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(LayerError) as problem:
        make_layer(text, shape)
    assert message in str(problem.value)
