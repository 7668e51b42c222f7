"""What a net costs, against counting by hand and against published tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat.data.placeholder import Placeholders, placeholder
from caffecompat.data.source import DataError
from caffecompat.forks import Fork
from caffecompat.net import Net
from caffecompat.net.summary import Field, NetSummary, summarize_net
from caffecompat.schema import parse_text as parse
from caffecompat.schema import pb

SMALL = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 16 dim: 16 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 } param { lr_mult: 0 }
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }
layer { name: "pool" type: "Pooling" bottom: "bn" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "up" type: "Deconvolution" bottom: "pool" top: "up"
  convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 4 bias_term: false } }
layer { name: "sum" type: "Eltwise" bottom: "up" bottom: "bn" top: "sum" }
layer { name: "fc" type: "InnerProduct" bottom: "sum" top: "fc" inner_product_param { num_output: 5 } }
"""


def summary_of(text: str, phase: int = pb.TEST) -> NetSummary:
    message = pb.NetParameter()
    parse(text, message)
    return summarize_net(Net(message, phase, sources=Placeholders(), log=False))


def test_counts() -> None:
    summary = summary_of(SMALL)
    assert (summary.batch, summary.inputs, summary.outputs) == (2, [("data", (2, 3, 16, 16))], [("fc", (2, 5))])
    conv, bn, up, fc = 8 * 8 * 4 * 27, 8 * 8 * 4, 4 * 4 * 4 * 16, 256 * 5
    assert summary.macs_by_type == {"Convolution": conv, "InnerProduct": fc, "Deconvolution": up, "BatchNorm": bn}
    assert (summary.macs, summary.elementwise) == (conv + up + fc, bn)
    assert summary.parameters == (108 + 4) + 9 + 64 + (1280 + 5)
    assert summary.trained == summary.parameters - 4 - 9, "a bias with lr_mult 0, and statistics"
    # data 1536, conv 512, bn 512, pool 128, up 512, sum 512, fc 10
    assert summary.activations == 1536 + 512 + 512 + 128 + 512 + 512 + 10
    assert summary.peak == 1536 + 512, "data and conv; the ReLU works in conv"


def test_fields_of_view() -> None:
    fields = {layer.name: layer.field for layer in summary_of(SMALL).layers}
    assert fields["conv"] == fields["relu"] == fields["bn"] == Field((3, 3), (2, 2))
    assert fields["pool"] == Field((5, 5), (4, 4))
    assert fields["up"] == fields["sum"] == Field((9, 9), (2, 2)), "two values of pool reach each value of up"
    assert fields["fc"] is None


