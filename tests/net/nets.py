"""Nets from prototxt text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from caffecompat.net import Net, NetError
from caffecompat.schema import parse_text, pb

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 6 dim: 6 } } }\n'
LABEL = 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } }\n'


def message(text: str) -> Any:
    """The NetParameter of a text."""
    return parse_text(text, pb.NetParameter())


def make_net(text: str, phase: int = pb.TEST, **options: Any) -> Net:
    """A net of the text, without log lines."""
    return Net(message(text), phase, log=False, **options)


def conv(name: str, bottom: str, top: str = "", *, outputs: int = 4, more: str = "") -> str:
    """A 1x1 convolution with random weights."""
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{top or name}" {more}\n'
        f'convolution_param {{ num_output: {outputs} kernel_size: 1 weight_filler {{ type: "gaussian" std: 1 }} }} }}\n'
    )


def layer(kind: str, bottom: str, top: str, more: str = "", name: str = "") -> str:
    """A layer with one bottom and one top."""
    return f'layer {{ name: "{name or top}" type: "{kind}" bottom: "{bottom}" top: "{top}" {more} }}\n'


def problems_of(tmp_path: Path, text: str, phase: int = pb.TEST) -> list[str]:
    """What is wrong with a prototxt file of that text, its path cut away."""
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    try:
        Net(path, phase, log=False)
    except NetError as error:
        return [problem.replace(f"{path}:", "") for problem in error.problems]
    return []
