"""Name the classes of pictures: the best five with their scores, as Caffe's classify.py and cpp_classification do.

    caffecompat classify deploy.prototxt net.caffemodel photo.jpg folder/ --mean 104,117,123 --labels synset_words.txt
    caffecompat classify deploy.prototxt net.caffemodel photos/ --images_dim 256,256 --mean_file mean.npy --output p.npy
    caffecompat classify --model_def deploy.prototxt --pretrained_model net.caffemodel in.npy out.npy
    caffecompat classify deploy.prototxt net.caffemodel mean.binaryproto labels.txt photo.jpg

The whole picture is resized to the net's input, as in cpp_classification. With --images_dim it is resized to that size
first, and the scores of ten crops (corners, center, mirrored) are averaged, as in classify.py; --center_only takes one.
A .npy input holds pictures (N, H, W, C), RGB in 0 to 1. A mean file, .npy or .binaryproto, gives one mean a channel.
Input = (pixel / 255 * raw_scale - mean) * input_scale / std, channels ordered by --channel_swap (2,1,0: BGR of RGB).
"""

from __future__ import annotations

import argparse
import json
import os
import re
from typing import TYPE_CHECKING

from caffecompat import glog
from caffecompat.cli.common.flags import COUNT, UsageError, add_switch, device_flags, split_commas, weight_files
from caffecompat.cli.common.loaded_weights import check_loaded, missing_flag
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.scored_net import engine_flag
from caffecompat.cli.common.transformer_flags import (
    channel_order,
    load_array,
    read_factors,
    read_means,
    set_mode,
    take_stated,
    transformer_flags,
)
from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_text

if TYPE_CHECKING:
    import numpy as np

    from caffecompat.schema import NetDocument

HELP = "the best classes of pictures and folders"

_VERB = "caffecompat classify"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="+", metavar="MODEL WEIGHTS INPUT...",
                        help="deploy prototxt, weights, and pictures, folders or .npy files")  # fmt: skip
    parser.add_argument("--model", "--model-def", metavar="FILE", help="deploy prototxt, instead of the first word")
    parser.add_argument("--weights", "--pretrained-model", metavar="FILE", help="weights, instead of the second word")
    parser.add_argument("--labels", "--labels-file", metavar="FILE", help="a label a line, one for each class")
    parser.add_argument("--top", type=COUNT, default=5, metavar="N", help="how many classes to print (default 5)")
    parser.add_argument(
        "--output", type=output("a NumPy array"), metavar="FILE", help="save all scores as .npy, (pictures, classes)"
    )
    add_switch(parser, "print-results", "print the classes although --output is given")
    transformer_flags(parser)
    parser.add_argument("--images-dim", metavar="H,W", help="size that pictures are resized to before they are cropped")
    add_switch(parser, "center-only", "the center crop alone")
    parser.add_argument("--ext", metavar="EXT", help="ending of a folder's pictures (default: all kinds)")
    parser.add_argument("--blob", metavar="NAME", help="blob of the scores, where it is not plain which")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    missing_flag(parser)
    device_flags(parser)
    engine_flag(parser)


def run(args: argparse.Namespace) -> int:
    inputs = _sort_words(args)
    if args.center_only and not args.images_dim:
        raise UsageError(f"{_VERB}: --center_only needs --images_dim, the size that the center is cut from")
    names, scores = _score(args, inputs)
    labels = _labels(args.labels, scores.shape[1]) if args.labels else [str(i) for i in range(scores.shape[1])]
    if args.output:
        _save(args.output, scores)
    found = [(name, _best(row, labels, args.top)) for name, row in zip(names, scores, strict=True)]
    if args.json:
        pictures = [{"picture": name, "top": best} for name, best in found]
        print(json.dumps({"model": args.model, "weights": args.weights, "pictures": pictures}, indent=1))
    elif not args.output or args.print_results:
        for name, best in found:
            print(f"---------- Prediction for {name} ----------")
            for one in best:
                print(f'{one["score"]:.4f} - "{one["label"]}"')
    return 0


def _sort_words(args: argparse.Namespace) -> list[str]:
    """Fill in model, weights, mean file, labels and output; returns the inputs."""
    words = list(args.words)
    if bool(args.model) != bool(args.weights):
        raise UsageError(f"{_VERB}: give both --model and --weights, or both as the first words")
    if args.model:
        if len(words) == 2 and words[1].endswith(".npy") and not args.output:  # classify.py INPUT OUTPUT
            if words[0].endswith(".npy") and os.path.exists(words[1]):
                raise UsageError(
                    f"{_VERB}: {words[1]} is there already: an input, or the output of another time? "
                    f"Give --output {words[1]} to write over it, --output OTHER.npy to read it"
                )
            args.output = words.pop()
        return words
    if len(words) < 3:
        raise UsageError(
            f"{_VERB}: needs MODEL WEIGHTS INPUT..., as in: classify deploy.prototxt net.caffemodel cat.jpg"
        )
    args.model, args.weights, *words = words
    if len(words) == 3 and words[0].endswith(".binaryproto") and not (args.mean_file or args.labels):
        args.mean_file, args.labels, *words = words  # cpp_classification's order
    return words


def _score(args: argparse.Namespace, inputs: list[str]) -> tuple[list[str], np.ndarray]:
    """Names of the pictures and their scores (N, classes)."""
    arrays = [path for path in inputs if path.endswith(".npy")]
    if arrays and len(arrays) < len(inputs):
        raise UsageError(f"{_VERB}: {arrays[0]} and pictures cannot be mixed; classify them one after the other")
    if arrays or args.images_dim:
        return _score_crops(args, inputs)
    return _score_whole(args, _pictures(inputs, args.ext))


