"""Which Caffes read a network: by the tables of layer types and of the fields that each fork's schema has."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from google.protobuf.message import Message

from caffecompat.forks import Fork
from caffecompat.schema import parse_text, pb, read_net, read_solver
from caffecompat.schema.dialects import is_ours, layer_types
from caffecompat.zoo.readers import RECORDED, readers_of, readers_table, who_has

_MODELS = Path(__file__).parents[2] / "models"
_FORKS = {
    "S": Fork.SSD, "J": Fork.JACINTO, "J16": Fork.JACINTO16, "J15": Fork.JACINTO15, "X": Fork.XILINX, "E": Fork.ENET,
    "P": Fork.PSPNET, "D": Fork.DEEPLAB,
}  # fmt: skip


def net(text: str) -> Message:
    return parse_text(text, pb.NetParameter())


@pytest.mark.parametrize(
    ("text", "readers"),
    [
        ('layer { type: "Convolution" convolution_param { num_output: 1 dilation: 2 } }', RECORDED),
        ('layer { type: "Interp" }', (Fork.PSPNET, Fork.DEEPLAB)),
        ('layer { type: "BatchNorm" batch_norm_param { scale_bias: true } }', (Fork.JACINTO, Fork.JACINTO16)),
        ('layer { type: "ReLU6" }', (Fork.XILINX,)),
        ('layer { type: "Pooling" pooling_param { round_mode: FLOOR } }', (Fork.BVLC,)),
        ('layer { type: "Data" transform_param { std_value: 2 } }', ()),  # a field of ours
        ('layer { type: "Mixup" }', ()),  # a layer type of ours
        ('layer { type: "Interp" } layer { type: "ReLU6" }', ()),  # each has a Caffe, both together have none
    ],
)
def test_readers(text: str, readers: tuple[Fork, ...]) -> None:
    assert readers_of(net(text)) == readers


def test_a_table_names_what_is_lacking() -> None:
    rows = readers_table({
        "a": net('layer { type: "ReLU" }'), "b": net('layer { type: "ReLU" name: "x" }'),
        "c": net('layer { type: "Data" transform_param { std_value: 2 } }'),
        "d": net('layer { type: "Interp" } layer { type: "ReLU6" }'),
    })  # fmt: skip
    assert rows[2:] == [
        "| `a`, `b` | all of these |",
        "| `c` | caffecompat alone: none of these has TransformationParameter.std_value |",
        '| `d` | caffecompat alone: none of these has all of it: type "ReLU6" is of Xilinx Caffe; type "Interp" is of '
        "PSPNet Caffe and DeepLab Caffe |",
    ]


def test_networks_by_the_recorded_schemas(golden: Path) -> None:
    """Each reader of each file of the zoo, by the forks' own schemas as they are recorded."""
    with open(golden / "schema/forks.tsv", newline="") as file:
        recorded = {row["name"]: row["forks"].split(",") for row in csv.DictReader(file, delimiter="\t")}
    judged = 0
    for path in sorted(_MODELS.glob("*/*.prototxt")):
        if path.name == "labelmap.prototxt":
            continue
        message = read_solver(str(path)) if path.name.startswith("solver") else read_net(str(path))
        readers = readers_of(message)
        for name in who_has(message):
            if name.startswith("type "):
                assert set(readers) <= set(layer_types().get(name.split('"')[1], ())), (path, name)
            elif name in recorded:  # beyond BVLC's
                owners = {_FORKS[letter] for letter in recorded[name] if letter in _FORKS}
                assert set(readers) <= owners, (path, name)
            else:
                assert not (is_ours(*name.split(".")) and readers), (path, name)
        judged += bool(readers)
    assert judged > 40
    espnet = read_net(str(_MODELS / "espnet/train_val.prototxt"))
    assert readers_of(espnet) == (Fork.XILINX,)  # ImageSegData, and BatchNorm with fillers
