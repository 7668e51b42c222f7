"""What every layer is: a torch module made from a LayerParameter and the shapes of its bottoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from caffecompat.deprecation import RenamedAttribute
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import Fork
from caffecompat.layers.fillers import DRAWN, FillerError, fill
from caffecompat.layers.precision import Precision
from caffecompat.resumable import State
from caffecompat.schema import pb

__all__ = [
    "Context",
    "LabelError",
    "Layer",
    "LayerError",
    "Shape",
    "View",
    "exporting",
    "missing_output",
    "values_known",
]

Shape = tuple[int, ...]
TRAIN, TEST = 0, 1


class LayerError(CaffeCompatError):
    """A layer's parameters or bottoms break one of its rules; the net adds the layer's name and place."""


class LabelError(LayerError):
    """A label that names no class, or an index of nothing.

    Attributes:
        blob: name of the bottom that holds it.
        item: its batch item.
    """

    def __init__(self, message: str, blob: str, item: int) -> None:
        super().__init__(message)
        self.blob, self.item = blob, item


def missing_output(param: pb.LayerParameter, message: str) -> str:
    """What to do where a layer's `message` lacks num_output (DIGITS leaves that of the last layer to the data set)."""
    return f"num_output is missing, it must be at least 1; in the file, or by --set {param.name}.{message}.num_output=N"


def exporting() -> bool:
    """Whether torch.export traces (torch.compile does not: it leaves its graph where values are looked at)."""
    return torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()


def values_known(blob: Tensor) -> bool:
    """Whether a blob has values to look at: it has none while shapes are inferred, or torch.export traces."""
    return not (blob.is_meta or exporting())


@dataclass(frozen=True)
class Context:
    """What a layer knows of the net around it.

    `phase` is 0 for TRAIN and 1 for TEST; `fork` is the Caffe whose rules the net follows. `relative_to` is the path of
    the prototxt, None for a net made in memory. `fill` is False where a weight file is about to bring the blobs'
    values: they hold anything until then. `device` is where blobs are made: "meta" where shapes alone are asked for,
    None where torch makes tensors. `frozen_norms`: batch normalization uses its stored statistics, in TRAIN too, and
    nothing of it learns. `fixed_point`: the net has layers that compute in Xilinx' fixed point.
    """

    phase: int
    fork: Fork = Fork.BVLC
    relative_to: str | None = None
    fill: bool = True
    device: str | None = None
    frozen_norms: bool = False
    fixed_point: bool = False

    beside = RenamedAttribute("relative_to")


class View(NamedTuple):
    """What a pixel of a layer's top is made from: (h, w) in pixels of its bottom.

    `span`: the window that a value of the top depends on; None is the whole plane. `stride`: how far the windows of
    neighbors are apart, below 1 where a plane is enlarged.
    """

    span: tuple[int, int] | None = (1, 1)
    stride: tuple[float, float] = (1.0, 1.0)


