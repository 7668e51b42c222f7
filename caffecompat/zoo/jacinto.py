"""Texas Instruments' JacintoNet11 and the segmentation net on it, with the layer names of caffe-jacinto-models."""

from __future__ import annotations

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.pycaffe.net_spec import params as P
from caffecompat.zoo import imagenet, tutorial
from caffecompat.zoo.network import Fields, Network, Recipe, Source, Stage, preparation

__all__ = ["NETWORKS", "SOURCE", "add_body", "add_conv"]

_RATES = [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}]
_LEARNED: Fields = {"param": _RATES, "weight_filler": {"type": "msra"}, "bias_filler": {"type": "constant"}}


def add_conv(
    n: NetSpec, bottom: Top, name: str, outputs: int, kernel: int = 3, *,
    stride: int = 1, group: int = 1, dilation: int = 1,
) -> Top:  # fmt: skip
    """A convolution that keeps the size at stride 1, NVCaffe's batch normalization with scale and bias, a ReLU."""
    n[name] = L.Convolution(
        bottom, num_output=outputs, kernel_size=kernel, pad=dilation * (kernel // 2), stride=stride, group=group,
        dilation=dilation, **_LEARNED,
    )  # fmt: skip
    n[f"{name}/bn"] = L.BatchNorm(n[name], moving_average_fraction=0.99, eps=1e-4, scale_bias=True, in_place=True)
    n[f"{name}/relu"] = L.ReLU(n[f"{name}/bn"], in_place=True)
    return n[f"{name}/relu"]


def add_body(n: NetSpec, data: Top, *, sixteenth: bool = True, dilated: bool = False) -> Top:
    """Ten convolutions in pairs, the second of a pair over four groups; 512 channels.

    Args:
        sixteenth: whether a pooling halves the eighth that is left before the last pair; else it does nothing.
        dilated: whether the last pair sees as far as if it did.
    """
    n["data/bias"] = L.Bias(data, param={"lr_mult": 0, "decay_mult": 0}, filler={"type": "constant", "value": -128})
    blob = add_conv(n, n["data/bias"], "conv1a", 32, 5, stride=2)
    blob = add_conv(n, blob, "conv1b", 32, group=4)
    for level, outputs in enumerate((64, 128, 256, 512), 2):
        size = 2 if sixteenth or level < 5 else 1
        n[f"pool{level - 1}"] = L.Pooling(blob, pool=P.Pooling.MAX, kernel_size=size, stride=size)
        dilation = 2 if dilated and level == 5 else 1
        blob = add_conv(n, n[f"pool{level - 1}"], f"res{level}a_branch2a", outputs, dilation=dilation)
        blob = add_conv(n, blob, f"res{level}a_branch2b", outputs, group=4, dilation=dilation)
    return blob


def _classifier(n: NetSpec, data: Top, recipe: Recipe) -> tuple[Top]:
    n.pool5 = L.Pooling(add_body(n, data), pool=P.Pooling.AVE, global_pooling=True)
    name = f"fc{recipe.classes}"
    n[name] = L.InnerProduct(n.pool5, num_output=recipe.classes, **_LEARNED)
    return (n[name],)


def _bilinear(n: NetSpec, bottom: Top, name: str, channels: int) -> Top:
    """A fixed bilinear upsampling by two."""
    n[name] = L.Deconvolution(
        bottom,
        param={"lr_mult": 0, "decay_mult": 0},
        convolution_param={
            "num_output": channels, "group": channels, "kernel_size": 4, "stride": 2, "pad": 1, "bias_term": False,
            "weight_filler": {"type": "bilinear"},
        },
    )  # fmt: skip
    return n[name]


def _segmenter(n: NetSpec, data: Top, recipe: Recipe) -> tuple[Top]:
    deep = add_body(n, data, sixteenth=False, dilated=True)
    deep = _bilinear(n, add_conv(n, deep, "out5a", 64, group=2, dilation=4), "out5a_up2", 64)
    n.out3_out5_combined = blob = L.Eltwise(deep, add_conv(n, n["res3a_branch2b/relu"], "out3a", 64, group=2))
    for number, dilation in enumerate((1, 4, 4, 4), 1):
        blob = add_conv(n, blob, f"ctx_conv{number}", 64, dilation=dilation)
    n.ctx_final = L.Convolution(blob, num_output=recipe.classes, kernel_size=3, pad=1, **_LEARNED)
    n["ctx_final/relu"] = blob = L.ReLU(n.ctx_final, in_place=True)
    for factor in (2, 4, 8):
        blob = _bilinear(n, blob, f"out_deconv_final_up{factor}", recipe.classes)
    return (blob,)


def _classifier_solver(recipe: Recipe) -> Fields:
    return {"lr_policy": "poly", "power": 1.0, "momentum": 0.9, "weight_decay": 0.0001}


def _segmenter_solver(recipe: Recipe) -> Fields:
    return {
        "lr_policy": "multistep",
        "stepvalue": [recipe.max_iter // 2, recipe.max_iter * 3 // 4],
        "gamma": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.0001,
        "test_initialization": False,
    }


def _segmenter_transforms(recipe: Recipe) -> tuple[Fields, Fields]:
    crop: Fields = {"crop_size": recipe.crop} if recipe.crop else {}
    return {**preparation(recipe), **crop, "mirror": recipe.mirror}, preparation(recipe)


SOURCE = "Texas Instruments, caffe-jacinto-models (caffe-0.17)"

_CLASSIFIER_NOTES = f"""\
The solver is TI's first stage: batches of 2 x 128 pictures, the rate falls from 0.1 to 0 in a line. TI reaches a
top-1 accuracy of 60.9 %, then trains on under an L1 decay and sparsifies (`sparsity_*` fields of the solver): 59.7 % at
80 % zeros.

{imagenet.NOTES}\
"""

_SEGMENTER_NOTES = """\
The solver is TI's first stage, which starts from JacintoNet11's ImageNet weights (`--weights`). As published it
has eight outputs, of which TI's five classes of Cityscapes use five: 96.2 % of the pixels, mIoU 0.832. TI counts
8506.05 million MACs, less by those of the fixed upsampling layers and of one 3x3 convolution over 64 channels.

The databases, from lists with a line `picture label-picture` for each picture (`caffecompat list cityscapes` writes
such lists, with 19 classes and 255 for what is ignored):

    caffecompat lmdb build train.txt data/train --shuffle
    caffecompat lmdb build val.txt data/val\
"""

NETWORKS = (
    Network(
        name="jacintonet11",
        task="classification",
        title="JacintoNet11",
        about=(
            "TI's JacintoNet11 v2 for ImageNet, made for their TDA processors: ten convolutions, half of them in four "
            "groups, and a classifier. Layer names are those of TI's weights, which load by name."
        ),
        source=SOURCE,
        pictures=imagenet.PICTURES,
        recipe=Recipe(
            classes=1000, width=224, height=224, crop=224, train=imagenet.TRAIN, val=imagenet.VAL, batch_size=128,
            iter_size=2, test_batch_size=50, max_iter=320_000, base_lr=0.1, test_iter=1000, test_interval=2000,
            snapshot=10_000, display=100,
        ),
        solver=_classifier_solver,
        transforms=imagenet.transforms,
        stages=(Stage(_classifier, parameters=2_873_736, macs=406_335_488),),
        notes=_CLASSIFIER_NOTES,
    ),
    Network(
        name="jsegnet21",
        task="segmentation",
        title="JSegNet21",
        about=(
            "TI's JSegNet21 v2 for Cityscapes: JacintoNet11 with a dilated end, summed with its eighth, four "
            "convolutions for context, fixed upsampling. Layer names are those of TI's weights, which load by name."
        ),
        source=SOURCE,
        pictures=tutorial.PICTURES,
        recipe=Recipe(
            classes=8, width=1024, height=512, crop=640, train=Source("data/train", lmdb=True),
            val=Source("data/val", lmdb=True), batch_size=16, test_batch_size=4, max_iter=120_000, base_lr=0.01,
            test_iter=125, test_interval=2000, snapshot=10_000, display=100,
        ),
        divisor=16,
        solver=_segmenter_solver,
        transforms=_segmenter_transforms,
        stages=(Stage(_segmenter, parameters=2_698_280, macs=8_832_155_648),),
        notes=_SEGMENTER_NOTES,
    ),
)  # fmt: skip
