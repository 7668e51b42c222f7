"""Bring weights into another file format, or a torch model's weights into a net.

    caffecompat weights convert net.caffemodel net.safetensors
    caffecompat weights convert net.npz net.caffemodel.h5
    caffecompat weights convert resnet50.pth net.caffemodel --model net.prototxt

Formats go by the suffix: .caffemodel, .h5 (Caffe's HDF5), .safetensors, .npz; in the last two an array is named
LAYER.INDEX. With --model the caffemodel gets the net's layers, types and order.

A torch state_dict (.pt, .pth, .safetensors, .npz) needs --model: which module is which layer is guessed by names, order
and shapes, printed, and written to OUT.map.txt (or --map). Look at it; then run again with --yes, or edit the file and
give it with --map. What shapes alone paired is listed to look at. Tensors that no layer takes are listed; a layer with
parameters that gets none ends in exit status 1 and no OUT, or is left out of OUT, to start as its fillers say, with
--allow-missing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from caffecompat.cli.common.flags import UsageError, add_switch
from caffecompat.cli.common.outputs import output
from caffecompat.wording import few

if TYPE_CHECKING:
    import numpy as np

    from caffecompat.net import Net

HELP = "caffemodel, HDF5, safetensors, npz; a torch state_dict into a net"

_TORCH = (".pt", ".pth", ".bin")

Blobs = dict[str, "list[np.ndarray]"]


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN")
    parser.add_argument("out", type=output("a file of weights"), metavar="OUT")
    parser.add_argument("--model", metavar="FILE", help="prototxt of the net that the weights are for")
    parser.add_argument("--map", metavar="FILE", help="'layer <- module' lines; written if it is not there")
    add_switch(parser, "yes", "use the guessed map without looking at it first")
    add_switch(parser, "allow-missing", "write OUT though some layers of --model get no weights")
    add_switch(parser, "swap-colours", "RGB to BGR: turn the first convolution's weights over")


def run(args: argparse.Namespace) -> int:
    if not args.out.endswith((".caffemodel", ".h5", ".safetensors", ".npz")):
        raise UsageError(
            f"caffecompat weights convert: {args.out}: expected a name in .caffemodel, .h5, .safetensors or .npz"
        )
    stored = None if args.source.endswith(_TORCH) else _stored(args.source)
    if stored is not None:
        if args.map or args.swap_colours:
            raise UsageError(f"caffecompat weights convert: {args.source} has a net's layers: no --map, --swap-colours")
        message, blobs = stored
        converted = _for_net(args, blobs) if args.model else (message, blobs)
    else:
        if not args.model:
            raise UsageError(f"caffecompat weights convert: {args.source} has no net's layers; give --model")
        converted = _from_torch(args)
    if converted is None:
        return 1
    message, blobs = converted
    _write(args.out, message, blobs)
    print(f"wrote {args.out}: {len(blobs)} layers, {sum(b.size for own in blobs.values() for b in own):,} values")
    return 0


def _stored(path: str) -> tuple[Any, Blobs] | None:
    """A NetParameter with the file's layers, and their blobs; None where the file names no layers."""
    from caffecompat.formats.archives import ARCHIVES, as_layers, read_archive
    from caffecompat.formats.weights import open_weights
    from caffecompat.schema import pb

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


def _net(path: str) -> Net:
    from caffecompat.data.placeholder import Placeholders
    from caffecompat.net import Net
    from caffecompat.schema import open_net, pb

    net = Net(open_net(path), pb.TEST, sources=Placeholders(), log=False)
    net.close()
    return net


def _for_net(args: argparse.Namespace, blobs: Blobs) -> tuple[Any, Blobs] | None:
    """The net's message, and the blobs of its layers; those of others are named and left out.

    None where some of its layers get no blobs, and that was not allowed.
    """
    net = _net(args.model)
    names = {layer.name for layer in net.message.layer}
    strangers = [name for name in blobs if name not in names]
    if strangers:
        print(f"not in {args.model}, left out: {few(strangers, 8)}", file=sys.stderr)
    blobs = {name: own for name, own in blobs.items() if name in names}
    return (_message(net, blobs), blobs) if _fills(args, net, blobs) else None


def _from_torch(args: argparse.Namespace) -> tuple[Any, Blobs] | None:
    """The blobs of a torch model by a map.

    None where the map waits to be looked at, or leaves layers without weights and that was not allowed.
    """
    from caffecompat.net.torch_map import guess_map, read_map, unused_modules, write_map
    from caffecompat.net.torch_weights import mapped_blobs, read_state

    net, state = _net(args.model), read_state(args.source)
    if args.map and os.path.exists(args.map):
        pairs = read_map(args.map)
        unused = unused_modules(state, pairs)
    else:
        found = guess_map(net, state)
        path = args.map or f"{args.out}.map.txt"
        print(*found.lines(), sep="\n")
        write_map(path, found)
        if not found.pairs:
            raise UsageError(f"caffecompat weights convert: nothing of {args.source} fits {args.model}")
        if not args.yes:
            more = " --allow-missing" if found.without and not args.allow_missing else ""
            print(
                f"\nThis is a guess, written to {path}; {args.out} is not written. If it is right, run again with "
                f"--yes{more}; else edit that file and run with --map {path}{more}"
            )
            return None
        pairs, unused = found.pairs, {}  # the map has them
    blobs = dict(mapped_blobs(net, state, pairs, swap_colours=args.swap_colours))
    for module, tensors in unused.items():
        print(f"not used: {module} ({tensors})")
    return (_message(net, blobs), blobs) if _fills(args, net, blobs) else None


def _fills(args: argparse.Namespace, net: Net, filled: Mapping[str, object]) -> bool:
    """Whether OUT may be written; says which layers get no weights."""
    from caffecompat.net.torch_map import unfilled_layers

    missing = unfilled_layers(net, filled)
    if not missing:
        return True
    missing_text = (
        f"no weights for {len(missing)} layer{'s' * (len(missing) > 1)} with parameters: {', '.join(missing)}"
    )
    if args.allow_missing:
        print(f"{missing_text}; left out of {args.out}")
        return True
    print(f"{missing_text}; {args.out} is not written. To write it without them, add --allow-missing", file=sys.stderr)
    return False


def _message(net: Net, blobs: Blobs) -> Any:
    """The net as files have it; a layer whose weights are not there is left out, or loading would miss its blobs."""
    message = net.message_with_splits()
    empty = {layer.name for layer in net.layers if layer.slots and layer.name not in blobs}
    kept = [layer for layer in message.layer if layer.name not in empty]
    del message.layer[:]
    message.layer.extend(kept)
    return message


def _write(path: str, message: Any, blobs: Blobs) -> None:
    if path.endswith(".h5"):
        from caffecompat.formats.hdf5_weights import save_hdf5_weights

        save_hdf5_weights(path, {layer.name: blobs.get(layer.name, []) for layer in message.layer})
    elif path.endswith(".caffemodel"):
        from caffecompat.formats import save_caffemodel

        save_caffemodel(path, message, blobs)
    else:
        from caffecompat.formats.archives import as_names, write_archive

        write_archive(path, as_names(blobs))
