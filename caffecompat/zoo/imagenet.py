"""ImageNet as Caffe's own models are trained on it: two databases of pictures of 256x256, crops and mirroring."""

from __future__ import annotations

from caffecompat.zoo.network import Fields, Recipe, Source, preparation

__all__ = ["MEAN", "NOTES", "PICTURES", "TRAIN", "VAL", "transforms"]

TRAIN = Source("data/ilsvrc12_train_lmdb", lmdb=True)
VAL = Source("data/ilsvrc12_val_lmdb", lmdb=True)
PICTURES = 1_281_167  # to train on
MEAN = (104.0, 117.0, 123.0)  # blue, green, red

NOTES = """\
The databases, of pictures of 256x256, from ImageNet's folders `train` and `val`:

    caffecompat list imagenet ILSVRC2012 --out data --norelative
    caffecompat lmdb build data/train.txt data/ilsvrc12_train_lmdb --shuffle \\
        --resize-height 256 --resize-width 256 --encode jpg
    caffecompat lmdb build data/val.txt data/ilsvrc12_val_lmdb \\
        --resize-height 256 --resize-width 256 --encode jpg\
"""


def transforms(recipe: Recipe) -> tuple[Fields, Fields]:
    """Random crops and mirroring in training, the center in tests."""
    crop: Fields = {"crop_size": recipe.crop} if recipe.crop else {}
    prepared = preparation(recipe)
    return {**prepared, **crop, "mirror": recipe.mirror}, {**prepared, **crop}
