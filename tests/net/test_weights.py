"""Weights in and out by layer name."""

from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat.errors import CaffeCompatError
from caffecompat.formats import load_caffemodel, save_caffemodel
from caffecompat.net import Net, WeightsMismatch
from caffecompat.net.weights import LoadReport
from caffecompat.schema import pb
from tests.net.nets import INPUT, conv, layer, make_net, message

TWO = INPUT + conv("a", "data") + conv("b", "a")


def weight(net: Net, name: str, index: int = 0) -> np.ndarray:
    return net.blobs_by_layer()[name][index]


def write(path: Path, **layers: list[np.ndarray]) -> Path:
    """A caffemodel with those layers."""
    net = message("".join(f'layer {{ name: "{name}" type: "Convolution" }}' for name in layers))
    save_caffemodel(path, net, layers)
    return path


def test_a_net_that_starts_from_a_file_fills_only_what_the_file_lacks(tmp_path: Path) -> None:
    shared = 'param { name: "w" } param { name: "b" }'
    text = TWO + conv("c", "a", more=shared) + conv("d", "a", more=shared)
    d = [np.full((4, 4, 1, 1), 3.0), np.ones(4)]  # c owns what d has
    path = write(tmp_path / "w.caffemodel", a=[np.ones((4, 3, 1, 1)), np.ones(4)], b=[np.ones(1)], d=d)
    torch.manual_seed(5)
    drawn = torch.randn(4, 4, 1, 1).numpy()
    torch.manual_seed(5)
    net = make_net(text, weights=path, skip_mismatched=True)
    assert net.loaded is not None
    assert (net.loaded.loaded, net.loaded.missing, len(net.loaded.mismatches)) == (["a", "d"], ["b", "c"], 1)
    assert [weight(net, name).max() for name in "acd"] == [1, 3, 3]
    assert np.array_equal(weight(net, "b"), drawn)  # nothing was drawn for a, c and d
    assert not weight(net, "b", 1).any()


@pytest.mark.parametrize("suffix", ["caffemodel", "caffemodel.h5"])
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    first, second = make_net(TWO), make_net(TWO)
    first.save(tmp_path / f"w.{suffix}")
    report = second.load_weights(tmp_path / f"w.{suffix}")
    assert report.loaded == ["a", "b"]
    assert (report.missing, report.unexpected, report.reshaped) == ([], [], [])
    for name, blobs in first.blobs_by_layer().items():
        for mine, theirs in zip(second.blobs_by_layer()[name], blobs, strict=True):
            assert np.array_equal(mine, theirs)


def test_parameters_stay_the_same_objects_in_c_order(tmp_path: Path) -> None:
    net = make_net(TWO.replace("kernel_size: 1", "kernel_size: 3 pad: 1"))
    net.save(tmp_path / "w.caffemodel")
    before = [p.blob for p in net.params]
    net.load_weights(tmp_path / "w.caffemodel")
    assert all(a is p.blob for a, p in zip(before, net.params, strict=True))
    assert net.params[0].blob.is_contiguous()


def test_a_message_does_not_list_mismatches_without_end(tmp_path: Path) -> None:
    names = [f"conv{i}" for i in range(20)]
    text = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 4, 4] } } }'
    for name in names:
        text += f' layer {{ name: "{name}" type: "Convolution" bottom: "data" top: "{name}"'
        text += " convolution_param { num_output: 2 kernel_size: 1 bias_term: false } }"
    path = write(tmp_path / "w.caffemodel", **{name: [np.zeros((9, 3, 1, 1))] for name in names})
    with pytest.raises(WeightsMismatch, match="in 20 places") as caught:
        make_net(text).load_weights(path)
    assert len(caught.value.mismatches) == 20
    assert "'conv11'" in str(caught.value) and "'conv12'" not in str(caught.value)
    assert "... and 8 more; are these the weights of another net?" in str(caught.value)


def test_every_mismatch_at_once_and_the_two_ways_out(tmp_path: Path) -> None:
    path = write(tmp_path / "w.caffemodel", a=[np.zeros((9, 3, 1, 1)), np.zeros(9)], b=[np.zeros((4, 4, 1, 1))])
    net = make_net(TWO)
    before = net.blobs_by_layer()
    with pytest.raises(WeightsMismatch) as caught:
        net.load_weights(path)
    assert caught.value.mismatches == [
        "layer 'a' blob 0: the file has (9, 3, 1, 1), the net (4, 3, 1, 1)",
        "layer 'a' blob 1: the file has (9,), the net (4,)",
        "layer 'b': the file has 1 blobs, the net's Convolution has 2",
    ]
    assert "rename these layers" in str(caught.value)
    assert "--skip-mismatched" in str(caught.value)
    assert all(np.array_equal(x, y) for n in before for x, y in zip(before[n], net.blobs_by_layer()[n], strict=True))


