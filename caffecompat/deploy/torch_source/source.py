"""A net as one readable Python file that needs torch alone, and its weights as a state_dict."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType

import numpy as np
import torch
import torch.fx
from torch import nn

from caffecompat.deploy.batch import fixed_batch
from caffecompat.deploy.torch_source.emission import Emitted, UnsupportedLayer, emit, emitter_of
from caffecompat.deploy.torch_source.functions import Piece, exportable, names_read, needed, own_functions
from caffecompat.deploy.torch_source.layout import Names, Statement, class_name, grouped, laid_out, last_bracket
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.atomic import atomic_together, atomic_write
from caffecompat.layers.shape import Split
from caffecompat.net import Net
from caffecompat.net.graph import needed_layers
from caffecompat.net.layer import NetLayer

__all__ = ["TorchSource", "load_source", "make_source", "write_source"]

import_module("caffecompat.deploy.torch_source.layers")  # registers the emitters

_FUNCTIONS = exportable()  # what files can have above their net, by name

# What files import from Python's own library, where they use it: names by module.
_IMPORTS = {"math": (), "collections.abc": ("Callable", "Sequence"), "dataclasses": ("dataclass",)}
_PLACEHOLDER = re.compile(r"\{\w+\}")  # in an emitted call
_RESERVED = {"self", "torch", "nn", "F", "Tensor", "Path", "math", "load", "WEIGHTS"}
_RESERVED |= {name for names in _IMPORTS.values() for name in names}
# What a module has itself, or gets where torch traces it.
_MODULE_ATTRIBUTES = {*dir(torch.fx.GraphModule(torch.nn.Module(), torch.fx.Graph()))}
# What forward() uses, and names that linters find hard to read.
_NO_VARIABLES = {*_RESERVED, "dict", "float", "int", "tuple", "l", "I", "O"}


@dataclass
class TorchSource:
    """The text of the file and its state_dict; `inputs` and `outputs` are blob names in order."""

    text: str
    state: dict[str, torch.Tensor]
    inputs: list[str]
    outputs: list[str]

    def tops(self, made: torch.Tensor | dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What the file's net gave, by blob name."""
        return made if isinstance(made, dict) else {self.outputs[0]: made}


def make_source(net: Net, origin: str = "", name: str = "") -> TorchSource:
    """Write a TEST net, whose weights are loaded, as torch source.

    Modules are named after the layers and variables after the blobs. Sizes are those that the prototxt states; what
    it takes from the bottoms is taken from them there too. Layers that no output needs are left out.

    Args:
        origin: path of the prototxt, whose end the file's docstring shows.
        name: of a net that has none.

    Raises:
        CaffeCompatError: layers of the net have no counterpart; all of them at once.
    """
    return _Writer(net).write(origin, net.name or name)


@dataclass
class _Line:
    """A layer in forward(): `target` is computed as `value`.

    `around` is the value with {} in the place of its bottom, where the layer works in place on that alone.
    """

    target: str
    value: str
    group: object
    around: str = ""


