"""Published SSD nets run with seeded weights: Vitis' VGG16-SSD and Jacinto's JDetNet."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from caffecompat.net import Net
from caffecompat.schema import open_net, pb

VITIS = "vitis-tutorial-14-ssd/workspace/VGG16-SSD"
JDETNET = "jacinto-models/object_detection/voc0712/JDetNet/ssd768x320_ds_PSP_dsFac_32_hdDS8_0"

OBJECTS = torch.tensor(
    [[0, 1, 0, 0.1, 0.1, 0.4, 0.5, 0], [0, 7, 0, 0.5, 0.3, 0.9, 0.8, 0], [1, 3, 0, 0.2, 0.2, 0.3, 0.3, 1], [-1] * 8]
).float()


def load(path: Path, phase: int, height: int, width: int, batch: int = 1) -> Net:
    """The net with Input layers in place of its AnnotatedData, and without files of its author's machine."""
    document = open_net(path)
    for layer in document.message.layer:
        layer.detection_evaluate_param.ClearField("name_size_file")
        if layer.type == "AnnotatedData":
            layer.type = "Input"
            for shape in ((batch, 3, height, width), (1, 1, len(OBJECTS), 8)):
                layer.input_param.shape.add().dim.extend(shape)
    torch.manual_seed(1)
    return Net(document, phase, log=False)


def run(net: Net) -> dict[str, torch.Tensor]:
    picture = torch.randn(net.blob_shapes["data"], generator=torch.Generator().manual_seed(2))
    return net.forward({name: picture if name == "data" else OBJECTS[None, None] for name in net.fed})


@pytest.mark.parametrize(
    ("path", "most"), [(f"{VITIS}/deploy.prototxt", 200), (f"{JDETNET}/test_quantize/deploy.prototxt", 200)]
)
def test_deployed(shared: Path, path: str, most: int) -> None:
    net = load(shared / "real" / path, pb.TEST, 320, 768)
    rows = run(net)["detection_out"][0, 0]
    assert 0 < len(rows) <= 3 * most and rows.shape[1] == 7
    labels = set(rows[:, 1].tolist())
    assert labels <= set(range(1, 21)) or labels == {-1}


def test_jdetnet_learns_from_its_loss(shared: Path) -> None:
    net = load(shared / "real" / JDETNET / "initial/train.prototxt", pb.TRAIN, 320, 768, batch=2)
    assert net.fork.is_nvcaffe
    loss = net.loss(run(net))
    assert 5 < float(loss.detach()) < 200
    loss.backward()
    assert all(p.blob.grad is None or p.blob.grad.isfinite().all() for p in net.params)
    reached = {p.layer.rpartition("_")[2] for p in net.params if "mbox" in p.layer and p.blob.grad.any()}
    assert reached == {"loc", "conf"}


def test_jdetnet_is_scored(shared: Path) -> None:
    net = load(shared / "real" / JDETNET / "initial/test.prototxt", pb.TEST, 320, 768, batch=2)
    rows = run(net)["detection_eval"][0, 0]
    assert rows[:20, 2].sum() == 2  # of the three objects one is difficult
    assert set(rows[20:, 3:].sum(1).tolist()) <= {0, 1}
