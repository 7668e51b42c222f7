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
STAGES = ("initial", "l1reg", "sparse", "test", "test_quantize")
SOFTMAX, ARGMAX = {"head": "softmax"}, {"head": "argmax"}


def _pairs() -> dict[str, tuple[str, str, dict[str, object]]]:
    """Name -> net that trains, deploy net that its authors published next to it, arguments."""
    found: dict[str, tuple[str, str, dict[str, object]]] = {}

    def add(folder: str, train: str, deploy: str, arguments: dict[str, object]) -> None:
        found[f"{folder}/{train}"] = (f"{folder}/{train}", f"{folder}/{deploy}", arguments)

    for name in ("enet", "espnet", "FPN", "unet-lite", "unet-full"):
        add(f"{TUTORIAL}/{name}", "train_val", "deploy", SOFTMAX)
    for name in ("enet", "espnet"):
        add(f"{TUTORIAL}/{name}", "train_val_encoder", "deploy_encoder", SOFTMAX)
    add("vitis-tutorial-14-ssd/workspace/VGG16-SSD", "train_test_example", "deploy", {})
    for name in ("SqueezeNet_v1.0", "SqueezeNet_v1.1"):
        add(f"squeezenet/{name}", "train_val", "deploy", SOFTMAX)
    for release in ("bvlc", "bvlc-legacy/rc", "bvlc-legacy/rc2"):
        for name in ("bvlc_alexnet", "bvlc_reference_caffenet", "bvlc_googlenet", "finetune_flickr_style"):
            if not (release == "bvlc-legacy/rc" and name in ("bvlc_googlenet", "finetune_flickr_style")):
                add(f"{release}/models/{name}", "train_val", "deploy", SOFTMAX)
        add(f"{release}/examples/mnist", "lenet_train_test", "lenet", SOFTMAX)
        for name in ("cifar10_full", "cifar10_quick"):
            add(f"{release}/examples/cifar10", f"{name}_train_test", name, SOFTMAX)
    add("bvlc-legacy/v0.99/examples/imagenet", "imagenet_val", "imagenet_deploy", {})
    for name in ("alexnet", "imagenet"):
        add("bvlc-legacy/v0.999/examples/imagenet", f"{name}_val", f"{name}_deploy", {})
        add("bvlc-legacy/v0.9999/examples/imagenet", f"{name}_train_val", f"{name}_deploy", SOFTMAX)
    add("bvlc-legacy/v0.9999/examples/mnist", "lenet_train_test", "lenet", SOFTMAX)
    add("bvlc-legacy/v0.9999/examples/cifar10", "cifar10_quick_train_test", "cifar10_quick", SOFTMAX)
    add("everpeace-v1/mnist", "lenet_train_test", "lenet", SOFTMAX)
    add("everpeace-v1/cifar10", "cifar10_quick_train_test", "cifar10_quick", SOFTMAX)
    add("jacinto-caffe/models/VGGNet/coco/SSD_300x300", "test", "deploy", {})
    add("jacinto-caffe/models/bvlc_alexnet", "train_val", "deploy", SOFTMAX)
    add("jacinto-caffe/models/bvlc_alexnet", "train_val_fp16", "deploy_fp16", SOFTMAX)
    for stage in STAGES:
        for train in ("train", "test"):
            add(f"{JACINTO}/image_classification/cifar10_jacintonet11v2/{stage}", train, "deploy", SOFTMAX)
            if stage != "l1reg":
                add(f"{JACINTO}/image_classification/imagenet_jacintonet11v2/{stage}", train, "deploy", SOFTMAX)
            add(f"{JACINTO}/image_segmentation/cityscapes5_jsegnet21v2/{stage}", train, "deploy", ARGMAX)
    jdetnet = f"{JACINTO}/object_detection/voc0712/JDetNet/ssd768x320_ds_PSP_dsFac_32_hdDS8_0/test_quantize"
    add(jdetnet, "test", "deploy", {})
    return found


PAIRS = _pairs()
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


def _as_published(published, document, arguments):
    """The published net's input size, and its name for the head's top."""
    inputs = [layer for layer in published.layer if layer.type == "Input"]
    shape = list(inputs[0].input_param.shape[0].dim) if inputs else [1, 3, 227, 227]
    wanted = dict(arguments, size=tuple(shape[2:]), channels=shape[1])
    return deploy_net(document, **(wanted | {"head_name": published.layer[-1].top[0]} if arguments else wanted))


