"""upgrade_net_proto_text, upgrade_net_proto_binary, upgrade_solver_proto_text."""

from __future__ import annotations

import pytest

from caffecompat.cli.main import main
from caffecompat.schema import parse_text, pb, read_message

V1 = 'layers { name: "c" type: CONVOLUTION bottom: "x" top: "y" blobs_lr: 1 convolution_param { num_output: 1 } }'
V2 = """layer { name: "c" type: "Convolution" bottom: "x" top: "y" param { lr_mult: 1 }
                convolution_param { num_output: 1 } }"""


def test_net_text(tmp_path, capsys):
    source, target = tmp_path / "old.prototxt", tmp_path / "new.prototxt"
    source.write_text(V1)
    assert main(["upgrade_net_proto_text", str(source), str(target)]) == 0
    assert read_message(target, pb.NetParameter()) == parse_text(V2, pb.NetParameter())
    assert f"Wrote upgraded NetParameter text proto to {target}" in capsys.readouterr().err
    assert main(["upgrade-net-proto-text", str(target), str(target)]) == 0
    assert f"File already in latest proto format: {target}" in capsys.readouterr().err
    assert read_message(target, pb.NetParameter()) == parse_text(V2, pb.NetParameter())


def test_net_binary(tmp_path):
    source, target = tmp_path / "old.caffemodel", tmp_path / "new.caffemodel"
    old = parse_text(V1, pb.NetParameter())
    old.layers[0].blobs.add(data=[1.5, 2.5])
    source.write_bytes(old.SerializeToString())
    assert main(["upgrade_net_proto_binary", str(source), str(target)]) == 0
    new = pb.NetParameter.FromString(target.read_bytes())
    assert list(new.layer[0].blobs[0].data) == [1.5, 2.5]
    new.layer[0].ClearField("blobs")
    assert new == parse_text(V2, pb.NetParameter())


def test_solver_text(tmp_path):
    source, target = tmp_path / "old.prototxt", tmp_path / "new.prototxt"
    source.write_text("base_lr: 0.1 solver_type: ADAM")
    assert main(["upgrade_solver_proto_text", str(source), str(target)]) == 0
    assert target.read_text() == 'base_lr: 0.1\ntype: "Adam"\n'


@pytest.mark.parametrize("verb", ["upgrade_net_proto_text", "upgrade_net_proto_binary", "upgrade_solver_proto_text"])
def test_mistakes_have_no_traceback(tmp_path, capsys, verb):
    (tmp_path / "bad").write_text("max_iter { 3 ")
    assert main([verb, str(tmp_path / "bad"), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and str(tmp_path / "bad") in error
    assert not (tmp_path / "out").exists()
    assert main([verb, str(tmp_path / "absent"), str(tmp_path / "out")]) == 2
    assert main([verb, str(tmp_path / "bad")]) == 2
