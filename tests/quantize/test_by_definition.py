"""Whole runs of the Xilinx quantizer on nets of many kinds, against its definition in :mod:`by_definition`."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat import load_caffemodel, read_net
from caffecompat.cli.main import main
from caffecompat.schema import pb
from tests.quantize.by_definition import Simulated, fix_infos, on_grid, pairs_of
from tests.quantize.small_nets import conv, in_place, layer, pool, write_net

MEAN = np.array([104, 117, 123], np.float32)


KINDS = "".join(
    [
        conv("dilated", "data", 6, "pad: 2 dilation: 2"),
        in_place("ReLU", "leaky", "dilated", "relu_param { negative_slope: 0.125 }"),
        conv("grouped", "dilated", 6, "pad: 1 group: 2 bias_term: false"),
        in_place("PReLU", "slopes", "grouped"),
        conv("depthwise", "grouped", 6, "pad: 1 group: 6"),
        layer("ReLU6", "six", "depthwise"),
        layer("Eltwise", "sum", "six dilated", "", "eltwise_param { coeff: 0.5 coeff: -1.5 }"),
        in_place("ReLU", "sum_relu", "sum"),
        layer("Eltwise", "most", "sum six", "", "eltwise_param { operation: MAX }"),
        pool("halved", "most", "pool: MAX kernel_size: 2 stride: 2"),
        pool("mean", "most", "pool: AVE kernel_size: 2 stride: 2"),
        layer("Concat", "two", "halved mean"),
        conv("up", "two", 4, "stride: 2 bias_term: false", "Deconvolution", kernel=2),
        layer("Scale", "gains", "up", "", "scale_param { bias_term: true }"),
        layer("Concat", "three", "gains most"),
        layer("Concat", "four", "three sum"),
        conv("point", "four", 8, "", kernel=1),
        layer("Dropout", "drop", "point", "dropped"),
        in_place("ReLU", "after_drop", "dropped"),
        pool("window", "dropped", "pool: AVE kernel_size: 5 stride: 3"),
        layer("Slice", "parts", "window", "first second", "slice_param { slice_point: 4 }"),
        pool("all", "first", "pool: AVE global_pooling: true"),
        layer("Permute", "turned", "second", "", "permute_param { order: 0 order: 2 order: 3 order: 1 }"),
        layer("Flatten", "flat", "turned"),
        layer("InnerProduct", "head", "flat", "", "inner_product_param { num_output: 5 }"),
        layer("Softmax", "prob", "head"),
        layer("Reshape", "shaped", "all", "", "reshape_param { shape { dim: 0 dim: 4 } }"),
        layer("Sigmoid", "second_output", "shaped"),
    ]
)
NEURONS = """data dilated grouped six sum most mean two up three four point window first second all head"""
# grouped's is before the PReLU in place, whose blob has one already; `halved` is read by the Concat alone, as `mean` is
FLAGS = {
    "method 1": "",
    "method 0, 6 bits": "-method 0 -data_bit 6 -weights_bit 6",
    "4 and 12 bits": "-weights_bit 4 -data_bit 12",
    "bits of its own": "-special_layers dilated,10,6,most,6 -sigmoided_layers grouped,up,point -weights_bit 7",
    "averages not aligned": "-calib_iter 7",
}


def _data(batch: int = 4) -> str:
    means = " ".join(f"mean_value: {mean:g}" for mean in MEAN)
    return "".join(
        f'layer {{ name: "data" type: "ImageData" top: "data" top: "label" include {{ phase: {phase} }}\n'
        f"  transform_param {{ scale: 0.017 {means} }}\n"
        f'  image_data_param {{ source: "images.txt" root_folder: "images/" batch_size: {batch} }} }}\n'
        for phase in ("TRAIN", "TEST")
    )


def _run(flags: str = "", status: int = 0) -> None:
    words = ["vai_q_caffe", "quantize", "-model", "net.prototxt", "-weights", "net.caffemodel", "-output_dir", "out"]
    assert main([*words, *([] if "calib_iter" in flags else ["-calib_iter", "3"]), *flags.split()]) == status


def _batches(count: int, size: int = 4) -> list[np.ndarray]:
    files = [line.split()[0] for line in Path("images.txt").read_text().splitlines()]
    pictures = [(cv2.imread(f"images/{file}").astype(np.float32) - MEAN) * np.float32(0.017) for file in files]
    order = [pictures[index % len(pictures)] for index in range(count * size)]
    return [np.stack(order[at * size : at * size + size]).transpose(0, 3, 1, 2).copy() for at in range(count)]


@pytest.fixture
def folder(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("images", "images.txt"):
        Path(name).symlink_to(golden / "quantize/small" / name)
    return tmp_path


def _compare(iterations: int) -> list[str]:
    """Positions and deploy.caffemodel of a run against the definition; the blobs that have neurons."""
    text = [one for one in read_net("out/quantize_train_test.prototxt").layer
            if not any(rule.phase == pb.TEST for rule in one.include)]  # fmt: skip
    floats = {name: [np.asarray(blob) for blob in own]
              for name, own in load_caffemodel("out/quantize_train_test.caffemodel").items()}  # fmt: skip
    found = {name: int(own[0].ravel()[0]) for name, own in floats.items() if name.endswith("_fixed")}
    assert Simulated(text, floats).calibrate(_batches(iterations)) == found
    wanted = fix_infos(text, floats, found)
    model = pb.NetParameter()
    model.ParseFromString(Path("out/deploy.caffemodel").read_bytes())
    pairs = {one.name: list(one.fixed_param.fix_info) for one in model.layer if one.type != "Split"}
    assert pairs == {name: wanted[name] for name in pairs}
    deployed = load_caffemodel("out/deploy.caffemodel")
    for one in (one for one in text if one.type.endswith("Fixed")):
        for got, blob, (bits, place) in zip(
            deployed[one.name], floats[one.name], pairs_of(one, floats[one.name]), strict=True
        ):
            np.testing.assert_array_equal(np.asarray(got), on_grid(blob, place, bits), err_msg=one.name)
    return [one.top[0] for one in text if one.type == "FixedNeuron"]


@pytest.mark.parametrize("case", FLAGS)
def test_layers_of_all_kinds(case: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if case == "averages not aligned":
        monkeypatch.setenv("NOT_ALIGN_CONCAT", "1")
    write_net(_data() + KINDS)
    _run(FLAGS[case])
    neurons = _compare(7 if "calib_iter" in FLAGS[case] else 3)
    aligned = ["mean"] if case != "averages not aligned" else []
    assert neurons == [blob for blob in NEURONS.split() if blob not in aligned]


def test_a_layer_after_a_softmax(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No neuron follows a Softmax, so that no layer in fixed point may read it."""
    write_net(_data() + KINDS + layer("InnerProduct", "late", "prob", "", "inner_product_param { num_output: 3 }"))
    _run(status=2)
    assert (
        "'late' computes in fixed point, but its blob 'prob' has no position, as no neuron follows layer 'prob' "
        in (" ".join(capfd.readouterr().err.split()))
    )
    _run("-ignore_layers late,head -calib_iter 3")
    assert _compare(3) == [blob for blob in NEURONS.split() if blob not in ("mean", "head")]


