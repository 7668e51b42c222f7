"""Which module of a torch model is which layer of a net: guessed by names, shapes and order, and as a file to edit."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from caffecompat.errors import CaffeCompatError
from caffecompat.layers.convolution import BaseConvolution
from caffecompat.layers.elementwise import Eltwise
from caffecompat.layers.inner_product import InnerProduct
from caffecompat.layers.normalization import BatchNorm
from caffecompat.layers.scale import Scale
from caffecompat.net.layer import NetLayer, Value
from caffecompat.net.net import Net
from caffecompat.net.torch_fit import FirstLayer, other_first_layer, other_outputs, plain_name
from caffecompat.net.torch_weights import State, as_blobs, is_norm, is_norm_layer, modules_of

__all__ = ["NameMap", "guess_map", "offers", "read_map", "unfilled_layers", "unused_modules", "write_map"]

_SHORTCUT = re.compile(
    r"branch1(?![0-9])|downsample|short|(?<![a-z])sc(?![a-z])|proj|skip|match|identity", re.IGNORECASE
)
_WEIGHTED = (BaseConvolution, InnerProduct)

_Modules = Mapping[str, Mapping[str, np.ndarray]]


@dataclass
class NameMap:
    """Which module of the torch model each layer gets its weights from.

    Attributes:
        pairs: layer -> module, in net order.
        shapes: of what a layer gets, for people.
        without: layers with parameters that got none.
        unused: modules that no layer took -> their tensors, for people.
        uncertain: pairs that shapes alone made; and where the order of the modules was all there was to go by, and they
            are not as many as the layers.
        offers: layers without weights that a module fits but for its input channels or its outputs, and the flag that
            says what to do.
    """

    pairs: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, str] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)
    unused: dict[str, str] = field(default_factory=dict)
    uncertain: list[str] = field(default_factory=list)
    offers: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """As the map's file has it, and for people."""
        width = max((len(layer) for layer in self.pairs), default=0)
        second = max((len(module) for module in self.pairs.values()), default=0)
        lines = [
            f"{layer.ljust(width)} <- {module.ljust(second)}  # {self.shapes[layer]}"
            for layer, module in self.pairs.items()
        ]
        lines += [f"# no weights for layer: {layer}" for layer in self.without]
        lines += [f"# not used: {_shown(module)} ({tensors})" for module, tensors in self.unused.items()]
        lines += [f"# look here: {line}" for line in self.uncertain]
        return [*lines, *(f"# to decide: {line}" for line in self.offers)]


def guess_map(net: Net, state: State) -> NameMap:
    """Match layers and modules: by equal names, then in order by equal shapes, then by shape alone.

    The convolution of a residual block's shortcut, whose shape is often that of the block's last one and whose place
    in the order differs between models, is known by the net's structure, a module by its name (downsample, ...); these
    are matched first, in order. In a net of convolutions with and without a bias, a module must have a bias where the
    layer has, to be matched in order. What is left after that is matched where one layer and one module fit only each
    other, and listed as uncertain. A first convolution over other channels than the model's is left out and offered.
    A batch normalization takes the next module of its size, in the state_dict's order, after the one that the layer
    before it took. A Scale after it takes the same module.
    """
    modules = modules_of(state)
    guess = _Guess(net, modules, other_first_layer(net, state))
    guess.match_weights()
    guess.match_norms()
    found = NameMap(uncertain=guess.uncertain)
    for layer in net.layers:
        before = _norm_before(net, layer)
        if before is not None and before.name in guess.chosen:
            guess.chosen[layer.name] = guess.chosen[before.name]
        if layer.name in guess.chosen:
            found.pairs[layer.name] = guess.chosen[layer.name]
            by_shape = "; guessed by shape" if layer.name in guess.by_shape else ""
            found.shapes[layer.name] = _shapes_text(modules[guess.chosen[layer.name]]) + by_shape
    found.without = unfilled_layers(net, found.pairs)
    found.unused = unused_modules(state, found.pairs)
    found.uncertain += _uncertain(found, guess.layers, modules)
    found.offers = offers(net, state, found.pairs)
    return found


def offers(net: Net, state: State, pairs: Mapping[str, str]) -> list[str]:
    """What can be done about a first convolution over other channels, and layers for another number of classes."""
    first = other_first_layer(net, state)
    without, unused = unfilled_layers(net, pairs), unused_modules(state, pairs)
    classes = other_outputs(net.layers, without, unused, modules_of(state))
    return [*([first.offer()] if first is not None else []), *classes]


def unfilled_layers(net: Net, filled: Mapping[str, object]) -> list[str]:
    """Names of the layers with parameters of their own that are not in `filled`."""
    own = (layer for layer in net.layers if any(slot.owner is None for slot in layer.slots))
    return [layer.name for layer in own if layer.name not in filled]


def unused_modules(state: State, pairs: Mapping[str, str]) -> dict[str, str]:
    """The modules that no pair names, with the names and shapes of their tensors."""
    taken = set(pairs.values())
    return {
        module: ", ".join(f"{name} {_shape_text(values)}" for name, values in tensors.items())
        for module, tensors in modules_of(state).items()
        if module not in taken
    }


