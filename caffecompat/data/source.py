"""What a data layer is to the net: a source of batches, made from its LayerParameter."""

from __future__ import annotations

import math
import os
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from caffecompat.data.own_paths import with_own_paths
from caffecompat.data.share import ALL, Share, current_share
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import Fork
from caffecompat.formats.database import DatabaseReader, open_database
from caffecompat.formats.shards import ShardedReader, database_folders, names_several
from caffecompat.paths import find_file
from caffecompat.resumable import State
from caffecompat.schema import as_phase, pb
from caffecompat.schema.data_layers import data_layer
from caffecompat.schema.odd_numbers import odd_numbers

if TYPE_CHECKING:
    from caffecompat.data.pixels import Pixels

__all__ = [
    "AugmentError",
    "DataError",
    "Request",
    "Source",
    "batch_size_remarks",
    "make_source",
    "new_random",
    "register_source",
    "seed",
]

Shape = tuple[int, ...]
TRAIN, TEST = 0, 1
_MOST_VALUES = 2**31 - 1  # of a blob (BVLC's Blob::Reshape)


class DataError(CaffeCompatError):
    """Data that is missing, damaged, or does not fit the layer that reads it."""


class AugmentError(CaffeCompatError):
    """A sample that does not suit its layer's transform_param; the loader adds which record it is."""


class Source(ABC):
    """Batches for the tops of one data layer.

    Attributes:
        top_shapes: the shape of each top of the first batch. Later batches of pictures may have other
            heights and widths where the layer has no fixed ones, as in Caffe.
        fed: the arrays come from the caller of the net (Input); `next` is an error.
        records: how many records it reads before it begins again; None where that is not known.
        own: other processes that train with this one read other files.
        constant_tops: by place, those that are filled once (DummyData), and with what.
    """

    fed: ClassVar[bool] = False
    records: int | None = None
    own: bool = False
    constant_tops: Mapping[int, float] = MappingProxyType({})
    top_shapes: list[Shape]

    @abstractmethod
    def next(self) -> tuple[np.ndarray, ...]:
        """The next batch: one float32 array a top, in the order of the tops.

        Pictures have shape (N, C, H, W) and may be views of (N, H, W, C) memory, which is torch's
        channels_last. The arrays belong to the caller; only DummyData's constant blobs come again.

        Raises:
            DataError: the data is bad; every later call raises it again.
        """

    def next_pixels(self) -> tuple[np.ndarray | Pixels, ...]:
        """The next batch, with pictures as bytes where the source has them as such, to be normalized on a device.

        A source gives all its batches in one way, by this method or by `next`.
        """
        return self.next()

    def share_batches(self, share: Share) -> None:  # noqa: B027 (without it `skip` reads the batch)
        """Prepare, before the first batch, for `next` at the batches that the share owns and `skip` at the others."""

    def skip(self) -> None:
        """Leave out the next batch, which another process reads."""
        self.next()

    def describe(self, row: int) -> str:
        """Which file or record filled a row of the newest batch, for messages; "" where that is not known."""
        return ""

    def state(self) -> State:
        """Where the next batch begins, and all random numbers to come; batches that were read ahead count as unread.

        Empty for a source that is always at the same place. See :class:`caffecompat.resumable.Resumable`.
        """
        return {}

    def restore(self, state: State) -> Sequence[str]:
        """Go on where `state` was taken; what is there of batches read ahead is thrown away.

        Returns:
            What differs from then; the next record is as near as it can be.
        """
        return []

    def close(self) -> None:  # noqa: B027 (not every source holds something)
        """Stop reading ahead and let go of files. Also done when the source is collected."""

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def batch_size_remarks(state: State, batch_size: int) -> list[str]:
    """What to say where a state was taken with another batch size; positions are counted in records."""
    before = state["batch_size"]
    return [] if before == batch_size else [f"batch_size was {before}, it is {batch_size}; no record is left out"]


