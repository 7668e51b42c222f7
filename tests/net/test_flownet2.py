"""FlowNet2's deploy nets: S and C against an independent computation, the whole stack by its shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.deploy.onnx.export import ExportOptions, export_net
from caffecompat.deploy.onnx.file import write_model
from caffecompat.deploy.onnx.run import run_model, run_net
from caffecompat.deploy.torch_source.source import load_source, make_source, write_source
from caffecompat.net import Net
from tests.net.flownet2 import flownet2, flownet_c, flownet_s
from tests.net.nets import make_net

TARGET, ADAPTED = (50, 120), (64, 128)
MEAN = (0.41, 0.43, 0.45)


def trained(text: str) -> Net:
    """A net with random weights, and the means of a training that is over."""
    torch.manual_seed(7)
    net = make_net(text)
    with torch.no_grad():
        for name in ("img0s_aug", "img1s_aug"):
            count, _, mean = next(layer for layer in net.layers if layer.name == name).module.blobs
            count.fill_(5000)
            mean.copy_(torch.tensor(MEAN).view(1, 3, 1, 1))
    return net


def pictures() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand((1, 3, *TARGET), generator=generator) * 255 for name in ("img0", "img1")}


class ByHand:
    """The same nets in torch's functions, from the weights of a net by layer name."""

    def __init__(self, net: Net) -> None:
        self.blobs = net.blobs_by_layer()

    def conv(self, name: str, x: Tensor, stride: int = 1, relu: bool = True) -> Tensor:
        weight, bias = (torch.from_numpy(blob) for blob in self.blobs[name])
        x = F.conv2d(x, weight, bias, stride, (weight.shape[2] - 1) // 2)
        return F.leaky_relu(x, 0.1) if relu else x

    def deconv(self, name: str, x: Tensor, relu: bool = True) -> Tensor:
        weight, bias = (torch.from_numpy(blob) for blob in self.blobs[name])
        x = F.conv_transpose2d(x, weight, bias, 2, 1)
        return F.leaky_relu(x, 0.1) if relu else x

    def picture(self, picture: Tensor) -> Tensor:
        """Enlarged, centers with factors mixed up, by windows that sum to 1; the last pixels mixed; less the mean."""
        (height, width), (rows, columns) = ADAPTED, TARGET
        fy, fx = rows / height, columns / width
        x = torch.arange(width) * fx + fy / 2 - 0.5
        y = torch.arange(height) * fy + fx / 2 - 0.5

        def weights(centers: Tensor, size: int) -> Tensor:
            table = (1 - (centers[:, None] - torch.arange(size)).abs()).clamp(min=0)
            return table / table.sum(1, keepdim=True)

        made = weights(y, rows) @ (picture / 255) @ weights(x, columns).T
        made[..., -1] = 0.05 * made[..., -2] + 0.95 * made[..., -1]
        made[..., -1, :] = 0.05 * made[..., -2, :] + 0.95 * made[..., -1, :]
        return made - torch.tensor(MEAN).view(1, 3, 1, 1)

    def refine(self, quarter: Tensor, eighth: Tensor) -> Tensor:
        skips, x = {2: quarter, 3: eighth}, eighth
        for level in (4, 5, 6):
            x = skips[level] = self.conv(f"conv{level}_1", self.conv(f"conv{level}", x, 2))
        flow = self.conv("Convolution1", x, relu=False)
        for number, level in ((2, 5), (3, 4), (4, 3), (5, 2)):
            up = self.deconv(f"deconv{level}", x)
            flow_up = self.deconv(f"upsample_flow{level + 1}to{level}", flow, relu=False)
            x = torch.cat([skips[level], up, flow_up], 1)
            flow = self.conv(f"Convolution{number}", x, relu=False)
        return flow

    def finish(self, flow: Tensor) -> Tensor:
        """The quarter's flow is smaller than the target on both sides: no window widens."""
        rows, columns = flow.shape[2:]
        fy, fx = rows / TARGET[0], columns / TARGET[1]
        x = torch.arange(TARGET[1]) * fx + fy / 2 - 0.5
        y = torch.arange(TARGET[0]) * fy + fx / 2 - 0.5
        tables = []
        for centers, size in ((y, rows), (x, columns)):
            table = (1 - (centers[:, None] - torch.arange(size)).abs()).clamp(min=0)
            tables.append(table / table.sum(1, keepdim=True))
        resized = tables[0] @ (20 * flow) @ tables[1].T
        factors = [t / a for t, a in zip(TARGET[::-1], ADAPTED[::-1], strict=True)]
        return resized * torch.tensor(factors).view(1, 2, 1, 1)

    def simple(self, first: Tensor, second: Tensor) -> Tensor:
        x = torch.cat([self.picture(first), self.picture(second)], 1)
        quarter = self.conv("conv2", self.conv("conv1", x, 2), 2)
        return self.finish(self.refine(quarter, self.conv("conv3_1", self.conv("conv3", quarter, 2))))

    def correlated(self, first: Tensor, second: Tensor) -> Tensor:
        quarters, eighths = [], []
        for picture in (first, second):
            quarters.append(self.conv("conv2", self.conv("conv1", self.picture(picture), 2), 2))
            eighths.append(self.conv("conv3", quarters[-1], 2))
        first, second = eighths
        height, width = first.shape[2:]
        padded = F.pad(second, (20, 20, 20, 20))
        maps = [
            (first * padded[:, :, 20 + dy : 20 + dy + height, 20 + dx : 20 + dx + width]).mean(1)
            for dy in range(-20, 21, 2)
            for dx in range(-20, 21, 2)
        ]
        matched = F.leaky_relu(torch.stack(maps, 1), 0.1)
        x = torch.cat([self.conv("conv_redir", first), matched], 1)
        return self.finish(self.refine(quarters[0], self.conv("conv3_1", x)))


@pytest.mark.parametrize("kind", ["S", "C"])
def test_flow_is_that_of_an_independent_computation(kind: str) -> None:
    net = trained((flownet_s if kind == "S" else flownet_c)(TARGET, ADAPTED))
    given, hand = pictures(), ByHand(net)
    with torch.no_grad():
        made = net.forward(given)["predict_flow_final"]
        wanted = (hand.simple if kind == "S" else hand.correlated)(given["img0"], given["img1"])
    assert made.shape == (1, 2, *TARGET)
    torch.testing.assert_close(made, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))


