"""PriorBox, Normalize, DetectionOutput and DetectionEvaluate beyond what their recorded cases hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError
from caffecompat.layers import LayerError
from caffecompat.layers.detection_pixels import pixel_boxes, pixel_overlaps
from caffecompat.schema import parse_text, pb
from tests.layers import ssd_by_hand as by_hand
from tests.layers.make import make_layer


def priors_of(text: str, cells: tuple[int, int] = (1, 1), picture: tuple[int, int] = (100, 100)) -> Tensor:
    shapes = (1, 8, *cells), (1, 3, *picture)
    layer = make_layer(f'type: "PriorBox" prior_box_param {{ {text} }}', *shapes)
    return layer(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


class TestPriorBox:
    def test_order_of_a_cells_boxes(self) -> None:
        made = priors_of("min_size: 20.9 max_size: 45.5 aspect_ratio: 4 aspect_ratio: 1 aspect_ratio: 4")
        assert made.shape == (1, 2, 4 * 4)
        boxes = made[0, 0].view(4, 4)
        sizes = (boxes[:, 2:] - boxes[:, :2]) * 100
        side = (20 * 45) ** 0.5
        assert torch.allclose(sizes, torch.tensor([[20, 20], [side, side], [40, 10], [10, 40]]), atol=1e-4)
        assert torch.allclose(boxes[:, :2] + boxes[:, 2:], torch.ones(4, 2))
        assert made[0, 1].unique().tolist() == [pytest.approx(0.1)]

    def test_cells_go_row_by_row(self) -> None:
        made = priors_of("min_size: 10 step_w: 20 step_h: 50 offset: 0", (2, 3), (100, 60))
        centers = (made[0, 0].view(-1, 4)[:, :2] + made[0, 0].view(-1, 4)[:, 2:]) / 2 * torch.tensor([60, 100])
        assert torch.allclose(centers, torch.tensor([[x, y] for y in (0, 50) for x in (0, 20, 40)]).float(), atol=1e-4)

    def test_another_size_of_picture(self) -> None:
        shapes = (1, 8, 2, 2), (1, 3, 50, 50)
        layer = make_layer('type: "PriorBox" prior_box_param { min_size: 10 }', *shapes)
        first = layer(torch.zeros(shapes[0]), torch.zeros(shapes[1]))
        larger = layer(torch.zeros(1, 8, 4, 4), torch.zeros(1, 3, 100, 100))
        assert larger.shape == (1, 2, 64)
        first.zero_()  # what was given out is not what is kept
        assert torch.equal(layer(torch.zeros(1, 8, 4, 4), torch.zeros(1, 3, 100, 100)), larger)

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("", "needs min_size"),
            ("min_size: 10 max_size: 9", "max_size 9 must be greater"),
            ("min_size: 10 min_size: 20 max_size: 30", "2 min_size but 1 max_size"),
            ("min_size: 10 variance: 0.1 variance: 0.2", "one or four"),
            ("min_size: 10 step: 8 step_h: 8", "either step, or step_h and step_w"),
            ("min_size: 10 img_h: 8", "img_h and img_w must be above 0"),
            ("min_size: 10 aspect_ratio: 0", "aspect_ratio 0"),
        ],
    )
    def test_mistakes(self, text: str, complaint: str) -> None:
        with pytest.raises(LayerError, match=complaint):
            priors_of(text)


def test_normalize_gives_the_scale_its_length() -> None:
    layer = make_layer(
        'type: "Normalize" norm_param { across_spatial: false channel_shared: false '
        'scale_filler { type: "constant" value: 20 } }',
        (2, 3, 4, 5),
    )
    bottom = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    top = layer(bottom)
    assert torch.allclose(top.norm(dim=1), torch.full((2, 4, 5), 20.0), atol=1e-4)
    assert top.is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(LayerError, match="no channels"):
        make_layer('type: "Normalize"', (4,))


# ---------------------------------------------------------------------------- DetectionOutput

N, P, C = 2, 40, 4


class World:
    """Random boxes, all of which are close to their priors, with probabilities of C classes."""

    def __init__(self, seed: int = 0, classes: int = 1) -> None:
        generator = np.random.default_rng(seed)
        center, size = generator.uniform(0.2, 0.8, (P, 2)), generator.uniform(0.1, 0.4, (P, 2))
        boxes = np.concatenate([center - size / 2, center + size / 2], 1)
        self.priors = torch.from_numpy(np.stack([boxes.ravel(), np.full(4 * P, 0.1)])[None].astype(np.float32))
        self.location = torch.from_numpy(generator.normal(0, 0.5, (N, P * classes * 4)).astype(np.float32))
        self.scores = torch.from_numpy(generator.dirichlet(np.ones(C), (N, P)).astype(np.float32)).reshape(N, P * C)

    def run(self, settings: str, classes: int = 1, **fields: str) -> np.ndarray:
        layer = make_layer(
            f'type: "DetectionOutput" detection_output_param {{ num_classes: {C} {settings} }}',
            (N, P * classes * 4),
            (N, P * C),
            (1, 2, P * 4),
            phase=pb.TEST,
        )
        return layer(self.location, self.scores, self.priors)[0, 0].numpy()

    def expected(self, threshold: float, overlap: float, eta: float, top_k: int, keep: int, classes: int) -> list:
        rows = []
        for image in range(N):
            mine = []
            scores = self.scores[image].view(P, C).numpy()
            codes = self.location[image].view(P, classes, 4).numpy() * np.float32(0.1)
            for label in range(1, C):
                order = sorted((p for p in range(P) if scores[p, label] > threshold), key=lambda p: -scores[p, label])
                order = order[:top_k]
                at = label if classes > 1 else 0
                boxes = [by_hand.decode("CORNER", self.priors[0, 0].view(P, 4)[p].numpy(), codes[p, at]) for p in order]
                stay = by_hand.suppress(boxes, overlap, eta)
                found = zip(order, boxes, stay, strict=True)
                mine += [[image, label, scores[p, label], *box] for p, box, keeps in found if keeps]
            best = sorted(mine, key=lambda row: -row[2])[:keep]
            rows += sorted(best, key=lambda row: (row[1], -row[2]))
        return rows


@pytest.mark.parametrize("eta", [1.0, 0.8])
@pytest.mark.parametrize("classes", [1, C])
@pytest.mark.parametrize(("keep", "top_k", "threshold"), [(12, 20, 0.1), (1000, 20, 0.1), (1000, 5, 0.01)])
def test_detections(eta: float, classes: int, keep: int, top_k: int, threshold: float) -> None:
    world = World(3, classes)
    share = "true" if classes == 1 else "false"
    rows = world.run(
        f"share_location: {share} nms_param {{ nms_threshold: 0.7 top_k: {top_k} eta: {eta} }} keep_top_k: {keep} "
        f"confidence_threshold: {threshold}",
        classes,
    )
    expected = np.array(world.expected(threshold, 0.7, eta, top_k, keep, classes))
    assert rows.shape == expected.shape
    assert np.allclose(rows, expected, atol=1e-5)


def test_nothing_found_gives_a_row_an_image(capsys) -> None:
    rows = World().run("confidence_threshold: 2")
    assert rows.tolist() == [[0] + [-1] * 6, [1] + [-1] * 6]
    assert "Couldn't find any detections" in capsys.readouterr().err


def test_many_boxes_need_no_loop_over_them() -> None:
    """SSD300's count of priors with every box passing: a loop in Python would take a minute."""
    generator = np.random.default_rng(0)
    count = 8732
    center = generator.uniform(0, 1, (count, 2))
    boxes = np.concatenate([center - 0.05, center + 0.05], 1).astype(np.float32)
    layer = make_layer(
        'type: "DetectionOutput" detection_output_param { num_classes: 2 nms_param { nms_threshold: 0.45 } }',
        *((1, count * 4), (1, count * 2), (1, 2, count * 4)),
    )
    scores = torch.rand(1, count * 2)
    priors = torch.from_numpy(np.stack([boxes.ravel(), np.full(count * 4, 0.1, np.float32)])[None])
    rows = layer(torch.zeros(1, count * 4), scores, priors)[0, 0]
    overlaps = by_hand.overlap(rows[0, 3:].numpy(), rows[1, 3:].numpy())
    assert 50 < len(rows) < 2000 and overlaps <= 0.45


