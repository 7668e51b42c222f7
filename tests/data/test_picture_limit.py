"""No data layer decodes, or resizes to, more pixels than are allowed; the error says which file or record it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat.data import DataError
from tests.data.batches import make_database, picture, refuses, source, write_picture

TOPS = 'name: "d" top: "data" top: "label"'


@pytest.fixture(autouse=True)
def _limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAFFECOMPAT_MAX_PIXELS", "100")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small picture and a large one, and lists of them for each layer."""
    write_picture(tmp_path / "small.png", picture(9, 9))
    write_picture(tmp_path / "large.png", picture(11, 10))
    for name, second in (("images.txt", ("1", "2")), ("pairs.txt", ("small.png", "small.png"))):
        (tmp_path / name).write_text(f"small.png {second[0]}\nlarge.png {second[1]}\n")
    (tmp_path / "windows.txt").write_text(
        "# 0\nlarge.png\n3 11 10 2\n1 0.9 1 1 5 5\n1 0.1 1 1 5 5\n",
    )
    return tmp_path


def test_image_lists(folder: Path) -> None:
    fields = f'source: "{folder}/images.txt" root_folder: "{folder}/" batch_size: 1'
    layer = f'{TOPS} type: "ImageData" image_data_param {{ {fields} }}'
    with source(layer) as made:
        made.next()
        with pytest.raises(
            DataError, match=r"images\.txt:2: .*large\.png: the picture is 10 wide and 11 high: 110 pixels"
        ):
            made.next()


def test_segmentation_lists(folder: Path) -> None:
    layer = (
        f'{TOPS} type: "ImageSegData" image_data_param {{ source: "{folder}/pairs.txt" root_folder: "{folder}/" '
        "batch_size: 1 label_type: PIXEL }"
    )
    with source(layer) as made:
        made.next()
        with pytest.raises(DataError, match=r"pairs\.txt:2: .*large\.png: the picture is 10 wide"):
            made.next()


def test_databases(folder: Path) -> None:
    make_database(folder / "db", [picture(9, 9), picture(11, 10)], encoded=True)
    layer = f'{TOPS} type: "Data" data_param {{ source: "{folder}/db" batch_size: 1 backend: LMDB }}'
    with source(layer) as made:
        made.next()
        with pytest.raises(DataError, match=r"db, record '.*': the picture is 10 wide"):
            made.next()


def test_windows(folder: Path) -> None:
    fields = f'source: "{folder}/windows.txt" root_folder: "{folder}/" batch_size: 2 crop_mode: "warp"'
    refuses(
        f'{TOPS} type: "WindowData" window_data_param {{ {fields} }} transform_param {{ crop_size: 5 }}',
        r"windows\.txt:1: .*large\.png: the picture is 10 wide",
    )


def test_sizes_to_resize_to(folder: Path) -> None:
    more = "new_height: 200000 new_width: 4294967295"
    refuses(
        f'{TOPS} type: "ImageData" image_data_param {{ source: "{folder}/images.txt" batch_size: 1 {more} }}',
        "image_data_param.new_height and new_width: the resized picture is 4294967295 wide and 200000 high",
    )
