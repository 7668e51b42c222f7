"""SSD with a ResNet-34 for pictures of 300x300, as MLPerf's training benchmark has it."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.pycaffe.model_libs import CreateMultiBoxHead
from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.zoo import resnet, torchvision
from caffecompat.zoo.blocks import add_relu
from caffecompat.zoo.network import Detector, Fields, Network, Recipe, Source, Stage, preparation

__all__ = ["NETWORKS"]

_PICTURES = 117_266  # of COCO's train2017, those that have objects
_UPDATES_A_PASS = 3665  # over these in batches of 32
_PASSES = 70

_SIDE = 300  # that the sizes of the priors are for
_SCALES = (21, 45, 99, 153, 207, 261, 315)
_RATIOS = ([2], [2, 3], [2, 3], [2, 3], [2], [2])
_STEPS = (8, 16, 32, 64, 100, 300)

# Channels of the 1x1 and of the 3x3 convolution of each additional block, stride and padding of the latter.
_ADDITIONAL = ((256, 512, 2, 1), (256, 512, 2, 1), (128, 256, 2, 1), (128, 256, 1, 0), (128, 256, 1, 0))
_XAVIER: Fields = {"weight_filler": {"type": "xavier"}}


def _body(n: NetSpec, data: Top, recipe: Recipe) -> Sequence[Top]:
    kept = resnet.levels(34)[:3]
    kept[2] = resnet.Level(kept[2].blocks, stride=1)
    blob = resnet.add_body(n, data, kept, bottleneck=False)
    sources = ["layer3_5_add_relu"]
    for number, (inner, outputs, stride, pad) in enumerate(_ADDITIONAL):
        name = f"additional_blocks_{number}"
        n[f"{name}_0"] = L.Convolution(blob, num_output=inner, kernel_size=1, **_XAVIER)
        blob = add_relu(n, f"{name}_1", n[f"{name}_0"])
        n[f"{name}_2"] = L.Convolution(blob, num_output=outputs, kernel_size=3, stride=stride, pad=pad, **_XAVIER)
        blob = add_relu(n, f"{name}_3", n[f"{name}_2"])
        sources.append(f"{name}_3")
    return _heads(n, sources, recipe)


def _heads(n: NetSpec, sources: Sequence[str], recipe: Recipe) -> Sequence[Top]:
    """Locations, scores and prior boxes; for pictures of another size these grow with the shorter side."""
    share = min(recipe.width, recipe.height) / _SIDE
    sizes = [scale * share for scale in _SCALES]
    published = (recipe.width, recipe.height) == (_SIDE, _SIDE)
    heads = CreateMultiBoxHead(
        n, num_classes=recipe.classes, from_layers=sources, use_batchnorm=False, min_sizes=sizes[:-1],
        max_sizes=sizes[1:], aspect_ratios=_RATIOS, steps=_STEPS if published else (), kernel_size=3, pad=1, flip=True,
        clip=True, prior_variance=[0.1, 0.1, 0.2, 0.2],
    )  # fmt: skip
    for source in sources:
        for kind in ("loc", "conf"):
            n.update(f"{source}_mbox_{kind}", {"param": []})  # biases learn and decay as weights do
    return heads


def _solver(recipe: Recipe) -> Fields:
    return {
        **torchvision.steps(recipe, _PASSES, 40, 50),
        "warmup_iter": min(300, recipe.max_iter // 5),
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "average_loss": 20,
        "eval_type": "detection",
        "ap_version": "COCO",
        "test_initialization": False,
    }


def _transforms(recipe: Recipe) -> tuple[Fields, Fields]:
    resized = {**preparation(recipe), "resize_param": {
        "prob": 1, "resize_mode": "WARP", "height": recipe.height, "width": recipe.width, "interp_mode": ["LINEAR"],
    }}  # fmt: skip
    # torchvision's ColorJitter(brightness=0.125, contrast=0.5, saturation=0.5, hue=0.05)
    jitter = {
        "mode": "TORCHVISION", "brightness_prob": 1, "brightness_delta": 0.125, "contrast_prob": 1,
        "contrast_lower": 0.5, "contrast_upper": 1.5, "saturation_prob": 1, "saturation_lower": 0.5,
        "saturation_upper": 1.5, "hue_prob": 1, "hue_delta": 0.05,
    }  # fmt: skip
    return {**resized, "mirror": recipe.mirror, "distort_param": jitter}, resized


def _samplers() -> list[Fields]:
    """The whole picture, a part that overlaps with every object by 0.1 to 0.9 or more, or any part with an object."""
    part = {
        "min_width": 0.3, "max_width": 1, "min_height": 0.3, "max_height": 1, "min_aspect_ratio": 0.5,
        "max_aspect_ratio": 2,
    }  # fmt: skip
    constraints: list[Fields] = [
        {"min_jaccard_overlap": overlap, "every_object": True} for overlap in (0.1, 0.3, 0.5, 0.7, 0.9)
    ]
    return [
        {"max_sample": 1, "max_trials": 1},
        *(
            {"max_sample": 1, "max_trials": 1, "sampler": part, "sample_constraint": {**constraint, "min_objects": 1}}
            for constraint in (*constraints, {})
        ),
    ]


_NOTES = f"""\
The recipe is that of MLPerf's reference: 0.0025 by batches of 32, a tenth after 40 and 50 of 70 passes over COCO's
train2017, the first 300 updates with a rising rate. It starts from torchvision's ImageNet weights of ResNet-34
(`weights convert`, then `--weights`). The reference on eight cards has batches of 128 a card and a rate of 0.08, by the
rule of 0.0025 for each 32 pictures. Its goal is COCO's AP 0.23.

