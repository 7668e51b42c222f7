"""The `AnnotatedData` layer: pictures with boxes, and SSD's augmentation of both."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from caffecompat.data.batch_sampler import BatchSampler, draw_sampler, pick_sample
from caffecompat.data.boxes import FULL, emitted, mirrored, project
from caffecompat.data.databases import DataReader, DataRecord, decoded, prefetch_depth
from caffecompat.data.distort import Distortion
from caffecompat.data.loader import Arrays, LoadedSource
from caffecompat.data.per_channel import check_per_channel
from caffecompat.data.source import DataError, Request, Shape, Source, register_source
from caffecompat.data.transform import Draw, Transformer, Window
from caffecompat.formats.annotated_datum import AnnotatedDatum, decode_annotated_datum
from caffecompat.formats.datum import DatumError
from caffecompat.schema import pb

__all__ = ["AnnotatedDataReader"]

_CORNERS = slice(2, 6)  # of an object's row


class _Sample(NamedTuple):
    """A picture ready to be normalized, its window in the batch, its objects, and its label without boxes."""

    picture: np.ndarray
    window: Window
    objects: np.ndarray
    label: int


class _Canvas(NamedTuple):
    """A picture lies at (top, left) on a mean-colored canvas of (height, width) pixels."""

    top: int
    left: int
    height: int
    width: int


class AnnotatedDataReader(DataReader):
    """AnnotatedDatums in key order, over and over (SSD annotated_data_layer.cpp; Jacinto and Xilinx alike).

    Tops: data (N, C, H, W) and label (1, 1, G, 8), a row a box of the whole batch: place in the batch, class,
    instance, xmin, ymin, xmax, ymax, difficult; one row of -1 where no picture has a box. Xilinx's oriented boxes
    have (1, 1, G, 10), with cosine and sine before `difficult`. Records without annotation type (classification)
    give label (N) as Data does.

    In TRAIN and TEST alike, each picture: 1. distort_param; 2. expand_param: onto a canvas of mean_value up to
    max_expand_ratio times as large; 3. one of the parts that the batch_samplers draw (chosen as `sampler_choice`
    says), cut out; 4. resize_param, noise_param, crop and mirror, then mean and scale. Boxes follow; at each of 2 to 4
    emit_constraint decides which stay, and those without area fall away. The fork puts each of the first three through
    a JPEG file of quality 95; here no picture is encoded again, and what will be cut away is not even distorted.
    """

    def __init__(self, request: Request) -> None:
        param = request.layer.transform_param
        annotated = request.layer.annotated_data_param
        for name in ("has_seg_label", "has_lane_label"):
            if getattr(annotated, name):
                raise DataError(f"annotated_data_param.{name} (Xilinx's joint tasks) is not supported")
        self._expansion = _expansion(param)
        super().__init__(request, Transformer(request, resizes=True))
        self._samplers = [BatchSampler(sampler) for sampler in annotated.batch_sampler]
        pooled = annotated.sampler_choice == pb.AnnotatedDataParameter.POOLED
        self._choose_part = pick_sample if pooled else draw_sampler
        self._distortion = Distortion(param.distort_param) if param.HasField("distort_param") else None
        self._emit = param.emit_constraint if param.HasField("emit_constraint") else None
        self._boxed = self._decode(self.first()).type is not None

    def take(self, count: int) -> list[DataRecord]:
        # Each with a seed: how many random numbers a record takes depends on its boxes.
        return [DataRecord([key], [value], self._random.getrandbits(64)) for key, value in self._records.next(count)]

    def read(self, record: DataRecord) -> _Sample:
        annotated = self._decode(record)
        if self._labeled and self._boxed != (annotated.type is not None):
            raise DataError(f"{self.describe(record)} has {'no' if self._boxed else 'an'} annotation type, unlike the "
                            "first; all records need the same")  # fmt: skip
        if self._labeled and not self._boxed and annotated.datum.label is None:
            raise DataError(f"{self.describe(record)} has neither annotations nor a label")
        try:
            picture = decoded(annotated.datum, self._transformer.force)
            return self._augmented(picture, annotated, record.draw)
        except (DatumError, DataError) as error:
            raise DataError(f"{self.describe(record)}: {error}") from None

    def _decode(self, record: DataRecord) -> AnnotatedDatum:
        try:
            return decode_annotated_datum(record.values[0])
        except DatumError as error:
            raise DataError(f"{self.describe(record)}: {error}") from None

    def _augmented(self, picture: np.ndarray, annotated: AnnotatedDatum, seed: int | None) -> _Sample:
        objects = annotated.objects
        draw = None
        if seed is not None:
            generator = np.random.default_rng(seed)
            picture, objects = self._part(picture, objects, generator)
            draw = Draw(*generator.integers(0, 1 << 32, 4).tolist())
        height, width = picture.shape[:2]
        picture = self._transformer.prepare(picture, draw)
        resize = self._transformer.resize
        if resize is not None:
            objects = _moved(objects, resize.boxes(objects[:, _CORNERS], height, width))
        new_height, new_width = picture.shape[:2]
        self._transformer.output_shape(*picture.shape)  # does the crop fit?
        window = self._transformer.window(new_height, new_width, draw)
        size = np.array([new_width, new_height], np.float32)
        begin = np.array([window.left, window.top], np.float32)
        crop = np.concatenate([begin / size, (begin + (window.width, window.height)) / size]).astype(np.float32)
        objects = self._kept(objects, crop)
        if window.mirror:
            objects = _moved(objects, mirrored(objects[:, _CORNERS]))
        if resize is not None:
            objects = _moved(objects, resize.extrapolated(objects[:, _CORNERS], height, width, crop))
        return _Sample(picture, window, objects, annotated.datum.label or 0)

    def _part(
        self, picture: np.ndarray, objects: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The picture distorted, expanded, and the sampled part of it."""
        height, width = picture.shape[:2]
        canvas = self._expanded(height, width, generator)
        if canvas is not None:
            expanded = np.array([-canvas.left, -canvas.top, canvas.width - canvas.left, canvas.height - canvas.top])
            objects = self._kept(objects, (expanded / (width, height, width, height)).astype(np.float32))
        canvas = canvas or _Canvas(0, 0, height, width)
        part = self._choose_part(self._samplers, objects[:, _CORNERS], generator)
        if part is not None:
            objects = self._kept(objects, part)
        cut = _pixels(FULL if part is None else part, canvas)
        return self._painted(picture, canvas, cut, generator), objects

    def _expanded(self, height: int, width: int, generator: np.random.Generator) -> _Canvas | None:
        probability, most = self._expansion
        if not probability or generator.random() > probability or abs(most - 1) < 1e-2:
            return None
        ratio = generator.uniform(1, most)
        new = int(height * ratio), int(width * ratio)
        top, left = (int(generator.uniform(0, room)) for room in (new[0] - height, new[1] - width))
        return _Canvas(top, left, *new)

    def _painted(self, picture: np.ndarray, canvas: _Canvas, cut: Window, generator: np.random.Generator) -> np.ndarray:
        """What shows of the picture in the `cut` of the canvas, distorted, with mean_value around it."""
        import cv2

        height, width, channels = picture.shape
        top, left = cut.top - canvas.top, cut.left - canvas.left  # of the cut, seen from the picture
        rows = slice(max(top, 0), max(0, min(top + cut.height, height)))
        columns = slice(max(left, 0), max(0, min(left + cut.width, width)))
        seen = picture[rows, columns]
        if seen.size and self._distortion is not None:
            seen = self._distortion.picture(seen, generator)
        if seen.shape[:2] == (cut.height, cut.width):
            return seen
        mean = self._transformer.mean
        if mean is not None:
            check_per_channel(mean, channels, "mean_value")
        fill = np.broadcast_to(np.float32(0) if mean is None else np.rint(mean).clip(0, 255), channels).tolist()
        if not seen.size:
            return np.tile(np.array(fill, np.uint8), (cut.height, cut.width, 1))
        above, before = rows.start - top, columns.start - left
        below, behind = cut.height - above - seen.shape[0], cut.width - before - seen.shape[1]
        painted: np.ndarray = cv2.copyMakeBorder(seen, above, below, before, behind, cv2.BORDER_CONSTANT, value=fill)
        return painted.reshape(cut.height, cut.width, channels)

    def _kept(self, objects: np.ndarray, window: np.ndarray) -> np.ndarray:
        """Objects in units of a window (4,), without those that do not show in it."""
        boxes, visible = project(objects[:, _CORNERS], window)
        if self._emit is not None:
            visible &= emitted(objects[:, _CORNERS], window, self._emit)
        shown: np.ndarray = _moved(objects, boxes)[visible]
        return shown

    def shapes(self, sample: _Sample) -> list[Shape]:
        shape = (sample.window.height, sample.window.width, sample.picture.shape[2])
        return [shape, ()] if self._labeled and not self._boxed else [shape]

    def write(self, sample: _Sample, arrays: Arrays, at: int) -> None:
        self._transformer.place(sample.picture, sample.window, arrays[0][at])
        if len(arrays) > 1:
            arrays[1][at] = sample.label

    def variable_size_rows(self, sample: _Sample) -> np.ndarray:
        return sample.objects

    def variable_size_tops(self, pieces: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        if not (self._labeled and self._boxed):
            return ()
        rows = np.concatenate(pieces)
        if not len(rows):
            return (np.full((1, 1, 1, rows.shape[1] + 1), -1, np.float32),)
        places = np.repeat(np.arange(len(pieces), dtype=np.float32), [len(piece) for piece in pieces])
        if rows.shape[1] == 9:  # oriented: difficult stands last
            rows = rows[:, [0, 1, 2, 3, 4, 5, 7, 8, 6]]
        return (np.column_stack([places, rows])[None, None],)


def _moved(objects: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The objects with other boxes."""
    result: np.ndarray = objects.copy()
    result[:, _CORNERS] = boxes
    return result


def _pixels(part: np.ndarray, canvas: _Canvas) -> Window:
    """The pixels of a part (4,) of the canvas, sides and offsets rounded down; at least one."""
    left, top, right, bottom = (part * np.array([canvas.width, canvas.height] * 2, np.float32)).tolist()
    return Window(int(top), int(left), max(1, int(bottom - top)), max(1, int(right - left)), False)


def _expansion(param: pb.TransformationParameter) -> tuple[float, float]:
    """(probability, largest ratio) of expand_param; probability 0 without one."""
    if not param.HasField("expand_param"):
        return 0.0, 1.0
    most = param.expand_param.max_expand_ratio
    if most <= 1:
        raise DataError(f"expand_param.max_expand_ratio must be more than 1, it is {most:g}")
    if param.HasField("mean_file"):
        raise DataError("expand_param takes its color from mean_value; transform_param has a mean_file")
    return param.expand_param.prob, most


@register_source("AnnotatedData")
def _annotated_data(request: Request) -> Source:
    reader = AnnotatedDataReader(request)
    param = request.layer
    return LoadedSource(reader, reader.first(), depth=prefetch_depth(param), threads=param.data_param.threads)
