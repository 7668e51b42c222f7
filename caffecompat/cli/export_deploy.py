"""Make the net that is deployed of the one that is trained.

    caffecompat export deploy --model train_val.prototxt --weights net.caffemodel out/ --softmax --merge-bn
    caffecompat export deploy --model train_val.prototxt out/espnet --size 1024x512
    caffecompat export deploy --model train_val.prototxt --weights net.caffemodel out/ --for vitis

OUT is a folder (it ends in / or is there) or the stem of the files: OUT.prototxt and OUT.caffemodel; in a folder they
are deploy.prototxt and deploy.caffemodel. Data layers become Input; losses, accuracies, Dropout and Silence go.

--for vitis writes float.prototxt and float.caffemodel for vai_q_caffe: calibration pictures come from an ImageData
layer, which resizes and crops them as training does; relative paths in it lead from its folder. Of a list without
labels a copy with zeros is written, names with blanks are an error. With --resize-bilinear, bilinear Deconvolutions
become DeephiResize, which computes other values along the border; the report says how far. --for tidl-caffe folds batch
normalization, puts what is left of it into BatchNorm and Scale, and adds the importer's configuration, tidl_import.txt.

What is folded or rewritten is run against the net as it was, on random input; exit status 1 tells that numbers changed
though nothing that changes numbers was asked for. A net that is rewritten and holds NaN or infinity, or computes them,
is an error: the first such layer is named, and nothing is written.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from caffecompat.cli.flags import (
    UsageError,
    add_nonfinite_flag,
    add_switch,
    check_companions,
    check_counts,
    weight_files,
)
from caffecompat.cli.net_flags import net_flags, open_model
from caffecompat.cli.outputs import output
from caffecompat.cli.picture_flags import names_fitting_sizes, size_of
from caffecompat.forks import Fork, ForkChoice

if TYPE_CHECKING:
    from caffecompat.deploy.deploy_net import Deployed
    from caffecompat.net import Net

HELP = "the deploy prototxt and caffemodel of a train_val"

_TARGETS = ("vitis", "tidl-caffe")


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=output(), metavar="OUT", help="folder, or stem of the files to write")
    parser.add_argument("--model", metavar="FILE", required=True, help="train_val or deploy prototxt")
    parser.add_argument("--weights", metavar="FILE", help="its weights; without them only prototxts are written")
    parser.add_argument("--size", metavar="WxH", help="input size, as in 1024x512")
    parser.add_argument(
        "--batch", type=int, metavar="N", help="batch of the input (the Input's own, else 1 or what the net needs)"
    )
    parser.add_argument("--channels", type=int, metavar="N", help="of pictures whose data cannot be opened (3)")
    add_switch(parser, "softmax", "probabilities in the loss's place: Softmax, or Sigmoid where the loss has one")
    add_switch(parser, "argmax", "the best class of each pixel in the loss's place")
    parser.add_argument("--head-name", metavar="NAME", help="name of that layer and its top (prob, argmax)")
    add_switch(parser, "merge-bn", "fold batch normalization and Scale where that makes no target's net worse")
    add_switch(parser, "running-statistics", "BatchNorm with use_global_stats: false uses its stored statistics")
    parser.add_argument("--for", dest="target", metavar="TOOL", help="vitis or tidl-caffe: the form that tool wants")
    add_switch(parser, "resize-bilinear", "with --for vitis, bilinear Deconvolutions become DeephiResize")
    parser.add_argument("--calibration", metavar="LIST", default="calibration.txt",
                        help="list of calibration pictures, 'name 0' a line (calibration.txt)")  # fmt: skip
    parser.add_argument("--root-folder", metavar="DIR", default="", help="folder of the pictures in that list")
    add_nonfinite_flag(parser)
    net_flags(parser)


@names_fitting_sizes
def run(args: argparse.Namespace) -> int:
    _check(args)
    folding = args.merge_bn or args.target == "tidl-caffe"
    if folding and not args.weights:
        raise UsageError("caffecompat export deploy: folding batch normalization needs --weights")

    from caffecompat.formats.atomic import refuse_protected
    from caffecompat.layers.missing_code import passing_over_missing_code

    for end in (".prototxt", ".caffemodel"):
        refuse_protected(_stem(args) + end)
    with passing_over_missing_code(size_of(args), args.channels) as passed:
        status = _export(args, folding)
    print(*(f"warning: {line}" for line in passed.lines()), sep="\n", end="\n" if passed.layers else "")
    return status


def _export(args: argparse.Namespace, folding: bool) -> int:
    from caffecompat.deploy.deploy_net import deploy_net

    document = open_model(args, args.model)
    deployed = deploy_net(
        document, size=size_of(args), batch=args.batch, channels=args.channels,
        head="softmax" if args.softmax else "argmax" if args.argmax else None, head_name=args.head_name,
    )  # fmt: skip
    for note in deployed.notes:
        print(note)
    if args.target != "vitis" and deployed.transform is not None:
        from caffecompat.data.preprocess import describe

        print(f"pictures: {describe(deployed.transform)}, as transform_param of the Input (Caffe itself reads over it)")
        if not args.size and _cuts(deployed.data):
            print(
                f"  {deployed.data.name!r} cuts its pictures out of larger ones (transform_param crop); given to the "
                f"deploy net, whole pictures are resized to its input: cut them before where that matters"
            )
    return _Writer(args, document, deployed, folding).write()


def _cuts(data: Any) -> bool:
    """Whether a data layer gives a part of each picture; WindowData, whose windows are resized, does not."""
    fields = ("crop_size", "crop_h", "crop_height")
    return data is not None and data.type != "WindowData" and any(map(data.transform_param.HasField, fields))


def _check(args: argparse.Namespace) -> None:
    """Flags that contradict each other, or need another one."""
    if args.softmax and args.argmax:
        raise UsageError("caffecompat export deploy: give --softmax or --argmax, not both")
    if args.target and args.target not in _TARGETS:
        raise UsageError(f"caffecompat export deploy: --for {args.target}: expected {' or '.join(_TARGETS)}")
    rows = (
        ("--head-name", "--softmax or --argmax", args.head_name and not (args.softmax or args.argmax)),
        ("--resize-bilinear", "--for vitis", args.resize_bilinear and args.target != "vitis"),
        ("--root-folder", "--for vitis", args.root_folder and args.target != "vitis"),
    )
    check_companions("export deploy", rows)
    check_counts("export deploy", args, "batch", "channels")
    weight_files(args.weights)


class _Writer:
    """Rewrites, checks and writes a deployed net."""

    def __init__(self, args: argparse.Namespace, document: Any, deployed: Deployed, folding: bool) -> None:
        self.args, self.deployed, self.folding = args, deployed, folding
        self.fork_choice = document.fork_choice
        self.exact = True
        self.net = self._net(deployed.message)
        self.base = deployed.message  # what `net` computes
        if args.weights:
            report = self.net.load_weights(weight_files(args.weights) or ())
            missing = report.missing(args.weights)
            if missing:
                print(f"warning: {missing}; they stay as filled")
            for line in (*report.converted, *report.skipped):
                print(line)

    def _net(self, message: Any) -> Net:
        from caffecompat.net import Net
        from caffecompat.schema import NetDocument, pb

        return Net(NetDocument.from_message(message, like=self.fork_choice), pb.TEST, log=False)

    def write(self) -> int:
        message = type(self.net.message)()
        message.CopyFrom(self.deployed.message)
        blobs = self.net.blobs_by_layer()
        if self.args.running_statistics:
            if self._use_stored(message):
                self._go_on_from(message, blobs)
        elif self.args.target == "tidl-caffe" and any(_goes_by_batch(layer) for layer in message.layer):
            raise UsageError(
                "caffecompat export deploy: BatchNorm of this net normalises by each batch (use_global_stats: false), "
                "which TIDL cannot; --running-statistics uses the stored statistics, and the report says what changes"
            )
        if self.folding:
            message, blobs = self._fold()
        if self.args.target == "vitis" and self.args.resize_bilinear:
            from caffecompat.deploy.caffe_targets import resize_for_bilinear

            notes = resize_for_bilinear(self.net, message, blobs)
            self.exact &= not notes
            print(*notes, sep="\n", end="\n" if notes else "")
        elif self.args.target == "tidl-caffe":
            from caffecompat.deploy.caffe_targets import split_norms

            split = split_norms(self.net, message, blobs)
            if split:
                self.fork_choice = ForkChoice(Fork.BVLC)
                print(f"now BatchNorm and Scale: {', '.join(split)}")
        if self.args.target == "vitis":
            from caffecompat.deploy.caffe_targets import round_up

            for line in round_up(self.net, message):
                print(f"warning: --for vitis: {line}")
        self._warn_of_unknown(message)
        same = self._check(message, blobs) if message != self.base else True
        self._save(message, blobs)
        return 0 if same else 1

    def _warn_of_unknown(self, message: Any) -> None:
        from caffecompat.deploy.caffe_targets import unknown_layers

        for kind, names in unknown_layers(message, self.args.target).items() if self.args.target else ():
            few = ", ".join(names[:3]) + (f", and {len(names) - 3} more" if len(names) > 3 else "")
            print(f"warning: --for {self.args.target}: that tool has no layer {kind}: {few}")

    def _use_stored(self, message: Any) -> bool:
        from caffecompat.deploy.fold_norm import use_running_statistics

        return bool(use_running_statistics(message))

    def _go_on_from(self, message: Any, blobs: dict[str, Any]) -> None:
        """Tell what was asked for and changes numbers by itself; what comes then is held against the result of it."""
        from caffecompat.compare.nets import compare_nets, put_blobs

        changed = self._net(message)
        put_blobs(changed, blobs)
        for difference in compare_nets(self.net, changed, allow_nonfinite=self.args.allow_nonfinite):
            print(f"stored statistics instead of each batch's, on random input: {difference.line()}")
        self.net, self.base = changed, type(message)()
        self.base.CopyFrom(message)

    def _fold(self) -> tuple[Any, dict[str, Any]]:
        from caffecompat.cli.merge_bn import report_lines
        from caffecompat.deploy.fold_norm import fold_norms

        folded = fold_norms(
            self.net, running_statistics=self.args.running_statistics, around=True,
            target="tidl" if self.args.target == "tidl-caffe" else "dpu",
        )  # fmt: skip
        print(*report_lines(folded), sep="\n")
        folded.message.ClearField("state")  # that of the folded net's phase; a deployed net is of none
        return folded.message, folded.blobs

    def _check(self, message: Any, blobs: dict[str, Any]) -> bool:
        from caffecompat.compare.nets import TOLERANCE, compare_nets, put_blobs

        rewritten = self._net(message)
        put_blobs(rewritten, blobs)
        differences = compare_nets(self.net, rewritten, allow_nonfinite=self.args.allow_nonfinite)
        for difference in differences:
            print(f"checked on random input: {difference.line()}")
        return not self.exact or all(difference.relative <= TOLERANCE for difference in differences)

    def _paths(self) -> tuple[str, str]:
        """Stem of the net's files, and of the others."""
        stem = _stem(self.args)
        os.makedirs(os.path.dirname(stem) or ".", exist_ok=True)
        return stem, os.path.join(self.args.out, "") if stem != self.args.out else f"{stem}_"

    def _read_pictures(self, message: Any, stem: str) -> tuple[Any, dict[str, str]]:
        """Let the net read calibration pictures; returns the layer that does, and the list as a file if it is new."""
        from caffecompat.deploy.vitis_pictures import calibration_input, read_calibration

        listing = read_calibration(self.args.calibration, self.args.root_folder)
        layer, notes = calibration_input(message, self.deployed, listing, self.args.model)
        for note in (*notes, *listing.notes):
            print(note)
        return layer, {f"{stem}_calibration.txt": listing.text} if listing.text else {}

    def _save(self, message: Any, blobs: dict[str, Any]) -> None:
        from caffecompat.deploy.caffe_targets import channel_means, tidl_import_text
        from caffecompat.deploy.moved_paths import lead_paths, path_from
        from caffecompat.formats import save_caffemodel
        from caffecompat.formats.atomic import atomic_together, atomic_write
        from caffecompat.schema import write_text

        stem, beside = self._paths()
        folder, name = os.path.split(stem)
        weights = f"{stem}.caffemodel"
        reader: Any
        reader, texts = self._read_pictures(message, stem) if self.args.target == "vitis" else (None, {})
        lead_paths(message, self.args.model, folder)
        for path in texts:
            reader.image_data_param.source = os.path.basename(path)
        if self.args.target == "tidl-caffe":
            listing = self.args.calibration
            means, told = channel_means(self.deployed, self.args.model)
            if told:
                print(told)
            texts[f"{beside}tidl_import.txt"] = tidl_import_text(
                self.deployed, means, f"{name}.prototxt", f"{name}.caffemodel", f"{os.path.basename(beside)}tidl",
                path_from(folder, listing), _count_lines(listing),
            )  # fmt: skip
        texts[f"{stem}.prototxt"] = write_text(message)
        with atomic_together(*texts, weights) as (*temporary, beside):
            if self.args.weights:
                save_caffemodel(beside, message, blobs, fork=self.fork_choice.kept)
            for path, text in zip(temporary, texts.values(), strict=True):
                with atomic_write(path) as file:
                    file.write(text.encode())
        for path in (*texts, *([weights] if self.args.weights else [])):
            print(f"wrote {path}")


def _stem(args: argparse.Namespace) -> str:
    """What the names of the net's files begin with."""
    if args.out.endswith(("/", os.sep)) or os.path.isdir(args.out):
        return os.path.join(args.out, "float" if args.target == "vitis" else "deploy")
    return str(args.out)


def _goes_by_batch(layer: Any) -> bool:
    settings = layer.batch_norm_param
    return layer.type == "BatchNorm" and settings.HasField("use_global_stats") and not settings.use_global_stats


def _count_lines(path: str) -> int:
    """How many pictures a list names; 1 where it is not here yet."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return max(1, sum(1 for line in file if line.strip()))
    except OSError:
        return 1
