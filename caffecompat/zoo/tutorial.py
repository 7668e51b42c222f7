"""How AMD/Xilinx's segmentation tutorial trains its networks for Cityscapes: what their folders have in common."""

from __future__ import annotations

from caffecompat.zoo.network import Fields, Recipe, Source, preparation

__all__ = ["NOTES", "PICTURES", "RECIPE", "SOURCE", "solver", "transforms"]

SOURCE = "AMD/Xilinx, Vitis-In-Depth tutorial 05: Caffe segmentation on Cityscapes"

PICTURES = 2975  # of Cityscapes, to train on

RECIPE = Recipe(
    classes=19, width=1024, height=512, crop=512, mean=(73.0, 82.0, 72.0), scale=0.022,
    train=Source("data/train.txt"), val=Source("data/val.txt"),
    batch_size=5, iter_size=10, max_iter=20000, base_lr=0.0005, test_iter=500, snapshot=1000, display=50,
)  # fmt: skip

NOTES = (
    "The solver is the tutorial's (Adam, 0.0005, 10 x 5 pictures an iteration), but the poly policy has a power of "
    "0.9: the tutorial gives none, which keeps the rate constant. Every convolution has a filler, so training from "
    "scratch works."
)


def solver(recipe: Recipe) -> Fields:
    """Adam under a falling rate."""
    return {
        "type": "Adam",
        "lr_policy": "poly",
        "power": 0.9,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "average_loss": 10,
        "test_initialization": False,
    }


def transforms(recipe: Recipe) -> tuple[Fields, Fields]:
    """Random crops and mirroring in training, whole pictures in tests."""
    prepared = preparation(recipe)
    crop: Fields = {"crop_size": recipe.crop} if recipe.crop else {}
    return {**prepared, "mirror": recipe.mirror, **crop}, prepared
