"""Nets written as Python expressions: pycaffe's ``NetSpec``, ``layers`` and ``params``.

>>> from caffecompat.pycaffe.net_spec import NetSpec, layers as L, params as P
>>> n = NetSpec()
>>> n.data = L.Input(shape=dict(dim=[1, 3, 8, 8]))
>>> n.conv = L.Convolution(n.data, kernel_size=3, num_output=4)
>>> n.pool = L.Pooling(n.conv, kernel_size=2, stride=2, pool=P.Pooling.MAX)
>>> [layer.name for layer in n.to_proto().layer]
['data', 'conv', 'pool']

The rules that decide what a net looks like in the end (names, order, where a keyword goes) are those of BVLC's
``net_spec.py``; the same script gives the same prototxt.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from caffecompat.errors import CaffeCompatError
from caffecompat.pycaffe.field_values import field_value, is_list
from caffecompat.schema import pb, pool
from caffecompat.schema.pool import is_repeated
from caffecompat.wording import nearest

__all__ = ["Function", "NetSpec", "SpecError", "Top", "assign_proto", "layers", "param_name_dict", "params", "to_proto"]


class SpecError(CaffeCompatError, AttributeError, KeyError):
    """A name that the schema or the net does not know. Scripts written for pycaffe expect either built-in error."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the repr


@cache
def param_name_dict() -> dict[str, str]:
    """Layer type -> name of its parameter field without ``_param``: ``{"InnerProduct": "inner_product", ...}``.

    A field belongs to the type that its message is named after (``InnerProductParameter``).
    """
    return {
        field.message_type.name.removesuffix("Parameter"): field.name.removesuffix("_param")
        for field in pool.SCHEMA.message_types_by_name["LayerParameter"].fields
        if field.name.endswith("_param") and field.message_type is not None
    }


def to_proto(*tops: Top) -> pb.NetParameter:
    """The NetParameter of all layers that `tops` depend on; every name is generated (``Convolution1``, ...)."""
    return _net(tops, {})


def assign_proto(proto: Any, name: str, value: Any) -> None:
    """Set field `name` of a message from plain Python values.

    A dict fills a message, a list (tuple, array) a repeated field; a single value for a repeated field counts as a
    list of one.

    Raises:
        SpecError: the message has no such field.
        TypeError, ValueError: the field cannot hold the value.
    """
    field = proto.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        raise SpecError(f"{proto.DESCRIPTOR.name} has no field {name!r}{_hint(name, proto.DESCRIPTOR.fields_by_name)}")
    try:
        if is_repeated(field):
            _extend(getattr(proto, name), field, _as_list(value))
        elif isinstance(value, Mapping):
            for key, item in value.items():
                assign_proto(getattr(proto, name), key, item)
        else:
            setattr(proto, name, field_value(field, value))
    except TypeError as error:
        raise TypeError(f"{proto.DESCRIPTOR.name}.{name} = {value!r}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{proto.DESCRIPTOR.name}.{name} = {value!r}: {error}") from None


def _hint(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else ""


def _as_list(value: Any) -> list[Any]:
    return list(value) if is_list(value) else [value]


def _extend(repeated: Any, field: FieldDescriptor, items: Iterable[Any]) -> None:
    for item in items:
        if isinstance(item, Mapping):
            message = repeated.add()
            for key, value in item.items():
                assign_proto(message, key, value)
        else:
            repeated.append(field_value(field, item))


class Top:
    """Output number `n` of the layer `fn`; what layer functions return and take."""

    def __init__(self, fn: Function, n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> pb.NetParameter:
        """The NetParameter of everything that this top depends on."""
        return to_proto(self)

    def _update(self, params: Mapping[str, object]) -> None:
        self.fn._update(params)


class Function:
    """A layer to be: its type, the tops it reads, and its parameters.

    Args:
        type_name: the layer type.
        inputs: the bottoms.
        params: fields of the layer's own parameter message or of LayerParameter, and besides `ntop`, how many tops it
            has (1), and `in_place`, whether it writes over its bottoms (False).

    Raises:
        TypeError: an input is not a Top.
    """

    def __init__(self, type_name: str, inputs: Iterable[Any], params: dict[str, Any]) -> None:
        self.type_name = type_name
        self.inputs = tuple(inputs)
        for index, given in enumerate(self.inputs):
            if not isinstance(given, Top):
                raise TypeError(f"{type_name} input {index} is not a Top (type is {type(given)})")
        self.params = dict(params)
        self.ntop = self.params.pop("ntop", 1)
        self.in_place = self.params.pop("in_place", False)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))

    @property
    def fn(self) -> Function:
        """Itself: a layer without tops takes a top's place in a NetSpec."""
        return self

    def _update(self, params: Mapping[str, object]) -> None:
        self.params.update(params)

    def _message(self, made: Mapping[Function, pb.LayerParameter], names: _Names) -> pb.LayerParameter:
        """The LayerParameter; `made` holds those of all inputs."""
        layer = pb.LayerParameter(type=self.type_name)
        layer.bottom.extend(made[top.fn].top[top.n] for top in self.inputs)
        layer.top.extend(layer.bottom if self.in_place else [names.of(top) for top in self.tops])
        layer.name = names.of(self)
        for key, value in self.params.items():
            try:
                self._assign(layer, key, value)
            except (SpecError, TypeError, ValueError) as error:
                raise type(error)(f"layer {layer.name!r} ({self.type_name}): {error}") from None
        return layer

    def _assign(self, layer: pb.LayerParameter, key: str, value: Any) -> None:
        """Set `key` where the type's own parameter message has it, else in the layer (`include`, `transform_param`)."""
        own = param_name_dict().get(self.type_name)
        if own is not None and not key.endswith("param"):
            param = getattr(layer, f"{own}_param")
            if key in param.DESCRIPTOR.fields_by_name:
                assign_proto(param, key, value)
                return
            if key not in layer.DESCRIPTOR.fields_by_name:
                hint = _hint(key, [*param.DESCRIPTOR.fields_by_name, *layer.DESCRIPTOR.fields_by_name])
                raise SpecError(f"neither {param.DESCRIPTOR.name} nor LayerParameter has a field {key!r}{hint}")
        assign_proto(layer, key, value)


