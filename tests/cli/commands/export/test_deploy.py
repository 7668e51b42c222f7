"""``export deploy`` and ``merge-bn`` on the recorded segmentation set and the tutorial's trained nets."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat.data import make_source
from caffecompat.formats import open_weights
from caffecompat.formats.atomic import WriteError
from caffecompat.formats.mean import write_mean
from caffecompat.formats.picture import encode_picture
from caffecompat.net import Net
from caffecompat.schema import pb, read_net

ESPNET = "real/vitis-tutorial-05-seg/model/espnet"


@pytest.fixture
def espnet(shared: Path) -> list[object]:
    folder = shared / ESPNET
    weights = folder / "final_models/pretrained.caffemodel"
    return ["--model", folder / "train_val.prototxt", "--weights", weights, "--size", "64x32"]


def test_files_of_a_folder_and_their_numbers(command, espnet, tmp_path) -> None:
    result = command("export", "deploy", *espnet, f"{tmp_path}/out/", "--softmax", "--merge-bn")
    assert result.status == 0, result.err
    assert "folded 4 layers into 4" in result.out and "17 layers stay as they are" in result.out
    assert "checked on random input: prob: largest difference" in result.out
    net = read_net(tmp_path / "out/deploy.prototxt")
    assert list(net.layer[0].input_param.shape[0].dim) == [1, 3, 32, 64]
    stored = {layer.name for layer in open_weights(tmp_path / "out/deploy.caffemodel").layers}
    assert stored == {layer.name for layer in net.layer}
    assert not net.HasField("state")
    assert "pictures: mean 73,82,72, scale 0.022, as transform_param of the Input (" in result.out
    assert list(net.layer[0].transform_param.mean_value) == [73, 82, 72]


@pytest.mark.parametrize(("kind", "settings", "cuts"), [
    ("Data", "crop_size: 6", True),
    ("Data", "crop_h: 6 crop_w: 8", True),
    ("ImageData", "mean_value: 3", False),
    ("WindowData", "crop_size: 6", False),
])  # fmt: skip
def test_pictures_that_are_cut_in_training_are_reported(command, tmp_path, kind, settings, cuts) -> None:
    more = "image_data_param { new_height: 6 new_width: 8 }" if kind == "ImageData" else ""
    (tmp_path / "net.prototxt").write_text(
        f'layer {{ name: "street" type: "{kind}" top: "data" top: "label" transform_param {{ {settings} }} {more} }}\n'
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'
    )
    result = command("export", "deploy", "--model", tmp_path / "net.prototxt", tmp_path / "out")
    assert result.status == 0, result.err
    assert ("'street' cuts its pictures out of larger ones" in result.out) == cuts


def test_weights_of_another_net_make_no_file(command, espnet, shared, tmp_path) -> None:
    strangers = shared / "real/lenet-v2/lenet_iter_10000.caffemodel"
    for form, out in (("deploy", f"{tmp_path}/out/"), ("torch", tmp_path / "net.py")):
        result = command("export", form, *espnet, "--weights", strangers, out)
        assert result.status == 2 and "none of its layers is in this net" in result.err
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_no_text_without_weights(command, espnet, tmp_path, monkeypatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise WriteError("no space")

    monkeypatch.setattr("caffecompat.deploy.export_deploy.save_caffemodel", full)
    assert command("export", "deploy", *espnet, f"{tmp_path}/out/").status == 1
    assert not list((tmp_path / "out").iterdir())


def test_many_folded_layers_share_lines(command, shared, tmp_path) -> None:
    folder = shared / "real/vitis-tutorial-05-seg/model/enet"
    words = ["--model", folder / "train_val.prototxt", "--weights", folder / "final_models/pretrained.caffemodel"]
    result = command(
        "export", "deploy", *words, f"{tmp_path}/", "--size", "64x64", "--merge-bn", "--running-statistics"
    )
    assert result.status == 0, result.err
    assert "ConvNd_3 <- BatchNorm_2; ConvNd_4 <- BatchNorm_3; " in result.out
    assert len(result.out.splitlines()) < 40 and max(map(len, result.out.splitlines()[:25])) < 120


def test_vitis(command, shared, tmp_path) -> None:
    folder = shared / "real/vitis-tutorial-05-seg/model/enet"
    words = ["--model", folder / "train_val.prototxt", "--weights", folder / "final_models/pretrained.caffemodel"]
    words += ["--size", "64x64", "--softmax", "--for", "vitis", "--calibration", "some.txt", "--root-folder", "pics/"]
    result = command("export", "deploy", *words, f"{tmp_path}/", "--running-statistics")
    assert result.status == 0, result.err
    net = read_net(tmp_path / "float.prototxt")
    published = read_net(shared / "real/vitis-tutorial-05-seg/VAI/enet/float.prototxt")
    data, theirs = net.layer[0], published.layer[0]
    assert (data.type, list(data.top), data.include) == (theirs.type, list(theirs.top), theirs.include)
    assert data.transform_param.mean_value == theirs.transform_param.mean_value
    assert data.image_data_param.source == "some.txt" and data.image_data_param.root_folder == "pics/"
    assert [(ours.type, ours.bottom, ours.top) for ours in net.layer][1:-1] == [
        (layer.type, layer.bottom, layer.top) for layer in published.layer
    ][1:-1]
    assert "stored statistics instead of each batch's, on random input: prob:" in result.out
    assert "checked on random input" not in result.out  # nothing else was changed


def test_vitis_with_resizes(command, shared, tmp_path) -> None:
    """DeephiResize in place of bilinear Deconvolutions: other numbers at the border, and the report says how far."""
    folder = shared / "real/vitis-tutorial-05-seg/model/enet"
    words = ["--model", folder / "train_val.prototxt", "--weights", folder / "final_models/pretrained.caffemodel"]
    words += ["--size", "64x64", f"{tmp_path}/", "--resize-bilinear"]
    refused = command("export", "deploy", *words)
    assert refused.status == 2 and "--for vitis" in refused.err
    result = command("export", "deploy", *words, "--for", "vitis")
    assert result.status == 0, result.err
    net = read_net(tmp_path / "float.prototxt")
    assert [layer.name for layer in net.layer if layer.type == "DeephiResize"] == [
        "UpsamplingBilinear2d_1", "UpsamplingBilinear2d_2"
    ]  # fmt: skip
    assert sum(layer.type == "Deconvolution" for layer in net.layer) == 3
    note = next(line for line in result.out.splitlines() if line.startswith("UpsamplingBilinear2d_1: "))
    border = re.search(r"outermost 2 pixels, .* by up to (\d+)% of the bottom's range .*, inside by (\S+)$", note)
    assert border is not None and 30 < int(border[1]) < 50 and float(border[2]) < 1e-5
    assert "checked on random input: ConvNd_91: largest difference" in result.out


def test_tidl_gets_bvlc_layers_and_its_configuration(command, espnet, tmp_path) -> None:
    result = command("export", "deploy", *espnet, tmp_path / "net", "--argmax", "--for", "tidl-caffe")
    assert result.status == 0, result.err
    net = read_net(tmp_path / "net.prototxt")
    norms = [layer for layer in net.layer if layer.type == "BatchNorm"]
    assert len(norms) == 16 and all(not layer.batch_norm_param.HasField("scale_filler") for layer in norms)
    stored = {layer.name: layer for layer in open_weights(tmp_path / "net.caffemodel").layers}
    assert [len(stored[f"BatchNorm_4{end}"].blobs) for end in ("", "_scale")] == [3, 2]
    lines = (tmp_path / "net_tidl_import.txt").read_text().splitlines()
    settings = dict(line.replace(" ", "").split("=") for line in lines if not line.startswith(("#", "inMean", "inSc")))
    assert settings["inWidth"] == "64" and settings["inHeight"] == "32" and settings["modelType"] == "0"
    assert "inMean           = 73 82 72" in lines and "inScale          = 0.022 0.022 0.022" in lines


def test_what_a_tool_cannot_do_is_told(command, shared, tmp_path) -> None:
    folder = shared / "real/vitis-tutorial-05-seg/model/enet"
    words = ["--model", folder / "train_val.prototxt", "--weights", folder / "final_models/pretrained.caffemodel"]
    result = command("export", "deploy", *words, f"{tmp_path}/out/", "--size", "64x64", "--for", "tidl-caffe")
    assert result.status == 2 and "normalizes by each batch" in result.err and "--running-statistics" in result.err
    theirs = shared / "real/timosaemann-enet/prototxts/enet_train_encoder_decoder.prototxt"
    result = command("export", "deploy", "--model", theirs, f"{tmp_path}/out/", "--size", "64x64", "--for", "vitis")
    assert result.status == 0
    warnings = [line.split(": ", 2)[2] for line in result.out.splitlines() if line.startswith("warning: --for vitis")]
    assert sorted(line.split(":")[0] for line in warnings) == [
        f"that tool has no layer {kind}" for kind in ("BN", "Python", "Upsample")
    ]


def test_tidl_takes_the_channels_of_a_mean_picture(command, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    net, size = tmp_path / "train_val.prototxt", ["--size", "6x4"]
    net.write_text(
        'layer { name: "data" type: "Data" top: "data" top: "label" transform_param { mean_file: "mean.binaryproto" } '
        'data_param { source: "none" batch_size: 2 backend: LMDB } } layer { name: "conv" type: "Convolution" '
        'bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 1 } }'
    )
    assert command("export", "deploy", "--model", net, "plain", *size).status == 0
    Net("plain.prototxt", pb.TEST, log=False).save("net.caffemodel")
    words = ["--model", net, "--weights", "net.caffemodel", "tidl", "--for", "tidl-caffe", *size]
    result = command("export", "deploy", *words)
    assert result.status == 0 and "inMean is 0" in result.out
    write_mean("mean.binaryproto", np.arange(3, dtype=np.float32).reshape(3, 1, 1) * np.full((1, 4, 6), 10, np.float32))
    result = command("export", "deploy", *words)
    assert result.status == 0 and "takes no mean picture" in result.out
    assert "inMean           = 0 10 20\n" in Path("tidl_tidl_import.txt").read_text()


@pytest.mark.parametrize("target", ["vitis", "tidl-caffe"])
def test_tools_want_pictures(target: str, command, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 30 } } }'
        'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 4 } }'
    )
    Net("net.prototxt", pb.TEST, log=False).save("net.caffemodel")
    words = ["--model", "net.prototxt", "--weights", "net.caffemodel", "out/", "--for", target]
    result = command("export", "deploy", *words)
    assert result.status == 2 and "its inputs are data (2, 30)" in result.err


@pytest.mark.parametrize(
    "words, problem",
    [
        (["--head-name", "best"], "--head-name needs --softmax or --argmax"),
        (["--root-folder", "pics/"], "--root-folder needs --for vitis"),
        (["--batch", "0"], "argument --batch: 0 must be at least 1"),
    ],
)
def test_flags_without_a_sense(words: list[str], problem: str, command) -> None:
    result = command("export", "deploy", "--model", "net.prototxt", "out/", *words)
    assert result.status == 2 and problem in result.err


def test_without_weights_only_text_is_written(command, streets) -> None:
    assert command("export", "deploy", "--model", "train_val.prototxt", "new/net").status == 0
    assert [path.name for path in Path("new").iterdir()] == ["net.prototxt"]
    refused = command("export", "deploy", "--model", "train_val.prototxt", "new/net", "--merge-bn")
    assert refused.status == 2 and "needs --weights" in refused.err


def test_merge_bn(command, shared, tmp_path) -> None:
    folder = shared / ESPNET
    outputs = tmp_path / "m.prototxt", tmp_path / "m.caffemodel"
    small = tmp_path / "deploy.prototxt"
    small.write_text((folder / "deploy.prototxt").read_text().replace("dim: 512", "dim: 32").replace("1024", "64"))
    weights = folder / "final_models/pretrained.caffemodel"
    result = command("merge-bn", small, weights, *outputs)
    assert result.status == 0, result.err
    assert "folded 4 layers into 4" in result.out
    assert "BatchNorm_18: in the layers before '" in result.out
    assert "it would leave 'Threshold_17' (ReLU) after the Concat, where the DPU runs none" in result.out
    assert "'Concat_1' (Concat) before it joins 'BatchNorm_1', which cannot take its part: 'Threshold_1'" in result.out
    refused = command("merge-bn", folder / "train_val.prototxt", weights, *outputs)
    assert refused.status == 2 and "export deploy --merge-bn" in refused.err


SEPARABLE = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 12 dim: 12 } } }
layer { name: "mean" type: "BatchNorm" bottom: "data" top: "mean" }
layer { name: "conv0" type: "Convolution" bottom: "mean" top: "conv0"
  convolution_param { num_output: 8 kernel_size: 2 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "conv1/dw" type: "Convolution" bottom: "conv0" top: "conv1/dw"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 group: 8 weight_filler { type: "xavier" } } }
layer { name: "conv1/dw/bn" type: "BatchNorm" bottom: "conv1/dw" top: "conv1/dw" }
layer { name: "conv1/dw/scale" type: "Scale" bottom: "conv1/dw" top: "conv1/dw" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv1/dw" top: "conv1/dw" }
layer { name: "conv1/sep" type: "Convolution" bottom: "conv1/dw" top: "conv1/sep"
  convolution_param { num_output: 6 kernel_size: 1 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "other" type: "Convolution" bottom: "conv0" top: "other"
  convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "cat" type: "Concat" bottom: "conv1/sep" bottom: "other" top: "cat" }
layer { name: "cat/bn" type: "BatchNorm" bottom: "cat" top: "cat/bn" }
layer { name: "cat/relu" type: "ReLU" bottom: "cat/bn" top: "cat/bn" relu_param { negative_slope: 0.1 } }
layer { name: "last/bn" type: "BatchNorm" bottom: "cat/bn" top: "last" }
"""


