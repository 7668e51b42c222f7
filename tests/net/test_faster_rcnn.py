"""Faster R-CNN's two stages on random weights: with its Python proposal layer, without that file, and in C++'s form."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from caffecompat.net import Net
from tests.net.faster_rcnn import CPP_PROPOSAL, PYTHON_PROPOSAL, by_torch, prototxt, rfcn_prototxt

INFO = (176.0, 256.0, 1.25)

# What py-faster-rcnn's lib folder has, written again in Python 3 with the same uses of pycaffe.
PROPOSAL_LAYER = """
import caffe
import numpy as np
import yaml
from fast_rcnn.config import cfg
from fast_rcnn.nms_wrapper import nms
from rpn.generate_anchors import generate_anchors


class ProposalLayer(caffe.Layer):
    def setup(self, bottom, top):
        self.stride = yaml.load(self.param_str_)["feat_stride"]
        self.anchors = generate_anchors()
        self.count = self.anchors.shape[0]
        top[0].reshape(1, 5)
        if len(top) > 1:
            top[1].reshape(1, 1, 1, 1)

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        assert bottom[0].data.shape[0] == 1
        settings = cfg[str(self.phase)]
        likely = bottom[0].data[:, self.count:, :, :]
        codes = bottom[1].data
        info = bottom[2].data[0, :]
        rows, columns = likely.shape[-2:]
        at = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 1, 2) * self.stride
        boxes = (self.anchors[None] + np.concatenate([at, at], 2)).reshape(-1, 4)
        codes = codes.transpose((0, 2, 3, 1)).reshape((-1, 4))
        likely = likely.transpose((0, 2, 3, 1)).reshape((-1, 1))
        size = boxes[:, 2:] - boxes[:, :2] + 1
        center = boxes[:, :2] + size / 2 + codes[:, :2] * size
        half = np.exp(codes[:, 2:]) * size / 2
        boxes = np.hstack([center - half, center + half])
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, info[1] - 1)
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, info[0] - 1)
        keep = np.where((boxes[:, 2:] - boxes[:, :2] + 1 >= settings.RPN_MIN_SIZE * info[2]).all(1))[0]
        boxes, likely = boxes[keep, :], likely[keep]
        order = likely.ravel().argsort(kind="stable")[::-1][:settings.RPN_PRE_NMS_TOP_N]
        boxes, likely = boxes[order, :], likely[order]
        keep = nms(np.hstack((boxes, likely)), settings.RPN_NMS_THRESH)[:settings.RPN_POST_NMS_TOP_N]
        blob = np.hstack((np.zeros((len(keep), 1), np.float32), boxes[keep, :].astype(np.float32, copy=False)))
        top[0].reshape(*(blob.shape))
        top[0].data[...] = blob
        if len(top) > 1:
            top[1].reshape(*(likely[keep].shape))
            top[1].data[...] = likely[keep]

    def backward(self, top, propagate_down, bottom):
        pass
"""
LIBRARY = {
    "rpn/__init__.py": "",
    "fast_rcnn/__init__.py": "",
    "rpn/proposal_layer.py": PROPOSAL_LAYER,
    "rpn/generate_anchors.py": """
import numpy as np
def generate_anchors():
    made = []
    for ratio in (0.5, 1, 2):
        width = np.round(np.sqrt(256 / ratio))
        for scale in (8, 16, 32):
            half = (np.array([width, np.round(width * ratio)]) * scale - 1) / 2
            made.append(np.hstack([7.5 - half, 7.5 + half]))
    return np.array(made)
""",
    "fast_rcnn/config.py": """
class Settings(dict):
    __getattr__ = dict.__getitem__
cfg = {
    phase: Settings(RPN_PRE_NMS_TOP_N=before, RPN_POST_NMS_TOP_N=after, RPN_NMS_THRESH=0.7, RPN_MIN_SIZE=16)
    for phase, before, after in (("TRAIN", 12000, 2000), ("TEST", 6000, 300))
}
""",
    "fast_rcnn/nms_wrapper.py": """