class Layer(nn.Module):
    """One Caffe layer.

    A subclass checks its parameters and makes its blobs in ``__init__`` and
    computes its tops in ``forward``. It keeps nothing else that depends on the
    shapes of the bottoms, so one layer serves every input size. ``forward``
    takes one tensor a bottom and returns one tensor, or a tuple where the layer
    has several tops; it also runs on ``meta`` tensors, which is how shapes are
    inferred. What forward needs of `param` is best read in ``__init__``:
    torch.compile cannot look into messages and would leave its graph there.

    Attributes:
        type: the type string of the prototxt, set by ``@register``.
        bottoms, tops: least and greatest count allowed; ``None`` is no limit.
        blob_names: parameter names in Caffe's blob order.
        channel_affine: whether at inference it may be a x + b with constants a and b a channel, which a layer with
            weights can take in.
        chooses: whether its first top is a choice (an index, boxes), which one rounding more or less can change.
        class_axis: of a loss: the axis of the scores along which the classes lie; None where its settings state it.
        decodes_priors: whether it makes boxes of what SSD predicts for priors; targets cut it off or have their own.
        deploy_head: of a loss: the layer type that makes probabilities of the scores it reads; "" where none does.
        detection_head: whether it may lie between SSD's convolutions and its detections, and only moves or scales what
            they predict.
        follows_iteration: whether what it computes depends on the iteration of the run, which the solver sets as
            `iteration` before the passes of each.
        frees_top: whether its top is memory of its own which its backward does not read, so that the next layer may
            write over it.
        gives_detections: whether its first top has rows [image, class, score, xmin, ymin, xmax, ymax], one a detection.
        gives_shares: whether its tops are shares of 1, of which a small one counts no more than a great one.
        index_bottoms: bottoms, by place, that hold indices of rows or items.
        keeps_forward: whether Caffe's backward works from what forward drew or measured (a mask, statistics, a state, a
            difference) alone, and not from what the bottoms hold by then.
        iteration: that of the run, where it follows it; 0 outside of a solver.
        judges_all: whether all its bottoms may be what the net computes; of other losses only the first one is.
        keeps_pixels: whether a pixel of a top is made at the place of the same pixel of the bottoms.
        mask_top: which top, by place, holds the positions of maxima; None where none does.
        measures: whether it only measures or records what the net computes, so that a deployed net goes without it.
        mixes_items: why its bottoms' first axis is no batch of items that it treats each by itself; "" where it is.
        precision: what it makes of a net's wish for 16 bits.
        not_exported: what it does that has no form in an exported file ("computes metrics"); "" where it has one.
        remembers: attributes, besides the blobs, that one pass leaves for the next: tensors, numbers, truth values.
            What a layer draws at random comes from torch's default generator, which a run remembers for all of them.
        reads_shapes_alone: whether its tops depend on its bottoms' shapes, and not on their values.
        writes_files: whether it writes files as it computes; of several processes that train, the first alone does.
        untraceable: why torch.export cannot follow what it computes; "" where it can.
        unbatched: bottoms, by place, that are the same for all items and have no batch (an SSD's priors).
        bottom_names: of the blobs it reads.
        variable_rows: whether the number of rows (axis 0) of its tops depends on values.
        weighted: whether its channels (axis 1) are sums with weights, and a bias where it has one.
        top_count: how many tops the prototxt names (some layers compute more on request).
    """

    type: ClassVar[str] = ""  # type: ignore[assignment]  # hides Module.type(dtype), which no one needs besides .to()
    bottoms: ClassVar[tuple[int, int | None]] = (1, 1)
    tops: ClassVar[tuple[int, int | None]] = (1, 1)
    is_loss: ClassVar[bool] = False
    channel_affine: ClassVar[bool] = False
    chooses: ClassVar[bool] = False
    class_axis: ClassVar[int | None] = None
    decodes_priors: ClassVar[bool] = False
    deploy_head: ClassVar[str] = ""
    detection_head: ClassVar[bool] = False
    follows_iteration: ClassVar[bool] = False
    frees_top: ClassVar[bool] = False
    gives_detections: ClassVar[bool] = False
    gives_shares: ClassVar[bool] = False
    index_bottoms: ClassVar[tuple[int, ...]] = ()
    iteration: int = 0
    judges_all: ClassVar[bool] = False
    keeps_forward: ClassVar[bool] = False
    keeps_pixels: ClassVar[bool] = False
    mask_top: ClassVar[int | None] = None
    measures: ClassVar[bool] = False
    mixes_items: str = ""
    precision: Precision = Precision.SINGLE
    not_exported: ClassVar[str] = ""
    remembers: tuple[str, ...] = ()
    reads_shapes_alone: ClassVar[bool] = False
    writes_files: bool = False
    untraceable: str = ""
    unbatched: ClassVar[tuple[int, ...]] = ()
    variable_rows: bool = False
    weighted: ClassVar[bool] = False

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__()
        self.param = param
        self.context = context
        self.bottom_names = tuple(param.bottom)
        self.top_count = max(1, len(param.top))
        self.blob_names: list[str] = []
        self._fillers: dict[str, pb.FillerParameter] = {}
        self._unfilled: dict[str, pb.FillerParameter] = {}
        self._views: dict[str, Shape] = {}
        self.train(context.phase == TRAIN)
        self._check_count("bottom", len(bottom_shapes), self.bottoms)
        self._check_count("top", len(param.top), self.tops)

    def _check_count(self, what: str, have: int, limits: tuple[int, int | None]) -> None:
        least, most = limits
        if have < least or (most is not None and have > most):
            if least == most:
                want = str(least)
            else:
                want = f"at least {least}" if most is None else f"{least} to {most}"
            raise LayerError(f"{self.type} takes {want} {what} blob(s), this layer has {have}")

    def refuse_in_place(self) -> None:
        """For layers that Caffe refuses to run in place: a prototxt that asks for it would work nowhere else."""
        for name in self.param.top:
            if name in self.param.bottom:
                raise LayerError(f"{self.type} cannot work in place; give its top another name than {name!r}")

    def add_blob(
        self, name: str, shape: Shape, filler: pb.FillerParameter | None = None, *, learned: bool = True
    ) -> nn.Parameter:
        """Register the next blob (Caffe's order) as parameter `name`, filled by a FillerParameter.

        Without a filler it holds zeros, as Caffe's default constant filler gives.
        `learned` False is for statistics that backward never touches.
        """
        make = torch.zeros if filler is None else torch.empty
        values = make(shape, device=self.context.device)
        blob = nn.Parameter(values, requires_grad=learned)
        self.register_parameter(name, blob)
        self.blob_names.append(name)
        if filler is not None:
            self._fillers[name] = self._unfilled[name] = filler
            if self.context.fill:
                self.fill_blobs()
        return blob

    @torch.no_grad()
    def fill_blobs(self) -> None:
        """Give blobs that have none their initial values.

        Raises:
            LayerError: a filler does not suit its blob.
        """
        for name, filler in self._unfilled.items():
            try:
                fill(getattr(self, name), filler)
            except FillerError as error:
                raise LayerError(f"{name}: {error}") from None
        self._unfilled.clear()

    def needs_training(self, name: str) -> bool:
        """Whether the initial values of blob `name` mean nothing: drawn by chance, or weights that no filler is for."""
        filler = self._fillers.get(name)
        if filler is None:
            return False
        return filler.type in DRAWN or (name.endswith("weight") and not filler.ListFields())

    def share_blob(self, name: str, parameter: nn.Parameter) -> None:
        """Compute with another layer's parameter as blob `name`, in the shape that the blob has here."""
        shape = tuple(getattr(self, name).shape)
        self._parameters[name] = parameter
        self._views.pop(name, None)
        if parameter.shape != shape:
            self._views[name] = shape
        self.blob_given(name)

    def __getattr__(self, name: str) -> Tensor | nn.Module:
        """What torch gives, a shared parameter in this layer's own shape."""
        parameters = self.__dict__.get("_parameters")
        if parameters is None or name not in parameters:
            return super().__getattr__(name)
        value: nn.Parameter = parameters[name]
        views: dict[str, Shape] = self.__dict__["_views"]
        return value.view(views[name]) if name in views else value

    def blob_given(self, name: str) -> None:
        """Blob `name` has its values from elsewhere: a weight file, or the layer whose blob it shares."""
        self._unfilled.pop(name, None)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: Any) -> None:
        """What torch calls for each module in ``load_state_dict``: blobs from there are as those from a weight file."""
        super()._load_from_state_dict(state_dict, prefix, *others)
        given = [name for name in self.blob_names if prefix + name in state_dict]
        for name in given:
            self.blob_given(name)
        if given:
            self.weights_loaded()

    @classmethod
    def passes_on(cls, param: pb.LayerParameter) -> bool:
        """Whether its first top is its first bottom as it is in TEST, so that a net for deployment goes without it.

        Of its other bottoms and tops the former are labels and the latter forms of them.
        """
        return False

    def affine(
        self, parts: Mapping[str, np.ndarray], shape: Shape, running_statistics: bool = False
    ) -> tuple[np.ndarray, np.ndarray] | str:
        """a and b, (C) each, of the a x + b that a layer with `channel_affine` computes at inference.

        Args:
            parts: its blobs by name, float64 and flat.
            shape: of the bottom, whose axis 1 are the channels.
            running_statistics: go by the stored statistics where the layer would go by each batch's.

        Returns:
            In their place why it computes something else.
        """
        return "does not scale by one value a channel (axis 1)"

    def fields(self, slot: int) -> list[tuple[Any, bool]]:
        """Parts of a top that have a scale of their own, as indices into it, and whether they number something.

        What numbers something (an index, a label, a position) is equal or wrong, other values are near or far.
        """
        if self.gives_detections and slot == 0:
            return [((..., slice(0, 2)), True), ((..., 2), False), ((..., slice(3, 7)), False)]
        return [(..., (self.chooses and slot == 0) or slot == self.mask_top)]

    def sample_bottom(
        self, place: int, bottoms: Sequence[Shape], tops: Sequence[Shape], rng: np.random.Generator
    ) -> np.ndarray | None:
        """Random values for a bottom, where not any number is a valid one (indices, masks, regions); else None.

        Args:
            place: of the bottom, whose shape the values have.
            bottoms, tops: shapes of all of them.
        """
        return None

    def axis_index(self, axis: int, shape: Shape, name: str = "axis") -> int:
        """The axis of a blob of that shape, counted from the front (Caffe also counts from the end, with negatives)."""
        if not -len(shape) <= axis < len(shape):
            raise LayerError(f"{name} {axis} is not one of the {len(shape)} axes of a blob of shape {tuple(shape)}")
        return axis % len(shape)

    @property
    def blobs(self) -> list[nn.Parameter]:
        """The layer's parameters in Caffe's blob order."""
        return [getattr(self, name) for name in self.blob_names]

    def adapt_blobs(self, blobs: list[np.ndarray]) -> list[np.ndarray]:
        """Bring the blobs of a weight file into this layer's layout (batch normalization has several)."""
        return blobs

    def check_files(self) -> None:
        """Read what forward will need of files, for those who are about to run the net for long.

        Raises:
            CaffeCompatError: a file cannot be read.
        """

    def weights_loaded(self) -> None:
        """Called after blobs were copied in from a file, or a state_dict."""

    def state(self) -> State:
        """What it remembers, for a run that goes on in another process (`caffecompat.resumable.Resumable`)."""
        values = {name: getattr(self, name) for name in self.remembers}
        return {name: value.clone() if isinstance(value, Tensor) else value for name, value in values.items()}

    def restore(self, state: State) -> Sequence[str]:
        """Remember what `state` gave; what differs from then."""
        for name in self.remembers:
            value, before = state[name], getattr(self, name)
            setattr(self, name, torch.as_tensor(value).to(before) if isinstance(before, Tensor) else value)
        return []

    def default_loss_weight(self, top_index: int) -> float:
        """Weight of a top in the objective where the prototxt names none: 1 for a loss layer's first top."""
        return 1.0 if self.is_loss and top_index == 0 else 0.0

    def needs_gradient(self, bottom_index: int) -> bool:
        """Whether backward can reach that bottom at all (labels: no)."""
        return True

    def view(self, bottom: Shape, top: Shape) -> View | None:
        """The view of the first top on a bottom, both (N, C, H, W); None where pixels are no pixels of the bottom's.

        Here a top as large as the bottom is made pixel by pixel, and one of another size is a resized picture.
        """
        if bottom[0] != top[0] or 0 in top:
            return None
        return View((1, 1), (bottom[2] / top[2], bottom[3] / top[3]))

    def macs(self, bottom_shapes: Sequence[Shape], top_shapes: Sequence[Shape]) -> int:
        """Multiply-accumulates of one forward pass."""
        return 0
