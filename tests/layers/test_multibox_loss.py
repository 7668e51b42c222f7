"""MultiBoxLoss against its rules applied one prior at a time; the recorded cases are in test_golden_layers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.forks import Fork
from caffecompat.layers import LayerError
from caffecompat.layers.functional.detection_boxes import encode_boxes
from tests.layers import ssd_by_hand as by_hand
from tests.layers.make import make_layer

N, P, C = 3, 30, 4
VARIANCE = np.array([0.1, 0.1, 0.2, 0.2], np.float32)


class World:
    """Random priors, predictions and objects; the second image has no object."""

    def __init__(self, seed: int, location_classes: int = 1) -> None:
        generator = np.random.default_rng(seed)
        center, size = generator.uniform(0, 1, (P, 2)), generator.uniform(0.1, 0.5, (P, 2))
        self.boxes = np.concatenate([center - size / 2, center + size / 2], 1).astype(np.float32)
        self.priors = torch.from_numpy(np.stack([self.boxes.ravel(), np.tile(VARIANCE, P)])[None])
        self.location = torch.from_numpy(generator.normal(0, 0.5, (N, P * location_classes * 4)).astype(np.float32))
        self.scores = torch.from_numpy(generator.normal(0, 2, (N, P * C)).astype(np.float32))
        rows = []
        for image, count in ((0, 3), (2, 2)):
            for _ in range(count):
                low, extent = generator.uniform(0, 0.6, 2), generator.uniform(0.2, 0.4, 2)
                label, difficult = generator.integers(1, C), generator.random() < 0.4
                rows.append([image, label, 0, *low, *(low + extent), difficult])
        self.objects = np.array(rows, np.float32)

    def layer(
        self, settings: str, *, location_classes: int = 1, loss: str = "", fork: Fork = Fork.SSD, classes: int = C
    ):
        return make_layer(
            f'type: "MultiBoxLoss" loss_param {{ {loss} }} '
            f"multibox_loss_param {{ num_classes: {classes} code_type: CENTER_SIZE {settings} }}",
            (N, P * location_classes * 4),
            (N, P * C),
            (1, 2, P * 4),
            (1, 1, len(self.objects), 8),
            fork=fork,
        )

    def run(self, settings: str, **kwargs) -> tuple[float, Tensor, Tensor]:
        """Loss and its gradients with respect to locations and scores."""
        location, scores = self.location.clone().requires_grad_(), self.scores.clone().requires_grad_()
        labels = torch.from_numpy(self.objects)[None, None]
        loss = self.layer(settings, **kwargs)(location, scores, self.priors, labels)
        loss.backward()
        assert location.grad is not None and scores.grad is not None
        return float(loss.detach()), location.grad, scores.grad

    def decoded(self, image: int, prior: int) -> np.ndarray:
        codes = self.location[image].reshape(P, -1, 4)[prior, 0].numpy() * VARIANCE
        return by_hand.decode("CENTER_SIZE", self.boxes[prior], codes)


def expected(world: World, samples: list[tuple[list[int], set[int]]], *, inside: bool = False) -> tuple:
    """Loss and gradients, given each image's matches (object number or below 0) and negatives."""
    location, scores = world.location.clone().requires_grad_(), world.scores.clone().requires_grad_()
    by_prior, class_scores = location.reshape(N, P, 4), scores.reshape(N, P, C)
    total, matches = torch.zeros(()), 0
    for image, (found, negatives) in enumerate(samples):
        mine = world.objects[world.objects[:, 0] == image]
        for prior, at in enumerate(found):
            if at >= 0:
                matches += 1
                box = torch.from_numpy(world.boxes[prior])
                target = encode_boxes("CENTER_SIZE", box, torch.from_numpy(mine[at, 3:7])) / torch.from_numpy(VARIANCE)
                losses = F.smooth_l1_loss(by_prior[image, prior], target, reduction="none")
                total = total + (losses[(box >= 0) & (box <= 1)] if inside else losses).sum()
                total = total + F.cross_entropy(class_scores[image, prior], torch.tensor(int(mine[at, 1])))
            elif prior in negatives:
                total = total + F.cross_entropy(class_scores[image, prior], torch.tensor(0))
    total = total / max(matches, 1)
    total.backward()
    return float(total.detach()), location.grad, scores.grad