def test_what_merge_bn_tells(command, tmp_path) -> None:
    """In place, after a Concat, in front of a layer; and what stays, with the reason."""
    model, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    model.write_text(SEPARABLE)
    net = Net(model, pb.TEST, log=False)
    torch.manual_seed(1)
    for layer in net.layers:
        for slot in layer.slots:
            if layer.type in ("BatchNorm", "Scale"):
                slot.tensor().uniform_(0.3, 1.7)
    net.save(weights)
    outputs = tmp_path / "m.prototxt", tmp_path / "m.caffemodel"
    result = command("merge-bn", model, weights, *outputs)
    assert result.status == 0, result.err
    told = result.out.splitlines()
    assert told[:8] == [
        "folded 4 layers into 4",
        "  conv1/dw <- conv1/dw/bn, conv1/dw/scale",
        "  conv1/sep <- cat/bn",
        "  other <- cat/bn",
        "  conv0 <- mean (before it)",
        "1 layer stays as it is:",
        "  last/bn: 'cat/relu' (ReLU) before it has no weights to take it; what it makes is an output of the net",
        told[7],
    ]
    assert told[7].startswith("checked on random input: last: largest difference")
    merged = read_net(outputs[0])
    assert [layer.name for layer in merged.layer if layer.type == "BatchNorm"] == ["last/bn"]
    stored = {layer.name: layer.blobs for layer in open_weights(outputs[1]).layers}
    assert [len(stored[name]) for name in ("conv0", "conv1/dw", "conv1/sep", "other")] == [2, 2, 2, 2]


