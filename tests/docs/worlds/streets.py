"""Drawn street scenes with label pictures: data/train.txt and data/val.txt."""

from __future__ import annotations

from pathlib import Path

from caffecompat.data.streets import write_streets


def write() -> None:
    write_streets(Path("data"), {"train": 4, "val": 2}, width=128, height=64)
