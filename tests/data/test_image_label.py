"""Jacinto's pairs of pictures and labels, from databases and from lists."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.data import DataError
from caffecompat.forks import Fork
from tests.data.batches import TEST, TRAIN, make_database, picture, refuses, source, write_picture

COUNT = 5


@pytest.fixture
def databases(tmp_path: Path) -> Path:
    """Five pictures of 12x10 whose labels are the pictures' own first channel."""
    pictures = [picture(12, 10, seed=k) for k in range(COUNT)]
    make_database(tmp_path / "image", pictures)
    make_database(tmp_path / "label", [pixels[:, :, :1] for pixels in pictures])
    return tmp_path


def fields(folder: Path, more: str = "", transform: str = "") -> str:
    return (
        f'name: "d" type: "ImageLabelData" top: "data" top: "label" image_label_data_param {{ image_list_path: '
        f'"{folder}/image" label_list_path: "{folder}/label" backend: LMDB batch_size: 2 {more} }} '
        f"transform_param {{ {transform} }}"
    )


class TestImageLabelData:
    def test_crop_mirror_and_random_resize_go_together(self, databases: Path) -> None:
        with source(fields(databases, transform="crop_size: 6 mirror: true"), TRAIN, Fork.JACINTO) as made:
            assert made.top_shapes == [(2, 3, 6, 6), (2, 1, 6, 6)]
            seen = set()
            for _ in range(20):
                batch, label = made.next()
                np.testing.assert_array_equal(batch[:, :1], label)
                seen.add(label[0].tobytes())
        assert len(seen) > 10
        resize = "crop_size: 6 img_rand_resize_lower: 7 img_rand_resize_upper: 9"
        with source(fields(databases, transform=resize), TRAIN, Fork.JACINTO) as made:
            for _ in range(10):
                batch, label = made.next()
                np.testing.assert_array_equal(batch[:, :1], label)  # shrinking takes the nearest pixel for both

    def test_scale_reaches_labels_and_the_mean_does_not(self, databases: Path) -> None:
        with source(fields(databases, transform="scale: 0.5 mean_value: 10 mean_value: 20 mean_value: 30")) as made:
            batch, label = made.next()
            np.testing.assert_array_equal(batch[:, :1], label - 5)

    def test_shuffling_in_step(self, databases: Path) -> None:
        with source(fields(databases, "shuffle: true"), TRAIN, Fork.JACINTO) as made:
            epochs = []
            for _ in range(8):
                batches = [made.next() for _ in range(5)]
                for batch, label in batches:
                    np.testing.assert_array_equal(batch[:, :1], label)
                firsts = [float(value) for batch, _ in batches for value in batch[:, 0, 0, 0]]
                assert sorted(firsts[:COUNT]) == sorted(firsts[COUNT:])
                epochs += [tuple(firsts[:COUNT]), tuple(firsts[COUNT:])]
        assert len(set(epochs)) > 8
        with source(fields(databases, "shuffle: true"), TEST, Fork.JACINTO) as made:
            order = [float(value) for _ in range(5) for value in made.next()[0][:, 0, 0, 0]]
        assert order[:COUNT] == order[COUNT:] == [float(picture(12, 10, seed=k)[0, 0, 0]) for k in range(COUNT)]

    def test_a_seed_in_the_prototxt(self, databases: Path) -> None:
        text = fields(databases, transform="crop_size: 6 mirror: true random_seed: 3")
        with source(text, TRAIN, Fork.JACINTO) as one, source(text, TRAIN, Fork.JACINTO) as other:
            for _ in range(5):
                np.testing.assert_array_equal(one.next()[0], other.next()[0])

    def test_mistakes(self, databases: Path) -> None:
        make_database(databases / "fewer", [picture(12, 10, 1)])
        fewer = fields(databases).replace("/label", "/fewer")
        refuses(fewer, "image holds 5 records and .*fewer 1", Fork.JACINTO)
        make_database(databases / "color", [picture(12, 10)] * COUNT)
        refuses(fields(databases).replace("/label", "/color"), "color, record '00000000' has 3 channels", Fork.JACINTO)
        make_database(databases / "small", [picture(11, 10, 1)] * COUNT)
        refuses(fields(databases).replace("/label", "/small"), "is 12x10 and its label .* 11x10", Fork.JACINTO)
        (databases / "list.txt").write_text("a")
        refuses(fields(databases).replace("/image", "/list.txt"), "ImageLabelListData read lists", Fork.JACINTO)
        refuses(fields(databases).replace("image_list_path", "image_dir"), "image_list_path is missing", Fork.JACINTO)


