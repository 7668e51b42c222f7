"""train_val to deploy, held against the deploy prototxts that others published for the same nets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat.deploy.deploy_net import DeployError, deploy_net
from caffecompat.net import Net
from caffecompat.schema import NetDocument, open_net, parse_text, pb

TUTORIAL = "vitis-tutorial-05-seg/model"
JACINTO = "jacinto-models"
# train_val, deploy, arguments, layers of the published deploy that are written otherwise
PAIRS = {
    **{
        name: (f"{TUTORIAL}/{name}/train_val", f"{TUTORIAL}/{name}/deploy", {"head": "softmax", "head_name": "score"})
        for name in ("enet", "FPN", "unet-lite", "unet-full")
    },
    **{
        name: (f"bvlc/models/{name}/train_val", f"bvlc/models/{name}/deploy", {"head": "softmax"})
        for name in ("bvlc_googlenet", "bvlc_alexnet", "bvlc_reference_caffenet", "finetune_flickr_style")
    },
    "lenet": (
        "bvlc/examples/mnist/lenet_train_test",
        "bvlc/examples/mnist/lenet",
        {"head": "softmax", "size": (28, 28), "channels": 1},
    ),
    "cifar10_full": (
        "bvlc/examples/cifar10/cifar10_full_train_test",
        "bvlc/examples/cifar10/cifar10_full",
        {"head": "softmax", "size": (32, 32)},
    ),
    "VGG16-SSD": (
        "vitis-tutorial-14-ssd/workspace/VGG16-SSD/train_test_example",
        "vitis-tutorial-14-ssd/workspace/VGG16-SSD/deploy",
        {},
    ),
    "JacintoNet11": (
        f"{JACINTO}/image_classification/cifar10_jacintonet11v2/sparse/train",
        f"{JACINTO}/image_classification/cifar10_jacintonet11v2/sparse/deploy",
        {"head": "softmax", "size": (32, 32)},
    ),
    "JSegNet21": (
        f"{JACINTO}/image_segmentation/cityscapes5_jsegnet21v2/test/test",
        f"{JACINTO}/image_segmentation/cityscapes5_jsegnet21v2/test/deploy",
        {"head": "argmax", "size": (512, 1024), "head_name": "argMaxOut"},
    ),
}
# What does not change the numbers at inference, and is written by some and not by others.
_SILENT = ("param", "include", "exclude", "phase", "propagate_down", "loss_weight", "name")


def _computing(message) -> list:
    layers = []
    for given in message.layer:
        if given.type in ("Dropout", "Input"):
            continue
        layer = pb.LayerParameter()
        layer.CopyFrom(given)
        for name in _SILENT:
            layer.ClearField(name)
        for settings in (layer.convolution_param, layer.inner_product_param):
            for field in ("weight_filler", "bias_filler"):
                settings.ClearField(field)
        for name in ("convolution_param", "inner_product_param"):
            if not getattr(layer, name).ListFields():
                layer.ClearField(name)
        layers.append(layer)
    return layers


@pytest.mark.parametrize("name", PAIRS)
def test_a_train_val_gives_the_published_deploy(shared: Path, name: str) -> None:
    train, published, arguments = PAIRS[name]
    made = _computing(deploy_net(open_net(shared / "real" / f"{train}.prototxt"), **arguments).message)
    theirs = _computing(open_net(shared / "real" / f"{published}.prototxt").message)
    if name == "VGG16-SSD":  # the test net alone saves result files, and keeps less likely boxes
        for layer in (*made, *theirs):
            layer.detection_output_param.ClearField("save_output_param")
            layer.detection_output_param.nms_param.nms_threshold = 0.45  # 0.449999988 there
            layer.detection_output_param.ClearField("confidence_threshold")
            if layer.type != "DetectionOutput":
                layer.ClearField("detection_output_param")
    if name == "JSegNet21":  # axis 1 is stated here
        assert made[-1].argmax_param == theirs[-1].argmax_param
    assert made == theirs


@pytest.mark.parametrize("name", ["espnet", "enet", "lenet"])
def test_our_own_models_give_their_deploy(name: str) -> None:
    folder = Path(__file__).resolve().parents[2] / "models" / name
    size = {"size": (28, 28), "channels": 1, "batch": 64} if name == "lenet" else {"size": (512, 1024)}
    head = "prob" if name == "lenet" else "score"
    made = deploy_net(open_net(folder / "train_val.prototxt"), head="softmax", head_name=head, **size)
    published = open_net(folder / "deploy.prototxt").message
    assert made.message.name == published.name
    assert list(made.message.layer) == list(published.layer)


def _net(text: str) -> NetDocument:
    message = pb.NetParameter()
    parse_text(text, message)
    return NetDocument.from_message(message)


BASE = """
layer { name: "d" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 4 dim: 3 dim: 8 dim: 8 } shape { dim: 4 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 5 } }
"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "%s" bottom: "label" top: "loss" }'


