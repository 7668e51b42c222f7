"""Batch normalization's layouts, phases and weight files; LRN and MVN."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.forks import Fork
from caffecompat.layers import LayerError
from caffecompat.schema import pb
from tests.layers.make import make_layer

SHAPE = (4, 3, 5, 6)
PLAIN = 'type: "BatchNorm"'
FILLED = PLAIN + (
    " batch_norm_param { moving_average_fraction: 0.9 scale_filler { value: 2 } bias_filler { value: 1 } "
)
XILINX = FILLED + "}"
TRAIN, TEST = pb.TRAIN, pb.TEST


def batch(seed=0, shape=SHAPE, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2 + 3


def statistics(x):
    return x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)


def normalized(x, mean, variance, eps=1e-5):
    return (x - mean.view(1, -1, 1, 1)) / (variance.view(1, -1, 1, 1) + eps).sqrt()


class TestLayouts:
    @pytest.mark.parametrize(
        ("text", "fork", "names"),
        [
            (PLAIN, Fork.BVLC, "mean variance factor"),
            (PLAIN, Fork.XILINX, "scale bias mean variance unused"),
            (PLAIN, Fork.JACINTO, "mean variance factor"),
            (XILINX, Fork.BVLC, "scale bias mean variance unused"),
            (XILINX, Fork.JACINTO, "mean variance factor scale bias"),
            (PLAIN + " batch_norm_param { scale_bias: true }", Fork.BVLC, "mean variance factor scale bias"),
            (PLAIN + " param { lr_mult: 1 }" * 4, Fork.BVLC, "scale bias mean variance unused"),
        ],
    )
    def test_blobs(self, text, fork, names):
        layer = make_layer(text, SHAPE, fork=fork)
        assert layer.blob_names == names.split()
        sizes = {"factor": (1,), "unused": (1,)}
        assert [tuple(blob.shape) for blob in layer.blobs] == [sizes.get(name, (3,)) for name in layer.blob_names]
        learned = {name for name, blob in zip(layer.blob_names, layer.blobs, strict=True) if blob.requires_grad}
        assert learned == {"scale", "bias"} & set(layer.blob_names)

    def test_without_fillers_the_scale_is_one(self):
        assert make_layer(PLAIN, SHAPE, fork=Fork.XILINX).scale.eq(1).all()
        assert make_layer(PLAIN + " batch_norm_param { scale_bias: true }", SHAPE).scale.eq(1).all()

    def test_statistics_with_a_rate_are_refused(self):
        with pytest.raises(LayerError, match="lr_mult 0"):
            make_layer(PLAIN + " param { lr_mult: 0 } param { lr_mult: 0 } param { }", SHAPE)


class TestBvlc:
    def test_sums_decay(self):
        layer = make_layer(PLAIN + " batch_norm_param { moving_average_fraction: 0.9 }", SHAPE)
        first, second = batch(1), batch(2)
        layer(first)
        top = layer(second)
        (m1, v1), (m2, v2) = statistics(first), statistics(second)
        count = first.numel() / 3
        assert torch.allclose(top, normalized(second, m2, v2), atol=1e-5)
        assert layer.factor.item() == pytest.approx(1.9)
        assert torch.allclose(layer.mean, 0.9 * m1 + m2, atol=1e-5)
        assert torch.allclose(layer.variance, (0.9 * v1 + v2) * count / (count - 1), rtol=1e-5)
        layer.eval()
        x = batch(3)
        assert torch.allclose(layer(x), normalized(x, layer.mean / 1.9, layer.variance / 1.9), atol=1e-4)

    def test_use_global_stats_wins_over_the_phase(self):
        frozen = make_layer(PLAIN + " batch_norm_param { use_global_stats: true }", SHAPE)
        before = [blob.clone() for blob in frozen.blobs]
        frozen(batch())
        assert all(torch.equal(*pair) for pair in zip(before, frozen.blobs, strict=True))
        moving = make_layer(PLAIN + " batch_norm_param { use_global_stats: false }", SHAPE, phase=TEST)
        moving(batch())
        assert moving.factor.item() == 1

    def test_factor_zero_means_zero_statistics(self):
        x = batch()
        assert torch.allclose(make_layer(PLAIN, SHAPE, phase=TEST)(x), x / 1e-5**0.5, rtol=1e-4)


class TestXilinx:
    def test_first_batch_is_copied_then_averaged(self):
        layer = make_layer(XILINX, SHAPE)
        layer(batch(1))
        (m1, v1), (m2, v2) = statistics(batch(1)), statistics(batch(2))
        assert torch.allclose(layer.mean, m1, atol=1e-5) and torch.allclose(layer.variance, v1, rtol=1e-5)
        top = layer(batch(2))
        assert torch.allclose(layer.mean, 0.9 * m1 + 0.1 * m2, atol=1e-5)
        assert torch.allclose(layer.variance, 0.9 * v1 + 0.1 * v2, rtol=1e-5)
        assert torch.allclose(top, 2 * normalized(batch(2), m2, v2) + 1, atol=1e-4)

    def test_loaded_statistics_are_averaged_from_the_start(self):
        layer = make_layer(XILINX, SHAPE)
        layer.weights_loaded()
        layer(batch())
        assert torch.allclose(layer.mean, 0.1 * statistics(batch())[0], atol=1e-5)

    def test_training_ignores_use_global_stats(self):
        layer = make_layer(FILLED + "use_global_stats: true }", SHAPE)
        assert torch.allclose(layer(batch()), 2 * normalized(batch(), *statistics(batch())) + 1, atol=1e-4)

    def test_test_phase_obeys_an_explicit_value(self):
        by_batch = make_layer(FILLED + "use_global_stats: false }", SHAPE, phase=TEST)
        by_batch.weights_loaded()
        by_batch.mean.data.fill_(7)
        assert torch.allclose(by_batch(batch()), 2 * normalized(batch(), *statistics(batch())) + 1, atol=1e-4)
        assert by_batch.mean.eq(7).all()
        running = make_layer(XILINX, SHAPE, phase=TEST)
        running.variance.data.fill_(4)
        assert torch.allclose(running(batch()), 2 * batch() / 2 + 1, atol=1e-4)

    def test_backward_replaces_the_gradients_of_scale_and_bias(self):
        layer = make_layer(XILINX, SHAPE)
        for seed in (1, 2):
            layer(batch(seed)).square().sum().backward()
        again = make_layer(XILINX, SHAPE)
        again(batch(2)).square().sum().backward()
        assert torch.equal(layer.scale.grad, again.scale.grad)
        assert torch.equal(layer.bias.grad, again.bias.grad)


class TestNvcaffe:
    def test_phase_alone_decides(self):
        text = PLAIN + " batch_norm_param { use_global_stats: false moving_average_fraction: 0.5 }"
        test = make_layer(text, SHAPE, phase=TEST, fork=Fork.JACINTO)
        test.mean.data.fill_(1), test.variance.data.fill_(4), test.factor.data.fill_(0)
        assert torch.allclose(test(batch()), (batch() - 1) / 2, atol=1e-4)
        train = make_layer(text.replace("false", "true"), SHAPE, fork=Fork.JACINTO)
        assert torch.allclose(train(batch()), normalized(batch(), *statistics(batch())), atol=1e-4)
        train(batch(1))
        assert torch.allclose(train.mean, (statistics(batch())[0] + statistics(batch(1))[0]) / 2, atol=1e-5)


def blobs(rng, *names, shape=lambda size: (size,), channels=3, factor=2.0):
    values = {"factor": np.array([factor], np.float32), "unused": np.zeros(1, np.float32)}
    made = {name: values.get(name, rng.uniform(0.5, 2, channels).astype(np.float32)) for name in names}
    return made, [array.reshape(shape(array.size)) for array in made.values()]


FOUR_AXES = lambda size: (1, size, 1, 1)  # noqa: E731


class TestWeightFiles:
    """Files of one layout loaded into a layer of another normalize alike."""

    ORDERS = {  # noqa: RUF012
        "bvlc": ("mean", "variance", "factor"),
        "xilinx": ("scale", "bias", "mean", "variance", "unused"),
        "xilinx without the unused blob": ("scale", "bias", "mean", "variance"),
        "nvcaffe affine": ("mean", "variance", "factor", "scale", "bias"),
    }

    @pytest.mark.parametrize("shape", [lambda size: (size,), FOUR_AXES], ids=["C", "1C11"])
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("order", list(ORDERS))
    @pytest.mark.parametrize(("text", "fork"), [(XILINX, Fork.XILINX), (XILINX, Fork.JACINTO)])
    def test_into_affine_layers(self, order, text, fork, shape, channels):
        names = self.ORDERS[order]
        factor = 2.0 if order == "bvlc" else 1.0
        made, stored = blobs(np.random.default_rng(0), *names, shape=shape, channels=channels, factor=factor)
        x = batch(shape=(4, channels, 5, 6))
        layer = make_layer(text, x.shape, phase=TEST, fork=fork)
        for blob, values in zip(layer.blobs, layer.adapt_blobs(stored), strict=True):
            assert blob.shape == values.shape
            blob.data.copy_(torch.from_numpy(values))
        mean, variance = (torch.from_numpy(made[name]) / factor for name in ("mean", "variance"))
        scale, bias = (torch.from_numpy(made[n]).view(1, -1, 1, 1) if n in made else v for n, v in self.AFFINE)
        assert torch.allclose(layer(x), normalized(x, mean, variance) * scale + bias, atol=1e-4)

    AFFINE = (("scale", 1), ("bias", 0))

    def test_own_file_is_kept_to_the_bit(self):
        for text, order in ((PLAIN, "bvlc"), (XILINX, "xilinx")):
            made, stored = blobs(np.random.default_rng(1), *self.ORDERS[order], factor=999.98)
            got = make_layer(text, SHAPE).adapt_blobs(stored)
            assert all(np.array_equal(*pair) for pair in zip(got, made.values(), strict=True))

    def test_factor_zero_of_nvcaffe_016(self):
        made, stored = blobs(np.random.default_rng(2), *self.ORDERS["bvlc"], factor=0.0)
        mean, _, factor = make_layer(PLAIN, SHAPE).adapt_blobs(stored)
        assert np.array_equal(mean, made["mean"]) and factor == 1

    def test_fresh_bvlc_file_stays_empty(self):
        stored = [np.zeros(3, np.float32), np.zeros(3, np.float32), np.zeros(1, np.float32)]
        assert not any(blob.any() for blob in make_layer(PLAIN, SHAPE).adapt_blobs(stored))

    def test_plain_layer_refuses_to_lose_a_scale(self):
        _, stored = blobs(np.random.default_rng(3), *self.ORDERS["xilinx"])
        with pytest.raises(LayerError, match="give this one scale_filler"):
            make_layer(PLAIN, SHAPE).adapt_blobs(stored)
        stored[0][:], stored[1][:] = 1, 0
        assert len(make_layer(PLAIN, SHAPE).adapt_blobs(stored)) == 3

    def test_what_fits_no_layout_is_left_for_the_net_to_report(self):
        stored = [np.zeros(7, np.float32)] * 3
        assert make_layer(PLAIN, SHAPE).adapt_blobs(stored) is stored


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([(PLAIN, Fork.BVLC), (XILINX, Fork.XILINX), (XILINX, Fork.JACINTO)]),
    st.sampled_from([TRAIN, TEST]),
    st.integers(2, 5),
)
def test_gradient(kind, phase, axes):
    text, fork = kind
    x = batch(shape=(3, 2, 3, 2, 2)[:axes], dtype=torch.float64).requires_grad_()
    layer = make_layer(text, x.shape, phase=phase, fork=fork).double()
    for name in ("variance", "factor"):
        getattr(layer, name, torch.empty(0)).data.fill_(2)
    learned = [blob for blob in layer.blobs if blob.requires_grad]
    assert torch.autograd.gradcheck(lambda bottom, *_: layer(bottom), (x, *learned))


@pytest.mark.parametrize("fork", [Fork.BVLC, Fork.XILINX])
def test_one_value_a_channel(fork):
    layer = make_layer(PLAIN, (1, 3), fork=fork)
    x = torch.tensor([[1.0, -2.0, 3.0]], requires_grad=True)
    top = layer(x)
    top.sum().backward()
    assert not top.any() and not x.grad.any() and not layer.variance.any()
    assert layer.mean.tolist() == [1, -2, 3]


def test_vector_is_one_channel():
    x = torch.arange(5.0)
    top = make_layer(PLAIN, (5,))(x)
    assert torch.allclose(top, (x - 2) / (2 + 1e-5) ** 0.5)


class TestLrn:
    TEXT = 'type: "LRN" lrn_param { local_size: 5 alpha: 0.3 beta: 0.75 k: 2 '

    @pytest.mark.parametrize("channels", [1, 2, 3, 8])
    def test_across(self, channels):
        x = batch(shape=(2, channels, 3, 4))
        top = make_layer(self.TEXT + "}", x.shape)(x)
        for c in range(channels):
            scale = 2 + 0.3 / 5 * x[:, max(c - 2, 0) : c + 3].square().sum(1)
            assert torch.allclose(top[:, c], x[:, c] * scale**-0.75, rtol=1e-4)

    def test_within_ignores_k(self):
        x = batch(shape=(1, 2, 4, 4))
        top = make_layer(self.TEXT + "norm_region: WITHIN_CHANNEL }", x.shape)(x)
        assert torch.allclose(top[0, 1, 0, 3], x[0, 1, 0, 3] * (1 + 0.3 / 25 * x[0, 1, :3, 1:].square().sum()) ** -0.75)

    @pytest.mark.parametrize("region", ["ACROSS_CHANNELS", "WITHIN_CHANNEL"])
    def test_gradient(self, region):
        x = batch(shape=(2, 6, 3, 4), dtype=torch.float64).requires_grad_()
        layer = make_layer(self.TEXT + f"norm_region: {region} }}", x.shape)
        assert torch.autograd.gradcheck(layer, x)

    def test_even_size(self):
        with pytest.raises(LayerError, match="odd"):
            make_layer('type: "LRN" lrn_param { local_size: 4 }', SHAPE)


class TestMvn:
    @pytest.mark.parametrize("across", ["true", "false"])
    def test_gradient(self, across):
        x = batch(shape=(2, 3, 3, 4), dtype=torch.float64).requires_grad_()
        layer = make_layer(f'type: "MVN" mvn_param {{ across_channels: {across} }}', x.shape)
        assert torch.autograd.gradcheck(layer, x)

    def test_constant_plane(self):
        x = torch.full((1, 1, 3, 3), 4.0, requires_grad=True)
        layer = make_layer('type: "MVN"', x.shape)
        top = layer(x)
        top[0, 0, 0, 0].backward()
        assert not top.any() and x.grad.isfinite().all()


def test_mvn_of_single_values_is_zero() -> None:
    """BVLC's statistics are of each channel of each item, which is its own mean where it is one value."""
    x = torch.tensor([[1.0, -2.0], [3.0, 5.0]])
    assert make_layer('type: "MVN"', x.shape)(x).tolist() == [[0, 0], [0, 0]]