RESAMPLING = {
    'type: "Interp" interp_param { zoom_factor: 2 }': ((3, 3, 17, 33), (5, 5), (1, 1)),  # 9x17 to 17x33
    'type: "Interp" interp_param { height: 9 width: 17 }': ((3, 3, 9, 17), (3, 3), (2, 2)),  # as it is
    'type: "Interp" interp_param { shrink_factor: 4 }': ((3, 3, 3, 5), (3, 3), (8, 8)),
    'type: "Interp" interp_param { height: 33 width: 33 }': ((3, 3, 33, 33), (5, 5), (0.5, 1)),
    'type: "Interp" interp_param { pad_beg: -1 pad_end: -3 height: 9 width: 9 }': ((), (5, 5), (1, 3)),  # of 5x13
    'type: "Interp"': ((3, 3, 5, 5), (3, 3), (4, 8)),  # to the size of another blob
    'type: "DeephiResize" deephi_resize_param { scale_h: 2 scale_w: 2 resize_type: BILINEAR }': ((), (5, 5), (1, 1)),
    'type: "DeephiResize" deephi_resize_param { scale_h: 2 scale_w: 4 }': ((3, 3, 18, 68), (3, 3), (1, 0.5)),
    'type: "DeephiResize" deephi_resize_param { new_height: 3 new_width: 17 resize_type: BILINEAR }': (
        (3, 3, 3, 17), (3, 3), (6, 2)),
    'type: "Crop" crop_param { axis: 2 offset: 1 }': ((3, 3, 5, 5), (3, 3), (2, 2)),
    'type: "Deconvolution" convolution_param { num_output: 2 kernel_size: 4 stride: 2 pad: 1 }': ((), (5, 5), (1, 1)),
    'type: "Slice" slice_param { axis: 2 slice_point: 4 }': ((), (3, 3), (2, 2)),
    'type: "Concat" concat_param { axis: 3 }': ((3, 3, 9, 34), (3, 3), (2, 2)),
    'type: "Tile" tile_param { axis: 2 tiles: 2 }': ((3, 3, 18, 17), (3, 3), (2, 2)),
    'type: "LRN" lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 }': ((), (7, 7), (2, 2)),
    'type: "LRN" lrn_param { local_size: 3 }': ((), (3, 3), (2, 2)),
    'type: "MVN"': ((), None, (2, 2)),
    'type: "Normalize" norm_param { across_spatial: false }': ((), (3, 3), (2, 2)),
    'type: "Pooling" pooling_param { pool: AVE global_pooling: true }': ((3, 3, 1, 1), None, (18, 34)),
    'type: "Im2col" convolution_param { kernel_size: 3 stride: 2 }': ((), (7, 7), (4, 4)),
    'type: "SPP" spp_param { pyramid_height: 1 }': ((), None, (18, 34)),
    'type: "ArgMax" argmax_param { axis: 1 }': ((), (3, 3), (2, 2)),
    'type: "Permute" permute_param { order: 0 order: 3 order: 1 order: 2 }': ((), (), ()),  # no pixels
    'type: "Permute" permute_param { order: 1 order: 0 order: 2 order: 3 }': ((), (3, 3), (2, 2)),
    'type: "Reshape" reshape_param { shape { dim: 0 dim: 1 dim: -1 dim: 17 } }': ((), (), ()),
    'type: "Resample" resample_param { height: 18 width: 34 }': ((3, 3, 18, 34), (5, 5), (1, 1)),
    'type: "Resample" resample_param { height: 3 width: 17 }': ((3, 3, 3, 17), (11, 3), (6, 2)),  # a window of 5 rows
    'type: "Resample" resample_param { height: 3 width: 17 type: NEAREST }': ((), (3, 3), (6, 2)),
    'type: "Downsample" downsample_param { top_height: 3 top_width: 17 }': ((), (15, 3), (8, 2)),  # and of 7
    'type: "Accum" accum_param { top_height: 17 top_width: 33 }': ((), (5, 5), (1, 1)),
    'type: "ChannelNorm"': ((3, 1, 9, 17), (3, 3), (2, 2)),
    'type: "DataAugmentation" augmentation_param { crop_height: 4 crop_width: 9 }': ((3, 3, 4, 9), (5, 3), (2, 2)),
    'type: "Correlation" correlation_param { kernel_size: 1 max_displacement: 2 pad: 2 }': ((), (11, 11), (2, 2)),
}  # fmt: skip


@pytest.mark.parametrize("layer", RESAMPLING)
def test_the_view_behind_what_resamples(layer: str) -> None:
    shape, size, stride = RESAMPLING[layer]
    more = ""
    if '"Crop"' in layer or layer == 'type: "Interp"':
        more = (
            'layer { name: "small" type: "Input" top: "small" input_param { shape { dim: 3 dim: 3 dim: 5 dim: 5 } } }'
        )
    tops = 'top: "rest"' if '"Slice"' in layer else ""
    bottoms = {"Crop": ["conv", "small"], "Concat": ["conv", "conv"], "Correlation": ["conv"] * 2}.get(
        layer.split('"')[1], ["conv", "small"] if more else ["conv"]
    )
    text = f"""
    {more}
    layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 3 dim: 1 dim: 19 dim: 35 }} }} }}
    layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
      convolution_param {{ num_output: 3 kernel_size: 3 stride: 2 }} }}
    layer {{ name: "last" {" ".join(f'bottom: "{b}"' for b in bottoms)} top: "last" {tops} {layer} }}
    """
    last = summary_of(text).layers[-1]
    assert not shape or last.tops[0][1] == shape
    assert last.field == (Field(size, stride) if size != () else None)