{torchvision.CHANNEL_ORDER}

The databases, from COCO's folders `annotations`, `train2017` and `val2017`:

    caffecompat list coco coco --out data --norelative
    caffecompat lmdb build data/train.txt data/coco_train_lmdb --labelmap data/labelmap.prototxt --shuffle
    caffecompat lmdb build data/val.txt data/coco_val_lmdb --labelmap data/labelmap.prototxt\
"""

NETWORKS = (
    Network(
        name="ssd300_resnet34",
        task="detection",
        title="SSD300 with ResNet-34",
        about=(
            "SSD for COCO with a ResNet-34 as in MLPerf's training benchmark: its fifth level is removed, the fourth "
            "is not strided, so that the first head looks at a map of 38x38; five more maps down to 1x1, 8732 prior "
            "boxes in all. Layers of the body are called as torchvision's modules, with underscores."
        ),
        source="Liu et al., SSD, 2016; MLPerf training, single_stage_detector/ssd",
        pictures=_PICTURES,
        recipe=Recipe(
            classes=81, width=300, height=300, mean=torchvision.MEAN, std=torchvision.STD,
            train=Source("data/coco_train_lmdb", lmdb=True), val=Source("data/coco_val_lmdb", lmdb=True),
            label_map="data/labelmap.prototxt", batch_size=32, test_batch_size=8,
            max_iter=_PASSES * _UPDATES_A_PASS, base_lr=0.0025, test_iter=625, test_interval=5 * _UPDATES_A_PASS,
            snapshot=_UPDATES_A_PASS, display=100, moving_average_fraction=0.9,
        ),
        smallest=257,
        solver=_solver,
        transforms=_transforms,
        detector=Detector(
            reading={"batch_sampler": _samplers(), "sampler_choice": "EQUAL"},
            output={"nms_param": {"nms_threshold": 0.5, "top_k": 200}, "confidence_threshold": 0.05},
        ),
        stages=(Stage(_body, parameters=19_972_534, macs=15_862_078_720),),
        notes=_NOTES,
    ),
)  # fmt: skip
