"""The ImageData layer by which Vitis AI (vai_q_caffe) gets calibration pictures, prepared as in training.

Xilinx' Caffe (data_transformer.cpp, image_data_layer.cpp): a picture is resized to new_height x new_width, a mean file
must be as large as that, and both are cropped. Lists are read as pairs of words, a name and an integer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from caffecompat.data.augment.geometry import named_geometry
from caffecompat.data.placeholder import Placeholders
from caffecompat.deploy.caffe_targets import picture_input
from caffecompat.deploy.deploy_inputs import Deployed, DeployError, input_layers
from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_text
from caffecompat.forks import Fork
from caffecompat.formats.mean import MeanError, read_mean
from caffecompat.formats.picture import read_picture
from caffecompat.schema import pb
from caffecompat.schema.data_layers import data_layer

__all__ = ["CalibrationList", "calibration_input", "read_calibration"]

Size = tuple[int, int]

_CROPS = (("crop_size", "crop_size"), ("crop_h", "crop_w"), ("crop_height", "crop_width"))
_KINDS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp", ".jp2")
_SHOWN = 10  # lines of a list in an error


# ------------------------------------------------------------------------------------------------- the layer


def calibration_input(
    message: pb.NetParameter, deployed: Deployed, listing: CalibrationList, relative_to: str | None
) -> tuple[pb.LayerParameter, list[str]]:
    """Put, in place of the Input that stands for pictures, the ImageData layer that Vitis AI calibrates from.

    Pictures get the size that they have in training before the crop, and are cropped like there.

    Args:
        relative_to: the prototxt of the net, next to which its mean file and data may be.

    Returns:
        The layer; and what is to be reported: how pictures differ from those in training, where they do.

    Raises:
        DeployError: ImageData cannot read such pictures.
    """
    blob, shape = picture_input(deployed)
    if shape[1] not in (1, 3):
        raise DeployError(
            f"--for vitis: the net's input {blob!r} has {shape[1]} channels; pictures that ImageData reads have 1 or 3"
        )
    layer = next(layer for layer in input_layers(message) if layer.top[0] == blob)
    layer.type = "ImageData"
    layer.ClearField("input_param")
    layer.top.append("label")
    layer.include.add(phase=pb.TRAIN)
    source = layer.image_data_param
    source.source, source.batch_size, source.shuffle = listing.path, 1, True
    if listing.root:
        source.root_folder = listing.root
    if shape[1] == 1:
        source.is_color = False
    size = _Sizing(deployed, (shape[2], shape[3]), shape[1], relative_to)
    if size.means:
        layer.transform_param.ClearField("mean_file")
        layer.transform_param.mean_value.extend(size.means)
    if size.pictures:
        source.new_height, source.new_width = size.pictures
    if size.crop is None:
        resize = layer.transform_param.resize_param
        resize.prob, resize.resize_mode = 1.0, resize.WARP
        resize.height, resize.width = shape[2:]
    elif size.crop[0] == size.crop[1]:
        layer.transform_param.crop_size = size.crop[0]
    else:
        layer.transform_param.crop_h, layer.transform_param.crop_w = size.crop
    if size.crop and not size.pictures:
        listing.check_sizes(size.crop)
    return layer, size.notes


class _Sizing:
    """How pictures come to the size of the net's input.

    Attributes:
        pictures: (height, width) that they are resized to first; None leaves them as they are.
        crop: (height, width) of the part that is taken of them; None for all of it.
        means: of the channels, in place of a mean file that does not fit; empty where it does or there is none.
        notes: where this is not what training does.
    """

    def __init__(self, deployed: Deployed, wanted: Size, channels: int, relative_to: str | None) -> None:
        self.pictures: Size | None = wanted
        self.crop: Size | None = None
        self.means: list[float] = []
        self.notes: list[str] = []
        crop = _crop_of(deployed.data) if deployed.data is not None else None
        mean = self._mean(deployed.transform, channels, relative_to)
        if crop is not None and crop != wanted:
            self.notes.append(
                f"training crops {_text(crop)} out of its pictures, the input is {_text(wanted)}: calibration pictures "
                "are resized to that as a whole"
            )
        elif crop is not None:
            self._as_cropped(deployed, crop, mean, relative_to)
        if mean is None:
            return
        if mean.shape[1:] == self.pictures:
            return
        self.pictures, self.crop = wanted, None
        self.means = [float(value) for value in mean.mean((1, 2), dtype=np.float64)]
        self.notes.append(
            f"the mean file is {_text(mean.shape[1:])}, calibration pictures are resized to {_text(wanted)}: the means "
            "of its channels are taken, as mean_value"
        )

    def _mean(
        self, transform: pb.TransformationParameter | None, channels: int, relative_to: str | None
    ) -> np.ndarray | None:
        if transform is None or not transform.mean_file:
            return None
        try:
            mean = read_mean(transform.mean_file, relative_to)
        except MeanError as problem:
            self.notes.append(
                f"warning: {problem}; put its size in as new_height and new_width, which calibration pictures must have"
            )
            return None
        if mean.shape[0] != channels:
            raise DeployError(
                f"{transform.mean_file} has {mean.shape[0]} channel(s), the net's input {channels}: nothing fits both"
            )
        return mean

    def _as_cropped(self, deployed: Deployed, crop: Size, mean: np.ndarray | None, relative_to: str | None) -> None:
        data, transform = deployed.data, deployed.transform
        assert data is not None
        sizes = [name for name in named_geometry(data.transform_param) if name != "resize_param"]
        if sizes:
            self.notes.append(
                f"training brings pictures to their size by {sizes[0]}: calibration pictures are resized to "
                f"{_text(crop)} as a whole"
            )
            return
        if mean is not None:
            known: Size | None = (mean.shape[1], mean.shape[2])
        elif _as_they_are(data) or (transform is not None and transform.mean_file):  # a mean file that cannot be read
            self.pictures, self.crop = None, crop
            return
        else:
            known = _before_crop(data, relative_to)
        if known is None:
            self.notes.append(
                f"training crops {_text(crop)} out of larger pictures, whose size is not known without its data: "
                f"calibration pictures are resized to {_text(crop)} as a whole"
            )
        elif known[0] >= crop[0] and known[1] >= crop[1]:
            self.pictures, self.crop = known, crop if crop != known else None
        else:
            self.notes.append(
                f"the crop {_text(crop)} is larger than the pictures in training, {_text(known)}: calibration pictures "
                f"are resized to {_text(crop)} as a whole"
            )


def _text(size: tuple[int, ...]) -> str:
    """WIDTHxHEIGHT of (height, width)."""
    return f"{size[1]}x{size[0]}"


def _crop_of(data: pb.LayerParameter) -> Size | None:
    """(height, width) of what a data layer cuts out of its pictures."""
    for height, width in _CROPS:
        size = getattr(data.transform_param, height), getattr(data.transform_param, width)
        if all(size):
            return size
    return None


def _as_they_are(data: pb.LayerParameter) -> bool:
    """Whether a layer reads picture files and resizes none of them."""
    kind = data_layer(data.type)
    if kind is None or not kind.as_stored:
        return False
    return not getattr(data, kind.settings).new_height and not data.transform_param.HasField("resize_param")


def _before_crop(data: pb.LayerParameter, relative_to: str | None) -> Size | None:
    """(height, width) of a data layer's pictures before they are cropped; None where only its data would say."""
    whole = type(data)()
    whole.CopyFrom(data)
    for pair in _CROPS:
        for name in pair:
            whole.transform_param.ClearField(name)
    whole.transform_param.ClearField("mean_file")
    try:
        source = Placeholders()(whole, pb.TEST, Fork.BVLC, relative_to)
    except CaffeCompatError:
        return None
    height, width = source.top_shapes[0][2:4]
    source.close()
    return height, width


