"""Weights brought into another file format, or a torch model's weights into a net."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from caffecompat.data.placeholder import Placeholders
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import ForkName
from caffecompat.formats import save_caffemodel
from caffecompat.formats.archives import ARCHIVES, as_layers, as_names, read_archive, write_archive
from caffecompat.formats.atomic import protects
from caffecompat.formats.hdf5_weights import save_hdf5_weights
from caffecompat.formats.weights import open_weights
from caffecompat.net import Net
from caffecompat.net.torch_fit import other_first_layer
from caffecompat.net.torch_map import guess_map, offers, read_map, unfilled_layers, unused_modules, write_map
from caffecompat.net.torch_weights import mapped_blobs, modules_of, read_state
from caffecompat.python_code import looking_at_nets
from caffecompat.schema import NetSource, as_document, pb
from caffecompat.wording import few

__all__ = ["ConvertedWeights", "UnfilledLayers", "convert_weights"]

Blobs = dict[str, list[np.ndarray]]
PathLike = str | os.PathLike[str]

_TORCH = (".pt", ".pth", ".bin")
_WRITTEN = (".caffemodel", ".h5", ".safetensors", ".npz")


class UnfilledLayers(CaffeCompatError):
    """Layers with parameters get no weights, so nothing is written."""

    status: ClassVar[int] = 1


@dataclass(frozen=True)
class ConvertedWeights:
    """What was converted.

    Attributes:
        written: whether `out` was written; not where a guessed map waits to be looked at.
        layers: with weights. `values`: in them.
        map_file: where a guessed map was written; "" where none was.
        missing: layers with parameters that got none and were left out.
    """

    written: bool
    layers: int = 0
    values: int = 0
    map_file: str = ""
    missing: tuple[str, ...] = ()


@protects("source", "model", "map_file")
def convert_weights(
    source: PathLike,
    out: PathLike,
    *,
    model: NetSource | None = None,
    map_file: PathLike | None = None,
    accept_guess: bool = False,
    allow_missing: bool = False,
    swap_colors: bool = False,
    adapt_first_layer: bool = False,
    fork: ForkName | None = None,
    on_note: Callable[[str], None] = lambda line: None,
) -> ConvertedWeights:
    """Bring weights into another file format, or a torch model's weights into a net.

    A torch state_dict (.pt, .pth; a .safetensors or .npz whose arrays are not named LAYER.INDEX) needs `model`, or
    becomes a .safetensors or .npz with the arrays' own names. Which of its modules is which layer is guessed by names,
    order and shapes, and written to a file to look at; `out` is written by the second call, with `accept_guess` or with
    the file, edited or not, as `map_file`.

    Args:
        source: .caffemodel, .h5 (Caffe's HDF5), .safetensors, .npz, or a torch state_dict.
        out: .caffemodel, .h5, .safetensors or .npz to write; in the last two an array of a net is named LAYER.INDEX.
        model: net that the weights are for; a .caffemodel gets its layers, types and order.
        map_file: 'layer <- module' lines; written if it is not there. By default OUT.map.txt.
        accept_guess: use the guessed map without a review.
        allow_missing: leave layers that get no weights out, to start as their fillers say.
        swap_colors: RGB to BGR: reverse the input channels of the first convolution.
        adapt_first_layer: let a first convolution over 1 channel, or over more than the file's, have that one's
            weights, summed, or repeated and scaled.
        fork: the Caffe whose rules hold, where the text cannot show it.
        on_note: called with each line about what was paired, not used or left out.

    Raises:
        UnfilledLayers: layers with parameters get no weights, and that is not allowed.
        CaffeCompatError: a file cannot be read, or nothing of it fits the net.
        WriteError: `out` cannot be written.

    >>> import caffecompat
    >>> caffecompat.convert_weights("net.caffemodel", "net.safetensors").values
    624
    >>> len(caffecompat.convert_weights("net.safetensors", "again.caffemodel", model="deploy.prototxt").missing)
    0
    """
    read, written = os.fspath(source), os.fspath(out)
    if not written.endswith(_WRITTEN):
        raise CaffeCompatError(f"{written}: expected a name in .caffemodel, .h5, .safetensors or .npz")
    stored = None if read.endswith(_TORCH) else _stored(read)
    if (stored is not None or model is None) and (map_file or swap_colors or adapt_first_layer):
        why = "has a net's layers" if stored is not None else "goes into no model"
        raise CaffeCompatError(f"{read} {why}: it takes no map, swapping of colors or adapting of the first layer")
    if model is None:
        return _rewritten(read, stored, written)
    document = as_document(model, fork=fork)
    with looking_at_nets():
        net = Net(document, "TEST", sources=Placeholders(), log=False)
    net.close()
    offered: list[str] = []
    if stored is not None:
        blobs = _known(stored[1], net, document.path, on_note)
    else:
        state = read_state(read)
        if adapt_first_layer:
            state, swap_colors = _adapted(net, state, swap_colors, on_note)
        pairs, guessed = _pairs(net, state, read, document.path, map_file, f"{written}.map.txt", on_note)
        if guessed and not accept_guess:
            return ConvertedWeights(False, map_file=guessed, missing=tuple(unfilled_layers(net, pairs)))
        offered = offers(net, state, pairs)
        try:
            blobs = dict(mapped_blobs(net, state, pairs, swap_colors=swap_colors))
        except CaffeCompatError as problem:
            raise CaffeCompatError("\n  ".join([str(problem), *offered])) from None
        if not guessed:
            for module, tensors in unused_modules(state, pairs).items():
                on_note(f"not used: {module} ({tensors})")
    missing = unfilled_layers(net, blobs)
    if missing:
        _report_missing(missing, written, allow_missing, offered, on_note)
    _write(written, _message(net, blobs), blobs)
    return _converted(blobs, missing)


def _report_missing(
    missing: Sequence[str], written: str, allowed: bool, offered: Sequence[str], on_note: Callable[[str], None]
) -> None:
    text = f"no weights for {len(missing)} layer{'s' * (len(missing) > 1)} with parameters: {', '.join(missing)}"
    if not allowed:
        text += f"; {written} is not written. To write it without them, add --allow-missing"
        raise UnfilledLayers("\n  ".join([text, *offered]))
    on_note(f"{text}; left out of {written}")


def _converted(blobs: Blobs, missing: Sequence[str]) -> ConvertedWeights:
    values = sum(blob.size for own in blobs.values() for blob in own)
    return ConvertedWeights(True, len(blobs), values, missing=tuple(missing))


def _rewritten(read: str, stored: tuple[pb.NetParameter, Blobs] | None, written: str) -> ConvertedWeights:
    """The file in another format: a net's layers, or a state_dict's arrays under their own names."""
    if stored is not None:
        _write(written, *stored)
        return _converted(stored[1], ())
    if not written.endswith(ARCHIVES):
        raise CaffeCompatError(
            f"{read} has no net's layers; give the model (--model), or write a .npz or .safetensors: its own names stay"
        )
    state = read_state(read)
    write_archive(written, state)
    return _converted({module: list(own.values()) for module, own in modules_of(state).items()}, ())


def _adapted(
    net: Net, state: dict[str, np.ndarray], swap_colors: bool, on_note: Callable[[str], None]
) -> tuple[dict[str, np.ndarray], bool]:
    """The state whose first convolution fits the net's, and whether colors are still to be swapped."""
    first = other_first_layer(net, state)
    if first is None:
        on_note("--adapt-first-layer has no effect: no first convolution of the file differs in its channels alone")
        return state, swap_colors
    on_note(f"{first.layer} gets of {first.module} {first.how}")
    return first.adapted(state, swap_colors=swap_colors), False


def _known(blobs: Blobs, net: Net, path: str, on_note: Callable[[str], None]) -> Blobs:
    """The blobs of the net's layers; those of others are named and left out."""
    names = {layer.name for layer in net.message.layer}
    strangers = [name for name in blobs if name not in names]
    if strangers:
        on_note(f"not in {path}, left out: {few(strangers, 8)}")
    return {name: own for name, own in blobs.items() if name in names}


def _pairs(
    net: Net,
    state: Mapping[str, np.ndarray],
    source: str,
    model: str,
    map_file: PathLike | None,
    default: str,
    on_note: Callable[[str], None],
) -> tuple[Mapping[str, str], str]:
    """Layers with the modules that are theirs, of a file; or guessed, and the file that the guess was written to."""
    if map_file and os.path.exists(map_file):
        return read_map(map_file), ""
    found = guess_map(net, state)
    path = os.fspath(map_file or default)
    for line in found.lines():
        on_note(line)
    write_map(path, found)
    if not found.pairs:
        raise CaffeCompatError(f"nothing of {source} fits {model}")
    return found.pairs, path


def _stored(path: str) -> tuple[pb.NetParameter, Blobs] | None:
    """A NetParameter with the file's layers, and their blobs; None where the file names no layers."""
    if path.endswith(ARCHIVES):
        blobs = as_layers(read_archive(path))
        if blobs is None:
            return None
        return pb.NetParameter(layer=[pb.LayerParameter(name=name) for name in blobs]), blobs
    file = open_weights(path)
    message = pb.NetParameter(name=file.name) if file.name else pb.NetParameter()
    for layer in file.layers:
        message.layer.add(name=layer.name, type=layer.type, bottom=layer.bottoms, top=layer.tops)
    return message, file.load()


def _message(net: Net, blobs: Blobs) -> pb.NetParameter:
    """The net as files have it; a layer whose weights are not there is left out, or loading would miss its blobs."""
    message = net.message_with_splits()
    empty = {layer.name for layer in net.layers if layer.slots and layer.name not in blobs}
    kept = [layer for layer in message.layer if layer.name not in empty]
    del message.layer[:]
    message.layer.extend(kept)
    return message


def _write(path: str, message: pb.NetParameter, blobs: Blobs) -> None:
    if path.endswith(".h5"):
        save_hdf5_weights(path, {layer.name: blobs.get(layer.name, []) for layer in message.layer})
    elif path.endswith(".caffemodel"):
        save_caffemodel(path, message, blobs)
    else:
        write_archive(path, as_names(blobs))
