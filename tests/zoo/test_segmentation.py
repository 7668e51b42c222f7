"""Networks that label pixels read databases as they read lists."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat import build_database
from caffecompat.data.source import make_source
from caffecompat.schema import parse_text, pb
from caffecompat.zoo import NETWORKS, Source, network_files


@pytest.mark.parametrize("name", ["espnet", "ddrnet23_slim_seg"])
def test_a_database_gives_what_its_list_gives(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture prepared alike, and the classes as they are."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    cv2.imwrite("picture.png", generator.integers(0, 256, (40, 60, 3), np.uint8))
    label = generator.integers(0, 19, (40, 60), np.uint8)
    cv2.imwrite("label.png", label)
    Path("list.txt").write_text("picture.png label.png\n")
    build_database("list.txt", "pairs")
    network = NETWORKS[name]
    batches = []
    for source in (Source("list.txt"), Source("pairs", lmdb=True)):
        recipe = replace(network.recipe, val=source)
        net = parse_text(network_files(network, recipe)["train_val.prototxt"], pb.NetParameter())
        made = make_source(net.layer[1], pb.TEST)
        batches.append(made.next())
        made.close()
    for listed, stored in zip(*batches, strict=True):
        np.testing.assert_allclose(stored, listed, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(batches[1][1][0, 0], label)
