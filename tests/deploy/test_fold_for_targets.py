"""Folding makes no target's net worse: what falls to the CPU afterwards fell there before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from caffecompat.compare.nets import TOLERANCE, compare_nets, load_blobs
from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.deploy.fold_norm import Folded, fold_norms
from caffecompat.deploy.onnx.export import ExportOptions
from caffecompat.deploy.onnx.write import export_onnx
from caffecompat.deploy.targets.check import check_net
from caffecompat.deploy.targets.table import load_table
from caffecompat.net import Net
from caffecompat.schema import NetDocument, open_net, parse_text, pb, write_text

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 8 dim: 12 dim: 12 } } }'


def layer(kind: str, name: str, bottoms: str, more: str = "") -> str:
    read = " ".join(f'bottom: "{bottom}"' for bottom in bottoms.split())
    return f'layer {{ name: "{name}" type: "{kind}" {read} top: "{name}" {more} }}'


def conv(name: str, bottom: str, more: str = "", kind: str = "Convolution") -> str:
    param = f'num_output: 8 kernel_size: 1 weight_filler {{ type: "xavier" }} {more}'
    return layer(kind, name, bottom, f"convolution_param {{ {param} }}")


TWO = INPUT + conv("a", "data") + conv("b", "data") + layer("Concat", "cat", "a b")
NORM, SCALE = layer("BatchNorm", "bn", "cat"), layer("Scale", "scale", "bn", "scale_param { bias_term: true }")
BILINEAR = "num_output: 8 group: 8 kernel_size: 4 stride: 2 pad: 1 bias_term: false weight_filler { type: 'bilinear' }"

NETS = {  # text -> the normalizations that stay, for the DPU and for TIDL
    "ReLU": (TWO + NORM + layer("ReLU", "act", "bn"), ["bn"], []),
    "in place": (TWO + NORM.replace('top: "bn"', 'top: "cat"')
                 + layer("ReLU", "act", "cat").replace('top: "act"', 'top: "cat"'), ["bn"], []),
    "ReLU6": (TWO + NORM + layer("ReLU6", "act", "bn"), ["bn"], []),
    "two normalizations": (TWO + NORM + SCALE + layer("ReLU", "act", "scale"), ["bn", "scale"], []),
    "one of two readers": (TWO + NORM + conv("c", "bn") + layer("ReLU", "act", "bn"), ["bn"], []),
    "leaky": (TWO + NORM + layer("ReLU", "act", "bn", "relu_param { negative_slope: 0.1015625 }"), [], []),
    "no activation": (TWO + NORM + conv("c", "bn"), [], []),
    "one convolution": (INPUT + conv("cat", "data") + NORM + SCALE + layer("ReLU", "act", "scale"), [], []),
    "a join of joins": (TWO + conv("d", "data") + layer("Concat", "all", "cat d") + layer("BatchNorm", "bn", "all")
                        + layer("ReLU", "act", "bn"), ["bn"], []),
    "before a convolution": (TWO + layer("Eltwise", "sum", "a b") + layer("BatchNorm", "bn", "sum") + conv("c", "bn"),
                             [], []),
    "bilinear": (INPUT + layer("Deconvolution", "cat", "data", f"convolution_param {{ {BILINEAR} }}") + NORM
                 + layer("ReLU", "act", "bn"), [], ["bn"]),
    "not bilinear": (INPUT + conv("cat", "data", "stride: 1", "Deconvolution") + NORM + layer("ReLU", "act", "bn"),
                     [], []),
}  # fmt: skip


def _net(text: str) -> Net:
    torch.manual_seed(4)
    net = Net(NetDocument.from_message(parse_text(text, pb.NetParameter())), pb.TEST, log=False)
    for one in net.layers:
        for slot in one.slots:
            if one.type in ("BatchNorm", "Scale"):
                slot.tensor().uniform_(0.3, 1.7)
    return net


def _folded(net: Net, target: str) -> tuple[Folded, Net]:
    folded = fold_norms(net, around=True, target=target)
    made = Net(NetDocument.from_message(folded.message, fork=net.fork), pb.TEST, log=False)
    load_blobs(made, folded.blobs)
    return folded, made


def _on_cpu(message: pb.NetParameter, target: str) -> set[str]:
    report = check_net(NetDocument.from_message(message), load_table(target))
    return {one.name for one in report.layers if one.verdict in ("cpu", "refused")}


@pytest.mark.parametrize("target", ["dpu", "tidl"])
@pytest.mark.parametrize("case", NETS)
def test_what_stays_and_that_nothing_more_falls_to_the_cpu(case: str, target: str) -> None:
    text, *stay = NETS[case]
    net = _net(text)
    folded, made = _folded(net, target)
    assert [name for name, _ in folded.left] == stay[target == "tidl"]
    assert _on_cpu(folded.message, target) <= _on_cpu(net.message, target)
    assert all(difference.relative <= TOLERANCE for difference in compare_nets(net, made))
    if stay[target == "tidl"] and case != "two normalizations":
        reason = dict(folded.left)["bn"]
        assert ("where the DPU runs none" if target == "dpu" else "is bilinear, which TIDL resizes") in reason


@pytest.mark.parametrize("target", ["dpu", "tidl"])
@pytest.mark.parametrize("case", NETS)
def test_the_same_of_the_exported_files(case: str, target: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    net = _net(NETS[case][0])
    _, made = _folded(net, target)
    on_cpu = []
    for one in (net, made):
        (tmp_path / "net.prototxt").write_text(write_text(one.message))
        one.save(tmp_path / "net.caffemodel")
        words = [tmp_path / "net.prototxt", str(tmp_path / "net.caffemodel"), tmp_path / "net.onnx"]
        done = export_onnx(*words, ExportOptions(target=target))
        assert done.target is not None
        on_cpu.append({layer.name for layer in done.target.layers if layer.verdict in ("cpu", "refused")})
    assert on_cpu[1] <= on_cpu[0]


@pytest.mark.parametrize("target", ["dpu", "tidl"])
def test_espnet(target: str) -> None:
    models = Path(__file__).resolve().parents[2] / "models"
    document = open_net(models / "espnet/train_val.prototxt")
    deployed = deploy_net(document, size=(512, 1024))
    net = Net(NetDocument.from_message(deployed.message, fork=document.fork), pb.TEST, log=False)
    folded = fold_norms(net, around=True, target=target)
    assert _on_cpu(folded.message, target) <= _on_cpu(deployed.message, target)
    assert ("BatchNorm_18" in dict(folded.left)) == (target == "dpu")
    if target == "dpu":
        assert not _on_cpu(folded.message, target)


def test_an_export_tells_what_it_leaves(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    text, *_ = NETS["bilinear"]
    net = _net(text)
    (tmp_path / "net.prototxt").write_text(write_text(net.message))
    net.save(tmp_path / "net.caffemodel")
    words = [tmp_path / "net.prototxt", str(tmp_path / "net.caffemodel"), tmp_path / "net.onnx"]
    tidl = export_onnx(*words, ExportOptions(target="tidl"))
    told = [note.text for note in tidl.export.notes if note.layer == "bn"]
    assert told == [
        "left as it is: 'cat' before it is bilinear, which TIDL resizes; with other weights it cannot run it"
    ]
    assert "Resize" in {node.op_type for node in tidl.export.model.graph.node}
    dpu = export_onnx(*words, ExportOptions(target="dpu"))
    assert [note.text for note in dpu.export.notes if note.layer == "bn"] == ["folded into 'cat'"]
