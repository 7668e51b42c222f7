"""HDF5Output: blobs written to a file as the net computes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.registry import register
from caffecompat.resumable import State, stored_place
from caffecompat.schema import pb

__all__ = ["HDF5Output"]


@register("HDF5Output")
class HDF5Output(Layer):
    """Writes its bottoms into the datasets `data` and `label` of hdf5_output_param.file_name (BVLC).

    Both become (N, C, H, W) float32, missing axes being 1. The first forward pass starts the file again, each further
    one appends its rows (where Caffe ends with an error), and after each the file is whole. Building a net leaves the
    file alone. Of several processes that train a net the first one alone writes, the rows of its own batches.
    """

    measures: ClassVar[bool] = True
    judges_all: ClassVar[bool] = True
    writes_files: bool = True
    untraceable: str = "it writes files"
    bottoms: ClassVar[tuple[int, int | None]] = (2, 2)
    tops: ClassVar[tuple[int, int | None]] = (0, 0)
    not_exported: ClassVar[str] = "writes a file"
    remembers = ("rows",)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.path = param.hdf5_output_param.file_name
        if not self.path:
            raise LayerError("hdf5_output_param.file_name is missing: the file to write")
        folder = os.path.dirname(self.path) or "."
        if not os.path.isdir(folder):
            raise LayerError(f"hdf5_output_param.file_name {self.path!r}: there is no folder {folder!r}")
        for name, shape in zip(param.bottom, bottom_shapes, strict=True):
            if len(shape) > 4:
                raise LayerError(f"{name!r} has more than four axes: {tuple(shape)}")
        if bottom_shapes[0][:1] != bottom_shapes[1][:1]:
            raise LayerError(
                f"{param.bottom[0]!r} and {param.bottom[1]!r} must have as many items: "
                f"{tuple(bottom_shapes[0])} and {tuple(bottom_shapes[1])}"
            )
        self.rows = 0  # of this run in the file

    def restore(self, state: State) -> list[str]:
        """Go on after the rows that were there then; later ones are written again."""
        from caffecompat.formats.hdf5_rows import count_rows

        there, self.rows = count_rows(self.path, ("data", "label")), stored_place(state, "rows")
        if there >= self.rows:
            return []
        remark = f"{self.path} has {there} of the {self.rows} rows that were written; it starts over"
        self.rows = 0
        return [remark]

    def needs_gradient(self, bottom_index: int) -> bool:
        return False

    def forward(self, data: Tensor, label: Tensor) -> tuple[Tensor, ...]:
        if self.writes_files and not data.is_meta:
            from caffecompat.formats.hdf5_rows import write_rows

            rows = {name: _four_axes(blob) for name, blob in (("data", data), ("label", label))}
            write_rows(self.path, {name: blob.numpy() for name, blob in rows.items()}, after=self.rows)
            self.rows += len(data)
        return ()


def _four_axes(blob: Tensor) -> Tensor:
    return blob.detach().float().cpu().reshape(blob.shape + (1,) * (4 - blob.dim()))
