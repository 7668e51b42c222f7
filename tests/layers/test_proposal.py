"""Region proposals: the layers of PVANet and Xilinx and py-faster-rcnn's Python layer, against loops over boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat.layers import Context, LayerError, layer_class
from caffecompat.layers.functional.proposal import make_anchors
from caffecompat.schema import parse_text, pb
from tests.layers.faster_rcnn_by_hand import anchors_of, candidates, greedy, py_faster_rcnn
from tests.layers.make import make_layer

PVANET = (
    "proposal_param { ratio: 0.5 ratio: 1 ratio: 2 scale: 2 scale: 4 base_size: 16 feat_stride: 16 min_size: 16 "
    "pre_nms_topn: 90 post_nms_topn: 25 nms_thresh: 0.6 }"
)


def random_inputs(rng: np.random.Generator, items: int, anchors: int, plane: tuple[int, int]) -> list[np.ndarray]:
    """Scores no two of which are equal, and codes."""
    scores = rng.permutation(items * 2 * anchors * plane[0] * plane[1]) / (items * 2 * anchors * plane[0] * plane[1])
    codes = rng.normal(0, 0.3, (items, 4 * anchors, *plane))
    return [scores.reshape(items, 2 * anchors, *plane).astype(np.float32), codes.astype(np.float32)]


def test_the_published_anchors() -> None:
    """The table in the head of py-faster-rcnn's generate_anchors.py, for ratios 0.5 and 2 (its comment shows nine)."""
    anchors = make_anchors(16, (0.5, 1, 2), (8, 16, 32))
    assert anchors[0].tolist() == [-84, -40, 99, 55]
    assert anchors[4].tolist() == [-120, -120, 135, 135]
    assert anchors[8].tolist() == [-168, -344, 183, 359]
    np.testing.assert_allclose(make_anchors(10, (0.3, 1.7), (1.5,)).numpy(), anchors_of(10, (0.3, 1.7), (1.5,)))


@pytest.mark.parametrize("factors", [(1.5,), (1.5, 0.5)])
def test_pvanet(factors: tuple[float, ...]) -> None:
    rng = np.random.default_rng(1)
    scores, codes = random_inputs(rng, 2, 6, (5, 7))
    info = np.array([[75, 100, *factors], [60, 112, *factors]], np.float32)
    layer = make_layer(f'type: "Proposal" top: "rois" top: "scores" {PVANET}', scores.shape, codes.shape, info.shape)
    regions, best = layer(*map(torch.from_numpy, (scores, codes, info)))
    wanted, wanted_scores = [], []
    for item in range(2):
        found = candidates(anchors_of(16, (0.5, 1, 2), (2, 4)), scores[item], codes[item], (16, 16), *info[item, :2])
        least = (16 * factors[-1], 16 * factors[0])
        found = [(s if b[2] - b[0] + 1 >= least[0] and b[3] - b[1] + 1 >= least[1] else 0.0, b) for s, b in found]
        found = sorted(found, key=lambda pair: -pair[0])[:90]
        kept = greedy([box for _, box in found], float(np.float32(0.6)), 1.0)[:25]
        wanted += [[item, *found[k][1]] for k in kept]
        wanted_scores += [found[k][0] for k in kept]
    np.testing.assert_allclose(regions.numpy(), wanted, atol=2e-4)
    np.testing.assert_allclose(best.numpy(), wanted_scores, atol=1e-6)
    assert not any(layer.needs_gradient(bottom) for bottom in range(3))


@pytest.mark.parametrize("least", [0, 40, 1000])
def test_xilinx(least: int) -> None:
    rng = np.random.default_rng(2)
    scores, codes = random_inputs(rng, 2, 3, (4, 6))
    info = np.array([[64, 96, 0.5], [60, 90, 2]], np.float32)
    boxes = [(-20, -10, 37, 28), (1, 1, 16, 16), (-30, -30, 60, 60)]
    text = " ".join("anchor { left: %d top: %d right: %d bottom: %d }" % box for box in boxes)
    layer = make_layer(
        f'type: "Proposal" proposal_param {{ stride_h: 16 stride_w: 15 nms_iou_th: 0.5 nms_input_num: 50 '
        f"nms_output_num: 9 min_width: {least} min_height: {least / 2} {text} }}",
        scores.shape, codes.shape, info.shape,
    )  # fmt: skip
    regions = layer(*map(torch.from_numpy, (scores, codes, info)))
    wanted = []
    for item in range(2):
        anchors = [[float(v - 1) for v in box] for box in boxes]
        found = candidates(anchors, scores[item], codes[item], (16, 15), *info[item, :2])
        found = sorted(found, key=lambda pair: -pair[0])[:50]
        factor = info[item, 2]
        there = [b for _, b in found if b[2] - b[0] > least * factor and b[3] - b[1] > least / 2 * factor]
        wanted += [[item, *there[k]] for k in greedy(there, 0.5, 0.0)[:9]]
    np.testing.assert_allclose(regions.numpy(), wanted or [[0, 0, 0, 1, 1]], atol=2e-4)


