"""The BN layers of ENet/SegNet and PSPNet beyond the recorded cases."""

import pytest
import torch

from caffecompat.forks import Fork
from caffecompat.layers import LayerError
from caffecompat.schema import pb
from tests.layers.make import make_layer

SHAPE = (3, 2, 4, 5)
ENET = 'type: "BN" bn_param { scale_filler { value: 2 } shift_filler { value: 1 } '
PSPNET = 'type: "BN" bn_param { slope_filler { value: 2 } momentum: 0.75 '


@pytest.mark.parametrize(
    ("text", "fork", "count"),
    [("", Fork.ENET, 2), ("", Fork.PSPNET, 4), (ENET, Fork.PSPNET, 2), (PSPNET, Fork.ENET, 4)],
)
def test_fields_before_fork(text, fork, count):
    layer = make_layer((text or 'type: "BN" bn_param { ') + "}", SHAPE, fork=fork)
    assert [tuple(blob.shape) for blob in layer.blobs] == [(1, 2, 1, 1)] * count


@pytest.mark.parametrize("phase", [pb.TRAIN, pb.TEST])
def test_statistics_as_tops(phase):
    x = torch.randn(SHAPE) * 3 + 1
    top, mean, variance = make_layer('top: "y" top: "m" top: "v" ' + ENET + "}", SHAPE, phase=phase)(x)
    assert torch.allclose(mean, x.mean((0, 2, 3), keepdim=True), atol=1e-5)
    assert torch.allclose(variance, x.var((0, 2, 3), unbiased=False, keepdim=True), rtol=1e-4)
    assert torch.allclose(top, 2 * (x - mean) / variance.sqrt() + 1, atol=1e-4)


def test_running_statistics_move_in_training_only():
    x = torch.randn(SHAPE) + 4
    layer = make_layer(PSPNET + "}", SHAPE)
    layer(x)
    assert torch.allclose(layer.mean, 0.25 * x.mean((0, 2, 3), keepdim=True), atol=1e-5)
    layer.eval()
    before = layer.variance.clone()
    layer(x)
    assert torch.equal(layer.variance, before)


def test_frozen_learns_nothing():
    layer = make_layer(PSPNET + "frozen: true }", SHAPE)
    assert not any(blob.requires_grad for blob in layer.blobs)
    assert layer.variance.eq(1).all()


@pytest.mark.parametrize("text", [ENET, PSPNET])
def test_gradient(text):
    x = (torch.randn(SHAPE, dtype=torch.float64) + 1).requires_grad_()
    layer = make_layer(text + "}", SHAPE).double()
    assert torch.autograd.gradcheck(lambda bottom, *_: layer(bottom), (x, layer.scale, layer.shift))


def test_one_value_a_channel():
    assert make_layer(ENET + "}", (1, 2, 1, 1))(torch.randn(1, 2, 1, 1)).flatten().tolist() == [1, 1]


def test_errors():
    with pytest.raises(LayerError, match="INFERENCE computes no statistics"):
        make_layer('top: "a" top: "b" ' + ENET + "bn_mode: INFERENCE }", SHAPE)
    with pytest.raises(LayerError, match="one top"):
        make_layer('top: "a" top: "b" ' + PSPNET + "}", SHAPE)
    with pytest.raises(LayerError, match=r"takes \(N, C, H, W\)"):
        make_layer(ENET + "}", (1, 2))
