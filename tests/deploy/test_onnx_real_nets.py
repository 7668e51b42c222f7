"""Real nets as ONNX: onnxruntime computes what torch computes, and the published pictures come out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from caffecompat.data.preprocess import Preprocess
from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.deploy.onnx.export import ExportOptions
from caffecompat.deploy.onnx.verify import run_model
from caffecompat.deploy.onnx.write import Exported, prepared_net, write_onnx
from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate.segmenter import scores_to_classes
from caffecompat.formats.picture import read_picture
from caffecompat.net import Net
from caffecompat.net.trace import value_names
from caffecompat.report.palette import load_palette
from caffecompat.schema import open_net

# Prototxt, weights ("" are initial values of a seed) and size of the input (height, width) where the whole is slow.
_VITIS, _JACINTO = "vitis-tutorial-05-seg/model", "jacinto-models"
NETS: dict[str, tuple[str, str, tuple[int, int] | None]] = {
    "LeNet": ("bvlc/examples/mnist/lenet.prototxt", "lenet-v2/lenet_iter_10000.caffemodel", None),
    "LeNet, V1 weights": ("bvlc/examples/mnist/lenet.prototxt", "everpeace-v1/mnist/lenet_iter_10000.caffemodel", None),
    "CIFAR-10 quick": (
        "bvlc/examples/cifar10/cifar10_quick.prototxt",
        "bxuan-cifar10/cifar10_quick_iter_4000.caffemodel",
        None,
    ),
    "CIFAR-10 full": ("bvlc/examples/cifar10/cifar10_full.prototxt", "", None),
    "siamese": ("bvlc/examples/siamese/mnist_siamese.prototxt", "", None),
    "AlexNet": ("bvlc/models/bvlc_alexnet/deploy.prototxt", "", None),
    "CaffeNet": ("bvlc/models/bvlc_reference_caffenet/deploy.prototxt", "", None),
    "R-CNN": ("bvlc/models/bvlc_reference_rcnn_ilsvrc13/deploy.prototxt", "", None),
    "GoogLeNet": ("bvlc/models/bvlc_googlenet/deploy.prototxt", "", None),
    "SqueezeNet 1.0": ("squeezenet/SqueezeNet_v1.0/deploy.prototxt", "", None),
    "SqueezeNet 1.1": ("squeezenet/SqueezeNet_v1.1/deploy.prototxt", "", None),
    "MTCNN P-Net": ("mtcnn/det1.prototxt", "mtcnn/det1.caffemodel", None),
    "MTCNN R-Net": ("mtcnn/det2.prototxt", "mtcnn/det2.caffemodel", None),
    "MTCNN O-Net": ("mtcnn/det3.prototxt", "mtcnn/det3.caffemodel", None),
    "Slim-320": ("ultraface/Slim-320/slim-320.prototxt", "ultraface/Slim-320/slim-320.caffemodel", None),
    "WeChat super-resolution": ("wechat-sr/sr.prototxt", "wechat-sr/sr.caffemodel", None),
    "ESPNet": (f"{_VITIS}/espnet/deploy.prototxt", f"{_VITIS}/espnet/final_models/pretrained.caffemodel", (256, 512)),
    "ENet": (f"{_VITIS}/enet/deploy.prototxt", f"{_VITIS}/enet/final_models/pretrained.caffemodel", (256, 512)),
    "FPN": (f"{_VITIS}/FPN/deploy.prototxt", "", (128, 256)),
    "UNet": (f"{_VITIS}/unet-full/deploy.prototxt", "", (64, 128)),
    "UNet lite": (f"{_VITIS}/unet-lite/deploy.prototxt", "", (64, 128)),
    "ENet, TimoSaemann's": ("timosaemann-enet/prototxts/enet_deploy.prototxt", "", (256, 512)),
    "ENet, folded": ("timosaemann-enet/prototxts/enet_deploy_final.prototxt", "", (256, 512)),
    "VGG16-SSD": ("vitis-tutorial-14-ssd/workspace/VGG16-SSD/deploy.prototxt", "", None),
    "JDetNet": (
        f"{_JACINTO}/object_detection/voc0712/JDetNet/ssd768x320_ds_PSP_dsFac_32_hdDS8_0/test_quantize/deploy.prototxt",
        "",
        None,
    ),
    "JSegNet21": (
        f"{_JACINTO}/image_segmentation/cityscapes5_jsegnet21v2/test/deploy.prototxt",
        "",
        (256, 512),
    ),
    "JacintoNet11, CIFAR-10": (
        f"{_JACINTO}/image_classification/cifar10_jacintonet11v2/test/deploy.prototxt",
        "",
        None,
    ),
    "JacintoNet11, ImageNet": (
        f"{_JACINTO}/image_classification/imagenet_jacintonet11v2/test/deploy.prototxt",
        "",
        None,
    ),
    "LSTM language model": ("bvlc-pr2033-lrcn/lstm_lm.deploy.prototxt", "", None),
    "LSTM captions": ("bvlc-pr2033-lrcn/lrcn_word_to_preds.deploy.prototxt", "", None),
    "CIFAR-10 full, sigmoids": ("bvlc/examples/cifar10/cifar10_full_sigmoid_train_test.prototxt", "", (32, 32)),
    "CIFAR-10 full, BatchNorm": ("bvlc/examples/cifar10/cifar10_full_sigmoid_train_test_bn.prototxt", "", (32, 32)),
    "CIFAR-10 full, v0.99": ("bvlc-legacy/v0.99/examples/cifar10/cifar10_full.prototxt", "", None),
    "CIFAR-10 full, v0.9999": ("bvlc-legacy/v0.9999/examples/cifar10/cifar10_full.prototxt", "", None),
    "CIFAR-10 of NVIDIA": ("jacinto-caffe/models/cifar10_nv/cifar10_nv_train_test.prototxt", "", None),
    "MNIST autoencoder": ("bvlc/examples/mnist/mnist_autoencoder.prototxt", "", (28, 28)),
    "MNIST autoencoder, v0.999": (
        "bvlc-legacy/v0.999/examples/mnist/mnist_autoencoder_train.prototxt",
        "",
        (28, 28),
    ),
    "CaffeNet, convolutions only": (
        "bvlc/examples/net_surgery/bvlc_caffenet_full_conv.prototxt",
        "",
        (227, 227),
    ),
    "one convolution": ("bvlc/examples/net_surgery/conv.prototxt", "", None),
    "a net of V0 layers": ("bvlc-testnets/upgrade/TestSimple_2.v0_proto.prototxt", "", (32, 32)),
    "two tops": ("bvlc-testnets/upgrade/TestTwoTops.input_proto.prototxt", "", (32, 32)),
    "losses on shared blobs": ("bvlc-testnets/insert_splits/TestLossInsertion.input_proto.prototxt", "", None),
    "the same, splits written out": (
        "bvlc-testnets/insert_splits/TestLossInsertion.expected_output_proto.prototxt",
        "",
        None,
    ),
    "AlexNet, BatchNorm": ("jacinto-caffe/models/alexnet_bn/train_val.prototxt", "", None),
    "AlexNet, BatchNorm 2": ("jacinto-caffe/models/alexnet_bn/train_val2.prototxt", "", None),
    "ResNet-18": ("jacinto-caffe/models/resnet18/train_val.prototxt", "", None),
    "classification example": ("jacinto-caffe/classification/model/deploy.prototxt", "", None),
    "SSD 300 of COCO": ("jacinto-caffe/models/VGGNet/coco/SSD_300x300/deploy.prototxt", "", None),
    "VGG16-SSD, folded": ("vitis-tutorial-14-ssd/VAI/VGG16-SSD/float.prototxt", "", None),
    "JDetNet, float": (
        f"{_JACINTO}/object_detection/voc0712/JDetNet/ssd768x320_ds_PSP_dsFac_32_hdDS8_0/test/test.prototxt",
        "",
        None,
    ),
    "JSegNet21, train_val": (
        f"{_JACINTO}/image_segmentation/cityscapes5_jsegnet21v2/initial/train.prototxt",
        "",
        (256, 256),
    ),
    "ESPNet's encoder": (
        f"{_VITIS}/espnet/deploy_encoder.prototxt",
        f"{_VITIS}/espnet/encoder_models/pretrained_encoder.caffemodel",
        (256, 512),
    ),
    "ENet's encoder": (
        f"{_VITIS}/enet/deploy_encoder.prototxt",
        f"{_VITIS}/enet/encoder_models/pretrained_encoder.caffemodel",
        (256, 512),
    ),
    "ENet's encoder, TimoSaemann's": ("timosaemann-enet/prototxts/enet_train_encoder.prototxt", "", (128, 256)),
    "ENet, TimoSaemann's train_val": (
        "timosaemann-enet/prototxts/enet_train_encoder_decoder.prototxt",
        "",
        (128, 256),
    ),
}

# Nets that are built like none of these, and why they are not among them; part of the path.
ELSEWHERE = {
    "pycaffe/linreg": "an inner product and a loss in Python",
    "siamese/mnist_siamese_train_test": "pairs of pictures in the channels of one input: the siamese net twice",
    "VGGNet/coco/SSD_300x300/train": "SSD 300 before its detections",
    "JDetNet/ssd768x320_ds_PSP_dsFac_32_hdDS8_0": "JDetNet before its detections",
    "float_test": "the float.prototxt beside it, with DeephiResize in front",
    "insert_splits/TestInsertion": "inner products without num_output, for Caffe's tests of its splits",
    "insert_splits/TestNoInsertion": "inner products without num_output, for Caffe's tests of its splits",
    "insert_splits/TestWithInPlace": "inner products without num_output, for Caffe's tests of its splits",
}


_LINEAR = {"Convolution", "Deconvolution", "Embed", "InnerProduct", "LSTM"}


def seed(net: Net) -> None:
    """Values that keep the numbers in range through any depth, for nets whose weights are not here."""
    torch.manual_seed(1)
    for layer in net.layers:
        for slot in layer.slots:
            blob, shape = slot.tensor(), slot.shape
            if layer.type == "BatchNorm":
                if slot.name == "variance":
                    blob.uniform_(1, 2)
                elif slot.name != "factor":
                    blob.normal_(float(slot.name == "scale"), 0.1)
                else:
                    blob.fill_(1)
            elif layer.type in _LINEAR and len(shape) > 1:
                # Boxes grow with the exponential of what these predict.
                gain = 0.1 if "mbox_loc" in layer.name else 1.4
                blob.normal_(0, gain / math.prod(shape[1:]) ** 0.5)


@pytest.mark.parametrize("name", NETS)
def test_real_net(name: str, shared: Path, tmp_path: Path, record_property) -> None:
    model, weights, size = NETS[name]
    real = shared / "real"
    if not (real / model).exists():
        pytest.skip(f"{model} is not here")
    torch.manual_seed(1)
    batch = None if "lrcn" in model else 1  # the first axis of sequences is time
    done = prepared_net(
        open_net(real / model), str(real / weights) if weights else None, ExportOptions(), size=size, batch=batch
    )
    if not weights:
        seed(done.net)
    path = tmp_path / "net.onnx"
    write_onnx(done, path)
    onnx.checker.check_model(str(path), full_check=True)
    worst = max(done.differences, key=lambda difference: difference.relative)
    text = f"{name}: {len(done.export.model.graph.node)} nodes, {len(done.net.layers)} layers, {worst}"
    record_property("line of", ("real nets through ONNX and onnxruntime", text))
    assert all(difference.allowed for difference in done.differences)
    _check_names(done)


def _check_names(done: Exported) -> None:
    """Every blob of the net is a value of the model by its own name.

    But for priors, which are known beforehand, and the tops of a Split, which are names of one value.
    """
    graph = done.export.model.graph
    values = {info.name for info in [*graph.input, *graph.output, *graph.value_info]}
    known = {layer.name for layer in done.net.layers if layer.type == "PriorBox"}
    for value, name in value_names(done.net, needed_alone=True).items():
        if done.net.layers[value.maker].name in known:
            known.update(reader.name for reader in done.net.layers if value.blob in reader.bottoms)
        else:
            split = done.net.layers[value.maker].type == "Split"
            assert name in values or (split and done.export.values[name] in values), (
                f"{name!r} is no value of the model"
            )
            assert name.partition("@")[0] == (value.blob or "unnamed")


Architecture = tuple[tuple[str, tuple[int | None, ...], bytes], ...]
_SIZES = {"eps", "img_h", "img_size", "img_w", "max_size", "min_size", "num_output", "save_output_param", "step"}


def _architecture(message: Any) -> Architecture:
    """What layers there are and what they read: without names, sizes, fillers, and a Softmax at the end."""
    numbers: dict[str, int] = {}
    made = []
    for layer in message.layer:
        bottoms = tuple(numbers.get(blob) for blob in layer.bottom)
        numbers.update({blob: len(numbers) + at for at, blob in enumerate(layer.top)})
        bare = type(layer)()
        bare.CopyFrom(layer)
        for name in ("name", "type", "bottom", "top", "param", "blobs", "input_param", "transform_param"):
            bare.ClearField(name)
        for _, value in bare.ListFields():
            for part in getattr(value, "DESCRIPTOR", bare.DESCRIPTOR).fields:
                if hasattr(value, "DESCRIPTOR") and (part.name in _SIZES or part.name.endswith("filler")):
                    value.ClearField(part.name)
        made.append((layer.type, bottoms, bare.SerializeToString(deterministic=True)))
    return tuple(made[:-1] if made[-1][0] == "Softmax" else made)


def _deployed(path: Path) -> Architecture | None:
    """The architecture of a net's deploy form; None of what is no net, or whose input nobody knows."""
    for size in (None, (224, 224)):
        try:
            message = deploy_net(open_net(path), size=size).message
        except CaffeCompatError:
            continue
        return _architecture(message)
    return None


