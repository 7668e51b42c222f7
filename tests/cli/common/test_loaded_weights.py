"""Weights that are not those of the net: no verb computes with a net that nobody trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.formats import save_caffemodel
from caffecompat.net import Net
from caffecompat.schema import open_net, parse_text, pb

_DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }'
_OWN_DATA = """
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } shape { dim: 2 } } }
"""
_FILLER = 'weight_filler { type: "xavier" }'
_CONV = """layer {{ name: "{0}" type: "Convolution" bottom: "{1}" top: "{0}"
  convolution_param {{ num_output: 3 kernel_size: 1 {2} }} }}"""
_POOL = (
    'layer { name: "pool" type: "Pooling" bottom: "two" top: "pool" pooling_param { pool: AVE global_pooling: true } }'
)
_PROB = 'layer { name: "prob" type: "Softmax" bottom: "pool" top: "prob" }'
_LOSS = """
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "pool" bottom: "label" top: "loss" }
"""


def _body(first: str = "one", filler: str = _FILLER, more: str = "", bottom: str = "") -> str:
    return f"{_CONV.format(first, 'data', filler)}\n{more}\n{_CONV.format('two', bottom or first, _FILLER)}\n{_POOL}\n"


def _write(**kinds: str) -> None:
    """net.prototxt (fed from outside) and test.prototxt (with its own data)."""
    Path("net.prototxt").write_text(f"{_DATA}\n{_body(**kinds)}{_PROB}")
    Path("test.prototxt").write_text(f"{_OWN_DATA}\n{_body(**kinds)}{_LOSS}")
    segmenting = _body(**kinds).replace(_POOL, "")
    Path("seg.prototxt").write_text(f"{_DATA}\n{segmenting}")
    Path("solver.prototxt").write_text(
        'net: "test.prototxt" base_lr: 0 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "s"'
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: weights of layers one and two, of one alone, and of others."""
    monkeypatch.chdir(tmp_path)
    _write()
    net = Net(open_net("net.prototxt"), pb.TEST, log=False)
    net.save("net.caffemodel")
    blobs = net.blobs_by_layer()
    for name, kept in (("two", ["two"]), ("other", ["three", "four"])):
        message = parse_text("".join(_CONV.format(one, "data", "") for one in kept), pb.NetParameter())
        save_caffemodel(f"{name}.caffemodel", message, dict.fromkeys(kept, blobs["two"]))
    cv2.imwrite("a.png", np.zeros((8, 8, 3), np.uint8))
    Path("list.txt").write_text("a.png 0\n")
    Path("pairs.txt").write_text("a.png a_label.png\n")
    cv2.imwrite("a_label.png", np.zeros((8, 8), np.uint8))
    Path("windows.csv").write_text("filename,xmin,ymin,xmax,ymax\na.png,0,0,4,4\n")
    return tmp_path


NEEDS_ALL = [
    "test --model test.prototxt --weights {} --iterations 1",
    "eval classification --model net.prototxt --weights {} --list list.txt",
    "eval segmentation --model seg.prototxt --weights {} --list pairs.txt",
    "classify net.prototxt {} a.png --top 1",
    "classify net.prototxt {} a.png --top 1 --images-dim 8,8",
    "segment --model seg.prototxt --weights {} a.png --out out",
    "dump-blobs net.prototxt {} out --random",
    "extract_features {} test.prototxt pool features 1 lmdb",
    "detect_windows windows.csv out.csv --model net.prototxt --weights {} --crop-mode list --context-pad 0",
]
NEEDS_ONE = [
    "train --solver solver.prototxt --weights {}",
    "train --solver solver.prototxt --weights {} --dry-run",
    "time --model test.prototxt --weights {} --iterations 1",
    "summary net.prototxt --weights {}",
    "merge-bn net.prototxt {} m.prototxt m.caffemodel",
    "export onnx --model net.prototxt --weights {} out.onnx",
    "export torch --model net.prototxt --weights {} out.py",
    "export deploy --model net.prototxt --weights {} out/",
]


