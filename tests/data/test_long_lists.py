"""Lists of very many lines: what opening one costs, and that it says what a short one says."""

from __future__ import annotations

import random
import time
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.data import Source, make_source
from caffecompat.formats.image_list import ListedImage, ListedPair, ListError, open_image_list, open_pair_list
from tests.data.batches import TRAIN, layer

LINES = 100_000
MEGABYTE = 1 << 20
LAYERS = {
    "ImageData": 'image_data_param { source: "labels.txt" batch_size: 2 shuffle: true }',
    "ImageSegData": 'image_data_param { source: "pairs.txt" batch_size: 2 shuffle: true }',
    "DenseImageData": 'dense_image_data_param { source: "pairs.txt" batch_size: 2 shuffle: true }',
    "ImageLabelListData": (
        'image_label_data_param { image_list_path: "images.txt" label_list_path: "images.txt" batch_size: 2 '
        "shuffle: true }"
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists whose lines name one file of many names, through a folder that leads to itself."""
    made = tmp_path_factory.mktemp("lists")
    cv2.imwrite(str(made / "a.png"), np.full((4, 4), 7, np.uint8))
    (made / "here").symlink_to(made)
    write_lists(made, LINES)
    return made


def write_lists(made: Path, count: int) -> None:
    paths = [f"here/here/{'./' * (number % 5)}a.png" for number in range(count)]
    (made / "labels.txt").write_text("".join(f"{path} {number}\n" for number, path in enumerate(paths)))
    (made / "pairs.txt").write_text("".join(f"{path} {path}\n" for path in paths))
    (made / "images.txt").write_text("".join(f"{path}\n" for path in paths))


def opened(kind: str) -> tuple[Source, float, float]:
    """The source, processor seconds to open it, and bytes at the most."""
    text = f'name: "d" type: "{kind}" top: "data" top: "label" transform_param {{ random_seed: 2 }} {LAYERS[kind]}'
    start = time.process_time()
    make_source(layer(text), TRAIN).close()
    seconds = time.process_time() - start
    tracemalloc.start()
    made = make_source(layer(text), TRAIN)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return made, seconds, peak


@pytest.mark.parametrize("kind", LAYERS)
def test_opening_a_long_list(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million lines are to take less than a second and 150 MB; parts that are worked on at once take 20 MB more."""
    monkeypatch.chdir(folder)
    made, seconds, peak = opened(kind)
    with made:
        assert seconds < 1 and peak < (150 * LINES / 1e6 + 20) * MEGABYTE
        order = list(range(LINES))
        random.Random(2).shuffle(order)
        label = made.next()[1]
        assert f".txt:{order[0] + 1}: " in made.describe(0)
        assert label.tolist() == order[:2] if kind == "ImageData" else np.all(label == 7)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", LAYERS)
def test_opening_a_list_of_a_million(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 4), 7, np.uint8))
    (tmp_path / "here").symlink_to(tmp_path)
    write_lists(tmp_path, 1_000_000)
    monkeypatch.chdir(tmp_path)
    made, seconds, peak = opened(kind)
    made.close()
    assert seconds < 1 and peak < 150e6


def test_wrong_lines_of_a_long_list_are_named(tmp_path: Path) -> None:
    lines = [f"a/{number}.jpg {number}" for number in range(150_000)]
    lines[70_000], lines[140_000] = "a/without.jpg", "a/b.jpg 2x"
    (tmp_path / "list.txt").write_text("\n".join(lines))
    with pytest.raises(ListError) as caught:
        open_image_list(tmp_path / "list.txt")
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/list.txt:{number}: expected 'path label' with an integer label, found {line!r}"
        for number, line in ((70_001, "a/without.jpg"), (140_001, "a/b.jpg 2x"))
    ]


def test_odd_lines_among_many(tmp_path: Path) -> None:
    """Empty lines, blanks of all kinds, quotes, bytes that are no UTF-8, no line feed at the end."""
    many = [f"a/{number}.jpg {number}" for number in range(70_000)]
    odd = ["", "  ", "\u3000", " b.jpg 1 ", "with blank.jpg\t\t-2", "\u00e9.jpg 003", "\u3042.jpg +4", "c\u00a0 5"]
    text = "\n".join(many + odd).encode() + b"\n\xff.jpg 6"
    (tmp_path / "list.txt").write_bytes(text)
    entries = open_image_list(tmp_path / "list.txt")
    assert len(entries) == 70_006 and entries[69_999] == ListedImage("a/69999.jpg", 69_999, 70_000)
    assert entries[70_000:] == [
        ListedImage("b.jpg", 1, 70_004),
        ListedImage("with blank.jpg", -2, 70_005),
        ListedImage("\u00e9.jpg", 3, 70_006),
        ListedImage("\u3042.jpg", 4, 70_007),
        ListedImage("c", 5, 70_008),
        ListedImage("\udcff.jpg", 6, 70_009),
    ]
    (tmp_path / "pairs.txt").write_text(
        "".join(f"i/{k}.png l/{k}.png\n" for k in range(70_000)) + '"i j.png" k.png 3\n'
    )
    assert open_pair_list(tmp_path / "pairs.txt")[-1] == ListedPair("i j.png", "k.png", 70_001)
