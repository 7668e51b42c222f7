"""The targets by name, and what each wants of a net and of its graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from caffecompat.deploy.targets.dpu.calibration import write_calibration
from caffecompat.deploy.targets.dpu.folding import worse_if_folded as worse_on_dpu
from caffecompat.deploy.targets.dpu.passes import passes as dpu_passes
from caffecompat.deploy.targets.tidl.folding import worse_if_folded as worse_on_tidl
from caffecompat.deploy.targets.tidl.meta_architecture import write_meta_architecture
from caffecompat.deploy.targets.tidl.passes import passes as tidl_passes
from caffecompat.net import Net
from caffecompat.net.layer import NetLayer, Value

if TYPE_CHECKING:
    from caffecompat.deploy.onnx.export import ExportOptions
    from caffecompat.deploy.onnx.write import Exported
    from caffecompat.deploy.targets.graph_pass import GraphPass
    from caffecompat.deploy.targets.side_files import SideFiles
    from caffecompat.deploy.targets.table import TargetTable

__all__ = ["TARGETS", "Target", "target_passes"]

Blobs = Mapping[str, Sequence[np.ndarray]]


class WriteSideFiles(Protocol):
    """Writes the files for the model at `path`, which stops before the boxes of an SSD where it was `cut`."""

    def __call__(self, done: Exported, path: str, *, cut: bool, pictures: Sequence[str]) -> SideFiles: ...


@dataclass(frozen=True)
class Target:
    """What a target wants.

    Attributes:
        passes: over an exported graph, in order.
        worse_if_folded: why a net would be worse there if the normalization that makes a value went into the layers at
            or before another one; "" where it would not.
        write_side_files: what its tools want besides a model, written next to it.
        normalizes: whether it has normalizations; where not, those that nothing can take in become convolutions.
    """

    passes: Callable[[ExportOptions, TargetTable], list[GraphPass]]
    worse_if_folded: Callable[[Net, Blobs, NetLayer, Value], str]
    write_side_files: WriteSideFiles
    normalizes: bool


TARGETS: Mapping[str, Target] = {
    "dpu": Target(dpu_passes, worse_on_dpu, write_calibration, normalizes=False),
    "tidl": Target(tidl_passes, worse_on_tidl, write_meta_architecture, normalizes=True),
}


def target_passes(options: ExportOptions) -> list[GraphPass]:
    """The passes of the target that is asked for; none without one."""
    table = options.table
    return TARGETS[table.target].passes(options, table) if table is not None else []