import numpy as np
def nms(dets, thresh):
    order, keep = dets[:, 4].argsort(kind="stable")[::-1], []
    area = (dets[:, 2] - dets[:, 0] + 1) * (dets[:, 3] - dets[:, 1] + 1)
    while order.size > 0:
        i = order[0]
        keep.append(i)
        low = np.maximum(dets[i, :2], dets[order[1:], :2])
        high = np.minimum(dets[i, 2:4], dets[order[1:], 2:4])
        shared = (high - low + 1).clip(0).prod(1)
        order = order[1:][shared / (area[i] + area[order[1:]] - shared) <= thresh]
    return keep
""",
}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the modules, which no other test sees."""
    old_yaml = ModuleType("yaml")  # PyYAML's of 2015, whose load needs no Loader
    old_yaml.load = lambda text: ast.literal_eval("{" + text + "}")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "yaml", old_yaml)
    for name, text in LIBRARY.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("rpn", "fast_rcnn"):
            del sys.modules[name]


def make(folder: Path, proposal: str, share: int = 16, size: tuple[int, int] = (176, 256)) -> Net:
    path = folder / "test.prototxt"
    path.write_text(prototxt(proposal, share, *size))
    torch.manual_seed(4)
    return Net(path, 1, log=False)


def run(net: Net, info: tuple[float, ...] = INFO) -> tuple[dict[str, np.ndarray], torch.Tensor]:
    torch.manual_seed(5)
    picture = torch.randn(net.fed_shapes["data"])
    with torch.no_grad():
        made = net.forward({"data": picture, "im_info": torch.tensor([info])})
    return {blob: top.numpy() for blob, top in made.items()}, picture


def check(net: Net, after: int, info: tuple[float, ...] = INFO) -> int:
    made, picture = run(net, info)
    wanted = by_torch(net.blobs_by_layer(), picture, info, after)
    for blob in ("cls_prob", "bbox_pred"):
        assert made[blob].shape == wanted[blob].shape
        np.testing.assert_allclose(made[blob], wanted[blob], rtol=1e-3, atol=1e-5)
    assert len(set(made["cls_prob"].argmax(1))) > 1 and made["cls_prob"].std() > 0.01  # not all the same
    return len(made["cls_prob"])


def test_the_users_python_layer(library: Path, record_property: Callable[[str, object], None]) -> None:
    net = make(library, PYTHON_PROPOSAL)
    assert net.blob_shapes["rois"] == (1, 5)
    record_property("measured", f"Faster R-CNN of VGG16's structure against torch and loops: {check(net, 300)} regions")


def test_without_the_published_python_file(tmp_path: Path) -> None:
    check(make(tmp_path, PYTHON_PROPOSAL), 300)


def test_rfcn(tmp_path: Path) -> None:
    path = tmp_path / "rfcn.prototxt"
    path.write_text(rfcn_prototxt(16, 176, 256))
    torch.manual_seed(4)
    net = Net(path, 1, log=False)
    made, picture = run(net)
    wanted = by_torch(net.blobs_by_layer(), picture, INFO, 120)
    for blob in ("cls_prob", "bbox_pred"):
        assert made[blob].shape == wanted[blob].shape
        np.testing.assert_allclose(made[blob], wanted[blob], rtol=1e-3, atol=1e-5)


def test_the_layer_in_cpp(tmp_path: Path) -> None:
    """It needs no box that is too small for so many: these it puts last, where the Python layer drops them."""
    assert check(make(tmp_path, CPP_PROPOSAL), 120) == 120


def test_pictures_of_other_sizes_go_through_the_same_net(tmp_path: Path) -> None:
    net = make(tmp_path, CPP_PROPOSAL)
    blobs = net.blobs_by_layer()
    other = make(tmp_path, CPP_PROPOSAL, size=(208, 144))
    for layer in other.layers:
        for slot, array in zip(layer.slots, blobs.get(layer.name, ()), strict=bool(layer.slots)):
            slot.tensor().data.copy_(torch.from_numpy(np.array(array)))
    made, picture = run(other, (208, 144, 1))
    again = net.forward({"data": picture, "im_info": torch.tensor([[208.0, 144, 1]])})
    np.testing.assert_allclose(again["cls_prob"].detach().numpy(), made["cls_prob"], rtol=1e-4, atol=1e-6)
