"""Copying stored weights into a net by layer name, and what came of it (BVLC ``Net::CopyTrainedLayersFrom``)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from caffecompat import glog
from caffecompat.deprecation import RenamedAttribute
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import Fork
from caffecompat.formats import LayerWeights, WeightFile, open_weights
from caffecompat.net.bn_modes import mode_discrepancies
from caffecompat.net.layer import NetLayer
from caffecompat.net.norm_pairs import Pairs, match_pairs
from caffecompat.net.params import BlobSlot
from caffecompat.wording import few

__all__ = ["LoadReport", "WeightPaths", "WeightsMismatch", "copy_weights", "listed_files", "weight_paths"]

WeightPaths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]  # one file or several

_Plan = list[tuple[BlobSlot, np.ndarray]]

_WARNED = "to check"
_SHOWN = 12  # mismatches and layers in a message; more of them tell no more
_LISTED = 20  # of the report
_LOGGED_BY_CAFFE = "only in the weight file, ignored: "  # its log has a line for each such layer


class WeightsMismatch(CaffeCompatError):
    """Stored weights do not fit the net.

    Attributes:
        mismatches: one text each: layer, blob, stored shape, the net's shape.
    """

    def __init__(self, path: str, mismatches: Sequence[str]) -> None:
        self.mismatches = list(mismatches)
        places = "\n".join(f"  {text}" for text in mismatches[:_SHOWN])
        if len(mismatches) > _SHOWN:
            places += f"\n  ... and {len(mismatches) - _SHOWN} more; are these the weights of another net?"
        super().__init__(
            f"{path} does not fit this net in {len(mismatches)} place{'s' if len(mismatches) > 1 else ''}:\n{places}\n"
            "Either rename these layers in the prototxt, so that they start fresh, or pass --skip-mismatched "
            "(skip_mismatched=True) to leave them at their initial values."
        )


@dataclass
class LoadReport:
    """What loading did, by layer name.

    Attributes:
        loaded: layers whose blobs came from the file(s), in net order.
        unexpected: layers of the files that the net does not have.
        missing: layers with parameters that got none; they keep their initial values.
        untrained: the `missing` layers whose parameters mean nothing before training: what a random filler gave, or
            weights that the prototxt has no filler for; without those that `skip_mismatched` left out.
        mismatched: those of them that a file has in another shape, which `skip_mismatched` left out.
        mismatches: of these, one text each.
        converted: layers that the file has in the form of another fork or size, one text each.
        reshaped: blobs stored in another shape of the same layout, such as (C) for (1, C, 1, 1), one text each.
        discrepancies: layers that fit and yet mean something else in the file, one text a kind; also warned of.
        writer: the fork that the (last) file's blob format gives away, if any.
        trained_as: the fork that the (last) file says was named for the net that was saved, if any.
    """

    loaded: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    untrained: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)
    converted: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    discrepancies: list[str] = field(default_factory=list)
    writer: Fork | None = None
    trained_as: Fork | None = None

    ignored = RenamedAttribute("unexpected")
    kept = RenamedAttribute("missing")
    skipped = RenamedAttribute("mismatches")
    doubts = RenamedAttribute("discrepancies")

    def describe_missing(self, path: str) -> str:
        """A line about the layers that a file has no weights for, or some of another shape; "" where it has all.

        Raises:
            CaffeCompatError: it has none for any layer.
        """
        if self.missing and not self.loaded and self.mismatched:
            raise CaffeCompatError(f"{path}: none of its layers fits this net: {'; '.join(self.mismatches[:_SHOWN])}")
        if self.missing and not self.loaded:
            names = (
                f"the file has {few(self.unexpected, _SHOWN)}, the net {few(self.missing, _SHOWN)}; "
                if self.unexpected
                else ""
            )
            raise CaffeCompatError(
                f"{path}: none of its layers is in this net; {names}are these the weights of another one?"
            )
        absent = [name for name in self.missing if name not in self.mismatched]
        parts = [f"no weights for: {few(absent, _SHOWN)}"] if absent else []
        if self.mismatches:
            parts.append(f"some with another shape: {few(self.mismatches, _SHOWN)}")
        return f"{path} has {', and '.join(parts)}" if parts else ""

    def require_trained(self, path: str, more: str = "") -> None:
        """Make sure that the net computes what it was trained for.

        Args:
            path: of the file, for messages.
            more: what else may be done, after "give the weights of this net".

        Raises:
            CaffeCompatError: layers are `untrained`; the message names them, and what the file has instead.
        """
        if not self.untrained:
            return
        instead = (
            f"; it has layers that the net lacks, {few(self.unexpected, _SHOWN)}: do names differ?"
            if self.unexpected
            else ""
        )
        raise CaffeCompatError(
            f"{path} has no weights for {len(self.untrained)} layer{'s' if len(self.untrained) > 1 else ''} whose "
            f"initial values mean nothing: {few(self.untrained, _SHOWN)}{instead}; give the weights of this net{more}"
        )

    def check(self, path: str, *, allow_missing: bool = False) -> None:
        """Refuse weights of another net; warn of layers that the file does not have and that do without.

        Args:
            path: of the file, for messages.
            allow_missing: go on with initial values of layers that need training.

        Raises:
            CaffeCompatError: no layer was loaded; or layers that need training were not, and that is not allowed.
        """
        missing = self.describe_missing(path)
        if not allow_missing:
            self.require_trained(path, ", or --allow-missing to go on with initial values")
        if missing:
            glog.warning(f"{missing}; they stay at initial values")

    def lines(self) -> list[str]:
        """The report for people, a line for each fact."""
        lines = [f"{len(self.loaded)} layers loaded"]
        for text, names in (
            (_LOGGED_BY_CAFFE, self.unexpected),
            ("only in the net, left at initial values: ", [n for n in self.missing if n not in self.mismatched]),
        ):
            if names:
                lines.append(text + few(names, _LISTED))
        for what, texts in (
            ("in the file with another shape, left at initial values", self.mismatches),
            ("converted", self.converted),
            ("reshaped", self.reshaped),
            (_WARNED, self.discrepancies),
        ):
            lines += [f"{what}: {text}" for text in texts[:_LISTED]]
            if len(texts) > _LISTED:
                lines.append(f"{what}: {len(texts) - _LISTED} more")
        return lines


def listed_files(text: str) -> list[str]:
    """The files that one text lists: `weights` of a solver, or a flag (BVLC splits both at commas, solver.cpp).

    A text that is the name of a file is that file, commas or not.
    """
    if os.path.isfile(text):
        return [text]
    return [part.strip() for part in text.split(",") if part.strip()]


def weight_paths(given: WeightPaths) -> list[str]:
    """One path or several as a list; a comma in a path is a character like others.

    Raises:
        CaffeCompatError: there is none, one is empty, or it is something else.
    """
    if not isinstance(given, (str, os.PathLike, Sequence)):
        raise CaffeCompatError(f"weights {given!r}: expected a path, or a list of paths")
    paths = [given] if isinstance(given, str | os.PathLike) else list(given)
    names = [os.fspath(path) for path in paths]
    if not names or not all(name.strip() for name in names):
        raise CaffeCompatError("no file of weights is named: expected a path, or a list of paths")
    return names


def copy_weights(
    layers: Sequence[NetLayer], known: set[str], paths: Sequence[str], *, skip_mismatched: bool, log: bool
) -> LoadReport:
    """Copy each file in turn; a file that does not fit raises before anything of it is copied.

    Args:
        known: names of all the net's layers, Splits included.

    Raises:
        WeightsMismatch: counts or shapes differ and `skip_mismatched` is off.
        CaffeCompatError: a file cannot be read.
    """
    by_name: dict[str, NetLayer] = {}
    for layer in layers:
        by_name.setdefault(layer.name, layer)  # of two layers with one name Caffe serves the first
    report = LoadReport()
    touched: set[str] = set()
    given: set[BlobSlot] = set()
    skipped: dict[str, list[str]] = {}
    for path in paths:
        file = open_weights(path)
        report.writer, report.trained_as = file.fork, file.trained_as
        plan, mismatches = _plan(file, by_name, known, report, log)
        if mismatches and not skip_mismatched:
            raise WeightsMismatch(path, [text for texts in mismatches.values() for text in texts])
        skipped.update(mismatches)
        discrepancies = mode_discrepancies(
            (stored, by_name[stored.name]) for stored in file.layers if stored.name in plan
        )
        for text in discrepancies:
            glog.warning(f"{path}: {text}")
        report.discrepancies += discrepancies
        for name, blobs in plan.items():
            for slot, array in blobs:
                _copy(slot, array)
                given.add(slot.owner or slot)
            touched.add(name)
            module = by_name[name].module
            if blobs and module is not None:
                module.weights_loaded()
    report.loaded = [name for name, layer in by_name.items() if name in touched and layer.slots]
    report.missing = [name for name, layer in by_name.items() if name not in touched and layer.slots]
    report.mismatched = [name for name in skipped if name not in touched]
    report.untrained = [
        name
        for name in report.missing
        if name not in report.mismatched and any(_means_nothing(slot, given) for slot in by_name[name].slots)
    ]
    report.mismatches = [text for name in report.mismatched for text in skipped[name]]
    if log:
        for line in report.lines()[1:]:
            if not line.startswith((_LOGGED_BY_CAFFE, f"{_WARNED}: ")):
                glog.info(line)
    return report


def _means_nothing(slot: BlobSlot, given: set[BlobSlot]) -> bool:
    """Whether a blob that no file had needs training, and does not share one that a file had."""
    owner = slot.owner or slot
    return owner not in given and owner.module.needs_training(owner.name)


def _plan(
    file: WeightFile, by_name: dict[str, NetLayer], known: set[str], report: LoadReport, log: bool
) -> tuple[dict[str, _Plan], dict[str, list[str]]]:
    """What goes where from one file, and what does not fit, by layer."""
    plan: dict[str, _Plan] = {}
    mismatches: dict[str, list[str]] = {}
    pairs = match_pairs(file.layers, by_name)
    report.converted += pairs.converted
    for stored in file.layers:
        layer = by_name.get(stored.name)
        if layer is None:
            if stored.name not in known and stored.name not in pairs.used:
                if log:
                    glog.info(f"Ignoring source layer {stored.name}", "net.cpp:744")
                if stored.blobs:
                    report.unexpected.append(stored.name)
            continue
        if stored.name not in pairs.blobs:  # those follow
            _put(plan, mismatches, layer, *_fit(stored, layer, pairs, report))
    for name, arrays in pairs.blobs.items():
        _put(plan, mismatches, by_name[name], *_fit_arrays(arrays, "", by_name[name], report, reported=True))
    return plan, mismatches


def _put(
    plan: dict[str, _Plan], mismatches: dict[str, list[str]], layer: NetLayer, blobs: _Plan, problems: list[str]
) -> None:
    if problems:
        mismatches[layer.name] = problems
    else:
        plan[layer.name] = blobs


def _fit(stored: LayerWeights, layer: NetLayer, pairs: Pairs, report: LoadReport) -> tuple[_Plan, list[str]]:
    """Match a layer's stored blobs with its slots."""
    where = f"layer {layer.name!r}"
    if layer.name in pairs.problems:
        return [], [f"{where}: {pairs.problems[layer.name]}"]
    if all(blob is not None for blob in stored.blobs):
        arrays = [blob.array() for blob in stored.blobs if blob is not None]
        return _fit_arrays(arrays, stored.type, layer, report)
    # HDF5 leaves out what another layer owns.
    found = [(slot, blob.array()) for slot, blob in zip(layer.slots, stored.blobs, strict=False) if blob is not None]
    missing = [s.index for s, b in zip(layer.slots, stored.blobs, strict=False) if b is None and s.owner is None]
    if missing:
        return [], [f"{where}: blobs {missing} are not in the file"]
    return found, _shape_problems(found, where, report)