def test_skip_mismatched_loads_the_rest(tmp_path: Path) -> None:
    ones = np.ones((4, 4, 1, 1), np.float32)
    path = write(tmp_path / "w.caffemodel", a=[np.zeros((9, 3, 1, 1)), np.zeros(9)], b=[ones, np.ones(4)])
    net = make_net(TWO)
    report = net.load_weights(path, skip_mismatched=True)
    assert report.loaded == ["b"]
    assert report.missing == ["a"]
    assert np.array_equal(weight(net, "b"), ones)
    assert report.lines() == [
        "1 layers loaded",
        "in the file with another shape, left at initial values: "
        "layer 'a' blob 0: the file has (9, 3, 1, 1), the net (4, 3, 1, 1)",
        "in the file with another shape, left at initial values: layer 'a' blob 1: the file has (9,), the net (4,)",
    ]


def test_a_skipped_layer_is_not_called_absent_from_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = TWO + 'layer { name: "c" type: "InnerProduct" bottom: "b" top: "c" inner_product_param { num_output: 4 } }'
    path = write(
        tmp_path / "w.caffemodel", a=[np.zeros((9, 3, 1, 1)), np.zeros(4)], b=[np.ones((4, 4, 1, 1)), np.ones(4)]
    )
    shape = "some with another shape: layer 'a' blob 0: the file has (9, 3, 1, 1), the net (4, 3, 1, 1)"
    report = make_net(TWO).load_weights(path, skip_mismatched=True)
    assert report.describe_missing("w") == f"w has {shape}"
    assert make_net(more).load_weights(path, skip_mismatched=True).describe_missing("w") == (
        f"w has no weights for: c, and {shape}"
    )
    report.check("w")
    assert f"w has {shape}; they stay at initial values" in capsys.readouterr().err


def test_skip_mismatched_of_two_files_tells_what_neither_fits(tmp_path: Path) -> None:
    ones = [np.ones((4, 3, 1, 1)), np.ones(4)]
    wrong = write(tmp_path / "w.caffemodel", a=[np.zeros((9, 3, 1, 1)), np.zeros(9)], b=[np.ones(3)])
    report = make_net(TWO).load_weights([wrong, write(tmp_path / "v.caffemodel", a=ones)], skip_mismatched=True)
    assert (report.loaded, report.missing, report.mismatched) == (["a"], ["b"], ["b"])
    assert report.mismatches == ["layer 'b': the file has 1 blobs, the net's Convolution has 2"]


def test_layers_on_one_side_only_are_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "w.caffemodel", a=[np.zeros((4, 3, 1, 1)), np.zeros(4)], gone=[np.zeros(1)])
    report = make_net(TWO).load_weights(path)
    assert (report.loaded, report.unexpected, report.missing) == (["a"], ["gone"], ["b"])
    assert report.lines() == [
        "1 layers loaded",
        "only in the weight file, ignored: gone",
        "only in the net, left at initial values: b",
    ]


def test_several_files_the_last_one_wins(tmp_path: Path) -> None:
    one = write(tmp_path / "1.caffemodel", a=[np.full((4, 3, 1, 1), 1.0), np.zeros(4)])
    two = write(
        tmp_path / "2.caffemodel", a=[np.full((4, 3, 1, 1), 2.0), np.zeros(4)], b=[np.zeros((4, 4, 1, 1)), np.ones(4)]
    )
    net = make_net(TWO)
    assert net.load_weights([one, two]).loaded == ["a", "b"]
    assert weight(net, "a").max() == 2


def test_shapes_that_lay_values_out_alike(tmp_path: Path) -> None:
    text = INPUT + layer("InnerProduct", "data", "ip", "inner_product_param { num_output: 5 }")
    values = np.arange(5 * 108, dtype=np.float32)
    path = write(tmp_path / "w.caffemodel", ip=[values.reshape(1, 1, 5, 108), np.ones((1, 1, 1, 5), np.float32)])
    net = make_net(text)
    assert net.load_weights(path).reshaped == []  # Caffe's own older form
    assert np.array_equal(weight(net, "ip"), values.reshape(5, 108))
    path = write(tmp_path / "w.caffemodel", ip=[values.reshape(5, 108, 1, 1), np.ones(5, np.float32)])
    assert net.load_weights(path).reshaped == ["layer 'ip' blob 0: (5, 108, 1, 1) as (5, 108)"]
    path = write(tmp_path / "w.caffemodel", ip=[values.reshape(108, 5), np.ones(5, np.float32)])
    with pytest.raises(WeightsMismatch, match=r"the file has \(108, 5\), the net \(5, 108\)"):
        net.load_weights(path)