@dataclass
class _Writer:
    """Puts the file together."""

    net: Net
    modules: Names = field(default_factory=lambda: Names({*_MODULE_ATTRIBUTES, *_RESERVED}))
    variables: Names = field(default_factory=lambda: Names(_NO_VARIABLES))
    functions: dict[str, Piece] = field(default_factory=dict)  # what the file has above its net, in its order
    used: set[str] = field(default_factory=set)  # names that layers use in forward()
    init: list[Statement] = field(default_factory=list)
    lines: list[_Line] = field(default_factory=list)
    state: dict[str, torch.Tensor] = field(default_factory=dict)
    shared: dict[int, tuple[str, ...]] = field(default_factory=dict)  # names of blobs by index of the layer

    def write(self, origin: str, name: str) -> TorchSource:
        net, refused, emitted = self.net, [], []
        blobs, needed = net.blobs_by_layer(), needed_layers(net.layers, net.graph.outputs)
        for layer in net.layers:
            if layer.module is None or layer.index not in needed:
                continue
            bottoms = [net.value_shapes[value] for value in layer.known_bottoms]
            tops = [net.value_shapes[value] for value in layer.top_values]
            try:
                each = emit(layer, blobs.get(layer.name, []), bottoms, tops)
                self._take_functions(layer, each)
                emitted.append((layer, each, _group(net, layer, tops)))
            except UnsupportedLayer as problem:
                refused.append(f"{layer.name} ({layer.type}): {problem}")
        if refused:
            listed = "\n".join(f"  {line}" for line in refused)
            raise CaffeCompatError(f"these layers cannot be written as torch source:\n{listed}")
        self.variables.reserve({*self.used, *self.functions})
        for blob in net.fed:
            self.variables.name(blob, "data")
        for layer, each, group in emitted:
            self._add(layer, each, group)
        return TorchSource(self._file(origin, name), self.state, list(net.fed), list(net.outputs))

    def _take_functions(self, layer: NetLayer, emitted: Emitted) -> None:
        """Take the functions that a layer names into the file, each after those that it uses itself.

        Raises:
            UnsupportedLayer: there is none of that name, or another one is in exported files under its name.
        """
        emitter = emitter_of(layer.type)
        pieces = {**_FUNCTIONS, **(own_functions(emitter) if emitter is not None else {})}
        texts = [_PLACEHOLDER.sub("_", text) for text in (emitted.module, emitted.call) if text]
        for name in sorted({name for text in texts for name in names_read(text)} - {"_"}):
            self.used.add(name)
            if name not in pieces and name not in _RESERVED and not hasattr(builtins, name):
                raise UnsupportedLayer(f"its emitter names a function {name!r} that is not in the same file")
            for each in (*needed(name, pieces), name) if name in pieces else ():
                piece = pieces[each]
                if self.functions.setdefault(each, piece) != piece or _FUNCTIONS.get(each, piece) != piece:
                    raise UnsupportedLayer(f"another function is called {each!r} in exported files; rename yours")

    def _add(self, layer: NetLayer, emitted: Emitted, group: object) -> None:
        name = self.modules.name(layer.name, layer.type, layer.index) if emitted.module else ""
        if emitted.module:
            self.init.append(Statement(f"self.{name} = {emitted.module}", group))
        for key, values in emitted.state.items():
            self.state[f"{name}.{key}" if key else name] = torch.from_numpy(np.array(values))
        self.shared[layer.index] = emitted.blobs
        self._share(layer, name, group)
        given = [self.variables.name(blob) for blob in layer.bottoms]
        call = emitted.call or f"{{self}}({', '.join(f'{{{i}}}' for i in range(len(given)))})"
        targets = [self.variables.name(blob, layer.type) for blob in layer.tops]
        if isinstance(layer.module, Split):
            self.lines += [_Line(target, given[0], group) for target in targets]
            return
        words = {"self": f"self.{name}"}
        if emitted.remembers:
            words["state"] = f"self.{self.modules.name(f'{layer.name}_state', index=layer.index)}"
            self.init.append(Statement(f"{words['state']}: list[Tensor] = []", group))
            targets.append(f"*{words['state']}")
        target = ", ".join(targets)
        alone = given == [target] and call.count("{0}") == 1
        around = call.format("{}", **words) if alone else ""
        self.lines.append(_Line(target, call.format(*given, **words), group, around))

    def _share(self, layer: NetLayer, name: str, group: object) -> None:
        """Let a layer use the parameters of the layer that owns them, where both have them in one form."""
        for slot in layer.slots:
            owner = next((other for other in self.net.layers if slot.owner in other.slots), None)
            if slot.owner is None or owner is None:
                continue
            mine, theirs = self.shared[layer.index], self.shared.get(owner.index, ())
            if slot.index >= len(mine) or slot.owner.index >= len(theirs):
                continue
            target = _path(name, mine[slot.index])
            source = _path(self.modules.name(owner.name, owner.type, owner.index), theirs[slot.owner.index])
            if self.state[target].shape == self.state[source].shape:
                self.init.append(Statement(f"self.{target} = self.{source}", group))

    # --------------------------------------------------------------------------------------------- the file

    def _file(self, origin: str, name: str) -> str:
        net = self.net
        inputs = {blob: self.variables.name(blob) for blob in net.fed}
        outputs = {blob: self.variables.name(blob) for blob in net.outputs}
        kind, returned = "Tensor", next(iter(outputs.values()))
        if len(outputs) > 1:
            pairs = ", ".join(f"{_quoted(blob)}: {variable}" for blob, variable in outputs.items())
            kind, returned = "dict[str, Tensor]", f"{{{pairs}}}"
        title, name = name, class_name(name, {*_RESERVED, *self.functions})
        arguments = ", ".join(["self", *(f"{variable}: Tensor" for variable in inputs.values())])
        body = [
            f"class {name}(nn.Module):",
            "    def __init__(self) -> None:",
            "        super().__init__()",
            *grouped(self.init),
            "",
            *laid_out(f"def forward({arguments}) -> {kind}:", 4),
            *_channels_last(net, inputs),
            *grouped(_statements(self.lines)),
            *laid_out(f"return {returned}", 8),
        ]
        pieces = [function.text for function in self.functions.values()]
        text = "\n\n\n".join([*pieces, "\n".join(body), _load(name, net), _demo(net)])
        return f"{_docstring(net, origin, title, inputs)}\n\n{_imports(text)}\n\n\n{text}\n"