class _Guess:
    """Layers and modules that are matched step by step.

    Attributes:
        layers: those with weights that are no normalizations, nor a Scale that completes one, nor `other`.
        chosen: layer -> module.
        some_biased: whether the net has convolutions with a bias, and others without.
        by_shape: layers that shapes alone gave their module.
        uncertain: a line for each of these.
    """

    def __init__(self, net: Net, modules: _Modules, other: FirstLayer | None) -> None:
        self.net, self.modules, self.other = net, modules, other
        layers = [layer for layer in net.layers if layer.slots and not is_norm_layer(layer)]
        left_out = other.layer if other is not None else None
        self.layers = [layer for layer in layers if _norm_before(net, layer) is None and layer.name != left_out]
        biased = {len(layer.slots) == 2 for layer in self.layers if isinstance(layer.module, BaseConvolution)}
        self.some_biased = len(biased) == 2
        self.chosen: dict[str, str] = {}
        self.by_shape: set[str] = set()
        self.uncertain: list[str] = []

    def match_weights(self) -> None:
        left_out = self.other.module if self.other is not None else None
        free = [name for name, tensors in self.modules.items() if not is_norm(tensors) and name != left_out]
        self._in_order(self.layers, free, same_name=True)
        shortcuts = _shortcut_layers(self.net, self.layers)
        named = [name for name in free if _SHORTCUT.search(name)] if shortcuts else []
        self._in_order([layer for layer in self.layers if layer.name in shortcuts], named)
        # Where the model names its shortcuts, those of the net's that got none (sums of feature pyramids) come last.
        layers = sorted(self.layers, key=lambda layer: bool(named) and layer.name in shortcuts)
        self._in_order(layers, [name for name in free if name not in named])
        if not named:
            self._check_order(shortcuts)
        self._by_shape(self.layers, [name for name in free if name not in self.chosen.values()])

    def _check_order(self, shortcuts: set[str]) -> None:
        """Where the model names no shortcut, its order may be another than the net's: report those of one shape."""
        for layer in self.layers:
            module = self.chosen.get(layer.name)
            if layer.name not in shortcuts or module is None or plain_name(module) == plain_name(layer.name):
                continue
            others = [other.name for other in self.layers if other is not layer and self._fits(other, module)]
            if others:
                self.uncertain.append(
                    f"{layer.name} <- {_shown(module)}: a shortcut matched by order, no module is named like one; "
                    f"its shapes fit {_some(others)}, too"
                )

    def match_norms(self) -> None:
        norms = [name for name, tensors in self.modules.items() if is_norm(tensors)]
        layers = [layer for layer in self.net.layers if is_norm_layer(layer)]
        order = list(self.modules)
        for layer in layers:
            match = self._norm_module(layer, norms, order)
            if match is not None:
                self.chosen[layer.name] = match
                norms.remove(match)
        self._by_shape(layers, norms)

    def _in_order(self, layers: Sequence[NetLayer], names: list[str], *, same_name: bool = False) -> None:
        """Give each layer the first of these modules that fits it."""
        left = [name for name in names if name not in self.chosen.values()]
        for layer in layers:
            if layer.name in self.chosen:
                continue
            fitting = (name for name in left if self._fits(layer, name))
            if same_name:
                fitting = (name for name in fitting if plain_name(name) == plain_name(layer.name))
            else:
                fitting = (name for name in fitting if self._as_biased(layer, name))
            match = next(fitting, None)
            if match is not None:
                self.chosen[layer.name] = match
                left.remove(match)

    def _by_shape(self, layers: Sequence[NetLayer], names: Sequence[str]) -> None:
        """Pair what is left where one layer and one module fit each other and nothing else that is left."""
        left = [layer for layer in layers if layer.name not in self.chosen]
        fitting = {layer.name: [name for name in names if self._fits(layer, name)] for layer in left}
        wanted = [name for candidates in fitting.values() for name in candidates]
        for layer, candidates in fitting.items():
            if len(candidates) == 1 and wanted.count(candidates[0]) == 1:
                self.chosen[layer] = candidates[0]
                self.by_shape.add(layer)
                self.uncertain.append(
                    f"{layer} <- {_shown(candidates[0])}: guessed by shape, nothing else is left for it"
                )

    def _fits(self, layer: NetLayer, name: str) -> bool:
        return _suits(layer, self.modules[name])

    def _as_biased(self, layer: NetLayer, name: str) -> bool:
        """Whether both have a bias or neither; where all of the net's convolutions do or do not, that tells nothing."""
        if not self.some_biased or not isinstance(layer.module, BaseConvolution):
            return True
        return ("bias" in self.modules[name]) == (len(layer.slots) == 2)

    def _norm_module(self, layer: NetLayer, norms: Sequence[str], order: Sequence[str]) -> str | None:
        """The normalization for a layer: of its own name, else the next one after what the layer before it got."""
        fitting = [name for name in norms if self._fits(layer, name)]
        same = [name for name in fitting if plain_name(name) == plain_name(layer.name)]
        if same:
            return same[0]
        value = layer.bottom_values[0]
        maker = self.net.layers[value.maker] if value is not None else None
        if maker is not None and maker.name in self.chosen:
            start = order.index(self.chosen[maker.name])
            return next((name for name in fitting if order.index(name) > start), None)
        if maker is not None and isinstance(maker.module, _WEIGHTED):
            return None  # that of a module which is not in the file, or not known yet
        return fitting[0] if fitting else None


