"""Exported Python files: layer by layer, and whole nets in an interpreter that knows torch alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat.compare.nets import TOLERANCE, compare_outputs, random_inputs
from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.deploy.torch_source.source import load_source, make_source, write_source
from caffecompat.errors import CaffeCompatError
from caffecompat.net import Net
from caffecompat.schema import NetDocument, open_net, pb
from tests.net.nets import make_net

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 6 dim: 9 dim: 7 } } }'
WEIGHT = 'weight_filler { type: "gaussian" std: 0.2 }'
FILLER = WEIGHT + ' bias_filler { type: "uniform" }'
AFFINE = 'scale_filler { type: "constant" value: 1 } bias_filler { type: "constant" }'
LAYERS = {
    "Convolution": f"convolution_param {{ num_output: 4 kernel_h: 3 kernel_w: 2 pad: 1 stride: 2 group: 2 {FILLER} }}",
    "Convolution wide": f"convolution_param {{ num_output: 4 kernel_size: 3 dilation: 2 bias_term: false {WEIGHT} }}",
    "Deconvolution": f"convolution_param {{ num_output: 4 kernel_size: 4 pad: 1 stride: 2 group: 2 {FILLER} }}",
    "InnerProduct": f"inner_product_param {{ num_output: 4 {FILLER} }}",
    "InnerProduct transposed": f"inner_product_param {{ num_output: 4 transpose: true axis: 2 {FILLER} }}",
    "BatchNorm": "",
    "BatchNorm xilinx": f"batch_norm_param {{ {AFFINE} }}",
    "BatchNorm jacinto": "batch_norm_param { scale_bias: true }",
    "BatchNorm by batch": f"batch_norm_param {{ use_global_stats: false {AFFINE} }}",
    "BN": "bn_param { bn_mode: INFERENCE }",
    "BN by batch": "bn_param { bn_mode: LEARN }",
    "BN pspnet": "bn_param { momentum: 0.9 }",
    "Scale": "scale_param { bias_term: true }",
    "Scale rows": "scale_param { axis: 2 num_axes: 1 }",
    "Bias": "",
    "PReLU": "",
    "PReLU shared": "prelu_param { channel_shared: true }",
    "Normalize": "norm_param { across_spatial: false channel_shared: false }",
    "Normalize whole": "",
    "ReLU": "",
    "ReLU leaky": "relu_param { negative_slope: 0.1 }",
    "ReLU6": "relu_param { negative_slope: 0.1 }",
    "ELU": "elu_param { alpha: 0.7 }",
    "ELU scaled": "elu_param { lambda: 1.05 alpha: 1.7 }",
    "Sigmoid": "",
    "TanH": "",
    "BNLL": "",
    "AbsVal": "",
    "Softmax": "softmax_param { axis: -1 }",
    "DropPath": "drop_path_param { drop_prob: 0.3 }",
    "Dropout": "",
    "Dropout scaled in TEST": "dropout_param { dropout_ratio: 0.3 scale_train: false }",
    "Upsample without a mask": "upsample_param { scale: 3 }",
    "Swish": "swish_param { beta: 0.7 }",
    "Mish": "",
    "HardSigmoid": "",
    "HardSigmoid steeper": "hardsigmoid_param { alpha: 0.3 beta: 0.4 }",
    "HardSwish": "",
    "HSwish": "",
    "SiLU": "",
    "GELU": "",
    "Flip": "flip_param { flip_height: true }",
    "Reverse": "reverse_param { axis: 1 }",
    "ShuffleChannel": "shuffle_channel_param { group: 2 }",
    "Clip": "clip_param { min: -1 max: 2.5 }",
    "Threshold": "threshold_param { threshold: 0.3 }",
    "Power": "power_param { power: 2 scale: -0.3 shift: 0.022 }",
    "Exp": "exp_param { base: 2 scale: 0.5 }",
    "Log": "log_param { base: 10 scale: 0 shift: 3.5 }",
    "LRN": "lrn_param { local_size: 3 alpha: 0.1 k: 2 }",
    "LRN within": "lrn_param { local_size: 3 alpha: 0.1 norm_region: WITHIN_CHANNEL }",
    "MVN": "",
    "MVN whole": "mvn_param { across_channels: true normalize_variance: false }",
    "Pooling MAX": "pooling_param { kernel_size: 2 stride: 2 }",
    "Pooling MAX ragged": "pooling_param { kernel_size: 2 stride: 3 }",
    "Pooling AVE": "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }",
    "Pooling AVE ragged": "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 2 }",
    "Pooling global": "pooling_param { pool: AVE global_pooling: true }",
    "Interp": "interp_param { zoom_factor: 2 pad_beg: -1 }",
    "DeephiResize": "deephi_resize_param { scale_h: 2 scale_w: 2 resize_type: BILINEAR }",
    "ArgMax": "argmax_param { axis: 1 }",
    "Reduction": "reduction_param { operation: SUMSQ axis: 2 coeff: 0.5 }",
    "Flatten": "flatten_param { axis: 2 }",
    "Reshape": "reshape_param { shape { dim: 0 dim: 3 dim: -1 } }",
    "Permute": "permute_param { order: 0 order: 2 order: 3 order: 1 }",
    "Transpose": "transpose_param { dim: 3 dim: 0 dim: 1 dim: 2 }",
    "Tile": "tile_param { tiles: 3 axis: 2 }",
    "SPP": "spp_param { pyramid_height: 2 pool: AVE }",
    "Pooling STOCHASTIC": "pooling_param { pool: STOCHASTIC kernel_size: 3 stride: 2 }",
    "ArgMax of all": "argmax_param { top_k: 3 out_max_val: true }",
    "ArgMax values": "argmax_param { axis: 1 top_k: 2 out_max_val: true }",
    "DeephiResize uneven": "deephi_resize_param { scale_h: 1.5 scale_w: 0.7 }",
    "Im2col": "convolution_param { kernel_size: 3 pad: 1 dilation: 2 }",
    "Convolution of planes": f"convolution_param {{ axis: 2 num_output: 4 kernel_size: 3 {FILLER} }}",
    "ConvolutionFixed": f"convolution_param {{ num_output: 4 kernel_size: 3 {FILLER} }} fixed_param {{ bit_width: 8 }}",
}


def _net(text: str) -> Net:
    net = make_net(text)
    torch.manual_seed(1)
    for layer in net.layers:
        for slot in layer.slots:
            if layer.type in ("BatchNorm", "BN", "Scale", "Bias", "PReLU", "Normalize"):
                slot.tensor().uniform_(0.2, 1.5)
    return net


def _check(net: Net, folder: Path) -> str:
    source = make_source(net)
    path = f"{folder}/made.py"
    write_source(source, path)
    inputs = random_inputs(net)
    with torch.no_grad():
        made = load_source(path)(*(inputs[blob] for blob in source.inputs))
        theirs = source.tops(made)
        differences = compare_outputs(net, net.forward(inputs), theirs)
    assert {difference.blob for difference in differences} == set(net.outputs)
    assert all(difference.relative <= TOLERANCE for difference in differences), differences
    return source.text


def test_weights_that_cannot_be_written_leave_no_file(tmp_path: Path) -> None:
    source = make_source(_net(f'{INPUT} layer {{ name: "x" type: "PReLU" bottom: "data" top: "y" }}'), "net.prototxt")
    (tmp_path / "net.pt").mkdir()
    with pytest.raises(CaffeCompatError, match=r"net.pt: cannot be written"):
        write_source(source, str(tmp_path / "net.py"))
    assert os.listdir(tmp_path) == ["net.pt"]


def test_layers_of_one_name_are_modules_of_two(tmp_path: Path) -> None:
    text = f'{INPUT} layer {{ name: "x" type: "PReLU" bottom: "data" top: "y" }}'
    text += ' layer { name: "x" type: "ReLU" bottom: "y" top: "z" }'
    text += ' layer { name: "x" type: "Pooling" bottom: "z" top: "p" pooling_param { kernel_size: 3 stride: 2 } }'
    assert "self.x_2 = nn.MaxPool2d" in _check(_net(text), tmp_path)


@pytest.mark.parametrize("case", LAYERS)
def test_a_layer_computes_the_same(case: str, tmp_path: Path) -> None:
    kind = case.split()[0]
    text = f'{INPUT} layer {{ name: "in" type: "{kind}" bottom: "data" top: "lambda" {LAYERS[case]} }}'
    _check(_net(text), tmp_path)  # names that Python keeps to itself


COMBINING = """
layer { name: "1/a" type: "Slice" bottom: "data" top: "1/a" top: "1_a" slice_param { slice_point: 3 } }
layer { name: "sum" type: "Eltwise" bottom: "1/a" bottom: "1_a" top: "sum" eltwise_param { coeff: -1 coeff: 0.5 } }
layer { name: "max" type: "Eltwise" bottom: "1/a" bottom: "1_a" bottom: "sum" top: "max"
  eltwise_param { operation: MAX } }
