"""The data that a user has: a list or databases, how much of it there is, and what it says of its classes.

A file is a list; a folder, several paths or a pattern name databases. What is found has to suit the network's task.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

import numpy as np

from caffecompat.data.channel_statistics import ChannelStatistics, statistics_of_database, statistics_of_files
from caffecompat.data.dataset import class_file, class_names, dataset_parts
from caffecompat.data.parallel import ordered_map
from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_text
from caffecompat.formats.annotated_datum import decode_annotated_datum, is_annotated_datum
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, decode_datum
from caffecompat.formats.picture import read_picture
from caffecompat.formats.picture_header import picture_size
from caffecompat.zoo.network import Source, Task

__all__ = ["IGNORED", "Listed", "OnProgress", "Stored", "UserData", "open_stored"]

OnProgress = Callable[[str, int, int], None]  # what is done, how much of it, of how much

IGNORED = 255
_SAMPLE = 200  # pictures whose sizes are looked at


@dataclass(frozen=True)
class UserData(ABC):
    """What is known of the pictures to train on, or to test with.

    Attributes:
        source: as a recipe has it.
        records: pictures.
        names: of the classes, by number, where the data has such.
        label_map: text of the label map, of data with boxes.
        sizes: (height, width) of some pictures.
    """

    source: Source
    records: int
    names: Mapping[int, str] = field(default_factory=dict)
    label_map: str = ""
    sizes: Sequence[tuple[int, int]] = ()

    @property
    def smallest(self) -> int:
        """The least height or width of the pictures looked at; 0 where none were."""
        return min((min(size) for size in self.sizes), default=0)

    @abstractmethod
    def measured(self, color: bool | None, on_progress: OnProgress) -> ChannelStatistics:
        """Mean and standard deviation of the channels of all pictures.

        Raises:
            CaffeCompatError: one cannot be read.
        """

    @abstractmethod
    def labels(self) -> Iterator[int]:
        """The highest class number of each picture's label; pixels of 255 do not count.

        Raises:
            CaffeCompatError: a label cannot be read.
        """

    def classes_found(self, on_progress: OnProgress) -> int:
        """How many classes the labels show, when all are read."""
        highest = -1
        for done, label in enumerate(self.labels(), 1):
            highest = max(highest, label)
            on_progress("looking for the classes", done, self.records)
        return highest + 1


@dataclass(frozen=True)
class Listed(UserData):
    """A list of files.

    Attributes:
        lines: (picture, class or label picture, number of the line).
    """

    lines: Sequence[tuple[str, int | str, int]] = ()

    def measured(self, color: bool | None, on_progress: OnProgress) -> ChannelStatistics:
        files = [(self.source.root_folder + picture, f"{self.source.path}:{line}: ") for picture, _, line in self.lines]
        step = partial(_step, on_progress, self.records)
        return statistics_of_files(files, color=color is not False, on_progress=step)

    def labels(self) -> Iterator[int]:
        return ordered_map(self._label, self.lines)

    def _label(self, entry: tuple[str, int | str, int]) -> int:
        _, label, line = entry
        if isinstance(label, int):
            return label
        path = self.source.root_folder + label
        picture = read_picture(path, color=False)
        if picture is None:
            raise CaffeCompatError(f"{self.source.path}:{line}: cannot read the label picture {path}")
        return _highest(picture)


@dataclass(frozen=True)
class Stored(UserData):
    """Databases.

    Attributes:
        channels: of the first picture, as it is stored.
        encoded: whether that is a file, of which a layer makes the channels it needs.
    """

    channels: int = 3
    encoded: bool = True

    def measured(self, color: bool | None, on_progress: OnProgress) -> ChannelStatistics:
        pictures = self.source.part("image") if _is_pair(self.source.path) else self.source.path
        with open_database(pictures) as database:
            return statistics_of_database(database, color=color, on_progress=partial(_step, on_progress, self.records))

    def labels(self) -> Iterator[int]:
        pair = _is_pair(self.source.path)
        with open_database(self.source.part("label") if pair else self.source.path) as database:
            for _, value in database:
                if pair:
                    yield _highest(decode_datum(value).image(color=False))
                elif is_annotated_datum(value):
                    yield int(max(decode_annotated_datum(value).objects[:, 0], default=-1))
                else:
                    yield decode_datum(value).label or 0


def open_stored(path: str, task: Task) -> Stored:
    """Look at databases.

    Raises:
        CaffeCompatError: there are none, or they are for another task.
    """
    pair = _is_pair(path)
    _check_kind(path, task, pair)
    source = Source(path, lmdb=True)
    with open_database(source.part("image") if pair else path) as database:
        records, backend = len(database), database.backend.upper()
        first = [_datum(value) for _, value in islice(database, _SAMPLE)]
    if not first:
        raise CaffeCompatError(f"the database {path} holds no records")
    if pair:
        with open_database(source.part("label")) as labels:
            if len(labels) != records:
                raise CaffeCompatError(f"{path}: there are {records} pictures and {len(labels)} label pictures")
    label_map = class_file(path, "labelmap.prototxt") if not pair else None
    return Stored(
        source=replace(source, backend=backend),
        records=records,
        names={at: name for at, name in enumerate(class_names(path)) if name},
        label_map=read_text(label_map, "the label map") if label_map else "",
        sizes=[size for datum in first if (size := _size(datum)) is not None],
        channels=first[0].image().shape[2],
        encoded=bool(first[0].encoded),
    )


def _is_pair(path: str) -> bool:
    return os.path.isdir(path) and dataset_parts(path) != ("",)


def _check_kind(path: str, task: Task, pair: bool) -> None:
    """Refuse databases of another task's kind."""
    holds = "pictures and label pictures, for segmentation"
    if not pair:
        with open_database(path) as database:
            first = next(iter(database), (b"", b""))[1]
        boxes = is_annotated_datum(first)
        holds = "pictures with boxes, for detection" if boxes else "pictures and their classes, for classification"
    if not holds.endswith(task):
        raise CaffeCompatError(f"{path} holds {holds}; the network is for {task}")


def _datum(value: bytes) -> Datum:
    return decode_annotated_datum(value).datum if is_annotated_datum(value) else decode_datum(value)


def _size(datum: Datum) -> tuple[int, int] | None:
    return picture_size(datum.data or b"") if datum.encoded else datum.shape[1:]


def _highest(labels: np.ndarray) -> int:
    counted = labels[labels != IGNORED]
    return int(counted.max()) if counted.size else -1


def _step(on_progress: OnProgress, total: int, done: int) -> None:
    on_progress("measuring mean and deviation", done, total)