class _Names:
    """Names of tops and layers: those given, and ``Type1``, ``Type2``, ... in the order they are asked for."""

    def __init__(self, given: Mapping[Top | Function, str]) -> None:
        self._names = dict(given)
        self._counts: Counter[str] = Counter()

    def of(self, thing: Top | Function) -> str:
        if thing not in self._names:
            if isinstance(thing, Function) and thing.tops:
                self._names[thing] = self.of(thing.tops[0])  # a layer is called like its first top
            else:
                self._counts[thing.fn.type_name] += 1
                self._names[thing] = f"{thing.fn.type_name}{self._counts[thing.fn.type_name]}"
        return self._names[thing]


def _net(tops: Iterable[Top | Function], given: Mapping[Top | Function, str]) -> pb.NetParameter:
    names = _Names(given)
    made: OrderedDict[Function, pb.LayerParameter] = OrderedDict()
    for top in tops:
        for function in _in_order(top.fn, made):
            made[function] = function._message(made, names)
    return pb.NetParameter(layer=made.values())


def _in_order(last: Function, done: Mapping[Function, pb.LayerParameter]) -> list[Function]:
    """`last` and all it depends on but for `done`, every layer after its inputs; without recursion: nets are deep."""
    order: OrderedDict[Function, None] = OrderedDict()
    waiting = [(last, False)]
    while waiting:
        function, ready = waiting.pop()
        if function in done or function in order:
            continue
        if ready:
            order[function] = None
        else:
            waiting.append((function, True))
            waiting += [(top.fn, False) for top in reversed(function.inputs)]
    return list(order)


class NetSpec:
    """A net under construction: assigned attributes (or items) name tops, in the order of assignment.

    Attributes:
        tops: everything assigned so far by name.
    """

    tops: OrderedDict[str, Any]

    def __init__(self) -> None:
        super().__setattr__("tops", OrderedDict())

    def __setattr__(self, name: str, value: Any) -> None:
        self.tops[name] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy and pickle ask for methods that are not there
            raise AttributeError(name)
        if name not in self.tops:
            raise SpecError(f"the net has no top {name!r}{_hint(name, self.tops)}")
        return self.tops[name]

    def __setitem__(self, key: str, value: Any) -> None:
        self.tops[key] = value

    def __getitem__(self, item: str) -> Top:
        top: Top = self.__getattr__(item)
        return top

    def __delitem__(self, name: str) -> None:
        del self.tops[name]

    def keys(self) -> list[str]:
        """Names of the tops."""
        return list(self.tops)

    def vals(self) -> list[Any]:
        """The tops."""
        return list(self.tops.values())

    def update(self, name: str, params: Mapping[str, object]) -> None:
        """Set more parameters of the layer that makes top `name`."""
        self[name]._update(params)

    def to_proto(self) -> pb.NetParameter:
        """The NetParameter. Layers come in the order of assignment, each after the unnamed ones it needs.

        Raises:
            TypeError: something other than a top was assigned.
            SpecError: a layer has a parameter that the schema does not know.
        """
        for name, top in self.tops.items():
            if not isinstance(top, (Top, Function)):
                hint = "; a layer with several tops is assigned to as many names" if isinstance(top, tuple) else ""
                raise TypeError(f"{name!r} is not a Top (type is {type(top)}){hint}")
        return _net(self.tops.values(), {top: name for name, top in self.tops.items()})


class Layers:
    """``layers.Type(bottoms..., param=...)`` makes a layer and returns its top, its tops, or itself if it has none."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def layer_fn(*args: Any, **kwargs: Any) -> Any:
            fn = Function(name, args, kwargs)
            return fn.tops if fn.ntop > 1 else fn.tops[0] if fn.ntop else fn

        return layer_fn


class Parameters:
    """``params.Pooling.MAX`` is the enum value of that name in ``PoolingParameter``."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(pb, f"{name}Parameter")


layers = Layers()
params = Parameters()
