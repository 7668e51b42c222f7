"""The `AnnotatedData` layer: pictures with boxes, and SSD's augmentation of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from caffecompat.data.augment.augmentation import Augmentation, Augmented
from caffecompat.data.augment.sample import Sample
from caffecompat.data.databases import DataReader, DataRecord, decoded, prefetch_depth
from caffecompat.data.loaded_source import LoadedSource
from caffecompat.data.share import Share
from caffecompat.data.source import DataError, Request, Shape, Source, register_source
from caffecompat.formats.annotated_datum import AnnotatedDatum, decode_annotated_datum
from caffecompat.formats.datum import DatumError

__all__ = ["AnnotatedDataReader"]


class _Sample(NamedTuple):
    """A picture with its objects as the batch has them, and its label without boxes."""

    augmented: Augmented
    label: int


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
        annotated = request.layer.annotated_data_param
        for name in ("has_seg_label", "has_lane_label"):
            if getattr(annotated, name):
                raise DataError(f"annotated_data_param.{name} (Xilinx's joint tasks) is not supported")
        super().__init__(request, Augmentation(request, resizes=True))
        self._boxed = self._decode(self.first()).type is not None

    def _drawn(self, found: list[tuple[bytes, bytes]], share: Share) -> list[DataRecord]:
        return self._one_by_one(found, share)

    def _draw(self) -> int:
        """A seed: how many random numbers a record takes depends on its boxes."""
        return self._random.getrandbits(64)

    def read(self, record: DataRecord) -> _Sample:
        annotated = self._decode(record)
        if self._labeled and self._boxed != (annotated.type is not None):
            raise DataError(f"{self.describe(record)} has {'no' if self._boxed else 'an'} annotation type, unlike the "
                            "first; all records need the same")  # fmt: skip
        if self._labeled and not self._boxed and annotated.datum.label is None:
            raise DataError(f"{self.describe(record)} has neither annotations nor a label")
        try:
            picture = decoded(annotated.datum, self._augmentation.transformer.force).picture
        except DatumError as error:
            raise DataError(f"{self.describe(record)}: {error}") from None
        sample = Sample(picture, objects=annotated.objects)
        return _Sample(self._augmentation.seeded(sample, record.draw), annotated.datum.label or 0)

    def _decode(self, record: DataRecord) -> AnnotatedDatum:
        try:
            return decode_annotated_datum(record.values[0])
        except DatumError as error:
            raise DataError(f"{self.describe(record)}: {error}") from None

    def shapes(self, sample: _Sample) -> list[Shape]:
        shape = sample.augmented.shape
        return [shape, ()] if self._labeled and not self._boxed else [shape]

    def write_labels(self, sample: _Sample, arrays: Sequence[np.ndarray], at: int) -> None:
        if arrays:
            arrays[0][at] = sample.label

    def variable_size_rows(self, sample: _Sample) -> np.ndarray:
        assert sample.augmented.objects is not None
        return sample.augmented.objects

    def variable_size_tops(self, pieces: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        if not (self._labeled and self._boxed):
            return ()
        rows = np.concatenate(pieces)
        if not len(rows):
            return (np.full((1, 1, 1, rows.shape[1] + 1), -1, np.float32),)
        places = np.repeat(np.arange(len(pieces), dtype=np.float32), [len(piece) for piece in pieces])
        if rows.shape[1] == 9:  # oriented: difficult comes last
            rows = rows[:, [0, 1, 2, 3, 4, 5, 7, 8, 6]]
        return (np.column_stack([places, rows])[None, None],)


@register_source("AnnotatedData")
def _annotated_data(request: Request) -> Source:
    reader = AnnotatedDataReader(request)
    param = request.layer
    threads = param.data_param.threads
    return LoadedSource(reader, reader.first(), depth=prefetch_depth(param), threads=threads, share=request.share)
