"""The sizes of a demo, its two trainings, and the network's files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["FULL", "MEAN", "QUICK", "SCALE", "Plan", "Stage", "write_network"]

MEAN, SCALE = "73,82,72", "0.022"  # of the pictures, as the commands take them


class Plan(NamedTuple):
    """The sizes of a demo; pictures are width x height pixels, training crops squares of the height.

    The full net sees two and a half times the pictures that the encoder does; in the tutorial's schedule it is 2.1.
    """

    train: int
    val: int
    width: int
    height: int
    batch_size: int
    encoder_iterations: int
    full_iterations: int
    snapshot: int
    display: int
    base_lr: float = 0.01
    seed: int = 1

    def stages(self) -> tuple[Stage, Stage]:
        """The two trainings."""
        return Stage("encoder", "_encoder", self.encoder_iterations), Stage("full net", "", self.full_iterations)


FULL = Plan(
    train=400, val=50, width=256, height=128, batch_size=4,
    encoder_iterations=400, full_iterations=1000, snapshot=200, display=50,
)  # fmt: skip
QUICK = Plan(
    train=12, val=4, width=128, height=64, batch_size=4,
    encoder_iterations=10, full_iterations=10, snapshot=5, display=2,
)  # fmt: skip


class Stage(NamedTuple):
    """One of the two trainings: its name for people, what its files' names end in, and its iterations."""

    title: str
    suffix: str
    iterations: int

    @property
    def solver(self) -> str:
        return f"espnet/solver{self.suffix}.prototxt"

    @property
    def deploy(self) -> str:
        return f"espnet/deploy{self.suffix}.prototxt"

    @property
    def log(self) -> str:
        return f"logs/espnet{self.suffix}.log"

    @property
    def scores(self) -> str:
        return f"logs/eval{self.suffix}.json"

    @property
    def weights(self) -> str:
        return self.snapshot(self.iterations)

    def snapshot(self, iteration: int, kind: str = "caffemodel") -> str:
        """The file of a snapshot."""
        return f"snapshots/espnet{self.suffix}_iter_{iteration}.{kind}"

    def iterations_left(self, out: Path) -> int:
        """What is still to be trained, by the snapshots that are there."""
        if (out / self.weights).exists():
            return 0
        done = (i for i in range(self.iterations, 0, -1) if (out / self.snapshot(i, "solverstate")).exists())
        return self.iterations - next(done, 0)


def write_network(out: Path, plan: Plan, stages: Sequence[Stage]) -> None:
    """Write solver, train_val and deploy of each stage into the folder ``espnet``."""
    from caffecompat.data.street_scene import CLASSES
    from caffecompat.zoo import NETWORKS, Source, network_files

    network = NETWORKS["espnet"]
    recipe = dataclasses.replace(
        network.recipe,
        classes=len(CLASSES),
        width=plan.width,
        height=plan.height,
        crop=plan.height,
        batch_size=plan.batch_size,
        iter_size=1,
        base_lr=plan.base_lr,
        snapshot=plan.snapshot,
        display=plan.display,
        train=Source("data/train.txt"),
        val=Source("data/val.txt"),
        test_iter=plan.val,
        random_seed=plan.seed,
        snapshot_folder="snapshots/",
        moving_average_fraction=0.97,
    )
    (out / "espnet").mkdir(exist_ok=True)
    for stage in stages:
        files = network_files(network, dataclasses.replace(recipe, max_iter=stage.iterations))
        for kind in ("solver", "train_val", "deploy"):
            name = f"{kind}{stage.suffix}.prototxt"
            (out / "espnet" / name).write_text(files[name])
