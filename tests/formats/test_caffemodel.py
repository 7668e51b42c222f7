import re
from pathlib import Path

import numpy as np
import pytest

from caffecompat import wire
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import Fork
from caffecompat.formats import WeightsError, load_caffemodel, open_caffemodel, save_caffemodel
from caffecompat.formats.blob_proto import blob_pieces
from caffecompat.schema import pb
from tests.formats.protobytes import layer, legacy, message, net, packed, shape, unpacked

string = wire.string_field
SIX = np.arange(6, dtype=np.float32) / 7
BVLC = sorted(
    path
    for folder in ("solvers", "cli")
    for path in (Path(__file__).parents[1] / "golden" / folder).rglob("*.caffemodel")
)


def written(folder: Path, data: bytes) -> Path:
    path = folder / "w.caffemodel"
    path.write_bytes(data)
    return path


def parsed(path: Path) -> pb.NetParameter:
    message = pb.NetParameter()
    message.ParseFromString(path.read_bytes())
    return message


# What Caffe wrote


def test_recorded_files_read_as_protobuf_reads_them() -> None:
    assert len(BVLC) >= 75
    for path in BVLC:
        expected, found = parsed(path), open_caffemodel(path)
        assert found.name == expected.name and found.format == "V2" and found.fork is None
        assert [(layer.name, layer.type) for layer in found.layers] == [(x.name, x.type) for x in expected.layer]
        for ours, theirs in zip(found.layers, expected.layer, strict=True):
            assert [blob.shape for blob in ours.blobs] == [tuple(blob.shape.dim) for blob in theirs.blobs]
            for blob, other in zip(ours.blobs, theirs.blobs, strict=True):
                np.testing.assert_array_equal(blob.array().reshape(-1), np.array(other.data, np.float32))
                assert not blob.has_diff and blob.diff() is None


def test_recorded_files_are_written_byte_for_byte(tmp_path: Path) -> None:
    for path in BVLC:
        save_caffemodel(tmp_path / "w", parsed(path), load_caffemodel(path))
        assert (tmp_path / "w").read_bytes() == path.read_bytes(), path


@pytest.mark.parametrize("run", ["sgd", "sgd_bn", "sgd_old_format"])
def test_jacintos_raw_data_holds_the_recorded_parameters(golden: Path, run: str) -> None:
    folder = golden / "solvers_jacinto" / run
    file = open_caffemodel(folder / "_iter_5.caffemodel")
    assert file.fork is (None if run == "sgd_old_format" else Fork.NVCAFFE)
    trace, weights = np.load(folder / "trace.npz"), file.load()
    checked = 0
    for key in trace.files:
        step, _, rest = key.partition("/")
        if step == "p5":
            name, index = rest.rsplit("/", 1)
            np.testing.assert_array_equal(weights[name][int(index)].reshape(-1), trace[key].reshape(-1))
            checked += 1
    assert checked == sum(map(len, weights.values()))


def test_xilinx_masks_are_passed_over(golden: Path) -> None:
    file = open_caffemodel(golden / "segmentation/train/full_iter_20.caffemodel")
    assert file.fork is Fork.XILINX
    assert all(np.isfinite(blob.array()).all() for layer in file.layers for blob in layer.blobs)


def test_split_layers_are_listed_without_blobs(golden: Path) -> None:
    layers = open_caffemodel(golden / "solvers/sgd/_iter_5.caffemodel").layers
    splits = [layer for layer in layers if layer.type == "Split"]
    assert splits and not any(layer.blobs for layer in splits)


# Encodings


