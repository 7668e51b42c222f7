"""Weights of a torch model for a net: its tensors by module, and as Caffe's blobs.

Torch keeps a weight and a bias under a module's name (``layer1.0.conv1.weight``), and four tensors for a batch
normalization; Caffe has blobs by layer, batch normalization in one of several arrangements, or in two layers.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from caffecompat.errors import CaffeCompatError, brief
from caffecompat.layers.activation import PReLU
from caffecompat.layers.bn import BN
from caffecompat.layers.convolution import Convolution
from caffecompat.layers.inner_product import InnerProduct
from caffecompat.layers.norm_blobs import LAYOUTS
from caffecompat.layers.normalization import BatchNorm
from caffecompat.layers.normalize import Normalize
from caffecompat.layers.scale import Scale
from caffecompat.net.layer import NetLayer
from caffecompat.net.net import Net
from caffecompat.wording import few

__all__ = ["State", "as_blobs", "is_norm", "is_norm_layer", "mapped_blobs", "modules_of", "read_state"]

State = Mapping[str, np.ndarray]
_STATISTICS = ("running_mean", "running_var")
_WRAPPINGS = ("state_dict", "model", "model_state_dict", "net", "params")


def read_state(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a torch checkpoint (.pt, .pth), .safetensors or .npz, by name.

    Pickles are read with ``weights_only``: nothing in the file is executed. A state_dict inside a dictionary
    ("state_dict", "model", ...) is found, those of several parts get the parts' names, and "module." in front of every
    name is removed. A safetensors file does not keep the modules' order; it is restored as far as names show.

    Raises:
        CaffeCompatError: the file is no such thing.
    """
    name = os.fspath(path)
    if name.endswith((".safetensors", ".npz")):
        from caffecompat.formats.archives import read_archive

        arrays = read_archive(path)
        if name.endswith(".safetensors"):
            arrays = _in_model_order(arrays)
    else:
        arrays = _read_checkpoint(name)
    if arrays and all(key.startswith("module.") for key in arrays):
        arrays = {key.removeprefix("module."): values for key, values in arrays.items()}
    return arrays


def _read_checkpoint(name: str) -> dict[str, np.ndarray]:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about torch's own code and the pickle's age
            content: Any = torch.load(name, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CaffeCompatError(f"{name}: no such file") from None
    except pickle.UnpicklingError as problem:
        raise CaffeCompatError(f"{name}: {_not_loaded(problem)}") from None
    except Exception as problem:  # torch raises whatever its unpickler and zip reader do
        raise CaffeCompatError(f"{name}: cannot be read as a state_dict ({brief(problem)})") from None
    for key in _WRAPPINGS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise CaffeCompatError(f"{name}: holds a {type(content).__name__}, expected a state_dict")
    keys = [str(key) for key in content]
    if not any(isinstance(values, torch.Tensor) for values in content.values()):
        # Parts of a model by name, each a state_dict.
        parts = {key: part for key, part in content.items() if isinstance(part, dict)}
        content = {f"{key}.{name}": values for key, part in parts.items() for name, values in part.items()}
    tensors = {str(key): values.detach() for key, values in content.items() if isinstance(values, torch.Tensor)}
    if not tensors:
        found = f"only {few(keys)}" if keys else "nothing"
        raise CaffeCompatError(f"{name}: holds no tensors, expected a state_dict; found {found}")
    unreal = [key for key, values in tensors.items() if values.is_complex()]
    if unreal:
        raise CaffeCompatError(f"{name}: {few(unreal)}: complex numbers, which no layer has; expected real ones")
    try:
        return {key: (values.float() if values.is_floating_point() else values).numpy()
                for key, values in tensors.items()}  # fmt: skip
    except Exception as problem:  # sparse, quantized, on the meta device
        raise CaffeCompatError(f"{name}: holds tensors that are no plain arrays ({brief(problem)})") from None


def _not_loaded(problem: pickle.UnpicklingError) -> str:
    """What is wrong with a pickle that torch does not load; its own text advises to run what is in the file."""
    found = re.search(r"GLOBAL (\S+)", str(problem))
    what = (
        f"holds Python objects ({found[1]}), which are not loaded"
        if found
        else "cannot be read as a state_dict: it is damaged, or holds Python objects, which are not loaded"
    )
    return f"{what}: that could run code of the file. Save the tensors alone: torch.save(model.state_dict(), 'w.pth')"


def _in_model_order(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays whose order is alphabetical, in the order that a model's modules usually have.

    Numbers count as numbers (``layer1.2`` before ``layer1.10``); of the modules that a module has by name, each
    normalization comes after the weights of the same rank: bn1, bn2, conv1, conv2 is conv1, bn1, conv2, bn2.
    """
    modules = modules_of(arrays)
    order = sorted(modules, key=_natural)
    named: dict[str, list[str]] = {}
    for module in order:
        parent, _, own = module.rpartition(".")
        if not own.isdecimal():
            named.setdefault(parent, []).append(module)
    moved: dict[str, str] = {}  # which module comes in the place of another
    for group in named.values():
        norms = [module for module in group if is_norm(modules[module])]
        others = [module for module in group if module not in norms]
        pairs = [module for pair in zip_longest(others, norms) for module in pair if module is not None]
        moved |= dict(zip(group, pairs, strict=True))
    rank = {moved.get(module, module): at for at, module in enumerate(order)}
    return dict(sorted(arrays.items(), key=lambda item: rank.get(item[0].rpartition(".")[0], len(rank))))


def _natural(name: str) -> list[str | int]:
    """A key that sorts the numbers in names as numbers."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", name)]


