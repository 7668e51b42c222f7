"""lmdb show --augmented: a sheet for each augmentation, whose pictures are what it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.cli.main import main
from caffecompat.formats.annotated_datum import AnnotatedDatum, encode_annotated_datum
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum
from tests.data.batches import make_database, write_picture

SIDE, CROP, TIMES = 128, 64, 8
MEAN = (40, 90, 160)
NORMALIZED = f"mean_value: {list(MEAN)} std_value: [50, 55, 60] scale: 0.7"
Cells = list[np.ndarray]
DATA = 'type: "Data" data_param { source: "db" backend: LMDB batch_size: 1 }'
PAIRS = 'type: "ImageSegData" image_data_param { source: "pairs.txt" batch_size: 1 }'
BOXES = 'type: "AnnotatedData" data_param { source: "boxes" backend: LMDB batch_size: 1 }'


def places() -> np.ndarray:
    """A picture whose blue is twice the row, whose green is twice the column, and whose red is 100."""
    rows, columns = np.indices((SIDE, SIDE))
    return np.dstack([2 * rows, 2 * columns, np.full_like(rows, 100)]).astype(np.uint8)


def labels() -> np.ndarray:
    """Class 1 in the left quarter."""
    return (places()[:, :, 1:2] < 64).astype(np.uint8)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_database(tmp_path / "db", [places()])
    write_picture(tmp_path / "0.png", places())
    write_picture(tmp_path / "label.png", labels())
    (tmp_path / "pairs.txt").write_text("0.png label.png\n")
    return tmp_path


def make_boxes(*corners: tuple[float, float, float, float]) -> None:
    """A database of the picture with these boxes, of class 1."""
    datum = Datum.from_array(np.ascontiguousarray(places().transpose(2, 0, 1)), 0)
    objects = np.array([(1, 0, *box, 0) for box in corners], np.float32).reshape(-1, 7)
    with open_database("boxes", "lmdb", "w") as database:
        database.put([(b"0", encode_annotated_datum(AnnotatedDatum(datum, objects)))])


def show(layer: str, transform: str, *, seed: int = 1, size: int = SIDE) -> Cells:
    """The pictures on a sheet of one record, but for the first, the record as it is; `size` is that of the others."""
    net = f'layer {{ name: "in" top: "data" top: "label" {layer} transform_param {{ {NORMALIZED} {transform} }} }}'
    Path("net.prototxt").write_text(net)
    words = ["lmdb", "show", "--augmented", "net.prototxt", "--out", "sheet.png", "--size", str(size)]
    assert main([*words, "--count", "1", "--times", str(TIMES), "--seed", str(seed)]) == 0
    sheet = cv2.imread("sheet.png")
    assert sheet is not None
    row = sheet[6 : 6 + size, 6:]
    return [row[:, size * k : size * (k + 1)] for k in range(1, TIMES + 1)]


def inside(cell: np.ndarray) -> np.ndarray:
    """(H, W), what has not the mean's color."""
    mask: np.ndarray = (cell != MEAN).any(2)
    return mask


def is_resized(cell: np.ndarray, slack: int = 4) -> bool:
    """Whether rows are rows of the picture and columns are columns, in order, evenly, and red is red."""
    rows, columns = cell[:, :, 0].astype(int), cell[:, :, 1].astype(int)
    steps = np.diff(rows[:, 0]), np.diff(columns[0])
    straight = (np.ptp(rows, axis=1) <= 1).all() and (np.ptp(columns, axis=0) <= 1).all()
    return bool(straight and all(np.ptp(step) <= slack for step in steps) and (cell[:, :, 2] == 100).all())


def all_resized(cells: Cells) -> bool:
    return all(map(is_resized, cells))


def differ_and_resized(cells: Cells) -> bool:
    return all_resized(cells) and len({cell.tobytes() for cell in cells}) == TIMES


