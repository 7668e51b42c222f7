"""A net as one readable Python file that needs torch alone, and its weights as a state_dict."""

from __future__ import annotations

import builtins
import importlib.util
import inspect
import keyword
import os
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch

from caffecompat.deploy import torch_helpers
from caffecompat.deploy.torch_emission import EMITTERS, CannotEmit, Emitted
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.atomic import atomic_path, atomic_write
from caffecompat.net import Net
from caffecompat.net.build import NetLayer

__all__ = ["TorchSource", "load_source", "make_source", "write_source"]

for _family in ("planes", "values", "weights"):
    import_module(f"caffecompat.deploy.torch_emitters_{_family}")

_WIDTH = 110
_RESERVED = {"self", "torch", "nn", "F", "Tensor", "load", *dir(builtins), *torch_helpers.__all__}


@dataclass
class TorchSource:
    """The text of the file and its state_dict; `inputs` and `outputs` are blob names in order."""

    text: str
    state: dict[str, torch.Tensor]
    inputs: list[str]
    outputs: list[str]


class _Names:
    """Python names for Caffe's: unique, no keyword, nothing that the file uses otherwise."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._names: dict[str, str] = {}

    def __getitem__(self, caffe_name: str) -> str:
        name = self._names.get(caffe_name)
        if name is None:
            name = re.sub(r"\W", "_", caffe_name, flags=re.ASCII) or "_"
            name = f"_{name}" if name[0].isdigit() else name
            name = f"{name}_" if keyword.iskeyword(name) else name
            while name in self._taken:
                name += "_"
            self._taken.add(name)
            self._names[caffe_name] = name
        return name


@dataclass
class _Parts:
    """What the file is put together from."""

    init: list[str] = field(default_factory=list)
    forward: list[str] = field(default_factory=list)
    state: dict[str, torch.Tensor] = field(default_factory=dict)
    helpers: dict[str, None] = field(default_factory=dict)  # an ordered set
    refused: list[str] = field(default_factory=list)


def make_source(net: Net, origin: str = "") -> TorchSource:
    """Write a TEST net, whose weights are loaded, as torch source.

    Modules are named after the layers and variables after the blobs; sizes are those of the net as it stands.

    Args:
        origin: the prototxt's name, for the file's docstring.

    Raises:
        CaffeCompatError: layers of the net have no counterpart; all of them at once.
    """
    parts = _Parts()
    modules, variables = _Names({*dir(torch.nn.Module), *_RESERVED}), _Names(_RESERVED)
    blobs = net.blobs_by_layer()
    blob_names: dict[str, tuple[str, ...]] = {}
    for layer in net.layers:
        if layer.module is None:
            continue
        node = net.graph.nodes[layer.index]
        bottoms = [net.value_shapes[value] for value in node.bottoms if value is not None]
        tops = [net.value_shapes[value] for value in node.tops]
        emitter = EMITTERS.get(layer.type)
        try:
            if emitter is None:
                raise CannotEmit("no counterpart in torch")
            emitted = emitter(layer, blobs.get(layer.name, []), bottoms, tops)
        except CannotEmit as problem:
            parts.refused.append(f"{layer.name} ({layer.type}): {problem}")
            continue
        _add(parts, layer, emitted, modules, variables)
        blob_names[layer.name] = emitted.blobs
        _share(parts, net, layer, blob_names, modules)
    if parts.refused:
        listed = "\n".join(f"  {line}" for line in parts.refused)
        raise CaffeCompatError(f"these layers cannot be written as torch source:\n{listed}")
    return TorchSource(_file(net, parts, variables, origin), parts.state, list(net.fed), list(net.outputs))


def _add(parts: _Parts, layer: NetLayer, emitted: Emitted, modules: _Names, variables: _Names) -> None:
    name = modules[layer.name] if emitted.module else ""
    if emitted.module.startswith("self."):  # a buffer
        parts.init.append(emitted.module.format(name=name))
    elif emitted.module:
        parts.init.append(f"self.{name} = {emitted.module}")
    for key, values in emitted.state.items():
        parts.state[f"{name}.{key}" if key else name] = torch.from_numpy(np.array(values))
    for helper in emitted.helpers:
        for needed in (*torch_helpers.NEEDS.get(helper, ()), helper):
            parts.helpers.setdefault(needed)
    if not layer.tops:
        return
    given = [variables[blob] for blob in layer.bottoms]
    call = emitted.call or f"{{self}}({', '.join(f'{{{i}}}' for i in range(len(given)))})"
    targets = ", ".join(variables[blob] for blob in layer.tops)
    parts.forward.append(f"{targets} = {call.format(*given, self=f'self.{name}')}")


def _share(parts: _Parts, net: Net, layer: NetLayer, blob_names: dict[str, tuple[str, ...]], modules: _Names) -> None:
    """Let a layer use the parameters of the layer that owns them."""
    for slot in layer.slots:
        if slot.owner is None or slot.shape != slot.owner.shape:
            continue
        owner = next(other for other in net.layers if slot.owner in other.slots)
        mine, theirs = blob_names.get(layer.name, ()), blob_names.get(owner.name, ())
        if slot.index < len(mine) and slot.owner.index < len(theirs):
            target = f"self.{modules[layer.name]}.{mine[slot.index]}"
            parts.init.append(f"{target} = self.{modules[owner.name]}.{theirs[slot.owner.index]}")


# ------------------------------------------------------------------------------------------------------- the file


def _file(net: Net, parts: _Parts, variables: _Names, origin: str) -> str:
    inputs = [variables[blob] for blob in net.fed]
    outputs = [variables[blob] for blob in net.outputs]
    if len(outputs) == 1:
        returned, kind = outputs[0], "Tensor"
    else:
        pairs = ", ".join(f"{blob!r}: {name}" for blob, name in zip(net.outputs, outputs, strict=True))
        returned, kind = f"{{{pairs}}}", "dict[str, Tensor]"
    body = "\n\n\n".join(inspect.getsource(getattr(torch_helpers, helper)).rstrip() for helper in parts.helpers)
    uses = {"F": "import torch.nn.functional as F"}
    text = "\n".join([body, *parts.init, *parts.forward])
    imports = ["import os", "", "import torch"]
    imports += [line for name, line in uses.items() if re.search(rf"\b{name}\.", text)]
    imports.append("from torch import Tensor, nn")
    name = _class_name(net.name)
    shapes = [f"    {v} {tuple(net.blob_shapes[b])}" for b, v in zip(net.fed, inputs, strict=True)]
    results = [f"    {blob} {tuple(net.blob_shapes[blob])}" for blob in net.outputs]
    lines = [
        f'"""{_one_line(net.name or "A net")}{f", from {_one_line(origin)}" if origin else ""}: torch alone runs it.',
        "",
        "Takes (Caffe's order of axes, blue before green before red):",
        "",
        *shapes,
        "",
        "Gives:",
        "",
        *results,
        '"""',
        "",
        *imports,
        *(["", "", body] if body else []),
        "",
        "",
        f"class {name}(nn.Module):",
        "    def __init__(self) -> None:",
        "        super().__init__()",
        *(line for text in parts.init for line in _wrapped(text)),
        "",
        f"    def forward(self, {', '.join(f'{v}: Tensor' for v in inputs)}) -> {kind}:",
        *(line for text in (*_memory_format(net, variables), *parts.forward) for line in _wrapped(text)),
        *_wrapped(f"return {returned}"),
        "",
        "",
        f'def load(path: str = os.path.splitext(__file__)[0] + ".pt") -> {name}:',
        '    """The net with its weights, ready for inference."""',
        f"    net = {name}()",
        "    net.load_state_dict(torch.load(path, weights_only=True))",
        f"    return net.eval(){'.to(memory_format=torch.channels_last)' if _channels_last(net) else ''}",
        "",
        "",
        'if __name__ == "__main__":',
        "    with torch.no_grad():",
        f"        result = load()({', '.join(f'torch.randn{_call(net.blob_shapes[blob])}' for blob in net.fed)})",
        f'    outputs = result if isinstance(result, dict) else {{"{_one_line(net.outputs[0])}": result}}',
        "    for name, values in outputs.items():",
        "        print(name, tuple(values.shape))",
    ]
    return "\n".join(lines) + "\n"


