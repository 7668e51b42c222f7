"""SSD as its authors train it on Pascal VOC, with their layer names, and their network: VGG-16 at 300x300."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.pycaffe.model_libs import ConvBNLayer, CreateMultiBoxHead, VGGNetBody
from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import params as P
from caffecompat.zoo.network import Detector, Fields, Network, Recipe, Source, Stage, preparation

__all__ = ["DETECTOR", "PICTURES", "TRAIN", "VAL", "VARIANCE", "VOC_NOTES", "solver", "transforms"]

PICTURES = 16_551  # of trainval of VOC 2007 and 2012
TRAIN = Source("data/VOC0712_trainval_lmdb", lmdb=True)
VAL = Source("data/VOC0712_test_lmdb", lmdb=True)
VARIANCE = (0.1, 0.1, 0.2, 0.2)  # of the prior boxes' corners

_PATCH: Fields = {"min_scale": 0.3, "max_scale": 1.0, "min_aspect_ratio": 0.5, "max_aspect_ratio": 2.0}
_OVERLAPS: list[Fields] = [
    *({"min_jaccard_overlap": overlap} for overlap in (0.1, 0.3, 0.5, 0.7, 0.9)),
    {"max_jaccard_overlap": 1.0},
]

# The whole picture, or a patch that overlaps an object by so much.
DETECTOR = Detector(
    reading={
        "batch_sampler": [
            {"max_sample": 1, "max_trials": 1},
            *(
                {"sampler": _PATCH, "sample_constraint": limit, "max_sample": 1, "max_trials": 50}
                for limit in _OVERLAPS
            ),
        ]
    }
)


def transforms(recipe: Recipe) -> tuple[Fields, Fields]:
    """Distorted colors, pictures on larger canvases, mirroring in training; all brought to the net's size."""
    size: Fields = {"prob": 1, "resize_mode": P.Resize.WARP, "height": recipe.height, "width": recipe.width}
    modes = [P.Resize.LINEAR, P.Resize.AREA, P.Resize.NEAREST, P.Resize.CUBIC, P.Resize.LANCZOS4]
    prepared = preparation(recipe)
    train: Fields = {
        **prepared,
        "mirror": recipe.mirror,
        "resize_param": {**size, "interp_mode": modes},
        "emit_constraint": {"emit_type": "CENTER"},
        "distort_param": {
            "brightness_prob": 0.5, "brightness_delta": 32, "contrast_prob": 0.5, "contrast_lower": 0.5,
            "contrast_upper": 1.5, "hue_prob": 0.5, "hue_delta": 18, "saturation_prob": 0.5, "saturation_lower": 0.5,
            "saturation_upper": 1.5, "random_order_prob": 0.0,
        },
        "expand_param": {"prob": 0.5, "max_expand_ratio": 4.0},
    }  # fmt: skip
    return train, {**prepared, "resize_param": {**size, "interp_mode": [P.Resize.LINEAR]}}


def solver(steps: Sequence[float], weight_decay: float) -> Fields:
    """SGD whose rate falls to a tenth at `steps`; tests print the mean average precision of VOC 2007."""
    return {
        "lr_policy": "multistep",
        "stepvalue": [int(step) for step in steps],
        "gamma": 0.1,
        "momentum": 0.9,
        "weight_decay": weight_decay,
        "average_loss": 10,
        "test_initialization": False,
        "eval_type": "detection",
        "ap_version": "11point",
    }


VOC_NOTES = """\
The databases, from a folder with Pascal VOC 2007 and 2012:

    caffecompat list voc VOCdevkit --out data --norelative
    caffecompat lmdb build data/trainval.txt data/VOC0712_trainval_lmdb --labelmap data/labelmap.prototxt --shuffle
    caffecompat lmdb build data/test.txt data/VOC0712_test_lmdb --labelmap data/labelmap.prototxt\
"""

# Layer, sizes of its prior boxes in parts of a picture of 300, their aspect ratios, pixels from one to the next.
_HEADS = (
    ("conv4_3", 30, 60, [2], 8),
    ("fc7", 60, 111, [2, 3], 16),
    ("conv6_2", 111, 162, [2, 3], 32),
    ("conv7_2", 162, 213, [2, 3], 64),
    ("conv8_2", 213, 264, [2], 100),
    ("conv9_2", 264, 315, [2], 300),
)
_SIDE = 300
# Channels of each pair of added convolutions (1x1, 3x3), and padding and stride of the second.
_EXTRA = {"6": (256, 512, 1, 2), "7": (128, 256, 1, 2), "8": (128, 256, 0, 1), "9": (128, 256, 0, 1)}


def _body(n: NetSpec, data: Top, recipe: Recipe) -> tuple[Top, ...]:
    VGGNetBody(n, from_layer="data", fully_conv=True, reduced=True, dilated=True, dropout=False)
    blob = "relu7"
    for number, (before, outputs, pad, stride) in _EXTRA.items():
        for part, channels, kernel, padding, step in ((1, before, 1, 0, 1), (2, outputs, 3, pad, stride)):
            name = f"conv{number}_{part}"
            ConvBNLayer(n, blob, name, False, True, channels, kernel, padding, step)
            blob = f"{name}_relu"
    scale = min(recipe.width, recipe.height) / _SIDE
    published = (recipe.width, recipe.height) == (_SIDE, _SIDE)
    made = CreateMultiBoxHead(
        n,
        num_classes=recipe.classes,
        from_layers=[head[0] for head in _HEADS],
        normalizations=[20, *[-1] * (len(_HEADS) - 1)],
        use_batchnorm=False,
        min_sizes=[round(head[1] * scale, 2) for head in _HEADS],
        max_sizes=[round(head[2] * scale, 2) for head in _HEADS],
        aspect_ratios=[head[3] for head in _HEADS],
        steps=[head[4] for head in _HEADS] if published else [],
        prior_variance=VARIANCE,
        clip=False,
        kernel_size=3,
        pad=1,
    )
    return tuple(made)


_NOTES = f"""\
The solver is the authors': 120,000 iterations by 32 pictures, which takes one GPU of 12 GB. Training starts from VGG-16
trained on ImageNet (`--weights VGG_ILSVRC_16_layers_fc_reduced.caffemodel`). With VOC 2007 and 2012 for training, the
mean average precision on VOC 2007's test pictures is 0.772 (11point).

{VOC_NOTES}\
"""

NETWORKS = (
    Network(
        name="vgg16_ssd300",
        task="detection",
        title="SSD300 on VGG-16",
        about=(
            "SSD of 300x300 pixels on VGG-16, for the 20 classes of Pascal VOC and the background: 8732 prior boxes. "
            "Layer names are the authors', so that their weights load by name."
        ),
        source="Liu et al., SSD: Single Shot MultiBox Detector, 2016; the repository weiliu89/caffe",
        pictures=PICTURES,
        recipe=Recipe(
            classes=21, width=300, height=300, mean=(104.0, 117.0, 123.0), train=TRAIN, val=VAL, batch_size=32,
            test_batch_size=8, max_iter=120_000, base_lr=0.001, test_iter=619, test_interval=10_000, snapshot=10_000,
            display=10, label_map="data/labelmap.prototxt",
        ),
        smallest=257,
        solver=lambda recipe: solver((recipe.max_iter * 2 / 3, recipe.max_iter * 5 / 6), 0.0005),
        transforms=transforms,
        stages=(Stage(_body, parameters=26_285_486, macs=31_373_537_792),),
        detector=DETECTOR,
        notes=_NOTES,
    ),
)  # fmt: skip
