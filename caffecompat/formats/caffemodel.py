"""Binary caffemodels: `NetParameter` messages, of which only names, types and blobs are read.

Reading walks the wire format over a mapped file and remembers where the values lie, so that a caffemodel of
any fork and any size opens in milliseconds: LayerParameter numbers that forks use for different messages are
passed over, and protobuf's limit of 2 GiB does not apply.

Field numbers (BVLC caffe.proto): NetParameter 1 name, 2 layers (V1 and V0), 100 layer;
LayerParameter 1 name, 2 type, 3 bottom, 4 top, 7 blobs, in ENet's and SegNet's fork 45 bn_param;
V1LayerParameter 1 layer (V0), 2 bottom, 3 top, 4 name, 5 type (enum), 6 blobs;
V0LayerParameter 1 name, 2 type, 50 blobs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from caffecompat import glog
from caffecompat.arguments import expect_message
from caffecompat.forks import ForkName, choice_of
from caffecompat.formats.atomic import atomic_write
from caffecompat.formats.blob_proto import WireBlob, blob_pieces, read_blob
from caffecompat.formats.foreign import MappedFile, describe_message
from caffecompat.formats.own_fields import FORK, fork_called
from caffecompat.formats.weights import LayerWeights, WeightFile, WeightsError, open_weights
from caffecompat.schema import pb
from caffecompat.wire import (
    BYTES,
    VARINT,
    Overrun,
    WireError,
    bytes_header,
    read_field,
    string_field,
)
from caffecompat.wording import few

__all__ = ["load_caffemodel", "open_caffemodel", "save_caffemodel"]

_V2_LAYER = 100
_GENERATION = {_V2_LAYER: "V2", 2: "V1"}  # by field number in NetParameter
_NET_FIELDS = {*range(1, 9), _V2_LAYER, 200, 201, FORK}  # 200 and 201: Jacinto's quantization

# By generation: field numbers of name, type and blobs, and the wire type of the type.
_DATA_BLOBS = {"V2": (3, 4), "V1": (2, 3), "V0": (0, 0)}  # field numbers of bottom and top
_LAYOUT = {"V2": (1, 2, 7, BYTES), "V1": (4, 5, 6, VARINT), "V0": (1, 2, 50, BYTES)}
_BN_PARAM, _BN_MODE = 45, 3  # of a V2 layer, and in it: 0 LEARN, 1 INFERENCE


def load_caffemodel(path: str | os.PathLike[str]) -> dict[str, list[np.ndarray]]:
    """The blobs of a caffemodel (binary or HDF5) by layer name, copied into memory of their own.

    Layers without blobs are left out. Values are float32, or float64 where the file has doubles; shapes are as
    stored, so the weights of an old InnerProduct come as (1, 1, N, K).

    Args:
        path: of the file.

    Returns:
        A list of arrays for each layer: of a Convolution, weights (C_out, C_in / group, k, k) and bias (C_out).

    Raises:
        WeightsError: the file is not a caffemodel, is cut short or damaged.

    >>> import caffecompat
    >>> weights = caffecompat.load_caffemodel("net.caffemodel")
    >>> {layer: [blob.shape for blob in blobs] for layer, blobs in weights.items()}
    {'conv': [(4, 3, 3, 3), (4,)], 'fc': [(2, 256)]}
    """
    return open_weights(path).load()


def open_caffemodel(path: str | os.PathLike[str]) -> WeightFile:
    """Open a binary caffemodel: its layers and the shapes of their blobs at once, values when asked for.

    A file of 0 bytes is a net without layers, as protobuf has it; a warning says so.
    All generations are read (V2 `layer`, V1 and V0 `layers`), and the encodings of BVLC and its forks:
    packed and unpacked floats, doubles, NVCaffe's raw_data of 16, 32 and 64 bits.

    Args:
        path: of the file.

    Raises:
        WeightsError: the file is something else, is cut short or damaged; names the layer and the offset.

    >>> import caffecompat
    >>> file = caffecompat.open_caffemodel("net.caffemodel")
    >>> [(layer.name, layer.type, len(layer.blobs)) for layer in file.layers if layer.blobs]
    [('conv', 'Convolution', 2), ('fc', 'InnerProduct', 1)]
    >>> float(file.layers[2].blobs[0].array()[1, 0])
    0.009999999776482582
    """
    file = MappedFile(path, "caffemodel", may_be_empty=True)
    if not file.size:
        glog.warning(f"{file.path}: the file is empty (0 bytes), which is a net without layers: it brings no weights")
        return WeightFile(file.path, "", "V2", 0)
    return _NetReader(file).read()


class _NetReader:
    """Walks a NetParameter; knows where it is when something is wrong."""

    def __init__(self, file: MappedFile) -> None:
        self.file = file
        self.net = WeightFile(file.path, "", "", file.size)
        self.generations: dict[str, None] = {}  # an ordered set
        self.numbers: set[int] = set()
        self.inside = ""

    def read(self) -> WeightFile:
        data, size = self.file.data, self.file.size
        at = 0
        try:
            while at < size:
                self.inside = ""
                number, wire, value, stop = read_field(data, at, size)
                if (number == 1 or number in _GENERATION) and wire != BYTES:
                    raise WireError(f"field {number} of a net cannot have wire type {wire}", at)
                if number == 1:
                    self.net.name = self._text(value, stop)
                elif number in _GENERATION:
                    self._read_layer(value, stop, _GENERATION[number])
                elif number == FORK and wire == BYTES:
                    self.net.trained_as = fork_called(self._text(value, stop))
                self.numbers.add(number)
                at = stop
        except WireError as problem:
            raise self._explain(problem) from None
        if not self.net.layers:
            self._refuse_foreign()
        self.net.format = "+".join(self.generations)
        return self.net

    def _text(self, at: int, end: int) -> str:
        return bytes(self.file.data[at:end]).decode("utf-8", "backslashreplace")

    def _read_layer(self, at: int, end: int, generation: str) -> None:
        """Append the layer between two offsets; a V1 layer may hold a V0 layer, which is the layer then."""
        data = self.file.data
        name_number, type_number, blobs_number, type_wire = _LAYOUT[generation]
        name, kind = "", ""
        blobs: list[WireBlob] = []
        bottom_number, top_number = _DATA_BLOBS[generation]
        bottoms: list[str] = []
        tops: list[str] = []
        bn_param = (0, 0)
        self.inside = f"layer {len(self.net.layers)}"
        while at < end:
            number, wire, value, stop = read_field(data, at, end)
            if generation == "V1" and number == 1 and wire == BYTES:
                self._read_layer(value, stop, "V0")
                return
            expected = type_wire if number == type_number else BYTES
            if number in (name_number, type_number, blobs_number) and wire != expected:
                raise WireError(f"field {number} of a layer cannot have wire type {wire}", at)
            if number == name_number:
                name = self._text(value, stop)
                self.inside = f"layer {name!r}"
            elif number == type_number:
                kind = self._type(generation, value, stop)
            elif number == blobs_number:
                layer = self.inside
                self.inside = where = f"{layer}, blob {len(blobs)}"
                blobs.append(read_blob(self.file, value, stop, where))
                self.net.fork = blobs[-1].fork or self.net.fork
                self.inside = layer
            elif number in (bottom_number, top_number) and wire == BYTES:
                (bottoms if number == bottom_number else tops).append(self._text(value, stop))
            elif number == _BN_PARAM and wire == BYTES and generation == "V2":
                bn_param = value, stop
            at = stop
        self.generations[generation] = None
        mode = self._bn_mode(*bn_param) if kind == "BN" and len(blobs) == 2 else ""
        self.net.layers.append(LayerWeights(name, kind, list(blobs), bottoms, tops, mode))

    def _bn_mode(self, at: int, end: int) -> str:
        """The mode in a bn_param; "" where it is not what ENet's fork writes."""
        mode = 0
        while at < end:
            try:
                number, wire, value, at = read_field(self.file.data, at, end)
            except WireError:
                return ""
            if number == _BN_MODE:
                mode = value if wire == VARINT else -1
        return {0: "LEARN", 1: "INFERENCE"}.get(mode, "")

    def _type(self, generation: str, value: int, stop: int) -> str:
        if generation == "V2":
            return self._text(value, stop)
        from caffecompat.schema.legacy_types import V0_TYPES, V1_TYPES  # old files only: the schema takes its time

        if generation == "V1":
            return V1_TYPES.get(value, f"V1 type {value}")
        kind = self._text(value, stop)
        return V0_TYPES.get(kind, kind)

    def _explain(self, problem: WireError) -> WeightsError:
        """What is wrong, for the person who gave the file."""
        path, size, whole = self.file.path, self.file.size, len(self.net.layers)
        if not whole and not self.inside:
            self._refuse_foreign()
        if isinstance(problem, Overrun) and problem.at + problem.left == size:
            if not self.inside and problem.number in _GENERATION:
                with contextlib.suppress(WireError):  # for the name of the layer that breaks off
                    self._read_layer(problem.at, size, _GENERATION[problem.number])
            return WeightsError(
                f"{path}: the file ends inside {self.inside or 'a field between layers'}: {problem.size} bytes should "
                f"follow offset {problem.at}, {problem.left} do ({whole} layers before it are whole). The file has "
                f"{size} bytes and needs at least {problem.at + problem.size}: its copy or download was cut short, or "
                "the disk was full when it was written; fetch it again"
            )
        where = f" in {self.inside}" if self.inside else f" after {whole} layers"
        return WeightsError(
            f"{path}: damaged, or not a caffemodel: {problem} (offset {problem.at}{where}); fetch the file again"
        )

    def _refuse_foreign(self) -> None:
        what = describe_message(self.file.data)
        if what and what != "a caffemodel":
            raise WeightsError(f"{self.file.path}: this is {what}, not a caffemodel")
        if not self.numbers <= _NET_FIELDS:
            raise WeightsError(f"{self.file.path}: not a caffemodel: it has no layers, but fields that no net has")