@pytest.mark.parametrize("size", ["scale: 2", "upsample_h: 9 upsample_w: 17", "scale: 2 pad_out_h: true"])
def test_the_view_behind_an_unpooling_is_that_of_the_pooled_values(size: str) -> None:
    text = f"""
    layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: 1 dim: 9 dim: 17 }} }} }}
    layer {{ name: "pool" type: "Pooling" bottom: "data" top: "pool" top: "mask"
      pooling_param {{ kernel_size: 2 stride: 2 }} }}
    layer {{ name: "conv" type: "Convolution" bottom: "pool" top: "conv"
      convolution_param {{ num_output: 1 kernel_size: 3 pad: 1 }} }}
    layer {{ name: "up" type: "Upsample" bottom: "conv" bottom: "mask" top: "up" upsample_param {{ {size} }} }}
    """
    assert [layer.field for layer in summary_of(text).layers][1:] == [
        Field((2, 2), (2, 2)), Field((6, 6), (2, 2)), Field((6, 6), (1, 1)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "size", "stride"),
    [
        ('type: "Tiling" tiling_param { tile_dim: 2 }', (3, 3), 1),
        ('type: "GSTiling" gs_tiling_param { stride: 2 }', (5, 5), 4),
        ('type: "GSTiling" gs_tiling_param { stride: 2 reverse: true }', (3, 3), 1),
        ('type: "Reorg" reorg_param { stride: 2 }', (5, 5), 4),
        ('type: "Reorg" reorg_param { stride: 2 reverse: true }', (3, 3), 1),
    ],
)
def test_the_view_behind_what_exchanges_channels_for_pixels(layer: str, size: tuple[int, int], stride: int) -> None:
    text = f"""
    layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: 1 dim: 9 dim: 17 }} }} }}
    layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
      convolution_param {{ num_output: 4 kernel_size: 3 stride: 2 }} }}
    layer {{ name: "last" bottom: "conv" top: "last" {layer} }}
    """
    assert summary_of(text).layers[-1].field == Field(size, (stride, stride))


def test_a_pyramid_of_poolings_comes_back_to_the_scale_of_its_bottom() -> None:
    text = """
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 32 dim: 64 } } }
    layer { name: "whole" type: "Pooling" bottom: "data" top: "whole" pooling_param { pool: AVE global_pooling: true } }
    layer { name: "up" type: "Interp" bottom: "whole" top: "up" interp_param { height: 32 width: 64 } }
    layer { name: "both" type: "Concat" bottom: "up" bottom: "data" top: "both" }
    """
    assert [layer.field for layer in summary_of(text).layers][2:] == [Field(None, (1, 1))] * 2


def test_shared_parameters_count_once() -> None:
    text = """
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 6 } } }
    layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" param { name: "w" } param { name: "b" }
      inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
    layer { name: "c" type: "InnerProduct" bottom: "a" top: "c" param { name: "w" } param { name: "b" }
      inner_product_param { num_output: 6 } }
    """
    first, second = summary_of(text).layers[1:]
    assert (first.parameters, first.shared, second.parameters, second.shared) == (42, 0, 0, 42)
    assert first.zeros == 6, "the bias"
    assert first.macs == second.macs == 36