def test_equal_scores_go_by_the_order_of_the_boxes() -> None:
    """PVANet numbers boxes cell by cell, Xilinx anchor by anchor."""
    scores, codes, info = torch.ones(1, 4, 1, 2), torch.zeros(1, 8, 1, 2), torch.tensor([[400.0, 400, 1]])
    pva = "feat_stride: 200 base_size: 100 min_size: 1 ratio: 1 scale: 1 scale: 0.1 nms_thresh: 0.9 pre_nms_topn: 3"
    made = make_layer(f'type: "Proposal" proposal_param {{ {pva} }}', (1, 4, 1, 2), (1, 8, 1, 2), (1, 3))
    assert made(scores, codes, info)[:, 1].tolist() == [0, 45, 200]
    xilinx = (
        "stride_h: 200 stride_w: 200 nms_iou_th: 0.9 nms_input_num: 3 anchor { left: 1 top: 1 right: 100 bottom: 100 } "
        "anchor { left: 46 top: 46 right: 55 bottom: 55 }"
    )
    made = make_layer(f'type: "Proposal" proposal_param {{ {xilinx} }}', (1, 4, 1, 2), (1, 8, 1, 2), (1, 3))
    assert made(scores, codes, info)[:, 1].tolist() == [0, 200, 45]


def python_layer(shapes: list[tuple[int, ...]], phase: int, tops: int, relative_to: Path):
    param = parse_text(
        "python_param { module: 'rpn.proposal_layer' layer: 'ProposalLayer' param_str: \"'feat_stride': 16\" }",
        pb.LayerParameter(type="Python", name="proposal"),
    )
    param.bottom.extend(["prob", "pred", "im_info"])
    param.top.extend(["rois", "scores"][:tops])
    cls = layer_class("Python")
    assert cls is not None
    return cls(param, shapes, Context(phase, relative_to=str(relative_to / "test.prototxt")))


@pytest.mark.parametrize(("phase", "before", "after"), [(0, 12000, 2000), (1, 6000, 300)])
def test_the_published_python_layer_without_its_file(phase: int, before: int, after: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    scores, codes = random_inputs(rng, 1, 9, (30, 34))
    info = np.array([[480, 544, 1.6]], np.float32)
    layer = python_layer([scores.shape, codes.shape, info.shape], phase, 2, tmp_path)
    regions, best = layer(*map(torch.from_numpy, (scores, codes, info)))
    wanted, wanted_scores = py_faster_rcnn(scores, codes, info[0].tolist(), before, after)
    assert regions.shape == wanted.shape and best.shape == (len(wanted), 1)
    np.testing.assert_allclose(regions.numpy(), wanted, atol=1e-3)
    np.testing.assert_allclose(best[:, 0].numpy(), wanted_scores, atol=1e-6)


def test_shapes_without_values(tmp_path: Path) -> None:
    shapes = [(1, 12, 5, 7), (1, 24, 5, 7), (1, 3)]
    meta = [torch.empty(shape, device="meta") for shape in shapes]
    regions, best = make_layer(f'type: "Proposal" top: "rois" top: "scores" {PVANET}', *shapes)(*meta)
    assert (regions.shape, best.shape) == ((25, 5), (25,))
    shapes = [(1, 18, 5, 7), (1, 36, 5, 7), (1, 3)]
    made = python_layer(shapes, 1, 1, tmp_path)(*(torch.empty(shape, device="meta") for shape in shapes))
    assert made.shape == (1, 5)


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        ("", [(1, 2, 4, 4), (1, 4, 4, 4), (1, 3)], "needs `ratio` and `scale`"),
        ("ratio: 1 scale: 8", [(1, 4, 4, 4), (1, 4, 4, 4), (1, 3)], "1 anchors need (batch, 2, height, width)"),
        ("ratio: 1 scale: 8", [(1, 2, 4, 4), (1, 4, 4, 5), (1, 3)], "not of the same cells"),
        ("ratio: 1 scale: 8", [(2, 2, 4, 4), (2, 4, 4, 4), (3, 3)], "expected 2 row(s)"),
        ("ratio: 1 scale: 8", [(1, 2, 4, 4), (1, 4, 4, 4), (1, 2)], "(height, width, resize factor)"),
        ("ratio: 1 scale: 8 nms_thresh: 1.5", [(1, 2, 4, 4), (1, 4, 4, 4), (1, 3)], "between 0 and 1"),
        ("ratio: 1 scale: 8 post_nms_topn: 0", [(1, 2, 4, 4), (1, 4, 4, 4), (1, 3)], "at least 1"),
        ("anchor { left: 1 }", [(1, 2, 4, 4), (1, 4, 4, 4), (1, 3)], "the stride"),
    ],
)
def test_refusals(text: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(LayerError) as problem:
        make_layer(f'type: "Proposal" proposal_param {{ {text} }}', *shapes)
    assert message in str(problem.value)
