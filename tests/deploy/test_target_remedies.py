"""The verdict on a net in one line, and what to change about layers that fall to the CPU: it helps when done."""

from __future__ import annotations

import re

import pytest

from caffecompat.deploy.targets.check import check_net
from caffecompat.deploy.targets.table import load_table
from caffecompat.deploy.targets.text import remedy_lines, verdict_line
from caffecompat.net import Net
from caffecompat.schema import pb
from tests.deploy.test_target_check import conv, document, layer


def pool(fields: str) -> str:
    return layer("Pooling", f"pooling_param {{ {fields} }}")


def after_conv(text: str) -> str:
    return layer("Convolution", "convolution_param { num_output: 16 kernel_size: 3 pad: 1 }") + text.replace(
        'bottom: "data"', 'bottom: "x"'
    ).replace('name: "x"', 'name: "y"')


SLOPE = "relu_param { negative_slope: %s }"


@pytest.mark.parametrize(
    ("target", "before", "remedy", "after"),
    [
        # The size of the output stays where the remedy names a pad.
        ("tidl", conv("num_output: 8 kernel_size: 2 stride: 2"), "3x3 with pad 1 instead of 2x2",
         conv("num_output: 8 kernel_size: 3 pad: 1 stride: 2")),
        ("tidl", conv("num_output: 8 kernel_size: 4 pad: 1 stride: 2"), "5x5 with pad 2 instead of 4x4 with pad 1",
         conv("num_output: 8 kernel_size: 5 pad: 2 stride: 2")),
        ("tidl", conv("num_output: 8 kernel_size: 9 pad: 4 stride: 2"), "7x7 with pad 3 and stride 2",
         conv("num_output: 8 kernel_size: 7 pad: 3 stride: 2")),
        ("tidl", pool("kernel_size: 5 pad: 2"), "MAX 5x5 by 1 is 3x3 by 1 twice",
         pool("kernel_size: 3 pad: 1") + pool("kernel_size: 3 pad: 1").replace('"x"', '"y"').replace('"data"', '"x"')),
        ("tidl", conv("num_output: 8 kernel_size: 6 pad: 2 stride: 2", "Deconvolution"),
         "kernel_size: 4 pad: 1 stride: 2", conv("num_output: 8 kernel_size: 4 pad: 1 stride: 2", "Deconvolution")),
        ("dpu", after_conv(layer("ReLU", SLOPE % 0.1)), "negative_slope: 0.1015625, and fine-tune",
         after_conv(layer("ReLU", SLOPE % 0.1015625))),
        ("dpu", after_conv(layer("Swish")), "HardSwish", after_conv(layer("HardSwish"))),
        ("dpu", conv("num_output: 8 kernel_size: 1 pad: 1"), "a pad of at most (kernel - 1) x dilation",
         conv("num_output: 8 kernel_size: 1")),
    ],
)  # fmt: skip
def test_a_remedy_helps(target: str, before: str, remedy: str, after: str) -> None:
    table = load_table(target)
    report = check_net(document(before), table)
    (fallen,) = report.of("cpu")
    assert any(remedy in text for text in fallen.judgment.remedies)
    title, line = remedy_lines(report)
    assert title.startswith("what to change for ") and line.startswith(f"  {fallen.name}: ")
    changed = check_net(document(after), table)
    assert not changed.of("cpu") and not changed.of("refused") and not remedy_lines(changed)
    if re.search(r"\bpad \d", remedy) or "twice" in remedy:
        nets = [Net(document(text), pb.TEST, log=False) for text in (before, after)]
        assert len({net.blob_shapes[net.outputs[-1]] for net in nets}) == 1


def test_numbers_of_the_layer_and_of_the_target_are_in_a_remedy() -> None:
    report = check_net(document(conv("num_output: 8 kernel_size: 17")), load_table("dpu"))
    assert remedy_lines(report)[1] == "  x: a kernel of at most 16 a side, or several smaller layers in a row"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (conv("num_output: 8 kernel_size: 3"), "verdict, dpu 3.5: runs on the DPU whole (1 layer)"),
        (
            conv("num_output: 16 kernel_size: 3 group: 4"),
            "verdict, dpu 3.5: runs on the DPU whole (1 layer, 1 rewritten for it)",
        ),
        (conv("num_output: 8 kernel_size: 17"), "verdict, dpu 3.5: 1 of 1 layer falls to the CPU"),
        (
            conv("num_output: 8 kernel_size: 17")
            + conv("num_output: 8 kernel_size: 17 pad: 8").replace('"x"', '"y"').replace('"data"', '"x"')
            + layer("Interp", "interp_param { zoom_factor: 2 }").replace('"x"', '"z"').replace('"data"', '"y"'),
            "verdict, dpu 3.5: 2 of 3 layers fall to the CPU, 1 is refused",
        ),
        (
            layer("Interp", "interp_param { zoom_factor: 2 }"),
            "verdict, dpu 3.5: 1 of 1 layer is refused",
        ),
    ],
)
def test_the_verdict(text: str, verdict: str) -> None:
    assert verdict_line(check_net(document(text), load_table("dpu"))) == verdict