def layer_of(text: str):
    layer = pb.LayerParameter()
    parse(text, layer)
    return layer


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ('type: "Data" top: "d" top: "l" data_param { batch_size: 4 } transform_param { crop_size: 20 }',
         [(4, 3, 20, 20), (4,)]),
        ('type: "Data" top: "d" data_param { batch_size: 4 } '
         'transform_param { crop_h: 20 crop_w: 30 force_gray: true }',
         [(4, 1, 20, 30)]),
        ('type: "ImageData" top: "d" top: "l" image_data_param { new_height: 8 new_width: 9 is_color: false }',
         [(1, 1, 8, 9), (1,)]),
        ('type: "ImageSegData" top: "d" top: "l" image_data_param { batch_size: 2 } transform_param { crop_size: 6 }',
         [(2, 3, 6, 6), (2, 1, 6, 6)]),
        ('type: "DenseImageData" top: "d" top: "l" '
         'dense_image_data_param { batch_size: 2 new_height: 8 new_width: 16 label_divide_factor: 4 }',
         [(2, 3, 8, 16), (2, 1, 2, 4)]),
        ('type: "AnnotatedData" top: "d" top: "l" data_param { batch_size: 2 } '
         'transform_param { resize_param { height: 30 width: 40 } }',
         [(2, 3, 30, 40), (1, 1, 1, 8)]),
        ('type: "WindowData" top: "d" top: "l" window_data_param { batch_size: 5 crop_size: 7 }',
         [(5, 3, 7, 7), (5,)]),
    ],
)  # fmt: skip
def test_shapes_without_data(text: str, shapes: list[tuple[int, ...]]) -> None:
    source = placeholder(layer_of(text))
    assert source.top_shapes == shapes
    with pytest.raises(DataError, match="was not found"):
        source.next()


def test_a_size_that_nothing_states() -> None:
    layer = layer_of('name: "in" type: "Data" top: "d" top: "l" data_param { source: "nowhere" batch_size: 4 }')
    with pytest.raises(DataError, match=r"(?s)source: nowhere: there is no.*without data: nothing .* states the size"):
        Placeholders()(layer, pb.TEST, Fork.BVLC, None)
    sources = Placeholders(size=(28, 30), channels=1)
    assert sources(layer, pb.TEST, Fork.BVLC, None).top_shapes == [(4, 1, 28, 30), (4,)]
    assert sources.notes == ['layer "in" (Data): not opened; taken from the prototxt: d 4x1x28x30, l 4']
    with pytest.raises(DataError, match="known from its data alone"):
        placeholder(layer_of('type: "HDF5Data" top: "d"'))


def mobilenet() -> str:
    """MobileNet v1 (224x224, width 1, 1000 classes), without batch normalization."""
    text = [
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 224 dim: 224 } } }'
    ]
    last, channels = "data", 3

    def convolve(name: str, outputs: int, kernel: int, stride: int, group: int) -> None:
        nonlocal last
        text.append(
            f'layer {{ name: "{name}" type: "Convolution" bottom: "{last}" top: "{name}" convolution_param {{ '
            f"num_output: {outputs} kernel_size: {kernel} pad: {kernel // 2} stride: {stride} group: {group} "
            "bias_term: false } }"
        )
        last = name

    convolve("conv1", 32, 3, 2, 1)
    channels = 32
    blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for index, (outputs, stride) in enumerate(blocks):
        convolve(f"dw{index}", channels, 3, stride, channels)
        convolve(f"pw{index}", outputs, 1, 1, 1)
        channels = outputs
    text.append(f'layer {{ name: "pool" type: "Pooling" bottom: "{last}" top: "pool" '
                "pooling_param { pool: AVE global_pooling: true } }")  # fmt: skip
    last = "pool"
    convolve("fc", 1000, 1, 1, 1)
    return "\n".join(text)


# Mega-MACs that TI's table of its deep learning library publishes, and ours from the prototxts. The table counts
# convolutions (GoogLeNet's comes out exactly without its classifier); its importer adds a pooling's windows where it
# does not fold the pooling into a convolution, which are SqueezeNet's other 3.1 million.
TI = {
    "JacintoNet11 224x224": (
        "jacinto-models/image_classification/imagenet_jacintonet11v2/test/deploy.prototxt",
        405.81,
    ),
    "SqueezeNet v1.1 227x227": ("squeezenet/SqueezeNet_v1.1/deploy.prototxt", 390.8 - 3.1),
}


