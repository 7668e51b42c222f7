"""The batch of a deployed net: 1, unless a layer needs the net's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat.cli.main import main
from caffecompat.deploy.deploy_inputs import Deployed, DeployError
from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.net import Net
from caffecompat.schema import NetDocument, pb, read_net
from tests.net.nets import layer, message


def fed(top: str, *shape: int, kind: str = "DummyData") -> str:
    dims = " ".join(f"dim: {size}" for size in shape)
    param = "dummy_data_param" if kind == "DummyData" else "input_param"
    return f'layer {{ name: "{top}" type: "{kind}" top: "{top}" {param} {{ shape {{ {dims} }} }} }}\n'


def deployed(text: str, **options: int) -> Deployed:
    return deploy_net(NetDocument.from_message(message(text)), **options)


def reshape(*dims: int) -> str:
    return layer("Reshape", "x", "y", f"reshape_param {{ shape {{ {' '.join(f'dim: {d}' for d in dims)} }} }}")


LSTM = 'layer {{ name: "l" type: "LSTM" bottom: "{}" bottom: "{}" top: "h" recurrent_param {{ num_output: 2 }} }}\n'
# Nets of a batch of 12, and what in them needs it.
NEEDING = {
    "reshape to fixed sizes": (fed("x", 12, 5) + reshape(4, 3, 5), "layer 'y' (Reshape): a bottom of shape (1, 5)"),
    "reshape that joins items": (fed("x", 12, 5) + reshape(-1, 3, 5), "layer 'y' (Reshape): a bottom of shape (1, 5)"),
    "slices of the batch": (
        fed("x", 12, 5) + 'layer { name: "s" type: "Slice" bottom: "x" top: "a" top: "b" slice_param { axis: 0 } }',
        "layer 's' (Slice): ",
    ),
    "slices at points": (
        fed("x", 12, 5) + 'layer { name: "s" type: "Slice" bottom: "x" top: "a" top: "b"\n'
        "slice_param { axis: 0 slice_point: 4 } }",
        "layer 's' (Slice): ",
    ),
    "batch as channels": (
        fed("x", 12, 1, 4, 4) + layer("Permute", "x", "p", "permute_param { order: 1 order: 0 order: 2 order: 3 }"),
        "layer 'p' (Permute): its top 'p' is (1, 12, 4, 4) for a batch of 12 and (1, 1, 4, 4) for 1",
    ),
    "sum over the batch": (
        fed("x", 12, 5) + layer("Reduction", "x", "r", "reduction_param { axis: 0 }"),
        "layer 'r' (Reduction): it sums over all items of the batch",
    ),
    "probabilities over the batch": (
        fed("x", 12, 5) + layer("Softmax", "x", "r", "softmax_param { axis: 0 }"),
        "layer 'r' (Softmax): its probabilities",
    ),
    "sequence": (fed("x", 12, 1, 5) + fed("c", 12, 1) + LSTM.format("x", "c"), "layer 'l' (LSTM): the first axis"),
    "numbers of items": (
        fed("x", 12, 5) + fed("i", 12) + 'layer { name: "g" type: "BatchReindex" bottom: "x" bottom: "i" top: "g" }',
        "layer 'g' (BatchReindex): its second bottom numbers the items of the batch",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NEEDING)
def test_the_batch_stays_where_a_layer_needs_it(name: str) -> None:
    text, why = NEEDING[name]
    made = deployed(text)
    assert {shape[0] for shape in made.inputs.values()} == {12}
    assert list(made.message.layer[0].input_param.shape[0].dim) == list(made.inputs["x"])
    (note,) = [note for note in made.notes if "keeps its batch" in note]
    assert note.startswith("the input keeps its batch of 12: ") and why in note
    Net(made.message, pb.TEST, log=False)


def test_without_such_a_layer_it_is_1() -> None:
    text = fed("x", 12, 6, 4, 4) + layer("Reshape", "x", "y", "reshape_param { shape { dim: 0 dim: 2 dim: -1 } }")
    text += layer("Softmax", "y", "z") + layer("Flatten", "z", "f")
    made = deployed(text + layer("InnerProduct", "f", "i", "inner_product_param { num_output: 3 }"))
    assert made.inputs == {"x": (1, 6, 4, 4)} and not any("batch" in note for note in made.notes)
    assert deployed(text, batch=7).inputs == {"x": (7, 6, 4, 4)}


@pytest.mark.parametrize("kind", ["DummyData", "Input"])
def test_another_batch_works_or_is_refused_by_name(kind: str) -> None:
    text = fed("x", 12, 5, kind=kind) + reshape(-1, 3, 5)
    assert deployed(text, batch=6).inputs["x"] == (6, 5)
    with pytest.raises(DeployError, match=r"--batch 4: .* its own batch, 12: layer 'y' \(Reshape\)"):
        deployed(text, batch=4)
    sequence = fed("x", 12, 1, 5, kind=kind) + fed("c", 12, 1, kind=kind) + LSTM.format("x", "c")
    assert deployed(sequence, batch=20).inputs == {"x": (20, 1, 5), "c": (20, 1)}


def test_a_python_layers_batch_is_asked_for() -> None:
    text = 'layer { name: "p" type: "Python" top: "x" python_param { module: "m" layer: "L" } }\n'
    text += layer("Reshape", "x", "y", "reshape_param { shape { dim: 2 dim: -1 dim: 5 dim: 5 } }")
    with pytest.raises(DeployError, match=r"give --batch N: layer 'y' \(Reshape\)"):
        deployed(text, size=(5, 5))
    assert deployed(text, size=(5, 5), batch=4).inputs == {"x": (4, 3, 5, 5)}


@pytest.mark.parametrize("form", ["torch", "onnx", "deploy"])
def test_every_export_takes_the_flag(form: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    net = fed("x", 12, 5) + fed("c", 12, 1) + reshape(-1, 3, 5) + layer("Reshape", "c", "d", "reshape_param { shape\n"
                                                                        "{ dim: -1 dim: 3 } }")  # fmt: skip
    Path("net.prototxt").write_text(f'name: "n"\n{net}{LSTM.format("y", "d")}')
    out = {"torch": "made.py", "onnx": "made.onnx", "deploy": "made/"}[form]
    assert main(["export", form, "--model", "net.prototxt", out]) == 0
    assert "the input keeps its batch of 12: layer 'y' (Reshape)" in capsys.readouterr().out
    assert main(["export", form, "--model", "net.prototxt", "--batch", "6", out]) == 0
    if form == "deploy":
        assert list(read_net("made/deploy.prototxt").layer[0].input_param.shape[0].dim) == [6, 5]
    assert main(["export", form, "--model", "net.prototxt", "--batch", "4", out]) == 2
    assert "--batch 4: " in capsys.readouterr().err