def save_caffemodel(
    path: str | os.PathLike[str],
    net: pb.NetParameter,
    blobs: Mapping[str, Sequence[np.ndarray]],
    diffs: Mapping[str, Sequence[np.ndarray]] | None = None,
    *,
    raw: bool = False,
    fork: ForkName | None = None,
) -> None:
    """Write a binary caffemodel that the original Caffe reads.

    Written as Caffe's Net::ToProto and protobuf's C++ serializer do: the net's name, then every layer in the net's
    order, then caffe-jacinto's settings of quantization where the net has them; fields in ascending number, blobs with
    shape and packed float32 (float64 arrays as doubles). The arrays are written one by one, so the file may exceed
    2 GiB (which the original's protobuf refuses to read). An old file stays whole until the new one is complete.

    Args:
        path: of the file to write.
        net: a NetParameter with `layer`s. Blobs of its own and unknown fields are dropped.
        blobs: arrays by layer name, as `load_caffemodel` gives them: of a Convolution, weights
            (C_out, C_in / group, k, k) and bias (C_out); layers that are missing here are written without blobs.
        diffs: gradients, as Caffe stores with ``snapshot_diff: true``; same names, counts and shapes as `blobs`.
        raw: write the blobs as NVCaffe's raw_data, which only NVCaffe and its kin read.
        fork: the one that a person named for the net; stored where every Caffe skips it.

    Raises:
        WeightsError: `blobs` names a layer that is not in the net, or a diff has another shape than its blob.
        WriteError: the file could not be written.

    >>> import caffecompat
    >>> weights = caffecompat.load_caffemodel("net.caffemodel")
    >>> weights["conv"][0] *= 2
    >>> caffecompat.save_caffemodel("twice.caffemodel", caffecompat.read_net("deploy.prototxt"), weights)
    """
    _check(path, net, blobs, diffs)
    named = None if fork is None else choice_of(fork).fork
    with atomic_write(path) as file:
        if net.HasField("name"):
            file.write(string_field(1, net.name))
        for layer in net.layer:
            own = blobs.get(layer.name, ())
            own_diffs = diffs.get(layer.name, ()) if diffs else ()
            for piece in _layer_pieces(layer, own, own_diffs, raw):
                file.write(piece)
        file.write(_quantization(net))
        if named is not None:
            file.write(string_field(FORK, named.name))