layer { name: "prod" type: "Eltwise" bottom: "max" bottom: "sum" top: "prod" eltwise_param { operation: PROD } }
layer { name: "cat" type: "Concat" bottom: "prod" bottom: "max" top: "cat" concat_param { axis: 2 } }
layer { name: "pool" type: "Pooling" bottom: "cat" top: "pool" top: "mask" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "up" type: "Upsample" bottom: "pool" bottom: "mask" top: "up"
  upsample_param { upsample_h: 18 upsample_w: 7 } }
layer { name: "crop" type: "Crop" bottom: "up" bottom: "max" top: "crop" crop_param { axis: 2 offset: 0 } }
layer { name: "factor" type: "Pooling" bottom: "crop" top: "factor" pooling_param { global_pooling: true } }
layer { name: "flat" type: "Flatten" bottom: "factor" top: "flat" }
layer { name: "axpy" type: "Axpy" bottom: "factor" bottom: "crop" bottom: "max" top: "axpy" }
layer { name: "relu" type: "ReLU" bottom: "axpy" top: "axpy" }
layer { name: "first" type: "InnerProduct" bottom: "axpy" top: "first" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "second" type: "InnerProduct" bottom: "crop" top: "second" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
"""


def test_blobs_of_several_layers_and_shared_weights(tmp_path: Path) -> None:
    text = _check(_net(INPUT + COMBINING), tmp_path)
    assert (
        "self.second.weight = self.first.weight" in text
        and "axpy = self.relu(torch.addcmul(max, factor, crop))" in text
    )


def test_an_input_that_is_resized_in_place_comes_in_its_own_size(tmp_path: Path) -> None:
    resize = "deephi_resize_param { scale_h: 2 scale_w: 3 }"
    net = _net(f'{INPUT} layer {{ name: "up" type: "DeephiResize" bottom: "data" top: "data" {resize} }}')
    assert f"data: {net.fed_shapes['data']}" in _check(net, tmp_path)
    assert net.fed_shapes["data"] != net.blob_shapes["data"]


def test_what_has_no_counterpart_is_named_at_once() -> None:
    text = INPUT + 'layer { name: "a" type: "EuclideanLoss" bottom: "data" bottom: "data" top: "a" }'
    text += 'layer { name: "b" type: "Accuracy" bottom: "data" bottom: "data" top: "b" accuracy_param { axis: -1 } }'
    net = _net(text.replace("dim: 2 dim: 6 dim: 9 dim: 7", "dim: 2 dim: 1"))
    with pytest.raises(
        CaffeCompatError, match=r"a \(EuclideanLoss\): .* is a loss.*\n  b \(Accuracy\): .* computes metrics"
    ):
        make_source(net)


ODD = """
layer { name: "conv1/7x7_s2" type: "Convolution" bottom: "data" top: "conv1/7x7_s2"
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "3_relu" type: "ReLU" bottom: "conv1/7x7_s2" top: "conv1/7x7_s2" }
layer { name: "class" type: "Convolution" bottom: "conv1/7x7_s2" top: "class"
  convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "conv1_7x7_s2" type: "Convolution" bottom: "class" top: "conv1_7x7_s2"
  convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "" type: "TanH" bottom: "conv1_7x7_s2" top: "" }
layer { name: "\303\244" type: "Sigmoid" bottom: "" top: "l" }
layer { name: "forward" type: "ReLU6" bottom: "l" top: "torch" }
layer { name: "float" type: "ReLU" bottom: "torch" top: "a \\"quoted\\" {name}" }
layer { name: "\303\266" type: "Sigmoid" bottom: "l" top: "\303\266" }
"""


def test_names_that_are_no_names_in_python(tmp_path: Path) -> None:
    text = _check(_net(INPUT + ODD), tmp_path)
    for line in (
        "conv1_7x7_s2 = self._3_relu(self.conv1_7x7_s2(data))",
        "class_ = self.class_(conv1_7x7_s2)",
        "conv1_7x7_s2_ = self.conv1_7x7_s2_(class_)",
        "TanH = self.TanH(conv1_7x7_s2_)",
        "l_ = self.Sigmoid(TanH)",
        "torch_ = self.forward_(l_)",
        "a__quoted___name_ = self.float_(torch_)",
        "Sigmoid = self.Sigmoid_(l_)",
    ):
        assert f"        {line}\n" in text
    _lint(tmp_path / "made.py")


def _lint(*paths: Path) -> None:
    """What a linter with its default rules, and a formatter, say to the files."""
    ruff = f"{os.path.dirname(sys.executable)}/ruff"
    if not os.path.exists(ruff):
        pytest.skip("ruff is not installed")
    for words in (["check"], ["format", "--check", "--line-length=120"]):
        done = subprocess.run([ruff, *words, "--isolated", *paths], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_what_a_silent_branch_computes_is_left_out(tmp_path: Path) -> None:
    text = INPUT + 'layer { name: "a" type: "ReLU" bottom: "data" top: "a" }'
    text += 'layer { name: "b" type: "TanH" bottom: "a" top: "b" } layer { name: "s" type: "Silence" bottom: "b" }'
    text += 'layer { name: "c" type: "AbsVal" bottom: "a" top: "c" }'
    assert "self.b" not in _check(_net(text), tmp_path)
    _lint(tmp_path / "made.py")


SIZES = """
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "thin" type: "Pooling" bottom: "pool" top: "thin" top: "mask" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "up" type: "Upsample" bottom: "thin" bottom: "mask" top: "up" }
layer { name: "crop" type: "Crop" bottom: "up" bottom: "thin" top: "crop" crop_param { offset: 1 } }
layer { name: "wide" type: "Pooling" bottom: "pool" top: "wide" pooling_param { kernel_size: 1 stride: 3 } }
layer { name: "zoom" type: "Interp" bottom: "crop" top: "zoom" interp_param { zoom_factor: 2 } }
layer { name: "back" type: "Interp" bottom: "thin" bottom: "data" top: "back" }
layer { name: "slice" type: "Slice" bottom: "zoom" top: "s1" top: "s2" slice_param { axis: 2 slice_point: 2 } }
layer { name: "prior" type: "PriorBox" bottom: "zoom" bottom: "data" top: "prior"
  prior_box_param { min_size: 4 max_size: 7 aspect_ratio: 2 clip: true } }
