"""Nets of 2013 (V0: ``layers { layer { ... } bottom ... }``) to V1 (``layers { type: CONVOLUTION ... }``).

The rules are those of BVLC Caffe's upgrade_proto.cpp. V0 kept the settings of all layer types in one flat message;
``_MOVES`` says where each goes for which type.
"""

from __future__ import annotations

from google.protobuf.message import Message

from caffecompat import glog
from caffecompat.schema import pb
from caffecompat.schema.legacy_types import V0_TYPES, V1_TYPES
from caffecompat.schema.problems import Problem, PrototxtError, SourceLocations
from caffecompat.schema.unknown_fields import carry_unknown_fields

__all__ = ["is_v0", "upgrade_v0"]

_V1_NUMBERS = {name: number for number, name in V1_TYPES.items()}

_WEIGHTED = {"conv": "convolution_param", "innerproduct": "inner_product_param"}
_WINDOWED = {"conv": "convolution_param", "pool": "pooling_param"}
_SOURCES = {"data": "data_param", "images": "image_data_param", "window_data": "window_data_param"}
_FILES = {**_SOURCES, "hdf5_data": "hdf5_data_param"}
_ANY = "any type"

# V0 field -> (name of the field it becomes, {V0 type: message that holds it})
_MOVES: dict[str, tuple[str, dict[str, str]]] = {
    "num_output": ("num_output", _WEIGHTED),
    "biasterm": ("bias_term", _WEIGHTED),
    "weight_filler": ("weight_filler", _WEIGHTED),
    "bias_filler": ("bias_filler", _WEIGHTED),
    "pad": ("pad", _WINDOWED),
    "kernelsize": ("kernel_size", _WINDOWED),
    "group": ("group", {"conv": "convolution_param"}),
    "stride": ("stride", _WINDOWED),
    "pool": ("pool", {"pool": "pooling_param"}),
    "dropout_ratio": ("dropout_ratio", {"dropout": "dropout_param"}),
    "local_size": ("local_size", {"lrn": "lrn_param"}),
    "alpha": ("alpha", {"lrn": "lrn_param"}),
    "beta": ("beta", {"lrn": "lrn_param"}),
    "k": ("k", {"lrn": "lrn_param"}),
    "source": ("source", {**_FILES, "infogain_loss": "infogain_loss_param"}),
    "scale": ("scale", {_ANY: "transform_param"}),
    "meanfile": ("mean_file", {_ANY: "transform_param"}),
    "batchsize": ("batch_size", _FILES),
    "cropsize": ("crop_size", {_ANY: "transform_param"}),
    "mirror": ("mirror", {_ANY: "transform_param"}),
    "rand_skip": ("rand_skip", {"data": "data_param", "images": "image_data_param"}),
    "shuffle_images": ("shuffle", {"images": "image_data_param"}),
    "new_height": ("new_height", {"images": "image_data_param"}),
    "new_width": ("new_width", {"images": "image_data_param"}),
    "concat_dim": ("concat_dim", {"concat": "concat_param"}),
    "det_fg_threshold": ("fg_threshold", {"window_data": "window_data_param"}),
    "det_bg_threshold": ("bg_threshold", {"window_data": "window_data_param"}),
    "det_fg_fraction": ("fg_fraction", {"window_data": "window_data_param"}),
    "det_context_pad": ("context_pad", {"window_data": "window_data_param"}),
    "det_crop_mode": ("crop_mode", {"window_data": "window_data_param"}),
}


def is_v0(net: pb.NetParameter) -> bool:
    """Whether a NetParameter has a layer in V0 form."""
    return any(layer.HasField("layer") for layer in net.layers)


def upgrade_v0(net: pb.NetParameter, locations: SourceLocations) -> list[int]:
    """Rewrite the V0 layers of `net` as V1 layers, in place; padding layers become the ``pad`` of what follows them.

    Returns:
        for each layer that remains, its index in the ``layers`` of before.

    Raises:
        PrototxtError: unknown V0 types, or padding in front of what cannot pad; all at once.
    """
    problems: list[Problem] = []
    stays = _merge_padding(net, locations, problems)
    for index in stays:
        if net.layers[index].HasField("layer"):
            _upgrade_layer(net.layers[index], locations, index, problems)
    if problems:
        raise PrototxtError(problems)
    for index in sorted(set(range(len(net.layers))) - set(stays), reverse=True):
        del net.layers[index]
    return stays


def _merge_padding(net: pb.NetParameter, locations: SourceLocations, problems: list[Problem]) -> list[int]:
    """Give the amount of each padding layer to the layers that read it; indexes of all other layers."""
    maker: dict[str, int] = {}  # blob -> the last layer so far that writes it
    stays = []
    for index, layer in enumerate(net.layers):
        if layer.layer.type != "padding":
            stays.append(index)
        for at, bottom in enumerate(layer.bottom):
            source = net.layers[maker[bottom]] if bottom in maker else None
            if source is None or source.layer.type != "padding":
                continue
            if layer.layer.type not in _WINDOWED or len(layer.bottom) != 1:
                names = f"'{layer.layer.name}' reads the padding layer '{source.layer.name}'"
                text = f"{names}, but only conv and pool with one bottom can pad"
                problems.append(locations.problem("layers", index, text))
            elif len(source.bottom) != 1 or len(source.top) != 1:
                text = f"the padding layer '{source.layer.name}' must have one bottom and one top"
                problems.append(locations.problem("layers", maker[bottom], text))
            else:
                layer.layer.pad = source.layer.pad
                layer.bottom[at] = source.bottom[0]
        for top in layer.top:
            maker[top] = index
    return stays


def _upgrade_layer(layer: pb.V1LayerParameter, locations: SourceLocations, index: int, problems: list[Problem]) -> None:
    old = pb.V0LayerParameter()
    old.CopyFrom(layer.layer)
    layer.ClearField("layer")
    if old.HasField("name"):
        layer.name = old.name
    if old.type in V0_TYPES:
        layer.type = _V1_NUMBERS[V0_TYPES[old.type]]
    elif old.HasField("type"):
        problems.append(locations.problem("layers", index, f"layer '{old.name}': V0 has no layer type '{old.type}'"))
        return
    for repeated in ("blobs", "blobs_lr", "weight_decay"):
        getattr(layer, repeated).extend(getattr(old, repeated))
    carry_unknown_fields(old, layer)
    for descriptor, value in old.ListFields():
        if descriptor.name in _MOVES:
            new_name, holders = _MOVES[descriptor.name]
            holder = holders.get(old.type) or holders.get(_ANY)
            if holder:
                _put(getattr(layer, holder), new_name, value)
            else:
                where = locations.where("layers", index)
                glog.warning(f"{where}: '{descriptor.name}' means nothing to layer '{old.name}' of type '{old.type}'")
    if old.HasField("hdf5_output_param") and old.type == "hdf5_output":
        layer.hdf5_output_param.CopyFrom(old.hdf5_output_param)


def _put(holder: Message, name: str, value: object) -> None:
    """Set a field that may be repeated by now (pad, kernel_size, stride of convolutions) or a message."""
    target = getattr(holder, name)
    if hasattr(target, "append"):
        target.append(value)
    elif hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    else:
        setattr(holder, name, value)