def test_dropout_that_is_not_in_place_is_passed_by() -> None:
    text = BASE + 'layer { name: "drop" type: "Dropout" bottom: "fc" top: "dropped" }'
    text += 'layer { name: "relu" type: "ReLU" bottom: "dropped" top: "dropped" }' + LOSS % "dropped"
    made = deploy_net(_net(text), head="softmax")
    relu, prob = made.message.layer[-2:]
    assert (list(relu.bottom), list(relu.top), list(prob.bottom)) == (["fc"], ["fc"], ["fc"])
    assert made.inputs == {"data": (1, 3, 8, 8)}
    Net(NetDocument.from_message(made.message), pb.TEST, log=False)


def test_dropout_stays_where_it_drops_in_test_too() -> None:
    text = (
        BASE
        + 'layer { name: "drop" type: "Dropout" bottom: "fc" top: "fc" dropout_param { sample_weights_test: true } }'
    )
    assert deploy_net(_net(text)).message.layer[-1].name == "drop"


def test_layers_that_only_losses_and_labels_use_go() -> None:
    text = BASE + 'layer { name: "target" type: "Flatten" bottom: "data" top: "target" }'
    text += 'layer { name: "l" type: "EuclideanLoss" bottom: "fc" bottom: "target" top: "l" }'
    text += 'layer { name: "twice" type: "Power" bottom: "label" top: "twice" }'
    text += 'layer { name: "quiet" type: "Silence" bottom: "twice" }'
    made = deploy_net(_net(text))
    assert [layer.name for layer in made.message.layer] == ["data", "fc"]


def test_heads() -> None:
    text = BASE + 'layer { name: "l" type: "SigmoidCrossEntropyLoss" bottom: "fc" bottom: "label" top: "l" }'
    assert deploy_net(_net(text), head="softmax").message.layer[-1].type == "Sigmoid"
    assert deploy_net(_net(BASE + LOSS % "fc"), head="argmax").message.layer[-1].argmax_param.axis == 1
    with_softmax = BASE + 'layer { name: "p" type: "Softmax" bottom: "fc" top: "p" }'
    made = deploy_net(_net(with_softmax), head="argmax", head_name="best")
    assert [layer.name for layer in made.message.layer] == ["data", "fc", "best"]
    with pytest.raises(DeployError, match="no loss with scores"):
        deploy_net(_net(BASE), head="softmax")


def test_an_input_of_unknown_shape_asks_for_it() -> None:
    text = 'layer { name: "d" type: "ImageData" top: "data" top: "label" image_data_param { source: "none.txt" } }'
    text += 'layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }'
    with pytest.raises(DeployError, match="--size WIDTHxHEIGHT"):
        deploy_net(_net(text))
    assert deploy_net(_net(text), size=(6, 9)).inputs == {"data": (1, 3, 6, 9)}


def test_hdf5_data_tells_its_own_shape(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data"], file["label"] = np.zeros((5, 4), np.float32), np.zeros(5, np.float32)
    (tmp_path / "list.txt").write_text(f"{tmp_path}/x.h5\n")
    text = 'layer { name: "d" type: "HDF5Data" top: "data" top: "label" '
    text += f'hdf5_data_param {{ source: "{tmp_path}/list.txt" batch_size: 5 }} }}' + BASE.splitlines()[3]
    assert deploy_net(_net(text + LOSS % "fc"), size=(8, 8)).inputs == {"data": (1, 4)}
    with pytest.raises(DeployError, match="its data must be there"):
        deploy_net(_net((text + LOSS % "fc").replace("list.txt", "gone.txt")))
