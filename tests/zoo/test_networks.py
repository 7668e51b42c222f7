"""Every network of the zoo: its numbers, and that it trains, deploys, exports and is checked; at small inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat.data.placeholder import Placeholders
from caffecompat.deploy.onnx.write import export_onnx
from caffecompat.deploy.targets.check import check
from caffecompat.net import Net
from caffecompat.report.net_summary import summarize
from caffecompat.schema import parse_text, pb, read_net
from caffecompat.zoo import NETWORKS, Network, Recipe, network_files

# Learned parameters and MACs (of one picture of the published size) as papers and independent implementations have
# them, the MACs to their last digit.
PUBLISHED = {
    "cifar10_full": (89_578, "12.298 M"),
    "ddrnet23": (28_216_488, "3.8676 G"),
    "ddrnet23_seg": (20_148_819, "143.061 G"),
    "ddrnet23_slim": (7_574_600, "0.9728 G"),
    "ddrnet23_slim_seg": (5_695_923, "36.281 G"),
    "deeplab_v3_s16": (58_040_661, "71.061 G"),
    "deeplab_v3_s8": (58_040_661, "246.182 G"),
    "enet": (376_194, "4.184 G"),
    "espnet": (361_411, "4.614 G"),
    "fpn": (6_146_531, "17.514 G"),
    "googlenet": (6_998_552, "1582.672 M"),
    "jacintonet11": (2_873_736, "406.335 M"),
    "jdetnet": (3_121_450, "2130.03 M"),
    "jsegnet21": (2_698_280, "8832.156 M"),
    "lenet": (431_080, "2.293 M"),
    "mobilenet_v1": (4_231_976, "568.74 M"),
    "mobilenet_v2": (3_504_872, "300.774 M"),
    "resnet101": (44_549_160, "7.801 G"),
    "resnet18": (11_689_512, "1.814 G"),
    "resnet34": (21_797_672, "3.664 G"),
    "resnet50": (25_557_032, "4.089 G"),
    "squeezenet": (1_235_496, "387.748 M"),
    "ssd300_resnet34": (19_972_534, "15.862 G"),
    "unet_full": (32_151_251, "409.565 G"),
    "unet_lite": (7_762_675, "96.872 G"),
    "vgg16_ssd300": (26_285_486, "31.374 G"),
}
SMALLEST = {
    "cifar10_full": 32,
    "ddrnet23_seg": 128,
    "ddrnet23_slim_seg": 128,
    "deeplab_v3_s16": 65,
    "deeplab_v3_s8": 33,
    "googlenet": 96,
    "jdetnet": 256,
    "lenet": 28,
    "ssd300_resnet34": 264,
    "vgg16_ssd300": 260,
}  # sides in pixels; 64 where nothing is said


@dataclass
class Small:
    """A network for small pictures and few classes, its files in a folder, and weights from one pass of training."""

    network: Network
    recipe: Recipe
    folder: Path
    tops: dict[str, torch.Tensor]  # of TRAIN

    @property
    def weights(self) -> Path:
        return self.folder / "weights.caffemodel"


def placed_net(path: Path, phase: int, recipe: Recipe, weights: Path | None = None) -> Net:
    sources = Placeholders((recipe.height, recipe.width), recipe.channels)
    return Net(path, phase, sources=sources, log=False, weights=weights)


def random_batch(network: Network, recipe: Recipe) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    shape = (2, recipe.channels, recipe.height, recipe.width)
    data = generator.standard_normal(shape, np.float32)
    if network.task == "detection":  # picture, class, number, corners, difficult
        boxes = [[0, 1, 0, 0.1, 0.1, 0.5, 0.6, 0], [1, 2, 0, 0.3, 0.2, 0.9, 0.9, 0], [1, 4, 1, 0.0, 0.0, 0.2, 0.3, 0]]
        return {"data": data, "label": np.array([[boxes]], np.float32)}
    labels = {"classification": (2,), "segmentation": (2, 1, *shape[2:])}[network.task]
    return {"data": data, "label": generator.integers(0, recipe.classes, labels).astype(np.float32)}


@pytest.fixture(scope="module", params=NETWORKS)
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Small:
    network = NETWORKS[request.param]
    side = SMALLEST.get(network.name, 64)
    recipe = replace(
        network.recipe, classes=5, width=side, height=side, crop=side if network.recipe.crop else 0, batch_size=2,
        test_batch_size=2, deploy_batch=2, moving_average_fraction=0.0,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp(network.name)
    for name, text in network_files(network, recipe).items():
        (folder / name).write_text(text)
    torch.manual_seed(0)
    train = placed_net(folder / "train_val.prototxt", pb.TRAIN, recipe)
    tops = train(random_batch(network, recipe))
    train.loss(tops).backward()
    assert all(param.blob.grad is not None for param in train.params if param.lr_mult)
    calm_norms(train)
    calm_scores(train, folder)
    train.save(folder / "weights.caffemodel")
    return Small(network, recipe, folder, tops)


def calm_norms(train: Net) -> None:
    """Let no channel that hardly varies in the one batch be magnified, and rounding with it."""
    for layer in train.layers:
        for slot in layer.slots:
            if slot.name == "variance":
                slot.tensor().clamp_(min=float(slot.tensor().mean()))


def calm_scores(train: Net, folder: Path) -> None:
    """Make scores as small as real ones, which untrained layers exceed and so magnify rounding."""
    learned = ("Convolution", "Deconvolution", "InnerProduct")
    last = [layer.name for layer in read_net(folder / "deploy.prototxt").layer if layer.type in learned][-1]
    for layer in train.layers:
        if layer.name == last:
            for slot in layer.slots:
                slot.tensor().mul_(0.1)


def test_all_have_published_numbers() -> None:
    assert set(PUBLISHED) == set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_and_macs_are_the_published_ones(name: str) -> None:
    network, (parameters, macs) = NETWORKS[name], PUBLISHED[name]
    files = network_files(network)
    for stage in network.stages:
        text = files[f"deploy{stage.suffix}.prototxt"]
        summary = summarize(parse_text(text, pb.NetParameter()))
        assert (summary.trained, summary.macs) == (stage.parameters, stage.macs)
    number, unit = macs.split()
    digits = len(number.partition(".")[2])
    assert network.parameters == parameters
    assert f"{network.macs / {'M': 1e6, 'G': 1e9}[unit]:.{digits}f}" == number


def test_trains(small: Small) -> None:
    assert any(name.endswith("loss") for name in small.tops)
    assert all(bool(top.isfinite().all()) for top in small.tops.values())


def _without_phase(layer: pb.LayerParameter) -> pb.LayerParameter:
    bare = pb.LayerParameter()
    bare.CopyFrom(layer)
    bare.ClearField("include")
    return bare


def test_is_deployed_as_it_is_tested(small: Small) -> None:
    """The same layers between data and results, and the same numbers from the weights of the training."""
    test, deployed = (
        placed_net(small.folder / f"{file}.prototxt", pb.TEST, small.recipe, small.weights)
        for file in ("train_val", "deploy")
    )
    deploy = read_net(small.folder / "deploy.prototxt")
    between = [_without_phase(layer) for layer in test.message.layer if "label" not in (*layer.top, *layer.bottom)]
    assert between == list(deploy.layer)[1 : 1 + len(between)]
    assert len(deployed.layers) <= len(between) + 2
    for report in (test.loaded, deployed.loaded):
        assert report is not None
        assert (report.missing, report.mismatches) == ([], [])
    batch = random_batch(small.network, small.recipe)
    with torch.no_grad():
        tested, (result,) = test(batch), deployed(data=batch["data"]).values()
    if small.network.task == "detection":
        _assert_same_detections(tested["detection_eval"], result, small.recipe)
        return
    labels = torch.from_numpy(batch["label"]).long().reshape(2, *result.shape[2:])
    torch.testing.assert_close(torch.nn.functional.nll_loss(result.log(), labels), tested["loss"], rtol=1e-4, atol=1e-6)
    assert float(tested["accuracy"]) == pytest.approx(float((result.argmax(1) == labels).double().mean()), abs=0.01)


def _assert_same_detections(evaluated: torch.Tensor, detections: torch.Tensor, recipe: Recipe) -> None:
    """After a row for each class the evaluation has one for each detection: picture, class, score, right, wrong."""
    scored = evaluated[0, 0, recipe.classes - 1 :, :3]
    assert len(scored) > 20
    torch.testing.assert_close(*(rows[rows[:, 2].argsort()] for rows in (scored, detections[0, 0, :, :3])))


def test_onnx_computes_the_same(small: Small, tmp_path: Path) -> None:
    """Of a detector what the boxes are made of: their order hangs on the last digit where scores are alike."""
    data = {"data": random_batch(small.network, small.recipe)["data"]}
    cut = small.network.task == "detection"
    done = export_onnx(
        small.folder / "deploy.prototxt", small.weights, tmp_path / "net.onnx", cut=cut, inputs=lambda _: data
    )
    assert done.differences
    assert max(difference.absolute for difference in done.differences) <= 1e-4


@pytest.mark.parametrize("target", ["dpu", "tidl"])
def test_is_checked_for_a_target(small: Small, target: str) -> None:
    report = check(small.folder / "deploy.prototxt", target)
    assert len(report.layers) > 1