def _score_whole(args: argparse.Namespace, paths: list[str]) -> tuple[list[str], np.ndarray]:
    """Pictures resized to the input by OpenCV (cpp_classification)."""
    import numpy as np

    from caffecompat.cli.common.devices import choose_device
    from caffecompat.evaluate.classification import Classifier
    from caffecompat.evaluate.pictures import classify
    from caffecompat.formats.picture import read_picture, resize_picture

    device, _ = choose_device(args.gpu, args.device)
    from caffecompat.evaluate.fed_model import fed_model

    model = fed_model(args.model, probabilities=True)
    take_stated(args, model)
    classifier = Classifier(
        model, weight_files(args.weights), blob=args.blob, device=device, engine=args.engine or "auto"
    )
    assert classifier.input_shape is not None, "it is fed with pictures"
    check_loaded(classifier.loaded, args.weights, args)
    channels = classifier.input_shape[1]
    mean, factors = read_means(args, channels), np.asarray(read_factors(args, channels), np.float32)
    order = [2 - i for i in channel_order(args)] if channels == 3 else [0]  # pictures come as BGR

    def read(path: str) -> np.ndarray:
        picture = read_picture(path, channels == 3)
        if picture is None:
            raise CaffeCompatError(f"{path}: no such file, or not a picture that OpenCV can decode")
        return picture

    def prepare(picture: np.ndarray, height: int, width: int) -> np.ndarray:
        pixels = resize_picture(picture, height, width)[:, :, order].astype(np.float32)
        if args.raw_scale != 255:
            pixels *= np.float32(args.raw_scale / 255)
        if mean is not None:
            pixels -= mean
        prepared: np.ndarray = pixels.transpose(2, 0, 1)[None] * factors
        return prepared

    return paths, classify(classifier, None, map(read, paths), preprocess=prepare)


def _score_crops(args: argparse.Namespace, inputs: list[str]) -> tuple[list[str], np.ndarray]:
    """Through pycaffe's Classifier (classify.py)."""
    import numpy as np

    from caffecompat import pycaffe

    if args.engine:
        glog.warning(f"--engine {args.engine}: crops (--images_dim) and .npy inputs go through pycaffe's net, by torch")
    set_mode(args)
    dims = _dims(args.images_dim) if args.images_dim else None
    from caffecompat.evaluate.fed_model import fed_model

    model = fed_model(args.model, probabilities=True)
    take_stated(args, model)
    channels = _input_channels(model)
    net = pycaffe.Classifier(
        model, args.weights, image_dims=dims, mean=read_means(args, channels), input_scale=read_factors(args, channels),
        raw_scale=args.raw_scale, channel_swap=channel_order(args) if channels == 3 else None,
    )  # fmt: skip
    check_loaded(net._core.loaded, args.weights, args)
    if inputs[0].endswith(".npy"):
        arrays = {path: load_array(path) for path in inputs}
        images = [image for array in arrays.values() for image in array]
        names = [f"{path}[{i}]" for path, array in arrays.items() for i in range(len(array))]
    else:
        names = _pictures(inputs, args.ext)
        images = [pycaffe.io.load_image(path, channels == 3) for path in names]
    scores = net.predict(images, dims is not None and not args.center_only)
    return names, np.asarray(scores).reshape(len(images), -1)


def _input_channels(document: NetDocument) -> int:
    """Channels of a deploy net's first input."""
    from caffecompat.schema.data_layers import is_input

    for layer in document.message.layer:
        if is_input(layer) and layer.input_param.shape and len(layer.input_param.shape[0].dim) == 4:
            return int(layer.input_param.shape[0].dim[1])
    raise CaffeCompatError(f"{document.path}: no Input layer of shape (N, C, H, W); give a deploy prototxt")


def _dims(text: str) -> tuple[int, int]:
    parts = split_commas(text)
    if len(parts) != 2 or not all(re.fullmatch("[0-9]{1,9}", part) and int(part) for part in parts):
        raise UsageError(f"{_VERB}: --images_dim {text}: expected HEIGHT,WIDTH, as in 256,256")
    return int(parts[0]), int(parts[1])


def _pictures(given: list[str], ext: str | None) -> list[str]:
    """The files; those of folders in the order of their names."""
    kinds = (
        (f".{ext.lstrip('.').lower()}",) if ext else (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".tif", ".webp")
    )
    found: list[str] = []
    for path in map(os.path.expanduser, given):
        if not os.path.isdir(path):
            found.append(path)
            continue
        inside = sorted(name for name in os.listdir(path) if name.lower().endswith(kinds))
        if not inside:
            raise UsageError(f"{_VERB}: the folder {path} holds no pictures ({' '.join(kinds)})")
        found += [os.path.join(path, name) for name in inside]
    return found


def _labels(path: str, classes: int) -> list[str]:
    labels = [line.strip() for line in read_text(path, "the labels").split("\n") if line.strip()]
    if len(labels) != classes:
        raise CaffeCompatError(f"{path} has {len(labels)} labels, the net has {classes} classes")
    return labels


def _best(scores: np.ndarray, labels: list[str], count: int) -> list[dict[str, object]]:
    order = (-scores).argsort(kind="stable")[:count]
    return [{"class": int(i), "label": labels[i], "score": float(scores[i])} for i in order]


def _save(path: str, scores: np.ndarray) -> None:
    import numpy as np

    from caffecompat.formats.atomic import atomic_write

    with atomic_write(path) as file:
        np.save(file, scores)
