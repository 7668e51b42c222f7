"""How torchvision prepares pictures and trains on ImageNet; what the networks that come from PyTorch have in common."""

from __future__ import annotations

from caffecompat.zoo.network import Fields, Recipe, Source, preparation

__all__ = [
    "CHANNEL_ORDER",
    "CITYSCAPES_LISTS",
    "IMAGENET",
    "IMAGENET_LISTS",
    "MEAN",
    "STD",
    "UPDATES_A_PASS",
    "segmentation_transforms",
    "steps",
    "transforms",
]

# Of ImageNet's pixels; blue, green, red.
MEAN = (103.53, 116.28, 123.675)
STD = (57.375, 57.12, 58.395)

UPDATES_A_PASS = 5005  # over ImageNet's 1,281,167 pictures in batches of 256

IMAGENET = Recipe(
    classes=1000, width=224, height=224, crop=224, mean=MEAN, std=STD,
    train=Source("data/train.txt"), val=Source("data/val.txt"),
    batch_size=32, iter_size=8, test_batch_size=50, max_iter=90 * UPDATES_A_PASS, base_lr=0.1, test_iter=1000,
    snapshot=UPDATES_A_PASS, display=100, moving_average_fraction=0.9,
)  # fmt: skip

CHANNEL_ORDER = (
    "Pictures come in the order blue, green, red, mean and standard deviation accordingly. Weights of torchvision's "
    "take red first: `weights convert --swap-colors` reverses the first convolution's input channels."
)

IMAGENET_LISTS = """\
The lists, from ImageNet's folders `train` and `val`:

    caffecompat list imagenet ILSVRC2012 --out data --norelative\
"""
CITYSCAPES_LISTS = """\
The lists, from Cityscapes' folders `leftImg8bit` and `gtFine`:

    caffecompat list cityscapes cityscapes --out data --norelative\
"""


def steps(recipe: Recipe, passes: int, *drops: int) -> Fields:
    """The rate falls to a tenth after `drops` of the `passes` over the pictures."""
    return {
        "lr_policy": "multistep",
        "stepvalue": [recipe.max_iter * drop // passes for drop in drops],
        "gamma": 0.1,
    }


def transforms(recipe: Recipe) -> tuple[Fields, Fields]:
    """Parts of random area and aspect, mirrored; in tests the center of the picture with a short side of 8 / 7."""
    prepared = preparation(recipe)
    if not recipe.crop:
        return {**prepared, "mirror": recipe.mirror}, prepared
    cut = {**prepared, "crop_size": recipe.crop}
    train = {**cut, "mirror": recipe.mirror, "random_resized_crop_param": {"min_area": 0.08}}
    return train, {**cut, "short_side": recipe.crop * 8 // 7}


def segmentation_transforms(recipe: Recipe) -> tuple[Fields, Fields]:
    """Crops of pictures of half to twice the size, mirrored; in tests whole pictures."""
    prepared = preparation(recipe)
    scaled: Fields = {"crop_size": recipe.crop, "scale_min": 0.5, "scale_max": 2} if recipe.crop else {}
    return {**prepared, **scaled, "mirror": recipe.mirror}, prepared
