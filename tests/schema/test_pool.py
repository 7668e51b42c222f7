"""The message classes and the pool they live in."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from caffecompat.errors import CaffeCompatError
from caffecompat.schema import pb, pool

FOREIGN = """
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
message = file.message_type.add(name="NetParameter")
message.field.add(name="other", number=1, type=9, label=1)

def foreign():
    pool = descriptor_pool.Default()
    pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))
"""
CHECK = """
net = ours()(name="LeNet")
assert net.name == "LeNet" and not hasattr(net, "other")
assert theirs(other="x").other == "x" and not hasattr(theirs(), "layer")
"""
OURS = """
def ours():
    from caffecompat.schema import pb
    return pb.NetParameter
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("order", ["theirs = foreign(); ours()", "ours(); theirs = foreign()"])
def test_another_caffe_proto_in_the_process_does_no_harm(order: str) -> None:
    run(FOREIGN + OURS + order + CHECK)


def test_importing_the_schema_imports_nothing_heavy() -> None:
    code = "import sys; from caffecompat.schema import pb; pb.NetParameter; print(*sys.modules)"
    assert not {"torch", "numpy", "cv2", "lmdb", "h5py"} & set(run(code).split())


def test_names_are_those_of_a_generated_module() -> None:
    assert (pb.TRAIN, pb.TEST) == (0, 1)
    assert pb.Phase.Name(pb.TEST) == "TEST"
    assert pb.PoolingParameter.MAX == 0 and pb.PoolingParameter.AVE == 1
    assert pb.PoolingParameter.PoolMethod.Name(2) == "STOCHASTIC"
    assert pb.V1LayerParameter.LayerType.Value("CONVOLUTION") == 4
    assert pb.QuantizationParameter.QParams(bitwidth=8).bitwidth == 8
    assert pb.NetParameter is pb.NetParameter
    assert {"NetParameter", "Phase", "TRAIN"} <= set(dir(pb))
    assert pool.message_class("ProposalParameter.Anchor").DESCRIPTOR.fields_by_name["left"].number == 1


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="NoSuchParameter"):
        _ = pb.NoSuchParameter
    with pytest.raises(KeyError):
        pool.message_class("NoSuchParameter")


def test_presence_is_kept() -> None:
    layer = pb.LayerParameter()
    assert not layer.HasField("phase") and layer.phase == pb.TRAIN
    layer.phase = pb.TRAIN
    assert layer.HasField("phase")


def test_messages_copy_and_pickle() -> None:
    net = pb.NetParameter(name="LeNet", layer=[{"name": "conv1", "convolution_param": {"num_output": 20}}])
    assert copy.deepcopy(net) == net
    assert pickle.loads(pickle.dumps(net)) == net


def test_missing_descriptor_says_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(CaffeCompatError, match="pip install -e"):
        pool.read_descriptor(tmp_path / "caffe.desc")
