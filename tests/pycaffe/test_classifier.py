"""Classifier and Detector: what their pictures become on the way into the net."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from caffecompat.errors import CaffeCompatError
from caffecompat.pycaffe import io

# A "network" that only averages each channel: a picture's scores can be told beforehand.
AVERAGE = """
input: "data" input_shape { dim: 4 dim: 3 dim: 8 dim: 8 }
layer { name: "score" type: "Pooling" bottom: "data" top: "score" pooling_param { pool: AVE global_pooling: true } }
layer { name: "bias" type: "Bias" bottom: "score" top: "score" bias_param { filler { value: 0 } } }
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    model, weights = tmp_path / "deploy.prototxt", tmp_path / "w.caffemodel"
    model.write_text(AVERAGE)
    caffe.Net(str(model), caffe.TEST).save(str(weights))
    return str(model), str(weights)


@pytest.fixture
def images() -> list[np.ndarray]:
    return [np.random.RandomState(i).rand(8 + 4 * i, 12 + 2 * i, 3).astype(np.float32) for i in range(3)]


class TestClassifier:
    def test_center_crop(self, files: tuple[str, str], images: list[np.ndarray]) -> None:
        net = caffe.Classifier(*files, image_dims=(10, 12), channel_swap=(2, 1, 0), raw_scale=255)
        scores = net.predict(images, oversample=False).reshape(3, 3)
        for image, score in zip(images, scores, strict=True):
            center = io.resize_image(image, (10, 12))[1:9, 2:10]
            np.testing.assert_allclose(score, center.mean((0, 1))[::-1] * 255, rtol=1e-4)

    def test_oversampled(self, files: tuple[str, str], images: list[np.ndarray]) -> None:
        net = caffe.Classifier(*files, image_dims=(10, 12), mean=np.array([0.5, 0.5, 0.5]), input_scale=2)
        scores = net.predict(images)
        assert scores.shape == (3, 3)
        crops = io.oversample([io.resize_image(image, (10, 12)) for image in images], (8, 8)).reshape(3, 10, 8, 8, 3)
        np.testing.assert_allclose(scores, (crops.mean((1, 2, 3)) - 0.5) * 2, rtol=1e-3, atol=1e-5)

    def test_size_of_the_input_where_none_is_given(self, files: tuple[str, str]) -> None:
        net = caffe.Classifier(*files)
        assert (net.image_dims == [8, 8]).all() and (net.crop_dims == [8, 8]).all()
        assert isinstance(net, caffe.Net) and net.outputs == ["score"]


class TestDetector:
    @pytest.fixture
    def picture(self, tmp_path: Path) -> str:
        name = str(tmp_path / "street.png")
        cv2.imwrite(name, np.random.RandomState(3).randint(0, 256, (30, 40, 3), dtype=np.uint8))
        return name

    def test_windows(self, files: tuple[str, str], picture: str) -> None:
        net = caffe.Detector(*files)
        windows = [np.array([2, 3, 20, 25]), [0, 0, 30, 40], np.array([5, 5, 6, 9]), [1, 2, 9, 9], [4, 4, 20, 8]]
        found = net.detect_windows([(picture, windows)])
        image = io.load_image(picture)
        assert len(found) == 5
        for detection, window in zip(found, windows, strict=True):
            assert detection["filename"] == picture and detection["window"] is window
            top, left, bottom, right = window
            expected = io.resize_image(image[top:bottom, left:right], (8, 8)).mean((0, 1))
            np.testing.assert_allclose(np.ravel(detection["prediction"]), expected, rtol=1e-4)
        assert net.detect_windows([]) == []

    def test_context(self, files: tuple[str, str]) -> None:
        """Arithmetic of R-CNN: a window of 12 x 12 and context 2 on an input of 8 grows to 26 x 26."""
        net = caffe.Detector(*files, context_pad=2, mean=np.array([0.1, 0.2, 0.3]), raw_scale=2, channel_swap=(2, 1, 0))
        np.testing.assert_allclose(net.crop_mean, np.broadcast_to([0.15, 0.1, 0.05], (1, 1, 3)))
        image = np.random.RandomState(4).rand(60, 60, 3).astype(np.float32)
        crop = net.crop(image, np.array([20, 20, 31, 31]))
        np.testing.assert_allclose(crop, io.resize_image(image[14:38, 14:38], (8, 8)), atol=1e-6)

    def test_context_beyond_the_rim_is_the_mean(self, files: tuple[str, str]) -> None:
        net = caffe.Detector(*files, context_pad=2, mean=np.array([0.1, 0.2, 0.3]))
        crop = net.crop(np.ones((60, 60, 3), np.float32), np.array([0, 20, 11, 31]))
        assert crop.shape == (8, 8, 3)
        np.testing.assert_allclose(crop[:2], np.broadcast_to([0.1, 0.2, 0.3], (2, 8, 3)), atol=1e-6)
        assert (crop[3:] == 1).all()
        outside = net.crop(np.ones((60, 60, 3), np.float32), np.array([70, 70, 71, 71]))
        np.testing.assert_allclose(outside, np.broadcast_to([0.1, 0.2, 0.3], (8, 8, 3)))

    def test_selective_search_says_what_it_lacks(self, files: tuple[str, str]) -> None:
        with pytest.raises(CaffeCompatError, match=r"selective_search_ijcv_with_python.*detect_windows"):
            caffe.Detector(*files).detect_selective_search(["a.jpg"])

    def test_selective_search(self, files: tuple[str, str], picture: str, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys
        from types import SimpleNamespace

        def get_windows(paths: list[str], cmd: str) -> list[Any]:
            return [np.array([[0, 0, 10, 10], [5, 5, 20, 20]]) for _ in paths]

        monkeypatch.setitem(sys.modules, "selective_search_ijcv_with_python", SimpleNamespace(get_windows=get_windows))
        assert len(caffe.Detector(*files).detect_selective_search([picture, picture])) == 4
