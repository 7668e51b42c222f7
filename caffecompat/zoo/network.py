"""What the zoo knows of a network, and what a user decides when its folder is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from caffecompat.errors import CaffeCompatError
from caffecompat.pycaffe.net_spec import NetSpec, Top

__all__ = ["Body", "Detector", "Fields", "Network", "Recipe", "Source", "Stage", "Task", "preparation"]

Task = Literal["classification", "segmentation", "detection"]
Fields = dict[str, Any]  # of a message, as NetSpec takes them


@dataclass(frozen=True)
class Source:
    """Where pictures come from: the path of a list or, with `lmdb`, of a database that ``lmdb build`` makes.

    Lists have a line ``picture class``, or ``picture label-picture``. A database of label pictures is a folder with
    two, ``image`` and ``label``. Detection networks read databases alone.

    Attributes:
        root_folder: put before the paths of a list as it is.
        backend: of a database: LMDB or LEVELDB.
    """

    path: str
    lmdb: bool = False
    root_folder: str = ""
    backend: str = "LMDB"

    def part(self, name: str) -> str:
        """One of the two databases, ``image`` or ``label``; of each where the path names several, with commas."""
        return ",".join(f"{path.strip().rstrip('/')}/{name}" for path in self.path.split(","))


@dataclass(frozen=True)
class Recipe:
    """What a user decides: the data, the sizes, how long and how fast to train. A `Network` has its published one.

    Attributes:
        classes: of a detection network the background among them.
        width, height: of the deployed input in pixels.
        train, val: the pictures to train on and to test with.
        batch_size, iter_size: pictures a batch, batches an update of the weights.
        max_iter, base_lr: updates in all, and their highest rate.
        test_batch_size, test_iter: pictures a batch and batches of one test.
        snapshot, test_interval, display: updates between two; `test_interval` 0 is `snapshot`.
        crop: side of the squares in pixels that training cuts out of the pictures; 0: whole pictures.
        channels: of the pictures: 3 are blue, green and red, 1 is gray.
        mean, std, scale: the input is (pixel - mean) x scale / std, mean and std one a channel; none: 0 and 1.
        mirror: train on pictures turned left to right, too.
        random_seed: negative: another for each training.
        snapshot_folder: ends in a slash; empty is the current directory.
        moving_average_fraction: of batch normalization's statistics; None is Caffe's 0.999. Trainings of fewer than
            some thousand iterations need a smaller one, or TEST normalizes by statistics from their very beginning.
        any_size: pictures come in any size: what the network cannot take as it is, is resized.
        color: of the pictures in a database that are encoded: True and False make them so, None leaves them.
        labels: the file with the names of the classes, one a line.
        label_map: the file with the names of a detection network's classes.
        deploy_batch: pictures that deploy.prototxt takes at once.
    """

    classes: int
    width: int
    height: int
    train: Source
    val: Source
    batch_size: int
    max_iter: int
    base_lr: float
    test_iter: int
    snapshot: int
    display: int
    iter_size: int = 1
    test_batch_size: int = 1
    test_interval: int = 0
    crop: int = 0
    channels: int = 3
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    scale: float = 1.0
    mirror: bool = True
    random_seed: int = -1
    snapshot_folder: str = ""
    moving_average_fraction: float | None = None
    any_size: bool = False
    color: bool | None = None
    labels: str = ""
    label_map: str = ""
    deploy_batch: int = 1


# Adds the layers to the spec, from the data to what the task's outputs are made of: the scores of classes, or the
# locations, scores and prior boxes of a detector.
Body = Callable[[NetSpec, Top, Recipe], Sequence[Top]]


@dataclass(frozen=True)
class Stage:
    """One net of a network: most have one, those of the segmentation tutorial are trained in two stages.

    Attributes:
        suffix: what the names of the net's files end in.
        what: a few words for the README.
        body: writes it.
        parameters, macs: learned values, and multiply-accumulates of one picture, of the published recipe.
        auxiliary: adds what only training has, and returns scores with the weights of their losses.
    """

    body: Body
    parameters: int
    macs: int
    suffix: str = ""
    what: str = "the network"
    auxiliary: Callable[[NetSpec, Recipe], Sequence[tuple[Top, float]]] = lambda n, recipe: ()


@dataclass(frozen=True)
class Detector:
    """What only a detection network says, where it is not as in SSD.

    Attributes:
        reading: annotated_data_param of the TRAIN layer, but for the label map: the batch samplers.
        loss: fields of multibox_loss_param.
        output: fields of detection_output_param.
    """

    reading: Fields = field(default_factory=dict)
    loss: Fields = field(default_factory=dict)
    output: Fields = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """A network of the zoo.

    Attributes:
        name: of its folder, its nets and its snapshots.
        title, about: heading and first paragraph of its README.
        source: the paper or the repository that it and its training follow.
        recipe: how it was published.
        pictures: that it was trained on there.
        solver: fields of the solver beside those that the recipe decides.
        transforms: transform_param of the TRAIN and of the TEST data layer.
        stages: in the order in which they are trained; the last one is the network.
        divisor, smallest: what divides the sides of pictures and crops, and the least that they may be, in pixels.
        detector: of a detection network.
        data_layer: name of the data layers.
        notes: the README's paragraphs on the training: the published runs, what differs here.
        measured: the README's last section, on the network as published.
    """

    name: str
    task: Task
    title: str
    about: str
    source: str
    recipe: Recipe
    pictures: int
    stages: tuple[Stage, ...]
    solver: Callable[[Recipe], Fields]
    transforms: Callable[[Recipe], tuple[Fields, Fields]]
    divisor: int = 1
    smallest: int = 1
    detector: Detector = Detector()
    data_layer: str = "data"
    notes: str = ""
    measured: str = ""

    @property
    def parameters(self) -> int:
        """Learned values of the published network."""
        return self.stages[-1].parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one picture of the published size."""
        return self.stages[-1].macs

    def check(self, recipe: Recipe) -> None:
        """See whether the network can be of these sizes.

        Raises:
            CaffeCompatError: it cannot; the message says which sizes are next.
        """
        sizes = {"pictures": (recipe.width, recipe.height), "crops": (recipe.crop, recipe.crop)}
        for what, (width, height) in sizes.items():
            if (what == "crops" and not recipe.crop) or (self._suits(width) and self._suits(height)):
                continue
            needs = f"sides that {self.divisor} divides" if self.divisor > 1 else f"sides of {self.smallest} or more"
            raise CaffeCompatError(
                f"{self.name} needs {needs}; {what} of {width}x{height} pixels have others: "
                f"try {self._next(width)}x{self._next(height)}"
            )

    def _suits(self, side: int) -> bool:
        return side >= self.smallest and side % self.divisor == 0

    def _next(self, side: int) -> int:
        return max(self.smallest, max(1, round(side / self.divisor)) * self.divisor)


def preparation(recipe: Recipe) -> Fields:
    """The fields of transform_param that turn pixels into the network's input, in training and deployed."""
    fields: Mapping[str, Any] = {"scale": recipe.scale, "mean_value": recipe.mean, "std_value": recipe.std}
    return {name: value for name, value in fields.items() if value not in (1.0, ())}