@pytest.mark.parametrize(
    ("blob", "encoding"),
    [
        (packed(5, SIX) + shape(2, 3), "packed"),
        (shape(2, 3) + packed(5, SIX[:2]) + packed(5, SIX[2:]), "packed"),
        (unpacked(5, SIX) + shape(2, 3), "unpacked"),
        (unpacked(5, SIX[:4]) + packed(5, SIX[4:]) + shape(2, 3), "unpacked"),
        (message(7, wire.varint_field(1, 2), wire.varint_field(1, 3)) + packed(5, SIX), "packed"),  # dims not packed
        (packed(8, SIX.astype(float)) + shape(2, 3), "packed"),
        (unpacked(8, SIX.astype(float)) + shape(2, 3), "unpacked"),
        (packed(5, SIX * 0) + packed(8, SIX.astype(float)) + shape(2, 3), "packed"),  # doubles win
        (wire.varint_field(10, 1) + packed(12, SIX) + shape(2, 3), "raw"),
        (wire.varint_field(10, 0) + packed(12, SIX.astype(float)) + shape(2, 3), "raw"),
        (wire.varint_field(10, 2) + packed(12, SIX.astype("<f2")) + shape(2, 3), "raw"),
        (packed(5, SIX) + shape(2, 3) + packed(10, SIX) + packed(11, SIX.astype(float)), "packed"),  # X
        (packed(5, SIX) + shape(2, 3) + unpacked(10, SIX) + wire.varint_field(12, 1), "packed"),  # X
        (packed(5, SIX) + shape(2, 3) + message(99, b"later"), "packed"),
    ],
)
def test_every_encoding_of_a_blob(tmp_path: Path, blob: bytes, encoding: str) -> None:
    stored = open_caffemodel(written(tmp_path, net(blob))).layers[0].blobs[0]
    assert stored.encoding == encoding and stored.shape == (2, 3) and stored.count == 6
    values = stored.array()
    assert values.dtype in (np.float32, np.float64)
    exact = SIX.astype(stored.dtype).astype(values.dtype)
    np.testing.assert_array_equal(values, exact.reshape(2, 3))
    assert stored.copy().flags.owndata and stored.copy().flags.writeable


def test_packed_floats_are_a_read_only_view(tmp_path: Path) -> None:
    values = open_caffemodel(written(tmp_path, net(packed(5, SIX) + shape(6)))).layers[0].blobs[0].array()
    assert not values.flags.owndata and not values.flags.writeable


def test_a_run_of_unpacked_values_ends_where_another_field_begins(tmp_path: Path) -> None:
    many = np.random.default_rng(0).random(5000, np.float32)
    blob = unpacked(5, many) + unpacked(6, many * 2) + shape(5000)
    stored = open_caffemodel(written(tmp_path, net(blob))).layers[0].blobs[0]
    np.testing.assert_array_equal(stored.array(), many)
    np.testing.assert_array_equal(stored.diff(), many * 2)


@pytest.mark.parametrize("blob", [packed(5, SIX[:1]), packed(5, SIX[:1]) + message(7, b"")])
def test_a_blob_without_shape_is_a_scalar(tmp_path: Path, blob: bytes) -> None:
    assert open_caffemodel(written(tmp_path, net(blob))).layers[0].blobs[0].array().shape == ()


def test_diffs_in_every_encoding(tmp_path: Path) -> None:
    both = (
        packed(5, SIX) + packed(6, 2 * SIX) + shape(6),
        packed(8, SIX.astype(float)) + packed(9, 2 * SIX.astype(float)) + shape(6),
        shape(6) + wire.varint_field(10, 1) + wire.varint_field(11, 1) + packed(12, SIX) + packed(13, 2 * SIX),
    )
    for blob in open_caffemodel(written(tmp_path, net(*both))).layers[0].blobs:
        assert blob.has_diff
        np.testing.assert_array_equal(blob.diff(), 2 * blob.array())


# Generations


def test_v1_layers_have_enum_types_and_legacy_shapes(tmp_path: Path) -> None:
    blob = message(6, legacy(1, 1, 2, 3), packed(5, SIX))
    v1 = message(2, message(2, b"data"), message(3, b"ip"), string(4, "ip"), wire.varint_field(5, 14), blob)
    file = open_caffemodel(written(tmp_path, string(1, "old") + v1))
    assert (file.format, file.name) == ("V1", "old")
    assert (file.layers[0].name, file.layers[0].type) == ("ip", "InnerProduct")
    stored = file.layers[0].blobs[0]
    assert stored.legacy and stored.shape == (1, 1, 2, 3)