layer { name: "spp" type: "SPP" bottom: "data" top: "spp" spp_param { pyramid_height: 3 } }
layer { name: "shape" type: "Reshape" bottom: "s2" top: "shape" reshape_param { shape { dim: 0 dim: 0 dim: -1 } } }
layer { name: "weigh" type: "Pooling" bottom: "zoom" top: "weigh" pooling_param { pool: AVE global_pooling: true } }
layer { name: "axpy" type: "Axpy" bottom: "weigh" bottom: "zoom" bottom: "zoom" top: "axpy" }
"""


def test_the_file_takes_other_batches_and_sizes(tmp_path: Path) -> None:
    """Made at one size, run at another: what Caffe computes from its bottoms the file computes too."""
    source = make_source(_net(INPUT + SIZES))
    write_source(source, f"{tmp_path}/made.py")
    made = load_source(f"{tmp_path}/made.py")
    for shape in ("3 dim: 6 dim: 14 dim: 11", "1 dim: 6 dim: 21 dim: 16"):
        net = _net(INPUT.replace("2 dim: 6 dim: 9 dim: 7", shape) + SIZES)
        inputs = random_inputs(net)
        with torch.no_grad():
            ours, theirs = net.forward(inputs), made(inputs["data"])
        for difference in compare_outputs(net, ours, theirs):
            assert difference.relative <= TOLERANCE, difference
        assert all(ours[blob].shape == theirs[blob].shape for blob in net.outputs)


def test_torch_can_trace_what_was_written(tmp_path: Path) -> None:
    net = _net(INPUT + COMBINING[: COMBINING.index('layer { name: "first"')])
    write_source(make_source(net), f"{tmp_path}/made.py")
    made, data = load_source(f"{tmp_path}/made.py"), random_inputs(net)["data"]
    with torch.no_grad():
        wanted = made(data)
        for other in (torch.fx.symbolic_trace(made), torch.export.export(made, (data,)).module()):
            assert all(torch.equal(values, wanted[blob]) for blob, values in other(data).items())


NETS = {
    "LeNet": ("bvlc/examples/mnist/lenet", None, None),
    "GoogLeNet": ("bvlc/models/bvlc_googlenet/deploy", None, None),
    "ESPNet": ("vitis-tutorial-05-seg/model/espnet/deploy", "final_models/pretrained.caffemodel", (64, 128)),
    "ENet": ("vitis-tutorial-05-seg/model/enet/deploy", "final_models/pretrained.caffemodel", (128, 128)),
    "JSegNet21": ("jacinto-models/image_segmentation/cityscapes5_jsegnet21v2/test/deploy", None, (64, 128)),
    "JDetNet": (
        "jacinto-models/object_detection/voc0712/JDetNet/ssd768x320_ds_PSP_dsFac_32_hdDS8_0/test_quantize/deploy",
        None,
        (128, 256),
    ),
    "VGG16-SSD": ("vitis-tutorial-14-ssd/workspace/VGG16-SSD/deploy", None, None),
}


def _statistics(net: Net) -> None:
    """Numbers of a trained net's size for normalizations, whose variance is 0 otherwise."""
    for layer in net.layers:
        for slot in layer.slots if layer.type == "BatchNorm" else ():
            slot.tensor().uniform_(0.8, 1.2)