def _group(net: Net, layer: NetLayer, tops: list[tuple[int, ...]]) -> object:
    """What belongs together in the file: layers of one folder in their names, and of one resolution."""
    folder = layer.name.rpartition("/")[0]
    is_layer = any(other.name == folder for other in net.layers)  # conv1 of conv1/bn and conv1/relu
    return "" if is_layer else folder, tops[0][2:] if tops else ()


def _path(module: str, key: str) -> str:
    return f"{module}.{key}" if key else module


def _quoted(text: str) -> str:
    """A Python string, in double quotes where that needs no escape."""
    written = repr(text)
    return written if '"' in text or written[0] == '"' else f'"{written[1:-1]}"'


def _statements(lines: list[_Line]) -> list[Statement]:
    """One for each blob: layers that work in place are wrapped around what they work on, as far as the width allows."""
    merged: list[_Line] = []
    for line in lines:
        last = merged[-1] if merged else None
        if last is not None and line.around and last.target == line.target and _is_call(last.value):
            value = line.around.format(last.value)
            if len(laid_out(f"{line.target} = {value}", 8)) == 1:
                merged[-1] = _Line(line.target, value, last.group)
                continue
        merged.append(line)
    return [Statement(f"{line.target} = {line.value}", line.group) for line in merged]


def _is_call(value: str) -> bool:
    """Whether the text is a single call, which another call can take for its argument as it is."""
    opening = last_bracket(value)
    return opening is not None and value.endswith(")") and re.fullmatch(r"[\w.]+", value[:opening]) is not None


def _channels_last(net: Net, inputs: dict[str, str]) -> list[str]:
    """Bring pictures into the order in memory that the net computes in: faster, and rounded alike."""
    if net.memory_format != torch.channels_last:
        return []
    pictures = [variable for blob, variable in inputs.items() if len(net.fed_shapes[blob]) == 4]
    return [f"        {name} = {name}.contiguous(memory_format=torch.channels_last)" for name in pictures]