def _quantization(net: pb.NetParameter) -> bytes:
    """The settings of a net's fixed point, which caffe-jacinto writes after the layers."""
    settings = type(net)()
    if net.HasField("quantize"):
        settings.quantize = net.quantize
    if net.HasField("net_quantization_param"):
        settings.net_quantization_param.CopyFrom(net.net_quantization_param)
    return bytes(settings.SerializeToString())


def _check(
    path: str | os.PathLike[str],
    net: pb.NetParameter,
    blobs: Mapping[str, Sequence[np.ndarray]],
    diffs: Mapping[str, Sequence[np.ndarray]] | None,
) -> None:
    expect_message(net, "NetParameter", "as read_net gives it")
    names = {layer.name for layer in net.layer}
    strangers = [name for name in blobs if name not in names]
    if strangers:
        raise WeightsError(f"{os.fspath(path)}: weights for layers that are not in the net: {few(strangers)}")
    for name, arrays in [*blobs.items(), *(diffs or {}).items()]:
        for array in arrays:
            if not isinstance(array, (np.ndarray, np.generic)) or array.dtype.kind not in "fiub":
                what = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
                raise WeightsError(f"{os.fspath(path)}: layer {name!r}: expected NumPy arrays of numbers, not {what}")
    for name, arrays in (diffs or {}).items():
        shapes = [array.shape for array in arrays]
        if shapes != [array.shape for array in blobs.get(name, ())]:
            raise WeightsError(f"{os.fspath(path)}: layer {name!r}: diffs of shapes {shapes} do not fit its blobs")


def _layer_pieces(
    layer: pb.LayerParameter, blobs: Sequence[np.ndarray], diffs: Sequence[np.ndarray], raw: bool
) -> Iterator[bytes | memoryview]:
    """A `layer` field of a net, piece by piece: blobs come between the fields below and above number 7."""
    from caffecompat.schema.unknown_fields import without_unknown_fields

    bare = without_unknown_fields(layer)
    bare.ClearField("blobs")
    fields = bare.SerializeToString(deterministic=True)
    cut = _offset_of_field_from(fields, 7)
    written = [blob_pieces(blob, diffs[at] if diffs else None, raw=raw) for at, blob in enumerate(blobs)]
    headers = [bytes_header(7, size) for size, _ in written]
    yield bytes_header(_V2_LAYER, len(fields) + sum(map(len, headers)) + sum(size for size, _ in written))
    yield fields[:cut]
    for header, (_, pieces) in zip(headers, written, strict=True):
        yield header
        yield from pieces
    yield fields[cut:]


def _offset_of_field_from(message: bytes, number: int) -> int:
    """The offset of the first field of at least `number` in a message whose fields are in ascending order."""
    at, end = 0, len(message)
    while at < end:
        found, _, _, stop = read_field(message, at, end)
        if found >= number:
            break
        at = stop
    return at