@pytest.mark.parametrize("words", [*NEEDS_ALL, *NEEDS_ONE])
def test_weights_of_another_net_are_an_error_everywhere(command: Callable, folder: Path, words: str) -> None:
    result = command(*words.format("other.caffemodel").split())
    assert result.status == 2
    assert "other.caffemodel: none of its layers is in this net" in result.err
    assert "the file has three, four, the net one, two" in result.err


@pytest.mark.parametrize("words", NEEDS_ALL)
def test_layers_left_to_chance_are_an_error_unless_allowed(command: Callable, folder: Path, words: str) -> None:
    result = command(*words.format("two.caffemodel").split())
    assert result.status == 2
    assert "two.caffemodel has no weights for 1 layer whose initial values mean nothing: one; give" in result.err
    allowed = command(*words.format("two.caffemodel").split(), "--allow-missing")
    assert allowed.status == 0
    assert "two.caffemodel has no weights for: one; they stay at initial values" in allowed.err


@pytest.mark.parametrize("words", NEEDS_ONE[:4])
def test_training_and_looking_start_from_a_part(command: Callable, folder: Path, words: str) -> None:
    assert command(*words.format("two.caffemodel").split()).status == 0


@pytest.mark.parametrize(
    ("kinds", "missing"),
    [
        ({"filler": ""}, "one"),  # weights that no filler is for are zeros
        ({"filler": 'weight_filler { type: "gaussian" std: 0.1 }'}, "one"),
        ({"filler": 'weight_filler { type: "constant" value: 0.5 }'}, ""),
        ({"filler": 'weight_filler { type: "constant" } bias_filler { type: "uniform" }'}, "one"),
        ({"filler": 'weight_filler { type: "bilinear" }'}, ""),
        ({"first": "new"}, "new"),
        ({"more": 'layer { name: "s" type: "Scale" bottom: "one" top: "s" }', "bottom": "s"}, ""),
        ({"more": 'layer { name: "s" type: "PReLU" bottom: "one" top: "s" }', "bottom": "s"}, ""),
        (
            {
                "more": 'layer { name: "s" type: "Scale" bottom: "one" top: "s"'
                ' scale_param { filler { type: "msra" } } }',
                "bottom": "s",
            },
            "s",
        ),
        ({"more": 'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 } } }'}, ""),
    ],
)  # fmt: skip
def test_what_needs_weights(command: Callable, folder: Path, kinds: dict[str, str], missing: str) -> None:
    _write(**kinds)
    weights = "net.caffemodel" if "more" in kinds or "first" in kinds else "two.caffemodel"
    result = command("dump-blobs", "net.prototxt", weights, "out", "--random")
    if missing:
        assert result.status == 2 and f"mean nothing: {missing}; " in result.err
    else:
        assert result.status == 0
    if "first" in kinds:
        assert "it has layers that the net lacks, one: do names differ?" in result.err


def test_a_shared_parameter_that_the_file_has_is_given(command: Callable, folder: Path) -> None:
    text = Path("net.prototxt").read_text()
    for name in ("one", "two"):
        text = text.replace(f'name: "{name}"', f'name: "{name}" param {{ name: "w" }} param {{ name: "b" }}')
    Path("net.prototxt").write_text(text)
    assert command("dump-blobs", "net.prototxt", "two.caffemodel", "out", "--random").status == 0


def test_layers_that_were_left_out_on_purpose(command: Callable, folder: Path) -> None:
    _write(filler=f"{_FILLER} group: 3")
    words = ("test", "--model", "test.prototxt", "--weights", "net.caffemodel", "--iterations", "1")
    assert command(*words).status == 2
    assert command(*words, "--skip-mismatched").status == 0
    for name in ("net", "test"):
        path = Path(f"{name}.prototxt")
        path.write_text(path.read_text().replace('bottom: "one"', 'bottom: "data"').replace("dim: 3", "dim: 4"))
    Path("test.prototxt").write_text(Path("test.prototxt").read_text().replace(" group: 3", ""))
    nothing = command(*words, "--skip-mismatched")
    assert nothing.status == 2 and "none of its layers fits this net: layer 'one' blob 0" in nothing.err
