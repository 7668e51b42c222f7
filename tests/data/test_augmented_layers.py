"""What transform_param does to sizes, through each layer that reads whole pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat import data
from caffecompat.data import DataError, make_source
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import Fork
from caffecompat.formats.annotated_datum import AnnotatedDatum, encode_annotated_datum
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum
from tests.data.batches import TEST, TRAIN, layer, make_database, picture, refuses, source, write_picture

COUNT = 4
PAIRS = 'source: "pairs.txt" batch_size: 4'
BOTH = 'backend: LMDB image_list_path: "%s" label_list_path: "%s" batch_size: 4'
TOPS = 'top: "data" top: "label"'
# Each label picture is its picture's first channel, so that the two can be compared pixel by pixel.
PAIR_LAYERS = {
    "ImageSegData": f'type: "ImageSegData" {TOPS} image_data_param {{ {PAIRS} }}',
    "ImageSegData-3": f'type: "ImageSegData" {TOPS} top: "dim" image_data_param {{ {PAIRS} label_type: PIXEL }}',
    "DenseImageData": f'type: "DenseImageData" {TOPS} dense_image_data_param {{ {PAIRS} }}',
    "ImageLabelData": f'type: "ImageLabelData" {TOPS} image_label_data_param {{ {BOTH % ("db", "labels")} }}',
    "ImageLabelListData": f'type: "ImageLabelListData" {TOPS} image_label_data_param {{ {BOTH % ("i.txt", "l.txt")} }}',
}
LAYERS = {
    **PAIR_LAYERS,
    "Data": f'type: "Data" {TOPS} data_param {{ source: "db" backend: LMDB batch_size: 4 }}',
    "ImageData": f'type: "ImageData" {TOPS} image_data_param {{ source: "list.txt" batch_size: 4 }}',
    "AnnotatedData": f'type: "AnnotatedData" {TOPS} data_param {{ source: "boxes" backend: LMDB batch_size: 4 }}',
}
WAYS = {
    "random resized crop": "random_resized_crop_param { interp_mode: NEAREST }",
    "Intel's aspect ratio": "random_aspect_ratio_param { min_area_ratio: 0.3 resize_param { interp_mode: NEAREST } }",
    "Intel's short side": "random_resize_param { min_size: 20 max_size: 40 resize_param { interp_mode: NEAREST } }",
    "scale jitter": "scale_min: 0.4 scale_max: 2 interp_mode: NEAREST",
    "scale factors": "scale_factors: 0.5 scale_factors: 2 interp_mode: NEAREST",
    "short side": "short_side: 22 interp_mode: NEAREST",
    "expansion": "expand_param { max_expand_ratio: 2 }",
}


@pytest.fixture(autouse=True)
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Pictures of four sizes as files, pairs and databases."""
    monkeypatch.chdir(tmp_path)
    data.seed(1)
    pictures = [picture(24 + 4 * k, 36 - 4 * k, seed=k) for k in range(COUNT)]
    make_database(tmp_path / "db", pictures)
    make_database(tmp_path / "labels", [pixels[:, :, :1] for pixels in pictures])
    for k, pixels in enumerate(pictures):
        write_picture(tmp_path / f"i{k}.png", pixels)
        write_picture(tmp_path / f"l{k}.png", pixels[:, :, :1])
    for name, line in (("list", "i{0}.png {0}"), ("pairs", "i{0}.png l{0}.png"), ("i", "i{0}.png"), ("l", "l{0}.png")):
        (tmp_path / f"{name}.txt").write_text("".join(line.format(k) + "\n" for k in range(COUNT)))
    rows = np.array([[1, 0, 0.25, 0.25, 0.75, 0.75, 0]], np.float32)
    with open_database(tmp_path / "boxes", "lmdb", "w") as database:
        for k, pixels in enumerate(pictures):
            datum = Datum.from_array(np.ascontiguousarray(pixels.transpose(2, 0, 1)), -1)
            database.put([(b"%08d" % k, encode_annotated_datum(AnnotatedDatum(datum, rows)))])
    yield tmp_path
    data.seed(None)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", PAIR_LAYERS)