# ------------------------------------------------------------------------------------------------- shortcuts


def _shortcut_layers(net: Net, layers: Sequence[NetLayer]) -> set[str]:
    """The convolutions on the shorter way of residual blocks; where the structure shows none, those named so.

    Before an Eltwise two ways come from one value: one over a single layer with weights, one over several.
    """
    found = set()
    for layer in net.layers:
        if not isinstance(layer.module, Eltwise) or len(layer.bottom_values) != 2:
            continue
        first, second = (list(_way_back(net, value)) for value in layer.bottom_values)
        meeting = next((value for value in first if value in second), None)
        ways = [_weighted(net, way[: way.index(meeting)] if meeting else way) for way in (first, second)]
        short, long = sorted(ways, key=len)
        if meeting and len(short) == 1 < len(long):
            found.add(short[0])
    return found or {layer.name for layer in layers if _SHORTCUT.search(layer.name)}


def _way_back(net: Net, value: Value | None) -> Iterator[Value]:
    """A value, the first bottom of the layer that makes it, and so on to the net's input."""
    while value is not None:
        yield value
        bottoms = net.layers[value.maker].bottom_values
        value = bottoms[0] if bottoms else None


def _weighted(net: Net, values: Sequence[Value]) -> list[str]:
    makers = [net.layers[value.maker] for value in values]
    return [maker.name for maker in makers if isinstance(maker.module, _WEIGHTED)]


# ------------------------------------------------------------------------------------------ shapes and names


def _shape_text(values: np.ndarray) -> str:
    return "x".join(map(str, values.shape)) or "scalar"


def _shapes_text(tensors: Mapping[str, np.ndarray]) -> str:
    if is_norm(tensors):
        return f"normalization of {tensors['running_mean'].size}"
    return ", ".join(_shape_text(values) for values in tensors.values())


def _uncertain(found: NameMap, layers: Sequence[NetLayer], modules: _Modules) -> list[str]:
    """Where order decided between modules or layers of one shape, of which some are left over."""
    uncertain = []
    for module in found.unused:
        fitting = [
            layer.name
            for layer in layers
            if layer.name in found.pairs
            and _suits(layer, modules[module])
            and plain_name(found.pairs[layer.name]) != plain_name(layer.name)
        ]
        if fitting:
            uncertain.append(f"{_shown(module)} is left over, but its shapes fit {_some(fitting)}, too")
    for name in found.without:
        layer = next((layer for layer in layers if layer.name == name), None)
        taken = [
            module
            for other, module in found.pairs.items()
            if layer is not None and plain_name(other) != plain_name(module) and _suits(layer, modules[module])
        ]
        if taken:
            uncertain.append(f"{name} got nothing, but the shapes of {_some(taken)} fit it, too")
    return uncertain


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _shown(module: str) -> str:
    return module or "(the model itself)"


def _suits(layer: NetLayer, tensors: Mapping[str, np.ndarray]) -> bool:
    return isinstance(as_blobs(layer, tensors), list)


def _norm_before(net: Net, layer: NetLayer) -> NetLayer | None:
    """The BatchNorm without a scale of its own that a Scale completes."""
    if not isinstance(layer.module, Scale) or len(layer.bottoms) != 1 or not layer.slots:
        return None
    value = layer.bottom_values[0]
    maker = net.layers[value.maker] if value is not None else None
    plain = maker is not None and isinstance(maker.module, BatchNorm) and maker.module.scale is None
    return maker if plain else None


# ------------------------------------------------------------------------------------------------- map files


def write_map(path: str | os.PathLike[str], found: NameMap) -> None:
    """Write the map as text to edit: a line 'layer <- module' for each pair, comments after ' #'."""
    from caffecompat.formats.atomic import atomic_write

    with atomic_write(path) as file:
        file.write("\n".join(["# layer <- module of the torch model", *found.lines(), ""]).encode())


def read_map(path: str | os.PathLike[str]) -> dict[str, str]:
    """The pairs of a map's file.

    Raises:
        CaffeCompatError: it cannot be read, or a line is no pair.
    """
    pairs = {}
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise CaffeCompatError(f"{os.fspath(path)}: cannot be read: {problem}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        layer, arrow, module = line.partition("<-")
        module = module.partition(" #")[0]
        if not arrow or not layer.strip() or not module.strip():
            raise CaffeCompatError(f"{os.fspath(path)}:{number}: expected 'layer <- module', read {line.strip()!r}")
        pairs[layer.strip()] = module.strip()
    return pairs