class TestShuffledData:
    def text(self, folder: Path, more: str) -> str:
        return (
            f'name: "d" type: "Data" top: "data" top: "label" data_param {{ source: "{folder}/image" backend: LMDB '
            f"batch_size: 5 {more} }}"
        )

    def test_cache_and_shuffle(self, databases: Path) -> None:
        with source(self.text(databases, "cache: true shuffle: true"), TRAIN, Fork.JACINTO) as made:
            orders = [made.next()[1].tolist() for _ in range(12)]
        assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
        assert len({tuple(order) for order in orders}) > 6

    @pytest.mark.parametrize(("more", "phase"), [("shuffle: true", TRAIN), ("cache: true shuffle: true", TEST)])
    def test_key_order_otherwise(
        self, databases: Path, more: str, phase: int, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with source(self.text(databases, more), phase, Fork.JACINTO) as made:
            assert all(made.next()[1].tolist() == [0, 1, 2, 3, 4] for _ in range(3))
        assert ("has no effect without cache" in capfd.readouterr().err) == (phase == TRAIN)


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """The same pictures as files, with two lists."""
    for k in range(COUNT):
        pixels = cv2.GaussianBlur(picture(12, 10, seed=k), (5, 5), 2)
        write_picture(tmp_path / f"i{k}.png", np.repeat(pixels[:, :, :1], 3, 2))
        write_picture(tmp_path / f"l{k}.png", pixels[:, :, :1])
    (tmp_path / "images.txt").write_text("".join(f"i{k}.png\n" for k in range(COUNT)))
    (tmp_path / "labels.txt").write_text("".join(f"l{k}.png\n" for k in range(COUNT)))
    return tmp_path


def listed(folder: Path, more: str = "", transform: str = "") -> str:
    return (
        f'name: "d" type: "ImageLabelListData" top: "data" top: "label" image_label_data_param {{ image_list_path: '
        f'"{folder}/images.txt" label_list_path: "{folder}/labels.txt" data_dir: "{folder}/" batch_size: 2 {more} }} '
        f"transform_param {{ {transform} }}"
    )


class TestImageLabelListData:
    def test_batches_begin_anew_behind_the_end(self, lists: Path) -> None:
        with source(listed(lists), TEST, Fork.JACINTO) as made:
            assert made.top_shapes == [(2, 3, 12, 10), (2, 1, 12, 10)]
            labels = [made.next()[1] for _ in range(4)]
        firsts = [float(cv2.imread(str(lists / f"l{k}.png"), 0)[0, 0]) for k in range(COUNT)]
        order = [[firsts.index(value) for value in label[:, 0, 0, 0].tolist()] for label in labels]
        assert order == [[0, 1], [2, 3], [4, 0], [0, 1]]

    def test_crop_and_mirror_go_together(self, lists: Path) -> None:
        with source(listed(lists, "shuffle: true", "crop_size: 6 mirror: true"), TRAIN, Fork.JACINTO) as made:
            for _ in range(15):
                batch, label = made.next()
                np.testing.assert_array_equal(batch[:, :1], label)

    def test_scaling(self, lists: Path) -> None:
        more = "scale_prob: 1 scale_min: 2 scale_max: 2"
        with source(listed(lists, more), TRAIN, Fork.JACINTO) as made:
            batch, label = made.next()
        pixels = cv2.imread(str(lists / "i0.png"))
        want = cv2.resize(pixels, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        np.testing.assert_array_equal(batch[0].transpose(1, 2, 0), want)
        np.testing.assert_array_equal(label[0, 0], np.kron(pixels[:, :, 0], np.ones((2, 2))))

    @pytest.mark.parametrize(
        ("more", "want"),
        [
            ("size_min: 20", (24, 20)),
            ("size_max: 6", (6, 5)),
            ("size_min: 20 size_max: 22", (22, 20)),
            ("size_min: 9", (12, 10)),
        ],
    )
    def test_limits_of_the_size(self, lists: Path, more: str, want: tuple[int, int]) -> None:
        with source(listed(lists, more), TEST, Fork.JACINTO) as made:
            assert made.top_shapes == [(2, 3, *want), (2, 1, *want)]

    def test_padding(self, lists: Path) -> None:
        pixels = cv2.imread(str(lists / "i0.png"))
        for more, border in (("padding: ZERO", cv2.BORDER_CONSTANT), ("", cv2.BORDER_REFLECT_101)):
            with source(listed(lists, more, "crop_size: 15"), TEST, Fork.JACINTO) as made:
                batch, label = made.next()
            want = cv2.copyMakeBorder(pixels, 1, 2, 3, 2, border)
            np.testing.assert_array_equal(batch[0].transpose(1, 2, 0), want)
            assert (label[0, 0] == 255).sum() == 15 * 15 - 120

    def test_slices_of_labels(self, lists: Path) -> None:
        more = "label_slice { dim: 3 dim: 2 stride: 2 stride: 3 offset: 1 offset: 2 }"
        with source(listed(lists, more, "crop_size: 12"), TEST, Fork.JACINTO) as made:
            assert made.top_shapes == [(2, 3, 12, 12), (2, 1, 3, 2)]
            batch, label = made.next()
        widened = np.pad(cv2.imread(str(lists / "l0.png"), 0), ((1, 1), (2, 2)), constant_values=255)
        cropped = widened[1:13, 1:13]
        np.testing.assert_array_equal(label[0, 0], cropped[1:6:2, 2:6:3])
        assert batch.shape == (2, 3, 12, 12)

    def test_files_that_cannot_be_read(self, lists: Path, capfd: pytest.CaptureFixture[str]) -> None:
        (lists / "i0.png").write_bytes(b"no picture")
        refuses(listed(lists), r"images.txt:1: cannot read the picture .*i0.png: not a picture", Fork.JACINTO)
        with source(listed(lists, "check_image_files: true"), TEST, Fork.JACINTO) as made:
            assert made.next()[1][0, 0, 0, 0] == cv2.imread(str(lists / "l1.png"), 0)[0, 0]
        assert "i0.png: not a picture, or damaged - ignoring it" in capfd.readouterr().err

    def test_mistakes(self, lists: Path) -> None:
        refuses(listed(lists, "rand_skip: 100000"), "rand_skip is more than the 5 lines", Fork.JACINTO)
        slices = "label_slice { dim: 9 dim: 2 stride: 2 stride: 3 offset: 1 offset: 2 }"
        refuses(listed(lists, slices, "crop_size: 12"), "reaches row 17, column 5; the labels are 12x12", Fork.JACINTO)
        refuses(listed(lists, "label_slice { dim: 9 }"), "needs two numbers each", Fork.JACINTO)
        (lists / "labels.txt").write_text("l0.png\n")
        refuses(listed(lists), r"lists 5 files and .*labels.txt 1", Fork.JACINTO)


def test_videos(tmp_path: Path) -> None:
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (32, 24))
    assert writer.isOpened()
    for k in range(7):
        writer.write(np.full((24, 32, 3), 30 * k, np.uint8))
    writer.release()
    text = (
        (
            'name: "d" type: "VideoData" top: "data" top: "label" data_param {{ batch_size: 2 }} video_data_param {{ '
            f'video_type: VIDEO video_file: "{path}" {{more}} }} transform_param {{{{ {{transform}} }}}}'
        )
        .replace("{{", "{")
        .replace("}}", "}")
    )

    def layer(more: str = "", transform: str = "") -> str:
        return text.replace("{more}", more).replace("{transform}", transform)

    with source(layer(), TEST, Fork.SSD) as made:
        assert made.top_shapes == [(2, 3, 24, 32), (2,)]
        seen = []
        for _ in range(3):
            batch, label = made.next()
            seen += batch[:, 1, 12, 16].tolist()
            assert not label.any()
        np.testing.assert_allclose(seen, [0, 30, 60, 90, 120, 150], atol=4)
        with pytest.raises(DataError, match=r"v.avi has no frame after the first 7; that is the end"):
            made.next()
    with source(
        layer("skip_frames: 1", "resize_param { height: 12 width: 20 } mean_value: 30"), TEST, Fork.SSD
    ) as made:
        batch = made.next()[0]
        assert batch.shape == (2, 3, 12, 20)
        np.testing.assert_allclose(batch[:, 1, 6, 8], [0, 60], atol=4)
    refuses(layer().replace("v.avi", "w.avi"), "video_file: .*w.avi: there is no such file", Fork.SSD)
