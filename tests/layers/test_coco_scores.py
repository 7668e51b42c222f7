"""COCO's metric against pycocotools, where that is installed, and by hand."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from caffecompat.layers.coco_scores import coco_scores


def random_set(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Detections near objects, some of them crowds, some missing, some double; pictures and classes without any."""
    generator = np.random.default_rng(seed)
    there, found = [], []
    for picture in range(12):
        for _ in range(int(generator.integers(0, 6))):
            low, size = generator.uniform(0, 200, 2), generator.uniform(40, 120, 2)
            label = generator.integers(1, 4)
            there.append([picture, label, 0, *low, *(low + size), generator.random() < 0.15])
            for _ in range(int(generator.integers(0, 4))):
                corners = np.concatenate([low, low + size]) + generator.normal(0, 6, 4)
                score = round(generator.random(), 1)
                found.append([picture, label if generator.random() < 0.9 else 4, score, *corners])
    return np.array(found), np.array(there)


def pycocotools_scores(found: np.ndarray, there: np.ndarray) -> np.ndarray:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    from pycocotools.cocoeval import COCOeval

    def entry(row: np.ndarray, first: int) -> dict:
        x, y, right, bottom = row[first : first + 4].tolist()
        return {"image_id": int(row[0]), "category_id": int(row[1]), "bbox": [x, y, right - x, bottom - y]}

    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {
            "images": [{"id": picture, "width": 400, "height": 400} for picture in range(12)],
            "categories": [{"id": label, "name": str(label)} for label in (1, 2, 3, 4)],
            "annotations": [
                {**entry(row, 3), "id": at, "iscrowd": int(row[7]), "area": (row[5] - row[3]) * (row[6] - row[4])}
                for at, row in enumerate(there, 1)
            ],
        }
        truth.createIndex()
        results = truth.loadRes([{**entry(row, 3), "score": float(row[2])} for row in found])
        evaluation = COCOeval(truth, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:3]


@pytest.mark.parametrize("seed", range(6))
def test_same_as_pycocotools(seed: int) -> None:
    found, there = random_set(seed)
    ours = coco_scores(found, there, np.array([1, 2, 3, 4]))
    assert np.allclose([ours.ap, ours.ap50, ours.ap75], pycocotools_scores(found, there), atol=1e-9)


def test_a_second_detection_takes_the_second_object() -> None:
    there = np.array([[0, 1, 0, 0, 0, 10, 10, 0], [0, 1, 0, 2, 0, 12, 10, 0]], float)
    found = np.array([[0, 1, 0.9, 0, 0, 10, 10], [0, 1, 0.8, 0, 0, 10, 10]], float)
    assert coco_scores(found, there, np.array([1])).ap50 == 1


def test_crowds_and_classes_without_objects_do_not_count() -> None:
    there = np.array([[0, 1, 0, 0, 0, 10, 10, 0], [0, 1, 0, 50, 50, 90, 90, 1]], float)
    found = np.array([[0, 1, 0.9, 55, 55, 65, 65], [0, 1, 0.8, 60, 60, 70, 70], [0, 1, 0.5, 0, 0, 10, 10]], float)
    scores = coco_scores(np.concatenate([found, [[0, 2, 1, 0, 0, 9, 9]]]), there, np.array([1, 2]))
    assert scores.ap == 1
    assert np.isnan(scores.precision[1]).all()


def test_nothing_at_all() -> None:
    nothing = np.zeros((0, 7)), np.zeros((0, 8))
    assert np.isnan(coco_scores(*nothing, np.array([1])).ap)
    assert coco_scores(nothing[0], np.array([[0, 1, 0, 0, 0, 5, 5, 0]], float), np.array([1])).ap == 0
