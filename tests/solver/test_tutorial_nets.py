"""The five networks of the Vitis segmentation tutorial learn on drawn streets, and their IoU is counted again."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat import glog
from caffecompat.data import make_source
from caffecompat.data.streets import write_streets
from caffecompat.forks import Fork
from caffecompat.net import Net
from caffecompat.schema import open_net, parse_text, pb
from caffecompat.solver import Solver
from caffecompat.solver.outputs import make_tally
from caffecompat.solver.overrides import LayerSettings

TUTORIAL = Path(__file__).resolve().parents[3] / "shared" / "real" / "vitis-tutorial-05-seg"
NETS = ("espnet", "enet", "FPN", "unet-full", "unet-lite")
CLASSES = 19

pytestmark = pytest.mark.skipif(not TUTORIAL.is_dir(), reason="the tutorial's files (../shared) are not here")


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 8 scenes to learn from and 3 to score, and their lists."""
    folder = tmp_path_factory.mktemp("set")
    write_streets(folder / "streets", {"train": 8, "val": 3}, width=128, height=96)
    return folder


@pytest.fixture(autouse=True)
def quiet():
    glog.set_sink(lambda line: None)
    yield
    glog.set_sink(None)


def _data(streets: Path, name: str) -> list[str]:
    """Settings of the data layer, as ``--set`` takes them."""
    source = streets / "streets" / f"{name}.txt"
    return [f"data.image_data_param.source={source}", f"data.image_data_param.root_folder={streets}/"]


class _Run:
    """A tutorial's solver on small crops, with its losses."""

    def __init__(self, name: str, streets: Path, folder: Path) -> None:
        here = TUTORIAL / "model" / name
        settings = [
            f"net={here / 'train_val.prototxt'}",
            f"snapshot_prefix={folder / name}",
            *("max_iter=4", "iter_size=1", "snapshot=0", "display=1", "random_seed=1"),
            *(
                f"data.transform_param.crop_size={48 if name == 'unet-full' else 64}",
                "data.image_data_param.batch_size=2",
            ),
        ]
        self.solver = Solver(here / "solver.prototxt", overrides=settings + _data(streets, "train"), device="cpu")
        self.losses: list[float] = []
        one_pass = self.solver.passes.one

        def noted():
            loss, tops = one_pass()
            self.losses.append(float(loss))
            return loss, tops

        self.solver.passes.one = noted  # type: ignore[method-assign]

    def blobs(self) -> dict[str, np.ndarray]:
        """The first blob of each layer."""
        return {name: blobs[0].copy() for name, blobs in self.solver.net.blobs_by_layer().items()}

    def moved(self, iterations: int) -> set[str]:
        """Train; the layers whose first blob changed."""
        before = self.blobs()
        self.solver.step(iterations)
        return {name for name, blob in self.blobs().items() if not np.array_equal(blob, before[name])}


@pytest.mark.parametrize("name", NETS)
def test_training_from_scratch(
    name: str, streets: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    run = _Run(name, streets, tmp_path)
    zero = {layer for layer, blob in run.blobs().items() if not blob.any()}
    unfilled = {
        layer.name
        for layer in run.solver.net.message.layer
        if layer.type in ("Convolution", "Deconvolution") and not layer.convolution_param.HasField("weight_filler")
    }
    assert zero == unfilled
    moved = run.moved(3)
    assert np.isfinite(run.losses).all()
    losses = ", ".join(f"{loss:.3f}" for loss in run.losses)
    if unfilled:
        # As in Caffe these stay constant 0, and with them all that only speaks through them: such a net is made to be
        # fine-tuned. What moves is what lies after them.
        assert not moved & (unfilled - {"ConvNd_1"})
        assert abs(run.losses[-1] - math.log(CLASSES)) < 0.5
        losses += f"; {len(unfilled)} convolutions have no filler and stay 0"
    else:
        assert len(moved) > 0.95 * len(run.blobs())
        assert min(run.losses[1:]) < run.losses[0]
    record_property("measured", f"tutorial's {name} from scratch on drawn streets: losses {losses}")


@pytest.mark.parametrize("name", ["espnet", "enet"])
def test_fine_tuning(name: str, streets: Path, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    run = _Run(name, streets, tmp_path)
    run.solver.load_weights(str(TUTORIAL / "model" / name / "final_models" / "pretrained.caffemodel"))
    moved = run.moved(4)
    assert len(moved) > 0.95 * len(run.blobs())
    assert min(run.losses[2:]) < run.losses[0]
    losses = ", ".join(f"{loss:.3f}" for loss in run.losses)
    record_property("measured", f"tutorial's {name} fine-tuned on drawn streets: losses {losses}")


def _scored(name: str, streets: Path, *, score: bool) -> Net:
    """The tutorial's test net over the drawn scenes; without `score` it gives what its last layer would read."""
    document = open_net(TUTORIAL / "VAI" / name / "float_test.prototxt")
    layers = document.message.layer
    for index in reversed(range(len(layers))):
        wrong_phase = layers[index].name == "data" and layers[index].include[0].phase == pb.TRAIN
        if wrong_phase or (layers[index].type == "SegmentPixelIOU" and not score):
            del layers[index]
    LayerSettings(_data(streets, "val")).apply(document)
    net = Net(document, pb.TEST, sources=make_source, log=False)
    net.load_weights(TUTORIAL / "model" / name / "final_models" / "pretrained.caffemodel")
    return net


@pytest.mark.parametrize("name", ["espnet", "enet"])
def test_mean_iou_equals_a_count_of_its_own(
    name: str, streets: Path, record_property: Callable[[str, object], None]
) -> None:
    solver = parse_text(f'eval_type: "segmentation" classiou_class_num: {CLASSES}', pb.SolverParameter())
    net, plain = _scored(name, streets, score=True), _scored(name, streets, score=False)
    tally = make_tally(solver, net, Fork.XILINX)
    counts = np.zeros((CLASSES, CLASSES))
    labels = [line.split()[1] for line in (streets / "streets" / "val.txt").read_text().splitlines()]
    score = next(layer for layer in net.layers if layer.type == "SegmentPixelIOU").bottoms[0]
    for file in labels:
        tally.add(net.forward())
        found = plain.forward()[score][0].detach().numpy().argmax(0)
        truth = cv2.imread(str(streets / file), cv2.IMREAD_GRAYSCALE)
        rows = [y * found.shape[0] // truth.shape[0] for y in range(truth.shape[0])]
        columns = [x * found.shape[1] // truth.shape[1] for x in range(truth.shape[1])]
        found = found[rows][:, columns]
        np.add.at(counts, (truth[truth != 255], found[truth != 255]), 1)
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    expected = (counts.diagonal()[union > 0] / union[union > 0]).mean()
    ((value,),) = tally.values().values()
    assert value == pytest.approx(expected, abs=1e-12)
    record_property(
        "measured", f"tutorial's {name}, untouched, on 3 drawn streets: mean IoU {value:.6f}, as counted anew"
    )