RUNNER = """
import importlib.util, sys
import torch
torch.set_num_threads(1)
for path in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("made", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    inputs = torch.load(path + ".inputs", weights_only=True)
    with torch.no_grad():
        torch.save(module.load()(*inputs), path + ".outputs")
assert not [name for name in sys.modules if name.startswith(("caffecompat", "google.protobuf"))]
"""


def test_whole_nets_where_torch_is_all_there_is(shared: Path, tmp_path: Path, record_property) -> None:
    torch.manual_seed(2)
    expected = {}
    for name, (stem, weights, size) in NETS.items():
        path = shared / "real" / f"{stem}.prototxt"
        document = open_net(path)
        copied = deploy_net(document, size=size, batch=1).message
        copy = NetDocument.from_message(copied, like=document.fork_choice)
        net = Net(copy, pb.TEST, log=False)
        if weights:
            net.load_weights(path.parent / weights)
        else:
            _statistics(net)
        source = make_source(net, path.name)
        write_source(source, f"{tmp_path}/{name}.py")
        inputs = random_inputs(net)
        torch.save([inputs[blob] for blob in source.inputs], tmp_path / f"{name}.py.inputs")
        with torch.no_grad():
            expected[name] = net, net.forward(inputs)
    files = [str(tmp_path / f"{name}.py") for name in NETS]
    _lint(*(tmp_path / f"{name}.py" for name in NETS))
    subprocess.run([sys.executable, "-I", "-c", RUNNER, *files], check=True, cwd=tmp_path, timeout=300)
    for name, (net, ours) in expected.items():
        made = torch.load(tmp_path / f"{name}.py.outputs", weights_only=True)
        (difference,) = compare_outputs(net, ours, {net.outputs[0]: made})
        record_property("line of", ("torch source against the net, random input", f"{name}: {difference.line()}"))
        assert difference.relative <= TOLERANCE, (name, difference)
        assert not np.isnan(made.numpy()).any()


