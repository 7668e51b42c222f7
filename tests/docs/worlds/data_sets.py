"""The published data sets' folders with a few pictures each, and a film."""

from __future__ import annotations

from pathlib import Path

from tests import data_set_trees
from tests.docs.worlds.flowers import write_flowers, write_list


def write() -> None:
    here = Path()
    for write_set in (
        data_set_trees.voc2012, data_set_trees.cityscapes, data_set_trees.coco, data_set_trees.imagenet,
        data_set_trees.sbd, data_set_trees.devkit,
    ):  # fmt: skip
        write_set(here)
    data_set_trees.video(Path("drive.mp4"), 40)
    write_flowers("flowers", 3, 1)
    write_list("flowers", "train.txt")