def test_v0_layers_lie_inside_v1_layers(tmp_path: Path) -> None:
    inner = message(1, string(1, "c"), string(2, "conv"), message(50, legacy(1, 1, 2, 3), packed(5, SIX)))
    file = open_caffemodel(written(tmp_path, message(2, inner, message(2, b"data"))))
    assert (file.format, file.layers[0].name, file.layers[0].type) == ("V0", "c", "Convolution")
    np.testing.assert_array_equal(file.load()["c"][0].reshape(-1), SIX)


def test_names_may_stand_behind_blobs(tmp_path: Path) -> None:
    data = message(100, message(7, packed(5, SIX), shape(6)), string(2, "Scale"), string(1, "late"))
    assert open_caffemodel(written(tmp_path, data)).layers[0].name == "late"


def test_the_last_layer_of_a_name_counts(tmp_path: Path) -> None:
    data = net(packed(5, SIX) + shape(6)) + layer(message(7, packed(5, 2 * SIX), shape(6))) + layer()
    np.testing.assert_array_equal(load_caffemodel(written(tmp_path, data))["ip"][0], 2 * SIX)


# Writing


def example() -> tuple[pb.NetParameter, dict[str, list[np.ndarray]]]:
    net = pb.NetParameter(name="example")
    convolution = net.layer.add(name="conv", type="Convolution", bottom=["data"], top=["conv"])
    convolution.convolution_param.num_output = 4
    net.layer.add(name="relu", type="ReLU")
    net.layer.add(name="factor", type="Scale")
    weight = np.random.default_rng(1).random((4, 3, 2, 2), np.float32)
    return net, {"conv": [weight, np.ones(4, np.float32)], "factor": [np.array(0.5, np.float32)]}


def test_written_weights_read_back_in_protobuf(tmp_path: Path) -> None:
    net, blobs = example()
    save_caffemodel(tmp_path / "w", net, blobs)
    expected = pb.NetParameter()
    expected.CopyFrom(net)
    for one in expected.layer:
        for array in blobs.get(one.name, []):
            blob = one.blobs.add(data=array.reshape(-1).tolist())
            if array.shape:  # Caffe writes no shape for a scalar
                blob.shape.dim.extend(array.shape)
    assert parsed(tmp_path / "w").SerializeToString() == expected.SerializeToString()


def test_arrays_in_any_memory_order_and_type(tmp_path: Path) -> None:
    net, blobs = example()
    expected = blobs["conv"][0]
    for array in (np.asarray(expected.transpose(0, 2, 3, 1), order="C").transpose(0, 3, 1, 2), expected.astype(float)):
        save_caffemodel(tmp_path / "w", net, {"conv": [array, np.arange(4)]})
        weight, bias = load_caffemodel(tmp_path / "w")["conv"]
        np.testing.assert_array_equal(weight, expected)
        assert weight.dtype == array.dtype and bias.dtype == np.float32


def test_diffs_are_written_beside_the_data(tmp_path: Path) -> None:
    net, blobs = example()
    diffs = {name: [array * 3 for array in arrays] for name, arrays in blobs.items()}
    save_caffemodel(tmp_path / "w", net, blobs, diffs)
    assert parsed(tmp_path / "w").layer[0].blobs[1].diff[:] == [3, 3, 3, 3]
    for stored in open_caffemodel(tmp_path / "w").layers:
        for blob in stored.blobs:
            np.testing.assert_array_equal(blob.diff(), blob.array() * 3)


