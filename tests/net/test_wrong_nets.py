"""What Caffe checks while it sets a net up is checked here too: a table of wrong nets and what is said of each.

Every entry is one layer ``l`` with one mistake, over the bottoms that it reads.
"""

from pathlib import Path

import pytest

from caffecompat.data import make_source
from caffecompat.forks import Fork
from caffecompat.net import Net, NetError
from caffecompat.schema import pb
from caffecompat.schema.dialects import layer_types

IMAGE = {"x": (2, 3, 6, 5)}
SCORES = {"x": (2, 3), "z": (2,)}
PAIR = {"x": (2, 3), "z": (2, 4)}
SEQUENCE = {"x": (5, 2, 3), "z": (5, 2)}

# type, bottoms, fields of the layer, what the error says
WRONG: list[tuple[str, dict[str, tuple[int, ...]], str, str]] = [
    ("AbsVal", SCORES, "", "AbsVal takes 1 bottom blob(s), this layer has 2"),
    ("Accuracy", {"x": (2, 3), "z": (3,)}, "", "3 labels (shape (3,)) do not fit scores of shape (2, 3)"),
    ("Accuracy", SCORES, "accuracy_param { top_k: 4 }", "top_k 4"),
    ("Accuracy", SCORES, "accuracy_param { axis: 2 }", "axis 2 is not one of the 2 axes"),
    ("ArgMax", IMAGE, "argmax_param { top_k: 7 axis: 1 }", "top_k 7 must be 1 to 3"),
    ("ArgMax", IMAGE, "argmax_param { top_k: 0 }", "top_k 0 must be 1 to 90"),
    ("LRN", IMAGE, "lrn_param { alpha: nan }", "lrn_param.alpha must be a number, it is nan"),
    ("Eltwise", PAIR, "eltwise_param { coeff: 1 coeff: nan }", "eltwise_param.coeff must be a number, it is nan"),
    ("BNLL", IMAGE, 'top: "second"', "BNLL takes 1 top blob(s), this layer has 2"),
    ("BatchNorm", IMAGE, "param { lr_mult: 1 }", "statistics are not learned"),
    ("BatchReindex", {"x": (2, 3), "z": (2, 2)}, "", "must be a list of numbers"),
    ("Bias", {"x": (2, 3, 4), "z": (4,)}, "", "a second bottom of shape (4,) does not cover axis 1 on"),
    ("Bias", IMAGE, "bias_param { num_axes: 4 }", "num_axes 4 from axis 1 reaches past"),
    ("Clip", IMAGE, "clip_param { min: 1 }", "clip_param needs max"),
    ("Concat", {"x": (2, 3, 4, 4), "z": (2, 3, 5, 4)}, "", "they differ on axis 2 (4 and 5)"),
    ("Concat", IMAGE, "concat_param { axis: 1 concat_dim: 1 }", "not both"),
    ("ContrastiveLoss", {"x": (2, 3), "y": (2, 4), "z": (2,)}, "", "two features must have as many values"),
    ("ContrastiveLoss", {"x": (2, 3, 2, 2), "y": (2, 3, 2, 2), "z": (2,)}, "", "a feature must be a vector"),
    ("Convolution", IMAGE, "convolution_param { num_output: 4 }", "kernel_size (or kernel_h and kernel_w) is missing"),
    ("Convolution", IMAGE, "convolution_param { kernel_size: 3 }", "num_output is missing"),
    ("Convolution", IMAGE, "convolution_param { num_output: 4 kernel_size: 9 }", "reaches over 9 values"),
    ("Convolution", IMAGE, "convolution_param { num_output: 4 kernel_size: 3 group: 2 }", "group 2 must divide both"),
    ("Convolution", IMAGE, "convolution_param { num_output: 4 kernel_size: 3 stride: 0 }", "stride must be positive"),
    (
        "Convolution",
        IMAGE,
        "convolution_param { num_output: 4 kernel_size: 3 dilation: 0 }",
        "dilation must be positive",
    ),
    (
        "Convolution",
        IMAGE,
        "convolution_param { num_output: 4 kernel_size: 3 kernel_h: 3 kernel_w: 3 }",
        "give kernel_size or kernel_h and kernel_w, not both",
    ),
    (
        "Convolution",
        IMAGE,
        'convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xaver" } }',
        "weight: unknown filler type 'xaver'; known: bilinear, constant",
    ),
    (
        "Convolution",
        {"x": (2, 3, 4, 5, 6)},
        "convolution_param { num_output: 4 kernel_h: 3 kernel_w: 3 }",
        "kernel_h and kernel_w are for 2 spatial axes, the bottom has 3",
    ),
    (
        "Crop",
        {"x": (2, 3, 5, 5), "z": (2, 3, 5, 6)},
        "",
        "axis 3: 6 values from offset 0 on are more than the bottom has",
    ),
    (
        "Crop",
        {"x": (2, 3, 5, 5), "z": (2, 3, 4, 4)},
        "crop_param { axis: 1 offset: 1 offset: 1 }",
        "2 offset values for 3",
    ),
    ("Data", {}, "", "data_param.batch_size must be at least 1"),
    (
        "Data",
        {},
        'data_param { source: "nowhere" batch_size: 2 }',
        "data_param.source: nowhere: there is no such file or folder",
    ),
    (
        "Deconvolution",
        IMAGE,
        "convolution_param { num_output: 4 kernel_size: 1 pad: 3 }",
        "leaves nothing of the output",
    ),
    ("Dropout", IMAGE, "dropout_param { dropout_ratio: 1 }", "dropout_ratio 1 must be at least 0 and below 1"),
    ("DummyData", {}, "dummy_data_param { shape { dim: -1 } }", "has a negative dim"),
    ("DummyData", {}, "", "needs shape once or 1 times, it has 0"),
    ("ELU", {}, "", "ELU takes 1 bottom blob(s), this layer has 0"),
    ("Eltwise", PAIR, "", "'x' is (2, 3), 'z' is (2, 4)"),
    ("Eltwise", {"x": (2,), "z": (2,)}, "eltwise_param { coeff: 1 }", "1 coeff for 2 bottoms"),
    (
        "Eltwise",
        {"x": (2,), "z": (2,)},
        "eltwise_param { operation: PROD coeff: 1 coeff: 2 }",
        "coeff belongs to the operation SUM",
    ),
    ("Embed", IMAGE, "embed_param { num_output: 2 }", "num_output and input_dim must both be at least 1"),
    ("EuclideanLoss", PAIR, "", "'x' of shape (2, 3) and 'z' of shape (2, 4) differ in count"),
    ("Exp", IMAGE, "exp_param { base: -2 }", "base -2 must be positive (or -1 for e)"),
    ("Filter", {"x": (2, 3), "z": (3,)}, "", "'x' has 2 items, the selector 3"),
    ("Flatten", IMAGE, "flatten_param { axis: 3 end_axis: 1 }", "axis 3 comes after end_axis 1"),
    (
        "HDF5Data",
        {},
        'hdf5_data_param { source: "nowhere.txt" batch_size: 2 }',
        "source: nowhere.txt: there is no such file",
    ),
    ("HDF5Data", {}, "hdf5_data_param { batch_size: 2 } transform_param { }", "remove transform_param"),
    ("HDF5Output", SCORES, 'hdf5_output_param { file_name: "/nowhere/a.h5" }', "takes 0 top blob(s), this layer has 1"),
    ("HingeLoss", {"x": (2, 3), "z": (3,)}, "", "must have the same number of batch items"),
    ("Im2col", IMAGE, "convolution_param { kernel_size: 7 }", "reaches over 7 values"),
    (
        "ImageData",
        {},
        'top: "label" image_data_param { source: "nowhere.txt" }',
        "source: nowhere.txt: there is no such file",
    ),
    ("ImageData", {}, 'top: "label" image_data_param { new_height: 3 }', "new_height and new_width together"),
    ("InfogainLoss", SCORES, "", "the infogain matrix is missing"),
    ("InfogainLoss", {**SCORES, "H": (2, 3)}, "", "it must be C x C for 3 classes"),
    ("InnerProduct", IMAGE, "", "num_output is missing"),
    ("InnerProduct", IMAGE, "inner_product_param { num_output: 3 axis: 4 }", "axis 4 is not one of the 4 axes"),
    (
        "InnerProduct",
        IMAGE,
        "inner_product_param { num_output: 3 } param { } param { } param { }",
        "3 param { } blocks",
    ),
    ("Input", {}, "input_param { shape { } shape { } }", "2 shapes for 1 tops"),
    ("Input", {}, "input_param { shape { dim: -1 } }", "has a negative dim"),
    ("LRN", IMAGE, "lrn_param { local_size: 4 }", "local_size must be odd, it is 4"),
    ("LSTM", SEQUENCE, "", "num_output is missing"),
    (
        "LSTM",
        {"x": (5, 2, 3), "z": (5, 3)},
        "recurrent_param { num_output: 2 }",
        "an indicator for each step and stream",
    ),
    ("LSTMUnit", {"x": (1, 2, 3), "y": (1, 2, 9), "z": (1, 2)}, 'top: "h"', "second bottom must be (1, 2, 12)"),
    ("Log", IMAGE, "log_param { base: 1 }", "there is no logarithm to base 1"),
    ("MVN", {"x": (2,)}, "", "MVN takes (N, C, ...)"),
    ("MemoryData", {}, "memory_data_param { batch_size: 2 }", "needs batch_size, channels, height and width"),
    ("MultinomialLogisticLoss", PAIR, "", "8 labels"),
    ("PReLU", {"x": (2,)}, "", "PReLU needs a channel axis"),
    ("Parameter", {}, "", "parameter_param.shape must give sizes"),
    ("Pooling", IMAGE, "", "kernel_size (or kernel_h and kernel_w) is missing"),
    ("Pooling", IMAGE, "pooling_param { kernel_size: 3 pad: 3 }", "pad (3, 3) must be less than the kernel"),
    ("Pooling", IMAGE, "pooling_param { kernel_h: 3 }", "kernel_h and kernel_w go together"),
    ("Pooling", IMAGE, "pooling_param { global_pooling: true kernel_size: 3 }", "global_pooling takes the whole plane"),
    (
        "Pooling",
        IMAGE,
        "pooling_param { pool: STOCHASTIC kernel_size: 3 pad: 1 }",
        "only MAX and AVE pooling can have a pad",
    ),
    ("Pooling", {"x": (2, 3)}, "pooling_param { kernel_size: 1 }", "Pooling takes (N, C, H, W)"),
    ("Power", IMAGE, 'top: "second"', "Power takes 1 top blob(s)"),
    ("Python", IMAGE, "", "python_param needs module and layer"),
    (
        "Python",
        IMAGE,
        'python_param { module: "no_such_thing" layer: "A" }',
        "there is no Python module 'no_such_thing'",
    ),
    ("RNN", {**SEQUENCE, "s": (3, 4)}, "recurrent_param { num_output: 2 }", "third bottom must be (2, values, ...)"),
    ("ReLU", SCORES, "", "ReLU takes 1 bottom blob(s)"),
    ("Reduction", IMAGE, "reduction_param { axis: 4 }", "axis 4 is not one of the 4 axes"),
    ("Reshape", IMAGE, "reshape_param { shape { dim: 7 dim: -1 } }", "has 180 values, which do not fill"),
    ("Reshape", IMAGE, "reshape_param { shape { dim: -1 dim: -1 } }", "only one dim can be -1"),
    ("Reshape", IMAGE, "reshape_param { axis: 6 }", "axis 6 is not within a bottom"),
    ("SPP", IMAGE, "", "pyramid_height is missing"),
    ("SPP", IMAGE, "spp_param { pyramid_height: 6 }", "too small for 4 x 4 bins"),
    ("Scale", IMAGE, "scale_param { num_axes: -2 }", "num_axes -2 must be -1 (all to the end)"),
    ("Scale", {"x": (2, 3), "z": (3, 4)}, "", "does not cover axis 1 on of (2, 3)"),
    ("Sigmoid", SCORES, "", "Sigmoid takes 1 bottom blob(s)"),
    ("SigmoidCrossEntropyLoss", PAIR, "", "differ in count"),
    ("Silence", IMAGE, "", "Silence takes 0 top blob(s), this layer has 1"),
    ("Slice", IMAGE, 'top: "second"', "axis 1 is 3 long, which 2 tops cannot share equally"),
    ("Slice", IMAGE, 'top: "second" slice_param { slice_point: 3 }', "must rise from 1 to 2 on axis 1"),
    ("Softmax", IMAGE, "softmax_param { axis: 4 }", "axis 4 is not one of the 4 axes"),
    ("SoftmaxWithLoss", {"x": (2, 3, 4, 4), "z": (2,)}, "", "there must be 32, one for each position"),
    ("SoftmaxWithLoss", SCORES, "loss_weight: 1 loss_weight: 1", "2 loss_weight for 1 tops"),
    ("SoftmaxWithLoss", {"x": (2, 3)}, "", "SoftmaxWithLoss takes 2 bottom blob(s)"),
    ("Split", SCORES, "", "Split takes 1 bottom blob(s)"),
    ("Swish", SCORES, "", "Swish takes 1 bottom blob(s)"),
    ("TanH", SCORES, "", "TanH takes 1 bottom blob(s)"),
    ("Threshold", SCORES, "", "Threshold takes 1 bottom blob(s)"),
    ("Tile", IMAGE, "", "tiles is missing"),
    ("Tile", IMAGE, "tile_param { tiles: 0 }", "tiles 0 must be at least 1"),
    ("WindowData", {}, 'top: "label"', "window_data_param.batch_size must be at least 1"),
]