IGNORED = 'ignore_layer: "ip2"\nignore_layer: "head_b"\n'
OTHERS = {
    "main": ["-method 0 -calib_iter 4", "-calib_iter 7", "-weights_bit 4", "-data_bit 16 -method 0",
             "-special_layers conv1,10,6,ip1,12,pool4,5 -keep_fixed_neuron=false", "-ignore_layers_file ignored.txt",
             "-sigmoided_layers conv8,conv4a,ip1 -method 0"],
    "edge": ["-method 0", "-data_bit 6 -weights_bit 5"],
    "bnfold": ["-method 0", "-weights_bit 6 -data_bit 12"],
}  # fmt: skip


@pytest.mark.parametrize(("net", "flags"), [(net, flags) for net, runs in OTHERS.items() for flags in runs])
def test_recorded_nets_under_other_flags(net: str, flags: str, folder: Path, golden: Path) -> None:
    for end in ("prototxt", "caffemodel"):
        Path(f"net.{end}").symlink_to(golden / f"quantize/small/{net}.{end}")
    Path("ignored.txt").write_text(IGNORED)
    _run(flags)
    neurons = _compare(int(flags.split("-calib_iter ")[1][0]) if "calib_iter" in flags else 3)
    assert ("ip2" in neurons) == (net == "main" and "ignored" not in flags)


def test_inputs_that_nothing_feeds(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither an Input nor a second source is calibrated on."""
    shape = "shape { dim: [1, 3, 16, 16] }"
    write_net(layer("Input", "data", "", "data", f"input_param {{ {shape} }}") + conv("c", "data", 4))
    _run(status=2)
    assert "no data layer fills" in " ".join(capfd.readouterr().err.split())
    first, second = (
        layer("DummyData", name, "", name, f"dummy_data_param {{ {shape} }}") for name in ("other", "data")
    )
    both = conv("c", "data", 4) + conv("d", "other", 4) + layer("Eltwise", "sum", "c d")
    write_net(first + second + both)
    _run(status=2)
    assert "no neuron follows layer 'other' (DummyData)" in " ".join(capfd.readouterr().err.split())
    _run("-ignore_layers d")