def test_the_messages_own_blobs_and_unknown_fields_stay_behind(tmp_path: Path) -> None:
    net, blobs = example()
    save_caffemodel(tmp_path / "clean", net, blobs)
    net.layer[0].blobs.add(data=[1, 2])
    net.layer[1].MergeFromString(message(50_000, b"of some fork"))
    save_caffemodel(tmp_path / "w", net, blobs)
    assert (tmp_path / "w").read_bytes() == (tmp_path / "clean").read_bytes()


def test_blobs_over_two_gibibytes_get_their_true_length() -> None:
    size, _ = blob_pieces(np.broadcast_to(np.float32(0), (3, 1 << 28)))
    assert size == 3 * (1 << 30) + len(b"\x2a") + 5 + len(shape(3, 1 << 28))


def test_files_over_two_gibibytes_are_read(tmp_path: Path) -> None:
    count = (5 << 30) // 8  # 2.5 GiB of float32, a hole in the file
    floats = wire.bytes_header(5, 4 * count)
    dims = shape(count)
    head = wire.bytes_header(7, len(floats) + 4 * count + len(dims)) + floats
    name = string(1, "big")
    path = tmp_path / "w"
    with open(path, "wb") as file:
        file.write(wire.bytes_header(100, len(name) + len(head) + 4 * count + len(dims)) + name + head)
        file.seek(4 * count, 1)
        file.write(dims + layer(message(7, packed(5, SIX), shape(6)), name="behind"))
    big, behind = open_caffemodel(path).layers
    assert big.blobs[0].array().shape == (count,) and big.blobs[0].array()[-1] == 0
    np.testing.assert_array_equal(behind.blobs[0].array(), SIX)


def test_weights_of_an_unknown_layer_are_refused(tmp_path: Path) -> None:
    net, blobs = example()
    with pytest.raises(WeightsError, match="not in the net: conw"):
        save_caffemodel(tmp_path / "w", net, {**blobs, "conw": blobs["conv"]})
    with pytest.raises(WeightsError, match="layer 'conv': diffs of shapes"):
        save_caffemodel(tmp_path / "w", net, blobs, {"conv": blobs["conv"][:1]})
    assert not (tmp_path / "w").exists()


# What is wrong with a file