def _fit_arrays(
    arrays: list[np.ndarray], stored_type: str, layer: NetLayer, report: LoadReport, *, reported: bool = False
) -> tuple[_Plan, list[str]]:
    """Match blobs with a layer's slots, in the layer's own arrangement; `reported` if the report has it already."""
    where = f"layer {layer.name!r}"
    given = arrays
    if layer.module is not None and layer.slots:
        try:
            arrays = layer.module.adapt_blobs(given)
        except CaffeCompatError as problem:
            return [], [f"{where}: {problem}"]
    shared_only = not arrays and all(slot.owner is not None for slot in layer.slots)
    if len(arrays) != len(layer.slots) and not shared_only:
        kind = f" (type {stored_type})" if stored_type and stored_type != layer.type else ""
        return [], [f"{where}: the file has {len(arrays)} blobs{kind}, the net's {layer.type} has {len(layer.slots)}"]
    if not reported and [array.size for array in arrays] != [array.size for array in given]:
        whose = "another size" if len(arrays) == len(given) else "another fork's"
        report.converted.append(f"{where}: {len(given)} blobs of {whose} {stored_type or layer.type}")
    pairs = list(zip(layer.slots, arrays, strict=False))
    return pairs, _shape_problems(pairs, where, report)


def _shape_problems(pairs: _Plan, where: str, report: LoadReport) -> list[str]:
    """Blobs whose values the net would lay out otherwise; what only looks different goes into the report."""
    problems = []
    for slot, array in pairs:
        if array.shape == slot.shape:
            continue
        if _squeezed(array.shape) != _squeezed(slot.shape):
            problems.append(f"{where} blob {slot.index}: the file has {array.shape}, the net {slot.shape}")
        elif not _is_legacy_form(array.shape, slot.shape):
            report.reshaped.append(f"{where} blob {slot.index}: {array.shape} as {slot.shape}")
    return problems


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without its axes of size 1: two shapes with the same one lay values out alike."""
    return tuple(size for size in shape if size != 1)


def _is_legacy_form(stored: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether `stored` is `shape` as files before mid-2014 have it: four axes (C3D: five), led by ones."""
    missing = len(stored) - len(shape)
    return len(stored) in (4, 5) and missing >= 0 and tuple(stored) == (1,) * missing + tuple(shape)


def _copy(slot: BlobSlot, array: np.ndarray) -> None:
    """Write into the parameter's own memory, whatever its memory format."""
    owner = slot.owner or slot
    owner.module.blob_given(owner.name)
    target = slot.tensor()
    shaped = array.reshape(slot.shape)
    if target.device.type == "cpu":
        np.copyto(target.numpy(), shaped, casting="same_kind")
    else:
        target.copy_(torch.from_numpy(np.array(shaped, dtype=np.float32)))