def test_export_torch(command, tmp_path) -> None:
    model = Path(__file__).resolve().parents[4] / "models/lenet/deploy.prototxt"
    result = command("export", "torch", "--model", model, tmp_path / "lenet.py")
    assert result.status == 0, result.err
    assert "checked on random input: prob: largest difference" in result.out
    assert (tmp_path / "lenet.pt").is_file() and "no --weights: these are initial values" in result.out
    assert command("export", "torch", "--model", model, tmp_path / "lenet").status == 2


PICTURES = """
layer { name: "data" type: "ImageData" top: "data" top: "label" transform_param { mean_file: "mean.binaryproto" }
  image_data_param { source: "list.txt" root_folder: "img/" batch_size: 2 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "detect" type: "InfogainLoss" bottom: "conv" bottom: "label" top: "loss" }
"""


@pytest.fixture
def pictures(tmp_path, monkeypatch) -> Path:
    """train/ with a net, its list, pictures and mean file; the current directory is its parent."""
    (tmp_path / "train/img").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for index in range(2):
        data = encode_picture(np.full((4, 6, 3), index, np.uint8), ".png")
        assert data is not None
        Path(f"train/img/{index}.png").write_bytes(data)
    Path("train/list.txt").write_text("0.png 0\n1.png 1\n")
    Path("train/plain.txt").write_text("0.png\n1.png\n")
    Path("train/net.prototxt").write_text(PICTURES)
    write_mean("train/mean.binaryproto", np.full((3, 4, 6), 2, np.float32))
    return tmp_path


