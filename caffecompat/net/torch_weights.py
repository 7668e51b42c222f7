"""Weights of a torch model for a net: which module is which layer, and its tensors as Caffe's blobs.

Torch keeps a weight and a bias under a module's name (``layer1.0.conv1.weight``), and four tensors for a batch
normalization; Caffe has blobs by layer, batch normalization in one of several arrangements, or in two layers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from caffecompat.errors import CaffeCompatError
from caffecompat.layers.bn import BN
from caffecompat.layers.norm_blobs import LAYOUTS
from caffecompat.layers.normalization import BatchNorm
from caffecompat.net.build import NetLayer
from caffecompat.net.net import Net

__all__ = ["NameMap", "guess_map", "mapped_blobs", "read_map", "read_state", "write_map"]

State = Mapping[str, np.ndarray]
_STATISTICS = ("running_mean", "running_var")
_SHORTCUT = re.compile(r"branch1(?![0-9])|downsample|shortcut|proj|skip|match|identity", re.IGNORECASE)
_WRAPPINGS = ("state_dict", "model", "model_state_dict", "net", "params")


@dataclass
class NameMap:
    """Which module of the torch model each layer gets its weights from.

    Attributes:
        pairs: layer -> module, in net order.
        shapes: of what a layer gets, for people.
        without: layers with parameters that got none.
        unused: modules that no layer took.
        doubts: where the order of the modules was all there was to go by, and they are not as many as the layers.
    """

    pairs: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, str] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """As the map's file has it, and for people."""
        width = max((len(layer) for layer in self.pairs), default=0)
        second = max((len(module) for module in self.pairs.values()), default=0)
        lines = [
            f"{layer.ljust(width)} <- {module.ljust(second)}  # {self.shapes[layer]}"
            for layer, module in self.pairs.items()
        ]
        lines += [f"# no weights for layer: {layer}" for layer in self.without]
        lines += [f"# not used: {module}" for module in self.unused]
        return [*lines, *(f"# look here: {doubt}" for doubt in self.doubts)]