# -------------------------------------------------------------------------------------------------- the list


@dataclass
class CalibrationList:
    """A list of calibration pictures as Xilinx' ImageData reads it.

    Attributes:
        path: of the list; root: put before its names as text.
        text: lines 'name 0', where the list itself has other lines and is to be written again; "" where it is right.
        notes: what is to be reported.
    """

    path: str
    root: str = ""
    text: str = ""
    notes: list[str] = field(default_factory=list)
    found: list[tuple[str, str]] = field(default_factory=list)  # (place, path of the picture)

    def check_sizes(self, crop: Size) -> None:
        """Raise DeployError where a picture is smaller than what is cut out of it."""
        small = []
        for place, path in self.found:
            picture = read_picture(path)
            if picture is not None and (picture.shape[0] < crop[0] or picture.shape[1] < crop[1]):
                small.append(f"{place}: {path} is {_text(picture.shape)}")
        _refuse(f"training cuts {_text(crop)} out of pictures as they are, and these are smaller", small)


def read_calibration(path: str, root: str) -> CalibrationList:
    """Check a list of calibration pictures: a name without blanks and an integer on each line.

    Lines without an integer are completed. Names that lead somewhere only from the current directory or from the
    list's own get that as their root folder.

    Args:
        root: folder of the pictures, put before each name; "" for none.

    Raises:
        DeployError: names with blanks, each by its line.
    """
    if not os.path.isfile(path):
        note = f"{path} is not here: it is to list the calibration pictures, 'name 0' a line"
        return CalibrationList(path, root, notes=[note])
    listing = CalibrationList(path, root)
    entries: list[tuple[str, str, str]] = []  # place, name, label
    blanks: list[str] = []
    completed = 0
    for place, line in _lines(path):
        words = line.split()
        name, label = words[0], words[1] if len(words) == 2 else ""
        if (len(words) > 1 and not _is_name(name) and not _is_integer(label)) or _names_a_file(line, root, path):
            blanks.append(f"{place}: {line}")
            continue
        completed += not _is_integer(label)
        entries.append((place, name, label if _is_integer(label) else "0"))
    _refuse("a name with a blank ends the reading of Xilinx' ImageData; rename these pictures", blanks)
    if not entries:
        raise DeployError(f"{path} lists no picture; expected 'name 0' lines")
    if completed:
        listing.text = "".join(f"{name} {label}\n" for _, name, label in entries)
        listing.notes.append(f"{path}: {completed} of {len(entries)} lines have no label, a 0 was put there")
    _find_pictures(listing, entries)
    return listing


