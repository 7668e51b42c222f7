"""MatWrite: blobs written to MATLAB's files as the net computes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from caffecompat.layers.layer import Context, Layer, LayerError, Shape
from caffecompat.layers.registry import register
from caffecompat.paths import find_file
from caffecompat.schema import pb

__all__ = ["MatWrite"]


@register("MatWrite")
class MatWrite(Layer):
    """Writes its bottoms, each `period` passes, to <prefix>iter_<pass>_blob_<index>.mat (DeepLab, PSPNet).

    With `source`, a list of names, <prefix><name of the line>_blob_<index>.mat: the first word of the line of that
    pass, without its last `strip` characters. The bottoms are (N, C, H, W), the variable is
    "data", W x H x C x N. Building a net writes nothing.
    Of several processes that train a net the first one alone writes, the blobs of its own passes.
    """

    measures: ClassVar[bool] = True
    judges_all: ClassVar[bool] = True
    writes_files: bool = True
    untraceable: str = "it writes files"
    bottoms: ClassVar[tuple[int, int | None]] = (1, None)
    tops: ClassVar[tuple[int, int | None]] = (0, 0)
    not_exported: ClassVar[str] = "writes files"
    remembers = ("done",)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.mat_write_param
        self.prefix, self.period, self.done = p.prefix, p.period, 0
        if self.period < 1:
            raise LayerError(f"period {self.period} must be at least 1")
        folder = os.path.dirname(self.prefix) or "."
        if not os.path.isdir(folder):
            raise LayerError(f"mat_write_param.prefix {self.prefix!r}: there is no folder {folder!r}")
        self.names: list[str] | None = None
        if p.source:
            path = find_file(p.source, context.relative_to, LayerError, field="mat_write_param.source")
            self.names = _read_names(path, p.strip)

    def needs_gradient(self, bottom_index: int) -> bool:
        return False

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        if not self.writes_files or any(bottom.is_meta for bottom in bottoms):
            return ()
        if self.done % self.period == 0:
            from caffecompat.formats.mat_file import write_mat

            stem = self.prefix + self._name()
            for index, bottom in enumerate(bottoms):
                write_mat(f"{stem}_blob_{index}.mat", bottom.detach().float().cpu().numpy())
        self.done += 1
        return ()

    def _name(self) -> str:
        if self.names is None:
            return f"iter_{self.done}"
        if self.done >= len(self.names):
            source = self.param.mat_write_param.source
            raise LayerError(
                f"layer {self.param.name!r} (MatWrite): this is pass {self.done + 1}, the list {source} names "
                f"{len(self.names)} files"
            )
        return self.names[self.done]


def _read_names(path: str, strip: int) -> list[str]:
    """The first word of each line, without its last `strip` characters."""
    if strip < 0:
        raise LayerError(f"strip {strip} must not be negative")
    try:
        with open(path, encoding="utf-8") as file:
            words = [line.split()[0] if line.split() else "" for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise LayerError(f"cannot read the list {path}: {getattr(error, 'strerror', None) or error}") from None
    for number, word in enumerate(words, 1):
        if len(word) <= strip:
            raise LayerError(f"{path}:{number}: strip {strip} leaves nothing of {word!r}")
    return [word[: len(word) - strip] for word in words]