FOREIGN = {
    "prototxt": (b'name: "LeNet"\nlayer {\n', "a text file.*give the binary file"),
    "comment": (b"# a net\n" * 500, "a text file"),
    "chinese text": ("# 网络\n".encode() * 500, "a text file"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer.*git lfs pull"),
    "html": (b"<!DOCTYPE html>\n<html>", "a web page"),
    "zip": (b"PK\x03\x04" + bytes(50), "a zip archive"),
    "gzip": (b"\x1f\x8b\x08" + bytes(50), "gunzip"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "an HDF5 file"),
    "pickle": (b"\x80\x02}q\x00.", "a Python pickle"),
    "numpy": (b"\x93NUMPY\x01\x00", r"a NumPy \.npy file"),
    "safetensors": ((2).to_bytes(8, "little") + b'{"}', "a safetensors file"),
    "onnx": (
        wire.varint_field(1, 8) + string(2, "pytorch") + message(7, string(2, "graph")) + message(8, b"\x10\x11"),
        "an ONNX model",
    ),
    "solverstate": (wire.varint_field(1, 5) + string(2, "w") + message(3, shape(1)), "a solver state"),
    "mean": (legacy(1, 3, 1, 2) + packed(5, SIX), "a single blob, such as a mean image"),
    "datum": (legacy(1, 1, 1) + message(4, b"x"), "one database record"),
    "other message": (string(1, "x") + message(77, b"y"), "it has no layers, but fields that no net has"),
    "noise": (bytes(range(7, 255)), "damaged, or not a caffemodel"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOREIGN)
def test_another_kind_of_file_is_named(tmp_path: Path, kind: str) -> None:
    data, expected = FOREIGN[kind]
    with pytest.raises(WeightsError, match=expected) as caught:
        open_caffemodel(written(tmp_path, data))
    assert "w.caffemodel" in str(caught.value)


def test_an_empty_file_is_an_empty_net_with_a_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, b"")
    assert load_caffemodel(path) == {}
    assert open_caffemodel(path).layers == []
    assert "the file is empty (0 bytes)" in capfd.readouterr().err


def test_a_file_cut_to_one_byte_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        load_caffemodel(written(tmp_path, b"\x0a"))


def test_a_missing_file_names_its_neighbors(tmp_path: Path) -> None:
    written(tmp_path, b"x")
    with pytest.raises(WeightsError, match=r"no such file; did you mean \S*w\.caffemodel"):
        load_caffemodel(tmp_path / "w.cafemodel")
    with pytest.raises(WeightsError, match="is not there either"):
        load_caffemodel(tmp_path / "no" / "v.caffemodel")
    with pytest.raises(WeightsError, match="Is a directory"):
        load_caffemodel(tmp_path)


def test_a_cut_off_file_names_the_layer(golden: Path, tmp_path: Path) -> None:
    data = (golden / "solvers/sgd/_iter_5.caffemodel").read_bytes()
    at = data.index(b"conv2", data.index(b"Pooling")) + 60
    with pytest.raises(WeightsError) as caught:
        open_caffemodel(written(tmp_path, data[:at]))
    text = str(caught.value)
    assert "the file ends inside layer 'conv2'" in text and f"The file has {at} bytes" in text
    assert re.search(r"\(4 layers before it are whole\)", text)


def test_too_few_values_name_the_blob(tmp_path: Path) -> None:
    blob = open_caffemodel(written(tmp_path, net(packed(5, SIX) + shape(2, 4)))).layers[0].blobs[0]
    with pytest.raises(WeightsError, match=r"layer 'ip', blob 0: the shape \(2, 4\) has 8 values, the file holds 6"):
        blob.array()


@pytest.mark.parametrize(
    "blob",
    [
        message(5, b"abc") + shape(1),  # no whole number of floats
        wire.varint_field(5, 1),  # floats as integers
        wire.varint_field(10, 7) + message(12, bytes(4)) + shape(1),  # an integer type
        message(12, bytes(4)) + shape(1),  # raw data of no type
    ],
)
def test_impossible_blobs_are_refused(tmp_path: Path, blob: bytes) -> None:
    with pytest.raises(WeightsError, match="layer 'ip', blob 0"):
        open_caffemodel(written(tmp_path, net(blob)))


@pytest.mark.parametrize("dims", [(-1, 6), (1,) * 33, (1 << 62, 1 << 62)])
def test_impossible_shapes_are_refused_without_memory(tmp_path: Path, dims: tuple[int, ...]) -> None:
    blob = packed(5, SIX[:1]) + message(7, *(wire.varint_field(1, dim) for dim in dims))
    stored = open_caffemodel(written(tmp_path, net(blob))).layers[0].blobs[0]
    with pytest.raises(CaffeCompatError, match="shape"):
        stored.array()


def test_raw_blobs_are_nvcaffes(golden, tmp_path):
    """Written in NVCaffe's form, the values of a recorded file of its own are read back."""
    source = golden / "solvers_jacinto" / "adam" / "_iter_5.caffemodel"
    net = pb.NetParameter()
    net.ParseFromString(source.read_bytes())
    net.DiscardUnknownFields()
    stored = open_caffemodel(source)
    blobs = {layer.name: [blob.array() for blob in layer.blobs] for layer in stored.layers if layer.blobs}
    save_caffemodel(tmp_path / "ours.caffemodel", net, blobs, raw=True)
    again = open_caffemodel(tmp_path / "ours.caffemodel")
    assert again.fork is Fork.NVCAFFE
    for mine, theirs in zip(again.layers, stored.layers, strict=True):
        assert [blob.array().tobytes() for blob in mine.blobs] == [blob.array().tobytes() for blob in theirs.blobs]
        assert {blob.encoding for blob in mine.blobs} <= {"raw"}