def _docstring(net: Net, origin: str, title: str, inputs: dict[str, str]) -> str:
    folder, file = os.path.split(origin)
    source = os.path.join(os.path.basename(folder), file).replace("\\", "/")
    lines = [f'"""{_one_line(title) or "A net"}{f", from {_one_line(source)}" if source else ""}.', ""]
    batch = "this batch size" if fixed_batch(net) else "any batch size"
    lines.append(f"Takes what Caffe's data layers give: channels in the order blue, green, red, {batch}.")
    lines += [f"    {variable}: {tuple(net.fed_shapes[blob])}" for blob, variable in inputs.items()]
    lines.append("Gives:")
    for blob in net.outputs:
        lines.append(f"    {_one_line(blob)}: {_shape_text(net, blob)}")
    lines.append('"""')
    if not any(len(net.fed_shapes[blob]) == 4 and net.fed_shapes[blob][1] == 3 for blob in inputs):
        lines[2] = f"Takes, at {batch}:"
    return "\n".join(lines)


def _shape_text(net: Net, blob: str) -> str:
    detections = {layer.tops[0] for layer in net.layers if layer.module is not None and layer.module.gives_detections}
    return "(1, 1, boxes, 7)" if blob in detections else str(tuple(net.blob_shapes[blob]))


def _imports(text: str) -> str:
    read = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    standard = [f"import {module}" for module, names in _IMPORTS.items() if not names and module in read]
    for module, names in _IMPORTS.items():
        if used := [name for name in names if name in read]:
            standard.append(f"from {module} import {', '.join(used)}")
    functional = ["import torch.nn.functional as F"] if "F" in read else []
    others = ["", "import torch", *functional, "from torch import Tensor, nn"]
    return "\n".join([*standard, "from pathlib import Path", *others])


def _load(name: str, net: Net) -> str:
    last = ".to(memory_format=torch.channels_last)" if net.memory_format == torch.channels_last else ""
    lines = [
        f"def load(path: str | Path = WEIGHTS) -> {name}:",
        '    """The net with its weights, ready for inference."""',
        f"    net = {name}()",
        '    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))',
        f"    return net.eval(){last}",
    ]
    return "\n".join(['WEIGHTS = Path(__file__).with_suffix(".pt")', "", "", *laid_out(lines[0]), *lines[1:]])


def _demo(net: Net) -> str:
    numbers = {  # which the demo cannot draw at random
        layer.bottoms[place] for layer in net.layers if layer.module is not None for place in layer.module.index_bottoms
    }
    shapes = {blob: ", ".join(map(str, net.fed_shapes[blob])) for blob in net.fed}
    inputs = [f"torch.{'zeros' if blob in numbers else 'randn'}({shape})" for blob, shape in shapes.items()]
    one = len(net.outputs) == 1
    lines = [
        'if __name__ == "__main__":',
        "    net = load()",
        "    with torch.inference_mode():",
        *laid_out(f"{'output' if one else 'outputs'} = net({', '.join(inputs)})", 8),
    ]
    if one:
        return "\n".join([*lines, f"    print({_quoted(net.outputs[0])}, tuple(output.shape))"])
    lines += ["    for name, output in outputs.items():", "        print(name, tuple(output.shape))"]
    return "\n".join(lines)


def _one_line(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split()).replace("\\", "/").replace('"', "'")


def write_source(source: TorchSource, path: str, check: Callable[[nn.Module], None] | None = None) -> str:
    """Write the file, and the state_dict next to it; returns the latter's path.

    Args:
        check: is given the net that the written files load to; what it raises leaves both paths as they were.

    Raises:
        WriteError: either could not be written; then no file is left, or both old files stay.
    """
    weights = f"{os.path.splitext(path)[0]}.pt"
    archive = io.BytesIO()  # of a file that it cannot write to the end, torch says something else
    torch.save(source.state, archive)
    with atomic_together(path, weights) as (text, state):
        with atomic_write(text) as file:
            file.write(source.text.encode())
        with atomic_write(state) as file:
            file.write(archive.getbuffer())
        if check is not None:
            check(load_source(text, state))
    return weights


def load_source(path: str, weights: str | None = None) -> nn.Module:
    """The net of a written file, with its weights (None: those next to it): what ``load()`` of the file gives."""
    spec = importlib.util.spec_from_file_location("exported_net", path)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net: nn.Module = module.load() if weights is None else module.load(weights)
    return net