@pytest.mark.parametrize("out", ["out/deep/", "train/out/", "train/", "out"])
@pytest.mark.parametrize("target", ["", "vitis", "tidl-caffe"])
def test_paths_lead_from_where_the_files_are(pictures: Path, command, out: str, target: str) -> None:
    words = ["export", "deploy", "--model", "train/net.prototxt", "--size", "6x4"]
    assert command(*words, "plain").status == 0
    Net("plain.prototxt", pb.TEST, log=False).save("net.caffemodel")
    words += ["--weights", "net.caffemodel", out]
    words += ["--for", target, "--calibration", "train/plain.txt"] if target else []
    words += ["--root-folder", "train/img/"] if target == "vitis" else []
    result = command(*words)
    assert result.status == 0, result.err
    stem = Path(out) / ("float" if target == "vitis" else "deploy") if out.endswith("/") else Path(out)
    layer = read_net(f"{stem}.prototxt").layer[0]
    assert (stem.parent / layer.transform_param.mean_file).samefile("train/mean.binaryproto")
    assert not Path(layer.transform_param.mean_file).is_absolute()
    if target == "vitis":
        source = layer.image_data_param
        assert source.source == f"{stem.name}_calibration.txt"
        assert (stem.parent / source.source).read_text() == "0.png 0\n1.png 0\n"
        assert (stem.parent / source.root_folder).samefile("train/img") and source.root_folder.endswith("/")
        net = Net(f"{stem}.prototxt", pb.TRAIN, log=False, sources=make_source, weights=f"{stem}.caffemodel")
        assert net.blob_shapes["data"] == (1, 3, 4, 6)
        net.close()
    if target == "tidl-caffe":
        prefix = f"{stem.name}_" if not out.endswith("/") else ""
        lines = (stem.parent / f"{prefix}tidl_import.txt").read_text().splitlines()
        settings = {name.strip(): value.strip().strip('"') for name, _, value in (x.partition("=") for x in lines)}
        assert (stem.parent / settings["inData"]).samefile("train/plain.txt")
        assert (stem.parent / settings["inputNetFile"]).samefile(f"{stem}.prototxt")
        assert (stem.parent / settings["inputParamsFile"]).samefile(f"{stem}.caffemodel")


def test_paths_of_a_merged_net_lead_from_it(pictures: Path, command) -> None:
    words = ["export", "deploy", "--model", "train/net.prototxt", "--size", "6x4", "train/deploy"]
    assert command(*words).status == 0
    Net("train/deploy.prototxt", pb.TEST, log=False).save("net.caffemodel")
    Path("out").mkdir()
    assert (
        command("merge-bn", "train/deploy.prototxt", "net.caffemodel", "out/m.prototxt", "out/m.caffemodel").status == 0
    )
    assert read_net("out/m.prototxt").layer[0].transform_param.mean_file == "../train/mean.binaryproto"