def test_every_net_is_here_or_elsewhere(shared: Path, record_property) -> None:
    """All prototxts of ../shared/real: each net is built like one above, or is reported in ELSEWHERE."""
    real = shared / "real"
    covered = {_deployed(real / model) for model, _, _ in NETS.values()}
    paths = sorted(real.rglob("*.prototxt"))
    built = {str(path.relative_to(real)): _deployed(path) for path in paths}
    nets = {path: architecture for path, architecture in built.items() if architecture}
    like = [path for path, architecture in nets.items() if architecture in covered]
    rest = [path for path in nets if path not in like]
    untold = [path for path in rest if not any(part in path for part in ELSEWHERE)]
    text = f"{len(nets)} nets of {len(set(nets.values()))} architectures in {len(paths)} prototxts: {len(like)} are "
    text += f"built like one of {len(covered)} exported here, {len(rest)} are not: "
    record_property(
        "line of", ("real nets through ONNX and onnxruntime", text + "; ".join(dict.fromkeys(ELSEWHERE.values())))
    )
    assert not untold


_PICTURES = {
    "ESPNet": ("espnet", "ESPNet", "ConvNd_85"),
    "ENet": ("enet", "_enet", "ConvNd_91"),
}


@pytest.mark.parametrize("name", _PICTURES)
def test_published_picture(name: str, shared: Path, tmp_path: Path, record_property) -> None:
    folder, suffix, blob = _PICTURES[name]
    tutorial = shared / "real/vitis-tutorial-05-seg"
    photo = read_picture(shared / "real/timosaemann-enet/example_image/munich_000000_000019_leftImg8bit.png")
    prepare = Preprocess(scale=0.022, subtract=(0.284, 0.325, 0.287))
    document = open_net(tutorial / f"model/{folder}/deploy.prototxt")
    layers = [i for i, layer in enumerate(document.message.layer) if layer.type != "Softmax"]
    done = prepared_net(
        document.keeping(layers),
        str(tutorial / f"model/{folder}/final_models/pretrained.caffemodel"),
        ExportOptions(preprocess=prepare, bake=True, rgb=True),
    )
    pixels = Preprocess()(photo, *done.net.blob_shapes["data"][2:])
    path = tmp_path / "net.onnx"
    write_onnx(done, path, inputs={"data": pixels})
    scores = run_model(path, {"data_pixels": pixels[:, ::-1]})[blob]
    drawn = load_palette("cityscapes-swapped").paint(scores_to_classes(torch.from_numpy(scores))[0])
    expected = read_picture(tutorial / f"expected/munich_000000_000019_leftImg8bit{suffix}.png")
    different = int((drawn != expected).any(2).sum())
    record_property("measured", f"published picture through onnxruntime, {name}: {different} pixels differ")
    assert different <= 3