@dataclass(frozen=True)
class Request:
    """What a source is made from.

    Attributes:
        layer: its LayerParameter.
        fork: the Caffe whose rules the net follows.
        process: this process's number, where several train and the layer's paths are its own; else None.
    """

    layer: pb.LayerParameter
    phase: int
    fork: Fork = Fork.BVLC
    relative_to: str | os.PathLike[str] | None = None
    process: int | None = None

    @property
    def train(self) -> bool:
        return self.phase == TRAIN

    @property
    def share(self) -> Share:
        """The records to read: all of them but where several processes train from the same source."""
        return current_share() if self.train and self.process is None else ALL

    def tops(self, least: int, most: int | None = None) -> int:
        """The number of tops, checked."""
        count = len(self.layer.top)
        most = least if most is None else most
        if not least <= count <= most:
            want = str(least) if least == most else f"{least} to {most}"
            raise DataError(f"{self.layer.type} has {want} top(s), this layer has {count}")
        return count

    def generator(self) -> random.Random:
        """A generator for the source: from transform_param.random_seed (Jacinto) where that is given."""
        given = self.layer.transform_param.random_seed
        return random.Random(given) if given >= 0 else new_random(self.process)

    def find(self, field: str, path: str) -> str:
        """A path from the prototxt, resolved (`caffecompat.paths.find_file`); `field` is named where that fails."""
        if not path:
            raise DataError(f"{field} is missing or empty")
        return find_file(path, self.relative_to, DataError, field=field)

    def open_database(self, field: str, source: str, backend: str | None) -> DatabaseReader:
        """The database, or several read as one (`caffecompat.formats.shards`), that a source names.

        Args:
            field: that has the source, for messages.
            backend: as of `caffecompat.formats.database.open_database`.
        """
        if not names_several(source, self.relative_to):
            return open_database(self.find(field, source), backend)
        return ShardedReader(source, database_folders(source, self.relative_to), backend)


_sources: dict[str, Callable[[Request], Source]] = {}


def register_source(layer_type: str) -> Callable[[Callable[[Request], Source]], Callable[[Request], Source]]:
    """Decorator: what makes the sources of `layer_type` from a `Request`."""

    def add(maker: Callable[[Request], Source]) -> Callable[[Request], Source]:
        if data_layer(layer_type) is None:
            raise ValueError(f"{layer_type} is unknown to caffecompat.schema.data_layers")
        if layer_type in _sources:
            raise ValueError(f"a source for {layer_type} is registered already")
        _sources[layer_type] = maker
        return maker

    return add


def make_source(
    layer_param: pb.LayerParameter,
    phase: int | str,
    fork: Fork = Fork.BVLC,
    relative_to: str | os.PathLike[str] | None = None,
) -> Source:
    """Open the data of one data layer.

    Args:
        layer_param: its LayerParameter.
        phase: 0 (TRAIN) or 1 (TEST), or its name in any case.
        fork: the Caffe whose rules hold.
        relative_to: the prototxt; relative paths that are not in the current directory are looked for next to it.

    Returns:
        A source; reading ahead begins with its first `next`.

    Raises:
        DataError: the parameters or the first record are bad. The message begins with the layer's name and type.
    """
    number = as_phase(phase)
    maker = _sources.get(layer_param.type)
    if maker is None:
        raise DataError(f"{layer_param.type!r} is not a data layer; known: {', '.join(sorted(_sources))}")
    try:
        _check_numbers(layer_param)
        own = with_own_paths(layer_param, current_share(), relative_to, train=number == TRAIN)
        process = None if own is None else current_share().rank
        source = maker(Request(own or layer_param, number, fork, relative_to, process))
        source.own = own is not None
        for shape in source.top_shapes:
            if math.prod(shape) > _MOST_VALUES:
                source.close()
                dims = " x ".join(map(str, shape))
                raise DataError(
                    f"a blob of {dims} has more than {_MOST_VALUES:,} values; a smaller batch_size has fewer"
                )
        return source
    except CaffeCompatError as error:
        raise DataError(f'layer "{layer_param.name}" ({layer_param.type}): {error}') from error


def _check_numbers(layer: pb.LayerParameter) -> None:
    """Refuse NaN in a layer's settings, and infinity in its transform_param."""
    for _, text in odd_numbers(layer, infinite=False):
        raise DataError(text)
    for _, text in odd_numbers(layer.transform_param):
        raise DataError(f"transform_param.{text}")


@dataclass
class _Seeding:
    """The seed of this process, None for the system's entropy, and how many generators were made from it."""

    seed: int | None = None
    made: int = 0


_seeding = _Seeding()


def seed(value: int | None) -> None:
    """Make the sources opened from now on repeat exactly (the solver's `random_seed`); None undoes that.

    Each source has a generator of its own, made from this seed and the source's number, and every
    random choice is drawn in the order of the records; so neither threads nor the net change a run.
    """
    _seeding.seed, _seeding.made = value, 0


def new_random(process: int | None = None) -> random.Random:
    """A generator for one source: a Mersenne twister, as Caffe's; its streams are not Caffe's.

    Args:
        process: the number of the process, where the source is its own; all processes draw alike otherwise.
    """
    if _seeding.seed is None:
        return random.Random()
    _seeding.made += 1
    return random.Random(f"{_seeding.seed} {_seeding.made}{'' if process is None else f' {process}'}")
