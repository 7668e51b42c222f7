"""models/ is what the zoo writes, and the networks are those that the published weights were trained for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from caffecompat.data.placeholder import Placeholders
from caffecompat.errors import CaffeCompatError
from caffecompat.net import Net
from caffecompat.schema import parse_text, pb, read_net, read_solver
from caffecompat.zoo import NETWORKS, Source, network_files

_MODELS = Path(__file__).resolve().parents[2] / "models"
_STAGES = [
    (network, suffix, weights)
    for network in ("espnet", "enet")
    for suffix, weights in (
        ("", "final_models/pretrained.caffemodel"),
        ("_encoder", "encoder_models/pretrained_encoder.caffemodel"),
    )
]


@pytest.mark.parametrize("network", NETWORKS)
def test_folder_is_what_the_zoo_writes(network: str) -> None:
    files = network_files(NETWORKS[network])
    for name, text in files.items():
        assert (_MODELS / network / name).read_text() == text, (
            f"run: python -m caffecompat.zoo models  ({network}/{name})"
        )
    assert {path.name for path in (_MODELS / network).iterdir()} == set(files)


_NAMED_AS = {
    "cifar10_full": "bvlc/examples/cifar10/cifar10_full.prototxt",
    "fpn": "vitis-tutorial-05-seg/model/FPN/deploy.prototxt",
    "googlenet": "bvlc/models/bvlc_googlenet/deploy.prototxt",
    "jacintonet11": "jacinto-models/image_classification/imagenet_jacintonet11v2/initial/deploy.prototxt",
    "jdetnet": (
        "jacinto-models/object_detection/voc0712/JDetNet/ssd768x320_ds_PSP_dsFac_32_hdDS8_0/test_quantize/"
        "deploy.prototxt"
    ),
    "jsegnet21": "jacinto-models/image_segmentation/cityscapes5_jsegnet21v2/initial/deploy.prototxt",
    "squeezenet": "squeezenet/SqueezeNet_v1.1/deploy.prototxt",
    "unet_full": "vitis-tutorial-05-seg/model/unet-full/deploy.prototxt",
    "unet_lite": "vitis-tutorial-05-seg/model/unet-lite/deploy.prototxt",
    "vgg16_ssd300": "jacinto-caffe/models/VGGNet/coco/SSD_300x300/deploy.prototxt",  # 81 classes
}


@pytest.mark.parametrize("network", _NAMED_AS)
def test_weights_of_the_source_would_load(network: str, shared: Path) -> None:
    """Between input and result the layers, blobs and shapes of parameters are those of the published deploy net."""
    published = NETWORKS[network]
    classes = 81 if network == "vgg16_ssd300" else published.recipe.classes
    files = network_files(published, replace(published.recipe, classes=classes))
    nets = [read_net(shared / "real" / _NAMED_AS[network]), parse_text(files["deploy.prototxt"], pb.NetParameter())]
    theirs, ours = (_wiring(net)[1:-1] for net in nets)
    assert ours == theirs
    shapes = []
    for message in nets:
        net = Net(message, pb.TEST, log=False)
        shapes.append({layer.name: [tuple(slot.shape) for slot in layer.slots] for layer in net.layers if layer.slots})
    assert shapes[0] == shapes[1]


def _wiring(net) -> list[tuple[str, str, list[str], list[str]]]:
    return [(layer.name, layer.type, list(layer.bottom), list(layer.top)) for layer in net.layer]


@pytest.mark.parametrize(("network", "suffix", "weights"), _STAGES)
def test_deploy_nets_are_wired_as_the_published_ones(network: str, suffix: str, weights: str, shared: Path) -> None:
    """Names, types, bottoms and tops; but for one layer and its blob that have no name in the published ESPNet."""
    theirs = _wiring(read_net(shared / f"real/vitis-tutorial-05-seg/model/{network}/deploy{suffix}.prototxt"))
    ours = _wiring(read_net(_MODELS / network / f"deploy{suffix}.prototxt"))
    nameless = [layer for layer in theirs if not layer[0]]
    assert len(nameless) == (1 if (network, suffix) == ("espnet", "") else 0)

    def named(*names: str) -> list[str]:
        return [name or "Concat_16" for name in names]

    assert ours == [(*named(name), kind, named(*bottoms), named(*tops)) for name, kind, bottoms, tops in theirs]


@pytest.mark.parametrize(("network", "suffix", "weights"), _STAGES)
def test_published_weights_load_completely(network: str, suffix: str, weights: str, shared: Path) -> None:
    net = Net(_MODELS / network / f"deploy{suffix}.prototxt", pb.TEST, log=False)
    report = net.load_weights(shared / f"real/vitis-tutorial-05-seg/model/{network}/{weights}")
    assert (report.unexpected, report.missing, report.mismatches) == ([], [], [])
    assert len(report.loaded) == sum(bool(layer.slots) for layer in net.layers)


def test_lenet_loads_published_weights(shared: Path) -> None:
    net = Net(_MODELS / "lenet/deploy.prototxt", pb.TEST, log=False)
    report = net.load_weights(next((shared / "real/lenet-v2").glob("*.caffemodel")))
    assert (report.missing, report.mismatches) == ([], [])
    assert report.loaded == ["conv1", "conv2", "ip1", "ip2"]


@pytest.mark.parametrize("network", ["espnet", "enet"])
def test_the_second_stage_takes_the_encoder_of_the_first(network: str, tmp_path: Path) -> None:
    """Nothing but names decides: what both stages have is loaded, the heads stay apart."""
    published = NETWORKS[network]
    files = network_files(published, replace(published.recipe, classes=5, width=64, height=32))
    nets = {}
    for suffix in ("_encoder", ""):
        (tmp_path / f"deploy{suffix}.prototxt").write_text(files[f"deploy{suffix}.prototxt"])
        nets[suffix] = Net(tmp_path / f"deploy{suffix}.prototxt", pb.TEST, log=False)
    nets["_encoder"].save(tmp_path / "encoder.caffemodel")
    report = nets[""].load_weights(tmp_path / "encoder.caffemodel")
    assert report.unexpected == ["deconv_encoder6_0_0"]
    assert report.mismatches == []
    assert len(report.loaded) == sum(bool(layer.slots) for layer in nets["_encoder"].layers) - 1


def test_what_a_user_decides_is_in_the_files(tmp_path: Path) -> None:
    network = NETWORKS["espnet"]
    recipe = replace(
        network.recipe, classes=7, width=96, height=64, crop=48, batch_size=2, iter_size=3, max_iter=40, base_lr=0.25,
        snapshot=20, train=Source("a.txt"), val=Source("b.txt"),
        test_iter=9, mirror=False, random_seed=4, snapshot_folder="s/",
        moving_average_fraction=0.5,
    )  # fmt: skip
    for name, text in network_files(network, recipe).items():
        (tmp_path / name).write_text(text)
    solver = read_solver(tmp_path / "solver.prototxt")
    assert (solver.iter_size, solver.max_iter, solver.base_lr, solver.snapshot) == (3, 40, 0.25, 20)
    assert (solver.snapshot_prefix, list(solver.test_iter), solver.random_seed) == ("s/espnet", [9], 4)
    train = read_net(tmp_path / "train_val.prototxt")
    data = train.layer[0]
    assert (data.image_data_param.source, data.image_data_param.batch_size) == ("a.txt", 2)
    assert (data.transform_param.crop_size, data.transform_param.mirror) == (48, False)
    assert {layer.batch_norm_param.moving_average_fraction for layer in train.layer if layer.type == "BatchNorm"} == {
        0.5
    }
    deploy = Net(tmp_path / "deploy.prototxt", pb.TEST, log=False)
    assert deploy.blob_shapes["score"] == (1, 7, 64, 96)


@pytest.mark.parametrize(
    ("network", "sizes", "message"),
    [
        ("espnet", {"width": 101}, "sides that 8 divides; pictures of 101x512 pixels have others: try 104x512"),
        ("fpn", {"crop": 100}, "sides that 32 divides; crops of 100x100 pixels have others: try 96x96"),
        ("unet_lite", {"height": 3}, "pictures of 1024x3 pixels have others: try 1024x16"),
        ("ssd300_resnet34", {"width": 128, "height": 300}, "sides of 257 or more; .* try 257x300"),
    ],
)
def test_sizes_that_a_network_cannot_have(network: str, sizes: dict[str, int], message: str) -> None:
    with pytest.raises(CaffeCompatError, match=message):
        network_files(NETWORKS[network], replace(NETWORKS[network].recipe, **sizes))


@pytest.mark.parametrize("network", NETWORKS)
def test_smallest_sizes(network: str) -> None:
    """What the record allows makes a net, to train and to test, and its sides need not be equal."""
    published = NETWORKS[network]
    side = max(published.smallest, published.divisor)
    recipe = replace(published.recipe, classes=3, width=side + published.divisor, height=side, crop=0)
    text = network_files(published, recipe)["train_val.prototxt"]
    sources = Placeholders((recipe.height, recipe.width), recipe.channels)
    for phase in (pb.TRAIN, pb.TEST):
        Net(parse_text(text, pb.NetParameter()), phase, sources=sources, log=False, meta=True)
