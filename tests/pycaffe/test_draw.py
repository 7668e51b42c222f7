"""Pictures of nets."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from google.protobuf import text_format

from caffecompat.errors import CaffeCompatError
from caffecompat.pycaffe import draw
from caffecompat.pycaffe.proto import caffe_pb2
from caffecompat.report import net_drawing
from caffecompat.report.layered_layout import lay_out

TEXT = """
name: "a \\"net\\""
layer { name: "d" type: "Data" top: "x" top: "y" data_param { batch_size: 64 } include { phase: TRAIN } }
layer { name: "d" type: "Data" top: "x" top: "y" data_param { batch_size: 32 } include { phase: TEST } }
layer { name: "c<1>" type: "Convolution" bottom: "x" top: "c" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 5 kernel_h: 3 kernel_w: 1 pad: 2 } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "i" type: "InnerProduct" bottom: "p" top: "i" inner_product_param { num_output: 10 } }
layer { name: "l" type: "SoftmaxWithLoss" bottom: "i" bottom: "y" top: "l" include { phase: TRAIN } }
"""


@pytest.fixture
def net() -> Any:
    return text_format.Merge(TEXT, caffe_pb2.NetParameter())


@pytest.fixture(autouse=True)
def no_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net_drawing.shutil, "which", lambda name: None)


def test_labels(net: Any) -> None:
    data, _, conv, relu, pool, ip, _ = net.layer
    assert draw.get_layer_label(conv, "LR", True).split("\n") == [
        "c<1>", "(Convolution)", "kernel size: 3x1", "stride: 1", "pad: 2", "lr mult: 1.0, 2.0",
    ]  # fmt: skip
    assert draw.get_layer_label(pool, "TB") == "p (AVE Pooling) kernel size: 2 stride: 2 pad: 0"
    assert draw.get_layer_label(relu, "LR") == "r\n(ReLU)"
    assert [draw.get_edge_label(layer) for layer in (data, conv, ip, relu)] == ["Batch 64", "5", "10", ""]
    assert draw.choose_color_by_layertype("Pooling") != draw.choose_color_by_layertype("Convolution")


def test_dot(net: Any) -> None:
    dot = draw.draw_net(net, "TB", "dot").decode()
    assert dot.startswith('digraph "a \\"net\\"" {\nrankdir=TB;\n')
    number = {name: key for key, name in re.findall(r'(n\d+) \[label="([^" ]+)', dot)}
    assert f"{number['x']} -> {number['c<1>']};" in dot
    assert f'{number["c<1>"]} -> {number["c"]} [label="5"];' in dot
    assert f"{number['c']} -> {number['r']};" in dot and f"{number['r']} -> {number['c']};" in dot
    assert dot.count("shape=octagon") == 6


def test_phase(net: Any) -> None:
    train, test = (draw.get_pydot_graph(net, "LR", phase=phase).graph for phase in (caffe_pb2.TRAIN, caffe_pb2.TEST))
    assert "l_SoftmaxWithLoss" in train.nodes and "l_SoftmaxWithLoss" not in test.nodes
    assert {edge.label for edge in test.edges if edge.tail == "d_Data"} == {"Batch 32"}
    assert not any(edge.label for edge in draw.get_pydot_graph(net, "LR", label_edges=False).graph.edges)


@pytest.mark.parametrize("rankdir", ["LR", "RL", "TB", "BT"])
def test_svg_runs_the_way_it_is_told(net: Any, rankdir: str) -> None:
    root = ElementTree.fromstring(draw.draw_net(net, rankdir, "svg", phase=caffe_pb2.TRAIN))
    space = "{http://www.w3.org/2000/svg}"
    places = {text.text: (float(text.get("x")), float(text.get("y"))) for text in root.iter(f"{space}text")}
    first, last = (next(v for k, v in places.items() if k and k.split()[0] == name) for name in ("d", "l"))
    axis = 0 if rankdir in ("LR", "RL") else 1
    assert (first[axis] < last[axis]) == (rankdir in ("LR", "TB"))
    assert sum("marker-start" in line.attrib for line in root.iter(f"{space}polyline")) == 1  # the in-place ReLU
    assert "c<1>" in " ".join(filter(None, places))


def test_png_and_files(net: Any, tmp_path: Path) -> None:
    picture = cv2.imdecode(np.frombuffer(draw.draw_net(net, "LR"), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] > picture.shape[0] > 50
    assert (picture == (80, 80, 255)).all(2).sum() > 1000  # the convolution's red
    for name in ("net.svg", "net.png", "net.gv"):
        draw.draw_net_to_file(net, str(tmp_path / name))
        assert (tmp_path / name).stat().st_size > 500
    with pytest.raises(CaffeCompatError, match="pdf needs Graphviz"):
        draw.draw_net_to_file(net, tmp_path / "net.pdf")
    with pytest.raises(CaffeCompatError, match="extension"):
        draw.draw_net_to_file(net, tmp_path / "net")
    with pytest.raises(ValueError, match="rankdir"):
        draw.draw_net(net, "UP")


def test_graphviz_draws_where_it_is(net: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "dot"
    program.write_text('#!/bin/sh\nif [ "$1" = "-Txyz" ]; then echo "no xyz" >&2; exit 1; fi\necho "$1"; wc -l\n')
    program.chmod(0o755)
    monkeypatch.setattr(net_drawing.shutil, "which", lambda name: str(program))
    assert draw.draw_net(net, "LR", "pdf").split()[0] == b"-Tpdf"
    with pytest.raises(CaffeCompatError, match="cannot draw xyz: no xyz"):
        draw.draw_net(net, "LR", "xyz")


def test_old_nets_are_drawn_too() -> None:
    net = text_format.Merge('layers { name: "r" type: RELU bottom: "x" top: "y" }', caffe_pb2.NetParameter())
    assert '"r\\n(ReLU)"' in draw.draw_net(net, "LR", "dot").decode()
    assert draw.draw_net(caffe_pb2.NetParameter(), "LR", "svg").startswith(b"<svg")


def test_the_nets_of_bvlc(shared: Path) -> None:
    drawn = 0
    for path in sorted((shared / "real" / "bvlc").rglob("*.prototxt")):
        if "solver" not in path.name:
            net = text_format.Merge(path.read_text(), caffe_pb2.NetParameter())
            assert draw.draw_net(net, "LR", "svg").startswith(b"<svg")
            drawn += 1
    assert drawn >= 29


def test_nodes_of_a_rank_do_not_overlap() -> None:
    sizes = {f"n{i}": (10.0, 20.0 + i) for i in range(12)}
    edges = [("n0", f"n{i}") for i in range(1, 11)] + [(f"n{i}", "n11") for i in range(1, 11)] + [("n0", "n11")]
    layout = lay_out(sizes, edges)
    middle = sorted((layout.centers[f"n{i}"][1], 20.0 + i) for i in range(1, 11))
    for (a, wide), (b, other) in pairwise(middle):
        assert b - a >= (wide + other) / 2
    assert len({layout.centers[f"n{i}"][0] for i in range(1, 11)}) == 1
    assert [len(bends) for bends in layout.bends] == [0] * 20 + [2]


def test_what_scripts_do_with_a_pydot_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # without Graphviz
    net = caffe_pb2.NetParameter(name="n", layer=[dict(name="a", type="Input", top=["a"])])
    graph = draw.get_pydot_graph(net, "LR")
    assert graph.to_string().startswith('digraph "n" {')
    assert graph.create_png() == graph.create(format="png") == draw.draw_net(net, "LR")
    assert graph.create_png().startswith(b"\x89PNG") and graph.create(format="svg").startswith(b"<svg")
    assert graph.write_png(tmp_path / "a.png") and graph.write(str(tmp_path / "b.svg"), format="svg")
    assert graph.write_raw(tmp_path / "c.dot") and graph.write(tmp_path / "d.dot")
    assert (tmp_path / "a.png").read_bytes() == graph.create_png()
    assert (tmp_path / "c.dot").read_text() == (tmp_path / "d.dot").read_text() == graph.to_string()
    with pytest.raises(AttributeError, match="no_such_thing"):
        graph.no_such_thing()