def test_a_file_that_computes_something_else_is_not_kept(tmp_path: Path) -> None:
    source = make_source(_net(f'{INPUT} layer {{ name: "x" type: "PReLU" bottom: "data" top: "y" }}'))
    (tmp_path / "net.py").write_text("old")

    def wrong(written: torch.nn.Module) -> None:
        assert torch.equal(written.x.weight, source.state["x.weight"])
        raise CaffeCompatError("it is wrong")

    with pytest.raises(CaffeCompatError, match="it is wrong"):
        write_source(source, f"{tmp_path}/net.py", wrong)
    assert os.listdir(tmp_path) == ["net.py"] and (tmp_path / "net.py").read_text() == "old"


WINDOWS = "pooling_param { pool: AVE kernel_size: 2 kernel_depth: 2 stride: 3 pad: 1 }"


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((2, 3, 4, 5, 6), f'type: "Pooling3D" {WINDOWS}'),
        ((2, 3, 4, 5, 6), f'type: "Pooling3D" {WINDOWS.replace("AVE", "MAX").replace("pad: 1", "")}'),
        ((4, 3, 2, 2), 'type: "BatchNorm" batch_norm_param { use_global_stats: false stats_batch_size: 2 }'),
        ((2, 3), 'type: "MVN"'),
        ((3, 4), 'type: "ArgMax" argmax_param { top_k: 2 }'),
        ((2, 3, 4, 5, 6), 'type: "ArgMax" argmax_param { top_k: 2 out_max_val: true }'),
        ((2, 3), 'type: "Scale" scale_param { axis: 0 num_axes: 0 }'),
    ],
)
def test_forms_of_layers_that_torch_lacks(shape: tuple[int, ...], layer: str, tmp_path: Path) -> None:
    sizes = " ".join(f"dim: {size}" for size in shape)
    text = f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {sizes} }} }} }}'
    _check(_net(f'{text} layer {{ name: "l" bottom: "data" top: "y" {layer} }}'), tmp_path)
    _lint(tmp_path / "made.py")