@pytest.mark.parametrize("name", TI)
def test_published_counts(name: str, shared: Path, record_property) -> None:
    path, published = TI[name]
    summary = summarize_net(Net(shared / "real" / path, pb.TEST, log=False))
    record_property("measured", f"MACs, {name}: {summary.macs / 1e6:.2f} M, published {published:.2f} M")
    assert summary.macs / 1e6 == pytest.approx(published, rel=0.005)


def test_published_count_of_mobilenet(record_property) -> None:
    summary = summary_of(mobilenet())
    record_property("measured", f"MACs, MobileNet v1: {summary.macs / 1e6:.2f} M, published 567.70 M")
    assert summary.macs / 1e6 == pytest.approx(567.70, rel=0.005)
    assert summary.parameters == 4_209_088, "4.2 million, without batch normalization"


def test_published_count_of_inception(shared: Path, record_property) -> None:
    """The table's InceptionV1 has 3x3 convolutions where BVLC's GoogLeNet has 5x5 ones, as TensorFlow's version."""
    from caffecompat.schema import read_net

    net = read_net(shared / "real/bvlc/models/bvlc_googlenet/deploy.prototxt")
    for layer in net.layer:
        if list(layer.convolution_param.kernel_size) == [5]:
            layer.convolution_param.kernel_size[0], layer.convolution_param.pad[0] = 3, 1
    count = summarize_net(Net(net, pb.TEST, log=False)).macs_by_type["Convolution"] / 1e6
    record_property("measured", f"MACs, InceptionV1 with 3x3 for 5x5: {count:.2f} M, published 1497.37 M")
    assert count == pytest.approx(1497.37, rel=1e-4)


def test_published_count_of_jsegnet(shared: Path, record_property) -> None:
    """The published prototxt has one 3x3 convolution of 64 channels at an eighth of the size more than the table."""
    path = shared / "real/jacinto-models/image_segmentation/cityscapes5_jsegnet21v2/test/deploy.prototxt"
    counts = summarize_net(Net(path, pb.TEST, log=False)).macs_by_type
    one = 3 * 3 * 64 * 64 * 64 * 128
    without = (counts["Convolution"] - one) / 1e6
    record_property("measured", f"MACs, JSegNet21 1024x512: {counts['Convolution'] / 1e6:.2f} M convolutions, "
                                f"{without:.2f} M but for one, published 8506.50 M")  # fmt: skip
    assert without == pytest.approx(8506.5, rel=1e-4)


def test_published_count_of_jdetnet(shared: Path, record_property) -> None:
    """The table's JDetNet is another variant: four classes, the first head on res3a (stride 8), six heads."""
    folder = shared / "real/jacinto-models/object_detection/voc0712/JDetNet/ssd768x320_ds_PSP_dsFac_32_hdDS8_0"
    summary = summarize_net(Net(folder / "test_quantize/deploy.prototxt", pb.TEST, log=False))
    convolutions = [layer for layer in summary.layers if layer.type == "Convolution"]
    backbone = sum(layer.macs for layer in convolutions if layer.name.startswith(("conv1", "res")))
    # (channels in, height, width, outputs of the two predictors) of each head; each begins with 256 1x1 filters.
    heads = [(128, 40, 96, 32), (512, 10, 24, 48), (512, 5, 12, 48), (512, 3, 6, 48), (512, 2, 3, 32), (512, 1, 2, 32)]
    variant = (backbone + sum(h * w * 256 * (channels + out) for channels, h, w, out in heads)) / 1e6
    record_property("measured", f"MACs, JDetNet 768x320: {summary.macs / 1e6:.2f} M as published in voc0712 (hdDS8_0), "
                                f"{variant:.2f} M the table's variant (hdDS8_1), published 2191.44 M")  # fmt: skip
    assert summary.macs / 1e6 == pytest.approx(2130.03, abs=0.01)
    assert variant == pytest.approx(2191.44, rel=2e-4)