def test_label_pictures_move_with_their_pictures(kind: str, way: str) -> None:
    text = f"{PAIR_LAYERS[kind]} transform_param {{ {WAYS[way]} crop_size: 16 mirror: true ignore_label: 0 }}"
    seen = set()
    with source(text, TRAIN, Fork.PSPNET) as made:
        assert made.top_shapes[:2] == [(4, 3, 16, 16), (4, 1, 16, 16)]
        for _ in range(8):
            batch, label = made.next()[:2]
            np.testing.assert_array_equal(batch[:, :1], label)
            seen |= {one.tobytes() for one in label}
    assert len(seen) > 24


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", LAYERS)
def test_every_layer_honors_every_way(kind: str, way: str) -> None:
    """A seed gives the same pictures again, and others than a crop alone."""
    batches = []
    for fields in (WAYS[way], WAYS[way], ""):
        data.seed(7)
        with source(f"{LAYERS[kind]} transform_param {{ {fields} crop_size: 16 }}", TRAIN, Fork.PSPNET) as made:
            batches.append(made.next()[0])
    np.testing.assert_array_equal(batches[0], batches[1])
    assert not np.array_equal(batches[0], batches[2])


@pytest.mark.parametrize("kind", LAYERS)
def test_every_layer_divides_by_std(kind: str) -> None:
    transform = "crop_size: 16 mean_value: [1, 2, 3] scale: 2"
    with source(f"{LAYERS[kind]} transform_param {{ {transform} }}") as plain:
        want = plain.next()[0] / np.array([4, 5, 8]).reshape(3, 1, 1)
    with source(f"{LAYERS[kind]} transform_param {{ {transform} std_value: [4, 5, 8] }}") as made:
        np.testing.assert_allclose(made.next()[0], want, rtol=1e-6)


def test_small_records_that_are_read_many_at_once_are_divided_too(world: Path) -> None:
    make_database(world / "digits", [picture(7, 5, seed=k) for k in range(3)])
    text = 'type: "Data" top: "data" data_param { source: "digits" backend: LMDB batch_size: 3 } transform_param '
    with source(text + "{ mean_value: 1 std_value: [4, 5, 8] }") as made:
        got = made.next()[0].transpose(0, 2, 3, 1)
    want = (np.stack([picture(7, 5, seed=k) for k in range(3)]) - 1.0) / [4, 5, 8]
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_the_third_top_is_what_the_picture_shows() -> None:
    """Of the batch, without padding; for scale_factors the fork's rule, the size before."""
    for way, want in (("scale_min: 0.5 scale_max: 0.5", [12, 18]), ("scale_factors: 0.5", [24, 32])):
        text = f"{PAIR_LAYERS['ImageSegData-3']} transform_param {{ crop_size: 32 {way} }}"
        with source(text, TRAIN, Fork.PSPNET) as made:
            assert made.next()[2][0].reshape(2).tolist() == want


@pytest.mark.parametrize("kind", ["ImageData", "ImageSegData", "ImageSegData-3", "DenseImageData"])
def test_interp_mode_of_new_height_and_new_width(kind: str) -> None:
    """The picture by the mode; labels by nearest neighbor, which ImageSegData mixes without a mode."""
    text = LAYERS[kind].replace("batch_size: 4", "batch_size: 1 new_height: 10 new_width: 14")
    pixels = picture(24, 36)
    small = {name: cv2.resize(pixels, (14, 10), interpolation=getattr(cv2, f"INTER_{name}")) for name in
             ("LINEAR", "CUBIC", "AREA", "NEAREST")}  # fmt: skip
    for mode in ("LINEAR", "CUBIC", "AREA"):
        with source(f"{text} transform_param {{ interp_mode: {mode} }}") as made:
            batch, label = made.next()[:2]
        np.testing.assert_array_equal(batch[0].transpose(1, 2, 0), small[mode])
        if kind != "ImageData":
            np.testing.assert_array_equal(label[0, 0], small["NEAREST"][:, :, 0])
    with source(text) as made:
        batch, label = made.next()[:2]
    np.testing.assert_array_equal(batch[0].transpose(1, 2, 0), small["LINEAR"])
    if kind.startswith("ImageSegData"):
        np.testing.assert_array_equal(label[0, 0], small["LINEAR"][:, :, 0])