def read_state(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a torch checkpoint (.pt, .pth), .safetensors or .npz, by name.

    Pickles are read with ``weights_only``: nothing in the file is executed. A state_dict inside a dictionary
    ("state_dict", "model", ...) is found, and "module." in front of every name is taken off.

    Raises:
        CaffeCompatError: the file is no such thing.
    """
    name = os.fspath(path)
    if name.endswith((".safetensors", ".npz")):
        from caffecompat.formats.archives import read_archive

        arrays = read_archive(path)
    else:
        arrays = _read_checkpoint(name)
    if arrays and all(key.startswith("module.") for key in arrays):
        arrays = {key.removeprefix("module."): values for key, values in arrays.items()}
    return arrays


def _read_checkpoint(name: str) -> dict[str, np.ndarray]:
    import torch

    try:
        content: Any = torch.load(name, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CaffeCompatError(f"{name}: no such file") from None
    except Exception as problem:  # torch raises whatever its unpickler and zip reader do
        raise CaffeCompatError(
            f"{name}: cannot be read as a state_dict ({str(problem).splitlines()[0]}); a file with a whole model in it "
            "must be saved anew: torch.save(model.state_dict(), 'weights.pth')"
        ) from None
    for key in _WRAPPINGS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise CaffeCompatError(f"{name}: holds a {type(content).__name__}, expected a state_dict")
    return {
        key: (values.float() if values.is_floating_point() else values).numpy()
        for key, values in content.items()
        if isinstance(values, torch.Tensor)
    }


# -------------------------------------------------------------------------------------------------- guessing


def _modules(state: State) -> dict[str, dict[str, np.ndarray]]:
    """Tensors by module, in the state_dict's order."""
    modules: dict[str, dict[str, np.ndarray]] = {}
    for key, values in state.items():
        module, _, name = key.rpartition(".")
        if name != "num_batches_tracked":
            modules.setdefault(module, {})[name] = values
    return modules


def _is_norm(tensors: Mapping[str, np.ndarray]) -> bool:
    return all(name in tensors for name in _STATISTICS)


def _is_norm_layer(layer: NetLayer) -> bool:
    return isinstance(layer.module, BatchNorm | BN)


def guess_map(net: Net, state: State) -> NameMap:
    """Match layers and modules: by equal names, then in order by equal shapes.

    A layer and a module that both look like a residual block's shortcut by their names (branch1, downsample, ...) go
    together, and only they. A batch normalization goes where the layer before it went: to the next one of its size in
    the state_dict's order. A Scale behind it goes with it.
    """
    modules = _modules(state)
    found = NameMap()
    free = {name: tensors for name, tensors in modules.items() if not _is_norm(tensors)}
    layers = [layer for layer in net.layers if layer.slots and not _is_norm_layer(layer)]
    layers = [layer for layer in layers if _norm_before(net, layer) is None]
    chosen: dict[str, str] = {}
    for exact in (True, False):
        for layer in layers:
            if layer.name in chosen:
                continue
            match = next((name for name, tensors in free.items() if _suits(layer, name, tensors, exact)), None)
            if match is not None:
                chosen[layer.name] = match
                del free[match]
    norms = [name for name, tensors in modules.items() if _is_norm(tensors)]
    order = list(modules)
    for layer in net.layers:
        if _is_norm_layer(layer):
            match = _norm_module(net, layer, chosen, norms, modules, order)
            if match is not None:
                chosen[layer.name] = match
                norms.remove(match)
    for layer in net.layers:
        before = _norm_before(net, layer)
        if before is not None and before.name in chosen:
            chosen[layer.name] = chosen[before.name]
        if layer.name in chosen:
            found.pairs[layer.name] = chosen[layer.name]
            found.shapes[layer.name] = _shapes_text(modules[chosen[layer.name]])
        elif layer.slots and any(slot.owner is None for slot in layer.slots):
            found.without.append(layer.name)
    found.unused = [name for name in modules if name not in chosen.values()]
    found.doubts = _doubts(found, layers, modules)
    return found


def _shapes_text(tensors: Mapping[str, np.ndarray]) -> str:
    if _is_norm(tensors):
        return f"normalization of {tensors['running_mean'].size}"
    return ", ".join("x".join(map(str, values.shape)) or "scalar" for values in tensors.values())


def _doubts(found: NameMap, layers: Sequence[NetLayer], modules: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
    """Where order decided between modules or layers of one shape, of which some are left over."""
    doubts = []
    for module in found.unused:
        fitting = [
            layer.name
            for layer in layers
            if layer.name in found.pairs
            and _suits(layer, module, modules[module], False)
            and _plain(found.pairs[layer.name]) != _plain(layer.name)
        ]
        if fitting:
            doubts.append(f"{module} is left over, but its shapes fit {_some(fitting)}, too")
    for name in found.without:
        layer = next((layer for layer in layers if layer.name == name), None)
        taken = [
            module
            for other, module in found.pairs.items()
            if layer is not None and _plain(other) != _plain(module) and _suits(layer, module, modules[module], False)
        ]
        if taken:
            doubts.append(f"{name} got nothing, but the shapes of {_some(taken)} fit it, too")
    return doubts


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _plain(name: str) -> str:
    return re.sub(r"\W|_", "", name).lower()


def _suits(layer: NetLayer, name: str, tensors: Mapping[str, np.ndarray], exact: bool) -> bool:
    if exact and _plain(name) != _plain(layer.name):
        return False
    if not exact and bool(_SHORTCUT.search(layer.name)) != bool(_SHORTCUT.search(name)):
        return False
    return isinstance(_as_blobs(layer, tensors), list)


def _norm_before(net: Net, layer: NetLayer) -> NetLayer | None:
    """The BatchNorm without a scale of its own that a Scale completes."""
    if layer.type != "Scale" or len(layer.bottoms) != 1 or not layer.slots:
        return None
    value = net.graph.nodes[layer.index].bottoms[0]
    maker = net.layers[value.node] if value is not None else None
    plain = maker is not None and isinstance(maker.module, BatchNorm) and maker.module.scale is None
    return maker if plain else None


def _norm_module(
    net: Net,
    layer: NetLayer,
    chosen: Mapping[str, str],
    norms: Sequence[str],
    modules: Mapping[str, Mapping[str, np.ndarray]],
    order: Sequence[str],
) -> str | None:
    """The normalization for a layer: of its own name, else the next one behind what the layer before it got."""
    fitting = [name for name in norms if isinstance(_as_blobs(layer, modules[name]), list)]
    same = [name for name in fitting if _plain(name) == _plain(layer.name)]
    if same:
        return same[0]
    value = net.graph.nodes[layer.index].bottoms[0]
    before = chosen.get(net.layers[value.node].name) if value is not None else None
    if before is not None:
        start = order.index(before)
        behind = [name for name in fitting if order.index(name) > start]
        return behind[0] if behind else None
    return fitting[0] if fitting else None


# ------------------------------------------------------------------------------------------------ conversion


def mapped_blobs(net: Net, state: State, pairs: Mapping[str, str], *, swap_colours: bool = False) -> Mapping[str, Any]:
    """The blobs of the layers in `pairs`, made of their modules' tensors.

    Args:
        swap_colours: turn the weights of the first convolution over 3 channels from RGB, which torch's models take,
            to BGR, which Caffe's data layers give.

    Raises:
        CaffeCompatError: a layer or module does not exist, or does not fit; all of them at once.
    """
    modules = _modules(state)
    layers = {layer.name: layer for layer in net.layers if layer.slots}
    blobs: dict[str, list[np.ndarray]] = {}
    problems = []
    for name, module in pairs.items():
        layer, tensors = layers.get(name), modules.get(module)
        if layer is None or tensors is None:
            lacks = "net has no such layer with weights" if layer is None else "file has no such module"
            problems.append(f"{name} <- {module}: the {lacks}")
            continue
        made = _as_blobs(layer, tensors)
        if not isinstance(made, str):
            blobs[name] = made
            made = _lost(layer, tensors, any(pairs.get(own) == module for own in layers if layers[own].type == "Scale"))
        if made and isinstance(made, str):
            problems.append(f"{name} <- {module}: {made}")
    if problems:
        raise CaffeCompatError("the map does not fit:\n" + "\n".join(f"  {problem}" for problem in problems))
    if swap_colours:
        _swap(net, blobs)
    return blobs


def _lost(layer: NetLayer, tensors: Mapping[str, np.ndarray], has_scale: bool) -> str:
    """What of a batch normalization the layer would leave out, changing the numbers; "" where nothing."""
    if not _is_norm(tensors):
        return ""
    scaled, shifted = np.any(tensors.get("weight", 1) != 1), np.any(tensors.get("bias", 0) != 0)
    if isinstance(layer.module, BN) and not layer.module.keeps_statistics and layer.module.folded:
        return "it has statistics, bn_mode INFERENCE is scale and shift alone; use bn_mode LEARN"
    if isinstance(layer.module, BatchNorm) and layer.module.scale is None and not has_scale and (scaled or shifted):
        return "it has a weight and bias, for which a Scale layer behind this one is missing (bias_term: true)"
    if layer.type == "Scale" and len(layer.slots) == 1 and shifted:
        return "it has a bias, for which this Scale needs bias_term: true"
    return ""


def _swap(net: Net, blobs: dict[str, list[np.ndarray]]) -> None:
    for layer in net.layers:
        if layer.type == "Convolution" and layer.name in blobs:
            if blobs[layer.name][0].shape[1] != 3:
                raise CaffeCompatError(f"the first convolution, {layer.name!r}, does not take 3 channels: no colours")
            blobs[layer.name][0] = np.ascontiguousarray(blobs[layer.name][0][:, ::-1])
            return


def _as_blobs(layer: NetLayer, tensors: Mapping[str, np.ndarray]) -> list[np.ndarray] | str:
    """A module's tensors as a layer's blobs, float32; or why they are not."""
    parts = {name: np.asarray(values, np.float32) for name, values in tensors.items()}
    if _is_norm(parts):
        made: list[np.ndarray] | str = _norm_blobs(layer, parts)
    elif _is_norm_layer(layer):
        made = "a normalization needs running_mean and running_var"
    elif not set(parts) <= {"weight", "bias"} or "weight" not in parts:
        made = f"its tensors are {', '.join(parts)}"
    else:
        weight = parts["weight"]
        if layer.type == "InnerProduct" and getattr(layer.module, "transpose", False):
            weight = weight.T
        if layer.type == "InnerProduct" and weight.ndim == 4 and weight.shape[2:] == (1, 1):
            weight = weight[:, :, 0, 0]
        made = [weight, *([parts["bias"]] if "bias" in parts else [])]
    if isinstance(made, str):
        return made
    if len(made) == 1 and len(layer.slots) == 2:
        made.append(np.zeros(layer.slots[1].shape, np.float32))  # a bias that the model does without
    shapes, wanted = [blob.shape for blob in made], [slot.shape for slot in layer.slots]
    if [np.prod(shape) for shape in shapes] != [np.prod(shape) for shape in wanted] or (
        shapes[0] != wanted[0] and not _is_norm_layer(layer) and layer.type not in ("Scale", "PReLU", "Normalize")
    ):
        return f"shapes {shapes}, the layer has {wanted}"
    return [np.ascontiguousarray(blob).reshape(shape) for blob, shape in zip(made, wanted, strict=True)]


def _norm_blobs(layer: NetLayer, parts: Mapping[str, np.ndarray]) -> list[np.ndarray] | str:
    channels = parts["running_mean"].size
    named = {
        "mean": parts["running_mean"],
        "variance": parts["running_var"],
        "scale": parts.get("weight", np.ones(channels, np.float32)),
        "bias": parts.get("bias", np.zeros(channels, np.float32)),
        "factor": np.ones(1, np.float32),
        "unused": np.ones(1, np.float32),
    }
    if isinstance(layer.module, BatchNorm):
        return [named[name] for name in LAYOUTS[layer.module.layout]]
    if isinstance(layer.module, BN):
        return [named[name] for name in (LAYOUTS["pspnet"] if layer.module.keeps_statistics else ("scale", "bias"))]
    if layer.type == "Scale":
        return [named["scale"], named["bias"]][: len(layer.slots)]
    return f"a batch normalization, the layer is a {layer.type}"


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