def modules_of(state: State) -> dict[str, dict[str, np.ndarray]]:
    """Tensors by module, in the state_dict's order; without the counters of batches."""
    modules: dict[str, dict[str, np.ndarray]] = {}
    for key, values in state.items():
        module, _, name = key.rpartition(".")
        if name != "num_batches_tracked":
            modules.setdefault(module, {})[name] = values
    return modules


def is_norm(tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether a module's tensors are those of a batch normalization."""
    return all(name in tensors for name in _STATISTICS)


def is_norm_layer(layer: NetLayer) -> bool:
    """Whether a layer normalizes by stored statistics."""
    return isinstance(layer.module, BatchNorm | BN)


# ------------------------------------------------------------------------------------------------ conversion


def mapped_blobs(net: Net, state: State, pairs: Mapping[str, str], *, swap_colors: bool = False) -> Mapping[str, Any]:
    """The blobs of the layers in `pairs`, made of their modules' tensors.

    Args:
        swap_colors: turn the weights of the first convolution over 3 channels from RGB, which torch's models take,
            to BGR, which Caffe's data layers give.

    Raises:
        CaffeCompatError: a layer or module does not exist, or does not fit; all of them at once.
    """
    modules = modules_of(state)
    layers = {layer.name: layer for layer in net.layers if layer.slots}
    blobs: dict[str, list[np.ndarray]] = {}
    problems = []
    for name, module in pairs.items():
        layer, tensors = layers.get(name), modules.get(module)
        if layer is None or tensors is None:
            lacks = "net has no such layer with weights" if layer is None else "file has no such module"
            problems.append(f"{name} <- {module}: the {lacks}")
            continue
        made = as_blobs(layer, tensors)
        if not isinstance(made, str):
            blobs[name] = made
            made = _lost(
                layer, tensors, any(pairs.get(own) == module for own in layers if isinstance(layers[own].module, Scale))
            )
        if made and isinstance(made, str):
            problems.append(f"{name} <- {module}: {made}")
    if problems:
        raise CaffeCompatError("the map does not fit:\n" + "\n".join(f"  {problem}" for problem in problems))
    if swap_colors:
        _swap(net, blobs)
    return blobs


def _lost(layer: NetLayer, tensors: Mapping[str, np.ndarray], has_scale: bool) -> str:
    """What of a batch normalization the layer would leave out, changing the numbers; "" where nothing."""
    if not is_norm(tensors):
        return ""
    scaled, shifted = np.any(tensors.get("weight", 1) != 1), np.any(tensors.get("bias", 0) != 0)
    if isinstance(layer.module, BN) and not layer.module.keeps_statistics and layer.module.folded:
        return "it has statistics, bn_mode INFERENCE is scale and shift alone; use bn_mode LEARN"
    if isinstance(layer.module, BatchNorm) and layer.module.scale is None and not has_scale and (scaled or shifted):
        return "it has a weight and bias, for which a Scale layer after this one is missing (bias_term: true)"
    if isinstance(layer.module, Scale) and len(layer.slots) == 1 and shifted:
        return "it has a bias, for which this Scale needs bias_term: true"
    return ""


def _swap(net: Net, blobs: dict[str, list[np.ndarray]]) -> None:
    for layer in net.layers:
        if isinstance(layer.module, Convolution) and layer.name in blobs:
            if blobs[layer.name][0].shape[1] != 3:
                raise CaffeCompatError(f"the first convolution, {layer.name!r}, does not take 3 channels: no colors")
            blobs[layer.name][0] = np.ascontiguousarray(blobs[layer.name][0][:, ::-1])
            return


def as_blobs(layer: NetLayer, tensors: Mapping[str, np.ndarray]) -> list[np.ndarray] | str:
    """A module's tensors as a layer's blobs, float32; or why they are not."""
    parts = {name: np.asarray(values, np.float32) for name, values in tensors.items()}
    if is_norm(parts):
        made: list[np.ndarray] | str = _norm_blobs(layer, parts)
    elif is_norm_layer(layer):
        made = "a normalization needs running_mean and running_var"
    elif not set(parts) <= {"weight", "bias"} or "weight" not in parts:
        made = f"its tensors are {', '.join(parts)}"
    else:
        weight = parts["weight"]
        if isinstance(layer.module, InnerProduct):
            weight = weight.T if layer.module.transpose else weight
            weight = weight[:, :, 0, 0] if weight.ndim == 4 and weight.shape[2:] == (1, 1) else weight
        elif isinstance(layer.module, Convolution) and weight.ndim == 2:
            weight = _as_kernels(weight, layer.slots[0].shape)
        made = [weight, *([parts["bias"]] if "bias" in parts else [])]
    if isinstance(made, str):
        return made
    if len(made) == 1 and len(layer.slots) == 2:
        made.append(np.zeros(layer.slots[1].shape, np.float32))  # a bias that the model does without
    shapes, wanted = [blob.shape for blob in made], [slot.shape for slot in layer.slots]
    if [np.prod(shape) for shape in shapes] != [np.prod(shape) for shape in wanted] or (
        shapes[0] != wanted[0] and not is_norm_layer(layer) and not isinstance(layer.module, Scale | PReLU | Normalize)
    ):
        return f"shapes {shapes}, the layer has {wanted}"
    return [np.ascontiguousarray(blob).reshape(shape) for blob, shape in zip(made, wanted, strict=True)]


def _as_kernels(weight: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A linear layer's weight (O, C x k x k) as kernels (O, C, k, k), where it has so many values; else as it is."""
    fits = len(weight) == shape[0] and weight.size == np.prod(shape)
    return weight.reshape(shape) if fits else weight


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
    if isinstance(layer.module, Scale):
        return [named["scale"], named["bias"]][: len(layer.slots)]
    return f"a batch normalization, the layer is a {layer.type}"