def _lines(path: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(read_text(path, "the calibration list").splitlines(), 1):
        if line.strip():
            yield f"{path}:{number}", line.strip()


def _is_name(word: str) -> bool:
    return os.path.splitext(word)[1].lower() in _KINDS


def _is_integer(word: str) -> bool:
    return word.lstrip("+-").isdecimal()


def _names_a_file(line: str, root: str, path: str) -> bool:
    """Whether a line, without its label, is the name of a picture that has a blank."""
    whole = line.rsplit(None, 1)
    names = {line, whole[0] if len(whole) == 2 and _is_integer(whole[1]) else line}
    folders = (root, os.path.join(os.path.dirname(path), ""))
    return any(" " in name and os.path.isfile(folder + name) for name in names for folder in folders)


def _find_pictures(listing: CalibrationList, entries: list[tuple[str, str, str]]) -> None:
    """Where the pictures are, and which are not there."""
    if not listing.root and not any(os.path.isabs(name) for _, name, _ in entries):
        folders = (os.path.join(os.curdir, ""), os.path.join(os.path.dirname(listing.path), ""))
        listing.root = next((folder for folder in folders if os.path.isfile(folder + entries[0][1])), "")
    missing = []
    for place, name, _ in entries:
        picture = listing.root + name
        if os.path.isfile(picture):
            listing.found.append((place, picture))
        else:
            missing.append(f"{place}: {picture}")
    if missing:
        listing.notes.append(f"warning: {len(missing)} of {len(entries)} pictures are not here, first {missing[0]}")


def _refuse(reason: str, places: list[str]) -> None:
    if places:
        more = f"\n  ... and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
        raise DeployError("\n  ".join([f"--for vitis: {reason}:", *places[:_SHOWN]]) + more)
