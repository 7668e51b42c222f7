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

    Args:
        message: a net without batch normalization, both phases; it stays as it is.

    Raises:
        QuantizeError: a deconvolution is grouped, but not depthwise.
    """
    layers = message.layer
    after: dict[int, list[tuple[str, pb.FixedParameter]]] = {}
    data = _data_layer(layers, settings.input_blob)
    for at, blob, maker, sigmoid in _placed(layers, settings):
        after.setdefault(at, []).append((blob, _fixed(settings, maker, neuron=True, sigmoid=sigmoid)))
    result = pb.NetParameter()
    result.CopyFrom(message)
    result.ClearField("layer")
    for at, layer in enumerate(layers):
        added = result.layer.add()
        added.CopyFrom(layer)
        if layer.type in FIXED_TYPES and layer.name not in settings.ignore_layers:
            _check_groups(layer)
            added.type += "Fixed"
            added.fixed_param.CopyFrom(_fixed(settings, layer.name))
        if at == data:
            blob = settings.input_blob if settings.input_blob in layer.top else layer.top[0]
            param = pb.FixedParameter(fixed_method="OVER_FLOW", bit_width=settings.data_bits, follow_data_layer=True)
            _add_neuron(result, blob, param)
        for blob, param in after.get(at, ()):
            _add_neuron(result, blob, param)
    return result


def _add_neuron(net: pb.NetParameter, blob: str, param: pb.FixedParameter) -> None:
    layer = net.layer.add(name=f"{blob}_fixed", type="FixedNeuron", bottom=[blob], top=[blob])
    layer.param.add(lr_mult=0, decay_mult=0)
    layer.fixed_param.CopyFrom(param)


def _data_layer(layers: Layers, blob: str) -> int | None:
    """The place of the last layer that makes the blob, else of the last that feeds the net."""
    makers = [at for at, layer in enumerate(layers) if not layer.bottom and blob in layer.top]
    fed = [at for at, layer in enumerate(layers) if data_layer(layer.type) is not None and layer.top]
    found = makers or fed
    return found[-1] if found else None


def _fixed(settings: QuantizeSettings, layer: str, *, neuron: bool = False, sigmoid: bool = False) -> pb.FixedParameter:
    method = pb.FixedParameter.DIFF_S_SIGMOID if sigmoid else settings.method
    data, weights = settings.bits_of(layer)
    name = pb.FixedParameter.FixedMethod.Name(method)
    return pb.FixedParameter(fixed_method=name, bit_width=data if neuron else weights)


def _check_groups(layer: pb.LayerParameter) -> None:
    param = layer.convolution_param
    if layer.type == "Deconvolution" and param.group not in (1, param.num_output):
        raise QuantizeError(
            f"layer {layer.name!r}: a Deconvolution in {param.group} groups cannot be quantized, only one in a single "
            "group or depthwise (as in the original)"
        )


def _placed(layers: Layers, settings: QuantizeSettings) -> Iterator[tuple[int, str, str, bool]]:
    """(place of the layer that it follows, blob, layer whose bits it has, whether it compares after a sigmoid)."""
    for at, layer in enumerate(layers):
        if layer.name in settings.ignore_layers:
            continue
        sigmoid = layer.name in settings.sigmoided_layers
        if layer.type in _CANDIDATES:
            if not _is_single(layers, at):
                yield from ((at, blob, layer.name, sigmoid) for blob in layer.top)
            elif (place := _resting_place(layers, at)) is not None:
                yield place, layers[place].top[0], layer.name, sigmoid and place == at
        elif layer.type == "Pooling" and layer.pooling_param.pool == _AVE:
            aligned = settings.align_concat and _is_single(layers, at) and _feeds_concat(layers, at)
            if not aligned:
                yield at, layer.top[0], layer.name, sigmoid
        elif layer.type == "Concat":
            yield at, layer.top[0], layer.name, sigmoid


def _resting_place(layers: Layers, at: int) -> int | None:
    """The place of the layer after which the activation of a candidate comes to rest; None: a Concat's counts."""
    relu = first_of(layers, readers(layers, at), lambda layer: layer.type == "ReLU")
    if relu is None:
        relu = first_of(layers, readers(layers, at), lambda layer: layer.type == "ReLU6")
    if relu is not None:
        if not _is_single(layers, relu):
            return relu
        at = relu
    pool = first_of(layers, readers(layers, at), _is_other_pooling)
    if pool is not None:
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
    for permute in (place for place in readers(layers, at) if layers[place].type == "Permute"):
        for flatten in (place for place in readers(layers, permute) if layers[place].type == "Flatten"):
            if any(layers[place].type == "Concat" for place in readers(layers, flatten)):
                return True
    return False
