"""Where a quantized net has a FixedNeuron, and which of its layers compute with quantized parameters.

The placement is that of vai_q_caffe 1.2.5: an activation is put on the grid once, after the ReLU and the maximum
pooling that follow its layer, and not at all where a Concat alone reads it, whose own neuron counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from caffecompat.quantize.layer_links import first_of, is_in_place, readers
from caffecompat.quantize.settings import QuantizeError, QuantizeSettings
from caffecompat.schema import pb
from caffecompat.schema.data_layers import data_layer

__all__ = ["FIXED_TYPES", "place_neurons"]

FIXED_TYPES = ("Convolution", "Deconvolution", "InnerProduct", "PReLU", "Scale", "Normalize")
"""Types that become ``<type>Fixed``."""

_CANDIDATES = (
    *FIXED_TYPES, "BatchNorm", "Slice", "Tiling", "GSTiling", "Eltwise", "DeephiResize"
)  # fmt: skip
_RELUS = ("ReLU", "ReLU6")
_AVE = pb.PoolingParameter.AVE

Layers = Sequence[pb.LayerParameter]


def place_neurons(message: pb.NetParameter, settings: QuantizeSettings) -> pb.NetParameter:
    """The net with its neurons, and with the types that compute in fixed point.

    A blob has one neuron at most, the first. None follows an ignored layer.

    Args:
        message: a net without batch normalization, both phases; it stays as it is.

    Raises:
        QuantizeError: a deconvolution is grouped, but not depthwise.
    """
    layers = message.layer
    after: dict[int, list[tuple[str, pb.FixedParameter]]] = {}
    data = _data_layer(layers, settings.input_blob)
    if data is not None and layers[data].name not in settings.ignore_layers:
        bits = settings.bits_of(layers[data].name)[0]
        blob = settings.input_blob if settings.input_blob in layers[data].top else layers[data].top[0]
        after[data] = [(blob, _fixed("OVER_FLOW", bits, follow_data_layer=True))]
    method = pb.FixedParameter.FixedMethod.Name(settings.method)
    for at, blob, bits, sigmoid in _placed(layers, settings, data):
        after.setdefault(at, []).append((blob, _fixed("DIFF_S_SIGMOID" if sigmoid else method, bits)))
    result = pb.NetParameter()
    result.CopyFrom(message)
    result.ClearField("layer")
    seen: set[str] = set()
    for at, layer in enumerate(layers):
        added = result.layer.add()
        added.CopyFrom(layer)
        if layer.type in FIXED_TYPES and layer.name not in settings.ignore_layers and at != data:
            _check_groups(layer)
            added.type += "Fixed"
            plain = layer.type == "Convolution" and method == "DIFF_S_SIGMOID"  # of its neuron alone
            added.fixed_param.CopyFrom(_fixed("DIFF_S" if plain else method, settings.bits_of(layer.name)[1]))
        for blob, param in after.get(at, ()):
            if blob not in seen:
                _add_neuron(result, blob, param)
            seen.add(blob)
    return result


def _add_neuron(net: pb.NetParameter, blob: str, param: pb.FixedParameter) -> None:
    layer = net.layer.add(name=f"{blob}_fixed", type="FixedNeuron", bottom=[blob], top=[blob])
    layer.param.add(lr_mult=0, decay_mult=0)
    layer.fixed_param.CopyFrom(param)


def _data_layer(layers: Layers, blob: str) -> int | None:
    """The place of the last layer that writes the blob, else of the last that feeds the net."""
    makers = [at for at, layer in enumerate(layers) if blob in layer.top]
    fed = [at for at, layer in enumerate(layers) if data_layer(layer.type) is not None and layer.top]
    found = makers or fed
    return found[-1] if found else None


def _fixed(method: str, bits: int, *, follow_data_layer: bool | None = None) -> pb.FixedParameter:
    return pb.FixedParameter(fixed_method=method, bit_width=bits, follow_data_layer=follow_data_layer)


def _check_groups(layer: pb.LayerParameter) -> None:
    param = layer.convolution_param
    if layer.type == "Deconvolution" and param.group not in (1, param.num_output):
        raise QuantizeError(
            f"layer {layer.name!r}: a Deconvolution in {param.group} groups cannot be quantized, only one in a single "
            "group or depthwise (as in the original)"
        )


def _placed(layers: Layers, settings: QuantizeSettings, data: int | None) -> Iterator[tuple[int, str, int, bool]]:
    """(place of the layer that it follows, blob, bits, whether it compares after a sigmoid).

    Bits of a special layer go on to the ReLU or the pooling where its activation rests.
    """
    bits = {layer.name: settings.bits_of(layer.name)[0] for layer in layers}
    resting: set[int] = set()
    for at, layer in enumerate(layers):
        if layer.name in settings.ignore_layers or at == data:
            continue
        sigmoid = _compares_after_sigmoid(layer, settings)
        if at in resting or layer.type == "Concat" or _is_unaligned_average(layers, at, settings):
            yield at, layer.top[0], bits[layer.name], False
        elif layer.type in _CANDIDATES and not _is_single(layers, at):
            yield from ((at, blob, bits[layer.name], sigmoid) for blob in layer.top)
        elif layer.type in _CANDIDATES and (place := _resting_place(layers, at)) == at:
            yield at, layer.top[0], bits[layer.name], sigmoid
        elif layer.type in _CANDIDATES and place is not None:
            resting.add(place)
            if layer.name in settings.special_layers:
                bits[layers[place].name] = bits[layer.name]


def _is_unaligned_average(layers: Layers, at: int, settings: QuantizeSettings) -> bool:
    """Whether a layer is an average pooling that does not take the position of a Concat."""
    aligned = settings.align_concat and _is_single(layers, at) and _feeds_concat(layers, at)
    return layers[at].type == "Pooling" and not _is_other_pooling(layers[at]) and not aligned


def _compares_after_sigmoid(layer: pb.LayerParameter, settings: QuantizeSettings) -> bool:
    """Whether a layer is one of the sigmoided ones: a convolution, under the method of least differences."""
    named = layer.name in settings.sigmoided_layers
    return named and layer.type == "Convolution" and settings.method == pb.FixedParameter.DIFF_S


def _resting_place(layers: Layers, at: int) -> int | None:
    """The place of the layer after which the activation of a candidate comes to rest; None: a Concat's counts."""
    relu = first_of(layers, readers(layers, at), lambda layer: layer.type == "ReLU")
    if relu is None:
        relu = first_of(layers, readers(layers, at), lambda layer: layer.type == "ReLU6")
    if relu is not None:
        if not _is_single(layers, relu):
            return relu
        at = relu
    pool = first_of(layers, readers(layers, at), lambda layer: layer.type == "Pooling")
    if pool is not None and _is_other_pooling(layers[pool]):
        return None if _is_single(layers, pool) and _feeds_concat(layers, pool) else pool
    return None if _feeds_concat(layers, at, through=relu is None) else at


def _is_other_pooling(layer: pb.LayerParameter) -> bool:
    return layer.type == "Pooling" and layer.pooling_param.pool != _AVE


def _is_single(layers: Layers, at: int) -> bool:
    """One top, which one layer at most reads, or first of all one that writes over it."""
    reading = readers(layers, at)
    in_place = bool(reading) and is_in_place(layers[reading[0]])
    return len(layers[at].top) == 1 and (in_place or len(reading) <= 1)


def _feeds_concat(layers: Layers, at: int, *, through: bool = False) -> bool:
    """Whether a Concat reads a layer's top; `through`: also by way of Permute and Flatten."""
    reading = [layers[place].type for place in readers(layers, at)]
    if "Concat" in reading:
        return True
    if not through:
        return False
    permute = first_of(layers, readers(layers, at), lambda layer: layer.type == "Permute")
    if permute is None:
        return False
    flatten = first_of(layers, readers(layers, permute), lambda layer: layer.type == "Flatten")
    return flatten is not None and _feeds_concat(layers, flatten)
