"""The whole way from a net that trains to the files of the net that is deployed, for Caffe's tools too."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from caffecompat.compare.nets import TOLERANCE, Difference, compare_nets, load_blobs
from caffecompat.data.preprocess import describe
from caffecompat.deploy.batch_statistics import asks_for_batch_statistics, use_running_statistics
from caffecompat.deploy.caffe_targets import (
    channel_means,
    fold_std,
    resize_for_bilinear,
    round_up,
    split_norms,
    tidl_import_text,
    unknown_layers,
)
from caffecompat.deploy.deploy_net import Deployed, DeployError, deploy_net
from caffecompat.deploy.fold_norm import fold_norms
from caffecompat.deploy.fold_report import report_lines
from caffecompat.deploy.moved_paths import lead_paths, path_from
from caffecompat.deploy.vitis_pictures import calibration_input, read_calibration
from caffecompat.forks import Fork, ForkChoice, ForkName
from caffecompat.formats import save_caffemodel
from caffecompat.formats.atomic import atomic_together, atomic_write, protects, refuse_protected
from caffecompat.net import Net
from caffecompat.net.precision import drop_own_types
from caffecompat.net.weights import WeightPaths, weight_paths
from caffecompat.python_code import looking_at_nets
from caffecompat.schema import NetDocument, NetSource, as_document, pb, write_text
from caffecompat.schema.data_layers import data_layer

__all__ = ["TARGETS", "ExportedDeploy", "export_deploy"]

TARGETS = ("vitis", "tidl-caffe")


@dataclass
class ExportedDeploy:
    """What an export did.

    Attributes:
        deployed: the net for deployment, before it was folded and rewritten.
        paths: the files written.
        notes: what was done, a line each.
        differences: of each output of a folded or rewritten net from what it was, on random input.
        same: whether these are but rounding, or what was asked for changes numbers.
    """

    deployed: Deployed
    paths: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    same: bool = True


@protects("model", "weights")
def export_deploy(
    model: NetSource,
    weights: WeightPaths | None,
    out: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    batch: int | None = None,
    channels: int | None = None,
    head: str | None = None,
    head_name: str | None = None,
    merge_batch_norm: bool = False,
    running_statistics: bool = False,
    target: str = "",
    resize_bilinear: bool = False,
    calibration: str = "calibration.txt",
    root_folder: str = "",
    allow_nonfinite: bool = False,
    fork: ForkName | None = None,
    on_note: Callable[[str], None] = lambda line: None,
) -> ExportedDeploy:
    """Write the deploy prototxt and caffemodel of a net that trains.

    Args:
        model: path of a train_val or deploy prototxt, or a net that was read.
        weights: a weight file, or a list of them; without any, only prototxts are written.
        out: a folder (it ends in / or is there), or what the files' names begin with: OUT.prototxt, OUT.caffemodel.
        size: (height, width) of the input in pixels.
        batch, channels, head, head_name: as of `deploy_net`.
        merge_batch_norm: fold batch normalization and Scale where that makes no target's net worse.
        running_statistics: BatchNorm with ``use_global_stats: false`` uses its stored statistics.
        target: "vitis" or "tidl-caffe": the form that this tool wants, with the files that it reads besides.
        resize_bilinear: for vitis, bilinear Deconvolutions become DeephiResize.
        calibration: list of pictures for the tool's quantizer, "name 0" a line.
        root_folder: of the pictures in that list.
        allow_nonfinite: write though the net holds NaN or infinity, if the rewritten net has them at the same places.
        fork: the Caffe whose rules hold, where the text cannot show it.
        on_note: called with each line of the report as it comes.

    Raises:
        DeployError: the net cannot be made ready for deployment, or not as asked.
        NonFiniteError: the net is rewritten and holds NaN or infinity, or computes them; nothing is written.
        CaffeCompatError: a file cannot be read or written.

    >>> import caffecompat
    >>> done = caffecompat.export_deploy("train_val.prototxt", "net.caffemodel", "digits", head="softmax")
    >>> (done.paths, done.same)
    (['digits.prototxt', 'digits.caffemodel'], True)
    >>> [layer.type for layer in caffecompat.read_net("digits.prototxt").layer]
    ['Input', 'Convolution', 'InnerProduct', 'Softmax']
    """
    if target and target not in TARGETS:
        raise DeployError(f"target {target!r}: expected {' or '.join(map(repr, TARGETS))}")
    folding = merge_batch_norm or target == "tidl-caffe"
    if folding and not weights:
        raise DeployError("folding batch normalization needs weights")
    name = os.fspath(out)
    for end in (".prototxt", ".caffemodel"):
        refuse_protected(_stem(name, target) + end)
    with looking_at_nets(size, channels) as opaque:
        document = as_document(model, fork=fork)
        deployed = deploy_net(document, size=size, batch=batch, channels=channels, head=head, head_name=head_name)
        if drop_own_types(deployed.message):
            deployed.notes.append("forward_type BFLOAT16 left out, as no Caffe knows it: computes in 32 bits")
        files = [] if weights is None else weight_paths(weights)
        writer = _Writer(
            ExportedDeploy(deployed), document.relative_to, document.fork_choice, on_note, name, files, folding,
            running_statistics, target, resize_bilinear, calibration, root_folder, allow_nonfinite,
        )  # fmt: skip
        writer.note(*deployed.notes)
        if target != "vitis":
            writer.note(*_picture_notes(deployed, cut=size is None))
        writer.load()
        opaque.refuse(layer.name for layer in deployed.message.layer)
        writer.write()
    return writer.done


def _picture_notes(deployed: Deployed, *, cut: bool) -> list[str]:
    """How pictures are to be prepared for the net; with `cut`, also that the data layer cut them out of larger ones."""
    if deployed.transform is None:
        return []
    how = describe(deployed.transform)
    ignores = (
        "std_value there is ours: no other Caffe reads it"
        if deployed.transform.std_value
        else "Caffe itself ignores it"
    )
    notes = [f"pictures: {how}, as transform_param of the Input ({ignores})"]
    if cut and deployed.data is not None and _cuts(deployed.data):
        notes.append(
            f"  {deployed.data.name!r} cuts its pictures out of larger ones (transform_param crop); given to the "
            f"deploy net, whole pictures are resized to its input: cut them before where that matters"
        )
    return notes


def _cuts(data: pb.LayerParameter) -> bool:
    """Whether a data layer gives a part of each picture."""
    kind = data_layer(data.type)
    fields = ("crop_size", "crop_h", "crop_height")
    return kind is not None and kind.crops and any(map(data.transform_param.HasField, fields))


@dataclass
class _Writer:
    """Rewrites, checks and writes a deployed net.

    Attributes:
        path: of the prototxt next to which relative paths may lead.
        weights: the weight files; without any only text is written.
        exact: nothing was asked for that changes numbers.
        net: the deployed net with its weights; what is written is compared with it.
        base: what `net` computes.
    """

    done: ExportedDeploy
    path: str
    fork_choice: ForkChoice
    on_note: Callable[[str], None]
    out: str
    weights: list[str]
    folding: bool
    running_statistics: bool
    target: str
    resize_bilinear: bool
    calibration: str
    root_folder: str
    allow_nonfinite: bool
    exact: bool = True

    def note(self, *lines: str) -> None:
        """Report lines."""
        for line in lines:
            self.done.notes.append(line)
            self.on_note(line)

    def load(self) -> None:
        """Make the deployed net, and load its weights."""
        deployed = self.done.deployed
        self.net = self._net(deployed.message)
        self.base = deployed.message
        if self.weights:
            report = self.net.load_weights(self.weights)
            missing = report.describe_missing(", ".join(self.weights))
            self.note(*([f"warning: {missing}; they stay as filled"] if missing else []))
            self.note(*report.converted, *report.mismatches)

    def _net(self, message: pb.NetParameter) -> Net:
        return Net(NetDocument.from_message(message, like=self.fork_choice), pb.TEST, log=False, quantized=False)

    def write(self) -> None:
        """All of it, into `done`."""
        message = type(self.net.message)()
        message.CopyFrom(self.done.deployed.message)
        blobs = self.net.blobs_by_layer()
        if self.running_statistics:
            if use_running_statistics(message):
                self._go_on_from(message, blobs)
        elif self.target == "tidl-caffe" and any(asks_for_batch_statistics(layer) for layer in message.layer):
            raise DeployError(
                "BatchNorm of this net normalizes by each batch (use_global_stats: false), which TIDL cannot; "
                "--running-statistics uses the stored statistics, and the report says what changes"
            )
        if self.folding:
            message, blobs = self._fold()
        if self.target == "vitis" and self.resize_bilinear:
            notes = resize_for_bilinear(self.net, message, blobs)
            self.exact &= not notes
            self.note(*notes)
        elif self.target == "tidl-caffe":
            split = split_norms(self.net, message, blobs)
            if split:
                self.fork_choice = ForkChoice(Fork.BVLC)
                self.note(f"now BatchNorm and Scale: {', '.join(split)}")
        if self.target == "vitis":
            for line in round_up(self.net, message):
                self.note(f"warning: --for vitis: {line}")
        if self.target:
            self.note(*fold_std(message, self.target))
        self._warn_of_unknown(message)
        if message != self.base:
            self._check(message, blobs)
        self._save(message, blobs)

    def _warn_of_unknown(self, message: pb.NetParameter) -> None:
        for kind, names in unknown_layers(message, self.target).items() if self.target else ():
            few = ", ".join(names[:3]) + (f", and {len(names) - 3} more" if len(names) > 3 else "")
            self.note(f"warning: --for {self.target}: that tool has no layer {kind}: {few}")

    def _go_on_from(self, message: pb.NetParameter, blobs: dict[str, list[np.ndarray]]) -> None:
        """Report what was asked for and changes numbers by itself; what follows is compared with its result."""
        changed = self._net(message)
        load_blobs(changed, blobs)
        for difference in compare_nets(self.net, changed, allow_nonfinite=self.allow_nonfinite):
            self.note(f"stored statistics instead of each batch's, on random input: {difference.line()}")
        self.net, self.base = changed, type(message)()
        self.base.CopyFrom(message)

    def _fold(self) -> tuple[pb.NetParameter, dict[str, list[np.ndarray]]]:
        folded = fold_norms(
            self.net, running_statistics=self.running_statistics, around=True,
            target="tidl" if self.target == "tidl-caffe" else "dpu",
        )  # fmt: skip
        self.note(*report_lines(folded))
        folded.message.ClearField("state")  # that of the folded net's phase; a deployed net is of none
        return folded.message, folded.blobs

    def _check(self, message: pb.NetParameter, blobs: dict[str, list[np.ndarray]]) -> None:
        rewritten = self._net(message)
        load_blobs(rewritten, blobs)
        done = self.done
        done.differences = compare_nets(self.net, rewritten, allow_nonfinite=self.allow_nonfinite)
        for difference in done.differences:
            self.note(f"checked on random input: {difference.line()}")
        done.same = not self.exact or all(difference.relative <= TOLERANCE for difference in done.differences)

    def _paths(self) -> tuple[str, str]:
        """Stem of the net's files, and of the others."""
        stem = _stem(self.out, self.target)
        os.makedirs(os.path.dirname(stem) or ".", exist_ok=True)
        return stem, os.path.join(self.out, "") if stem != self.out else f"{stem}_"

    def _read_pictures(self, message: pb.NetParameter, stem: str) -> tuple[pb.LayerParameter, dict[str, str]]:
        """Let the net read calibration pictures; returns the layer that does, and the list as a file if it is new."""
        listing = read_calibration(self.calibration, self.root_folder)
        layer, notes = calibration_input(message, self.done.deployed, listing, self.path)
        for note in (*notes, *listing.notes):
            self.note(note)
        return layer, {f"{stem}_calibration.txt": listing.text} if listing.text else {}

    def _save(self, message: pb.NetParameter, blobs: dict[str, list[np.ndarray]]) -> None:
        stem, prefix = self._paths()
        folder, name = os.path.split(stem)
        weights = f"{stem}.caffemodel"
        reader, texts = self._read_pictures(message, stem) if self.target == "vitis" else (None, {})
        lead_paths(message, self.path, folder)
        if reader is not None:
            for path in texts:
                reader.image_data_param.source = os.path.basename(path)
        if self.target == "tidl-caffe":
            listing = self.calibration
            means, remark = channel_means(self.done.deployed, self.path)
            if remark:
                self.note(remark)
            texts[f"{prefix}tidl_import.txt"] = tidl_import_text(
                self.done.deployed, means, f"{name}.prototxt", f"{name}.caffemodel", f"{os.path.basename(prefix)}tidl",
                path_from(folder, listing), _count_lines(listing),
            )  # fmt: skip
        texts[f"{stem}.prototxt"] = write_text(message)
        with atomic_together(*texts, weights) as (*temporary, weights_path):
            if self.weights:
                save_caffemodel(weights_path, message, blobs, fork=self.fork_choice.stored)
            for path, text in zip(temporary, texts.values(), strict=True):
                with atomic_write(path) as file:
                    file.write(text.encode())
        self.done.paths = [*texts, *([weights] if self.weights else [])]
        self.note(*(f"wrote {path}" for path in self.done.paths))


def _stem(out: str, target: str) -> str:
    """What the names of the net's files begin with."""
    if out.endswith(("/", os.sep)) or os.path.isdir(out):
        return os.path.join(out, "float" if target == "vitis" else "deploy")
    return out


def _count_lines(path: str) -> int:
    """How many pictures a list names; 1 where it is not here yet."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return max(1, sum(1 for line in file if line.strip()))
    except OSError:
        return 1