RECURRENT = 'recurrent_param { num_output: 4 weight_filler { type: "gaussian" std: 0.5 } }'


@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_recurrent_layers_go_on_from_call_to_call(kind: str, tmp_path: Path) -> None:
    text = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 dim: 2 dim: 5 } } }'
    text += 'layer { name: "c" type: "Input" top: "c" input_param { shape { dim: 3 dim: 2 } } }'
    net = _net(f'{text} layer {{ name: "l" type: "{kind}" bottom: "x" bottom: "c" top: "y" {RECURRENT} }}')
    _check(net, tmp_path)
    made, cont = load_source(f"{tmp_path}/made.py"), torch.ones(3, 2)
    net.layers[-1].module.forget()
    with torch.no_grad():
        for _ in range(3):
            x = torch.randn(3, 2, 5)
            torch.testing.assert_close(made(x, cont), net(x, cont)["y"])
        assert made(torch.randn(3, 1, 5), cont[:, :1]).shape == (3, 1, 4), "another number of streams begins anew"
    _lint(tmp_path / "made.py")


def test_indicators_of_a_net_without_inputs(tmp_path: Path) -> None:
    param = "continuation_indicator_param { time_step: 3 batch_size: 2 }"
    text = _check(_net(f'layer {{ name: "c" type: "ContinuationIndicator" top: "c" {param} }}'), tmp_path)
    assert "Takes, at this batch size:\nGives:" in text
    assert load_source(f"{tmp_path}/made.py")().tolist() == [[0, 0], [1, 1], [1, 1]]