def test_resize_param_resizes_label_pictures_too() -> None:
    for kind in PAIR_LAYERS:
        text = f"{PAIR_LAYERS[kind]} transform_param {{ resize_param {{ height: 9 width: 12 interp_mode: NEAREST }} }}"
        with source(text) as made:
            batch, label = made.next()[:2]
        assert batch.shape == (4, 3, 9, 12)
        np.testing.assert_array_equal(batch[:, :1], label)


def test_tests_take_the_center_as_it_is() -> None:
    for way in ("random_resized_crop_param { }", "scale_min: 0.5 scale_max: 2"):
        with source(f"{LAYERS['Data']} transform_param {{ crop_size: 16 {way} }}", TEST) as made:
            np.testing.assert_array_equal(made.next()[0][0].transpose(1, 2, 0), picture(24, 36)[4:20, 10:26])


class TestMistakes:
    def test_what_the_layers_own_scaling_excludes(self) -> None:
        for own in ("scale_prob: 0.5", "padding: ZERO", "label_slice { dim: [2, 2] stride: [1, 1] offset: [0, 0] }"):
            text = PAIR_LAYERS["ImageLabelListData"].replace("batch_size: 4", f"batch_size: 4 {own}")
            message = f"image_label_data_param.{own.split()[0].rstrip(':')} cannot be combined with what resizes"
            refuses(f"{text} transform_param {{ crop_size: 9 scale_min: 1 scale_max: 2 }}", message)

    def test_labels_of_another_size(self) -> None:
        text = PAIR_LAYERS["DenseImageData"].replace("batch_size: 4", "batch_size: 1 label_divide_factor: 2")
        refuses(f"{text} transform_param {{ short_side: 9 }}", "cannot be combined with label_divide_factor")

    def test_the_record_is_named(self) -> None:
        text = f"{LAYERS['ImageData']} transform_param {{ short_side: 10 crop_size: 16 }}"
        refuses(text, r"list\.txt:1: i0\.png: the crop of 16x16 is larger than the picture, 10x15")

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ("mean_value: nan", "transform_param.mean_value must be a number, it is nan"),
            ("scale: -inf", "transform_param.scale must be a number, it is -inf"),
            ("std_value: inf", "transform_param.std_value must be a number, it is inf"),
            ("noise_param { jpeg: inf }", "transform_param.noise_param.jpeg must be a number"),
            ("noise_param { saltpepper_param { fraction: 1e30 } }", "fraction must be from 0 to 1, it is 1e"),
            ("noise_param { saltpepper_param { fraction: -1 } }", "fraction must be from 0 to 1, it is -1"),
            ("vertical_stretch_upper: 0.5", "vertical_stretch_lower <= vertical_stretch_upper, found 1 and 0.5"),
            ("horizontal_stretch_lower: 3", "horizontal_stretch_lower <= horizontal_stretch_upper, found 3 and 1"),
            ("rand_resize_ratio_lower: 3 rand_resize_ratio_upper: 2", "expected rand_resize_ratio_lower <="),
        ],
    )
    @pytest.mark.parametrize("kind", LAYERS)
    def test_numbers_that_no_picture_can_follow(self, kind: str, setting: str, message: str) -> None:
        refuses(f"{LAYERS[kind]} transform_param {{ crop_size: 8 {setting} }}", message)

    def test_a_crop_beyond_all_pictures(self) -> None:
        """ImageLabelListData pads up to it."""
        for side in (70000, 2**32 - 1):
            with pytest.raises(DataError, match=r"padded up to the crop, is .* more than the .* allowed"):
                make_source(layer(f"{PAIR_LAYERS['ImageLabelListData']} transform_param {{ crop_size: {side} }}"), TEST)

    def test_a_canvas_beyond_all_pictures(self) -> None:
        expand = "expand_param { max_expand_ratio: 1e30 }"
        text = f"{LAYERS['AnnotatedData']} transform_param {{ {expand} resize_param {{ height: 8 width: 8 }} }}"
        with (
            source(text, TRAIN) as made,
            pytest.raises(CaffeCompatError, match=r"expand_param: the canvas is .* allowed"),
        ):
            made.next()