BVLC = [kind for kind, forks in layer_types().items() if Fork.BVLC in forks]


@pytest.mark.parametrize(
    ("kind", "bottoms", "fields", "said"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
def test_wrong_net(tmp_path: Path, kind: str, bottoms: dict[str, tuple[int, ...]], fields: str, said: str) -> None:
    inputs = "".join(_input(name, shape) for name, shape in bottoms.items())
    named = "".join(f'bottom: "{name}" ' for name in bottoms)
    problems = _problems(tmp_path, inputs + f'layer {{ name: "l" type: "{kind}" {named} top: "top" {fields} }}')
    assert len(problems) == 1 and said in problems[0]
    place = f"{tmp_path / 'net.prototxt'}:{len(bottoms) + 1}:1: layer 'l' ({kind}): "
    assert problems[0].startswith(place)
    assert problems[0].count("layer 'l'") == 1 and 'layer "l"' not in problems[0]


@pytest.mark.parametrize("kind", ["AbsVal", "Flatten", "Reshape"])
def test_layers_that_caffe_refuses_in_place(tmp_path: Path, kind: str) -> None:
    text = _input("x", (2, 3, 4)) + f'layer {{ name: "l" type: "{kind}" bottom: "x" top: "x" }}'
    [problem] = _problems(tmp_path, text)
    assert f"{kind} cannot work in place" in problem


def test_the_table_covers_every_layer_type_of_bvlc() -> None:
    assert len(BVLC) == 61
    assert set(BVLC) == {kind for kind, *_ in WRONG}


def _input(name: str, shape: tuple[int, ...]) -> str:
    dims = " ".join(f"dim: {size}" for size in shape)
    return f'layer {{ name: "in_{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'


def _problems(folder: Path, text: str) -> list[str]:
    path = folder / "net.prototxt"
    path.write_text(text)
    with pytest.raises(NetError) as caught:
        Net(path, pb.TRAIN, sources=make_source, log=False)
    return caught.value.problems
