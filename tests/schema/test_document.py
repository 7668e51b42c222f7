"""Files: what can be wrong with them as a whole, how they are encoded, which fork they were written for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import caffecompat
from caffecompat.schema import (
    NetDocument,
    PrototxtError,
    open_net_binary,
    parse_text,
    pb,
    read_net,
    read_solver,
    write_text,
)

pytestmark = pytest.mark.usefixtures("log")


def refusal(read, path) -> str:
    with pytest.raises(PrototxtError) as caught:
        read(path)
    return str(caught.value)


def test_missing_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "solver.prototxt").write_text("")
    assert refusal(read_net, "solvr.prototxt") == "solvr.prototxt: there is no such file; did you mean solver.prototxt?"
    assert refusal(read_net, "x") == f"x: there is no such file (looked for from {tmp_path})"
    assert refusal(read_net, "nets/a") == "nets/a: there is no such file; the folder nets does not exist either"
    assert refusal(read_net, ".") == ".: this is a folder; expected a file"
    assert "cannot be read" in refusal(read_net, "a\0b")


def test_binary_given_for_text(tmp_path):
    path = tmp_path / "x.caffemodel"
    net = pb.NetParameter(name="net", layer=[pb.LayerParameter(name="a", blobs=[pb.BlobProto(data=[1, 2])])])
    path.write_bytes(net.SerializeToString())
    assert refusal(read_net, path) == f"{path}: this is a binary file (perhaps a caffemodel); expected prototxt text"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(20))
    assert "this is a binary file (HDF5)" in refusal(read_solver, path)


def test_text_given_for_binary(tmp_path):
    path = tmp_path / "x.prototxt"
    path.write_text('name: "x"\n' * 3)
    assert refusal(open_net_binary, path) == f"{path}: not a binary net (it looks like text), or cut off"


def test_binary_nets_are_upgraded(tmp_path):
    old = parse_text('layers { name: "c" type: CONVOLUTION blobs { num: 1 width: 2 data: [1, 2] } }', pb.NetParameter())
    path = tmp_path / "x.caffemodel"
    path.write_bytes(old.SerializeToString())
    document = open_net_binary(path)
    (layer,) = document.message.layer
    assert (layer.type, list(layer.blobs[0].data), document.upgraded) == ("Convolution", [1, 2], True)


def test_a_solver_is_no_net(tmp_path):
    path = tmp_path / "x.prototxt"
    path.write_text("base_lr: 0.1\nlr_policy: 'fixed'\nmax_iter: 3\n")
    assert refusal(read_net, path) == f"{path}: this is a solver (it has base_lr, lr_policy, max_iter); expected a net"
    path.write_text("name: 'x'\nlayer { }\nlayer { }\n")
    assert refusal(read_solver, path) == f"{path}: this is a net (it has name, layer); expected a solver"


@pytest.mark.parametrize(
    "data",
    [
        "name: 'é' # ä".encode(),
        "\ufeffname: 'é'".encode(),
        "name: 'é'".encode("latin-1"),
        "name: 'é'".encode("utf-16"),
        "#x\r\nname:\r\n'é'\r\n".encode(),
        "#x\rname: 'é'\r".encode(),
    ],
)
def test_encodings_and_line_ends(tmp_path, data):
    path = tmp_path / "x.prototxt"
    path.write_bytes(data)
    assert read_net(path).name == "é"


def test_lines_are_counted_alike_for_all_line_ends(tmp_path):
    path = tmp_path / "x.prototxt"
    for end in ("\n", "\r\n", "\r"):
        path.write_bytes(end.join(["name: 'x'", "# c", "layer {", "  tpye: 3", "}"]).encode())
        assert refusal(read_net, path).startswith(f"{path}:4:3: ")


def test_strict_reading(tmp_path, log):
    path = tmp_path / "x.prototxt"
    path.write_text("foo_bar_baz: 3")
    assert write_text(read_net(path)) == "foo_bar_baz: 3\n"
    assert len(log) == 1 and f"{path}:1:1: NetParameter has no field 'foo_bar_baz'" in log[0]
    with pytest.raises(PrototxtError):
        read_net(path, strict=True)


def test_from_message_leaves_the_message_alone():
    net = parse_text("layers { type: RELU }", pb.NetParameter())
    document = NetDocument.from_message(net, "made")
    assert (len(net.layers), document.message.layer[0].type, document.where(0)) == (1, "ReLU", "made")


def test_public_names():
    for name in caffecompat.__all__:
        assert name in dir(caffecompat)
    assert caffecompat.read_net is read_net
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = caffecompat.nothing


def test_reading_needs_neither_torch_nor_numpy():
    code = (
        "import sys, caffecompat; assert 'google.protobuf' not in sys.modules; caffecompat.read_net; "
        "print({'torch', 'numpy', 'cv2'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
