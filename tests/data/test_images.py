from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat import data
from caffecompat.data import DataError
from caffecompat.forks import Fork
from tests.data.batches import TRAIN, picture, refuses, source, write_picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures 0.png ... 5.png of 6x5 pixels and a list of them with labels 10 ... 15."""
    for k in range(6):
        write_picture(tmp_path / f"{k}.png", picture(6, 5, seed=k))
    (tmp_path / "list.txt").write_text("".join(f"{tmp_path}/{k}.png {10 + k}\n" for k in range(6)))
    return tmp_path


def fields(folder: Path, more: str = "", extra: str = "", listed: str = "list.txt") -> str:
    tops = 'top: "data" top: "label"'
    return f'name: "d" type: "ImageData" {tops} image_data_param {{ source: "{folder}/{listed}" {more} }} {extra}'


def labels(text: str, batches: int, phase: int = TRAIN) -> list[int]:
    with source(text, phase) as made:
        return [int(label) for _ in range(batches) for label in made.next()[1]]


def test_pictures_and_labels(folder: Path) -> None:
    with source(fields(folder, "batch_size: 4")) as made:
        assert made.top_shapes == [(4, 3, 6, 5), (4,)]
        made.next()
        batch, label = made.next()
        assert label.tolist() == [14, 15, 10, 11]
        np.testing.assert_array_equal(batch[1], picture(6, 5, seed=5).transpose(2, 0, 1))


def test_gray_resized_and_cropped(folder: Path) -> None:
    text = fields(
        folder, "batch_size: 1 is_color: false new_height: 9 new_width: 8", "transform_param { crop_size: 7 }"
    )
    with source(text) as made:
        assert made.top_shapes == [(1, 1, 7, 7), (1,)]
        assert made.next()[0].shape == (1, 1, 7, 7)


def test_shuffle_gives_each_picture_once_an_epoch_in_changing_order(folder: Path) -> None:
    drawn = labels(fields(folder, "batch_size: 4 shuffle: true"), 9)
    epochs = [drawn[k : k + 6] for k in range(0, 36, 6)]
    assert all(sorted(epoch) == list(range(10, 16)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_seeded_shuffle_repeats(folder: Path) -> None:
    text = fields(folder, "batch_size: 4 shuffle: true rand_skip: 5")
    runs = []
    for _ in range(2):
        data.seed(3)
        runs.append(labels(text, 6))
    data.seed(4)
    runs.append(labels(text, 6))
    data.seed(None)
    assert runs[0] == runs[1] != runs[2]


def test_rand_skip_starts_somewhere_in_the_first_lines(folder: Path) -> None:
    starts = {labels(fields(folder, "batch_size: 1 rand_skip: 3"), 1)[0] for _ in range(60)}
    assert starts == {10, 11, 12}


def test_paths_with_blanks_and_a_root_folder(folder: Path) -> None:
    write_picture(folder / "a picture.png", picture(3, 3))
    (folder / "blanks.txt").write_text("picture.png 7\n")
    with source(fields(folder, f'batch_size: 1 root_folder: "{folder}/a "', listed="blanks.txt")) as made:
        assert made.next()[0].shape == (1, 3, 3, 3)


def test_list_and_pictures_beside_the_prototxt(folder: Path) -> None:
    (folder / "near.txt").write_text("0.png 3\n")
    text = fields(folder, "batch_size: 1", listed="near.txt").replace(f"{folder}/", "")
    with source(text, relative_to=folder / "net.prototxt") as made:
        assert made.next()[1].tolist() == [3]


def test_unchanged_pictures_keep_16_bits(folder: Path) -> None:
    deep = np.arange(12, dtype=np.uint16).reshape(3, 4, 1) * 5000
    write_picture(folder / "deep.png", deep)
    (folder / "deep.txt").write_text(f"{folder}/deep.png 1\n")
    with source(fields(folder, "batch_size: 1 is_unchanged: true", listed="deep.txt"), fork=Fork.XILINX) as made:
        np.testing.assert_array_equal(made.next()[0][0, 0], deep[:, :, 0])


class TestMistakes:
    def test_missing_picture_is_named_with_its_line(self, folder: Path) -> None:
        (folder / "list.txt").write_text(f"{folder}/0.png 1\n\n{folder}/gone.png 2\n")
        with source(fields(folder, "batch_size: 1")) as made:
            made.next()
            with pytest.raises(DataError, match=r"list\.txt:3: cannot read the picture .*gone\.png: No such file"):
                made.next()

    def test_root_folder_without_a_slash(self, folder: Path) -> None:
        (folder / "list.txt").write_text("0.png 1\n")
        refuses(fields(folder, f'batch_size: 1 root_folder: "{folder}"'), r"root_folder .* does not end in /")

    def test_damaged_and_empty_pictures(self, folder: Path) -> None:
        data_of = (folder / "0.png").read_bytes()
        for content, message in ((data_of[:20], "not a picture, or damaged"), (b"", "the file is empty")):
            (folder / "0.png").write_bytes(content)
            refuses(fields(folder, "batch_size: 1"), rf'layer "d" \(ImageData\): .*list\.txt:1: .*0\.png: .*{message}')

    def test_lists(self, folder: Path) -> None:
        (folder / "empty.txt").write_text("\n")
        for listed, message in (
            ("empty.txt", "lists no image"),
            ("none.txt", "source: .*none.txt: there is no such file"),
        ):
            refuses(fields(folder, "batch_size: 1", listed=listed), message)

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ("batch_size: 0", "batch_size must be at least 1"),
            ("batch_size: 1 new_height: 3", "new_height and new_width together"),
            ("batch_size: 1 short_side: 3", "short_side is not supported"),
        ],
    )
    def test_parameters(self, folder: Path, more: str, message: str) -> None:
        refuses(fields(folder, more), message)

    def test_rand_skip_beyond_the_list(self, folder: Path) -> None:
        (folder / "one.txt").write_text(f"{folder}/0.png 1\n")
        with pytest.raises(DataError, match="rand_skip of 1000000 is more than the 1 lines"):
            for _ in range(5):
                with source(fields(folder, "batch_size: 1 rand_skip: 1000000", listed="one.txt")):
                    pass

    def test_sizes_differ_within_a_batch(self, folder: Path) -> None:
        write_picture(folder / "1.png", picture(7, 5))
        with (
            source(fields(folder, "batch_size: 2")) as made,
            pytest.raises(
                DataError, match=r"list\.txt:2: .*1\.png is 7x5x3, but the first .*0\.png, is 6x5x3.*new_height"
            ),
        ):
            made.next()