def test_xilinx_passes_a_segmentation_on() -> None:
    text = (
        'type: "DetectionOutput" top: "boxes" top: "map" detection_output_param '
        f"{{ num_classes: {C} confidence_threshold: 2 has_segmap: %s }}"
    )
    shapes = (N, P * 4), (N, P * C), (1, 2, P * 4), (N, 1, 3, 3)
    world, segmentation = World(), torch.rand(N, 1, 3, 3)
    boxes, passed = make_layer(text % "true", *shapes)(world.location, world.scores, world.priors, segmentation)
    assert boxes.shape == (1, 1, N, 7) and torch.equal(passed, segmentation)
    with pytest.raises(LayerError, match="has_segmap"):
        make_layer(text % "false", *shapes)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ("nms_param { nms_threshold: -0.1 }", "nms_threshold -0.1"),
        ("nms_param { eta: 1.5 }", "eta 1.5"),
        ("share_location: false", "40 priors need 40 x 16 locations"),
    ],
)
def test_mistakes_of_detection_output(settings: str, complaint: str) -> None:
    with pytest.raises(LayerError, match=complaint):
        World().run(settings)


LABEL_MAP = "".join(
    f'item {{ name: "{name}" label: {label} display_name: "{title}" }}\n'
    for label, (name, title) in enumerate([("none", "background"), ("7", "cat"), ("8", "dog"), ("9", "cow")])
)


