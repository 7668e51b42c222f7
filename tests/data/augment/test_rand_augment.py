"""`rand_augment_param` against timm's RandAugment: its grammar, draws and operations."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from caffecompat.data import DataError
from caffecompat.data.augment import rand_augment
from caffecompat.data.augment.rand_augment import RandAugment
from caffecompat.data.augment.rand_augment_policy import RandAugmentPolicy
from caffecompat.data.augment.sample import Sample
from caffecompat.schema import parse_text, pb
from tests.data.augment.references import (
    FILL,
    LABELS,
    PICTURE,
    REFERENCES,
    difference,
    kolmogorov,
    names,
    reference,
)
from tests.data.batches import picture


def made(policy: str, mean: list[float] | None = None) -> RandAugment:
    text = f'type: "ImageSegData" transform_param {{ rand_augment_param {{ policy: "{policy}" }} }}'
    found = RandAugment.of(parse_text(text, pb.LayerParameter()), None if mean is None else np.array(mean, np.float32))
    assert found is not None
    return found


class TestPolicy:
    @pytest.mark.parametrize("name", [name.removeprefix("set ") for name in REFERENCES if name.startswith("set ")])
    def test_sets_are_timms(self, name: str) -> None:
        policy = RandAugmentPolicy.parse(name)
        assert list(policy.operations) == REFERENCES[f"set {name}"].tolist()
        weights = np.array(list(policy.operations.values()))
        np.testing.assert_allclose(weights / weights.sum(), REFERENCES[f"weights {name}"], rtol=1e-12)
        assert policy.replaced == REFERENCES[f"replaced {name}"]

    def test_numbers(self) -> None:
        assert RandAugmentPolicy.parse("rand") == RandAugmentPolicy.parse("rand-m10-n2-p0.5-mstd0-mmax10-inc0")
        policy = RandAugmentPolicy.parse("rand-p0.75-inc1-mmax12-n3-mstd0.5-m7")
        assert (policy.magnitude, policy.count, policy.probability, policy.most) == (7, 3, 0.75, 12)
        assert policy.deviation == 0.5 and "ColorIncreasing" in policy.operations
        for text in ("mstdinf", "mstd101", "mstd1000"):
            assert RandAugmentPolicy.parse(f"rand-{text}").deviation == np.inf
        assert RandAugmentPolicy.parse("rand-mstd100").deviation == 100

    def test_old_weights(self) -> None:
        plain, increasing = (RandAugmentPolicy.parse(text) for text in ("rand-m9-w0", "rand-m9-w0-inc1"))
        assert plain.operations["Rotate"] == 0.3 and plain.operations["Solarize"] == 0.005
        assert not plain.replaced and increasing.operations["SolarizeIncreasing"] == 0.005
        assert sum(plain.operations.values()) == pytest.approx(1)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("augmix-m5-w4", "'augmix' is unknown; a policy is 'rand' and"),
            ("Rand-m9", "'Rand' is unknown"),
            ("", "'' is unknown"),
            ("rand-x9-m3", "'x9' is unknown"),
            ("rand-m9-", "'' is unknown"),
            ("rand-m", "'m' is unknown"),
            ("rand-inc", "'inc' is unknown"),
            ("rand-m9.5", "'m9.5' needs a whole number of at most 100 after m"),
            ("rand-m9x", "'m9x' needs a whole number of at most 100"),
            ("rand-minf", "'minf' needs a whole number"),
            ("rand-n0", "'n0' needs a whole number from 1 to 100 after n"),
            ("rand-n1000000000", "'n1000000000' needs a whole number from 1 to 100 after n"),
            ("rand-m101", "'m101' needs a whole number of at most 100 after m"),
            ("rand-mmax101", "'mmax101' needs a whole number from 1 to 100 after mmax"),
            ("rand-p2", "'p2' needs a number from 0 to 1 after p"),
            ("rand-p0.5.5", "'p0.5.5' needs a number from 0 to 1"),
            ("rand-mstd0,5", "'mstd0,5' needs a number after mstd"),
            ("rand-mmax0", "'mmax0' needs a whole number from 1 to 100"),
            ("rand-tfoo", "'tfoo' is unknown"),
            ("rand-w1", "'w1' needs 0, the only set of weights"),
            ("rand-w0-t3a", "'t3a' and 'w0' both give a set"),
            ("rand-m9-m5", "'m5' gives m a second time"),
            ("rand-tweights-n16", "n16 draws more operations than the 15"),
            ("rand-w0-n14", "n14 draws more operations than the 13"),
        ],
    )
    def test_mistakes_name_the_piece(self, text: str, message: str) -> None:
        with pytest.raises(DataError, match=message) as error:
            RandAugmentPolicy.parse(text)
        assert f"rand_augment_param.policy {text!r}" in str(error.value)


class TestDraws:
    @pytest.fixture
    def done(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
        """Operations that are done, with their magnitudes."""
        found: list[tuple[str, float]] = []

        def spy(self: Any, sample: Sample, name: str, magnitude: float, generator: Any) -> Sample:
            found.append((name, magnitude))
            return sample

        monkeypatch.setattr(RandAugment, "_changed", spy)
        return found

    @staticmethod
    def run(policy: str, times: int) -> None:
        augment, generator = made(policy), np.random.default_rng(0)
        for _ in range(times):
            augment(Sample(PICTURE), generator)

    @pytest.mark.parametrize("policy", ["rand-m9-inc1", "rand-m9-n3-p0.8"])
    def test_all_operations_are_alike_likely(self, policy: str, done: list[tuple[str, float]]) -> None:
        self.run(policy, 4000)
        count, probability = (2, 0.5) if "n3" not in policy else (3, 0.8)
        whole = 4000 * count
        assert abs(len(done) - whole * probability) < 4 * np.sqrt(whole * probability * (1 - probability))
        counts = Counter(name for name, _ in done)
        expected = len(done) / 15
        assert len(counts) == 15
        assert sum((n - expected) ** 2 / expected for n in counts.values()) < 36.1  # chi square, 14 degrees, 0.1%

    def test_weighted_sets_draw_by_weight_and_none_twice(self, done: list[tuple[str, float]]) -> None:
        augment, generator = made("rand-tweights-p1-n2"), np.random.default_rng(0)
        first: Counter[str] = Counter()
        for _ in range(3000):
            done.clear()
            augment(Sample(PICTURE), generator)
            assert len({name for name, _ in done}) == 2
            first[done[0][0]] += 1
        weights = dict(zip(REFERENCES["set rand-tweights"], REFERENCES["weights rand-tweights"], strict=True))
        for name in ("Rotate", "ShearX", "TranslateYRel", "ColorIncreasing"):
            assert abs(first[name] - 3000 * weights[name]) < 4.5 * np.sqrt(3000 * weights[name])

    @pytest.mark.parametrize("name", [name for name in REFERENCES if name.startswith("magnitudes ")])
    def test_magnitudes_are_distributed_as_timms(self, name: str, done: list[tuple[str, float]]) -> None:
        self.run(name.removeprefix("magnitudes ") + "-p1", 2000)
        assert kolmogorov(np.array([magnitude for _, magnitude in done]), REFERENCES[name]) < 1.95

    def test_a_magnitude_without_deviation(self, done: list[tuple[str, float]]) -> None:
        self.run("rand-m7", 50)
        self.run("rand-m15-mmax12", 50)
        self.run("rand-m15", 50)
        assert {magnitude for _, magnitude in done} == {7, 12, 10}


# What timm's table makes of a magnitude of 5 and of 10: the argument without its sign.
ARGUMENTS = {
    "Rotate": (15, 30),
    "ShearX": (0.15, 0.3),
    "ShearY": (0.15, 0.3),
    "TranslateXRel": (0.225, 0.45),
    "TranslateYRel": (0.225, 0.45),
    "Posterize": (2, 4),
    "PosterizeIncreasing": (2, 0),
    "Solarize": (128, 256),
    "SolarizeIncreasing": (128, 0),
    "SolarizeAdd": (55, 110),
    "Color": (1, 1.9),
    "Contrast": (1, 1.9),
    "Brightness": (1, 1.9),
    "Sharpness": (1, 1.9),
    "Desaturate": (0.75, 1),
    "GaussianBlur": (1.05, 2),
}
ENHANCEMENTS = ("Color", "Contrast", "Brightness", "Sharpness")


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(name: str) -> None:
    argument, _ = {**rand_augment._COLOR, **rand_augment._GEOMETRY}[name]
    generator = np.random.default_rng(0)
    for level, wanted in zip((0.5, 1), ARGUMENTS[name], strict=True):
        found = [argument(level, generator) for _ in range(40)]
        signed = name in rand_augment._GEOMETRY
        values = (-wanted, wanted) if signed else (wanted, wanted)
        assert min(found) == pytest.approx(values[0]) and max(found) == pytest.approx(values[1])
        assert not signed or 8 < sum(value > 0 for value in found) < 32


@pytest.mark.parametrize("name", [name + "Increasing" for name in ENHANCEMENTS])
def test_growing_enhancements_go_both_ways(name: str) -> None:
    argument, _ = rand_augment._COLOR[name]
    found = [argument(0.5, np.random.default_rng(seed)) for seed in range(60)]
    assert {round(value, 6) for value in found} == {0.55, 1.45} and 15 < sum(value > 1 for value in found) < 45
    assert min(argument(2, np.random.default_rng(seed)) for seed in range(20)) == 0.1  # never below


def test_every_operation_of_every_set_runs() -> None:
    generator = np.random.default_rng(0)
    for pixels in (PICTURE, PICTURE[:, :, :1].copy(), picture(1, 1), picture(2, 9)):
        before = pixels.copy()
        for policy in ("rand", "rand-inc1", "rand-t3aw", "rand-t3a"):
            augment = made(policy)
            for name in augment._names:
                for magnitude in (0.0, 5.3, 10.0, 30.0):
                    got = augment._changed(Sample(pixels), name, magnitude, generator).picture
                    assert got.shape == pixels.shape and got.dtype == np.uint8
        np.testing.assert_array_equal(pixels, before)


# The recorded operation of each name, and its level for an argument.
RECORDED = {
    "Rotate": ("rotate", lambda value: value / 30),
    "ShearX": ("shear_x", lambda value: value / 0.3),
    "ShearY": ("shear_y", lambda value: value / 0.3),
    "TranslateXRel": ("translate_x", lambda value: value / 0.45),
    "TranslateYRel": ("translate_y", lambda value: value / 0.45),
}


@pytest.mark.parametrize("name", RECORDED)
def test_geometry_moves_picture_and_labels_together(name: str) -> None:
    operation, level_of = RECORDED[name]
    augment = made("rand", FILL)
    for recorded in names(operation):
        value = float(recorded.split()[1])
        seen = set()
        for seed in range(40):
            generator = np.random.default_rng(seed)
            sample = Sample(PICTURE, LABELS, np.zeros((0, 7), np.float32))
            got = augment._changed(sample, name, 10 * level_of(abs(value)), generator)
            assert got.label is not None
            if (got.label == REFERENCES[f"label {recorded}"][:, :, None]).mean() < 0.99:
                continue  # the other sign
            linear = difference(got.picture, reference(recorded))
            seen.add(bool(linear.max() <= 2))
        assert seen == {True, False}  # bilinear and bicubic


def test_labels_are_filled_with_the_ignored_label() -> None:
    text = """type: "ImageSegData" image_data_param { ignore_label: 9 }
              transform_param { rand_augment_param { policy: "rand" } }"""
    augment = RandAugment.of(parse_text(text, pb.LayerParameter()), None)
    assert augment is not None
    got = augment._changed(Sample(PICTURE, LABELS * 0), "TranslateXRel", 10, np.random.default_rng(0))
    assert got.label is not None and set(np.unique(got.label).tolist()) == {0, 9}
    assert (got.picture[(got.label == 9)[:, :, 0]] == 128).all()  # without a mean, as timm


def test_colors_leave_labels_alone() -> None:
    objects = np.array([[1, 0, 0.1, 0.2, 0.5, 0.6, 0]], np.float32)
    got = made("rand")._changed(Sample(PICTURE, LABELS, objects), "Invert", 10, np.random.default_rng(0))
    assert got.label is LABELS and got.objects is objects
    np.testing.assert_array_equal(got.picture, 255 - PICTURE)


def test_boxes_move_with_the_picture() -> None:
    objects = np.array([[1, 0, 0.4, 0.4, 0.6, 0.6, 0]], np.float32)
    for seed in range(4):
        got = made("rand")._changed(Sample(PICTURE, None, objects), "TranslateXRel", 10, np.random.default_rng(seed))
        assert got.boxes is not None
        assert got.boxes[0].tolist() in (
            pytest.approx([0.4 - 0.45, 0.4, 0.6 - 0.45, 0.6]),
            pytest.approx([0.4 + 0.45, 0.4, 0.6 + 0.45, 0.6]),
        )


def test_fill_is_the_mean_color() -> None:
    got = made("rand", [10.4, 300, 7])._changed(Sample(PICTURE), "TranslateYRel", 10, np.random.default_rng(0))
    rows = {tuple(row) for row in got.picture[[0, -1], 0].tolist()}
    assert (10, 255, 7) in rows


def test_pictures_it_cannot_mean() -> None:
    for pixels in (PICTURE.astype(np.float32), picture(4, 4, 2), PICTURE.astype(np.uint16)):
        with pytest.raises(DataError, match="needs 8-bit pictures of 1 or 3 channels"):
            made("rand")(Sample(pixels), np.random.default_rng(0))
    with pytest.raises(DataError, match=r"2 mean_value\(s\) for 3 channel"):
        made("rand", [1, 2])._changed(Sample(PICTURE), "Rotate", 10, np.random.default_rng(0))
    with pytest.raises(DataError, match="needs a policy"):
        made("")


def test_against_timm_itself() -> None:
    """Means of many augmented pictures."""
    timm_ops = pytest.importorskip("timm.data.auto_augment", exc_type=ImportError)
    image_module = pytest.importorskip("PIL.Image")
    image = image_module.fromarray(np.ascontiguousarray(PICTURE[:, :, ::-1]))
    policy = "rand-m8-mstd0.5-inc1"  # at magnitude 10 Pillow refuses to posterize to no bits
    theirs = timm_ops.rand_augment_transform(policy, {"img_mean": (128, 128, 128)})
    random.seed(0)
    np.random.seed(0)
    augment, generator = made(policy), np.random.default_rng(0)
    samples = [
        np.stack([function() for _ in range(1500)]).astype(float)
        for function in (
            lambda: np.asarray(theirs(image))[:, :, ::-1],
            lambda: augment(Sample(PICTURE), generator).picture,
        )
    ]
    assert kolmogorov(*(values.mean((1, 2, 3)) for values in samples)) < 1.95
    assert kolmogorov(*(values.std((1, 2, 3)) for values in samples)) < 1.95