def samples_of(
    world: World, rules: by_hand.Rules, *, ratio: float = 3, nms: dict | None = None, predicted: bool = False
):
    """Matches and MAX_NEGATIVE's negatives, image by image."""
    result = []
    for image in range(N):
        mine = world.objects[world.objects[:, 0] == image]
        boxes = [world.decoded(image, prior) for prior in range(P)] if predicted else list(world.boxes)
        found, greatest = by_hand.match(boxes, list(mine[:, 3:7]), [bool(d) for d in mine[:, 7]], rules)
        negatives: set[int] = set()
        if len(mine):
            scores = world.scores[image].reshape(P, C).numpy()
            losses = [by_hand.class_loss(scores[prior], 0, True) for prior in range(P)]
            candidates = [prior for prior in range(P) if found[prior] == -1 and greatest[prior] < 0.5]
            count = int(sum(at >= 0 for at in found) * ratio)
            candidate_boxes = None
            if nms:
                candidate_boxes = nms.get("boxes") or [world.decoded(image, prior) for prior in range(P)]
            negatives = by_hand.worst(losses, candidates, count, candidate_boxes, nms or {})
        result.append((found, negatives))
    return result


def assert_same(ours: tuple, theirs: tuple) -> None:
    assert ours[0] == pytest.approx(theirs[0], rel=1e-4)
    for mine, hers in zip(ours[1:], theirs[1:], strict=True):
        assert torch.allclose(mine, hers, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_mining_of_negatives(seed: int) -> None:
    world = World(seed)
    rules = by_hand.Rules(0.4)
    assert_same(world.run("overlap_threshold: 0.4"), expected(world, samples_of(world, rules)))
    ours = world.run("overlap_threshold: 0.4 neg_pos_ratio: 0.7")
    assert_same(ours, expected(world, samples_of(world, rules, ratio=0.7)))


def test_an_image_without_objects_gives_nothing() -> None:
    _, location, scores = World(0).run("")
    assert not location[1].any() and not scores[1].any()
    _, _, scores = World(0).run("mining_type: NONE")
    assert (scores[1].reshape(P, C)[:, 0] < 0).all()


def test_no_objects_at_all() -> None:
    world = World(0)
    world.objects = np.full((1, 8), -1, np.float32)
    loss, location, scores = world.run("")
    assert loss == 0 and not location.any() and not scores.any()


def test_borders_and_predictions() -> None:
    world = World(4)
    rules = by_hand.Rules(ignore_crossing=True)
    assert_same(world.run("ignore_cross_boundary_bbox: true"), expected(world, samples_of(world, rules)))
    ours = world.run("use_prior_for_matching: false")
    assert_same(ours, expected(world, samples_of(world, by_hand.Rules(), predicted=True)))
    ours = world.run("bp_inside: true overlap_threshold: 0.3")
    assert_same(ours, expected(world, samples_of(world, by_hand.Rules(0.3)), inside=True))


def test_difficult_objects() -> None:
    world = World(5)
    world.objects[0, 7], world.objects[1, 7] = 1, 0
    rules = by_hand.Rules(ignore_difficult=True)
    assert_same(world.run("ignore_difficult_gt: true", fork=Fork.JACINTO), expected(world, samples_of(world, rules)))
    ours = world.run("use_difficult_gt: false")
    world.objects = world.objects[world.objects[:, 7] == 0]
    assert_same(ours, expected(world, samples_of(world, by_hand.Rules())))


@pytest.mark.parametrize("top_k", [-1, 6])
def test_suppression_among_candidates(top_k: int) -> None:
    world = World(6)
    nms = {"threshold": 0.3, "top_k": top_k}
    setting = f"nms_param {{ nms_threshold: 0.3 top_k: {top_k} }}"
    assert_same(world.run(setting), expected(world, samples_of(world, by_hand.Rules(), nms=nms)))
    nms["boxes"] = list(world.boxes)
    ours = world.run(f"{setting} use_prior_for_nms: true")
    assert_same(ours, expected(world, samples_of(world, by_hand.Rules(), nms=nms)))


def test_suppression_without_top_k_keeps_nothing_and_says_so(capsys) -> None:
    world = World(6)
    _, _, scores = world.run("nms_param { nms_threshold: 0.3 }")
    assert "top_k" in capsys.readouterr().err
    learned = scores.reshape(N, P, C).abs().sum(2) > 0
    assert 0 < int(learned.sum()) < 25  # the matches alone


def test_hard_examples() -> None:
    world = World(7)
    samples = []
    for image in range(N):
        mine = world.objects[world.objects[:, 0] == image]
        found, _ = by_hand.match(list(world.boxes), list(mine[:, 3:7]), [False] * len(mine), by_hand.Rules(0.3))
        losses = []
        for prior, at in enumerate(found):
            label = int(mine[at, 1]) if at >= 0 else 0
            loss = by_hand.class_loss(world.scores[image].reshape(P, C)[prior].numpy(), label, True)
            if at >= 0:
                box = torch.from_numpy(world.boxes[prior])
                target = encode_boxes("CENTER_SIZE", box, torch.from_numpy(mine[at, 3:7])) / torch.from_numpy(VARIANCE)
                loss += float(F.smooth_l1_loss(world.location[image].reshape(P, 4)[prior], target, reduction="sum"))
            losses.append(loss)
        chosen = by_hand.worst(losses, list(range(P)), 8, None, {}) if len(mine) else set()
        negatives = {prior for prior in chosen if found[prior] == -1}
        samples.append(([at if prior in chosen else -1 for prior, at in enumerate(found)], negatives))
    ours = world.run("mining_type: HARD_EXAMPLE sample_size: 8 overlap_threshold: 0.3")
    assert_same(ours, expected(world, samples))


@pytest.mark.parametrize("predicted", ["true", "false"])
def test_locations_of_each_class(predicted: str) -> None:
    """Without share_location only the predictions for the objects' own classes learn."""
    world = World(8, C)
    settings = f"share_location: false mining_type: NONE use_prior_for_matching: {predicted}"
    _, location, _ = world.run(settings, location_classes=C)
    learned = (location.reshape(N, P, C, 4).abs().sum(3) > 0).any(1)
    for image in range(N):
        labels = set(world.objects[world.objects[:, 0] == image, 1].astype(int))
        assert {c for c in range(C) if learned[image, c]} <= labels
        assert bool(learned[image].any()) == bool(labels)


def test_agnostic_objects() -> None:
    world = World(9)
    world.scores = world.scores[:, : P * 2]
    text = 'type: "MultiBoxLoss" multibox_loss_param {{ num_classes: 2 code_type: CENTER_SIZE {} }}'
    shapes = (N, P * 4), (N, P * 2), (1, 2, P * 4), (1, 1, 5, 8)
    bottoms = (world.location, world.scores, world.priors)
    ours = make_layer(text.format("map_object_to_agnostic: true"), *shapes)(
        *bottoms, torch.from_numpy(world.objects)[None, None]
    )
    world.objects[:, 1] = 1
    theirs = make_layer(text.format(""), *shapes)(*bottoms, torch.from_numpy(world.objects)[None, None])
    assert float(ours) == float(theirs)


def test_normalization_and_weights() -> None:
    world = World(10)
    matches = sum(at >= 0 for found, _ in samples_of(world, by_hand.Rules()) for at in found)
    loss = {mode: world.run("", loss=f"normalization: {mode}")[0] for mode in ("VALID", "FULL", "BATCH_SIZE", "NONE")}
    for mode, divisor in (("VALID", matches), ("FULL", N * P), ("BATCH_SIZE", N)):
        assert loss[mode] * divisor == pytest.approx(loss["NONE"], rel=1e-5)
    assert world.run("", loss="normalize: false")[0] == pytest.approx(loss["BATCH_SIZE"])
    one, two = world.run("", loss="normalization: NONE"), world.run("loc_weight: 2", loss="normalization: NONE")
    assert torch.allclose(two[1], 2 * one[1])
    assert torch.allclose(two[2], one[2])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ("background_label_id: 4", "not one of the 4 classes"),
        ("map_object_to_agnostic: true", "2 classes"),
        ("share_location: false", "mining needs share_location"),
        ("do_neg_mining: false", "contradicts mining_type: MAX_NEGATIVE"),
        ("mining_type: HARD_EXAMPLE sample_size: 0", "sample_size"),
        ("ori_flag: true", "ori_flag"),
    ],
)
def test_mistakes(settings: str, complaint: str) -> None:
    with pytest.raises(LayerError, match=complaint):
        World(0).layer(settings)