class TestSavedResults:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("map.prototxt").write_text(LABEL_MAP)
        Path("sizes.txt").write_text("0001 50 100\n0002 200 80\n0003 10 10\n")

    def save(self, form: str, more: str = "") -> np.ndarray:
        saving = (
            f'save_output_param {{ output_directory: "out" output_name_prefix: "res_" output_format: "{form}" '
            f'label_map_file: "map.prototxt" name_size_file: "sizes.txt" num_test_image: 2 {more} }}'
        )
        return World(5).run(f"{saving} confidence_threshold: 0.5 nms_param {{ nms_threshold: 0.45 }}")

    @staticmethod
    def corners(row: np.ndarray) -> np.ndarray:
        height, width = ((50, 100), (200, 80))[int(row[0])]
        return np.clip(row[3:], 0, 1) * [width, height, width, height]

    def test_voc(self) -> None:
        rows = self.save("VOC")
        assert sorted(path.name for path in Path("out").iterdir()) == ["res_7.txt", "res_8.txt", "res_9.txt"]
        lines = [line.split() for name in "789" for line in Path(f"out/res_{name}.txt").read_text().splitlines()]
        ordered = sorted(rows.tolist(), key=lambda row: (row[1], row[0]))
        assert len(lines) == len(rows) > 3
        for (image, score, *box), row in zip(lines, ordered, strict=True):
            assert image == f"000{int(row[0]) + 1}"
            assert float(score) == pytest.approx(row[2], abs=1e-5)
            assert np.abs(np.array(box, float) - self.corners(np.array(row))).max() < 2

    def test_coco(self) -> None:
        rows = self.save("COCO")
        found = json.loads(Path("out/res_.json").read_text())
        assert len(found) == len(rows)
        for entry, row in zip(found, rows, strict=True):
            x0, y0, x1, y1 = self.corners(row)
            assert entry["image_id"] == int(row[0]) + 1 and entry["category_id"] == int(row[1]) + 6
            assert np.allclose(entry["bbox"], [x0, y0, x1 - x0, y1 - y0], atol=0.0051)

    def test_ilsvrc(self) -> None:
        rows = self.save("ILSVRC")
        lines = [line.split() for line in Path("out/res_.txt").read_text().splitlines()]
        assert [line[:2] for line in lines] == [[f"000{int(r[0]) + 1}", str(int(r[1]))] for r in rows]

    def test_files_of_others_stay(self) -> None:
        Path("out").mkdir()
        Path("out/mine.txt").write_text("precious")
        self.save("COCO")
        assert Path("out/mine.txt").read_text() == "precious"

    def test_nothing_is_written_without_names(self) -> None:
        World().run('save_output_param { output_directory: "out" output_format: "VOC" }')
        assert not Path("out").exists()

    def test_a_wrong_format(self) -> None:
        with pytest.raises(LayerError, match="'XML': expected VOC, COCO, ILSVRC"):
            self.save("XML")

    @pytest.mark.parametrize(
        ("sizes", "complaint"),
        [
            ("0001 50\n", "sizes.txt:1: expected 'name height width'"),
            ("0001 50 100\n", "num_test_image 2: sizes.txt has 1"),
        ],
    )
    def test_files_of_another_machine_do_not_stop_the_net(self, capsys, sizes: str, complaint: str) -> None:
        Path("sizes.txt").write_text(sizes)
        assert len(self.save("VOC")) > 3
        assert f"boxes will not be saved to out: {complaint}" in capsys.readouterr().err
        assert not Path("out").exists()


def resize(text: str):
    return parse_text(text, pb.ResizeParameter())


def test_boxes_in_pixels() -> None:
    boxes = np.array([[0.25, 0.25, 0.75, 1.2]], np.float32)
    corners, sizes = pixel_boxes(boxes, 100, 200)
    assert corners.tolist() == [[50, 25, 150, 100]] and sizes.tolist() == [101 * 76]
    # 200 x 100 in 300 x 300 fills the middle half of the height.
    padded = resize("height: 300 width: 300 resize_mode: FIT_LARGE_SIZE_AND_PAD")
    corners, _ = pixel_boxes(np.array([[0, 0.25, 0.5, 0.5], [0.1, 0, 0.2, 0.1]], np.float32), 100, 200, padded)
    assert np.allclose(corners, [[0, 0, 100, 50], [20, 0, 40, 10]], atol=1e-4)
    small = resize("height: 300 width: 300 resize_mode: FIT_SMALL_SIZE height_scale: 100 width_scale: 100")
    corners, sizes = pixel_boxes(boxes, 90, 200, small)
    assert corners.tolist() == [[25, 25, 75, 90]] and sizes.tolist() == [50 * 65]


