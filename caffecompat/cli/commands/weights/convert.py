"""Bring weights into another file format, or a torch model's weights into a net.

    caffecompat weights convert net.caffemodel net.safetensors
    caffecompat weights convert net.npz net.caffemodel.h5
    caffecompat weights convert resnet50.pth resnet50.safetensors
    caffecompat weights convert resnet50.pth net.caffemodel --model net.prototxt

The suffix decides the format: .caffemodel, .h5 (Caffe's HDF5), .safetensors, .npz; in the last two an array is named
LAYER.INDEX. With --model the caffemodel gets the net's layers, types and order.

A torch state_dict (.pt, .pth, .safetensors, .npz) without --model becomes .safetensors or .npz with the names it has.
With --model, which module is which layer is guessed by names, order and shapes, printed, and written to OUT.map.txt (or
--map). Look at it; then run again with --yes, or edit the file and give it with --map. What shapes alone paired is
listed to look at. Tensors that no layer takes are listed; a layer with parameters that gets none ends in exit status 1
and no OUT, or is left out of OUT, to start as its fillers say, with --allow-missing: so is the last layer where the
classes are other ones. A net for gray or four-channel pictures gets the weights of a first convolution over three with
--adapt-first-layer: their sum, or the channels in turn, scaled.
"""

from __future__ import annotations

import argparse

from caffecompat.cli.common.flags import add_switch
from caffecompat.cli.common.outputs import output

HELP = "caffemodel, HDF5, safetensors, npz; a torch state_dict into a net"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", help="caffemodel, .h5, .safetensors, .npz, .pth or .pt")
    parser.add_argument("out", type=output("a file of weights"), metavar="OUT",
                        help="file to write; its ending says in which form")  # fmt: skip
    parser.add_argument("--model", metavar="FILE", help="prototxt of the net that the weights are for")
    parser.add_argument("--map", metavar="FILE", help="'layer <- module' lines; written if it is not there")
    add_switch(parser, "yes", "use the guessed map without a review")
    add_switch(parser, "allow-missing", "write OUT though some layers of --model get no weights")
    add_switch(parser, "adapt-first-layer", "sum or repeat the first convolution's inputs where the net has 1, or more")
    add_switch(parser, "swap-colors", "RGB to BGR: reverse the first convolution's inputs", old="swap-colours")


def run(args: argparse.Namespace) -> int:
    from caffecompat.deploy.convert_weights import convert_weights

    done = convert_weights(
        args.source, args.out, model=args.model, map_file=args.map, accept_guess=args.yes,
        allow_missing=args.allow_missing, swap_colors=args.swap_colors,
        adapt_first_layer=args.adapt_first_layer, on_note=print,
    )  # fmt: skip
    if not done.written:
        more = " --allow-missing" if done.missing and not args.allow_missing else ""
        print(
            f"\nThis is a guess, written to {done.map_file}; {args.out} is not written. If it is right, run again with "
            f"--yes{more}; else edit that file and run with --map {done.map_file}{more}"
        )
        return 1
    print(f"wrote {args.out}: {done.layers} layer{'s' if done.layers != 1 else ''}, {done.values:,} values")
    return 0