def _channels_last(net: Net) -> bool:
    return net.memory_format == torch.channels_last


def _memory_format(net: Net, variables: _Names) -> list[str]:
    """Bring pictures into the order in memory that the net computes in: faster, and rounded alike."""
    return [
        f"{variables[blob]} = {variables[blob]}.contiguous(memory_format=torch.channels_last)"
        for blob in net.fed
        if _channels_last(net) and len(net.blob_shapes[blob]) == 4
    ]


def _class_name(name: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", name)
    joined = "".join(word[0].upper() + word[1:] for word in words) or "Net"
    return f"Net{joined}" if joined[0].isdigit() or joined in _RESERVED else joined


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("\\", "/").replace('"', "'")


def _call(shape: Sequence[int]) -> str:
    return f"({', '.join(map(str, shape))})"


def _wrapped(text: str, indent: int = 8) -> list[str]:
    """A statement within the width, its arguments over several lines where it must be."""
    pad = " " * indent
    if len(pad) + len(text) <= _WIDTH:
        return [pad + text]
    opening = min(
        (at for at in (text.find("("), text.find("[", text.find("=")), text.find("{")) if at >= 0), default=-1
    )
    if opening < 0 or text[-1] not in ")]}":
        return [f"{pad}{line}" for line in [text]]
    inner = textwrap.wrap(text[opening + 1 : -1], _WIDTH - indent - 4, break_long_words=False, break_on_hyphens=False)
    return [pad + text[: opening + 1], *(f"{pad}    {line}" for line in inner), pad + text[-1]]


def write_source(source: TorchSource, path: str) -> str:
    """Write the file, and the state_dict beside it; returns the latter's path."""
    weights = f"{os.path.splitext(path)[0]}.pt"
    with atomic_write(path) as file:
        file.write(source.text.encode())
    with atomic_path(weights) as temporary:
        torch.save(source.state, temporary)
    return weights


def load_source(path: str) -> Any:
    """The net of a written file, with its weights: what ``load()`` of the file gives."""
    spec = importlib.util.spec_from_file_location("exported_net", path)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load()
