"""Pictures with class numbers, from a list or a database, prepared for a net."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from caffecompat import glog
from caffecompat.data import Source, make_source
from caffecompat.data.dataset import count_records, is_dataset
from caffecompat.data.preprocess import Preprocess, stated_transform
from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate.scored_net import ScoredNet
from caffecompat.formats.image_list import read_image_list
from caffecompat.formats.mean import read_mean
from caffecompat.paths import find_file
from caffecompat.schema import pb
from caffecompat.schema.data_layers import is_input

__all__ = ["INTERPOLATIONS", "LabeledPictures", "open_labeled"]

PathLike = str | os.PathLike[str]

INTERPOLATIONS = {
    "bilinear": pb.ResizeParameter.LINEAR,
    "bicubic": pb.ResizeParameter.CUBIC,
    "area": pb.ResizeParameter.AREA,
    "nearest": pb.ResizeParameter.NEAREST,
    "lanczos": pb.ResizeParameter.LANCZOS4,
}
"""What users call transform_param's values of interp_mode."""


class LabeledPictures:
    """Pictures with class numbers, brought to a net by the rules of Caffe's data layers in TEST phase.

    Args:
        list_path: lines "path label" (ImageData), or
        database: LMDB or LevelDB of labeled Datums (Data).
        root: put before the list's paths as Caffe's root_folder is.
        resize: (height, width) that a list's pictures are resized to, before the center of the net's input size
            is cut out; None resizes them to the input. A database's records are cut when they are larger.
        short_side: instead, the shorter side of pictures, those of a database too, becomes this; 0: it does not.
        interp: how they are resized, one of INTERPOLATIONS (OpenCV's).
        preprocess: mean, scale, subtract.
        mean_file: a mean picture, subtracted pixel by pixel; as large as the uncropped pictures.

    Attributes:
        count: how many there are.
    """

    def __init__(
        self,
        *,
        list_path: str = "",
        database: str = "",
        root: str = "",
        resize: tuple[int, int] | None = None,
        short_side: int = 0,
        interp: str = "bilinear",
        preprocess: Preprocess | None = None,
        mean_file: str = "",
    ) -> None:
        if interp not in INTERPOLATIONS:
            raise CaffeCompatError(f"interp {interp!r}: expected {', '.join(INTERPOLATIONS)}")
        if short_side and (resize or mean_file):
            other = "a mean file, which has one size" if mean_file else "resize"
            raise CaffeCompatError(f"short_side leaves pictures in several sizes: take it or {other}, not both")
        self._short_side, self._interp = short_side, interp
        self._list, self._database, self._root, self._resize = list_path, database, root, resize
        self._preprocess, self._mean_file = preprocess or Preprocess(), mean_file
        if mean_file and (self._preprocess.mean or self._preprocess.subtract):
            raise CaffeCompatError("take a mean file or mean values, not both")
        self.count = len(read_image_list(list_path)) if list_path else count_records(database)

    def open(self, shape: tuple[int, int, int, int]) -> Source:
        """The batches for an input of that shape.

        Raises:
            CaffeCompatError: the pictures cannot be read, or do not fit the input.
        """
        batch, channels, height, width = shape
        layer = pb.LayerParameter(name=self._list or self._database, top=["data", "label"])
        self._set_transform(layer.transform_param, channels)
        if self._list:
            layer.type = "ImageData"
            param = layer.image_data_param
            param.source, param.root_folder, param.batch_size = self._list, self._root, batch
            param.is_color = channels == 3
            if not self._short_side:
                param.new_height, param.new_width = self._resize or (height, width)
        else:
            layer.type = "Data"
            layer.data_param.source, layer.data_param.batch_size = self._database, batch
            layer.data_param.backend = _backend(self._database)
            layer.transform_param.force_color = channels == 3
            layer.transform_param.force_gray = channels == 1
        if self._short_side:
            layer.transform_param.short_side = self._short_side
            layer.transform_param.crop_h, layer.transform_param.crop_w = height, width
        if self._interp != "bilinear":
            layer.transform_param.interp_mode = INTERPOLATIONS[self._interp]
        source = make_source(layer, pb.TEST)
        if source.top_shapes[0][2:] != (height, width):
            source.close()
            layer.transform_param.crop_h, layer.transform_param.crop_w = height, width
            source = make_source(layer, pb.TEST)
        if source.top_shapes[0][1] != channels:
            source.close()
            raise CaffeCompatError(
                f"{layer.name}: the pictures have {source.top_shapes[0][1]} channel(s), the net takes {channels}"
            )
        return source

    def _set_transform(self, transform: pb.TransformationParameter, channels: int) -> None:
        """(pixel - mean) * scale / std - subtract as our Caffe's (pixel - mean') * scale / std."""
        preprocess = self._preprocess
        transform.scale = preprocess.scale
        transform.std_value.extend(preprocess.std)
        if self._mean_file:
            transform.mean_file = self._mean_file
        if preprocess.mean or preprocess.subtract:
            mean = np.zeros(channels) + (preprocess.mean or 0)
            shift = (np.zeros(channels) + (preprocess.subtract or 0)) / preprocess.factors
            transform.mean_value.extend((mean + shift).tolist())


def open_labeled(
    net: ScoredNet,
    data: PathLike,
    root: str = "",
    *,
    database: bool | None = None,
    resize: tuple[int, int] | None = None,
    short_side: int | None = None,
    interp: str | None = None,
    preprocess: Preprocess | None = None,
    mean_file: str = "",
) -> LabeledPictures:
    """Pictures for a net fed from outside, prepared as given, or as its Input layer states.

    The prototxt's mean file counts pixel by pixel, or by the means of its channels where it has another size than the
    pictures.

    Args:
        data: a list, or a database's folder.
        database: which of them; None: folders are databases.
        resize, short_side, interp: as of `LabeledPictures`; None: what the Input layer states of the last two, unless
            another size is given.

    Raises:
        CaffeCompatError: the data or the mean file cannot be read.
    """
    assert net.input_shape is not None, "this net reads its own data"
    database = is_dataset(data) if database is None else database
    transform = stated_transform(net.layers)
    if resize is None and short_side is None:
        short_side, stated = _stated_short_side(net.layers)
        interp = interp or stated
        if short_side:
            glog.info(f"pictures are resized as {net.path} says: short side {short_side}, {interp}")
    if not mean_file and preprocess is None:
        preprocess = net.choose_preprocess()
        if transform is not None and transform.mean_file:
            path = find_file(transform.mean_file, net.path)
            fits = database or read_mean(path).shape[1:] == tuple(resize or net.input_shape[2:])
            if fits and not short_side:
                mean_file, preprocess = path, replace(preprocess, mean=())
    return LabeledPictures(
        list_path="" if database else os.fspath(data),
        database=os.fspath(data) if database else "",
        root=root,
        resize=resize,
        short_side=short_side or 0,
        interp=interp or "bilinear",
        preprocess=preprocess,
        mean_file=mean_file,
    )


def _stated_short_side(layers: Sequence[pb.LayerParameter]) -> tuple[int, str]:
    """What the transform_param of an Input layer says of the shorter side, 0 for nothing, and of the interpolation."""
    for layer in layers:
        if is_input(layer) and layer.transform_param.short_side:
            mode = layer.transform_param.interp_mode
            return layer.transform_param.short_side, next(
                name for name in INTERPOLATIONS if INTERPOLATIONS[name] == mode
            )
    return 0, "bilinear"


def _backend(path: str) -> int:
    from caffecompat.formats.database import detect_backend

    return int(pb.DataParameter.LEVELDB if detect_backend(path) == "leveldb" else pb.DataParameter.LMDB)
