"""Real nets as ONNX: onnxruntime computes what torch computes, and the published pictures come out."""

from __future__ import annotations

import math
from pathlib import Path

import onnx
import pytest
import torch

from caffecompat.deploy.onnx_export import ExportOptions
from caffecompat.deploy.onnx_verify import run_model
from caffecompat.deploy.onnx_write import prepared_net, write_onnx
from caffecompat.evaluate import Preprocess
from caffecompat.evaluate.segmenter import scores_to_classes
from caffecompat.formats.picture import read_picture
from caffecompat.net import Net
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
}


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
            elif layer.type in ("Convolution", "InnerProduct", "Deconvolution") and len(shape) > 1:
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
    done = prepared_net(
        open_net(real / model), str(real / weights) if weights else None, ExportOptions(), size=size, batch=1
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