@pytest.mark.parametrize("ending", ["caffemodel", "caffemodel.h5"])
def test_weights_by_name_bring_the_mean_of_another_size(ending: str, tmp_path: Path) -> None:
    """The published weights are those of a training on crops; the layer that scales the flow is in no file."""
    stored = trained(flownet_s((60, 60), (64, 64)).replace('name: "scale_conv1"', 'name: "another"'))
    path = tmp_path / f"FlowNet2-S_weights.{ending}"
    stored.save(path)
    net = make_net(flownet_s(TARGET, ADAPTED))
    report = net.load_weights(path)
    assert report.missing == ["scale_conv1"] and report.untrained == []
    assert len(report.converted) == 2 and "3 blobs of another size" in report.converted[0]
    with torch.no_grad():
        made = net.forward(pictures())["predict_flow_final"]
        hand = ByHand(net).simple(*pictures().values())
    torch.testing.assert_close(made, hand, rtol=1e-3, atol=1e-3 * float(hand.abs().max()))


def test_the_whole_stack() -> None:
    net = trained(flownet2(TARGET, ADAPTED))
    with torch.no_grad():
        flow = net.forward(pictures())["predict_flow_final"]
    assert flow.shape == (1, 2, *TARGET) and torch.isfinite(flow).all()
    assert net.blob_shapes["corr"] == (1, 441, 8, 16)
    assert net.blob_shapes["net2_input"] == net.blob_shapes["net3_input"] == (1, 12, *ADAPTED)
    assert net.blob_shapes["fuse_input"] == (1, 11, *ADAPTED)


@pytest.mark.parametrize("opset", [13, 16])
def test_the_whole_stack_as_onnx(opset: int, tmp_path: Path) -> None:
    net = trained(flownet2((64, 64), (64, 64)))
    given = {name: picture[:, :, :, :64].repeat(1, 1, 2, 1)[:, :, :64].numpy() for name, picture in pictures().items()}
    export, path = export_net(net, ExportOptions(opset=opset)), tmp_path / "net.onnx"
    with path.open("wb") as file:
        write_model(file, export.model, export.weights)
    wanted, found = run_net(net, given), run_model(path, {export.inputs[blob]: given[blob] for blob in export.inputs})
    for blob, values in wanted.items():
        np.testing.assert_allclose(found[blob], values, atol=2e-3 * np.abs(values).max())


def test_the_whole_stack_as_torch_source(tmp_path: Path) -> None:
    net = trained(flownet2(TARGET, ADAPTED))
    write_source(make_source(net), str(tmp_path / "made.py"))
    with torch.no_grad():
        made = load_source(str(tmp_path / "made.py"))(*pictures().values())
        wanted = net.forward(pictures())["predict_flow_final"]
    torch.testing.assert_close(made, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))