def test_mistakes_of_num_classes() -> None:
    with pytest.raises(LayerError, match="num_classes is missing"):
        World(0).layer("", classes=0)
    with pytest.raises(LayerError, match="30 priors need 30 x 5 class scores"):
        World(0).layer("", classes=5)


def test_labels_must_be_classes() -> None:
    world = World(0)
    world.objects[0, 1] = C
    with pytest.raises(LayerError, match="an object has class 4, but num_classes is 4"):
        world.run("")


def test_cut_bottoms_leave_their_loss_out() -> None:
    world = World(11)
    both = world.run("", loss="normalization: NONE")[0]
    parts = []
    for first, second in itertools.permutations(("true", "false")):
        cut = f"propagate_down: [{first}, {second}, false, false]"
        layer = make_layer(
            f'type: "MultiBoxLoss" {cut} loss_param {{ normalization: NONE }} '
            f"multibox_loss_param {{ num_classes: {C} code_type: CENTER_SIZE }}",
            *((N, P * 4), (N, P * C), (1, 2, P * 4), (1, 1, 5, 8)),
        )
        labels = torch.from_numpy(world.objects)[None, None]
        parts.append(float(layer(world.location, world.scores, world.priors, labels)))
    assert sum(parts) == pytest.approx(both, rel=1e-5)