def are_crops(cells: Cells) -> bool:
    corners = [tuple((cell[0, 0, :2] // 2).tolist()) for cell in cells]
    wanted = [places()[top : top + CROP, left : left + CROP] for top, left in corners]
    return len(set(corners)) > 1 and all(map(np.array_equal, cells, wanted))


def are_mirrored(cells: Cells) -> bool:
    """Some, and the others are as they were."""
    sides = [cell[0, 0, 1] != 0 for cell in cells]
    return len(set(sides)) == 2 and all(
        np.array_equal(cell, places()[:, :: -1 if side else 1]) for cell, side in zip(cells, sides, strict=True)
    )


def are_scaled(cells: Cells) -> bool:
    """By the same factor both ways, with the mean at the right and below."""
    heights = {int(inside(cell).any(1).sum()) for cell in cells}
    squares = [cell[: inside(cell).any(1).sum(), : inside(cell).any(0).sum()] for cell in cells]
    square = all(one.shape[0] == one.shape[1] and inside(one).all() and is_resized(one, 6) for one in squares)
    return square and len(heights) > TIMES // 2


def are_on_canvases(cells: Cells) -> bool:
    """A part of the picture, not resized, and the mean around it."""
    parts = []
    for cell in cells:
        rows, columns = np.nonzero(inside(cell))
        parts.append(cell[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    whole = all(np.array_equal(np.diff(part[:, 0, 0].astype(int)), np.full(len(part) - 1, 2)) for part in parts)
    return whole and all(is_resized(part, 0) for part in parts) and min(map(len, parts)) < SIDE


def are_darker_or_brighter(cells: Cells) -> bool:
    reds = [np.unique(cell[:, :, 2]).tolist() for cell in cells]
    return all(len(red) == 1 for red in reds) and len({red[0] for red in reds}) > 3


def are_moved(cells: Cells) -> bool:
    """At least half of them: red is the picture's or the mean's, and the mean is in the place of what is missing."""
    moved = [cell for cell in cells if not inside(cell).all()]
    return len(moved) >= TIMES // 2 and all((cell[inside(cell)][:, 2] == 100).all() for cell in moved)


def are_erased(cells: Cells) -> bool:
    """One rectangle has the mean's color."""
    for cell in cells:
        rows, columns = np.nonzero(~inside(cell))
        erased = np.zeros((SIDE, SIDE), bool)
        erased[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        if inside(cell)[erased].any() or not np.array_equal(cell[~erased], places()[~erased]):
            return False
    return True


MOVES = 'rand_augment_param { policy: "rand-m9-n1-p1-tweights" }'
SAMPLER = "annotated_data_param { batch_sampler { sampler { min_scale: 0.3 max_scale: 0.6 } max_sample: 1 } }"
CASES: dict[str, tuple[str, str, Callable[[Cells], bool]]] = {
    "nothing": (DATA, "", lambda cells: all(np.array_equal(cell, places()) for cell in cells)),
    "mirror": (DATA, "mirror: true", are_mirrored),
    "crop": (DATA, "crop_size: 64", are_crops),
    "random resized crop": (DATA, "crop_size: 64 random_resized_crop_param { max_area: 0.5 }", differ_and_resized),
    "Intel's aspect ratio": (DATA, "crop_size: 64 random_aspect_ratio_param { max_area_ratio: 0.5 }", all_resized),
    "Intel's short side": (DATA, "crop_size: 64 random_resize_param { min_size: 70 }", differ_and_resized),
    "Jacinto's sizes": (DATA, "crop_size: 64 img_rand_resize_lower: 70 img_rand_resize_upper: 110", all_resized),
    "scale jitter": (DATA, "crop_size: 64 scale_min: 0.2 scale_max: 0.45", are_scaled),
    "scale factors": (
        DATA,
        "crop_size: 64 scale_factors: 0.25",
        lambda cells: all(map(is_resized, _corners(cells, 32))),
    ),
    "short side": (DATA, "short_side: 64", all_resized),
    "resize_param": (DATA, "resize_param { height: 64 width: 64 }", all_resized),
    "expansion": (DATA, "crop_size: 128 expand_param { max_expand_ratio: 1.5 }", are_on_canvases),
    "SSD's samplers": (f"{BOXES} {SAMPLER}", "resize_param { height: 64 width: 64 }", all_resized),
    "colors": (DATA, "distort_param { mode: TORCHVISION brightness_delta: 0.6 }", are_darker_or_brighter),
    "SSD's colors": (DATA, "distort_param { brightness_prob: 1 brightness_delta: 60 }", are_darker_or_brighter),
    "RandAugment": (DATA, MOVES, are_moved),
    "random erasing": (DATA, "random_erase_param { prob: 1 min_area: 0.1 }", are_erased),
    "noise": (DATA, "noise_param { inverse: true }", lambda cells: all((cell == ~places()).all() for cell in cells)),
}


def _corners(cells: Cells, side: int) -> Cells:
    return [cell[:side, :side] for cell in cells]


@pytest.mark.parametrize("name", CASES)
def test_each_augmentation_is_seen(name: str) -> None:
    layer, transform, right = CASES[name]
    if name == "SSD's samplers":  # whose boxes would be drawn over what is looked at
        make_boxes()
    assert right(show(layer, transform, size=CROP if "64" in transform else SIDE))


def test_boxes_and_label_pictures_move_along(capfd: pytest.CaptureFixture[str]) -> None:
    make_boxes((0.25, 0.25, 0.5, 0.75))
    cells = show(BOXES, "mirror: true")
    lines = [line.split("  ")[3] for line in capfd.readouterr().out.splitlines()[1:-1]]
    sides = [cell[0, 0, 1] != 0 for cell in cells]
    texts = {False: "1 (0.250,0.250,0.500,0.750)", True: "1 (0.500,0.250,0.750,0.750)"}
    assert lines == [texts[False], *(texts[side] for side in sides)]
    for cell, side in zip(cells, sides, strict=True):
        left = 64 if side else 32
        assert (cell[40:90, [left, left + 31]] == (0, 0, 128)).all()  # the color of class 1
    cells = show(PAIRS, "mirror: true")
    want = places().astype(int)
    want[:, :32] = (want[:, :32] + (0, 0, 128)) // 2
    for cell in cells:
        side = cell[0, -1, 1] == 0
        assert np.abs(cell - want[:, :: -1 if side else 1]).max() <= 1
    assert "classes 0 1" in capfd.readouterr().out


def test_a_seed_repeats_the_sheet() -> None:
    transform = f"crop_size: 64 random_resized_crop_param {{}} {MOVES} random_erase_param {{ mode: PIXEL }}"
    sheets = [show(PAIRS, transform, seed=seed, size=CROP) for seed in (1, 1, 2)]
    assert all(map(np.array_equal, sheets[0], sheets[1]))
    assert not any(map(np.array_equal, sheets[0], sheets[2]))


def test_layers_of_either_phase(capfd: pytest.CaptureFixture[str]) -> None:
    """The first of the phase, or the one that is named; a solver names its net."""
    layers = (("a", "TRAIN", 60), ("b", "TRAIN", 70), ("c", "TEST", 80))
    Path("train_val.prototxt").write_text(
        "".join(
            f'layer {{ name: "{name}" top: "{name}" include {{ phase: {phase} }} {DATA} '
            f"transform_param {{ crop_size: {crop} }} }}\n"
            for name, phase, crop in layers
        )
    )
    Path("solver.prototxt").write_text('net: "train_val.prototxt"')
    for flags, crop in (
        ([], 60),
        (["--layer", "b"], 70),
        (["--phase", "test"], 80),
        (["--set", "a.transform_param.crop_size=50"], 50),
    ):
        for net in ("train_val.prototxt", "solver.prototxt"):
            assert main(["lmdb", "show", "--augmented", net, *flags, "--count", "1", "--times", "1"]) == 0
            assert f"1  3x{crop}x{crop}" in capfd.readouterr().out
    assert cv2.imread("train_val.prototxt.png") is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give a database, or --augmented NET"),
        (["db", "--augmented", "net.prototxt"], r"--set LAYER\.data_param\.source=db"),
        (["db", "--times", "2"], "--times needs --augmented"),
        (["--augmented", "net.prototxt", "--classes"], "--classes does not go with --augmented"),
        (["--augmented", "net.prototxt", "--phase", "VAL"], "--phase VAL: TRAIN or TEST"),
        (["--augmented", "net.prototxt", "--start", "key"], "--start key: with --augmented the number of a record"),
        (["--augmented", "net.prototxt", "--layer", "x"], "no data layer 'x'; known: in"),
        (["--augmented", "dummy.prototxt"], r'layer "in" \(DummyData\) changes no pictures by a transform_param'),
        (["--augmented", "input.prototxt"], "the net of TRAIN has no layer that reads data"),
    ],
)
def test_mistakes(words: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    shape = "shape { dim: [1, 3, 4, 4] }"
    Path("net.prototxt").write_text(f'layer {{ name: "in" top: "data" {DATA} }}')
    Path("dummy.prototxt").write_text(
        f'layer {{ name: "in" top: "data" type: "DummyData" dummy_data_param {{ {shape} }} }}'
    )
    Path("input.prototxt").write_text(f'layer {{ name: "in" top: "data" type: "Input" input_param {{ {shape} }} }}')
    assert main(["lmdb", "show", *words]) == 2
    assert re.search(message, capfd.readouterr().err)
