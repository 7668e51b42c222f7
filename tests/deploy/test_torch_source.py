"""Exported Python files: layer by layer, and whole nets in an interpreter that knows torch alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.deploy.same_numbers import TOLERANCE, compare_outputs, random_inputs
from caffecompat.deploy.torch_source import load_source, make_source, write_source
from caffecompat.errors import CaffeCompatError
from caffecompat.net import Net
from caffecompat.schema import NetDocument, open_net, parse_text, pb

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
    "Dropout": "",
    "Swish": "swish_param { beta: 0.7 }",
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
    "Tile": "tile_param { tiles: 3 axis: 2 }",
}


def _net(text: str) -> Net:
    message = pb.NetParameter()
    parse_text(text, message)
    net = Net(NetDocument.from_message(message), pb.TEST, log=False)
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
        theirs = made if isinstance(made, dict) else {source.outputs[0]: made}
        differences = compare_outputs(net, net.forward(inputs), theirs)
    assert {difference.blob for difference in differences} == set(net.outputs)
    assert all(difference.relative <= TOLERANCE for difference in differences), differences
    return source.text


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
    assert "self.second.weight = self.first.weight" in text and "axpy = self.relu(axpy)" in text


def test_what_has_no_counterpart_is_named_at_once() -> None:
    text = INPUT + 'layer { name: "a" type: "Pooling" bottom: "data" top: "a" '
    text += "pooling_param { pool: STOCHASTIC kernel_size: 2 } }"
    text += 'layer { name: "b" type: "SPP" bottom: "a" top: "b" spp_param { pyramid_height: 1 } }'
    with pytest.raises(CaffeCompatError, match=r"a \(Pooling\): STOCHASTIC pooling\n  b \(SPP\): no counterpart"):
        make_source(_net(text))


NETS = {
    "LeNet": ("bvlc/examples/mnist/lenet", None, None),
    "GoogLeNet": ("bvlc/models/bvlc_googlenet/deploy", None, None),
    "ESPNet": ("vitis-tutorial-05-seg/model/espnet/deploy", "final_models/pretrained.caffemodel", (64, 128)),
    "ENet": ("vitis-tutorial-05-seg/model/enet/deploy", "final_models/pretrained.caffemodel", (128, 128)),
    "JSegNet21": ("jacinto-models/image_segmentation/cityscapes5_jsegnet21v2/test/deploy", None, (64, 128)),
    "VGG16-SSD": ("vitis-tutorial-14-ssd/workspace/VGG16-SSD/deploy", None, None),
}
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
        copy = NetDocument.from_message(deploy_net(document, size=size, batch=1).message)
        copy.dialect = document.dialect
        net = Net(copy, pb.TEST, log=False)
        if weights:
            net.load_weights(path.parent / weights)
        source = make_source(net, path.name)
        write_source(source, f"{tmp_path}/{name}.py")
        inputs = random_inputs(net)
        torch.save([inputs[blob] for blob in source.inputs], tmp_path / f"{name}.py.inputs")
        with torch.no_grad():
            expected[name] = net, net.forward(inputs)
    files = [str(tmp_path / f"{name}.py") for name in NETS]
    subprocess.run([sys.executable, "-I", "-c", RUNNER, *files], check=True, cwd=tmp_path, timeout=300)
    for name, (net, ours) in expected.items():
        made = torch.load(tmp_path / f"{name}.py.outputs", weights_only=True)
        (difference,) = compare_outputs(net, ours, {net.outputs[0]: made})
        record_property("line of", ("torch source against the net, random input", f"{name}: {difference.line()}"))
        assert difference.relative <= TOLERANCE, (name, difference)
        assert np.isfinite(made.numpy()).all()
