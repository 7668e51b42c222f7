"""Write every layer's output for one input, to hold a board's trace against it.

    caffecompat dump-blobs deploy.prototxt net.caffemodel desktop/ --image street.png --mean 73,82,72 --scale 0.022
    caffecompat dump-blobs merged.prototxt merged.caffemodel merged/ --input desktop/data.npy
    caffecompat dump-blobs deploy.prototxt net.caffemodel desktop/ --random 7

OUT_DIR gets LAYER.npy for each layer (LAYER.TOP.npy where it has several tops), float32 in (N, C, H, W) order, and
layers.json with their names, types, blobs and shapes in order. A layer that works in place has a file of its own.
``caffecompat compare-blobs`` compares two such folders, or one with the traces of a TIDL board.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import SEED, UsageError, weight_files
from caffecompat.cli.common.loaded_weights import check_loaded, missing_flag
from caffecompat.cli.common.net_flags import net_flags, open_model
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.picture_flags import names_fitting_sizes, preprocess_flags, preprocess_of, size_of
from caffecompat.errors import CaffeCompatError

if TYPE_CHECKING:
    import numpy as np

    from caffecompat.net import Net

HELP = "every layer's output for one input, as .npy files"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="deploy prototxt")
    parser.add_argument("weights", metavar="WEIGHTS", help="caffemodel, or another file of weights")
    parser.add_argument("out", type=output(), metavar="OUT_DIR", help="folder of the results, made if absent")
    parser.add_argument("--image", metavar="PICTURE", help="what the net is given, with the flags below")
    parser.add_argument("--input", metavar="FILE.npy", help="the input blob itself")
    parser.add_argument("--random", type=SEED, nargs="?", const=1, metavar="SEED", help="normally distributed values")
    parser.add_argument("--layout", choices=("npy", "tidl"), default="npy",
                        help="npy (default), or the names and raw float32 of TIDL's layer traces")  # fmt: skip
    net_flags(parser)
    missing_flag(parser)
    preprocess_flags(parser)


@names_fitting_sizes
def run(args: argparse.Namespace) -> int:
    if sum(given is not None for given in (args.image, args.input, args.random)) != 1:
        raise UsageError("caffecompat dump-blobs: give one of --image, --input and --random")

    from caffecompat.net import Net
    from caffecompat.net.dump import dump_blobs, only_input
    from caffecompat.schema import pb

    net = Net(open_model(args, args.model), pb.TEST, log=False, weights=weight_files(args.weights))
    check_loaded(net.loaded, args.weights, args)
    size = size_of(args)
    if size:
        shape = net.fed_shapes[only_input(net)]
        net.reshape({only_input(net): (*shape[:2], *size)})
    inputs = None if args.random is not None else _input(args, net, only_input(net))
    count = dump_blobs(net, None, args.out, inputs=inputs, seed=args.random, layout=args.layout)
    print(f"wrote {count} blobs to {args.out}")
    return 0


def _input(args: argparse.Namespace, net: Net, blob: str) -> np.ndarray:
    """What ``--input`` or ``--image`` gives the net."""
    import numpy as np

    from caffecompat.formats.arrays import read_array

    shape = net.fed_shapes[blob]
    if args.input is not None:
        values = read_array(args.input)
        if values.shape[1:] != shape[1:]:
            raise CaffeCompatError(f"{args.input} has shape {values.shape}, {blob!r} takes {tuple(shape)}")
        return np.asarray(values, np.float32)
    from caffecompat.formats.picture_file import gray, read_picture_file

    picture = read_picture_file(args.image)
    made = preprocess_of(args, net)(picture if shape[1] == 3 else gray(picture), shape[2], shape[3])
    return np.repeat(made, shape[0], axis=0)