@pytest.mark.parametrize("name", PAIRS)
def test_a_train_val_gives_the_published_deploy(shared: Path, name: str) -> None:
    train, deploy, arguments = PAIRS[name]
    published = open_net(shared / "real" / f"{deploy}.prototxt").message
    result = _as_published(published, open_net(shared / "real" / f"{train}.prototxt"), arguments).message
    made, theirs = _computing(result), _computing(published)
    for layer in (*made, *theirs) if "VGG16-SSD" in name else ():
        # The test net alone saves result files, and keeps less likely boxes.
        layer.detection_output_param.ClearField("save_output_param")
        layer.detection_output_param.nms_param.nms_threshold = 0.45  # 0.449999988 there
        layer.detection_output_param.ClearField("confidence_threshold")
        if layer.type != "DetectionOutput":
            layer.ClearField("detection_output_param")
    for layer in (*made, *theirs):
        if layer.type == "ArgMax" and layer.argmax_param.axis == 1:  # stated here, the only axis it can be there
            layer.argmax_param.axis = 1
        for blobs in (layer.bottom, layer.top):  # a Concat of ESPNet has lost its name there, and its top's
            blobs[:] = [blob or "Concat_16" for blob in blobs]
    assert made == theirs
    assert result.default_forward_type == published.default_forward_type


def test_pairs_are_many(record_property) -> None:
    record_property("measured", f"export deploy gives the published deploy net: {len(PAIRS)} pairs")
    assert len(PAIRS) == 70


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


def test_paths_that_training_drops_stay() -> None:
    text = BASE + 'layer { name: "drop" type: "DropPath" bottom: "fc" top: "kept" drop_path_param { drop_prob: 0.3 } }'
    text += 'layer { name: "sum" type: "Eltwise" bottom: "fc" bottom: "kept" top: "sum" }' + LOSS % "sum"
    made = deploy_net(_net(text))
    assert [layer.type for layer in made.message.layer] == ["Input", "InnerProduct", "Eltwise"]
    assert list(made.message.layer[-1].bottom) == ["fc", "fc"]
    assert "DropPath left out: drop" in made.notes


MIX = """layer { name: "mix" type: "Mixup" bottom: "data" bottom: "label" %s
  mixup_param { num_classes: 5 cutmix_alpha: 1 } }"""


@pytest.mark.parametrize(
    ("tops", "data", "label"),
    [
        ('top: "mixed" top: "soft"', "mixed", "soft"),
        ('top: "data" top: "label"', "data", "label"),
        ('top: "data" top: "soft" top: "hard"', "data", "hard"),
        ('top: "mixed" top: "label"', "mixed", "label"),
    ],
)
def test_data_passes_by_what_mixes_it_in_training(tops: str, data: str, label: str) -> None:
    head, body = BASE.strip().rsplit("\n", 1)
    body = body.replace('"data"', f'"{data}"') + LOSS.replace('"label"', f'"{label}"') % "fc"
    body = f'layer {{ name: "relu" type: "ReLU" bottom: "{data}" top: "{data}" }}' + body
    made = deploy_net(_net(head + MIX % tops + body), head="softmax")
    assert [layer.type for layer in made.message.layer] == ["Input", "ReLU", "InnerProduct", "Softmax"]
    assert list(made.message.layer[1].bottom) == ["data"]
    assert made.inputs == {"data": (1, 3, 8, 8)}
    assert "mixing of training items left out: mix" in made.notes
    Net(NetDocument.from_message(made.message), pb.TEST, log=False)


@pytest.mark.parametrize("setting", ["sample_weights_test: true", "scale_train: false"])
def test_dropout_stays_where_it_computes_in_test(setting: str) -> None:
    text = BASE + f'layer {{ name: "drop" type: "Dropout" bottom: "fc" top: "fc" dropout_param {{ {setting} }} }}'
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


def test_argmax_behind_a_layer_in_place() -> None:
    text = BASE + 'layer { name: "relu" type: "ReLU" bottom: "fc" top: "fc" }'
    assert deploy_net(_net(text), head="argmax").message.layer[-1].bottom == ["fc"]


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


