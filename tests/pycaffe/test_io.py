"""caffe.io: messages, pictures, Transformer."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.pycaffe import io
from caffecompat.pycaffe.proto import caffe_pb2


class TestBlobProto:
    def test_shape_in_either_form(self) -> None:
        data = np.arange(100, dtype=np.float32).reshape(10, 10)
        old = caffe_pb2.BlobProto(num=1, channels=1, height=10, width=10, data=data.ravel())
        assert io.blobproto_to_array(old).shape == (1, 1, 10, 10)
        new = caffe_pb2.BlobProto(data=data.ravel())
        new.shape.dim.extend(data.shape)
        array = io.blobproto_to_array(new)
        assert array.dtype == np.float64
        np.testing.assert_array_equal(array, data)

    def test_without_a_shape_only_a_scalar_has_one(self) -> None:
        assert io.blobproto_to_array(caffe_pb2.BlobProto(data=[123])) == 123
        with pytest.raises(ValueError, match="100 values"):
            io.blobproto_to_array(caffe_pb2.BlobProto(data=np.zeros(100)))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
    def test_there_and_back_with_a_diff(self, dtype: type) -> None:
        data = np.random.RandomState(0).randint(0, 250, (2, 3, 4)).astype(dtype)
        blob = io.array_to_blobproto(data, data[::-1])
        assert (list(blob.shape.dim), len(blob.double_data)) == ([2, 3, 4], 0)
        np.testing.assert_array_equal(io.blobproto_to_array(blob), data)
        np.testing.assert_array_equal(io.blobproto_to_array(blob, return_diff=True), data[::-1])
        text = io.arraylist_to_blobprotovector_str([data, data[0]])
        back = io.blobprotovector_str_to_arraylist(text)
        assert isinstance(text, bytes)
        assert [array.shape for array in back] == [(2, 3, 4), (3, 4)]


class TestDatum:
    def test_bytes_or_floats(self) -> None:
        pixels = np.random.RandomState(0).randint(0, 256, (3, 4, 5), dtype=np.uint8)
        datum = io.array_to_datum(pixels, label=7)
        assert (datum.channels, datum.height, datum.width, datum.label, len(datum.data)) == (3, 4, 5, 7, 60)
        back = io.datum_to_array(datum)
        assert back.dtype == np.uint8 and back.flags.writeable
        np.testing.assert_array_equal(back, pixels)
        floats = io.array_to_datum(pixels / 2)
        assert not floats.data
        np.testing.assert_array_equal(io.datum_to_array(floats), pixels / 2)

    def test_no_label_takes_no_room(self) -> None:
        ones = np.ones((10, 10, 3))
        with_label, without = io.array_to_datum(ones, label=1), io.array_to_datum(ones)
        assert with_label.ByteSize() > without.ByteSize() and not without.HasField("label")

    def test_what_does_not_fit(self) -> None:
        with pytest.raises(ValueError, match="Incorrect array shape"):
            io.array_to_datum(np.ones((3, 4)))
        with pytest.raises(ValueError, match="encoded"):
            io.datum_to_array(caffe_pb2.Datum(encoded=True, data=b"x"))
        with pytest.raises(ValueError, match="Datum holds 5 values"):
            io.datum_to_array(caffe_pb2.Datum(channels=1, height=2, width=3, data=b"12345"))


class TestPictures:
    @pytest.fixture
    def pixels(self) -> np.ndarray:
        return np.random.RandomState(1).randint(0, 256, (5, 7, 4), dtype=np.uint8)

    def test_loading(self, tmp_path: Path, pixels: np.ndarray) -> None:
        name = str(tmp_path / "a.png")
        cv2.imwrite(name, pixels)  # blue, green, red, alpha
        rgb = io.load_image(name)
        assert (rgb.dtype, rgb.shape) == (np.float32, (5, 7, 3))
        np.testing.assert_allclose(rgb, pixels[:, :, [2, 1, 0]] / 255, atol=1e-6)
        gray = io.load_image(name, color=False)
        assert gray.shape == (5, 7, 1)
        np.testing.assert_allclose(gray[..., 0], rgb @ [0.2125, 0.7154, 0.0721], atol=1e-6)

    def test_loading_gray_and_deep_pictures(self, tmp_path: Path, pixels: np.ndarray) -> None:
        name = str(tmp_path / "a.png")
        cv2.imwrite(name, pixels[..., 0].astype(np.uint16) * 257)
        np.testing.assert_allclose(io.load_image(name), np.tile(pixels[..., :1] / 255, 3), atol=1e-6)
        assert io.load_image(name, color=False).shape == (5, 7, 1)

    def test_pictures_that_are_none(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"nothing\.jpg"):
            io.load_image(str(tmp_path / "nothing.jpg"))
        (tmp_path / "text.jpg").write_text("no picture")
        with pytest.raises(ValueError, match=r"text\.jpg: not a picture"):
            io.load_image(tmp_path / "text.jpg")

    @pytest.mark.parametrize("case", range(8))
    @pytest.mark.parametrize("order", [0, 1])
    def test_resizing_is_that_of_skimage_and_scipy(self, golden: Path, case: int, order: int) -> None:
        """Recorded with scikit-image 0.26 (resize, mode constant, no anti-aliasing) and SciPy 1.17 (zoom)."""
        record = np.load(golden / "pycaffe" / "resize.npz")
        resized = io.resize_image(record[f"im{case}"], record[f"d{case}"], order)
        assert resized.dtype == np.float32
        np.testing.assert_allclose(resized, record[f"o{order}_{case}"], atol=2e-6)

    def test_resizing_what_has_no_range(self) -> None:
        assert (io.resize_image(np.full((3, 4, 3), 0.25), (6, 5)) == 0.25).all()
        assert io.resize_image(np.zeros((3, 4, 1)), (2, 2)).shape == (2, 2, 1)

    def test_resizing_what_is_no_picture(self) -> None:
        with pytest.raises(ValueError, match=r"not \(3, 4\)"):
            io.resize_image(np.zeros((3, 4)), (2, 2))
        with pytest.raises(ValueError, match="interp_order 3"):
            io.resize_image(np.zeros((3, 4, 3)), (2, 2), 3)

    def test_oversampling(self) -> None:
        image = np.random.rand(7, 9, 2)
        crops = io.oversample([image, image + 1], (4, 5))
        assert (crops.shape, crops.dtype) == ((20, 4, 5, 2), np.float32)
        places = [(0, 0), (0, 4), (3, 0), (3, 4), (1, 2)]
        for index, (top, left) in enumerate(places):
            crop = image[top : top + 4, left : left + 5].astype(np.float32)
            np.testing.assert_array_equal(crops[index], crop)
            np.testing.assert_array_equal(crops[index + 5], crop[:, ::-1])
        np.testing.assert_allclose(crops[10:], crops[:10] + 1, atol=1e-6)
        with pytest.raises(ValueError, match="do not fit"):
            io.oversample([image], (8, 5))


class TestTransformer:
    def make(self, channels: int = 3) -> io.Transformer:
        return io.Transformer({"data": (10, channels, 4, 6)})

    def test_the_order_of_the_steps(self) -> None:
        image = np.random.RandomState(2).rand(4, 6, 3).astype(np.float32)
        given, mean = image.copy(), np.array([10.0, 20.0, 30.0])
        t = self.make()
        t.set_transpose("data", (2, 0, 1))
        t.set_channel_swap("data", (2, 1, 0))
        t.set_raw_scale("data", 255)
        t.set_mean("data", mean)
        t.set_input_scale("data", 0.5)
        made = t.preprocess("data", image)
        expected = (image[:, :, ::-1].transpose(2, 0, 1) * 255 - mean[:, None, None]) * 0.5
        np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(image, given)
        np.testing.assert_allclose(t.deprocess("data", made[np.newaxis]), image, atol=1e-6)

    def test_raw_scale_alone_leaves_the_picture_as_it_is(self) -> None:
        """In BVLC's file this scales the caller's array."""
        image = np.ones((4, 6, 3), np.float32)
        t = self.make()
        t.set_raw_scale("data", 255)
        assert t.preprocess("data", image).max() == 255
        assert image.max() == 1

    def test_pictures_of_other_sizes_are_resized(self) -> None:
        t = self.make()
        t.set_transpose("data", (2, 0, 1))
        image = np.random.rand(9, 5, 3)
        np.testing.assert_array_equal(
            t.preprocess("data", image), io.resize_image(image.astype(np.float32), (4, 6)).transpose(2, 0, 1)
        )

    def test_means_of_every_form(self) -> None:
        t, image = self.make(), np.ones((4, 6, 3), np.float32)
        t.set_transpose("data", (2, 0, 1))
        for mean, expected in (
            (np.full((3, 4, 6), 0.25), 0.75),
            (np.full((4, 6), 0.25), 0.75),
            (np.full((3, 8, 8), 0.25), 0.75),
            (np.full((3, 1, 1), 0.5), 0.5),
            (np.array([1.0, 1.0, 1.0]), 0.0),
        ):
            t.set_mean("data", mean)
            np.testing.assert_allclose(t.preprocess("data", image), expected, atol=1e-6)
        ramp = np.tile(np.linspace(0, 100, 16)[:, None], (3, 1, 12))
        t.set_mean("data", ramp)
        np.testing.assert_allclose(t.mean["data"][0, :, 3], [10.0, 36.667, 63.333, 90.0], atol=0.01)

    def test_mistakes(self) -> None:
        t = self.make()
        calls = (
            (lambda: t.preprocess("dat", np.ones((4, 6, 3))), "dat is not one of the net inputs"),
            (lambda: t.deprocess("dat", np.ones((3, 4, 6))), "not one of the net inputs"),
            (lambda: t.set_input_scale("dat", 1), "not one of the net inputs"),
            (lambda: t.set_transpose("data", (1, 0)), "same number of dimensions as the input: 2 given, 3 wanted"),
            (lambda: t.set_channel_swap("data", (1, 0)), "same number of dimensions as the input channels"),
            (lambda: t.set_mean("data", np.zeros(2)), "Mean channels incompatible"),
            (lambda: t.set_mean("data", np.zeros((1, 3, 4, 6))), "Mean shape invalid"),
            (lambda: t.set_mean("data", np.zeros((2, 4, 6))), "Mean shape invalid"),
        )
        for call, message in calls:
            with pytest.raises(ValueError, match=message):
                call()