def test_overlaps_in_pixels_count_edges() -> None:
    a, b = np.array([[0, 0, 1, 1]], np.float32), np.array([[1, 1, 2, 2], [0, 0, 1, 1]], np.float32)
    assert pixel_overlaps(a, np.array([4]), b, np.array([4, 4])).tolist() == [[pytest.approx(1 / 7), 1]]
    assert pixel_overlaps(a, None, b, None).tolist() == [[0, 1]]


# ---------------------------------------------------------------------------- DetectionEvaluate


def evaluate(settings: str, detections: list, objects: list, times: int = 1) -> np.ndarray:
    found, there = torch.tensor(detections).float()[None, None], torch.tensor(objects).float()[None, None]
    layer = make_layer(
        f'type: "DetectionEvaluate" detection_evaluate_param {{ num_classes: 3 {settings} }}', found.shape, there.shape
    )
    for _ in range(times):
        rows = layer(found, there)
    return rows[0, 0].numpy()


BOX, OTHER = [0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]


def test_the_best_of_several_is_the_hit() -> None:
    rows = evaluate(
        "",
        [[0, 1, 0.5, *BOX], [0, 1, 0.9, *BOX], [0, 1, 0.7, *OTHER], [0, 2, 0.3, *OTHER], [0, -1, 0, *BOX]],
        [[0, 1, 0, *BOX, 0], [-1] * 8],
    )
    assert rows[:2].tolist() == [[-1, 1, 1, -1, -1], [-1, 2, 0, -1, -1]]
    assert np.allclose(rows[2:], [[0, 1, 0.9, 1, 0], [0, 1, 0.7, 0, 1], [0, 1, 0.5, 0, 1], [0, 2, 0.3, 0, 1]])


def test_difficult_objects_need_not_be_found() -> None:
    detections, objects = [[0, 1, 0.9, *BOX], [0, 1, 0.8, *BOX]], [[0, 1, 0, *BOX, 1]]
    rows = evaluate("evaluate_difficult_gt: false", detections, objects)
    assert rows[0, 2] == 0 and rows[2:, 3:].tolist() == [[0, 0], [0, 0]]
    assert evaluate("", detections, objects)[2:, 3:].tolist() == [[1, 0], [0, 1]]


def test_no_objects_no_hits() -> None:
    assert evaluate("", [[0, 1, 0.9, *BOX]], [[-1] * 8])[2:, 3:].tolist() == [[0, 1]]
    assert evaluate("", [[0, -1, -1, -1, -1, -1, -1]], [[0, 1, 0, *BOX, 0]]).shape == (2, 5)


def test_sizes_go_on_from_image_to_image(tmp_path: Path) -> None:
    """In a picture of 4 x 4 pixels a shared edge is half a box; in a large one it is nothing."""
    sizes = tmp_path / "sizes.txt"
    sizes.write_text("a 4 4\nb 400 400\nc 400 400\n")
    text = f'name_size_file: "{sizes}" overlap_threshold: 0.3'
    detections = [[image, 1, 0.9, 0, 0, 0.5, 0.5] for image in (0, 1)]
    objects = [[image, 1, 0, 0.25, 0, 1, 0.5, 0] for image in (0, 1)]
    assert evaluate(text, detections, objects)[2:, 3].tolist() == [1, 0]
    assert evaluate(text, detections, objects, times=2)[2:, 3].tolist() == [0, 1]


def test_sizes_are_read_when_they_are_needed() -> None:
    text = 'type: "DetectionEvaluate" detection_evaluate_param { num_classes: 3 name_size_file: "nowhere.txt" }'
    layer = make_layer(text, (1, 1, 1, 7), (1, 1, 1, 8))
    with pytest.raises(CaffeCompatError, match=r"name_size_file: nowhere\.txt: there is no such file"):
        layer(torch.ones(1, 1, 1, 7), torch.zeros(1, 1, 1, 8) - 1)


def test_what_is_of_the_backgrounds_class_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    right = [[0, 1, 0.9, *BOX]], [[0, 1, 0, *BOX, 0]]
    more = [[0, 0, 0.9, *BOX], *right[0]], [*right[1], [0, 0, 0, *BOX, 0]]
    np.testing.assert_array_equal(evaluate("", *more), evaluate("", *right))
    assert capsys.readouterr().err.count("1 of 2 detections are of the background's class 0") == 1


def test_mistakes_of_detection_evaluate() -> None:
    with pytest.raises(LayerError, match=r"expected \(1, 1, rows, 8\)"):
        evaluate("", [[0, 1, 0.9, *BOX]], [[0, 1, 0, *BOX]])
    with pytest.raises(LayerError, match="overlap_threshold 0"):
        evaluate("overlap_threshold: 0", [[0, 1, 0.9, *BOX]], [[0, 1, 0, *BOX, 0]])
