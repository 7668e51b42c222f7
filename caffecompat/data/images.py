"""The `ImageData` layer: batches from a text list of picture files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from caffecompat.data.augment.augmentation import Augmentation, Augmented
from caffecompat.data.augment.resampling import interpolation
from caffecompat.data.augment.sample import Sample
from caffecompat.data.augmenting_reader import AugmentingReader
from caffecompat.data.databases import prefetch_depth
from caffecompat.data.loaded_source import LoadedSource
from caffecompat.data.source import DataError, Request, Shape, Source, register_source
from caffecompat.data.transform import Draw
from caffecompat.data.walk import ListWalk
from caffecompat.formats.image_list import ListedImage, open_image_list
from caffecompat.formats.picture import PictureError, Rows, check_size, read_rows, resize_picture
from caffecompat.paths import look_up, tried, with_slashes
from caffecompat.resumable import State, generator_state, restore_generator
from caffecompat.schema import pb

__all__ = ["ImageDataReader", "ListReader"]

_Entry = TypeVar("_Entry", bound=Any)


class ListReader(AugmentingReader, Generic[_Entry]):
    """What the layers with a list of files share: the walk through the list, finding and reading files.

    The list is shuffled at the start and again at each end (`shuffle`), a batch may straddle the end,
    and `rand_skip` leaves out that many entries or fewer at the start (BVLC image_data_layer.cpp).
    `root_folder` is put before each path as it is, without a separator.
    """

    def __init__(
        self,
        request: Request,
        param: pb.ImageDataParameter | pb.DenseImageDataParameter,
        name: str,
        read_list: Callable[[str], Sequence[_Entry]],
        augmentation: Augmentation,
    ) -> None:
        self.batch_size = param.batch_size
        if self.batch_size < 1:
            raise DataError(f"{name}.batch_size must be at least 1, it is {self.batch_size}")
        if (param.new_height > 0) != (param.new_width > 0):
            raise DataError(f"{name} needs new_height and new_width together, or neither")
        check_size(param.new_height, param.new_width, f"{name}.new_height and new_width: the resized picture")
        self._new_size = (param.new_height, param.new_width) if param.new_height else None
        self._augmentation = augmentation
        self._request = request
        self._root = with_slashes(param.root_folder)
        self._list = request.find(f"{name}.source", param.source)
        self._entries = read_list(self._list)
        self.records = len(self._entries)
        self._random = request.generator()
        self._walk = ListWalk(self._list, self._entries, self._random if param.shuffle else None)
        skip = getattr(param, "rand_skip", 0)
        if skip:
            self._walk.at = self._random.getrandbits(32) % skip
            if self._walk.at >= len(self._entries):
                raise DataError(
                    f"{name}.rand_skip of {skip} is more than the {len(self._entries)} lines of {self._list}"
                )

    def first(self) -> tuple[_Entry, Any]:
        """The first record, left in its place."""
        state = self._random.getstate()
        record = self._entries[self._walk.number()], self._draw()
        self._random.setstate(state)
        return record

    def _draw(self) -> Any:
        """The random numbers of the next record."""
        return self._augmentation.draw(self._random)

    def take(self, count: int) -> list[tuple[_Entry, Any]]:
        records = []
        for _ in range(count):
            records.append((self._entries[self._walk.number()], self._draw()))
            self._walk.advance(1)
        return records

    def redrawn(self, record: tuple[_Entry, Any]) -> tuple[_Entry, Any]:
        return record[0], self._draw()

    def state(self) -> State:
        return {"walk": self._walk.state(), "random": generator_state(self._random)}

    def restore(self, state: State) -> list[str]:
        restore_generator(self._random, state["random"])
        return self._walk.restore(state["walk"])

    def describe(self, record: tuple[_Entry, Any]) -> str:
        entry = record[0]
        return f"{self._list}:{entry.line}: {self._root}{entry[0]}"

    def _file(self, path: str) -> str:
        """Where a listed file is."""
        name = self._root + path
        return name if os.path.isfile(name) else look_up(name, self._request.relative_to) or name

    def _read(self, path: str, line: int, color: bool | None) -> np.ndarray:
        """One picture file as it is."""
        return self._read_rows(path, line, color)[0]

    def _read_rows(
        self, path: str, line: int, color: bool | None, wanted: Rows | None = None
    ) -> tuple[np.ndarray, int]:
        """The rows of one picture file that are wanted, or more, and the height of the whole picture."""
        name = self._root + path
        try:
            rows = read_rows(name, color, wanted)
            if rows is None:  # only now: looking first would cost a system call a picture
                found = look_up(name, self._request.relative_to) or name
                rows = read_rows(found, color, wanted) if found != name else None
        except PictureError as problem:
            raise DataError(f"{self._list}:{line}: {problem}") from None
        if rows is None:
            where = "" if os.path.exists(found) else tried(name, self._request.relative_to)
            raise DataError(
                f"{self._list}:{line}: cannot read the picture {name}{_why(found, path, self._root)}{where}"
            )
        return rows

    def _rows(self, draw: Draw | None) -> Rows | None:
        """How many rows of its picture a record with that draw needs; None: all of them."""
        return None if self._new_size else self._augmentation.rows(draw)

    def _resized(self, picture: np.ndarray, *, label: bool = False) -> np.ndarray:
        """To new_height x new_width where given: bilinear, as in every Caffe, or by transform_param's interp_mode.

        Args:
            label: a label picture: by nearest neighbor under an interp_mode, where Xilinx Caffe mixes labels.
        """
        if not self._new_size:
            return picture
        transform = self._request.layer.transform_param
        nearest = label and transform.HasField("interp_mode")
        mode = pb.ResizeParameter.NEAREST if nearest else transform.interp_mode
        return resize_picture(picture, *self._new_size, interpolation=interpolation(mode))


def _why(name: str, path: str, root: str) -> str:
    try:
        with open(name, "rb") as file:
            size = len(file.read(1))
    except OSError as error:
        hint = ""
        if root and not root.endswith("/") and not path.startswith("/"):
            hint = f"; root_folder {root!r} is put before the path as it is and does not end in /"
        if re.match(r"[A-Za-z]:/", path):
            hint = "; that is a path of Windows: write the list again, with paths of this machine"
        return f": {error.strerror}{hint}"
    return ": it is not a picture, or damaged" if size else ": the file is empty"


class _Sample(NamedTuple):
    augmented: Augmented
    label: int


class ImageDataReader(ListReader[ListedImage]):
    """Pictures and integer labels. Tops: data (N, C, H, W), label (N).

    `is_unchanged` (Xilinx) reads the files as they are, 16 bits included.
    """

    def __init__(self, request: Request) -> None:
        param = request.layer.image_data_param
        request.tops(2)
        super().__init__(request, param, "image_data_param", open_image_list, Augmentation(request))
        self._color = None if param.is_unchanged else param.is_color
        if param.short_side:
            raise DataError(
                "image_data_param.short_side is not supported; transform_param { short_side } keeps the aspect"
            )

    def read(self, record: tuple[ListedImage, Draw | None]) -> _Sample:
        entry, draw = record
        picture, height = self._read_rows(entry.path, entry.line, self._color, self._rows(draw))
        sample = Sample(self._resized(picture)) if self._new_size else Sample.of_rows(picture, height)
        return _Sample(self._augmentation(sample, draw), entry.label)

    def shapes(self, sample: _Sample) -> list[Shape]:
        return [sample.augmented.shape, ()]

    def write_labels(self, sample: _Sample, arrays: Sequence[np.ndarray], at: int) -> None:
        arrays[0][at] = sample.label


@register_source("ImageData")
def _image_data(request: Request) -> Source:
    reader = ImageDataReader(request)
    return LoadedSource(reader, reader.first(), depth=prefetch_depth(request.layer), share=request.share)