def test_doubles_are_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "w.caffemodel", a=[np.full((4, 3, 1, 1), 0.5, np.float64), np.zeros(4)])
    net = make_net(TWO)
    net.load_weights(path)
    assert weight(net, "a").dtype == np.float32
    assert weight(net, "a").max() == 0.5


def test_shared_blobs_are_stored_with_every_layer_but_once_in_hdf5(tmp_path: Path) -> None:
    shared = 'param { name: "w" } param { name: "b" }'
    text = INPUT + conv("a", "data", more=shared) + conv("b", "data", more=shared)
    first, second = make_net(text), make_net(text)
    first.save(tmp_path / "w.caffemodel")
    assert {name: len(blobs) for name, blobs in load_caffemodel(tmp_path / "w.caffemodel").items()} == {"a": 2, "b": 2}
    first.save(tmp_path / "w.h5")
    for file in ("w.caffemodel", "w.h5"):
        second.load_weights(tmp_path / file)
        assert np.array_equal(weight(second, "b"), weight(first, "a"))


def test_diffs_are_stored_by_position(tmp_path: Path) -> None:
    net = make_net(TWO)
    net.save(tmp_path / "w.caffemodel", diffs={0: torch.full((4, 3, 1, 1), 2.0)})
    stored = pb.NetParameter()
    stored.ParseFromString((tmp_path / "w.caffemodel").read_bytes())
    assert set(stored.layer[1].blobs[0].diff) == {2.0}
    assert set(stored.layer[2].blobs[0].diff) == {0.0}


def test_sharing_with_another_net_follows_its_training(tmp_path: Path) -> None:
    train, test = make_net(TWO, pb.TRAIN), make_net(TWO + layer("ReLU", "b", "r"))
    test.share_from(train)
    with torch.no_grad():
        for p in train.params:
            p.blob.zero_()
    assert all(not p.blob.any() for p in test.params)
    assert float(test.forward({"data": torch.ones(2, 3, 6, 6)})["r"].detach().sum()) == 0


def test_sharing_wants_equal_shapes() -> None:
    with pytest.raises(CaffeCompatError, match="layer 'a' cannot share"):
        make_net(INPUT + conv("a", "data", outputs=5)).share_from(make_net(TWO))


def test_file_of_the_original_is_written_back_byte_for_byte(golden: Path, tmp_path: Path) -> None:
    folder = golden / "cli"
    if not (folder / "snap_iter_40.caffemodel").exists():
        pytest.skip("no recorded snapshot")
    from caffecompat import data

    text = (folder / "train_val.prototxt").read_text().replace("data.txt", str(tmp_path / "data.txt"))
    (tmp_path / "data.txt").write_text(str(folder / "data.h5"))
    net = Net(message(text), pb.TRAIN, sources=data.make_source, log=False)
    net.load_weights(folder / "snap_iter_40.caffemodel")
    # The layer's message carries the list's path, which is another one here.
    net.message.layer[0].hdf5_data_param.source = "data.txt"
    net.save(tmp_path / "w.caffemodel")
    net.close()
    assert (tmp_path / "w.caffemodel").read_bytes() == (folder / "snap_iter_40.caffemodel").read_bytes()


def test_an_empty_file_leaves_the_initial_values(tmp_path: Path) -> None:
    path = tmp_path / "empty.caffemodel"
    path.write_bytes(b"")
    net = make_net(INPUT + conv("c", "data", more="").replace('"gaussian" std: 1', '"constant" value: 3'), weights=path)
    assert net.loaded is not None and net.loaded.missing == ["c"]
    assert (net.blobs_by_layer()["c"][0] == 3).all()


def test_reports_of_many_layers_are_short() -> None:
    names = [f"layer_{i}" for i in range(5000)]
    report = LoadReport(missing=names, unexpected=names, reshaped=names)
    assert len("".join(report.lines())) < 3000
    assert any(line.endswith("and 4980 more") for line in report.lines())
