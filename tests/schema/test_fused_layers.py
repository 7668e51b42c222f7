"""Intel's fused layers, taken apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from caffecompat.forks import Fork
from caffecompat.net import Net
from caffecompat.schema import NetDocument, PrototxtError, open_net, parse_text, pb

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 5 dim: 5 } } }\n'


def net_of(text: str, phase: int = pb.TEST) -> Net:
    torch.manual_seed(3)
    return Net(parse_text(INPUT + text, pb.NetParameter()), phase, log=False)


def run(net: Net) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(5))
    return x, net.forward({"data": x})


def conv(settings: str, name: str = "conv", bottoms: str = 'bottom: "data"') -> str:
    return f"""layer {{ name: "{name}" type: "Convolution" {bottoms} top: "{name}" convolution_param {{
      num_output: 3 kernel_size: 3 pad: 1 weight_filler {{ type: "xavier" }}
      bias_filler {{ type: "gaussian" }} {settings} }} }}
    """


@pytest.mark.parametrize(("settings", "slope"), [("relu: true", 0.0), ("relu: true negative_slope: 0.25", 0.25)])
def test_relu_in_a_convolution(settings, slope):
    net = net_of(conv(settings))
    x, tops = run(net)
    weight, bias = (torch.from_numpy(blob) for blob in net.blobs_by_layer()["conv"])
    torch.testing.assert_close(tops["conv"], F.leaky_relu(F.conv2d(x, weight, bias, padding=1), slope))
    assert (tops["conv"] < 0).any() == bool(slope)
    assert [(layer.name, layer.type) for layer in net.layers][1:] == [("conv", "Convolution"), ("conv_relu", "ReLU")]


@pytest.mark.parametrize("relu", ["", "relu: true"])
def test_a_fused_sum_comes_before_relu(relu):
    fused = conv(f"fusion_type: SUM_FUSION coeff: 1 coeff: 1 {relu}", "b", 'bottom: "a" bottom: "data"')
    net = net_of(conv("", "a") + fused)
    x, tops = run(net)
    (wa, ba), (wb, bb) = ([torch.from_numpy(blob) for blob in net.blobs_by_layer()[name]] for name in "ab")
    expected = F.conv2d(F.conv2d(x, wa, ba, padding=1), wb, bb, padding=1) + x
    torch.testing.assert_close(tops["b"], F.relu(expected) if relu else expected)


def test_sum_fusion_with_one_bottom_is_a_plain_convolution():
    assert [layer.type for layer in net_of(conv("fusion_type: SUM_FUSION")).layers] == ["Input", "Convolution"]


def test_relu_in_batch_norm():
    net = net_of('layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" batch_norm_param { relu: true } }')
    x, tops = run(net)
    torch.testing.assert_close(tops["bn"], F.relu(x / 1e-5**0.5))  # fresh statistics are 0
    norm = 'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" batch_norm_param { relu: true } }'
    x, tops = run(net_of(norm, pb.TRAIN))
    torch.testing.assert_close(tops["bn"], F.relu(F.batch_norm(x, None, None, training=True)))


NORM = 'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" batch_norm_param { %s } }'


@pytest.mark.parametrize("text", ["bn_stats_batch_size: 2\n" + NORM % "", NORM % "stats_batch_size: 2"])
def test_statistics_of_a_part_of_the_batch(text):
    net = net_of(text, pb.TRAIN)
    x, tops = run(net)
    halves = [F.batch_norm(half, None, None, training=True) for half in x.split(2)]
    torch.testing.assert_close(tops["bn"], torch.cat(halves))
    mean, variance, factor = net.blobs_by_layer()["bn"]
    first, second = (half.mean((0, 2, 3)).numpy() for half in x.split(2))
    np.testing.assert_allclose(mean, 0.999 * first + second, rtol=1e-5, atol=1e-6)
    first, second = (half.transpose(0, 1).flatten(1).var(1).numpy() for half in x.split(2))
    np.testing.assert_allclose(variance, 0.999 * first + second, rtol=1e-5)
    np.testing.assert_allclose(factor, [1.999], rtol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        NORM % "use_weight_bias: true",
        NORM % "engine: MKL2017",
        (NORM % "").replace("batch_norm_param", 'engine: "MKLDNN" batch_norm_param'),
        'engine: "MKLDNN:DLA,CPU"\n' + NORM % "",
    ],
)
def test_intels_engines_give_batch_norm_a_scale_and_a_bias(text, tmp_path):
    net = net_of(text.replace("batch_norm_param {", "batch_norm_param { filler { value: 2 } bias_filler { value: 3 }"))
    blobs = net.blobs_by_layer()["bn"]
    assert [blob.tolist() for blob in blobs] == [[0] * 3, [0] * 3, [0], [2] * 3, [3] * 3]
    assert [param.blob.requires_grad for param in net.params] == [False, False, False, True, True]
    mean, variance = np.array([1, 2, 3], np.float32), np.array([4, 5, 6], np.float32)
    net.layers[1].module.mean.data.copy_(torch.from_numpy(mean * 2))
    net.layers[1].module.variance.data.copy_(torch.from_numpy(variance * 2))
    net.layers[1].module.factor.data.fill_(2)
    x, tops = run(net)
    expected = F.batch_norm(
        x, torch.from_numpy(mean), torch.from_numpy(variance), torch.full((3,), 2.0), torch.full((3,), 3.0)
    )
    torch.testing.assert_close(tops["bn"], expected)
    net.save(tmp_path / "net.caffemodel")
    again = net_of(text)
    again.load_weights(tmp_path / "net.caffemodel")
    torch.testing.assert_close(run(again)[1]["bn"], expected)
    other = Net(parse_text(INPUT + NORM % "", pb.NetParameter()), pb.TEST, log=False)
    with pytest.raises(Exception, match="has a scale and bias"):
        other.load_weights(tmp_path / "net.caffemodel")


@pytest.mark.parametrize("text", [NORM % "use_weight_bias: false engine: MKLDNN", NORM % "engine: CAFFE"])
def test_other_batch_norms_have_none(text):
    assert len(net_of('engine: "MKLDNN"\n' + text).blobs_by_layer()["bn"]) == 3


def test_a_scale_layer_after_it_has_them():
    scale = 'layer { name: "s" type: "Scale" bottom: "bn" top: "bn" scale_param { bias_term: true } }'
    net = net_of(NORM % "engine: MKLDNN filler { value: 1 }" + scale)
    assert [len(blobs) for blobs in net.blobs_by_layer().values()] == [3, 2]


def test_a_layers_own_size_wins_and_must_divide_the_batch():
    net = net_of("bn_stats_batch_size: 3\n" + NORM % "stats_batch_size: 4", pb.TRAIN)
    torch.testing.assert_close(run(net)[1]["bn"], F.batch_norm(run(net)[0], None, None, training=True))
    with pytest.raises(Exception, match="stats_batch_size 3 must divide the batch, which has 4"):
        net_of("bn_stats_batch_size: 3\n" + NORM % "", pb.TRAIN)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            conv("relu: true").replace('"Convolution"', '"Deconvolution"'),
            "4:40.*relu has an effect in Convolution only",
        ),
        (conv("fusion_type: SUM_FUSION coeff: 0.5"), "only Intel's int8 uses coeff"),
        (
            conv("fusion_type: SUM_FUSION", bottoms='bottom: "data" bottom: "data" bottom: "data"'),
            "SUM_FUSION makes one top of two bottoms, not 1 of 3",
        ),
        (NORM % "use_weight_bias: true bias_term: false", "use_weight_bias with bias_term: false is not supported"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_with_its_place(tmp_path, text, message):
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT + text)
    with pytest.raises(Exception, match=message) as error:
        Net(open_net(path), pb.TEST, log=False)
    assert f"{path}:" in str(error.value)


def test_all_such_layers_are_in_one_error(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT + conv("coeff: 2", "a") + conv("coeff: 3", "b"))
    with pytest.raises(PrototxtError) as error:
        open_net(path)
    assert len(error.value.problems) == 2


def test_a_slope_without_relu_is_warned_of(tmp_path, capsys):
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT + conv("negative_slope: 0.5"))
    assert [layer.type for layer in open_net(path).message.layer] == ["Input", "Convolution"]
    assert "negative_slope has no effect without relu: true" in capsys.readouterr().err


def test_parts_are_in_the_net_when_the_layer_is_and_keep_its_place(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT + conv("relu: true").replace('type: "Conv', 'include { phase: TRAIN } type: "Conv'))
    document = open_net(path)
    assert document.message.layer[2].include[0].phase == pb.TRAIN
    assert document.where(2) == document.where(1) == f"{path}:2:1"


def test_names_that_are_taken_are_not_used_again():
    taken = 'layer { name: "conv_relu" type: "TanH" bottom: "conv" top: "y" }'
    names = [layer.name for layer in net_of(conv("relu: true") + taken).layers]
    assert names == ["data", "conv", "conv_relu_", "conv_relu"]


POOL = """layer { name: "p" type: "Pooling" bottom: "data" top: "p"
  pooling_param { pool: %s kernel_size: 3 pad: %d avg_include_pad: false } }"""


def test_averages_without_the_padding_are_refused_where_there_is_one():
    with pytest.raises(Exception, match=r"avg_include_pad: false .* is not supported"):
        net_of(POOL % ("AVE", 1))
    x, tops = run(net_of(POOL % ("AVE", 0)))
    torch.testing.assert_close(tops["p"], F.avg_pool2d(x, 3, 1))
    net_of(POOL % ("MAX", 1))


@pytest.mark.parametrize(
    "text",
    [
        POOL % ("AVE", 1),
        "layer { transform_param { random_resize_param { min_size: 256 } } }",
        conv("relu: true"),
        conv("conv_algorithm: 'winograd'"),
        NORM % "use_weight_bias: false",
        NORM % "filler { value: 1 }",
        "bn_stats_batch_size: 2",
        "engine: 'MKLDNN'",
        "layer { engine: 'MKL2017' }",
    ],
)
def test_intels_fields_show_the_fork(text):
    assert NetDocument.from_message(parse_text(text, pb.NetParameter())).fork is Fork.INTEL


@pytest.mark.parametrize("engine", ["MKL2017", "MKLDNN"])
def test_intels_engines_are_understood_without_a_word(engine, log):
    blocks = ("convolution", "batch_norm", "lrn", "pooling", "relu", "concat", "eltwise", "split")
    text = "".join(f"layer {{ engine: '{engine}' {block}_param {{ engine: {engine} }} }}" for block in blocks)
    parse_text(
        text + "layer { inner_product_param { engine: MKLDNN } } engine: 'MKLDNN'", pb.NetParameter(), name="net"
    )
    parse_text("engine: 'MKLDNN' disabled_update: false", pb.SolverParameter(), name="solver")
    assert log == []