def test_hdf5_data_may_feed_several_inputs(tmp_path: Path) -> None:
    """A language model's HDF5Data: words and their markers go in, targets are what the loss alone reads."""
    import h5py

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["cont"], file["words"], file["target"] = (np.zeros((7, 3), np.float32) for _ in range(3))
    (tmp_path / "list.txt").write_text(f"{tmp_path}/x.h5\n")
    text = 'layer { name: "d" type: "HDF5Data" top: "cont" top: "words" top: "target" '
    text += f'hdf5_data_param {{ source: "{tmp_path}/list.txt" batch_size: 7 }} }}'
    text += 'layer { name: "e" type: "Embed" bottom: "words" top: "e" embed_param { num_output: 4 input_dim: 9 } }'
    text += 'layer { name: "h" type: "LSTM" bottom: "e" bottom: "cont" top: "h" recurrent_param { num_output: 5 } }'
    text += (
        'layer { name: "l" type: "SoftmaxWithLoss" bottom: "h" bottom: "target" top: "l" softmax_param { axis: 2 } }'
    )
    made = deploy_net(_net(text), batch=7, head="softmax")
    assert made.inputs == {"cont": (7, 3), "words": (7, 3)}
    assert [layer.type for layer in made.message.layer] == ["Input", "Input", "Embed", "LSTM", "Softmax"]
    Net(NetDocument.from_message(made.message), pb.TEST, log=False)


def test_a_python_loss_is_a_loss() -> None:
    text = BASE + 'layer { name: "l" type: "Python" bottom: "fc" bottom: "label" top: "l" loss_weight: 1 '
    text += 'python_param { module: "mine" layer: "MyLoss" } }'
    made = deploy_net(_net(text))
    assert [layer.name for layer in made.message.layer] == ["data", "fc"]
    assert "losses left out: l" in made.notes


def test_a_weight_on_what_others_read_makes_no_loss() -> None:
    text = BASE + 'layer { name: "sum" type: "Reduction" bottom: "fc" top: "sum" loss_weight: 0.1 }'
    text += 'layer { name: "end" type: "Power" bottom: "sum" top: "end" }'
    assert [layer.name for layer in deploy_net(_net(text)).message.layer] == ["data", "fc", "sum", "end"]


def test_spatial_dropout_stops(shared: Path) -> None:
    """ENet's Python dropout goes by its param_str, not by the net's phase: the published deploy net says TEST."""
    folder = shared / "real/timosaemann-enet/prototxts"
    made = deploy_net(open_net(folder / "enet_train_encoder_decoder.prototxt"), size=(512, 1024))
    published = open_net(folder / "enet_deploy.prototxt").message
    ours, theirs = (
        {x.name: x.python_param.param_str for x in net.layer if x.type == "Python"} for net in (made.message, published)
    )
    assert ours == theirs and len(ours) == 27
    assert any("now in phase TEST" in note for note in made.notes)


def test_half_precision_stays() -> None:
    """What caffe-jacinto's nets compute in is theirs at inference too; what training alone uses goes."""
    text = "default_forward_type: FLOAT16 default_backward_type: FLOAT16 global_grad_scale: 1000 force_backward: true"
    made = deploy_net(_net(text + BASE)).message
    assert {descriptor.name for descriptor, _ in made.ListFields()} == {"default_forward_type", "layer"}


def test_every_top_of_dummy_data_that_a_layer_computes_with_is_an_input() -> None:
    """Its tops have no order: what a loss alone reads is left out, whatever its name."""
    net = _net(
        """
        layer { name: "d" type: "DummyData" top: "x" top: "index" top: "target" dummy_data_param {
          shape { dim: 4 dim: 3 dim: 2 dim: 2 } shape { dim: 4 dim: 5 } shape { dim: 4 dim: 6 } } }
        layer { name: "e" type: "Embed" bottom: "index" top: "e" embed_param { num_output: 6 input_dim: 9 } }
        layer { name: "f" type: "InnerProduct" bottom: "x" top: "f" inner_product_param { num_output: 6 } }
        layer { name: "l" type: "EuclideanLoss" bottom: "f" bottom: "target" top: "l" }
        """
    )
    assert deploy_net(net).inputs == {"x": (1, 3, 2, 2), "index": (1, 5)}
    assert deploy_net(net, batch=2).inputs == {"x": (2, 3, 2, 2), "index": (2, 5)}
